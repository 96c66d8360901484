"""What all header values are made of: quoted strings, lists and parameters, RFC 3261 §25.1.

Values are taken apart as raw text and stay raw text: nothing is unescaped that somebody may echo.
"""

import re
from collections.abc import Mapping

from pay_ivr.sip.errors import Malformed

PARAMS_MAX = 32
"""Parameters behind one value; carriers send up to ten."""
PIECES_MAX = 1_024
"""Quotes, brackets, separators and texts of one value; a list of 64 routes with parameters has about 500."""

TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
"""RFC 3261 §25.1; `fullmatch` it."""

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|<[^<>]*>|[^",;<]+|[,;]', re.DOTALL)
"""One piece of a header value; every alternative starts with other characters: no backtracking."""
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_VALUE_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\",;<>]")
_BLANKS = " \t"


def split_list(value: str, separator: str = ",") -> list[str]:
    """The values of a list, outside quotes and angle brackets, without blanks around them.

    Raises `Malformed` for an unfinished quote or bracket and for an empty value.
    """
    values: list[list[str]] = [[]]
    for piece in pieces(value):
        if piece == separator:
            values.append([])
        else:
            values[-1].append(piece)
    items = ["".join(parts).strip(_BLANKS) for parts in values]
    if not all(items):
        raise Malformed("list_empty", "A header list holds an empty value.")
    return items


def quoted(text: str) -> str:
    """A quoted-string with what must be escaped escaped."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquoted(text: str) -> str:
    """The content of a quoted-string; text without quotes as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    return _QUOTED_PAIR.sub(r"\1", text[1:-1])


def params_text(params: Mapping[str, str | None]) -> str:
    """`;name=value;name`, values as raw as they are."""
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params.items())


def pieces(value: str) -> list[str]:
    """Quoted strings, bracketed URIs, separators and the text between them; together they are `value`.

    Raises `Malformed` for an unfinished quote or bracket and beyond `PIECES_MAX`.
    """
    found: list[str] = []
    position = 0
    while position < len(value):
        match = _PIECE.match(value, position)
        if match is None:
            raise Malformed("quote_open", "A quoted text or bracket has no end.")
        if len(found) == PIECES_MAX:
            raise Malformed("pieces", "A header value has more pieces than we read.")
        found.append(match[0])
        position = match.end()
    return found


def params(text: str) -> dict[str, str | None]:
    """Names in lower case and raw values of `name=value;name`, in order; blanks around `=` pass.

    Raises `Malformed` for an empty, repeated or broken parameter and beyond `PARAMS_MAX`.
    """
    items = split_list(text, ";")
    found: dict[str, str | None] = {}
    for item in items:
        name, equals, value = item.partition("=")
        name, value = param_name(name), value.strip(_BLANKS)
        whole = TOKEN.fullmatch(name) and bool(equals) == bool(value) and _one_value(value)
        if not whole or name in found or len(items) > PARAMS_MAX:
            raise Malformed("parameter", "Parameters are broken, repeated or too many.")
        found[name] = value if equals else None
    return found


def param_name(item: str) -> str:
    """The name of one `name=value`, in lower case."""
    return item.partition("=")[0].rstrip(_BLANKS).lower()


def _one_value(value: str) -> bool:
    """True for a token, a host or one whole quoted string: nothing with blanks or commas in the open."""
    return _PIECE.fullmatch(value) is not None if value[:1] == '"' else not _VALUE_FORBIDDEN.search(value)
