"""The sandbox's test cards, as the cell knows them: keyed hashes, never digits.

A table of digits would stand in the memory of every process that imports it, and a search for card data
would find it everywhere. The key is no secret: it only keeps the published PANs out of memory. A PAN that
is not in the table is refused when it is tokenised, so that nobody keys a real card into a demonstration.

| published test card ends in | what becomes of it |
|---|---|
| 4242, 4444, 0005 (15 digits) | authorised |
| 0002 | generic_decline |
| 9995 | insufficient_funds |
| 9987 / 9979 | lost_card / stolen_card |
| 0069, 0127, 0119 | expired_card, incorrect_cvc, processing_error on the first attempt, then authorised |
| 3184 | authentication_required: the bank wants an online confirmation |

The canary range (16 digits from 999900, valid by Luhn) is authorised where the configuration says `canary`.
"""

import hmac
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vault.card import last4
from vault.door import Field
from vault.providers.base import TokenResult

if TYPE_CHECKING:
    from vault.card import Card

HASH_KEY = b"pay-ivr sandbox: published test cards"
"""Not a secret, see above."""
ID_LETTERS = 24
"""Random letters of an id: 112 bits, and no digit, so that no id can look like a PAN."""
_CENTURY = 2000
_DATE = re.compile(r"[0-9]{1,2}/[0-9]{1,4}")

APPROVED = "approved"
CANARY = "canary"
_CANARY_PREFIX = b"999900"
_CANARY_DIGITS = 16

LABELS = {
    "4f61cb0725beaf7649b0b7932256d4150d3056688de80d7d89366714db80e7c8": APPROVED,
    "1f54ba11140dcc4194cf71eff1b9d1bcc4abc606a572aac32ef73a1d0651ce4e": APPROVED,
    "7630927f45b6000fe26c635d74274af2388633b48bb0153373503343c8142664": APPROVED,
    "56f65397d70d0bda70455defd21d47783a14aefba0ec2cbc171fe54946e1ffca": "generic_decline",
    "2c13ad6d2083bc64173443a8cfe5cf9262b1f6fda22eab1ebf049e6b6a59e900": "insufficient_funds",
    "b5d9d83fb24a33e18f346112e4941cd2cd5c6a54b93fe03b3290b703357e2878": "lost_card",
    "bda78f436bba6a4e2d182e78a3db2004929542b0da8e86cffe6a9311c13f2bd0": "stolen_card",
    "ede47754d300133960a2d6cf068c97e75f6d90953bc8f558b6a5ebdd8a5d83c7": "expired_card",
    "39ceb8d5aef31a792942e8a97f476dbb7da99b196bbee3506aca3d68ecc58f3d": "incorrect_cvc",
    "0473fd61e1d4a30f14815874eca197e7cc705b2cd69bdceed9d34444d7794bdc": "processing_error",
    "480d65d407fabdc12f4eaf4ade22bf59611ea2d45047315fb3f70d6207e390f4": "authentication_required",
}
"""Keyed hash of a PAN -> what becomes of it: `approved` or the raw decline code."""


_MASTERCARD = "1f54ba11140dcc4194cf71eff1b9d1bcc4abc606a572aac32ef73a1d0651ce4e"
_AMEX = "7630927f45b6000fe26c635d74274af2388633b48bb0153373503343c8142664"
_BRANDS = {_MASTERCARD: "mastercard", _AMEX: "amex"}
"""Brands of the test cards that are not Visa."""


@dataclass(frozen=True)
class Face:
    """What the sandbox's host may know of a card: what becomes of it, and what people are shown."""

    label: str
    """`approved`, `canary`, the raw decline code, or `invalid_token`."""
    brand: str = ""
    last4: str = ""
    expiry_month: int = 0
    expiry_year: int = 0

    @property
    def token(self) -> str:
        """A new token that says all this, with no two digits of the card but the last four in it."""
        shown = f"{self.brand}_{self.last4}_{self.expiry_month}_{self.expiry_year}"
        return f"sbx_{self.label}_{shown}_{letters()}"


INVALID = Face("invalid_token")
"""The face of a token that is none of ours."""


class SandboxCards:
    """Recognises test cards inside a cell; keeps nothing."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._canary = config.get("canary") is True
        self._keeps = config.get("keep_card") is True

    def face(self, card: "Card", *, keeps: bool = False) -> Face | None:
        """What may be said of the card; None when it is no test card.

        The expiry leaves the cell only with a card that is to be kept (`keeps`, or the configuration).
        """
        label, brand = self._known(card)
        if label is None:
            return None
        if not (keeps or self._keeps):
            return Face(label, brand, last4(card.pan))
        month, year = (card.expiry.digit(at) * 10 + card.expiry.digit(at + 1) for at in (0, 2))
        return Face(label, brand, last4(card.pan), month, _CENTURY + year)

    def _known(self, card: "Card") -> tuple[str | None, str]:
        """Label and brand."""
        with card.pan.view() as pan:
            if self._canary and len(pan) == _CANARY_DIGITS and pan[: len(_CANARY_PREFIX)] == _CANARY_PREFIX:
                return CANARY, CANARY
            key = hmac.digest(HASH_KEY, pan, "sha256").hex()
            return LABELS.get(key), _BRANDS.get(key, "visa")


def refused() -> TokenResult:
    """The answer to a PAN that is no test card."""
    return TokenResult(None, Field.PAN, "pan_not_allowed")


def letters() -> str:
    """`ID_LETTERS` random lower-case letters."""
    return "".join(chr(97 + byte % 26) for byte in os.urandom(ID_LETTERS))


def face_of(token: str) -> Face:
    """The face behind a token; `INVALID` when it is none of ours."""
    match token.split("_"):
        case ["sbx", *label, brand, last_digits, month, year, _] if _DATE.fullmatch(f"{month}/{year}"):
            face = Face("_".join(label), brand, last_digits, int(month), int(year))
            known = face.label == CANARY or face.label in LABELS.values()
            return face if known else INVALID
    return INVALID
