"""Slots of payments: one per payment while anybody holds it, and never one from an old reading."""

import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.vault.test_store import ENTRY, ROW, insert
from vault.door import PaymentState
from vault.payment import Move
from vault.register import Register
from vault.store import PaymentRow, Store


class SlowStore:
    """A store whose next reading is old before its reader has it: somebody moves the payment meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.register = Register(store, lambda _changed: None)
        self.once = True

    async def payment(self, payment_id: str) -> PaymentRow:
        """The row as it was."""
        row = await self._store.payment(payment_id)
        if self.once:
            self.once = False
            other = await self.register.slot(payment_id)
            await self.register.move(other, Move.EXPIRE, ENTRY)
            del other
            gc.collect()  # nobody holds the slot any more: it is gone, and with it what it knew
        return row


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "vault.db")
    await insert(store, ROW)
    yield store
    await store.close()


async def test_a_payment_that_moved_while_it_was_read_is_read_again(store, monkeypatch):
    """Otherwise the next move would be made on a version that is gone, and refused as stale."""
    slow = SlowStore(store)
    register = slow.register
    monkeypatch.setattr(register, "store", slow)
    slow.register.store.changing = store.changing  # type: ignore[attr-defined]
    slot = await register.slot("pay_a")
    assert (PaymentState.EXPIRED, ROW.version + 1) == (slot.row.state, slot.row.version)


async def test_everybody_who_asks_gets_the_same_slot(store):
    """One lock per payment, for as long as anybody holds it."""
    register = Register(store, lambda _changed: None)
    slot = await register.slot("pay_a")
    assert await register.slot("pay_a") is slot
    assert register.slot_of(ROW) is slot
