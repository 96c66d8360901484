"""The loyalty database comes forward, by one node or two at once, and is what the tables say."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import URL, Connection, create_engine, insert, select, text

from loyalty import engines, estimates, guards, migrations, roles
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.members import Members
from loyalty.programme import Programme
from loyalty.tables import (
    ACCOUNT,
    APPEND_ONLY,
    DELIVERY,
    ENTRY,
    HOLD,
    HOLD_LOT,
    JOURNAL,
    LOT,
    LOT_USE,
    REDEMPTION,
)
from pay_ivr.channels import Medium
from pay_ivr.proof.postgres import PostgresServer
from tests.support.ledger_books import Books
from tests.support.loyalty import somebody
from tests.support.member_life import lived
from tests.support.revision import everything

if TYPE_CHECKING:
    from alembic.operations import Operations

RELEASED = {
    "0001": "246add4ee2c971c64edbf5b18773c05cebeae7461fbbb6c7e405b24b6aac2214",
    "0002": "bc2eeed356799d042a41084fb45e82db5ed21c68653cafaa7495e45b41e1d3f5",
    "0003": "5f9da1d782984ad4ee77fb50e9e07246cc2fd8ed761ea1f95aabebb39d2fc126",
}
"""SHA-256 of each revision's file but the newest, which may not have left the house yet."""
PROGRAMMES = {"sunny": Programme(programme="miles", name="Sunny Miles")}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table, on each engine."""
    if request.param == "postgresql":
        return request.getfixturevalue("empty_postgres_url")
    return str(tmp_path / "loyalty.db")


def sqlite_schema(path: str) -> dict[str, list[str]]:
    """Name → the parts of its statement, whatever their order.

    SQLite puts a name that was changed into quotes, and alembic a default that it has read into brackets.
    """
    between = re.compile(r"\n|,(?![^()]*\))")  # a comma within brackets divides nothing
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    engine.dispose()
    plain = {row.name: row.sql.replace('"', "").replace("DEFAULT ('')", "DEFAULT ''") for row in rows}
    return {
        name: sorted(filter(None, (part.strip(" \t,()") for part in between.split(sql))))
        for name, sql in plain.items()
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


LEDGER = (ACCOUNT, JOURNAL, ENTRY, LOT, LOT_USE, HOLD, HOLD_LOT)


@contextmanager
def changing(url: URL) -> Iterator[Connection]:
    """A database transaction of the owner's."""
    engine = engines.migrating(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def operations(connection: Connection) -> "Operations":
    """What a revision calls `op`."""
    from alembic.migration import MigrationContext  # two seconds that nobody else's tests need
    from alembic.operations import Operations

    return Operations(MigrationContext.configure(connection, opts={"transactional_ddl": True}))


def by_the_first_revision(url: URL) -> None:
    """As `0001` was and is."""
    migrations.bring_forward(url, "0001")


def by_a_first_revision_with_keys_as_indexes(url: URL) -> None:
    """As `0001` was written once: the journal's unique keys were indexes that began with the tenant."""
    migrations.bring_forward(url, "0001")
    with changing(url) as connection:
        with operations(connection).batch_alter_table(
            "journal", table_kwargs={"sqlite_with_rowid": False}
        ) as batch:
            for columns in ("idem", "programme_receipt", "programme_reverses_reversed_before"):
                batch.drop_constraint(f"uq_journal_tenant_{columns}", type_="unique")
        if connection.dialect.name == "sqlite":
            for statement in guards.triggers("sqlite", ["journal"]):
                connection.exec_driver_sql(statement)
        for name, columns, where in (
            ("one_journal_of_a_key", "tenant, idem", ""),
            ("one_earn_of_a_receipt", "tenant, programme, receipt", " WHERE receipt IS NOT NULL"),
            (
                "one_reversal_of_a_point",
                "tenant, programme, reverses, reversed_before",
                " WHERE reverses IS NOT NULL",
            ),
        ):
            connection.exec_driver_sql(f"CREATE UNIQUE INDEX {name} ON journal ({columns}){where}")


def by_a_first_revision_with_todays_indexes(url: URL) -> None:
    """As `0001` was written later: with every index as `0003` has it."""
    migrations.bring_forward(url, "0003")
    with changing(url) as connection:
        connection.exec_driver_sql("ALTER TABLE redemption DROP COLUMN source")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")


async def fill(url: URL) -> None:
    """Rows in each table of the ledger, booked by it, and a redemption; no node looks at the database."""
    database = Database(engines.writing(url), engines.reading(url))
    books = Books(database)
    member = await books.member(500)
    await books.hold(member, 20)
    await books.done(books.posting(await books.hold(member, 30)))
    await books.done(books.voiding(await books.hold(member, 40)))
    await books.done(books.reversing(await books.redeem(member, 50), 10))
    await books.done(books.reversing(await books.earn(member, 60)))
    redeemed = await books.redeem(member, 70)
    own = {"tenant": "demo", "programme": "miles", "redemption_id": "red_a", "idem": "red-1"}
    who = {"request_hash": "0" * 64, "member_id": "mem_a", "account_id": member, "points": 70}
    what = {"reward_id": "book", "kind": "voucher", "state": "done", "journal_id": redeemed.journal_id}
    row = own | who | what | {"channel": "web", "at": "2026-03-01T12:00:00.000Z"}
    await database.write("demo", lambda conn: conn.execute(insert(REDEMPTION).values(**row)))
    await database.close()


def rows(url: URL) -> dict[str, list[str]]:
    """Table → its rows as text, by their own order."""
    told = {table.name: list(table.c) for table in LEDGER}
    told["redemption"] = [column for column in REDEMPTION.c if column.name != "source"]
    with changing(url) as connection:
        roles.take(connection, roles.WRITER)
        return {
            name: sorted(
                str(row) for row in connection.execute(select(*columns).execution_options(all_tenants=True))
            )
            for name, columns in told.items()
        }


def schema(url: URL) -> dict[str, list[str]]:
    """All that stands in the catalogue of a database, comparable with that of another one."""
    if url.drivername != engines.POSTGRES:
        found = sqlite_schema(str(url.database))
        found.pop("sqlite_stat1", None)  # a node has looked at it
        return found
    with changing(url) as connection:
        return {
            f"{kind} {name}": [body] for kind, name, body in connection.exec_driver_sql(POSTGRES_SCHEMA).all()
        }


@pytest.fixture
def todays_schema(request: pytest.FixtureRequest, empty_url: str) -> dict[str, list[str]]:
    """Of a database that this release has made from nothing, on the same engine."""
    on_a_server = "://" in empty_url
    return schema(engines.url_of(request.getfixturevalue("postgres_url" if on_a_server else "empty_file")))


@pytest.mark.parametrize(
    ("empty_url", "made"),
    [
        ("sqlite", by_the_first_revision),
        ("sqlite", by_a_first_revision_with_keys_as_indexes),
        ("sqlite", by_a_first_revision_with_todays_indexes),
        ("postgresql", by_the_first_revision),
        pytest.param("postgresql", by_a_first_revision_with_keys_as_indexes, marks=pytest.mark.proof),
        pytest.param("postgresql", by_a_first_revision_with_todays_indexes, marks=pytest.mark.proof),
    ],
    indirect=["empty_url"],
)
async def test_an_older_database_keeps_its_rows_and_becomes_todays(
    empty_url: str, todays_schema: dict[str, list[str]], made: Callable[[URL], None]
):
    """Whichever release made it."""
    url = engines.url_of(empty_url)
    made(url)
    await fill(url)
    before = rows(url)
    assert all(before.values())
    migrations.bring_forward(url)
    assert (before, todays_schema) == (rows(url), schema(url))
    await opened(empty_url)  # guards and policies are in force


@pytest.mark.parametrize(
    "empty_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)], indirect=True
)
async def test_a_database_goes_back_with_its_rows_and_is_what_it_was(empty_url: str):
    """To the first revision, for an older release."""
    url = engines.url_of(empty_url)
    migrations.bring_forward(url, "0001")
    first = schema(url)
    migrations.bring_forward(url)
    await fill(url)
    before = rows(url)
    migrations.take_back(url, "0001")
    assert (before, first) == (rows(url), schema(url))


def test_the_planner_is_told_of_an_index_that_has_changed(tmp_path: Path):
    """What it was told of the old one is gone with it."""
    url = engines.url_of(tmp_path / "loyalty.db")
    told = []
    for revision in ("0002", migrations.HEAD):
        migrations.bring_forward(url, revision)
        with changing(url) as connection:
            estimates.tell(connection)
            query = "SELECT stat FROM sqlite_stat1 WHERE idx = 'ix_journal_by_moment'"
            told.append(connection.exec_driver_sql(query).scalar())
    assert ["1000000 1000000 1000000 10", "1000000 10 10 10"] == told


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
    url = engines.url_of(tmp_path / "loyalty.db")
    migrations.bring_forward(url)
    with changing(url) as connection:
        with operations(connection).batch_alter_table("entry", recreate="always") as batch:
            batch.create_check_constraint("amount_is_small", "amount < 1000000000000")
        with pytest.raises(LoyaltyError):
            guards.check(connection)
        for statement in guards.triggers("sqlite", ["entry"]):
            connection.exec_driver_sql(statement)
        guards.check(connection)


def test_the_head_is_the_last_revision():
    """HEAD, the newest file, and an unbroken line of numbers."""
    files = sorted((migrations.FOLDER / "versions").glob("*.py"))
    assert [f"{number:04d}" for number in range(1, len(files) + 1)] == [path.name[:4] for path in files]
    assert migrations.HEAD == files[-1].name[:4]
    assert all(
        re.search(rf'^revision = "{path.name[:4]}"$', path.read_text("utf-8"), re.MULTILINE) for path in files
    )


def test_a_released_revision_is_never_changed():
    """Databases were made by it: what is to be otherwise is otherwise in the next one."""
    files = sorted((migrations.FOLDER / "versions").glob("*.py"))
    assert RELEASED == {path.name[:4]: hashlib.sha256(path.read_bytes()).hexdigest() for path in files[:-1]}


def test_a_login_that_may_not_make_roles_is_told_who_does(postgres_server: PostgresServer):
    """Without the roles, and without the right to make them, the script is named."""
    name = postgres_server.new_database()
    postgres_server.sql("CREATE ROLE stranger LOGIN")
    engine = create_engine(postgres_server.url(name, "stranger"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(LoyaltyError) as refused:
        roles.ensure(connection)
    engine.dispose()
    assert "roles.sql" in refused.value.sentence
