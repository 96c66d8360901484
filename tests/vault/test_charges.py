"""Attempts over a line that fails: one execution, one key, and an end for every doubt."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.shop import Shop, a_shop
from vault import DeclineReason, PaymentState, Refused, Why, lookups
from vault.payment import Move, after
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
