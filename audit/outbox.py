"""The owner's half of the log: a row in the owner's own transaction, and the door it is fetched through.

The guarantee: an entry exists if and only if the state change it tells of was committed, because both are
one SQLite transaction. The audit process fetches rows at least once and deletes them after its own commit
(`ack`); a row fetched twice is recognised by its key. No index, no hash: the log has one writer, and it is
not the owner.
"""

import asyncio
import json
import os
import secrets
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    event,
    func,
    select,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from audit.entries import CATALOGUE, Entry, EntryError, Kind, stamp
from audit.guard import holds_pan, masked
from audit.schema import Migration, SchemaError, bring_forward

__all__ = [
    "CATALOGUE",
    "EngineRows",
    "Entry",
    "EntryError",
    "Kind",
    "Migration",
    "OutboxDoor",
    "Rows",
    "RowsAwayError",
    "SchemaError",
    "add",
    "bring_forward",
    "count",
    "create_tables",
    "drop",
    "holds_pan",
    "masked",
    "open_database",
    "put",
    "rows",
    "stamp",
]

MESSAGE_MAX = 60_000
"""One SEQPACKET message; the kernel's default send buffer takes three of them."""
PULL_BYTES_MAX = 50_000
"""Bytes of rows in one reply: leaves room for keys and quotes within `MESSAGE_MAX`."""
PULL_ROWS_MAX = 256
"""Rows of one reply: what the log writes in one transaction."""
PULLERS_MAX = 4
"""The audit process, its successor during a restart, and a person looking."""
KEY_BYTES = 8
"""Of chance in a row's key, by which a row that is fetched twice is recognised. The moment stands before it,
so that the keys of one moment lie side by side in their index: keys of chance alone touched a page each."""
BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for another process that reads the file with a lock, e.g. a backup."""

METADATA = MetaData()
OUTBOX = Table(
    "outbox",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("key", String(32), nullable=False, unique=True),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice, so a gap in the log is a lost row
)


def open_database(path: Path) -> AsyncEngine:
    """The engine of one owner's database file: one connection, every transaction BEGIN IMMEDIATE, FULL sync.

    One connection because two writers on one SQLite file were measured to wait for seconds or to fail; FULL
    because an answer given to a caller must survive a power cut. Parameters stay out of every error text.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}", hide_parameters=True, pool_size=1, max_overflow=0, pool_timeout=30
    )
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    event.listen(engine.sync_engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _set_pragmas(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # our own BEGIN IMMEDIATE; the driver must not begin for us
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


async def create_tables(engine: AsyncEngine, *metadata: MetaData) -> None:
    """Creates the owner's tables and the outbox where they are missing."""
    async with engine.begin() as conn:
        for each in (METADATA, *metadata):
            await conn.run_sync(each.create_all)


def put(conn: Connection, *entries: Entry) -> None:
    """Puts entries into the outbox, in their order, inside the caller's transaction."""
    moment = f"{time.time_ns():016x}"
    chance = secrets.token_hex(KEY_BYTES * len(entries))  # one call: each lets another thread go first
    width = 2 * KEY_BYTES
    rows = [(moment + chance[width * number :][:width], _body(one)) for number, one in enumerate(entries)]
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql(_PUT_ALL, (_ENCODED(rows),))
    elif rows:
        conn.exec_driver_sql(_PUT_EACH, rows)


async def add(conn: AsyncConnection, entry: Entry) -> None:
    """`put` for an owner with an event loop."""
    await conn.run_sync(put, entry)


_PUT_EACH = "INSERT INTO outbox (key, body) VALUES (?, ?)"
_PUT_ALL = """
INSERT INTO outbox (key, body) SELECT row->>0, row->>1
FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS given(row, number) ORDER BY number
"""
_ENCODED = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _body(entry: Entry) -> str:
    return _ENCODED(entry.as_json())


def rows(conn: Connection, limit: int) -> list[dict[str, Any]]:
    """The oldest rows, at most `limit` and at most `PULL_BYTES_MAX`; they stay until `drop`."""
    found = conn.execute(select(OUTBOX).order_by(OUTBOX.c.seq).limit(limit)).all()
    told: list[dict[str, Any]] = []
    size = 0
    for row in found:
        size += 2 * len(row.body) + 100  # the body travels as a quoted string; 100 for key and number
        if told and size > PULL_BYTES_MAX:
            break
        told.append({"seq": row.seq, "key": row.key, "body": row.body})
    return told


def drop(conn: Connection, upto: int) -> int:
    """Deletes the rows up to and including `upto`; safe where rows are committed in their order."""
    return conn.execute(delete(OUTBOX).where(OUTBOX.c.seq <= upto)).rowcount


def count(conn: Connection) -> int:
    """How many rows wait to be fetched."""
    return int(conn.execute(select(func.count()).select_from(OUTBOX)).scalar_one())


class RowsAwayError(Exception):
    """The owner's database does not answer now; its rows are safe where they are."""

    code = "rows_away"
    retryable = True


class Rows(Protocol):
    """An owner's rows, reached in the owner's own way: its one writer stays the only one.

    Each raises RowsAwayError while the owner's database cannot be reached.
    """

    async def pull(self, limit: int) -> list[dict[str, Any]]:
        """See `rows`."""

    async def ack(self, upto: int) -> int:
        """See `drop`."""

    async def waiting(self) -> int:
        """See `count`."""


class EngineRows:
    """The rows of an owner with one connection of its own (`open_database`)."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def pull(self, limit: int) -> list[dict[str, Any]]:
        """See `rows`."""
        async with self._engine.begin() as conn:
            return await conn.run_sync(rows, limit)

    async def ack(self, upto: int) -> int:
        """See `drop`."""
        async with self._engine.begin() as conn:
            return await conn.run_sync(drop, upto)

    async def waiting(self) -> int:
        """See `count`."""
        async with self._engine.begin() as conn:
            return await conn.run_sync(count)


class OutboxDoor:
    """Serves the rows to the audit process over a Unix SEQPACKET socket; for our own user or root."""

    def __init__(self, owner: Rows, socket_path: Path) -> None:
        self._rows = owner
        self._path = socket_path
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens; from now on the audit process may fetch."""
        self._listener = listen(self._path)
        self._keep(self._accept(self._listener))

    async def stop(self) -> None:
        """Closes the socket and every connection; rows stay where they are."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._path.unlink(missing_ok=True)

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            conn, _ = await loop.sock_accept(listener)
            if not peer_is_ours(conn) or len(self._tasks) > PULLERS_MAX:
                conn.close()
                continue
            self._keep(self._serve(conn))

    async def _serve(self, conn: socket.socket) -> None:
        """Until the reader has gone; in mid-sentence too, for what it has not acknowledged stays."""
        loop = asyncio.get_running_loop()
        conn.setblocking(False)
        with conn, suppress(ConnectionError):
            while message := await _receive(conn):
                await loop.sock_sendall(conn, _encode(await self._answer(message)))

    async def _answer(self, message: bytes) -> dict[str, Any]:
        request = _decode(message)
        try:
            told = await self._done(request)
        except RowsAwayError as error:
            told = _refusal(error.code, "The owner's database does not answer.", retryable=error.retryable)
        return {"id": request.get("id"), **told}

    async def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"op": "pull", "limit": int(limit)} if limit > 0:
                return {"ok": True, "rows": await self._rows.pull(min(limit, PULL_ROWS_MAX))}
            case {"op": "ack", "upto": int(upto)}:
                return {"ok": True, "deleted": await self._rows.ack(upto)}
            case {"op": "ping"}:
                return {"ok": True, "waiting": await self._rows.waiting()}
        return _refusal("bad_request", "Say pull with a limit, ack with upto, or ping.", retryable=False)


def _refusal(code: str, sentence: str, *, retryable: bool) -> dict[str, Any]:
    return {"ok": False, "code": code, "sentence": sentence, "retryable": retryable}


def listen(path: Path) -> socket.socket:
    """A listening SEQPACKET socket, mode 0600; a socket file left by a killed process is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(
        socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    )
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    listener.listen(PULLERS_MAX)
    return listener


def peer_is_ours(conn: socket.socket) -> bool:
    """True when the other end runs as root or as our own user."""
    raw = conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return uid in {0, os.geteuid()}


async def _receive(conn: socket.socket) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(conn, MESSAGE_MAX + 1)
    except OSError:
        return b""


def _decode(message: bytes) -> dict[str, Any]:
    try:
        body = json.loads(message) if len(message) <= MESSAGE_MAX else None
    except (ValueError, RecursionError):
        body = None
    return body if isinstance(body, dict) else {}


def _encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
