"""The knife: which key comes out of an INFO, and that its body goes nowhere."""

import ast
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.sip import info
from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.info import KEYS, cut
from pay_ivr.sip.wire import parse

RELAY = "application/dtmf-relay"
PLAIN = "application/dtmf"
EVENT = "audio/telephone-event"


def request(
    body: bytes, content_type: str | None = RELAY, method: str = "INFO", length: str | None = None
) -> bytes:
    """A request with that body; `length` writes another Content-Length, empty none."""
    kind = "" if content_type is None else f"Content-Type: {content_type}\r\n"
    size = "" if length == "" else f"Content-Length: {len(body) if length is None else length}\r\n"
    return (
        f"{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n{kind}{size}\r\n"
    ).encode() + body


@pytest.mark.parametrize("key", range(16))
@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (RELAY, "Signal={}\r\nDuration=160\r\n"),
        (RELAY, "Signal= {}\r\nDuration= 250"),
        (RELAY, "signal = {} \nduration=100\n"),
        (RELAY, "Duration=160\r\nSignal={}"),
        ("application/vnd.nortelnetworks.digits", "p=Digit-Collection\r\ny=Digits\r\nd={}\r\n"),
        (PLAIN, "{}"),
        (PLAIN, "{}\r\n"),
        (PLAIN, "\r\n{}\r\n"),
        ("Application/DTMF ; charset=utf-8", "{}"),
        ("application/telephone-event", "Signal={}"),
    ],
)
def test_every_key_is_found_in_every_form(key: int, content_type: str, form: str) -> None:
    """The sixteen keys by their names, in the bodies that phones and gateways send."""
    name = chr(KEYS[key])
    for text in {form.format(name), form.format(name.lower())}:
        assert cut(request(text.encode(), content_type))[1] == key


@pytest.mark.parametrize(
    ("text", "key"), [("10", 10), ("11", 11), ("12", 12), ("15", 15), ("16", None), ("05", None)]
)
def test_two_digits_are_the_number_of_one_key(text: str, key: int | None) -> None:
    """Gateways write the star as 10; flash and leading zeros are no key."""
    assert key == cut(request(f"Signal={text}\r\n".encode()))[1]


@pytest.mark.parametrize("key", range(16))
def test_end_packet_of_a_binary_event_is_a_key(key: int) -> None:
    """Four bytes of RFC 4733 with the end bit."""
    assert cut(request(bytes([key, 0x8A, 0, 160]), EVENT))[1] == key


@pytest.mark.parametrize(
    "body", [bytes([5, 0x0A, 0, 160]), bytes([16, 0x8A, 0, 160]), bytes([5, 0x8A, 0]), b""]
)
def test_other_binary_event_is_no_key(body: bytes) -> None:
    """An update would count a press twice; flash, short and empty bodies are nothing."""
    assert cut(request(body, EVENT))[1] is None


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (RELAY, b"Signal=4242424242424242\r\n"),
        (RELAY, b"Signal=4\r\nSignal=2\r\n"),
        (RELAY, b"Signal=4\r\nd=2\r\n"),
        (PLAIN, b"4 2"),
        (PLAIN, b"4\r\n2\r\n"),
        (RELAY, b"Signal=x"),
        (RELAY, b"Signal="),
        (RELAY, b"Signals=5"),
        (RELAY, b"Duration=160"),
        ("text/plain", b"Signal=5"),
        ("application/kpml-response+xml", b"5"),
        (None, b"5"),
    ],
)
def test_body_without_exactly_one_key_gives_none_and_is_cut(content_type: str | None, body: bytes) -> None:
    """Several keys would make a PAN with holes; whatever else the body is, it does not stay."""
    data, key = cut(request(body, content_type))
    assert key is None
    assert parse(data).body == b""


def test_cut_datagram_is_a_request_to_be_answered() -> None:
    """All headers are there, the length is zero, the body is nowhere."""
    data, key = cut(request(b"Signal=5\r\nDuration=160\r\n"))
    message = parse(data)
    assert key == 5
    assert (message.get("Content-Length"), message.body) == ("0", b"")
    assert message.get("Call-ID") == "1"
    assert b"Signal" not in data


def test_mutable_buffer_is_overwritten() -> None:
    """After the cut the receive buffer holds zeros only."""
    buffer = bytearray(request(b"Signal=5\r\n"))
    size = len(buffer)
    data, key = cut(buffer)
    assert (key, buffer) == (5, bytearray(size))
    assert data.startswith(b"INFO ")


@pytest.mark.parametrize(
    "form", ["c: application/dtmf-relay\r\nl: 8", "CONTENT-TYPE :\r\n application/dtmf-relay\r\nl:8"]
)
def test_compact_and_folded_headers_are_understood(form: str) -> None:
    """Short names, blanks before the colon and folded values name the same body."""
    data = request(b"Signal=5", None, length="").replace(b"\r\n\r\n", f"\r\n{form}\r\n\r\n".encode())
    cut_data, key = cut(data)
    assert (key, parse(cut_data).body) == (5, b"")


