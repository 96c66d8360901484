"""A tenant with two providers, through the door of a real broker: when a payment goes on, when it stays."""

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from tests.support.zone import CVV, EXPIRY, VISA, Desk, ZoneProcesses, desk_at, running_zone
from vault import DeclineReason, NextStep, Payment, PaymentState, Refused, Why

ROUTE = 'providers = ["sandbox_direct", "sandbox"]'
_numbers = count(1)


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneProcesses]:
    with running_zone() as zone:
        zone.kill("broker")
        zone.write_tenant("careful")
        zone.write_tenant("eager")
        for name, more in (("careful", ""), ("eager", "cascade = true\n")):
            file = zone.tenants_dir / f"{name}.toml"
            file.write_text(file.read_text().replace('provider = "sandbox"', ROUTE) + more)
        zone.start("broker")
        yield zone


@pytest.fixture
async def desk(zone: ZoneProcesses) -> AsyncIterator[Desk]:
    async with desk_at(zone, f"r{next(_numbers)}") as desk:
        yield desk


def charged_at(zone: ZoneProcesses, payment: Payment) -> tuple[int, int]:
    """How often the preferred and the second provider authorised the payment."""
    first, second = (zone.times_charged(payment.payment_id, name) for name in ("sandbox_direct", "sandbox"))
    return first, second


async def again(desk: Desk, payment: Payment, keys: str) -> Payment:
    """The next attempt, with what the caller keys now."""
    await desk.door.open_capture(payment.payment_id)
    await desk.press(keys)
    await desk.state(PaymentState.READY)
    await desk.door.charge(payment.payment_id)
    return await desk.result()


async def test_attempt_that_was_never_sent_goes_on_to_the_next_provider(zone, desk):
    """The card is keyed again, because what the first provider knows of it means nothing to the second."""
    declined = await desk.charged(tenant="careful", amount_minor=1975)
    assert declined.decline is not None
    assert (DeclineReason.TEMPORARY, NextStep.REKEY_PAN) == (
        declined.decline.reason,
        declined.decline.next_step,
    )
    paid = await again(desk, declined, f"{VISA}#{EXPIRY}{CVV}")
    assert (PaymentState.SETTLED, 2, (0, 1)) == (paid.state, paid.attempt, charged_at(zone, paid))


async def test_lost_attempt_stays_and_blocks_until_it_is_found(zone, desk):
    """Executed, answer lost: no second provider, whatever anybody presses meanwhile."""
    ready = await desk.ready(tenant="careful", amount_minor=1972)
    await desk.door.charge(ready.payment_id)
    await desk.state(PaymentState.UNKNOWN)
    with pytest.raises(Refused):
        await desk.door.open_capture(ready.payment_id)
    paid = await desk.result()
    assert ((1, 0), True) == (charged_at(zone, paid), paid.paid)


async def test_step_goes_to_the_provider_of_the_charge(zone, desk):
    """Charged at the second provider, refunded there, although the first one is preferred."""
    declined = await desk.charged(tenant="careful", amount_minor=1975)
    paid = await again(desk, declined, f"{VISA}#{EXPIRY}{CVV}")
    await desk.door.refund(paid.payment_id, ask_key="one", by="agent:agent1", amount_minor=500)
    refunded = (await desk.why(Why.REFUNDED)).payment
    assert (500, (0, 1)) == (refunded.refunded_minor, charged_at(zone, paid))


@pytest.mark.parametrize(("tenant", "where"), [("careful", (1, 0)), ("eager", (0, 1))])
async def test_decline_for_a_passing_reason_goes_on_only_where_that_is_wanted(zone, desk, tenant, where):
    """By default the card is tried again where it was declined."""
    declined = await desk.charged(tenant=tenant, pan="4000000000000119")
    assert declined.decline is not None
    moved = declined.decline.next_step is NextStep.REKEY_PAN
    assert moved is (tenant == "eager")
    keys = f"{VISA}#{EXPIRY}{CVV}" if moved else CVV
    paid = await again(desk, declined, keys)
    assert (PaymentState.SETTLED, where) == (paid.state, charged_at(zone, paid))


async def test_hard_decline_goes_nowhere(zone, desk):
    """Even where passing reasons may go on."""
    declined = await desk.charged(tenant="eager", pan="4000000000009979")
    paid = await again(desk, declined, f"{VISA}#{EXPIRY}{CVV}")
    assert (PaymentState.SETTLED, (1, 0)) == (paid.state, charged_at(zone, paid))
