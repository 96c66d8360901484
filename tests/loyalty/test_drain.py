"""The log fetches what happened to members and points through the loyalty database's one writer."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from audit.outbox import OutboxDoor
from loyalty.database import Database
from loyalty.drain import LoyaltyRows
from loyalty.ledger import Done, Earn, Key

ROOT = Path(__file__).parents[2]
EARNS = 20


async def test_every_booking_reaches_the_log_once(database: Database, short_dir: Path):
    """A real audit process pulls while points are booked; afterwards the outbox is empty."""
    rows = LoyaltyRows(database.writer)
    door = OutboxDoor(rows, short_dir / "outbox-loyalty.sock")
    await door.start()
    paths = ["--data-dir", str(short_dir), "--run-dir", str(short_dir), "--node", "node_a"]
    source = f"--source=loyalty={short_dir / 'outbox-loyalty.sock'}"
    command = [sys.executable, "-m", "audit", *paths, source]
    log = subprocess.Popen(command, cwd=ROOT)  # noqa: ASYNC220 - it takes a millisecond
    try:
        account = await database.ledger.open_account("demo", "miles")
        for number in range(EARNS):
            key = Key("demo", "miles", f"k-{number}")
            earn = Earn(key, account, 10, f"r-{number}", None, datetime.now(UTC))
            assert isinstance(await database.ledger.do(earn, actor="key:till"), Done)
        async with asyncio.timeout(30):
            while await rows.waiting():  # noqa: ASYNC110 - another process empties it
                await asyncio.sleep(0.05)
    finally:
        log.terminate()
        assert 0 == log.wait(10)
    await door.stop()
    with closing(sqlite3.connect(short_dir / "audit.db")) as written:
        (booked,) = written.execute(
            "SELECT count(*) FROM entries WHERE source = 'loyalty' AND name = 'ledger.points.earned'"
        ).fetchone()
    assert EARNS == booked
