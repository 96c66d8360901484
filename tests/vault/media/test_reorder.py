"""Audio for the detector: in order, gaps filled, nothing kept."""

import hypothesis.strategies as st
from hypothesis import given

from vault.media.g711 import FRAME_BYTES, SILENCE
from vault.media.reorder import CONCEALED_MAX, IDLE_MS, REORDER_MS, SILENCE_MAX, SLOTS, ReorderBuffer

QUIET = SILENCE["PCMU"]


def frame(n: int) -> bytes:
    return bytes([n % 251]) * FRAME_BYTES


def buffer_with(*sequences: int) -> ReorderBuffer:
    buffer = ReorderBuffer(QUIET)
    for sequence in sequences:
        buffer.push(sequence, frame(sequence))
    return buffer


def test_packets_in_order_go_through_at_once() -> None:
    """No delay where none is needed."""
    assert [frame(7), frame(8)] == buffer_with(7, 8).pop(0.0)


def test_late_packet_takes_its_place() -> None:
    """A gap waits 40 ms for its packet."""
    buffer = buffer_with(1, 3)
    first = [bytes(popped) for popped in buffer.pop(0.0)]
    waiting = buffer.pop(REORDER_MS - 1)
    buffer.push(2, frame(2))
    assert ([frame(1)], [], [frame(2), frame(3)]) == (first, waiting, buffer.pop(REORDER_MS - 1))


def test_lost_packet_is_the_last_one_again() -> None:
    """After 40 ms the gap is filled with what was heard before it."""
    buffer = buffer_with(1, 3)
    buffer.pop(0.0)
    assert [frame(1), frame(3)] == buffer.pop(REORDER_MS)


def test_long_gap_ends_in_silence() -> None:
    """Three frames repeated, then silence, so that no key seems held."""
    buffer = buffer_with(1, 12)
    buffer.pop(0.0)
    filled = [frame(1)] * CONCEALED_MAX + [QUIET] * SILENCE_MAX
    assert [*filled, frame(12)] == buffer.pop(REORDER_MS)


def test_packet_after_its_gap_was_filled_is_counted_and_dropped() -> None:
    """Too late is too late, and twice is once."""
    buffer = buffer_with(1, 3)
    buffer.pop(0.0)
    buffer.pop(REORDER_MS)
    buffer.push(2, frame(2))
    buffer.push(3, frame(3))
    assert ([], 2) == (buffer.pop(60.0), buffer.late)


def test_sequence_numbers_wrap() -> None:
    """65535 is followed by 0."""
    assert [frame(0xFFFE), frame(0xFFFF), frame(0), frame(1)] == buffer_with(0xFFFE, 0xFFFF, 0, 1).pop(0.0)


def test_jump_of_the_stream_starts_anew() -> None:
    """What waits goes out first; the jump is a gap, the new place goes on at once."""
    buffer = buffer_with(1, 2, 40_000, 40_001)
    filled = [frame(2)] * CONCEALED_MAX + [QUIET] * SILENCE_MAX
    assert [frame(1), frame(2), *filled, frame(40_000), frame(40_001)] == buffer.pop(0.0)


def test_pause_of_the_sender_is_silence_once() -> None:
    """A phone that suppresses silence: equal keys before and after the pause stay two."""
    buffer = buffer_with(1)
    buffer.pop(0.0)
    assert ([], [QUIET] * SILENCE_MAX, []) == (
        buffer.pop(IDLE_MS - 1),
        buffer.pop(IDLE_MS),
        buffer.pop(500.0),
    )


def test_other_packet_sizes_are_dropped() -> None:
    """Only 20 ms frames are heard."""
    buffer = ReorderBuffer(QUIET)
    buffer.push(1, b"\xff" * 80)
    assert buffer.pop(0.0) == []


def test_wipe_leaves_nothing() -> None:
    """At a mode switch nothing that waits is heard any more, and a new start is taken."""
    buffer = buffer_with(1, 3)
    buffer.pop(0.0)
    buffer.wipe()
    buffer.push(9000, frame(5))
    assert [frame(5)] == buffer.pop(0.0)


def test_popped_frames_are_overwritten() -> None:
    """The ring holds silence where a frame has been, and so does what was lent out before."""
    buffer = buffer_with(*range(SLOTS))
    popped = buffer.pop(0.0)
    assert {QUIET} == {bytes(slot) for slot in buffer._ring}
    assert [] == buffer.pop(1.0)
    assert [QUIET] * SLOTS == popped


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 40)), max_size=80))
def test_anything_at_all_stays_bounded(packets: list[tuple[int, int]]) -> None:
    """Arbitrary sequence numbers: never more out than the ring and one fill per packet."""
    buffer, now = ReorderBuffer(QUIET), 0.0
    for sequence, step in packets:
        now += step
        buffer.push(sequence, frame(sequence))
        frames = buffer.pop(now)
        assert len(frames) <= 2 * SLOTS + CONCEALED_MAX + SILENCE_MAX
        assert {FRAME_BYTES} >= {len(popped) for popped in frames}


@given(st.permutations(range(3)), st.integers(0, 0xFFFF))
def test_neighbours_may_come_in_any_order(order: list[int], first: int) -> None:
    """After a first packet, three in any order come out in order and complete."""
    buffer = buffer_with(first)
    heard = [bytes(popped) for popped in buffer.pop(0.0)]
    for n, place in enumerate(order):
        sequence = (first + 1 + place) & 0xFFFF
        buffer.push(sequence, frame(sequence))
        heard += map(bytes, buffer.pop(10.0 * n))
    assert [frame((first + n) & 0xFFFF) for n in range(4)] == heard
