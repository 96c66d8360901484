"""Mutated traffic with a fixed seed: only `Malformed` escapes, whatever a peer sends."""

import random
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.info import cut
from pay_ivr.sip.sdp import accept, answer, parse_sdp
from pay_ivr.sip.uri import parse_uri
from pay_ivr.sip.wire import (
    MESSAGE_BYTES_MAX,
    REASONS,
    Message,
    Request,
    cseq,
    mark_received,
    name_addr,
    parse,
    response_to,
    tag_of,
    top_via,
)
from tests.sip.test_sdp import DESK_PHONE, WIDEBAND, crlf

SIP_ROUNDS = 30_000
SDP_ROUNDS = 20_000
STATUSES = {400, 413, 414, 416, 420, 488, 505, 513}
TORTURE = Path(__file__).parent / "torture"
LEGAL = [path.read_bytes() for path in sorted((TORTURE / "accept").glob("*.sip"))]
SEEDS = LEGAL + [
    path.read_bytes() for path in sorted((TORTURE / "refuse").glob("*.sip")) if path.stat().st_size < 3_000
]
PIECES = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"<",
    b">",
    b'"',
    b"\\",
    b"=",
    b"@",
]
PIECES += [
    b"Via:",
    b"tag=",
    b"SIP/2.0",
    b"\xff",
    b"\xc3",
    b"9" * 20,
    b"-1",
    b"Content-Length: 5\r\n",
    b"[",
    b"]",
    b"%",
]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The data with one to three places changed, cut out, doubled or filled with trouble; some cut short."""
    text = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(text) + 1)
        end = min(len(text), at + dice.randint(0, 12))
        kind = dice.randrange(4)
        if kind == 0:
            text[at:end] = dice.choice(PIECES)
        elif kind == 1:
            del text[at:end]
        elif kind == 2:
            text[at:at] = text[at:end]
        else:
            text[at : at + 1] = bytes([dice.randrange(256)])
    return bytes(text[: dice.randrange(len(text) + 1)] if dice.random() < 0.1 else text)


def read(data: bytes) -> Message | Malformed:
    """The message of a datagram as the transport reads it, or why it is refused."""
    try:
        return parse(cut(data)[0])
    except Malformed as error:
        return error


def use(message: Message) -> None:
    """Everything the layers above do with a message; only `Malformed` may come out of it."""
    top_via(message)
    cseq(message)
    tag_of(message.get("From") or "")
    tag_of(message.get("To") or "")
    for header in ("Via", "Contact", "Route", "Record-Route", "Require", "Allow"):
        for value in message.get_all(header):
            if header in {"Contact", "Route", "Record-Route"}:
                name_addr(value)
    if isinstance(message, Request):
        mark_received(message, "192.0.2.1", 5060)
        response_to(message, 200, to_tag="t").to_bytes()
        parse_uri(message.uri)
    assert parse(message.to_bytes()).headers


@pytest.mark.parametrize("rounds", [SIP_ROUNDS // 10, pytest.param(SIP_ROUNDS, marks=pytest.mark.proof)])
def test_mutated_sip_is_read_or_malformed(rounds: int) -> None:
    """3,000 datagrams, in the long runs 30,000: read and used, or refused with a status that exists.

    Answers can be written.
    """
    dice = random.Random(rounds)
    counts = {"read": 0, "refused": 0, "answered": 0}
    for _ in range(rounds):
        outcome = read(mutated(dice.choice(SEEDS), dice))
        if isinstance(outcome, Message):
            counts["read"] += 1
            with suppress(Malformed):
                use(outcome)
            continue
        counts["refused"] += 1
        assert outcome.status in STATUSES & REASONS.keys()
        if outcome.request is not None:
            counts["answered"] += 1
            mark_received(outcome.request, "192.0.2.1", 5060)
            answer_bytes = response_to(outcome.request, outcome.status, to_tag="t").to_bytes()
            assert answer_bytes.endswith(b"\r\n\r\n")
    assert min(counts.values()) > rounds // 10


def test_bad_request_with_a_way_back_can_be_answered() -> None:
    """A request whose start line and top Via stand untouched never goes without an answer."""
    dice = random.Random(8262)
    data = (TORTURE / "accept" / "plain_invite.sip").read_bytes()
    kept = data.index(b"From:")
    outcomes = [read(data[:kept] + mutated(data[kept:], dice)) for _ in range(5_000)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Malformed)]
    assert len(refused) > 1_000
    assert [error.code for error in refused if error.request is None] == []


def test_mutated_descriptions_are_read_or_malformed() -> None:
    """20,000 descriptions: negotiated in both roles, or refused with 400 or 488."""
    dice = random.Random(8866)
    counts = {"agreed": 0, 400: 0, 488: 0}
    for _ in range(SDP_ROUNDS):
        data = mutated(crlf(dice.choice([DESK_PHONE, WIDEBAND])), dice)
        try:
            sdp = parse_sdp(data)
            body, agreed = answer(sdp, "192.0.2.1", 20000)
        except Malformed as error:
            counts[error.status] += 1
            continue
        counts["agreed"] += 1
        assert agreed == accept(sdp)
        ours = parse_sdp(body)
        assert [line.kind for line in ours.media] == [line.kind for line in sdp.media]
        assert [line.port > 0 for line in ours.media].count(True) == 1
    assert min(counts.values()) > 100


@pytest.mark.parametrize(
    "start",
    [
        'From: "',
        "From: <",
        'From: "\\',
        "From: <sip:a@b>",
        "From: a",
        "From: sip:a@b;x=",
        "Via: SIP/2.0/UDP h",
    ],
)
@pytest.mark.parametrize(
    "filling", ['"', "<", "\\", ";", " ", "\t", "a", ",", '\\"', ";a", "=", '"<', "SIP/2.0/UDP a,"]
)
def test_heavy_input_is_read_in_a_moment(start: str, filling: str) -> None:
    """8,000 characters made to please a backtracking matcher take less than a tenth of a second."""
    data = b"INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n"
    data += f"{start}{filling * (8_000 // len(filling))}\r\n".encode()
    data += b"" if start.startswith("Via") else b"Via: SIP/2.0/UDP h\r\n"
    begun = time.process_time()
    outcome = read(data + b"\r\n")
    assert time.process_time() - begun < 0.1
    if isinstance(outcome, Message):
        with suppress(Malformed):
            use(outcome)


@pytest.mark.parametrize(
    "data", [b"", b"\r\n", b"x", b"\0" * 10, b"INVITE sip:a@b SIP/2.0\r\n" + b"x" * MESSAGE_BYTES_MAX]
)
def test_empty_and_endless_input_is_refused(data: bytes) -> None:
    """Nothing, one byte, zeros, and more than a message may have: refused, and nobody to answer."""
    outcome = read(data)
    assert isinstance(outcome, Malformed)
    assert outcome.request is None
