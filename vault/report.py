"""The report socket of a capture cell: its words as bytes, in both directions.

SOCK_SEQPACKET; one message is one UTF-8 JSON object of at most `REPORT_MAX` bytes. Cell to broker
`{"r": name, ...}`, broker to cell `{"c": name, ...}`; the names and fields are those of the frozen types in
`vault/progress.py`, None is left out. What does not fit a type exactly is refused: both ends are ours, so a
misfit is a fault and never something to guess about.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from enum import StrEnum

from vault.door import VaultError
from vault.progress import Command, Fact

REPORT_MAX = 4096
"""Bytes of one message: the largest honest one (posture) has about 600; a provider's call has to fit too."""

SECRET_MARK = b"\x02"
"""First byte of the message with the secret of the cell's provider, which is no JSON object. It goes to that
cell alone, and past the spawner, whose memory every cell inherits."""


class ReportError(VaultError):
    """A message that is not one of ours; `code` says how, the message is never quoted."""


_Word = typing.TypeVar("_Word")


class Vocabulary(typing.Generic[_Word]):
    """The words of one direction: frozen types with a `NAME`, and their messages `{marker: name, ...}`."""

    def __init__(self, marker: str, words: object) -> None:
        """`words`: the union of the types."""
        self._marker = marker
        self._words: dict[str, type] = {word.NAME: word for word in typing.get_args(words)}
        self._hints = {
            word: {one.name: typing.get_type_hints(word)[one.name] for one in dataclasses.fields(word)}
            for word in self._words.values()
        }

    def encode(self, word: _Word) -> bytes:
        """The message of a word; `ReportError` when it is too long."""
        one: typing.Any = word
        values = {each.name: getattr(one, each.name) for each in dataclasses.fields(one)}
        told = {name: value for name, value in values.items() if value is not None}
        body = {self._marker: one.NAME, **told}
        message = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        if len(message) > REPORT_MAX:
            raise ReportError("report_too_long", "The message does not fit the report socket.")
        return message

    def decode(self, message: bytes) -> _Word:
        """The word of a message; `ReportError` when it is none."""
        if len(message) > REPORT_MAX:
            raise ReportError("report_too_long", "The message is longer than the report socket allows.")
        try:
            values = json.loads(message)
        except (ValueError, RecursionError):
            raise ReportError("report_unreadable", "The message is not a JSON object.") from None
        if not isinstance(values, dict) or not isinstance(values.get(self._marker), str):
            raise ReportError("report_unreadable", "The message is not a JSON object with a name.")
        word = self._words.get(values.pop(self._marker))
        if word is None:
            raise ReportError("report_unknown", "The message has a name that nobody knows.")
        return typing.cast("_Word", _build(word, self._hints[word], values))


def _build(word: type, hints: Mapping[str, object], values: Mapping[str, object]) -> object:
    if not values.keys() <= hints.keys():
        raise ReportError("report_misfit", "The message has a field that its name does not have.")
    try:
        return word(**{name: _fitted(hints[name], value) for name, value in values.items()})
    except TypeError:
        raise ReportError("report_misfit", "The message lacks a field that its name needs.") from None


def _fitted(hint: object, value: object) -> object:
    """The value as the type the hint asks for: StrEnum, str, int, bool, object or tuple of str, or None."""
    for kind in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
        if isinstance(kind, type) and issubclass(kind, StrEnum) and value in list(kind):
            return kind(typing.cast("str", value))
        if kind in (str, int, bool) and type(value) is kind:
            return value
        if typing.get_origin(kind) is Mapping and isinstance(value, dict):
            return value
        if (
            typing.get_origin(kind) is tuple
            and isinstance(value, list)
            and all(type(v) is str for v in value)
        ):
            return tuple(value)
    raise ReportError("report_misfit", "A field of the message has a value of another type.")


_FACTS: Vocabulary[Fact] = Vocabulary("r", Fact)
_COMMANDS: Vocabulary[Command] = Vocabulary("c", Command)


def encode_fact(fact: Fact) -> bytes:
    """The message a cell sends to its broker."""
    return _FACTS.encode(fact)


def encode_command(command: Command) -> bytes:
    """The message a broker sends to its cell."""
    return _COMMANDS.encode(command)


def decode_fact(message: bytes) -> Fact:
    """The fact in a cell's message; `ReportError` when it is none."""
    return _FACTS.decode(message)


def decode_command(message: bytes) -> Command:
    """The command in a broker's message; `ReportError` when it is none."""
    return _COMMANDS.decode(message)
