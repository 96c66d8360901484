"""The journal in vault.db: one write path, append-only, each fact once, every entry at zero.

A line is a pair of postings (debit, credit, one amount above zero), so the schema cannot hold an entry that
does not sum to zero; the view `book_postings` shows the single sides. Triggers refuse to change or delete
an entry, or to write into a day that is closed: what becomes known later is written into the first open
day after it. `book` runs inside the caller's transaction, so a payment's change and its entry are one commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.outbox import stamp
from vault.books.accounts import BookAccount, BookKind, BooksError, Fact, Line, lines_of
from vault.store import METADATA, Change

DAYS = Table(
    "book_days",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("closed_at", String(24), nullable=False),
    Column("items", Integer, nullable=False),
)
ENTRIES = Table(
    "book_entries",
    METADATA,
    Column("entry_id", Integer, primary_key=True, autoincrement=True),
    Column("source", String(256), nullable=False, unique=True),
    Column("kind", String(24), nullable=False),
    Column("tenant", String(40), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("day", String(10), nullable=False),
    Column("at", String(24), nullable=False),
    Column("gross_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger, nullable=False),
    Column("payment_id", String(64), nullable=False, index=True),
    Column("provider", String(48), nullable=False),
    Column("provider_ref", String(128), nullable=False),
    Column("step_ref", String(256), nullable=False),
    Column("reason", String(48), nullable=False),
    Column("written_at", String(24), nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice
)
Index("book_entries_by_day", ENTRIES.c.tenant, ENTRIES.c.day)
Index("book_entries_by_reference", ENTRIES.c.provider, ENTRIES.c.provider_ref)
LINES = Table(
    "book_lines",
    METADATA,
    Column("line_id", Integer, primary_key=True, autoincrement=True),
    Column("entry_id", ForeignKey("book_entries.entry_id"), nullable=False, index=True),
    Column("debit", String(24), nullable=False),
    Column("credit", String(24), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    CheckConstraint("amount_minor > 0", name="line_moves_something"),
    CheckConstraint("debit <> credit", name="line_has_two_sides"),
    CheckConstraint(
        "debit IN ({0}) AND credit IN ({0})".format(", ".join(f"'{each}'" for each in BookAccount)),
        name="line_names_accounts",
    ),
    sqlite_autoincrement=True,
)

_FOREVER = (
    "CREATE TRIGGER {0}_not_{1}d BEFORE {1} ON {0} BEGIN SELECT RAISE(ABORT, 'the books keep all'); END"
)
_OPEN_DAYS = """CREATE TRIGGER book_entries_in_open_days BEFORE INSERT ON book_entries
WHEN EXISTS (SELECT 1 FROM book_days WHERE tenant = NEW.tenant AND day >= NEW.day)
BEGIN SELECT RAISE(ABORT, 'the day is closed'); END"""
_POSTINGS = """CREATE VIEW IF NOT EXISTS book_postings AS
SELECT e.entry_id, e.tenant, e.currency, e.day, l.debit AS account, l.amount_minor
FROM book_lines l JOIN book_entries e USING (entry_id)
UNION ALL SELECT e.entry_id, e.tenant, e.currency, e.day, l.credit, -l.amount_minor
FROM book_lines l JOIN book_entries e USING (entry_id)"""


def _after_create(table: Table, *statements: str) -> None:
    for text in statements:
        event.listen(table, "after_create", DDL(text))  # type: ignore[no-untyped-call]


for _table in (DAYS, ENTRIES, LINES):
    _after_create(_table, *(_FOREVER.format(_table.name, verb) for verb in ("UPDATE", "DELETE")))
_after_create(ENTRIES, _OPEN_DAYS)
_after_create(LINES, _POSTINGS)

_MONEY = ("kind", "tenant", "currency", "gross_minor", "fee_minor")
"""What a source stands for; told again with anything else, it is another fact."""


@dataclass(frozen=True)
class EntryRow(Fact):
    """One journal entry as it is stored."""

    day: str = ""
    """The day of the books it counts for: that of `at`, or the first open one after."""


async def book(change: Change, fact: Fact) -> bool:
    """Writes a fact's entry in the caller's transaction; False when the books have it already.

    `BooksError` when the source is known with other money: two facts must never share one key.
    """
    return await write(change.conn, fact) == 1


async def write(conn: AsyncConnection, *facts: Fact) -> int:
    """As `book` for many facts at once, on the connection of a transaction; how many were new."""
    told: dict[str, Fact] = {}
    for fact in facts:
        _check_same(told.setdefault(fact.source, fact), fact)
    known = await _known(conn, list(told))
    for source, fact in known.items():
        _check_same(fact, told.pop(source))
    lines = {source: lines_of(fact) for source, fact in told.items()}
    if told:
        await _insert(conn, list(told.values()), lines)
    return len(told)


async def _insert(
    conn: AsyncConnection, facts: Sequence[Fact], lines: Mapping[str, tuple[Line, ...]]
) -> None:
    closed = {tenant: await last_closed(conn, tenant) for tenant in {fact.tenant for fact in facts}}
    values = []
    for fact in facts:
        day = open_day(fact.at, closed[fact.tenant])
        values.append({**_fact_values(fact), "day": day, "written_at": stamp()})
    made = await conn.execute(insert(ENTRIES).returning(ENTRIES.c.entry_id, ENTRIES.c.source), values)
    rows = [_line_values(row.entry_id, line) for row in made for line in lines[row.source]]
    if rows:
        await conn.execute(insert(LINES), rows)


async def _known(conn: AsyncConnection, sources: Sequence[str]) -> dict[str, EntryRow]:
    return {entry.source: entry for entry in await entries_where(conn, ENTRIES.c.source.in_(sources))}


def _check_same(known: Fact, told: Fact) -> None:
    pairs = ((getattr(known, name), getattr(told, name)) for name in _MONEY)
    if any(one != other for one, other in pairs):
        raise BooksError("the books know this source with other money")


async def close_day(conn: AsyncConnection, tenant: str, day: str, items: int) -> None:
    """Nothing is written into `day` of the tenant or into one before it any more."""
    await conn.execute(insert(DAYS).values(tenant=tenant, day=day, closed_at=stamp(), items=items))


async def last_closed(conn: AsyncConnection, tenant: str) -> str:
    """The newest closed day of a tenant; empty when there is none."""
    wanted = select(func.max(DAYS.c.day)).where(DAYS.c.tenant == tenant)
    return (await conn.execute(wanted)).scalar_one() or ""


async def first_day(conn: AsyncConnection, tenant: str) -> str:
    """The day of a tenant's first entry; empty when the books are."""
    wanted = select(func.min(ENTRIES.c.day)).where(ENTRIES.c.tenant == tenant)
    return (await conn.execute(wanted)).scalar_one() or ""


