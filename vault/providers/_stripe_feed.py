"""Stripe's balance transactions as entries of the settlement feed.

Amounts keep Stripe's signs, which are the merchant's: a charge is positive, refunds, disputes and payouts are
negative, and `net = amount - fee`. A transaction does not name its payout; a payout lists its transactions
(Stripe docs, "Payout reconciliation"; automatic payouts only).
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from vault.providers._stripe_answers import payment_of, stamp
from vault.providers.base import FeedEntry, FeedKind

PAGE = 100

KINDS = {
    "charge": FeedKind.CHARGE,
    "refund": FeedKind.REFUND,
    "partial_capture_reversal": FeedKind.REFUND,
    "dispute": FeedKind.CHARGEBACK,
    "dispute_reversal": FeedKind.CHARGEBACK_REVERSAL,
    "fee": FeedKind.FEE,
    "network_cost": FeedKind.FEE,
    "payout": FeedKind.PAYOUT,
}
"""Reporting category -> kind; every other category is an ADJUSTMENT."""


async def entries(api: Any, since_s: int, until_s: int) -> AsyncIterator[FeedEntry]:
    """The entries made in `[since_s, until_s)`, oldest first; `api` is the SDK's `v1`."""
    payout_of = await _payouts(api, since_s)
    params = {"created": {"gte": since_s, "lt": until_s}, "limit": PAGE, "expand": ["data.source"]}
    page = await api.balance_transactions.list_async(params)
    found = [one.to_dict() async for one in page.auto_paging_iter()]
    for one in reversed(found):
        yield entry_of(one, payout_of.get(one["id"], ""))


async def _payouts(api: Any, since_s: int) -> dict[str, str]:
    """Transaction -> payout, of every payout since then: no transaction is paid out before it is made."""
    payout_of: dict[str, str] = {}
    payouts = await api.payouts.list_async({"created": {"gte": since_s}, "limit": PAGE})
    async for payout in payouts.auto_paging_iter():
        if not payout.automatic:
            continue  # Stripe cannot say what a manual one holds
        held = await api.balance_transactions.list_async({"payout": payout.id, "limit": PAGE})
        async for one in held.auto_paging_iter():
            payout_of[one.id] = payout.id
    return payout_of


def entry_of(transaction: Mapping[str, Any], payout_ref: str) -> FeedEntry:
    """One balance transaction with `source` expanded."""
    kind = KINDS.get(transaction["reporting_category"], FeedKind.ADJUSTMENT)
    source = transaction.get("source")
    source = source if isinstance(source, Mapping) else {"id": source or ""}
    gross, fee, net = transaction["amount"], transaction["fee"], transaction["net"]
    if kind is FeedKind.FEE:
        gross, fee = 0, -net
    return FeedEntry(
        entry_id=transaction["id"],
        kind=kind,
        provider_ref=payment_of(source),
        step_ref=str(source.get("charge") or source["id"]) if _is_dispute(kind) else str(source["id"]),
        gross_minor=gross,
        fee_minor=fee,
        net_minor=net,
        currency=transaction["currency"].upper(),
        made_at=stamp(transaction["created"]),
        available_on=datetime.fromtimestamp(transaction["available_on"], UTC).date().isoformat(),
        payout_ref=str(source["id"]) if kind is FeedKind.PAYOUT else payout_ref,
    )


def _is_dispute(kind: FeedKind) -> bool:
    return kind in {FeedKind.CHARGEBACK, FeedKind.CHARGEBACK_REVERSAL}
