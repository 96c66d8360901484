"""Numbers, money and codes as words; a language module joins them into its own sentences.

Words come from CLDR's rule-based number formats (UTS #35 part 3), currency names from CLDR through Babel.
This file owns the rule that nothing long enough to be a PAN is ever spoken.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

from babel.core import Locale
from babel.numbers import format_currency, get_currency_name, get_currency_precision
from unicode_rbnf import RbnfEngine

SPOKEN_MAX = 999_999_999
"""Largest number we say. No payment is larger, and nobody can follow a longer one by ear."""
CODE_DIGITS_MAX = 11
"""Most digits of a code spoken sign by sign: the shortest PAN has 12 (ISO/IEC 7812-1), so none fits."""
CODE_SIGNS_MAX = 20
"""Most letters and digits of it: half a minute, said twice; a longer voucher code is sent and not said."""
ENDING_SIGNS = 6
"""How much of a reference is read back: enough to tell two bookings apart, short enough to listen to."""
GROUP_SIGNS = 3
"""Signs between two pauses; short-term memory for heard digits works in threes and fours."""

YEAR_MIN, YEAR_MAX = 1900, 2199
"""Years that members are born in and points expire in; years are said in pairs only within these."""
KEY_MAX = 9

CurrencyNames = Mapping[str, tuple[str, str]]
"""ISO 4217 code → (one, several)."""


class UnspeakableError(ValueError):
    """The value has no words: negative, too large, unknown currency, no letter or digit. Never quotes it."""


_TWO_PLACES = "AFN ALL IRR KPW LAK LBP MGA MMK RSD SOS SYP YER"
ISO_PLACES: Mapping[str, int] = {**dict.fromkeys(_TWO_PLACES.split(), 2), "IQD": 3}
"""Where CLDR counts fewer decimal places than ISO 4217, because the coins are gone: amounts are in ISO's."""


@dataclass(frozen=True)
class Money:
    """An amount taken apart for speaking."""

    whole: int
    fraction: int
    """Minor units beyond `whole`."""
    places: int
    """Decimal places of the currency, ISO 4217: EUR 2, JPY 0, KWD 3."""


@lru_cache(maxsize=16)
def _engine(locale: str) -> RbnfEngine:
    return RbnfEngine.for_language(locale)


def spell(locale: str, number: int, ruleset: str = "spellout-numbering") -> str:
    """`number` in words by one named CLDR rule set, without the soft hyphens that CLDR puts between words."""
    if isinstance(number, bool) or not 0 <= number <= SPOKEN_MAX:
        raise UnspeakableError("This number cannot be spoken.")
    return _words(locale, int(number), ruleset)


@lru_cache(maxsize=4096)
def _words(locale: str, number: int, ruleset: str) -> str:
    result = _engine(locale).format_number(number, ruleset_names=[ruleset])
    return result.text_by_ruleset[ruleset].replace("\N{SOFT HYPHEN}", "")


def spell_signs(locale: str, digits: str) -> str:
    """Each digit as its own word: decimal places, where `05` is not `5`."""
    return " ".join(spell(locale, int(digit)) for digit in digits)


def month_name(locale: str, year: int, month: int, day: int) -> str:
    """The month's name as it stands beside a day; refuses what is no day of 1900 to 2199."""
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise UnspeakableError("This year cannot be spoken.")
    try:
        date(year, month, day)
    except ValueError:
        raise UnspeakableError("There is no such day.") from None
    name: str = Locale(locale).months["format"]["wide"][month]
    return name


def key_name(locale: str, digit: int) -> str:
    """The name of a digit's key on a phone."""
    if not 0 <= digit <= KEY_MAX:
        raise UnspeakableError("There is no such key.")
    return spell(locale, digit)


def split_money(amount_minor: int, currency: str) -> Money:
    """Whole and fraction of an amount in minor units; refuses a negative amount and an unknown currency."""
    if currency not in Locale("en").currencies:
        raise UnspeakableError("This currency has no name.")
    if isinstance(amount_minor, bool) or amount_minor < 0:
        raise UnspeakableError("A negative amount cannot be spoken.")
    places = ISO_PLACES.get(currency, get_currency_precision(currency))
    whole, fraction = divmod(int(amount_minor), 10**places)
    return Money(whole, fraction, places)


def written(tag: str, amount_minor: int, currency: str) -> str:
    """The amount in figures, as people of a language write it: `19,95 €`; no cent is ever rounded away."""
    money = split_money(amount_minor, currency)
    amount = Decimal(amount_minor).scaleb(-money.places)
    return format_currency(amount, currency, locale=tag.replace("-", "_"), decimal_quantization=False)


def currency_name(locale: str, currency: str, count: int, own: CurrencyNames) -> str:
    """The currency's name in the form that goes with `count`; `own` wins over CLDR."""
    if currency in own:
        one, several = own[currency]
        return one if Locale(locale).plural_form(count) == "one" else several
    return get_currency_name(currency, count=count, locale=locale)


def coin_name(locale: str, coins: CurrencyNames, currency: str, count: int) -> str | None:
    """The name of the minor unit, or None where people do not use one: then decimals are spoken."""
    if currency not in coins:
        return None
    one, several = coins[currency]
    return one if Locale(locale).plural_form(count) == "one" else several


def fraction_digits(money: Money) -> str:
    """The decimal places as keyed on paper, trailing zeros dropped: 50 of 2 places is `5`, 5 is `05`."""
    return f"{money.fraction:0{money.places}d}".rstrip("0")


def _signs(text: str) -> str:
    """Upper-case ASCII letters and digits of `text`; everything else becomes one blank."""
    plain = unicodedata.normalize("NFKD", text).upper()
    bare = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return re.sub(r"[^A-Z0-9]+", " ", bare).strip()


def _groups(run: str) -> Sequence[str]:
    if len(run) <= GROUP_SIGNS + 1:
        return [run]
    return [run[start : start + GROUP_SIGNS] for start in range(0, len(run), GROUP_SIGNS)]


def spell_code(locale: str, code: str, letters: str) -> str:
    """A code sign by sign, a comma (a pause) between groups: `four two four, eight six`.

    `letters` are the names of A to Z with blanks between. Raises UnspeakableError when nothing is left to
    say, or for more than `CODE_DIGITS_MAX` digits or `CODE_SIGNS_MAX` signs.
    """
    signs = _signs(code)
    count, digits = len(signs.replace(" ", "")), sum(sign.isdigit() for sign in signs)
    if not signs or count > CODE_SIGNS_MAX or digits > CODE_DIGITS_MAX:
        raise UnspeakableError("This code cannot be spoken.")
    groups = [group for run in signs.split(" ") for group in _groups(run)]
    return ", ".join(" ".join(_sign(locale, sign, letters) for sign in group) for group in groups)


def _sign(locale: str, sign: str, letters: str) -> str:
    return spell(locale, int(sign)) if sign.isdigit() else letters.split()[ord(sign) - ord("A")]


def spell_ending(locale: str, code: str, letters: str) -> str:
    """The last `ENDING_SIGNS` letters and digits of a reference of any length, sign by sign."""
    return spell_code(locale, _signs(code).replace(" ", "")[-ENDING_SIGNS:], letters)
