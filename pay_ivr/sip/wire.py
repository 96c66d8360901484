"""SIP messages as bytes and as objects: RFC 3261 §7, §8.2.6, §20, §25; RFC 3581 (rport).

A header value is kept as the raw text the peer sent and echoed exactly; typed views are made when asked for.
Bytes that are not UTF-8 survive the round trip (surrogateescape). Strict where a mistake would confuse two
readers: framing, CSeq, headers that must be single, the five headers every message has. Tolerant on blanks,
folding and unknown schemes. This file owns the rule that no message object is half valid: what `parse`
returns can be answered, what it refuses says how.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pay_ivr.sip import grammar
from pay_ivr.sip.errors import LocalSipError, Malformed
from pay_ivr.sip.grammar import TOKEN, param_name, params_text, quoted, split_list, unquoted
from pay_ivr.sip.names import LISTS, REASONS, REQUIRED, SINGLE, canonical
from pay_ivr.sip.uri import URI_LENGTH_MAX, host_and_port

HEADER_BYTES_MAX = 16_384
"""Start line and headers; carrier INVITEs measure 1-4 kB, with every SBC header about 8 kB."""
BODY_BYTES_MAX = 32_768
"""Body; our SDPs have 300 bytes, a WebRTC offer 10 kB, a SIPREC metadata document 20 kB."""
MESSAGE_BYTES_MAX = HEADER_BYTES_MAX + BODY_BYTES_MAX
"""A whole message, below the 65,507 bytes of a UDP datagram."""
HEADER_COUNT_MAX = 128
"""Header rows of one message; carriers send about 30. Bounds every scan over them."""
HEADER_VALUE_MAX = 8_192
"""Characters of one unfolded value: the longest legal ones are Identity and Record-Route lists."""
LIST_ITEMS_MAX = 64
"""Entries of one header's list over all its rows: more hops than any Max-Forwards of ours allows."""
CSEQ_LIMIT = 2**31
"""RFC 3261 §8.1.1.5: a sequence number is below 2**31."""

SIP_VERSION = "SIP/2.0"
MAGIC_COOKIE = "z9hG4bK"
"""RFC 3261 §8.1.1.7: a branch that starts so is unique; one that does not comes from RFC 2543."""

_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6][0-9]{2})(?: ([^\r\n]*))?", re.IGNORECASE)
_VERSION = re.compile(r"SIP/[0-9]{1,3}\.[0-9]{1,3}", re.IGNORECASE)
_SENT_PROTOCOL = re.compile(
    r"[ \t]*SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*([A-Za-z0-9.!%*_+`'~-]+)[ \t]+", re.IGNORECASE
)
_CSEQ = re.compile(r"([0-9]{1,10})[ \t]+(\S+)")
_LENGTH = re.compile(r"[0-9]{1,9}")
_LINE_BREAK = re.compile(r"[\r\n]")
_URI_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\"]")
_DISPLAY_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\",;:<>\\]")
_BLANKS = " \t"


@dataclass(frozen=True)
class Via:
    """One hop of the way back: RFC 3261 §20.42 with RFC 3581."""

    transport: str
    """Upper case: UDP, TCP, TLS, WS, WSS."""
    host: str
    port: int | None = None
    branch: str | None = None
    params: Mapping[str, str | None] = field(default_factory=dict)
    """Everything but the branch, names in lower case, values raw."""

    @property
    def received(self) -> str | None:
        """The source address some server before us saw, without brackets."""
        value = self.params.get("received")
        return None if value is None else value.strip("[]")

    @property
    def rport(self) -> int | None:
        """The source port some server before us saw; None when absent, empty or no port."""
        value = self.params.get("rport") or ""
        return int(value) if value.isascii() and value.isdigit() and 0 < int(value[:6]) < 65536 else None

    @property
    def wants_rport(self) -> bool:
        """True when the sender asks for its answers at the source port (RFC 3581 §4)."""
        return "rport" in self.params

    def __str__(self) -> str:
        """The header value, branch first."""
        port = "" if self.port is None else f":{self.port}"
        branch = {} if self.branch is None else {"branch": self.branch}
        return f"{SIP_VERSION}/{self.transport} {self.host}{port}{params_text({**branch, **self.params})}"


