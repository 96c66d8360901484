"""How often is too often for PINs: what a caller, a PIN value and a tenant may miss in an hour and a day.

Pure: rules, the windows they count in, and which of them a set of counts breaks. Only misses count: a right
PIN takes its own count back. A member's own tries are not here: they have no window (`tries` in `[pin]`).
Windows are those of the clock in UTC, so that a count needs one row and no list of times; whoever waits for
the hour to turn gets at most what two hours allow, and docs/pins.md reckons with that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
"""Also how long one key for marks of PIN values lives: a mark tells nothing about those of other days."""


class PinKind(StrEnum):
    """What misses are counted together by."""

    CALLER = "caller"
    WITHHELD = "withheld"
    """Everybody of a tenant who withholds his number is one caller."""
    VALUE = "value"
    """The PIN that was tried, whoever's it was meant to be."""
    TENANT = "tenant"
    CODES = "codes"
    """Reset codes issued for one member."""


class PinLimit(StrEnum):
    """Why a PIN is not compared, as the log says it."""

    CALLER_HOUR = "caller_hour"
    CALLER_DAY = "caller_day"
    WITHHELD_HOUR = "withheld_hour"
    WITHHELD_DAY = "withheld_day"
    VALUE_HOUR = "value_hour"
    VALUE_DAY = "value_day"
    TENANT_HOUR = "tenant_hour"
    TENANT_DAY = "tenant_day"
    CODES_DAY = "codes_day"


@dataclass(frozen=True)
class PinRule:
    """At most `most` misses of one kind and mark in one window of the clock."""

    limit: PinLimit
    kind: PinKind
    window_s: int
    most: int


@dataclass(frozen=True)
class PinVelocity:
    """The limits of one tenant; 0 switches one off."""

    caller_misses_per_hour: int = 10
    """A family at one telephone; a member who misses three times is locked long before."""
    caller_misses_per_day: int = 20
    withheld_misses_per_hour: int = 60
    """All withheld numbers together: a tenth of honest callers withhold, one entry in ten misses."""
    withheld_misses_per_day: int = 300
    value_misses_per_hour: int = 20
    """Honest misses are slips, and slips are spread over thousands of values."""
    value_misses_per_day: int = 60
    tenant_misses_per_hour: int = 600
    """Six thousand honest entries with one miss in ten: more than a node's calls bring."""
    tenant_misses_per_day: int = 3_000

    def rules(self) -> tuple[PinRule, ...]:
        """The rules in force, narrowest first: the first one broken is the one in the log."""
        kind, limit = PinKind, PinLimit
        every = (
            PinRule(limit.CALLER_HOUR, kind.CALLER, HOUR_S, self.caller_misses_per_hour),
            PinRule(limit.CALLER_DAY, kind.CALLER, DAY_S, self.caller_misses_per_day),
            PinRule(limit.WITHHELD_HOUR, kind.WITHHELD, HOUR_S, self.withheld_misses_per_hour),
            PinRule(limit.WITHHELD_DAY, kind.WITHHELD, DAY_S, self.withheld_misses_per_day),
            PinRule(limit.VALUE_HOUR, kind.VALUE, HOUR_S, self.value_misses_per_hour),
            PinRule(limit.VALUE_DAY, kind.VALUE, DAY_S, self.value_misses_per_day),
            PinRule(limit.TENANT_HOUR, kind.TENANT, HOUR_S, self.tenant_misses_per_hour),
            PinRule(limit.TENANT_DAY, kind.TENANT, DAY_S, self.tenant_misses_per_day),
        )
        return tuple(rule for rule in every if rule.most)


NO_LIMITS = PinVelocity(0, 0, 0, 0, 0, 0, 0, 0)
"""For the negative control of the attack simulation, and for nothing else."""


def window_of(window_s: int, now_ms: int) -> int:
    """Which window of the clock this moment is in."""
    return now_ms // (window_s * 1000)


def window_end_ms(window_s: int, now_ms: int) -> int:
    """When that window ends."""
    return (window_of(window_s, now_ms) + 1) * window_s * 1000


def broken(rules: Iterable[PinRule], misses: Mapping[tuple[PinKind, int], int]) -> PinLimit | None:
    """The first rule that one more miss would break; `misses` so far by kind and window length."""
    return next(
        (rule.limit for rule in rules if misses.get((rule.kind, rule.window_s), 0) >= rule.most), None
    )
