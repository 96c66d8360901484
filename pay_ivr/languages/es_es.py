"""Spanish as spoken in Spain: numbers and money for callers; the sentences stand in `es_es.ftl`."""

from pay_ivr import numbers
from pay_ivr.languages import Language

LOCALE = "es"
FEMININE = frozenset({"BGN", "CZK", "DKK", "EGP", "GBP", "INR", "ISK", "NOK", "PKR", "SEK", "TRY", "UAH"})
"""Currencies that count with `una`, `doscientas`: corona, libra, lira, rupia."""
NAMES = {"USD": ("dólar", "dólares"), "HUF": ("forinto", "forintos"), "JPY": ("yen", "yenes")}
"""What callers say, shorter than CLDR's `dólares estadounidenses`."""
COINS = {
    "EUR": ("céntimo", "céntimos"),
    "USD": ("centavo", "centavos"),
    "CHF": ("céntimo", "céntimos"),
    "GBP": ("penique", "peniques"),
}
LETTERS = (
    "a be ce de e efe ge hache i jota ka ele eme ene o pe cu erre ese te u uve uve-doble equis i-griega zeta"
)
MILLION = 1_000_000


def cardinal(number: int, gender: str = "masculine") -> str:
    """A number before a noun: `un`, `veintiún`, `doscientas mil`.

    CLDR's feminine rules forget the thousands (`doscientos mil libras`), so they are counted apart here.
    """
    ruleset = f"spellout-cardinal-{gender}"
    thousands, rest = divmod(number % MILLION, 1000)
    if gender != "feminine" or thousands < 2:
        return numbers.spell(LOCALE, number, ruleset)
    parts = [numbers.spell(LOCALE, number - number % MILLION, ruleset)] if number >= MILLION else []
    parts.append(f"{numbers.spell(LOCALE, thousands, ruleset)} mil")
    return " ".join([*parts, numbers.spell(LOCALE, rest, ruleset)] if rest else parts)


def money(amount_minor: int, currency: str) -> str:
    """`diecinueve euros con noventa y cinco céntimos`; decimals with `coma` where no coin has a name."""
    amount = numbers.split_money(amount_minor, currency)
    coin = numbers.coin_name(LOCALE, COINS, currency, amount.fraction)
    if amount.fraction and coin is None:
        decimals = numbers.spell_signs(LOCALE, numbers.fraction_digits(amount))
        name = numbers.currency_name(LOCALE, currency, 2, NAMES)
        return f"{numbers.spell(LOCALE, amount.whole)} coma {decimals} {name}"
    gender = "feminine" if currency in FEMININE else "masculine"
    name = numbers.currency_name(LOCALE, currency, amount.whole, NAMES)
    of = "de " if amount.whole and amount.whole % MILLION == 0 else ""
    words = []
    if amount.whole or not amount.fraction:
        words.append(f"{cardinal(amount.whole, gender)} {of}{name}")
    if amount.fraction:
        words.append(f"{cardinal(amount.fraction)} {coin}")
    return " con ".join(words)


def date(year: int, month: int, day: int) -> str:
    """`tres de mayo de dos mil veintiséis`; in Spain the first is `uno`."""
    name = numbers.month_name(LOCALE, year, month, day)
    return f"{numbers.spell(LOCALE, day)} de {name} de {numbers.spell(LOCALE, year)}"


LANGUAGE = Language(
    tag="es-ES",
    name="Español",
    cardinal=cardinal,
    money=money,
    code=lambda code: numbers.spell_code(LOCALE, code, LETTERS),
    ending=lambda code: numbers.spell_ending(LOCALE, code, LETTERS),
    date=date,
    key=lambda digit: numbers.key_name(LOCALE, digit),
    voice="es-ES",
    birth_order="dmy",
)
