"""Checkout Sessions: the page behind a payment link, open until it is paid, expired or too old.

The cardholder's side is a test call (`visit`, `pay`): it says which test card is keyed on the page and
whether the issuer's question is passed. The PaymentIntent is made when the page is paid, as at Stripe.
"""

from vault.proof import stripe_form as form
from vault.proof.stripe_account import Account
from vault.proof.stripe_books import Books, Thing
from vault.proof.stripe_cards import known
from vault.proof.stripe_failure import refused_parameter, wrong_state
from vault.proof.stripe_intents import Intents
from vault.proof.stripe_methods import Methods, merged
from vault.proof.stripe_route import PAGED, Call, Route

LIFE_MIN_S, LIFE_MAX_S = 1_800, 86_400
"""Stripe: `expires_at` lies 30 minutes to 24 hours ahead; without one it is 24 hours."""
CLOCK_SLACK_S = 60
"""How far the caller's clock may be behind or ahead when it computes `expires_at`."""
LINES_MAX = 100
PAGE_CARD_YEARS = 3
"""Cards keyed on the page by a test expire that many years from now."""


class Checkout:
    """All Checkout Sessions of the account."""

    def __init__(self, books: Books, account: Account, methods: Methods, intents: Intents) -> None:
        self._books = books
        self._account = account
        self._methods = methods
        self._intents = intents
        self._lines: dict[str, Thing] = {}
        self._visits: dict[str, int] = {}

    def routes(self) -> list[Route]:
        """What the API offers about Checkout Sessions."""
        base, key = "/v1/checkout/sessions", "checkout_sessions"
        return [
            Route("POST", base, key, _CREATE, self._create, ("mode", "line_items", "success_url")),
            Route("GET", base, key, _LIST, self._page),
            Route("GET", f"{base}/{{id}}", key, {}, self._session),
            Route("POST", f"{base}/{{id}}/expire", key, {}, self._expire),
        ]

    def tick(self, now: float) -> None:
        """Pages whose time is over expire."""
        for page in self._books.every("checkout.session"):
            if page["status"] == "open" and page["expires_at"] <= now:
                self._close(page, now)

    def visit(self, page_id: str) -> int:
        """The cardholder opens the page: how often it was opened so far."""
        page = self._books.find("checkout.session", page_id)
        self._visits[page["id"]] = self._visits.get(page["id"], 0) + 1
        return self._visits[page["id"]]

    def pay(self, page_id: str, pan: str, now: float, *, authenticates: bool = True) -> Thing:
        """The cardholder keys a test card and answers the issuer: the page after it.

        A decline leaves the page open for another card; it raises the same Failure the card would raise.
        """
        page = self._books.find("checkout.session", page_id)
        if page["status"] != "open":
            raise wrong_state("", "This Checkout Session is no longer open.")
        year = int(1970 + now / 31_556_952) + PAGE_CARD_YEARS
        brand_digits = 4 if pan.startswith("3") else 3
        card = known(pan, 12, year, "1" * brand_digits, now, canary=self._account.canary)
        method = self._methods.from_card(card, now)
        intent = self._intent(page, now)
        self._intents.confirm(intent, {"payment_method": method["id"]}, now)
        if intent["status"] == "requires_action":
            self._intents.authenticated(intent["id"], now, passed=authenticates)
        if intent["status"] in {"succeeded", "requires_capture"}:
            page.update(status="complete", payment_status="paid", payment_intent=intent["id"], url=None)
            self._books.tell("checkout.session.completed", page, now)
        return page

    def _intent(self, page: Thing, now: float) -> Thing:
        """The page's PaymentIntent; one for all cards that are tried on it."""
        given = self._lines[page["id"]]
        if "intent" not in given:
            params = {
                "amount": page["amount_total"],
                "currency": page["currency"],
                "allowed_payment_method_types": ["card"],
                **{name: value for name, value in given["data"].items() if name != "statement_descriptor"},
                **({"customer": page["customer"]} if page["customer"] else {}),
            }
            given["intent"] = self._intents.make(params, now)
        intent: Thing = given["intent"]
        return intent

    def _create(self, call: Call) -> Thing:
        amount, currency = _total(call.params["line_items"])
        expires_at = call.params.get("expires_at", int(call.now) + LIFE_MAX_S)
        life = expires_at - call.now
        if not LIFE_MIN_S - CLOCK_SLACK_S <= life <= LIFE_MAX_S + CLOCK_SLACK_S:
            sentence = "expires_at must lie 30 minutes to 24 hours ahead."
            raise refused_parameter("expires_at", "parameter_invalid", sentence)
        if "customer" in call.params:
            self._methods.customer(call.params["customer"])
        page = self._books.add(
            "checkout.session", call.now, **_fresh(call.params, amount, currency, expires_at)
        )
        page["url"] = f"{self._account.page_base}/c/pay/{page['id']}"
        self._lines[page["id"]] = {"data": call.params.get("payment_intent_data", {})}
        return page

    def _session(self, call: Call) -> Thing:
        return self._books.find("checkout.session", call.thing_id)

    def _page(self, call: Call) -> Thing:
        filters = {
            name: call.params[name]
            for name in ("customer", "payment_intent", "status")
            if name in call.params
        }
        return self._books.page(
            "checkout.session",
            call.params,
            "/v1/checkout/sessions",
            lambda one: all(one[name] == value for name, value in filters.items()),
        )

    def _expire(self, call: Call) -> Thing:
        page = self._books.find("checkout.session", call.thing_id)
        if page["status"] != "open":
            raise wrong_state("", "Only an open Checkout Session can be expired.")
        self._close(page, call.now)
        return page

    def _close(self, page: Thing, now: float) -> None:
        page.update(status="expired", url=None)
        self._books.tell("checkout.session.expired", page, now)


