"""Every caller's keys, by telephone-event, tone or SIP INFO, merged into one per press.

One detector listens to all callers at once, 20 ms at a time, whether or not a capture is open; the TALK gate
works on the same frames. A packet in order goes straight into the caller's row of the next batch; only a gap
brings the reorder buffer in. This file owns the way from packets to `on_key`; what a key is good for is
decided elsewhere.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vault.media.g711 import SILENCE
from vault.media.gate import TalkGate
from vault.media.inband import InbandDetector
from vault.media.merge import INBAND_WAIT_MS, KeyMerge
from vault.media.reorder import IDLE_MS, SILENCE_MAX, ReorderBuffer
from vault.media.rtp import FRAME_BYTES, FRAME_MS, Packet
from vault.media.telephone_event import EventReceiver

KeyHandler = Callable[[int, float], None]
"""Takes one key (0-15) and the time in ms."""

RAGGED_BYTES_MAX: Final = 1280
"""Audio of another packet time: what is left of a frame, and the largest packet."""
IDLE_TICKS: Final = round(IDLE_MS / FRAME_MS)
IDLE_TICKS_MAX: Final = 30_000
"""Where counting stops."""

DEPTH: Final = 4
"""Frames a row holds between two turns: 80 ms, which a process that was kept from running catches up with."""
CLOSED: Final = 0x80
"""In `EarMemory.taken`: the row's frames go through the reorder buffer."""


class EarMemory:
    """The frames of this turn by row, where a carrier can lay them without asking."""

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self.taken = bytearray(rows_max)
        """By row: how many frames wait; DEPTH or more (CLOSED is more) when no other may be laid here."""
        self.frames = bytearray(DEPTH * rows_max * FRAME_BYTES)
        """Frame by depth, then by row."""
        view = memoryview(self.frames)
        self.slots = [view[at : at + FRAME_BYTES] for at in range(0, len(view), FRAME_BYTES)]

    def lay(self, row: int, frame: memoryview | bytes) -> bool:
        """Keep a row's next frame for its turn; False when it may not be laid here."""
        depth = self.taken[row]
        if depth >= DEPTH:
            return False
        self.slots[depth * self.rows_max + row][:] = frame
        self.taken[row] = depth + 1
        return True

    def last(self, row: int) -> memoryview:
        """The frame laid last; between turns, any of the last ones."""
        depth = max(0, (self.taken[row] & ~CLOSED) - 1)
        return self.slots[depth * self.rows_max + row]

    def fill(self, row: int, frame: bytes) -> None:
        """Overwrite everything of a row."""
        for slot in self.slots[row :: self.rows_max]:
            slot[:] = frame


