"""The loyalty database: opened once per process, read by a few threads, written by one.

Everybody reads and writes through functions that get a `TenantConn` and run in a thread: no await inside a
database transaction, and a caller who is cancelled cannot leave one open. The ledger's commands go in groups
through the same writer (`database.ledger`).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from loyalty import engines, estimates, guards, migrations, roles
from loyalty.ledger import Ledger, Outcome, book
from loyalty.ledger.orders import Order
from loyalty.scrub import scrub
from loyalty.tenancy import TenantConn
from loyalty.writer import Writer, told

T = TypeVar("T")


class Database:
    """One node's loyalty database; `open`, then `close`."""

    def __init__(self, writing: Engine, reading: Engine) -> None:
        """Use `open`."""
        self.dialect = writing.dialect.name
        self._writing = writing
        self._reading = reading
        self._readers = ThreadPoolExecutor(engines.READERS, "loyalty-reader")
        self.writer: Writer[Order, Outcome] = Writer(writing, book, self._begin_booking)
        self._youth = estimates.Youth()
        self.ledger = Ledger(self)

    @classmethod
    def open(cls, url_or_path: str | Path) -> "Database":
        """The database with today's tables, its guards checked; LoyaltyError says why it is unusable."""
        url = engines.url_of(url_or_path)
        migrations.bring_forward(url)
        writing = engines.writing(url)
        try:
            with writing.begin() as connection:
                guards.check(connection)
                roles.check(connection)
                estimates.tell(connection)
        except BaseException:
            writing.dispose()
            raise
        return cls(writing, engines.reading(url))

    async def read(self, tenant: str, work: Callable[[TenantConn], T]) -> T:
        """What `work` returns; it sees one moment of the database and can change nothing.

        LoyaltyError `database_away` (retryable): no answer. `work` runs again where only its connection was
        lost, as all of them are when a server has been restarted.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, tenant, work)

    async def write(self, tenant: str, work: Callable[[TenantConn], T]) -> T:
        """What `work` returns, in one database transaction in the writer thread; committed by then."""

        def alone(connection: Connection) -> T:
            roles.begin_writing(connection, tenant)
            return work(TenantConn(connection, tenant))

        return await self.writer.work(alone)

    async def scrub(self, *, whole: bool = False) -> bool:
        """True when no older copy of a deleted row is left in the database's files (`loyalty/scrub.py`)."""
        try:
            return await asyncio.to_thread(scrub, self._writing.url, whole=whole)
        except SQLAlchemyError as error:
            raise told(error) from None

    async def close(self) -> None:
        """Does what is queued, then closes every connection."""
        await asyncio.to_thread(self.writer.close)
        self._readers.shutdown()
        self._writing.dispose()
        self._reading.dispose()

    def _begin_booking(self, connection: Connection) -> None:
        roles.begin_writing(connection)
        self._youth(connection)

    def _read(self, tenant: str, work: Callable[[TenantConn], T], again: bool = True) -> T:
        try:
            with self._reading.begin() as connection:
                roles.begin_reading(connection, tenant)
                return work(TenantConn(connection, tenant))
        except SQLAlchemyError as error:
            if again and isinstance(error, DBAPIError) and error.connection_invalidated:
                return self._read(tenant, work, again=False)
            raise told(error) from None
