"""The contract of a language: whatever lies in `pay_ivr/languages/` can say everything, in words only."""

import random
import re
import unicodedata
from collections.abc import Collection, Iterator
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from itertools import chain, product
from pathlib import Path

import pytest
from fluent.runtime import FluentResource
from fluent.syntax import ast
from fluent.syntax.visitor import Visitor
from unicode_rbnf import RbnfEngine

from pay_ivr.catalogue import (
    DESK,
    LABEL_PREFIXES,
    PART,
    VALUES,
    Catalogue,
    Key,
    decline_key,
    label_key,
    message_keys,
    problem_key,
    say_key,
)
from pay_ivr.languages import Language, languages, sentences
from pay_ivr.numbers import UnspeakableError
from pay_ivr.pieces import assemble
from pay_ivr.recordings import SAY, Recordings
from pay_ivr.script import script
from pay_ivr.sentences import EXAMPLES
from vault import DeclineReason, FieldProblem

tongue = pytest.mark.parametrize("language", languages().values(), ids=lambda language: language.tag)


def samples(key: Key) -> Iterator[dict[str, str | int]]:
    """Every combination of sample values for a key."""
    lists = {name: EXAMPLES[name] for name in VALUES.get(key, {})}
    for values in product(*lists.values()):
        yield dict(zip(lists, values, strict=True))


class _Variables(Visitor):
    """Collects the `$variables` below a syntax node, also those of the parts it is put together from."""

    def __init__(self, parts: dict[str, ast.Message]) -> None:
        self.parts = parts
        self.names: set[str] = set()

    def visit_MessageReference(self, node: ast.MessageReference) -> None:  # noqa: N802 - the library's name
        self.visit(self.parts[node.id.name])

    def visit_VariableReference(self, node: ast.VariableReference) -> None:  # noqa: N802 - the library's name
        self.names.add(node.id.name)


def variables(tag: str) -> dict[str, set[str]]:
    """Per key, the variables its message uses, read from the syntax tree."""
    messages = {
        entry.id.name: entry
        for entry in FluentResource(sentences(tag)).body
        if isinstance(entry, ast.Message)
    }
    found = {}
    for name, entry in messages.items():
        collector = _Variables({name: part for name, part in messages.items() if name.startswith(PART)})
        collector.visit(entry)
        found[name] = collector.names
    return found


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


def test_the_four_first_languages_are_there():
    """German, American English, Spanish and French are spoken."""
    assert {"de-DE", "en-US", "es-ES", "fr-FR"} <= languages().keys()


@tongue
def test_every_language_has_the_same_keys(language: Language):
    """The spoken keys are exactly the table's; the console labels are those of every other language."""
    spoken = {key for key in message_keys(language.tag) if not key.startswith((DESK, PART))}
    labels = {key for key in message_keys(language.tag) if key.startswith(DESK)}
    others = [{key for key in message_keys(tag) if key.startswith(DESK)} for tag in languages()]
    assert {key.value for key in Key} == spoken
    assert all(labels == other for other in others)


@tongue
def test_every_sentence_uses_exactly_the_values_of_its_key(language: Language):
    """A sentence that forgets the amount, or asks for a value nobody gives, is found here."""
    used = variables(language.tag)
    assert {key.value: set(VALUES.get(key, {})) for key in Key} == {key.value: used[key] for key in Key}
    assert not set(chain.from_iterable(names for key, names in used.items() if key.startswith(DESK)))


@tongue
@pytest.mark.parametrize("key", list(Key))
def test_every_sentence_becomes_plain_words(catalogue: Catalogue, language: Language, key: Key):
    """No figure, no invisible mark, no markup, no placeholder: only what a voice can read."""
    for values in samples(key):
        text = catalogue.text(language.tag, key, **values)
        assert text
        assert not [sign for sign in text if unicodedata.category(sign)[0] == "N"]
        assert not [sign for sign in text if unicodedata.category(sign) in {"Cc", "Cf", "Co", "Cs"}]
        assert not set("{}<>$*#_") & set(text)


@tongue
@pytest.mark.parametrize("word", list(chain.from_iterable(LABEL_PREFIXES)), ids=repr)
def test_every_word_of_the_door_has_a_label(catalogue: Catalogue, language: Language, word: StrEnum):
    """States, declines, problems, next steps and fields can be shown in every language."""
    assert catalogue.label(language.tag, word) == catalogue.labels(language.tag)[label_key(word)]


