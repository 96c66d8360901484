"""What a caller hears when nobody speaks: a short beep, and hold music of our own.

Composed so that it can never be taken for a key: DTMF's high group begins at 1,209 Hz (ITU-T Q.23), and no
note here has a fundamental above 600 Hz or an overtone above 1,100 Hz. `tests/pay_ivr/test_tones.py` listens.
"""

import numpy as np

from pay_ivr.sound import PACKET_SAMPLES, RATE_HZ, Samples, encode_ulaw, even_level

BEEP_HZ = 440.0
BEEP_S = 0.12
BEEP_DBFS = -24.0
MUSIC_DBFS = -28.0
"""Clearly below speech (-20): music is company, not news."""
OVERTONE_MAX_HZ = 1100.0
BEAT_S = 0.5
BARS = (
    # Four beats each, as semitones from A3 (220 Hz): bass, then a broken chord. I - vi - IV - V, twice, home.
    ((-9, 3, 7, 12), (3, 10, 7, 3)),
    ((-12, 0, 3, 7), (0, 7, 12, 7)),
    ((-16, -4, 0, 3), (8, 0, 3, 8)),
    ((-14, -2, 2, 5), (5, 10, 14, 10)),
    ((-9, 3, 7, 12), (15, 12, 10, 7)),
    ((-12, 0, 3, 7), (12, 7, 3, 7)),
    ((-16, -4, 0, 3), (8, 12, 8, 3)),
    ((-14, -2, 2, 5), (10, 14, 10, 5)),
    ((-9, 3, 7, 10), (7, 3, 7, 10)),
    ((-9, -2, 3, 7), (3, 7, 3, -2)),
)
"""Twenty seconds: ten bars of four beats. Each bar is a soft chord under four plucked notes."""


def _hertz(semitones: int) -> float:
    return float(220.0 * 2 ** (semitones / 12))


def _note(hertz: float, seconds: float, attack_s: float, half_life_s: float) -> Samples:
    """One note with a soft start and a natural fall; overtones only up to `OVERTONE_MAX_HZ`."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    shape = np.minimum(time / attack_s, 1.0) * 0.5 ** (time / half_life_s)
    shape *= np.minimum((seconds - time) / 0.02, 1.0)
    sound = np.sin(2 * np.pi * hertz * time)
    for harmonic, weight in ((2, 0.25), (3, 0.08)):
        if hertz * harmonic <= OVERTONE_MAX_HZ:
            sound += weight * np.sin(2 * np.pi * hertz * harmonic * time)
    return np.asarray(sound * shape)


def _mix(track: Samples, start_s: float, note: Samples) -> None:
    """Adds a note; what rings beyond the end goes on at the start, so that the loop has no seam."""
    place = (int(start_s * RATE_HZ) + np.arange(note.size)) % track.size
    track[place] += note


def hold_music() -> bytes:
    """Twenty seconds of µ-law that loop without a seam."""
    bar_s = 4 * BEAT_S
    track = np.zeros(int(len(BARS) * bar_s * RATE_HZ))
    for number, (chord, melody) in enumerate(BARS):
        for tone in chord:
            _mix(track, number * bar_s, 0.35 * _note(_hertz(tone), bar_s + 1.0, 0.25, 1.2))
        for beat, tone in enumerate(melody):
            _mix(track, number * bar_s + beat * BEAT_S, 0.6 * _note(_hertz(tone), 1.6, 0.012, 0.3))
    return encode_ulaw(even_level(track, MUSIC_DBFS))


def beep() -> bytes:
    """A short µ-law beep: `it is your turn`."""
    tone = even_level(_note(BEEP_HZ, BEEP_S, 0.01, 1.0), BEEP_DBFS)
    return encode_ulaw(np.pad(tone, (0, -tone.size % PACKET_SAMPLES)))
