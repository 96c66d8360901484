"""Sentences cut where a recording begins and ends: fixed words, and the values between them. Pure.

A value (a number, an amount, a name) is marked when it enters a sentence, with two characters of Unicode's
private use area that no sentence and no value can hold. Recordings of values are named by their letters
alone, `say.funfundneunzig`, so that one German word can be put together from several recordings.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

from fluent.syntax import ast
from fluent.syntax.visitor import Visitor

OPEN, NAME, CLOSE = "\ue000", "\ue002", "\ue001"
"""Where a value begins that has parts, where a name begins that is said in one piece, and where both end."""
LETTERS_MAX = 200
"""Letters of one value; the longest number has 90."""
PAUSE = ""
"""Stands for a comma among the parts of a value: the groups of a code are told apart by it."""
_MARKED = re.compile(f"([{OPEN}{NAME}])([^{CLOSE}]*){CLOSE}")

_NO_MARKS = str.maketrans("", "", OPEN + NAME + CLOSE)


@dataclass(frozen=True)
class Piece:
    """Words of a sentence that are spoken in one breath."""

    text: str
    value: bool
    """True when it changes from call to call."""
    whole: bool = False
    """True for a name: it is recorded as it is, never put together from other words."""


def mark(text: str, *, whole: bool = False) -> str:
    """A value as it stands in a sentence until `cut` takes it out again; `whole`: it is a name."""
    return f"{NAME if whole else OPEN}{text}{CLOSE}"


def cut(marked: str) -> tuple[Piece, ...]:
    """The pieces of a sentence in order; signs without a letter between two values are no piece."""
    fixed, *values = _MARKED.split(marked)
    found = [Piece(fixed, value=False)]
    for kind, value, after in zip(values[::3], values[1::3], values[2::3], strict=True):
        found += [Piece(value, value=True, whole=kind == NAME), Piece(after, value=False)]
    plain = [replace(piece, text=" ".join(piece.text.split()).lstrip(",.:; ")) for piece in found]
    return tuple(piece for piece in plain if letters(piece.text))


def unmarked(marked: str) -> str:
    """The sentence as it is read out."""
    return " ".join(marked.translate(_NO_MARKS).split())


def letters(text: str) -> str:
    """Lower-case ASCII letters and digits, accents off: `Fünf und` → `funfund`."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in plain if sign.isascii() and sign.isalnum())


def assemble(text: str, known: Collection[str]) -> tuple[str, ...] | None:
    """The fewest recordings that say a value, by their letters, `PAUSE` for a comma; None if some is missing.

    Any cut through the same letters says the same, so the fewest joints are the best sound. A recording of a
    single letter stands for a word of one letter only: it is the letter's name.
    """
    said: list[str] = []
    for group in text.split(","):
        parts = _fewest([letters(word) for word in re.split(r"[\s\-']+", group)], known)
        if parts is None:
            return None
        said += [PAUSE, *parts] if said and parts else parts
    return tuple(said)


def _fewest(words: list[str], known: Collection[str]) -> list[str] | None:
    line = "".join(words)
    if len(line) > LETTERS_MAX:
        return None
    joints = set(accumulate(map(len, words), initial=0))
    longest = max(map(len, known), default=0)
    best: list[list[str] | None] = [[]]
    for end in range(1, len(line) + 1):
        ways = [
            [*before, line[start:end]]
            for start in range(max(0, end - longest), end)
            if (before := best[start]) is not None
            and line[start:end] in known
            and (end - start > 1 or (start in joints and end in joints))
        ]
        best.append(min(ways, key=len, default=None))
    return best[-1]


def fixed_words(message: ast.Message, parts: Mapping[str, ast.Message]) -> tuple[str, ...]:
    """Every fixed piece that a sentence can have, each once, in the order of the file.

    All variants of all choices are walked; two choices by the same value are made alike.
    """
    found: dict[str, None] = {}
    pattern = message.value
    for marked, _ in _ways(pattern.elements if pattern else [], parts, {}):
        found.update(dict.fromkeys(piece.text for piece in cut(marked) if not piece.value))
    return tuple(found)


class _Values(Visitor):
    """Collects the `$values` below a syntax node."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_VariableReference(self, node: ast.VariableReference) -> None:  # noqa: N802 - the library's name
        self.names.add(node.id.name)


def values_of(message: ast.Message) -> frozenset[str]:
    """The values that a sentence itself uses, without those of its parts."""
    seen = _Values()
    seen.visit(message)
    return frozenset(seen.names)


_Chosen = Mapping[str, tuple[str, frozenset[str]]]
"""Value name → the variant taken, so that `one` here is `one` there; a default also says what it is not."""


def _ways(
    elements: list[ast.TextElement | ast.Placeable], parts: Mapping[str, ast.Message], chosen: _Chosen
) -> Iterator[tuple[str, _Chosen]]:
    if not elements:
        yield "", chosen
        return
    for head, then in _element(elements[0], parts, chosen):
        for tail, last in _ways(elements[1:], parts, then):
            yield head + tail, last


def _element(
    element: ast.TextElement | ast.Placeable, parts: Mapping[str, ast.Message], chosen: _Chosen
) -> Iterator[tuple[str, _Chosen]]:
    if isinstance(element, ast.TextElement):
        yield element.value, chosen
        return
    match element.expression:
        case ast.SelectExpression() as choice:
            yield from _choice(choice, parts, chosen)
        case ast.MessageReference(id=name) if name.name in parts and (value := parts[name.name].value):
            yield from _ways(value.elements, parts, chosen)
        case ast.StringLiteral(value=text):
            yield text, chosen
        case _:
            yield mark("x"), chosen


def _choice(
    choice: ast.SelectExpression, parts: Mapping[str, ast.Message], chosen: _Chosen
) -> Iterator[tuple[str, _Chosen]]:
    variants = {_key(variant): variant for variant in choice.variants}
    default = next(_key(variant) for variant in choice.variants if variant.default)
    name = choice.selector.id.name if isinstance(choice.selector, ast.VariableReference) else ""
    taken, ruled_out = chosen.get(name, ("", frozenset[str]()))
    possible = [taken if taken in variants else default] if taken else [*variants]
    for key in possible:
        if key in ruled_out:
            continue
        others = frozenset(variants) - {default} | ruled_out
        now = (taken, ruled_out) if taken else ("", others) if key == default else (key, ruled_out)
        yield from _ways(variants[key].value.elements, parts, {**chosen, name: now})


def _key(variant: ast.Variant) -> str:
    return variant.key.name if isinstance(variant.key, ast.Identifier) else str(variant.key.value)
