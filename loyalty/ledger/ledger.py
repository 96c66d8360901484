"""The ledger as the rest of the house uses it: commands in, answers out; reads; two jobs.

`do` waits for the commit. What it cannot say within `LEDGER_DEADLINE_S` is *unknown*, not failed: the command
may be booked at any moment after. Ask again under the same key, which gives the first answer or books it now.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from typing import Protocol, TypeVar

import structlog

from audit.outbox import stamp
from loyalty.errors import LoyaltyError
from loyalty.ledger import reads
from loyalty.ledger.accounts import MEMBER, open_in
from loyalty.ledger.commands import (
    Command,
    Done,
    Earn,
    Expire,
    Key,
    Move,
    Outcome,
    Post,
    Rejected,
    Void,
    check,
    request_hash,
)
from loyalty.ledger.group import book
from loyalty.ledger.ids import new_journal_id
from loyalty.ledger.jobs import ACTOR, TOGETHER, DueHold, Issued, Reaped, due_accounts, due_holds
from loyalty.ledger.orders import Order
from loyalty.tenancy import TenantConn
from loyalty.writer import Writer

LEDGER_DEADLINE_S = 5.0
"""How long a caller on the line waits for an answer; a group takes some 10 ms."""
QUEUE_AGE_ALARM_S = 2.0
"""A queue this old means that the database stands; somebody should look."""
QUEUE_AGE_REFUSE_S = 5.0
"""From here on nothing new queues: whoever waits before it will not be answered in time either."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Access(Protocol):
    """How the ledger reads and writes beside its commands (`loyalty.database.Database`)."""

    @property
    def writer(self) -> Writer[Order, Outcome]:
        """The one thread that writes."""

    async def read(self, tenant: str, work: Callable[[TenantConn], T]) -> T:
        """What `work` returns, in a transaction that can change nothing."""

    async def write(self, tenant: str, work: Callable[[TenantConn], T]) -> T:
        """What `work` returns, in a transaction of its own, committed."""


