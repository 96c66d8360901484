"""How often is too often: what one card, one caller, one issuer's range and one tenant may try.

Pure: rules, and which of them a set of counts breaks. A carding attack tries many cards, many of one range,
from few telephones, and most of them are declined; an honest caller has one card, perhaps two, and mistypes.
Card networks charge for attempts with a card that keeps being declined (Visa: 15 in 30 days). The lines only
say "declined"; which limit it was stands in the log.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S
WINDOW_MAX_S = 30 * DAY_S
"""The longest window: what is older than that is swept."""
DO_NOT_TRY_AGAIN_DAYS_MAX = 400
"""After a year a bank may have issued the same PAN again, and nobody should be kept out for ever."""


class Kind(StrEnum):
    """What attempts are counted together by."""

    CARD = "card"
    BIN = "bin"
    CALLER = "caller"
    TENANT = "tenant"


class Counted(StrEnum):
    """Which attempts count."""

    ATTEMPTS = "attempts"
    """All that were sent, or may have been."""
    DECLINES = "declines"
    """All that were not approved, those under way included: a hundred at once are a hundred tries."""
    CARDS = "cards"
    """Different cards."""


class Limit(StrEnum):
    """Why an attempt is not sent, as the log says it."""

    CARD_BARRED = "card_barred"
    """The issuer said: do not try again."""
    CARD_ATTEMPTS = "card_attempts"
    CARD_DECLINES = "card_declines"
    CALLER_ATTEMPTS = "caller_attempts"
    CALLER_CARDS = "caller_cards"
    BIN_DECLINES = "bin_declines"
    TENANT_ATTEMPTS = "tenant_attempts"
    TENANT_DECLINES = "tenant_declines"


@dataclass(frozen=True)
class Rule:
    """At most `most` of what is counted in any `window_s` seconds."""

    limit: Limit
    kind: Kind
    counted: Counted
    window_s: int
    most: int


@dataclass(frozen=True)
class Velocity:
    """The limits of one tenant; 0 switches one off."""

    card_attempts_per_day: int = 6
    """Two payments with three attempts each."""
    card_declines_per_month: int = 15
    """What Visa counts before it charges a fee for each more."""
    caller_attempts_per_hour: int = 10
    """Three payments and a slip; who withholds his number is counted by card, range and tenant alone."""
    caller_cards_per_day: int = 5
    """A family's purse; a carder has hundreds."""
    bin_declines_per_hour: int = 30
    """A large issuer's customers at a busy site stay below; an enumeration is there within minutes."""
    tenant_attempts_per_hour: int = 6_000
    """A full node: 500 calls at once, five minutes each."""
    tenant_declines_per_hour: int = 1_200
    """One in five of those; honest lines see one in ten."""
    do_not_try_again_days: int = 30
    """How long a card stays barred after its issuer said so; also the networks' own period."""

    def rules(self) -> tuple[Rule, ...]:
        """The rules in force, narrowest first: the first one broken is the one in the log."""
        counted = Counted
        every = (
            Rule(Limit.CARD_ATTEMPTS, Kind.CARD, counted.ATTEMPTS, DAY_S, self.card_attempts_per_day),
            Rule(Limit.CARD_DECLINES, Kind.CARD, counted.DECLINES, 30 * DAY_S, self.card_declines_per_month),
            Rule(Limit.CALLER_ATTEMPTS, Kind.CALLER, counted.ATTEMPTS, HOUR_S, self.caller_attempts_per_hour),
            Rule(Limit.CALLER_CARDS, Kind.CALLER, counted.CARDS, DAY_S, self.caller_cards_per_day),
            Rule(Limit.BIN_DECLINES, Kind.BIN, counted.DECLINES, HOUR_S, self.bin_declines_per_hour),
            Rule(Limit.TENANT_ATTEMPTS, Kind.TENANT, counted.ATTEMPTS, HOUR_S, self.tenant_attempts_per_hour),
            Rule(Limit.TENANT_DECLINES, Kind.TENANT, counted.DECLINES, HOUR_S, self.tenant_declines_per_hour),
        )
        return tuple(rule for rule in every if rule.most)


def broken(rules: Iterable[Rule], counts: Mapping[Limit, int]) -> Limit | None:
    """The first rule that one more attempt would break; `counts` are those before it, own card left out."""
    return next((rule.limit for rule in rules if counts.get(rule.limit, 0) >= rule.most), None)
