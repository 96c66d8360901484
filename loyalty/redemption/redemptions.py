"""Redeeming: points become a donation or a voucher, once, whatever dies in between.

A donation and a voucher of our own stock are *one* database transaction: limits, ledger, code, message and
record are all there or nothing is. A shop's own voucher is three steps, because nobody may wait for a shop
inside a transaction:

    reserve (transaction)   points held, record `reserved`
    issue   (outside)       the source, under the redemption's id
    finish  (transaction)   code: hold posted, record `done`, message filed
                            refused: hold voided, record `refused`

Whatever is left `reserved`, by a kill or by a source that did not answer, is settled by `settle`, which asks
the source what it has under this id and never guesses: an issued voucher is posted, never voided. An order
whose shop stands in the file no more is *stranded*: only the operator, who reads at the shop, can `end` it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from audit.outbox import Entry, stamp
from loyalty.answers import (
    Booked,
    NotBooked,
    NotRedeemed,
    Offer,
    Redeemed,
    Redemption,
    RedemptionState,
    Refusal,
    answer_of,
    refusal_of,
)
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.ledger import Command, Done, Hold, Key, Ledger, Post, Redeem, Rejected, Reverse, Void
from loyalty.members import Member, Members, Person
from loyalty.points import checked_key, checked_reason
from loyalty.programme import Programme, Reward, RewardKind
from loyalty.redemption import limits, records
from loyalty.redemption.deliveries import Deliveries, address_of
from loyalty.redemption.in_time import in_time
from loyalty.redemption.records import Record, Wish
from loyalty.redemption.sources import AT_ONCE, NotIssued, Order, Source, SourceLate, Voucher
from loyalty.redemption.standing import RefusedError, spender
from loyalty.redemption.states import NEW, Act, after
from loyalty.redemption.stock import Stock, checked_code
from loyalty.redemption.words import Told, letter_of
from loyalty.tenancy import TenantConn
from pay_ivr.channels import Channels
from pay_ivr.logs import log

HELD_UNTIL = datetime(9999, 12, 31, tzinfo=UTC)
"""Holds of redemptions are ended by their redemption alone; the ledger's reaper would not ask the source."""
SETTLE_MAX = 100
"""Redemptions settled in one round of one tenant: each may wait for its source."""
STRANDED_MAX = 1_000
"""Stranded orders of one list; when these are ended the next are seen."""
LIST_MAX = 100
"""Redemptions of one list: years of a member."""
SYSTEM = "system:loyalty"
ENDS = {
    RedemptionState.REFUSED: "redemption.reward.refused",
    RedemptionState.RELEASED: "redemption.reward.released",
}
VOUCHERS = "redeemed_voucher"
DONATIONS = "redeemed_donation:"

T = TypeVar("T")


@dataclass(frozen=True)
class Tools:
    """What redeeming works with."""

    database: Database
    members: Members
    ledger: Ledger
    stock: Stock
    deliveries: Deliveries
    channels: Channels
    filed: Callable[[], None]
    """Called when a message has been stored."""


