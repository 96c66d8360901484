"""A receiver of key tones for the proof: what any telephone exchange would take for a key (ITU-T Q.23, Q.24).

Not the attacker, who knows when keys were pressed and needs one millisecond: this one knows nothing and wants
20 ms twice in a row. It judges TALK, where the gate promises that no receiver finds a key.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pay_ivr.proof.attacker import ALL_KEYS, tone_base
from pay_ivr.proof.audio import amplitude

WINDOW: Final = 160
HOP: Final = 80
SHARE_MIN: Final = 0.6
"""Of a window's energy in the two tones; laxer than the product's own receiver (0.75)."""
LEVEL_MIN_DBM0: Final = -48.0
"""Of both tones together: below the quietest key that a receiver has to take."""
WINDOWS_MIN: Final = 2


def keys_in(audio: NDArray[np.int16]) -> list[int]:
    """The keys (0-9, 10 `*`, 11 `#`, 12-15 A-D) that a receiver finds in 8 kHz audio, in order."""
    if len(audio) < WINDOW:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64), WINDOW)[::HOP]
    explained = np.stack([((windows @ tone_base(key, WINDOW)) ** 2).sum(1) for key in ALL_KEYS], 1)
    best = explained.argmax(1)
    strongest = explained[np.arange(len(best)), best]
    loud = strongest > WINDOW * amplitude(LEVEL_MIN_DBM0) ** 2 / 2
    there = loud & (strongest > SHARE_MIN * (windows**2).sum(1))
    return _runs([ALL_KEYS[key] if yes else None for key, yes in zip(best, there, strict=True)])


def _runs(named: list[int | None]) -> list[int]:
    """Each key that stands in enough windows in a row, once per run."""
    found: list[int] = []
    run = 0
    for before, now in zip([None, *named], named, strict=False):
        run = run + 1 if now is not None and now == before else int(now is not None)
        if run == WINDOWS_MIN and now is not None:
            found.append(now)
    return found
