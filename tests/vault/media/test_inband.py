"""The in-band detector on the limits: what must be heard, what must not, and an hour of talk."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.speech import speech
from tests.support.tones import Audio, Keyed, Manner, amplitude, frames, keyed, tone
from vault.media.g711 import SILENCE
from vault.media.inband import InbandDetector

KEYS_HEARD = 96
"""Keys per line: all 16 keys, six times."""

PLAIN = Manner()
ACCEPTED = {
    "50/50 ms": PLAIN,
    "40/40 ms": replace(PLAIN, on_ms=40, off_ms=40),
    "+1.5 %": replace(PLAIN, detune=0.015),
    "-1.5 %": replace(PLAIN, detune=-0.015),
    "+1.8 %": replace(PLAIN, detune=0.018),
    "-1.8 %": replace(PLAIN, detune=-0.018),
    "40/40 ms, +1.5 %": replace(PLAIN, on_ms=40, off_ms=40, detune=0.015),
    "high group +4 dB": replace(PLAIN, low_dbm0=-12, high_dbm0=-8),
    "low group +8 dB": replace(PLAIN, low_dbm0=-8, high_dbm0=-16),
    "0 dBm0": replace(PLAIN, low_dbm0=0, high_dbm0=0),
    "-25 dBm0": replace(PLAIN, low_dbm0=-25, high_dbm0=-25),
    "-35 dBm0": replace(PLAIN, low_dbm0=-35, high_dbm0=-35),
    "-45 dBm0": replace(PLAIN, low_dbm0=-45, high_dbm0=-45),
    "noise 15 dB below": replace(PLAIN, snr_db=15),
    "noise 9 dB below": replace(PLAIN, snr_db=9),
}
REJECTED = {
    "+3.5 %": replace(PLAIN, detune=0.035),
    "-3.5 %": replace(PLAIN, detune=-0.035),
    "20 ms": replace(PLAIN, on_ms=20),
    "-55 dBm0": replace(PLAIN, low_dbm0=-55, high_dbm0=-55),
}
HOUR_S = 3600


def hear(sound: Audio, *, alaw: bool = True) -> list[tuple[int, int]]:
    """(first sample of the frame, key) of everything detected in one call's audio."""
    detector = InbandDetector(1)
    return [
        (n * 160, key)
        for n, frame in enumerate(frames(sound, alaw=alaw))
        for _, key in detector.feed([0], [frame], [alaw])
    ]


def matched(call: Keyed, heard: list[tuple[int, int]]) -> tuple[int, int]:
    """Presses whose key was heard within 100 ms of their start, and keys heard beyond these."""
    caught = sum(
        any(0 <= at + 160 - start <= 800 and got == key for at, got in heard)
        for key, start in zip(call.keys, call.starts, strict=True)
    )
    return caught, len(heard) - caught


def dialled(manner: Manner, seed: int, count: int = KEYS_HEARD) -> Keyed:
    rng = np.random.default_rng(seed)
    return keyed([int(key) for key in rng.permutation(np.arange(count) % 16)], manner, rng)


@pytest.mark.parametrize("alaw", [True, False])
@pytest.mark.parametrize("condition", ACCEPTED)
def test_keys_within_the_limits_are_heard_once(condition: str, alaw: bool) -> None:
    """99 % at least, and nothing else."""
    call = dialled(ACCEPTED[condition], seed=21)
    caught, extra = matched(call, hear(call.sound, alaw=alaw))
    assert (True, 0) == (caught >= 0.99 * KEYS_HEARD, extra)


@pytest.mark.parametrize("alaw", [True, False])
@pytest.mark.parametrize("condition", REJECTED)
def test_keys_beyond_the_limits_are_not_heard(condition: str, alaw: bool) -> None:
    """5 % at most."""
    call = dialled(REJECTED[condition], seed=22)
    assert len(hear(call.sound, alaw=alaw)) <= 0.05 * KEYS_HEARD


def test_dial_tone_does_not_hide_keys() -> None:
    """350 and 440 Hz at -15 dBm0 each underneath: 98 % are heard."""
    count = 3 * KEYS_HEARD
    call = dialled(PLAIN, seed=23, count=count)
    time = np.arange(len(call.sound)) / 8000
    hum = amplitude(-15) * (np.sin(2 * np.pi * 350 * time) + np.sin(2 * np.pi * 440 * time))
    caught, extra = matched(call, hear(call.sound + hum))
    assert (True, 0) == (caught >= 0.98 * count, extra)


def test_gap_of_10_ms_does_not_double_a_key() -> None:
    """A tone of 80 ms torn for 10 ms is one key."""
    rng = np.random.default_rng(24)
    parts: list[Audio] = [np.zeros(400)]
    for n in range(KEYS_HEARD):
        torn = tone(n % 16, replace(PLAIN, on_ms=80), rng)
        start = int(rng.integers(200, 360))
        torn[start : start + 80] = 0
        parts += [torn, np.zeros(int(rng.integers(800, 960)))]
    assert [n % 16 for n in range(KEYS_HEARD)] == [key for _, key in hear(np.concatenate(parts))]


