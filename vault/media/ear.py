"""Every caller's keys, by telephone-event, tone or SIP INFO, merged into one per press.

One detector listens to all callers at once, 20 ms at a time, whether or not a capture is open; the TALK gate
works on the same frames. This file owns the way from packets to `on_key`; what a key is good for is decided
elsewhere.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vault.media.g711 import SILENCE
from vault.media.gate import TalkGate
from vault.media.inband import InbandDetector
from vault.media.merge import INBAND_WAIT_MS, KeyMerge
from vault.media.reorder import ReorderBuffer
from vault.media.rtp import FRAME_BYTES, FRAME_MS, Packet
from vault.media.telephone_event import EventReceiver

KeyHandler = Callable[[int, float], None]
"""Takes one key (0-15) and the time in ms."""

RAGGED_BYTES_MAX: Final = 1280
"""Audio of another packet time waiting to fill a frame: two of the largest packets."""


class Ear:
    """Hears one caller; made by `Ears.open`."""

    __slots__ = (
        "_ears",
        "_last_info_ms",
        "_ragged",
        "_ragged_sequence",
        "alaw",
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
        self.receiver = EventReceiver()
        self.merge = KeyMerge()
        self._ragged = bytearray()
        self._ragged_sequence = 0
        self._last_info_ms = float("-inf")
        self.use("PCMU")

    def __repr__(self) -> str:
        return f"Ear({self.row})"

    def use(self, codec: str) -> None:
        """Listen in `codec` from now on."""
        self.alaw = codec == "PCMA"
        self.reorder = ReorderBuffer(SILENCE[codec])

    def audio(self, sequence: int, payload: memoryview) -> None:
        """20 ms in the leg's codec."""
        self.reorder.push(sequence, payload)

    def ragged(self, payload: bytes) -> None:
        """Audio of another packet time: cut into frames, numbered by us."""
        ragged = self._ragged
        ragged += payload
        del ragged[:-RAGGED_BYTES_MAX]
        while len(ragged) >= FRAME_BYTES:
            self.reorder.push(self._ragged_sequence, ragged[:FRAME_BYTES])
            self._ragged_sequence = (self._ragged_sequence + 1) & 0xFFFF
            ragged[:FRAME_BYTES] = bytes(FRAME_BYTES)
            del ragged[:FRAME_BYTES]

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
        self._ragged[:] = bytes(len(self._ragged))
        self._ragged.clear()


class Ears:
    """All callers' ears, with one detector and one gate; `now_ms` is kept by whoever owns the clock."""

    def __init__(self, rows_max: int) -> None:
        self.now_ms = 0.0
        self.detector = InbandDetector(rows_max)
        self.gate = TalkGate(rows_max)
        self.held: set[Ear] = set()
        """Ears whose telephone-event may end by silence."""
        self.talking: dict[int, Callable[[bytes | None], None]] = {}
        """By row: who takes the frames of the TALK gate."""
        self._waiting: dict[Ear, float] = {}
        self._ears: dict[int, Ear] = {}
        self._free = list(range(rows_max - 1, -1, -1))

    def open(self, on_key: KeyHandler) -> Ear:
        """An ear for one more caller; IndexError beyond `rows_max`."""
        ear = Ear(self, self._free.pop(), on_key)
        self._ears[ear.row] = ear
        self.detector.reset(ear.row)
        return ear

    def close(self, ear: Ear) -> None:
        """The caller is gone; what was heard is overwritten."""
        ear.forget()
        self.detector.reset(ear.row)
        self.mute(ear)
        self.held.discard(ear)
        self._waiting.pop(ear, None)
        del self._ears[ear.row]
        self._free.append(ear.row)

    def talk(self, ear: Ear, take: Callable[[bytes | None], None]) -> None:
        """Hand the caller's gated frames to `take`, with nothing of what was said before."""
        self.gate.reset(ear.row)
        self.talking[ear.row] = take

    def mute(self, ear: Ear) -> None:
        """End `talk`; the gate's delay line is overwritten."""
        if self.talking.pop(ear.row, None) is not None:
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
        rounds: list[tuple[list[Ear], list[bytes]]] = []
        for ear in self._ears.values():
            for depth, frame in enumerate(ear.reorder.pop(now_ms)):
                if depth == len(rounds):
                    rounds.append(([], []))
                rounds[depth][0].append(ear)
                rounds[depth][1].append(frame)
        for ears, frames in rounds:
            self._hear_round(ears, frames, now_ms)

    def _hear_round(self, ears: list[Ear], frames: list[bytes], now_ms: float) -> None:
        rows = [ear.row for ear in ears]
        flags: NDArray[np.bool_] = np.fromiter((ear.alaw for ear in ears), bool, len(ears))
        for row, key in self.detector.feed(rows, frames, flags):
            ear = self._ears[row]
            ear.inband(key, now_ms)
            self._waiting[ear] = now_ms + INBAND_WAIT_MS + FRAME_MS
        if self.talking:
            picked = [at for at, row in enumerate(rows) if row in self.talking]
            gated = self.gate.feed([rows[at] for at in picked], [frames[at] for at in picked], flags[picked])
            for row, frame in gated:
                take = self.talking.get(row)
                if take is not None:
                    take(frame)
