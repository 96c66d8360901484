"""What a Stripe error says about execution, by class and type, never by HTTP status alone.

Third-party pages disagree about the status of an idempotency mismatch; the error's `type` decides.
"""

from collections.abc import Mapping
from enum import StrEnum

from vault.providers._stripe_sdk import stripe


class Failure(StrEnum):
    """How far a refused request can have got."""

    CARD = "card"
    """The issuer or Stripe's card checks said no: final for this key."""
    KEY_TAKEN = "key_taken"
    """Something else was executed under this key."""
    INVALID = "invalid"
    """The object's state or a parameter does not allow it: not executed."""
    NOT_EXECUTED = "not_executed"
    """Refused before anything was looked at: the key, its rights, the rate."""
    UNCLEAR = "unclear"
    """Executed or not."""


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception of the SDK stands for; UNCLEAR for every other exception."""
    if not isinstance(error, stripe.StripeError):
        return Failure.UNCLEAR
    if code_of(error) == "idempotency_key_in_use":  # the first request with this key is executing
        return Failure.UNCLEAR
    if _type_of(error) == "idempotency_error":
        return Failure.KEY_TAKEN
    match error:
        case stripe.CardError():
            return Failure.CARD
        case stripe.InvalidRequestError():
            return Failure.INVALID
        case stripe.AuthenticationError() | stripe.PermissionError():
            return Failure.NOT_EXECUTED
        case stripe.RateLimitError():  # a lock on the object may be held by this very request
            return Failure.UNCLEAR if code_of(error) == "lock_timeout" else Failure.NOT_EXECUTED
    return Failure.UNCLEAR


def code_of(error: BaseException) -> str:
    """Stripe's code, else its type, else `provider_error`."""
    return _member(error, "code") or _type_of(error) or "provider_error"


def decline_of(error: stripe.StripeError) -> dict[str, str]:
    """What a card error says: code, decline_code, advice_code and param, those that it has."""
    names = ("code", "decline_code", "advice_code", "param")
    return {name: found for name in names if (found := _member(error, name))}


def is_replayed(error: stripe.StripeError) -> bool:
    """True when Stripe repeats what it has stored under the key: nothing runs under it any more."""
    headers: Mapping[str, str] = error.headers or {}
    return any(name.lower() == "idempotent-replayed" and headers[name] == "true" for name in headers)


def _type_of(error: BaseException) -> str:
    return _member(error, "type")


def _member(error: BaseException, name: str) -> str:
    """From the answer's body: attributes of the SDK's classes differ by class."""
    body = getattr(error, "json_body", None)
    details = body.get("error") if isinstance(body, dict) else None
    value = details.get(name) if isinstance(details, dict) else None
    return value if isinstance(value, str) else ""
