"""Tenants kept apart: by row policies on PostgreSQL, by every statement on both engines."""

from typing import Any

import pytest
from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, text, tuple_, update
from sqlalchemy.sql import ClauseElement

from loyalty import engines, roles
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.tables import ACCOUNT, ENTRY, JOURNAL, TENANT_TABLES
from loyalty.tenancy import TenantConn
from tests.support import tenancy
from tests.support.loyalty_rows import put_journal

EVERYBODY = {"all_tenants": True}
"""Says to the tests' own hook that these statements go without a tenant on purpose."""


@pytest.fixture
async def two_tenants(postgres_url: str):
    """A database on PostgreSQL with a journal of `demo` and one of `rival`."""
    database = Database.open(postgres_url)
    for tenant in ("demo", "rival"):
        await database.writer.work(lambda connection, tenant=tenant: put_journal(connection, tenant))
    yield database
    await database.close()


def seen(conn: Any) -> set[str]:
    """The tenants of all accounts that a statement without any predicate finds."""
    return set(conn.execute(select(ACCOUNT.c.tenant).execution_options(**EVERYBODY)).scalars())


async def test_a_statement_that_forgot_the_tenant_sees_one_all_the_same(two_tenants: Database):
    """On PostgreSQL the policy is the second wall, for readers and for writers."""
    assert {"demo"} == await two_tenants.read("demo", seen)
    assert {"rival"} == await two_tenants.write("rival", seen)


async def test_a_change_that_forgot_the_tenant_reaches_one_all_the_same(two_tenants: Database):
    """Rows of the other are not even counted."""
    changed = update(ACCOUNT).values(state="closed").execution_options(**EVERYBODY)
    assert 2 == await two_tenants.write("demo", lambda conn: conn.execute(changed).rowcount)


@pytest.mark.parametrize("tenant", ["", "nobody", "demo'; --"])
async def test_an_unknown_tenant_sees_nothing(two_tenants: Database, tenant: str):
    """No name, a wrong name, a strange name: no rows, no error."""
    assert set() == await two_tenants.read(tenant, seen)


async def test_a_row_of_another_tenant_is_refused(two_tenants: Database):
    """An insert that names somebody else's tenant fails."""
    row = {"tenant": "rival", "programme": "miles", "id": "acc_2", "kind": "member", "floor": 0}
    with pytest.raises(LoyaltyError):
        await two_tenants.write("demo", lambda conn: conn.execute(insert(ACCOUNT).values(row)))


async def test_a_pooled_connection_forgets_its_tenant(two_tenants: Database, postgres_url: str):
    """The setting ends with the transaction: the next one on the same connection starts with none."""
    engine = engines.reading(engines.url_of(postgres_url))
    with engine.begin() as connection:
        roles.begin_reading(connection, "demo")
        first, pid = seen(connection), connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    with engine.begin() as connection:
        assert pid == connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        assert ({"demo"}, set()) == (first, seen(connection))
    engine.dispose()


async def test_a_lost_role_is_no_way_around(two_tenants: Database, postgres_url: str):
    """The login itself, owner of the tables, sees no row: policies are forced on it, none is for it."""
    engine = engines.migrating(engines.url_of(postgres_url))
    with engine.begin() as connection:
        assert set() == seen(connection)
    engine.dispose()


async def test_every_table_has_its_policies(two_tenants: Database):
    """Asked of pg_policies: two on each table with tenants, and no table with tenants is missing."""

    def policies(connection: Connection) -> set[tuple[str, str, str]]:
        rows = connection.execute(
            text("SELECT tablename, policyname, array_to_string(roles, ',') FROM pg_policies")
        )
        return {(table, policy, who) for table, policy, who in rows}

    names = {table.name for table in TENANT_TABLES}
    expected = {(name, "one_tenant", roles.RUNTIME) for name in names}
    expected |= {(name, "all_tenants", roles.WRITER) for name in names}
    assert expected == await two_tenants.writer.work(policies)


