"""Who may do what on PostgreSQL (decision 0026); nothing of it exists on SQLite.

`loyalty_runtime` sees the rows of the tenant that the database transaction names, and none without one; it
reads the ledger and changes members and redemptions. `loyalty_writer` books for all tenants, and may change
nothing that is booked. The login owns the tables, inherits neither role (NOINHERIT), and is used as itself
only while it migrates, and for the statement by which a young ledger is analysed (`loyalty/estimates.py`); a
migration that must see rows says `SET LOCAL ROLE loyalty_writer` first.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from loyalty.errors import LoyaltyError

RUNTIME = "loyalty_runtime"
WRITER = "loyalty_writer"
LINE = 0x6C696E65
"""Number of the transaction lock that every writing transaction takes first ("line"): the nodes' writers go
one after the other, so that the outbox is committed in the order of its numbers and no node's `ack` can pass
over a row of the other. A group of commands takes the lock once."""
_TENANT = "(SELECT nullif(current_setting('app.tenant', true), ''))"
"""After a LOCAL setting has ended it reads '', not null; the sub-select is evaluated once per statement."""


def begin_writing(connection: Connection, tenant: str | None = None) -> None:
    """First statement of a writing transaction: the line, and with a tenant the role that sees its rows."""
    if connection.dialect.name != "postgresql":
        return
    if tenant is None:
        connection.execute(_TO_BOOK, {"line": LINE})
    else:
        connection.execute(_TO_WRITE, {"line": LINE, "role": RUNTIME, "tenant": tenant})


def take(connection: Connection, role: str) -> None:
    """The rest of this transaction has the rights of `role`, which the login may take."""
    if connection.dialect.name == "postgresql":
        connection.execute(_TO_TAKE, {"role": role})


def begin_reading(connection: Connection, tenant: str) -> None:
    """First statement of a reading transaction: one tenant's rows, and nothing can be changed."""
    if connection.dialect.name == "postgresql":
        connection.execute(_TO_READ, {"tenant": tenant})


_TO_BOOK = text("SELECT pg_advisory_xact_lock(:line)")
_TO_WRITE = text(
    "SELECT pg_advisory_xact_lock(:line), "
    "set_config('role', :role, true), set_config('app.tenant', :tenant, true)"
)
_TO_TAKE = text("SELECT set_config('role', :role, true)")
_TO_READ = text(
    "SELECT set_config('transaction_read_only', 'on', true), set_config('app.tenant', :tenant, true)"
)


def ensure(connection: Connection) -> None:
    """Both roles exist and the login may take them; else LoyaltyError, which names the script."""
    for role in (RUNTIME, WRITER):
        found = connection.execute(
            text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}
        ).first()
        try:
            if found is None:
                connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS")
            member = text("SELECT pg_has_role(current_user, :role, 'MEMBER')")
            if not connection.execute(member, {"role": role}).scalar():
                connection.exec_driver_sql(f"GRANT {role} TO CURRENT_USER")
        except ProgrammingError:
            sentence = "The database's roles are missing: its administrator runs infra/postgres/roles.sql."
            raise LoyaltyError("database_roles", sentence) from None


def policies(tables: Iterable[str]) -> Iterator[str]:
    """One tenant's rows for the runtime role, all for the writer, and none for the owner (FORCE)."""
    for table in tables:
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        yield f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
        yield (
            f"CREATE POLICY one_tenant ON {table} TO {RUNTIME} "
            f"USING (tenant = {_TENANT}) WITH CHECK (tenant = {_TENANT})"
        )
        yield f"CREATE POLICY all_tenants ON {table} TO {WRITER} USING (true) WITH CHECK (true)"


def grants(booked: Iterable[str], standing: Iterable[str], others: Iterable[str]) -> Iterator[str]:
    """Rights on tables: `booked` rows are never changed, `standing` is what the ledger keeps up to date."""
    booked, standing, others = ", ".join(booked), ", ".join(standing), ", ".join(others)
    yield f"GRANT SELECT, INSERT ON {booked} TO {WRITER}"
    yield f"GRANT SELECT, INSERT, UPDATE ON {standing} TO {WRITER}"
    yield f"GRANT SELECT ON {others} TO {WRITER}"
    yield f"GRANT SELECT ON {booked}, {standing} TO {RUNTIME}"
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {others} TO {RUNTIME}"
    yield f"GRANT INSERT, UPDATE (state) ON account TO {RUNTIME}"
    yield f"GRANT INSERT ON outbox TO {RUNTIME}"
    yield f"GRANT SELECT, INSERT, DELETE ON outbox TO {WRITER}"
    yield f"GRANT USAGE ON SEQUENCE outbox_seq_seq TO {RUNTIME}, {WRITER}"
    yield f"GRANT SELECT ON alembic_version TO {RUNTIME}, {WRITER}"


def check(connection: Connection) -> None:
    """Raises LoyaltyError when policies are missing, or a role passes them by; on the writer's connection."""
    if connection.dialect.name != "postgresql":
        return
    bare = connection.execute(text(_BARE)).first()
    strong = connection.execute(text(_STRONG), {"roles": [RUNTIME, WRITER]}).first()
    role = connection.execute(text("SELECT current_user")).scalar()
    if bare is not None or strong is not None or role != WRITER:
        raise LoyaltyError(
            "database_unguarded",
            "The row policies that keep tenants apart are not in force. Restore the database.",
        )


_BARE = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
AND a.attname = 'tenant' AND NOT a.attisdropped
AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (
    SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'one_tenant'
))
"""
_STRONG = "SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles) AND (rolsuper OR rolbypassrls)"
