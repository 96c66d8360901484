"""G.711 by table: decode, encode and A-law/µ-law translation, bit exact.

ITU-T G.711 (11/88): tables 1a-2b (decoder output), tables 3 and 4 (translation of the laws, as corrected: µ
81 and A 80 stand for each other). Linear samples are 16 bit; one table look-up per byte.
"""

from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

FRAME_BYTES: Final = 160
"""One packet: 20 ms at 8,000 bytes a second, the packet time every G.711 profile uses (RFC 3551 4.5.14)."""

SAMPLE_RATE_HZ: Final = 8000

_ULAW_BIAS: Final = 33
_ULAW_CLIP: Final = 0x1FFF


def _expand_ulaw(code: int) -> int:
    """16-bit value of a µ-law byte (G.711 tables 2a, 2b)."""
    exponent = (~code >> 4) & 7
    magnitude = (((~code & 15) << 1) + _ULAW_BIAS << exponent) - _ULAW_BIAS << 2
    return magnitude if code & 0x80 else -magnitude


def _expand_alaw(code: int) -> int:
    """16-bit value of an A-law byte (G.711 tables 1a, 1b); even bits are inverted on the line."""
    bits = (code ^ 0x55) & 0x7F
    exponent, mantissa = bits >> 4, bits & 15
    magnitude = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 0x108) << exponent - 1
    return magnitude if code & 0x80 else -magnitude


def _compress_ulaw(linear: int) -> int:
    """µ-law byte of a 16-bit value; one's complement for negatives, as the ITU's own tool library does."""
    magnitude = min((~linear >> 2 if linear < 0 else linear >> 2) + _ULAW_BIAS, _ULAW_CLIP)
    exponent = magnitude.bit_length() - 6
    code = (7 - exponent) << 4 | 15 - (magnitude >> exponent + 1 & 15)
    return code if linear < 0 else code | 0x80


def _compress_alaw(linear: int) -> int:
    """A-law byte of a 16-bit value; one's complement for negatives, as the ITU's own tool library does."""
    magnitude = ~linear >> 4 if linear < 0 else linear >> 4
    exponent = max(magnitude.bit_length() - 4, 0)
    mantissa = magnitude >> exponent - 1 & 15 if exponent else magnitude
    code = exponent << 4 | mantissa
    return (code if linear < 0 else code | 0x80) ^ 0x55


# G.711 table 3: character signals µ 1..128 -> A, the positive half; the sign bit stays.
_TABLE_3: Final = tuple(
    chain(
        (n for n in range(1, 9) for _ in range(2)),
        range(9, 26),
        (27, 29, 31),
        range(33, 45),
        (46,),
        range(48, 63),
        range(64, 81),
        range(82, 129),
    )
)
# G.711 table 4: character signals A 1..128 -> µ, counted from 0.
_TABLE_4: Final = tuple(
    chain(
        range(1, 16, 2),
        range(16, 32),
        (n for n in range(32, 36) for _ in range(2)),
        range(36, 48),
        (48, 48, 49, 49),
        range(50, 64),
        (64, 64),
        range(65, 80),
        (80, 80),
        range(81, 128),
    )
)


def _ulaw_to_alaw(code: int) -> int:
    return code & 0x80 | ((_TABLE_3[~code & 0x7F] - 1) ^ 0x55)


def _alaw_to_ulaw(code: int) -> int:
    return code & 0x80 | (~_TABLE_4[(code ^ 0x55) & 0x7F] & 0x7F)


ULAW_TO_ALAW: Final = bytes(map(_ulaw_to_alaw, range(256)))
"""For `bytes.translate`: PCMU payload -> PCMA payload."""

ALAW_TO_ULAW: Final = bytes(map(_alaw_to_ulaw, range(256)))
"""For `bytes.translate`: PCMA payload -> PCMU payload."""

DECODE_INT16: Final[NDArray[np.int16]] = np.array(
    [[_expand_ulaw(code) for code in range(256)], [_expand_alaw(code) for code in range(256)]], np.int16
)
"""(2, 256): row 0 µ-law, row 1 A-law; 16-bit samples."""

DECODE_FLOAT32: Final[NDArray[np.float32]] = DECODE_INT16.astype(np.float32)
"""The same as float32, same scale."""

_ENCODE_ULAW: Final = np.array([_compress_ulaw(n) for n in range(-32768, 32768)], np.uint8)
_ENCODE_ALAW: Final = np.array([_compress_alaw(n) for n in range(-32768, 32768)], np.uint8)

SILENCE: Final = {"PCMU": b"\xff" * FRAME_BYTES, "PCMA": b"\xd5" * FRAME_BYTES}
"""One frame of the quietest positive code, by encoding name."""


def decode_ulaw(payload: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """16-bit samples of a PCMU payload, one per byte."""
    return np.take(DECODE_INT16[0], np.frombuffer(payload, np.uint8))


def decode_alaw(payload: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """16-bit samples of a PCMA payload, one per byte."""
    return np.take(DECODE_INT16[1], np.frombuffer(payload, np.uint8))


def encode_ulaw(samples: NDArray[np.int16]) -> bytes:
    """PCMU payload of 16-bit samples, one byte per sample."""
    return _ENCODE_ULAW[samples.astype(np.int32) + 32768].tobytes()


def encode_alaw(samples: NDArray[np.int16]) -> bytes:
    """PCMA payload of 16-bit samples, one byte per sample."""
    return _ENCODE_ALAW[samples.astype(np.int32) + 32768].tobytes()


# A full-scale sine is +3.17 dBm0 in µ-law (peak 32,124) and +3.14 dBm0 in A-law (peak 32,256), G.711 section
# 4: on our 16-bit scale the two references differ by 0.07 dB.
MEAN_SQUARE_0_DBM0: Final = 32124.0**2 / 2 / 10 ** (3.17 / 10)
"""Mean square of a 0 dBm0 sine in 16-bit samples squared."""