@tongue
def test_every_decline_and_problem_has_a_sentence(catalogue: Catalogue, language: Language):
    """Whatever the cell or the provider reports, the caller hears why and the agent reads what to say."""
    assert all(catalogue.text(language.tag, problem_key(problem)) for problem in FieldProblem)
    assert all(catalogue.text(language.tag, decline_key(reason)) for reason in DeclineReason)
    assert all(catalogue.text(language.tag, say_key(reason)) for reason in DeclineReason)


EDGES = (
    *(edge + step for edge in (10_000, 21_000, 80_000, 100_000, 200_000, 999_000) for step in (-1, 0, 1, 21)),
    999_999,
    1_000_000,
    1_000_001,
    2_000_000,
)
"""Where words change."""
GENDERS = ("masculine", "feminine")


def agree(language: Language, numbers: Collection[int], gender: str) -> None:
    """Letters only, no two alike, and CLDR's own words where CLDR is right."""
    words = [language.cardinal(number, gender) for number in numbers]
    assert all(text.replace(" ", "").replace("-", "").isalpha() for text in words)
    assert len(set(words)) == len(numbers)
    assert [cldr(language.tag, number, gender) for number in numbers] == words


@tongue
def test_numbers_up_to_a_million_are_words(language: Language):
    """Every one to 999 in both genders, then a sample to a million."""
    some = random.Random(2026).sample(range(1_000, 1_000_000), 150)
    for gender in GENDERS:
        agree(language, {*range(1_000), *some, *EDGES}, gender)


@pytest.mark.proof
@tongue
def test_more_numbers_up_to_a_million_are_words(language: Language):
    """Every one to 2,999 and 20,000 others."""
    others = random.Random(7).sample(range(3_000, 1_000_000), 20_000)
    for gender in GENDERS:
        agree(language, {*range(3_000), *others, *EDGES}, gender)


@cache
def rules(language: str) -> RbnfEngine:
    return RbnfEngine.for_language(language)


def cldr(tag: str, number: int, gender: str) -> str:
    """UTS #35 part 3: the cardinal of that gender, of any when the language counts without one."""
    engine = rules(tag[:2])
    for name in (f"spellout-cardinal-{gender}", "spellout-cardinal"):
        if name in engine.rulesets:
            text = engine.format_number(number, ruleset_names=[name]).text_by_ruleset[name]
            break
    if (tag, gender) == ("es-ES", "feminine") and 2_000 <= number < 1_000_000:
        # CLDR forgets the gender of Spanish thousands (`doscientos mil libras`).
        thousands, rest = divmod(number, 1_000)
        return f"{cldr(tag, thousands, gender)} mil {cldr(tag, rest, gender) if rest else ''}".strip()
    return text.replace("\u00ad", "")


COUNTED = [
    ("de-DE", (1, "ein Punkt"), (21, "einundzwanzig Punkte"), (1_000_000, "eine Million Punkte")),
    ("en-US", (1, "one point"), (101, "one hundred one points"), (1_000_000, "one million points")),
    ("es-ES", (1, "un punto"), (21, "veintiún puntos"), (101, "ciento un puntos")),
    ("es-ES", (1_000_000, "un millón de puntos"), (1_000_001, "un millón un puntos")),
    ("fr-FR", (0, "zéro point"), (1, "un point"), (80, "quatre-vingts points")),
    ("fr-FR", (1_000_000, "un million de points"), (2_000_000, "deux millions de points")),
    ("hu-HU", (1, "egy pont"), (2, "kettő pont"), (1_234, "ezerkétszázharmincnégy pont")),
]


@pytest.mark.parametrize(("tag", "counted"), [(tag, one) for tag, *all_of in COUNTED for one in all_of])
def test_points_are_counted_as_people_count_them(catalogue: Catalogue, tag: str, counted: tuple[int, str]):
    """Gender, plural, and `de` after a million."""
    points, words = counted
    assert words in catalogue.text(tag, Key.BALANCE, points=points)


DAYS = [
    ("de-DE", (2026, 5, 3), "dritten Mai zweitausendsechsundzwanzig"),
    ("de-DE", (1987, 12, 31), "einunddreißigsten Dezember neunzehnhundertsiebenundachtzig"),
    ("en-US", (2026, 5, 3), "May third, twenty twenty-six"),
    ("en-US", (1905, 1, 1), "January first, nineteen oh-five"),
    ("es-ES", (2027, 1, 1), "uno de enero de dos mil veintisiete"),
    ("fr-FR", (2026, 8, 1), "premier août deux mille vingt-six"),
    ("fr-FR", (1999, 2, 2), "deux février mille neuf cent quatre-vingt-dix-neuf"),
    ("hu-HU", (2026, 5, 3), "kétezerhuszonhat május harmadikán"),
    ("hu-HU", (2026, 3, 31), "kétezerhuszonhat március harmincegyedikén"),
]


