"""The console counts a currency's digits as the vault does: an amount typed is the amount charged."""

import re
from pathlib import Path

from vault.currency import MINOR_DIGITS

WORDS = Path(__file__).resolve().parents[2] / "agent_api" / "console" / "words.js"


def test_the_console_knows_the_digits_of_every_currency():
    """What browsers know of HUF and sixteen others differs, so the page carries the lists itself."""
    lists = dict(
        re.findall(r'const (WITHOUT|THREE) = new Set\("([A-Z ]+)"', WORDS.read_text(encoding="utf-8"))
    )
    other = {digits: sorted(code for code, of in MINOR_DIGITS.items() if of == digits) for digits in (0, 3)}
    assert {"WITHOUT": other[0], "THREE": other[3]} == {
        name: sorted(told.split()) for name, told in lists.items()
    }
    assert {0, 2, 3} == set(MINOR_DIGITS.values())
