"""SIP URIs: RFC 3261 §19.1, and enough of RFC 3966 (tel) to know who was dialled.

Escapes stay as the peer wrote them, so that `str(parse_uri(text))` is `text` for every URI written in the
canonical way. What is echoed to a peer is always the raw header, never a `Uri`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from pay_ivr.sip.errors import Malformed

URI_LENGTH_MAX = 2048
"""Longest URI in characters: RFC 4475's longest has 700, a Replaces header with tags adds a few hundred."""
URI_PARAMS_MAX = 32
"""Parameters and headers of one URI; the longest seen from carriers have about ten."""
SIP_SCHEMES = ("sip", "sips")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_PORT = re.compile(r"[0-9]{1,5}")
_USER_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\"@\[\]\\^`{}|]")
"""What would end the URI, the header or the line; `#`, which the grammar forbids too, is dialled."""
_PART_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\"]")


@dataclass(frozen=True)
class Uri:
    """One URI taken apart; parts are raw text, names of parameters and headers in lower case."""

    scheme: str
    """Lower case. Only `SIP_SCHEMES` have a host; any other URI keeps its number or path in `user`."""
    user: str
    host: str
    """Name, IPv4, or IPv6 in brackets, as written."""
    port: int | None = None
    params: Mapping[str, str | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """`?Replaces=…` and its kind, still percent-encoded."""
    password: str | None = field(default=None, repr=False)

    @property
    def dialled(self) -> str:
        """The user without escapes and without parameters such as `;phone-context=…` (RFC 3966)."""
        return unquote(self.user.partition(";")[0])

    @property
    def address(self) -> str:
        """The host without IPv6 brackets, ready for a socket or a resolver."""
        return self.host.strip("[]")

    def __str__(self) -> str:
        """The URI as it goes into a header, without angle brackets."""
        params = "".join(
            f";{name}" + ("" if value is None else f"={value}") for name, value in self.params.items()
        )
        if self.scheme not in SIP_SCHEMES:
            return f"{self.scheme}:{self.user}{params}"
        login = self.user if self.password is None else f"{self.user}:{self.password}"
        at = "@" if login else ""
        port = "" if self.port is None else f":{self.port}"
        headers = "&".join(f"{name}={value}" for name, value in self.headers.items())
        return f"{self.scheme}:{login}{at}{self.host}{port}{params}{'?' if headers else ''}{headers}"


def parse_uri(text: str) -> Uri:
    """The parts of a URI of any scheme.

    Raises `Malformed`: 414 beyond `URI_LENGTH_MAX`, 416 without a scheme, 400 for a broken sip or sips URI.
    Whether the scheme is one we serve is the reader's question (RFC 3261 §8.2.2.1).
    """
    if len(text) > URI_LENGTH_MAX:
        raise Malformed("uri_too_long", "The URI is longer than we read.", status=414)
    scheme, colon, rest = text.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise Malformed("uri_scheme", "The URI has no scheme.", status=416)
    if _PART_FORBIDDEN.search(rest):
        raise Malformed("uri_character", "The URI holds a character that no URI may hold.")
    scheme = scheme.lower()
    return _sip_uri(scheme, rest) if scheme in SIP_SCHEMES else _other_uri(scheme, rest)


def _sip_uri(scheme: str, rest: str) -> Uri:
    login, at, tail = rest.rpartition("@")
    user, colon, password = login.partition(":")
    if at and (not user or _USER_FORBIDDEN.search(login)):
        raise Malformed("uri_user", "The user part of the URI is broken.")
    tail, question, headers = tail.partition("?")
    host_port, semicolon, params = tail.partition(";")
    host, port = host_and_port(host_port)
    return Uri(
        scheme=scheme,
        user=user,
        host=host,
        port=port,
        params=_params(params) if semicolon else {},
        headers=_headers(headers) if question else {},
        password=password if colon else None,
    )


def _other_uri(scheme: str, rest: str) -> Uri:
    path, semicolon, params = rest.partition(";")
    if not path:
        raise Malformed("uri_empty", "The URI has nothing after its scheme.")
    return Uri(scheme=scheme, user=path, host="", params=_params(params) if semicolon else {})


def host_and_port(text: str) -> tuple[str, int | None]:
    """Host as written and port, from `host`, `host:port`, `[v6]` or `[v6]:port`; blanks at the colon pass.

    Raises `Malformed` 400. A bare IPv6 address is refused: its last group cannot be told from a port.
    """
    text = text.strip()
    bracket = text.find("]") + 1
    host, colon, port = text[bracket:].partition(":")
    host = text[:bracket] + host.strip()
    if not (_HOST_NAME.fullmatch(host) or _IPV6.fullmatch(host)):
        raise Malformed("host", "The host is neither a name nor an address.")
    return host, _port(port.strip()) if colon else None


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise Malformed("port", "The port is not a number between 1 and 65535.")
    return int(text)


def _params(text: str) -> dict[str, str | None]:
    params: dict[str, str | None] = {}
    for item in _items(text, ";"):
        name, equals, value = item.partition("=")
        if not name or name.lower() in params:
            raise Malformed("uri_parameter", "A URI parameter is empty or repeated.")
        params[name.lower()] = value if equals else None
    return params


def _headers(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for item in _items(text, "&"):
        name, equals, value = item.partition("=")
        if not name or not equals or name.lower() in headers:
            raise Malformed("uri_header", "A URI header is empty, repeated or has no value.")
        headers[name.lower()] = value
    return headers


def _items(text: str, separator: str) -> list[str]:
    items = text.split(separator)
    if len(items) > URI_PARAMS_MAX:
        raise Malformed("uri_parameters", "The URI has more parts than we read.", status=414)
    return items
