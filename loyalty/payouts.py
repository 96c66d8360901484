"""Cash payout: one person asks, the points are held, another person releases or refuses.

The hold has no end of its own: what was asked for stays asked for until somebody decides. What was released
is money on its way: no one person takes its posting back and leaves the member with both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from audit.outbox import Entry, stamp
from loyalty.answers import NotBooked, Payout, Refusal, refusal_of
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.ledger import Command, Done, Hold, Key, Ledger, Post, Rejected, Void
from loyalty.members import CardState, Members, Role, Status
from loyalty.points import checked_key
from loyalty.programme import POINTS_MAX, Programme
from loyalty.redemption.in_time import in_time
from loyalty.redemption.redemptions import HELD_UNTIL
from loyalty.redemption.standing import RefusedError, spender
from loyalty.tables import JOURNAL, PAYOUT
from loyalty.tenancy import TenantConn
from pay_ivr.ids import new_id

ASKED, RELEASED, REFUSED = "asked", "released", "refused"
ENDS = {RELEASED: "payout.request.released", REFUSED: "payout.request.refused"}
"""State → its entry in the log."""
LIST_MAX = 200
"""Payouts of one list."""
CONTRA = "payout"
POSTED = ".post"
"""After its payout's id: the key of the posting that spends the points."""


@dataclass(frozen=True)
class Ask:
    """Somebody wants points paid out."""

    member_id: str
    points: int
    key: str
    by: str
    call_id: str


