"""The bound of docs/pins.md: how many PINs an attack may find at most, computed from the limits alone.

Pure. A limit of `most` misses per window lets an attack of a given time miss at most `most` times in every
window of the clock that it touches. Each compared guess of value v finds somebody with probability p(v), so
that m misses with v come with m · p / (1 - p) finds on average, and the attacker's best plan spends what all
limits together leave him on the most common values first.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf

from vault.pin_velocity import PinKind, PinRule, window_of

CERTAINTY = 0.999
"""One run in a thousand of a right program may find more than the bound."""


@dataclass(frozen=True)
class Span:
    """When an attack began and ended, in milliseconds of the clock."""

    first_ms: int
    last_ms: int

    def windows(self, window_s: int) -> int:
        """How many windows of the clock it touches."""
        return window_of(window_s, self.last_ms) - window_of(window_s, self.first_ms) + 1


def most_misses(rules: Iterable[PinRule], kind: PinKind, span: Span) -> float:
    """How often one mark of this kind may miss; infinity without a rule."""
    return min((rule.most * span.windows(rule.window_s) for rule in rules if rule.kind is kind), default=inf)


def expected_finds(
    rules: Sequence[PinRule],
    span: Span,
    guesses: int,
    callers: int,
    shares: Sequence[float],
    *,
    withheld: bool,
) -> float:
    """The most that may be found on average by spraying; `shares` of the PINs, the most common first."""
    caller = PinKind.WITHHELD if withheld else PinKind.CALLER
    of_callers = most_misses(rules, caller, span) * (1 if withheld else callers)
    left = min(guesses, of_callers, most_misses(rules, PinKind.TENANT, span))
    per_value = most_misses(rules, PinKind.VALUE, span)
    found = 0.0
    for share in shares:
        misses = min(per_value, left)
        found += misses * share / (1 - share)
        left -= misses
        if left <= 0:
            break
    return min(found, float(guesses))


def expected_by_one(tries: int, members: int, shares: Sequence[float]) -> float:
    """The most that may be found on average by guessing at members one by one until each is locked."""
    return members * sum(shares[:tries])


def bound(expected: float) -> int:
    """What a Poisson count of this mean exceeds in one run of a thousand at most."""
    if expected <= 0:
        return 0
    count, chance = 0, exp(-expected)
    total = chance
    while total < CERTAINTY:
        count += 1
        chance *= expected / count
        total += chance
        if count > 10 * expected + 100:  # far beyond: exp has underflowed, a normal count is as good
            return round(expected + 3.1 * math.sqrt(expected))
    return count
