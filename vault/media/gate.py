"""TALK gate: the caller's voice passes, keys do not. Best effort, and labelled so.

Lax on purpose: it mutes whatever resembles a key. Frames leave 40 ms late, so that a tone found now is still
in the line; two frames before and two after a hit are muted, and after a key everything is, until 1.5 s went
by without one. What it cannot do: a millisecond of clean tone tells a key, so tones under loud speech leak.
That is why a field is open in SECURE, where no sample of the caller passes at all.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vault.media.g711 import FRAME_BYTES, MEAN_SQUARE_0_DBM0, SAMPLE_RATE_HZ
from vault.media.inband import FREQUENCIES_HZ, Flags, Frames, decode

WINDOW: Final = 160
HOP: Final = 40
"""5 ms: four looks at each frame, so that a tone of 15 ms fills most of one window."""

OFFSETS: Final = (-0.025, 0.0, 0.025)
"""Bins around each frequency, 24 in all: handsets 3.5 % off are heard, whose keys no receiver would take."""

LEVEL_MIN_DBM0: Final = -50.0
"""Per group: below the quietest key a receiver must refuse (-55) the line's own noise begins."""

TWIST_MAX_DB: Final = 16.0
"""Between the groups: Q.24 receivers take 4 and 8, the gate hears twice that."""

SHARE_MIN: Final = 0.3
"""Share of energy in the two tones: at 0.5 a key spoken over leaks, at 0.3 speech loses 1 frame in 12."""

DELAY_FRAMES: Final = 2
"""40 ms: with 20 ms more keys leak under speech, with 60 ms no fewer."""

MUTE_BEFORE: Final = DELAY_FRAMES
"""Frames muted before a hit, still in the line: the tone's first milliseconds are too short to be found."""

MUTE_AFTER: Final = 2
"""Frames muted after a hit: its last milliseconds."""

FIRM_SHARE_MIN: Final = 0.75
"""A hit as pure as a receiver asks for starts the hold."""

FIRM_HOPS: Final = 3
"""Hops in a row that must be firm: 3 of 5 ms; speech is rarely so pure for so long."""

HOLD_FRAMES: Final = 75
"""1.5 s of muting after a key: who has keyed goes on keying."""

_HOPS: Final = FRAME_BYTES // HOP
_TAIL: Final = WINDOW - HOP
_GROUP: Final = 4
_POWER_MIN: Final = np.float32(2 * MEAN_SQUARE_0_DBM0 * 10 ** (LEVEL_MIN_DBM0 / 10))
_TWIST_MAX: Final = np.float32(10 ** (TWIST_MAX_DB / 10))


def _basis() -> NDArray[np.float32]:
    """(160, 48): cosine and sine columns, low group times offsets, then high; amplitude A gives A."""
    hertz = np.outer(FREQUENCIES_HZ, 1 + np.array(OFFSETS)).ravel()
    phase = 2 * np.pi * np.outer(np.arange(WINDOW) / SAMPLE_RATE_HZ, hertz)
    return (np.stack((np.cos(phase), np.sin(phase)), 2).reshape(WINDOW, -1) * (2 / WINDOW)).astype(np.float32)


_BASIS: Final = _basis()


