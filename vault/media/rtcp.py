"""RTCP of one leg, ended here (RFC 3550 §6.4): our own reports out, a few figures in, nothing copied.

This file owns the bytes of sender and receiver reports and of our CNAME, and the arithmetic of RFC 3550 A.3.
"""

import secrets
from dataclasses import dataclass
from struct import Struct

SENDER_REPORT = 200
RECEIVER_REPORT = 201
SOURCE_DESCRIPTION = 202
CNAME = 1
NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 to 1970."""
DATAGRAM_BYTES_MAX = 1500
PACKETS_MAX = 16
"""Packets read in one compound datagram: more is nobody's report."""

_HEAD = Struct("!BBH")
_SENDER = Struct("!IIIIII")
_BLOCK = Struct("!IIIIII")


@dataclass(frozen=True, slots=True)
class Reception:
    """What we heard of the peer's stream, as one report block says it (RFC 3550 §6.4.1)."""

    ssrc: int
    fraction_lost: int
    """Of 256, since the last report."""
    lost: int
    highest: int
    """Extended highest sequence number."""
    jitter: int
    """In RTP clock units."""
    last_report: int = 0
    """Middle 32 bits of the peer's last NTP time stamp, 0 without one."""
    delay: int = 0
    """Since that report, in 1/65536 s."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a peer's compound said: the middle of its NTP time stamp, and how it hears us."""

    last_report: int | None = None
    fraction_lost: int | None = None
    jitter: int | None = None


@dataclass(slots=True)
class LossCount:
    """Keeps the two counts that a fraction needs between reports (RFC 3550 A.3)."""

    expected_before: int = 0
    received_before: int = 0

    def fraction(self, expected: int, received: int) -> int:
        """Share of packets lost since the last call, of 256."""
        step = expected - self.expected_before
        lost = step - (received - self.received_before)
        self.expected_before, self.received_before = expected, received
        return min(255, (lost << 8) // step) if step > 0 and lost > 0 else 0


def own_name() -> bytes:
    """A CNAME that says nothing about anybody (RFC 7022 §4.2: 96 random bits)."""
    return secrets.token_urlsafe(12).encode("ascii")


def ntp(wall_s: float) -> tuple[int, int]:
    """Seconds and fraction of the NTP time stamp for Unix time `wall_s`."""
    seconds = int(wall_s)
    return (seconds + NTP_EPOCH_S) & 0xFFFFFFFF, int((wall_s - seconds) * 4_294_967_296) & 0xFFFFFFFF


def report(
    ssrc: int,
    name: bytes,
    sent: tuple[int, int, int] | None,
    wall_s: float,
    heard: Reception | None,
) -> bytes:
    """A compound of SR (or RR when nothing was `sent`) and SDES.

    `sent` is (RTP time stamp now, packets, octets).
    """
    blocks = b"" if heard is None else _block(heard)
    count = 0x80 | (heard is not None)
    if sent is None:
        body = ssrc.to_bytes(4, "big") + blocks
        first = _HEAD.pack(count, RECEIVER_REPORT, len(body) // 4)
    else:
        seconds, fraction = ntp(wall_s)
        timestamp, packets, octets = sent
        body = (
            _SENDER.pack(ssrc, seconds, fraction, timestamp, packets & 0xFFFFFFFF, octets & 0xFFFFFFFF)
            + blocks
        )
        first = _HEAD.pack(count, SENDER_REPORT, len(body) // 4)
    return first + body + _description(ssrc, name)


def _block(heard: Reception) -> bytes:
    # Cumulative loss is a signed 24-bit number; duplicates can make it negative.
    lost = max(-0x800000, min(0x7FFFFF, heard.lost)) & 0xFFFFFF
    return _BLOCK.pack(
        heard.ssrc,
        heard.fraction_lost << 24 | lost,
        heard.highest & 0xFFFFFFFF,
        heard.jitter & 0xFFFFFFFF,
        heard.last_report,
        heard.delay & 0xFFFFFFFF,
    )


def _description(ssrc: int, name: bytes) -> bytes:
    chunk = ssrc.to_bytes(4, "big") + bytes((CNAME, len(name))) + name
    chunk += bytes(4 - len(chunk) % 4)
    return _HEAD.pack(0x81, SOURCE_DESCRIPTION, len(chunk) // 4) + chunk


def read(datagram: bytes, our_ssrc: int) -> Heard | None:
    """What a compound says, or None when it is no RTCP (RFC 3550 A.2)."""
    if len(datagram) < 8 or datagram[0] & 0xE0 != 0x80 or datagram[1] not in {SENDER_REPORT, RECEIVER_REPORT}:
        return None
    heard, offset = Heard(), 0
    for _ in range(PACKETS_MAX):
        if offset + 4 > len(datagram):
            break
        first, kind, words = _HEAD.unpack_from(datagram, offset)
        end = offset + 4 * (words + 1)
        if first >> 6 != 2 or end > len(datagram):
            return None
        heard = _read_one(datagram[offset:end], first & 0x1F, kind, our_ssrc, heard)
        offset = end
    return heard


def _read_one(packet: bytes, count: int, kind: int, our_ssrc: int, heard: Heard) -> Heard:
    if kind not in {SENDER_REPORT, RECEIVER_REPORT}:
        return heard
    blocks = 8 if kind == RECEIVER_REPORT else 28
    last_report = heard.last_report
    if kind == SENDER_REPORT and len(packet) >= 28:
        last_report = int.from_bytes(packet[10:14], "big")
    fraction_lost, jitter = heard.fraction_lost, heard.jitter
    for at in range(blocks, min(blocks + 24 * count, len(packet) - 23), 24):
        ssrc, loss, _, spread, _, _ = _BLOCK.unpack_from(packet, at)
        if ssrc == our_ssrc:
            fraction_lost, jitter = loss >> 24, spread
    return Heard(last_report, fraction_lost, jitter)
