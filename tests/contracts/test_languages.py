"""The contract of a language: whatever lies in `pay_ivr/languages/` can say everything, in words only."""

import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain, product

import pytest
from fluent.runtime import FluentResource
from fluent.syntax import ast
from fluent.syntax.visitor import Visitor

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


@tongue
def test_numbers_up_to_a_million_are_words(language: Language):
    """Every number to 2,100 and a spread to one million, in both genders, without figures or soft hyphens."""
    for number in chain(range(2101), range(2_101, 1_000_000, 7_919), (999_999, 1_000_000)):
        for gender in ("masculine", "feminine"):
            words = language.cardinal(number, gender)
            assert words.replace(" ", "").replace("-", "").isalpha(), number


@tongue
@pytest.mark.parametrize("currency", ["EUR", "USD", "JPY", "HUF", "GBP", "KWD"])
def test_money_is_words(language: Language, currency: str):
    """Amounts with and without minor units, in currencies with 0, 2 and 3 decimal places."""
    for amount in (0, 1, 9, 10, 99, 100, 101, 105, 1995, 50000, 100000, 100_000_000, 999_999_999):
        words = language.money(amount, currency)
        assert words.replace(" ", "").replace("-", "").replace("'", "").isalpha(), amount


@tongue
def test_different_amounts_sound_different(language: Language):
    """No two amounts below 200 euros share their words: what is confirmed is what is charged."""
    assert len({language.money(amount, "EUR") for amount in range(20_000)}) == 20_000


@tongue
def test_different_codes_sound_different(language: Language):
    """Each letter and digit has a name of its own."""
    assert len({language.code(sign) for sign in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"}) == 36
