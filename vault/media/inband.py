"""Keys from in-band tones (ITU-T Q.23, Q.24), all calls at once: one matrix product per 20 ms.

A key is two tones, one of each group, and nothing else. Windows of 20 ms, every 10 ms: two in a row must name
the same key, each with more than 75 % of its energy in the two tones, levels steady within 2 dB, and both
tones within 2.6 % of their frequency, which is taken from the phase advance between the windows. Three
windows without the tone end the key. A row is a call; levels are dBm0 on the 16-bit scale of `g711`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vault.media.g711 import DECODE_FLOAT32, FRAME_BYTES, MEAN_SQUARE_0_DBM0, SAMPLE_RATE_HZ

FREQUENCIES_HZ: Final = (697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0)
"""Low group, then high group (Q.23)."""

KEYS: Final = (1, 2, 3, 12, 4, 5, 6, 13, 7, 8, 9, 14, 10, 0, 11, 15)
"""Key by 4 * low + high (Q.23 keypad: 123A 456B 789C *0#D)."""

WINDOW: Final = 160
HOP: Final = 80

SHARE_MIN: Final = 0.75
"""Share of the window's energy in the two tones: 0.55 found 45 keys in two hours of speech, 0.75 none."""

SHARE_HELD: Final = 0.73
"""The same for the tone of a key that is held: a little less, or a gap of 10 ms would make it two keys."""

STEADY_DB: Final = 2.0
"""Level change of either tone between the two windows; a spoken vowel moves more."""

FREQUENCY_OFF_MAX: Final = 0.026
"""Relative: Q.24 wants 1.8 % accepted and 3.5 % refused; half way."""

LEVEL_MIN_DBM0: Final = -48.0
"""Per tone: 3 dB below the quietest key we accept (-45), 7 above the one we must refuse (-55)."""

TWIST_HIGH_DB: Final = 8.0
"""High group above low group at most; +4 must be accepted."""

TWIST_LOW_DB: Final = 12.0
"""Low group above high group at most; -8 must be accepted."""

MISSES_END: Final = 3
"""Windows without the tone that end a key: a 10 ms gap spoils two of them, a 20 ms pause three."""

SPEAKING_DBM0: Final = -38.0
"""Frame energy that counts as a voice for the lamp; comfort noise and line noise stay below -50."""

SPEAKING_AFTER: Final = 3
"""Loud frames in a row (60 ms) that make a voice: the first of a key's tone is not yet known as one."""

SPEAKING_FRAMES: Final = 15
"""Frames (300 ms) the lamp stays on after the last loud one: it shows speech, not syllables."""

_GROUP: Final = 4
_TONES: Final = 8
_NO_KEY: Final = -1
_GLANCE_SHARE: Final = 0.15
"""Uncorrected share below which a window is looked at no further; 1.8 % off at 1,633 Hz still leaves 0.27."""
_RESPONSE_MIN: Final = 0.15
"""Least response assumed when correcting for a detuned tone, so that the correction never invents one."""


def _basis() -> NDArray[np.float32]:
    """(80, 16): per tone a cosine and a minus sine column, so that a product row is eight complex numbers.

    It sees half a window: the tones of a whole one are those of its first half and, turned by `_TURN`, of its
    second, so that every sample is multiplied once. A sine of amplitude A gives magnitude A in the whole.
    """
    phase = 2 * np.pi * np.outer(np.arange(HOP) / SAMPLE_RATE_HZ, FREQUENCIES_HZ)
    pairs = np.stack((np.cos(phase), -np.sin(phase)), 2)
    return (pairs.reshape(HOP, 2 * _TONES) * (2 / WINDOW)).astype(np.float32)


def _power(db: float) -> np.float32:
    return np.float32(10 ** (db / 10))


_BASIS: Final = _basis()
_HERTZ: Final = np.array(FREQUENCIES_HZ, np.float32)
_OFF_MAX_HZ: Final = _HERTZ * np.float32(FREQUENCY_OFF_MAX)
_TURN: Final = np.exp(-2j * np.pi * _HERTZ * HOP / SAMPLE_RATE_HZ).astype(np.complex64)
"""Phase of each tone's basis one hop later; also what a steady tone advances from window to window."""
_HERTZ_PER_RADIAN: Final = np.float32(SAMPLE_RATE_HZ / (2 * np.pi * HOP))
_KEY_TABLE: Final = np.array(KEYS, np.int8)
_POWER_MIN: Final = np.float32(2 * MEAN_SQUARE_0_DBM0 * 10 ** (LEVEL_MIN_DBM0 / 10))
_GLANCE_POWER: Final = _POWER_MIN * np.float32(_RESPONSE_MIN)
_SPEAKING_POWER: Final = np.float32(MEAN_SQUARE_0_DBM0 * 10 ** (SPEAKING_DBM0 / 10))
_STEADY: Final = _power(STEADY_DB)
_TWIST_HIGH: Final = _power(TWIST_HIGH_DB)
_TWIST_LOW: Final = _power(TWIST_LOW_DB)
_NOTHING: Final = np.zeros((2, 0), np.bool_)

Frames = Sequence[bytes] | NDArray[np.uint8]
"""One 160-byte payload per row, as bytes or as an (n, 160) array."""

Flags = Sequence[bool] | NDArray[np.bool_]
"""True for a row in A-law, False for µ-law."""


def decode(frames: Frames, alaw_flags: Flags, out: NDArray[np.float32]) -> None:
    """Writes the samples of each row's frame to `out` (n, 160); ValueError when a frame has another size."""
    codes = frames if isinstance(frames, np.ndarray) else np.frombuffer(b"".join(frames), np.uint8)
    codes = codes.reshape(len(out), FRAME_BYTES)
    if np.any(alaw_flags):
        np.take(
            DECODE_FLOAT32,
            codes + np.asarray(alaw_flags, np.uint16)[:, None] * np.uint16(256),
            out=out,
            mode="clip",
        )
    else:
        np.take(DECODE_FLOAT32, codes, out=out, mode="clip")


class _Windows:
    """What one feed has measured, for the window before and the two new ones.

    tones (3, n, 8) complex, energy (3, n) mean square; for the new ones also the strongest tone of each
    group: top (2, 2, n) power by group and window, low and high (2, n) columns, key (2, n).
    """

    __slots__ = ("energy", "high", "key", "low", "tones", "top")

    def __init__(self, tones: NDArray[np.complex64], energy: NDArray[np.float32]) -> None:
        self.tones, self.energy = tones, energy
        power = (tones[1:].real ** 2 + tones[1:].imag ** 2).reshape(-1, _TONES)
        low, high = power[:, :_GROUP].argmax(1), power[:, _GROUP:].argmax(1)
        span = np.arange(len(power))
        shape = energy[1:].shape
        self.top = np.stack((power[span, low], power[span, high + _GROUP])).reshape(2, *shape)
        self.key = _KEY_TABLE[_GROUP * low + high].reshape(shape)
        self.low, self.high = low.reshape(shape), (high + _GROUP).reshape(shape)

    def glance(self) -> NDArray[np.bool_]:
        """(n,): rows in which either new window could be a key."""
        strong = self.top.sum(0) > np.float32(2 * _GLANCE_SHARE) * self.energy[1:]
        return np.asarray((strong & (self.top.min(0) > _GLANCE_POWER)).any(0))

    def pairs(self, picked: NDArray[np.intp]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Of the picked rows: (2, m) a key is in both windows of a pair, (2, m, 2) response at its tones."""
        column = np.stack((self.low[:, picked], self.high[:, picked]), 2)
        step = np.arange(2)[:, None, None]
        now, before = self.tones[step + 1, picked[:, None], column], self.tones[step, picked[:, None], column]
        off_hz = np.angle(now * before.conj() * _TURN[column]) * _HERTZ_PER_RADIAN
        response = np.maximum(np.sinc(off_hz * np.float32(WINDOW / SAMPLE_RATE_HZ)) ** 2, _RESPONSE_MIN)
        power, power_before = np.abs(now) ** 2 / response, np.abs(before) ** 2 / response
        fits = (np.abs(off_hz) <= _OFF_MAX_HZ[column]) & (np.minimum(power, power_before) > _POWER_MIN)
        fits &= (power < power_before * _STEADY) & (power_before < power * _STEADY)
        energy = np.float32(2 * SHARE_MIN) * self.energy[:, picked]
        good = fits.all(2) & (power.sum(2) > energy[1:]) & (power_before.sum(2) > energy[:2])
        good &= power[..., 1] < power[..., 0] * _TWIST_HIGH
        good &= power[..., 0] < power[..., 1] * _TWIST_LOW
        return good, response.astype(np.float32)


class InbandDetector:
    """Detector of up to `rows_max` calls; the caller of `feed` decides which row is which call.

    Audio stays in one preallocated array, overwritten after use; `reset` clears a row.
    """

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self._half = np.zeros((rows_max, _TONES), np.complex64)
        self._half_energy = np.zeros(rows_max, np.float32)
        self._tones = np.zeros((rows_max, _TONES), np.complex64)
        self._energy = np.zeros(rows_max, np.float32)
        self._key = np.full(rows_max, _NO_KEY, np.int8)
        self._response = np.ones((rows_max, 2), np.float32)
        self._misses = np.zeros(rows_max, np.int8)
        self._run = np.zeros(rows_max, np.int8)
        self._loud = np.zeros(rows_max, np.int16)
        self._audio = np.zeros((rows_max, FRAME_BYTES), np.float32)

    def __repr__(self) -> str:
        return f"InbandDetector({self.rows_max})"

    def reset(self, row: int) -> None:
        """Forgets everything about a row: a new call, or a mode switch."""
        for array in (self._half, self._half_energy, self._tones, self._energy):
            array[row] = 0
        for counter in (self._misses, self._run, self._loud):
            counter[row] = 0
        self._key[row] = _NO_KEY
        self._response[row] = 1

    def tone_down(self, row: int) -> bool:
        """True while a key's tone is on the line."""
        return bool(self._key[row] != _NO_KEY)

    def loud(self, row: int) -> bool:
        """True while somebody speaks: loud frames without a key's tone, held on for 300 ms."""
        return bool(self._loud[row] > 0)

    def feed(
        self, rows: Sequence[int] | NDArray[np.intp], frames: Frames, alaw_flags: Flags
    ) -> list[tuple[int, int]]:
        """(row, key) of each key first heard in these frames, one frame for each row.

        A row may stand in `rows` once; more frames of one row take more calls.
        """
        if not len(rows):
            return []
        index = np.asarray(rows, np.intp)
        seen = self._measure(index, frames, alaw_flags)
        hits = self._decide(index, seen)
        self._energy[index], self._tones[index] = seen.energy[2], seen.tones[2]
        self._lamp(index, seen.energy[2])
        return hits

    def _lamp(self, index: NDArray[np.intp], energy: NDArray[np.float32]) -> None:
        """Counts loud frames without a key's tone; the lamp goes on after three, and off slowly."""
        loud = (energy > _SPEAKING_POWER) & (self._key[index] == _NO_KEY)
        run = np.where(loud, np.minimum(self._run[index] + 1, SPEAKING_AFTER), 0)
        self._run[index] = run
        self._loud[index] = np.where(
            run == SPEAKING_AFTER, SPEAKING_FRAMES, np.maximum(self._loud[index] - 1, 0)
        )

    def _measure(self, index: NDArray[np.intp], frames: Frames, alaw_flags: Flags) -> _Windows:
        """Tones and energy of the two windows that end with each half of the frames."""
        count = len(index)
        audio = self._audio[:count]
        decode(frames, alaw_flags, audio)
        halves = audio.reshape(2 * count, HOP)
        seen = (halves @ _BASIS).view(np.complex64).reshape(count, 2, _TONES)
        sums = np.einsum("ij,ij->i", halves, halves).reshape(count, 2)
        audio.fill(0)
        tones, energy = np.empty((3, count, _TONES), np.complex64), np.empty((3, count), np.float32)
        tones[0], energy[0] = self._tones[index], self._energy[index]
        tones[1] = self._half[index] + seen[:, 0] * _TURN
        tones[2] = seen[:, 0] + seen[:, 1] * _TURN
        energy[1] = (self._half_energy[index] + sums[:, 0]) / np.float32(WINDOW)
        energy[2] = (sums[:, 0] + sums[:, 1]) / np.float32(WINDOW)
        self._half[index], self._half_energy[index] = seen[:, 1], sums[:, 1]
        return _Windows(tones, energy)

    def _decide(self, index: NDArray[np.intp], seen: _Windows) -> list[tuple[int, int]]:
        """Keys that begin in either window; keys whose tone is gone end."""
        held = self._key[index] != _NO_KEY
        kept = np.flatnonzero(held)
        free = np.flatnonzero(seen.glance() & (~held | (self._misses[index] > 0)))
        good, response = seen.pairs(free) if len(free) else (_NOTHING, _NOTHING)
        hits: list[tuple[int, int]] = []
        for step in range(2):
            if len(kept):
                self._go_on(index[kept], kept, seen, step)
            if good[step].any():
                fresh = np.flatnonzero(good[step] & (self._key[index[free]] == _NO_KEY))
                row, begun = index[free[fresh]], seen.key[step, free[fresh]]
                self._key[row], self._response[row], self._misses[row] = begun, response[step, fresh], 0
                hits += zip(row.tolist(), begun.tolist(), strict=True)
        return hits

    def _go_on(self, rows: NDArray[np.intp], kept: NDArray[np.intp], seen: _Windows, step: int) -> None:
        """Counts windows in which a held key's tone is missing; the third in a row ends the key."""
        held, response = self._key[rows], self._response[rows]
        tone = seen.top[0, step, kept] / response[:, 0] + seen.top[1, step, kept] / response[:, 1]
        there = (seen.key[step, kept] == held) & (
            tone > np.float32(2 * SHARE_HELD) * seen.energy[step + 1, kept]
        )
        misses = np.where(there, 0, self._misses[rows] + 1)
        self._misses[rows] = np.minimum(misses, MISSES_END)
        self._key[rows[misses >= MISSES_END]] = _NO_KEY
