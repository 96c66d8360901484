"""American English: numbers and money for callers; the sentences stand in `en_us.ftl`."""

from pay_ivr import numbers
from pay_ivr.languages import Language

LOCALE = "en"
NAMES = {"USD": ("dollar", "dollars"), "HUF": ("forint", "forints"), "JPY": ("yen", "yen")}
"""What callers say: a dollar on an American line is the American one, and voices read `US` as a word."""
COINS = {
    "EUR": ("cent", "cents"),
    "USD": ("cent", "cents"),
    "CAD": ("cent", "cents"),
    "CHF": ("centime", "centimes"),
    "GBP": ("penny", "pence"),
}
LETTERS = (
    "ay bee see dee ee eff gee aitch eye jay kay ell em en "
    "oh pee cue are ess tee you vee double-you ex why zee"
)


def cardinal(number: int, gender: str = "masculine") -> str:  # noqa: ARG001 - English counts without gender
    """A number in words, without the British `and`."""
    return numbers.spell(LOCALE, number, "spellout-cardinal")


def money(amount_minor: int, currency: str) -> str:
    """`nineteen dollars and ninety-five cents`; decimals with `point` where no coin has a name."""
    amount = numbers.split_money(amount_minor, currency)
    coin = numbers.coin_name(LOCALE, COINS, currency, amount.fraction)
    if amount.fraction and coin is None:
        decimals = numbers.spell_signs(LOCALE, numbers.fraction_digits(amount))
        name = numbers.currency_name(LOCALE, currency, 2, NAMES)
        return f"{cardinal(amount.whole)} point {decimals} {name}"
    name = numbers.currency_name(LOCALE, currency, amount.whole, NAMES)
    words = []
    if amount.whole or not amount.fraction:
        words.append(
            f"{cardinal(amount.whole)} {numbers.currency_name(LOCALE, currency, amount.whole, NAMES)}"
        )
    if amount.fraction:
        words.append(f"{cardinal(amount.fraction)} {coin}")
    return " and ".join(words)


def date(year: int, month: int, day: int) -> str:
    """`May third, twenty twenty-six`."""
    name = numbers.month_name(LOCALE, year, month, day)
    said_day = numbers.spell(LOCALE, day, "spellout-ordinal")
    return f"{name} {said_day}, {numbers.spell(LOCALE, year, 'spellout-numbering-year')}"


LANGUAGE = Language(
    tag="en-US",
    name="English",
    cardinal=cardinal,
    money=money,
    code=lambda code: numbers.spell_code(LOCALE, code, LETTERS),
    ending=lambda code: numbers.spell_ending(LOCALE, code, LETTERS),
    date=date,
    key=lambda digit: numbers.key_name(LOCALE, digit),
    voice="en-US",
    birth_order="mdy",
)
