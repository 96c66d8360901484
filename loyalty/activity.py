"""How many took part in a programme in a month: whether the scheme is used at all, and for what."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, case, func, select

from loyalty.database import Database
from loyalty.ledger.reads import month_bounds, same_journal
from loyalty.programme import Programme
from loyalty.tables import ACCOUNT, ENTRY, JOURNAL, MEMBER
from loyalty.tenancy import TenantConn

EARNED = ("earn",)
SPENT = ("redeem", "post")
"""Kinds of journals; `post` ends a voucher of a shop, or a payout."""


@dataclass(frozen=True)
class Activity:
    """Members of one month; nobody is named."""

    enrolled: int
    """Who came in it. Members who are erased by now are not counted any more."""
    active: int
    """Who earned or spent points in it, erased ones included."""
    earning: int
    spending: int


async def activity_of(
    database: Database, tenant: str, programme: Programme, year: int, month: int
) -> Activity:
    """A month of the tenant's clock, by when things were booked."""
    first, after = month_bounds(year, month, ZoneInfo(programme.timezone))
    books = programme.programme

    def work(conn: TenantConn) -> Activity:
        member, entry, journal, account = MEMBER.c, ENTRY.c, JOURNAL.c, ACCOUNT.c
        new = and_(member.tenant == tenant, member.programme == books)
        came = select(func.count()).where(new, member.created_at >= first, member.created_at < after)
        of_account = and_(
            account.tenant == entry.tenant,
            account.programme == entry.programme,
            account.id == entry.account_id,
        )
        moved = (
            select(
                _members(EARNED + SPENT).label("active"),
                _members(EARNED).label("earning"),
                _members(SPENT).label("spending"),
            )
            .select_from(ENTRY)
            .join(JOURNAL, same_journal(ENTRY))
            .join(ACCOUNT, of_account)
            .where(entry.tenant == tenant, entry.programme == books, account.kind == "member")
            .where(journal.at >= first, journal.at < after)
        )
        row = conn.execute(moved).one()
        return Activity(conn.execute(came).scalar_one(), row.active, row.earning, row.spending)

    return await database.read(tenant, work)


def _members(kinds: tuple[str, ...]) -> ColumnElement[int]:
    """How many accounts such a journal moved."""
    return func.count(func.distinct(case((JOURNAL.c.kind.in_(kinds), ENTRY.c.account_id))))
