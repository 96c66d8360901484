"""What a provider holds as true, against our books: taken over, voided, or alarmed."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from tests.support.shop import Shop, a_shop
from vault import PaymentState, StepName, Why, lookups
from vault.providers.base import Notice, StandingState, StepRequest
from vault.register import Slot
from vault.step import Finding
from vault.webhooks import WEBHOOKS, Webhooks


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "LOOK_AFTER_S", (0.01, 0.03, 0.08, 0.2))


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with a_shop() as shop:
        yield shop


def by_hand(slot: Slot, amount_minor: int) -> StepRequest:
    """What somebody does at the provider, without us."""
    return StepRequest(slot.row.provider_ref or "", f"dashboard-{amount_minor}", amount_minor, "EUR")


async def test_a_settle_at_the_provider_is_taken_over(shop):
    """Settled in part by hand: our books follow, with a step that says so."""
    slot = await shop.charged(settle_later=True)
    await shop.host.take_step("settle", by_hand(slot, 2000))
    assert Finding.SETTLED is await shop.inquiry.look(slot)
    assert (PaymentState.SETTLED, 2000) == (slot.row.state, slot.row.settled_minor)
    assert ["found"] == [step.reason for step in await shop.store.steps(slot.row.payment_id)]
    assert Finding.AGREES is await shop.inquiry.look(slot)


async def test_a_refund_at_the_provider_is_taken_over(shop):
    """Each cent once, also when some of it was ours."""
    slot = await shop.charged()
    await shop.host.take_step("refund", by_hand(slot, 700))
    await shop.host.take_step("refund", by_hand(slot, 300))
    assert Finding.REFUNDED is await shop.inquiry.look(slot)
    assert (1000, PaymentState.SETTLED) == (slot.row.refunded_minor, slot.row.state)
    assert Finding.AGREES is await shop.inquiry.look(slot)
    assert 1 == (await shop.entries()).count("payment.money.refunded")


async def test_a_void_at_the_provider_is_taken_over(shop):
    """The hold is gone before its time: given back by hand."""
    slot = await shop.charged(settle_later=True)
    await shop.host.take_step("void", by_hand(slot, 3000))
    assert Finding.VOIDED is await shop.inquiry.look(slot)
    assert PaymentState.VOIDED is slot.row.state
    assert "payment.hold.voided" in await shop.entries()


async def test_a_hold_that_lapsed_is_marked_by_the_sweep(shop):
    """The bank has let go at the moment the provider named; our books say so and nobody settles any more."""
    slot = await shop.charged(settle_later=True)
    await shop.inquiry.look_at_holds()
    assert PaymentState.AUTHORISED is slot.row.state
    shop.now_s = 8 * 86_400
    async with slot.lock:
        await shop.register.move(slot, (), (), hold_until="2020-01-01T00:00:00.000Z")
    await shop.inquiry.look_at_holds()
    assert (PaymentState.VOIDED, "") == (slot.row.state, slot.row.hold_until)
    assert Why.HOLD_LAPSED is shop.told[-1].why
    assert "payment.hold.lapsed" in await shop.entries()


async def test_an_orphan_that_is_only_held_is_voided(shop):
    """Executed at the provider after our books gave the attempt up: the money goes back by itself."""
    slot = await shop.charged(settle_later=True)
    await _forget_the_approval(shop, slot)
    assert Finding.HELD is await shop.inquiry.look(slot)
    await shop.until(lambda: slot.row.step is None)
    assert PaymentState.DECLINED is slot.row.state
    assert StandingState.VOIDED is (await shop.host.standing(slot.row.provider_ref or "")).state
    assert {"payment.orphan.noticed", "payment.orphan.voided"} <= set(await shop.entries())
    (step,) = await shop.store.steps(slot.row.payment_id)
    assert (StepName.VOID, "orphan") == (step.name, step.reason)


async def test_an_orphan_that_was_taken_is_alarmed_once_and_not_touched(shop):
    """Giving money back that nobody asked for is a decision for a person."""
    slot = await shop.charged()
    await _forget_the_approval(shop, slot)
    assert Finding.TAKEN is await shop.inquiry.look(slot)
    assert Finding.TAKEN is await shop.inquiry.look(slot)
    assert 1 == (await shop.entries()).count("payment.orphan.noticed")
    assert 0 == (await shop.host.standing(slot.row.provider_ref or "")).refunded_minor
    assert () == await shop.store.steps(slot.row.payment_id)


async def test_many_questions_at_once_are_few_lookups(shop):
    """A flood of webhooks about one payment costs the provider two calls, not a flood."""
    slot = await shop.charged()
    for _ in range(50):
        shop.inquiry.look_soon(slot)
    await shop.until(lambda: not shop.tasks)
    assert shop.wire.called("standing") <= 2


async def test_a_provider_that_does_not_answer_changes_nothing(shop):
    """No answer is no finding."""
    slot = await shop.charged()
    shop.wire.faults["standing"] = ["dead"]
    before = slot.row
    assert await shop.inquiry.look(slot) is None
    assert before == slot.row


async def test_a_lost_attempt_is_found_by_a_hint_before_its_next_lookup(shop, monkeypatch):
    """The answer was lost; a webhook makes us ask at once."""
    monkeypatch.setattr(lookups, "LOOK_AFTER_S", (60.0, 120.0))
    shop.wire.faults["authorise"] = ["cut"]
    began = time.monotonic()
    slot = await shop.charged()
    assert PaymentState.UNKNOWN is slot.row.state
    await shop.inquiry.look(slot)
    assert (PaymentState.SETTLED, 3000) == (slot.row.state, slot.row.settled_minor)
    assert time.monotonic() - began < 10


async def test_an_attempt_that_never_ran_is_looked_up_once_more(shop, monkeypatch):
    """Minutes after it was given up: had it run all the same, its money would be found and sent back."""
    monkeypatch.setattr("vault.inquiry.DOUBT_S", 0.0)
    slot = await shop.charged(settle_later=True)
    await _forget_the_approval(shop, slot)
    async with shop.store.changing() as change:
        await change.conn.exec_driver_sql("UPDATE attempts SET raw_code = 'never_sent'")
    await shop.inquiry.look_at_doubts()
    await shop.until(lambda: slot.row.step is None)
    assert StandingState.VOIDED is (await shop.host.standing(slot.row.provider_ref or "")).state
    asked = shop.wire.called("standing")
    await shop.inquiry.look_at_doubts()
    assert asked == shop.wire.called("standing")


async def _forget_the_approval(shop: Shop, slot: Slot) -> None:
    """Our books as they would be, had they given up an attempt that was executed all the same."""
    async with shop.store.changing() as change:
        await change.conn.exec_driver_sql(
            "UPDATE payments SET state = 'declined', settled_minor = 0, hold_until = ''"
        )
    slot.row = replace(slot.row, state=PaymentState.DECLINED, settled_minor=0, hold_until="")


async def test_a_webhook_waits_for_a_provider_that_does_not_answer(shop):
    """Looked at again until there is an answer, also by the next run; then it is done with."""
    slot = await shop.charged()
    await shop.host.take_step("refund", by_hand(slot, 700))
    shop.wire.faults["standing"] = ["dead"]
    hinted(shop, slot.row.provider_ref or "")
    assert await webhooks_of(shop).take("demo", "sandbox", {}, b"{}") is True
    await shop.until(lambda: not shop.tasks)
    assert ("taken", 0) == (await state_of_inbox(shop), slot.row.refunded_minor)
    shop.begin()
    hooks = webhooks_of(shop)
    await hooks.look_again()
    assert "taken" == await state_of_inbox(shop)
    shop.wire.faults.clear()
    await hooks.look_again()
    again = await shop.register.slot(slot.row.payment_id)
    assert ("looked", 700) == (await state_of_inbox(shop), again.row.refunded_minor)


def hinted(shop: Shop, provider_ref: str) -> None:
    """Every webhook from now on points there."""
    notice = Notice("evt_one", "2026-01-02T03:04:05Z", "charge.refunded", provider_ref)
    shop.wire._provider.parse_webhook = lambda *_: notice  # type: ignore[method-assign]


def webhooks_of(shop: Shop) -> Webhooks:
    """The inbox of this run; the sandbox needs no secret here."""
    keys = SimpleNamespace(secrets=lambda *_: ())
    return Webhooks(shop.register, shop.router, keys, shop.inquiry, shop.spawn)  # type: ignore[arg-type]


async def state_of_inbox(shop: Shop) -> str:
    async with shop.store.engine.connect() as conn:
        return str((await conn.execute(select(WEBHOOKS.c.state))).scalar_one())
