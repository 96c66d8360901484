"""Music and beep are heard by people and by no key detector."""

import numpy as np
import pytest

from pay_ivr import sound, tones
from vault.media import g711
from vault.media.inband import InbandDetector

MAKERS = {"hold_music": tones.hold_music, "beep": tones.beep}


def linear(ulaw: bytes) -> sound.Samples:
    return np.asarray(g711.DECODE_INT16[0][np.frombuffer(ulaw, np.uint8)] / sound.FULL_SCALE)


@pytest.mark.parametrize("name", MAKERS)
def test_a_tone_is_whole_packets_below_speech(name: str):
    """Quieter than a prompt, far from clipping, and the same at every start."""
    ulaw = MAKERS[name]()
    assert len(ulaw) % sound.PACKET_SAMPLES == 0
    assert sound.active_level_dbfs(linear(ulaw)) < sound.LEVEL_DBFS - 3
    assert ulaw == MAKERS[name]()


@pytest.mark.parametrize("name", MAKERS)
def test_no_tone_is_a_key(name: str):
    """The product's own detector hears nothing, at any alignment of the packets, twice round the loop."""
    for shift in range(0, 160, 20):
        ulaw = (MAKERS[name]() * 2)[shift:]
        detector = InbandDetector(1)
        frames = (ulaw[at : at + 160] for at in range(0, len(ulaw) - 159, 160))
        assert not [key for frame in frames for key in detector.feed([0], [frame], [False])]


@pytest.mark.parametrize("name", MAKERS)
def test_the_high_group_of_keys_is_empty(name: str):
    """Less than a thousandth of the energy lies between 1,150 and 1,700 Hz."""
    spectrum = np.abs(np.fft.rfft(linear(MAKERS[name]()))) ** 2
    hertz = np.linspace(0, sound.RATE_HZ / 2, spectrum.size)
    assert np.sum(spectrum[(hertz > 1150) & (hertz < 1700)]) < np.sum(spectrum) / 1000


def test_the_music_loops_without_a_seam():
    """The step from the last sample to the first is no larger than those inside."""
    music = linear(tones.hold_music())
    assert music.size == 20 * sound.RATE_HZ
    assert abs(music[0] - music[-1]) <= np.max(np.abs(np.diff(music)))
