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
from typing import TYPE_CHECKING, Any

from vault.door import Field
from vault.providers.base import TokenResult

if TYPE_CHECKING:
    from vault.card import Card

HASH_KEY = b"pay-ivr sandbox: published test cards"
"""Not a secret, see above."""
TOKEN_LETTERS = 24
"""Random letters of a token: 112 bits, and no digit, so that no token can look like a PAN."""

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


class SandboxCards:
    """Recognises test cards inside a cell; keeps nothing."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._canary = config.get("canary") is True

    def label(self, card: "Card") -> str | None:
        """What becomes of the card; None when it is no test card."""
        with card.pan.view() as pan:
            if self._canary and len(pan) == _CANARY_DIGITS and pan[: len(_CANARY_PREFIX)] == _CANARY_PREFIX:
                return CANARY
            return LABELS.get(hmac.digest(HASH_KEY, pan, "sha256").hex())


def refused() -> TokenResult:
    """The answer to a PAN that is no test card."""
    return TokenResult(None, Field.PAN, "pan_not_allowed")


def token_for(label: str) -> str:
    """A new token that says to the sandbox's host what becomes of the card, and nothing about its digits."""
    letters = "".join(chr(97 + byte % 26) for byte in os.urandom(TOKEN_LETTERS))
    return f"sbx_{label}_{letters}"


def label_of(token: str) -> str:
    """What becomes of the card behind a token; an unknown token is declined as invalid."""
    parts = token.split("_")
    label = "_".join(parts[1:-1])
    known = parts[0] == "sbx" and (label == CANARY or label in LABELS.values())
    return label if known else "invalid_token"
