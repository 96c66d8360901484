"""The knife at the socket: a key that arrives by SIP INFO never becomes part of a message object.

Bodies of INFO requests (RFC 6086) are cut from the bytes before `wire.parse` sees them; their key, if there
is exactly one, goes on as a number 0-15 and nowhere else. This file hears keys: it holds no logger, makes no
text of a body, raises nothing, and overwrites every buffer it is allowed to write to.

Understood: `application/dtmf-relay` and `application/vnd.nortelnetworks.digits` (`Signal=5`, `d=5`),
`application/dtmf` (`5`), `audio/telephone-event` and `application/telephone-event` (the four bytes of
RFC 4733, or text). A body with several keys gives none: half of it would put a wrong PAN together, and the
caller, who hears no beep, keys again.
"""

KEYS = b"0123456789*#ABCD"
"""Key numbers 0-15 in the order of RFC 4733 §3.2; a name is one byte."""
EVENT_BYTES = 4
"""RFC 4733 §2.3: event, flags with volume, duration."""
EVENT_END = 0x80
"""The end bit of a binary event: an update without it would count one press twice."""
NAMED = (b"signal", b"d")
"""Left sides that name the key in a body of lines."""
NUMBERS_FROM, NUMBERS_TO = 10, 15
"""Gateways write * # A B C D as 10-15 too, so two digits in this range are one key; 16, flash, is none."""

TYPES = (
    b"application/dtmf-relay",
    b"application/dtmf",
    b"application/vnd.nortelnetworks.digits",
    b"application/telephone-event",
    b"audio/telephone-event",
)
"""Media types that carry one key."""

LENGTH_DIGITS_MAX = 9
"""Digits of a Content-Length that we read as a number."""

_LINE_END = b"\r\n"
_HEAD_END = b"\r\n\r\n"
_BLANKS = b" \t"
_IDLE = b"\r\n \t\0"
_DIGITS = b"0123456789"


def cut(datagram: bytearray | bytes) -> tuple[bytes, int | None]:
    """The datagram without what an INFO carries, and the one key it carried or None.

    Whatever is not an INFO request comes back unchanged. An INFO comes back with `Content-Length: 0` and
    no body whatever its type; the buffer is overwritten with zeros when it is mutable. An INFO whose headers
    do not end, or whose body is shorter than announced, comes back as something `wire.parse` refuses.
    """
    start = _start(datagram)
    if not datagram[start : start + 5].upper().startswith((b"INFO ", b"INFO\t")):
        return bytes(datagram), None
    end = datagram.find(_HEAD_END, start)
    if end < 0:
        head, key = bytes(datagram[start : datagram.find(b"\n", start) + 1]), None
    else:
        head, key = _without_body(datagram, start, end)
    if isinstance(datagram, bytearray):
        datagram[:] = bytes(len(datagram))
    return head, key


def _start(datagram: bytearray | bytes) -> int:
    """Where the first word begins, behind any number of line ends and blanks."""
    return next((at for at, byte in enumerate(datagram) if byte not in _IDLE), len(datagram))


def _without_body(datagram: bytearray | bytes, begin: int, end: int) -> tuple[bytes, int | None]:
    """The head with a Content-Length of 0 and the key of the body behind it.

    A head whose Content-Length is broken, doubled or too large keeps it, so that `wire.parse` refuses it.
    """
    lines = _unfolded(bytes(datagram[begin:end]))
    headers = [_header(line) for line in lines]
    lengths = [value for name, value in headers if name in {b"content-length", b"l"}]
    types = [value for name, value in headers if name in {b"content-type", b"c"}]
    start = end + len(_HEAD_END)
    size = _size(lengths, len(datagram) - start)
    if size is None:
        return _joined(lines), None
    wanted = len(types) == 1 and _carries_key(types[0])
    key = _key(memoryview(datagram)[start : start + size]) if wanted else None
    kept = [
        line for line, (name, _) in zip(lines, headers, strict=True) if name not in {b"content-length", b"l"}
    ]
    return _joined([*kept, b"Content-Length: 0"]), key


def _size(lengths: list[bytes], available: int) -> int | None:
    """How many bytes the body has; None when the headers do not say it or promise more than came."""
    if not lengths:
        return available
    text = lengths[0]
    if len(lengths) > 1 or not text.isdigit() or len(text) > LENGTH_DIGITS_MAX or int(text) > available:
        return None
    return int(text)


def _unfolded(head: bytes) -> list[bytes]:
    """One line per header, continuations joined (RFC 3261 §7.3.1)."""
    lines: list[list[bytes]] = []
    for line in head.split(_LINE_END):
        if line[:1] in {b" ", b"\t"} and lines:
            lines[-1].append(line.strip(_BLANKS))
        else:
            lines.append([line])
    return [b" ".join(parts) for parts in lines]


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.rstrip(_BLANKS).lower(), value.strip(_BLANKS)


def _joined(lines: list[bytes]) -> bytes:
    return _LINE_END.join([*lines, b"", b""])


def _carries_key(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].rstrip(_BLANKS).lower() in TYPES


def _key(body: memoryview) -> int | None:
    """The one key of a body; the view is read byte by byte, so that no copy of it stays behind."""
    if len(body) == EVENT_BYTES and body[0] < len(KEYS) and body[1] & EVENT_END:
        return body[0]
    candidates = 0
    key = None
    start = 0
    while start < len(body):
        stop = next((at for at in range(start, len(body)) if body[at] in _LINE_END), len(body))
        value = _value(body, start, stop)
        if value is not None:
            candidates += 1
            key = _one_key(body, *value)
        start = stop + 1
    return key if candidates == 1 else None


def _value(body: memoryview, start: int, stop: int) -> tuple[int, int] | None:
    """Where the key stands in a line: behind `Signal=` or alone; None in blank lines and other fields."""
    start, stop = _trimmed(body, start, stop)
    equals = next((at for at in range(start, stop) if body[at] == ord("=")), None)
    if equals is None:
        return (start, stop) if start < stop else None
    left, right = _trimmed(body, start, equals)
    if not any(right - left == len(name) and _same(body, left, name) for name in NAMED):
        return None
    return _trimmed(body, equals + 1, stop)


def _trimmed(body: memoryview, start: int, stop: int) -> tuple[int, int]:
    while start < stop and body[start] in _BLANKS:
        start += 1
    while start < stop and body[stop - 1] in _BLANKS:
        stop -= 1
    return start, stop


def _same(body: memoryview, start: int, name: bytes) -> bool:
    """True when `name` stands at `start` in any case."""
    return all(_lower(body[start + at]) == byte for at, byte in enumerate(name))


def _one_key(body: memoryview, start: int, stop: int) -> int | None:
    """The key number of one name, or of two digits from 10 to 15; None for anything else."""
    if stop - start == 1:
        at = KEYS.find(_upper(body[start]))
        return at if at >= 0 else None
    if stop - start == 2 and body[start] in _DIGITS and body[start + 1] in _DIGITS:
        number = 10 * (body[start] - ord("0")) + body[start + 1] - ord("0")
        return number if NUMBERS_FROM <= number <= NUMBERS_TO else None
    return None


def _lower(byte: int) -> int:
    return byte + 32 if ord("A") <= byte <= ord("Z") else byte


def _upper(byte: int) -> int:
    return byte - 32 if ord("a") <= byte <= ord("z") else byte
