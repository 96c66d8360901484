"""The loyalty database: opened once per process, read by a few threads, written by one.

Everybody reads and writes through functions that get a `TenantConn` and run in a thread: no await inside a
database transaction, and a caller who is cancelled cannot leave one open. The ledger's commands go in groups
through the same writer (`database.ledger`).
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine

from audit import outbox
from loyalty import engines, guards
from loyalty.tables import METADATA
from loyalty.tenancy import TenantConn
from loyalty.writer import Writer

if TYPE_CHECKING:
    from loyalty.ledger import Ledger

T = TypeVar("T")


def _book(connection: Connection, commands: Sequence[Any]) -> Sequence[Any]:
    from loyalty.ledger import book

    return book(connection, commands)


class Database:
    """One node's loyalty database; `open`, then `close`."""

    def __init__(self, writing: Engine, reading: Engine) -> None:
        """Use `open`."""
        self.dialect = writing.dialect.name
        self._writing = writing
        self._reading = reading
        self._readers = ThreadPoolExecutor(engines.READERS, "loyalty-reader")
        self.writer: Writer[Any, Any] = Writer(writing, _book)

    @classmethod
    def open(cls, url_or_path: str | Path) -> "Database":
        """The database with today's tables, its guards checked; LoyaltyError says why it is unusable."""
        url = engines.url_of(url_or_path)
        writing = engines.writing(url)
        with writing.begin() as connection:
            if not outbox.METADATA.tables.keys() <= set(connection.dialect.get_table_names(connection)):
                outbox.METADATA.create_all(connection)
                METADATA.create_all(connection)
                for statement in guards.statements(writing.dialect.name):
                    connection.exec_driver_sql(statement)
            guards.check(connection)
        return cls(writing, engines.reading(url))

    @cached_property
    def ledger(self) -> "Ledger":
        """The points ledger; its commands share the writer thread."""
        from loyalty.ledger import Ledger

        return Ledger(self.writer, self.read)

    async def read(self, tenant: str, work: Callable[[TenantConn], T]) -> T:
        """What `work` returns; it sees one moment of the database and can change nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, tenant, work)

    async def write(self, tenant: str, work: Callable[[TenantConn], T]) -> T:
        """What `work` returns, in one database transaction in the writer thread; committed by then."""
        return await self.writer.work(lambda connection: work(TenantConn(connection, tenant)))

    async def close(self) -> None:
        """Does what is queued, then closes every connection."""
        await asyncio.to_thread(self.writer.close)
        self._readers.shutdown()
        self._writing.dispose()
        self._reading.dispose()

    def _read(self, tenant: str, work: Callable[[TenantConn], T]) -> T:
        with self._reading.begin() as connection:
            return work(TenantConn(connection, tenant))
