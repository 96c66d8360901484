"""What the planners are told of our tables, because nobody analyses an empty database.

Without statistics SQLite takes the beginning of any index for ten rows and each value of a list for some:
it would rather read every row of a tenant than look up sixty of them by the index that was made for it. So it
is told once that a tenant and a programme have very many rows, and whatever else an index names has few
(sqlite_stat1, sqlite.org/fileformat2.html §2.6.3). A real ANALYZE may replace the figures at any time;

PostgreSQL keeps its own, and has none of a young table either. Its plan of a lookup by key read all journals
of a tenant for each key, 56 ms a group after 10,000 of them, until autovacuum looked in after a minute. So
the writer analyses the ledger itself while it is young (`Youth`).
"""

from collections.abc import Iterable

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from loyalty.roles import WRITER
from loyalty.tables import ACCOUNT, ENTRY, HOLD, HOLD_LOT, JOURNAL, LOT, LOT_USE, TENANT_TABLES

log = structlog.get_logger(__name__)

MANY = 1_000_000
"""Rows of a tenant, or of a programme."""
FEW = 10
"""Rows with one further value."""
WIDE = frozenset({"tenant", "programme"})
FIRST_LOOK = 4
"""Transactions after which the ledger is analysed first; then after so many times as many."""
OF_AGE = 20_000
"""Rows from which on autovacuum looks in often enough."""
GROWN = 16 * 2**20
"""Bytes from which on a table is left to autovacuum whatever is known of it, as after a restore: the nodes'
line would wait for seconds. To analyse less takes some 10 ms."""
LEDGER_TABLES = [table.name for table in (ACCOUNT, JOURNAL, ENTRY, LOT, LOT_USE, HOLD, HOLD_LOT)]


def tell(connection: Connection) -> None:
    """Figures for each index that has none; on PostgreSQL nothing."""
    if connection.dialect.name != "sqlite":
        return
    connection.exec_driver_sql(f"ANALYZE {TENANT_TABLES[0].name}")  # makes sqlite_stat1 where it is missing
    known = {tuple(row) for row in connection.exec_driver_sql("SELECT tbl, idx FROM sqlite_stat1")}
    rows = [row for table in TENANT_TABLES for row in _rows(connection, table.name)]
    new = [row for row in rows if (row["tbl"], row["idx"]) not in known]
    if new:
        connection.execute(text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"), new)
        connection.exec_driver_sql("ANALYZE sqlite_schema")  # this connection reads them again; others will


class Youth:
    """Analyses PostgreSQL's ledger after 4, 16, 64 … transactions of one writer, until it is of age."""

    def __init__(self) -> None:
        self._transactions = 0
        self._next = FIRST_LOOK

    def __call__(self, connection: Connection) -> None:
        """To be called at the beginning of each transaction that books."""
        self._transactions += 1
        if self._transactions < self._next:
            return
        self._next *= FIRST_LOOK
        if connection.dialect.name != "postgresql":
            return
        young = connection.execute(_YOUNG, {"tables": LEDGER_TABLES, "rows": OF_AGE, "bytes": GROWN})
        if names := ", ".join(young.scalars()):
            try:
                with connection.begin_nested():  # points are booked whatever becomes of this
                    _analyse(connection, names)
            except SQLAlchemyError as error:
                log.warning("ledger.not_analysed", kind=type(error).__name__)


def _analyse(connection: Connection, names: str) -> None:
    connection.execute(_AS_OWNER)  # whoever owns a table may analyse it; the writer's role does not
    connection.exec_driver_sql(f"ANALYZE (SKIP_LOCKED) {names}")
    connection.execute(_AS_WRITER, {"role": WRITER})


_YOUNG = text(
    # an empty table would be told to have no rows, which is worse than to be told nothing
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(:tables) "
    "AND reltuples < :rows AND pg_relation_size(oid) BETWEEN 1 AND :bytes"
)
_AS_OWNER = text("SELECT set_config('role', 'none', true)")
_AS_WRITER = text("SELECT set_config('role', :role, true)")


def _rows(connection: Connection, table: str) -> Iterable[dict[str, str]]:
    without_rowid = connection.exec_driver_sql(f"PRAGMA index_info({table})").first() is not None
    for index in connection.exec_driver_sql(f"PRAGMA index_list({table})").all():
        columns = [row.name for row in connection.exec_driver_sql(f"PRAGMA index_info({index.name})")]
        # the primary key of a table without rowid is the table itself
        name = table if index.origin == "pk" and without_rowid else index.name
        yield {"tbl": table, "idx": name, "stat": stat(columns, unique=bool(index.unique))}


def stat(columns: Iterable[str], *, unique: bool) -> str:
    """Rows of the table, then rows per value of one, two … columns of an index."""
    figures, wide = [MANY], True
    for column in columns:
        wide = wide and column in WIDE
        figures.append(MANY if wide else FEW)
    if unique and not wide:
        figures[-1] = 1
    return " ".join(map(str, figures))
