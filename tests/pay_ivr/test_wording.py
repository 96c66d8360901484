"""A tenant's own sentences lie over the house's; a wrong one is named with its line, not heard."""

from pathlib import Path

import pytest

from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.tenants import TenantError
from pay_ivr.wording import wordings_of


def own(folder: Path, text: str, file: str = "en_us.ftl") -> Path:
    (folder / "acme").mkdir(exist_ok=True)
    (folder / "acme" / file).write_text(text, encoding="utf-8")
    return folder


def test_a_tenants_words_are_heard_by_its_callers_only(tmp_path: Path):
    """Other tenants and other sentences stay as they are; parts may be said in the tenant's way, too."""
    text = "part_points = { CARDINAL($points) } miles\ngoodbye = So long.\n"
    catalogue = Catalogue(wordings_of(own(tmp_path, text), ["acme", "other"]))
    said = catalogue.said("en-US", Key.GOODBYE, tenant_id="acme")
    assert ("So long.", True) == (said.text, said.own)
    assert "Your balance: two miles." == catalogue.said("en-US", Key.BALANCE, tenant_id="acme", points=2).text
    assert not catalogue.said("en-US", Key.PLEASE_WAIT, tenant_id="acme").own
    assert catalogue.said("en-US", Key.GOODBYE, tenant_id="other").text == catalogue.text(
        "en-US", Key.GOODBYE
    )
    assert ("acme",) == catalogue.own("en-US")


def test_a_tenant_without_words_of_its_own_needs_no_folder(tmp_path: Path):
    """No folder, no file: the house's sentences."""
    assert {} == wordings_of(tmp_path, ["acme"])


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("goodbye = So long.\nbalance = Points\n  : }\n", 2, "not Fluent"),
        ("goodbye = So long.\n\nfarewell = So long.\n", 3, "no such sentence"),
        ("goodbye = So long, { $tenant }.\n", 1, "it is not given tenant"),
        ("# a comment\ndesk_state_created = Made\n", 2, "labels of the console"),
        ("balance = { MONEY($points) }.\n", 1, "cannot be put into words"),
        ("balance = { DOUBLE($points) }.\n", 1, "cannot be put into words"),
        ("balance = { $points } points < { CARDINAL($points) }.\n", 1, "no voice can read"),
        ("goodbye =\n  .loud = So long.\n", 1, "it has no text"),
    ],
)
def test_a_wrong_sentence_is_named_with_its_line(tmp_path: Path, text: str, line: int, problem: str):
    """The file, the line, and what to change."""
    with pytest.raises(TenantError) as refused:
        wordings_of(own(tmp_path, text), ["acme"])
    assert str(refused.value).startswith(f"acme/en_us.ftl:{line}: ")
    assert problem in str(refused.value)


def test_a_file_of_no_language_is_named(tmp_path: Path):
    """A name that is mistyped would otherwise never be heard."""
    with pytest.raises(TenantError, match=r"acme/en-us.ftl: there is no such language"):
        wordings_of(own(tmp_path, "goodbye = So long.\n", "en-us.ftl"), ["acme"])
