"""The sandbox's settlement feed: what becomes of settled money, computed from the books and the clock.

| what | entry |
|---|---|
| money settled | CHARGE; fee `FEE_PERMILLE` and `FEE_FIXED_MINOR` |
| refund | REFUND; the fee of the charge is not given back |
| amount of the charge ends in 76 | CHARGEBACK a day later, and a FEE |
| amount of the charge ends in 77 | the same, and a CHARGEBACK_REVERSAL two days after that: won |
| every day 06:00 UTC, per currency | PAYOUT of all that is available, unless that is nothing or negative |

Everything here is a pure function: the same books at the same moment give the same entries.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter

from vault.providers.base import FeedEntry, FeedKind

FEE_PERMILLE = 14
"""1.4 %: of the size of what European cards cost."""
FEE_FIXED_MINOR = 25
CHARGEBACK_FEE_MINOR = 1_500
LOST_CHARGEBACK, WON_CHARGEBACK = 76, 77
CHARGEBACK_AFTER = timedelta(days=1)
REVERSAL_AFTER = timedelta(days=2)
AVAILABLE_AFTER = timedelta(days=2)
"""From the entry to the day of its payout."""
PAYOUT_HOUR = 6
"""UTC."""


@dataclass(frozen=True)
class Movement:
    """One charge or refund as the books have it."""

    kind: FeedKind
    provider_ref: str
    step_ref: str
    amount_minor: int
    currency: str
    made_at: datetime


def feed(movements: Iterable[Movement], now: datetime, owner: str) -> list[FeedEntry]:
    """Every entry that exists at `now`, oldest first; `owner` keeps the payouts of tenants apart."""
    entries = [entry for movement in movements for entry in _of_movement(movement)]
    entries = [entry for entry in entries if entry.made_at <= stamp(now)]
    told: list[FeedEntry] = []
    for currency, of_currency in groupby(sorted(entries, key=_by_currency), key=attrgetter("currency")):
        told += _with_payouts(list(of_currency), now, f"{owner}_{currency}".strip("_").lower())
    return sorted(told, key=lambda entry: (entry.made_at, entry.entry_id))


def _by_currency(entry: FeedEntry) -> tuple[str, str, str]:
    return entry.currency, entry.available_on, entry.entry_id


def _of_movement(moved: Movement) -> Iterator[FeedEntry]:
    if moved.kind is FeedKind.REFUND:
        yield _entry(moved, FeedKind.REFUND, -moved.amount_minor, 0)
        return
    fee_minor = (moved.amount_minor * FEE_PERMILLE + 500) // 1000 + FEE_FIXED_MINOR
    yield _entry(moved, FeedKind.CHARGE, moved.amount_minor, fee_minor)
    ending = moved.amount_minor % 100
    if ending in {LOST_CHARGEBACK, WON_CHARGEBACK}:
        yield _entry(moved, FeedKind.CHARGEBACK, -moved.amount_minor, 0, CHARGEBACK_AFTER)
        yield _entry(moved, FeedKind.FEE, 0, CHARGEBACK_FEE_MINOR, CHARGEBACK_AFTER)
    if ending == WON_CHARGEBACK:
        after = CHARGEBACK_AFTER + REVERSAL_AFTER
        yield _entry(moved, FeedKind.CHARGEBACK_REVERSAL, moved.amount_minor, 0, after)


def _entry(
    moved: Movement, kind: FeedKind, gross_minor: int, fee_minor: int, later: timedelta = timedelta()
) -> FeedEntry:
    made_at = moved.made_at + later
    return FeedEntry(
        entry_id=f"{moved.step_ref}_{kind}",
        kind=kind,
        provider_ref=moved.provider_ref,
        step_ref=moved.step_ref,
        gross_minor=gross_minor,
        fee_minor=fee_minor,
        net_minor=gross_minor - fee_minor,
        currency=moved.currency,
        made_at=stamp(made_at),
        available_on=(made_at + AVAILABLE_AFTER).date().isoformat(),
    )


def _with_payouts(entries: list[FeedEntry], now: datetime, owner: str) -> Iterator[FeedEntry]:
    """The entries of one currency, sorted by the day of their payout, and the payouts; debt is carried on."""
    waiting: list[FeedEntry] = []
    for day, of_day in groupby(entries, key=attrgetter("available_on")):
        waiting += of_day
        paid_at = datetime.fromisoformat(day).replace(hour=PAYOUT_HOUR, tzinfo=UTC)
        total = sum(entry.net_minor for entry in waiting)
        if paid_at > now or total <= 0:
            continue
        payout_ref = f"sbx_po_{owner}_{day}"
        yield from (replace(entry, payout_ref=payout_ref) for entry in waiting)
        yield _payout(payout_ref, total, entries[0].currency, paid_at)
        waiting = []
    yield from waiting


def _payout(payout_ref: str, total: int, currency: str, paid_at: datetime) -> FeedEntry:
    day = paid_at.date().isoformat()
    return FeedEntry(
        payout_ref,
        FeedKind.PAYOUT,
        "",
        payout_ref,
        -total,
        0,
        -total,
        currency,
        stamp(paid_at),
        day,
        payout_ref,
    )


def stamp(moment: datetime) -> str:
    """UTC, ISO 8601 with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
