"""Tells the tenants' own systems what became of points: from the books to stored webhooks.

The books are read again from a little before the last look on, and everything that is not stored yet is
stored; an event's id is the same every time, so what is stored already is known. Nothing has to be remembered
over a crash: at every start the last days are gone through. Whoever was erased is told of no more.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Row, func, select, tuple_

from audit.outbox import stamp
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.tables import ENTRY, JOURNAL, MEMBER_ACCOUNT
from loyalty.tenancy import TenantConn
from pay_ivr.hooks import Event, Hooks
from pay_ivr.ids import now_ms
from pay_ivr.logs import log

LOOK_EVERY_S = 2.0
"""How late a tenant's system hears of points, at most."""
SWEPT_DAYS = 3
"""How far back a start looks: longer than any node has been away."""
OVERLAP_S = 15.0
"""A journal carries the moment of its writing and is seen a little later, within the ledger's deadline."""
PAGE = 200
"""Journals read at once."""

TYPES = {
    "earn": "points.earned",
    "post": "points.redeemed",
    "redeem": "points.redeemed",
    "reverse": "points.reversed",
    "void": "points.reversed",
    "expire": "points.expired",
    "adjust": "points.adjusted",
    "move": "points.moved",
}
"""Kinds of journals that move a member's points, and the `type` of their webhooks. A `void` does when points
that were held come back and pay what a reversal had left owed."""


@dataclass(frozen=True)
class Place:
    """How far the books have been read."""

    at: str
    journal_id: str = ""


class Telling:
    """Follows the books of every tenant that somebody listens to."""

    def __init__(
        self,
        database: Database,
        tenants: Iterable[str],
        hooks: Hooks,
        wake: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """`wake` is called when something has been stored that is to be sent."""
        self._database = database
        self._tenants = tuple(tenants)
        self._hooks = hooks
        self._wake = wake
        self._clock = clock
        self._places: dict[str, Place] = {}

    async def run(self) -> None:
        """Looks until it is cancelled; a tenant whose books cannot be read is looked at in the next round."""
        while True:
            await self.round()
            await asyncio.sleep(LOOK_EVERY_S)

    async def round(self) -> None:
        """Everything that happened since the last round, of every tenant with an endpoint."""
        for tenant in self._tenants:
            with contextlib.suppress(LoyaltyError):
                if await self._hooks.endpoints(tenant):
                    await self._follow(tenant)

    async def _follow(self, tenant: str) -> None:
        place, last = self._begin(tenant), None
        while rows := await self._database.read(tenant, lambda conn, place=place: _page(conn, place)):  # type: ignore[misc]
            events = [event for row in rows if (event := _event(tenant, row)) is not None]
            if await self._hooks.file_events(tenant, events, now_ms()):
                log.info("points.teller.stored", tenant=tenant, events=len(events))
                self._wake()
            last = place = Place(rows[-1].at, rows[-1].id)
        if last is not None:
            self._places[tenant] = last

    def _begin(self, tenant: str) -> Place:
        """A little before where the last round ended; at the start some days back."""
        known = self._places.get(tenant)
        if known is None:
            return Place(stamp(self._clock() - timedelta(days=SWEPT_DAYS)))
        at = datetime.fromisoformat(known.at) - timedelta(seconds=OVERLAP_S)
        return Place(stamp(at))


def _page(conn: TenantConn, after: Place) -> "list[Row[tuple[object, ...]]]":
    """The next journals, whole, with the members whose accounts they touched and by how much in all.

    Of what a member earns, a debt may have been paid in the same journal.
    """
    names = ("tenant", "programme", "id", "kind", "at", "reason", "call_id", "reverses", "receipt")
    later = tuple_(JOURNAL.c.at, JOURNAL.c.id) > (after.at, after.journal_id)
    journals = (
        select(*(JOURNAL.c[name] for name in names))
        .where(JOURNAL.c.tenant == conn.tenant, later)
        .order_by(JOURNAL.c.at, JOURNAL.c.id)
        .limit(PAGE)
        .subquery()
    )
    same_journal = (
        (ENTRY.c.tenant == conn.tenant)
        & (ENTRY.c.programme == journals.c.programme)
        & (ENTRY.c.journal_id == journals.c.id)
    )
    same_account = (
        (MEMBER_ACCOUNT.c.tenant == conn.tenant)
        & (MEMBER_ACCOUNT.c.programme == ENTRY.c.programme)
        & (MEMBER_ACCOUNT.c.account_id == ENTRY.c.account_id)
    )
    wanted = (
        select(journals, func.sum(ENTRY.c.amount).label("amount"), MEMBER_ACCOUNT.c.member_id)
        .select_from(journals.outerjoin(ENTRY, same_journal).outerjoin(MEMBER_ACCOUNT, same_account))
        .group_by(*journals.c, MEMBER_ACCOUNT.c.member_id)
        .order_by(journals.c.at, journals.c.id, func.min(ENTRY.c.seq))
    )
    return list(conn.execute(wanted))


def _event(tenant: str, row: "Row[tuple[object, ...]]") -> Event | None:
    """The webhook of one side of a journal; None for the programme's own accounts and for nobody's."""
    kind = TYPES.get(row.kind)
    if kind is None or row.member_id is None:
        return None
    body = {
        "event_id": f"{row.id}.{row.member_id}",
        "type": kind,
        "at": row.at,
        "tenant": tenant,
        "points": int(row.amount),
        "posting": {
            "journal_id": row.id,
            "programme": row.programme,
            "member_id": row.member_id,
            "reason": row.reason,
            "call_id": row.call_id,
            "reverses": row.reverses,
            "receipt": row.receipt,
        },
    }
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return Event(f"{row.id}.{row.member_id}", kind, row.at, row.member_id, text)
