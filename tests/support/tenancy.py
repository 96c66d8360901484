"""Looks at every statement of every test: one over a table with tenants must name the tenant.

On SQLite nothing else keeps tenants apart. A statement that is meant for all of them, a job of the ledger's
own, says so: `.execution_options(all_tenants=True)`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import (
    CompoundSelect,
    Connection,
    Delete,
    Engine,
    Insert,
    Select,
    Table,
    TextClause,
    Update,
    event,
)
from sqlalchemy.sql import ClauseElement, visitors
from sqlalchemy.sql.elements import BinaryExpression
from sqlalchemy.sql.schema import Column
from sqlalchemy.sql.selectable import Alias

from loyalty.tables import METADATA

_NAMED = re.compile(rf"(?:from|join|into|update)\s+(?:{'|'.join(METADATA.tables)})\b", re.IGNORECASE)


class NoTenantError(AssertionError):
    """A statement that would show or change rows of any tenant."""


def check(statement: ClauseElement, rows: list[Mapping[str, Any]]) -> None:
    """Raises NoTenantError for a statement without a tenant; `rows` are the parameters of an insert."""
    if statement.get_execution_options().get("all_tenants"):
        return
    if isinstance(statement, TextClause):
        if _NAMED.search(statement.text) and "tenant" not in statement.text:
            raise NoTenantError(statement.text)
    elif isinstance(statement, Insert):
        if _ours(statement.table) and not _says_tenant(statement, rows):
            raise NoTenantError(f"insert into {statement.table}")
    elif isinstance(statement, CompoundSelect):
        for part in statement.selects:
            check(part, rows)
    elif isinstance(statement, Select | Update | Delete) and (
        bare := tables_of(statement) - kept_to_one(statement)
    ):
        names = sorted(str(getattr(one, "name", one)) for one in bare)
        raise NoTenantError(f"{names} in: {statement}")


def tables_of(statement: ClauseElement) -> set[Any]:
    """The tables of ours, or their aliases, that a statement reads or writes."""
    found = {one for one in visitors.iterate(statement) if isinstance(one, Table | Alias)}
    found -= {one.element for one in found if isinstance(one, Alias)}
    found |= {column.table for column in _columns(statement)}
    if isinstance(statement, Update | Delete):
        found.add(statement.table)
    return {one for one in found if _ours(one)}


def kept_to_one(statement: ClauseElement) -> set[Any]:
    """Those whose column `tenant` stands in a comparison."""
    comparisons = [one for one in visitors.iterate(statement) if isinstance(one, BinaryExpression)]
    columns = [column for one in comparisons for column in _columns(one)]
    return {column.table for column in columns if column.name == "tenant"}


def _columns(clause: ClauseElement) -> list[Column[Any]]:
    return [
        one
        for one in visitors.iterate(clause)
        if getattr(one, "table", None) is not None and hasattr(one, "name")
    ]


def _ours(table: Any) -> bool:
    while isinstance(table, Alias):
        table = table.element
    return isinstance(table, Table) and table.metadata is METADATA


def _says_tenant(statement: Insert, rows: list[Mapping[str, Any]]) -> bool:
    if statement.select is not None:
        return "tenant" in {str(getattr(name, "name", name)) for name in statement._select_names or ()}
    given = {getattr(key, "name", key) for key in statement._values or ()}
    many = [values for group in statement._multi_values or () for values in group]
    said = [
        "tenant" in {getattr(key, "name", key) for key in values}
        for values in many
        if isinstance(values, dict)
    ]
    return (
        "tenant" in given or bool(said and all(said)) or bool(rows and all("tenant" in row for row in rows))
    )


def _look(_connection: Connection, clause: Any, many: Any, one: Any, _options: Any) -> None:
    if isinstance(clause, ClauseElement):
        check(clause, [*many, one] if one else list(many))


@pytest.fixture(scope="session", autouse=True)
def _every_statement_names_its_tenant() -> Iterator[None]:
    event.listen(Engine, "before_execute", _look)
    yield
    event.remove(Engine, "before_execute", _look)
