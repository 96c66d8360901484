"""A programme's books for a test: short words for commands, a clock to turn, and the whole truth by SQL."""

import asyncio
import itertools
import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from loyalty.database import Database
from loyalty.ledger import (
    Adjust,
    Balance,
    Command,
    Done,
    Earn,
    Expire,
    Hold,
    Key,
    Move,
    Movement,
    Outcome,
    Post,
    Redeem,
    Rejected,
    Reverse,
    Void,
)

START = datetime(2026, 3, 10, 11, 0, tzinfo=UTC)
ACTOR = "agent:anna"
VOUCHER = "redeemed_voucher"
TREES = "redeemed_donation:trees"

_numbers = itertools.count(1)


@dataclass
class Books:
    """One programme of one tenant, with a clock of its own."""

    database: Database
    tenant: str = "demo"
    programme: str = "miles"
    now: datetime = START

    def __post_init__(self) -> None:
        self.ledger = self.database.ledger
        self.ledger.clock = lambda: self.now
        self.ledger.zone_of = lambda _tenant: ZoneInfo("Europe/Berlin")

    @property
    def today(self) -> date:
        return self.ledger.today(self.tenant)

    def days(self, number: int) -> date:
        """The date that many days from now."""
        return self.today + timedelta(days=number)

    def pass_days(self, number: int) -> None:
        self.now += timedelta(days=number)

    def key(self, idem: str = "") -> Key:
        return Key(self.tenant, self.programme, idem or f"key-{next(_numbers)}")

    async def member(self, points: int = 0, expires: date | None = None) -> str:
        """A new member account, with a lot of that many points."""
        account = await self.ledger.open_account(self.tenant, self.programme)
        if points:
            await self.earn(account, points, expires)
        return account

    async def do(self, command: Command) -> Outcome:
        return await self.ledger.do(command, actor=ACTOR)

    async def done(self, command: Command) -> Done:
        """The answer to a command that must be booked."""
        outcome = await self.do(command)
        assert isinstance(outcome, Done), outcome
        return outcome

    async def refused(self, command: Command) -> str:
        outcome = await self.do(command)
        assert isinstance(outcome, Rejected), outcome
        return outcome.code.value

    async def all(self, *commands: Command) -> list[Outcome]:
        """The answers to commands that are asked at the same moment."""
        return list(await asyncio.gather(*map(self.do, commands)))

    def earning(self, account: str, points: int, expires: date | None = None, receipt: str = "") -> Earn:
        key = self.key()
        return Earn(key, account, points, receipt or f"r-{key.idem}", expires, self.now)

    async def earn(self, account: str, points: int, expires: date | None = None) -> Done:
        return await self.done(self.earning(account, points, expires))

    def redeeming(self, account: str, points: int, contra: str = VOUCHER) -> Redeem:
        return Redeem(self.key(), account, points, contra)

    async def redeem(self, account: str, points: int) -> Done:
        return await self.done(self.redeeming(account, points))

    def holding(self, account: str, points: int, minutes: int = 15) -> Hold:
        return Hold(self.key(), account, points, self.now + timedelta(minutes=minutes))

    async def hold(self, account: str, points: int) -> Done:
        return await self.done(self.holding(account, points))

    def posting(self, hold: Done, contra: str = VOUCHER) -> Post:
        return Post(self.key(), hold.hold_id, contra)

    def voiding(self, hold: Done) -> Void:
        return Void(self.key(), hold.hold_id)

    def reversing(self, journal: Done, points: int | None = None) -> Reverse:
        return Reverse(self.key(), journal.journal_id, "returned", points)

    def adjusting(self, account: str, points: int, expires: date | None = None) -> Adjust:
        return Adjust(self.key(), account, points, "goodwill", expires)

    def moving(self, source: str, target: str, points: int, lot: str = "") -> Move:
        return Move(self.key(), source, target, points, "merged", lot=lot)

    def expiring(self, account: str, on: date | None = None) -> Expire:
        return Expire(self.key(), account, on or self.today)

    async def balance(self, account: str) -> Balance:
        return await self.ledger.balance(self.tenant, self.programme, account)

    async def available(self, account: str) -> int:
        return (await self.balance(account)).available

    async def movements(self, account: str, limit: int = 50) -> tuple[Movement, ...]:
        return await self.ledger.movements(self.tenant, self.programme, account, limit)

    async def rows(self, statement: str, **more: Any) -> list[tuple[Any, ...]]:
        """What a statement of somebody finds who does not go through our code."""
        wanted = text(statement)
        own = {"tenant": self.tenant, "programme": self.programme} | more
        return await self.database.read(
            self.tenant, lambda conn: [tuple(row) for row in conn.execute(wanted, own)]
        )

    async def log(self) -> list[dict[str, Any]]:
        """The entries of this tenant that wait for the log, in their order."""
        select = text("SELECT body FROM outbox ORDER BY seq")
        bodies = await self.database.writer.work(lambda conn: conn.execute(select).scalars().all())
        return [entry for entry in map(json.loads, bodies) if entry["tenant"] == self.tenant]

    async def lots(self, account: str) -> list[tuple[Any, ...]]:
        """Granted and remaining of each lot, oldest first."""
        return await self.rows(
            "SELECT granted, remaining FROM lot WHERE tenant = :tenant AND account_id = :account ORDER BY id",
            account=account,
        )

    async def faults(self) -> list[str]:
        """The rules of the books that some row contradicts; empty when all is well."""
        return [name for (name,) in await self.rows(_ALL_RULES)]

    def other(self, command: Command) -> Command:
        """The same key, another intention."""
        if isinstance(command, Post | Void):
            return replace(command, hold_id=command.hold_id + "x")
        if isinstance(command, Expire):
            return replace(command, on=command.on - timedelta(days=1))
        if isinstance(command, Reverse):
            return replace(command, points=(command.points or 0) + 1)
        return replace(command, points=command.points + (1 if command.points > 0 else -1))


