"""A worker of `pay-ivr verify ledger`: callers who earn, hold, redeem and take back, until it is killed.

Every answer that a caller gets is written to a file at once, before the caller goes on: what the file holds
was acknowledged, whatever happens to the process. Two controls spoil the ledger on purpose, so that the proof
can show that it would notice: `early` wakes the callers before the commit, `forgetful` lets PostgreSQL answer
before its log is on the disk.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event

from loyalty import engines
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.ledger import (
    Adjust,
    Command,
    Done,
    Earn,
    Expire,
    Hold,
    Key,
    Move,
    Outcome,
    Post,
    Redeem,
    Rejected,
    Reverse,
    Void,
    book,
)
from loyalty.ledger.orders import Order
from loyalty.programme import programmes_of
from loyalty.roles import begin_writing
from loyalty.service import Channel, Loyalty, Redeemed, Surroundings
from loyalty.writer import Writer
from pay_ivr.channels import Channels
from pay_ivr.proof.postgres import PostgresError
from pay_ivr.tenants import load_tenants
from vault import Door

PROGRAMME = "miles"
REWARDS = ("tree", "coffee")
HOT_SHARE = 0.5
"""Half of all commands go to the one hot member of their tenant."""
EARLY_S = 0.02
"""How long the control `early` leaves between answer and commit: a kill must find the gap."""
REMEMBERED = 40
"""Answered commands that a caller may ask again or take back."""
TRIES_MAX = 400
"""With the same key, while the database is away: 40 s for a killed server to recover on a busy disk."""
TRY_AGAIN_S = 0.1


@dataclass(frozen=True)
class Plan:
    """What all workers of a run share."""

    database: str
    folder: Path
    """Keys, tenants' files, and a file of answers per worker."""
    members: dict[str, list[tuple[str, str]]]
    """Tenant → member id and account; the first is the hot one."""
    clients: int
    """Callers of one worker."""
    control: str = ""
    """`early`, `forgetful`, or empty."""


def open_loyalty(folder: Path, database: Database, clock: Callable[[], datetime]) -> Loyalty:
    """The façade on that database; its vault is not asked for anything here."""
    tenants = folder / "tenants"
    programmes = programmes_of(load_tenants(tenants), tenants)
    return Loyalty(
        Surroundings(
            database=database,
            keys=Keys.open(folder, {}),
            programmes=programmes,
            door=Door(folder / "vault.sock"),
            channels=Channels({name: {} for name in programmes}),
            sources={},
            clock=clock,
        )
    )


def run_worker(plan: Plan, name: str, days: int) -> None:
    """Works until it is killed or told to stop by a file; its clock is `days` ahead, so that lots expire."""
    with (plan.folder / f"{name}.answers").open("ab", buffering=0) as answers:
        asyncio.run(_work(plan, name, days, answers.write))


async def _work(plan: Plan, name: str, days: int, write: Callable[[bytes], Any]) -> None:
    database = _spoiled(await _opened(plan), plan, write)
    ahead = timedelta(days=days)
    loyalty = open_loyalty(plan.folder, database, lambda: datetime.now(UTC) + ahead)
    stop = plan.folder / "stop"
    callers = (Caller(plan, loyalty, f"{name}c{number}", write) for number in range(plan.clients))
    await asyncio.gather(*(caller.run(stop.exists) for caller in callers))
    await database.close()


async def _opened(plan: Plan) -> Database:
    """The database, as soon as its server is back."""
    for _ in range(TRIES_MAX):
        try:
            return Database.open(plan.database)
        except LoyaltyError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(TRY_AGAIN_S)
    raise PostgresError("The server did not come back.")