async def first_open(conn: AsyncConnection, tenant: str) -> str:
    """The first day of a tenant that is not closed; empty when the books are."""
    closed = await last_closed(conn, tenant)
    return day_after(closed) if closed else await first_day(conn, tenant)


async def totals(conn: AsyncConnection, tenant: str) -> dict[str, dict[BookAccount, int]]:
    """What stands on every account of a tenant, by currency."""
    found: dict[str, dict[BookAccount, int]] = {}
    for column, sign in ((LINES.c.debit, 1), (LINES.c.credit, -1)):
        amount = func.sum(LINES.c.amount_minor)
        wanted = select(ENTRIES.c.currency, column, amount).join(LINES).where(ENTRIES.c.tenant == tenant)
        for currency, account, total in await conn.execute(wanted.group_by(ENTRIES.c.currency, column)):
            of_currency = found.setdefault(currency, dict.fromkeys(BookAccount, 0))
            of_currency[BookAccount(account)] += sign * int(total)
    return found


async def entries_where(conn: AsyncConnection, *conditions: Any) -> tuple[EntryRow, ...]:
    """Journal entries that meet every condition, oldest first."""
    names = [ENTRIES.c[each.name] for each in fields(EntryRow)]
    rows = await conn.execute(select(*names).where(*conditions).order_by(ENTRIES.c.entry_id))
    return tuple(EntryRow(**{**row._mapping, "kind": BookKind(row.kind)}) for row in rows)  # noqa: SLF001


async def lines_stored(conn: AsyncConnection, source: str) -> tuple[Line, ...]:
    """The lines of one entry."""
    wanted = select(LINES).join(ENTRIES).where(ENTRIES.c.source == source).order_by(LINES.c.line_id)
    return tuple(
        Line(BookAccount(row.debit), BookAccount(row.credit), row.amount_minor)
        for row in await conn.execute(wanted)
    )


def day_after(day: str) -> str:
    """The next day of the calendar."""
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def moment(text: str) -> datetime:
    """A UTC moment of ISO 8601 text; `BooksError` when it is none or names no zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BooksError("a moment is not ISO 8601") from None
    if found.tzinfo is None:
        raise BooksError("a moment names no time zone")
    return found.astimezone(UTC)


def open_day(at: str, closed: str) -> str:
    """The day that a fact of `at` counts for: its own, or the first after `closed`, the last closed one."""
    day = moment(at).date().isoformat()
    return day if day > closed else day_after(closed)


def _fact_values(fact: Fact) -> dict[str, Any]:
    values = {each.name: getattr(fact, each.name) for each in fields(Fact)}
    return {**values, "kind": fact.kind.value}


def _line_values(entry_id: int, line: Line) -> dict[str, Any]:
    debit, credit = line.debit.value, line.credit.value
    return {"entry_id": entry_id, "debit": debit, "credit": credit, "amount_minor": line.amount_minor}
