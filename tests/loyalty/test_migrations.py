"""The loyalty database comes forward, by one node or two at once, and is what the tables say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, text

from loyalty import engines, guards, migrations, roles
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.members import Members
from loyalty.programme import Programme
from loyalty.tables import APPEND_ONLY, DELIVERY
from pay_ivr.channels import Medium
from pay_ivr.proof.postgres import PostgresServer
from tests.support.loyalty import somebody
from tests.support.member_life import lived
from tests.support.revision import everything

PROGRAMMES = {"sunny": Programme(programme="miles", name="Sunny Miles")}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table, on each engine."""
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgres_url")
    return str(tmp_path / "loyalty.db")


def sqlite_schema(path: str) -> dict[str, list[str]]:
    """Name → the parts of its statement, whatever their order."""
    between = re.compile(r"\n|,(?![^()]*\))")  # a comma within brackets divides nothing
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    engine.dispose()
    return {
        row.name: sorted(filter(None, (part.strip(" \t,()") for part in between.split(row.sql))))
        for row in rows
    }


def test_a_migrated_file_is_what_the_tables_say(tmp_path: Path):
    """Every column, check, key and index of `loyalty/tables.py` is in the migrations, and nothing else."""
    migrations.bring_forward(engines.url_of(tmp_path / "migrated.db"))
    made = engines.migrating(engines.url_of(tmp_path / "made.db"))
    with made.begin() as connection:
        everything().create_all(connection)
        for statement in guards.triggers("sqlite", APPEND_ONLY):
            connection.exec_driver_sql(statement)
    made.dispose()
    migrated = sqlite_schema(str(tmp_path / "migrated.db"))
    migrated.pop("alembic_version")
    assert sqlite_schema(str(tmp_path / "made.db")) == migrated


POSTGRES_SCHEMA = """
SELECT 'column', table_name || '.' || column_name,
       concat_ws(' ', data_type, character_maximum_length, collation_name, is_nullable, column_default)
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass
UNION ALL SELECT 'index', tablename || '.' || indexname, indexdef
FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
"""


def test_a_migrated_server_database_is_what_the_tables_say(
    postgres_server: PostgresServer, postgres_url: str, empty_postgres_url: str
):
    """The same on PostgreSQL, asked of its own catalogues."""
    engine = create_engine(empty_postgres_url)
    with engine.begin() as connection:
        everything().create_all(connection)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num text)")
    engine.dispose()
    made, migrated = (
        set(postgres_server.sql(POSTGRES_SCHEMA, url.split("/")[3].split("?")[0]).splitlines())
        for url in (empty_postgres_url, postgres_url)
    )
    assert made == migrated


def test_two_nodes_that_start_at_once_both_succeed(empty_url: str):
    """One migrates, the other waits for it and finds nothing left to do; the triggers are there."""
    program = "import sys; from loyalty.database import Database; Database.open(sys.argv[1])"
    nodes = [subprocess.Popen([sys.executable, "-c", program, empty_url]) for _ in range(2)]
    assert [0, 0] == [node.wait(60) for node in nodes]


async def opened(url: str) -> None:
    """Opens and closes it: all a node looks at when it starts is in order."""
    database = Database.open(url)
    await database.close()


async def test_an_empty_database_goes_back_to_nothing_and_forward_again(empty_url: str):
    """Every table of a revision goes with it."""
    url = engines.url_of(empty_url)
    migrations.bring_forward(url)
    migrations.take_back(url, "base")
    await opened(empty_url)


async def test_deliveries_learn_whose_they_are(empty_url: str, short_dir: Path):
    """From the redemption that they tell of; on the way back those without one are given up."""
    database = Database.open(empty_url)
    members = Members(database, Keys.open(short_dir, {}), PROGRAMMES, media=lambda _: (Medium.EMAIL,))
    member = await lived(members, somebody())  # a voucher's message waits, and two about a new address
    before = await deliveries(database)
    await database.close()
    url = engines.url_of(empty_url)
    migrations.take_back(url, "0001")
    migrations.bring_forward(url)
    database = Database.open(empty_url)
    after = await deliveries(database)
    await database.close()
    assert (3, {"dlv_a": member.member_id}) == (len(before), after)
    assert before.items() >= after.items()


