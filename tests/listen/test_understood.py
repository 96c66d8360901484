"""A recogniser understands the prompts over a telephone line: the nightly ear of docs/speech.md.

Its packages are no part of the development environment: `make listen` installs them beside it.
"""

from pathlib import Path

import pytest

from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.languages import Language, languages
from pay_ivr.prompts import example
from pay_ivr.sentences import VALUES
from pay_ivr.speech import Speech
from tests.support.listening import error_rate, heard, in_words, write_sound

RATE_MAX = 0.15
"""Character errors a language may have on average; the engines that were not taken had 0.19 to 0.72."""
EVERY = 4
"""Every fourth sentence is read back: about two minutes of speech a language."""
NAMES = {"tenant", "reward", "text"}
"""Values of no language: a recogniser that hears an English name in French text answers with anything."""
CODES = {"code", "receipt", "reference"}
"""Values that are said sign by sign."""
SENTENCES = [key for key in Key if not NAMES & set(VALUES.get(key, {}))][::EVERY]
SPOKEN = [language for language in languages().values() if language.voice]


def has_code(key: Key) -> bool:
    """Some of it is said sign by sign."""
    return bool(CODES & set(VALUES.get(key, {})))


@pytest.mark.proof
@pytest.mark.parametrize("language", SPOKEN, ids=lambda language: language.tag)
async def test_prompts_are_understood(language: Language, tmp_path: Path):
    """The character error rate over µ-law stays below 0.15."""
    catalogue, files, texts = Catalogue(), [], []
    speech = Speech(catalogue, tmp_path / "data")
    for key in SENTENCES:
        prompt = await speech.prompt(language.tag, key, slow=False, **example(key))
        files.append(write_sound(tmp_path / f"{key}.wav", prompt.ulaw))
        texts.append(catalogue.text(language.tag, key, **example(key)))
    await speech.close()
    rates = [
        error_rate(in_words(language, said, singly=coded), in_words(language, back, singly=coded))
        for said, back, coded in zip(texts, heard(language.tag, files), map(has_code, SENTENCES), strict=True)
    ]
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


def test_codes_are_compared_sign_by_sign():
    """`482-13` and `K7` are what `four eight two, one three` and `kay seven` sound like."""
    english = languages()["en-US"]
    said = "Your code is: four eight two, one three, kay seven."
    assert in_words(english, said, singly=True) == in_words(english, "Your code is 482-13, K7.", singly=True)
