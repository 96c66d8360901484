"""What each language says, checked against sentences people would write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.languages import languages
from pay_ivr.numbers import CODE_DIGITS_MAX, SPOKEN_MAX, UnspeakableError, split_money
from vault.currency import MINOR_DIGITS

SPOKEN_MONEY = [
    ("de-DE", 1995, "EUR", "neunzehn Euro und fünfundneunzig Cent"),
    ("de-DE", 100, "EUR", "ein Euro"),
    ("de-DE", 2100, "SEK", "einundzwanzig Schwedische Kronen"),
    ("de-DE", 100, "SEK", "eine Schwedische Krone"),
    ("de-DE", 1250, "HUF", "zwölf Komma fünf Forint"),
    ("en-US", 1995, "USD", "nineteen dollars and ninety-five cents"),
    ("en-US", 10100, "USD", "one hundred one dollars"),
    ("en-US", 1, "EUR", "one cent"),
    ("en-US", 500, "JPY", "five hundred yen"),
    ("en-US", 12045, "KWD", "twelve point zero four five Kuwaiti dinars"),
    ("es-ES", 2100, "EUR", "veintiún euros"),
    ("es-ES", 2105, "EUR", "veintiún euros con cinco céntimos"),
    ("es-ES", 20_000_000, "GBP", "doscientas mil libras esterlinas"),
    ("es-ES", 100_000_000, "EUR", "un millón de euros"),
    ("es-ES", 250_000_000, "EUR", "dos millones quinientos mil euros"),
    ("fr-FR", 8000, "EUR", "quatre-vingts euros"),
    ("fr-FR", 150, "EUR", "un euro et cinquante centimes"),
    ("fr-FR", 0, "EUR", "zéro euro"),
    ("fr-FR", 100_000_000, "EUR", "un million d'euros"),
    ("fr-FR", 200_000_000, "USD", "deux millions de dollars"),
    ("fr-FR", 2100, "GBP", "vingt-et-une livres sterling"),
]

CODES = [
    ("de-DE", "12345678", "eins zwei drei, vier fünf sechs, sieben acht"),
    ("en-US", "4821", "four eight two one"),
    ("en-US", "AB-1042", "ay bee, one zero four two"),
    ("es-ES", "07", "cero siete"),
    ("fr-FR", "9 1", "neuf, un"),
]


@pytest.mark.parametrize(("tag", "amount_minor", "currency", "words"), SPOKEN_MONEY)
def test_money_is_said_as_people_say_it(tag: str, amount_minor: int, currency: str, words: str):
    """Gender, plural, coins and `de` after a million."""
    assert words == languages()[tag].money(amount_minor, currency)


@pytest.mark.parametrize(("tag", "code", "words"), CODES)
def test_codes_are_said_sign_by_sign(tag: str, code: str, words: str):
    """Groups of three with a pause; letters by their names."""
    assert words == languages()[tag].code(code)


def test_only_the_end_of_a_reference_is_read_back():
    """A long reference is cut to its last six signs, whatever separates them."""
    english = languages()["en-US"]
    assert english.code("345678") == english.ending("BK/2026/12-345 678")


@given(
    st.text(alphabet="0123456789 -.", min_size=CODE_DIGITS_MAX + 1).filter(
        lambda s: sum(map(str.isdigit, s)) > 11
    )
)
def test_nothing_as_long_as_a_pan_is_ever_spelled(code: str):
    """Twelve digits or more are refused, with any separators between them."""
    with pytest.raises(UnspeakableError):
        languages()["en-US"].code(code)


@given(st.text(max_size=40))
def test_any_text_is_a_code_in_words_or_refused(code: str):
    """No input makes a code with figures in it, or another exception; the refusal quotes nothing."""
    try:
        words = languages()["es-ES"].ending(code)
    except UnspeakableError as refusal:
        words = "refused" if str(refusal) == "This code cannot be spoken." else ""
    assert words.replace(" ", "").replace(",", "").replace("-", "").isalpha()


@pytest.mark.parametrize(("amount", "currency"), [(-1, "EUR"), (100, "XQZ"), (100, "eur"), (True, "EUR")])
def test_an_amount_without_words_is_refused(amount: int, currency: str):
    """Negative amounts, unknown currencies and booleans are our mistake."""
    for language in languages().values():
        with pytest.raises(UnspeakableError):
            language.money(amount, currency)


@pytest.mark.parametrize("currency", MINOR_DIGITS)
def test_what_is_said_is_what_is_charged(currency: str):
    """Speech and payment agree on the decimal places of every currency that can be charged."""
    assert MINOR_DIGITS[currency] == split_money(0, currency).places
    for language in languages().values():
        assert language.money(12 * 10 ** MINOR_DIGITS[currency], currency).startswith(
            (language.cardinal(12, "masculine"), language.cardinal(12, "feminine"))
        )


@pytest.mark.parametrize("number", [-1, SPOKEN_MAX + 1, True])
def test_a_number_out_of_range_is_refused(number: int):
    """The range is 0 to SPOKEN_MAX."""
    for language in languages().values():
        with pytest.raises(UnspeakableError):
            language.cardinal(number, "masculine")
