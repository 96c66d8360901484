"""The vault's ear listens to prompts in a process of its own and says which keys it would take."""

import struct
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest

from pay_ivr.sound import encode_ulaw
from vault import talk_off


def two_tones(low_hz: float, high_hz: float, seconds: float = 0.1) -> bytes:
    time_s = np.arange(int(seconds * 8000)) / 8000
    both = 0.2 * (np.sin(2 * np.pi * low_hz * time_s) + np.sin(2 * np.pi * high_hz * time_s))
    return encode_ulaw(np.pad(both, (800, 800)))


def frames(*prompts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(prompt)) + prompt for prompt in prompts)


def test_each_prompt_has_a_line_with_its_keys():
    """Tones, silence and half a packet, more of them than are heard at once."""
    said = frames(two_tones(770, 1336), b"\xff" * 1600, two_tones(941, 1477)[:-7], *[b"\xff"] * 70)
    heard = subprocess.run(
        [sys.executable, "-m", "vault.talk_off"], input=said, capture_output=True, check=True, timeout=60
    )
    assert ["5", "", "#", *[""] * 70] == heard.stdout.decode().splitlines()


def test_nothing_to_hear_is_no_line():
    """An empty list is no error."""
    assert [] == talk_off.keys_heard([])
    assert [] == talk_off.read_prompts(BytesIO(b"\0\0"))


def test_a_prompt_too_long_for_media_is_refused():
    """The reader never takes more than a prompt's bytes."""
    with pytest.raises(ValueError, match="longer than media"):
        talk_off.read_prompts(BytesIO(struct.pack(">I", talk_off.PROMPT_BYTES_MAX + 1)))
