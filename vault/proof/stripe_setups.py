"""SetupIntents: an account check that moves no money; with a customer it also keeps the card."""

from vault.proof import stripe_form as form
from vault.proof.stripe_account import Account
from vault.proof.stripe_books import Books, Thing
from vault.proof.stripe_cards import AUTHENTICATION, passes, refusal
from vault.proof.stripe_failure import refused_parameter, wrong_state
from vault.proof.stripe_methods import Methods, merged
from vault.proof.stripe_route import PAGED, Call, Route

OPEN = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})
"""The states in which a SetupIntent may be confirmed or canceled."""


class Setups:
    """All SetupIntents of the account."""

    def __init__(self, books: Books, account: Account, methods: Methods) -> None:
        self._books = books
        self._account = account
        self._methods = methods

    def routes(self) -> list[Route]:
        """What the API offers about SetupIntents."""
        base, key = "/v1/setup_intents", "setup_intents"
        return [
            Route("POST", base, key, _CREATE, self._create),
            Route("GET", base, key, _LIST, self._page),
            Route("GET", f"{base}/{{id}}", key, {}, self._setup),
            Route("POST", f"{base}/{{id}}/confirm", key, _CONFIRM, self._confirm),
            Route("POST", f"{base}/{{id}}/cancel", key, _CANCEL, self._cancel),
        ]

    def _create(self, call: Call) -> Thing:
        self._watch_moto(call.params)
        if "customer" in call.params:
            self._methods.customer(call.params["customer"])
        setup = self._books.add("setup_intent", call.now, **_fresh(call.params))
        setup["client_secret"] = f"{setup['id']}_secret_{self._books.secret('client', setup['id'])}"
        self._books.tell("setup_intent.created", setup, call.now)
        if call.params.get("confirm"):
            self._attempt(setup, call.params, call.now)
        return setup

    def _setup(self, call: Call) -> Thing:
        return self._books.find("setup_intent", call.thing_id)

    def _page(self, call: Call) -> Thing:
        filters = {name: call.params[name] for name in ("customer", "payment_method") if name in call.params}
        return self._books.page(
            "setup_intent",
            call.params,
            "/v1/setup_intents",
            lambda one: all(one[name] == value for name, value in filters.items()),
        )

    def _confirm(self, call: Call) -> Thing:
        setup = self._allowed(call.thing_id)
        self._watch_moto(call.params)
        self._attempt(setup, call.params, call.now)
        return setup

    def _cancel(self, call: Call) -> Thing:
        setup = self._allowed(call.thing_id)
        setup.update(status="canceled", cancellation_reason=call.params.get("cancellation_reason"))
        self._books.tell("setup_intent.canceled", setup, call.now)
        return setup

    def _attempt(self, setup: Thing, params: Thing, now: float) -> None:
        method_id = params.get("payment_method") or setup["payment_method"]
        if method_id is None:
            sentence = "You cannot confirm this SetupIntent because it's missing a payment method."
            raise wrong_state("setup_intent_unexpected_state", sentence)
        method = self._methods.usable(method_id, setup["customer"])
        setup["payment_method_options"].update(params.get("payment_method_options", {}))
        setup.update(payment_method=method["id"], next_action=None)
        label = self._methods.card(method).label
        if label == AUTHENTICATION:
            action = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
            setup.update(status="requires_action", next_action=action)
            self._books.tell("setup_intent.requires_action", setup, now)
        elif not passes(label):
            raise self._refused(setup, method, label, now)
        else:
            setup.update(status="succeeded", last_setup_error=None)
            self._methods.charged(method, setup["customer"], keep=True, now=now)
            self._books.tell("setup_intent.succeeded", setup, now)

    def _refused(self, setup: Thing, method: Thing, label: str, now: float) -> Exception:
        setup.update(status="requires_payment_method", payment_method=None)
        setup["last_setup_error"] = refusal(label, payment_method=dict(method)).error
        self._books.tell("setup_intent.setup_failed", setup, now)
        return refusal(label, setup_intent=dict(setup), payment_method=dict(method))

    def _allowed(self, setup_id: str) -> Thing:
        setup = self._books.find("setup_intent", setup_id)
        if setup["status"] not in OPEN:
            sentence = "This SetupIntent's status does not allow this step."
            raise wrong_state("setup_intent_unexpected_state", sentence, setup_intent=dict(setup))
        return setup

    def _watch_moto(self, params: Thing) -> None:
        if "moto" in params.get("payment_method_options", {}).get("card", {}) and not self._account.moto:
            name = "payment_method_options[card][moto]"
            raise refused_parameter(name, "parameter_unknown", f"Received unknown parameter: {name}")


def _fresh(params: Thing) -> Thing:
    method, types = params.get("payment_method"), params.get("allowed_payment_method_types")
    return {
        "allowed_payment_method_types": types,
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": None,
        "customer": params.get("customer"),
        "description": params.get("description"),
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": merged({}, params.get("metadata", {})),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": method,
        "payment_method_configuration_details": None,
        "payment_method_options": params.get("payment_method_options", {}),
        "payment_method_types": types or ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method" if method is None else "requires_confirmation",
        "usage": params.get("usage", "off_session"),
    }


_OPTIONS = form.record(
    {"card": form.record({"moto": form.flag, "request_three_d_secure": form.word("any", "automatic")})}
)
_CONFIRM = {
    "payment_method": form.text,
    "payment_method_options": _OPTIONS,
    "return_url": form.text,
    "use_stripe_sdk": form.flag,
}
_AUTOMATIC = {"enabled": form.flag, "allow_redirects": form.word("always", "never")}
_CREATE = _CONFIRM | {
    "allowed_payment_method_types": form.each(form.word("card")),
    "automatic_payment_methods": form.record(_AUTOMATIC, ("enabled",)),
    "confirm": form.flag,
    "customer": form.text,
    "description": form.text,
    "metadata": form.metadata,
    "usage": form.word("off_session", "on_session"),
}
_CANCEL = {"cancellation_reason": form.word("abandoned", "duplicate", "requested_by_customer")}
_LIST = PAGED | {"customer": form.text, "payment_method": form.text}
