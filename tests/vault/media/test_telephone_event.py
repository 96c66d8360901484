"""Keys from telephone-event packets: each press once, whatever a sender or a network makes of it."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from vault.media.telephone_event import (
    FINISHED_KEPT,
    RESTAMPED_END_MS,
    SEGMENT_DURATION,
    SILENCE_ENDS_MS,
    EventReceiver,
    build,
)

SSRC = 0x1234


def update(key: int, duration: int = 160) -> bytes:
    return build(key, end=False, volume=10, duration=duration)


def end(key: int, duration: int = 800) -> bytes:
    return build(key, end=True, volume=10, duration=duration)


def test_payload_is_built_as_the_rfc_draws_it() -> None:
    """Event, E and volume, duration in network order (RFC 4733 2.3)."""
    assert b"\x05\x8a\x03\x20" == build(5, end=True, volume=10, duration=800)


def test_first_packet_of_a_press_is_the_key() -> None:
    """The key comes with its first packet, and not again with updates and ends."""
    receiver = EventReceiver()
    packets = [update(5), update(5, 320), end(5), end(5), end(5)]
    assert [5, None, None, None, None] == [
        receiver.packet(SSRC, 1000, payload, n * 20.0) for n, payload in enumerate(packets)
    ]


def test_end_packet_alone_is_a_key() -> None:
    """All packets but one end lost: still a key."""
    assert EventReceiver().packet(SSRC, 1000, end(7), 0.0) == 7


def test_second_end_packet_is_not_a_second_key() -> None:
    """End packets come three times under one timestamp."""
    receiver = EventReceiver()
    assert [7, None, None] == [receiver.packet(SSRC, 1000, end(7), at) for at in (0.0, 20.0, 40.0)]


def test_same_key_under_a_new_timestamp_is_a_second_press() -> None:
    """Equal neighbours are two keys, even when the first press never ended."""
    receiver = EventReceiver()
    assert [5, 5] == [receiver.packet(SSRC, stamp, update(5), stamp / 8) for stamp in (800, 1760)]


def test_key_is_down_from_first_packet_to_end() -> None:
    """The lamp of a held key, and when it went off."""
    receiver = EventReceiver()
    receiver.packet(SSRC, 0, update(5), 10.0)
    held = receiver.down
    receiver.packet(SSRC, 0, end(5), 90.0)
    assert (True, False, 90.0) == (held, receiver.down, receiver.last_key_up_ms)


def test_silence_ends_a_key_once() -> None:
    """No packet for 200 ms: the key is up since its last packet; a late end changes nothing."""
    receiver = EventReceiver()
    receiver.packet(SSRC, 0, update(5), 100.0)
    ticks = [receiver.tick(at) for at in (100.0, 100.0 + SILENCE_ENDS_MS - 1, 100.0 + SILENCE_ENDS_MS, 400.0)]
    late = receiver.packet(SSRC, 0, end(5), 500.0)
    assert ([False, False, True, False], None, 100.0) == (ticks, late, receiver.last_key_up_ms)


def test_restamped_ends_are_not_keys() -> None:
    """A gateway that gives each copy of the end its own timestamp does not triple the key."""
    receiver = EventReceiver()
    stream = [(0, update(5)), (0, update(5, 640)), (160, end(5)), (320, end(5)), (480, end(5))]
    assert [5, None, None, None, None] == [
        receiver.packet(SSRC, stamp, payload, n * 20.0) for n, (stamp, payload) in enumerate(stream)
    ]


def test_restamped_end_is_told_from_a_new_press() -> None:
    """Another key, another duration, or later than 60 ms: an end packet seen first is a press of its own."""
    for key, duration, gap_ms in ((6, 800, 20.0), (5, 640, 20.0), (5, 800, RESTAMPED_END_MS + 1)):
        receiver = EventReceiver()
        receiver.packet(SSRC, 0, end(5, 800), 0.0)
        assert receiver.packet(SSRC, 960, end(key, duration), gap_ms) == key


def test_late_packets_of_finished_presses_are_ignored() -> None:
    """Copies of the last 16 presses start none again, even under a new source."""
    receiver = EventReceiver()
    for n in range(FINISHED_KEPT):
        receiver.packet(SSRC, n * 1600, end(n % 10), n * 200.0)
    late = [receiver.packet(SSRC, n * 1600, update(n % 10), 4000.0) for n in range(FINISHED_KEPT)]
    assert [None] * FINISHED_KEPT == late


def test_older_timestamp_is_ignored_across_the_wrap() -> None:
    """Timestamps are compared modulo 2^32 (RFC 3550)."""
    receiver = EventReceiver()
    assert receiver.packet(SSRC, 0xFFFF_FF00, end(1), 0.0) == 1
    assert receiver.packet(SSRC, 0x0000_0500, end(2), 200.0) == 2
    assert receiver.packet(SSRC, 0xFFFF_FE00, update(3), 210.0) is None


def test_new_source_starts_anew() -> None:
    """After a transfer another SSRC may use smaller timestamps."""
    receiver = EventReceiver()
    receiver.packet(SSRC, 90_000, end(1), 0.0)
    assert receiver.packet(SSRC + 1, 800, update(2), 100.0) == 2


@pytest.mark.parametrize("slack", [0, -160, 160, 960])
def test_long_press_is_one_key(slack: int) -> None:
    """A press longer than the duration field goes on under a new timestamp (RFC 4733 2.5.1.3)."""
    receiver = EventReceiver()
    keys, at = [], 0.0
    for segment in range(3):
        stamp = segment * (SEGMENT_DURATION + slack)
        for duration in range(160, SEGMENT_DURATION + 1, 400):
            keys.append(receiver.packet(SSRC, stamp, update(9, duration), at))
            at += 50.0
    keys.append(receiver.packet(SSRC, 2 * (SEGMENT_DURATION + slack), end(9), at))
    assert ([9], False) == ([key for key in keys if key is not None], receiver.down)


@pytest.mark.parametrize(
    "payload", [b"", b"\x05\x0a\x03", b"\x05\x0a\x03\x20\x00", b"\x10\x0a\x03\x20", b"\xff" * 4]
)
def test_malformed_payloads_are_dropped(payload: bytes) -> None:
    """Wrong size, or an event that is no key (flash, fax tones): nothing."""
    receiver = EventReceiver()
    assert (None, False) == (receiver.packet(SSRC, 0, payload, 0.0), receiver.down)


PACKETS = st.tuples(
    st.integers(0, 2), st.integers(0, 2**32 - 1), st.binary(max_size=6), st.floats(0, 300, allow_nan=False)
)


@given(st.lists(PACKETS, max_size=60))
def test_anything_at_all_gives_keys_or_nothing(stream: list[tuple[int, int, bytes, float]]) -> None:
    """Arbitrary payloads, sources and times: a key 0-15 or None, never one from a malformed packet."""
    receiver, now = EventReceiver(), 0.0
    for ssrc, stamp, payload, step in stream:
        now += step
        key = receiver.packet(ssrc, stamp, memoryview(payload), now)
        if key is not None:
            assert (4, key) == (len(payload), payload[0])
            assert 0 <= key <= 15
        assert receiver.last_key_up_ms <= now


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(1, 6), st.booleans()), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_copies_in_any_order_within_a_press_are_one_key(
    presses: list[tuple[int, int, bool]], random: object
) -> None:
    """Packets of a press lost, doubled and shuffled: each press is heard once, in order."""
    receiver, heard = EventReceiver(), []
    for n, (key, copies, ended) in enumerate(presses):
        packets = [update(key, 160 * (copy + 1)) for copy in range(copies)] + [end(key)] * (2 * ended)
        random.shuffle(packets)  # type: ignore[attr-defined]
        for copy, payload in enumerate(packets):
            got = receiver.packet(SSRC, n * 4000, payload, n * 500.0 + copy * 20)
            heard += [] if got is None else [got]
    assert [key for key, _, _ in presses] == heard


def test_repr_tells_no_key() -> None:
    """Nothing of a press shows in what a debugger or a log would print."""
    receiver = EventReceiver()
    receiver.packet(SSRC, 0, update(5), 0.0)
    assert repr(receiver) == "EventReceiver()"
