"""French as spoken in France: numbers and money for callers; the sentences stand in `fr_fr.ftl`."""

from pay_ivr import numbers
from pay_ivr.languages import Language

LOCALE = "fr"
FEMININE = frozenset({"CZK", "DKK", "EGP", "GBP", "INR", "ISK", "NOK", "PKR", "SEK", "TRY", "UAH"})
"""Currencies that count with `une`: couronne, livre, roupie, hryvnia."""
NAMES = {"USD": ("dollar", "dollars"), "HUF": ("forint", "forints"), "JPY": ("yen", "yens")}
"""What callers say, shorter than CLDR's `dollars des États-Unis`."""
COINS = {
    "EUR": ("centime", "centimes"),
    "USD": ("cent", "cents"),
    "CHF": ("centime", "centimes"),
    "GBP": ("penny", "pence"),
}
LETTERS = (
    "a bé cé dé e effe gé hache i ji ka elle emme enne o pé ku erre esse té u vé double-vé ixe i-grec zède"
)
MILLION = 1_000_000


def cardinal(number: int, gender: str = "masculine") -> str:
    """A number before a noun: `un`, `vingt-et-une`, `quatre-vingts`."""
    return numbers.spell(LOCALE, number, f"spellout-cardinal-{gender}")


def money(amount_minor: int, currency: str) -> str:
    """`dix-neuf euros et quatre-vingt-quinze centimes`; decimals with `virgule` where no coin has a name."""
    amount = numbers.split_money(amount_minor, currency)
    coin = numbers.coin_name(LOCALE, COINS, currency, amount.fraction)
    if amount.fraction and coin is None:
        decimals = numbers.spell_signs(LOCALE, numbers.fraction_digits(amount))
        name = numbers.currency_name(LOCALE, currency, 2, NAMES)
        return f"{numbers.spell(LOCALE, amount.whole)} virgule {decimals} {name}"
    gender = "feminine" if currency in FEMININE else "masculine"
    name = numbers.currency_name(LOCALE, currency, amount.whole, NAMES)
    words = []
    if amount.whole or not amount.fraction:
        words.append(f"{cardinal(amount.whole, gender)} {_of(amount.whole, name)}{name}")
    if amount.fraction:
        words.append(f"{cardinal(amount.fraction)} {coin}")
    return " et ".join(words)


def _of(whole: int, name: str) -> str:
    """`un million d'euros`, `deux millions de dollars`: after whole millions the noun needs a `de`."""
    if not whole or whole % MILLION:
        return ""
    return "d'" if name[0] in "aeéiou" else "de "


def date(year: int, month: int, day: int) -> str:
    """`premier mai deux mille vingt-six`; every other day is a plain number, and so is the year."""
    name = numbers.month_name(LOCALE, year, month, day)
    said_day = "premier" if day == 1 else numbers.spell(LOCALE, day)
    return f"{said_day} {name} {numbers.spell(LOCALE, year)}"


LANGUAGE = Language(
    tag="fr-FR",
    name="Français",
    cardinal=cardinal,
    money=money,
    code=lambda code: numbers.spell_code(LOCALE, code, LETTERS),
    ending=lambda code: numbers.spell_ending(LOCALE, code, LETTERS),
    date=date,
    key=lambda digit: numbers.key_name(LOCALE, digit),
    voice="fr-FR",
    birth_order="dmy",
)
