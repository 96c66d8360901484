"""Keys from in-band tones (ITU-T Q.23, Q.24) for all calls at once: one matrix product per 20 ms, whatever their number.

A key is two tones, one of each group, alone: 20 ms windows every 10 ms; two windows in a row must name the same key,
each with more than 75 % of its energy in the two tones, levels steady within 2 dB, and both tones within 2.6 % of
their frequency, taken from the phase advance between the windows. Three windows without the tone end the key. Rows are
calls; levels are dBm0 on the 16-bit scale of `g711`.
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
"""Share of the window's energy in the two tones: 0.55 let 45 false keys through in two hours of speech, 0.75 none."""

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

SPEAKING_FRAMES: Final = 15
"""Frames (300 ms) the lamp stays on after the last loud one: it shows speech, not syllables."""

_GROUP: Final = 4
_TONES: Final = 8
_NO_KEY: Final = -1
_GLANCE_SHARE: Final = 0.15
"""Uncorrected share below which a window is not looked at any further: 1.8 % off at 1,633 Hz still leaves 0.27."""
_LEAK_POWER_MIN: Final = 0.15
"""Least response assumed when correcting for a detuned tone, so that the correction never invents one."""


def _basis() -> NDArray[np.float32]:
    """(160, 16): cosine columns of the eight tones, then minus sine columns; amplitude A gives power A squared."""
    time = np.arange(WINDOW) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * np.outer(time, FREQUENCIES_HZ)
    return (np.hstack((np.cos(phase), -np.sin(phase))) * (2 / WINDOW)).astype(np.float32)


_BASIS: Final = _basis()
_HERTZ: Final = np.array(FREQUENCIES_HZ, np.float32)
_ADVANCE: Final = np.exp(-2j * np.pi * _HERTZ * HOP / SAMPLE_RATE_HZ).astype(np.complex64)
_KEY_TABLE: Final = np.array(KEYS, np.int8)
_POWER_MIN: Final = np.float32(2 * MEAN_SQUARE_0_DBM0 * 10 ** (LEVEL_MIN_DBM0 / 10))
_SPEAKING_POWER: Final = np.float32(MEAN_SQUARE_0_DBM0 * 10 ** (SPEAKING_DBM0 / 10))
_STEADY: Final = np.float32(10 ** (STEADY_DB / 10))
_TWIST_HIGH: Final = np.float32(10 ** (TWIST_HIGH_DB / 10))
_TWIST_LOW: Final = np.float32(10 ** (TWIST_LOW_DB / 10))


