"""A card in secret memory: PAN, expiry and CVV as digits that can be checked, handed on and wiped.

Nothing here turns a digit into text. A `SecretDigits` has no repr, no equality, no hash, no copy and no
pickle; whoever needs the digits takes the view, and the view is memory of the page itself, not a copy. Rules:
Luhn (ISO/IEC 7812-1 annex B), expiry MMYY, lengths by brand. The check sums below are integers under 257,
which CPython never allocates.
"""

from datetime import date
from typing import Never

from vault.brands import CVV_DIGITS_MAX, PAN_DIGITS_MAX, PREFIX_DIGITS, Brand, BrandTable
from vault.door import FieldProblem
from vault.secret_page import SecretPage

EXPIRY_DIGITS = 4
"""MMYY, as printed on the card."""

EXPIRY_YEARS_MAX = 20
"""No issuer prints a longer life; the keys were wrong or the year came first."""

_CENTURY = 100
_MONTHS = 12
_LAST4 = 4
_ASCII_ZERO = 48


class SecretDigits:
    """Some digits in one slice of a secret page, kept as ASCII: what providers want on the wire."""

    __slots__ = ("_buffer", "_length")

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._length = 0

    def append(self, digit: int) -> bool:
        """True when the digit 0-9 was taken; False when it is none or there is no room."""
        if not 0 <= digit <= 9 or self._length == len(self._buffer):
            return False
        self._buffer[self._length] = _ASCII_ZERO + digit
        self._length += 1
        return True

    def wipe(self) -> None:
        """Overwrites every digit; the length is 0 afterwards."""
        self._length = 0
        for index in range(len(self._buffer)):
            self._buffer[index] = 0

    def __len__(self) -> int:
        return self._length

    def digit(self, index: int) -> int:
        """One digit by its place, 0-9; IndexError beyond the last."""
        if not 0 <= index < self._length:
            raise IndexError
        return self._buffer[index] - _ASCII_ZERO

    def view(self) -> memoryview:
        """The digits as ASCII, read-only, in place: it shows zeros after a wipe."""
        return self._buffer[: self._length].toreadonly()

    def _refuse(self, *_: object) -> Never:
        raise TypeError("secret digits have no text, no copy and no equality")

    __repr__ = __str__ = __format__ = __bytes__ = _refuse
    __eq__ = __ne__ = _refuse
    __reduce__ = __reduce_ex__ = __getstate__ = __copy__ = __deepcopy__ = _refuse
    __hash__ = None  # type: ignore[assignment]


class Card:
    """The three secrets of one card; its slices come from one page."""

    __slots__ = ("cvv", "expiry", "pan")

    def __init__(self, page: SecretPage) -> None:
        self.pan = SecretDigits(page.take(PAN_DIGITS_MAX))
        self.expiry = SecretDigits(page.take(EXPIRY_DIGITS))
        """MMYY; no secret of its own (PCI DSS 3.2.1), but it stays where the PAN is."""
        self.cvv = SecretDigits(page.take(CVV_DIGITS_MAX))
        """Sensitive authentication data: wiped at every provider answer (PCI DSS 3.3.1)."""

    def wipe(self) -> None:
        """Overwrites all three."""
        for digits in (self.pan, self.expiry, self.cvv):
            digits.wipe()

    def _refuse(self, *_: object) -> Never:
        raise TypeError("a card has no text, no copy and no equality")

    __repr__ = __str__ = __format__ = _refuse
    __eq__ = __ne__ = _refuse
    __reduce__ = __reduce_ex__ = __getstate__ = __copy__ = __deepcopy__ = _refuse
    __hash__ = None  # type: ignore[assignment]


def luhn_holds(digits: SecretDigits) -> bool:
    """True when the check digit, the last one, fits the others."""
    total = 0
    for place in range(len(digits)):
        value = digits.digit(len(digits) - 1 - place)
        total += value if place % 2 == 0 else value * 2 - 9 * (value > 4)
    return len(digits) > 0 and total % 10 == 0


def brand_of(pan: SecretDigits, brands: BrandTable) -> Brand | None:
    """The brand by the first six digits; None while there are fewer, or when no brand has them."""
    if len(pan) < PREFIX_DIGITS:
        return None
    prefix = 0
    for index in range(PREFIX_DIGITS):
        prefix = prefix * 10 + pan.digit(index)
    return brands.brand(prefix)


def pan_problem(pan: SecretDigits, brands: BrandTable) -> FieldProblem | None:
    """Why this cannot be a PAN, or None: brand, length by brand, check digit, in this order."""
    brand = brand_of(pan, brands)
    if len(pan) < PREFIX_DIGITS or (brand and len(pan) < brand.lengths[0]):
        return FieldProblem.TOO_SHORT
    if brand is None:
        return FieldProblem.UNKNOWN_BRAND
    if len(pan) not in brand.lengths or not luhn_holds(pan):
        return FieldProblem.LUHN
    return None


def last4(pan: SecretDigits) -> str:
    """The last four digits, for people; ValueError unless the Luhn check holds (PCI DSS 3.4.1)."""
    if len(pan) <= _LAST4 or not luhn_holds(pan):
        raise ValueError("the last four digits of an unchecked entry stay secret")
    return bytes(pan.view()[-_LAST4:]).decode("ascii")


def expiry_problem(expiry: SecretDigits, today: date) -> FieldProblem | None:
    """Why this MMYY cannot be on a card that is good today, or None.

    A two-digit year is the next one from `today` on; what lies half a century or more ahead is past.
    """
    if len(expiry) < EXPIRY_DIGITS:
        return FieldProblem.TOO_SHORT
    month = expiry.digit(0) * 10 + expiry.digit(1)
    if not 1 <= month <= _MONTHS:
        return FieldProblem.BAD_MONTH
    years_ahead = (expiry.digit(2) * 10 + expiry.digit(3) - today.year) % _CENTURY
    if years_ahead >= _CENTURY // 2 or (years_ahead == 0 and month < today.month):
        return FieldProblem.EXPIRED
    return FieldProblem.TOO_FAR if years_ahead > EXPIRY_YEARS_MAX else None
