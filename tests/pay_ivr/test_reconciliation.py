"""`pay-ivr reconcile`: a process of its own, a real broker, and the books of a week that is just over."""

import asyncio
import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pay_ivr.reconciliation import table_of
from tests.support.week import a_week
from tests.support.zone import ROOT, ZoneProcesses
from vault import BookDay, BookItem, Door, Match, PaymentState, Reconciliation, Refused

BEGUN = datetime.now(UTC).replace(hour=9, minute=0) - timedelta(days=10)
"""So that the last payout of the week has been made by now."""
WAIT_S = 60.0


@contextmanager
def node() -> Iterator[ZoneProcesses]:
    root = Path(tempfile.mkdtemp(prefix="payivr-", dir="/tmp"))
    zone = ZoneProcesses(root)
    try:
        yield zone
    finally:
        zone.stop()
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneProcesses]:
    """A broker over the books of the week; an orphan of two cents keeps one day open."""

    async def play(folder: Path) -> None:
        async with a_week(folder, BEGUN) as week:
            await week.play()
            week.to(3)
            await week.sale("ghost", 2, believed=PaymentState.DECLINED)

    with node() as zone:
        asyncio.run(play(zone.data_dir))
        zone.start("broker")
        yield zone


@pytest.fixture
async def door(zone: ZoneProcesses) -> AsyncIterator[Door]:
    door = Door(zone.run_dir / "vault.sock")
    await door.connect()
    yield door
    await door.close()


def reconcile(zone: ZoneProcesses, *arguments: str) -> subprocess.CompletedProcess[str]:
    folders = {"DATA_DIR": zone.data_dir, "RUN_DIR": zone.run_dir, "TENANTS_DIR": zone.tenants_dir}
    environment = {**os.environ, **{f"PAY_IVR_{name}": str(path) for name, path in folders.items()}}
    command = [sys.executable, "-m", "pay_ivr", "reconcile", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def test_command_ends_with_1_until_the_difference_is_explained(zone, tmp_path):
    """Table, JSON and CSV name it; a person explains it; then days close and the command ends with 0."""
    path = tmp_path / "books.csv"
    before = reconcile(zone, "--csv", str(path))
    assert (1, "") == (before.returncode, before.stderr)
    assert "1 to look at" in before.stdout
    with path.open(encoding="utf-8", newline="") as lines:
        orphans = [line for line in csv.DictReader(lines) if line["match"] == "provider_only"]
    assert [("pay_ghost", "0.02", "B-ghost")] == [
        (line["payment_id"], line["gross"], line["reference"]) for line in orphans
    ]
    assert 0o600 == path.stat().st_mode & 0o777
    (demo, direct) = json.loads(reconcile(zone, "--json").stdout)["tenants"]
    assert (["demo", "direct"], 0) == ([demo["tenant"], direct["tenant"]], direct["differences"])
    (item,) = (each for each in demo["items"] if each["match"] == "provider_only")

    explained = ["--tenant", "demo", "--explain", item["item_id"], "--reason", "test_payment"]
    after = reconcile(zone, *explained)

    assert (0, "") == (after.returncode, after.stderr)
    assert "nothing to look at" in after.stdout
    with closing(sqlite3.connect(zone.data_dir / "vault.db")) as books:
        assert books.execute("SELECT count(*) FROM book_days").fetchone()[0] >= 9
        assert (0,) == books.execute("SELECT sum(amount_minor) FROM book_postings").fetchone()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--tenant", "nobody"), "No such tenant"),
        (("--tenant", "demo", "--explain", "nothing", "--reason", "Because I say so"), "one lower-case word"),
    ],
)
def test_what_cannot_be_answered_ends_with_1_and_a_sentence(zone, arguments, sentence):
    """On stderr, without a traceback."""
    ended = reconcile(zone, *arguments)
    assert (1, "") == (ended.returncode, ended.stdout)
    assert sentence in ended.stderr
    assert 1 == len(ended.stderr.splitlines())


async def test_door_refuses_what_it_does_not_know(door):
    """Items, days and tenants by their names only; the sentence says what to do."""
    wrong = [
        door.explain_item("demo", "nothing", "because", "user:finance"),
        door.explain_item("demo", "nothing", "because", "finance"),
        door.reconcile("demo", "yesterday"),
        door.reconcile("nobody"),
    ]
    codes = []
    for each in wrong:
        with pytest.raises(Refused) as refused:
            await each
        codes.append(refused.value.code)
    assert ["item_unknown", "bad_request", "day_malformed", "tenant_unknown"] == codes


async def test_door_takes_no_mark_of_a_page_that_is_none(door):
    """Marks come from the page before; anything else is refused, not guessed."""
    for after in ("x", "2026-01-01", "2026-01-01:x"):
        with pytest.raises(Refused):
            await door.books_csv("demo", after=after)


def test_table_shows_amounts_with_the_digits_of_their_currency():
    """Yen without, euro with two, dinar with three; what the provider has not told stays empty."""
    base = {"tenant": "demo", "day": "2026-03-02", "at": "2026-03-02T10:00:00.000Z", "kind": "charge"}
    items = (
        BookItem("a", Match.OURS_ONLY, currency="JPY", ours_minor=500, **base),
        BookItem("b", Match.PROVIDER_ONLY, currency="BHD", gross_minor=1, stated_currency="BHD", **base),
    )
    shown = table_of(
        Reconciliation(
            "demo",
            "2026-03-01",
            "2026-03-02",
            counts={"ours_only": 1, "provider_only": 1},
            differences=2,
            items=items,
            left_off=3,
            days=(BookDay("2026-03-01", 0, 0, closed=True), BookDay("2026-03-02", 2, 2, closed=False)),
            balances={"EUR": {"sales": -1_995, "fees": 0, "unmatched": 1_995}},
            digits={"EUR": 2, "JPY": 0, "BHD": 3},
        )
    ).splitlines()
    assert "  days closed 1, open 1, the first of them 2026-03-02" in shown
    assert ["EUR", "sales", "-19.95"] in [line.split() for line in shown]
    assert [["500", "JPY", "a"], ["0.001", "BHD", "b"]] == [line.split()[-3:] for line in shown[-4:-2]]
    assert ["  and 3 more; --csv writes all", "  2 to look at"] == shown[-2:]
