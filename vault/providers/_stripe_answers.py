"""Stripe's objects read as outcomes: pure functions over the JSON that the API answers with.

An attempt leaves its name in the intent's metadata before it is confirmed (`MARK`), and Stripe copies an
intent's metadata into the charge that a confirmation makes. So a charge says which attempt it is:

| what is found | the attempt |
|---|---|
| its charge | authorised or declined, whatever has happened to the intent since |
| the intent is paid or held and carries its mark | authorised |
| requires_action, or abandoned by us after that | requires_action |
| an error with its token | declined |
| its fence, or no mark of it | never executed |
| its mark and nothing else | unknown for `SETTLING_S`, then never executed |

Source: Stripe API reference (PaymentIntent, Charge, Refund) and "Metadata"; API 2026-10-28.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from vault.providers.base import (
    NEVER_SENT,
    UNKNOWN,
    KeptCard,
    Outcome,
    OutcomeKind,
    Standing,
    StandingState,
)

Json = Mapping[str, Any]

SETTLING_S = 20
"""A confirmation whose answer was lost may still be on its way for so long; a read that overtakes it finds
an intent that looks untouched."""

AUTHENTICATION = "authentication_required"
FENCED = "fenced"
ABANDONED = "abandoned"
"""The `cancellation_reason` with which we give up an intent whose issuer wants a confirmation online."""
ADVICES = frozenset({"confirm_card_data", "do_not_try_again", "try_again_later"})


class Mark(StrEnum):
    """Keys of ours in Stripe's metadata."""

    PAYMENT = "payment_id"
    TENANT = "tenant"
    BASIS = "sca_basis"
    ATTEMPT = "attempt"
    """The attempt that is confirmed next, or was last."""
    TOKEN = "attempt_token"  # noqa: S105 - the name of a metadata key
    """Its payment method, when no attempt before had it."""
    AT = "attempt_at"
    """When it was marked, seconds of the epoch by our clock."""
    SETTLE = "settle_key"
    STEP = "step_key"
    """On a refund: which one it is."""
    PAGE = "link_key"
    """On the intent of a payment page: which one it is."""


def fence_mark(attempt_key: str) -> str:
    """The metadata key that says that an attempt can never run."""
    return f"fenced_{attempt_key.rpartition(':')[2]}"


def payment_of(thing: Json) -> str:
    """The intent that an object of Stripe's is about; empty for none.

    A payment page is its own reference, paid or not: until a payment is concluded from its page, nobody here
    knows the intent that the page has made.
    """
    if thing.get("object") == "checkout.session":
        return _id(thing)
    own = _id(thing) if thing.get("object") == "payment_intent" else ""
    return _id(thing.get("payment_intent")) or own


