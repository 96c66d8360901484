"""Every operation of the door: one name, the till's method behind it, and a strict reading of its request."""

from collections.abc import Awaitable, Callable
from typing import Any

from vault.door import Field, Payment, Refused, StepName
from vault.message import history_as_json, new_payment_from_json, payment_as_json, search_from_json
from vault.step import Ask
from vault.till import Till
from vault.wire import Json

TEXT_MAX = 200
"""Characters of an id in a request; ours have 24."""

Operation = Callable[[Json], Awaitable[Json]]


def operations(till: Till) -> dict[str, Operation]:
    """Every operation of the door by its name."""
    return {
        "create_payment": _one(lambda body: till.create_payment(new_payment_from_json(body.get("new")))),
        "payment": _one(lambda body: till.payment(_payment_id(body))),
        "open_capture": _one(lambda body: till.open_capture(_payment_id(body))),
        "rekey": _one(lambda body: till.rekey(_payment_id(body), _field(body))),
        "talk": _one(lambda body: till.talk(_payment_id(body), on=_flag(body, "on"))),
        "ask_confirm": _one(lambda body: till.ask_confirm(_payment_id(body))),
        "charge": _one(lambda body: till.charge(_payment_id(body))),
        "cancel": _one(lambda body: till.cancel(_payment_id(body), text(body, "by"))),
        "take_step": _one(lambda body: till.take_step(_payment_id(body), _ask(body))),
        **_of_many(till),
    }


def _of_many(till: Till) -> dict[str, Operation]:
    """The operations that are not about one payment's snapshot."""

    async def of_call(body: Json) -> Json:
        payments = await till.payments_of_call(text(body, "call_id"))
        return {"payments": [payment_as_json(each) for each in payments]}

    async def end_call(body: Json) -> Json:
        await till.end_call(text(body, "call_id"))
        return {}

    async def history(body: Json) -> Json:
        return {"history": history_as_json(await till.history(_payment_id(body)))}

    async def search(body: Json) -> Json:
        page = await till.search(search_from_json(body.get("search")))
        return {"payments": [payment_as_json(each) for each in page.payments], "next": page.next}

    return {"payments_of_call": of_call, "end_call": end_call, "history": history, "search": search}


def _one(act: Callable[[Json], Awaitable[Payment]]) -> Operation:
    async def operation(body: Json) -> Json:
        return {"payment": payment_as_json(await act(body))}

    return operation


async def unknown(_body: Json) -> Json:
    """The answer to a name that is none."""
    raise Refused("unknown_op", "The door does not know this operation.")


def text(body: Json, key: str) -> str:
    """A printable text of 1 to `TEXT_MAX` characters."""
    value = body.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_MAX or not value.isprintable():
        raise Refused("bad_request", "The request lacks a text that it needs.")
    return value


def _payment_id(body: Json) -> str:
    return text(body, "payment_id")


def _flag(body: Json, key: str) -> bool:
    value = body.get(key)
    if not isinstance(value, bool):
        raise Refused("bad_request", "The request lacks a true or false that it needs.")
    return value


def _field(body: Json) -> Field:
    try:
        return Field(text(body, "field"))
    except ValueError:
        raise Refused("bad_request", "The field is pan, expiry, cvv or confirm.") from None


def _ask(body: Json) -> Ask:
    try:
        name = StepName(text(body, "step"))
    except ValueError:
        raise Refused("bad_request", "The step is settle, void or refund.") from None
    amount: Any = body.get("amount_minor")
    if amount is not None and type(amount) is not int:
        raise Refused("bad_request", "The amount is an integer, or left out for all of it.")
    return Ask(name, amount, text(body, "by"), text(body, "ask_key"), text(body, "reason"))
