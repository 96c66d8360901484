"""What the books say: balance, movements, as of a moment, and the month's roll-forward.

Every figure is a sum over entries, except the balance, which reads the account's own row and its lots
(`verify ledger` compares the two). Points past their date are nobody's to spend from midnight on, swept or
not: the balance leaves them out, as the arithmetic does.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, literal_column, select

from audit.outbox import stamp
from loyalty.errors import LoyaltyError
from loyalty.ledger.accounts import CLAWBACK, MEMBER, clawback_of
from loyalty.tables import ACCOUNT, ENTRY, JOURNAL, LOT
from loyalty.tenancy import TenantConn

MOVEMENTS_MAX = 200
"""Movements of one page: a year of a busy member."""
HAS_POINTS: ColumnElement[bool] = literal_column("lot.remaining > 0")
"""Written out and not bound: SQLite takes a partial index only for a condition that it can read."""


@dataclass(frozen=True)
class Balance:
    """What a member has."""

    posted: int
    held: int
    """Kept for redemptions that are under way."""
    available: int
    """What can be spent today."""
    next_expiry: date | None
    """The next day on which points end; None: none do."""
    expiring_points: int
    """How many end on that day."""
    owed: int = 0
    """What the member owes for goods given back after their points were spent; the next points pay it."""


@dataclass(frozen=True)
class Movement:
    """One journal as the member sees it."""

    journal_id: str
    kind: str
    """earn | redeem | reverse | adjust | expire | move | void (a hold that ended and paid a debt)."""
    points: int
    """What it changed on the account: > 0 came, < 0 went."""
    at: str
    """When it was booked: UTC, ISO 8601 with milliseconds."""
    on: date
    """The day it is told by, of the tenant's clock: of the purchase with an earn, else the day of `at`."""
    reason: str
    reverses: str
    """The journal that it takes back; empty for none."""


@dataclass(frozen=True)
class LotRow:
    """Points of an account that end on one day."""

    id: str
    expires: date | None
    remaining: int


@dataclass(frozen=True)
class RollForward:
    """How a programme's liability moved in one month: opening + … = closing, each figure a sum of entries.

    The liability is what all members have, held points included, less what members owe.
    """

    opening: int
    earned: int
    redeemed: int
    """What was spent, donated and paid out; counts minus."""
    expired: int
    """Breakage; counts minus."""
    adjusted: int
    """Given by people less taken by people."""
    reversed: int
    """What reversals gave back less what they took back."""
    closing: int

    @property
    def is_even(self) -> bool:
        """True when the movements lead from one balance to the other."""
        moved = self.earned - self.redeemed - self.expired + self.adjusted + self.reversed
        return self.opening + moved == self.closing


def balance(conn: TenantConn, programme: str, account: str, today: date) -> Balance:
    """The balance on a day of the tenant's clock; LoyaltyError for an account that is not there."""
    column = ACCOUNT.c
    of_both = _own(ACCOUNT, conn, programme) & column.id.in_((account, clawback_of(account)))
    rows = {
        row.kind: row for row in conn.execute(select(column.kind, column.posted, column.held).where(of_both))
    }
    if MEMBER not in rows:
        raise LoyaltyError("account_unknown", "There is no such account.")
    lots = _own(LOT, conn, programme) & (LOT.c.account_id == account) & HAS_POINTS
    points = func.sum(LOT.c.remaining)
    by_day = {
        row.expires: int(row.points)
        for row in conn.execute(
            select(LOT.c.expires, points.label("points")).where(lots).group_by(LOT.c.expires)
        )
    }
    over = sum(points for day, points in by_day.items() if day is not None and day <= today)
    coming = min((day for day in by_day if day is not None and day > today), default=None)
    own = rows[MEMBER]
    return Balance(
        own.posted,
        own.held,
        own.posted - own.held - over,
        coming,
        by_day.get(coming, 0) if coming else 0,
        -rows[CLAWBACK].posted if CLAWBACK in rows else 0,
    )


