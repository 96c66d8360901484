"""Redemptions whose process dies: nothing answered is lost, nothing is booked or issued twice.

The database is SQLite with full sync, or PostgreSQL; the shop is a server of its own that outlives every
kill. Rounds die at a random moment, and exactly where it hurts: with the points held and the order not
placed, and with the voucher issued and not yet posted. In the long runs the database's own server is killed
as well.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from loyalty.tables import ACCOUNT, HOLD, REDEMPTION, VOUCHER_CODE
from pay_ivr.proof.postgres import own_server
from tests.support.loyalty import House, open_house
from tests.support.redeemer import open_for, redeem
from tests.support.voucher_shop import Shop, voucher_shop

CODES = 1_000
POINTS = 10**8
ROUNDS = 3
SERVER_ROUNDS = 6
GROW_S = 30.0
"""A child opens in half a second and answers some hundred times in another."""


class Redeemer:
    """The process that forks children to be killed."""

    def __init__(self, data_dir: Path, database: str, shop: Shop) -> None:
        command = [sys.executable, "-m", "tests.support.redeemer", str(data_dir), database]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._shop = shop
        self._round = 0
        self.child = 0

    def start(self) -> None:
        """A child that redeems."""
        self._round += 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"round": self._round, "port": self._shop.port}) + "\n")
        self._process.stdin.flush()
        self.child = int(self._line())

    def kill(self) -> None:
        """SIGKILL, at once."""
        os.kill(self.child, signal.SIGKILL)

    def wait(self) -> None:
        """Returns when the child is dead."""
        assert "ended" == self._line()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert 0 == self._process.wait(20)
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def prepared(data_dir: Path, database: str) -> Iterator[tuple[Redeemer, Shop]]:
    """A member with many points in each tenant, a stock, a shop, and somebody who redeems."""

    async def fill() -> None:
        house = open_house(data_dir, database)
        members = {tenant: (await house.member(tenant, POINTS)).member_id for tenant in ("sunny", "rainy")}
        codes = "\n".join(f"CAFE-{number}" for number in range(CODES))
        await house.loyalty.add_codes("rainy", "coffee", codes, by="user:operator")
        (data_dir / "members").write_text(json.dumps(members), encoding="utf-8")
        await house.database.close()

    asyncio.run(fill())
    with voucher_shop() as shop:
        shop.source(data_dir)
        redeemer = Redeemer(data_dir, database, shop)
        try:
            yield redeemer, shop
        finally:
            redeemer.close()


def grow(path: Path, octets: int) -> None:
    """Returns when the file has grown by so much: a hundred or so for each question and its answer."""
    size = path.stat().st_size if path.exists() else 0
    end = time.monotonic() + GROW_S
    while not path.exists() or path.stat().st_size < size + octets:
        assert time.monotonic() < end
        time.sleep(0.002)


def lines(data_dir: Path) -> list[dict[str, Any]]:
    """What the children wrote; a line that a kill cut off is none."""
    whole = (data_dir / "acks").read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


async def check(data_dir: Path, database: str, shop: Shop) -> tuple[int, int]:
    """The books after all kills; how many answers were heard, and how many keys were cut off."""
    told = lines(data_dir)
    heard = {one["key"]: one for one in told if "id" in one}
    cut_off = {one["asked"] for one in told if "asked" in one} - {one["key"] for one in told if "key" in one}
    members = json.loads((data_dir / "members").read_text(encoding="utf-8"))
    house = open_for(data_dir, database, shop.port)
    house.clock.turn(minutes=11)
    try:
        await house.loyalty.upkeep.round()
        for key, first in heard.items():
            assert first == await redeem(house, key, members)  # the same receipt, the same code
        before = await _figures(house)
        assert 0 == before["held"] == before["open_holds"] == before["reserved"]
        assert before["spent"] == before["points_of_done"]
        assert before["codes_of_done"] == before["codes_issued"]
        shops = {code for one in heard.values() if (code := one["code"]) and code.startswith("SPA")}
        assert shops <= set(shop.issued.values())
        assert set(shop.issued) == before["shop_orders_done"]  # an issued voucher is posted, never voided
        codes = [one["code"] for one in heard.values() if one["code"]]
        assert len(set(codes)) == len(codes)
        for key in cut_off:  # whoever asks again is answered, once
            assert await redeem(house, key, members) == await redeem(house, key, members)
        after = await _figures(house)
        assert after["spent"] == after["points_of_done"]
    finally:
        await house.database.close()
    return len(heard), len(cut_off)


async def _figures(house: House) -> dict[str, Any]:
    """Sums over both tenants."""
    total: dict[str, Any] = {"shop_orders_done": set()}
    for tenant in ("sunny", "rainy"):
        for name, value in (await house.database.read(tenant, _figures_of)).items():
            total[name] = total.get(name, 0) + value if name != "shop_orders_done" else total[name] | value
    return total


def _figures_of(conn: Any) -> dict[str, Any]:
    def one(column: Any, *where: Any) -> int:
        query = select(func.coalesce(column, 0)).select_from(where[0].left.table)
        return int(conn.execute(query.where(*where)).scalar_one())

    mine = {table: table.c.tenant == conn.tenant for table in (ACCOUNT, HOLD, REDEMPTION, VOUCHER_CODE)}
    done = REDEMPTION.c.state == "done"
    spent = ACCOUNT.c.kind.like("redeemed%")
    orders = select(REDEMPTION.c.redemption_id).where(
        mine[REDEMPTION], done, REDEMPTION.c.reward_id == "sauna"
    )
    return {
        "held": one(func.sum(ACCOUNT.c.held), mine[ACCOUNT]),
        "open_holds": one(func.count(), mine[HOLD], HOLD.c.state == "open"),
        "reserved": one(func.count(), mine[REDEMPTION], REDEMPTION.c.state == "reserved"),
        "spent": one(func.sum(ACCOUNT.c.posted), mine[ACCOUNT], spent),
        "points_of_done": one(func.sum(REDEMPTION.c.points), mine[REDEMPTION], done),
        "codes_of_done": one(func.count(REDEMPTION.c.code_id), mine[REDEMPTION], done),
        "codes_issued": one(func.count(), mine[VOUCHER_CODE], VOUCHER_CODE.c.state == "issued"),
        "shop_orders_done": set(conn.execute(orders).scalars()),
    }


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)])
def empty_database(request: pytest.FixtureRequest, short_dir: Path, empty_file: Path) -> str:
    """Today's tables without rows, on each engine."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return shutil.copy(empty_file, short_dir / "loyalty.db")


