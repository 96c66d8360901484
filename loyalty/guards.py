"""What the database itself enforces beyond its constraints: rows that are booked can never change.

The statements stand here, apart from the migration that runs them, because every later migration that makes
a table anew must run them again (SQLite drops a table's triggers with the table), and because a node looks
at each start whether they are there.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from loyalty.errors import LoyaltyError
from loyalty.tables import APPEND_ONLY

ACTS = ("update", "delete")
_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""


def trigger_names() -> frozenset[str]:
    """The names of all triggers, the same on both engines."""
    triggers = {f"{table}_refuses_{act}" for table in APPEND_ONLY for act in ACTS}
    return frozenset(triggers | {f"{table}_refuses_truncate" for table in APPEND_ONLY})


def statements(dialect: str) -> Iterator[str]:
    """What makes the triggers, on a database that has none of them."""
    if dialect == "postgresql":
        yield _FUNCTION
        for table in APPEND_ONLY:
            for act in (*ACTS, "truncate"):
                each = "STATEMENT" if act == "truncate" else "ROW"
                yield (
                    f"CREATE TRIGGER {table}_refuses_{act} BEFORE {act.upper()} ON {table} "
                    f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
                )
        return
    for table in APPEND_ONLY:
        for act in ACTS:
            yield (
                f"CREATE TRIGGER {table}_refuses_{act} BEFORE {act.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
            )


def check(connection: Connection) -> None:
    """Raises LoyaltyError when a trigger is missing or off: a ledger that can be rewritten is none."""
    wanted = trigger_names()
    if connection.dialect.name == "postgresql":
        found = connection.execute(text("SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')"))
    else:
        wanted = frozenset(name for name in wanted if not name.endswith("truncate"))
        found = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
    if not wanted <= {row[0] for row in found}:
        raise LoyaltyError(
            "database_unguarded",
            "The triggers that keep booked rows from being changed are missing. Restore the database.",
        )
