"""An attacker who knows when keys were pressed: the yardstick of the leak proofs.

He fits the two tones of each key by least squares to every short piece of the agent's audio near a press and
names the key that explains a piece best. One millisecond of clean tone is enough for him, where receivers
need twenty: what he cannot tell is not in the audio. numpy only: the proof trusts nothing that it proves.
"""

import functools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ: Final = 8000

LOW_HZ: Final = (697.0, 770.0, 852.0, 941.0)
HIGH_HZ: Final = (1209.0, 1336.0, 1477.0, 1633.0)
PAIRS: Final = {
    1: (0, 0), 2: (0, 1), 3: (0, 2), 12: (0, 3),
    4: (1, 0), 5: (1, 1), 6: (1, 2), 13: (1, 3),
    7: (2, 0), 8: (2, 1), 9: (2, 2), 14: (2, 3),
    10: (3, 0), 0: (3, 1), 11: (3, 2), 15: (3, 3),
}  # fmt: skip
"""Key (0-9, 10 `*`, 11 `#`, 12-15 A-D) -> its tones' places in the two groups (Q.23)."""

DIGITS: Final = tuple(range(10))
ALL_KEYS: Final = tuple(range(16))

PIECES: Final = (8, 12, 16, 24, 40, 80, 160, 320)
"""Samples of the pieces tried, 1 to 40 ms: the shortest one that tells a key, up to most of a press."""

BEFORE_MS: Final = 5.0
"""Search from here before a press: the press time is known that well."""

AFTER_MS: Final = 200.0
"""Search until here after it: a press of 100 ms through 100 ms of jitter buffer and delay line."""

_FLOOR: Final = 8.0
"""Mean square of quantisation noise at G.711's smallest steps: a residual below it proves nothing more."""


@functools.cache
def tone_base(key: int, length: int) -> NDArray[np.float64]:
    """(length, 4): orthonormal base of everything the two tones of a key can be in that many samples."""
    low, high = PAIRS[key]
    time = np.arange(length) / SAMPLE_RATE_HZ
    waves = [
        wave(2 * np.pi * hertz * time) for hertz in (LOW_HZ[low], HIGH_HZ[high]) for wave in (np.cos, np.sin)
    ]
    base, _ = np.linalg.qr(np.stack(waves, 1))
    return np.asarray(base)


def _step(length: int) -> int:
    """Samples between two pieces of that length: every sample for 1 ms, a sixteenth of the longer ones."""
    return max(length // 16, 1)


def _evidence(pieces: NDArray[np.float64], keys: Sequence[int]) -> NDArray[np.float64]:
    """(pieces, keys): log likelihood ratio of the key's tones against noise, 4 parameters paid for (BIC)."""
    length = pieces.shape[1]
    base = np.hstack([tone_base(key, length) for key in keys])
    explained = ((pieces @ base) ** 2).reshape(len(pieces), len(keys), 4).sum(2)
    total = (pieces**2).sum(1, keepdims=True)
    residual = np.maximum(total - explained, 0) + _FLOOR * length
    ratio = (total + _FLOOR * length) / residual
    return np.asarray(length / 2 * np.log(ratio) - 2 * math.log(length))


def _score(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """(keys,): best evidence over the pieces, plus its best lead over the other keys.

    The evidence alone tells 1 ms of clean tone, the lead tells tones under speech, which fits many keys
    alike.
    """
    second, best = np.partition(evidence, -2, axis=1)[:, -2:].T[:, :, None]
    lead = evidence - np.where(evidence == best, second, best)
    return np.asarray(evidence.max(0) + lead.max(0))


def best_key(audio: NDArray[np.float64], keys: Sequence[int] = DIGITS) -> int | None:
    """The key that explains a piece of this audio best; None when the audio is shorter than 1 ms.

    Samples on a 16-bit scale. All-quiet audio names the first of `keys`: a guess, which is the attacker's
    right.
    """
    scores = [
        _score(_evidence(np.lib.stride_tricks.sliding_window_view(audio, length)[:: _step(length)], keys))
        for length in PIECES
        if len(audio) >= length
    ]
    return keys[int(np.max(scores, axis=0).argmax())] if scores else None


def best_keys(
    audio: NDArray[np.float64],
    presses_ms: Sequence[float],
    keys: Sequence[int] = DIGITS,
    *,
    before_ms: float = BEFORE_MS,
    after_ms: float = AFTER_MS,
) -> list[int | None]:
    """The best key of each press, given when it began: ms into the audio, with the path's delay."""
    spans = [(max(round((at - before_ms) * 8), 0), max(round((at + after_ms) * 8), 0)) for at in presses_ms]
    return [best_key(np.asarray(audio[start:end], np.float64), keys) for start, end in spans]


def binomial_upper_chance(count: int, chance: float = 0.1, confidence: float = 0.999) -> int:
    """Most hits that guessing explains: more, of `count` guesses at `chance`, have odds of 1 - confidence."""
    at_most = 0.0
    for hits in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        at_most += math.exp(ways + hits * math.log(chance) + (count - hits) * math.log1p(-chance))
        if at_most >= confidence:
            return hits
    return count
