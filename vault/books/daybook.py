"""One day of one tenant's books, read from vault.db and matched.

A reference is followed into other days, because a payment settled before midnight may be stated after it;
an item belongs to the day of our fact, or to the provider's when we have none.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.books import journal, statement
from vault.books.accounts import OURS, BookKind
from vault.books.fees import Fees
from vault.books.journal import ENTRIES, EntryRow
from vault.books.match import Known, match
from vault.books.report import Item
from vault.books.statement import STATEMENT, StatementRow
from vault.providers.base import FeedKind

AT_ONCE = 500
"""Ids in one question to the database; SQLite takes 32,766 parameters."""


async def items_of(
    conn: AsyncConnection, tenant: str, fees: Fees, day: str, now: datetime
) -> tuple[Item, ...]:
    """Every item of a tenant on one day, as it stands now."""
    mine = (ENTRIES.c.tenant == tenant) & (ENTRIES.c.day == day) & ENTRIES.c.kind.in_(OURS)
    stated = (STATEMENT.c.tenant == tenant) & (STATEMENT.c.day == day)
    ours = await journal.entries_where(conn, mine)
    theirs = await statement.rows_where(conn, stated)
    if not ours and not theirs:
        return ()
    references = {(one.provider, one.provider_ref) for one in ours}
    references |= {(row.provider, row.provider_ref) for row in theirs if row.provider_ref}
    loose = tuple(row for row in theirs if not row.provider_ref)
    ours, theirs = await _everything_of(conn, references)
    known = await _known(conn, tenant, fees, (*theirs, *loose), now)
    items = match(ours, (*theirs, *loose), known)
    return tuple(item for item in items if (item.tenant, item.day) == (tenant, day))


async def _everything_of(
    conn: AsyncConnection, references: Collection[tuple[str, str]]
) -> tuple[tuple[EntryRow, ...], tuple[StatementRow, ...]]:
    """Both sides of the references, of any day."""
    ours: list[EntryRow] = []
    theirs: list[StatementRow] = []
    for provider in sorted({provider for provider, _ in references}):
        named = sorted(reference for each, reference in references if each == provider)
        for some in chunks(named):
            mine = (ENTRIES.c.provider == provider) & ENTRIES.c.provider_ref.in_(some)
            ours += await journal.entries_where(conn, mine, ENTRIES.c.kind.in_(OURS))
            stated = (STATEMENT.c.provider == provider) & STATEMENT.c.provider_ref.in_(some)
            theirs += await statement.rows_where(conn, stated)
    return tuple(ours), tuple(theirs)


async def _known(
    conn: AsyncConnection,
    tenant: str,
    fees: Fees,
    theirs: Sequence[StatementRow],
    now: datetime,
) -> Known:
    read_until = await statement.read_until(conn, tenant)
    sums, stated = await _payouts(conn, theirs)
    explained: defaultdict[str, list[EntryRow]] = defaultdict(list)
    said = (ENTRIES.c.tenant == tenant) & (ENTRIES.c.kind == BookKind.EXPLAINED)
    for word in await journal.entries_where(conn, said):
        explained[word.step_ref].append(word)
    return Known(now, read_until, fees, sums, stated, explained)


async def _payouts(
    conn: AsyncConnection, theirs: Sequence[StatementRow]
) -> tuple[dict[str, int], frozenset[str]]:
    """What each payout that is named holds in sum, and which of them are stated themselves."""
    sums: dict[str, int] = {}
    stated: set[str] = set()
    columns: tuple[Column[Any], ...] = (STATEMENT.c.payout_ref, STATEMENT.c.kind)
    for provider in sorted({row.provider for row in theirs}):
        named = sorted({row.payout_ref for row in theirs if row.provider == provider} - {""})
        for some in chunks(named):
            mine = (STATEMENT.c.provider == provider) & STATEMENT.c.payout_ref.in_(some)
            wanted = select(*columns, func.sum(STATEMENT.c.net_minor).label("net_minor"))
            for row in await conn.execute(wanted.where(mine).group_by(*columns)):
                sums[row.payout_ref] = sums.get(row.payout_ref, 0) + int(row.net_minor)
                stated |= {row.payout_ref} if row.kind == FeedKind.PAYOUT else set()
    return sums, frozenset(stated)


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids in pieces of `AT_ONCE`."""
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
