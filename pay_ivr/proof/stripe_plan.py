"""Which calls the leak proof places with a tenant of Stripe's, and what happens to the provider meanwhile.

The calls of a round go from stop to stop together. At a stop live memory is searched, and then something
happens that the calls meet on the way to the next one: the provider's port is shut or opened, or the broker
is killed.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pay_ivr.proof.canary import BIN, CVV_DIGITS, UNIFORM_OF_PAN
from pay_ivr.proof.plan import CODECS, DEFAULT_RUNS, HUNG_UP_AFTER, PAUSED_AFTER, TRANSPORTS, Moment, Run


class Scenario(StrEnum):
    """What becomes of a call."""

    APPROVED = "approved"
    DECLINED = "declined, then another card"
    CELL_WAITS = "no answer to the cell"
    """The provider holds the answer past the cell's patience, twice; the caller keys the CVV again."""
    BROKER_WAITS = "no answer to the broker"
    """It holds the answer to the charge past the broker's patience; asked again, it answers."""
    CELL_REFUSED = "connection refused to the cell"
    BROKER_REFUSED = "connection refused to the broker"
    HUNG_UP = "hung up mid-field"
    KILLED_KEYING = "broker killed mid-capture"
    KILLED_CHARGING = "broker killed while authorising"


class When(StrEnum):
    """Where a call is when live memory is searched."""

    FIELD = "digits in the cell"
    WAITING = "no answer yet"
    READY = "ready"
    DECLINED = "declined"
    REFUSED = "refused"
    RESULT = "after the result"
    HUNG_UP = "after the hang-up"
    KILLED = "after the kill"


class Then(StrEnum):
    """What happens at a stop when its search is over."""

    NOTHING = "nothing"
    SHUT = "the provider's port is shut"
    OPEN = "it is opened"
    KILL = "the broker is killed"


class Stop(NamedTuple):
    """One place at which the calls of a round wait for each other."""

    searched: bool
    then: Then


KEYED_ONCE = len(UNIFORM_OF_PAN) + CVV_DIGITS
CVV_KEYED_AGAIN = frozenset({Scenario.CELL_WAITS, Scenario.CELL_REFUSED, Scenario.BROKER_REFUSED})
LOST = frozenset({Scenario.HUNG_UP, Scenario.KILLED_KEYING})
"""Their cards are never complete."""
SECOND_CARD = 1
"""Which of a run's two cards; added to the run's number, its name."""
NUMBERS_APART = 2


@dataclass(frozen=True)
class StripeRun(Run):
    """One call with the tenant of Stripe's."""

    scenario: Scenario = Scenario.APPROVED

    @property
    def presses(self) -> int:
        """Presses of digits that were drawn uniformly: what the attacker is asked about."""
        if self.scenario is Scenario.HUNG_UP:
            return HUNG_UP_AFTER - len(BIN)
        if self.scenario is Scenario.KILLED_KEYING:
            return PAUSED_AFTER - len(BIN)
        if self.scenario is Scenario.DECLINED:
            return 2 * KEYED_ONCE
        return KEYED_ONCE + (CVV_DIGITS if self.scenario in CVV_KEYED_AGAIN else 0)

    @property
    def ends_early(self) -> bool:
        """True when the card is never complete."""
        return self.scenario in LOST


@dataclass(frozen=True)
class StripeRound:
    """Calls at once, and their stops."""

    runs: tuple[StripeRun, ...]
    stops: tuple[Stop, ...]


GOOD_LINE = (
    (Scenario.APPROVED, Scenario.DECLINED, Scenario.CELL_WAITS, Scenario.BROKER_WAITS, Scenario.HUNG_UP),
    (Stop(True, Then.NOTHING),) * 4,
)
"""The provider answers, late at times."""
TROUBLE = (
    (
        Scenario.KILLED_KEYING,
        Scenario.KILLED_CHARGING,
        Scenario.CELL_REFUSED,
        Scenario.BROKER_REFUSED,
        Scenario.KILLED_KEYING,
        Scenario.KILLED_CHARGING,
    ),
    (Stop(True, Then.SHUT), Stop(True, Then.OPEN), Stop(True, Then.KILL), Stop(True, Then.NOTHING)),
)
"""It cannot be reached for a while; then the broker dies."""
SAMPLE = (
    (Scenario.KILLED_KEYING, Scenario.CELL_REFUSED, Scenario.HUNG_UP),
    (Stop(False, Then.SHUT), Stop(True, Then.OPEN), Stop(False, Then.KILL), Stop(True, Then.NOTHING)),
)
"""What a short proof has of it."""


def stripe_rounds(runs: int, first_number: int) -> list[StripeRound]:
    """All scenarios for a whole proof, a sample for a short one; numbers from `first_number` on."""
    made = []
    for scenarios, stops in (GOOD_LINE, TROUBLE) if runs >= DEFAULT_RUNS else (SAMPLE,):
        numbers = range(first_number, first_number + NUMBERS_APART * len(scenarios), NUMBERS_APART)
        each = enumerate(zip(scenarios, numbers, strict=True))
        made.append(StripeRound(tuple(_run(n, lane, one) for lane, (one, n) in each), stops))
        first_number = numbers.stop
    return made


def _run(number: int, lane: int, scenario: Scenario) -> StripeRun:
    """Every way of keying in its turn; both codecs on either side."""
    moment = Moment.HUNG_UP if scenario is Scenario.HUNG_UP else Moment.RESULT
    codec = CODECS[lane // 2 % len(CODECS)]
    return StripeRun(number, lane, TRANSPORTS[lane], codec, "clean", None, moment, scenario=scenario)
