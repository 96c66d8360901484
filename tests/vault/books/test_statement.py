"""The provider's statement: each entry once, windows that overlap, payouts that become known later."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.statement import Statement, entry
from vault.books import statement
from vault.books.accounts import BooksError
from vault.books.statement import BATCH, STATEMENT, Feed, read_feed
from vault.store import Store

NOW = datetime(2026, 3, 10, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "vault.db")
    yield store
    await store.close()


async def rows(store: Store) -> dict[str, statement.StatementRow]:
    async with store.engine.connect() as conn:
        return {row.entry_id: row for row in await statement.rows_where(conn, STATEMENT.c.tenant == "demo")}


def feed(*entries) -> tuple[Feed, Statement]:
    told = Statement(entries)
    return Feed("demo", "sandbox", told), told


async def test_window_read_twice_stores_each_entry_once(store):
    """The second run finds nothing new, however many batches the first one took."""
    mine, _ = feed(*(entry(f"e{number}", 100) for number in range(BATCH * 2 + 3)))
    assert [BATCH * 2 + 3, 0] == [await read_feed(store, mine, NOW) for _ in range(2)]
    assert BATCH * 2 + 3 == len(await rows(store))


async def test_next_window_overlaps_the_last_one(store):
    """An entry that the provider dated back is still found."""
    mine, told = feed(entry("first", 100, payout_ref="po"))
    await read_feed(store, mine, NOW)
    told.entries += [entry("late", 200, made_at="2026-03-08T00:00:00Z")]
    assert 1 == await read_feed(store, mine, NOW + timedelta(days=1))


async def test_window_goes_back_to_the_oldest_entry_without_a_payout(store):
    """So that the payout of an old entry becomes known, up to a limit."""
    mine, told = feed(entry("old", 100, made_at="2026-02-20T00:00:00Z"))
    await read_feed(store, mine, NOW)
    told.entries[0] = replace(told.entries[0], payout_ref="po_1", available_on="2026-03-11")
    await read_feed(store, mine, NOW + timedelta(days=1))
    assert "2026-02-20T00:00:00.000Z" == told.asked[-1][0]
    found = (await rows(store))["old"]
    assert ("po_1", "2026-03-11", False) == (found.payout_ref, found.available_on, found.restated)
    await read_feed(store, mine, NOW + timedelta(days=100))
    assert "2026-05-09T00:00:00.000Z" == told.asked[-1][0]


async def test_entry_with_other_money_than_before_is_marked(store):
    """The books keep what was stated first; the difference is shown, and stays shown."""
    mine, told = feed(entry("e", 100))
    await read_feed(store, mine, NOW)
    first = told.entries[0]
    told.entries[0] = replace(first, gross_minor=90, net_minor=90)
    await read_feed(store, mine, NOW)
    told.entries[0] = first
    await read_feed(store, mine, NOW)
    found = (await rows(store))["e"]
    assert (100, True) == (found.gross_minor, found.restated)


@pytest.mark.parametrize("changes", [{"net_minor": 99}, {"entry_id": ""}, {"made_at": "2026-03-01"}])
async def test_entry_that_cannot_be_right_stops_the_run(store, changes):
    """Gross, fee and net that do not add up, no id, no time zone: a fault of the adapter, said loudly."""
    mine, _ = feed(replace(entry("e", 100), **changes))
    with pytest.raises(BooksError):
        await read_feed(store, mine, NOW)


async def test_run_that_breaks_off_is_read_again(store):
    """The cursor moves only after the whole window; what was stored before is not stored twice."""
    mine, told = feed(*(entry(f"e{number}", 100) for number in range(BATCH + 50)))
    told.breaks_after = BATCH + 10
    with pytest.raises(ConnectionError):
        await read_feed(store, mine, NOW)
    assert BATCH == len(await rows(store))
    told.breaks_after = None
    assert 50 == await read_feed(store, mine, NOW)
    assert told.asked[0] == told.asked[1]


async def test_moments_are_stored_in_utc_with_milliseconds(store):
    """Providers write seconds of the epoch, offsets or Z; a day is a day of UTC."""
    mine, _ = feed(entry("e", 100, made_at="2026-03-02T01:30:00+02:00"))
    await read_feed(store, mine, NOW)
    found = (await rows(store))["e"]
    assert ("2026-03-01T23:30:00.000Z", "2026-03-01") == (found.made_at, found.day)