class Ear:
    """Hears one caller; made by `Ears.open`."""

    __slots__ = (
        "_ears",
        "_last_info_ms",
        "_memory",
        "_ragged",
        "_ragged_length",
        "_ragged_sequence",
        "merge",
        "on_key",
        "receiver",
        "reorder",
        "row",
    )

    def __init__(self, ears: "Ears", row: int, on_key: KeyHandler) -> None:
        self._ears = ears
        self.row = row
        self.on_key = on_key
        self._memory = ears.memory
        self.receiver = EventReceiver()
        self.merge = KeyMerge()
        self._ragged = memoryview(bytearray(RAGGED_BYTES_MAX))
        self._ragged_length = 0
        self._ragged_sequence = 0
        self._last_info_ms = float("-inf")
        self.reorder = ReorderBuffer(SILENCE["PCMU"])
        self.use("PCMU")

    def __repr__(self) -> str:
        return f"Ear({self.row})"

    def use(self, codec: str) -> None:
        """Listen in `codec` from now on; what waits in another one is overwritten, and not heard."""
        self.reorder.wipe()
        self._ears.alaw[self.row] = codec == "PCMA"
        self.reorder = ReorderBuffer(SILENCE[codec])
        self._memory.fill(self.row, SILENCE[codec])

    def in_order(self, sequence: int, payload: memoryview | bytes) -> None:
        """20 ms in the leg's codec, next in sequence; the short way of `lane.py` does the same."""
        if not self._memory.lay(self.row, payload):
            self.out_of_order(sequence, payload, sequence)

    def out_of_order(self, sequence: int, payload: memoryview | bytes, expected: int) -> None:
        """20 ms whose turn it is not; `expected` is the sequence number that should have come."""
        if not self._memory.taken[self.row] & CLOSED:
            self.reorder.follow(expected, self._memory.last(self.row))
            self._memory.taken[self.row] |= CLOSED
        self._ears.reordering.add(self)
        self.reorder.push(sequence, payload)

    def reordered(self, now_ms: float) -> list[bytearray]:
        """Frames that the reorder buffer lets go, oldest first."""
        frames = self.reorder.pop(now_ms)
        if not self.reorder.waits:
            self._memory.taken[self.row] &= ~CLOSED
            self._ears.reordering.discard(self)
            if frames:
                self._memory.last(self.row)[:] = frames[-1]
        return frames

    def ragged(self, payload: memoryview | bytes) -> None:
        """Audio of another packet time: cut into frames, numbered by us; what cannot fit is not heard."""
        ragged, length = self._ragged, self._ragged_length
        payload = payload[: RAGGED_BYTES_MAX - length]
        end = length + len(payload)
        ragged[length:end] = payload
        start = 0
        while end - start >= FRAME_BYTES:
            self.in_order(self._ragged_sequence, ragged[start : start + FRAME_BYTES])
            self._ragged_sequence = (self._ragged_sequence + 1) & 0xFFFF
            start += FRAME_BYTES
        self._ragged_length = rest = end - start
        ragged[:rest] = ragged[start:end]
        ragged[rest:end] = bytes(end - rest)

    def event(self, packet: Packet, payload: memoryview) -> None:
        """One telephone-event packet."""
        now_ms = self._ears.now_ms
        key = self.receiver.packet(packet.ssrc, packet.timestamp, payload, now_ms)
        self._ears.held.add(self)
        if key is not None:
            self._release(self.merge.event(key, now_ms), now_ms)

    def info(self, key: int) -> None:
        """One key cut from a SIP INFO body."""
        now_ms = self._ears.now_ms
        self._last_info_ms = now_ms
        self._release(self.merge.info(key, now_ms), now_ms)

    def inband(self, key: int, now_ms: float) -> None:
        """One tone found by the detector."""
        self._release(self.merge.inband(key, now_ms), now_ms)

    def tick(self, now_ms: float) -> None:
        """Let go of what has waited long enough."""
        self._release(self.merge.tick(now_ms), now_ms)

    def _release(self, keys: Sequence[int], now_ms: float) -> None:
        for key in keys:
            self.on_key(key, now_ms)

    def last_key_ms(self, now_ms: float) -> float:
        """When a key was last down, on any transport; `now_ms` while one is."""
        if self.receiver.down or self._ears.detector.tone_down(self.row):
            return now_ms
        return max(self.receiver.last_key_up_ms, self._last_info_ms)

    def forget(self) -> None:
        """A mode switch: keys that wait belong to neither side, and audio heard so far is overwritten."""
        self.merge.reset()
        self.reorder.wipe()
        self._memory.fill(self.row, SILENCE["PCMA" if self._ears.alaw[self.row] else "PCMU"])
        self._ragged[:] = bytes(RAGGED_BYTES_MAX)
        self._ragged_length = 0


