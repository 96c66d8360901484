"""Test cards as Stripe's host knows them: what becomes of each, without keeping a digit.

A raw card comes in over the wire, is checked, and leaves only brand, last4, expiry, a keyed fingerprint and
the word for what its issuer will say. Any PAN outside the published test cards is refused, so that nobody
sends a real one here.

Advice codes per card are our reading of Stripe's page "Decline codes"; the codes themselves are published.
"""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vault.brands import PAN_DIGITS_MAX, PAN_DIGITS_MIN, PREFIX_DIGITS, BrandTable
from vault.proof.stripe_failure import CARD_ERROR, Failure
from vault.providers._sandbox_cards import APPROVED, CANARY, HASH_KEY, LABELS

AUTHENTICATION = "authentication_required"
CANARY_PREFIX = "999900"
CANARY_DIGITS = 16
CANARY_DECLINED_YEARS = 10
"""A canary that expires so many years from now, or later, has no funds: its digits are all random."""
_BRANDS = BrandTable.read()
_LUHN = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


@dataclass(frozen=True)
class Decline:
    """What an issuer's refusal looks like in a `card_error`."""

    code: str
    decline_code: str
    advice: str
    network: str
    """The scheme's own response code (ISO 8583 field 39)."""


DECLINES = {
    "generic_decline": Decline("card_declined", "generic_decline", "try_again_later", "01"),
    "insufficient_funds": Decline("card_declined", "insufficient_funds", "try_again_later", "51"),
    "lost_card": Decline("card_declined", "lost_card", "do_not_try_again", "41"),
    "stolen_card": Decline("card_declined", "stolen_card", "do_not_try_again", "43"),
    "expired_card": Decline("expired_card", "expired_card", "confirm_card_data", "54"),
    "incorrect_cvc": Decline("incorrect_cvc", "incorrect_cvc", "confirm_card_data", "N7"),
    "processing_error": Decline("processing_error", "processing_error", "try_again_later", "96"),
    AUTHENTICATION: Decline("authentication_required", "authentication_required", "", "65"),
}


@dataclass(frozen=True)
class KnownCard:
    """A checked card without its digits."""

    label: str
    """APPROVED, CANARY, AUTHENTICATION or a key of DECLINES."""
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    fingerprint: bytes
    """Of the whole PAN under the sandbox's published key: stable, and never given out as it is."""
    cvv_given: bool


def known(number: str, month: int, year: int, cvv: str | None, now: float, *, canary: bool) -> KnownCard:
    """The card behind the digits; Failure 402 names the field that is wrong, and never quotes it."""
    digits = number.replace(" ", "").replace("-", "")
    if not digits.isascii() or not digits.isdigit() or not _luhn(digits):
        raise _refused("incorrect_number", "number", "Your card number is incorrect.")
    today = datetime.fromtimestamp(now, UTC)
    if not 1 <= month <= 12:
        raise _refused("invalid_expiry_month", "exp_month", "Your card's expiration month is invalid.")
    if (year, month) < (today.year, today.month) or year > today.year + 50:
        raise _refused("invalid_expiry_year", "exp_year", "Your card's expiration year is invalid.")
    brand = _BRANDS.brand(int(digits[:PREFIX_DIGITS]))
    if cvv is not None and not _cvv_fits(cvv, 3 if brand is None else brand.cvv_digits):
        raise _refused("invalid_cvc", "cvc", "Your card's security code is invalid.")
    fingerprint = hmac.digest(HASH_KEY, digits.encode(), "sha256")
    if canary and len(digits) == CANARY_DIGITS and digits.startswith(CANARY_PREFIX):
        brand, label = None, CANARY if year < today.year + CANARY_DECLINED_YEARS else "insufficient_funds"
    else:
        label = _label(fingerprint)
    name = "unknown" if brand is None else brand.name
    return KnownCard(label, name, digits[-4:], month, year, fingerprint, cvv is not None)


def refusal(label: str, **members: Any) -> Failure:
    """The 402 of an issuer's decline; `members` are the objects that Stripe puts into the error."""
    decline = DECLINES[label]
    return Failure(
        402,
        CARD_ERROR,
        "Your card was declined.",
        stored=True,
        code=decline.code,
        decline_code=decline.decline_code,
        advice_code=decline.advice,
        network_decline_code=decline.network,
        **members,
    )


def _label(fingerprint: bytes) -> str:
    label = LABELS.get(fingerprint.hex())
    if label is None:
        sentence = "Your request was in test mode, but used a non test card."
        raise Failure(
            402, CARD_ERROR, sentence, stored=True, code="card_declined", decline_code="test_mode_live_card"
        )
    return label


def passes(label: str) -> bool:
    """True when the issuer says yes without asking anything."""
    return label in {APPROVED, CANARY}


def _refused(code: str, param: str, sentence: str) -> Failure:
    return Failure(402, CARD_ERROR, sentence, stored=True, code=code, param=param)


def _cvv_fits(cvv: str, digits: int) -> bool:
    return cvv.isascii() and cvv.isdigit() and len(cvv) == digits


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    fits = PAN_DIGITS_MIN <= len(digits) <= PAN_DIGITS_MAX
    doubled = (_LUHN[int(one)] for one in digits[-2::-2])
    return fits and (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0
