"""The three-way match: what we recorded, what the provider stated, what its payouts hold.

Pure. Within one provider reference, settled meets charge and refunded meets refund: first by the provider's
id of the step, then by equal money, oldest first, then what is left. Two refunds that both carry a step id
meet only if it is the same; a payment is settled once, so its charge needs no id. Every fact of either side
becomes exactly one item, alone or in a pair.

| item | when |
|---|---|
| matched | both sides, same money; a fee, a chargeback of a payment of ours, a payout that adds up |
| amount_differs | both sides, other money or currency; a payout that does not add up; an entry stated anew |
| ours_only | the provider has not stated it for longer than `LATE_AFTER` |
| provider_only | the provider states what we never recorded (an orphan), or an adjustment |
| fee_differs | same money, but the fee is not the agreed one |
| late | both sides, more than `LATE_AFTER` apart; or one that may still come |

An item keeps its day open until both sides agree or a person has explained it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from vault.books.accounts import BookKind
from vault.books.fees import NO_FEES, Fees
from vault.books.journal import EntryRow, moment
from vault.books.report import Item, Match
from vault.books.statement import StatementRow
from vault.providers.base import FeedKind

LATE_AFTER = timedelta(hours=24)
"""Providers state a step within minutes; a day covers a weekend's batch being one run behind."""
FEE_TOLERANCE_MINOR = 1
"""Providers round a percentage up, down or to even."""
REVERSED = "reversed"
"""How a difference explains itself: the provider has given it back."""

_STATED = {BookKind.SETTLED: FeedKind.CHARGE, BookKind.REFUNDED: FeedKind.REFUND}
_DISPUTES = (FeedKind.CHARGEBACK, FeedKind.CHARGEBACK_REVERSAL)


@dataclass(frozen=True)
class Known:
    """What the match needs to know besides the two sides."""

    now: datetime
    read_until: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))
    """Provider -> up to which moment its statement is stored; of one that states nothing up to now."""
    fees: Fees = field(default_factory=lambda: NO_FEES)
    payouts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Payout -> sum of the nets of all it holds and of itself: zero when it adds up."""
    payouts_stated: frozenset[str] = frozenset()
    """Payouts that the statement has an entry of."""
    explained: Mapping[str, Sequence[EntryRow]] = field(default_factory=lambda: MappingProxyType({}))
    """Item -> what persons have explained about it."""


Pair = tuple[EntryRow | None, StatementRow | None]


def match(ours: Iterable[EntryRow], theirs: Iterable[StatementRow], known: Known) -> tuple[Item, ...]:
    """One item per fact or pair; `ours` and `theirs` are everything of the references they name."""
    mine: defaultdict[tuple[str, str], list[EntryRow]] = defaultdict(list)
    stated: defaultdict[tuple[str, str], list[StatementRow]] = defaultdict(list)
    for fact in ours:
        mine[fact.provider, fact.provider_ref].append(fact)
    for row in theirs:
        stated[row.provider, row.provider_ref].append(row)
    items: list[Item] = []
    for reference in dict.fromkeys([*mine, *stated]):
        items += _of_reference(mine[reference], stated[reference], known)
    return tuple(items)


def _of_reference(ours: list[EntryRow], theirs: list[StatementRow], known: Known) -> list[Item]:
    pairs: list[Pair] = []
    for kind, feed_kind in _STATED.items():
        pairs += _paired(
            [one for one in ours if one.kind is kind], [x for x in theirs if x.kind is feed_kind]
        )
    items = [_item(fact, row, known) for fact, row in pairs]
    reference = (ours or theirs)[0].provider_ref
    items = _given_back(items) if reference else items
    items = [item if item.explained else _explained(item, known) for item in items]
    settled = sum(fact.gross_minor for fact in ours if fact.kind is BookKind.SETTLED)
    others = [row for row in theirs if row.kind not in _STATED.values()]
    return items + [_explained(_other(row, settled, theirs, known), known) for row in others]


def _paired(ours: list[EntryRow], theirs: list[StatementRow]) -> list[Pair]:
    """Both sides of one kind, paired; whoever stays alone comes with None."""
    pairs: list[Pair] = []
    for same in (_same_step, _same_money, _may_be_same):
        for fact in tuple(ours):
            row = next((row for row in theirs if same(fact, row)), None)
            if row is not None:
                pairs.append((fact, row))
                ours.remove(fact)
                theirs.remove(row)
    return [*pairs, *((fact, None) for fact in ours), *((None, row) for row in theirs)]


def _same_step(fact: EntryRow, row: StatementRow) -> bool:
    return fact.step_ref != "" and fact.step_ref == row.step_ref


def _may_be_same(fact: EntryRow, row: StatementRow) -> bool:
    return fact.kind is BookKind.SETTLED or not fact.step_ref or not row.step_ref


def _same_money(fact: EntryRow, row: StatementRow) -> bool:
    same = (_signed(fact), fact.currency) == (row.gross_minor, row.currency)
    return same and _may_be_same(fact, row)


def _signed(fact: EntryRow) -> int:
    """Our amount as the provider's statement would show it."""
    return -fact.gross_minor if fact.kind is BookKind.REFUNDED else fact.gross_minor


