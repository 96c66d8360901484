"""What the agent hears while a capture is on, and the caller's key beep: made here, from no caller sample.

Both are drawn once at start. The noise tells the agent that the line is alive; the beep tells the caller that
a key arrived, and is one single tone far from every DTMF frequency, so that an echo of it is never a key.
"""

import numpy as np
import numpy.typing as npt

from vault.media.g711 import ULAW_TO_ALAW, encode_ulaw
from vault.media.rtp import FRAME_BYTES

NOISE_FRAMES = 256
"""5.1 s before the noise repeats: too long for an ear to hear a pattern, 40 kB."""
NOISE_LEVEL_DBM0 = -55.0
"""Just audible in a headset, as a quiet line is."""
BEEP_HZ = 500.0
"""28 % below the lowest DTMF frequency (697 Hz), and its second harmonic is none either."""
BEEP_LEVEL_DBM0 = -24.0
BEEP_FRAMES = 3
"""60 ms: over before a quick caller presses again."""
FULL_SCALE_DBM0 = 3.17
"""Sine at int16 full scale (ITU-T G.711, µ-law)."""

_RAMP = 40


def _amplitude(level_dbm0: float) -> float:
    return float(32767.0 * 10.0 ** ((level_dbm0 - FULL_SCALE_DBM0) / 20.0))


def _frames(samples: npt.NDArray[np.float64]) -> tuple[bytes, ...]:
    coded = encode_ulaw(np.round(samples).astype(np.int16))
    return tuple(coded[at : at + FRAME_BYTES] for at in range(0, len(coded), FRAME_BYTES))


def comfort_noise() -> dict[str, tuple[bytes, ...]]:
    """`NOISE_FRAMES` frames of 160 bytes of white noise for each codec, fresh for every process."""
    scale = _amplitude(NOISE_LEVEL_DBM0) / np.sqrt(2.0)
    samples = np.random.default_rng().normal(0.0, scale, NOISE_FRAMES * FRAME_BYTES)
    ulaw = _frames(samples.clip(-32000, 32000))
    return {"PCMU": ulaw, "PCMA": tuple(frame.translate(ULAW_TO_ALAW) for frame in ulaw)}


def key_beep() -> bytes:
    """The beep in µ-law, `BEEP_FRAMES` frames, with soft edges."""
    at = np.arange(BEEP_FRAMES * FRAME_BYTES)
    wave = _amplitude(BEEP_LEVEL_DBM0) * np.sin(2.0 * np.pi * BEEP_HZ * at / 8000.0)
    edge = np.minimum(1.0, np.minimum(at, at[::-1]) / _RAMP)
    return b"".join(_frames(wave * edge))
