"""PaymentIntents: the state machine that keeps one payment from being charged twice.

| step | allowed in | leads to |
|---|---|---|
| confirm | the three open states | succeeded, requires_capture, requires_action, or 402 (see below) |
| capture | requires_capture | succeeded |
| cancel | everything but succeeded, canceled | canceled |
| update | the three open states | the same |

The open states are requires_payment_method, requires_confirmation and requires_action. A decline is a 402
and leaves the intent in requires_payment_method, ready for another card. An uncaptured intent whose
`capture_before` has passed is canceled by Stripe itself. A card that asks for authentication leads to
requires_action also with `moto`: that an issuer still may ask is documented, what Stripe's test card does
with `moto` is not.
"""

from typing import Any

from vault.currency import MINOR_DIGITS
from vault.proof import stripe_form as form
from vault.proof.stripe_account import Account
from vault.proof.stripe_books import Books, Thing
from vault.proof.stripe_cards import AUTHENTICATION, passes, refusal
from vault.proof.stripe_charges import Charges
from vault.proof.stripe_failure import refused_parameter, wrong_state
from vault.proof.stripe_methods import Methods, merged
from vault.proof.stripe_route import PAGED, Call, Route

AMOUNT_MAX = 99_999_999
"""Stripe: an amount has at most eight digits."""
OPEN = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})
ALLOWED: dict[str, frozenset[str]] = {
    "confirm": OPEN,
    "update": OPEN,
    "capture": frozenset({"requires_capture"}),
    "cancel": OPEN | {"requires_capture"},
}
"""Step -> the states in which it is legal; anything else is payment_intent_unexpected_state."""
ALWAYS = frozenset({"metadata", "description", "receipt_email", "expand"})
"""What an update may change in any state: nothing that touches money."""
_REDIRECTS = "This PaymentIntent accepts payment methods that may redirect: a return_url is needed."
_NO_METHOD = "You cannot confirm this PaymentIntent because it's missing a payment method."