class Redemptions:
    """The redemptions of every tenant."""

    def __init__(
        self,
        tools: Tools,
        programmes: Mapping[str, Programme],
        sources: Mapping[tuple[str, str], Source],
        clock: Callable[[], datetime],
    ) -> None:
        """`sources` by tenant and the id in its file."""
        self._tools = tools
        self._programmes = programmes
        self._sources = sources
        self._clock = clock
        self._settled_to: dict[str, str] = {}
        """Tenant → the last order of a round that could not take all; the next round goes on after it, so
        that orders which nobody can settle do not keep the others waiting."""

    # Looking

    async def offers(self, tenant: str, member_id: str | None, language: str) -> tuple[Offer, ...]:
        """The catalogue of today."""
        programme = self._programmes[tenant]
        now = self._clock()
        rewards = [one for one in programme.reward if one.until is None or programme.today(now) <= one.until]

        def work(conn: TenantConn) -> tuple[Offer, ...]:
            free = self._tools.stock.count(conn, programme.programme)
            points = None if member_id is None else self._available(conn, member_id)
            return tuple(
                Offer(
                    reward.id,
                    reward.kind,
                    reward.name(language),
                    reward.points,
                    points is None or points >= reward.points,
                    self._left(conn, reward, member_id or "", free.get(reward.id, 0)),
                )
                for reward in rewards
            )

        return await self._tools.database.read(tenant, work)

    def _available(self, conn: TenantConn, member_id: str) -> int:
        member = self._tools.members.register(conn).member(member_id)
        return self._tools.ledger.balance_in(conn, member.programme, member.account_id).available

    def _left(self, conn: TenantConn, reward: Reward, member_id: str, free: int) -> int | None:
        if reward.from_stock and not free:
            return 0
        midnight = stamp(self._programmes[conn.tenant].midnight(self._clock()))
        left = limits.left(reward, records.use(conn, reward, member_id, midnight))
        return min(left, free) if reward.from_stock and left is not None else left

    async def one(self, tenant: str, redemption_id: str) -> Redeemed | NotRedeemed:
        """How a redemption stands."""

        def work(conn: TenantConn) -> Redeemed | NotRedeemed:
            record = records.by_id(conn, redemption_id)
            return NotRedeemed(Refusal.UNKNOWN) if record is None else self._told(conn, record)

        return await self._tools.database.read(tenant, work)

    async def of_member(self, tenant: str, member_id: str, limit: int) -> tuple[Redemption, ...]:
        """The member's last ones."""
        found = await self._tools.database.read(
            tenant, lambda conn: records.of_member(conn, member_id, min(limit, LIST_MAX))
        )
        return tuple(record.public for record in found)

    async def of_journal(self, tenant: str, journal_id: str, points: int | None) -> str | None:
        """The redemption that a posting belongs to, when `points` are all of it (None: all there are)."""
        record = await self._tools.database.read(tenant, lambda conn: records.by_journal(conn, journal_id))
        if record is None or points not in {None, record.points}:
            return None
        return record.redemption_id

    # Redeeming

    async def redeem(self, wish: Wish) -> Redeemed | NotRedeemed:
        """Points for the reward; the same answer whenever the key asks again."""
        try:
            answer = await self._write(wish.tenant, lambda conn: self._book(conn, wish))
        except RefusedError as refused:
            return NotRedeemed(refused.code)
        if isinstance(answer, Record):
            return await self._settled(wish.tenant, answer)
        if isinstance(answer, Redeemed):
            self._tools.filed()
        return answer

    def _book(self, conn: TenantConn, wish: Wish) -> Record | Redeemed | NotRedeemed:
        """All of it, or the first of three steps: then the record that its source has to settle.

        Writing transactions go one after the other, over all nodes (`loyalty/roles.py`), so that limits and
        stock are counted exactly.
        """
        if (known := records.by_key(conn, wish)) is not None:
            return known if known.state is RedemptionState.RESERVED else self._told(conn, known)
        programme, now = self._programmes[wish.tenant], self._clock()
        reward = programme.reward_of(wish.reward_id)
        if reward is None or (reward.until is not None and programme.today(now) > reward.until):
            raise RefusedError(Refusal.REWARD_UNKNOWN)
        member = spender(self._tools.members, conn, wish.member_id)
        use = records.use(conn, reward, wish.member_id, stamp(programme.midnight(now)))
        if (refusal := limits.refusal(reward, use)) is not None:
            raise RefusedError(refusal)
        if reward.kind is RewardKind.VOUCHER and not reward.from_stock:
            return self._reserve(conn, wish, reward, member)
        return self._complete(conn, wish, reward, member)

    def _complete(
        self, conn: TenantConn, wish: Wish, reward: Reward, member: Member
    ) -> Redeemed | NotRedeemed:
        """Donation, or voucher of our own stock: everything at once."""
        redemption_id = records.new_redemption_id()
        contra = f"{DONATIONS}{reward.charity}" if reward.charity else VOUCHERS
        key = Key(wish.tenant, member.programme, f"{redemption_id}.redeem")
        done = self._do(conn, Redeem(key, member.account_id, reward.points, contra), wish.by, wish.call_id)
        record = records.add(
            conn,
            member.programme,
            wish,
            redemption_id=redemption_id,
            account_id=member.account_id,
            kind=reward.kind.value,
            points=reward.points,
            state=after(NEW, Act.COMPLETE).value,
            journal_id=done.journal_id,
            receipt=records.free_receipt(conn, member.programme),
            at=self._now(),
        )
        code = None
        if reward.kind is RewardKind.VOUCHER:
            code = self._issued(conn, record)
        self._note(conn, "redemption.reward.done", record, wish.by)
        self._tell(conn, record, code)
        return self._told(conn, replace(record, code_id=code[0] if code else None))

    def _issued(self, conn: TenantConn, record: Record) -> tuple[str, str]:
        """A code of our stock, noted in the record."""
        programme = self._programmes[conn.tenant].programme
        code = self._tools.stock.issue(conn, programme, record.reward_id, record.redemption_id, self._now())
        if code is None:
            raise RefusedError(Refusal.OUT_OF_STOCK)
        records.change(conn, record, code_id=code[0])
        return code

    # A shop's own vouchers

    def _reserve(self, conn: TenantConn, wish: Wish, reward: Reward, member: Member) -> Record:
        """The points are held; nothing else yet."""
        redemption_id = records.new_redemption_id()
        key = Key(wish.tenant, member.programme, f"{redemption_id}.hold")
        hold = Hold(key, member.account_id, reward.points, HELD_UNTIL)
        done = self._do(conn, hold, wish.by, wish.call_id)
        record = records.add(
            conn,
            member.programme,
            wish,
            redemption_id=redemption_id,
            account_id=member.account_id,
            kind=reward.kind.value,
            points=reward.points,
            state=after(NEW, Act.RESERVE).value,
            hold_id=done.hold_id,
            source=reward.source,
            at=self._now(),
        )
        self._note(conn, "redemption.reward.reserved", record, wish.by)
        return record

    async def _settled(self, tenant: str, record: Record) -> Redeemed | NotRedeemed:
        """What the source says, booked; `later` while it says nothing.

        A young order is asked for, an older one only looked up. What a look-up does not find is over only
        when the order is older than the programme's hold: then nothing of ours can still be on its way.
        """
        source = self._source(tenant, record)
        if source is None:
            return NotRedeemed(Refusal.LATER, record.redemption_id)
        age, held = self._clock() - moment_of(record.at), self._held(tenant)
        order = Order(record.redemption_id, record.reward_id)
        try:
            answer = await (source.issue(order) if age < held / 2 else source.find(order))
        except SourceLate:
            return NotRedeemed(Refusal.LATER, record.redemption_id)
        if isinstance(answer, NotIssued) and held / 2 <= age < held:
            return NotRedeemed(Refusal.LATER, record.redemption_id)
        try:
            told = await self._write(tenant, lambda conn: self._finish(conn, record, answer))
        except RefusedError as refused:  # a hold that only we could have ended
            raise lost_hold(refused) from None
        self._tools.filed()
        return told

    def _finish(self, conn: TenantConn, seen: Record, answer: Voucher | NotIssued) -> Redeemed | NotRedeemed:
        """Posts or voids, unless somebody else has meanwhile."""
        record = records.by_id(conn, seen.redemption_id)
        if record is None or record.state is not RedemptionState.RESERVED:
            return NotRedeemed(Refusal.UNKNOWN) if record is None else self._told(conn, record)
        if isinstance(answer, Voucher):
            programme = self._programmes[conn.tenant].programme
            code_id = self._tools.stock.keep(
                conn, programme, record.reward_id, record.redemption_id, answer.code, self._now()
            )
            if code_id is not None:
                return self._post(conn, record, (code_id, answer.code))
            log.error("voucher.source.repeated", tenant=conn.tenant, redemption_id=record.redemption_id)
        return self._void(conn, record)

    def _post(
        self, conn: TenantConn, record: Record, code: tuple[str, str], by: str = SYSTEM
    ) -> Redeemed | NotRedeemed:
        programme = self._programmes[conn.tenant].programme
        key = Key(conn.tenant, programme, f"{record.redemption_id}.post")
        done = self._do(conn, Post(key, record.hold_id or "", VOUCHERS), by, record.call_id)
        done_record = replace(
            record,
            state=after(record.state, Act.ISSUED),
            journal_id=done.journal_id,
            code_id=code[0],
            receipt=records.free_receipt(conn, programme),
        )
        records.change(
            conn,
            record,
            state=done_record.state.value,
            journal_id=done.journal_id,
            code_id=code[0],
            receipt=done_record.receipt,
        )
        self._note(conn, "redemption.reward.done", record, by)
        self._tell(conn, done_record, code)
        return self._told(conn, done_record)

    def _void(self, conn: TenantConn, record: Record, by: str = SYSTEM) -> NotRedeemed:
        key = Key(conn.tenant, self._programmes[conn.tenant].programme, f"{record.redemption_id}.void")
        self._do(conn, Void(key, record.hold_id or ""), by, record.call_id)
        late = self._clock() - moment_of(record.at) >= self._held(conn.tenant)
        state = after(record.state, Act.NEVER_ISSUED if late else Act.REFUSED)
        records.change(conn, record, state=state.value)
        self._note(conn, ENDS[state], record, by)
        return NotRedeemed(Refusal.PROVIDER_REFUSED, record.redemption_id)

    async def settle(self, tenant: str) -> int:
        """Looks up orders that are older than the programme's hold, some a round; how many have ended."""
        before, last = self._clock() - self._held(tenant), self._settled_to.get(tenant, "")
        waiting = await self._tools.database.read(
            tenant, lambda conn: records.reserved_before(conn, stamp(before), SETTLE_MAX, last)
        )
        self._settled_to[tenant] = waiting[-1].redemption_id if len(waiting) == SETTLE_MAX else ""
        places = asyncio.Semaphore(AT_ONCE)

        async def settled(record: Record) -> Redeemed | NotRedeemed:
            async with places:
                return await self._settled(tenant, record)

        answers = await asyncio.gather(*map(settled, waiting))
        ended = sum(isinstance(one, Redeemed) or one.code is not Refusal.LATER for one in answers)
        if waiting:
            log.info("redemption.orders.settled", tenant=tenant, ended=ended, waiting=len(waiting) - ended)
        return ended

    def _source(self, tenant: str, record: Record) -> Source | None:
        """Who has the order, wherever its reward comes from by now.

        None when the file names it no more: then the order waits for the operator.
        """
        if record.source is not None:
            return self._sources.get((tenant, record.source))
        reward = self._programmes[tenant].reward_of(record.reward_id)
        return None if reward is None else self._sources.get((tenant, reward.source))

    def _held(self, tenant: str) -> timedelta:
        return timedelta(minutes=self._programmes[tenant].hold_minutes)

    # What only the operator can end

    async def stranded(self, tenant: str) -> tuple[Redemption, ...]:
        """Orders past the programme's hold whose shop the file names no more, by id."""
        before = stamp(self._clock() - self._held(tenant))
        sources = [source for of, source in self._sources if of == tenant]
        rewards = [one.id for one in self._programmes[tenant].reward if one.source in sources]
        found = await self._tools.database.read(
            tenant,
            lambda conn: records.stranded_before(
                conn, before, STRANDED_MAX, sources=sources, rewards=rewards
            ),
        )
        return tuple(record.public for record in found)

    async def end(
        self, tenant: str, redemption_id: str, *, code: str | None, reason: str, by: str
    ) -> Redeemed | NotRedeemed:
        """Ends a stranded order as its shop has told the operator: with this code, or None for never issued.

        LoyaltyError: `redemption_unknown`; `redemption_over`; `order_open`, while its shop can be asked;
        `code_malformed`; `code_known`, when the programme has had the code; `reason_malformed`.
        """
        why = checked_reason(reason)
        given = None if code is None else checked_code(code)

        def work(conn: TenantConn) -> Redeemed | NotRedeemed:
            record = self._stranded(conn, redemption_id)
            data: dict[str, int | str] = {"reason": why, "result": "voided" if given is None else "posted"}
            conn.audit(Entry("redemption.order.ended", self._now(), by, redemption_id, tenant, data=data))
            if given is None:
                return self._void(conn, record, by)
            programme, now = self._programmes[tenant].programme, self._now()
            code_id = self._tools.stock.keep(conn, programme, record.reward_id, redemption_id, given, now)
            if code_id is None:
                raise LoyaltyError("code_known", "The programme has had this code before. Read it again.")
            return self._post(conn, record, (code_id, given), by)

        try:
            told = await self._write(tenant, work)
        except RefusedError as refused:
            raise lost_hold(refused) from None
        self._tools.filed()
        return told

    def _stranded(self, conn: TenantConn, redemption_id: str) -> Record:
        """The record of a stranded order; LoyaltyError for any other."""
        record = records.by_id(conn, redemption_id)
        if record is None:
            raise LoyaltyError("redemption_unknown", "There is no such redemption.")
        if record.state is not RedemptionState.RESERVED:
            raise LoyaltyError("redemption_over", "This redemption has ended already.")
        young = self._clock() - moment_of(record.at) < self._held(conn.tenant)
        if young or self._source(conn.tenant, record) is not None:
            raise LoyaltyError("order_open", "The shop can still be asked: the node ends this order itself.")
        return record

    # Taking back

    async def reverse(
        self, tenant: str, redemption_id: str, key: str, reason: str, by: str
    ) -> Booked | NotBooked:
        """The points back to their lots, once; the voucher's code stays used."""

        def work(conn: TenantConn) -> Booked | NotBooked:
            record = records.by_id(conn, redemption_id)
            if record is None or record.journal_id is None:
                return NotBooked(Refusal.UNKNOWN)
            name = Key(tenant, self._programmes[tenant].programme, f"undo.{checked_key(key)}")
            command = Reverse(name, record.journal_id, checked_reason(reason))
            outcome = self._tools.ledger.book_in(conn, command, actor=by, reason=reason)
            if isinstance(outcome, Done) and not outcome.replayed:
                records.change(conn, record, state=after(record.state, Act.REVERSE).value)
                self._note(conn, "redemption.reward.reversed", record, by)
            return answer_of(outcome, record.points)

        return await self._write(tenant, work)

    # Our own tools

    async def _write(self, tenant: str, work: Callable[[TenantConn], T]) -> T:
        return await in_time(self._tools.database.write(tenant, work))

    def _do(self, conn: TenantConn, command: Command, by: str, call_id: str) -> Done:
        """Books within the transaction of `conn`, or undoes all of it."""
        outcome = self._tools.ledger.book_in(conn, command, actor=by, call_id=call_id)
        if isinstance(outcome, Rejected):
            raise RefusedError(refusal_of(outcome))
        return outcome

    def _told(self, conn: TenantConn, record: Record) -> Redeemed | NotRedeemed:
        """A record that is over, as an answer."""
        if record.state is RedemptionState.RESERVED:
            return NotRedeemed(Refusal.LATER, record.redemption_id)
        if record.state is not RedemptionState.DONE:
            undone = record.journal_id is not None
            refusal = Refusal.ALREADY_REVERSED if undone else Refusal.PROVIDER_REFUSED
            return NotRedeemed(refusal, record.redemption_id)
        programme = self._programmes[conn.tenant].programme
        code = None if record.code_id is None else self._tools.stock.code(conn, programme, record.code_id)
        medium = self._tools.deliveries.medium_of(conn, record.redemption_id)
        receipt = record.receipt or ""
        return Redeemed(record.redemption_id, record.kind, record.points, receipt, code, medium)

    def _tell(self, conn: TenantConn, record: Record, code: tuple[str, str] | None) -> None:
        """Files the message, when there is a way to send one."""
        programme = self._programmes[conn.tenant]
        able = self._tools.channels.media_of(conn.tenant)
        person = self._person(conn, record.member_id)
        if person is None:
            return
        to = address_of(person, [medium for medium in programme.deliver_by if medium in able])
        if to is None:
            return
        reward = programme.reward_of(record.reward_id)
        name = record.reward_id if reward is None else reward.name(person.language)
        told = Told(record.kind, name, record.points, record.receipt or "", code[1] if code else None)
        letter = letter_of(programme, told, person.language)
        self._tools.deliveries.file(conn, record.member_id, record.redemption_id, to, letter, self._now())

    def _person(self, conn: TenantConn, member_id: str) -> Person | None:
        """Whom to write to; nobody, when the member has left while his order was under way."""
        try:
            return self._tools.members.register(conn).person(member_id)
        except LoyaltyError as error:
            if error.code != "member_unknown":
                raise
            return None

    def _note(self, conn: TenantConn, name: str, record: Record, by: str) -> None:
        data: dict[str, int | str] = {
            "member": record.member_id,
            "reward": f"rew_{record.reward_id}",
            "kind": record.kind.value,
            "points": record.points,
            "channel": record.channel.value,
        }
        conn.audit(
            Entry(name, self._now(), by, record.redemption_id, conn.tenant, call_id=record.call_id, data=data)
        )

    def _now(self) -> str:
        return stamp(self._clock())


def lost_hold(refused: RefusedError) -> LoyaltyError:
    """What it means that an order's hold cannot be ended."""
    return LoyaltyError("hold_lost", f"An order's hold is not there: {refused.code}.")


def moment_of(at: str) -> datetime:
    """The moment of a stamp."""
    return datetime.fromisoformat(at)