async def test_a_new_table_without_a_policy_stops_the_node(postgres_url: str):
    """A migration that forgot it is found at the next start."""
    engine = engines.migrating(engines.url_of(postgres_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE forgotten (tenant text)")
    engine.dispose()
    with pytest.raises(LoyaltyError) as refused:
        Database.open(postgres_url)
    assert "database_unguarded" == refused.value.code


async def test_the_runtime_role_books_nothing(two_tenants: Database):
    """Points are moved by the ledger alone: no insert into a journal, no change of a balance."""
    with pytest.raises(LoyaltyError):
        await two_tenants.write("demo", lambda conn: put_journal(conn, "demo", "miles", 2))  # type: ignore[arg-type]
    poorer = update(ACCOUNT).where(ACCOUNT.c.tenant == "demo").values(posted=0)
    with pytest.raises(LoyaltyError):
        await two_tenants.write("demo", lambda conn: conn.execute(poorer))


# --- the tests' own hook ----------------------------------------------------------------------------------

A, E, J = ACCOUNT.c, ENTRY.c, JOURNAL.c
OWN: ColumnElement[bool] = A.tenant == "demo"
OTHER = ACCOUNT.alias("other")

WITH_TENANT = [
    select(ACCOUNT).where(OWN),
    select(A.id, J.id).join(JOURNAL, J.tenant == A.tenant).where(OWN),
    select(A.id).where(tuple_(A.tenant, A.programme, A.id).in_([("demo", "miles", "acc_1")])),
    select(OTHER.c.id).where(OTHER.c.tenant == "demo"),
    update(ACCOUNT).where(OWN).values(state="closed"),
    delete(ACCOUNT).where(OWN),
    insert(ACCOUNT).values(tenant="demo"),
    insert(ACCOUNT).values([{"tenant": "demo"}, {"tenant": "rival"}]),
    insert(ACCOUNT).from_select(["tenant", "id"], select(A.tenant, A.id).where(OWN)),
    text("SELECT * FROM account WHERE tenant = 'demo'"),
    select(ACCOUNT).execution_options(**EVERYBODY),
]
WITHOUT_TENANT = [
    select(ACCOUNT),
    select(func.count()).select_from(ACCOUNT),
    select(ACCOUNT).where(A.state == "open"),
    select(A.tenant),
    select(A.id, J.id).join(JOURNAL, J.programme == A.programme).where(OWN),
    select(A.id).where(OWN, A.id.in_(select(E.account_id))),
    select(A.id).where(OWN, exists().where(E.account_id == A.id)),
    select(OTHER.c.id),
    select(select(E.account_id).subquery()),
    select(select(E.account_id).cte()),
    select(A.id).where(OWN).union_all(select(A.id).where(A.state == "open")),
    update(ACCOUNT).values(state="closed"),
    delete(ACCOUNT).where(A.id == "acc_1"),
    insert(ACCOUNT).values(id="acc_1"),
    insert(ACCOUNT).values([{"tenant": "demo"}, {"id": "acc_1"}]),
    text("SELECT * FROM account"),
]


@pytest.mark.parametrize("statement", WITH_TENANT, ids=range(len(WITH_TENANT)))
def test_a_statement_with_its_tenant_passes(statement: ClauseElement):
    """In whichever way it names it."""
    tenancy.check(statement, [])


@pytest.mark.parametrize("statement", WITHOUT_TENANT, ids=range(len(WITHOUT_TENANT)))
def test_a_statement_without_its_tenant_fails(statement: ClauseElement):
    """However the table came into it."""
    with pytest.raises(tenancy.NoTenantError):
        tenancy.check(statement, [])


async def test_the_hook_hears_what_the_writer_and_the_readers_run(database: Database):
    """It is in force in every test, on every engine, in every thread."""

    def forgetful(conn: TenantConn) -> None:
        conn.execute(select(ACCOUNT))

    with pytest.raises(tenancy.NoTenantError):
        await database.read("demo", forgetful)
    with pytest.raises(tenancy.NoTenantError):
        await database.write("demo", forgetful)