class Intents:
    """All PaymentIntents of the account."""

    def __init__(self, books: Books, account: Account, methods: Methods, charges: Charges) -> None:
        self._books = books
        self._account = account
        self._methods = methods
        self._charges = charges
        self._lapses: dict[str, int] = {}

    def routes(self) -> list[Route]:
        """What the API offers about PaymentIntents."""
        base, key = "/v1/payment_intents", "payment_intents"
        return [
            Route("POST", base, key, _CREATE, self._create, ("amount", "currency")),
            Route("GET", base, key, PAGED | {"customer": form.text}, self._page),
            Route("GET", f"{base}/search", key, _SEARCH, self._search, ("query",)),
            Route("GET", f"{base}/{{id}}", key, {}, self._intent),
            Route("POST", f"{base}/{{id}}", key, _UPDATE, self._update),
            Route("POST", f"{base}/{{id}}/confirm", key, _CONFIRM, self._confirm),
            Route("POST", f"{base}/{{id}}/capture", key, _CAPTURE, self._capture),
            Route("POST", f"{base}/{{id}}/cancel", key, _CANCEL, self._cancel),
        ]

    def tick(self, now: float) -> None:
        """Holds that have lapsed by now are given back."""
        for intent_id in [one for one, before in self._lapses.items() if before <= now]:
            self._end(self._books.find("payment_intent", intent_id), "automatic", now, lapsed=True)

    def make(self, params: Thing, now: float) -> Thing:
        """A new intent from checked parameters, confirmed where they ask for it."""
        if params["currency"].upper() not in MINOR_DIGITS:
            raise refused_parameter("currency", "invalid_currency", "Invalid currency.")
        self._watch_moto(params)
        if "customer" in params:
            self._methods.customer(params["customer"])
        intent = self._books.add("payment_intent", now, **_fresh(params))
        intent["client_secret"] = f"{intent['id']}_secret_{self._books.secret('client', intent['id'])}"
        self._books.tell("payment_intent.created", intent, now)
        if params.get("confirm"):
            self._attempt(intent, params, now)
        return intent

    def confirm(self, intent: Thing, params: Thing, now: float) -> None:
        """One confirmation with checked parameters: charges the card once, or raises the refusal."""
        self._allowed(intent["id"], "confirm")
        self._watch_moto(params)
        self._attempt(intent, params, now)

    def authenticated(self, intent_id: str, now: float, *, passed: bool) -> Thing:
        """The cardholder answered the issuer's question: charged, or back to requires_payment_method."""
        intent = self._books.find("payment_intent", intent_id)
        if intent["status"] != "requires_action":
            raise wrong_state("payment_intent_unexpected_state", "Nothing to authenticate.")
        if passed:
            method = self._books.find("payment_method", intent["payment_method"])
            charge = self._charges.attempt(intent, method, now, off_line=False, authenticated=True)
            self._authorised(intent, method, charge, now)
        else:
            self._refused(intent, AUTHENTICATION, now)
        return intent

    def _create(self, call: Call) -> Thing:
        return self.make(call.params, call.now)

    def _intent(self, call: Call) -> Thing:
        return self._books.find("payment_intent", call.thing_id)

    def _page(self, call: Call) -> Thing:
        customer = call.params.get("customer")
        return self._books.page(
            "payment_intent",
            call.params,
            "/v1/payment_intents",
            lambda one: customer in {None, one["customer"]},
        )

    def _search(self, call: Call) -> Thing:
        """`metadata["key"]:"value"` or `status:"word"`, joined by AND; new intents show up after the lag."""
        wanted = [_clause(part.strip()) for part in call.params["query"].split(" AND ")]
        indexed = call.now - self._account.search_lag_s
        found = [
            one
            for one in self._books.every("payment_intent")
            if one["created"] <= indexed and all(_value(one, name) == value for name, value in wanted)
        ]
        limit, start = call.params.get("limit", 10), _page_start(call.params.get("page", "0"))
        more = len(found) > start + limit
        return {
            "object": "search_result",
            "data": found[start : start + limit],
            "has_more": more,
            "next_page": str(start + limit) if more else None,
            "url": "/v1/payment_intents/search",
        }

    def _update(self, call: Call) -> Thing:
        intent = self._intent(call)
        if not set(call.params) <= ALWAYS:
            self._allowed(call.thing_id, "update")
        self._watch_moto(call.params)
        changes = {name: value for name, value in call.params.items() if name in _UPDATE}
        intent["metadata"] = merged(intent["metadata"], changes.pop("metadata", {}))
        intent["payment_method_options"].update(changes.pop("payment_method_options", {}))
        intent.update(changes)
        if "payment_method" in changes:
            intent["status"] = "requires_confirmation"
        return intent

    def _confirm(self, call: Call) -> Thing:
        intent = self._intent(call)
        self.confirm(intent, call.params, call.now)
        return intent

    def _capture(self, call: Call) -> Thing:
        intent = self._allowed(call.thing_id, "capture")
        amount: int = call.params.get("amount_to_capture") or intent["amount_capturable"]
        if amount > intent["amount_capturable"]:
            sentence = "The amount to capture is greater than the amount that can be captured."
            raise wrong_state("amount_too_large", sentence, param="amount_to_capture")
        charge = self._books.find("charge", intent["latest_charge"])
        self._lapses.pop(intent["id"])
        intent.update(status="succeeded", amount_capturable=0, amount_received=amount)
        intent["metadata"] = merged(intent["metadata"], call.params.get("metadata", {}))
        self._charges.capture(charge, amount, call.now)
        self._books.tell("charge.captured", charge, call.now)
        self._books.tell("payment_intent.succeeded", intent, call.now)
        return intent

    def _cancel(self, call: Call) -> Thing:
        intent = self._allowed(call.thing_id, "cancel")
        self._end(intent, call.params.get("cancellation_reason"), call.now, lapsed=False)
        return intent

    def _end(self, intent: Thing, reason: str | None, now: float, *, lapsed: bool) -> None:
        if intent["status"] == "requires_capture":
            charge = self._books.find("charge", intent["latest_charge"])
            self._charges.release(charge, now, lapsed=lapsed)
            self._lapses.pop(intent["id"])
        intent.update(status="canceled", canceled_at=int(now), amount_capturable=0, next_action=None)
        intent["cancellation_reason"] = reason
        self._books.tell("payment_intent.canceled", intent, now)

    def _attempt(self, intent: Thing, params: Thing, now: float) -> None:
        """One confirmation: charges the card once, or says why not."""
        method = self._chosen(intent, params)
        for name in ("capture_method", "setup_future_usage", "receipt_email"):
            if name in params:
                intent[name] = params[name]
        if "payment_method_options" in params:
            intent["payment_method_options"].update(params["payment_method_options"])
        intent.update(payment_method=method["id"], next_action=None)
        label = self._methods.card(method).label
        off_line = bool(params.get("off_session", False))
        silent = off_line or params.get("error_on_requires_action", False)
        if label == AUTHENTICATION and not silent:
            intent.update(status="requires_action", next_action=_ACTION)
            self._books.tell("payment_intent.requires_action", intent, now)
            return
        charge = self._charges.attempt(intent, method, now, off_line=off_line)
        intent["latest_charge"] = charge["id"]
        if not passes(label):
            raise self._refused(intent, label, now, charge=charge["id"])
        self._authorised(intent, method, charge, now)

    def _chosen(self, intent: Thing, params: Thing) -> Thing:
        """The payment method of this confirmation; Failure when there is none that may be used."""
        method_id = params.get("payment_method") or intent["payment_method"]
        if method_id is None:
            raise wrong_state("payment_intent_unexpected_state", _NO_METHOD, payment_intent=dict(intent))
        automatic = intent["automatic_payment_methods"]
        redirects = automatic is not None and automatic["allow_redirects"] == "always"
        if redirects and "return_url" not in params:
            raise refused_parameter("return_url", "parameter_missing", _REDIRECTS)
        return self._methods.usable(method_id, intent["customer"])

    def _authorised(self, intent: Thing, method: Thing, charge: Thing, now: float) -> None:
        intent.update(latest_charge=charge["id"], last_payment_error=None, next_action=None)
        keep = intent["setup_future_usage"] is not None
        self._methods.charged(method, intent["customer"], keep=keep, now=now)
        if intent["capture_method"] == "manual":
            intent.update(status="requires_capture", amount_capturable=intent["amount"])
            self._lapses[intent["id"]] = charge["payment_method_details"]["card"]["capture_before"]
            self._books.tell("charge.succeeded", charge, now)
            self._books.tell("payment_intent.amount_capturable_updated", intent, now)
            return
        intent.update(status="succeeded", amount_received=intent["amount"])
        charge["payment_method_details"]["card"]["capture_before"] = None
        late = intent["capture_method"] == "automatic_async"
        self._charges.capture(charge, intent["amount"], now, late=late)
        self._books.tell("charge.succeeded", charge, now)
        self._books.tell("payment_intent.succeeded", intent, now)

    def _refused(self, intent: Thing, label: str, now: float, **members: Any) -> Exception:
        """Takes the intent back to requires_payment_method; gives the 402 to raise."""
        method = self._books.find("payment_method", intent["payment_method"])
        error = refusal(label, payment_method=dict(method), **members).error
        intent.update(status="requires_payment_method", payment_method=None, next_action=None)
        intent["last_payment_error"] = error
        self._books.tell("payment_intent.payment_failed", intent, now)
        return refusal(label, payment_intent=dict(intent), payment_method=dict(method), **members)

    def _allowed(self, intent_id: str, step: str) -> Thing:
        intent = self._books.find("payment_intent", intent_id)
        if intent["status"] not in ALLOWED[step]:
            sentence = f"This PaymentIntent's status does not allow to {step} it."
            raise wrong_state("payment_intent_unexpected_state", sentence, payment_intent=dict(intent))
        return intent

    def _watch_moto(self, params: Thing) -> None:
        """Without the enablement the parameter does not exist for the account."""
        if "moto" in params.get("payment_method_options", {}).get("card", {}) and not self._account.moto:
            name = "payment_method_options[card][moto]"
            raise refused_parameter(name, "parameter_unknown", f"Received unknown parameter: {name}")