def stamp(seconds: float | None) -> str:
    """UTC, ISO 8601 with milliseconds and Z; empty for None."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(moment: str) -> int:
    """Seconds of the epoch of a UTC time in ISO 8601, rounded up: bounds never let anything earlier in."""
    seconds = datetime.fromisoformat(moment).astimezone(UTC).timestamp()
    return -int(-seconds // 1)


# --- one attempt ------------------------------------------------------------------------------------------


def outcome_of_error(error: Json) -> Outcome:
    """A `card_error`, as Stripe's error object or an intent's `last_payment_error`."""
    raw_code = _text(error.get("decline_code")) or _text(error.get("code"))
    if AUTHENTICATION in {raw_code, error.get("code")}:
        return Outcome(OutcomeKind.REQUIRES_ACTION, AUTHENTICATION)
    return Outcome(OutcomeKind.DECLINED, raw_code or "card_declined", _advice(error.get("advice_code")))


def outcome_of_intent(intent: Json) -> Outcome:
    """The answer to a confirmation; `latest_charge` is expanded."""
    match intent.get("status"):
        case "succeeded" | "requires_capture":
            return _authorised(intent)
        case "requires_action":
            return Outcome(OutcomeKind.REQUIRES_ACTION, AUTHENTICATION)
        case "requires_payment_method" if intent.get("last_payment_error"):
            return outcome_of_error(intent["last_payment_error"])
    return UNKNOWN


def outcome_of_setup(setup: Json) -> Outcome:
    """The answer to an account check: a SetupIntent with `payment_method` expanded."""
    match setup.get("status"):
        case "succeeded":
            customer, method = _id(setup.get("customer")), setup.get("payment_method")
            kept = None
            if customer and isinstance(method, Mapping):
                kept = _kept(customer, _id(method), method.get("card") or {})
            return Outcome(OutcomeKind.AUTHORISED, kept=kept)
        case "requires_action":
            return Outcome(OutcomeKind.REQUIRES_ACTION, AUTHENTICATION)
        case "requires_payment_method" if setup.get("last_setup_error"):
            return outcome_of_error(setup["last_setup_error"])
    return UNKNOWN


def fetched(intent: Json, charges: Iterable[Json], attempt_key: str, now_s: float) -> Outcome:
    """What became of one attempt, from the intent (with `latest_charge` expanded) and all its charges."""
    mine = [one for one in charges if _marks(one).get(Mark.ATTEMPT) == attempt_key]
    marked = _marks(intent).get(Mark.ATTEMPT) == attempt_key
    if mine:
        return _outcome_of_charge(intent, mine[0])
    if marked and intent.get("status") in {"succeeded", "requires_capture"}:
        return _authorised(intent)
    if fence_mark(attempt_key) in _marks(intent):
        return Outcome(OutcomeKind.NEVER_SENT, FENCED)
    if not marked:
        return NEVER_SENT
    return _without_charge(intent, now_s)


def _without_charge(intent: Json, now_s: float) -> Outcome:
    """The marked attempt has made no charge: refused before one, asked for more, or not executed so far."""
    status, error = intent.get("status"), intent.get("last_payment_error") or {}
    if status == "requires_action" or _is_abandoned(intent):
        return Outcome(OutcomeKind.REQUIRES_ACTION, AUTHENTICATION)
    token = _marks(intent).get(Mark.TOKEN)
    if token and _id(error.get("payment_method")) == token:
        return outcome_of_error(error)
    marked_at = _marks(intent).get(Mark.AT, "")
    settled = marked_at.isdigit() and now_s - int(marked_at) >= SETTLING_S
    executable = status in {"requires_payment_method", "requires_confirmation", "canceled"}
    return NEVER_SENT if executable and settled else UNKNOWN


def _outcome_of_charge(intent: Json, charge: Json) -> Outcome:
    error = intent.get("last_payment_error") or {}
    match charge.get("status"):
        case "succeeded":
            return _authorised({**intent, "latest_charge": charge})
        case "failed" if _id(error.get("charge")) == charge.get("id"):
            return outcome_of_error(error)
        case "failed":
            said = charge.get("outcome") or {}
            code = _text(said.get("reason")) or _text(charge.get("failure_code"))
            return outcome_of_error({"code": code, "advice_code": said.get("advice_code")})
    return UNKNOWN


def _authorised(intent: Json) -> Outcome:
    charge = _charge(intent)
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    customer, kept = _id(intent.get("customer")), None
    if customer and intent.get("setup_future_usage") and charge:
        kept = _kept(customer, _id(charge.get("payment_method")), card)
    settled = charge.get("captured") is True if charge else intent.get("status") == "succeeded"
    return Outcome(
        OutcomeKind.AUTHORISED,
        settled=settled,
        step_ref=_id(charge) or _id(intent.get("latest_charge")),
        hold_until="" if settled else stamp(card.get("capture_before")),
        kept=kept,
    )


# --- a payment as a whole -----------------------------------------------------------------------------------

_STANDINGS = {
    "requires_confirmation": StandingState.OPEN,
    "requires_action": StandingState.NEEDS_ACTION,
    "processing": StandingState.UNDER_WAY,
    "requires_capture": StandingState.AUTHORISED,
    "succeeded": StandingState.SETTLED,
}


def standing_of(intent: Json, refunds: Iterable[Json]) -> Standing:
    """What is true now; `latest_charge` is expanded. A refund that failed gave nothing back."""
    charge, status = _charge(intent), intent.get("status")
    given_back = [one for one in refunds if one.get("status") not in {"failed", "canceled"}]
    held = status == "requires_capture"
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    return Standing(
        _state(intent),
        authorised_minor=int(charge.get("amount") or 0) if charge.get("status") == "succeeded" else 0,
        settled_minor=int(intent.get("amount_received") or 0),
        refunded_minor=sum(int(one["amount"]) for one in given_back),
        hold_until=stamp(card.get("capture_before")) if held else "",
        steps=_steps(intent, charge, given_back),
    )


def _state(intent: Json) -> StandingState:
    status = str(intent.get("status"))
    if status == "requires_payment_method":
        return StandingState.DECLINED if intent.get("last_payment_error") else StandingState.OPEN
    if status == "canceled":
        return StandingState.NEEDS_ACTION if _is_abandoned(intent) else StandingState.VOIDED
    return _STANDINGS.get(status, StandingState.UNDER_WAY)


def _steps(intent: Json, charge: Json, refunds: Iterable[Json]) -> dict[str, str]:
    """Step key -> id of what was done. Only one void can be, and Stripe lets a cancellation carry no mark."""
    marks = _marks(intent)
    steps = {marks[Mark.SETTLE]: _id(charge)} if Mark.SETTLE in marks else {}
    if intent.get("cancellation_reason") == "requested_by_customer" and Mark.PAYMENT in marks:
        steps[f"{marks[Mark.PAYMENT]}:void:1"] = _id(charge) or _id(intent)
    for refund in refunds:
        if key := _marks(refund).get(Mark.STEP):
            steps[key] = _id(refund)
    return steps


# --- pieces -------------------------------------------------------------------------------------------------


def _is_abandoned(intent: Json) -> bool:
    return intent.get("status") == "canceled" and intent.get("cancellation_reason") == ABANDONED


def _charge(intent: Json) -> Json:
    charge = intent.get("latest_charge")
    return charge if isinstance(charge, Mapping) else {}


def _marks(thing: Json) -> Mapping[str, str]:
    return thing.get("metadata") or {}


def _id(thing: object) -> str:
    """The id of an object, expanded or not; empty for none."""
    found = thing.get("id") if isinstance(thing, Mapping) else thing
    return _text(found)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _advice(value: object) -> str:
    return value if isinstance(value, str) and value in ADVICES else ""


def _kept(customer_ref: str, token_ref: str, card: Json) -> KeptCard:
    return KeptCard(
        customer_ref,
        token_ref,
        _text(card.get("brand")),
        _text(card.get("last4")),
        int(card.get("exp_month") or 0),
        int(card.get("exp_year") or 0),
    )
