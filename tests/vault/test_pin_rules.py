"""Easy PINs: what is refused, and how much of the space that is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.card import SecretDigits
from vault.pin_rules import birth_forms, easy


def digits_of(text: str) -> SecretDigits:
    """The digits of a text, as a cell holds them."""
    digits = SecretDigits(memoryview(bytearray(12)))
    for one in text:
        assert digits.append(int(one))
    return digits


@pytest.mark.parametrize(
    "pin",
    [
        *("0000", "1111", "1212", "4545", "123123", "777777"),
        *("1234", "4321", "7890", "8901", "0987", "2468", "8642", "13579", "123456", "654321"),
        *("2580", "0852"),
    ],
)
def test_what_is_tried_first_is_easy(pin: str) -> None:
    """Repetitions, runs up and down and over the nine, lines of the keypad."""
    assert easy(digits_of(pin))


@pytest.mark.parametrize("pin", ["4711", "8361", "2704", "1123", "1224", "12345789", "471147110"])
def test_what_is_none_of_these_is_taken(pin: str) -> None:
    """Part of a run, a doubled digit, a repetition with a tail."""
    assert not easy(digits_of(pin))


@pytest.mark.parametrize(
    "pin",
    [
        *("0503", "0305", "0380", "8003", "1980", "0580", "5380"),
        *("050380", "030580", "800305", "031980", "05031980", "19800305"),
    ],
)
def test_a_birth_date_is_easy_in_every_usual_form(pin: str) -> None:
    """5 March 1980 for its owner; for others the same digits are fine."""
    assert easy(digits_of(pin), birth_forms("1980-03-05"))
    assert not easy(digits_of(pin), birth_forms("1971-11-29"))


@given(st.dates())
def test_no_form_of_a_birth_date_is_too_short_or_too_long(born) -> None:  # type: ignore[no-untyped-def]
    """Each is digits only, and as long as a PIN may be."""
    forms = birth_forms(born.isoformat())
    assert forms
    assert all(form.isdigit() and 4 <= len(form) <= 12 for form in forms)
    assert () == birth_forms("")


def test_less_than_one_pin_in_fifty_is_refused() -> None:
    """Of the ten thousand shortest, birth date included: the figure of docs/pins.md."""
    born = birth_forms("1980-03-05")
    general = sum(easy(digits_of(f"{number:04}")) for number in range(10_000))
    own = sum(easy(digits_of(f"{number:04}"), born) for number in range(10_000))
    assert (148, 161) == (general, own)
