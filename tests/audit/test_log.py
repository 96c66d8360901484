"""The log: canonical bytes, every row once, nothing changed afterwards; and the process that writes it."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from audit.entries import Entry, entry_from_json
from audit.log import Arrival, Log, canonical
from audit.outbox import (
    PULL_BYTES_MAX,
    PULL_ROWS_MAX,
    EngineRows,
    OutboxDoor,
    add,
    create_tables,
    open_database,
)

ROOT = Path(__file__).parents[2]
AT = "2026-01-02T03:04:05.678Z"
ENTRY = Entry(
    "payment.intent.expired", AT, "system:broker", "pay_a", "demo", "call_a", data={"reason": "idle"}
)
BODY = json.dumps(ENTRY.as_json())


def arrival(number: int, body: str = BODY) -> Arrival:
    return Arrival(number, f"key{number}", body)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    log = await Log.open(tmp_path / "audit.db", "node_a")
    yield log
    await log.close()


def leaves(folder: Path) -> list[dict]:
    database = sqlite3.connect(folder / "audit.db")
    try:
        rows = database.execute("SELECT leaf FROM entries ORDER BY idx").fetchall()
    finally:
        database.close()
    return [json.loads(leaf) for (leaf,) in rows]


def test_canonical_bytes_are_fixed():
    """These bytes are signed for ever: keys sorted, no spaces, index and source's number inside."""
    assert canonical(7, "node_a", "vault", arrival(3), ENTRY) == (
        b'{"actor":"system:broker","at":"2026-01-02T03:04:05.678Z","call_id":"call_a",'
        b'"data":{"reason":"idle"},"idx":7,"key":"key3","name":"payment.intent.expired","node":"node_a",'
        b'"origin":"","outcome":"ok","seq":3,"source":"vault","subject":"pay_a","tenant":"demo","v":1}'
    )


async def test_rows_get_their_index_in_order(log, tmp_path):
    """From 0, without gaps, whatever source they come from."""
    assert await log.append("vault", [arrival(1), arrival(2)]) == 2
    assert await log.append("app", [arrival(1)]) == 1
    assert await log.size() == 3
    found = [(leaf["idx"], leaf["source"], leaf["seq"]) for leaf in leaves(tmp_path)]
    assert [(0, "vault", 1), (1, "vault", 2), (2, "app", 1)] == found


async def test_row_that_comes_twice_is_written_once(log):
    """At least once on the way, exactly once in the log."""
    await log.append("vault", [arrival(1), arrival(2)])
    assert await log.append("vault", [arrival(1), arrival(2), arrival(3)]) == 1
    assert await log.append("vault", []) == 0
    assert await log.size() == 3


@pytest.mark.parametrize("body", ["", "{", "[]", '{"name": "payment.pan.read"}', '{"data": {}, "x": 1}'])
async def test_refused_row_leaves_an_entry_that_says_so(log, tmp_path, body):
    """An owner's fault stops nothing and is not lost either; what stood in the row is not written."""
    await log.append("vault", [arrival(5, body), arrival(6)])
    refused, fine = leaves(tmp_path)
    assert ("log.entry.refused", {"source": "vault", "seq": 5}) == (refused["name"], refused["data"])
    assert fine["name"] == "payment.intent.expired"


async def test_log_is_only_added_to(log, tmp_path):
    """Not even its own process changes or deletes an entry."""
    await log.append("vault", [arrival(1)])
    database = sqlite3.connect(tmp_path / "audit.db")
    for statement in ("UPDATE entries SET name = 'x'", "DELETE FROM entries"):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement)
    database.close()


# --- the owner's door ---------------------------------------------------------------------------------------


async def filled(path: Path, rows: int):
    engine = open_database(path)
    await create_tables(engine)
    async with engine.begin() as conn:
        for _ in range(rows):
            await add(conn, ENTRY)
    return engine


async def test_rolled_back_row_was_never_there(tmp_path):
    """The row belongs to the owner's transaction, and its number too: no gap is left."""
    engine = await filled(tmp_path / "own.db", 1)

    async def fail() -> None:
        async with engine.begin() as conn:
            await add(conn, ENTRY)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with engine.begin() as conn:
        await add(conn, ENTRY)
    door = EngineRows(engine)
    assert [1, 2] == [row["seq"] for row in await door.pull(10)]
    await engine.dispose()


