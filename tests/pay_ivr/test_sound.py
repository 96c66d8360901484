"""What leaves `sound` fits a telephone line: right codes, no aliases, even loudness."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr import sound
from vault.media import g711


def tone(hertz: float, seconds: float = 0.5, rate_hz: int = 16000, peak: float = 0.5) -> sound.Samples:
    return np.asarray(peak * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate_hz)) / rate_hz))


def rms_db(samples: sound.Samples) -> float:
    return float(10 * np.log10(np.mean(samples**2)))


def test_every_sample_has_the_vaults_ulaw_code():
    """Both tables of the house are the ITU's; neither may drift."""
    linear = np.arange(-32768, 32768)
    assert g711.encode_ulaw(linear.astype(np.int16)) == sound.encode_ulaw(linear / 32768)


def test_loud_samples_are_clipped_not_wrapped():
    """1.5 is as loud as 1.0, and stays positive."""
    assert sound.encode_ulaw(np.array([1.0, -1.0])) == sound.encode_ulaw(np.array([1.5, -1.5]))


@pytest.mark.parametrize("hertz", [300, 1000, 3000, 3400])
def test_the_telephone_band_keeps_its_level(hertz: int):
    """300 to 3,400 Hz pass within 0.2 dB."""
    halved = sound.halve_rate(tone(hertz))[200:-200]
    assert rms_db(tone(hertz)) == pytest.approx(rms_db(halved), abs=0.2)


@pytest.mark.parametrize("hertz", [4200, 5000, 6500, 7900])
def test_nothing_above_the_band_comes_back_as_an_alias(hertz: int):
    """What 8 kHz cannot carry is 70 dB down."""
    assert rms_db(sound.halve_rate(tone(hertz))[200:-200]) < rms_db(tone(hertz)) - 70


@pytest.mark.parametrize("length", [1, 2, 159, 160, 161, 4001])
def test_halving_is_the_plain_filter_with_every_second_sample_dropped(length: int):
    """The polyphase form computes the same numbers, for odd and even lengths."""
    noise = np.random.default_rng(length).uniform(-1, 1, length)
    plain = np.convolve(noise, sound._TAPS)[sound.TAPS // 2 :][:length:2]
    assert np.allclose(plain, sound.halve_rate(noise), atol=1e-12)


@pytest.mark.parametrize("peak", [0.9, 0.2, 0.01])
def test_every_level_becomes_the_same_level(peak: float):
    """Pauses do not count: speech with a long gap gets the same gain as without."""
    voice = tone(500, rate_hz=8000, peak=peak)
    gap = np.concatenate((voice, np.zeros(8000), voice))
    assert sound.active_level_dbfs(sound.even_level(voice)) == pytest.approx(sound.LEVEL_DBFS, abs=0.1)
    assert sound.active_level_dbfs(sound.even_level(gap)) == pytest.approx(sound.LEVEL_DBFS, abs=0.3)


def test_peaks_win_over_loudness():
    """A click in quiet speech lowers the gain instead of clipping."""
    clicky = tone(500, rate_hz=8000, peak=0.02)
    clicky[1000] = 1.0
    assert np.max(np.abs(sound.even_level(clicky))) == pytest.approx(10 ** (sound.PEAK_DBFS / 20))


def test_silence_around_is_cut_and_silence_inside_is_kept():
    """40 ms before, 160 ms after, and the pause between two words as it was."""
    word = tone(400, 0.3, 8000)
    trimmed = sound.trim(np.concatenate((np.zeros(9000), word, np.zeros(4000), word, np.zeros(7000))))
    assert trimmed.size == pytest.approx(320 + 2 * word.size + 4000 + 1280, abs=160)


@given(st.binary(max_size=4000))
def test_any_recording_becomes_whole_packets(pcm: bytes):
    """Noise, silence, nothing, half a sample: whole packets of 20 ms or none, never louder than the limit."""
    ulaw = sound.telephone(pcm)
    linear = g711.DECODE_INT16[0][np.frombuffer(ulaw, np.uint8)]
    assert len(ulaw) % sound.PACKET_SAMPLES == 0
    assert max(np.abs(linear.astype(int)), default=0) <= 32768 * 10 ** (-3 / 20)


def test_silence_is_no_prompt():
    """A sentence without sound is empty, so that a broken voice is noticed."""
    assert not sound.telephone(bytes(32000))
    assert not sound.telephone(b"")
