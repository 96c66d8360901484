"""What the caller hears at each step of a payment: one pure table from a step to catalogue keys.

The amount is spoken before the first key and the result after the charge (requirement V6, V10). Reasons are
those of reference 04 §1.6: nothing here can tell a lost card from a stolen one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pay_ivr.catalogue import Key, decline_key, problem_key
from vault import DeclineReason, Field, FieldState, NextStep, PaymentChanged, Why


@dataclass(frozen=True)
class Sentence:
    """One catalogue key with its values."""

    key: Key
    values: dict[str, Any] = field(default_factory=dict)
    language: str = ""
    """Another language than the caller's, for the offer to change to it."""


_Say = Callable[[PaymentChanged, bool], tuple[Sentence, ...]]


def sentences_for(change: PaymentChanged, *, alone: bool) -> tuple[Sentence, ...]:
    """What to say now; empty when the step is silent. `alone`: no agent is on the line."""
    say = _SPOKEN.get(change.why)
    return say(change, alone) if say is not None else ()


def follows(change: PaymentChanged, spoken: PaymentChanged | None) -> bool:
    """True when this goes with the step spoken before it: amount, restart or problem, then the field of it.

    That the field is open comes from the cell, late on a busy machine; the amount must not be cut by it.
    """
    return change.why is Why.FIELD_OPENED and spoken is not None and spoken.field is change.field


def _amount(change: PaymentChanged) -> dict[str, Any]:
    return {"amount_minor": change.payment.amount_minor, "currency": change.payment.currency}


def _ask(change: PaymentChanged, asked: Field | None, *, alone: bool) -> tuple[Sentence, ...]:
    match asked:
        case Field.PAN:
            return (Sentence(Key.ASK_PAN), Sentence(Key.UNATTENDED_GRAMMAR if alone else Key.GRAMMAR))
        case Field.EXPIRY:
            return (Sentence(Key.ASK_EXPIRY),)
        case Field.CVV:
            return (Sentence(Key.ASK_CVV, {"digits": 4 if change.payment.brand == "amex" else 3}),)
        case Field.CONFIRM:
            return (Sentence(Key.AGENT_LOST_CONFIRM, _amount(change)),)
        case None:
            return ()


def _capture_opened(change: PaymentChanged, _alone: bool) -> tuple[Sentence, ...]:
    decline = change.payment.decline
    if change.payment.attempt == 0 or decline is None:
        return (Sentence(Key.CAPTURE_INTRO, _amount(change)),)
    if decline.next_step is NextStep.REKEY_CVV:
        return (Sentence(Key.RETRY_CVV),)
    if decline.next_step is NextStep.OTHER_CARD:
        return (Sentence(Key.RETRY_OTHER_CARD),)
    return ()


def _field_problem(change: PaymentChanged, alone: bool) -> tuple[Sentence, ...]:
    if change.problem is None:
        return ()
    return (Sentence(problem_key(change.problem)), *_ask(change, change.field, alone=alone))


def _no_input(change: PaymentChanged, alone: bool) -> tuple[Sentence, ...]:
    return (Sentence(Key.PROBLEM_NO_INPUT), *_ask(change, change.field, alone=alone))


def _field_opened(change: PaymentChanged, alone: bool) -> tuple[Sentence, ...]:
    return _ask(change, change.field, alone=alone)


def _talk_ended(change: PaymentChanged, alone: bool) -> tuple[Sentence, ...]:
    open_fields = [one.field for one in change.payment.fields if one.state is FieldState.OPEN]
    return (Sentence(Key.TALK_OFF), *_ask(change, open_fields[0] if open_fields else None, alone=alone))


def _ready(_change: PaymentChanged, alone: bool) -> tuple[Sentence, ...]:
    return (Sentence(Key.ALL_RECEIVED),) if alone else (Sentence(Key.ALL_RECEIVED), Sentence(Key.PLEASE_WAIT))


def _authorised(change: PaymentChanged, alone: bool) -> tuple[Sentence, ...]:
    approved = Sentence(Key.APPROVED, _amount(change))
    if not alone or change.payment.receipt is None:
        return (approved,)
    return (approved, Sentence(Key.RECEIPT, {"receipt": change.payment.receipt}))


def _declined(change: PaymentChanged, _alone: bool) -> tuple[Sentence, ...]:
    decline = change.payment.decline
    reason = decline.reason if decline is not None else DeclineReason.GENERIC
    return (Sentence(decline_key(reason)),)


def _fixed(key: Key) -> _Say:
    return lambda _change, _alone: (Sentence(key),)


def _time_warning(change: PaymentChanged, _alone: bool) -> tuple[Sentence, ...]:
    return (Sentence(Key.TIME_WARNING, {"seconds": change.seconds_left or 60}),)


_SPOKEN: Mapping[Why, _Say] = {
    Why.CAPTURE_OPENED: _capture_opened,
    Why.FIELD_OPENED: _field_opened,
    Why.FIELD_CLEARED: _fixed(Key.FIELD_CLEARED),
    Why.FIELD_PROBLEM: _field_problem,
    Why.NO_INPUT: _no_input,
    Why.TALK_STARTED: _fixed(Key.TALK_ON),
    Why.TALK_ENDED: _talk_ended,
    Why.TIME_WARNING: _time_warning,
    Why.CAPTURE_RESTARTED: _fixed(Key.CAPTURE_RESTARTED),
    Why.READY: _ready,
    Why.CONFIRMED: _fixed(Key.PLEASE_WAIT),
    Why.AUTHORISED: _authorised,
    Why.DECLINED: _declined,
    Why.UNKNOWN: _fixed(Key.UNKNOWN_OUTCOME),
    Why.NEEDS_ACTION: _fixed(Key.DECLINED_ONLINE_CONFIRMATION),
    Why.CANCELLED: _fixed(Key.CANCELLED),
    Why.EXPIRED: _fixed(Key.EXPIRED),
    Why.LINK_DECLINED: _fixed(Key.LINK_DECLINED),
}
"""Why → what is said. Silent on purpose: CREATED, KEY, FIELD_COMPLETE, HELP_ASKED, CHARGING; and LINK_MADE,
which is told when its message has been sent."""
