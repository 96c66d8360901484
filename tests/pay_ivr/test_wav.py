"""A studio's WAV files become telephone prompts, or their speaker is told what to change."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr import sound
from pay_ivr.wav import BYTES_MAX, RATES_HZ, SECONDS_MAX, RecordingError, read_wav, write_wav


def tone(rate_hz: int, seconds: float = 0.5, channels: int = 1, hertz: float = 1000.0) -> bytes:
    time_s = np.arange(int(rate_hz * seconds)) / rate_hz
    one = (0.25 * np.sin(2 * np.pi * hertz * time_s) * 32767).astype("<i2")
    return np.repeat(one, channels).tobytes()


def wav(data: bytes, rate_hz: int = 8000, channels: int = 1, bits: int = 16, kind: int = 1) -> bytes:
    frame = channels * bits // 8
    header = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * frame, frame, bits)
    chunks = b"fmt " + struct.pack("<I", len(header)) + header
    chunks += b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate_becomes_eight_kilohertz(rate_hz: int, channels: int):
    """The tone keeps its pitch and its length; stereo is mixed."""
    found = read_wav(wav(tone(rate_hz, channels=channels), rate_hz, channels))
    samples = sound.resample(found.samples, found.rate_hz)
    spectrum = np.abs(np.fft.rfft(samples[:4000] * np.hanning(len(samples[:4000]))))
    assert samples.size == pytest.approx(4000, abs=1)
    assert 1000 == np.argmax(spectrum) * 2
    assert sound.active_level_dbfs(samples) == pytest.approx(-15.05, abs=0.2)


@pytest.mark.parametrize("rate_hz", [24_000, 44_100, 48_000])
def test_what_a_telephone_cannot_carry_leaves_no_alias(rate_hz: int):
    """A tone above 4 kHz is gone, not folded back."""
    samples = sound.resample(read_wav(wav(tone(rate_hz, hertz=5000), rate_hz)).samples, rate_hz)
    assert np.max(np.abs(samples[100:-100])) < 1e-3


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_recording_is_as_loud_as_every_prompt(rate_hz: int):
    """-20 dBFS, peaks below -3 dBFS, whole packets, silence cut at both ends."""
    quiet = np.frombuffer(tone(rate_hz, 1.0), "<i2") / sound.FULL_SCALE / 50
    ulaw = sound.recorded(np.pad(quiet, rate_hz), rate_hz)
    linear = sound.decode_ulaw(ulaw) / sound.FULL_SCALE
    assert len(ulaw) % sound.PACKET_SAMPLES == 0
    assert len(ulaw) / sound.RATE_HZ == pytest.approx(1.0 + sound.LEAD_S + sound.TAIL_S, abs=0.03)
    assert sound.active_level_dbfs(linear) == pytest.approx(sound.LEVEL_DBFS, abs=0.5)
    assert np.max(np.abs(linear)) < 10 ** (-3 / 20)


def test_slower_speech_keeps_its_pitch_and_has_the_level_of_all_prompts():
    """A quarter longer, the same tone."""
    spoken = sound.encode_ulaw(np.frombuffer(tone(8000, 2.0, hertz=400.0), "<i2") / sound.FULL_SCALE)
    slow = sound.slowly(spoken)
    linear = sound.decode_ulaw(slow) / sound.FULL_SCALE
    spectrum = np.abs(np.fft.rfft(linear[4000:12000]))
    assert len(slow) / len(spoken) == pytest.approx(sound.SLOWER, abs=0.03)
    assert 400 == np.argmax(spectrum)
    assert sound.active_level_dbfs(linear) == pytest.approx(sound.LEVEL_DBFS, abs=0.5)


def test_what_we_write_can_be_read():
    """The files of `prompts render`."""
    data = tone(8000)
    assert np.array_equal(np.frombuffer(data, "<i2") / sound.FULL_SCALE, read_wav(write_wav(data)).samples)


def test_an_extensible_header_is_read():
    """What some studios write for plain PCM."""
    plain = wav(tone(48_000), 48_000)
    head = struct.pack("<HHIIHHHHIH14s", 0xFFFE, 1, 48_000, 96_000, 2, 16, 22, 16, 4, 1, b"\0" * 14)
    body = b"fmt " + struct.pack("<I", len(head)) + head + plain[plain.index(b"LIST") :]
    assert 24_000 == read_wav(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body).samples.size


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_wav"),
        (b"ID3\x04mp3", "not_wav"),
        (b"RIFF\0\0\0\0WAVE", "empty"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0\1\2\3\4", "not_wav"),
        (wav(tone(8000), kind=7), "not_pcm"),
        (wav(b"\0" * 48, bits=24), "bits"),
        (wav(b"\0" * 48, bits=8), "bits"),
        (wav(b"\0" * 48, channels=6), "channels"),
        (wav(tone(8000), rate_hz=11_025), "rate"),
        (wav(b""), "empty"),
        (wav(b"\1\2\3"), "cut"),
        (wav(tone(8000))[:-10], "cut"),
        (wav(b"\0" * int(SECONDS_MAX * 16_000 + 2)), "too_long"),
        (b"\0" * (BYTES_MAX + 1), "too_long"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(body: bytes, code: str):
    """Each refusal is a code and a sentence for the person who recorded it."""
    with pytest.raises(RecordingError) as refused:
        read_wav(body)
    assert (code, False) == (refused.value.code, refused.value.retryable)
    assert str(refused.value).endswith(".")


@given(st.binary(max_size=200), st.integers(0, 90), st.binary(max_size=4))
def test_any_file_is_read_or_refused(garbage: bytes, place: int, damage: bytes):
    """Garbage, and a good file with bytes changed anywhere, meet no other exception."""
    good = wav(tone(8000, 0.01))
    for body in (garbage, good[:12] + garbage, good[:place] + damage + good[place + len(damage) :]):
        try:
            samples = read_wav(body).samples
        except RecordingError:
            continue
        assert np.all(np.abs(samples) <= 1)
