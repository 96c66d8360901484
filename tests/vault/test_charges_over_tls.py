"""The simulation's faults with real sockets: charges, steps and provider against the simulator over TLS."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.shop import NAME, Shop, a_row, a_shop
from tests.support.stripe_ends import StripeEnds, stripe_ends
from vault import lookups
from vault.door import PaymentState, StepName
from vault.proof.stripe_faults import Fault
from vault.providers import _stripe_wire
from vault.providers._stripe_answers import SETTLING_S
from vault.providers._stripe_sdk import stripe as sdk
from vault.register import Slot
from vault.router import Router
from vault.step import Ask

LOOKS_MAX, LOOKS_EVERY_S = 60, 0.1
UNKNOWN = {PaymentState.AUTHORISING, PaymentState.UNKNOWN}


@pytest.fixture
async def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StripeEnds]:
    """Whoever waits, waits for tenths of a second: what comes when is proved with a virtual clock."""
    monkeypatch.setattr(sdk.HTTPClient, "INITIAL_DELAY", 0.01)
    monkeypatch.setattr(sdk.HTTPClient, "MAX_DELAY", 0.02)
    monkeypatch.setattr(_stripe_wire, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr(lookups, "LOOK_AFTER_S", (0.02, 0.05, 0.1))
    monkeypatch.setattr(lookups, "RECONCILE_EVERY_S", 0.1)
    async with stripe_ends(tmp_path) as ends:
        yield ends


@pytest.fixture
async def shop(ends: StripeEnds) -> AsyncIterator[Shop]:
    async with a_shop() as shop:
        await shop.router.close()
        shop.router = Router({"demo": (NAME,)}, {("demo", NAME): ends.broker})
        shop.begin()
        yield shop


async def charged(shop: Shop, ends: StripeEnds) -> Slot:
    """A payment whose attempt is certain."""
    row = replace(a_row(0), token=(await ends.tokenise()).token)
    await shop.register.create(row)
    slot = await shop.register.slot(row.payment_id)
    async with slot.lock:
        await shop.charges.charge(slot)
    await shop.until(lambda: slot.row.state is not PaymentState.AUTHORISING)
    for _ in range(LOOKS_MAX):
        if slot.row.state not in UNKNOWN:
            break
        ends.sim.skip(SETTLING_S + 1)  # every attempt that is sent again begins anew to settle
        await asyncio.sleep(LOOKS_EVERY_S)
    return slot


@pytest.mark.parametrize("fault", Fault)
async def test_a_lost_attempt_is_charged_once_and_reported_or_neither(shop, ends, fault):
    """One fault the SDK survives, three it does not; the end is certain and the same on both sides."""
    for _ in range(3):
        ends.sim.host.faults.order(fault, path_end="/confirm")
    slot = await charged(shop, ends)
    assert ends.charged() == int(slot.row.state is PaymentState.SETTLED)
    assert slot.row.state in {PaymentState.SETTLED, PaymentState.DECLINED}


@pytest.mark.parametrize("fault", Fault)
async def test_a_lost_refund_is_made_once_and_reported_or_neither(shop, ends, fault):
    """What went back there has gone back here."""
    slot = await charged(shop, ends)
    for _ in range(3):
        ends.sim.host.faults.order(fault, method="POST", path_end="/refunds")
    await shop.ask(slot, Ask(StepName.REFUND, 500, "agent:agent1", "one"))
    await shop.until(lambda: slot.row.step is None)
    there = sum(refund["amount"] for refund in ends.sim.host.books.every("refund"))
    assert slot.row.refunded_minor == there
    assert there in {0, 500}
