"""What an attempt's outcome makes of its payment.

Pure. A sale is authorised and settled in one; a pre-authorisation is held; an account check moves nothing, so
that a lost one counts as never sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vault.door import Decline, NextStep, PaymentState, Why
from vault.payment import Move, decline_of, move_of
from vault.providers.base import Order, Outcome, OutcomeKind
from vault.step import utc
from vault.store import AttemptRow, PaymentRow

LIMITED = "limited"
"""Raw code of an attempt that one of our own limits forbade: nothing was sent."""
NEVER_SENT = "never_sent"

_TOLD: Mapping[Move, tuple[str, Why]] = {
    Move.AUTHORISE: ("payment.attempt.authorised", Why.AUTHORISED),
    Move.DECLINE: ("payment.attempt.declined", Why.DECLINED),
    Move.REFER: ("payment.attempt.referred", Why.NEEDS_ACTION),
    Move.DOUBT: ("payment.attempt.lost", Why.UNKNOWN),
    Move.CHECK: ("payment.card.checked", Why.CHECKED),
}
_OVER = frozenset({Move.AUTHORISE, Move.REFER, Move.CHECK})


@dataclass(frozen=True)
class Verdict:
    """What a payment becomes, and what is told of it."""

    moves: tuple[Move, ...]
    entry: str
    """Name of the log's entry about the attempt."""
    why: Why
    raw_code: str = ""
    values: Mapping[str, Any] | None = None
    decline: Decline | None = None

    @property
    def move(self) -> Move:
        """What the attempt came to."""
        return self.moves[-1] if self.moves[0] is Move.CHARGE else self.moves[0]

    @property
    def settles(self) -> bool:
        """True when the money has moved."""
        return Move.SETTLE in self.moves

    @property
    def over(self) -> bool:
        """True when nobody keys for this payment any more."""
        return self.move in _OVER or (self.decline is not None and not self.decline.retry_allowed)


def verdict(row: PaymentRow, outcome: Outcome) -> Verdict:
    """What `outcome` of the attempt under way makes of the payment."""
    move = _move(row, outcome)
    entry, why = _TOLD[move]
    if move is Move.AUTHORISE:
        moves = (move, Move.SETTLE) if outcome.settled else (move,)
        values: dict[str, Any] = {"charge_ref": outcome.step_ref, "hold_until": utc(outcome.hold_until)}
        if outcome.settled:
            values |= {"settled_minor": row.amount_minor, "hold_until": ""}
        return Verdict(moves, entry, why, outcome.raw_code, values)
    if move is Move.DECLINE:
        raw_code = outcome.raw_code
        if outcome.kind in {OutcomeKind.NEVER_SENT, OutcomeKind.UNKNOWN}:
            raw_code = raw_code or NEVER_SENT
        told = NEVER_SENT if outcome.kind is not OutcomeKind.DECLINED else raw_code
        decline = decline_of(told, outcome.advice, row.attempt)
        return Verdict((move,), entry, why, raw_code, {"decline": decline, "token": None}, decline)
    return Verdict((move,), entry, why, outcome.raw_code)


def limited(row: PaymentRow, attempt: int) -> Verdict:
    """What one of our own limits makes of a payment: a decline like any other, and nothing is sent."""
    decline = decline_of(LIMITED, "", attempt)
    entry, why = _TOLD[Move.DECLINE]
    values = {"decline": decline, "token": None, "attempt": attempt, "provider_ref": row.provider_ref}
    return Verdict((Move.CHARGE, Move.DECLINE), entry, why, LIMITED, values, decline)


def moved_on(found: Verdict, provider: str) -> Verdict:
    """The same decline, but the next attempt goes to another provider: the card is keyed from the start."""
    assert found.decline is not None
    decline = replace(found.decline, next_step=NextStep.REKEY_PAN)
    elsewhere = {"provider": provider, "provider_ref": None, "customer_ref": ""}
    return replace(found, decline=decline, values={**(found.values or {}), **elsewhere, "decline": decline})


def ended(attempt: AttemptRow, found: Verdict, outcome: Outcome) -> AttemptRow:
    """The attempt as it will be stored, for whoever looks at a payment's attempts before the commit."""
    return replace(attempt, state=PaymentState.DECLINED, raw_code=found.raw_code, advice=outcome.advice)


def order_of(row: PaymentRow) -> Order:
    """What a provider is told about a payment before any card is known."""
    return Order(
        row.payment_id,
        row.tenant,
        row.amount_minor,
        row.currency,
        row.sca_basis,
        settle_later=row.settle_later,
        keep_card=bool(row.mandate),
        customer_ref=row.customer_ref,
    )


def _move(row: PaymentRow, outcome: Outcome) -> Move:
    if row.check_only and outcome.kind is OutcomeKind.AUTHORISED:
        return Move.CHECK
    if row.check_only and outcome.kind is OutcomeKind.UNKNOWN:
        return Move.DECLINE
    return move_of(outcome)
