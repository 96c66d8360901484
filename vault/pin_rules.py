"""Which PINs are too easy: repetitions, runs, lines of the keypad, and the owner's birth date.

Pure, and blind to text: the digits stay in the secret page and are compared in place. What is forbidden here
is what attackers try first; the list is short enough that a caller understands each refusal, and it makes the
space that must be guessed smaller by less than one in fifty (docs/pins.md has the count).
"""

from collections.abc import Iterator
from datetime import date
from itertools import permutations

from vault.card import SecretDigits

PIN_DIGITS_MIN, PIN_DIGITS_MAX = 4, 12
"""ISO 9564-1 §7: no PIN is shorter or longer."""
CODE_DIGITS = 8
"""A reset code is sent out of band and typed off a screen: as long as people copy without a slip."""

KEYPAD_LINES = (
    b"2580",
    b"0852",
    b"1470",
    b"0741",
    b"3690",
    b"0963",
    b"1590",
    b"3570",
    b"147258369",
    b"159753",
)
"""Straight lines over the keypad that are no run of numbers."""

_TEN = 10


def easy(digits: SecretDigits, born: tuple[bytes, ...] = ()) -> bool:
    """True when these digits are what somebody would try first; `born`: the forms of `birth_forms`."""
    return _repeats(digits) or _runs(digits) or digits.view() in KEYPAD_LINES or digits.view() in born


def birth_forms(born: str) -> tuple[bytes, ...]:
    """A birth date as PINs: any one to three of day, month and year in any order, with and without zeros.

    `born` is an ISO date or empty. DDMM, MMDD, MMYY, YYYY, DDMMYY, MMDDYY and their like are all in it.
    """
    return tuple(sorted(set(_birth_forms(date.fromisoformat(born))))) if born else ()


def _birth_forms(day: date) -> Iterator[bytes]:
    days = {f"{day.day:02}", str(day.day)}
    months = {f"{day.month:02}", str(day.month)}
    years = {f"{day.year:04}", f"{day.year % 100:02}"}
    for count in (1, 2, 3):
        for parts in permutations((days, months, years), count):
            texts = [""]
            for part in parts:
                texts = [head + one for head in texts for one in part]
            yield from (text.encode() for text in texts if PIN_DIGITS_MIN <= len(text) <= PIN_DIGITS_MAX)


def _repeats(digits: SecretDigits) -> bool:
    """True for one digit, a pair or a longer half that comes again and again: 1111, 1212, 123123."""
    length = len(digits)
    periods = (period for period in range(1, length // 2 + 1) if length % period == 0)
    return any(
        all(digits.digit(place) == digits.digit(place - period) for place in range(period, length))
        for period in periods
    )


def _runs(digits: SecretDigits) -> bool:
    """True for equal steps up or down by one or two, over the nine as well: 1234, 9876, 8901, 2468."""
    steps = {(digits.digit(place) - digits.digit(place - 1)) % _TEN for place in range(1, len(digits))}
    return len(steps) == 1 and steps <= {1, 2, _TEN - 2, _TEN - 1}
