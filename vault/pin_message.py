"""The PIN types of the door as JSON objects and back, for both ends of the door's socket.

As in `vault/message.py` the way in is strict. No type here has room for a PIN.
"""

import re
from dataclasses import asdict
from datetime import date
from typing import Any

from vault.door import (
    NewPinEntry,
    PinChanged,
    PinEntry,
    PinField,
    PinProblem,
    PinPurpose,
    PinResult,
    PinStanding,
    PinWhy,
    Refused,
)
from vault.message import strictly

Json = dict[str, Any]

TEXT_MAX = 200
"""Characters of any text of a request; ids of ours have 24."""
_ID = re.compile(r"[a-z]{2,8}_[A-Za-z0-9_\-]{1,64}")
_CALL = re.compile(r"(?:call_[A-Za-z0-9_\-]{1,64})?")
_BY = re.compile(r"(?:(?:agent|user|key):[A-Za-z0-9_.@\-]{1,64}|caller|system:[a-z_]{1,32})?")


def new_pin_entry_from_json(body: object) -> NewPinEntry:
    """Whose PIN is keyed; `Refused` when it has not exactly its fields, types and forms."""
    values = dict(body) if isinstance(body, dict) else {}
    try:
        purpose = PinPurpose(values.pop("purpose", ""))
    except ValueError:
        raise Refused("bad_request", "The purpose is verify, set, change or reset.") from None
    new = NewPinEntry(**strictly(NewPinEntry, values, given={"purpose"}), purpose=purpose)
    if any(len(value) > TEXT_MAX for value in vars(new).values()):
        raise Refused("bad_request", "A text of the request is too long.")
    check_member_id(new.member_id)
    check_by(new.by)
    check_born(new.born)
    if not _CALL.fullmatch(new.call_id):
        raise Refused("bad_request", "The call's id is none of ours.")
    return new


def check_member_id(member_id: str) -> str:
    """The id itself; `Refused` when it has not the form of one, `mem_...`."""
    if not _ID.fullmatch(member_id):
        raise Refused("bad_request", "The member's id is none of ours.")
    return member_id


def check_by(by: str) -> str:
    """Who asks, itself; `Refused` when the log could not name him so."""
    if not _BY.fullmatch(by):
        raise Refused("bad_request", "Say who asks: agent:anna, user:name, key:shop, caller or system:name.")
    return by


def check_born(born: str) -> None:
    """`Refused` unless it is empty or a date."""
    try:
        if born:
            date.fromisoformat(born)
    except ValueError:
        raise Refused("bad_request", "The date of birth is an ISO date, or empty.") from None


def pin_entry_as_json(entry: PinEntry) -> Json:
    """The JSON object of a snapshot; enumerations are their words."""
    return asdict(entry)


def pin_entry_from_json(body: Json) -> PinEntry:
    """A snapshot; KeyError, TypeError or ValueError when it is none."""
    words = {
        "purpose": PinPurpose(body["purpose"]),
        "field": _maybe(PinField, body["field"]),
        "result": _maybe(PinResult, body["result"]),
    }
    return PinEntry(**{**body, **words})


def pin_changed_as_json(changed: PinChanged) -> Json:
    """The unsolicited message of a fact about a PIN entry."""
    return {"fact": "pin", **asdict(changed)}


def pin_changed_from_json(body: Json) -> PinChanged:
    """A fact about a PIN entry; KeyError, TypeError or ValueError when it is none."""
    return PinChanged(
        seq=body["seq"],
        why=PinWhy(body["why"]),
        entry=pin_entry_from_json(body["entry"]),
        field=_maybe(PinField, body.get("field")),
        problem=_maybe(PinProblem, body.get("problem")),
    )


def pin_standing_from_json(body: Json) -> PinStanding:
    """A standing; TypeError when it is none."""
    return PinStanding(**body)


def pin_answer_from_json(body: Json) -> PinResult | PinProblem:
    """What a sealed PIN came to; KeyError or ValueError when it is neither."""
    return PinProblem(body["problem"]) if body.get("problem") else PinResult(body["result"])


def _maybe(kind: type, value: object) -> Any:
    return None if value is None else kind(value)
