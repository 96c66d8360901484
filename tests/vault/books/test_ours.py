"""Our side of the books: every change of settled or refunded money, by whatever way it came."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.outbox import Entry, stamp
from vault.books.accounts import BooksError
from vault.books.ours import book_move
from vault.door import PaymentState, StepName, StepState
from vault.payment import Move
from vault.register import Register, Slot
from vault.store import PaymentRow, StepRow, Store

NOW = stamp()
HELD = PaymentRow(
    payment_id="pay_a",
    tenant="demo",
    call_id="call_one",
    leg_id="leg_one",
    agent_id="agent1",
    state=PaymentState.AUTHORISED,
    amount_minor=1_000,
    currency="EUR",
    reference="B-1",
    purpose="booking",
    sca_basis="moto_agent",
    provider="sandbox",
    provider_ref="ref_a",
    created_at=NOW,
    updated_at=NOW,
)
SOLD = replace(HELD, state=PaymentState.SETTLED, settled_minor=1_000, charge_ref="ch_1")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "vault.db")
    yield store
    await store.close()


async def rows(store: Store) -> list[tuple]:
    wanted = "SELECT source, kind, gross_minor, step_ref FROM book_entries ORDER BY entry_id"
    async with store.engine.connect() as conn:
        return [tuple(row) for row in await conn.execute(text(wanted))]


async def moved(store: Store, before: PaymentRow, after: PaymentRow) -> None:
    async with store.changing() as change:
        await book_move(change, before, after)


async def test_register_writes_the_sale_with_the_payment(store):
    """Nobody has to think of the books: the commit of the move has them, and is gone as a whole."""
    async with store.changing() as change:
        await change.insert(HELD)
    register, slot = Register(store, lambda _: None), Slot(HELD)
    money = {"amount_minor": 600, "currency": "EUR"}
    entry = Entry("payment.money.settled", NOW, "system:broker", "pay_a", "demo", "call_one", data=money)
    await register.move(slot, Move.SETTLE, entry, settled_minor=600, charge_ref="ch_1")
    assert [("pay_a:settled:600", "settled", 600, "ch_1")] == await rows(store)


async def test_change_without_money_leaves_the_books_alone(store):
    """A step that is asked for or refused moves nothing."""
    await moved(store, SOLD, replace(SOLD, refunding_minor=500, version=2))
    assert [] == await rows(store)


async def test_refund_carries_the_providers_id_of_its_step(store):
    """The newest one that is done: two equal refunds are told apart by it."""
    steps = [
        StepRow("pay_a", StepName.REFUND, number, f"k{number}", f"a{number}", state, 100, "agent:a", NOW)
        for number, state in enumerate([StepState.DONE, StepState.DONE, StepState.REFUSED], start=1)
    ]
    async with store.changing() as change:
        await change.insert(SOLD)
        for step in steps:
            await change.insert_step(replace(step, step_ref=f"re_{step.number}"))
    await moved(store, SOLD, replace(SOLD, refunded_minor=200))
    assert [("pay_a:refunded:200", "refunded", 200, "re_2")] == await rows(store)


async def test_refund_found_at_the_provider_has_no_id(store):
    """A step that was taken over; the match finds it by its money."""
    await moved(store, SOLD, replace(SOLD, refunded_minor=300))
    assert [("pay_a:refunded:300", "refunded", 300, "")] == await rows(store)


@pytest.mark.parametrize("less", [{"settled_minor": 999}, {"refunded_minor": 99}])
async def test_money_cannot_unhappen(store, less):
    """A bug that takes back a sale or a refund stops at the books, and its commit with it."""
    before = replace(SOLD, refunded_minor=100)
    with pytest.raises(BooksError):
        await moved(store, before, replace(before, **less))
