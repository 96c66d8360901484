"""What SQLite's planner is told: keys are looked up, a tenant's rows are never read through."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from loyalty import engines, estimates, roles
from loyalty.database import Database
from loyalty.estimates import FIRST_LOOK, stat, tell
from tests.support.ledger_books import Books


@pytest.mark.parametrize(
    ("columns", "unique", "told"),
    [
        (("tenant", "programme", "id"), True, "1000000 1000000 1000000 1"),
        (("tenant", "idem"), True, "1000000 1000000 1"),
        (("tenant", "programme", "at"), False, "1000000 1000000 1000000 10"),
        (("until",), False, "1000000 10"),
        (("tenant",), True, "1000000 1000000"),
    ],
)
def test_a_tenant_is_many_rows_and_whatever_else_is_few(columns: tuple[str, ...], unique: bool, told: str):
    """As sqlite_stat1 wants it: the table, then rows per value of one, two … columns."""
    assert told == stat(columns, unique=unique)


async def test_a_group_looks_its_keys_up(tmp_path: Path):
    """Each statement over journal, lot and account uses an index down to the key that it was given."""
    database = Database.open(tmp_path / "loyalty.db")
    plans: list[str] = []

    def explain(connection: Connection, _cursor: object, statement: str, given: object, *_: object) -> None:
        if statement.startswith("SELECT"):
            raw = connection.connection.dbapi_connection
            plans.extend(row[-1] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", given))

    books = Books(database)
    members = [await books.member(100) for _ in range(20)]
    spent, earned = await books.redeem(members[0], 1), await books.earn(members[0], 7)
    event.listen(database._writing, "before_cursor_execute", explain)
    wishes = [books.redeeming(member, 1) for member in members]
    wishes += [books.reversing(spent), books.reversing(earned)]
    await books.all(*wishes, *(books.earning(member, 1) for member in members))
    await database.close()

    given = ("SCAN given ", "SCAN page")  # what was asked for, and the page that was just read
    assert not [plan for plan in plans if plan.startswith("SCAN") and not plan.startswith(given)]
    bare = [plan for plan in plans if plan.endswith(("(tenant=?)", "(tenant=? AND programme=?)"))]
    assert [] == bare
    assert any("one_journal_of_a_key (idem=? AND tenant=?)" in plan for plan in plans)
    assert any(
        "ix_lot_by_expiry (tenant=? AND programme=? AND account_id=? AND expires>?)" in plan for plan in plans
    )


def test_figures_of_an_analysis_stay(tmp_path: Path):
    """Told once; what ANALYZE found later is better."""
    path = tmp_path / "loyalty.db"
    Database.open(path)
    engine = engines.writing(engines.url_of(path))
    with engine.begin() as connection:
        connection.execute(text("UPDATE sqlite_stat1 SET stat = '7 7 7 1' WHERE idx = 'journal'"))
        tell(connection)
        found = connection.execute(text("SELECT stat FROM sqlite_stat1 WHERE idx = 'journal'"))
        assert ["7 7 7 1"] == found.scalars().all()
    engine.dispose()


async def test_postgresql_looks_its_keys_up_without_statistics(postgres_url: str):
    """On tables that nobody has analysed, statements of a group and foreign keys go by the key they have."""
    database = Database.open(postgres_url)
    plans: list[str] = []

    def explain(connection: Connection, _cursor: object, statement: str, given: object, *_: object) -> None:
        if statement.startswith(("SELECT", "UPDATE")) and "given" in statement:
            raw = connection.connection.dbapi_connection
            plans.extend(row[0] for row in raw.execute(f"EXPLAIN {statement}", given))

    books = Books(database)
    members = [await books.member(100) for _ in range(20)]
    spent, earned = await books.redeem(members[0], 1), await books.earn(members[0], 7)
    event.listen(database._writing, "before_cursor_execute", explain)
    wishes = [books.redeeming(member, 1) for member in members]
    wishes += [books.reversing(spent), books.reversing(earned)]
    await books.all(*wishes, *(books.earning(member, 1) for member in members))
    referred = await database.writer.work(lambda connection: [_parent(connection, name) for name in PARENTS])
    await database.close()

    assert plans
    assert not [plan for plan in plans if "Seq Scan" in plan or "Hash Join" in plan]
    assert [f"pk_{name}" for name in PARENTS] == referred


PARENTS = ("account", "journal", "lot", "hold")
"""Tables that foreign keys of the ledger name."""


def _parent(connection: Connection, table: str) -> str:
    """The index that a foreign key's trigger finds a row of `table` by (ri_triggers.c prepares this)."""
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    key = "tenant = $1 AND programme = $2 AND id = $3"
    connection.exec_driver_sql(
        f"PREPARE parent_{table} (varchar, varchar, varchar) AS SELECT 1 FROM ONLY {table} WHERE {key}"  # noqa: S608
    )
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) EXECUTE parent_{table} ('a', 'b', 'c')")
    return str(plan.scalar()[0]["Plan"]["Index Name"])


async def test_a_young_ledger_is_analysed_as_it_grows(postgres_url: str):
    """Then a key is looked up by itself, and no longer by reading all journals of its tenant."""
    database = Database.open(postgres_url)
    for tenant in ("sunny", "rainy"):
        books = Books(database, tenant)
        members = [await books.member(1_000) for _ in range(10)]
        for _ in range(FIRST_LOOK):
            await books.all(*(books.redeeming(member, 1) for member in members))

    def look(connection: Connection) -> tuple[dict[str, float], str, str]:
        sizes = connection.execute(text("SELECT relname, reltuples FROM pg_class")).all()
        wanted = "SELECT 1 FROM journal WHERE tenant = 'sunny' AND idem = 'key-1'"
        plan = connection.exec_driver_sql(f"EXPLAIN {wanted}").scalars()
        return dict(tuple(row) for row in sizes), " ".join(plan), _asked(connection, "SELECT current_user")

    sizes, plan, role = await database.writer.work(look)
    await database.close()

    assert sizes["journal"] >= 20
    assert "one_journal_of_a_key" in plan
    assert sizes["hold"] == -1, "an empty table was analysed, which is worse than none"
    assert role == roles.WRITER


async def test_a_ledger_of_age_is_left_to_autovacuum(monkeypatch: pytest.MonkeyPatch, postgres_url: str):
    """Also after a restart, when the writer begins to count anew."""
    monkeypatch.setattr(estimates, "OF_AGE", -1)
    await Database.open(postgres_url).close()
    engine = engines.writing(engines.url_of(postgres_url))
    youth = estimates.Youth()
    for _ in range(FIRST_LOOK):
        with engine.begin() as connection:
            youth(connection)
            assert _asked(connection, "SELECT max(reltuples) FROM pg_class WHERE relname = 'account'") == -1
    engine.dispose()


async def test_an_analysis_that_fails_fails_nobody_s_points(
    monkeypatch: pytest.MonkeyPatch, postgres_url: str
):
    """The command is booked, by the role that books."""
    nobody = text("SELECT set_config('role', 'nobody_of_that_name', true)")
    monkeypatch.setattr(estimates, "_AS_OWNER", nobody)
    database = Database.open(postgres_url)
    books = Books(database)
    member = await books.member(100)
    for left in range(99, 99 - 2 * FIRST_LOOK, -1):
        assert left == (await books.redeem(member, 1)).available
    role = await database.writer.work(lambda connection: _asked(connection, "SELECT current_user"))
    await database.close()
    assert role == roles.WRITER


def _asked(connection: Connection, question: str) -> Any:
    return connection.exec_driver_sql(question).scalar_one()
