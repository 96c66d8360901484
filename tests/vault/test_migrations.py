"""A vault.db of an earlier release: brought forward with every payment, or refused and left as it was."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from audit.outbox import SchemaError, bring_forward
from pay_ivr.facts import CallError
from pay_ivr.store import Store as AppStore
from vault import PaymentState, VaultError
from vault.migrations import MIGRATIONS
from vault.store import Store

FIRST_RELEASE = (Path(__file__).parent / "first_release.sql").read_text()
"""The schema of version 0 as that release made it."""
AT = "2026-01-02T03:04:05.678Z"
INSERTED = "INSERT INTO payments VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
STATES = ("authorised", "declined", "unknown", "cancelled")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as database, database:
        yield database


def payment(number: int, state: str) -> tuple[object, ...]:
    """One row of version 0."""
    name = f"pay_{number}"
    head = (
        name,
        "demo",
        "call_a",
        "leg_a",
        None,
        state,
        1995,
        "EUR",
        f"ref{number}",
        "booking",
        "moto_agent",
    )
    tail = ("visa", "4242", None, None, None, f"8000{number}", AT, AT)
    return (*head, "sandbox", f"sbx_{number}", 5, 1, "sbx_token", *tail)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file of the first release with a payment in each of `STATES`, each with an attempt."""
    path = tmp_path / "vault.db"
    with opened(path) as database:
        database.executescript(FIRST_RELEASE)
        for number, state in enumerate(STATES):
            row = payment(number, state)
            database.execute(INSERTED, row)
            attempt = (number + 7, row[0], 1, f"{row[0]}:authorise:1", state, "ok", AT, None)
            database.execute("INSERT INTO attempts VALUES (?,?,?,?,?,?,?,?)", attempt)
        database.execute("INSERT INTO outbox VALUES (41, 'k', '{}')")
    return path


def schema(path: Path) -> dict[str, str]:
    """Every table and index as SQLite keeps it, without what a rename adds."""
    with opened(path) as database:
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r'[\s"]+', "", sql) for name, sql in rows}


async def test_an_old_file_becomes_what_a_new_one_is(old: Path, tmp_path: Path) -> None:
    """Table for table and index for index: a column added without a migration fails here."""
    for path in (old, tmp_path / "new.db"):
        await (await Store.open(path)).close()
    assert schema(tmp_path / "new.db") == schema(old)
    with opened(old) as database:
        assert [(len(MIGRATIONS),)] == database.execute("PRAGMA user_version").fetchall()
        assert [(41, "k", "{}")] == database.execute("SELECT * FROM outbox").fetchall()


async def test_every_payment_is_kept(old: Path) -> None:
    """A sale that the bank had approved is settled in the words of today; all else stays as it was."""
    store = await Store.open(old)
    rows = [await store.payment(f"pay_{number}") for number in range(len(STATES))]
    assert ["settled", "declined", "unknown", "cancelled"] == [row.state.value for row in rows]
    assert [1995, 0, 0, 0] == [row.settled_minor for row in rows]
    assert [f"sbx_{number}" for number in range(len(STATES))] == [row.provider_ref for row in rows]
    assert {("visa", "4242", 5, AT)} == {(row.brand, row.last4, row.version, row.created_at) for row in rows}
    attempts = [await store.attempts(row.payment_id) for row in rows]
    assert [("sandbox", f"sbx_{number}", "moto_agent") for number in range(len(STATES))] == [
        (one.provider, one.provider_ref, one.sca_basis) for (one,) in attempts
    ]
    assert ["pay_2"] == [row.payment_id for row in await store.in_state(PaymentState.UNKNOWN)]
    await store.close()


async def test_what_is_there_already_is_not_done_again(old: Path) -> None:
    """A second start, and a file of a build from before files had versions."""
    await (await Store.open(old)).close()
    before = schema(old)
    with opened(old) as database:
        database.execute("UPDATE payments SET refunded_minor = 5 WHERE payment_id = 'pay_0'")
        database.execute("PRAGMA user_version = 0")
    store = await Store.open(old)
    assert (5, before) == ((await store.payment("pay_0")).refunded_minor, schema(old))
    await store.close()


async def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    """Vault and desk alike, with a sentence that names the file and what to do."""
    for name in ("vault.db", "app.db"):
        with opened(tmp_path / name) as database:
            database.execute("PRAGMA user_version = 99")
    with pytest.raises(VaultError) as vault:
        await Store.open(tmp_path / "vault.db")
    with pytest.raises(CallError) as desk:
        await AppStore.open(tmp_path / "app.db")
    assert ("schema_refused", "schema_refused") == (vault.value.code, desk.value.code)
    assert "vault.db was written by a newer release. Install that release again." == vault.value.sentence
    assert "app.db was written by a newer release. Install that release again." == desk.value.sentence


def test_a_migration_that_fails_changes_nothing(old: Path) -> None:
    """One transaction: a row that the new schema forbids leaves tables, rows and version as they were."""
    with opened(old) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute("UPDATE payments SET amount_minor = -1 WHERE payment_id = 'pay_3'")
    before = schema(old)
    with pytest.raises(SchemaError, match="It is unchanged"):
        bring_forward(old, MIGRATIONS)
    with opened(old) as database:
        count = database.execute("SELECT count(*) FROM attempts").fetchone()
        version = database.execute("PRAGMA user_version").fetchone()
    assert (before, (4,), (0,)) == (schema(old), count, version)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Its name is said, not what stands in it."""
    (tmp_path / "vault.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(SchemaError, match=r"^vault\.db is no database"):
        bring_forward(tmp_path / "vault.db", MIGRATIONS)
