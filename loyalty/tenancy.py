"""What loyalty code holds instead of a connection: one tenant's view of a database transaction.

On PostgreSQL the row policies see the same tenant (`app.tenant`, set for this transaction alone). On SQLite
there are none, so that every statement names its tenant itself; a hook of the tests fails on one that does
not (`tests/support/tenancy.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult
from sqlalchemy.sql import Executable

from audit.outbox import Entry, put
from loyalty import roles

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class TenantConn:
    """One database transaction of one tenant; valid only inside the function that it is given to."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self.tenant = tenant
        self._connection = connection

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._connection.dialect.name

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Runs one statement; a list of parameters runs it once for each (executemany)."""
        return self._connection.execute(statement, parameters)

    def audit(self, entry: Entry) -> None:
        """Puts an entry into the outbox, in this transaction."""
        put(self._connection, entry)

    def lend(self, work: Callable[[Connection], T]) -> T:
        """What the ledger's booking answers within this transaction, with the writer's rights meanwhile.

        Its statements name the tenants themselves. After an error nothing is given back: the transaction is
        undone as a whole, and the rights with it.
        """
        roles.take(self._connection, roles.WRITER)
        result = work(self._connection)
        roles.take(self._connection, roles.RUNTIME)
        return result