class Ledger:
    """One database's books, all tenants and programmes."""

    def __init__(self, database: Access) -> None:
        self._database = database
        self._alarmed = False
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        """This moment, with its time zone."""
        self.zone_of: Callable[[str], tzinfo] = lambda _tenant: UTC
        """A tenant's time zone: its days end there. The composition root sets it from the tenants' files."""

    def today(self, tenant: str) -> date:
        """The date on the tenant's clock."""
        return self._day(tenant, self.clock())

    async def do(
        self, command: Command, *, actor: str, call_id: str = "", reason: str = "", bulk: bool = False
    ) -> Outcome:
        """The answer, committed; the first one where the key is booked already.

        `reason` for a command that carries none; `bulk`, for imports, lets those of calls go first and
        waits as long as it takes.
        LoyaltyError `ledger_late`, `database_away` (retryable): unknown, ask again under the same key.
        `ledger_stalled` (retryable): not queued. `command_malformed`: a mistake of the caller's code.
        """
        reason = getattr(command, "reason", reason)
        wrong = check(command, actor, call_id, reason)
        if wrong is not None:
            return wrong
        self._watch()
        order = self._order(command, actor, call_id, reason)
        try:
            within_s = None if bulk else LEDGER_DEADLINE_S
            return await self._database.writer.command(order, bulk=bulk, within_s=within_s)
        except TimeoutError:
            log.warning("ledger.command.late", journal_id=order.journal, tenant=command.key.tenant)
            raise LoyaltyError(
                "ledger_late", "It is not known whether this was booked. Ask again, same key.", retryable=True
            ) from None

    def book_in(
        self, conn: TenantConn, command: Command, *, actor: str, call_id: str = "", reason: str = ""
    ) -> Outcome:
        """The answer, booked in the caller's own transaction (`Database.write`): committed with it or not.

        For what has to happen together with points: a voucher's code, a payout's record.
        """
        if command.key.tenant != conn.tenant:
            raise LoyaltyError("command_malformed", "A transaction books for its own tenant only.")
        reason = getattr(command, "reason", reason)
        wrong = check(command, actor, call_id, reason)
        if wrong is not None:
            return wrong
        order = self._order(command, actor, call_id, reason)
        return conn.lend(lambda connection: book(connection, [order]))[0]

    def balance_in(self, conn: TenantConn, programme: str, account: str) -> reads.Balance:
        """What the account has, as the caller's transaction sees it; LoyaltyError `account_unknown`."""
        return reads.balance(conn, programme, account, self.today(conn.tenant))

    async def open_account(self, tenant: str, programme: str, kind: str = MEMBER) -> str:
        """The id of a new member account; inside a transaction of one's own: `open_in`."""
        return await self._database.write(tenant, lambda conn: open_in(conn, programme, kind))

    async def balance(self, tenant: str, programme: str, account: str) -> reads.Balance:
        """What the account has now; LoyaltyError `account_unknown`."""
        today = self.today(tenant)
        return await self._database.read(tenant, lambda conn: reads.balance(conn, programme, account, today))

    async def movements(
        self, tenant: str, programme: str, account: str, limit: int, before: str = ""
    ) -> tuple[reads.Movement, ...]:
        """The last movements, newest first; `before`: the last journal id of the page before."""
        return await self._database.read(
            tenant, lambda conn: reads.movements(conn, programme, account, limit, before)
        )

    async def as_of(self, tenant: str, programme: str, account: str, at: datetime) -> int:
        """What stood on an account at a moment."""
        return await self._database.read(tenant, lambda conn: reads.as_of(conn, programme, account, at))

    async def roll_forward(self, tenant: str, programme: str, year: int, month: int) -> reads.RollForward:
        """How the liability moved in a month of the tenant's clock."""
        zone = self.zone_of(tenant)
        return await self._database.read(
            tenant, lambda conn: reads.roll_forward(conn, programme, year, month, zone)
        )

    async def merge(
        self, key: Key, source: str, target: str, *, reason: str, actor: str, call_id: str = ""
    ) -> tuple[Outcome, ...]:
        """Everything that `source` can spend goes to `target`, one journal per lot, each reversible alone.

        Asked again under the same key, it moves what is left: a merge that was cut off goes on. What is held
        stays, to be ended and merged again; a debt stays with its member.
        """
        lots = await self._database.read(
            key.tenant, lambda conn: reads.lots(conn, key.programme, source, self.today(key.tenant))
        )
        moves = (Move(_under(key, lot.id), source, target, lot.remaining, reason, lot=lot.id) for lot in lots)
        return tuple([await self.do(move, actor=actor, call_id=call_id) for move in moves])

    async def reap(self, now: datetime, issued: Issued | None = None) -> Reaped:
        """Ends holds whose time is over: spent where `issued` says that the voucher is out, otherwise freed.

        Without `issued` every one is freed. Safe to run twice and on two nodes: each hold ends once, under a
        key of its own. A hold about which `issued` cannot say (it raises a retryable LoyaltyError) waits.
        """
        found = await self._database.writer.work(lambda connection: due_holds(connection, now))
        ended: list[str] = []
        for start in range(0, len(found), TOGETHER):
            together = found[start : start + TOGETHER]
            ended += await asyncio.gather(*(self._end(hold, issued) for hold in together))
        return Reaped(ended.count("posted"), ended.count("voided"), ended.count("left"))

    async def expire_due(self, tenant: str, programme: str, today: date) -> int:
        """Ends the lots that are past their date, once per account and day; how many accounts it booked."""
        accounts = await self._database.read(tenant, lambda conn: due_accounts(conn, programme, today))
        booked = 0
        for start in range(0, len(accounts), TOGETHER):
            outcomes = await asyncio.gather(
                *(
                    self.do(
                        Expire(Key(tenant, programme, f"expire-{account}-{today}"), account, today),
                        actor=ACTOR,
                        bulk=True,
                    )
                    for account in accounts[start : start + TOGETHER]
                )
            )
            booked += sum(isinstance(one, Done) and not one.replayed for one in outcomes)
        return booked

    async def _end(self, hold: DueHold, issued: Issued | None) -> str:
        """Ends one hold: posted, voided or left."""
        key = Key(hold.tenant, hold.programme, f"reap-{hold.hold_id}")
        try:
            spent = issued is not None and await issued(hold)
            command = Post(key, hold.hold_id, "redeemed_voucher") if spent else Void(key, hold.hold_id)
            outcome = await self.do(command, actor=ACTOR, bulk=True)
        except LoyaltyError as error:
            if not error.retryable:
                raise
            log.warning("ledger.hold.left", hold_id=hold.hold_id, tenant=hold.tenant, code=error.code)
            return "left"
        if isinstance(outcome, Rejected) or outcome.replayed:  # somebody else has ended it meanwhile
            return "left"
        return "posted" if spent else "voided"

    def _order(self, command: Command, actor: str, call_id: str, reason: str) -> Order:
        now, tenant = self.clock(), command.key.tenant
        today = self._day(tenant, now)
        told_on = self._day(tenant, command.at) if isinstance(command, Earn) else today
        return Order(
            command,
            new_journal_id(),
            request_hash(command),
            actor,
            call_id,
            reason,
            stamp(now),
            today,
            told_on,
        )

    def _day(self, tenant: str, moment: datetime) -> date:
        return moment.astimezone(self.zone_of(tenant)).date()

    def _watch(self) -> None:
        """Alarms once for a queue that stands; refuses what would only join it."""
        age_s = self._database.writer.age_s()
        if age_s > QUEUE_AGE_ALARM_S and not self._alarmed:
            log.error("ledger.queue.stalled", age_s=round(age_s, 1))
        self._alarmed = age_s > QUEUE_AGE_ALARM_S
        if age_s > QUEUE_AGE_REFUSE_S:
            raise LoyaltyError("ledger_stalled", "The ledger does not answer. Not booked.", retryable=True)


def _under(key: Key, lot: str) -> Key:
    """The key of one lot of a merge: as unique as the merge's own."""
    return Key(key.tenant, key.programme, f"{key.idem[:60]}:{lot}")
