"""What SQLite's planner is told of our tables, because nobody analyses an empty database.

Without statistics SQLite takes the beginning of any index for ten rows and each value of a list for some:
it would rather read every row of a tenant than look up sixty of them by the index that was made for it. So it
is told once that a tenant and a programme have very many rows, and whatever else an index names has few
(sqlite_stat1, sqlite.org/fileformat2.html §2.6.3). A real ANALYZE may replace the figures at any time;
PostgreSQL keeps its own.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, text

from loyalty.tables import TENANT_TABLES

MANY = 1_000_000
"""Rows of a tenant, or of a programme."""
FEW = 10
"""Rows with one further value."""
WIDE = frozenset({"tenant", "programme"})


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