def _fresh(params: Thing) -> Thing:
    method, types = params.get("payment_method"), params.get("allowed_payment_method_types")
    automatic = {"enabled": True, "allow_redirects": "always"} | params.get("automatic_payment_methods", {})
    return {
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "allowed_payment_method_types": types,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic if types is None else None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": params.get("capture_method", "automatic_async"),
        "client_secret": None,
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "currency": params["currency"],
        "customer": params.get("customer"),
        "description": params.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": merged({}, params.get("metadata", {})),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": method,
        "payment_method_configuration_details": None,
        "payment_method_options": params.get("payment_method_options", {}),
        "payment_method_types": types or ["card"],
        "processing": None,
        "receipt_email": params.get("receipt_email"),
        "review": None,
        "setup_future_usage": params.get("setup_future_usage"),
        "shipping": None,
        "source": None,
        "statement_descriptor": params.get("statement_descriptor"),
        "statement_descriptor_suffix": params.get("statement_descriptor_suffix"),
        "status": "requires_payment_method" if method is None else "requires_confirmation",
        "transfer_data": None,
        "transfer_group": None,
    }


def _page_start(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit():
        raise refused_parameter("page", "parameter_invalid", "This page was never given out.")
    return int(cursor)


def _clause(part: str) -> tuple[str, str]:
    name, found, value = part.partition(":")
    if not found or len(value) < 3 or value[0] not in "\"'" or value[-1] != value[0]:
        raise refused_parameter("query", "parameter_invalid", "The query cannot be read.")
    return name.replace("'", '"'), value[1:-1]


def _value(intent: Thing, name: str) -> str | None:
    if name.startswith('metadata["') and name.endswith('"]'):
        value: str | None = intent["metadata"].get(name.removeprefix('metadata["').removesuffix('"]'))
        return value
    if name not in {"status", "customer", "currency"}:
        raise refused_parameter("query", "parameter_invalid", "The query names no field of an intent.")
    return str(intent[name])


_ACTION = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
_CAPTURE_METHODS = form.word("automatic", "automatic_async", "manual")
_KEEP = form.word("off_session", "on_session")
_CARD_OPTIONS = form.record(
    {
        "moto": form.flag,
        "capture_method": form.word("manual"),
        "request_three_d_secure": form.word("any", "automatic", "challenge"),
        "setup_future_usage": form.word("none", "off_session", "on_session"),
    }
)
_COMMON = {
    "payment_method": form.text,
    "payment_method_options": form.record({"card": _CARD_OPTIONS}),
    "receipt_email": form.text,
    "setup_future_usage": _KEEP,
    "capture_method": _CAPTURE_METHODS,
}
_CONFIRM = _COMMON | {
    "error_on_requires_action": form.flag,
    "off_session": form.flag,
    "return_url": form.text,
    "use_stripe_sdk": form.flag,
}
_UPDATE = _COMMON | {
    "amount": form.whole(1, AMOUNT_MAX),
    "customer": form.text,
    "description": form.text,
    "metadata": form.metadata,
    "statement_descriptor": form.text,
    "statement_descriptor_suffix": form.text,
}
_AUTOMATIC = {"enabled": form.flag, "allow_redirects": form.word("always", "never")}
_CREATE = (
    _CONFIRM
    | _UPDATE
    | {
        "allowed_payment_method_types": form.each(form.word("card")),
        "automatic_payment_methods": form.record(_AUTOMATIC, ("enabled",)),
        "confirm": form.flag,
        "confirmation_method": form.word("automatic", "manual"),
        "currency": form.text,
    }
)
_CAPTURE = {
    "amount_to_capture": form.whole(1, AMOUNT_MAX),
    "final_capture": form.flag,
    "metadata": form.metadata,
    "statement_descriptor": form.text,
    "statement_descriptor_suffix": form.text,
}
_CANCEL = {"cancellation_reason": form.word("abandoned", "duplicate", "fraudulent", "requested_by_customer")}
_SEARCH = {"query": form.text, "limit": form.whole(1, 100), "page": form.text}
