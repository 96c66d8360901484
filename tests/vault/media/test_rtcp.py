"""RTCP: our reports byte by byte, and readers that survive anything."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from vault.media.rtcp import Heard, LossCount, Reception, ntp, own_name, read, report


def test_sender_report_says_what_it_must() -> None:
    """RFC 3550 §6.4.1: SSRC, NTP and RTP time, counts, one block; then SDES with our CNAME."""
    heard = Reception(ssrc=9, fraction_lost=64, lost=-2, highest=65_541, jitter=17, last_report=5, delay=6)
    made = report(0xABCD, b"name", (1600, 10, 1600), 1_000_000_000.5, heard)
    assert (0x81, 200, 12) == struct.unpack_from("!BBH", made)
    assert (0xABCD, 3_208_988_800, 0x80000000, 1600, 10, 1600) == struct.unpack_from("!6I", made, 4)
    assert (9, 64 << 24 | 0xFFFFFE, 65_541, 17, 5, 6) == struct.unpack_from("!6I", made, 28)
    assert struct.pack("!BBHIBB", 0x81, 202, 3, 0xABCD, 1, 4) + b"name\0\0" == made[52:]
    assert 0 == len(made) % 4


def test_receiver_report_when_nothing_was_sent() -> None:
    """RFC 3550 §6.4.2: RR without a block before the first packet."""
    made = report(1, own_name(), None, 0.0, None)
    assert (0x80, 201, 1, 1) == struct.unpack_from("!BBHI", made)
    assert Heard() == read(made, 1)


def test_reports_about_us_are_read() -> None:
    """The block with our SSRC counts, others do not; the middle of the NTP time comes back as LSR."""
    block = Reception(ssrc=77, fraction_lost=128, lost=3, highest=9, jitter=40)
    made = report(5, b"x", (0, 1, 1), 2.0, block)
    seconds, fraction = ntp(2.0)
    middle = (seconds & 0xFFFF) << 16 | fraction >> 16
    assert Heard(middle, 128, 40) == read(made, 77)
    assert Heard(middle, None, None) == read(made, 78)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x80\xc8", b"\x81\xc9", b"\x9f\xc8\x00\x06", b"\x81\xca"]),
)
def test_reader_survives_anything(data: bytes, start: bytes) -> None:
    """No datagram makes it raise."""
    read(start + data, 1)


def test_fraction_lost_is_of_the_last_interval() -> None:
    """RFC 3550 A.3: a quarter lost, then nothing, then more received than expected (duplicates)."""
    count = LossCount()
    assert [64, 0, 0] == [count.fraction(100, 75), count.fraction(200, 175), count.fraction(210, 190)]


def test_names_tell_nothing_and_differ() -> None:
    """RFC 7022 §4.2: random, per leg."""
    assert own_name() != own_name()