def _item(fact: EntryRow | None, row: StatementRow | None, known: Known) -> Item:
    if fact is None:
        assert row is not None
        return _stated_item(row, Match.PROVIDER_ONLY)
    item = Item(
        item_id=fact.source,
        match=Match.OURS_ONLY,
        kind=_STATED[fact.kind].value,
        tenant=fact.tenant,
        day=fact.day,
        at=fact.at,
        currency=fact.currency,
        payment_id=fact.payment_id,
        provider=fact.provider,
        provider_ref=fact.provider_ref,
        step_ref=fact.step_ref,
        ours_minor=_signed(fact),
    )
    if row is None:
        read_until = known.read_until.get(fact.provider, known.now)
        may_come = moment(fact.at) > read_until - LATE_AFTER
        return _waiting(item) if may_come else item
    item = replace(
        item,
        entry_id=row.entry_id,
        step_ref=row.step_ref or fact.step_ref,
        gross_minor=row.gross_minor,
        stated_currency=row.currency,
        fee_minor=row.fee_minor,
        fee_agreed_minor=_agreed(row, known),
        net_minor=row.net_minor,
        payout_ref=row.payout_ref,
        restated=row.restated,
    )
    apart = abs(moment(fact.at) - moment(row.made_at))
    return _compared(item, row.fee_minor, apart, known)


def _compared(item: Item, fee_minor: int, apart: timedelta, known: Known) -> Item:
    """A pair with its match."""
    if item.restated or (item.ours_minor, item.currency) != (item.gross_minor, item.stated_currency):
        return replace(item, match=Match.AMOUNT_DIFFERS)
    agreed = item.fee_agreed_minor
    if agreed is not None and abs(fee_minor - agreed) > FEE_TOLERANCE_MINOR:
        return replace(item, match=Match.FEE_DIFFERS)
    if _awaits_payout(item, known):
        return _waiting(item)
    return replace(item, match=Match.LATE if apart > LATE_AFTER else Match.MATCHED)


def _waiting(item: Item) -> Item:
    return replace(item, match=Match.LATE, waiting=True)


def _agreed(row: StatementRow, known: Known) -> int | None:
    terms = known.fees.get(row.provider, {}).get(row.currency)
    return terms.fee_minor(row.gross_minor) if terms and row.kind is FeedKind.CHARGE else None


def _awaits_payout(item: Item, known: Known) -> bool:
    """True when the statement names a payout that it has not stated."""
    return item.payout_ref != "" and item.payout_ref not in known.payouts_stated


def _stated_item(row: StatementRow, found: Match) -> Item:
    return Item(
        item_id=row.source,
        match=found,
        kind=row.kind.value,
        tenant=row.tenant,
        day=row.day,
        at=row.made_at,
        currency=row.currency,
        payment_id=row.payment_id,
        provider=row.provider,
        provider_ref=row.provider_ref,
        step_ref=row.step_ref,
        entry_id=row.entry_id,
        gross_minor=row.gross_minor,
        stated_currency=row.currency,
        fee_minor=row.fee_minor,
        net_minor=row.net_minor,
        payout_ref=row.payout_ref,
        restated=row.restated,
    )


def _other(row: StatementRow, settled_minor: int, theirs: list[StatementRow], known: Known) -> Item:
    """An entry that we have no fact of: by its kind it explains itself, or it does not."""
    item = _stated_item(row, Match.MATCHED)
    if row.restated:
        return replace(item, match=Match.AMOUNT_DIFFERS)
    if row.kind is FeedKind.PAYOUT:
        adds_up = known.payouts.get(row.payout_ref, row.net_minor) == 0
        return item if adds_up else replace(item, match=Match.AMOUNT_DIFFERS)
    if row.kind is FeedKind.ADJUSTMENT or (row.kind in _DISPUTES and not settled_minor):
        return replace(item, match=Match.PROVIDER_ONLY)
    if row.kind in _DISPUTES and -sum(x.gross_minor for x in theirs if x.kind in _DISPUTES) > settled_minor:
        return replace(item, match=Match.AMOUNT_DIFFERS)
    return _waiting(item) if _awaits_payout(item, known) else item


def _given_back(items: list[Item]) -> list[Item]:
    """Differences of one reference that cancel each other explain themselves.

    An orphan's charge and its refund; a hold that was settled in part, where some providers state the whole
    and take the rest back.
    """
    differing = [item for item in items if item.match in {Match.AMOUNT_DIFFERS, Match.PROVIDER_ONLY}]
    left: Counter[str] = Counter()
    for item in differing:
        left.update(residual(item))
    if len(differing) < 2 or any(left.values()) or any(item.restated for item in differing):
        return items
    return [replace(item, explained=REVERSED) if item in differing else item for item in items]


def _explained(item: Item, known: Known) -> Item:
    """The item with what a person said about it, as long as that covers what is left between the sides."""
    words = [*known.explained.get(item.item_id, ())]
    if item.entry_id and item.ours_minor is not None:
        words += known.explained.get(f"{item.provider}:{item.entry_id}", ())
    if not words:
        return item
    left = residual(item)
    for word in words:
        left[word.currency] = left.get(word.currency, 0) - word.gross_minor
    if any(left.values()):
        return replace(item, match=Match.AMOUNT_DIFFERS)
    return replace(item, explained=words[-1].reason)


def residual(item: Item) -> dict[str, int]:
    """What the item leaves in the unmatched account, by currency, before anybody explained it."""
    left = {item.currency: item.ours_minor or 0}
    if item.kind in {FeedKind.CHARGE, FeedKind.REFUND, FeedKind.ADJUSTMENT} and item.gross_minor is not None:
        left[item.stated_currency] = left.get(item.stated_currency, 0) - item.gross_minor
    return left
