"""Every sentence of the house: what a caller hears (`Key`) and what an agent reads (`desk_…` labels).

Fluent (projectfluent.org, syntax 1.0) with our functions MONEY, CARDINAL, CODE, ENDING, DATE and KEY. Fluent
never raises; it returns broken text and a list of errors. This file owns the rule that such text is never
spoken.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from fluent.runtime import FluentBundle, FluentResource
from fluent.syntax import ast

from pay_ivr.languages import Language, languages, sentences
from pay_ivr.pieces import Piece, cut, fixed_words, mark, unmarked
from pay_ivr.sentences import FIXED, VALUES, Key
from vault import DeclineReason, Field, FieldProblem, FieldState, LinkState, NextStep, PaymentState

__all__ = [
    "DESK",
    "FIXED",
    "LABEL_PREFIXES",
    "NAME_MAX",
    "PART",
    "VALUES",
    "Catalogue",
    "CatalogueError",
    "Key",
    "Said",
    "decline_key",
    "label_key",
    "message_keys",
    "problem_key",
    "say_key",
]

NAME_MAX = 80
"""Characters of a free-text value such as a tenant's name; a longer one is no name."""
TEXT_MAX = 300
"""Characters of a value called `text`: whole sentences of a tenant's own, such as an announcement."""
DESK = "desk_"
"""Console labels start so; they take no values and are never spoken."""
PART = "part_"
"""What several sentences of one language are put together from starts so; nobody asks for it by name."""


LABEL_PREFIXES: Mapping[type[StrEnum], str] = {
    PaymentState: "state",
    DeclineReason: "decline",
    FieldProblem: "problem",
    NextStep: "next",
    Field: "field",
    FieldState: "field_state",
    LinkState: "link",
}
"""Which of the door's words have console labels: `desk_<prefix>_<word>`."""


class CatalogueError(Exception):
    """No such language, key or set of values (our mistake), or a value without words (`not_speakable`).

    Never retryable; the sentence quotes no value.
    """

    retryable = False

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def problem_key(problem: FieldProblem) -> Key:
    """The sentence for a refused field."""
    return Key(f"problem_{problem.value}")


def decline_key(reason: DeclineReason) -> Key:
    """The sentence for a declined payment."""
    return Key(f"declined_{reason.value}")


def label_key(word: StrEnum) -> str:
    """The console label's key for one of the door's words; KeyError for other enumerations."""
    return f"{DESK}{LABEL_PREFIXES[type(word)]}_{word.value}"


def say_key(reason: DeclineReason) -> str:
    """The console's suggestion of what the agent may tell the caller about a decline."""
    return f"{DESK}say_{reason.value}"


@dataclass(frozen=True)
class Said:
    """One sentence with its values, in words."""

    key: str
    text: str = field(repr=False)
    """Ready to be read out or shown."""
    pieces: tuple[Piece, ...] = field(repr=False)
    """The same words, cut where a recording begins and ends."""
    own: bool
    """The tenant's own wording, not the house's."""


OwnSentences = Mapping[tuple[str, str], str]
"""(tenant, language) → Fluent source that lies over the house's."""


class Catalogue:
    """All sentences in all languages. Reading is pure; build it once at start (it parses every `.ftl`).

    `own` are sentences of tenants (`pay_ivr/wording.py` reads and checks them).
    """

    def __init__(self, own: OwnSentences | None = None) -> None:
        self._languages = languages()
        self._bundles = {tag: _bundle(language) for tag, language in self._languages.items()}
        self._own = {
            (tenant, tag): (_bundle(self._languages[tag], source), frozenset(source_keys(source)))
            for (tenant, tag), source in (own or {}).items()
        }
        self._labels = {tag: self._desk(tag) for tag in self._languages}

    @property
    def tags(self) -> tuple[str, ...]:
        """The languages, as BCP 47 tags in order."""
        return tuple(self._languages)

    def own(self, tag: str) -> tuple[str, ...]:
        """The tenants that have sentences of their own in a language."""
        return tuple(tenant for tenant, language in self._own if language == tag)

    def said(self, language: str, key: str, *, tenant_id: str = "", **values: str | int) -> Said:
        """What a caller of that tenant hears. CatalogueError when anything is missing or extra."""
        if language not in self._bundles:
            raise CatalogueError("language_unknown", "There is no such language.")
        _check(key, values)
        bundle, keys = self._own.get((tenant_id, language), (self._bundles[language], frozenset[str]()))
        marked = _format(bundle, key, values)
        return Said(key, unmarked(marked), cut(marked), key in keys)

    def text(self, language: str, key: str, **values: str | int) -> str:
        """The house's sentence in words, or a console label. CatalogueError as for `said`."""
        if not key.startswith(DESK):
            return self.said(language, key, tenant_id="", **values).text
        if language not in self._bundles:
            raise CatalogueError("language_unknown", "There is no such language.")
        return unmarked(_format(self._bundles[language], key, values))

    def label(self, language: str, word: StrEnum) -> str:
        """The console label of one of the door's words; `LABEL_PREFIXES` lists their kinds."""
        return self.text(language, label_key(word))

    def labels(self, language: str) -> Mapping[str, str]:
        """Every console label of a language by key, for the desk to hand to a console in one piece."""
        if language not in self._labels:
            raise CatalogueError("language_unknown", "There is no such language.")
        return self._labels[language]

    def _desk(self, tag: str) -> Mapping[str, str]:
        return {key: self.text(tag, key) for key in message_keys(tag) if key.startswith(DESK)}


