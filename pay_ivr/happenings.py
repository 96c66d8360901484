"""What has become of a payment, as a list that can be made again: pure, from its history alone.

Receipts and outgoing webhooks are made from it. Each item has an id that is always the same, so nothing has
to be remembered between a fact and what follows from it: after a crash the list is made once more, and what
is stored already is known by its id.
"""

from dataclasses import dataclass
from enum import StrEnum

from vault import Attempt, History, PaymentState, Step, StepName, StepState


class What(StrEnum):
    """What happened; the `type` of an outgoing webhook."""

    AUTHORISED = "payment.authorised"
    """The bank has said yes; a sale is paid with it."""
    CHECKED = "payment.checked"
    DECLINED = "payment.declined"
    NEEDS_ACTION = "payment.needs_action"
    UNKNOWN = "payment.unknown"
    """Being looked up; one of the others follows."""
    SETTLED = "payment.settled"
    VOIDED = "payment.voided"
    REFUNDED = "payment.refunded"
    LAPSED = "payment.lapsed"
    """A hold ended without a settle; nothing was taken."""
    STEP_REFUSED = "payment.step_refused"
    CANCELLED = "payment.cancelled"
    EXPIRED = "payment.expired"


OF_ATTEMPT = {
    PaymentState.AUTHORISED: What.AUTHORISED,
    PaymentState.SETTLED: What.AUTHORISED,
    PaymentState.CHECKED: What.CHECKED,
    PaymentState.DECLINED: What.DECLINED,
    PaymentState.NEEDS_ACTION: What.NEEDS_ACTION,
    PaymentState.UNKNOWN: What.UNKNOWN,
}
OF_STEP = {
    StepName.SETTLE: What.SETTLED,
    StepName.VOID: What.VOIDED,
    StepName.REFUND: What.REFUNDED,
}
OF_END = {PaymentState.CANCELLED: What.CANCELLED, PaymentState.EXPIRED: What.EXPIRED}


@dataclass(frozen=True)
class Happening:
    """One thing that happened to a payment."""

    event_id: str
    """The same whenever the list is made: what others may know it by."""
    what: What
    at: str
    """UTC, ISO 8601."""
    amount_minor: int
    """What was moved or asked for."""


def happenings(history: History) -> tuple[Happening, ...]:
    """Everything that has come to a result, in order of time."""
    found = [one for attempt in history.attempts if (one := _of_attempt(history, attempt))]
    found += [one for step in history.steps if (one := _of_step(history, step))]
    found += _ends(history)
    return tuple(sorted(found, key=lambda one: one.at))


def _of_attempt(history: History, attempt: Attempt) -> Happening | None:
    what = OF_ATTEMPT.get(attempt.state)
    if what is None:
        return None
    payment = history.payment
    event_id = f"{payment.payment_id}.attempt_{attempt.attempt}.{what.value.split('.')[1]}"
    return Happening(event_id, what, attempt.ended_at or attempt.started_at, payment.amount_minor)


def _of_step(history: History, step: Step) -> Happening | None:
    if step.state not in {StepState.DONE, StepState.REFUSED}:
        return None
    what = OF_STEP[step.name] if step.state is StepState.DONE else What.STEP_REFUSED
    event_id = f"{history.payment.payment_id}.{step.name.value}_{step.number}.{step.state.value}"
    return Happening(event_id, what, step.ended_at or step.started_at, step.amount_minor)


def _ends(history: History) -> list[Happening]:
    """How a payment ended without an attempt or a step of its own."""
    payment = history.payment
    what = OF_END.get(payment.state)
    voided = any(one.name is StepName.VOID and one.state is StepState.DONE for one in history.steps)
    if payment.state is PaymentState.VOIDED and not voided:
        what = What.LAPSED
    if what is None:
        return []
    return [
        Happening(
            f"{payment.payment_id}.{what.value.split('.')[1]}", what, payment.updated_at, payment.amount_minor
        )
    ]
