"""Telephone audio for our own phones: G.711, key tones, and a voice that no other packet repeats.

ITU-T G.711 by the definition (not the product's tables), Q.23 tones, levels in dBm0 per tone. 8 kHz, frames
of 160 samples.
"""

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
FRAME = 160
"""Samples in 20 ms."""
FULL_SCALE_DBM0 = 3.17
"""Level of a full-scale sine in µ-law (G.711 §2); A-law differs by 0.03 dB."""
LOW_HZ = (697.0, 770.0, 852.0, 941.0)
HIGH_HZ = (1209.0, 1336.0, 1477.0, 1633.0)
KEYS = "123A456B789C*0#D"
"""Row by row, as the two frequency groups cross (Q.23)."""

Samples = NDArray[np.int16]


def _ulaw_levels() -> NDArray[np.int32]:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code >> 4) & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude)


def _alaw_levels() -> NDArray[np.int32]:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment, step = (code >> 4) & 7, code & 0x0F
    magnitude = np.where(segment == 0, (step << 4) + 8, ((step << 4) + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude)


LEVELS = {"PCMU": _ulaw_levels(), "PCMA": _alaw_levels()}
"""Codec → the 256 sample values, 16-bit linear."""
_ORDERED = {codec: np.argsort(levels, kind="stable") for codec, levels in LEVELS.items()}
_BORDERS = {
    codec: (LEVELS[codec][order][1:] + LEVELS[codec][order][:-1]) / 2.0 for codec, order in _ORDERED.items()
}


def encode(samples: Samples, codec: str) -> bytes:
    """One byte per sample: the code whose level is nearest."""
    nearest = _BORDERS[codec].searchsorted(samples.astype(np.float64))
    codes: NDArray[np.int64] = _ORDERED[codec][nearest]
    return codes.astype(np.uint8).tobytes()


def decode(payload: bytes, codec: str) -> Samples:
    """16-bit samples, one per byte."""
    return LEVELS[codec][np.frombuffer(payload, dtype=np.uint8)].astype(np.int16)


def amplitude(level_dbm0: float) -> float:
    """Peak sample value of a sine of that level."""
    return float(32124.0 * 10 ** ((level_dbm0 - FULL_SCALE_DBM0) / 20))


def tone(
    key: str, duration_ms: float, low_dbm0: float = -10.0, high_dbm0: float = -8.0, phase: float = 0.0
) -> Samples:
    """The two sines of a key."""
    row, column = divmod(KEYS.index(key), 4)
    time = np.arange(int(RATE_HZ * duration_ms / 1000)) / RATE_HZ
    low = amplitude(low_dbm0) * np.sin(2 * np.pi * LOW_HZ[row] * time + phase)
    high = amplitude(high_dbm0) * np.sin(2 * np.pi * HIGH_HZ[column] * time + 1.7 * phase)
    return (low + high).astype(np.int16)


_BAND = np.hanning(25) * np.cos(2 * np.pi * 520 / RATE_HZ * np.arange(25))
"""What makes a voice's band of white noise."""


class Voice:
    """Speech-like noise, 20 ms at a time; seeded, and no two frames are alike.

    Syllables of band-limited noise over a low floor: any frame of it that turns up elsewhere is recognised.
    """

    def __init__(self, seed: int, level_dbm0: float = -26.0) -> None:
        self._random = np.random.default_rng(seed)
        self._peak = amplitude(level_dbm0)
        self._tail = np.zeros(24)
        self._time = 0

    def frame(self) -> Samples:
        """The next 160 samples."""
        noise = np.concatenate([self._tail, self._random.standard_normal(FRAME)])
        self._tail = noise[-24:]
        shaped = np.convolve(noise, _BAND, "valid") / 3.0
        time = (self._time + np.arange(FRAME)) / RATE_HZ
        self._time += FRAME
        syllable = np.maximum(np.sin(2 * np.pi * 1.9 * time) + 0.35 * np.sin(2 * np.pi * 0.31 * time), 0.0)
        floor = self._random.standard_normal(FRAME) * 12
        loud = shaped * syllable * self._peak * 0.5 + floor
        return np.minimum(np.maximum(loud, -32000.0), 32000.0).astype(np.int16)
