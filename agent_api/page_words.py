"""The texts of the pages that are not the console: one JSON file per language and page.

Payers and members read them, on the page and in the messages about it.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FALLBACK = "en-US"
FOLDER = Path(__file__).parent


class Words:
    """All texts of one page, from a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def languages(self) -> tuple[str, ...]:
        """Every language that has a file, as BCP 47 tags."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.json")))

    def all(self, language: str) -> Mapping[str, str]:
        """All texts in a language; in English when it has none."""
        return _read(self._folder / f"{language if language in self.languages() else FALLBACK}.json")

    def word(self, language: str, key: str, **values: str) -> str:
        """One text with its values put in; what a value holds is never read as a place for another."""
        parts = self.all(language)[key].split("{")
        text = parts[0]
        for part in parts[1:]:
            name, _, rest = part.partition("}")
            text += values[name] + rest
        return text


PAYER = Words(FOLDER / "page" / "words")
"""The payer's page and the message with its link."""
MEMBER = Words(FOLDER / "member_page" / "words")
"""The member's own page."""


@cache
def _read(path: Path) -> Mapping[str, str]:
    texts: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return texts