async def test_rows_stay_until_they_are_acknowledged(tmp_path):
    """Pulled twice is the same; acknowledged is gone, and its number is never given again."""
    engine = await filled(tmp_path / "own.db", 3)
    door = EngineRows(engine)
    assert await door.pull(2) == await door.pull(2)
    assert await door.ack(3) == 3
    async with engine.begin() as conn:
        await add(conn, ENTRY)
    assert [4] == [row["seq"] for row in await door.pull(10)]
    assert entry_from_json(json.loads((await door.pull(1))[0]["body"])) == ENTRY
    await engine.dispose()


async def test_reply_fits_a_message_however_many_rows_wait(tmp_path):
    """Bounded by rows and by bytes."""
    engine = await filled(tmp_path / "own.db", PULL_ROWS_MAX + 50)
    rows = await EngineRows(engine).pull(PULL_ROWS_MAX)
    assert 0 < len(rows) <= PULL_ROWS_MAX
    assert len(json.dumps(rows)) <= PULL_BYTES_MAX
    await engine.dispose()


async def test_key_is_unique_in_the_outbox(tmp_path):
    """Two rows can never be taken for one."""
    engine = await filled(tmp_path / "own.db", 1)
    with pytest.raises(IntegrityError):
        async with engine.begin() as conn:
            await conn.exec_driver_sql("INSERT INTO outbox (key, body) SELECT key, body FROM outbox")
    await engine.dispose()


# --- the process --------------------------------------------------------------------------------------------


class Writer:
    """A real audit process on two sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        sources = [f"--source={name}={self.folder / name}.sock" for name in ("one", "two")]
        folders = ["--data-dir", str(self.folder), "--run-dir", str(self.folder), "--node", "node_a"]
        command = [sys.executable, "-m", "audit", *folders, *sources]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def end(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)


async def emptied(owner: EngineRows) -> None:
    async with asyncio.timeout(20):
        while await owner.waiting():  # noqa: ASYNC110 - another process empties it
            await asyncio.sleep(0.02)


async def test_writer_killed_again_and_again_loses_and_doubles_nothing(short_dir):
    """Rows keep coming from two owners while the writer dies at any moment; one owner is down at first."""
    engines = {name: await filled(short_dir / f"{name}.db", 0) for name in ("one", "two")}
    doors = {
        name: OutboxDoor(EngineRows(engine), short_dir / f"{name}.sock") for name, engine in engines.items()
    }
    writer = Writer(short_dir)
    await doors["one"].start()
    writer.start()
    rows = 150
    for number in range(rows):
        for engine in engines.values():
            async with engine.begin() as conn:
                await add(conn, ENTRY)
        if number == 40:
            await doors["two"].start()
        if number % 50 == 45:  # the last writer has rows left to pull, so it is up when all are gone
            await asyncio.sleep(0.9)
            writer.end()
            writer.start()
    for engine in engines.values():
        await emptied(EngineRows(engine))
    assert writer.end(signal.SIGTERM) == 0
    for name, door in doors.items():
        await door.stop()
        await engines[name].dispose()
    found = leaves(short_dir)
    assert [leaf["idx"] for leaf in found] == list(range(len(found)))
    for name in ("one", "two"):
        assert list(range(1, rows + 1)) == [leaf["seq"] for leaf in found if leaf["source"] == name]
    assert [leaf["name"] for leaf in found if leaf["name"].startswith("log.")][-1] == "log.writer.stopped"


async def test_second_writer_is_refused(short_dir):
    """The log has one writer: a lock on the data directory says so."""
    writer = Writer(short_dir)
    writer.start()
    async with asyncio.timeout(10):
        while not (short_dir / "audit.sock").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
    second = Writer(short_dir)
    second.start()
    assert second.process is not None
    assert second.process.wait(10) == 78
    assert writer.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("source", ["vault", "=x", "Vault=x", "audit=x", "a=", "a b=x"])
def test_source_needs_a_name_and_a_socket(source, tmp_path):
    """`audit` is the log's own name."""
    command = [sys.executable, "-m", "audit", "--data-dir", ".", "--run-dir", ".", "--source", source]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, timeout=20)
    assert ended.returncode == 2
