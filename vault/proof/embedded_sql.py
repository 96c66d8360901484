"""vault.db without a thread: the driver's interface over `sqlite3`, with a place to die at every statement.

`aiosqlite` hands statements to a thread, whose turns no seed decides. Here a statement runs where it is
awaited. The file lies where temporary files lie and is not synced: a kill is the end of a process, and what
a process has committed survives it without a sync; a power cut is not simulated.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from vault.proof.kill_points import Killed, Points

PRAGMAS = ("journal_mode=WAL", "synchronous=OFF", "foreign_keys=ON")
"""As in production, but for the sync."""
POOL_TIMEOUT_S = 30


class Cursor:
    """One cursor; rows are there as soon as the statement has run."""

    def __init__(self, raw: sqlite3.Connection, points: Points) -> None:
        self._cursor = raw.cursor()
        self._points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Any = ()) -> None:
        """Runs one statement, unless the process dies before it."""
        await self._points.pass_by("statement")
        self._cursor.execute(sql, parameters)

    async def executemany(self, sql: str, parameters: Any) -> None:
        """Runs one statement for many rows."""
        await self._points.pass_by("statement")
        self._cursor.executemany(sql, parameters)

    async def fetchall(self) -> list[Any]:
        """Every row."""
        return self._cursor.fetchall()

    async def close(self) -> None:
        """Nothing is kept."""
        if not self._points.dead:
            self._cursor.close()


class Connection:
    """One connection. After the process has died nothing is sent to it any more."""

    def __init__(self, path: Path, points: Points) -> None:
        self._connection = self._conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            self._conn.execute(f"PRAGMA {pragma}")
        self._points = points

    @property
    def isolation_level(self) -> str | None:
        """None: transactions are begun by us."""
        return self._conn.isolation_level

    def cursor(self) -> Cursor:
        """A new cursor."""
        if self._points.dead:
            raise Killed
        return Cursor(self._conn, self._points)

    async def create_function(self, *arguments: Any, **named: Any) -> None:
        """A function of the dialect's."""
        self._conn.create_function(*arguments, **named)

    async def commit(self) -> None:
        """Commits; the process may die before it and after it."""
        await self._points.pass_by("before commit")
        self._conn.commit()
        await self._points.pass_by("after commit")

    async def rollback(self) -> None:
        """Takes back what is not committed; the death of the process does the same."""
        if not self._points.dead:
            self._conn.rollback()

    async def close(self) -> None:
        """Lets the file go."""
        self.stop()

    def stop(self) -> None:
        """As `close`, at once: what is not committed is gone."""
        self._conn.close()


class Database:
    """One engine for a whole worker, whose file changes: statements are compiled once, not once a seed."""

    def __init__(self) -> None:
        self._open: Callable[[], Connection] | None = None
        self._held: list[Connection] = []
        self.engine: AsyncEngine = create_async_engine(
            "sqlite+aiosqlite:///simulated",
            connect_args={"async_creator_fn": self._connect},
            hide_parameters=True,
            pool_size=1,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_S,
        )
        event.listen(self.engine.sync_engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))

    def use(self, path: Path, points: Points) -> None:
        """From now on the engine has this file open, as a process that has just begun."""
        self.release()
        self._open = lambda: Connection(path, points)

    def release(self) -> None:
        """The process that had the file open is gone."""
        for connection in self._held:
            connection.stop()
        self._held.clear()
        self.engine.sync_engine.dispose(close=False)

    async def _connect(self, *_: Any, **__: Any) -> Connection:
        if self._open is None:
            raise RuntimeError("no file is in use")
        connection = self._open()
        self._held.append(connection)
        return connection
