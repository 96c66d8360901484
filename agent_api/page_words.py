"""The texts that a payer reads: one JSON file per language, for the page and for the message about it."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "page" / "words"
FALLBACK = "en-US"


def page_languages() -> tuple[str, ...]:
    """Every language that has a file, as BCP 47 tags."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def words_of(language: str) -> Mapping[str, str]:
    """All texts in a language; in English when it has none."""
    return _read(language if language in page_languages() else FALLBACK)


def word_of(language: str, key: str, **values: str) -> str:
    """One text with its values put in; what a value holds is never read as a place for another."""
    parts = words_of(language)[key].split("{")
    text = parts[0]
    for part in parts[1:]:
        name, _, rest = part.partition("}")
        text += values[name] + rest
    return text


@cache
def _read(language: str) -> Mapping[str, str]:
    texts: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return texts
