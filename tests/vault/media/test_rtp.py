"""RTP packets: the strict reader against anything, and the numbers of our own streams."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from vault.media.rtp import FRAME_BYTES, HEADER, HEADER_BYTES, OwnStream, Packet, read

PAYLOAD = bytes(range(160))


def packet(first: int = 0x80, kind: int = 0, rest: bytes = PAYLOAD) -> bytes:
    return HEADER.pack(first, kind, 7, 1600, 0xDEAD) + rest


@given(st.binary(max_size=300), st.sampled_from([0, 0x80, 0x90, 0xA0, 0xB3]))
def test_reader_survives_anything_and_stays_inside(data: bytes, first: int) -> None:
    """No bytes make it raise; what it returns lies within the datagram."""
    for datagram in (data, bytes([first]) + data[1:]):
        found = read(datagram, len(datagram))
        if found is not None:
            assert HEADER_BYTES <= found.start <= found.end <= len(datagram)


def test_extension_csrc_and_padding_are_outside_the_payload() -> None:
    """RFC 3550 §5.1 and §5.3.1: all three at once, the payload is what remains."""
    extension = struct.pack("!HHII", 0xBEDE, 2, 1, 2)
    datagram = packet(0xB2, 0x80 | 8, b"CSRCCSRC" + extension + PAYLOAD + b"\0\0\x03")
    found = read(datagram, len(datagram))
    assert Packet(True, 8, 7, 1600, 0xDEAD, 32, 192) == found
    assert datagram[32:192] == PAYLOAD


def test_lies_about_length_are_refused() -> None:
    """Padding longer than the packet, zero padding, an extension that ends beyond, a wrong version."""
    for first, rest in (
        (0xA0, b"\xff"),
        (0xA0, b"\x00"),
        (0x90, b"\xbe\xde\x00\x02abcd"),
        (0x8F, b"ab"),
        (0x40, b""),
    ):
        assert read(packet(first, rest=rest), HEADER_BYTES + len(rest)) is None


def parsed(sent: list[bytes]) -> list[tuple[int, int, int, int, int]]:
    return [HEADER.unpack_from(item) for item in sent]


def test_own_frames_have_one_base_and_start_with_a_marker() -> None:
    """Sequence +1 and time stamp +160 a frame; the marker on the first (RFC 3551 §4.1)."""
    sent: list[bytes] = []
    stream = OwnStream(lambda item: sent.append(bytes(item)) or len(item))
    stream.use(8)
    for at in range(70_000):
        stream.emit(PAYLOAD, 1600 + at * FRAME_BYTES)
    seen = parsed(sent)
    assert {8, 0x88} == {kind for _, kind, *_ in seen}
    assert 1 == sum(kind == 0x88 for _, kind, *_ in seen)
    first = seen[0]
    assert [((first[2] + at) & 0xFFFF, (first[3] + 160 * at) & 0xFFFFFFFF) for at in range(70_000)] == [
        (sequence, timestamp) for _, _, sequence, timestamp, _ in seen
    ]


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 500))
def test_a_peers_packets_go_on_where_our_own_frames_ended(sequence: int, timestamp: int, pause: int) -> None:
    """Align: next number, and a time stamp later by the whole frames that have passed."""
    sent: list[bytes] = []
    stream = OwnStream(lambda item: sent.append(bytes(item)) or len(item))
    stream.emit(PAYLOAD, 1600)
    stream.align(sequence, timestamp, 1600 + pause * FRAME_BYTES)
    _, _, last, stamp, _ = parsed(sent)[0]
    assert (last + 1) & 0xFFFF == (sequence + stream.sequence_shift) & 0xFFFF
    assert (stamp + max(1, pause) * 160) & 0xFFFFFFFF == (timestamp + stream.timestamp_shift) & 0xFFFFFFFF


def test_a_taken_out_packet_leaves_no_gap() -> None:
    """close_up moves later packets down by one and shuts out late ones from before."""
    stream = OwnStream(len)
    stream.align(100, 0, 0)
    before = (100 + stream.sequence_shift) & 0xFFFF
    stream.close_up(101)
    assert (before + 1) & 0xFFFF == (102 + stream.sequence_shift) & 0xFFFF
    assert 102 == stream.floor


def test_a_dead_peer_is_counted_and_ignored() -> None:
    """ECONNREFUSED of an earlier packet does not stop the stream."""

    def refuse(_item: object) -> int:
        raise ConnectionRefusedError

    stream = OwnStream(refuse)
    stream.emit(PAYLOAD, 160)
    stream.emit(PAYLOAD, 320)
    assert (0, 2) == (stream.packets, stream.failures)
