"""Sealed data open with their own key, in their own place, unchanged; indexes and ids tell nothing."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty.errors import LoyaltyError
from loyalty.keys import Keys, Purpose, Ring, Secret
from loyalty.members.sealing import blind_index, derived_id, new_data_key, opened, sealed, unwrapped, wrapped
from pay_ivr.ids import new_id

KEYS = Ring({1: Secret(bytes(range(32)))})
BOUND = ("sunny", "miles", "mem_a", "person")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_what_is_sealed_opens(octets: bytes):
    """With the same key and place."""
    key = new_data_key()
    assert octets == opened(key, BOUND, sealed(key, BOUND, octets))


def test_the_same_twice_looks_different():
    """A nonce of its own each time."""
    key = new_data_key()
    assert sealed(key, BOUND, b"Anna") != sealed(key, BOUND, b"Anna")


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0, max_value=40), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_does_not_open(place: int, change: int):
    """Form, nonce, text and tag are all of one piece."""
    key = new_data_key()
    octets = bytearray(sealed(key, BOUND, b"Anna Maria G"))
    octets[place] ^= change
    with pytest.raises(LoyaltyError) as refused:
        opened(key, BOUND, bytes(octets))
    assert "sealed_unreadable" == refused.value.code


@pytest.mark.parametrize("octets", [b"", b"\x01", bytes(28), b"\x02" + bytes(40)])
def test_what_was_never_sealed_does_not_open(octets: bytes):
    """Short and foreign octets are refused like forged ones."""
    with pytest.raises(LoyaltyError):
        opened(new_data_key(), BOUND, octets)


@pytest.mark.parametrize("place", range(4))
def test_a_sealed_thing_in_another_place_does_not_open(place: int):
    """Moved to another tenant, programme, member or row."""
    key = new_data_key()
    other = (*BOUND[:place], "other", *BOUND[place + 1 :])
    with pytest.raises(LoyaltyError):
        opened(key, other, sealed(key, BOUND, b"Anna"))


def test_places_with_shifted_borders_are_different():
    """`a, bc` is not `ab, c`."""
    key = new_data_key()
    with pytest.raises(LoyaltyError):
        opened(key, ("a", "bc"), sealed(key, ("ab", "c"), b"Anna"))


def test_a_wrapped_key_opens_for_its_member_alone():
    """Not for another member, not with another tenant's key, not on a node with another root."""
    octets = wrapped(KEYS, "sunny", "mem_a", new_data_key())
    assert 32 == len(unwrapped(KEYS, "sunny", "mem_a", octets, 1))
    for keys, tenant, member in (
        (KEYS, "sunny", "mem_b"),
        (KEYS, "rainy", "mem_a"),
        (Ring({1: Secret(bytes(32))}), "sunny", "mem_a"),
    ):
        with pytest.raises(LoyaltyError):
            unwrapped(keys, tenant, member, octets, 1)


def test_equal_facts_have_equal_indexes_only_within_a_tenant():
    """64 hexadecimal digits."""
    index = blind_index(KEYS, "sunny", "number", "4711")
    assert index == blind_index(KEYS, "sunny", "number", "4711")
    assert index != blind_index(KEYS, "rainy", "number", "4711")
    assert index != blind_index(KEYS, "sunny", "number", "4712")
    assert re.fullmatch(r"[0-9a-f]{64}", index)


def test_a_decoy_looks_like_a_real_id():
    """Same prefix, same length, same letters; the same for the same facts."""
    decoy = derived_id(KEYS, "sunny", Purpose.DECOY, "mem", "number", "4711")
    assert len(new_id("mem")) == len(decoy)
    assert re.fullmatch(r"mem_[a-hjkmnp-tv-z]{18}", decoy)
    assert decoy == derived_id(KEYS, "sunny", Purpose.DECOY, "mem", "number", "4711")
    assert decoy != derived_id(KEYS, "sunny", Purpose.IDENTITY, "mem", "number", "4711")


def test_letters_of_decoys_are_as_even_as_random_ones(short_dir: Path):
    """No letter is rarer than chance allows: an observer of many ids cannot tell decoys by them."""
    keys = Keys.open(short_dir, {}).ring()
    letters = "".join(
        derived_id(keys, "sunny", Purpose.DECOY, "mem", str(number))[4:] for number in range(2_000)
    )
    counts = [letters.count(letter) for letter in sorted(set(letters))]
    assert 22 == len(counts)
    expected = len(letters) / 22
    chi_squared = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_squared < 60  # 21 degrees of freedom: chance exceeds this once in 10^5
