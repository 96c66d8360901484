"""The journal: each fact once, for ever, at zero, in days that are open."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from audit.outbox import stamp
from vault.books import journal
from vault.books.accounts import OURS, BookAccount, BookKind, BooksError, Fact, balances, lines_of
from vault.store import Store

AT = "2026-03-02T10:00:00.000Z"
SALE = Fact(BookKind.SETTLED, "pay_a:settle:1", "demo", "EUR", AT, 1_000, payment_id="pay_a")

BACKDATED = """INSERT INTO book_entries
(source, kind, tenant, currency, day, at, gross_minor, fee_minor, payment_id, provider, provider_ref,
 step_ref, reason, written_at)
SELECT 'x', kind, tenant, currency, '2026-03-03', at, gross_minor, fee_minor, payment_id, provider,
       provider_ref, step_ref, reason, written_at FROM book_entries WHERE tenant = 'demo'"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "vault.db")
    yield store
    await store.close()


async def written(store: Store, *facts: Fact) -> list[bool]:
    async with store.changing() as change:
        return [await journal.book(change, fact) for fact in facts]


async def rows(store: Store, statement: str) -> list[tuple]:
    async with store.engine.connect() as conn:
        return [tuple(row) for row in await conn.execute(text(statement))]


async def run(store: Store, statement: str) -> None:
    """One statement of somebody who does not go through our code."""
    async with store.engine.begin() as conn:
        await conn.execute(text(statement))


async def test_fact_told_twice_is_written_once(store):
    """The source is the key: a restart that tells it again changes nothing."""
    assert [True, False] == await written(store, SALE, replace(SALE, at=stamp()))
    assert [("unmatched", 1_000), ("sales", -1_000)] == await rows(
        store, "SELECT account, amount_minor FROM book_postings"
    )


@pytest.mark.parametrize("change", [{"gross_minor": 999}, {"tenant": "other"}, {"currency": "HUF"}])
async def test_known_source_with_other_money_is_refused(store, change):
    """Two facts that share a key would lose one of them in silence."""
    await written(store, SALE)
    with pytest.raises(BooksError):
        await written(store, replace(SALE, **change))


async def test_entry_and_payment_are_one_commit(store):
    """What the transaction takes back, the books never had."""
    other = replace(SALE, source="pay_b:settle:1", gross_minor=0)
    with pytest.raises(BooksError):
        await written(store, SALE, other)
    assert [] == await rows(store, "SELECT * FROM book_entries")


@pytest.mark.parametrize("table", ["book_entries", "book_lines", "book_days"])
@pytest.mark.parametrize("act", ["DELETE FROM {}", "UPDATE {} SET rowid = rowid + 1"])
async def test_nothing_is_changed_or_deleted(store, table, act):
    """The schema refuses it, whoever asks."""
    await written(store, SALE)
    async with store.changing() as change:
        await journal.close_day(change.conn, "demo", "2026-03-02", 1)
    with pytest.raises(DBAPIError):
        await run(store, act.format(table))


@pytest.mark.parametrize(
    "values",
    ["'sales', 'fees', 0", "'sales', 'fees', -5", "'sales', 'sales', 5", "'sales', 'pocket', 5"],
)
async def test_schema_holds_no_line_that_does_not_balance(store, values):
    """Nothing at zero or below, nothing from an account to itself, no account that does not exist."""
    await written(store, SALE)
    wanted = "INSERT INTO book_lines (entry_id, debit, credit, amount_minor) VALUES (1, {})"
    with pytest.raises(IntegrityError):
        await run(store, wanted.format(values))


async def test_fact_of_a_closed_day_counts_for_the_first_open_one(store):
    """A statement that comes late does not change what was closed; the schema says so too."""
    async with store.changing() as change:
        await journal.close_day(change.conn, "demo", "2026-03-02", 0)
        await journal.close_day(change.conn, "demo", "2026-03-03", 0)
    await written(store, SALE, replace(SALE, source="pay_b:settle:1", tenant="other"))
    assert [("demo", "2026-03-04", AT), ("other", "2026-03-02", AT)] == await rows(
        store, "SELECT tenant, day, at FROM book_entries"
    )
    with pytest.raises(DBAPIError):
        await run(store, BACKDATED)


async def test_moment_without_a_zone_is_refused(store):
    """A local time would put an entry into the wrong day."""
    for wrong in ("2026-03-02T10:00:00", "yesterday"):
        with pytest.raises(BooksError):
            await written(store, replace(SALE, at=wrong))


async def test_balances_are_kept_apart_by_tenant_and_currency(store):
    """Every one of them at zero by itself."""
    yen = replace(SALE, source="b", currency="JPY", gross_minor=7)
    await written(store, SALE, yen, replace(SALE, source="c", tenant="other"))
    async with store.engine.connect() as conn:
        found = await journal.totals(conn, "demo")
    assert {"EUR": -1_000, "JPY": -7} == {each: of[BookAccount.SALES] for each, of in found.items()}
    assert {0} == {sum(of.values()) for of in found.values()}


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """Facts of two tenants in two currencies, some of them told more than once, in any order."""
    facts = []
    for number in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(BookKind))
        gross = draw(st.integers(1, 10**9) if kind in OURS else st.integers(-(10**9), 10**9))
        fee = 0 if kind in OURS else draw(st.integers(-(10**6), 10**6))
        tenant, currency = draw(st.sampled_from(["demo", "other"])), draw(st.sampled_from(["EUR", "BHD"]))
        facts.append(Fact(kind, f"fact:{number}", tenant, currency, AT, gross, fee))
    return [*facts, *draw(st.lists(st.sampled_from(facts), max_size=3))]


@settings(max_examples=15, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_history_in_any_order_sums_to_zero(facts: list[Fact], order: random.Random):
    """Each entry, each tenant and currency, and the whole; and the order leaves no trace."""
    once = list({fact.source: fact for fact in facts}.values())
    told = list(facts)
    order.shuffle(told)

    async def play() -> tuple[list[tuple], dict[str, dict[str, dict[BookAccount, int]]]]:
        with tempfile.TemporaryDirectory() as folder:
            store = await Store.open(Path(folder) / "vault.db")
            await written(store, *told)
            sums = await rows(
                store,
                "SELECT entry_id, sum(amount_minor) FROM book_postings GROUP BY entry_id, currency",
            )
            async with store.engine.connect() as conn:
                totals = {tenant: await journal.totals(conn, tenant) for tenant in ("demo", "other")}
            await store.close()
            return sums, totals

    sums, totals = asyncio.run(play())
    assert {0} >= {total for _, total in sums}
    for tenant, currencies in totals.items():
        for currency, found in currencies.items():
            same = [fact for fact in once if (fact.tenant, fact.currency) == (tenant, currency)]
            expected = balances(tuple(line for fact in same for line in lines_of(fact)))
            assert expected == found
            assert 0 == sum(found.values())