def message_keys(tag: str) -> tuple[str, ...]:
    """The keys in a language's `.ftl`, in file order; CatalogueError when a line of it is not Fluent."""
    return source_keys(sentences(tag))


def source_keys(source: str) -> tuple[str, ...]:
    """The same for a Fluent source."""
    return tuple(message.id.name for message in _messages(source))


def pieces_of(tag: str, key: str, own: str = "") -> tuple[str, ...]:
    """The fixed words of a sentence, piece by piece, in every variant it has: what a speaker has to read."""
    messages = {message.id.name: message for message in (*_messages(sentences(tag)), *_messages(own))}
    return fixed_words(messages[key], messages)


@lru_cache(maxsize=32)
def _messages(source: str) -> tuple[ast.Message, ...]:
    body = FluentResource(source).body
    if any(isinstance(entry, ast.Junk) for entry in body):
        raise CatalogueError("sentences_broken", "The sentences hold a line that is not Fluent.")
    return tuple(entry for entry in body if isinstance(entry, ast.Message))


def _bundle(language: Language, own: str = "") -> FluentBundle:
    keys = message_keys(language.tag)
    if len(set(keys)) != len(keys):
        raise CatalogueError("sentences_broken", f"The sentences of {language.tag} hold a key twice.")
    # Isolation marks (U+2068, U+2069) serve bidirectional text on a screen; a voice stumbles over them.
    bundle = FluentBundle([language.tag], functions=_functions(language), use_isolating=False)
    bundle.add_resource(FluentResource(sentences(language.tag)))
    bundle.add_resource(FluentResource(own), allow_overrides=True)
    return bundle


def _functions(language: Language) -> dict[str, Any]:
    """Fluent's functions; an exception inside one lands in Fluent's error list, never in the text."""
    return {
        "MONEY": lambda amount, currency: mark(language.money(amount, _bare(currency))),
        "CARDINAL": lambda number, gender="masculine": mark(language.cardinal(number, gender)),
        "CODE": lambda code: mark(language.code(_bare(code))),
        "ENDING": lambda code: mark(language.ending(_bare(code))),
        "DATE": lambda year, month, day: mark(language.date(int(year), int(month), int(day))),
        "KEY": lambda digit: mark(language.key(int(digit))),
    }


def _bare(value: str) -> str:
    return unmarked(str(value))


def _check(key: str, values: Mapping[str, str | int]) -> None:
    try:
        wanted = VALUES.get(Key(key), {})
    except ValueError:
        raise CatalogueError("key_unknown", "There is no such sentence.") from None
    if wanted.keys() != values.keys():
        raise CatalogueError("values_wrong", f"{key} needs exactly: {', '.join(wanted) or 'no values'}.")
    if not all(type(values[name]) is kind for name, kind in wanted.items()):
        raise CatalogueError("values_wrong", f"A value of {key} has the wrong type.")


def _format(bundle: FluentBundle, key: str, values: Mapping[str, str | int]) -> str:
    if not bundle.has_message(key):
        raise CatalogueError("key_unknown", "There is no such sentence.")
    plain = {name: _plain(value, TEXT_MAX if name == "text" else NAME_MAX) for name, value in values.items()}
    pattern = bundle.get_message(key).value
    if pattern is None:
        raise CatalogueError("sentences_broken", f"{key} has no text.")
    text, errors = bundle.format_pattern(pattern, plain)
    if errors:
        # Fluent's own errors quote the value: they end here and are not chained.
        raise CatalogueError("not_speakable", f"{key} cannot be put into words with these values.")
    return str(text)


def _plain(value: str | int, characters_max: int) -> str | int:
    """A free-text value without control or invisible characters and without `<`, `>`.

    Pico, the default voice, obeys markup in its text, even one that writes files (`pay_ivr/voice.py`).
    """
    if not isinstance(value, str):
        return value
    kept = (" " if sign in "<>" or unicodedata.category(sign)[0] in "CZ" else sign for sign in value)
    text = " ".join("".join(kept).split())
    if not text or len(text) > characters_max:
        raise CatalogueError("not_speakable", "A value is empty or too long to be spoken.")
    return mark(text, whole=True)
