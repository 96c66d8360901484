"""Messages out of a stream, however it was cut, and out of nothing else."""

import random
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.framer import StreamFramer
from pay_ivr.sip.info import cut
from pay_ivr.sip.wire import HEADER_BYTES_MAX, Request, Response, parse


def message(number: int, body: bytes = b"", method: str = "MESSAGE", extra: str = "") -> bytes:
    """A request whose CSeq tells it apart."""
    return (
        f"{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK{number}\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:a@b>\r\nCall-ID: {number}\r\nCSeq: {number} {method}\r\n"
        f"{extra}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


INFO = message(7, b"Signal=5\r\nDuration=160\r\n", "INFO", "Content-Type: application/dtmf-relay\r\n")
STREAM = (
    b"\r\n\r\n"
    + message(1)
    + message(2, b"\r\n\r\nSIP/2.0")
    + b"\r\n\r\n\r\n"
    + INFO
    + message(3, b"x" * 500)
)
NUMBERS = ["1", "2", "7", "3"]


def feed(framer: StreamFramer, data: bytes) -> list[Request | Response]:
    """The messages that `data` completes, read as the transport reads them."""
    return [parse(cut(frame)[0]) for frame in framer.frames(data)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_any_cutting_gives_the_same_messages(cuts: list[int]) -> None:
    """Split and glued segments, keep-alives in between: always the same messages in order."""
    framer = StreamFramer()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [m for a, b in pairwise(edges) for m in feed(framer, STREAM[a:b])]
    assert [m.get("Call-ID") for m in found] == NUMBERS
    assert [len(m.body) for m in found] == [0, 11, 0, 500]
    assert framer.waiting == 0


def test_one_byte_at_a_time() -> None:
    """The slowest sender is understood."""
    framer = StreamFramer()
    found = [m for at in range(len(STREAM)) for m in feed(framer, STREAM[at : at + 1])]
    assert [m.get("Call-ID") for m in found] == NUMBERS


def test_key_of_an_info_is_cut_from_its_frame() -> None:
    """The frame gives its key to the knife, and no message ever holds the body."""
    frames = list(StreamFramer().frames(INFO))
    datagram, key = cut(frames[0])
    assert key == 5
    assert parse(datagram).body == b""
    assert frames[0] == bytes(len(INFO))
    assert b"Signal" not in datagram


def test_keep_alives_take_no_room() -> None:
    """A day of line ends, and the next message is served."""
    framer = StreamFramer()
    for _ in range(3_000):
        assert feed(framer, b"\r\n\r\n") == []
    assert framer.waiting == 0
    assert [m.get("Call-ID") for m in feed(framer, b"\r\n" + message(1))] == ["1"]


@pytest.mark.parametrize(
    ("data", "status", "answered"),
    [
        (message(1).replace(b"Content-Length: 0\r\n", b""), 400, True),
        (message(1).replace(b"Length: 0", b"Length: -1"), 400, True),
        (message(1).replace(b"Length: 0", b"Length: 0\r\nl: 5"), 400, True),
        (message(1).replace(b"Length: 0", b"Length: 40000"), 413, True),
        (message(1, extra="X: " + "x" * HEADER_BYTES_MAX + "\r\n"), 513, True),
        (b"GET / HTTP/1.1\r\n", 400, False),
        (b"\x16\x03\x01\x02\x00\x01" * 600, 400, False),
        (b"x" * 3000, 400, False),
        (message(1)[:60] + b"a" * 2 * HEADER_BYTES_MAX, 513, False),
    ],
)
def test_broken_framing_ends_the_stream(data: bytes, status: int, *, answered: bool) -> None:
    """What cannot be framed is refused once, answered where possible, and then nothing more is read."""
    framer = StreamFramer()
    with pytest.raises(Malformed) as caught:
        list(framer.frames(data))
    assert (status, answered) == (caught.value.status, caught.value.request is not None)
    assert list(framer.frames(message(1))) == []
    assert framer.waiting == 0


def test_messages_before_the_fault_are_handed_out() -> None:
    """A good message in the same segment as garbage is still served."""
    framer = StreamFramer()
    frames = framer.frames(message(1) + b"GET / HTTP/1.1\r\n\r\n")
    first = parse(next(frames))
    assert isinstance(first, Request)
    with pytest.raises(Malformed):
        next(frames)


def test_noise_never_breaks_the_framer() -> None:
    """Two thousand streams of mutated messages: only `Malformed` escapes and the buffer stays bounded."""
    dice = random.Random(20)
    for _ in range(2_000):
        data = bytearray(STREAM)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        framer = StreamFramer()
        with suppress(Malformed):
            for start in range(0, len(data), 97):
                for frame in framer.frames(data[start : start + 97]):
                    parse(cut(frame)[0])
        assert framer.waiting <= len(STREAM)
