"""Keys from telephone-event packets (RFC 4733): one per press, whatever the network does to the packets.

The rule of this file: a press is its (SSRC, timestamp). The marker bit is never asked (providers exist that
do not set it), and any packet of a press may be the first one seen, its end packet included.
"""

from collections import deque
from typing import Final

PAYLOAD_BYTES: Final = 4
"""RFC 4733 2.3: event, E R volume, duration."""

KEY_MAX: Final = 15
"""0-9, 10 `*`, 11 `#`, 12-15 A-D (RFC 4733 3.2); everything above is no key of a telephone."""

FINISHED_KEPT: Final = 16
"""Presses remembered after their end: more than a card has digits, so no late packet starts one again."""

RESTAMPED_END_MS: Final = 60.0
"""Some gateways give each copy of the end packet a timestamp of its own; copies come within three packets."""

SILENCE_ENDS_MS: Final = 200.0
"""No packet for four update times (50 ms, RFC 4733 2.5.1.4): the press is over, its end packets are lost."""

SEGMENT_DURATION: Final = 0xFFFF
"""A longer press goes on under a new timestamp, this far from the old one (RFC 4733 2.5.1.3)."""

SEGMENT_SLACK: Final = 2400
"""How far a sender may miss that: 50 ms, one update time, at the fastest clock in use (48 kHz)."""

_END_BIT: Final = 0x80
_VOLUME_MASK: Final = 0x3F
_TIMESTAMP_MASK: Final = 0xFFFF_FFFF
_TIMESTAMP_HALF: Final = 0x8000_0000


def build(event: int, end: bool, volume: int, duration: int) -> bytes:
    """One telephone-event payload: volume in -dBm0 (0-63), duration in timestamp units (0-65535)."""
    return bytes((event, (_END_BIT if end else 0) | volume & _VOLUME_MASK, duration >> 8, duration & 0xFF))


def _ahead(timestamp: int, other: int) -> int:
    """Distance by which a 32-bit timestamp is newer than another; negative when it is older (RFC 3550 4)."""
    return ((timestamp - other + _TIMESTAMP_HALF) & _TIMESTAMP_MASK) - _TIMESTAMP_HALF


class EventReceiver:
    """Receiver of one leg: packets in, each press out once, at its first packet."""

    __slots__ = (
        "_duration",
        "_end_duration",
        "_end_key",
        "_finished",
        "_key",
        "_packet_ms",
        "_ssrc",
        "_timestamp",
        "down",
        "last_key_up_ms",
    )

    def __init__(self) -> None:
        self.down = False
        """A key is held."""
        self.last_key_up_ms = float("-inf")
        """When the last press ended, by its end packet, by silence, or by the next press."""
        self._finished: deque[tuple[int, int]] = deque(maxlen=FINISHED_KEPT)
        self._ssrc = -1
        self._timestamp = 0
        self._key = -1
        self._duration = 0
        self._packet_ms = float("-inf")
        self._end_key = -1
        self._end_duration = -1

    def __repr__(self) -> str:
        return "EventReceiver()"

    def packet(self, ssrc: int, timestamp: int, payload: bytes | memoryview, now_ms: float) -> int | None:
        """The key (0-15) at the first packet of a press, else None. Malformed payloads are dropped."""
        if len(payload) != PAYLOAD_BYTES or payload[0] > KEY_MAX:
            return None
        self.tick(now_ms)
        key, end = payload[0], bool(payload[1] & _END_BIT)
        duration = payload[2] << 8 | payload[3]
        if ssrc == self._ssrc and timestamp == self._timestamp:
            self._go_on(key, end, duration, now_ms)
            return None
        if self._is_old(ssrc, timestamp):
            return None
        if self._is_segment(ssrc, timestamp, key):
            self._timestamp = timestamp
            self._go_on(key, end, duration, now_ms)
            return None
        if end and self._is_restamped(key, duration, now_ms):
            self._swallow(ssrc, timestamp, duration, now_ms)
            return None
        self._start(ssrc, timestamp, key, now_ms)
        self._go_on(key, end, duration, now_ms)
        return key

    def tick(self, now_ms: float) -> bool:
        """True when a held key has just ended because no packet came for `SILENCE_ENDS_MS`."""
        if not self.down or now_ms - self._packet_ms < SILENCE_ENDS_MS:
            return False
        self._release(self._packet_ms)
        return True

    def _go_on(self, key: int, end: bool, duration: int, now_ms: float) -> None:
        """A packet of the press we know; another key under the same timestamp is a broken sender: ignored."""
        if not self.down or key != self._key:
            return
        self._packet_ms = now_ms
        self._duration = max(self._duration, duration)
        if end:
            self._duration = duration
            self._release(now_ms)

    def _is_old(self, ssrc: int, timestamp: int) -> bool:
        """A late packet of a press that is over, or of one older than the newest of this stream."""
        if (ssrc, timestamp) in self._finished:
            return True
        return ssrc == self._ssrc and _ahead(timestamp, self._timestamp) < 0

    def _is_segment(self, ssrc: int, timestamp: int, key: int) -> bool:
        """The held key goes on under a new timestamp because its duration field was full."""
        if not self.down or ssrc != self._ssrc or key != self._key:
            return False
        return abs(_ahead(timestamp, self._timestamp) - SEGMENT_DURATION) <= SEGMENT_SLACK

    def _is_restamped(self, key: int, duration: int, now_ms: float) -> bool:
        """A copy of an end packet under another timestamp: of the press just over, or of the one held."""
        if self.down:
            return key == self._key and duration >= self._duration
        recent = now_ms - self.last_key_up_ms <= RESTAMPED_END_MS
        return recent and key == self._end_key and duration == self._end_duration

    def _swallow(self, ssrc: int, timestamp: int, duration: int, now_ms: float) -> None:
        """Counts the copy as the end it repeats; each copy may be 60 ms after the one before."""
        self._finished.append((self._ssrc, self._timestamp))
        self._ssrc, self._timestamp = ssrc, timestamp
        self._duration = duration
        self._release(now_ms)

    def _start(self, ssrc: int, timestamp: int, key: int, now_ms: float) -> None:
        """A press not seen before; the one before it is over now, with or without an end packet."""
        if self.down:
            self._release(now_ms)
        self._finished.append((self._ssrc, self._timestamp))
        self._ssrc, self._timestamp, self._key = ssrc, timestamp, key
        self._duration = 0
        self._packet_ms = now_ms
        self.down = True

    def _release(self, now_ms: float) -> None:
        """Key up; the key itself is kept only as long as a re-stamped copy could follow."""
        self.down = False
        self.last_key_up_ms = now_ms
        self._end_key, self._end_duration = self._key, self._duration
