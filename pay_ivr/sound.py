"""Speech and tones made fit for a telephone: 8 kHz, even loudness, no silence around, µ-law.

Pure functions on arrays of samples in -1..1 (1.0 is the largest 16-bit value). Levels are dBFS: RMS against
1.0. The µ-law table is written out here a second time on purpose: `vault/media/g711.py` lies behind the
vault's door, and ten lines are cheaper than a hole in that wall; a test compares the two byte by byte.
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

RATE_HZ = 8000
"""G.711's sample rate."""
FULL_SCALE = 32768.0
LEVEL_DBFS = -20.0
"""Active speech level of every prompt, so that no language and no sentence is louder than another."""
PEAK_DBFS = -3.5
"""No sample is louder: half a decibel below the -3 dBFS that leaves room for gateways that add gain."""
ACTIVE_BELOW_LOUDEST_DB = 25.0
"""A block of 20 ms counts as speech when it is at most this far below the loudest block."""
SILENCE_BELOW_LOUDEST_DB = 40.0
"""A block of 10 ms this far below the loudest one is silence and may be cut off at both ends."""
LEAD_S = 0.04
"""Silence kept before the first sound: soft onsets (h, f) lie below the threshold."""
TAIL_S = 0.16
"""Silence kept after the last sound, so that prompts played one after another do not run together."""
PACKET_SAMPLES = 160
"""20 ms; prompts are whole packets so that media never has to pad one."""
TAPS = 129
"""Length of the low-pass: with a Kaiser window of 8.0 it is flat to 3.4 kHz and 75 dB down at 4.1 kHz."""
CUT_OFF_HZ = 3750.0
KAISER_BETA = 8.0
FILTER_S = TAPS / 16_000
"""The same low-pass at other rates is as long in time, so it is as steep in frequency."""
BLOCK_SAMPLES = 4000
"""Samples resampled at a time: bounds the memory for a minute of sound at 48 kHz."""
SLOWER = 1.25
"""What `slower` does to the length: a quarter more time to understand, and still a natural voice."""
GRAIN = 240
"""30 ms, two or more periods of any voice: the pieces that `slower` lays over one another."""
SEARCH = 64
"""8 ms to either side, a period of the deepest voice: where the next grain fits best."""


def _low_pass() -> Samples:
    """Windowed-sinc taps for 16 kHz, gain 1 at 0 Hz."""
    place = np.arange(TAPS) - (TAPS - 1) / 2
    taps = np.sinc(place * CUT_OFF_HZ / RATE_HZ) * np.kaiser(TAPS, KAISER_BETA)
    return taps / np.sum(taps)


def _compress() -> NDArray[np.uint8]:
    """µ-law code of every 16-bit value from -32768 up (ITU-T G.711 tables 2a, 2b; negatives as in G.191)."""
    linear = np.arange(-32768, 32768)
    magnitude = np.minimum((np.where(linear < 0, ~linear, linear) >> 2) + 33, 0x1FFF)
    exponent = np.floor(np.log2(magnitude)).astype(int) - 5
    code = (7 - exponent) << 4 | 15 - (magnitude >> (exponent + 1) & 15)
    return np.asarray(np.where(linear < 0, code, code | 0x80), np.uint8)


def _expand() -> NDArray[np.int16]:
    """The 16-bit value of every µ-law code (G.711 table 2a, 2b)."""
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


_TAPS = _low_pass()
_ULAW = _compress()
_LINEAR = _expand()


def encode_ulaw(samples: Samples) -> bytes:
    """One µ-law byte per sample; what lies outside -1..1 is clipped."""
    linear = np.clip(np.rint(samples * FULL_SCALE), -32768, 32767).astype(np.int32)
    return _ULAW[linear + 32768].tobytes()


def decode_ulaw(ulaw: bytes) -> NDArray[np.int16]:
    """16-bit samples."""
    return _LINEAR[np.frombuffer(ulaw, np.uint8)]


