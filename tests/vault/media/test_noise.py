"""What is heard in SECURE instead of the caller."""

import numpy as np

from vault.media.g711 import ALAW_TO_ULAW, MEAN_SQUARE_0_DBM0, decode_ulaw
from vault.media.inband import InbandDetector
from vault.media.noise import BEEP_FRAMES, NOISE_FRAMES, NOISE_LEVEL_DBM0, comfort_noise, key_beep


def level_dbm0(ulaw: bytes) -> float:
    power = np.mean(decode_ulaw(ulaw).astype(float) ** 2)
    return float(10 * np.log10(power / MEAN_SQUARE_0_DBM0))


def test_noise_is_quiet_fresh_and_never_twice_the_same() -> None:
    """About -55 dBm0, 256 different frames, other ones in each process, the same sound in both laws."""
    noise = comfort_noise()
    assert NOISE_FRAMES == len(set(noise["PCMU"])) == len(noise["PCMA"])
    assert abs(level_dbm0(b"".join(noise["PCMU"])) - NOISE_LEVEL_DBM0) < 1.5
    assert not set(noise["PCMU"]) & set(comfort_noise()["PCMU"])
    back = noise["PCMA"][0].translate(ALAW_TO_ULAW)
    assert np.abs(decode_ulaw(back).astype(int) - decode_ulaw(noise["PCMU"][0])).max() <= 8


def test_neither_beep_nor_noise_is_ever_a_key() -> None:
    """An echo of our own sounds on the caller's line must not key anything."""
    detector = InbandDetector(1)
    beep = key_beep()
    frames = [beep[at : at + 160] for at in range(0, len(beep), 160)]
    assert BEEP_FRAMES == len(frames)
    for frame in [*frames, *comfort_noise()["PCMU"], *frames]:
        assert [] == detector.feed([0], [frame], [False])
    assert level_dbm0(beep) > -30
