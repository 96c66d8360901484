"""The last net: finds a PAN-like run of digits in text that must not hold one.

A run is 13 to 19 digits (of any script; single spaces, dashes or dots between them allowed), valid by Luhn
(ISO/IEC 7812-1 annex B). The protection is the type barrier of the vault; this net catches what was typed.
"""

import re

RUN_DIGITS_MIN = 13
"""Shortest PAN still issued."""
RUN_DIGITS_MAX = 19
"""Longest PAN of ISO/IEC 7812-1."""

_RUN = re.compile(r"\d(?:[ .\-\u00a0]?\d){12,}")
MASK = "[masked]"


def holds_pan(text: str) -> bool:
    """True when some maximal digit run of `text` could be a PAN."""
    return any(_is_pan(found.group()) for found in _RUN.finditer(text))


def masked(text: str) -> str:
    """`text` with every PAN-like run replaced by `MASK`."""
    return _RUN.sub(lambda found: MASK if _is_pan(found.group()) else found.group(), text)


def _is_pan(run: str) -> bool:
    digits = [int(character) for character in run if character.isdecimal()]
    return RUN_DIGITS_MIN <= len(digits) <= RUN_DIGITS_MAX and _luhn_sum(digits) % 10 == 0


def _luhn_sum(digits: list[int]) -> int:
    doubled = (digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2])
    return sum(digits[-1::-2]) + sum(doubled)
