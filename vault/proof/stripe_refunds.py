"""Refunds and disputes: how money goes back, by the merchant's will or against it.

All refunds of a charge together never exceed what was captured; that cap is the provider's own, and what is
tested against it is ours.
"""

from vault.proof import stripe_form as form
from vault.proof.stripe_account import Account
from vault.proof.stripe_books import Books, Thing
from vault.proof.stripe_charges import refundable
from vault.proof.stripe_failure import refused_parameter, wrong_state
from vault.proof.stripe_ledger import Ledger
from vault.proof.stripe_methods import merged
from vault.proof.stripe_route import PAGED, Call, Route

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
EVIDENCE_S = 7 * 86_400
"""How long the merchant may answer a dispute before it is lost; the schemes give 7 to 21 days."""


class Refunds:
    """Refunds and disputes of the account."""

    def __init__(self, books: Books, account: Account, ledger: Ledger) -> None:
        self._books = books
        self._account = account
        self._ledger = ledger

    def routes(self) -> list[Route]:
        """What the API offers about money that goes back."""
        return [
            Route("POST", "/v1/refunds", "refunds", _NEW, self._create),
            Route("GET", "/v1/refunds", "refunds", _LIST, self._page),
            Route("GET", "/v1/refunds/{id}", "refunds", {}, self._refund),
            Route("POST", "/v1/refunds/{id}", "refunds", {"metadata": form.metadata}, self._change),
            Route("GET", "/v1/disputes", "disputes", _LIST, self._disputes),
            Route("GET", "/v1/disputes/{id}", "disputes", {}, self._dispute),
        ]

    def dispute(self, charge_id: str, now: float, amount: int | None = None) -> Thing:
        """The cardholder disputes a charge: the money and a fee are taken from the balance."""
        charge = self._books.find("charge", charge_id)
        amount = refundable(charge) if amount is None else amount
        if charge["disputed"] or not 0 < amount <= refundable(charge):
            raise wrong_state("charge_not_disputable", "Nothing of this charge can be disputed.")
        charge["disputed"] = True
        dispute = self._books.add("dispute", now, **_dispute(charge, amount, now))
        fee = self._account.dispute_fee(charge["currency"])
        self._withdraw(dispute, -amount, now, fee=fee, category="dispute")
        self._books.tell("charge.dispute.created", dispute, now)
        self._books.tell("charge.dispute.funds_withdrawn", dispute, now)
        return dispute

    def win(self, dispute_id: str, now: float) -> Thing:
        """The issuer decides for the merchant: the money comes back, the fee does not."""
        dispute = self._open(dispute_id)
        dispute.update(status="won", is_charge_refundable=True)
        self._withdraw(dispute, dispute["amount"], now, fee=0, category="dispute_reversal")
        self._books.tell("charge.dispute.funds_reinstated", dispute, now)
        self._books.tell("charge.dispute.closed", dispute, now)
        return dispute

    def lose(self, dispute_id: str, now: float) -> Thing:
        """The issuer decides for the cardholder: nothing moves any more."""
        dispute = self._open(dispute_id)
        dispute["status"] = "lost"
        self._books.tell("charge.dispute.closed", dispute, now)
        return dispute

    def _open(self, dispute_id: str) -> Thing:
        dispute = self._books.find("dispute", dispute_id)
        if dispute["status"] != "needs_response":
            raise wrong_state("", "This dispute is closed.")
        return dispute

    def _withdraw(self, dispute: Thing, amount: int, now: float, *, fee: int, category: str) -> None:
        entry = self._ledger.post("adjustment", dispute, amount, now, fee=fee, category=category)
        dispute["balance_transactions"].append(self._books.find("balance_transaction", entry))

    def _create(self, call: Call) -> Thing:
        charge = self._charge_of(call.params)
        left = refundable(charge)
        amount = call.params.get("amount", left)
        if charge["disputed"]:
            raise wrong_state("charge_disputed", "This charge is disputed and cannot be refunded.")
        if not charge["captured"]:
            raise wrong_state("", "This payment has no successful charge to refund; cancel it instead.")
        if left == 0:
            raise wrong_state("charge_already_refunded", "This charge has already been refunded.")
        if amount > left:
            raise wrong_state(
                "", "Refund amount is greater than unrefunded amount on charge.", param="amount"
            )
        refund = self._books.add("refund", call.now, **_refund(charge, amount, call.params))
        refund["balance_transaction"] = self._ledger.post("refund", refund, -amount, call.now)
        charge["amount_refunded"] += amount
        charge["refunded"] = refundable(charge) == 0
        self._books.tell("refund.created", refund, call.now)
        self._books.tell("charge.refunded", charge, call.now)
        return refund

    def _charge_of(self, params: Thing) -> Thing:
        """The charge that the request names, by itself or by its intent."""
        if ("charge" in params) == ("payment_intent" in params):
            raise refused_parameter("charge", "parameter_missing", "Give either charge or payment_intent.")
        if "charge" in params:
            return self._books.find("charge", params["charge"], "charge")
        intent = self._books.find("payment_intent", params["payment_intent"], "payment_intent")
        if intent["latest_charge"] is None:
            raise wrong_state("", "This PaymentIntent does not have a successful charge to refund.")
        return self._books.find("charge", intent["latest_charge"])

    def _refund(self, call: Call) -> Thing:
        return self._books.find("refund", call.thing_id)

    def _change(self, call: Call) -> Thing:
        refund = self._books.find("refund", call.thing_id)
        refund["metadata"] = merged(refund["metadata"], call.params.get("metadata", {}))
        return refund

    def _page(self, call: Call) -> Thing:
        return self._filtered("refund", "/v1/refunds", call)

    def _dispute(self, call: Call) -> Thing:
        return self._books.find("dispute", call.thing_id)

    def _disputes(self, call: Call) -> Thing:
        return self._filtered("dispute", "/v1/disputes", call)

    def _filtered(self, kind: str, url: str, call: Call) -> Thing:
        filters = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
        return self._books.page(
            kind, call.params, url, lambda one: all(one[name] == value for name, value in filters.items())
        )


def _refund(charge: Thing, amount: int, params: Thing) -> Thing:
    return {
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "currency": charge["currency"],
        "destination_details": {"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
        "metadata": merged({}, params.get("metadata", {})),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def _dispute(charge: Thing, amount: int, now: float) -> Thing:
    return {
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": int(now) + EVIDENCE_S,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": "fraudulent",
        "status": "needs_response",
    }


_NEW = {
    "charge": form.text,
    "payment_intent": form.text,
    "amount": form.whole(1),
    "reason": form.word(*REASONS),
    "metadata": form.metadata,
}
_LIST = PAGED | {"charge": form.text, "payment_intent": form.text}
