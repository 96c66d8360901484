"""Payment methods from raw cards, customers, and which card belongs to whom.

A payment method that was charged without belonging to a customer is used up; one that was detached is gone
for good (Stripe API, "PaymentMethod").
"""

from vault.proof import stripe_form as form
from vault.proof.stripe_account import Account
from vault.proof.stripe_books import Books, Thing
from vault.proof.stripe_cards import DECLINES, KnownCard, known, refusal
from vault.proof.stripe_failure import refused_parameter, wrong_state
from vault.proof.stripe_route import CURSORS, PAGED, Call, Route

_USED = "The PaymentMethod was used without a Customer, or was detached: it may not be used again."
_CARD = {
    "number": form.text,
    "exp_month": form.whole(0, 99),
    "exp_year": form.whole(0, 9999),
    "cvc": form.text,
}
_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), form.text)
_BILLING = {"name": form.text, "email": form.text, "phone": form.text, "address": form.record(_ADDRESS)}
_CUSTOMER = {
    "name": form.text,
    "email": form.text,
    "phone": form.text,
    "description": form.text,
    "metadata": form.metadata,
    "preferred_locales": form.each(form.text),
}
_EXP_YEAR_SHORT = 100
"""`exp_year` may come with two digits."""


class Methods:
    """Cards and customers of the account."""

    def __init__(self, books: Books, account: Account) -> None:
        self._books = books
        self._account = account
        self._cards: dict[str, KnownCard] = {}
        self._used: set[str] = set()

    def routes(self) -> list[Route]:
        """What the API offers about payment methods and customers."""
        cards, people = "payment_methods", "customers"
        return [
            Route("POST", "/v1/payment_methods", cards, _NEW_METHOD, self._create, ("type", "card")),
            Route("GET", "/v1/payment_methods/{id}", cards, {}, self._method),
            Route("GET", "/v1/payment_methods", cards, _METHOD_LIST, self._of_customer),
            Route(
                "POST",
                "/v1/payment_methods/{id}/attach",
                "payment_method_links",
                _ATTACH,
                self._attach,
                ("customer",),
            ),
            Route("POST", "/v1/payment_methods/{id}/detach", "payment_method_links", {}, self._detach),
            Route(
                "POST", "/v1/customers", people, _CUSTOMER | {"payment_method": form.text}, self._new_customer
            ),
            Route("GET", "/v1/customers/{id}", people, {}, self._customer),
            Route("POST", "/v1/customers/{id}", people, _CUSTOMER, self._change_customer),
            Route("DELETE", "/v1/customers/{id}", people, {}, self._delete_customer),
            Route("GET", "/v1/customers", people, PAGED | {"email": form.text}, self._customers),
            Route("GET", "/v1/customers/{id}/payment_methods", people, _METHOD_PAGE, self._of_path),
        ]

    def usable(self, method_id: str, customer: str | None) -> Thing:
        """The payment method for a charge of that customer; Failure when it is used up or another's."""
        method = self._books.find("payment_method", method_id, "payment_method")
        if method_id in self._used:
            raise wrong_state("payment_method_unactivated", _USED, param="payment_method")
        if method["customer"] not in {None, customer}:
            sentence = "The payment method belongs to another customer, or the customer is missing."
            raise wrong_state("payment_method_customer_mismatch", sentence, param="payment_method")
        return method

    def card(self, method: Thing) -> KnownCard:
        """What the host knows about the card behind a payment method."""
        return self._cards[method["id"]]

    def charged(self, method: Thing, customer: str | None, *, keep: bool, now: float) -> None:
        """After a success: the card is kept for the customer, or used up."""
        if keep and customer is not None:
            self._join(method, customer, now)
        elif method["customer"] is None:
            self._used.add(method["id"])

    def customer(self, customer_id: str) -> Thing:
        """The customer; Failure when there is none or it was deleted."""
        found = self._books.find("customer", customer_id, "customer")
        if found.get("deleted"):
            raise refused_parameter("customer", "resource_missing", "This customer was deleted.")
        return found

    def from_card(self, card: KnownCard, now: float, billing: Thing | None = None) -> Thing:
        """A new payment method of a checked card."""
        method = self._books.add(
            "payment_method",
            now,
            type="card",
            customer=None,
            livemode=False,
            metadata={},
            allow_redisplay="unspecified",
            billing_details={"address": None, "email": None, "name": None, "phone": None} | (billing or {}),
            card=self.described(card) | {"checks": _checks(card), "networks": _networks(card)},
        )
        self._cards[method["id"]] = card
        return method

    def described(self, card: KnownCard) -> Thing:
        """The members that every description of the card has."""
        return {
            "brand": card.brand,
            "country": "US",
            "exp_month": card.exp_month,
            "exp_year": card.exp_year,
            "fingerprint": self._books.secret("fingerprint", card.fingerprint.hex())[:16],
            "funding": "credit",
            "last4": card.last4,
            "wallet": None,
        }

    def _create(self, call: Call) -> Thing:
        raw = call.params["card"]
        year = raw["exp_year"] + (2000 if raw["exp_year"] < _EXP_YEAR_SHORT else 0)
        card = known(
            raw["number"], raw["exp_month"], year, raw.get("cvc"), call.now, canary=self._account.canary
        )
        method = self.from_card(card, call.now, call.params.get("billing_details"))
        method["metadata"] = merged({}, call.params.get("metadata", {}))
        return method

    def _method(self, call: Call) -> Thing:
        return self._books.find("payment_method", call.thing_id)

    def _of_customer(self, call: Call) -> Thing:
        customer = call.params.get("customer")
        return self._page(customer, call, "/v1/payment_methods")

    def _of_path(self, call: Call) -> Thing:
        self.customer(call.thing_id)
        return self._page(call.thing_id, call, f"/v1/customers/{call.thing_id}/payment_methods")

    def _page(self, customer: str | None, call: Call, url: str) -> Thing:
        return self._books.page(
            "payment_method",
            call.params,
            url,
            lambda one: customer is not None and one["customer"] == customer,
        )

    def _attach(self, call: Call) -> Thing:
        method = self._books.find("payment_method", call.thing_id)
        customer = self.customer(call.params["customer"])
        self.usable(method["id"], customer["id"])
        label = self.card(method).label
        if label in DECLINES and label != "authentication_required":
            raise refusal(label, payment_method=method)
        self._join(method, customer["id"], call.now)
        return method

    def _join(self, method: Thing, customer: str, now: float) -> None:
        if method["customer"] is None:
            method["customer"] = customer
            self._books.tell("payment_method.attached", method, now)

    def _detach(self, call: Call) -> Thing:
        method = self._books.find("payment_method", call.thing_id)
        if method["customer"] is None:
            raise wrong_state("", "The payment method is not attached to a customer.", param="payment_method")
        method["customer"] = None
        self._used.add(method["id"])
        self._books.tell("payment_method.detached", method, call.now)
        return method

    def _new_customer(self, call: Call) -> Thing:
        given = {name: call.params.get(name) for name in ("name", "email", "phone", "description")}
        customer = self._books.add(
            "customer",
            call.now,
            **given,
            livemode=False,
            metadata=merged({}, call.params.get("metadata", {})),
            preferred_locales=call.params.get("preferred_locales", []),
            invoice_settings={
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            address=None,
            shipping=None,
            default_source=None,
        )
        if "payment_method" in call.params:
            self._attach(Call(call.params["payment_method"], {"customer": customer["id"]}, call.now))
        self._books.tell("customer.created", customer, call.now)
        return customer

    def _customer(self, call: Call) -> Thing:
        return self._books.find("customer", call.thing_id)

    def _change_customer(self, call: Call) -> Thing:
        customer = self.customer(call.thing_id)
        changes = {name: value for name, value in call.params.items() if name in _CUSTOMER}
        customer["metadata"] = merged(customer["metadata"], changes.pop("metadata", {}))
        customer.update(changes)
        return customer

    def _delete_customer(self, call: Call) -> Thing:
        customer = self.customer(call.thing_id)
        for method in self._books.every("payment_method"):
            if method["customer"] == customer["id"]:
                self._detach(Call(method["id"], {}, call.now))
        self._books.tell("customer.deleted", customer, call.now)
        thing_id, made = customer["id"], customer["created"]
        customer.clear()
        customer.update(id=thing_id, object="customer", created=made, deleted=True)
        return customer

    def _customers(self, call: Call) -> Thing:
        email = call.params.get("email")
        return self._books.page(
            "customer",
            call.params,
            "/v1/customers",
            lambda one: not one.get("deleted") and email in {None, one["email"]},
        )


def merged(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Metadata after an update: new keys win, an empty value takes its key away."""
    return {key: value for key, value in {**old, **new}.items() if value}


def _checks(card: KnownCard) -> Thing:
    given = "unchecked" if card.cvv_given else None
    return {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": given}


def _networks(card: KnownCard) -> Thing:
    return {"available": [card.brand], "preferred": None}


_NEW_METHOD = {
    "type": form.word("card"),
    "card": form.record(_CARD, ("number", "exp_month", "exp_year")),
    "billing_details": form.record(_BILLING),
    "metadata": form.metadata,
}
_METHOD_PAGE = CURSORS | {"type": form.word("card")}
_METHOD_LIST = _METHOD_PAGE | {"customer": form.text}
_ATTACH = {"customer": form.text}
