"""How fast the ledger is, as a ratio to what the database does at best with single commits.

The yardstick and the ledger's three shapes take turns in the same run, because a machine's speed changes from
minute to minute and a ratio does not. The yardstick of SQLite is one thread that commits one small change
after the other, as directly as Python can; that of PostgreSQL is pgbench's simple update with as many clients
as we have callers.
"""

import asyncio
import itertools
import os
import re
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL

from loyalty import engines
from loyalty.database import Database
from loyalty.ledger import Done, Earn, Key, Redeem
from pay_ivr.proof.postgres import PostgresError, programs

ROUNDS = 5
"""The median of five ratios is not moved by two bad moments."""
PLENTY = 10**8
TENANTS = 8
"""Over which the different members are spread."""
_TPS = re.compile(r"tps = ([0-9.]+)")


@dataclass(frozen=True)
class Rate:
    """One shape of load."""

    name: str
    per_s: float
    ratio: float
    """To the yardstick, each round by itself; the median."""
    p99_ms: float


@dataclass(frozen=True)
class Rates:
    """The yardstick's rate and the ledger's."""

    yardstick: str
    per_s: float
    shapes: tuple[Rate, ...]


async def measure(url: str, clients: int, seconds: float, folder: Path) -> Rates:
    """The medians of `ROUNDS` rounds of four turns, each `seconds` long."""
    database = Database.open(url)
    bench = _Bench(database, clients)
    await bench.prepare()
    shapes: dict[str, Callable[[int], tuple[str, str]]] = {
        "different members": bench.different,
        "one hot member": bench.hot_member,
        "one hot tenant account": bench.hot_tenant,
    }
    yardstick, base = _yardstick(url, clients, folder)
    bases: list[float] = []
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in shapes}
    for _ in range(ROUNDS):
        bases.append(await asyncio.to_thread(base, seconds))
        for name, shape in shapes.items():
            found[name].append(await bench.turn(shape, seconds))
    await database.close()
    rates = tuple(_rate(name, turns, bases) for name, turns in found.items())
    return Rates(yardstick, statistics.median(bases), rates)


def _rate(name: str, turns: list[tuple[float, float]], bases: list[float]) -> Rate:
    per_s = statistics.median(rate for rate, _ in turns)
    ratio = statistics.median(rate / base for (rate, _), base in zip(turns, bases, strict=True))
    return Rate(name, per_s, ratio, statistics.median(p99 for _, p99 in turns))


class _Bench:
    """Callers who redeem one point each, as often as they can."""

    def __init__(self, database: Database, clients: int) -> None:
        self._ledger = database.ledger
        self._clients = clients
        self._accounts: dict[str, list[str]] = {}
        self._numbers = itertools.count()
        self._run = os.urandom(4).hex()

    async def prepare(self) -> None:
        """Enough accounts, each with plenty of points."""
        for tenant, number in self._wanted().items():
            self._accounts[tenant] = [await self._account(tenant) for _ in range(number)]

    def _wanted(self) -> dict[str, int]:
        spread = {f"rate-{number}": -(-self._clients // TENANTS) for number in range(TENANTS)}
        return {**spread, "rate-hot": self._clients}

    async def _account(self, tenant: str) -> str:
        account = await self._ledger.open_account(tenant, "miles")
        key = self._key(tenant)
        earned = await self._ledger.do(
            Earn(key, account, PLENTY, key.idem, None, datetime.now(UTC)), actor="key:proof"
        )
        assert isinstance(earned, Done)
        return account

    def different(self, number: int) -> tuple[str, str]:
        """Each caller has a member of his own; eight tenants."""
        tenant = f"rate-{number % TENANTS}"
        return tenant, self._accounts[tenant][number // TENANTS]

    def hot_member(self, _number: int) -> tuple[str, str]:
        """All callers redeem from one account."""
        return "rate-hot", self._accounts["rate-hot"][0]

    def hot_tenant(self, number: int) -> tuple[str, str]:
        """Each caller has a member of his own, all of one tenant: one account receives everything."""
        return "rate-hot", self._accounts["rate-hot"][number]

    async def turn(self, shape: Callable[[int], tuple[str, str]], seconds: float) -> tuple[float, float]:
        """Redemptions per second, and the 99th percentile of their waits in milliseconds."""
        waits: list[float] = []
        begun = time.perf_counter()
        callers = (self._call(*shape(number), begun + seconds, waits) for number in range(self._clients))
        await asyncio.gather(*callers)
        spent = time.perf_counter() - begun
        waits.sort()
        return len(waits) / spent, 1000 * waits[int(len(waits) * 0.99)]

    async def _call(self, tenant: str, account: str, until: float, waits: list[float]) -> None:
        while (asked := time.perf_counter()) < until:
            redeem = Redeem(self._key(tenant), account, 1, "redeemed_voucher")
            told = await self._ledger.do(redeem, actor="key:proof")
            assert isinstance(told, Done)
            waits.append(time.perf_counter() - asked)

    def _key(self, tenant: str) -> Key:
        return Key(tenant, "miles", f"rate-{self._run}-{next(self._numbers)}")


def _yardstick(url: str, clients: int, folder: Path) -> tuple[str, Callable[[float], float]]:
    at = engines.url_of(url)
    if at.drivername != engines.POSTGRES:
        return "single commits of one thread", lambda seconds: _single_commits(folder / "raw.db", seconds)
    _pgbench(at, "-i", "-q", "-s", "10")
    load = ("-n", "-N", "-M", "prepared", "-c", str(clients), "-j", "2")

    def simple_update(seconds: float) -> float:
        found = _TPS.search(_pgbench(at, *load, "-T", str(max(1, round(seconds)))))
        if found is None:
            raise PostgresError("pgbench told no rate.")
        return float(found[1])

    return "pgbench simple update", simple_update


def _single_commits(path: Path, seconds: float) -> float:
    """Commits per second: a balance changed and a line added, on the disk each time."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE IF NOT EXISTS balances (id INTEGER PRIMARY KEY, points INTEGER)")
        database.execute("CREATE TABLE IF NOT EXISTS lines (id INTEGER, points INTEGER, at TEXT)")
        ids = range(1_000)
        database.executemany("INSERT OR IGNORE INTO balances VALUES (?, 0)", ((number,) for number in ids))
        begun, commits = time.perf_counter(), 0
        while (spent := time.perf_counter() - begun) < seconds:
            row = commits % len(ids)
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE balances SET points = points + 1 WHERE id = ?", (row,))
            database.execute("INSERT INTO lines VALUES (?, 1, '')", (row,))
            database.execute("COMMIT")
            commits += 1
    return commits / spent


def _pgbench(url: URL, *options: str) -> str:
    host = url.query.get("host", url.host)
    where = {"-h": host, "-p": url.port, "-U": url.username}
    given = [part for name, value in where.items() if value for part in (name, str(value))]
    command = [str(programs() / "pgbench"), *given, *options, str(url.database)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PostgresError("pgbench failed; its tables need a login that may make them.")
    return done.stdout
