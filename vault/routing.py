"""Which of a tenant's providers a payment may go to: decisions only, `now` as an argument.

A provider is left for another one when nothing was sent to it, and in no other case by itself. What a router
must never do (and `tests/vault/test_router.py` tries to make this one do):

1. fail over after an unknown outcome;
2. change the provider while something at the first one can still be paid: an attempt without a definite
   answer, an open link;
3. take a 5xx, a lock time-out or a cut connection for "not executed";
4. try a hard decline or a suspicion of fraud somewhere else;
5. use a key or a token of one provider at another;
6. send a settle, void or refund to another provider than that of the charge;
7. count a decline as an outage.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

from vault.providers.base import MOTO_BASES, Abilities, Order, Outcome, OutcomeKind

MISSES_MAX = 3
"""Misses one after the other that open a breaker: one is an accident, and a fourth caller need not wait."""
MISS_WINDOW_S = 60.0
"""Misses further apart than this do not belong together."""
OPEN_S = 30.0
"""How long a provider is left alone before one payment tries it again: restarts take about so long."""
CASCADES_MAX = 1
"""Declines that may send a payment on: card schemes fine merchants for more tries with a card."""

SOFT_DECLINES = frozenset(
    {"issuer_not_available", "processing_error", "reenter_transaction", "try_again_later"}
)
"""Raw codes that say "not now" and nothing about card or person; any other is hard, an unknown one too."""


class Heard(StrEnum):
    """What one call of a provider says about the provider."""

    ANSWERED = "answered"
    """Anything definite, declines and refusals included."""
    NEVER_SENT = "never_sent"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """A 5xx, a cut connection, an unreadable answer: it was reached, so this is no outage."""


@dataclass(frozen=True)
class Breaker:
    """How a provider did lately: closed with few misses, open after many, on trial when its pause is over."""

    misses: int = 0
    missed_at: float = 0.0
    closed_to: float = 0.0
    """Until when nothing is sent; 0 when nothing is held against it."""

    def lets_through(self, now: float) -> bool:
        """True when a payment may be sent now."""
        return now >= self.closed_to

    def tried(self, now: float) -> "Breaker":
        """After a payment was let through: on trial, others keep away until there is an answer."""
        return replace(self, closed_to=now + OPEN_S) if self.closed_to else self

    def after(self, heard: Heard, now: float) -> "Breaker":
        """After one call."""
        if heard is Heard.ANSWERED:
            return Breaker()
        if heard is Heard.LOST:
            return self
        together = self.misses if now - self.missed_at <= MISS_WINDOW_S else 0
        misses = min(together + 1, MISSES_MAX)
        opened = misses >= MISSES_MAX or self.closed_to > 0
        return Breaker(misses, now, now + OPEN_S if opened else 0.0)


@dataclass(frozen=True)
class Tried:
    """One attempt of a payment so far, oldest first in a history."""

    provider: str
    kind: OutcomeKind | None
    """None while it is under way."""
    raw_code: str = ""
    advice: str = ""

    @property
    def soft(self) -> bool:
        """True for a decline that another provider might not repeat."""
        advised = self.advice in {"", "try_again_later"}
        return self.kind is OutcomeKind.DECLINED and self.raw_code in SOFT_DECLINES and advised


class Stay(StrEnum):
    """Why a payment does not go on to another provider."""

    FIRST = "first"
    """It begins, at the preferred provider that works."""
    UNRESOLVED = "unresolved"
    """An attempt has no definite answer yet: no other one, nowhere."""
    PAYABLE_ELSEWHERE = "payable_elsewhere"
    """A link is open there: close it first."""
    PAID = "paid"
    NEEDS_ACTION = "needs_action"
    """The bank's page may still confirm an attempt there."""
    DECLINED = "declined"
    """The answer was about the card or the person; another card may be tried where it was declined."""
    NOBODY_ELSE = "nobody_else"


@dataclass(frozen=True)
class Decision:
    """Where the next attempt goes. `provider` None: there must not be one now."""

    provider: str | None
    stay: Stay | None = None
    """None: it moves on to another provider."""

    @property
    def moves(self) -> bool:
        """True: key the card again; reference, token and link of the provider before are of no use there."""
        return self.stay is None


