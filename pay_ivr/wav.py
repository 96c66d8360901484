"""WAV files of a recording studio as samples. Pure; every file that we cannot use is told why.

RIFF/WAVE with linear PCM of 16 bits (format 1, or 0xFFFE with the PCM subformat), mono or stereo. Stereo is
mixed: one microphone on two channels is what studios deliver.
"""

import struct
from dataclasses import dataclass

import numpy as np

from pay_ivr.sound import FULL_SCALE, RATE_HZ, Samples

RATES_HZ = (8_000, 16_000, 24_000, 44_100, 48_000)
SECONDS_MAX = 60.0
"""As long as any prompt may last (`pay_ivr/speaker.py` gives up then)."""
BYTES_MAX = 12_000_000
"""A minute of stereo at 48 kHz has 11,520,000 and a header."""
CHUNKS_MAX = 64
"""Studios write a dozen."""
BITS = 16
PCM, EXTENSIBLE = 1, 0xFFFE
_FORMAT = struct.Struct("<HHIIHH")
_CHUNK = struct.Struct("<4sI")


class RecordingError(Exception):
    """A recording cannot be used; the sentence says what to change. Never retryable."""

    retryable = False

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Wav:
    """One recording."""

    samples: Samples
    """Mono, -1..1."""
    rate_hz: int


def read_wav(body: bytes) -> Wav:
    """The samples of a file. RecordingError: not_wav, not_pcm, bits, channels, rate, cut, empty, too_long."""
    if len(body) > BYTES_MAX:
        raise RecordingError("too_long", f"It is larger than {BYTES_MAX} bytes; keep it under a minute.")
    header, data = _chunks(body)
    if len(header) < _FORMAT.size:
        raise RecordingError("not_wav", "It is no WAV file: the format is missing or cut.")
    kind, channels, rate_hz, _, frame_bytes, bits = _FORMAT.unpack_from(header)
    if kind == EXTENSIBLE and len(header) >= 26:
        kind = int.from_bytes(header[24:26], "little")
    if kind != PCM:
        raise RecordingError("not_pcm", "It is compressed; save it as PCM, 16 bit.")
    if bits != BITS:
        raise RecordingError("bits", f"It has {bits} bits a sample; save it with {BITS}.")
    if channels not in {1, 2} or frame_bytes != channels * BITS // 8:
        raise RecordingError("channels", f"It has {channels} channels; save it in mono.")
    if rate_hz not in RATES_HZ:
        raise RecordingError("rate", f"It has {rate_hz} samples a second; use one of {_rates()}.")
    return Wav(_mono(data, channels, rate_hz), rate_hz)


def write_wav(samples: bytes, rate_hz: int = RATE_HZ) -> bytes:
    """A mono file of 16-bit little-endian samples."""
    header = _FORMAT.pack(PCM, 1, rate_hz, 2 * rate_hz, 2, BITS)
    body = _CHUNK.pack(b"fmt ", len(header)) + header + _CHUNK.pack(b"data", len(samples)) + samples
    return _CHUNK.pack(b"RIFF", 4 + len(body)) + b"WAVE" + body


def _rates() -> str:
    return ", ".join(map(str, RATES_HZ))


def _mono(data: bytes, channels: int, rate_hz: int) -> Samples:
    frame = 2 * channels
    if len(data) % frame:
        raise RecordingError("cut", "It ends in the middle of a sample; export it again.")
    if not data:
        raise RecordingError("empty", "There is no sound in it.")
    if len(data) > SECONDS_MAX * rate_hz * frame:
        raise RecordingError("too_long", f"It is longer than {SECONDS_MAX:.0f} seconds.")
    frames = np.frombuffer(data, "<i2").reshape(-1, channels)
    return np.asarray(np.mean(frames, axis=1) / FULL_SCALE)


def _chunks(body: bytes) -> tuple[bytes, bytes]:
    """(format, data): the first chunk of either name; chunks begin at even places."""
    if len(body) < 12 or body[:4] != b"RIFF" or body[8:12] != b"WAVE":
        raise RecordingError("not_wav", "It is no WAV file.")
    found: dict[bytes, bytes] = {}
    at = 12
    for _ in range(CHUNKS_MAX):
        if at + _CHUNK.size > len(body):
            break
        name, size = _CHUNK.unpack_from(body, at)
        at += _CHUNK.size
        if name in {b"fmt ", b"data"} and at + size > len(body):
            raise RecordingError("cut", "The file is shorter than it says; copy it again.")
        found.setdefault(name, body[at : at + size])
        at += size + size % 2
    if b"data" not in found:
        raise RecordingError("empty", "There is no sound in it.")
    return found.get(b"fmt ", b""), found[b"data"]