class Ears:
    """All callers' ears, with one detector and one gate; `now_ms` is kept by whoever owns the clock."""

    def __init__(self, rows_max: int) -> None:
        self.now_ms = 0.0
        self.detector = InbandDetector(rows_max)
        self.gate = TalkGate(rows_max)
        self.memory = EarMemory(rows_max)
        self._taken = np.frombuffer(self.memory.taken, np.uint8)
        self.reordering: set[Ear] = set()
        """Ears whose stream goes through the reorder buffer."""
        self.held: set[Ear] = set()
        """Ears whose telephone-event may end by silence."""
        self.alaw: NDArray[np.bool_] = np.zeros(rows_max, np.bool_)
        self._frames = np.frombuffer(self.memory.frames, np.uint8).reshape(DEPTH, rows_max, FRAME_BYTES)
        self._batch = np.zeros((rows_max, FRAME_BYTES), np.uint8)
        self._quiet_ticks = np.full(rows_max, IDLE_TICKS_MAX, np.int16)
        self._talking: dict[int, Callable[[bytes | None], None]] = {}
        self._waiting: dict[Ear, float] = {}
        self._ears: dict[int, Ear] = {}
        self._free = list(range(rows_max - 1, -1, -1))

    def open(self, on_key: KeyHandler) -> Ear:
        """An ear for one more caller; IndexError beyond `rows_max`."""
        row = self._free.pop()
        ear = Ear(self, row, on_key)
        self._ears[row] = ear
        self._quiet_ticks[row] = IDLE_TICKS_MAX
        self.detector.reset(row)
        return ear

    def close(self, ear: Ear) -> None:
        """The caller is gone; what was heard is overwritten."""
        ear.forget()
        self.detector.reset(ear.row)
        self.mute(ear)
        self.held.discard(ear)
        self.reordering.discard(ear)
        self.memory.taken[ear.row] = 0
        self._waiting.pop(ear, None)
        del self._ears[ear.row]
        self._free.append(ear.row)

    def talk(self, ear: Ear, take: Callable[[bytes | None], None]) -> None:
        """Hand the caller's gated frames to `take`, with nothing of what was said before."""
        self.gate.reset(ear.row)
        self._talking[ear.row] = take

    def mute(self, ear: Ear) -> None:
        """End `talk`; the gate's delay line is overwritten."""
        if self._talking.pop(ear.row, None) is not None:
            self.gate.reset(ear.row)

    def tick(self, now_ms: float) -> None:
        """Hear the last 20 ms of everybody."""
        self.now_ms = now_ms
        for ear in tuple(self.held):
            ear.receiver.tick(now_ms)
            if not ear.receiver.down:
                self.held.discard(ear)
        self._hear_tones(now_ms)
        for ear, until_ms in tuple(self._waiting.items()):
            ear.tick(now_ms)
            if now_ms > until_ms:
                self._waiting.pop(ear, None)

    def _hear_tones(self, now_ms: float) -> None:
        """What arrived in order, then, depth by depth, what the reorder buffers let go."""
        waiting = self._taken & ~np.uint8(CLOSED)
        self._taken &= CLOSED
        self._quiet_ticks += 1
        self._quiet_ticks[waiting > 0] = 0
        for depth in range(waiting.max(initial=0)):
            rows = np.flatnonzero(waiting > depth)
            batch = self._batch[: len(rows)]
            np.take(self._frames[depth], rows, axis=0, out=batch, mode="clip")
            self._hear(rows, batch, now_ms)
            batch.fill(0)
            if depth:  # the first slot stays: it is what a lost packet is replaced by
                self._frames[depth, rows] = 0
        late: list[tuple[int, Sequence[bytes | bytearray]]]
        late = [(ear.row, ear.reordered(now_ms)) for ear in tuple(self.reordering)]
        silent = np.flatnonzero(self._quiet_ticks == IDLE_TICKS).tolist()
        for row in silent:
            quiet = SILENCE["PCMA" if self.alaw[row] else "PCMU"]
            self.memory.fill(row, quiet)
            late.append((row, [quiet] * SILENCE_MAX))
        for depth in range(max((len(frames) for _, frames in late), default=0)):
            deep = [(row, frames[depth]) for row, frames in late if depth < len(frames)]
            rows = np.array([row for row, _ in deep], np.intp)
            batch = self._batch[: len(rows)]
            for place, (_, frame) in enumerate(deep):
                batch[place] = np.frombuffer(frame, np.uint8)
            self._hear(rows, batch, now_ms)
            batch.fill(0)
        np.minimum(self._quiet_ticks, IDLE_TICKS_MAX, out=self._quiet_ticks)

    def _hear(self, rows: NDArray[np.intp], frames: NDArray[np.uint8], now_ms: float) -> None:
        """One frame for each row."""
        flags = self.alaw[rows]
        for row, key in self.detector.feed(rows, frames, flags):
            ear = self._ears[row]
            ear.inband(key, now_ms)
            self._waiting[ear] = now_ms + INBAND_WAIT_MS + FRAME_MS
        if self._talking:
            picked = [at for at, row in enumerate(rows.tolist()) if row in self._talking]
            for row, frame in self.gate.feed(rows[picked].tolist(), frames[picked], flags[picked]):
                take = self._talking.get(row)
                if take is not None:
                    take(frame)
