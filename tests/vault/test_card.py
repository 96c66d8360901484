"""Secret digits and the rules of a card."""

import copy
import pickle
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.brands import BrandTable
from vault.card import (
    EXPIRY_YEARS_MAX,
    Card,
    SecretDigits,
    brand_of,
    expiry_problem,
    last4,
    luhn_holds,
    pan_problem,
)
from vault.door import FieldProblem
from vault.secret_page import SecretPage

BRANDS = BrandTable.read()
TODAY = date(2026, 11, 22)

GOOD = {
    "4242424242424242": "visa",
    "5555555555554444": "mastercard",
    "378282246310005": "amex",
    "4000002760003184": "visa",
    "9999000000000004": "canary",
}


def digits(text: str, size: int = 19) -> SecretDigits:
    kept = SecretDigits(memoryview(bytearray(size)))
    for one in text:
        assert kept.append(int(one))
    return kept


@pytest.mark.parametrize(("pan", "brand"), GOOD.items())
def test_a_published_card_is_sound_and_has_its_brand(pan: str, brand: str) -> None:
    """The published test cards and the canary pass every check."""
    named = brand_of(digits(pan), BRANDS)
    assert named is not None
    assert brand == named.name
    assert pan_problem(digits(pan), BRANDS) is None
    assert pan[-4:] == last4(digits(pan))


@pytest.mark.parametrize(
    ("pan", "problem"),
    [
        ("", FieldProblem.TOO_SHORT),
        ("42424", FieldProblem.TOO_SHORT),
        ("424242424242424", FieldProblem.TOO_SHORT),
        ("37828224631000", FieldProblem.TOO_SHORT),
        ("00000", FieldProblem.TOO_SHORT),
        ("0000000000000000", FieldProblem.UNKNOWN_BRAND),
        ("999901", FieldProblem.UNKNOWN_BRAND),
        ("4242424242424241", FieldProblem.LUHN),
        ("42424242424242424", FieldProblem.LUHN),
    ],
)
def test_an_unsound_pan_is_refused_for_its_reason(pan: str, problem: FieldProblem) -> None:
    """Length comes before brand, brand before the check digit."""
    assert problem == pan_problem(digits(pan), BRANDS)


@given(st.text("0123456789", min_size=1, max_size=18))
def test_luhn_has_one_check_digit_and_sees_every_single_error(body: str) -> None:
    """Exactly one of the ten last digits holds, and no other digit in its place does."""
    holding = [last for last in "0123456789" if luhn_holds(digits(body + last))]
    assert 1 == len(holding)
    good = body + holding[0]
    for place in range(len(good)):
        wrong = good[:place] + str((int(good[place]) + 1) % 10) + good[place + 1 :]
        assert not luhn_holds(digits(wrong))


def test_nothing_keyed_is_not_sound() -> None:
    """An empty entry has no check digit."""
    assert not luhn_holds(digits(""))


@pytest.mark.parametrize("pan", ["4242424242424241", "", "0000"])
def test_last4_of_an_unsound_entry_stays_secret(pan: str) -> None:
    """Before the Luhn check, or with nothing hidden, there are no last four digits."""
    with pytest.raises(ValueError, match="stay secret"):
        last4(digits(pan))


@pytest.mark.parametrize(
    ("expiry", "problem"),
    [
        ("1126", None),
        ("1226", None),
        ("0127", None),
        ("1246", None),
        ("1026", FieldProblem.EXPIRED),
        ("1225", FieldProblem.EXPIRED),
        ("1276", FieldProblem.EXPIRED),
        ("0147", FieldProblem.TOO_FAR),
        ("1275", FieldProblem.TOO_FAR),
        ("0026", FieldProblem.BAD_MONTH),
        ("1326", FieldProblem.BAD_MONTH),
        ("126", FieldProblem.TOO_SHORT),
    ],
)
def test_expiry_is_judged_at_the_end_of_its_month(expiry: str, problem: FieldProblem | None) -> None:
    """This month is good, the last is past, more than the longest life is too far."""
    assert problem == expiry_problem(digits(expiry, 4), TODAY)


def test_expiry_knows_the_next_century() -> None:
    """In 2099 the year 05 is six years ahead, not ninety-four behind."""
    assert expiry_problem(digits("0105", 4), date(2099, 12, 31)) is None


@given(st.integers(1, 12), st.integers(0, 99), st.dates(date(2020, 1, 1), date(2110, 12, 31)))
def test_expiry_accepts_exactly_the_next_years(month: int, year: int, today: date) -> None:
    """Accepted means: from this month on, at most `EXPIRY_YEARS_MAX` years ahead."""
    ahead = next(n for n in range(100) if (today.year + n) % 100 == year)
    good = ahead <= EXPIRY_YEARS_MAX and (ahead > 0 or month >= today.month)
    assert good == (expiry_problem(digits(f"{month:02}{year:02}", 4), today) is None)


def test_digits_stand_in_place_and_wipe_leaves_zeros() -> None:
    """The view is the memory itself: no copy outlives a wipe."""
    memory = bytearray(4)
    kept = SecretDigits(memoryview(memory))
    for key in (1, 2, 3, 4):
        assert kept.append(key)
    view = kept.view()
    assert b"1234" == bytes(view)
    assert view.readonly
    kept.wipe()
    assert bytearray(4) == memory
    assert bytes(4) == bytes(view)
    assert 0 == len(kept)


@pytest.mark.parametrize("key", [-1, 10, 15, 255])
def test_what_is_no_digit_is_not_taken(key: int) -> None:
    """`*`, `#` and letters never become digits."""
    kept = digits("", 4)
    assert not kept.append(key)
    assert 0 == len(kept)


def test_a_full_field_takes_no_more() -> None:
    """The fifth digit of four is not taken, and there is nothing to read behind the last."""
    kept = digits("1234", 4)
    assert not kept.append(5)
    for index in (-1, 4):
        with pytest.raises(IndexError):
            kept.digit(index)


@pytest.mark.parametrize(
    "use",
    [
        repr,
        str,
        format,
        "{:>20}".format,
        "%s".__mod__,
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        hash,
        lambda secret: secret == secret,  # noqa: PLR0124
        lambda secret: secret != 1,
        lambda secret: {secret: 1},
    ],
)
def test_a_secret_has_no_text_no_copy_and_no_equality(use: object) -> None:
    """Every way into a log, a set or a pickle raises, and the error holds no digit."""
    card = Card(SecretPage())
    card.pan.append(7)
    for secret in (card, card.pan):
        with pytest.raises(TypeError) as caught:
            use(secret)  # type: ignore[operator]
        assert "7" not in str(caught.value)


def test_a_card_wipes_all_three_fields() -> None:
    """PAN, expiry and CVV go together."""
    card = Card(SecretPage())
    for secret in (card.pan, card.expiry, card.cvv):
        secret.append(1)
    card.wipe()
    assert [0, 0, 0] == [len(one) for one in (card.pan, card.expiry, card.cvv)]