@pytest.mark.parametrize(("tag", "day", "words"), DAYS)
def test_days_are_said_as_people_say_them(tag: str, day: tuple[int, int, int], words: str):
    """In the form that the language's own sentences need."""
    assert words == languages()[tag].date(*day)


@tongue
def test_every_day_has_words_of_its_own(language: Language):
    """A leap year's days and every year from 1900 to 2199: letters only, no two alike; none outside."""
    days = [date(2024, 1, 1) + timedelta(number) for number in range(366)]
    days += [date(year, 7, 21) for year in range(1900, 2200) if year != 2024]
    words = [language.date(day.year, day.month, day.day) for day in days]
    assert len(set(words)) == len(days)
    assert all(text.translate(str.maketrans("", "", " -,'")).isalpha() for text in words)
    for wrong in ((1899, 1, 1), (2200, 1, 1), (2026, 2, 29), (2026, 13, 1), (2026, 0, 1), (2026, 1, 0)):
        with pytest.raises(UnspeakableError):
            language.date(*wrong)


@tongue
def test_every_key_of_the_phone_has_a_name(language: Language):
    """Ten keys, ten names, no figure; there is no eleventh."""
    names = [language.key(digit) for digit in range(10)]
    assert 10 == len(set(names))
    assert all(name.replace(" ", "").isalpha() for name in names)
    for wrong in (-1, 10):
        with pytest.raises(UnspeakableError):
            language.key(wrong)


@tongue
def test_a_voice_speaks_or_another_language_stands_in(language: Language):
    """A language without a voice names one that has it."""
    assert bool(language.voice) != bool(language.stand_in)
    assert language.voice or languages()[language.stand_in].voice
    assert language.birth_order in {"dmy", "mdy", "ymd"}


@tongue
def test_everything_that_is_said_can_be_recorded(catalogue: Catalogue, language: Language, tmp_path: Path):
    """With the whole script recorded, no sentence needs a voice, whatever its values; names are unique."""
    names = [value for name in ("tenant", "reward", "text") for value in map(str, EXAMPLES[name])]
    words = script(language.tag, names=names)
    recordings = Recordings(tmp_path)
    recordings.store("all", language.tag, {name: (text, b"\xff" * 160) for name, text in words.items()})
    assert all(re.fullmatch(r"[a-z_]+(\.\d+)?|say\.[a-z0-9]+", name) for name in words)
    for key in Key:
        for values in list(samples(key))[::3]:
            said = catalogue.said(language.tag, key, tenant_id="", **values)
            if values.get("currency") in {"USD", "JPY", "HUF"}:
                continue  # amounts of a foreign currency are said by the voice
            assert recordings.parts("all", language.tag, said), (key, values)


@tongue
def test_the_words_of_any_number_can_be_put_together(language: Language):
    """From 0 to 99 and a few words more; from these alone every number to a million is said."""
    known = {name.removeprefix(SAY) for name in script(language.tag) if name.startswith(SAY)}
    for number in (*range(100, 3_000, 29), *EDGES):
        assert assemble(language.cardinal(number, "masculine"), known), number
        assert assemble(language.cardinal(number, "feminine"), known), number


@tongue
@pytest.mark.parametrize("currency", ["EUR", "USD", "JPY", "HUF", "GBP", "KWD"])
def test_money_is_words(language: Language, currency: str):
    """Amounts with and without minor units, in currencies with 0, 2 and 3 decimal places."""
    for amount in (0, 1, 9, 10, 99, 100, 101, 105, 1995, 50000, 100000, 100_000_000, 999_999_999):
        words = language.money(amount, currency)
        assert words.replace(" ", "").replace("-", "").replace("'", "").isalpha(), amount


@tongue
def test_different_amounts_sound_different(language: Language):
    """No two amounts below 20 euros share their words: what is confirmed is what is charged."""
    assert len({language.money(amount, "EUR") for amount in range(2_000)}) == 2_000


@tongue
@pytest.mark.proof
def test_all_different_amounts_sound_different(language: Language):
    """Nor do any two below 200."""
    assert len({language.money(amount, "EUR") for amount in range(20_000)}) == 20_000


@tongue
def test_different_codes_sound_different(language: Language):
    """Each letter and digit has a name of its own."""
    assert len({language.code(sign) for sign in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"}) == 36
