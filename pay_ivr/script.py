"""What a speaker has to read for a language, recording by recording; also the names that recordings have.

Whole sentences, the fixed pieces of sentences with values, and the words that values are put together from:
0 to 99 in one breath, then whatever the language needs for the rest, found by saying everything once.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain

from babel.numbers import get_territory_currencies

from pay_ivr.catalogue import Catalogue, pieces_of
from pay_ivr.languages import Language, languages
from pay_ivr.pieces import assemble, letters
from pay_ivr.recordings import SAY
from pay_ivr.sentences import FIXED, VALUES

GENDERS = ("masculine", "feminine")
NAME_MAX = 70
"""Characters of a recording's name: it stands in the audit log beside its language."""
AMOUNTS = (0, 1, 100, 101, 105, 200, 205, 1995, 100_000_000)
"""Minor units that meet every word of an amount beside its numbers."""
SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def script(tag: str, own: str = "", names: Iterable[str] = ()) -> Mapping[str, str]:
    """Name → words of every recording a language can have.

    `own` is a tenant's own wording (Fluent), `names` what it calls itself and its rewards.
    """
    catalogue = Catalogue({("tenant", tag): own}) if own else _house()
    wanted = {str(key): catalogue.said(tag, key, tenant_id="tenant").text for key in FIXED}
    for key in VALUES:
        pieces = enumerate(pieces_of(tag, key, own), start=1)
        wanted |= {f"{key}.{number}": words for number, words in pieces}
    words = {**_words(tag), **{letters(name): name for name in names}}
    wanted |= {SAY + name: text for name, text in words.items()}
    return {name: text for name, text in wanted.items() if len(name) <= NAME_MAX}


@cache
def _house() -> Catalogue:
    return Catalogue()


@cache
def _words(tag: str) -> Mapping[str, str]:
    """Letters → words of all that numbers, amounts, days, codes and keys are made of."""
    language = languages()[tag]
    small = chain.from_iterable(
        (language.cardinal(number, kind) for number in range(100)) for kind in GENDERS
    )
    known = {letters(text): text for text in chain(small, language.joints)}
    for text in _everything(language):
        for word in text.replace(",", " ").replace("-", " ").split():
            if assemble(word, known) is None:
                known[letters(word)] = word
    return known


def _everything(language: Language) -> Iterator[str]:
    """Texts that hold every word a value can bring."""
    for number in chain(range(100, 1000), range(1000, 1_000_000, 1000), (1_000_000, 2_000_000)):
        for kind in GENDERS:
            yield language.cardinal(number, kind)
    for digit in range(10):
        yield language.key(digit)
    for sign in SIGNS:
        yield language.code(sign)
    for month in range(1, 13):
        yield language.date(2000, month, 1)
    for day in range(1, 32):
        yield language.date(2000, 1, day)
    for year in range(1900, 2200):
        yield language.date(year, 1, 1)
    for currency in sorted({"EUR", *get_territory_currencies(language.tag[-2:])}):
        for amount in AMOUNTS:
            yield language.money(amount, currency)
