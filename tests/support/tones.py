"""Keys as tones for tests: 8 kHz, float samples on the 16-bit scale, levels in dBm0."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vault.media.g711 import MEAN_SQUARE_0_DBM0, SAMPLE_RATE_HZ, encode_alaw, encode_ulaw

Audio = NDArray[np.float64]

LOW_HZ = (697.0, 770.0, 852.0, 941.0)
HIGH_HZ = (1209.0, 1336.0, 1477.0, 1633.0)
PLACES = {
    1: 0,
    2: 1,
    3: 2,
    12: 3,
    4: 4,
    5: 5,
    6: 6,
    13: 7,
    7: 8,
    8: 9,
    9: 10,
    14: 11,
    10: 12,
    0: 13,
    11: 14,
    15: 15,
}
"""Key -> place on the keypad of Q.23, four to a row."""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a caller's phone makes a key: the conditions of a detector test."""

    on_ms: float = 50.0
    off_ms: float = 50.0
    low_dbm0: float = -10.0
    high_dbm0: float = -8.0
    detune: float = 0.0
    """Relative frequency error, +0.015 for +1.5 %."""
    ramp_ms: float = 0.0
    """Rise and fall time at both ends, within `on_ms`."""
    snr_db: float | None = None
    """White noise below the tone's power."""


def amplitude(level_dbm0: float) -> float:
    """Peak of a sine of that level."""
    return float(np.sqrt(2 * MEAN_SQUARE_0_DBM0 * 10 ** (level_dbm0 / 10)))


def tone(key: int, manner: Manner, rng: np.random.Generator) -> Audio:
    """One key of `on_ms`, random phases."""
    place = PLACES[key]
    count = round(manner.on_ms * SAMPLE_RATE_HZ / 1000)
    turns = 2 * np.pi * np.arange(count) / SAMPLE_RATE_HZ * (1 + manner.detune)
    start_low, start_high = rng.uniform(0, 2 * np.pi, 2)
    sound: Audio = amplitude(manner.low_dbm0) * np.sin(turns * LOW_HZ[place // 4] + start_low)
    sound += amplitude(manner.high_dbm0) * np.sin(turns * HIGH_HZ[place % 4] + start_high)
    ramp = round(manner.ramp_ms * SAMPLE_RATE_HZ / 1000)
    if ramp:
        slope = (np.arange(ramp) + 0.5) / ramp
        sound[:ramp] *= slope
        sound[-ramp:] *= slope[::-1]
    return sound


@dataclass(frozen=True)
class Keyed:
    """A caller who keys: the sound, and for each press its key and first sample."""

    sound: Audio
    keys: tuple[int, ...]
    starts: tuple[int, ...]


def keyed(keys: Sequence[int], manner: Manner, rng: np.random.Generator, *, lead_ms: float = 60.0) -> Keyed:
    """The keys one after the other, at random places in their packets; 100 ms of quiet at the end."""
    parts: list[Audio] = [np.zeros(round((lead_ms + rng.uniform(0, 20)) * 8))]
    starts = []
    for key in keys:
        starts.append(sum(map(len, parts)))
        parts += [tone(key, manner, rng), np.zeros(round((manner.off_ms + rng.uniform(0, 2)) * 8))]
    parts.append(np.zeros(800))
    sound = np.concatenate(parts)
    if manner.snr_db is not None:
        power = (amplitude(manner.low_dbm0) ** 2 + amplitude(manner.high_dbm0) ** 2) / 2
        sound += rng.normal(0, np.sqrt(power * 10 ** (-manner.snr_db / 10)), len(sound))
    return Keyed(sound, tuple(keys), tuple(starts))


def frames(sound: Audio, *, alaw: bool = True) -> list[bytes]:
    """20 ms G.711 frames of the sound, the last one filled up with zero samples."""
    padded = np.zeros(-(-len(sound) // 160) * 160)
    padded[: len(sound)] = sound
    samples = np.clip(np.rint(padded), -32768, 32767).astype(np.int16)
    payload = encode_alaw(samples) if alaw else encode_ulaw(samples)
    return [payload[i : i + 160] for i in range(0, len(payload), 160)]


def at_level(sound: Audio, level_dbm0: float) -> Audio:
    """The sound scaled so that its active frames, 30 dB or less below the loudest, have that mean level."""
    blocks = sound[: len(sound) // 160 * 160].reshape(-1, 160)
    power = (blocks**2).mean(1)
    active = power[power > power.max() / 1000]
    scaled: Audio = sound * np.sqrt(MEAN_SQUARE_0_DBM0 * 10 ** (level_dbm0 / 10) / active.mean())
    return scaled