def kill_at_random(data_dir: Path, redeemer: Redeemer, moments: random.Random) -> None:
    """One child that redeems for a moment."""
    redeemer.start()
    grow(data_dir / "acks", moments.randrange(1_500, 8_000))
    time.sleep(moments.random() * 0.02)
    redeemer.kill()
    redeemer.wait()


def test_redemptions_survive_a_kill_at_any_moment(short_dir: Path, empty_database: str):
    """Kills at random; every answer that was heard is still true, every account balances."""
    moments = random.Random(4)
    with prepared(short_dir, empty_database) as (redeemer, shop):
        for _ in range(ROUNDS):
            kill_at_random(short_dir, redeemer, moments)
        heard, cut_off = asyncio.run(check(short_dir, empty_database, shop))
    assert heard > ROUNDS
    assert cut_off >= ROUNDS


@pytest.mark.proof
def test_a_kill_between_hold_and_post_is_settled_by_asking_the_shop(short_dir: Path, empty_database: str):
    """Held and not ordered: released. Issued and not posted: posted, and never issued twice (L8)."""
    with prepared(short_dir, empty_database) as (redeemer, shop):
        shop.kill = redeemer.kill
        for fault in ("kill", "issue_then_kill") * 2:
            shop.faults = ["", "", fault]
            redeemer.start()
            redeemer.wait()
        asyncio.run(check(short_dir, empty_database, shop))


@pytest.mark.proof
def test_redemptions_survive_kills_of_the_server_and_of_the_node(short_dir: Path):
    """PostgreSQL with fsync, killed with all its processes; callers live on and ask again, or die with it."""
    moments = random.Random(6)
    with own_server(durable=True) as server:
        database = server.url(server.new_database())
        with prepared(short_dir, database) as (redeemer, shop):
            for number in range(SERVER_ROUNDS):
                redeemer.start()
                grow(short_dir / "acks", moments.randrange(1_500, 8_000))
                server.kill()
                if number % 2:
                    redeemer.kill()
                server.start()
                if not number % 2:
                    grow(short_dir / "acks", 4_000)
                    redeemer.kill()
                redeemer.wait()
            heard, _ = asyncio.run(check(short_dir, database, shop))
    assert heard > SERVER_ROUNDS
