"""Every sentence of the house: what a caller hears (`Key`) and what an agent reads (`desk_…` labels).

Fluent (projectfluent.org, syntax 1.0) with our functions MONEY, CARDINAL, CODE, ENDING, DATE and KEY. Fluent
never raises; it returns broken text and a list of errors. This file owns the rule that such text is never
spoken.
"""

import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from fluent.runtime import FluentBundle, FluentResource
from fluent.syntax import ast

from pay_ivr.languages import Language, languages, sentences
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
    "decline_key",
    "label_key",
    "message_keys",
    "problem_key",
    "say_key",
]

NAME_MAX = 80
"""Characters of a free-text value such as a tenant's name; a longer one is no name."""
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


class Catalogue:
    """All sentences in all languages. Reading is pure; build it once at start (it parses every `.ftl`)."""

    def __init__(self) -> None:
        self._languages = languages()
        self._bundles = {tag: _bundle(language) for tag, language in self._languages.items()}
        self._labels = {tag: self._desk(tag) for tag in self._languages}

    @property
    def tags(self) -> tuple[str, ...]:
        """The languages, as BCP 47 tags in order."""
        return tuple(self._languages)

    def text(self, language: str, key: str, **values: str | int) -> str:
        """The sentence in words, ready to speak or show. CatalogueError when anything is missing or extra."""
        if language not in self._bundles:
            raise CatalogueError("language_unknown", "There is no such language.")
        if not key.startswith(DESK):
            _check(key, values)
        return _format(self._bundles[language], key, values)

    def label(self, language: str, word: StrEnum) -> str:
        """The console label of one of the door's words; `LABEL_PREFIXES` lists their kinds."""
        return self.text(language, label_key(word))

    def labels(self, language: str) -> Mapping[str, str]:
        """Every console label of a language by key, for the desk to hand to a console in one piece."""
        if language not in self._labels:
            raise CatalogueError("language_unknown", "There is no such language.")
        return self._labels[language]

    def _desk(self, tag: str) -> Mapping[str, str]:
        bundle = self._bundles[tag]
        return {key: _format(bundle, key, {}) for key in message_keys(tag) if key.startswith(DESK)}


def message_keys(tag: str) -> tuple[str, ...]:
    """The keys in a language's `.ftl`, in file order; CatalogueError when a line of it is not Fluent."""
    body = FluentResource(sentences(tag)).body
    if any(isinstance(entry, ast.Junk) for entry in body):
        raise CatalogueError("sentences_broken", f"The sentences of {tag} hold a line that is not Fluent.")
    return tuple(entry.id.name for entry in body if isinstance(entry, ast.Message))


def _bundle(language: Language) -> FluentBundle:
    keys = message_keys(language.tag)
    if len(set(keys)) != len(keys):
        raise CatalogueError("sentences_broken", f"The sentences of {language.tag} hold a key twice.")
    # Isolation marks (U+2068, U+2069) serve bidirectional text on a screen; a voice stumbles over them.
    bundle = FluentBundle([language.tag], functions=_functions(language), use_isolating=False)
    bundle.add_resource(FluentResource(sentences(language.tag)))
    return bundle


def _functions(language: Language) -> dict[str, Any]:
    """Fluent's functions; an exception inside one lands in Fluent's error list, never in the text."""
    return {
        "MONEY": language.money,
        "CARDINAL": lambda number, gender="masculine": language.cardinal(number, gender),
        "CODE": language.code,
        "ENDING": language.ending,
        "DATE": lambda year, month, day: language.date(int(year), int(month), int(day)),
        "KEY": lambda digit: language.key(int(digit)),
    }


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
    plain = {name: _plain(value) for name, value in values.items()}
    pattern = bundle.get_message(key).value
    if pattern is None:
        raise CatalogueError("sentences_broken", f"{key} has no text.")
    text, errors = bundle.format_pattern(pattern, plain)
    if errors:
        # Fluent's own errors quote the value: they end here and are not chained.
        raise CatalogueError("not_speakable", f"{key} cannot be put into words with these values.")
    return " ".join(str(text).split())


def _plain(value: str | int) -> str | int:
    """A free-text value without control or invisible characters and without `<`, `>`.

    Pico, the default voice, obeys markup in its text, even one that writes files (`pay_ivr/voice.py`).
    """
    if not isinstance(value, str):
        return value
    kept = (" " if sign in "<>" or unicodedata.category(sign)[0] in "CZ" else sign for sign in value)
    text = " ".join("".join(kept).split())
    if not text or len(text) > NAME_MAX:
        raise CatalogueError("not_speakable", "A value is empty or too long to be spoken.")
    return text
