"""The brand table as data."""

from pathlib import Path

import pytest

from vault.brands import PAN_DIGITS_MAX, PAN_DIGITS_MIN, BrandTable


@pytest.mark.parametrize(
    ("prefix", "brand", "cvv_digits"),
    [
        (400000, "visa", 3),
        (222100, "mastercard", 3),
        (272099, "mastercard", 3),
        (559999, "mastercard", 3),
        (340000, "amex", 4),
        (379999, "amex", 4),
        (305000, "diners", 3),
        (601100, "discover", 3),
        (352800, "jcb", 3),
        (620000, "unionpay", 3),
        (493698, "maestro", 3),
        (220400, "mir", 3),
        (999900, "canary", 3),
    ],
)
def test_a_prefix_names_its_brand(prefix: int, brand: str, cvv_digits: int) -> None:
    """Ends of ranges belong to them, and the most specific range wins."""
    named = BrandTable.read().brand(prefix)
    assert named is not None
    assert (brand, cvv_digits) == (named.name, named.cvv_digits)
    assert all(PAN_DIGITS_MIN <= length <= PAN_DIGITS_MAX for length in named.lengths)


@pytest.mark.parametrize("prefix", [0, 100000, 272100, 222099, 999899, 999901])
def test_a_prefix_outside_every_range_has_no_brand(prefix: int) -> None:
    """Next to a range is not in it."""
    assert BrandTable.read().brand(prefix) is None


@pytest.mark.parametrize(
    "entry",
    [
        'prefixes = [["4"]]\nlengths = [16]',
        'prefixes = [["4"]]\nlengths = []\ncvv = 3',
        'prefixes = [["4"]]\nlengths = [11]\ncvv = 3',
        'prefixes = [["4"]]\nlengths = [16]\ncvv = 5',
        'prefixes = [["x"]]\nlengths = [16]\ncvv = 3',
        "prefixes = [[]]\nlengths = [16]\ncvv = 3",
        'prefixes = [["1234567"]]\nlengths = [16]\ncvv = 3',
        'prefixes = [["5", "4"]]\nlengths = [16]\ncvv = 3',
        'prefixes = [["1", "2", "3"]]\nlengths = [16]\ncvv = 3',
    ],
)
def test_a_wrong_entry_names_its_brand(short_dir: Path, entry: str) -> None:
    """The operator learns which entry to mend."""
    path = short_dir / "brands.toml"
    path.write_text(f"[wrong]\n{entry}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="brand wrong"):
        BrandTable.read(path)
