"""`pay-ivr verify ledger` in small, and that it would notice a ledger that breaks its word."""

import asyncio
import json
import multiprocessing
from pathlib import Path

import pytest

from loyalty.database import Database
from pay_ivr import __main__ as command_line
from pay_ivr.proof import ledger, ledger_books
from pay_ivr.proof.postgres import PostgresServer
from tests.support.loyalty_rows import put_journal

CLIENTS, SECONDS = 16, 3.0
RUNS_MAX = 4


@pytest.fixture(autouse=True)
def _no_process_is_left() -> object:
    """Workers are ended by the run itself."""
    yield
    assert [] == multiprocessing.active_children()


def quiet(_line: str) -> None:
    """Nobody reads along."""


@pytest.mark.slow
def test_a_file_keeps_every_answer_through_kills(short_dir: Path):
    """SQLite: workers are killed in mid-transaction; rules and answers hold; the rates are told."""
    arguments = [
        "--clients",
        str(CLIENTS),
        "--seconds",
        str(SECONDS),
        "--json",
        str(short_dir / "found.json"),
    ]
    assert 0 == command_line.main(["verify", "ledger", *arguments])
    found = json.loads((short_dir / "found.json").read_text("utf-8"))
    assert ("SQLite", {}) == (found["database"], found["faults"])
    assert found["kills"] >= 1
    assert found["answers"] > 20
    assert {"different members", "one hot member", "one hot tenant account"} == {
        shape["name"] for shape in found["rates"]["shapes"]
    }


@pytest.mark.proof
def test_a_server_keeps_every_answer_through_kills(short_dir: Path):
    """PostgreSQL: the server is killed as well."""
    with ledger.place(ledger.EMBEDDED) as (url, server):
        found = ledger.verify(url, server, clients=CLIENTS, seconds=SECONDS, say=quiet, rates=False)
    assert ({}, True) == (found.faults, found.sound)
    assert found.kills >= 1
    assert found.server_kills >= 1


@pytest.mark.proof
def test_answers_before_the_commit_are_found_out():
    """Control `early`: a kill between answer and commit loses what was promised."""
    with ledger.place("") as (url, server):
        found = ledger.verify(url, server, clients=32, seconds=12.0, say=quiet, control="early", rates=False)
    assert found.faults["an answer is not in the books"] > 0


@pytest.mark.proof
def test_a_server_that_answers_before_its_disk_is_found_out():
    """Control `forgetful`: synchronous_commit = off; a kill must only come between two writes of its log."""
    run = {"clients": 32, "seconds": 12.0, "say": quiet, "control": "forgetful", "rates": False}
    lost = 0
    for _ in range(RUNS_MAX):
        server = PostgresServer(durable=True, options={"wal_writer_delay": "10s"})
        try:
            found = ledger.verify(server.url(server.new_database()), server, **run)
        finally:
            server.stop()
        lost += found.faults.get("an answer is not in the books", 0)
        if lost:
            break
    assert lost > 0


def test_a_server_that_is_not_there_is_said_in_words(capsys: pytest.CaptureFixture[str], short_dir: Path):
    """Asked for PostgreSQL, it does not fall back to anything else."""
    url = f"postgresql+psycopg://payivr@/loyalty?host={short_dir}"
    assert 1 == command_line.main(["verify", "ledger", "--postgres", url])
    assert "does not answer" in capsys.readouterr().out


async def test_books_of_somebody_are_not_judged(postgres_url: str, capsys: pytest.CaptureFixture[str]):
    """A database with accounts is refused before anything is written."""
    database = Database.open(postgres_url)
    await database.writer.work(put_journal)
    await database.close()
    run = {"clients": 1, "seconds": 1, "postgres": postgres_url, "json_file": None}
    assert 1 == await asyncio.to_thread(ledger.run_ledger, **run)
    assert "Name an empty one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (
            "UPDATE account SET posted = posted + 1 WHERE tenant = 'demo' AND kind = 'member'",
            "sum of its entries",
        ),
        ("UPDATE account SET held = 5 WHERE tenant = 'demo' AND kind = 'member'", "open holds"),
        ("UPDATE lot SET remaining = 99 WHERE tenant = 'demo'", "lies in lots"),
        (
            "INSERT INTO entry VALUES ('demo', 'miles', 'jrn_1', 7, 'acc_member', 1)",
            "journal's entries sum to zero",
        ),
        ("DELETE FROM outbox WHERE body LIKE '%demo%'", "entry for the log"),
    ],
)
async def test_each_rule_finds_its_fault(tmp_path: Path, statement: str, rule: str):
    """Books that were right are falsified past the ledger."""
    url = str(tmp_path / "loyalty.db")
    database = Database.open(url)
    await database.writer.work(put_journal)
    assert {} == ledger_books.faults(url)
    await database.writer.work(lambda connection: connection.exec_driver_sql(statement))
    await database.close()
    assert [name for name in ledger_books.faults(url) if rule in name]


def test_a_promise_that_was_not_kept_is_found(tmp_path: Path):
    """An answer that the books do not hold, one that they hold otherwise, a code that two were given."""
    url = str(tmp_path / "loyalty.db")
    Database.open(url)
    told = {"tenant": "demo", "idem": "k", "journal": "jrn_1", "hold_id": "", "available": 1}
    given = [
        {"tenant": "demo", "key": name, "redemption": name, "code": "A-1"} for name in ("red_1", "red_2")
    ]
    broken = ledger_books.broken_promises(url, [told, *given, {"wrong": "a hold ended twice"}])
    assert {
        "an answer is not in the books": 1,
        "a redemption is not in the books": 2,
        "a code was given to two": 1,
        "a hold ended twice": 1,
    } == broken