def movements(
    conn: TenantConn, programme: str, account: str, limit: int, before: str = ""
) -> tuple[Movement, ...]:
    """The last movements of an account, newest first; `before` is the last journal id of the page before."""
    journal, entry = JOURNAL.c, ENTRY.c
    own = _own(ENTRY, conn, programme) & (entry.account_id == account)
    wanted = (
        select(
            journal.id,
            journal.kind,
            journal.at,
            journal.effective_on,
            journal.reason,
            journal.reverses,
            func.sum(entry.amount).label("points"),
        )
        .join(JOURNAL, same_journal(ENTRY))
        .where(own if not before else own & (entry.journal_id < before))
        .group_by(*JOURNAL.primary_key.columns)
        .order_by(journal.id.desc())
        .limit(max(0, min(limit, MOVEMENTS_MAX)))
    )
    return tuple(
        Movement(
            row.id,
            "redeem" if row.kind == "post" else row.kind,
            int(row.points),
            row.at,
            row.effective_on,
            row.reason,
            row.reverses or "",
        )
        for row in conn.execute(wanted)
    )


def as_of(conn: TenantConn, programme: str, account: str, at: datetime) -> int:
    """What stood on an account at a moment, by what was booked until then."""
    own = _own(ENTRY, conn, programme) & (ENTRY.c.account_id == account)
    return _number(conn, _sum_of_entries().where(own, JOURNAL.c.at <= stamp(at)))


def roll_forward(conn: TenantConn, programme: str, year: int, month: int, zone: tzinfo) -> RollForward:
    """A month of the tenant's clock. One that is over never changes: what counts is a journal's `at`."""
    first, after = month_bounds(year, month, zone)
    at = JOURNAL.c.at
    liability = _own(ENTRY, conn, programme) & ACCOUNT.c.kind.in_((MEMBER, CLAWBACK))
    sums = _sum_of_entries().join(ACCOUNT, _same_account()).where(liability)
    by_kind = sums.add_columns(JOURNAL.c.kind).where(at >= first, at < after).group_by(JOURNAL.c.kind)
    moved = {row.kind: int(row.points) for row in conn.execute(by_kind)}
    return RollForward(
        opening=_number(conn, sums.where(at < first)),
        earned=moved.get("earn", 0),
        redeemed=-moved.get("redeem", 0) - moved.get("post", 0),
        expired=-moved.get("expire", 0),
        adjusted=moved.get("adjust", 0),
        reversed=moved.get("reverse", 0),
        closing=_number(conn, sums.where(at < after)),
    )


def lots(conn: TenantConn, programme: str, account: str, today: date) -> tuple[LotRow, ...]:
    """The lots of an account that are worth something on a day, in the order in which they are spent."""
    column = LOT.c
    own = _own(LOT, conn, programme) & (column.account_id == account) & HAS_POINTS
    valued = own & (column.expires.is_(None) | (column.expires > today))
    rows = conn.execute(select(column.id, column.expires, column.remaining).where(valued))
    found = (LotRow(row.id, row.expires, row.remaining) for row in rows)
    return tuple(sorted(found, key=lambda lot: (lot.expires or date.max, lot.id)))


def month_bounds(year: int, month: int, zone: tzinfo) -> tuple[str, str]:
    """The first moment of a month of that clock, and of the next one: UTC, ISO 8601 with milliseconds."""
    first = datetime(year, month, 1, tzinfo=zone)
    after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
    return stamp(first.astimezone(UTC)), stamp(after.astimezone(UTC))


def _own(table: Table, conn: TenantConn, programme: str) -> ColumnElement[bool]:
    return and_(table.c.tenant == conn.tenant, table.c.programme == programme)


def same_journal(table: Table) -> ColumnElement[bool]:
    """Rows of `table` beside the journal that they belong to."""
    one, journal = table.c, JOURNAL.c
    return and_(
        one.tenant == journal.tenant, one.programme == journal.programme, one.journal_id == journal.id
    )


def _same_account() -> ColumnElement[bool]:
    entry, account = ENTRY.c, ACCOUNT.c
    return and_(
        entry.tenant == account.tenant,
        entry.programme == account.programme,
        entry.account_id == account.id,
    )


def _sum_of_entries() -> Select[Any]:
    return (
        select(func.coalesce(func.sum(ENTRY.c.amount), 0).label("points"))
        .select_from(ENTRY)
        .join(JOURNAL, same_journal(ENTRY))
    )


def _number(conn: TenantConn, wanted: Select[Any]) -> int:
    return int(conn.execute(wanted).scalar_one())
