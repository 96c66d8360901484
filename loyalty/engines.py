"""The engines of the loyalty database: one that writes, one that reads, each with its dialect's settings.

SQLite (one node): WAL and `synchronous=FULL`; the driver's own transactions are switched off, because its
deferred BEGIN fails at once under a second writer ("database is locked", no waiting). PostgreSQL (two nodes):
psycopg 3, an optional package that is loaded only when the setting names it; the password comes from
PGPASSFILE, never from the URL.
"""

import contextlib
import importlib.util
import os
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from loyalty import roles
from loyalty.errors import LoyaltyError

READERS = 4
"""Connections and threads that read: a balance takes a millisecond; a report must not keep it waiting."""
BUSY_TIMEOUT_MS = 5_000
"""How long SQLite waits for another process that holds the file."""
MIGRATION_WAIT_S = 120
"""How long a node that starts waits for another that is migrating."""
POSTGRES = "postgresql+psycopg"
LINE_WAIT_S = 5
"""How long a group waits for the other node's writer; then its callers hear `database_away`."""
IDLE_S = 10
"""A node that stands still in mid-transaction (SIGSTOP, a dying machine) loses its turn after this."""
READ_MAX_S = 30
"""The longest report; a reader's snapshot keeps the server from tidying up."""
_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
"""An answer given to a caller survives a crash of the server; a stronger setting of the server stays."""
_BY_KEY = tuple(f"SET enable_{way} = off" for way in ("seqscan", "hashjoin", "mergejoin"))
"""The writer looks rows up by their keys. A plan made while a table is small would read all of it, and is
kept while it grows: an import into an empty database would become slower with every row."""
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
        wire = _wire("writer")
        engine = create_engine(url, hide_parameters=True, pool_size=1, max_overflow=0, connect_args=wire)
        event.listen(engine, "connect", _postgres_writer)
        return engine
    _private_file(url)
    engine = create_engine(url, hide_parameters=True, pool_size=1, max_overflow=0)
    event.listen(engine, "connect", _sqlite_writer)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reading(url: URL) -> Engine:
    """The engine of the readers: every transaction sees one moment and can change nothing."""
    if url.drivername == POSTGRES:
        engine = create_engine(
            url,
            hide_parameters=True,
            pool_size=READERS,
            max_overflow=0,
            isolation_level="REPEATABLE READ",
            connect_args=_wire("reader"),
        )
        event.listen(engine, "connect", _postgres_reader)
        return engine
    engine = create_engine(url, hide_parameters=True, pool_size=READERS, max_overflow=0)
    event.listen(engine, "connect", _sqlite_reader)
    event.listen(engine, "begin", _begin)
    return engine


def migrating(url: URL) -> Engine:
    """The engine of a migration: references are looked at when all is done, so that tables can be remade."""
    if url.drivername == POSTGRES:
        return create_engine(url, hide_parameters=True, poolclass=NullPool, connect_args=_wire("migration"))
    _private_file(url)
    engine = create_engine(url, hide_parameters=True, poolclass=NullPool)
    event.listen(engine, "connect", _sqlite_migration)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _wire(part: str) -> dict[str, object]:
    return {"application_name": f"pay-ivr {part}", "connect_timeout": CONNECT_TIMEOUT_S, **KEEPALIVES}


def _private_file(url: URL) -> None:
    """The file is there, and nobody else's to read.

    One that exists is not opened here: closing it again would drop every lock that SQLite holds on it in this
    process (fcntl(2)), and another process would take the file for unused (sqlite.org/howtocorrupt §2.2).
    """
    if url.database is not None:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(url.database, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def _postgres_writer(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    _say(connection, f"SET ROLE {roles.WRITER}", f"SET lock_timeout = '{LINE_WAIT_S}s'",
         f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'", _DURABLE, *_BY_KEY)  # fmt: skip


def _postgres_reader(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    _say(connection, f"SET ROLE {roles.RUNTIME}", f"SET statement_timeout = '{READ_MAX_S}s'")


def _say(connection: DBAPIConnection, *statements: str) -> None:
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()
    connection.commit()


def _sqlite_writer(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # secure_delete: what is deleted is overwritten, so that an erased member's key is gone from the file
    _set_up(connection, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")


def _sqlite_migration(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    _set_up(connection, "journal_mode=WAL", "foreign_keys=OFF", f"busy_timeout={MIGRATION_WAIT_S * 1000}")


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