def test_datagram_without_length_is_cut_too() -> None:
    """Without Content-Length the body is the rest of the datagram."""
    data, key = cut(request(b"Signal=5", length=""))
    assert (key, parse(data).get("Content-Length")) == (5, "0")


def test_bytes_behind_the_length_are_no_part_of_the_body() -> None:
    """What follows Content-Length is neither read nor kept."""
    data, key = cut(request(b"Signal=5\r\nSignal=6", length="8"))
    assert (key, b"Signal" in data) == (5, False)


@pytest.mark.parametrize("length", ["99", "-1", "8x", "9999999999", "8\r\nContent-Length: 8", ""])
def test_broken_length_gives_no_key_and_a_refusal(length: str) -> None:
    """Framing stays as strict as for every other message, and the body is gone nevertheless."""
    data, key = cut(request(b"Signal=5", length=length or "0x8"))
    assert (key, b"Signal" in data) == (None, False)
    with pytest.raises(Malformed):
        parse(data)


@pytest.mark.parametrize(
    "data", [request(b"Signal=5").replace(b"\r\n\r\n", b"\r\n"), b"INFO sip:a@b SIP/2.0\nSignal=5", b"INFO x"]
)
def test_info_without_end_of_headers_loses_everything(data: bytes) -> None:
    """A body could stand anywhere in it: nothing but the first line is left, and that is refused."""
    left, key = cut(data)
    assert (key, b"Signal" in left) == (None, False)
    with pytest.raises(Malformed) as caught:
        parse(left)
    assert caught.value.request is None


@pytest.mark.parametrize("prefix", [b"\r\n\r\n", b" ", b"\0\0"])
@pytest.mark.parametrize("method", ["INFO", "info", "Info"])
def test_info_in_disguise_is_cut(prefix: bytes, method: str) -> None:
    """Keep-alives in front and other cases of the method do not save a body."""
    data, _ = cut(prefix + request(b"Signal=5", method=method))
    assert b"Signal" not in data


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", request(b"v=0", "application/sdp", "INVITE"), b"INFORM x SIP/2.0\r\n\r\nab"]
)
def test_anything_else_passes_unchanged(data: bytes) -> None:
    """The knife cuts INFO and nothing else, and a mutable buffer of anything else keeps its bytes."""
    buffer = bytearray(data)
    assert (data, None) == cut(data)
    assert (data, None) == cut(buffer)
    assert data == buffer


@given(st.binary(max_size=60), st.sampled_from([RELAY, PLAIN, EVENT, "text/plain"]))
def test_any_body_is_gone(body: bytes, content_type: str) -> None:
    """Whatever the body, the message object has none and the key is one of sixteen or none."""
    data, key = cut(request(body, content_type))
    assert parse(data).body == b""
    assert key is None or 0 <= key <= 15


def test_mutated_info_never_shows_its_body() -> None:
    """10,000 mutated INFOs: nothing raises, and no message, whole or partial, has the marked body."""
    dice = random.Random(4733)
    whole = request(b"Signal=5\r\nMARKED-BODY\r\n")
    body_at = whole.index(b"\r\n\r\n")
    for _ in range(10_000):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len("INFO "), body_at + 6)
            data[at : at + dice.randint(0, 3)] = dice.choice([b"", b"\r\n", b"\n", b":", b"5", b" "])
        left, _ = cut(bytes(data))
        if data.startswith(b"INFO "):
            assert b"MARKED-BODY" not in left
        with suppress(Malformed):
            assert parse(left).body == b""


@pytest.mark.parametrize("filling", [b"\r\n ", b"a:\r\n", b"l: 1\r\n", b"\n", b" "])
def test_heavy_info_is_cut_in_a_moment(filling: bytes) -> None:
    """60,000 bytes of folds, headers or blanks cost about as many steps as they have bytes."""
    head, _, tail = request(b"Signal=5").partition(b"Via:")
    begun = time.process_time()
    cut(head + b"X: 1" + filling * (60_000 // len(filling)) + b"\r\nVia:" + tail)
    cut(request(filling * (60_000 // len(filling))))
    # Linear takes some 10 ms; steps that grow with the square of 60,000 would take minutes on any machine.
    assert time.process_time() - begun < 5.0


def test_file_that_hears_keys_imports_nothing() -> None:
    """No logger, no codec for text, nothing that could keep a key."""
    tree = ast.parse(Path(info.__file__).read_text(encoding="utf-8"))
    assert [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)] == []
    calls = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert calls.isdisjoint({"decode", "format", "hex"})