class TalkGate:
    """Gate of up to `rows_max` calls; the caller of `feed` decides which row is which call."""

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self._line = np.zeros((rows_max, DELAY_FRAMES, FRAME_BYTES), np.uint8)
        self._filled = np.zeros(rows_max, np.int8)
        self._mute = np.zeros(rows_max, np.int16)
        self._firm = np.zeros(rows_max, np.int16)
        self._tail = np.zeros((rows_max, _TAIL), np.float32)
        self._audio = np.zeros((rows_max, _TAIL + FRAME_BYTES), np.float32)
        self._windows = np.zeros((rows_max * _HOPS, WINDOW), np.float32)

    def __repr__(self) -> str:
        return f"TalkGate({self.rows_max})"

    def key(self, row: int) -> None:
        """A key came by any transport: the row is mute until 1.5 s went by without another."""
        self._mute[row] = max(self._mute[row], HOLD_FRAMES + DELAY_FRAMES)

    def reset(self, row: int) -> None:
        """Forgets a row and overwrites its delay line: a new call, or a mode switch."""
        for array in (self._line, self._filled, self._mute, self._firm, self._tail):
            array[row] = 0

    def feed(self, rows: Sequence[int], frames: Frames, alaw_flags: Flags) -> list[tuple[int, bytes | None]]:
        """(row, its frame of 40 ms ago), in the order of `rows`; None where it is muted or the line fills.

        A row may stand in `rows` once; more frames of one row take more calls.
        """
        if not len(rows):
            return []
        index = np.asarray(rows, np.intp)
        hit, firm = self._listen(index, frames, alaw_flags)
        mute = np.where(hit, np.maximum(self._mute[index], MUTE_BEFORE + 1 + MUTE_AFTER), self._mute[index])
        mute = np.where(firm, HOLD_FRAMES + DELAY_FRAMES + 1, mute)
        passes = (mute == 0) & (self._filled[index] >= DELAY_FRAMES)
        self._mute[index] = np.maximum(mute - 1, 0)
        leaving = self._shift(index, frames)
        passed = [
            (row, frame.tobytes() if open_ else None)
            for row, frame, open_ in zip(rows, leaving, passes.tolist(), strict=True)
        ]
        leaving.fill(0)
        return passed

    def _shift(self, index: NDArray[np.intp], frames: Frames) -> NDArray[np.uint8]:
        """Frames that leave the delay line as the new ones enter."""
        codes = frames if isinstance(frames, np.ndarray) else np.frombuffer(b"".join(frames), np.uint8)
        line = self._line[index]
        leaving = line[:, 0].copy()
        line[:, :-1] = line[:, 1:]
        line[:, -1] = codes.reshape(len(index), FRAME_BYTES)
        self._line[index] = line
        line.fill(0)
        self._filled[index] = np.minimum(self._filled[index] + 1, DELAY_FRAMES)
        return leaving

    def _listen(
        self, index: NDArray[np.intp], frames: Frames, alaw_flags: Flags
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(n,): the new frame may hold a tone, and it surely does."""
        count = len(index)
        audio, windows = self._audio[:count], self._windows[: count * _HOPS]
        audio[:, :_TAIL] = self._tail[index]
        decode(frames, alaw_flags, audio[:, _TAIL:])
        self._tail[index] = audio[:, -_TAIL:]
        looks = windows.reshape(count, _HOPS, WINDOW)
        for hop in range(_HOPS):
            looks[:, hop] = audio[:, hop * HOP : hop * HOP + WINDOW]
        power = ((windows @ _BASIS) ** 2).reshape(count, _HOPS, 2, _GROUP * len(OFFSETS), 2).sum(4).max(3)
        energy = np.einsum("nhs,nhs->nh", looks, looks) / np.float32(WINDOW)
        audio.fill(0)
        windows.fill(0)
        low, high = power[..., 0], power[..., 1]
        tone = (np.minimum(low, high) > _POWER_MIN) & (low < high * _TWIST_MAX) & (high < low * _TWIST_MAX)
        share = (low + high) / (2 * energy + 1)
        return (tone & (share > SHARE_MIN)).any(1), self._firmly(index, tone & (share > FIRM_SHARE_MIN))

    def _firmly(self, index: NDArray[np.intp], firm: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n,): the run of firm hops, carried from frame to frame, has become long enough."""
        run, longest = self._firm[index], np.zeros(len(index), np.int16)
        for hop in range(_HOPS):
            run = np.where(firm[:, hop], np.minimum(run + 1, FIRM_HOPS), 0)
            longest = np.maximum(longest, run)
        self._firm[index] = run
        return np.asarray(longest >= FIRM_HOPS)
