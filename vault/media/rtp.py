"""RTP in and out (RFC 3550 §5.1): a strict reader for the unusual packet, and a stream of our own.

The ordinary packet never comes through `read`: `leg.py` compares its first bytes and goes on. This file owns
two rules: what a valid packet is, and that nothing of a received header (SSRC, CSRC, extension, padding,
sequence base, time stamp base) is ever sent on.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

HEADER = Struct("!BBHII")
HEADER_BYTES = 12
FIRST_BYTE = 0x80
"""Version 2, no padding, no extension, no CSRC: the only first byte that we send."""
MARKER = 0x80
FRAME_BYTES = 160
"""G.711 at 8 kHz, 20 ms."""
FRAME_MS = 20
UNITS_PER_MS = 8
"""RTP clock of G.711: 8000 units a second (RFC 3551 §4.5.14)."""
PAYLOAD_BYTES_MAX = 640
"""80 ms: the longest packet time a phone asks for; more in one datagram is no telephone audio."""
GAP_MAX = 3000
"""RFC 3550 A.1 MAX_DROPOUT: a larger jump of the sequence is a new stream, not a loss."""
RTCP_TYPES = range(72, 77)
"""RTCP that arrives on the RTP port looks like these payload types with the marker set (RFC 5761 §4)."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One valid packet: the header's values and where its payload lies in the buffer."""

    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    start: int
    end: int


def read(buffer: bytes | bytearray | memoryview, length: int) -> Packet | None:
    """The packet in the first `length` bytes, or None: wrong version, truncated, or padding that lies."""
    if length < HEADER_BYTES or buffer[0] >> 6 != 2:
        return None
    first, kind, sequence, timestamp, ssrc = HEADER.unpack_from(buffer)
    start = HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        if start + 4 > length:
            return None
        start += 4 + 4 * (buffer[start + 2] << 8 | buffer[start + 3])
    end = length
    if first & 0x20:
        padding = buffer[length - 1]
        end -= padding
        if padding == 0:
            return None
    if start > end:
        return None
    return Packet(bool(kind & MARKER), kind & 0x7F, sequence, timestamp, ssrc, start, end)


class OwnStream:
    """One outgoing stream with SSRC, sequence and time stamp base of our own (RFC 3550 §8: drawn at random).

    Two kinds of packets share its numbers: frames on our own clock (`emit`), and a peer's packets that
    `leg.py` moves by `sequence_shift` and `timestamp_shift`, which `align` sets for the first packet of each
    run. Times are `units` of the RTP clock since any fixed moment. `send` takes a whole packet and may raise
    OSError.
    """

    __slots__ = (
        "failures",
        "feeder",
        "floor",
        "number",
        "payload_type",
        "restart",
        "send",
        "sent",
        "sent_units",
        "sequence",
        "sequence_shift",
        "ssrc",
        "timestamp",
        "timestamp_shift",
        "translate",
    )

    def __init__(self, send: Callable[[bytes | bytearray | memoryview], int]) -> None:
        self.send = send
        self.number = -1
        """File descriptor of the connected socket behind `send`; -1 while there is none."""
        self.payload_type = 0
        self.translate: bytes | None = None
        """Table from the partner's codec to this stream's, None when they are the same."""
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(16)
        """Of the last packet sent."""
        self.timestamp = secrets.randbits(32)
        """Of the last packet sent."""
        self.sent_units = 0
        """When the last packet was sent; 0 before the first."""
        self.feeder: Callable[[], None] | None = None
        """Brings these figures up to date: a leg that moves packets on without counting each."""
        self.sequence_shift = 0
        self.timestamp_shift = 0
        self.floor = 0
        """Extended sequence number of the peer's packet at which the shifts took effect."""
        self.restart = True
        """The next frame on our own clock follows something else: read the clock anew, set the marker."""
        self.sent = 0
        """Packets that left, without those the feeder has not told of yet: ask `packets`."""
        self.failures = 0

    @property
    def packets(self) -> int:
        """Packets that left."""
        self.catch_up()
        return self.sent

    def catch_up(self) -> None:
        """Have the feeder tell what it has sent, and stop sending unasked."""
        if self.feeder is not None:
            self.feeder()

    def route(self, send: Callable[[bytes | bytearray | memoryview], int], number: int) -> None:
        """Packets leave by `send` from now on, which is the connected socket `number`, or -1."""
        self.catch_up()
        self.send, self.number = send, number

    @property
    def head(self) -> int:
        """The last packet's first eight bytes as a number, as if it had no marker."""
        return (FIRST_BYTE << 8 | self.payload_type) << 48 | self.sequence << 32 | self.timestamp

    def passed(self, sent: int, failures: int, head: int, units: int) -> None:
        """The feeder has moved packets on: the last one left with `head` when it came, at `units`."""
        self.sequence, self.timestamp = head >> 32 & 0xFFFF, head & 0xFFFFFFFF
        self.sent_units = units
        self.sent += sent
        self.failures += failures

    def timestamp_at(self, units: int) -> int:
        """The time stamp that fits `units`: whole frames since the last packet, at least one."""
        self.catch_up()
        if self.sent_units == 0:
            return self.timestamp
        frames = max(1, (units - self.sent_units + FRAME_BYTES // 2) // FRAME_BYTES)
        return (self.timestamp + frames * FRAME_BYTES) & 0xFFFFFFFF

    def use(self, payload_type: int) -> None:
        """Send with this payload type from now on."""
        self.catch_up()
        self.payload_type = payload_type

    def align(self, extended: int, timestamp: int, units: int) -> None:
        """Make a peer's packet (`extended` sequence, `timestamp`) the successor of our last one."""
        self.sequence_shift = (self.sequence + 1 - extended) & 0xFFFF
        self.timestamp_shift = (self.timestamp_at(units) - timestamp) & 0xFFFFFFFF
        self.floor = extended
        self.restart = True

    def close_up(self, extended: int) -> None:
        """The peer's packet `extended` was taken out: later ones move up by one, so that no gap shows."""
        self.sequence_shift = (self.sequence_shift - 1) & 0xFFFF
        self.floor = extended + 1

    def emit(self, payload: bytes, units: int) -> None:
        """Send one frame of 20 ms on our own clock."""
        kind = self.payload_type
        self.sequence = (self.sequence + 1) & 0xFFFF
        if self.restart:
            self.timestamp = self.timestamp_at(units)
            self.restart = False
            kind |= MARKER
        else:
            self.timestamp = (self.timestamp + FRAME_BYTES) & 0xFFFFFFFF
        self.sent_units = units
        packet = HEADER.pack(FIRST_BYTE, kind, self.sequence, self.timestamp, self.ssrc) + payload
        try:
            self.send(packet)
        except OSError:
            # A dead or slow peer (ECONNREFUSED from its last ICMP, a full buffer) is no reason to stop.
            self.failures += 1
            return
        self.sent += 1
