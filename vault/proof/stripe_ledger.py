"""The account's balance: a transaction for everything that moves money, and payouts made of them.

Signs are the merchant's: a charge is positive, its fee is taken off `net`, refunds, disputes and payouts are
negative. A transaction can be paid out from `available_on`; an automatic payout takes every available one
once and names itself in each (Stripe docs, "Payout reconciliation").
"""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from vault.proof import stripe_form as form
from vault.proof.stripe_account import Account
from vault.proof.stripe_books import Books, Thing
from vault.proof.stripe_route import PAGED, Call, Route

DAY_S = 86_400
CATEGORIES = {
    "charge": "charge",
    "refund": "refund",
    "payout": "payout",
    "stripe_fee": "fee",
}
"""Type of a balance transaction -> its reporting category; an adjustment brings its own."""


class Ledger:
    """Balance transactions and payouts."""

    def __init__(self, books: Books, account: Account) -> None:
        self._books = books
        self._account = account
        self._payout_of: dict[str, str] = {}

    def routes(self) -> list[Route]:
        """What the API offers about money that has moved."""
        return [
            Route("GET", "/v1/balance", "balance", {}, self._balance),
            Route("GET", "/v1/balance_transactions", "balance", _TRANSACTIONS, self._transactions),
            Route("GET", "/v1/balance_transactions/{id}", "balance", {}, self._transaction),
            Route("GET", "/v1/payouts", "payouts", PAGED | {"status": form.text}, self._payouts),
            Route("GET", "/v1/payouts/{id}", "payouts", {}, self._payout),
        ]

    def post(
        self, kind: str, source: Thing, amount: int, now: float, *, fee: int = 0, category: str = ""
    ) -> str:
        """Writes one transaction and gives its id."""
        waits = 0 if kind == "payout" else self._account.available_days * DAY_S
        details = [{"amount": fee, "currency": source["currency"], "type": "stripe_fee"}]
        entry = self._books.add(
            "balance_transaction",
            now,
            type=kind,
            reporting_category=category or CATEGORIES[kind],
            source=source["id"],
            amount=amount,
            fee=fee,
            fee_details=[
                {**one, "application": None, "description": "Stripe fees"} for one in details if fee
            ],
            net=amount - fee,
            currency=source["currency"],
            description=source.get("description"),
            exchange_rate=None,
            balance_type="payments",
            status="pending",
            available_on=_midnight(now + waits) if waits else int(now),
        )
        return str(entry["id"])

    def pay_out(self, currency: str, now: float) -> Thing | None:
        """An automatic payout of everything available in a currency; None when that is not above zero."""
        taken = [one for one in self._free(currency) if one["available_on"] <= now]
        amount = sum(one["net"] for one in taken)
        if amount <= 0:
            return None
        payout = self._books.add("payout", now, **_payout(amount, currency, _midnight(now + DAY_S)))
        payout["balance_transaction"] = self.post("payout", payout, -amount, now)
        for one in taken:
            self._payout_of[one["id"]] = payout["id"]
        self._payout_of[payout["balance_transaction"]] = payout["id"]
        for kind in ("payout.created", "payout.paid", "payout.reconciliation_completed"):
            self._books.tell(kind, payout, now)
        return payout

    def tick(self, now: float) -> None:
        """Pending transactions whose day has come are available."""
        for one in self._books.every("balance_transaction"):
            if one["available_on"] <= now:
                one["status"] = "available"

    def _free(self, currency: str) -> list[Thing]:
        """Transactions of the currency that no payout has taken."""
        entries = self._books.every("balance_transaction")
        return [one for one in entries if one["currency"] == currency and one["id"] not in self._payout_of]

    def _balance(self, call: Call) -> Thing:
        self.tick(call.now)
        sums: dict[str, defaultdict[str, int]] = {"available": defaultdict(int), "pending": defaultdict(int)}
        for one in self._books.every("balance_transaction"):
            sums[one["status"]][one["currency"]] += one["net"]
        rows: dict[str, Any] = {
            status: [{"amount": amount, "currency": currency} for currency, amount in sorted(found.items())]
            for status, found in sums.items()
        }
        return {"object": "balance", "livemode": False, **rows}

    def _transactions(self, call: Call) -> Thing:
        self.tick(call.now)
        filters = {name: call.params[name] for name in ("type", "source", "currency") if name in call.params}
        payout = call.params.get("payout")
        return self._books.page(
            "balance_transaction",
            call.params,
            "/v1/balance_transactions",
            lambda one: (
                all(one[name] == value for name, value in filters.items())
                and payout in {None, self._payout_of.get(one["id"])}
            ),
        )

    def _transaction(self, call: Call) -> Thing:
        self.tick(call.now)
        return self._books.find("balance_transaction", call.thing_id)

    def _payouts(self, call: Call) -> Thing:
        status = call.params.get("status")
        return self._books.page(
            "payout", call.params, "/v1/payouts", lambda one: status in {None, one["status"]}
        )

    def _payout(self, call: Call) -> Thing:
        return self._books.find("payout", call.thing_id)


def _midnight(moment: float) -> int:
    """The start of that day in UTC."""
    day = datetime.fromtimestamp(moment, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(day.timestamp())


def _payout(amount: int, currency: str, arrival: int) -> Thing:
    return {
        "amount": amount,
        "currency": currency,
        "arrival_date": arrival,
        "automatic": True,
        "balance_transaction": None,
        "description": "STRIPE PAYOUT",
        "destination": None,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "reconciliation_status": "completed",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "paid",
        "type": "bank_account",
        "application_fee": None,
        "application_fee_amount": None,
        "payout_method": None,
        "trace_id": None,
    }


_TRANSACTIONS = PAGED | dict.fromkeys(("type", "source", "currency", "payout"), form.text)
