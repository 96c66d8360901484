"""Canary cards: valid, in their range, and never in print."""

import random

import hypothesis.strategies as st
from hypothesis import given

from pay_ivr.proof.canary import BIN, luhn_digit, make_canary, make_decoys


def test_check_digits_of_published_test_cards() -> None:
    """The published numbers end in the digit that Luhn asks for."""
    published = ("4242424242424242", "5555555555554444", "378282246310005", "4000000000009995")
    assert [pan[-1] for pan in published] == [luhn_digit(pan[:-1]) for pan in published]


@given(st.integers(0, 2**32))
def test_canary_is_in_its_range_and_valid(seed: int) -> None:
    """Sixteen digits from the documented range, a month that exists, a year ahead."""
    card = make_canary(7, 2026, random.Random(seed))
    assert (16, BIN, luhn_digit(card.pan[:-1])) == (len(card.pan), card.pan[:6], card.pan[-1])
    assert 1 <= int(card.expiry[:2]) <= 12
    assert 27 <= int(card.expiry[2:]) <= 32


def test_repr_tells_no_digit() -> None:
    """A canary in a traceback is none."""
    card = make_canary(7, 2026)
    assert card.pan not in repr(card)


def test_decoys_are_other_cards() -> None:
    """None of them is a canary, all are marked."""
    cards = [make_canary(number, 2026) for number in range(3)]
    decoys = make_decoys(20, 2026, cards)
    assert (20, True) == (len({one.pan for one in decoys}), all(one.decoy for one in decoys))
    assert not {one.pan for one in cards} & {one.pan for one in decoys}
