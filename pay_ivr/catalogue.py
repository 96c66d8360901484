"""Every sentence of the house: what a caller hears (`Key`) and what an agent reads (`desk_…` labels).

Fluent (projectfluent.org, syntax 1.0) with our functions MONEY, CARDINAL, CODE and ENDING. Fluent never
raises; it returns broken text and a list of errors. This file owns the rule that such text is never spoken.
"""

import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from fluent.runtime import FluentBundle, FluentResource
from fluent.syntax import ast

from pay_ivr.languages import Language, languages, sentences
from vault import DeclineReason, Field, FieldProblem, FieldState, LinkState, NextStep, PaymentState

NAME_MAX = 80
"""Characters of a free-text value such as a tenant's name; a longer one is no name."""
DESK = "desk_"
"""Console labels start so; they take no values and are never spoken."""


class Key(StrEnum):
    """What can be said to a caller. The values each needs stand in `VALUES`."""

    WELCOME = "welcome"
    CONNECTING = "connecting"
    AGENT_BUSY_GOODBYE = "agent_busy_goodbye"
    CAPTURE_INTRO = "capture_intro"
    ASK_PAN = "ask_pan"
    ASK_EXPIRY = "ask_expiry"
    ASK_CVV = "ask_cvv"
    GRAMMAR = "grammar"
    FIELD_CLEARED = "field_cleared"
    PROBLEM_TOO_SHORT = "problem_too_short"
    PROBLEM_LUHN = "problem_luhn"
    PROBLEM_UNKNOWN_BRAND = "problem_unknown_brand"
    PROBLEM_BAD_MONTH = "problem_bad_month"
    PROBLEM_EXPIRED = "problem_expired"
    PROBLEM_TOO_FAR = "problem_too_far"
    PROBLEM_NO_INPUT = "problem_no_input"
    PROBLEM_REFUSED_BY_PROVIDER = "problem_refused_by_provider"
    PROBLEM_CONFIRM_REFUSED = "problem_confirm_refused"
    ALL_RECEIVED = "all_received"
    PLEASE_WAIT = "please_wait"
    APPROVED = "approved"
    DECLINED_GENERIC = "declined_generic"
    DECLINED_FUNDS = "declined_funds"
    DECLINED_PAN_WRONG = "declined_pan_wrong"
    DECLINED_EXPIRY_WRONG = "declined_expiry_wrong"
    DECLINED_CVV_WRONG = "declined_cvv_wrong"
    DECLINED_TEMPORARY = "declined_temporary"
    DECLINED_ONLINE_CONFIRMATION = "declined_online_confirmation"
    UNKNOWN_OUTCOME = "unknown_outcome"
    RETRY_CVV = "retry_cvv"
    RETRY_OTHER_CARD = "retry_other_card"
    TALK_ON = "talk_on"
    TALK_OFF = "talk_off"
    TIME_WARNING = "time_warning"
    CAPTURE_RESTARTED = "capture_restarted"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LINK_SENT = "link_sent"
    LINK_DECLINED = "link_declined"
    AGENT_LOST_CONFIRM = "agent_lost_confirm"
    NOT_CHARGED_GOODBYE = "not_charged_goodbye"
    RECEIPT = "receipt"
    GOODBYE = "goodbye"
    TECHNICAL_PROBLEM = "technical_problem"
    UNATTENDED_WELCOME = "unattended_welcome"
    UNATTENDED_GRAMMAR = "unattended_grammar"
    ASK_CODE = "ask_code"
    CODE_UNKNOWN = "code_unknown"
    CODE_CONFIRM = "code_confirm"
    NO_INPUT_GOODBYE = "no_input_goodbye"
    TOO_MANY_ATTEMPTS_GOODBYE = "too_many_attempts_goodbye"


_MONEY: Mapping[str, type] = {"amount_minor": int, "currency": str}

VALUES: Mapping[Key, Mapping[str, type]] = {
    Key.WELCOME: {"tenant": str},
    Key.CAPTURE_INTRO: _MONEY,
    Key.ASK_CVV: {"digits": int},
    Key.APPROVED: _MONEY,
    Key.TIME_WARNING: {"seconds": int},
    Key.AGENT_LOST_CONFIRM: _MONEY,
    Key.RECEIPT: {"receipt": str},
    Key.UNATTENDED_WELCOME: {"tenant": str},
    Key.CODE_CONFIRM: {**_MONEY, "reference": str},
}
"""The values of each key, by name and type. A key that is not listed takes none: its prompt is fixed."""

FIXED = tuple(key for key in Key if key not in VALUES)
"""The prompts that are the same in every call; `Speech.warm` renders them ahead."""

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
