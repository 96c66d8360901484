"""The loyalty database: one writer, readers of one moment, rows that nobody can change."""

import asyncio
import importlib.util
import stat
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from audit.outbox import Entry, RowsAwayError
from loyalty import engines
from loyalty.database import Database
from loyalty.drain import LoyaltyRows
from loyalty.errors import LoyaltyError
from loyalty.tables import ACCOUNT, APPEND_ONLY, ENTRY, METADATA
from loyalty.tenancy import TenantConn
from pay_ivr.proof.postgres import PostgresServer
from tests.support.loyalty_rows import AT, put_journal

ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
"""Every connection to a database of that name."""
TRIES_MAX = 2_000
"""Twenty seconds for what another process does in its own time."""
LOCKED = Entry("agent.user.added", AT, "caller", "mem_1", "demo")


def add_account(conn: TenantConn, name: str = "acc_1") -> str:
    """Opens a member's account, past the ledger, and returns its id."""
    row = {"tenant": conn.tenant, "programme": "miles", "id": name, "kind": "member", "floor": 0}
    conn.execute(insert(ACCOUNT).values(row))
    return name


def accounts(conn: TenantConn) -> list[str]:
    """The ids of the tenant's accounts."""
    return list(conn.execute(select(ACCOUNT.c.id).where(ACCOUNT.c.tenant == conn.tenant)).scalars())


# --- reading and writing ----------------------------------------------------------------------------------


async def test_what_a_work_wrote_is_committed_when_its_caller_goes_on(database: Database):
    """And a reader sees it."""
    assert "acc_1" == await database.write("demo", add_account)
    assert ["acc_1"] == await database.read("demo", accounts)


async def test_a_work_that_raises_leaves_nothing_behind(database: Database):
    """Its caller gets its error; the next work finds a clean connection."""

    def fail(conn: TenantConn) -> None:
        add_account(conn)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write("demo", fail)
    assert [] == await database.read("demo", accounts)
    assert "acc_1" == await database.write("demo", add_account)


async def test_a_reader_can_change_nothing(database: Database):
    """Whatever its function tries."""
    with pytest.raises(LoyaltyError):
        await database.read("demo", add_account)


async def test_a_reader_sees_one_moment(database: Database):
    """Two statements of one reading give one picture, even when something is committed in between."""
    between, gone_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def look_twice(conn: TenantConn) -> tuple[list[str], list[str]]:
        first = accounts(conn)
        loop.call_soon_threadsafe(between.set)
        asyncio.run_coroutine_threadsafe(gone_on.wait(), loop).result(10)
        return first, accounts(conn)

    reading = asyncio.create_task(database.read("demo", look_twice))
    await between.wait()
    await database.write("demo", add_account)
    gone_on.set()
    assert ([], []) == await reading


async def test_a_caller_who_is_cancelled_leaves_no_open_transaction(database: Database):
    """What was begun is done whole; the next work does not wait for it for ever."""
    going = asyncio.create_task(database.write("demo", add_account))
    await asyncio.sleep(0)
    going.cancel()
    assert "acc_2" == await database.write("demo", lambda conn: add_account(conn, "acc_2"))
    assert "acc_2" in await database.read("demo", accounts)


async def test_an_error_of_the_database_quotes_no_row(database: Database):
    """Its text could hold personal data; a caller gets a code."""
    await database.write("demo", lambda conn: add_account(conn, "acc_secret"))
    with pytest.raises(LoyaltyError) as refused:
        await database.write("demo", lambda conn: add_account(conn, "acc_secret"))
    assert ("database_conflict", False) == (refused.value.code, refused.value.retryable)
    assert "secret" not in str(refused.value)


async def test_a_server_that_goes_and_comes_back_is_away_and_then_there(
    postgres_server: PostgresServer, postgres_url: str
):
    """Readers and the writer say so and go on by themselves; a lost connection alone disturbs no reader."""
    name = engines.url_of(postgres_url).database
    database = Database.open(postgres_url)
    assert "acc_1" == await database.write("demo", add_account)
    assert ["acc_1"] == await database.read("demo", accounts)

    postgres_server.sql(ENDED.format(name))
    assert ["acc_1"] == await database.read("demo", accounts)

    postgres_server.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false; {ENDED.format(name)}")
    for asking in (database.read("demo", accounts), database.write("demo", accounts), database.scrub()):
        with pytest.raises(LoyaltyError) as away:
            await asking
        assert ("database_away", True) == (away.value.code, away.value.retryable)
    with pytest.raises(RowsAwayError):
        await LoyaltyRows(database.writer).pull(1)

    postgres_server.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert ["acc_1"] == await database.read("demo", accounts)
    assert ["acc_1"] == await database.write("demo", accounts)
    await database.close()