def first(route: Sequence[str], breakers: Mapping[str, Breaker], now: float) -> str:
    """The provider for a payment without a history: the first that works, else the first of all.

    When nobody works the preferred one is tried all the same: a caller is better served by a try that fails
    fast than by none.
    """
    return next((name for name in route if _works(name, breakers, now)), route[0])


def following(
    route: Sequence[str],
    history: Sequence[Tried],
    breakers: Mapping[str, Breaker],
    now: float,
    *,
    cascade: bool = False,
    payable: Collection[str] = (),
) -> Decision:
    """Where the next attempt of a payment goes.

    `route`: the providers that can do what it needs, the preferred one first. `payable`: providers at which
    it could be paid without us, on an open link. `cascade`: a soft decline may move it on, once.
    """
    decision = _wanted(route, history, breakers, now, cascade=cascade)
    if decision.provider is None or set(payable) <= {decision.provider}:
        return decision
    home = history[-1].provider if history else min(payable)
    return Decision(home if set(payable) == {home} else None, Stay.PAYABLE_ELSEWHERE)


def _wanted(
    route: Sequence[str],
    history: Sequence[Tried],
    breakers: Mapping[str, Breaker],
    now: float,
    *,
    cascade: bool,
) -> Decision:
    """As `following`, for a payment that nobody else can pay."""
    if not history:
        return Decision(first(route, breakers, now), Stay.FIRST)
    last, unfit = history[-1], _unfit(history)
    if unfit is not None:
        return Decision(None, unfit)
    if any(tried.kind is OutcomeKind.REQUIRES_ACTION for tried in history):
        return Decision(last.provider, Stay.NEEDS_ACTION)
    if last.kind is OutcomeKind.DECLINED and not (
        cascade and last.soft and _cascades(history) < CASCADES_MAX
    ):
        return Decision(last.provider, Stay.DECLINED)
    other = _other(route, history, breakers, now)
    return Decision(other) if other else Decision(last.provider, Stay.NOBODY_ELSE)


def _unfit(history: Sequence[Tried]) -> Stay | None:
    """Why there must be no further attempt at all; None when every one so far is definitely over."""
    kinds = {tried.kind for tried in history}
    if OutcomeKind.AUTHORISED in kinds:
        return Stay.PAID
    if kinds & {None, OutcomeKind.UNKNOWN}:
        return Stay.UNRESOLVED
    return Stay.NEEDS_ACTION if history[-1].kind is OutcomeKind.REQUIRES_ACTION else None


def _cascades(history: Sequence[Tried]) -> int:
    """How often a decline has moved the payment on."""
    pairs = pairwise(history)
    return sum(a.kind is OutcomeKind.DECLINED and a.provider != b.provider for a, b in pairs)


def _other(
    route: Sequence[str], history: Sequence[Tried], breakers: Mapping[str, Breaker], now: float
) -> str | None:
    """The next provider that was not tried yet and works."""
    tried = {each.provider for each in history}
    return next((name for name in route if name not in tried and _works(name, breakers, now)), None)


def _works(name: str, breakers: Mapping[str, Breaker], now: float) -> bool:
    return breakers.get(name, _NEW).lets_through(now)


_NEW = Breaker()


def able(order: Order, abilities: Abilities, *, by_link: bool = False) -> bool:
    """True when a provider can do what a payment needs."""
    return (
        (abilities.moto or order.sca_basis not in MOTO_BASES)
        and (abilities.settle_later or not order.settle_later)
        and (abilities.keeps_cards or not (order.keep_card or order.sca_basis == "mit"))
        and (abilities.links or not by_link)
    )


CELL_GONE, CARD_INCOMPLETE = "cell_gone", "card_incomplete"
"""Raw codes of attempts that were never sent because of us."""

_HEARD: Mapping[OutcomeKind, Heard] = MappingProxyType(
    {
        OutcomeKind.AUTHORISED: Heard.ANSWERED,
        OutcomeKind.DECLINED: Heard.ANSWERED,
        OutcomeKind.REQUIRES_ACTION: Heard.ANSWERED,
        OutcomeKind.NEVER_SENT: Heard.NEVER_SENT,
        OutcomeKind.UNKNOWN: Heard.LOST,
    }
)


def heard_in(outcome: Outcome) -> Heard:
    """What an outcome says about the provider; a time-out is told by whoever waited."""
    ours = outcome.raw_code in {CELL_GONE, CARD_INCOMPLETE}
    return Heard.LOST if ours else _HEARD[outcome.kind]
