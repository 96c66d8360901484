"""One money step, settle, void or refund: what may be asked, what it changes, what a standing says about it.

Pure: no clock, no database, no socket. The schema of vault.db holds the same limits once more
(`refunds_within_settled`, `one_step_is_under_way`). This file owns the rule that a step's key is derived from
payment, name and number, so that neither a restart nor a second press can make a step happen twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from audit.outbox import stamp
from vault.door import PaymentState, Refused, StepName, Why
from vault.payment import UNRESOLVED, Move, after
from vault.providers.base import Abilities, Standing, StandingState, StepKind, StepOutcome
from vault.store import PaymentRow, StepRow

STEPS_MAX = 99
"""Steps of one name per payment: an order has fewer lines to give back one by one."""
REASONS = frozenset({"requested", "duplicate", "mistake", "fraud"})
"""Why somebody asks for a step; a closed list, so that no free text reaches log or provider."""
ORPHAN = "orphan"
"""Our own reason: the provider holds money that our books do not want."""
SALE = "sale"
"""Our own reason: the provider has only authorised what was a sale."""
FOUND = "found"
"""Our own reason: somebody did the step at the provider, without us."""

_ASK_KEY = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_BY = re.compile(r"(?:agent|user|key):[A-Za-z0-9_.@\-]{1,64}|system:[a-z_]{1,32}")


@dataclass(frozen=True)
class Ask:
    """What somebody at the door wants."""

    name: StepName
    amount_minor: int | None
    """None: all of it."""
    by: str
    """As the log names people: `agent:anna`, `key:shop`, `system:flow`."""
    ask_key: str
    """The asker's own: the same one again is the same step."""
    reason: str = "requested"


def check_ask(ask: Ask) -> None:
    """`Refused` when a request is malformed; the same for every payment."""
    if not _ASK_KEY.fullmatch(ask.ask_key):
        raise Refused("ask_key_needed", "Send a fresh key of letters and digits with every step.")
    if not _BY.fullmatch(ask.by):
        raise Refused("bad_request", "Say who asks: agent:id, key:id, user:id or system:name.")
    if ask.reason not in REASONS | {ORPHAN, SALE, FOUND}:
        raise Refused("reason_unknown", "Give one of the reasons requested, duplicate, mistake or fraud.")


def amount_of(row: PaymentRow, ask: Ask, abilities: Abilities) -> int:
    """What the step will move; `Refused` when the payment's state or the amount forbids it."""
    if row.step is not None:
        raise Refused("step_under_way", "Another step of this payment is under way. Wait for its result.")
    if row.state in UNRESOLVED:
        raise Refused("being_checked", "The outcome is being checked. Do not retry; wait for the result.")
    if ask.reason != ORPHAN:
        after(row.state, _MOVES[ask.name])
    whole = _whole(row, ask.name)
    amount = whole if ask.amount_minor is None else ask.amount_minor
    if type(amount) is not int or amount <= 0:
        raise Refused("amount_malformed", "Give the amount as an integer above zero, in minor units.")
    if amount > whole:
        raise _too_large(ask.name)
    if ask.name is StepName.VOID and amount != whole:
        raise Refused("void_is_whole", "What is held is given back as a whole. Settle a part instead.")
    if ask.name is StepName.SETTLE and amount < whole and not abilities.partial_settle:
        raise Refused("partial_settle_off", "The provider settles the whole amount only.")
    return amount


def _too_large(name: StepName) -> Refused:
    if name is StepName.REFUND:
        return Refused("refund_too_large", "That is more than is left of the payment. Refund less.")
    return Refused("settle_too_large", "That is more than was authorised. Settle less.")


def _whole(row: PaymentRow, name: StepName) -> int:
    return row.settled_minor - row.refunded_minor if name is StepName.REFUND else row.amount_minor


_MOVES: Mapping[StepName, Move] = {
    StepName.SETTLE: Move.SETTLE,
    StepName.VOID: Move.VOID,
    StepName.REFUND: Move.PART_REFUND,
}


def step_key(payment_id: str, name: StepName, number: int) -> str:
    """The provider's idempotency key of one step."""
    return f"{payment_id}:{name.value}:{number}"


@dataclass(frozen=True)
class Turn:
    """What a payment becomes."""

    moves: tuple[Move, ...]
    values: Mapping[str, Any]
    entry: str
    """Name of the log's entry about the money that moved."""
    why: Why


ENDED: Mapping[str, Any] = {"step": None, "step_unknown": False, "refunding_minor": 0}