class Payouts:
    """The payouts of every tenant."""

    def __init__(
        self,
        database: Database,
        members: Members,
        ledger: Ledger,
        programmes: Mapping[str, Programme],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._members = members
        self._ledger = ledger
        self._programmes = programmes
        self._clock = clock

    async def ask(self, tenant: str, ask: Ask) -> Payout | NotBooked:
        """The points are held; a small payout is released at once."""
        checked_key(ask.key)
        return await self._written(tenant, lambda conn: self._ask(conn, ask))

    async def decide(self, tenant: str, payout_id: str, *, release: bool, by: str) -> Payout | NotBooked:
        """Released or refused, once; the same decision of the same person again is the same answer."""
        return await self._written(tenant, lambda conn: self._decide(conn, payout_id, release, by))

    async def list(self, tenant: str, *, waiting: bool) -> tuple[Payout, ...]:
        """Oldest first while they wait, otherwise the last ones that do not, newest first."""
        table = PAYOUT.c
        query = select(PAYOUT).where(table.tenant == tenant).limit(LIST_MAX)
        if waiting:
            query = query.where(table.state == ASKED).order_by(table.at)
        else:
            query = query.where(table.state != ASKED).order_by(table.at.desc())
        return await self._database.read(
            tenant, lambda conn: tuple(map(_payout, conn.execute(query).mappings()))
        )

    async def has_booked(self, tenant: str, journal_id: str) -> bool:
        """True for the posting of a released payout."""
        programme = self._programmes[tenant].programme

        def work(conn: TenantConn) -> bool:
            journal = JOURNAL.c
            mine = (journal.tenant == tenant, journal.programme == programme, journal.id == journal_id)
            idem = conn.execute(select(journal.idem).where(*mine)).scalar_one_or_none() or ""
            ours = (PAYOUT.c.tenant == tenant, PAYOUT.c.programme == programme)
            named = PAYOUT.c.payout_id == idem.removesuffix(POSTED)
            return conn.execute(select(PAYOUT.c.payout_id).where(*ours, named)).first() is not None

        return await self._database.read(tenant, work)

    async def _written(
        self, tenant: str, work: Callable[[TenantConn], Payout | NotBooked]
    ) -> Payout | NotBooked:
        try:
            return await in_time(self._database.write(tenant, work))
        except RefusedError as refused:
            return NotBooked(refused.code)

    def _ask(self, conn: TenantConn, ask: Ask) -> Payout | NotBooked:
        if (known := self._by_key(conn, ask)) is not None:
            return known
        programme = self._programmes[conn.tenant]
        amount_minor = _amount(programme, ask.points)
        member = spender(self._members, conn, ask.member_id)
        payout_id = new_id("pyt")
        key = Key(conn.tenant, programme.programme, f"{payout_id}.hold")
        hold = Hold(key, member.account_id, ask.points, HELD_UNTIL)
        row = {
            "payout_id": payout_id,
            "member_id": ask.member_id,
            "account_id": member.account_id,
            "points": ask.points,
            "amount_minor": amount_minor,
            "currency": programme.payout_currency,
            "hold_id": self._do(conn, hold, ask.by, ask.call_id).hold_id,
            "asked_by": ask.by,
            "state": ASKED,
            "at": self._now(),
        }
        conn.execute(
            insert(PAYOUT).values(tenant=conn.tenant, programme=programme.programme, idem=ask.key, **row)
        )
        asked = _payout({**row, "decided_by": ""})
        self._note(conn, "payout.request.asked", asked, ask.by, ask.call_id)
        if ask.points <= programme.payout_four_eyes_points:
            return self._end(conn, asked, str(row["hold_id"]), release=True, by=ask.by)
        return asked

    def _decide(self, conn: TenantConn, payout_id: str, release: bool, by: str) -> Payout | NotBooked:
        query = select(PAYOUT).where(PAYOUT.c.tenant == conn.tenant, PAYOUT.c.payout_id == payout_id)
        row = conn.execute(query.with_for_update()).mappings().one_or_none()
        if row is None:
            return NotBooked(Refusal.UNKNOWN)
        payout = _payout(row)
        if payout.state != ASKED:
            same = payout.decided_by == by and payout.state == (RELEASED if release else REFUSED)
            return payout if same else NotBooked(Refusal.ALREADY_DECIDED)
        if release and by == payout.asked_by:
            return NotBooked(Refusal.SAME_PERSON)
        if release:
            self._check_payee(conn, payout.member_id)
        return self._end(conn, payout, row["hold_id"], release=release, by=by)

    def _check_payee(self, conn: TenantConn, member_id: str) -> None:
        """Whoever was locked since he asked is not paid; one who has left is, one who is erased cannot be."""
        try:
            member = self._members.register(conn).member(member_id, Role.LEGAL)
        except LoyaltyError as error:
            if error.code != "member_unknown":
                raise
            raise RefusedError(Refusal.MEMBER_UNKNOWN) from None
        if member.status is Status.LOCKED:
            raise RefusedError(Refusal.MEMBER_LOCKED)
        if member.status is Status.ACTIVE and member.card_state is not CardState.ACTIVE:
            raise RefusedError(Refusal.CARD_LOCKED)

    def _end(self, conn: TenantConn, payout: Payout, hold_id: str, *, release: bool, by: str) -> Payout:
        programme = self._programmes[conn.tenant].programme
        command: Command
        if release:
            command = Post(Key(conn.tenant, programme, f"{payout.payout_id}{POSTED}"), hold_id, CONTRA)
        else:
            command = Void(Key(conn.tenant, programme, f"{payout.payout_id}.void"), hold_id)
        self._do(conn, command, by, "")
        values = {"state": RELEASED if release else REFUSED, "decided_by": by}
        mine = (PAYOUT.c.tenant == conn.tenant, PAYOUT.c.payout_id == payout.payout_id)
        conn.execute(update(PAYOUT).where(*mine).values(**values, decided_at=self._now()))
        ended = Payout(**{**vars(payout), **values})
        self._note(conn, ENDS[ended.state], ended, by, "")
        return ended

    def _by_key(self, conn: TenantConn, ask: Ask) -> Payout | None:
        query = select(PAYOUT).where(PAYOUT.c.tenant == conn.tenant, PAYOUT.c.idem == ask.key)
        row = conn.execute(query).mappings().one_or_none()
        if row is None:
            return None
        if (row["member_id"], row["points"]) != (ask.member_id, ask.points):
            raise LoyaltyError("key_reused", "This key was used for another payout.")
        return _payout(row)

    def _do(self, conn: TenantConn, command: Command, by: str, call_id: str) -> Done:
        outcome = self._ledger.book_in(conn, command, actor=by, call_id=call_id)
        if isinstance(outcome, Rejected):
            raise RefusedError(refusal_of(outcome))
        return outcome

    def _note(self, conn: TenantConn, name: str, payout: Payout, by: str, call_id: str) -> None:
        data: dict[str, int | str] = {
            "member": payout.member_id,
            "points": payout.points,
            "amount_minor": payout.amount_minor,
            "currency": payout.currency,
        }
        conn.audit(Entry(name, self._now(), by, payout.payout_id, conn.tenant, call_id=call_id, data=data))

    def _now(self) -> str:
        return stamp(self._clock())


def _amount(programme: Programme, points: int) -> int:
    """What so many points are worth, in minor units; only whole ones are paid."""
    if not programme.payout_minor_per_100_points:
        raise RefusedError(Refusal.PAYOUT_OFF)
    amount_minor, rest = divmod(points * programme.payout_minor_per_100_points, 100)
    if not 1 <= points <= POINTS_MAX or rest or not amount_minor:
        raise RefusedError(Refusal.AMOUNT_WRONG)
    return amount_minor


def _payout(row: Any) -> Payout:
    return Payout(**{name: row[name] for name in Payout.__dataclass_fields__})