async def deliveries(database: Database) -> dict[str, str]:
    """Delivery → whose it is."""
    query = select(DELIVERY.c.delivery_id, DELIVERY.c.member_id).where(DELIVERY.c.tenant == "sunny")
    return dict(await database.read("sunny", lambda conn: [tuple(row) for row in conn.execute(query)]))


async def test_a_database_with_bookings_is_not_taken_away(empty_url: str):
    """A downgrade that would throw the ledger away refuses; the ledger stays."""
    database = Database.open(empty_url)
    await database.write("demo", lambda conn: conn.execute(
        text("INSERT INTO outbox (key, body) VALUES ('k', '{}')")
    ))  # fmt: skip
    await database.close()
    with pytest.raises(LoyaltyError) as refused:
        migrations.take_back(engines.url_of(empty_url), "base")
    assert "database_in_use" == refused.value.code
    await opened(empty_url)


def test_a_database_of_a_newer_release_is_refused(empty_url: str):
    """What a later release wrote is not touched by this one."""
    url = engines.url_of(empty_url)
    migrations.bring_forward(url)
    engine = engines.migrating(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(LoyaltyError) as refused:
        Database.open(empty_url)
    assert "database_newer" == refused.value.code


def test_a_database_without_its_triggers_is_refused(empty_url: str):
    """A ledger whose rows could be changed is no ledger: no node starts on it."""
    url = engines.url_of(empty_url)
    migrations.bring_forward(url)
    engine = engines.migrating(url)
    with engine.begin() as connection:
        on = " ON entry" if connection.dialect.name == "postgresql" else ""
        connection.exec_driver_sql(f"DROP TRIGGER entry_refuses_update{on}")
    engine.dispose()
    with pytest.raises(LoyaltyError) as refused:
        Database.open(empty_url)
    assert "database_unguarded" == refused.value.code


def test_a_table_made_anew_loses_its_triggers_and_gets_them_again(tmp_path: Path):
    """What alembic's batch does on SQLite, and what a migration has to do after it (reference 05 §6)."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    url = engines.url_of(tmp_path / "loyalty.db")
    migrations.bring_forward(url)
    engine = engines.migrating(url)
    with engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection, opts={"transactional_ddl": True}))
        with operations.batch_alter_table("entry", recreate="always") as batch:
            batch.create_check_constraint("amount_is_small", "amount < 1000000000000")
        with pytest.raises(LoyaltyError):
            guards.check(connection)
        for statement in guards.triggers("sqlite", ["entry"]):
            connection.exec_driver_sql(statement)
        guards.check(connection)
    engine.dispose()


def test_the_head_is_the_last_revision():
    """HEAD, the newest file, and an unbroken line of numbers."""
    files = sorted((migrations.FOLDER / "versions").glob("*.py"))
    assert [f"{number:04d}" for number in range(1, len(files) + 1)] == [path.name[:4] for path in files]
    assert migrations.HEAD == files[-1].name[:4]
    assert all(
        re.search(rf'^revision = "{path.name[:4]}"$', path.read_text("utf-8"), re.MULTILINE) for path in files
    )


def test_a_login_that_may_not_make_roles_is_told_who_does(postgres_server: PostgresServer):
    """Without the roles, and without the right to make them, the script is named."""
    name = postgres_server.new_database()
    postgres_server.sql("CREATE ROLE stranger LOGIN")
    engine = create_engine(postgres_server.url(name, "stranger"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(LoyaltyError) as refused:
        roles.ensure(connection)
    engine.dispose()
    assert "roles.sql" in refused.value.sentence
