"""Money steps over a line that fails: done once, found again, never sent under a second key."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.shop import Shop, a_shop
from vault import PaymentState, Refused, StepName, StepState, Why, lookups
from vault.providers.base import StandingState
from vault.register import Slot
from vault.step import Ask
from vault.store import PAYMENTS

BY = "agent:agent1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same table of lookups, a hundred times as fast."""
    monkeypatch.setattr(lookups, "LOOK_AFTER_S", (0.01, 0.03, 0.08, 0.2))
    monkeypatch.setattr(lookups, "RECONCILE_EVERY_S", 0.1)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with a_shop() as shop:
        yield shop


def refund(amount_minor: int | None = None, key: str = "k") -> Ask:
    return Ask(StepName.REFUND, amount_minor, BY, key)


async def refunded_there(shop: Shop, slot: Slot) -> int:
    """What the provider has given back."""
    return (await shop.host.standing(slot.row.provider_ref or "")).refunded_minor


@pytest.mark.parametrize("fault", ["lost", "cut"])
@pytest.mark.parametrize("name", list(StepName))
async def test_a_lost_step_is_done_once(shop, name, fault):
    """Request or answer lost: unknown, looked up, sent again with its own key only; once at the provider."""
    slot = await shop.charged(settle_later=name is not StepName.REFUND)
    shop.wire.faults[name.value] = [fault]
    await shop.ask(slot, Ask(name, None, BY, "k"))
    await shop.until(lambda: slot.row.step_unknown or slot.row.step is None)
    why = await shop.end_of_step(slot)
    assert why is {"settle": Why.SETTLED, "void": Why.VOIDED, "refund": Why.REFUNDED}[name.value]
    standing = await shop.host.standing(slot.row.provider_ref or "")
    assert {f"{slot.row.payment_id}:{name.value}:1"} <= set(standing.steps)
    assert [1, 2][fault == "lost"] == shop.wire.called(name.value)
    assert Why.STEP_UNKNOWN in {fact.why for fact in shop.told}


async def test_nothing_else_is_done_while_a_step_is_unknown(shop):
    """Neither another refund nor the same amount by another key, until the provider answers again."""
    slot = await shop.charged()
    shop.wire.faults = {"refund": ["cut"], "standing": ["dead"]}
    await shop.ask(slot, refund(1000))
    await shop.until(lambda: slot.row.step_unknown)
    for key in ("other", "third"):
        with pytest.raises(Refused) as refused:
            await shop.ask(slot, refund(1000, key))
        assert refused.value.code == "step_under_way"
    assert (await shop.ask(slot, refund(1000))).step_unknown
    shop.wire.faults.clear()
    assert Why.REFUNDED is await shop.end_of_step(slot)
    assert (1000, 1000, 1) == (
        slot.row.refunded_minor, await refunded_there(shop, slot), shop.wire.called("refund"),
    )  # fmt: skip


async def test_a_step_that_was_never_sent_may_be_asked_for_again(shop):
    """A refused connection is an answer: no money moved, and the next press is a step of its own."""
    slot = await shop.charged()
    shop.wire.faults["refund"] = ["refused"]
    await shop.ask(slot, refund(1000))
    assert Why.STEP_REFUSED is await shop.end_of_step(slot)
    assert (0, 0) == (slot.row.refunded_minor, slot.row.refunding_minor)
    await shop.ask(slot, refund(3000, "second"))
    assert Why.REFUNDED is await shop.end_of_step(slot)
    first, second = await shop.store.steps(slot.row.payment_id)
    assert (StepState.REFUSED, "never_sent", 1) == (first.state, first.raw_code, first.number)
    assert (StepState.DONE, 2) == (second.state, second.number)


async def test_an_old_key_is_never_sent_again(shop):
    """Past the provider's window a lost step is only looked at: unknown to the provider, it never ran."""
    slot = await shop.charged()
    shop.wire.abilities = replace(shop.wire.abilities, key_window_s=0)
    shop.wire.faults["refund"] = ["lost"]
    await shop.ask(slot, refund(1000))
    assert Why.STEP_REFUSED is await shop.end_of_step(slot)
    assert (1, 0) == (shop.wire.called("refund"), await refunded_there(shop, slot))


@pytest.mark.parametrize("fault", ["", "lost", "cut"])
async def test_a_crash_leaves_one_refund(shop, fault):
    """The run dies with the step under way; the next one finds out and brings it to its end."""
    slot = await shop.charged()
    shop.wire.faults = {"refund": [fault], "standing": ["dead"]}
    await shop.ask(slot, refund(1000))
    await shop.until(lambda: shop.wire.called("refund") == 1)
    await shop.crash()
    shop.wire.faults.clear()
    shop.begin()
    await shop.steps.recover()
    again = await shop.register.slot(slot.row.payment_id)
    await shop.end_of_step(again)
    assert 1000 == again.row.refunded_minor == await refunded_there(shop, again)


async def test_the_schema_refuses_what_the_code_should_have(shop):
    """More than was settled, or two steps at once: the database says no, whoever asks."""
    slot = await shop.charged()
    with pytest.raises(Refused) as refused:
        async with shop.store.changing() as change:
            await change.conn.execute(PAYMENTS.update().values(refunding_minor=3001))
    assert refused.value.code == "refund_too_large"
    shop.wire.faults = {"refund": ["cut"], "standing": ["dead"]}
    await shop.ask(slot, refund(1000))
    (step,) = await shop.store.steps(slot.row.payment_id)
    twin = replace(step, number=2, step_key="other", ask_key="other")
    with pytest.raises(Refused) as refused:
        async with shop.store.changing() as change:
            await change.insert_step(twin)
    assert refused.value.code == "step_under_way"


async def test_a_provider_that_only_authorises_a_sale_is_settled_by_us(shop):
    """What the caller has paid for is not left as a hold that lapses."""
    slot = await shop.ready()
    shop.wire._provider = _HoldsOnly(shop.wire._provider)
    async with slot.lock:
        await shop.charges.charge(slot)
    await shop.until(lambda: slot.row.state is PaymentState.SETTLED)
    assert StandingState.SETTLED is (await shop.host.standing(slot.row.provider_ref or "")).state
    (step,) = await shop.store.steps(slot.row.payment_id)
    assert (StepName.SETTLE, "sale") == (step.name, step.reason)


class _HoldsOnly:
    """The sandbox as one that knows no sale."""

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name):
        return getattr(self._provider, name)

    async def authorise(self, request):
        return await self._provider.authorise(replace(request, settle_later=True))