@dataclass(frozen=True)
class CSeq:
    """A sequence number below 2**31 and the method it counts."""

    number: int
    method: str

    def __str__(self) -> str:
        """The header value."""
        return f"{self.number} {self.method}"


@dataclass(frozen=True)
class NameAddr:
    """The value of From, To, Contact, Route and their kind (RFC 3261 §20.10)."""

    display: str
    """Without quotes and escapes; empty when there is none."""
    uri: str
    """Raw, without angle brackets; `*` in the Contact that removes all bindings."""
    params: Mapping[str, str | None] = field(default_factory=dict)
    """Header parameters, names in lower case, values raw (quotes kept)."""

    @property
    def tag(self) -> str | None:
        """The tag of a From or To; None when there is none."""
        return self.params.get("tag") or None

    def __str__(self) -> str:
        """The header value; the display name always quoted."""
        return f"{quoted(self.display) + ' ' if self.display else ''}<{self.uri}>{params_text(self.params)}"


class Message(ABC):
    """What requests and responses share: header rows in order, and a body.

    `headers` holds canonical long names and raw values; one row may hold a list of several values.
    The representation shows no content: messages hold callers' numbers.
    """

    __slots__ = ("body", "headers")

    def __init__(self, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        self.headers = [(canonical(name), value) for name, value in headers]
        self.body = body

    def get(self, name: str) -> str | None:
        """The raw value of the first row of that name, lists left whole; None when there is none."""
        name = canonical(name)
        return next((value for row, value in self.headers if row == name), None)

    def get_all(self, name: str) -> list[str]:
        """Every value of that name in order, the lists of `LISTS` taken apart; an empty list has none.

        Raises `Malformed` for broken quoting and beyond `LIST_ITEMS_MAX`.
        """
        name = canonical(name)
        values = [value for row, value in self.headers if row == name]
        if name in LISTS:
            values = [item for value in values if value for item in split_list(value)]
        if len(values) > LIST_ITEMS_MAX:
            raise Malformed("list_long", "A header list is longer than we read.")
        return values

    def add(self, name: str, value: str) -> None:
        """A new row behind all others."""
        self.headers.append((canonical(name), value))

    def prepend(self, name: str, value: str) -> None:
        """A new row before all others, as a Via or Record-Route of ours must stand."""
        self.headers.insert(0, (canonical(name), value))

    def set(self, name: str, value: str) -> None:
        """That value and no other under that name, in the place of the first."""
        name = canonical(name)
        index = next((i for i, (row, _) in enumerate(self.headers) if row == name), len(self.headers))
        self.remove(name)
        self.headers.insert(index, (name, value))

    def remove(self, name: str) -> None:
        """No row of that name any more."""
        name = canonical(name)
        self.headers = [row for row in self.headers if row[0] != name]

    @abstractmethod
    def start_line(self) -> str:
        """The first line without its end."""

    def to_bytes(self) -> bytes:
        """The message for the wire; Content-Length is always there, last, and counts bytes.

        Raises `LocalSipError` when a value of ours would break the line structure.
        """
        rows = [f"{name}: {value}" for name, value in self.headers if name != "Content-Length"]
        lines = [self.start_line(), *rows, f"Content-Length: {len(self.body)}"]
        if any("\r" in line or "\n" in line for line in lines):
            raise LocalSipError("line_break", "A header or start line holds a line break.")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + self.body


class Request(Message):
    """A request; `uri` is the raw Request-URI."""

    __slots__ = ("method", "uri")

    def __init__(
        self, method: str, uri: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri

    def start_line(self) -> str:
        """`INVITE sip:… SIP/2.0`."""
        return f"{self.method} {self.uri} {SIP_VERSION}"

    def __repr__(self) -> str:
        return f"<Request {self.method} headers={len(self.headers)} body={len(self.body)}>"


class Response(Message):
    """A response; the reason defaults to the usual words."""

    __slots__ = ("reason", "status")

    DEFAULT_REASON: ClassVar[str] = "Unknown"

    def __init__(
        self,
        status: int,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = REASONS.get(status, self.DEFAULT_REASON) if reason is None else reason

    def start_line(self) -> str:
        """`SIP/2.0 200 OK`."""
        return f"{SIP_VERSION} {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<Response {self.status} headers={len(self.headers)} body={len(self.body)}>"


# -- Bytes to message


def parse(datagram: bytes | bytearray) -> Request | Response:
    """The one message of a datagram; bytes behind Content-Length are dropped (RFC 3261 §18.3).

    Leading line ends (keep-alives of RFC 5626) are skipped. Raises `Malformed`, with `request` set when a
    request can be answered although it is refused.
    """
    data = bytes(datagram).lstrip(b"\r\n")
    head, blank, body = data.partition(b"\r\n\r\n")
    if len(head) > HEADER_BYTES_MAX:
        head, blank = head[:HEADER_BYTES_MAX].rpartition(b"\r\n")[0], b""
    message, fault = read_head(head)
    if len(data) > MESSAGE_BYTES_MAX or (not blank and len(data) > HEADER_BYTES_MAX):
        fault = Malformed("message_too_large", "The message is larger than we read.", status=513)
    elif not blank:
        fault = Malformed("no_blank_line", "The headers do not end.")
    try:
        if fault is None:
            _check_headers(message)
            message.body = _body(message, body)
    except Malformed as error:
        fault = error
    if fault is not None:
        raise refused(message, fault)
    return message


def read_head(head: bytes) -> tuple[Request | Response, Malformed | None]:
    """A message without body from start line and headers, as far as readable, and what is wrong with it.

    Raises `Malformed` when the first line does not even tell a request from a response.
    """
    first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    message = _start_line(first)
    message.headers, fault = _rows(_unfolded(lines))
    try:
        _check_start_line(first)
    except Malformed as error:
        fault = error
    return message, fault


def refused(message: Request | Response, error: Malformed) -> Malformed:
    """`error` with the readable part of the request to be answered; without it when nobody can be answered.

    An ACK is never answered, and without a readable top Via there is no way back (RFC 3261 §18.2.2).
    """
    error.request = None
    if isinstance(message, Request) and message.method != "ACK":
        message.body = b""
        try:
            top_via(message)
            error.request = message
        except Malformed:
            error.request = None
    return error


def _start_line(line: str) -> Request | Response:
    """A message without headers. Raises `Malformed` when the line does not even tell which kind it is."""
    if line[:4].upper() == "SIP/":
        status = _STATUS_LINE.fullmatch(line)
        if status is None:
            raise Malformed("status_line", "The status line is broken.")
        return Response(int(status[1]), status[2] or "")
    method, _, rest = line.partition(" ")
    uri, _, version = rest.rstrip(_BLANKS).rpartition(" ")
    if not TOKEN.fullmatch(method) or not _VERSION.fullmatch(version):
        raise Malformed("start_line", "The first line is neither a request nor a response.")
    return Request(method, uri)


def _check_start_line(line: str) -> None:
    """Nothing for a status line or a request line as RFC 3261 §7.1 writes it: one blank, URI, one blank."""
    if line[:4].upper() == "SIP/":
        return
    _, _, rest = line.partition(" ")
    uri, _, version = rest.rpartition(" ")
    if version.upper() != SIP_VERSION:
        status = 505 if _VERSION.fullmatch(version) else 400
        raise Malformed("version", "The request is not SIP/2.0.", status=status)
    if not uri or _URI_FORBIDDEN.search(uri):
        raise Malformed("request_uri", "The Request-URI is broken.")
    if len(uri) > URI_LENGTH_MAX:
        raise Malformed("uri_too_long", "The Request-URI is longer than we read.", status=414)


def _rows(lines: list[str]) -> tuple[list[tuple[str, str]], Malformed | None]:
    """The readable header rows of unfolded lines in order, and what is wrong with the others."""
    rows: list[tuple[str, str]] = []
    fault: Malformed | None = None
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.rstrip(_BLANKS)
        if not colon or not TOKEN.fullmatch(name) or _LINE_BREAK.search(value):
            fault = Malformed("header_line", "A header line is broken.")
        elif len(value) > HEADER_VALUE_MAX:
            fault = Malformed("header_long", "A header value is longer than we read.", status=513)
        else:
            rows.append((canonical(name), value.strip(_BLANKS)))
    if len(rows) > HEADER_COUNT_MAX:
        fault = Malformed("header_count", "There are more headers than we read.", status=513)
    return rows[:HEADER_COUNT_MAX], fault


def _unfolded(lines: list[str]) -> list[str]:
    """One string per header; a continuation is joined with one blank (RFC 3261 §7.3.1)."""
    headers: list[list[str]] = []
    for line in lines:
        if line[:1] in {" ", "\t"} and headers:
            headers[-1].append(line.strip(_BLANKS))
        else:
            headers.append([line])
    return [" ".join(parts) for parts in headers]


def _check_headers(message: Request | Response) -> None:
    """Nothing when every header that routing and dialogs rest on is there, single and readable."""
    names = [name for name, _ in message.headers]
    if any(name not in names for name in REQUIRED):
        raise Malformed("header_missing", "Via, From, To, Call-ID or CSeq is missing.")
    if any(names.count(name) > 1 for name in SINGLE.intersection(names)):
        raise Malformed("header_repeated", "A header that must be single stands twice.")
    if not message.get("Call-ID"):
        raise Malformed("call_id", "The Call-ID is empty.")
    if isinstance(message, Request) and cseq(message).method != message.method:
        raise Malformed("cseq_method", "The CSeq counts another method.")
    cseq(message)
    top_via(message)
    for name in ("From", "To"):
        name_addr(message.get(name) or "")


def _body(message: Message, rest: bytes) -> bytes:
    """The body by Content-Length, or all of `rest` without one, which only datagrams may do (§20.14)."""
    length = content_length(message.headers)
    if length is not None and length > len(rest):
        raise Malformed("body_short", "The body is shorter than its Content-Length.")
    body = rest if length is None else rest[:length]
    if len(body) > BODY_BYTES_MAX:
        raise Malformed("body_too_large", "The body is larger than we read.", status=413)
    return body


def content_length(rows: Iterable[tuple[str, str]]) -> int | None:
    """The number of body bytes that header rows promise; None without the header, `Malformed` when broken."""
    values = [value for name, value in rows if canonical(name) == "Content-Length"]
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.fullmatch(values[0]):
        raise Malformed("content_length", "The Content-Length is not one number.")
    return int(values[0])


# -- Typed views


def top_via(message: Message) -> Via:
    """The Via that says where the message's sender waits. Raises `Malformed` without one or a broken one."""
    row = message.get("Via")
    if row is None:
        raise Malformed("via_missing", "There is no Via.")
    return via(split_list(row)[0])


def via(value: str) -> Via:
    """One Via value taken apart; blanks around `/` and `:` pass (RFC 3261 §25.1)."""
    sent, _, rest = value.partition(";")
    match = _SENT_PROTOCOL.match(sent)
    if match is None:
        raise Malformed("via", "A Via is broken.")
    host, port = host_and_port(sent[match.end() :])
    params = grammar.params(rest) if rest or value.endswith(";") else {}
    branch = params.pop("branch", None)
    return Via(match[1].upper(), host, port, branch, params)


def mark_received(request: Request, host: str, port: int) -> None:
    """Write the source into the top Via: `received` always, `rport` when asked for (RFC 3581 §4).

    The rest of the Via stays as raw as it came; what a sender claims in either parameter is replaced.
    """
    index = next(i for i, (name, _) in enumerate(request.headers) if name == "Via")
    top, *others = split_list(request.headers[index][1])
    sent, *params = split_list(top, ";")
    kept = [item for item in params if param_name(item) not in {"received", "rport"}]
    source = [f"received={host}"]
    if any(param_name(item) == "rport" for item in params):
        source.append(f"rport={port}")
    request.headers[index] = ("Via", ", ".join([";".join([sent, *kept, *source]), *others]))


def cseq(message: Message) -> CSeq:
    """The CSeq. Raises `Malformed` when it is missing, broken or not below 2**31."""
    match = _CSEQ.fullmatch(message.get("CSeq") or "")
    if match is None or int(match[1]) >= CSEQ_LIMIT or not TOKEN.fullmatch(match[2]):
        raise Malformed("cseq", "The CSeq is broken.")
    return CSeq(int(match[1]), match[2])


def name_addr(value: str) -> NameAddr:
    """A From, To, Contact or Route value taken apart (RFC 3261 §20.10).

    Without angle brackets every parameter belongs to the header, and a URI with a comma or question mark is
    refused. A display name without quotes may hold anything that has no meaning of its own in a header.
    """
    parts = grammar.pieces(value)
    bracket = next((i for i, part in enumerate(parts) if part.startswith("<")), None)
    if bracket is None:
        uri, *rest = parts or [""]
        display = ""
    else:
        display = _display(parts[:bracket])
        uri, rest = parts[bracket][1:-1], parts[bracket + 1 :]
    uri = uri.strip(_BLANKS)
    readable = uri == "*" or (":" in uri and not _URI_FORBIDDEN.search(uri))
    if not readable or (bracket is None and "?" in uri):
        raise Malformed("address", "An address header has no readable URI.")
    tail = "".join(rest).strip(_BLANKS)
    if tail and not tail.startswith(";"):
        raise Malformed("address", "An address header goes on behind its URI.")
    return NameAddr(display, uri, grammar.params(tail[1:]) if tail else {})


def tag_of(value: str) -> str | None:
    """The tag of a From or To value, compared byte by byte by whoever needs it; None without one."""
    return name_addr(value).tag


def response_to(
    request: Request, status: int, reason: str | None = None, *, to_tag: str | None = None
) -> Response:
    """A response that finds its way back (RFC 3261 §8.2.6): Via, From, To, Call-ID, CSeq as they came.

    `to_tag` is added to a To that has none. Record-Route goes into what may create a dialog (§12.1.1), the
    Timestamp into a 100. Works on the partial request of a `Malformed` too.
    """
    response = Response(status, reason)
    copied = {"Via", "From", "To", "Call-ID", "CSeq"}
    if 100 < status < 300:
        copied.add("Record-Route")
    if status == 100:
        copied.add("Timestamp")
    response.headers = [(name, value) for name, value in request.headers if name in copied]
    to = response.get("To")
    if to_tag is not None and to is not None and not _has_tag(to):
        response.set("To", f"{to};tag={to_tag}")
    return response


def _has_tag(value: str) -> bool:
    try:
        return tag_of(value) is not None
    except Malformed:
        return True  # unreadable: it is echoed as it came and nothing is added


def _display(pieces: list[str]) -> str:
    """The display name in front of a bracket: one quoted string, or words without meaning of their own."""
    words = [piece.strip(_BLANKS) for piece in pieces if piece.strip(_BLANKS)]
    if not words:
        return ""
    if len(words) > 1 or (words[0][0] != '"' and _DISPLAY_FORBIDDEN.search(words[0])):
        raise Malformed("display_name", "A display name needs quotes.")
    return unquoted(words[0])