def done(row: PaymentRow, name: StepName, amount_minor: int) -> Turn:
    """What the payment becomes when a step has been done; an orphan's void changes no state."""
    if name is StepName.SETTLE:
        values = {**ENDED, "settled_minor": amount_minor, "hold_until": ""}
        return Turn((Move.SETTLE,), values, "payment.money.settled", Why.SETTLED)
    if name is StepName.VOID:
        ours = row.state is PaymentState.AUTHORISED
        entry = "payment.hold.voided" if ours else "payment.orphan.voided"
        return Turn((Move.VOID,) if ours else (), {**ENDED, "hold_until": ""}, entry, Why.VOIDED)
    refunded = row.refunded_minor + amount_minor
    move = Move.REFUND if refunded == row.settled_minor else Move.PART_REFUND
    values = {**ENDED, "refunded_minor": refunded}
    return Turn((move,), values, "payment.money.refunded", Why.REFUNDED)


def found(step: StepRow, standing: Standing, *, may_run: bool) -> StepOutcome | None:
    """What a standing says about a step whose answer was lost; None when it does not tell.

    `may_run`: the request may still reach the provider, or may be sent again; a step that the provider does
    not know is refused only when it cannot happen any more.
    """
    state = standing.state
    if step.step_key in standing.steps:
        return StepOutcome(StepKind.DONE, step_ref=standing.steps[step.step_key])
    if state is _END_OF.get(step.name):
        return StepOutcome(StepKind.DONE)
    if state in _CLOSED_TO[step.name]:
        return StepOutcome(StepKind.REFUSED, state.value)
    return None if may_run else StepOutcome(StepKind.NEVER_SENT)


_END_OF = {StepName.SETTLE: StandingState.SETTLED, StepName.VOID: StandingState.VOIDED}
"""A payment is settled once and voided once: whoever did it, our step has its end."""
_CLOSED_TO: Mapping[StepName, frozenset[StandingState]] = {
    StepName.SETTLE: frozenset({StandingState.VOIDED}),
    StepName.VOID: frozenset({StandingState.SETTLED}),
    StepName.REFUND: frozenset({StandingState.VOIDED, StandingState.AUTHORISED}),
}
"""Where a step cannot succeed any more: the other end has come first."""


class Finding(StrEnum):
    """What comparing our row with the provider's standing shows."""

    AGREES = "agrees"
    SETTLED = "settled"
    """Settled at the provider, authorised here: we take it over."""
    VOIDED = "voided"
    """Given back or lapsed at the provider, authorised here: we take it over."""
    REFUNDED = "refunded"
    """More went back than we know: we take it over."""
    HOLD_MOVED = "hold_moved"
    """Still held, but until another moment."""
    HELD = "held"
    """An orphan: money is held that our books do not want; it is voided."""
    TAKEN = "taken"
    """An orphan: money has moved that our books do not want; a person must look."""
    CONTRADICTS = "contradicts"
    """The two cannot both be true; a person must look."""


ALARMS = frozenset({Finding.TAKEN, Finding.CONTRADICTS})
_THEIRS = StandingState


def finding(row: PaymentRow, standing: Standing) -> Finding:
    """What a standing shows about a payment; one with an attempt or a step under way is left alone."""
    if row.state in UNRESOLVED or row.step is not None:
        return Finding.AGREES
    if row.state is PaymentState.AUTHORISED:
        return _of_held(row, standing)
    if row.state in {PaymentState.SETTLED, PaymentState.REFUNDED}:
        return _of_settled(row, standing)
    if standing.state is _THEIRS.AUTHORISED:
        return Finding.HELD
    kept = standing.settled_minor - standing.refunded_minor
    return Finding.TAKEN if standing.state is _THEIRS.SETTLED and kept > 0 else Finding.AGREES


def _of_held(row: PaymentRow, standing: Standing) -> Finding:
    match standing.state:
        case _THEIRS.AUTHORISED:
            moved = utc(standing.hold_until) not in {"", row.hold_until}
            return Finding.HOLD_MOVED if moved else Finding.AGREES
        case _THEIRS.VOIDED:
            return Finding.VOIDED
        case _THEIRS.SETTLED if 0 < standing.settled_minor <= row.amount_minor:
            return Finding.SETTLED
        case _THEIRS.UNDER_WAY:
            return Finding.AGREES
    return Finding.CONTRADICTS


def _of_settled(row: PaymentRow, standing: Standing) -> Finding:
    if standing.state is not _THEIRS.SETTLED or standing.settled_minor != row.settled_minor:
        return Finding.CONTRADICTS
    more = standing.refunded_minor - row.refunded_minor
    if more > 0 and standing.refunded_minor <= row.settled_minor:
        return Finding.REFUNDED
    return Finding.CONTRADICTS if more else Finding.AGREES


def utc(text: str) -> str:
    """A moment as the log writes it, so that two can be compared as texts; empty for what is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return stamp(moment) if moment.tzinfo is not None else ""