class InbandDetector:
    """Detector of up to `rows_max` calls; the caller of `feed` decides which row is which call.

    Audio and decisions stay in preallocated arrays that the next frame overwrites; `reset` clears a row.
    """

    def __init__(self, rows_max: int) -> None:
        self.rows_max = rows_max
        self._tail = np.zeros((rows_max, HOP), np.float32)
        self._tones = np.zeros((rows_max, _TONES), np.complex64)
        self._energy = np.zeros(rows_max, np.float32)
        self._key = np.full(rows_max, _NO_KEY, np.int8)
        self._response = np.ones((rows_max, 2), np.float32)
        self._misses = np.zeros(rows_max, np.int8)
        self._loud = np.zeros(rows_max, np.int16)
        self._audio = np.zeros((rows_max, HOP + FRAME_BYTES), np.float32)
        self._windows = np.zeros((2 * rows_max, WINDOW), np.float32)
        self._codes = np.zeros((rows_max, FRAME_BYTES), np.intp)

    def __repr__(self) -> str:
        return f"InbandDetector({self.rows_max})"

    def reset(self, row: int) -> None:
        """Forgets everything about a row: a new call, or a mode switch."""
        for array in (self._tail, self._tones, self._energy, self._misses, self._loud):
            array[row] = 0
        self._key[row] = _NO_KEY
        self._response[row] = 1

    def tone_down(self, row: int) -> bool:
        """True while a key's tone is on the line."""
        return bool(self._key[row] != _NO_KEY)

    def loud(self, row: int) -> bool:
        """True while somebody speaks: loud frames without a key's tone, held on for 300 ms."""
        return bool(self._loud[row] > 0)

    def feed(
        self,
        rows: Sequence[int],
        frames: Sequence[bytes] | NDArray[np.uint8],
        alaw_flags: Sequence[bool] | NDArray[np.bool_],
    ) -> list[tuple[int, int]]:
        """(row, key) of each key first heard in these frames, one 160-byte frame for each row.

        A row may stand in `rows` once; more frames of it take more calls. `alaw_flags`: True for PCMA, else PCMU.
        """
        if not len(rows):
            return []
        index = np.asarray(rows, np.intp)
        energies, tones = self._measure(index, frames, alaw_flags)
        hits: list[tuple[int, int]] = []
        for step in (1, 2):
            hits += self._decide(index, energies, tones, step)
        self._energy[index], self._tones[index] = energies[:, 2], tones[:, 2]
        self._lamp(index, energies[:, 2])
        return hits

    def _measure(
        self,
        index: NDArray[np.intp],
        frames: Sequence[bytes] | NDArray[np.uint8],
        alaw_flags: Sequence[bool] | NDArray[np.bool_],
    ) -> tuple[NDArray[np.float32], NDArray[np.complex64]]:
        """Mean square (n, 3) and tones (n, 3, 8) of the window before and the two new ones."""
        count = len(index)
        codes, audio, windows = self._codes[:count], self._audio[:count], self._windows[: 2 * count]
        codes[:] = _bytes(frames, count)
        codes += np.asarray(alaw_flags, np.intp)[:, None] * 256
        audio[:, :HOP] = self._tail[index]
        np.take(DECODE_FLOAT32, codes, out=audio[:, HOP:])
        self._tail[index] = audio[:, -HOP:]
        windows[:count], windows[count:] = audio[:, :WINDOW], audio[:, HOP:]
        product = windows @ _BASIS
        tones = np.empty((count, 3, _TONES), np.complex64)
        tones[:, 0] = self._tones[index]
        energies = np.empty((count, 3), np.float32)
        energies[:, 0] = self._energy[index]
        for step, part in ((1, product[:count]), (2, product[count:])):
            tones[:, step].real, tones[:, step].imag = part[:, :_TONES], part[:, _TONES:]
        energies[:, 1:] = (np.einsum("ij,ij->i", windows, windows) / WINDOW).reshape(2, count).T
        codes.fill(0)
        audio.fill(0)
        windows.fill(0)
        return energies, tones

    def _decide(
        self, index: NDArray[np.intp], energies: NDArray[np.float32], tones: NDArray[np.complex64], step: int
    ) -> list[tuple[int, int]]:
        """Keys that begin with window `step`; ends keys whose tone is gone."""
        power = np.abs(tones[:, step]) ** 2
        low, high = power[:, :_GROUP].argmax(1), power[:, _GROUP:].argmax(1) + _GROUP
        span = np.arange(len(index))
        power_low, power_high = power[span, low], power[span, high]
        energy = energies[:, step]
        key = _KEY_TABLE[_GROUP * low + high - _GROUP]
        self._go_on(index, key, power_low, power_high, energy)
        glance = (self._key[index] == _NO_KEY) & (power_low + power_high > 2 * _GLANCE_SHARE * energy)
        glance &= np.minimum(power_low, power_high) > _POWER_MIN * _LEAK_POWER_MIN
        picked = np.flatnonzero(glance)
        if not len(picked):
            return []
        low, high = low[picked], high[picked]
        response, good = _pair(tones[picked], energies[picked], low, high, step)
        picked, response = picked[good], response[good]
        rows = index[picked]
        self._key[rows], self._response[rows], self._misses[rows] = key[picked], response, 0
        return list(zip(rows.tolist(), key[picked].tolist(), strict=True))

    def _go_on(
        self,
        index: NDArray[np.intp],
        key: NDArray[np.int8],
        power_low: NDArray[np.float32],
        power_high: NDArray[np.float32],
        energy: NDArray[np.float32],
    ) -> None:
        """Counts windows in which a held key's tone is missing; the third in a row ends the key."""
        held = np.flatnonzero(self._key[index] != _NO_KEY)
        if not len(held):
            return
        rows = index[held]
        response = self._response[rows]
        tone = power_low[held] / response[:, 0] + power_high[held] / response[:, 1]
        there = (key[held] == self._key[rows]) & (tone > 2 * SHARE_MIN * energy[held])
        misses = np.where(there, 0, self._misses[rows] + 1)
        self._misses[rows] = misses
        self._key[rows[misses >= MISSES_END]] = _NO_KEY

    def _lamp(self, index: NDArray[np.intp], energy: NDArray[np.float32]) -> None:
        """Keeps the count of frames for which the row still counts as speaking."""
        speaking = (energy > _SPEAKING_POWER) & (self._key[index] == _NO_KEY)
        self._loud[index] = np.where(speaking, SPEAKING_FRAMES, np.maximum(self._loud[index] - 1, 0))


def _bytes(frames: Sequence[bytes] | NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """(count, 160) codes of the frames; ValueError when a frame has another size."""
    if isinstance(frames, np.ndarray):
        return frames
    return np.frombuffer(b"".join(frames), np.uint8).reshape(count, FRAME_BYTES)


def _pair(
    tones: NDArray[np.complex64],
    energies: NDArray[np.float32],
    low: NDArray[np.intp],
    high: NDArray[np.intp],
    step: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Power response (n, 2) of the window at each tone's own frequency, and whether both windows hold the key."""
    span = np.arange(len(low))[:, None]
    column = np.stack((low, high), 1)
    now, before = tones[span, step, column], tones[span, step - 1, column]
    turn = np.angle(now * before.conj() * _ADVANCE[column])
    off_hz = turn * (SAMPLE_RATE_HZ / (2 * np.pi * HOP))
    response = np.maximum(np.sinc(off_hz * (WINDOW / SAMPLE_RATE_HZ)) ** 2, _LEAK_POWER_MIN).astype(
        np.float32
    )
    power_now, power_before = np.abs(now) ** 2 / response, np.abs(before) ** 2 / response
    good = (np.abs(off_hz) <= FREQUENCY_OFF_MAX * _HERTZ[column]).all(1)
    good &= power_now.sum(1) > 2 * SHARE_MIN * energies[:, step]
    good &= power_before.sum(1) > 2 * SHARE_MIN * energies[:, step - 1]
    good &= (power_now > _POWER_MIN).all(1) & (power_before > _POWER_MIN).all(1)
    good &= ((power_now < power_before * _STEADY) & (power_before < power_now * _STEADY)).all(1)
    good &= power_now[:, 1] < power_now[:, 0] * _TWIST_HIGH
    good &= power_now[:, 0] < power_now[:, 1] * _TWIST_LOW
    return response, good
