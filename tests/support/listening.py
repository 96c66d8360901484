"""A recogniser as a person's ear: what it understands of WAV files, and how far that is from what was said.

It runs in an environment of its own, which `make listen` installs.
"""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pay_ivr import sound
from pay_ivr.languages import Language
from pay_ivr.pieces import letters
from pay_ivr.wav import write_wav

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".tools" / "listen" / "bin" / "python"
RECOGNISER = ROOT / "tests" / "listen" / "recogniser.py"
TIMEOUT_S = 900
AROUND = b"\xff" * 4_000
"""Half a second of silence before and after: without it a recogniser may take a short sentence for noise."""


def write_sound(file: Path, ulaw: bytes) -> Path:
    """The µ-law of a telephone line as a WAV file."""
    file.write_bytes(write_wav(sound.decode_ulaw(AROUND + ulaw + AROUND).tobytes()))
    return file


def heard(tag: str, files: Sequence[Path]) -> list[str]:
    """What the recogniser understands, file by file."""
    assert PYTHON.exists(), "the recogniser is not installed: run `make listen`"
    run = subprocess.run(
        [PYTHON, RECOGNISER, tag[:2], *files], capture_output=True, check=True, timeout=TIMEOUT_S
    )
    return [json.loads(line) for line in run.stdout.decode().splitlines()]


def in_words(language: Language, text: str, *, singly: bool = False) -> str:
    """Letters only, with every figure in words: a recogniser writes `1,234` where the voice says words.

    `singly`: the sentence holds a code, so what it writes as `482` or `K7P` was said sign by sign.
    """
    if singly:
        return letters(re.sub(r"\b(?=\w*\d|[A-Z]{2})[A-Z\d]+\b", lambda found: language.code(found[0]), text))
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
