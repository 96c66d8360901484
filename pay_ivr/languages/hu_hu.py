"""Hungarian: numbers, money and days for callers; the sentences stand in `hu_hu.ftl`.

No free voice speaks Hungarian: callers hear recordings, and American English where there is none (decision
0030).
"""

from pay_ivr import numbers
from pay_ivr.languages import Language

LOCALE = "hu"
NAMES = {"USD": ("dollár", "dollár"), "HUF": ("forint", "forint"), "JPY": ("jen", "jen")}
"""What callers say, shorter than CLDR's `USA-dollár` and `magyar forint`."""
COINS = {
    "EUR": ("cent", "cent"),
    "USD": ("cent", "cent"),
    "CHF": ("rappen", "rappen"),
    "GBP": ("penny", "penny"),
}
LETTERS = "a bé cé dé e eff gé há i jé ká ell emm enn o pé kú err ess té u vé dupla-vé iksz ipszilon zé"
KEYS = (
    "a nullás",
    "az egyes",
    "a kettes",
    "a hármas",
    "a négyes",
    "az ötös",
    "a hatos",
    "a hetes",
    "a nyolcas",
    "a kilences",
)
"""The keys have names of their own, and the article goes with the sound that follows."""


def cardinal(number: int, gender: str = "masculine") -> str:  # noqa: ARG001 - Hungarian has no gender
    """A number in words, as it is said on the telephone: `kettő`, for `két` sounds like `hét`."""
    return numbers.spell(LOCALE, number, "spellout-cardinal")


def money(amount_minor: int, currency: str) -> str:
    """`tizenkilenc euró kilencvenöt cent`; decimals with `vessző` where no coin has a name."""
    amount = numbers.split_money(amount_minor, currency)
    coin = numbers.coin_name(LOCALE, COINS, currency, amount.fraction)
    name = numbers.currency_name(LOCALE, currency, amount.whole, NAMES)
    if amount.fraction and coin is None:
        decimals = numbers.spell_signs(LOCALE, numbers.fraction_digits(amount))
        return f"{cardinal(amount.whole)} vessző {decimals} {name}"
    words = [f"{cardinal(amount.whole)} {name}"] if amount.whole or not amount.fraction else []
    if amount.fraction:
        words.append(f"{cardinal(amount.fraction)} {coin}")
    return " ".join(words)


def date(year: int, month: int, day: int) -> str:
    """`kétezerhuszonhat május harmadikán`: the day on which something happens."""
    name = numbers.month_name(LOCALE, year, month, day)
    ordinal = numbers.spell(LOCALE, day, "spellout-ordinal")
    if day == 1:
        said_day = "elsején"
    else:  # vowel harmony: the vowel before `-dik` decides
        said_day = f"{ordinal}{'án' if ordinal.removesuffix('dik')[-1] in 'ao' else 'én'}"
    return f"{numbers.spell(LOCALE, year, 'spellout-numbering-year')} {name} {said_day}"


def key(digit: int) -> str:
    """`az egyes gombot`."""
    numbers.key_name(LOCALE, digit)
    return f"{KEYS[digit]} gombot"


LANGUAGE = Language(
    tag="hu-HU",
    name="Magyar",
    cardinal=cardinal,
    money=money,
    code=lambda code: numbers.spell_code(LOCALE, code, LETTERS),
    ending=lambda code: numbers.spell_ending(LOCALE, code, LETTERS),
    date=date,
    key=key,
    voice="",
    stand_in="en-US",
    birth_order="ymd",
    joints=("két", "száz", "ezer", "millió"),
)
