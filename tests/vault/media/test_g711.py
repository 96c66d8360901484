"""G.711 tables against the published numbers and against their own definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.media.g711 import (
    ALAW_TO_ULAW,
    DECODE_FLOAT32,
    DECODE_INT16,
    FRAME_BYTES,
    SILENCE,
    ULAW_TO_ALAW,
    decode_alaw,
    decode_ulaw,
    encode_alaw,
    encode_ulaw,
)

CODES = bytes(range(256))


def test_ulaw_decodes_to_the_published_values() -> None:
    """Ends and corners of G.711 tables 2a and 2b, times four (14 to 16 bits)."""
    published = {0xFF: 0, 0xFE: 8, 0xF0: 120, 0xEF: 132, 0x80: 32124, 0x7F: 0, 0x7E: -8, 0x00: -32124}
    assert published == {code: int(DECODE_INT16[0][code]) for code in published}


def test_alaw_decodes_to_the_published_values() -> None:
    """Ends and corners of G.711 tables 1a and 1b, times eight (13 to 16 bits)."""
    published = {0xD5: 8, 0xD4: 24, 0xC5: 264, 0xAA: 32256, 0x55: -8, 0x54: -24, 0x2A: -32256}
    assert published == {code: int(DECODE_INT16[1][code]) for code in published}


def test_translation_tables_hold_the_published_numbers() -> None:
    """Samples of G.711 tables 3 and 4, the corrected pair (µ 81, A 80) among them."""
    published = {0x00: 0x2A, 0x2E: 0x04, 0x2F: 0x1A, 0x7F: 0x55, 0xFF: 0xD5, 0xFE: 0xD5, 0x80: 0xAA}
    assert published == {code: ULAW_TO_ALAW[code] for code in published}
    back = {0x1A: 0x2F, 0xD5: 0xFE, 0xD4: 0xFC, 0xAA: 0x80, 0x2A: 0x00}
    assert back == {code: ALAW_TO_ULAW[code] for code in back}


@pytest.mark.parametrize(
    ("table", "source", "target", "steps"),
    [(ULAW_TO_ALAW, 0, 1, 1.0), (ALAW_TO_ULAW, 1, 0, 1.0)],
)
def test_translation_stays_within_a_step(table: bytes, source: int, target: int, steps: float) -> None:
    """A translated byte sounds like the one it came from: no further off than one step of the coarser law."""
    before, after = DECODE_INT16[source].astype(int), DECODE_INT16[target][list(table)].astype(int)
    step = np.maximum(np.abs(before) / 16, 16)
    assert np.abs(before - after).max() <= 1100
    assert (np.abs(before - after) <= steps * step).all()


def test_translation_there_and_back_keeps_the_louder_codes() -> None:
    """µ to A to µ changes only codes which A-law cannot tell apart (G.711 section 3.4), never the sign."""
    there_and_back = bytes(ALAW_TO_ULAW[ULAW_TO_ALAW[code]] for code in CODES)
    moved = [abs(a - b) for a, b in zip(CODES, there_and_back, strict=True)]
    assert max(moved) <= 1
    assert all(a & 0x80 == b & 0x80 for a, b in zip(CODES, there_and_back, strict=True))


def test_decoded_codes_encode_to_themselves() -> None:
    """Every code survives decode and encode; µ-law has two zeros, the positive one is sent."""
    assert encode_alaw(decode_alaw(CODES)) == CODES
    assert encode_ulaw(decode_ulaw(CODES)) == CODES.replace(b"\x7f", b"\xff")


@given(st.integers(-32768, 32767))
def test_encoding_takes_the_nearest_value(sample: int) -> None:
    """The nearest code, or at a border of two segments its neighbour, at most twice as far."""
    one = np.array([sample], np.int16)
    for row, encode, slack in ((0, encode_ulaw, 4), (1, encode_alaw, 16)):
        distance = np.abs(DECODE_INT16[row].astype(int) - sample)
        assert distance[encode(one)[0]] <= 2 * distance.min() + slack


def test_silence_is_one_frame_of_the_quietest_code() -> None:
    """Silence decodes to the smallest positive value there is."""
    assert {"PCMU": 0, "PCMA": 8} == {
        "PCMU": int(decode_ulaw(SILENCE["PCMU"]).max()),
        "PCMA": int(decode_alaw(SILENCE["PCMA"]).max()),
    }
    assert {FRAME_BYTES} == {len(frame) for frame in SILENCE.values()}


def test_float_table_has_the_same_scale() -> None:
    """float32 samples are the 16-bit ones."""
    assert (DECODE_FLOAT32 == DECODE_INT16).all()