_OWN = "{0}.tenant = :tenant AND {0}.programme = :programme"


def _rule(statement: str, *tables: str) -> str:
    return statement.replace("OWN", " AND ".join(_OWN.format(table) for table in tables))


RULES = {
    "a journal's entries sum to zero": _rule(
        "SELECT journal_id FROM entry WHERE OWN GROUP BY journal_id HAVING SUM(amount) <> 0", "entry"
    ),
    "an account stands at the sum of its entries": _rule(
        """SELECT account.id FROM account LEFT JOIN entry ON entry.tenant = account.tenant
        AND entry.programme = account.programme AND entry.account_id = account.id
        WHERE OWN GROUP BY account.id, account.posted
        HAVING account.posted <> COALESCE(SUM(entry.amount), 0)""",
        "account",
    ),
    "held is the sum of open holds": _rule(
        """SELECT account.id FROM account LEFT JOIN hold ON hold.tenant = account.tenant
        AND hold.programme = account.programme AND hold.account_id = account.id AND hold.state = 'open'
        WHERE OWN GROUP BY account.id, account.held HAVING account.held <> COALESCE(SUM(hold.amount), 0)""",
        "account",
    ),
    "what is not held remains in lots": _rule(
        """SELECT account.id FROM account LEFT JOIN lot ON lot.tenant = account.tenant
        AND lot.programme = account.programme AND lot.account_id = account.id
        WHERE OWN AND account.kind = 'member' GROUP BY account.id, account.posted, account.held
        HAVING account.posted - account.held <> COALESCE(SUM(lot.remaining), 0)""",
        "account",
    ),
    "a lot lost what was used and what is held of it": _rule(
        """SELECT lot.id FROM lot WHERE OWN AND lot.granted - lot.remaining <> (
        SELECT COALESCE(SUM(lot_use.amount), 0) FROM lot_use WHERE lot_use.tenant = lot.tenant
        AND lot_use.programme = lot.programme AND lot_use.lot_id = lot.id) + (
        SELECT COALESCE(SUM(hold_lot.amount), 0) FROM hold_lot JOIN hold ON hold.tenant = hold_lot.tenant
        AND hold.programme = hold_lot.programme AND hold.id = hold_lot.hold_id AND hold.state = 'open'
        WHERE hold_lot.tenant = lot.tenant AND hold_lot.programme = lot.programme
        AND hold_lot.lot_id = lot.id)""",
        "lot",
    ),
    "a hold is the sum of its lots": _rule(
        """SELECT hold.id FROM hold LEFT JOIN hold_lot ON hold_lot.tenant = hold.tenant
        AND hold_lot.programme = hold.programme AND hold_lot.hold_id = hold.id
        WHERE OWN GROUP BY hold.id, hold.amount HAVING hold.amount <> COALESCE(SUM(hold_lot.amount), 0)""",
        "hold",
    ),
    "a member's entries and lots move together": _rule(
        """SELECT entry.journal_id FROM entry JOIN account ON account.tenant = entry.tenant
        AND account.programme = entry.programme AND account.id = entry.account_id AND account.kind = 'member'
        WHERE OWN GROUP BY entry.journal_id, entry.account_id HAVING SUM(entry.amount) <> (
        SELECT COALESCE(SUM(lot.granted), 0) FROM lot
        WHERE lot.tenant = :tenant AND lot.programme = :programme
        AND lot.journal_id = entry.journal_id AND lot.account_id = entry.account_id) - (
        SELECT COALESCE(SUM(lot_use.amount), 0) FROM lot_use JOIN lot ON lot.tenant = lot_use.tenant
        AND lot.programme = lot_use.programme AND lot.id = lot_use.lot_id
        WHERE lot_use.tenant = :tenant AND lot_use.programme = :programme
        AND lot_use.journal_id = entry.journal_id AND lot.account_id = entry.account_id)""",
        "entry",
    ),
    "nothing is reversed beyond itself": _rule(
        """SELECT journal.id FROM journal JOIN journal AS back ON back.tenant = journal.tenant
        AND back.programme = journal.programme AND back.reverses = journal.id
        WHERE OWN GROUP BY journal.id, journal.points HAVING SUM(back.points) > journal.points""",
        "journal",
    ),
    "reversals join without a gap": _rule(
        """SELECT journal.id FROM journal WHERE OWN AND reverses IS NOT NULL AND reversed_before <> (
        SELECT COALESCE(SUM(earlier.points), 0) FROM journal AS earlier WHERE earlier.tenant = journal.tenant
        AND earlier.programme = journal.programme AND earlier.reverses = journal.reverses
        AND earlier.reversed_before < journal.reversed_before)""",
        "journal",
    ),
    "an ended hold was ended by a journal of that kind": _rule(
        """SELECT hold.id FROM hold JOIN journal ON journal.tenant = hold.tenant
        AND journal.programme = hold.programme AND journal.id = hold.ended_by
        WHERE OWN AND journal.kind <> CASE hold.state WHEN 'posted' THEN 'post' ELSE 'void' END""",
        "hold",
    ),
    "a debt is one": _rule(
        "SELECT id FROM account WHERE OWN AND kind = 'clawback' AND posted > 0", "account"
    ),
}
"""What must never be found. Written from docs/ledger.md, as an auditor would."""

_ALL_RULES = " UNION ALL ".join(
    f"SELECT '{name.replace(chr(39), chr(39) * 2)}' FROM ({statement}) AS found_{number}"  # noqa: S608
    for number, (name, statement) in enumerate(RULES.items())
)
