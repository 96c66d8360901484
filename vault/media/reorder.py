"""Caller audio in order, for the in-band detector: late packets waited for, lost ones replaced.

Only the detector listens here; the agent's leg never passes this buffer. Packets in order go through at once.
A gap holds what follows it for up to 40 ms; then the last frame is repeated for up to three lost packets,
because a key torn in two by a lost packet would count twice, then silence follows, so that no key seems held
over a long gap.
"""

from typing import Final

from vault.media.g711 import FRAME_BYTES

REORDER_MS: Final = 40.0
"""Wait for a late packet: jitter of 30 ms and reordering by one place fit."""

CONCEALED_MAX: Final = 3
"""Lost packets replaced by the last heard frame: bursts of three are the usual loss of a busy link."""

SILENCE_MAX: Final = 3
"""Frames of silence after them: 60 ms end a key for certain; more of a long gap is not worth detecting in."""

SLOTS: Final = 16
"""Ring of packets waiting, 320 ms; a stream that runs further ahead has jumped and starts anew."""

READY_MAX: Final = SLOTS + CONCEALED_MAX + SILENCE_MAX
"""Frames that wait for the next `pop` at most: one whole ring and the fill of one gap."""

MISORDER_MAX: Final = 100
"""A packet further behind than this is no late one, the sender has restarted (RFC 3550 A.1, MAX_MISORDER)."""

IDLE_MS: Final = 140.0
"""No packet for so long is a sender that suppresses silence: the detector hears silence once, so that equal
keys before and after stay two. A burst of three lost packets with 30 ms jitter lasts 110 ms."""

_SEQUENCE_MASK: Final = 0xFFFF
_SEQUENCE_HALF: Final = 0x8000


class ReorderBuffer:
    """Buffer of one caller: `push` what comes, `pop` what the detector may hear.

    `silence`: one frame of 160 bytes in the caller's codec. Frames in the ring are overwritten once popped,
    popped ones by the next `pop` or `wipe`: nobody may keep them.
    """

    __slots__ = (
        "_arrived",
        "_filled",
        "_free",
        "_gap_ms",
        "_heard_ms",
        "_last",
        "_late",
        "_lent",
        "_next",
        "_ready",
        "_ring",
        "_silence",
        "_waiting",
    )

    def __init__(self, silence: bytes) -> None:
        self._silence = silence
        self._ring = [bytearray(FRAME_BYTES) for _ in range(SLOTS)]
        self._filled = [False] * SLOTS
        self._last = bytearray(silence)
        self._free: list[bytearray] = []
        """Buffers for frames on their way out; as many as were ever needed at once."""
        self._lent: list[bytearray] = []
        self._ready: list[bytearray] = []
        self._next = -1
        self._waiting = 0
        self._gap_ms: float | None = None
        self._heard_ms = float("inf")
        self._arrived = False
        self._late = 0

    def __repr__(self) -> str:
        return "ReorderBuffer()"

    @property
    def late(self) -> int:
        """Packets that came after their place had been filled, or twice."""
        return self._late

    @property
    def waits(self) -> bool:
        """True while frames wait for one before them."""
        return bool(self._waiting or self._ready)

    def follow(self, sequence: int, last: bytes | bytearray | memoryview) -> None:
        """Take over from somebody who has heard everything before `sequence`, `last` as the last frame."""
        self._next = sequence
        self._last[:] = last

    def push(self, sequence: int, payload: bytes | bytearray | memoryview) -> None:
        """Takes one packet (RTP sequence number, 160 bytes of G.711); other sizes are dropped."""
        if len(payload) != FRAME_BYTES:
            return
        if self._next < 0:
            self._next = sequence
        ahead = ((sequence - self._next + _SEQUENCE_HALF) & _SEQUENCE_MASK) - _SEQUENCE_HALF
        if ahead < -MISORDER_MAX or ahead >= SLOTS:
            self._jump(sequence, ahead)
            ahead = 0
        slot = sequence % SLOTS
        if ahead < 0 or self._filled[slot]:
            self._late += 1
            return
        self._arrived = True
        self._ring[slot][:] = payload
        self._filled[slot] = True
        self._waiting += 1

    def pop(self, now_ms: float) -> list[bytearray]:
        """The frames the detector may hear now, oldest first; mostly one per packet pushed."""
        self._take_back()
        frames, self._ready = self._ready, []
        if self._arrived:
            self._heard_ms, self._arrived = now_ms, False
        while self._waiting:
            if self._filled[self._next % SLOTS]:
                frames.append(self._take())
            elif self._gap_ms is None:
                self._gap_ms = now_ms
                break
            elif now_ms - self._gap_ms < REORDER_MS:
                break
            else:
                frames += self._conceal()
        self._lent = frames or self._idle(now_ms)
        return list(self._lent)

    def wipe(self) -> None:
        """Overwrites every frame held and starts anew with the next packet."""
        self._drop_ring()
        self._lent += self._ready
        self._ready = []
        self._take_back()
        self._last[:] = self._silence
        self._next = -1

    def _copy(self, frame: bytes | bytearray) -> bytearray:
        """A frame on its way out, in a buffer that comes back."""
        buffer = self._free.pop() if self._free else bytearray(FRAME_BYTES)
        buffer[:] = frame
        return buffer

    def _take_back(self) -> None:
        """Overwrites what was lent out."""
        for buffer in self._lent:
            buffer[:] = self._silence
        self._free += self._lent
        self._lent = []

    def _idle(self, now_ms: float) -> list[bytearray]:
        """Silence, once, when the sender has paused."""
        if now_ms - self._heard_ms < IDLE_MS:
            return []
        self._heard_ms = float("inf")
        return [self._copy(self._silence) for _ in range(SILENCE_MAX)]

    def _take(self) -> bytearray:
        slot = self._ring[self._next % SLOTS]
        frame = self._copy(slot)
        self._last[:] = slot
        slot[:] = self._silence
        self._filled[self._next % SLOTS] = False
        self._waiting -= 1
        self._next = (self._next + 1) & _SEQUENCE_MASK
        self._gap_ms = None
        return frame

    def _conceal(self) -> list[bytearray]:
        """Steps over the gap at the head: repeated frames, then silence."""
        lost = 0
        while not self._filled[self._next % SLOTS]:
            self._next = (self._next + 1) & _SEQUENCE_MASK
            lost += 1
        return self._fill(lost)

    def _fill(self, lost: int) -> list[bytearray]:
        quiet = min(max(lost - CONCEALED_MAX, 0), SILENCE_MAX)
        fill = [self._last] * min(lost, CONCEALED_MAX) + [self._silence] * quiet
        return [self._copy(frame) for frame in fill]

    def _jump(self, sequence: int, ahead: int) -> None:
        """The stream restarted or a long gap ended: what waits goes out, then the fill of the gap."""
        for _ in range(SLOTS):
            if self._filled[self._next % SLOTS]:
                self._ready.append(self._take())
            else:
                self._next = (self._next + 1) & _SEQUENCE_MASK
        self._ready += self._fill(max(ahead, CONCEALED_MAX + SILENCE_MAX))
        self._lent += self._ready[:-READY_MAX]  # what nobody has asked for in time is not heard
        del self._ready[:-READY_MAX]
        self._drop_ring()
        self._next = sequence

    def _drop_ring(self) -> None:
        for slot in self._ring:
            slot[:] = self._silence
        self._filled = [False] * SLOTS
        self._waiting = 0
        self._gap_ms = None
