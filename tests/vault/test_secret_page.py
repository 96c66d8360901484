"""One page for secrets, in two qualities."""

import os
from pathlib import Path

import pytest

from tests.support.memory import search
from vault.secret_page import PAGE_BYTES, SecretPage


def test_slices_do_not_overlap_and_start_at_zero() -> None:
    """What is taken is empty and nobody else's."""
    page = SecretPage()
    first, second = page.take(3), page.take(2)
    first[:] = b"abc"
    assert b"abc" == bytes(first)
    assert bytes(2) == bytes(second)


def test_a_used_up_page_gives_no_more() -> None:
    """A cell that needs more is a cell that does more than it should."""
    page = SecretPage()
    page.take(PAGE_BYTES)
    with pytest.raises(MemoryError):
        page.take(1)


@pytest.mark.parametrize("sealed", [True, False])
def test_wipe_zeroes_what_is_in_use(sealed: bool) -> None:
    """Both qualities keep and forget alike."""
    page = SecretPage(sealed=sealed)
    assert sealed == page.sealed
    assert page.unswappable
    kept = page.take(4)
    kept[:] = b"1234"
    page.wipe()
    assert bytes(4) == bytes(kept)


@pytest.mark.root
def test_a_sealed_page_is_unreadable_even_for_root() -> None:
    """The kernel answers with an I/O error; the same bytes in an ordinary page are found."""
    marker = os.urandom(8).hex().encode()
    sealed, plain = SecretPage().take(16), SecretPage(sealed=False).take(16)
    for place, one in enumerate(marker):
        sealed[place] = one
    before = search(os.getpid(), marker)
    for place, one in enumerate(marker):
        plain[place] = one
    after = search(os.getpid(), marker)
    assert before.sealed >= 1
    assert 1 == after.hits - before.hits


def test_a_page_holds_no_descriptor() -> None:
    """Nobody can map the page again through a forgotten file descriptor."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    SecretPage()
    assert before == len(list(Path("/proc/self/fd").iterdir()))
