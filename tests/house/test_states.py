"""The page of states says what the code does."""

from tests.support.states import DOCUMENT, document


def test_the_page_of_states_is_the_tables_of_the_code() -> None:
    """Run `python -m tests.support.states` after changing a table."""
    assert document() == DOCUMENT.read_text(encoding="utf-8")
