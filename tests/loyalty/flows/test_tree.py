"""The page of flows shows the portal as it is."""

from tests.support.portal_tree import DOCUMENT, page, tree


async def test_the_tree_in_the_docs_is_the_portals_own() -> None:
    """Run `python -m tests.support.portal_tree` after changing a dialogue."""
    text = DOCUMENT.read_text("utf-8")
    assert page(text, await tree()) == text
