"""The provider's statement in vault.db: every entry once, with its journal entry in the same transaction.

A run reads a window again that overlaps what it has read before, because entries come late and learn only
later which payout holds them. An entry is the tenant's of the payment it names; one that names none of ours
is the tenant's whose feed it stood in. What a stored entry says about money is never changed: a provider that
states other money under the same id is a difference to be looked at (`restated`).
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_once
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.outbox import stamp
from vault.books import journal
from vault.books.accounts import BookKind, BooksError, Fact
from vault.providers.base import FeedEntry, FeedKind, Provider
from vault.store import ATTEMPTS, METADATA, PAYMENTS, Store

BATCH = 200
"""Entries stored in one transaction: short enough that a payment never waits a noticeable time for it."""
OVERLAP = timedelta(days=3)
"""Read again at least: providers state a weekend's entries on Monday."""
REREAD_MAX = timedelta(days=40)
"""Read again at most, to learn the payouts of older entries: a monthly payout and some days."""
FIRST_READ = timedelta(days=40)
"""How far back the first run reads before the tenant's first payment, so that its first payout adds up."""
ENTRIES_MAX = 500_000
"""Entries of one window: a busy merchant's quarter; a feed that never ends stops here."""

STATEMENT = Table(
    "book_statement",
    METADATA,
    Column("provider", String(48), primary_key=True),
    Column("entry_id", String(128), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("payment_id", String(64), nullable=False),
    Column("day", String(10), nullable=False),
    Column("kind", String(24), nullable=False),
    Column("provider_ref", String(128), nullable=False),
    Column("step_ref", String(128), nullable=False),
    Column("gross_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger, nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("made_at", String(24), nullable=False),
    Column("available_on", String(24), nullable=False),
    Column("payout_ref", String(128), nullable=False),
    Column("restated", Boolean, nullable=False),
)
Index("book_statement_by_day", STATEMENT.c.tenant, STATEMENT.c.day)
Index("book_statement_by_reference", STATEMENT.c.provider, STATEMENT.c.provider_ref)
Index("book_statement_by_payout", STATEMENT.c.provider, STATEMENT.c.payout_ref)
CURSORS = Table(
    "book_cursors",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("provider", String(48), primary_key=True),
    Column("read_until", String(24), nullable=False),
)
_MONEY = ("kind", "gross_minor", "fee_minor", "currency")


@dataclass(frozen=True)
class Feed:
    """Where one of a tenant's statements comes from."""

    tenant: str
    name: str
    """The provider's file name, as payments carry it."""
    provider: Provider


@dataclass(frozen=True)
class StatementRow(FeedEntry):
    """One entry of the statement as it is stored."""

    provider: str = ""
    tenant: str = ""
    payment_id: str = ""
    """Ours, when the reference is one of ours."""
    day: str = ""
    """The day of the books it counts for."""
    restated: bool = False
    """The provider has stated other money under this id since."""

    @property
    def source(self) -> str:
        """The entry's name in the journal."""
        return f"{self.provider}:{self.entry_id}"


async def read_feed(store: Store, feed: Feed, until: datetime) -> int:
    """Stores what the provider states up to `until`; how many entries were new. Whatever it raises goes on.

    The cursor moves when the whole window is stored; a run that breaks off is read again from the start.
    """
    since = await _window_start(store, feed, until)
    new = total = 0
    batch: list[FeedEntry] = []
    entries: Any = feed.provider.settlements(stamp(since), stamp(until))
    async with aclosing(entries):
        async for entry in entries:
            batch.append(_checked(entry))
            total += 1
            if total > ENTRIES_MAX:
                raise BooksError("the provider's statement does not end")
            if len(batch) == BATCH:
                new += await _store(store, feed, batch)
                batch = []
    new += await _store(store, feed, batch)
    await _move_cursor(store, feed, until)
    return new


async def read_until(conn: AsyncConnection, tenant: str) -> dict[str, datetime]:
    """Provider -> up to which moment its statement is stored for the tenant; nothing before the first run."""
    rows = await conn.execute(select(CURSORS).where(CURSORS.c.tenant == tenant))
    return {row.provider: journal.moment(row.read_until) for row in rows}


async def rows_where(conn: AsyncConnection, *conditions: Any) -> tuple[StatementRow, ...]:
    """Entries of the statement that meet every condition, oldest first."""
    names = [STATEMENT.c[each.name] for each in fields(StatementRow)]
    wanted = select(*names).where(*conditions).order_by(STATEMENT.c.made_at, STATEMENT.c.entry_id)
    rows = await conn.execute(wanted)
    return tuple(StatementRow(**{**row._mapping, "kind": FeedKind(row.kind)}) for row in rows)  # noqa: SLF001


async def _window_start(store: Store, feed: Feed, until: datetime) -> datetime:
    """From where to read: the oldest of what may still change, within `REREAD_MAX`.

    That is an overlap with the run before, the entries that no payout holds yet, and the days that are open.
    """
    async with store.engine.connect() as conn:
        before = (await read_until(conn, feed.tenant)).get(feed.name)
        if before is None:
            return await _first_start(conn, feed, until)
        mine = (STATEMENT.c.provider == feed.name) & (STATEMENT.c.tenant == feed.tenant)
        unpaid = select(func.min(STATEMENT.c.made_at)).where(mine, STATEMENT.c.payout_ref == "")
        oldest = (await conn.execute(unpaid)).scalar_one()
        open_day = await journal.first_open(conn, feed.tenant)
    starts = [before - OVERLAP]
    starts += [journal.moment(oldest)] if oldest else []
    starts += [journal.moment(f"{open_day}T00:00:00Z")] if open_day else []
    return max(min(starts), until - REREAD_MAX)


async def _first_start(conn: AsyncConnection, feed: Feed, until: datetime) -> datetime:
    mine = (PAYMENTS.c.provider == feed.name) & (PAYMENTS.c.tenant == feed.tenant)
    first = (await conn.execute(select(func.min(PAYMENTS.c.created_at)).where(mine))).scalar_one()
    return (journal.moment(first) if first else until) - FIRST_READ


def _checked(entry: FeedEntry) -> FeedEntry:
    """The entry with its moment as we write moments; `BooksError` when its money does not add up."""
    if entry.net_minor != entry.gross_minor - entry.fee_minor:
        raise BooksError("an entry of the statement does not add up")
    if not entry.entry_id:
        raise BooksError("an entry of the statement has no id")
    return replace(entry, made_at=stamp(journal.moment(entry.made_at)))


async def _store(store: Store, feed: Feed, batch: Sequence[FeedEntry]) -> int:
    """How many of the entries were new; the others may have learnt their payout."""
    if not batch:
        return 0
    async with store.changing() as change:
        conn = change.conn
        owners = await _owners(conn, feed, {entry.provider_ref for entry in batch})
        told = {entry.entry_id: _row(feed, entry, owners) for entry in batch}
        same = (STATEMENT.c.provider == feed.name) & STATEMENT.c.entry_id.in_(list(told))
        for known in await rows_where(conn, same):
            await _learn(conn, known, told.pop(known.entry_id))
        if told:
            await _insert(conn, list(told.values()))
        return len(told)


def _row(feed: Feed, entry: FeedEntry, owners: Mapping[str, tuple[str, str]]) -> StatementRow:
    tenant, payment_id = owners.get(entry.provider_ref, (feed.tenant, ""))
    return StatementRow(**vars(entry), provider=feed.name, tenant=tenant, payment_id=payment_id)


async def _insert(conn: AsyncConnection, rows: Sequence[StatementRow]) -> None:
    await journal.write(conn, *map(_fact, rows))
    closed = {tenant: await journal.last_closed(conn, tenant) for tenant in {row.tenant for row in rows}}
    values = []
    for row in rows:
        day = journal.open_day(row.made_at, closed[row.tenant])
        values.append({**vars(row), "kind": row.kind.value, "day": day})
    await conn.execute(insert(STATEMENT), values)


async def _learn(conn: AsyncConnection, known: StatementRow, told: StatementRow) -> None:
    """What may become known of a stored entry: its payout, its day at the bank, and that it was restated."""
    restated = any(getattr(known, name) != getattr(told, name) for name in _MONEY)
    values: dict[str, Any] = {"restated": known.restated or restated, "available_on": told.available_on}
    values["payout_ref"] = told.payout_ref or known.payout_ref
    if any(getattr(known, name) != value for name, value in values.items()):
        same = (STATEMENT.c.provider == known.provider) & (STATEMENT.c.entry_id == known.entry_id)
        await conn.execute(update(STATEMENT).where(same).values(**values))


async def _owners(
    conn: AsyncConnection, feed: Feed, references: Collection[str]
) -> dict[str, tuple[str, str]]:
    """Provider reference -> tenant and payment, of those that any attempt of ours was made under."""
    same = (ATTEMPTS.c.provider == feed.name) & ATTEMPTS.c.provider_ref.in_(references)
    tried = (
        select(ATTEMPTS.c.provider_ref, PAYMENTS.c.tenant, PAYMENTS.c.payment_id).join(PAYMENTS).where(same)
    )
    same = (PAYMENTS.c.provider == feed.name) & PAYMENTS.c.provider_ref.in_(references)
    now = select(PAYMENTS.c.provider_ref, PAYMENTS.c.tenant, PAYMENTS.c.payment_id).where(same)
    found = [*await conn.execute(tried), *await conn.execute(now)]
    return {row.provider_ref: (row.tenant, row.payment_id) for row in found}


def _fact(row: StatementRow) -> Fact:
    return Fact(
        BookKind(row.kind.value),
        row.source,
        row.tenant,
        row.currency,
        row.made_at,
        row.gross_minor,
        row.fee_minor,
        payment_id=row.payment_id,
        provider=row.provider,
        provider_ref=row.provider_ref,
        step_ref=row.step_ref,
    )


async def _move_cursor(store: Store, feed: Feed, until: datetime) -> None:
    values = {"tenant": feed.tenant, "provider": feed.name, "read_until": stamp(until)}
    moved = insert_once(CURSORS).values(**values)
    moved = moved.on_conflict_do_update(index_elements=["tenant", "provider"], set_=values)
    async with store.changing() as change:
        await change.conn.execute(moved)