def halve_rate(samples: Samples) -> Samples:
    """16 kHz → 8 kHz without aliases: polyphase, so only the samples that stay are computed."""
    padded = np.concatenate((np.zeros(TAPS // 2), samples, np.zeros(TAPS // 2 + 1)))
    even = np.convolve(padded[0::2], _TAPS[0::2], "valid")
    odd = np.convolve(padded[1::2], _TAPS[1::2], "valid")
    kept = (samples.size + 1) // 2
    return even[:kept] + odd[:kept]


def resample(samples: Samples, rate_hz: int) -> Samples:
    """Any higher rate → 8 kHz without aliases; the same sound when it has that rate already.

    Output k lies at k * rate / 8000 of the input; where it falls between two samples repeats after `phases`.
    """
    if rate_hz == RATE_HZ or not samples.size:
        return samples
    phases = RATE_HZ // gcd(rate_hz, RATE_HZ)
    half = round(FILTER_S * rate_hz / 2)
    padded = np.pad(samples, (half, half + 1))
    taps = _taps_at(np.arange(phases) * rate_hz % RATE_HZ / RATE_HZ, half, rate_hz)
    kept = (samples.size - 1) * RATE_HZ // rate_hz + 1
    blocks = []
    for first in range(0, kept, BLOCK_SAMPLES):
        number = np.arange(first, min(first + BLOCK_SAMPLES, kept))
        around = (number * rate_hz // RATE_HZ)[:, None] + np.arange(2 * half + 1)
        blocks.append(np.einsum("ij,ij->i", taps[number % phases], padded[around]))
    return np.concatenate(blocks)


def _taps_at(offsets: Samples, half: int, rate_hz: int) -> Samples:
    """One row of low-pass taps for each offset (0..1) of the output from the input sample before it."""
    off = np.arange(-half, half + 1)[None, :] - offsets[:, None]
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (off / (half + 1)) ** 2)))
    taps = np.sinc(off * 2 * CUT_OFF_HZ / rate_hz) * window
    return np.asarray(taps / np.sum(taps, axis=1, keepdims=True))


def slower(samples: Samples) -> Samples:
    """The same voice, `SLOWER` times as long, at its own pitch (WSOLA: overlapping grains that fit)."""
    step, hop = GRAIN // 2, round(GRAIN / 2 / SLOWER)
    count = max(0, (samples.size - GRAIN) // hop + 1)
    padded = np.pad(samples, (SEARCH, GRAIN + step + 2 * SEARCH))
    window = np.hanning(GRAIN + 1)[:GRAIN]
    out = np.zeros((count + 1) * step + step)
    taken = SEARCH
    for grain in range(count):
        at = grain * hop + SEARCH
        if grain:
            expected = padded[taken + step : taken + step + GRAIN]
            near = np.lib.stride_tricks.sliding_window_view(padded[at - SEARCH : at + SEARCH + GRAIN], GRAIN)
            at += int(np.argmax(near @ expected)) - SEARCH
        out[grain * step : grain * step + GRAIN] += window * padded[at : at + GRAIN]
        taken = at
    return out


def _block_power(samples: Samples, block: int) -> Samples:
    """Mean square of each whole block; a last, shorter one counts as if filled with silence."""
    padded = np.pad(samples, (0, -samples.size % block))
    return np.asarray(np.mean(padded.reshape(-1, block) ** 2, axis=1))


def trim(samples: Samples, tail_s: float = TAIL_S) -> Samples:
    """The sound with `LEAD_S` of silence before and `tail_s` after it; empty when there is no sound."""
    block = RATE_HZ // 100
    power = _block_power(samples, block)
    loud = np.flatnonzero(power > max(power, default=0.0) * _ratio(-SILENCE_BELOW_LOUDEST_DB))
    if not loud.size:
        return np.zeros(0)
    lead, tail = int(LEAD_S * RATE_HZ), int(tail_s * RATE_HZ)
    first, last = loud[0] * block, min((loud[-1] + 1) * block, samples.size)
    return np.concatenate((np.zeros(lead), samples[first:last], np.zeros(tail)))


def active_level_dbfs(samples: Samples) -> float:
    """RMS of the blocks that hold speech; -inf for silence."""
    power = _block_power(samples, RATE_HZ // 50)
    loudest = max(power, default=0.0)
    if not loudest:
        return float("-inf")
    active = power[power >= loudest * _ratio(-ACTIVE_BELOW_LOUDEST_DB)]
    return float(10 * np.log10(np.mean(active)))


def even_level(samples: Samples, level_dbfs: float = LEVEL_DBFS) -> Samples:
    """The sound at `level_dbfs`, or a little lower where its peaks would pass `PEAK_DBFS`."""
    level = active_level_dbfs(samples)
    if np.isinf(level):
        return samples
    peak = float(np.max(np.abs(samples)))
    return np.asarray(samples * min(10 ** ((level_dbfs - level) / 20), 10 ** (PEAK_DBFS / 20) / peak))


def telephone(pcm: bytes) -> bytes:
    """µ-law prompt of whole packets from 16-bit little-endian samples at 16 kHz; empty for silence."""
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2") / FULL_SCALE
    return packets(even_level(trim(halve_rate(samples))))


def recorded(samples: Samples, rate_hz: int, tail_s: float = TAIL_S) -> bytes:
    """The same from a recording at any of its rates."""
    return packets(even_level(trim(resample(samples, rate_hz), tail_s)))


def slowly(ulaw: bytes) -> bytes:
    """A prompt spoken more slowly, at the level of all prompts, in whole packets."""
    return packets(even_level(slower(decode_ulaw(ulaw) / FULL_SCALE)))


def packets(samples: Samples) -> bytes:
    """µ-law in whole packets, the last one filled with silence."""
    return encode_ulaw(np.pad(samples, (0, -samples.size % PACKET_SAMPLES)))


def _ratio(db: float) -> float:
    """Ratio of powers."""
    return float(10 ** (db / 10))
