"""Which brand a PAN belongs to, how long it may be, and how long its CVV is.

The table is data, `vault/brands.toml` (ISO/IEC 7812-1: the issuer identification number leads the PAN). It is
read before any card exists; looking up touches the first six digits only, which are no secret by themselves
(PCI DSS 3.4.1 allows them to be shown).
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE_PATH = Path(__file__).with_name("brands.toml")

PREFIX_DIGITS = 6
"""No brand needs more digits to be known; fewer digits name no brand."""

PAN_DIGITS_MIN, PAN_DIGITS_MAX = 12, 19
"""ISO/IEC 7812-1: at most 19; Maestro issues the shortest ones."""

CVV_DIGITS_MIN, CVV_DIGITS_MAX = 3, 4


@dataclass(frozen=True, slots=True)
class Brand:
    """One brand as the caller's keys have to fit it."""

    name: str
    lengths: tuple[int, ...]
    """Digits a PAN may have, ascending."""
    cvv_digits: int


@dataclass(frozen=True, slots=True)
class _Range:
    first: int
    last: int
    brand: Brand


class BrandTable:
    """All brands; the most specific range that holds the prefix wins."""

    def __init__(self, ranges: Iterable[_Range]) -> None:
        self._ranges = tuple(sorted(ranges, key=lambda one: one.last - one.first))

    @classmethod
    def read(cls, path: Path = TABLE_PATH) -> "BrandTable":
        """The table in the file; ValueError names the brand whose entry is wrong."""
        with path.open("rb") as file:
            entries = tomllib.load(file)
        return cls(one for name, entry in entries.items() for one in _ranges(name, entry))

    def brand(self, prefix: int) -> Brand | None:
        """The brand of a PAN whose first six digits are `prefix`, or None."""
        for one in self._ranges:
            if one.first <= prefix <= one.last:
                return one.brand
        return None


def _ranges(name: str, entry: Mapping[str, Any]) -> list[_Range]:
    match entry:
        case {"prefixes": [*prefixes], "lengths": [*lengths], "cvv": int(cvv_digits)}:
            lengths_fit = lengths and all(PAN_DIGITS_MIN <= one <= PAN_DIGITS_MAX for one in lengths)
            if lengths_fit and CVV_DIGITS_MIN <= cvv_digits <= CVV_DIGITS_MAX:
                brand = Brand(name, tuple(sorted(lengths)), cvv_digits)
                return [_range(brand, bounds) for bounds in prefixes]
    raise ValueError(f"brand {name}: prefixes, lengths or cvv are missing or out of range")


def _range(brand: Brand, bounds: list[str]) -> _Range:
    digits = all(bound.isascii() and bound.isdigit() and len(bound) <= PREFIX_DIGITS for bound in bounds)
    if not digits or len(bounds) not in {1, 2} or bounds[0] > bounds[-1]:
        raise ValueError(f"brand {brand.name}: a prefix is not one or two ascending runs of digits")
    return _Range(int(bounds[0].ljust(PREFIX_DIGITS, "0")), int(bounds[-1].ljust(PREFIX_DIGITS, "9")), brand)
