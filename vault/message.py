"""The door's types as JSON objects and back, for both ends of the door's socket.

The way in is strict: a field too many, too few or of another type is `Refused`, because the other end of a
wall is not to be trusted with more than it was given.
"""

from collections.abc import Collection
from dataclasses import MISSING, asdict, fields
from typing import Any, get_args, get_type_hints

from vault.door import (
    Attempt,
    Decline,
    DeclineReason,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    History,
    LinkPage,
    LinkState,
    NewPayment,
    NextStep,
    Payment,
    PaymentChanged,
    PaymentState,
    Refused,
    Search,
    Step,
    StepName,
    StepState,
    Why,
)

Json = dict[str, Any]


def new_payment_from_json(body: object) -> NewPayment:
    """The request to create a payment; `Refused` when it has not exactly its fields and types."""
    return NewPayment(**strictly(NewPayment, body))


def search_from_json(body: object) -> Search:
    """The request to look for payments; `Refused` when it has not exactly its fields and types."""
    values = dict(body) if isinstance(body, dict) else {}
    state = values.pop("state", None)
    try:
        return Search(**strictly(Search, values), state=_maybe(PaymentState, state))
    except ValueError:
        raise Refused("bad_request", "There is no such state of a payment.") from None


def history_as_json(history: History) -> Json:
    """The JSON object of a history; enumerations are their words."""
    return asdict(history)


def history_from_json(body: Json) -> History:
    """A history; KeyError, TypeError or ValueError when it is none."""
    return History(
        payment_from_json(body["payment"]),
        tuple(map(_attempt_from_json, body["attempts"])),
        tuple(map(_step_from_json, body["steps"])),
    )


def _attempt_from_json(body: Json) -> Attempt:
    words = {"state": PaymentState(body["state"]), "decline": _maybe(DeclineReason, body["decline"])}
    return Attempt(**{**body, **words})


def _step_from_json(body: Json) -> Step:
    return Step(**{**body, "name": StepName(body["name"]), "state": StepState(body["state"])})


def strictly(kind: type, body: object, given: Collection[str] = ()) -> Json:
    """The values of a dataclass of plain fields, none too many, none of another type; `given` is left out."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in given}
    needed = {each.name for each in fields(kind) if each.default is MISSING} & hints.keys()
    if not isinstance(body, dict) or not needed <= body.keys() <= hints.keys():
        raise Refused("bad_request", f"The request has other fields. Send those of {kind.__name__}.")
    for name, value in body.items():
        kinds = (hints[name],) if isinstance(hints[name], type) else get_args(hints[name])
        if type(value) not in kinds:
            raise Refused("bad_request", "A field of the request has another type.")
    return body


def payment_from_json(body: Json) -> Payment:
    """A snapshot; KeyError, TypeError or ValueError when it is none."""
    values = dict(body)
    values["state"] = PaymentState(values["state"])
    values["fields"] = tuple(map(_progress_from_json, values["fields"]))
    values["decline"] = _decline_from_json(values["decline"])
    values["step"] = _maybe(StepName, values["step"])
    values["link"] = _maybe(LinkState, values["link"])
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


def page_as_json(page: LinkPage) -> Json:
    """The JSON object of a link's page."""
    return asdict(page)


def page_from_json(body: Json) -> LinkPage:
    """The page of a link; KeyError, TypeError or ValueError when it is none."""
    return LinkPage(**{**body, "state": LinkState(body["state"])})


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
