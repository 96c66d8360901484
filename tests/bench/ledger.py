"""The points ledger under load: ratios to the database's own single commits, and an import beside calls.

`python -m tests.bench.ledger [--earns N]`. The rates are those of `pay-ivr verify ledger`, on SQLite and on a
PostgreSQL of our own. Then an import of 100,000 earns runs while callers redeem and reports are read: calls
go first, so their 99th percentile stays below what anybody on the telephone notices.
"""

import argparse
import asyncio
import itertools
import json
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loyalty.database import Database
from loyalty.ledger import Done, Earn, Key, Redeem
from pay_ivr.proof.ledger import EMBEDDED, place
from pay_ivr.proof.ledger_rate import PLENTY, measure

CLIENTS, TURN_S = 64, 1.0
EARNS = 100_000
TOGETHER = 64
"""Earns of an import that are under way at once."""
MEMBERS = 2_000
"""Whose purchases are imported, fifty each; the first of them redeem meanwhile."""
CALLERS, PAUSE_S = 8, 0.05
"""160 redemptions a second: sixty times what 240 simultaneous calls bring (2.7 a second)."""
ALONE_S = 5.0
REPORT_EVERY_S = 0.5
P99_MAX_MS = 100.0
HOT_P99_MAX_MS = 50.0
RATIO_AIM = 1.5
DEMO = "demo"


async def redeemed(database: Database, account: str, name: str, stopped: asyncio.Event) -> list[float]:
    """How long each redemption of one caller took, in seconds."""
    waits: list[float] = []
    for number in itertools.count():
        if stopped.is_set():
            return waits
        asked = time.perf_counter()
        key = Key(DEMO, "miles", f"{name}-{number}")
        told = await database.ledger.do(Redeem(key, account, 1, "redeemed_voucher"), actor="caller")
        waits.append(time.perf_counter() - asked)
        assert isinstance(told, Done)
        await asyncio.sleep(PAUSE_S)
    raise AssertionError


async def reports(database: Database, stopped: asyncio.Event) -> None:
    """Somebody reads the month's roll-forward again and again."""
    now = datetime.now(UTC)
    while not stopped.is_set():
        await database.ledger.roll_forward(DEMO, "miles", now.year, now.month)
        await asyncio.sleep(REPORT_EVERY_S)


async def imported(database: Database, accounts: list[str], earns: int) -> float:
    """Seconds for so many earns, `TOGETHER` at a time."""
    numbers = iter(range(earns))

    async def lane() -> None:
        for number in numbers:
            key = Key(DEMO, "miles", f"import-{number}")
            account = accounts[number % len(accounts)]
            earn = Earn(key, account, 10, key.idem, None, datetime.now(UTC))
            assert isinstance(await database.ledger.do(earn, actor="system:import", bulk=True), Done)

    begun = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(TOGETHER)))
    return time.perf_counter() - begun


def p99_ms(waits: list[list[float]]) -> float:
    """The 99th percentile, in milliseconds."""
    every = sorted(wait for own in waits for wait in own)
    return round(1000 * every[int(len(every) * 0.99)], 1)


async def beside_an_import(url: str, earns: int) -> dict[str, float]:
    """Redemptions alone, then beside the import and the reports."""
    database = Database.open(url)
    accounts = [await database.ledger.open_account(DEMO, "miles") for _ in range(MEMBERS)]
    for number, account in enumerate(accounts[:CALLERS]):
        key = Key(DEMO, "miles", f"start-{number}")
        await database.ledger.do(
            Earn(key, account, PLENTY, key.idem, None, datetime.now(UTC)), actor="caller"
        )
    found: dict[str, float] = {}
    for name in ("alone", "beside"):
        stopped = asyncio.Event()
        callers = [
            asyncio.create_task(redeemed(database, account, f"{name}-{number}", stopped))
            for number, account in enumerate(accounts[:CALLERS])
        ]
        reading = asyncio.create_task(reports(database, stopped))
        if name == "alone":
            await asyncio.sleep(ALONE_S)
        else:
            found["earns_per_s"] = round(earns / await imported(database, accounts, earns))
        stopped.set()
        found[f"p99_{name}_ms"] = p99_ms(await asyncio.gather(*callers))
        await reading
    await database.close()
    return found


def say(line: str) -> None:
    """At once, even where the output is a file: a run takes minutes."""
    print(line, flush=True)


async def run(earns: int) -> dict[str, Any]:
    """All figures of both engines."""
    found: dict[str, Any] = {}
    for engine, where in (("sqlite", ""), ("postgresql", EMBEDDED)):
        with place(where) as (url, server), tempfile.TemporaryDirectory() as folder:
            say(f"{engine}: rates, a minute or less")
            rates = await measure(url, CLIENTS, TURN_S, Path(folder))
            say(f"{engine}: {rates.yardstick} {rates.per_s:,.0f}/s")
            for one in rates.shapes:
                say(f"  {one.name:24} ratio {one.ratio:.2f} (aim {RATIO_AIM})  p99 {one.p99_ms:.1f} ms")
            say(f"{engine}: import of {earns:,} earns, some minutes")
            other = url + ".import" if server is None else server.url(server.new_database())
            found[engine] = asdict(rates) | {"import": await beside_an_import(other, earns)}
            say(f"  redemptions beside it: {found[engine]['import']}")
    return found


def broken(found: dict[str, Any]) -> list[str]:
    """Limits that do not hold."""
    wrong = []
    for engine, told in found.items():
        if told["import"]["p99_beside_ms"] > P99_MAX_MS:
            wrong.append(f"{engine}: a redemption beside an import takes over {P99_MAX_MS:.0f} ms")
        hot = next(one for one in told["shapes"] if one["name"] == "one hot member")
        if hot["p99_ms"] > HOT_P99_MAX_MS:
            wrong.append(f"{engine}: a redemption of the hot member takes over {HOT_P99_MAX_MS:.0f} ms")
    return wrong


def main() -> int:
    """Writes var/bench/ledger.json; 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--earns", type=int, default=EARNS)
    found = asyncio.run(run(parser.parse_args().earns))
    folder = Path("var/bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ledger.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for line in (wrong := broken(found)):
        print("WRONG:", line)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
