"""How the audit process empties the outbox of the loyalty database: through its one writer.

A second writer on one SQLite file was measured to wait for seconds. On PostgreSQL two nodes share the table,
and one of them, the one that holds a session lock, feeds its own log; when it goes, its connection and the
lock go with it, and the other's next `pull` takes over. The rows carry keys, so that one that was fetched
and not yet acknowledged is recognised by the log that had it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from audit import outbox
from loyalty.errors import LoyaltyError
from loyalty.writer import Writer

T = TypeVar("T")
LOCK = 0x64726169
"""Number of the session lock on PostgreSQL ("drai")."""
_LEADS = "loyalty_drains"


class LoyaltyRows:
    """The rows of one node's loyalty database, for its `OutboxDoor`."""

    def __init__(self, writer: Writer[Any, Any]) -> None:
        self._writer = writer

    async def pull(self, limit: int) -> list[dict[str, Any]]:
        """The oldest rows; none on a node whose log is not the one that gets them."""
        return await self._led(lambda connection: outbox.rows(connection, limit), [])

    async def ack(self, upto: int) -> int:
        """Deletes what this node's log has; rows are committed in the order of their numbers."""
        return await self._led(lambda connection: outbox.drop(connection, upto), 0)

    async def waiting(self) -> int:
        """How many rows wait to be fetched, by whichever node."""
        return await self._work(outbox.count)

    async def _led(self, work: Callable[[Connection], T], otherwise: T) -> T:
        return await self._work(lambda conn: work(conn) if _leads(conn) else otherwise)

    async def _work(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._writer.work(work)
        except LoyaltyError as error:
            if not error.retryable:
                raise
            raise outbox.RowsAwayError from None


def _leads(connection: Connection) -> bool:
    """True on SQLite, and where this connection has the lock; asked once per connection that has it."""
    if connection.dialect.name != "postgresql":
        return True
    if not connection.info.get(_LEADS):
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar()
        connection.info[_LEADS] = bool(taken)
    return bool(connection.info[_LEADS])
