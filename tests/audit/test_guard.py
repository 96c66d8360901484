"""The net for PAN-like runs of digits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.guard import MASK, holds_pan, masked

ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424242",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "4242.4242.4242.4242",
        "378282246310005",
        "ref=4242424242424242;",
        "4242424242424242".translate(ARABIC),
        "x\u00a05555\u00a05555\u00a05555\u00a04444",
    ],
)
def test_pan_is_found_in_every_writing(text):
    """Together, grouped, in other digits, in the middle of something."""
    assert holds_pan(text)
    assert MASK in masked(text)
    assert not holds_pan(masked(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4242424242424241",
        "424242424242",
        "2026-01-02T03:04:05.678Z",
        "4242  4242  4242  4242",
        "B-100200",
    ],
)
def test_other_numbers_pass(text):
    """Fails Luhn, too short, times, two spaces: no alarm."""
    assert not holds_pan(text)
    assert text == masked(text)


@given(st.text())
def test_masking_leaves_nothing_to_find(text):
    """Whatever text comes, a masked line is clean, and a clean line unchanged."""
    assert not holds_pan(masked(text))
    if not holds_pan(text):
        assert text == masked(text)
