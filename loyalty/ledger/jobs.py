"""What the two jobs of the ledger look for: holds whose time is over, accounts with points past their date.

Both are found by partial indexes, so that a run with nothing to do costs nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, literal_column, select

from audit.outbox import stamp
from loyalty.ledger.reads import HAS_POINTS
from loyalty.tables import HOLD, LOT
from loyalty.tenancy import TenantConn

ACTOR = "system:loyalty"
"""Who ends holds and lots, in the journal and in the log."""
DUE_MAX = 500
"""Holds of one run; the next run takes the rest."""
TOGETHER = 64
"""Accounts whose expiry is asked for at once: as many as a group of the writer takes."""
IS_OPEN: ColumnElement[bool] = literal_column("hold.state = 'open'")


@dataclass(frozen=True)
class DueHold:
    """A hold whose time is over."""

    tenant: str
    programme: str
    hold_id: str
    account: str
    points: int


@dataclass(frozen=True)
class Reaped:
    """What became of the holds of one run."""

    posted: int
    voided: int
    left: int
    """Not known yet, or ended by somebody else meanwhile."""


Issued = Callable[[DueHold], Awaitable[bool]]
"""True when what the hold pays for is out already, asked of whoever gives it, by the hold's own key."""


def due_holds(connection: Connection, now: datetime) -> tuple[DueHold, ...]:
    """Open holds of all tenants whose time is over, longest over first."""
    column = HOLD.c
    wanted = (
        select(column.tenant, column.programme, column.id, column.account_id, column.amount)
        .where(IS_OPEN, column.until <= stamp(now))
        .order_by(column.until, column.tenant, column.programme, column.id)
        .limit(DUE_MAX)
        .execution_options(all_tenants=True)
    )
    return tuple(DueHold(*row) for row in connection.execute(wanted))


def due_accounts(conn: TenantConn, programme: str, today: date) -> tuple[str, ...]:
    """Accounts of a programme with points whose date has come."""
    column = LOT.c
    own = (column.tenant == conn.tenant) & (column.programme == programme)
    wanted = select(column.account_id).distinct().where(own, HAS_POINTS, column.expires <= today)
    return tuple(conn.execute(wanted.order_by(column.account_id)).scalars())
