"""The engines of the loyalty database: one that writes, one that reads, each with its dialect's settings.

SQLite (one node): WAL and `synchronous=FULL`; the driver's own transactions are switched off, because its
deferred BEGIN fails at once under a second writer ("database is locked", no waiting). PostgreSQL (two nodes):
psycopg 3, an optional package that is loaded only when the setting names it; the password comes from
PGPASSFILE, never from the URL.
"""

import importlib.util
import os
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from loyalty.errors import LoyaltyError

READERS = 4
"""Connections and threads that read: a balance takes a millisecond; a report must not keep it waiting."""
BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for another process that holds the file."""
POSTGRES = "postgresql+psycopg"
CONNECT_TIMEOUT_S = 5
KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A server whose machine has vanished is noticed within 25 s, not after the kernel's two hours."""


def url_of(url_or_path: str | Path) -> URL:
    """The database's URL: a path is an SQLite file, anything with `://` must be `postgresql+psycopg://`."""
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return URL.create("sqlite+pysqlite", database=str(url_or_path))
    try:
        url = make_url(url_or_path)
    except ArgumentError:
        raise LoyaltyError("database_url", "The database is a path, or postgresql+psycopg://….") from None
    if url.drivername != POSTGRES:
        raise LoyaltyError("database_url", f"The database is a path, or {POSTGRES}://….")
    if url.password is not None:
        raise LoyaltyError(
            "database_url", "A password does not belong in the URL; PGPASSFILE names its file."
        )
    if importlib.util.find_spec("psycopg") is None:
        raise LoyaltyError("database_driver", "PostgreSQL needs the extra package: pay-ivr[postgres].")
    return url


def writing(url: URL) -> Engine:
    """The engine of the writer thread: one connection."""
    if url.drivername == POSTGRES:
        return create_engine(
            url, hide_parameters=True, pool_size=1, max_overflow=0, connect_args=_wire("writer")
        )
    _private_file(url)
    engine = create_engine(url, hide_parameters=True, pool_size=1, max_overflow=0)
    event.listen(engine, "connect", _sqlite_writer)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reading(url: URL) -> Engine:
    """The engine of the readers: every transaction sees one moment and can change nothing."""
    if url.drivername == POSTGRES:
        return create_engine(
            url,
            hide_parameters=True,
            pool_size=READERS,
            max_overflow=0,
            isolation_level="REPEATABLE READ",
            connect_args=_wire("reader"),
        )
    engine = create_engine(url, hide_parameters=True, pool_size=READERS, max_overflow=0)
    event.listen(engine, "connect", _sqlite_reader)
    event.listen(engine, "begin", _begin)
    return engine


def _wire(part: str) -> dict[str, object]:
    return {"application_name": f"pay-ivr {part}", "connect_timeout": CONNECT_TIMEOUT_S, **KEEPALIVES}


def _private_file(url: URL) -> None:
    """The file is there, and nobody else's to read."""
    if url.database is not None:
        os.close(os.open(url.database, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _sqlite_writer(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # secure_delete: what is deleted is overwritten, so that an erased member's key is gone from the file
    _set_up(connection, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")


def _sqlite_reader(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    _set_up(connection, "query_only=ON")


def _set_up(connection: DBAPIConnection, *pragmas: str) -> None:
    connection.isolation_level = None  # our own BEGIN; the driver must not begin for us
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", *pragmas):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
