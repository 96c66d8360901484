"""A recogniser understands the prompts over a telephone line: the nightly ear of docs/speech.md.

Its packages are no part of the development environment: `make listen` installs them beside it.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

from pay_ivr import sound
from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.languages import Language, languages
from pay_ivr.pieces import letters
from pay_ivr.prompts import example
from pay_ivr.sentences import VALUES
from pay_ivr.speech import Speech
from pay_ivr.wav import write_wav

PYTHON = Path(__file__).parents[2] / ".tools" / "listen" / "bin" / "python"
RECOGNISER = Path(__file__).parent / "recogniser.py"
RATE_MAX = 0.15
"""Character errors a language may have on average; the engines that were not taken had 0.19 to 0.72."""
EVERY = 4
"""Every fourth sentence is read back: about two minutes of speech a language."""
TIMEOUT_S = 900
NAMES = {"tenant", "reward", "text"}
"""Values of no language: a recogniser that hears an English name in French text answers with anything."""
SENTENCES = [key for key in Key if not NAMES & set(VALUES.get(key, {}))][::EVERY]
SPOKEN = [language for language in languages().values() if language.voice]


def heard(tag: str, files: list[Path]) -> list[str]:
    """What the recogniser understands, file by file."""
    assert PYTHON.exists(), "the recogniser is not installed: run `make listen`"
    run = subprocess.run(
        [PYTHON, RECOGNISER, tag[:2], *files], capture_output=True, check=True, timeout=TIMEOUT_S
    )
    return [json.loads(line) for line in run.stdout.decode().splitlines()]


def in_words(language: Language, text: str) -> str:
    """Letters only, with every figure in words: a recogniser writes `1,234` where the voice says words."""
    plain = re.sub(r"(?<=\d)[.,\s](?=\d{3}\b)", "", text)
    return letters(re.sub(r"\d+", lambda found: f" {language.cardinal(int(found[0]), 'masculine')} ", plain))


def error_rate(said: str, understood: str) -> float:
    """Levenshtein distance by the length of what was said, at most 1."""
    row = list(range(len(understood) + 1))
    for number, sign in enumerate(said, start=1):
        before, row[0] = row[0], number
        for place, other in enumerate(understood, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (sign != other))
    return min(1.0, row[-1] / max(1, len(said)))


@pytest.mark.proof
@pytest.mark.parametrize("language", SPOKEN, ids=lambda language: language.tag)
async def test_prompts_are_understood(language: Language, tmp_path: Path):
    """The character error rate over µ-law stays below 0.15."""
    catalogue, files, texts = Catalogue(), [], []
    speech = Speech(catalogue, tmp_path / "data")
    for key in SENTENCES:
        prompt = await speech.prompt(language.tag, key, slow=False, **example(key))
        files.append(tmp_path / f"{key}.wav")
        files[-1].write_bytes(write_wav(sound.decode_ulaw(prompt.ulaw).tobytes()))
        texts.append(catalogue.text(language.tag, key, **example(key)))
    await speech.close()
    pairs = zip(texts, heard(language.tag, files), strict=True)
    rates = [error_rate(in_words(language, said), in_words(language, back)) for said, back in pairs]
    worst = sorted(zip(rates, map(str, SENTENCES), strict=True), reverse=True)[:5]
    assert sum(rates) / len(rates) < RATE_MAX, worst


@pytest.mark.parametrize(
    ("said", "understood", "rate"), [("balance", "balance", 0), ("abcd", "abed", 0.25), ("", "x", 1)]
)
def test_errors_are_counted_by_characters(said: str, understood: str, rate: float):
    """The measure itself."""
    assert rate == error_rate(said, understood)


def test_figures_are_compared_as_words():
    """`1,234 points` is what `one thousand two hundred thirty-four points` sounds like."""
    english = languages()["en-US"]
    assert in_words(english, "One thousand two hundred thirty-four points.") == in_words(
        english, "1,234 points"
    )