@pytest.mark.parametrize(("pause_ms", "share"), [(40, 1.0), (20, 0.9)])
def test_pause_between_equal_keys_keeps_them_two(pause_ms: int, share: float) -> None:
    """The same key again after 40 ms always, after 20 ms nine times in ten."""
    rng = np.random.default_rng(25)
    call = keyed([5] * KEYS_HEARD, replace(PLAIN, on_ms=80, off_ms=pause_ms), rng)
    assert share * KEYS_HEARD <= len(hear(call.sound)) <= KEYS_HEARD


def false_keys(seconds: int, seed: int, rows: int = 50) -> int:
    """Keys heard in speech, cut into pieces that run side by side."""
    codes = np.frombuffer(b"".join(frames(speech(seconds, seed))), np.uint8).reshape(-1, 160)
    length = len(codes) // rows
    detector, flags, span = InbandDetector(rows), np.ones(rows, np.bool_), np.arange(rows)
    return sum(len(detector.feed(list(range(rows)), codes[span * length + n], flags)) for n in range(length))


@pytest.mark.slow
def test_talk_is_not_taken_for_keys() -> None:
    """Ten minutes of speech in five languages: not one key."""
    assert false_keys(600, seed=1) == 0


@pytest.mark.proof
def test_hours_of_talk_give_hardly_a_key() -> None:
    """Four hours of speech: at most one key an hour."""
    assert sum(false_keys(HOUR_S, seed) for seed in range(2, 6)) <= 4


def test_many_calls_are_heard_as_each_alone() -> None:
    """Rows do not hear each other, in whatever order and company they are fed."""
    rng = np.random.default_rng(26)
    calls = [frames(dialled(PLAIN, seed=30 + n, count=16).sound, alaw=n % 2 == 0) for n in range(6)]
    together: dict[int, list[int]] = {n: [] for n in range(6)}
    detector, places = InbandDetector(6), [0] * 6
    while (
        rows := [int(n) for n in rng.permutation(6) if places[n] < len(calls[n]) and rng.random() < 0.7]
        or [n for n in range(6) if places[n] < len(calls[n])][:1]
    ):
        for row, key in detector.feed(rows, [calls[n][places[n]] for n in rows], [n % 2 == 0 for n in rows]):
            together[row].append(key)
        for n in rows:
            places[n] += 1
    alone = {
        n: [key for _, key in hear(dialled(PLAIN, seed=30 + n, count=16).sound, alaw=n % 2 == 0)]
        for n in range(6)
    }
    assert alone == together


def test_tone_is_down_while_it_lasts_and_reset_forgets_it() -> None:
    """The lamp of a held key."""
    detector, rng = InbandDetector(2), np.random.default_rng(27)
    held = frames(tone(5, replace(PLAIN, on_ms=200), rng))
    states = []
    for frame in held:
        detector.feed([1], [frame], [True])
        states.append(detector.tone_down(1))
    before = (states[1:], detector.tone_down(0))
    for _ in range(2):
        detector.feed([1], [SILENCE["PCMA"]], [True])
    after = detector.tone_down(1)
    detector.feed([1], [held[0]], [True])
    detector.reset(1)
    assert ([True] * 9, False) == before
    assert (False, False) == (after, detector.tone_down(1))


def test_speech_is_loud_and_tones_are_not() -> None:
    """The lamp shows a caller who speaks, not one who keys or is quiet."""
    rng = np.random.default_rng(28)
    lamps = []
    for sound in (speech(20)[8000:24000], dialled(PLAIN, 29, 16).sound, rng.normal(0, 20, 16000)):
        detector = InbandDetector(1)
        on = 0
        for frame in frames(sound):
            detector.feed([0], [frame], [True])
            on += detector.loud(0)
        lamps.append(on / (len(sound) / 160))
    assert (True, 0.0, 0.0) == (lamps[0] > 0.5, *lamps[1:])


def test_frames_may_come_as_bytes_or_as_an_array() -> None:
    """Both forms, and no row at all."""
    sound = frames(dialled(PLAIN, 31, 16).sound)
    one, two = InbandDetector(1), InbandDetector(1)
    for frame in sound:
        array = np.frombuffer(frame, np.uint8).reshape(1, 160)
        assert one.feed([0], [frame], [True]) == two.feed([0], array, np.array([True]))
    assert one.feed([], [], []) == []


def test_frame_of_another_size_is_refused() -> None:
    """The caller's mistake, told at once."""
    with pytest.raises(ValueError, match="cannot reshape"):
        InbandDetector(1).feed([0], [b"\xff" * 80], [False])


def test_work_arrays_hold_no_audio_afterwards() -> None:
    """What was heard is overwritten; of the 10 ms the next window needs, eight sums stay."""
    detector = InbandDetector(1)
    for frame in frames(tone(5, PLAIN, np.random.default_rng(32))):
        detector.feed([0], [frame], [True])
    assert 0.0 == float(np.abs(detector._audio).max())
    detector.reset(0)
    assert (0.0, 0.0) == (float(np.abs(detector._half).max()), float(np.abs(detector._half_energy).max()))
