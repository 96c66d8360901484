"""German as spoken in Germany: numbers and money for callers; the sentences stand in `de_de.ftl`."""

from pay_ivr import numbers
from pay_ivr.languages import Language

LOCALE = "de"
FEMININE = frozenset({"CZK", "DKK", "INR", "ISK", "NOK", "PKR", "SEK", "TRY", "UAH"})
"""Currencies that count with `eine`: Krone, Lira, Rupie, Hrywnja."""
NAMES = {
    "HUF": ("Forint", "Forint"),
    "JPY": ("Yen", "Yen"),
    "PLN": ("Zloty", "Zloty"),
    "USD": ("Dollar", "Dollar"),
}
"""What callers say; CLDR's `Japanische Yen` would change its ending with every sentence around it."""
COINS = {
    "EUR": ("Cent", "Cent"),
    "USD": ("Cent", "Cent"),
    "CHF": ("Rappen", "Rappen"),
    "GBP": ("Penny", "Pence"),
}
LETTERS = "a be ce de e eff ge ha i jott ka ell emm enn o pe ku err ess te u vau weh ix ypsilon zett"


def cardinal(number: int, gender: str = "masculine") -> str:
    """A number before a noun: `ein`, `eine`, `einundzwanzig`."""
    return numbers.spell(LOCALE, number, f"spellout-cardinal-{gender}")


def money(amount_minor: int, currency: str) -> str:
    """`neunzehn Euro und fünfundneunzig Cent`; decimals with `Komma` where no coin has a name."""
    amount = numbers.split_money(amount_minor, currency)
    coin = numbers.coin_name(LOCALE, COINS, currency, amount.fraction)
    if amount.fraction and coin is None:
        decimals = numbers.spell_signs(LOCALE, numbers.fraction_digits(amount))
        name = numbers.currency_name(LOCALE, currency, 2, NAMES)
        return f"{numbers.spell(LOCALE, amount.whole)} Komma {decimals} {name}"
    gender = "feminine" if currency in FEMININE else "masculine"
    name = numbers.currency_name(LOCALE, currency, amount.whole, NAMES)
    words = []
    if amount.whole or not amount.fraction:
        words.append(f"{cardinal(amount.whole, gender)} {name}")
    if amount.fraction:
        words.append(f"{cardinal(amount.fraction)} {coin}")
    return " und ".join(words)


def date(year: int, month: int, day: int) -> str:
    """`dritten Mai zweitausendsechsundzwanzig`, as it stands after `am` or `vom`."""
    name = numbers.month_name(LOCALE, year, month, day)
    said_day = numbers.spell(LOCALE, day, "spellout-ordinal-n")
    return f"{said_day} {name} {numbers.spell(LOCALE, year, 'spellout-numbering-year')}"


LANGUAGE = Language(
    tag="de-DE",
    name="Deutsch",
    cardinal=cardinal,
    money=money,
    code=lambda code: numbers.spell_code(LOCALE, code, LETTERS),
    ending=lambda code: numbers.spell_ending(LOCALE, code, LETTERS),
    date=date,
    key=lambda digit: f"die {numbers.key_name(LOCALE, digit).capitalize()}",
    voice="de-DE",
    birth_order="dmy",
    joints=("hundert", "tausend", "Million", "Millionen"),
)