async def test_after_closing_nothing_is_taken_any_more(database_url: str):
    """What was queued is done; what comes later hears that it may be asked again, elsewhere."""
    database = Database.open(database_url)
    queued = asyncio.create_task(database.write("demo", add_account))
    await asyncio.sleep(0)
    await database.close()
    assert "acc_1" == await queued
    with pytest.raises(LoyaltyError) as refused:
        await database.write("demo", add_account)
    assert ("database_closed", True) == (refused.value.code, refused.value.retryable)


def test_the_file_is_nobody_elses_to_read(tmp_path: Path):
    """Mode 0600 from the first moment."""
    engines.writing(engines.url_of(tmp_path / "loyalty.db")).dispose()
    assert 0o600 == stat.S_IMODE((tmp_path / "loyalty.db").stat().st_mode)


def test_sqlite_writes_through_to_the_disk(tmp_path: Path):
    """WAL, FULL, foreign keys on, and no transaction of the driver's own."""
    engine = engines.writing(engines.url_of(tmp_path / "loyalty.db"))
    with engine.connect() as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys")
        said = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
        begun = connection.connection.dbapi_connection.in_transaction
    engine.dispose()
    assert (["wal", 2, 1], True) == (said, begun)


def test_an_answer_survives_a_server_that_is_set_to_forget(
    postgres_server: PostgresServer, postgres_url: str
):
    """Where the server says synchronous_commit = off, the writer says on."""
    name = engines.url_of(postgres_url).database
    postgres_server.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    engine = engines.writing(engines.url_of(postgres_url))
    with engine.connect() as connection:
        assert "on" == connection.exec_driver_sql("SHOW synchronous_commit").scalar()
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://payivr:hunter2@db/loyalty",
        "postgresql://payivr@db/loyalty",
        "mysql://db/loyalty",
        "://",
    ],
)
def test_a_url_with_a_password_or_of_another_database_is_refused(url: str):
    """The password belongs into PGPASSFILE; the sentence does not repeat it."""
    with pytest.raises(LoyaltyError) as refused:
        engines.url_of(url)
    assert "database_url" == refused.value.code
    assert "hunter2" not in refused.value.sentence


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch):
    """The package is optional: a node without it says which extra brings it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(LoyaltyError) as refused:
        engines.url_of("postgresql+psycopg://payivr@db/loyalty")
    assert "pay-ivr[postgres]" in refused.value.sentence


async def test_a_server_that_comes_back_costs_one_answer_at_most(short_dir: Path):
    """Killed and started again: the writer and the readers find new connections by themselves."""
    server = PostgresServer(durable=False)
    try:
        database = Database.open(server.url(server.new_database()))
        await database.write("demo", add_account)
        server.kill()
        with pytest.raises(LoyaltyError) as away:
            await database.write("demo", lambda conn: add_account(conn, "acc_2"))
        assert ("database_away", True) == (away.value.code, away.value.retryable)
        server.start()
        assert "acc_2" == await database.write("demo", lambda conn: add_account(conn, "acc_2"))
        assert ["acc_1", "acc_2"] == sorted(await database.read("demo", accounts))
        await database.close()
    finally:
        server.stop()


# --- what is booked stays (L11, L12) ----------------------------------------------------------------------


async def booked(database: Database) -> None:
    """One journal with all that belongs to it."""
    await database.writer.work(put_journal)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("act", ["update", "delete"])
async def test_booked_rows_are_changed_by_nobody(database: Database, database_url: str, table: str, act: str):
    """Neither by the tenant's own role, nor by the ledger's, nor by the owner of the tables."""
    await booked(database)
    rows = METADATA.tables[table]
    changed = (update(rows).values(programme="other") if act == "update" else delete(rows)).where(
        rows.c.tenant == "demo"
    )
    with pytest.raises(LoyaltyError):
        await database.write("demo", lambda conn: conn.execute(changed))
    with pytest.raises(LoyaltyError):
        await database.writer.work(lambda connection: connection.execute(changed))
    owner = engines.migrating(engines.url_of(database_url))
    with owner.connect() as connection:
        if database.dialect == "postgresql":
            connection.exec_driver_sql(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        with pytest.raises(DBAPIError, match=r"never changed"):
            connection.execute(changed)
    owner.dispose()


async def test_a_table_of_booked_rows_is_not_emptied(postgres_url: str):
    """TRUNCATE passes row triggers and policies by; it has a trigger of its own."""
    database = Database.open(postgres_url)
    await booked(database)
    await database.close()
    engine = create_engine(postgres_url)
    with engine.connect() as connection, pytest.raises(DBAPIError, match=r"never changed"):
        connection.exec_driver_sql(
            "TRUNCATE journal, entry, lot_use, lot, hold, hold_lot, redemption CASCADE"
        )
    engine.dispose()


@pytest.mark.parametrize("other", [{"tenant": "rival"}, {"programme": "stamps"}])
async def test_an_entry_cannot_join_two_books(database: Database, other: dict[str, str]):
    """A journal of one programme or tenant with an account of another breaks a foreign key."""
    await booked(database)
    entry = {
        "tenant": "demo",
        "programme": "miles",
        "journal_id": "jrn_1",
        "seq": 2,
        "account_id": "acc_member",
    }

    def join(connection: Connection) -> None:
        put_journal(connection, **({"tenant": "demo", "programme": "miles"} | other))
        connection.execute(
            insert(ENTRY).values(**(entry | {"account_id": "acc_foreign", "amount": 5} | other))
        )

    with pytest.raises(LoyaltyError) as refused:
        await database.writer.work(join)
    assert "database_conflict" == refused.value.code


@pytest.mark.parametrize("values", [{"posted": -1}, {"held": 101}, {"held": -1}])
async def test_no_balance_falls_below_its_floor(database: Database, values: dict[str, int]):
    """The database refuses what no arithmetic should have asked of it."""
    await booked(database)
    changed = update(ACCOUNT).where(ACCOUNT.c.tenant == "demo", ACCOUNT.c.id == "acc_member").values(**values)
    with pytest.raises(LoyaltyError) as refused:
        await database.writer.work(lambda connection: connection.execute(changed))
    assert "database_conflict" == refused.value.code


# --- the outbox -------------------------------------------------------------------------------------------


async def test_an_audit_entry_is_there_exactly_when_its_change_is(database: Database):
    """One transaction: a work that raises takes its entry with it."""

    def fail(conn: TenantConn) -> None:
        conn.audit(LOCKED)
        raise LookupError

    rows = LoyaltyRows(database.writer)
    with pytest.raises(LookupError):
        await database.write("demo", fail)
    await database.write("demo", lambda conn: conn.audit(LOCKED))
    assert 1 == await rows.waiting()
    pulled = await rows.pull(10)
    assert pulled == await rows.pull(10)
    assert 1 == await rows.ack(pulled[-1]["seq"])
    assert [] == await rows.pull(10)


async def test_one_node_at_a_time_feeds_its_log(postgres_url: str):
    """The other gets nothing until the first has gone; then it gets what is left."""
    first, second = Database.open(postgres_url), Database.open(postgres_url)
    await second.write("demo", lambda conn: conn.audit(LOCKED))
    assert 1 == len(await LoyaltyRows(first.writer).pull(10))
    assert [] == await LoyaltyRows(second.writer).pull(10)
    assert 0 == await LoyaltyRows(second.writer).ack(10)
    await first.close()
    for _ in range(TRIES_MAX):  # the server lets go of the lock when it has seen the connection end
        if rows := await LoyaltyRows(second.writer).pull(10):
            break
        await asyncio.sleep(0.01)
    assert 1 == len(rows)
    await second.close()


async def test_rows_of_two_nodes_are_committed_in_the_order_of_their_numbers(postgres_url: str):
    """Otherwise an `ack` would delete a row that nobody has fetched: what is pulled only ever grows."""
    nodes = [Database.open(postgres_url) for _ in range(2)]
    rows = LoyaltyRows(nodes[0].writer)
    writing = [
        asyncio.create_task(node.write("demo", lambda conn: conn.audit(LOCKED)))
        for _ in range(60)
        for node in nodes
    ]
    fetched: list[int] = []
    while len(fetched) < len(writing):
        if pulled := await rows.pull(7):
            assert pulled[0]["seq"] > max(fetched, default=0)
            fetched += [row["seq"] for row in pulled]
            await rows.ack(pulled[-1]["seq"])
    await asyncio.gather(*writing)
    assert fetched == sorted(fetched)
    for node in nodes:
        await node.close()


async def test_a_node_that_stands_still_in_mid_transaction_loses_its_turn(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The other node's writer waits a little, says so, and goes on once the server has ended the first."""
    monkeypatch.setattr(engines, "LINE_WAIT_S", 1)
    monkeypatch.setattr(engines, "IDLE_S", 2)
    node = Database.open(postgres_url)
    stuck = engines.writing(engines.url_of(postgres_url)).connect()
    stuck.execute(text("SELECT pg_advisory_xact_lock(:line)"), {"line": 0x6C696E65})
    with pytest.raises(LoyaltyError) as away:
        await node.write("demo", add_account)
    assert ("database_away", True) == (away.value.code, away.value.retryable)
    await asyncio.sleep(1.5)
    assert "acc_1" == await node.write("demo", add_account)
    with pytest.raises(DBAPIError):
        stuck.execute(select(func.now()))
    stuck.close()
    stuck.engine.dispose()
    await node.close()
