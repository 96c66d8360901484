"""The console's own texts: one JSON file per language beside the page; `console/labels/<tag>.json`.

The words of states, declines and problems come from the catalogue; here is only what belongs to the page.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "console" / "labels"
FALLBACK = "en-US"
"""For a language that speaks to callers but has no console file yet."""


def label_languages() -> tuple[str, ...]:
    """Every language that has a file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@cache
def labels_of(language: str) -> Mapping[str, str]:
    """All texts of the page in a language, by key."""
    known = language if language in label_languages() else FALLBACK
    texts: dict[str, str] = json.loads((FOLDER / f"{known}.json").read_text(encoding="utf-8"))
    return texts