def _total(lines: list[Thing]) -> tuple[int, str]:
    """Sum and currency of the lines; Failure when they differ in currency."""
    currencies = {line["price_data"]["currency"] for line in lines}
    if len(currencies) != 1 or len(lines) > LINES_MAX:
        raise refused_parameter("line_items", "parameter_invalid", "All lines need one currency.")
    amount = sum(line["price_data"]["unit_amount"] * line.get("quantity", 1) for line in lines)
    return amount, currencies.pop()


def _fresh(params: Thing, amount: int, currency: str, expires_at: int) -> Thing:
    types = params.get("allowed_payment_method_types")
    return {
        "adaptive_pricing": None,
        "allowed_payment_method_types": types,
        "amount_subtotal": amount,
        "amount_total": amount,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "currency": currency,
        "custom_fields": [],
        "custom_text": {},
        "customer": params.get("customer"),
        "customer_details": None,
        "customer_email": params.get("customer_email"),
        "expires_at": expires_at,
        "livemode": False,
        "locale": params.get("locale"),
        "metadata": merged({}, params.get("metadata", {})),
        "mode": "payment",
        "payment_intent": None,
        "payment_link": None,
        "payment_method_options": None,
        "payment_method_types": types or ["card"],
        "payment_status": "unpaid",
        "permissions": None,
        "setup_intent": None,
        "shipping_options": [],
        "status": "open",
        "success_url": params["success_url"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted",
        "url": None,
    }


_PRODUCT = form.record({"name": form.text, "description": form.text, "metadata": form.metadata}, ("name",))
_PRICE = form.record(
    {"currency": form.text, "unit_amount": form.whole(1, 99_999_999), "product_data": _PRODUCT},
    ("currency", "unit_amount", "product_data"),
)
_LINE = form.record({"price_data": _PRICE, "quantity": form.whole(1, 999)}, ("price_data",))
_INTENT_DATA = {
    "capture_method": form.word("automatic", "automatic_async", "manual"),
    "description": form.text,
    "metadata": form.metadata,
    "receipt_email": form.text,
    "setup_future_usage": form.word("off_session", "on_session"),
    "statement_descriptor": form.text,
    "statement_descriptor_suffix": form.text,
}
_SECURE = form.record({"request_three_d_secure": form.word("any", "automatic", "challenge")})
_CREATE = {
    "mode": form.word("payment"),
    "customer_creation": form.word("always", "if_required"),
    "payment_method_options": form.record({"card": _SECURE}),
    "line_items": form.each(_LINE),
    "success_url": form.text,
    "cancel_url": form.text,
    "client_reference_id": form.text,
    "customer": form.text,
    "customer_email": form.text,
    "expires_at": form.whole(),
    "locale": form.text,
    "metadata": form.metadata,
    "allowed_payment_method_types": form.each(form.word("card")),
    "payment_intent_data": form.record(_INTENT_DATA),
    "submit_type": form.word("auto", "pay"),
}
_LIST = PAGED | {"customer": form.text, "payment_intent": form.text, "status": form.text}
