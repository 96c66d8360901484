"""Charges: one per confirmed attempt, refused ones too; captured whole or in part, or lapsed.

A charge is made by an intent and never by a request of its own. `capture_before` says how long an
uncaptured one holds. With `automatic_async`, Stripe's default, the balance transaction comes a moment after
the answer that says succeeded: whoever reads it from that answer finds null.
"""

from vault.proof import stripe_form as form
from vault.proof.stripe_account import Account
from vault.proof.stripe_books import Books, Thing
from vault.proof.stripe_cards import DECLINES, KnownCard, passes
from vault.proof.stripe_ledger import Ledger
from vault.proof.stripe_methods import Methods
from vault.proof.stripe_route import PAGED, Call, Route


class Charges:
    """All charges of the account."""

    def __init__(self, books: Books, account: Account, methods: Methods, ledger: Ledger) -> None:
        self._books = books
        self._account = account
        self._methods = methods
        self._ledger = ledger
        self._late: list[Thing] = []

    def routes(self) -> list[Route]:
        """Charges are read only."""
        return [
            Route("GET", "/v1/charges", "charges", _LIST, self._page),
            Route("GET", "/v1/charges/{id}", "charges", {}, self._charge),
        ]

    def attempt(
        self, intent: Thing, method: Thing, now: float, *, off_line: bool, authenticated: bool = False
    ) -> Thing:
        """A new charge by this card, authorised or failed; nothing of it is captured yet."""
        card = self._methods.card(method)
        charge = self._books.add("charge", now, **_fresh(intent, method))
        charge["payment_method_details"] = {"type": "card", "card": self._details(intent, card)}
        if passes(card.label) or authenticated:
            holds = self._account.hold_off_line_s if off_line else self._account.hold_s
            charge["payment_method_details"]["card"]["capture_before"] = int(now + holds)
            charge.update(status="succeeded", paid=True, outcome=_OUTCOME_GOOD)
        else:
            decline = DECLINES[card.label]
            charge.update(status="failed", failure_code=decline.code, outcome=_outcome_bad(card.label))
            charge["failure_message"] = "Your card was declined."
            self._books.tell("charge.failed", charge, now)
        return charge

    def capture(self, charge: Thing, amount: int, now: float, *, late: bool = False) -> None:
        """Takes the money: books it, at once or (`late`) with the next request."""
        charge.update(captured=True, amount_captured=amount)
        if late:
            self._late.append(charge)
        else:
            self._book(charge, now)

    def release(self, charge: Thing, now: float, *, lapsed: bool) -> None:
        """An authorisation that is given back: voided, or lapsed."""
        charge.update(refunded=True, amount_refunded=charge["amount"])
        self._books.tell("charge.expired" if lapsed else "charge.refunded", charge, now)

    def tick(self, now: float) -> None:
        """Books what `automatic_async` left open."""
        while self._late:
            charge = self._late.pop(0)
            self._book(charge, now)
            self._books.tell("charge.updated", charge, now)

    def _book(self, charge: Thing, now: float) -> None:
        amount = charge["amount_captured"]
        fee = self._account.charge_fee(amount, charge["currency"])
        charge["balance_transaction"] = self._ledger.post("charge", charge, amount, now, fee=fee)

    def _details(self, intent: Thing, card: KnownCard) -> Thing:
        options = intent["payment_method_options"].get("card", {})
        return self._methods.described(card) | {
            "amount_authorized": intent["amount"],
            "authorization_code": "000000" if passes(card.label) else None,
            "capture_before": None,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": _cvv_check(card),
            },
            "extended_authorization": {"status": "disabled"},
            "incremental_authorization": {"status": "unavailable"},
            "installments": None,
            "mandate": None,
            "moto": True if options.get("moto") else None,
            "multicapture": {"status": "unavailable"},
            "network": card.brand,
            "network_token": {"used": False},
            "network_transaction_id": None,
            "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
            "regulated_status": "unregulated",
            "three_d_secure": None,
        }

    def _page(self, call: Call) -> Thing:
        filters = {name: call.params[name] for name in ("customer", "payment_intent") if name in call.params}
        return self._books.page(
            "charge",
            call.params,
            "/v1/charges",
            lambda one: all(one[name] == value for name, value in filters.items()),
        )

    def _charge(self, call: Call) -> Thing:
        return self._books.find("charge", call.thing_id)


def refundable(charge: Thing) -> int:
    """What of the charge has been taken and not yet given back."""
    return int(charge["amount_captured"] - charge["amount_refunded"])


def _cvv_check(card: KnownCard) -> str | None:
    if not card.cvv_given:
        return None
    return "fail" if card.label == "incorrect_cvc" else "pass"


def _fresh(intent: Thing, method: Thing) -> Thing:
    copied = ("amount", "currency", "customer", "description", "metadata", "receipt_email")
    return {name: intent[name] for name in copied} | {
        "metadata": dict(intent["metadata"]),
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "PAY-IVR TEST",
        "captured": False,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "transfer_data": None,
        "transfer_group": None,
    }


_OUTCOME_GOOD = {
    "advice_code": None,
    "network_advice_code": None,
    "network_decline_code": None,
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "seller_message": "Payment complete.",
    "type": "authorized",
}


def _outcome_bad(label: str) -> Thing:
    decline = DECLINES[label]
    return _OUTCOME_GOOD | {
        "advice_code": decline.advice or None,
        "network_decline_code": decline.network,
        "network_status": "declined_by_network",
        "reason": decline.decline_code,
        "seller_message": "The bank did not approve the payment.",
        "type": "issuer_declined",
    }


_LIST = PAGED | {"customer": form.text, "payment_intent": form.text}
