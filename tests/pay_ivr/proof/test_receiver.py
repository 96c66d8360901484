"""The proof's receiver: it hears what any exchange hears, and no voice or noise as a key."""

import numpy as np
import pytest

from pay_ivr.proof.audio import FRAME, Samples, Voice, decode, encode, tone
from pay_ivr.proof.receiver import keys_in

PAUSE = np.zeros(2 * FRAME, np.int16)


def sound(keys: str, on_ms: float, codec: str) -> Samples:
    """Keys with 40 ms between them, through a codec."""
    pieces = [piece for key in keys for piece in (tone(key, on_ms, phase=1.0), PAUSE)]
    return decode(encode(np.concatenate([PAUSE, *pieces]), codec), codec)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
@pytest.mark.parametrize("on_ms", [40.0, 80.0])
def test_every_key_is_found_once(codec: str, on_ms: float) -> None:
    """All sixteen, in order, at the shortest length that a receiver must take."""
    expected = [1, 2, 3, 12, 4, 5, 6, 13, 7, 8, 9, 14, 10, 0, 11, 15]
    assert expected == keys_in(sound("123A456B789C*0#D", on_ms, codec))


def test_voice_and_silence_are_no_keys() -> None:
    """Half a minute of our callers' voice, a second of nothing, and less than one window."""
    voice = Voice(7)
    assert [] == keys_in(np.concatenate([voice.frame() for _ in range(1500)]))
    assert [] == keys_in(np.zeros(8000, np.int16))
    assert [] == keys_in(np.zeros(FRAME - 1, np.int16))
