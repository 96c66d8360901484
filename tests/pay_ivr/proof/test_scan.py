"""The search finds a PAN however it is written, and takes no ordinary number for one."""

import base64
import os
import random
import struct

import pytest

from pay_ivr.proof.canary import make_canary, make_decoys
from pay_ivr.proof.scan import STRIDES, Hit, Needles, search

CARD = make_canary(7, 2026, random.Random(5))
PAN = CARD.pan
KEYS = bytes(map(int, PAN))
NEEDLES = Needles([CARD])
PADDING = b"\xa5" * 24


def encodings_of(data: bytes) -> set[tuple[str, int]]:
    """(encoding, digits) of what is found."""
    return {(hit.encoding, hit.digits) for hit in search(PADDING + data + PADDING, NEEDLES, "here")}


WRITTEN = {
    "ascii": PAN.encode(),
    "utf-16le": PAN.encode("utf-16le"),
    "utf-32le": PAN.encode("utf-32le"),
    "base64": base64.b64encode(PAN.encode()),
    "hex": PAN.encode().hex().encode(),
    "raw": KEYS,
    "int32": struct.pack("<16i", *KEYS),
    "bcd": bytes.fromhex(PAN),
    "ascii grouped": " ".join(PAN[at : at + 4] for at in range(0, 16, 4)).encode(),
    "info": b"".join(b"Signal=%d\r\nDuration=160\r\n" % key for key in KEYS),
}


@pytest.mark.parametrize("encoding", WRITTEN)
def test_whole_pan_is_found(encoding: str) -> None:
    """Every encoding, all sixteen digits."""
    assert (encoding, 16) in encodings_of(WRITTEN[encoding])


@pytest.mark.parametrize("offset", range(4))
@pytest.mark.parametrize("encoding", ["utf-16le", "utf-32le", "int32"])
def test_wide_digits_are_found_off_their_borders(encoding: str, offset: int) -> None:
    """In files and packets nothing is aligned."""
    assert (encoding, 16) in encodings_of(b"x" * offset + WRITTEN[encoding])


@pytest.mark.parametrize("before", ["x", "xx"])
def test_base64_is_found_at_its_other_alignments(before: str) -> None:
    """The same digits make other letters behind one or two bytes."""
    assert ("base64", 16) in encodings_of(base64.b64encode(before.encode() + PAN.encode() + b"xy"))


def test_bcd_is_found_from_the_second_half_of_a_byte() -> None:
    """Packed digits may begin anywhere."""
    assert ("bcd", 16) in encodings_of(bytes.fromhex("a" + PAN + "b"))


@pytest.mark.parametrize("stride", [STRIDES.start, 5, 24, 37, STRIDES.stop - 1])
@pytest.mark.parametrize("first", [0x30, 0])
def test_digits_spread_over_structures_are_found(stride: int, first: int) -> None:
    """One key per structure, whatever stands between."""
    noise = random.Random(stride)
    data = b"".join(bytes([key + first]) + noise.randbytes(stride - 1) for key in KEYS)
    kind = "ascii" if first else "raw"
    assert (f"{kind} stride {stride}", 16) in encodings_of(data)


@pytest.mark.parametrize("first", range(1, 11))
def test_six_digits_are_found(first: int) -> None:
    """A fragment alone between other bytes, from every place with three digits beyond the BIN or more."""
    expected = set() if first < 3 else {("ascii", 6)}
    assert expected == {one for one in encodings_of(PAN[first : first + 6].encode()) if one[0] == "ascii"}


def test_bin_and_last_4_do_not_count() -> None:
    """What everybody may know."""
    assert set() == encodings_of(f"{PAN[:6]}******{PAN[-4:]}".encode())


def test_digits_that_go_on_otherwise_are_an_ordinary_number() -> None:
    """Six digits of a PAN inside a longer number."""
    other = str((int(PAN[13]) + 1) % 10)
    assert set() == encodings_of(f"{PAN[7:13]}{other}".encode())


def test_fraction_of_a_second_is_no_fragment() -> None:
    """A log line has six random digits in every time stamp."""
    assert set() == encodings_of(f"03:09:46.{PAN[7:13]}Z".encode())


def test_ten_digits_count_wherever_they_stand() -> None:
    """No chance makes ten."""
    assert ("ascii", 10) in encodings_of(f"55{PAN[4:14]}55".encode())


def test_cvv_next_to_last_4_is_found() -> None:
    """Two columns, two JSON names: still together."""
    hits = search(f'{{"last4":"{CARD.last4}","cvv":"{CARD.cvv}"}}'.encode(), NEEDLES, "here")
    assert {-1} == {hit.first for hit in hits}


def test_card_of_an_earlier_round_is_found_by_longer_pieces_only() -> None:
    """Six digits of a thousand cards would be chance."""
    old = Needles([], [CARD])
    assert (0, 1) == tuple(len(search(PAN[4 : 4 + n].encode(), old, "here")) for n in (6, 8))


def test_chance_makes_nothing_of_random_bytes() -> None:
    """Four megabytes of noise, forty cards: nothing, or less than a hand of short ones."""
    cards = make_decoys(40, 2026)
    hits = search(os.urandom(4 << 20), Needles(cards), "noise", aligned=True)
    assert all(hit.short for hit in hits)
    assert len(hits) <= 4


def test_finding_names_places_and_no_digits() -> None:
    """Findings go into reports."""
    text = str(Hit("memory of app", "ascii", 7, 4, 9, decoy=False))
    assert text == "memory of app: 9 digits of canary 7 from place 4, ascii"
