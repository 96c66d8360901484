"""Requests as Stripe reads them: bracketed form fields, every parameter known and well typed.

`a[b][0]=v` becomes `{"a": {"b": ["v"]}}`. A shape says what one route takes; a parameter that no shape
names is a 400, as at Stripe, so that a misspelt name can never pass unseen.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from vault.proof.stripe_failure import refused_parameter

FIELDS_MAX = 300
"""More than any request of ours has; bounds the work for a broken one."""
DEPTH_MAX = 6
LIST_MAX = 20
TEXT_MAX = 5000
METADATA_KEYS_MAX, METADATA_KEY_MAX, METADATA_VALUE_MAX = 50, 40, 500
"""Stripe API reference, "Metadata"."""
_NAME = re.compile(r"[a-z0-9_]+(\[[A-Za-z0-9_.:-]*\])*", re.ASCII)
_PART = re.compile(r"\[([^\]]*)\]")
_WHOLE = re.compile(r"-?[0-9]{1,12}", re.ASCII)

Shape = Callable[[str, Any], Any]
"""Takes a parameter's bracketed name and its decoded value; gives the checked value or raises Failure."""


def decoded(text: str) -> dict[str, Any]:
    """The nested form; Failure for a name that is no bracketed name, a clash or too many fields."""
    tree: dict[str, Any] = {}
    try:
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX) if text else []
    except ValueError:
        raise refused_parameter("", "parameter_unknown", "The request has too many fields.") from None
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise refused_parameter("", "parameter_unknown", "A parameter's name is malformed.")
        head, parts = name.split("[", 1)[0], _PART.findall(name)
        _place(tree, [head, *parts], value)
    return {name: _lists(value) for name, value in tree.items()}


def _place(tree: dict[str, Any], parts: list[str], value: str) -> None:
    if len(parts) > DEPTH_MAX:
        raise refused_parameter(parts[0], "parameter_unknown", "A parameter is nested too deeply.")
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise refused_parameter(parts[0], "parameter_invalid", "A parameter is both a value and a group.")
    if parts[-1] in tree:
        raise refused_parameter(parts[0], "parameter_invalid", "A parameter is given twice.")
    tree[parts[-1]] = value


def _lists(value: Any) -> Any:
    """Groups whose members are numbered 0, 1 … are lists, as the SDK sends them."""
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(one) for name, one in value.items()}
    numbered = len(inner) <= LIST_MAX and list(inner) == [str(number) for number in range(len(inner))]
    return list(inner.values()) if numbered else inner


def text(param: str, value: Any) -> str:
    """Any text of at most TEXT_MAX characters."""
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise refused_parameter(param, "parameter_invalid_string", f"{param} is no text or too long.")
    return value


def flag(param: str, value: Any) -> bool:
    """`true` or `false`."""
    if value not in ("true", "false"):
        raise refused_parameter(param, "parameter_invalid_boolean", f"{param} is neither true nor false.")
    return bool(value == "true")


def whole(low: int = 0, high: int = 10**12) -> Shape:
    """An integer from `low` to `high`."""

    def check(param: str, value: Any) -> int:
        if not isinstance(value, str) or not _WHOLE.fullmatch(value):
            raise refused_parameter(param, "parameter_invalid_integer", f"{param} is no integer.")
        if not low <= int(value) <= high:
            raise refused_parameter(param, "parameter_invalid_integer", f"{param} is out of range.")
        return int(value)

    return check


def word(*words: str) -> Shape:
    """One of the words."""

    def check(param: str, value: Any) -> str:
        if value not in words:
            raise refused_parameter(param, "parameter_invalid_string", f"{param} is none of its words.")
        return str(value)

    return check


def each(shape: Shape) -> Shape:
    """A list of such values."""

    def check(param: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise refused_parameter(param, "parameter_invalid", f"{param} is no list.")
        return [shape(f"{param}[{number}]", one) for number, one in enumerate(value)]

    return check


def metadata(param: str, value: Any) -> dict[str, str]:
    """Keys and values within Stripe's limits; an empty text clears everything."""
    if value == "":
        return {}
    if not isinstance(value, dict) or len(value) > METADATA_KEYS_MAX:
        raise refused_parameter(param, "parameter_invalid", f"{param} is no mapping or too large.")
    for key, one in value.items():
        fits = isinstance(one, str) and len(key) <= METADATA_KEY_MAX and len(one) <= METADATA_VALUE_MAX
        if not fits:
            raise refused_parameter(f"{param}[{key}]", "parameter_invalid", "A metadata entry is too long.")
    return dict(value)


def record(fields: Mapping[str, Shape], required: tuple[str, ...] = ()) -> Shape:
    """A group with these members and no others; `required` ones must be there."""

    def check(param: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise refused_parameter(param, "parameter_invalid", f"{param} is no group.")
        for name in value:
            if name not in fields:
                full = f"{param}[{name}]" if param else name
                raise refused_parameter(full, "parameter_unknown", f"Received unknown parameter: {full}")
        for name in required:
            if name not in value:
                full = f"{param}[{name}]" if param else name
                raise refused_parameter(full, "parameter_missing", f"Missing required param: {full}.")
        inner = {name: f"{param}[{name}]" if param else name for name in value}
        return {name: fields[name](inner[name], one) for name, one in value.items()}

    return check


def span(param: str, value: Any) -> dict[str, int]:
    """A time filter: one Unix time, or bounds `gt`, `gte`, `lt`, `lte`."""
    if isinstance(value, str):
        moment = whole()(param, value)
        return {"gte": moment, "lte": moment}
    bounds: dict[str, int] = record(dict.fromkeys(("gt", "gte", "lt", "lte"), whole()))(param, value)
    return bounds
