"""SQL for many rows at once, on both engines.

SQLite's driver repeats a statement row by row, in this process. PostgreSQL gets all rows as one JSON array,
because each repetition would be a message of its own, and because the driver takes ten times as long for an
array per column. Values are what JSON has and every driver takes: text, whole numbers, None; dates as ISO
8601. Running each through the type processing of SQLAlchemy was a third of a group's CPU, and would change
nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Date,
    Executable,
    FromClause,
    Integer,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

KEY = ("tenant", "programme", "id")
_CASTS: Mapping[type[TypeEngine[Any]], str] = MappingProxyType(
    {String: "", Text: "", BigInteger: "::bigint", Integer: "::integer", Date: "::date"}
)
_ALL = "jsonb_array_elements(%s::jsonb) AS given"

Values = tuple[str | int | None, ...]


class Bulk:
    """One statement that changes many rows."""

    def __init__(self, each: str, together: str) -> None:
        """`each`: SQLite's, for one row; `together`: PostgreSQL's, for all of `given`."""
        self.each = each
        self.together = together


def run(connection: Connection, changes: Sequence[tuple[Bulk, Sequence[Values]]]) -> list[int]:
    """How many rows each change made, in their order; a change without rows is none.

    PostgreSQL gets them as one statement: a message and its answer cost as much as writing ten rows. Its
    foreign keys are looked at when all is done.
    """
    if connection.dialect.name == "sqlite":
        return [
            connection.exec_driver_sql(bulk.each, list(rows)).rowcount if rows else 0
            for bulk, rows in changes
        ]
    busy = [(number, bulk, rows) for number, (bulk, rows) in enumerate(changes) if rows]
    if not busy:
        return [0] * len(changes)
    parts = (f"done{number} AS ({bulk.together} RETURNING 1)" for number, bulk, _ in busy)
    counts = (f"(SELECT count(*) FROM done{number})" for number, _, _ in busy)  # noqa: S608 - our names
    statement = f"WITH {', '.join(parts)} SELECT {', '.join(counts)}"
    found = connection.exec_driver_sql(statement, tuple(_encoded(rows) for _, _, rows in busy)).one()
    made = dict(zip((number for number, _, _ in busy), found, strict=True))
    return [made.get(number, 0) for number in range(len(changes))]


def inserting(table: Table, *, new_only: bool = False) -> Bulk:
    """Takes rows in the order of the table's columns; `new_only` passes over those that are there already."""
    names = ", ".join(column.name for column in table.columns)
    values = ", ".join(_brought(number, column) for number, column in enumerate(table.columns))
    marks = ", ".join("?" * len(table.columns))
    passing = " ON CONFLICT DO NOTHING" if new_only else ""
    return Bulk(
        f"INSERT INTO {table.name} ({names}) VALUES ({marks}){passing}",  # noqa: S608 - our names
        f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {_ALL}{passing}",  # noqa: S608 - our names
    )


def updating(table: Table, *names: str) -> Bulk:
    """Takes tenant, programme, id, then the new values of the columns `names`."""
    numbered = list(enumerate(names, start=len(KEY)))
    same = " AND ".join(f"{name} = ?{number}" for number, name in enumerate(KEY, start=1))
    marks = ", ".join(f"{name} = ?{number + 1}" for number, name in numbered)
    values = ", ".join(f"{name} = {_brought(number, table.c[name])}" for number, name in numbered)
    given = " AND ".join(f"{table.name}.{name} = given.value->>{number}" for number, name in enumerate(KEY))
    return Bulk(
        f"UPDATE {table.name} SET {marks} WHERE {same}",  # noqa: S608 - our names
        f"UPDATE {table.name} SET {values} FROM {_ALL} WHERE {given}",  # noqa: S608 - our names
    )


def _brought(number: int, column: Column[Any]) -> str:
    """The value for `column` of a given row."""
    return f"(given.value->>{number}){_CASTS[type(column.type)]}"


class Lookup:
    """One statement that finds many rows, each asked for by its own key."""

    def __init__(self, on: Mapping[str, Executable]) -> None:
        """`on`: the statement of each engine; its parameter `asked` is a JSON array of keys."""
        self._on = on

    def rows(self, connection: Connection, asked: Sequence[Values], **more: object) -> Sequence[Any]:
        """What is found for the keys `asked`; without any, nothing is asked. `more`: other parameters."""
        if not asked:
            return ()
        statement = self._on[connection.dialect.name]
        return connection.execute(statement, {"asked": _encoded(asked), **more}).all()


def finding(
    table: Table,
    key: Sequence[str],
    *columns: ColumnElement[Any],
    finish: Callable[[Select[Any]], Select[Any]] = lambda found: found,
) -> Lookup:
    """Finds the columns `key`, then `columns`; `finish` adds joins, conditions and order."""
    keys = [table.c[name] for name in key]
    same = [column == literal_column(f"(given.value ->> {number})") for number, column in enumerate(keys)]
    return Lookup(
        {
            name: finish(select(*keys, *columns).select_from(given).join(table, and_(*same)))
            for name, given in _GIVEN.items()
        }
    )


_ASKED = bindparam("asked", type_=Text)
_GIVEN: Mapping[str, FromClause] = MappingProxyType(
    {
        "sqlite": func.json_each(_ASKED).table_valued("value", name="given"),
        "postgresql": func.jsonb_array_elements(cast(_ASKED, JSONB)).table_valued("value", name="given"),
    }
)
_encoded = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