class Caller:
    """One caller after the other under one name: draws an act, does it, writes down what he was told."""

    def __init__(self, plan: Plan, loyalty: Loyalty, name: str, write: Callable[[bytes], Any]) -> None:
        self._plan = plan
        self._loyalty = loyalty
        self._name = name
        self._write = write
        self._numbers = itertools.count()
        self._dice = random.Random(name)
        self._done: list[tuple[Command, Done]] = []
        self._acts: dict[Callable[[], Awaitable[None]], int] = {
            self._earn: 22,
            self._redeem: 26,
            self._hold: 14,
            self._reverse: 8,
            self._again: 8,
            self._expire: 4,
            self._adjust: 4,
            self._move: 4,
            self._reward: 10,
        }

    async def run(self, stopped: Callable[[], bool]) -> None:
        """Acts until stopped."""
        while not stopped():
            (act,) = self._dice.choices(list(self._acts), list(self._acts.values()))
            await act()

    async def _earn(self) -> None:
        key, account = self._drawn()
        expires = self._dice.choice((None, self._day(1), self._day(2), self._day(30)))
        points = self._dice.randint(1, 400)
        await self._ask(Earn(key, account, points, f"r-{key.idem}", expires, datetime.now(UTC)))

    async def _redeem(self) -> None:
        key, account = self._drawn()
        await self._ask(Redeem(key, account, self._dice.randint(1, 120), "redeemed_voucher"))

    async def _hold(self) -> None:
        """A hold that is posted, voided, both at the same moment, or left to the reaper."""
        key, account = self._drawn()
        until = datetime.now(UTC) + timedelta(minutes=5)
        held = await self._ask(Hold(key, account, self._dice.randint(1, 120), until))
        if not isinstance(held, Done):
            return
        post = Post(self._key(key.tenant), held.hold_id, "payout")
        void = Void(self._key(key.tenant), held.hold_id)
        ends = self._dice.choice(((post,), (void,), (post, void), ()))
        answers = await asyncio.gather(*(self._ask(end) for end in ends))
        if len([one for one in answers if isinstance(one, Done)]) > 1:
            self._tell({"wrong": "a hold ended twice", "idem": key.idem})

    async def _reverse(self) -> None:
        if self._done:
            command, done = self._dice.choice(self._done)
            points = self._dice.choice((None, 1))
            await self._ask(Reverse(self._key(command.key.tenant), done.journal_id, "returned", points))

    async def _again(self) -> None:
        """The same command gets the same answer; another one under the same key is refused."""
        if not self._done:
            return
        command, first = self._dice.choice(self._done)
        told = await self._ask(command)
        if told != replace(first, replayed=True):
            self._tell({"wrong": "a second answer differs", "idem": command.key.idem})
        if isinstance(command, Redeem):
            other = await self._ask(replace(command, points=command.points + 1))
            if isinstance(other, Done):
                self._tell({"wrong": "a key was used twice", "idem": command.key.idem})

    async def _expire(self) -> None:
        key, account = self._drawn()
        await self._ask(Expire(key, account, self._day(0)))

    async def _adjust(self) -> None:
        key, account = self._drawn()
        points = self._dice.choice((-1, 1)) * self._dice.randint(1, 50)
        await self._ask(Adjust(key, account, points, "goodwill"))

    async def _move(self) -> None:
        key, account = self._drawn()
        _, target = self._dice.choice(self._plan.members[key.tenant])
        if target != account:
            await self._ask(Move(key, account, target, self._dice.randint(1, 50), "merged"))

    async def _reward(self) -> None:
        """A donation or a voucher, the second asked for twice: the same code."""
        tenant, (member, _) = self._member()
        key, reward = self._key(tenant).idem, self._dice.choice(REWARDS)
        for _ in range(2 if reward == "coffee" else 1):
            told = await self._tried(
                lambda: self._loyalty.redeem(
                    tenant, member, reward, key=key, channel=Channel.API, by="key:proof"
                )
            )
            if isinstance(told, Redeemed):
                self._tell(
                    {"tenant": tenant, "key": key, "redemption": told.redemption_id, "code": told.code or ""}
                )

    async def _ask(self, command: Command) -> Outcome | None:
        """The answer, written down; None when the database stayed away."""
        outcome: Outcome | None = await self._tried(
            lambda: self._loyalty.ledger.do(command, actor="key:proof")
        )
        if isinstance(outcome, Done):
            self._done = [*self._done[-REMEMBERED:], (command, replace(outcome, replayed=False))]
            self._tell(_answer(command, outcome))
        elif isinstance(outcome, Rejected):
            self._tell({"refused": outcome.code.value})
        return outcome

    async def _tried(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Asks again under the same key for as long as the answer is unknown."""
        for _ in range(TRIES_MAX):
            try:
                return await ask()
            except LoyaltyError as error:
                if not error.retryable:
                    self._tell({"wrong": error.code})
                    return None
                await asyncio.sleep(TRY_AGAIN_S)
        return None

    def _tell(self, told: dict[str, Any]) -> None:
        """One line, one write(2): what the kernel has survives our death."""
        self._write(_line(told))

    def _drawn(self) -> tuple[Key, str]:
        """A new key and a member's account."""
        tenant, (_, account) = self._member()
        return self._key(tenant), account

    def _member(self) -> tuple[str, tuple[str, str]]:
        tenant = self._dice.choice(list(self._plan.members))
        members = self._plan.members[tenant]
        return tenant, members[0] if self._dice.random() < HOT_SHARE else self._dice.choice(members)

    def _key(self, tenant: str) -> Key:
        return Key(tenant, PROGRAMME, f"{self._name}-{next(self._numbers)}")

    def _day(self, later: int) -> date:
        return self._loyalty.ledger.today(next(iter(self._plan.members))) + timedelta(days=later)


def _spoiled(database: Database, plan: Plan, write: Callable[[bytes], Any]) -> Database:
    """The database, or with a control one that breaks its word."""
    if plan.control:
        engine = engines.writing(engines.url_of(plan.database))
        if plan.control == "forgetful":
            event.listen(engine, "connect", _forget)
        early = _book_early(write) if plan.control == "early" else book
        database.writer = Writer(engine, early, begin_writing)
    return database


def _forget(connection: Any, _record: Any) -> None:
    connection.execute("SET synchronous_commit = off")
    connection.commit()


def _book_early(write: Callable[[bytes], Any]) -> Callable[[Connection, Sequence[Order]], list[Outcome]]:
    """Books as ever, but the answers are out before the commit."""

    def told(connection: Connection, orders: Sequence[Order]) -> list[Outcome]:
        outcomes = book(connection, orders)
        for order, outcome in zip(orders, outcomes, strict=True):
            if isinstance(outcome, Done):
                write(_line(_answer(order.command, outcome)))
        time.sleep(EARLY_S)
        return outcomes

    return told


def _answer(command: Command, done: Done) -> dict[str, Any]:
    told = {"tenant": command.key.tenant, "idem": command.key.idem, "journal": done.journal_id}
    return {**told, "hold_id": done.hold_id, "available": done.available}


def _line(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode() + b"\n"
