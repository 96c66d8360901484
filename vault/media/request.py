"""One message of a control socket, checked field by field before anything is done.

Sentences never quote what came in. This file owns the shape of a request.
"""

import ipaddress
import json
from collections.abc import Sequence
from typing import Any, Final

from vault.door import Refused

BAD_MESSAGE: Final = "bad_message"
"""The code of every refusal in this file: our peer's program is wrong, not the state of a leg."""
NAME_LENGTH_MAX: Final = 64
"""Our ids are a prefix and at most 26 characters; prompts have longer, speaking names."""
EVENT_TYPES_MAX: Final = 8
"""telephone-event is offered at two or three clock rates."""
ID_MAX: Final = 2**53
"""What JSON can count to without losing any."""


class Request:
    """One request; every getter raises Refused when the field is not what it must be."""

    def __init__(self, number: int, op: str, fields: dict[str, Any]) -> None:
        self.id = number
        self.op = op
        self._fields = fields

    @classmethod
    def read(cls, data: bytes) -> "Request":
        """The request in one message."""
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            raise Refused(BAD_MESSAGE, "The message is no JSON object.") from None
        if not isinstance(fields, dict):
            raise Refused(BAD_MESSAGE, "The message is no JSON object.")
        number, op = fields.get("id"), fields.get("op")
        if type(number) is not int or not 0 <= number < ID_MAX or not isinstance(op, str):
            raise Refused(BAD_MESSAGE, "A message needs an id (a whole number) and an op (a word).")
        return cls(number, op, fields)

    def has(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self._fields.get(field) is not None

    def name(self, field: str) -> str:
        """A name of 1 to 64 printable characters."""
        return _name(self._fields.get(field), field)

    def names(self, field: str, count_max: int) -> Sequence[str]:
        """A list of 1 to `count_max` names."""
        value = self._fields.get(field)
        if not isinstance(value, list) or not 1 <= len(value) <= count_max:
            raise Refused(BAD_MESSAGE, f"{field} must be a list of 1 to {count_max} names.")
        return tuple(_name(item, field) for item in value)

    def number(self, field: str, low: int, high: int, *, default: int | None = None) -> int:
        """A whole number from `low` to `high`."""
        value = self._fields.get(field, default)
        if type(value) is not int or not low <= value <= high:
            raise Refused(BAD_MESSAGE, f"{field} must be a whole number from {low} to {high}.")
        return value

    def flag(self, field: str, *, default: bool | None = None) -> bool:
        """True or false."""
        value = self._fields.get(field, default)
        if not isinstance(value, bool):
            raise Refused(BAD_MESSAGE, f"{field} must be true or false.")
        return value

    def choice(self, field: str, options: Sequence[str]) -> str:
        """One of the words in `options`."""
        value = self._fields.get(field)
        if not isinstance(value, str) or value not in options:
            raise Refused(BAD_MESSAGE, f"{field} must be one of {', '.join(options)}.")
        return value

    def ipv4(self, field: str) -> str:
        """An IPv4 address in dotted form that can be one party's: no multicast, no broadcast."""
        value = self._fields.get(field)
        try:
            address = ipaddress.IPv4Address(value if isinstance(value, str) else "")
        except ValueError:
            raise Refused(BAD_MESSAGE, f"{field} must be an IPv4 address.") from None
        if address.is_multicast or int(address) == 0xFFFFFFFF:
            raise Refused(BAD_MESSAGE, f"{field} must be one party's IPv4 address.")
        return str(address)

    def event_types(self, field: str) -> tuple[tuple[int, int], ...]:
        """Pairs of payload type and clock rate, at most eight."""
        value = self._fields.get(field, [])
        if not isinstance(value, list) or len(value) > EVENT_TYPES_MAX:
            raise Refused(BAD_MESSAGE, f"{field} must be a list of at most {EVENT_TYPES_MAX} pairs.")
        return tuple(_event_type(pair, field) for pair in value)


def _name(value: object, field: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= NAME_LENGTH_MAX or not value.isprintable():
        raise Refused(BAD_MESSAGE, f"{field} must be a name of 1 to {NAME_LENGTH_MAX} printable characters.")
    return value


def _event_type(pair: object, field: str) -> tuple[int, int]:
    if isinstance(pair, list) and len(pair) == 2 and all(type(part) is int for part in pair):
        kind, rate = pair
        if 0 <= kind <= 127 and 0 < rate <= 192_000:
            return kind, rate
    raise Refused(BAD_MESSAGE, f"{field} must hold pairs of payload type and clock rate.")
