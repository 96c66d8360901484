"""Points that come and go without a reward: purchases, returns, complaints, what a member brings along."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime

from sqlalchemy import select

from loyalty.answers import KEY_MAX, Booked, NotBooked, Refusal, answer_of
from loyalty.errors import LoyaltyError
from loyalty.ledger import Adjust, Command, Earn, Key, Ledger, Reverse
from loyalty.ledger.commands import IDEM, REASON
from loyalty.members import Member, Members
from loyalty.programme import POINTS_MAX, Programme
from loyalty.tables import JOURNAL

OPENING = "opening"
"""The receipt of what a member brings from an earlier system; each has one such receipt."""


class Points:
    """Each use case is one command of the ledger, under the caller's key with the use case before it."""

    def __init__(
        self,
        members: Members,
        ledger: Ledger,
        programmes: Mapping[str, Programme],
        clock: Callable[[], datetime],
    ) -> None:
        self._members = members
        self._ledger = ledger
        self._programmes = programmes
        self._clock = clock

    async def earn(
        self, tenant: str, member_id: str, points: int, receipt: str, *, key: str, by: str, call_id: str
    ) -> Booked | NotBooked:
        """A purchase; a locked member earns like any other."""
        member, now = await self._member(tenant, member_id), self._clock()
        if member is None:
            return NotBooked(Refusal.MEMBER_UNKNOWN)
        name = self._key(tenant, "earn", key)
        expires = self._programmes[tenant].expires(now)
        command = Earn(name, member.account_id, points, receipt, expires, now)
        return await self._done(command, points, by=by, call_id=call_id)

    async def open_balance(
        self, tenant: str, member_id: str, points: int, *, expires: date | None, by: str
    ) -> Booked | NotBooked:
        """What a member brings along; the member is the key, so there is one."""
        member = await self._member(tenant, member_id)
        if member is None:
            return NotBooked(Refusal.MEMBER_UNKNOWN)
        name = self._key(tenant, OPENING, member_id)
        receipt = f"{OPENING}:{member_id}"
        command = Earn(name, member.account_id, points, receipt, expires, self._clock())
        return await self._done(command, points, by=by)

    async def adjust(
        self, tenant: str, member_id: str, points: int, *, key: str, reason: str, by: str, call_id: str
    ) -> Booked | NotBooked:
        """Given (> 0) or taken (< 0); given points live as long as earned ones."""
        programme = self._programmes[tenant]
        if not 1 <= abs(points) <= POINTS_MAX:
            return NotBooked(Refusal.AMOUNT_WRONG)
        if abs(points) > programme.adjust_points_max:
            return NotBooked(Refusal.NEEDS_SECOND)
        member = await self._member(tenant, member_id)
        if member is None:
            return NotBooked(Refusal.MEMBER_UNKNOWN)
        expires = programme.expires(self._clock()) if points > 0 else None
        name = self._key(tenant, "adjust", key)
        command = Adjust(name, member.account_id, points, checked_reason(reason), expires)
        return await self._done(command, points, by=by, call_id=call_id, reason=reason)

    async def reverse(
        self,
        tenant: str,
        journal_id: str,
        *,
        key: str,
        reason: str,
        by: str,
        points: int | None,
        call_id: str,
    ) -> Booked | NotBooked:
        """A posting taken back, linked to it: returned goods, a mistake."""
        name = self._key(tenant, "undo", key)
        command = Reverse(name, journal_id, checked_reason(reason), points)
        answer = await self._done(command, points or 0, by=by, call_id=call_id, reason=reason)
        if points is None and isinstance(answer, Booked):
            return replace(answer, points=await self._moved(name, answer.journal_id))
        return answer

    async def _moved(self, key: Key, journal_id: str) -> int:
        """How many points a journal has moved: of a reversal, what was left to be taken back."""
        journal = JOURNAL.c
        mine = (journal.tenant == key.tenant, journal.programme == key.programme, journal.id == journal_id)
        query = select(journal.points).where(*mine)
        return await self._members.database.read(
            key.tenant, lambda conn: int(conn.execute(query).scalar_one())
        )

    async def _member(self, tenant: str, member_id: str) -> Member | None:
        try:
            return await self._members.get(tenant, member_id)
        except LoyaltyError as error:
            if error.code != "member_unknown":
                raise
            return None

    def _key(self, tenant: str, what: str, key: str) -> Key:
        return Key(tenant, self._programmes[tenant].programme, f"{what}.{checked_key(key)}")

    async def _done(
        self, command: Command, points: int, *, by: str, call_id: str = "", reason: str = ""
    ) -> Booked | NotBooked:
        outcome = await self._ledger.do(command, actor=by, call_id=call_id, reason=reason)
        return answer_of(outcome, points)


def checked_key(key: str) -> str:
    """The caller's key as it is; LoyaltyError("key_malformed")."""
    if not IDEM.fullmatch(key) or len(key) > KEY_MAX:
        raise LoyaltyError("key_malformed", f"A key has 1 to {KEY_MAX} letters, digits and _ . : -")
    return key


def checked_reason(reason: str) -> str:
    """A word that says why, for the log; LoyaltyError("reason_malformed")."""
    if not reason or not REASON.fullmatch(reason):
        raise LoyaltyError("reason_malformed", "A reason is a word of small letters and _, like complaint.")
    return reason
