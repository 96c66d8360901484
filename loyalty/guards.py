"""What the database itself enforces beyond its constraints: rows that are booked can never change.

The statements stand here, apart from the migration that runs them, because every later migration that makes
a table anew must run them again (SQLite drops a table's triggers with the table), and because a node looks
at each start whether they are there.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, text

from loyalty.errors import LoyaltyError
from loyalty.tables import APPEND_ONLY

_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""
_TRIGGER = {
    "postgresql": "CREATE TRIGGER {table}_refuses_{act} BEFORE {upper} ON {table} "
    "FOR EACH {each} EXECUTE FUNCTION refuse_change()",
    "sqlite": "CREATE TRIGGER {table}_refuses_{act} BEFORE {upper} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END",
}
_FOUND = {
    "postgresql": "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')",
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
}
_EACH = {"truncate": "STATEMENT"}


def triggers(dialect: str, tables: Iterable[str]) -> Iterator[str]:
    """The statements that make the triggers of `tables`, which have none so far."""
    if dialect == "postgresql":
        yield _FUNCTION
    for table in tables:
        for act in _acts(dialect):
            yield _TRIGGER[dialect].format(
                table=table, act=act, upper=act.upper(), each=_EACH.get(act, "ROW")
            )


def _acts(dialect: str) -> tuple[str, ...]:
    return ("update", "delete", "truncate") if dialect == "postgresql" else ("update", "delete")


def check(connection: Connection) -> None:
    """Raises LoyaltyError when a trigger is missing or off: a ledger that can be rewritten is none."""
    dialect = connection.dialect.name
    wanted = {f"{table}_refuses_{act}" for table in APPEND_ONLY for act in _acts(dialect)}
    found = connection.execute(text(_FOUND[dialect]))
    if not wanted <= {row[0] for row in found}:
        raise LoyaltyError(
            "database_unguarded",
            "The triggers that keep booked rows from being changed are missing. Restore the database.",
        )
