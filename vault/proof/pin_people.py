"""The members of the PIN attack simulation: what they have chosen, and what is therefore worth trying.

A model, not a survey: two in five PINs are any number that is allowed, the others are somebody's day and
month or a year of birth, recent years more often. What is too easy to be allowed is not chosen. The attacker
knows this distribution exactly, which no real one does.
"""

from itertools import accumulate
from random import Random

from vault.card import SecretDigits
from vault.pin_rules import PIN_DIGITS_MAX, easy

ANY, DAYS, YEARS = 0.40, 0.35, 0.25
"""Shares of those who choose any number, a day and month, a year."""
YEAR_FIRST, YEAR_LAST = 1940, 2015
LENGTH = 4
"""Everybody here has the shortest PIN that is allowed: the attacker's best case."""


class People:
    """PINs by how many have chosen them."""

    def __init__(self) -> None:
        weights = dict.fromkeys(filter(_allowed, (f"{number:04}" for number in range(10**LENGTH))), 0.0)
        days = [f"{day:02}{month:02}" for month in range(1, 13) for day in range(1, 32)]
        years = {str(year): 1.0 + (year - YEAR_FIRST) / 25 for year in range(YEAR_FIRST, YEAR_LAST + 1)}
        _spread(weights, dict.fromkeys(weights, 1.0), ANY)
        _spread(weights, dict.fromkeys(days, 1.0), DAYS)
        _spread(weights, years, YEARS)
        self.ranked = tuple(sorted(weights, key=weights.__getitem__, reverse=True))
        """Every allowed PIN, the most common first."""
        self.share = weights
        """PIN -> the part of all members who have it."""
        self._sums = tuple(accumulate(weights[pin] for pin in self.ranked))

    def choose(self, dice: Random) -> str:
        """Somebody's PIN."""
        return dice.choices(self.ranked, cum_weights=self._sums)[0]


def _allowed(pin: str) -> bool:
    digits = SecretDigits(memoryview(bytearray(PIN_DIGITS_MAX)))
    for digit in pin:
        digits.append(int(digit))
    return not easy(digits)


def _spread(weights: dict[str, float], wanted: dict[str, float], share: float) -> None:
    """Gives `share` of all to these PINs in proportion, those that are not allowed left out."""
    allowed = {pin: weight for pin, weight in wanted.items() if pin in weights}
    whole = sum(allowed.values())
    for pin, weight in allowed.items():
        weights[pin] += share * weight / whole
