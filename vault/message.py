"""The door's types as JSON objects and back, for both ends of the door's socket.

The way in is strict: a field too many, too few or of another type is `Refused`, because the other end of a
wall is not to be trusted with more than it was given.
"""

from dataclasses import MISSING, asdict, fields
from typing import Any, get_args, get_type_hints

from vault.door import (
    Decline,
    DeclineReason,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    NewPayment,
    NextStep,
    Payment,
    PaymentChanged,
    PaymentState,
    Refused,
    StepName,
    Why,
)

Json = dict[str, Any]

_NEW_HINTS = get_type_hints(NewPayment)
_NEW_NAMES = {each.name for each in fields(NewPayment)}
_NEW_NEEDED = {each.name for each in fields(NewPayment) if each.default is MISSING}


def new_payment_from_json(body: object) -> NewPayment:
    """The request to create a payment; `Refused` when it has not exactly its fields and types."""
    if not isinstance(body, dict) or not body.keys() <= _NEW_NAMES or not body.keys() >= _NEW_NEEDED:
        raise Refused("bad_request", "A new payment has other fields. Send those of NewPayment.")
    for name, value in body.items():
        kind = _NEW_HINTS[name]
        kinds = (kind,) if isinstance(kind, type) else get_args(kind)
        if type(value) not in kinds:
            raise Refused("bad_request", "A field of the new payment has another type.")
    return NewPayment(**body)


def payment_from_json(body: Json) -> Payment:
    """A snapshot; KeyError, TypeError or ValueError when it is none."""
    values = dict(body)
    values["state"] = PaymentState(values["state"])
    values["fields"] = tuple(map(_progress_from_json, values["fields"]))
    values["decline"] = _decline_from_json(values["decline"])
    values["step"] = _maybe(StepName, values["step"])
    return Payment(**values)


def changed_from_json(body: Json) -> PaymentChanged:
    """A fact about a payment; KeyError, TypeError or ValueError when it is none."""
    return PaymentChanged(
        seq=body["seq"],
        why=Why(body["why"]),
        payment=payment_from_json(body["payment"]),
        field=_maybe(Field, body.get("field")),
        problem=_maybe(FieldProblem, body.get("problem")),
        seconds_left=body.get("seconds_left"),
    )


def payment_as_json(payment: Payment) -> Json:
    """The JSON object of a snapshot; enumerations are their words."""
    return asdict(payment)


def changed_as_json(changed: PaymentChanged) -> Json:
    """The unsolicited message of a fact."""
    return {"fact": "payment", **asdict(changed)}


def _progress_from_json(body: Json) -> FieldProgress:
    problem = _maybe(FieldProblem, body["problem"])
    return FieldProgress(Field(body["field"]), FieldState(body["state"]), body["digits"], problem)


def _decline_from_json(body: Json | None) -> Decline | None:
    if body is None:
        return None
    return Decline(DeclineReason(body["reason"]), NextStep(body["next_step"]), body["retry_allowed"])


def _maybe(kind: type, value: object) -> Any:
    return None if value is None else kind(value)
