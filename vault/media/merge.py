"""One key per press, whichever of the three transports carry it: THE merge rule of the house.

Callers send a press as telephone-event (RFC 4733), as in-band tone, as SIP INFO, or as several of these at
once, and gateways let a piece of tone through before they turn it into events. `RULES` is the rule, as a
table.

Pure: times are arguments in ms, one clock for all of them.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

INBAND_WAIT_MS: Final = 160.0
"""An in-band hit waits so long for an event of the same press: a gateway's lead-in, detection and jitter."""

SAME_PRESS_MS: Final = 300.0
"""One press on two transports is never further apart; two presses on ONE transport may well be closer."""

PRESSES_KEPT: Final = 16
"""Most presses that are remembered at once; nobody keys faster than 16 in 300 ms. Older ones are forgotten at
the next key: kept, they would be the caller's PAN, key by key, in the memory of this process."""

WAITING_MAX: Final = 8
"""In-band hits that can wait at once: 160 ms hold at most three real ones."""


class Transport(IntEnum):
    """Where a key came from."""

    EVENT = 0
    INFO = 1
    INBAND = 2


RULES: Final = (
    ("EVENT | INFO", "same press seen on another transport within 300 ms", "nothing"),
    ("EVENT | INFO", "in-band hit of the same key waits", "the key once, hit cancelled"),
    ("EVENT | INFO", "else", "waiting hits, then the key, at once"),
    ("INBAND", "no EVENT or INFO yet on this call", "the key after 160 ms"),
    ("INBAND", "EVENT or INFO seen on this call", "nothing"),
)
"""(transport, situation, what is released): the rule for prints and docs."""


@dataclass(slots=True, repr=False, eq=False)
class _Press:
    """One press: its key, when it was first seen, and the transports that have carried it."""

    key: int
    at_ms: float
    carriers: set[Transport] = field(default_factory=set)


class KeyMerge:
    """Merge of one caller's leg: three transports in, each press out once, in order.

    Every call returns the keys it releases (0-15), mostly none or one.
    """

    __slots__ = ("_presses", "_waiting", "events_seen")

    def __init__(self) -> None:
        self.events_seen = False
        """The call has sent a telephone-event or an INFO key: in-band is ignored from then on."""
        self._waiting: deque[_Press] = deque(maxlen=WAITING_MAX)
        self._presses: deque[_Press] = deque(maxlen=PRESSES_KEPT)

    def __repr__(self) -> str:
        return "KeyMerge()"

    def event(self, key: int, now_ms: float) -> tuple[int, ...]:
        """Keys released by a telephone-event press."""
        return self._signalled(Transport.EVENT, key, now_ms)

    def info(self, key: int, now_ms: float) -> tuple[int, ...]:
        """Keys released by a SIP INFO key."""
        return self._signalled(Transport.INFO, key, now_ms)

    def inband(self, key: int, now_ms: float) -> tuple[int, ...]:
        """Keys released by an in-band hit: older ones whose wait is over, never the hit itself."""
        released = self.tick(now_ms)
        if not self.events_seen:
            self._waiting.append(_Press(key, now_ms, {Transport.INBAND}))
        return released

    def tick(self, now_ms: float) -> tuple[int, ...]:
        """Keys whose wait for an event is over."""
        released: list[int] = []
        while self._waiting and now_ms - self._waiting[0].at_ms >= INBAND_WAIT_MS:
            released.append(self._let_go(self._waiting.popleft()))
        return tuple(released)

    @property
    def waiting(self) -> bool:
        """True while an in-band hit waits for its event."""
        return bool(self._waiting)

    def reset(self) -> None:
        """Forgets keys and presses (mode switch); that the caller's phone sends events stays known."""
        self._waiting.clear()
        self._presses.clear()

    def _signalled(self, transport: Transport, key: int, now_ms: float) -> tuple[int, ...]:
        released = list(self.tick(now_ms))
        self.events_seen = True
        if self._repeats(transport, key, now_ms):
            return tuple(released)
        released += self._flush(transport, key, now_ms)
        return tuple(released)

    def _repeats(self, transport: Transport, key: int, now_ms: float) -> bool:
        """True when another transport has already carried this press; each carries a press once."""
        for press in self._presses:
            fresh = now_ms - press.at_ms <= SAME_PRESS_MS
            if fresh and press.key == key and transport not in press.carriers:
                press.carriers.add(transport)
                return True
        return False

    def _flush(self, transport: Transport, key: int, now_ms: float) -> list[int]:
        """The hits that wait before the press, then the press; a hit of the same key becomes the press."""
        released: list[int] = []
        while self._waiting:
            press = self._waiting.popleft()
            released.append(self._let_go(press))
            if press.key == key:
                press.carriers.add(transport)
                return released
        released.append(self._let_go(_Press(key, now_ms, {transport})))
        return released

    def _let_go(self, press: _Press) -> int:
        presses = self._presses
        while presses and press.at_ms - presses[0].at_ms > SAME_PRESS_MS:
            presses.popleft()
        presses.append(press)
        return press.key
