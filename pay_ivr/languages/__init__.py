"""Every language a caller can be spoken to in: one module and one `.ftl` each, found by listing.

A language is added by putting `xx_yy.py` (with a constant `LANGUAGE`) and `xx_yy.ftl` into this folder;
`tests/contracts/test_languages.py` then holds it to the same contract as the others.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Literal

BirthOrder = Literal["dmy", "mdy", "ymd"]
"""Day, month, year (four digits) as people of a language write them one after another."""


@dataclass(frozen=True)
class Language:
    """What a language knows beside its sentences: how to say numbers."""

    tag: str
    """BCP 47, with region: `de-DE`."""
    name: str
    """What its speakers call it; for a choice on the console."""
    cardinal: Callable[[int, str], str]
    """(number, `masculine` or `feminine`) → words, 0 to `numbers.SPOKEN_MAX`."""
    money: Callable[[int, str], str]
    """(amount_minor, ISO 4217 currency) → words, in the nominative."""
    code: Callable[[str], str]
    """A receipt or payment code, sign by sign."""
    ending: Callable[[str], str]
    """The last few signs of a longer reference."""
    date: Callable[[int, int, int], str]
    """(year, month, day) → the day in words, in the form its own sentences need; 1900 to 2199."""
    key: Callable[[int], str]
    """A digit, 0 to 9, as the object of `press`."""
    birth_order: BirthOrder
    """The order in which people key the parts of their date of birth."""
    voice: str
    """Name of the voice that speaks it; empty when there is none, and only recordings speak it well."""
    stand_in: str = ""
    """The language that callers hear where there is neither a voice nor a recording; empty with a voice."""
    joints: tuple[str, ...] = ()
    """Words inside numbers and amounts that stand in no list: `hundert`, `tausend`; for recordings."""


@cache
def languages() -> Mapping[str, Language]:
    """All languages of this folder by tag, in order of their tags."""
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [module.LANGUAGE for module in modules]
    return {language.tag: language for language in sorted(found, key=lambda language: language.tag)}


def sentences(tag: str) -> str:
    """The Fluent source of a language: all prompts and console labels."""
    return (files(__name__) / f"{tag.lower().replace('-', '_')}.ftl").read_text("utf-8")
