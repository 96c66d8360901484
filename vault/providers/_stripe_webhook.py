"""Stripe's webhooks: verified by the SDK, dated by us.

The SDK's verifier accepts a date in the future and the computer's own clock only; both bounds are checked
here instead. A webhook may come twice and out of order: its reader knows events by id and fetches the truth.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vault.door import Refused
from vault.providers._stripe_answers import payment_of, stamp
from vault.providers._stripe_sdk import stripe
from vault.providers.base import WEBHOOK_AGE_MAX_S, WEBHOOK_AHEAD_MAX_S, Notice

HEADER = "stripe-signature"
HEADER_MAX = 2_000
"""A signature is some hundred characters; during a rotation of secrets there are several."""
BODY_MAX = 500_000
"""Bytes; the largest event of an object with everything expanded is a tenth."""


def parsed(headers: Mapping[str, str], raw: bytes, secrets: Sequence[bytes], now_s: float) -> Notice:
    """The notice of an event signed lately with one of `secrets`; `Refused("webhook_invalid")` otherwise."""
    header = next((value for name, value in headers.items() if name.lower() == HEADER), "")
    if not header or len(header) > HEADER_MAX or len(raw) > BODY_MAX:
        raise _invalid()
    if not any([_signed(raw, header, secret) for secret in secrets]):  # noqa: C419 - all of them, for even time
        raise _invalid()
    if not -WEBHOOK_AHEAD_MAX_S <= now_s - _signed_at(header) <= WEBHOOK_AGE_MAX_S:
        raise _invalid()
    try:
        return _notice(json.loads(raw))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise _invalid() from None


def _signed(raw: bytes, header: str, secret: bytes) -> bool:
    try:
        stripe.WebhookSignature.verify_header(raw, header, secret.decode("ascii"))
    except (stripe.SignatureVerificationError, ValueError, TypeError, OverflowError):
        return False
    return True


def _signed_at(header: str) -> int:
    """The date under the signature, as the verifier reads it: the first `t`."""
    dates = [part[2:] for part in header.split(",") if part.startswith("t=")]
    return int(dates[0])


def _notice(event: Mapping[str, Any]) -> Notice:
    about = event["data"]["object"]
    words = (event["id"], event["type"], payment_of(about))
    if not all(isinstance(word, str) for word in words):
        raise TypeError
    return Notice(words[0], stamp(event["created"]), words[1], words[2])


def _invalid() -> Refused:
    return Refused("webhook_invalid", "The webhook is not signed for this moment. Check secret and clock.")
