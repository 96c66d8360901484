"""The documents keep their promises: links lead somewhere, decisions are whole, the glossary is complete."""

import inspect
import re
from enum import StrEnum
from pathlib import Path

import pytest

from tests.support import settings
from vault import door

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
HEADINGS = ["Context", "Decision", "Consequences", "Alternatives", "References"]
WORDS_OF_THE_DOOR = [
    kind
    for _, kind in inspect.getmembers(door, inspect.isclass)
    if issubclass(kind, StrEnum) and kind is not StrEnum
]


def section(text: str, heading: str) -> str:
    """What stands under `## heading`; empty when there is none."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else ""


def prose(text: str) -> str:
    """The text without fenced blocks, whose brackets are no links."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path):
    """A link to a file or folder of the project exists; links to the web are not followed."""
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text("utf-8")))
    local = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert not [link for link in local if not (page.parent / link).exists()]


def test_decisions_are_numbered_without_a_gap():
    """0001, 0002 … each number once."""
    assert [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)] == [
        page.name[:4] for page in DECISIONS
    ]
    assert len(DECISIONS) >= 15


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name[:4])
def test_a_decision_has_its_five_parts(page: Path):
    """Title with its number, then the five headings in order, none of them empty."""
    text = page.read_text("utf-8")
    assert text.startswith(f"# {page.name[:4]} ")
    assert HEADINGS == re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert all(section(text, heading) for heading in HEADINGS)


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name[:4])
def test_a_decision_names_files_that_exist(page: Path):
    """Under References, what looks like a path of ours is one."""
    named = re.findall(r"`([a-z_]+/[a-z_/.]*)`", section(page.read_text("utf-8"), "References"))
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("kind", WORDS_OF_THE_DOOR, ids=lambda kind: kind.__name__)
def test_the_glossary_lists_every_word_of_the_door(kind: type[StrEnum]):
    """Each enumeration has a section, each of its words a row, and no row is left over."""
    glossary = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| \S", section(glossary, kind.__name__), re.MULTILINE)
    assert [word.value for word in kind] == rows


def test_the_page_of_settings_lists_every_field_with_its_manual():
    """Run `python -m tests.support.settings` after changing a field; one without a docstring breaks it."""
    assert settings.document() == settings.DOCUMENT.read_text("utf-8")


def test_files_that_the_readme_names_exist():
    """Trees and paths in README's blocks and code spans; a newcomer follows them literally."""
    text = (ROOT / "README.md").read_text("utf-8")
    named = re.findall(
        r"(?:pay_ivr|vault|agent_api|audit|loyalty|tests|infra|docs)/[a-z_/]*\.(?:py|md|toml)", text
    )
    real = [path for path in named if Path(path).stem not in {"name", "xx_xx"}]  # what one would add
    assert len(real) > 10
    assert [] == [path for path in real if not (ROOT / path).exists()]


def test_make_targets_that_the_readme_names_exist():
    """`make x` in README is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(
        re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    )
    assert {one or other for one, other in named} <= targets
