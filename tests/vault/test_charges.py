"""Attempts over a line that fails: one execution, one key, and an end for every doubt."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.outbox import stamp
from tests.support.shop import Shop, a_row, a_shop
from vault import DeclineReason, PaymentState, Refused, StepState, Why, lookups
from vault.payment import Move, after
from vault.providers.base import AttemptRequest, Outcome
from vault.register import Slot


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same table of lookups, a hundred times as fast."""
    monkeypatch.setattr(lookups, "LOOK_AFTER_S", (0.01, 0.03, 0.08, 0.2))
    monkeypatch.setattr(lookups, "RECONCILE_EVERY_S", 0.1)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with a_shop() as shop:
        yield shop


async def end(shop: Shop, slot: Slot) -> PaymentState:
    await shop.until(lambda: slot.row.state not in {PaymentState.AUTHORISING, PaymentState.UNKNOWN})
    return slot.row.state


def keys_sent(shop: Shop) -> list[str]:
    return [request.attempt_key for name, request in shop.wire.calls if name == "authorise"]


async def times_charged(shop: Shop, slot: Slot) -> int:
    return await shop.host.times_charged(slot.row.provider_ref or "")


@pytest.mark.parametrize("fault", ["lost", "cut"])
async def test_a_lost_attempt_is_charged_once_under_one_key(shop, fault):
    """The caller's payment succeeds all the same: fetched, or sent again with the key it had."""
    shop.wire.faults["authorise"] = [fault]
    slot = await shop.charged()
    assert PaymentState.SETTLED is await end(shop, slot)
    assert (1, {f"{slot.row.payment_id}:authorise:1"}) == (
        await times_charged(shop, slot), set(keys_sent(shop)),
    )  # fmt: skip
    assert Why.UNKNOWN in {fact.why for fact in shop.told}


async def test_an_attempt_that_cannot_arrive_is_fenced_and_may_be_tried_again(shop):
    """Never executed, and certain never to be: a temporary decline, one attempt used."""
    shop.wire.faults["authorise"] = ["dead"]
    slot = await shop.charged()
    assert PaymentState.DECLINED is await end(shop, slot)
    assert slot.row.decline is not None
    assert DeclineReason.TEMPORARY is slot.row.decline.reason
    assert 0 == await times_charged(shop, slot)
    (attempt,) = await shop.store.attempts(slot.row.payment_id)
    assert "fenced" == attempt.raw_code


async def test_an_old_attempt_is_not_sent_again(shop):
    """Past the provider's window its key might run twice: it is only fetched."""
    shop.wire.abilities = replace(shop.wire.abilities, key_window_s=0)
    shop.wire.faults["authorise"] = ["lost"]
    slot = await shop.charged()
    assert PaymentState.DECLINED is await end(shop, slot)
    assert 1 == len(keys_sent(shop))


async def test_no_new_attempt_while_the_outcome_is_unknown(shop):
    """Capture, rekey and cancel say that it is being checked; a second press of charge is the first."""
    shop.wire.faults = {"authorise": ["dead"], "fetch": ["dead"], "fence": ["dead"]}
    slot = await shop.charged()
    assert PaymentState.UNKNOWN is slot.row.state
    for move in (Move.CAPTURE, Move.REKEY, Move.CANCEL, Move.CHARGE):
        with pytest.raises(Refused) as refused:
            after(slot.row.state, move)
        assert "being_checked" == refused.value.code
    async with slot.lock:
        assert 1 == (await shop.charges.charge(slot)).attempt


@pytest.mark.parametrize("fault", ["", "lost", "cut"])
async def test_a_crash_during_an_attempt_charges_once(shop, fault):
    """The run dies with the answer under way; the next one finds out, and the caller has paid once."""
    slot = await shop.ready()
    shop.wire.faults["authorise"] = [fault]
    async with slot.lock:
        await shop.charges.charge(slot)
    await shop.until(lambda: bool(keys_sent(shop)))
    await shop.crash()
    shop.begin()
    await shop.charges.recover()
    again = await shop.register.slot(slot.row.payment_id)
    assert PaymentState.SETTLED is await end(shop, again)
    assert 1 == await times_charged(shop, again)


async def test_a_payment_whose_orphan_is_being_voided_is_not_charged(shop):
    """First the money of the old attempt goes back, then a new one may begin."""
    slot = await shop.ready()
    async with slot.lock:
        await shop.register.move(slot, (), (), step="void")
        with pytest.raises(Refused) as refused:
            await shop.charges.charge(slot)
    assert "step_under_way" == refused.value.code


def only_holds(shop: Shop) -> None:
    """From now on the provider authorises a sale and takes nothing by itself."""
    authorise = shop.host.authorise

    async def hold(request: AttemptRequest, **more: Any) -> Outcome:
        return await authorise(replace(request, settle_later=True), **more)

    shop.host.authorise = hold  # type: ignore[method-assign]


async def test_a_sale_that_is_only_held_is_settled_by_us(shop):
    """Its money is taken at once, by a step of ours."""
    only_holds(shop)
    slot = await shop.charged()
    await shop.until(lambda: slot.row.state is PaymentState.SETTLED)
    assert [("sale", "sale")] == [
        (step.ask_key, step.reason) for step in await shop.store.steps(slot.row.payment_id)
    ]


@pytest.mark.parametrize("fault", ["refused", "killed"])
async def test_a_sale_that_was_held_and_not_settled_is_settled_later(shop, monkeypatch, fault):
    """The line was down, or the run died between the two commits: the upkeep takes it up, once."""
    only_holds(shop)
    if fault == "killed":
        monkeypatch.setattr(shop.charges, "settle_sale", _die)
    shop.wire.faults["settle"] = ["refused"] if fault == "refused" else []
    slot = await shop.charged()
    await shop.until(lambda: not shop.tasks)
    assert PaymentState.AUTHORISED is slot.row.state
    await shop.crash()
    shop.begin()
    for _ in range(2):
        await shop.charges.settle_sales()
    again = await shop.register.slot(slot.row.payment_id)
    await shop.until(lambda: again.row.state is PaymentState.SETTLED)
    assert 1 == [step.state for step in await shop.store.steps(slot.row.payment_id)].count(StepState.DONE)
    assert 3000 == (await shop.host.standing(slot.row.provider_ref or "")).settled_minor


async def _die(_slot: Slot) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(("basis", "age_s"), [("moto_agent", 86_500), ("mit", 700)])
async def test_a_payment_that_nobody_charges_frees_its_reference(shop, basis, age_s):
    """Its call, or whoever named the kept card, has died; a younger one is left alone."""
    now = datetime.now(UTC)
    for number, late_s in enumerate((age_s, age_s - 200)):
        at = stamp(now - timedelta(seconds=late_s))
        row = replace(a_row(number), state=PaymentState.READY, sca_basis=basis, created_at=at, updated_at=at)
        await shop.register.create(row)
    await shop.charges.expire_unwanted()
    rows = await shop.store.of_call("call_one")
    assert [PaymentState.EXPIRED, PaymentState.READY] == [row.state for row in rows]
    assert Why.EXPIRED is shop.told[-1].why
