"""Money steps through the door: the broker as a process, the sandbox's books, and kills between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from tests.support.zone import Desk, ZoneProcesses, desk_at, running_zone
from vault import Payment, PaymentState, Refused, Search, StepName, StepState, Why

BY = "agent:agent1"
_numbers = count(1)


@pytest.fixture(scope="module")
def house() -> Iterator[ZoneProcesses]:
    with running_zone() as zone:
        yield zone


@pytest.fixture
def zone(house: ZoneProcesses) -> ZoneProcesses:
    house.heal()
    return house


@pytest.fixture
async def desk(zone: ZoneProcesses) -> AsyncIterator[Desk]:
    async with desk_at(zone, f"s{next(_numbers)}") as desk:
        yield desk


async def refusal(asked) -> str:
    with pytest.raises(Refused) as refused:
        await asked
    return refused.value.code


async def held(desk: Desk, **changes) -> Payment:
    """A pre-authorisation that the bank has agreed to."""
    return await desk.charged(settle_later=True, **changes)


async def test_a_sale_is_paid_and_refunded_in_parts(zone, desk):
    """Settled with the authorisation; two refunds, and not one cent more than was paid."""
    paid = await desk.charged(amount_minor=3000)
    assert (PaymentState.SETTLED, 3000, True, None) == (paid.state, paid.settled_minor, paid.paid, paid.step)
    begun = await desk.door.refund(paid.payment_id, ask_key="one", by=BY, amount_minor=1000)
    assert StepName.REFUND is begun.step
    part = (await desk.why(Why.REFUNDED)).payment
    assert (PaymentState.SETTLED, 1000, None) == (part.state, part.refunded_minor, part.step)
    too_much = desk.door.refund(paid.payment_id, ask_key="two", by=BY, amount_minor=2001)
    assert "refund_too_large" == await refusal(too_much)
    await desk.door.refund(paid.payment_id, ask_key="three", by=BY, reason="mistake")
    whole = (await desk.why(Why.REFUNDED)).payment
    assert (PaymentState.REFUNDED, 3000, False) == (whole.state, whole.refunded_minor, whole.paid)
    assert zone.waiting().count("payment.money.refunded") == 2
    assert "not_refundable" == await refusal(desk.door.refund(paid.payment_id, ask_key="four", by=BY))


async def test_a_repeated_request_is_one_refund(zone, desk):
    """The same key while it runs and after it has ended; another use of the key is refused."""
    paid = await desk.charged(amount_minor=3000)
    asked = {"ask_key": "press", "by": BY, "amount_minor": 700}
    await desk.door.refund(paid.payment_id, **asked)
    await desk.door.refund(paid.payment_id, **asked)
    await desk.why(Why.REFUNDED)
    again = await desk.door.refund(paid.payment_id, **asked)
    assert (700, None) == (again.refunded_minor, again.step)
    assert "ask_key_reused" == await refusal(
        desk.door.refund(paid.payment_id, ask_key="press", by=BY, amount_minor=1)
    )
    assert "ask_key_reused" == await refusal(desk.door.settle(paid.payment_id, ask_key="press", by=BY))


async def test_a_hold_is_settled_in_part(desk):
    """The customer pays less than was held; the rest is free again, and cannot be settled or refunded."""
    payment = await held(desk, amount_minor=5000)
    assert (PaymentState.AUTHORISED, 0, True) == (payment.state, payment.settled_minor, payment.paid)
    assert payment.hold_until > payment.created_at
    assert "settle_too_large" == await refusal(
        desk.door.settle(payment.payment_id, ask_key="x", by=BY, amount_minor=5001)
    )
    assert "not_refundable" == await refusal(desk.door.refund(payment.payment_id, ask_key="y", by=BY))
    await desk.door.settle(payment.payment_id, ask_key="one", by=BY, amount_minor=2000)
    settled = (await desk.why(Why.SETTLED)).payment
    assert (PaymentState.SETTLED, 2000, "") == (settled.state, settled.settled_minor, settled.hold_until)
    assert "refund_too_large" == await refusal(
        desk.door.refund(payment.payment_id, ask_key="two", by=BY, amount_minor=2001)
    )
    assert "not_voidable" == await refusal(desk.door.void(payment.payment_id, ask_key="three", by=BY))


async def test_a_voided_hold_frees_its_reference(desk):
    """What was held goes back, and the booking can be paid anew."""
    payment = await held(desk, amount_minor=5000)
    assert "reference_taken" == await refusal(desk.created(reference=payment.reference))
    await desk.door.void(payment.payment_id, ask_key="one", by=BY)
    voided = (await desk.why(Why.VOIDED)).payment
    assert (PaymentState.VOIDED, False) == (voided.state, voided.paid)
    assert PaymentState.CREATED is (await desk.created(reference=payment.reference)).state


async def test_history_tells_attempts_and_steps_without_a_raw_code(desk):
    """A decline, a retry, a refund, in their order; the reason is what an agent may know."""
    declined = await desk.charged("4000000000000127")
    await desk.door.open_capture(declined.payment_id)
    await desk.press("123")
    await desk.state(PaymentState.READY)
    await desk.door.charge(declined.payment_id)
    await desk.result()
    await desk.door.refund(declined.payment_id, ask_key="one", by=BY, amount_minor=5, reason="duplicate")
    await desk.why(Why.REFUNDED)
    history = await desk.door.history(declined.payment_id)
    assert [(1, PaymentState.DECLINED, "cvv_wrong"), (2, PaymentState.SETTLED, None)] == [
        (each.attempt, each.state, each.decline) for each in history.attempts
    ]
    (step,) = history.steps
    assert (StepName.REFUND, 1, 5, StepState.DONE, BY, "duplicate") == (
        step.name, step.number, step.amount_minor, step.state, step.by, step.reason,
    )  # fmt: skip
    assert "moto_agent" == history.attempts[0].sca_basis


async def test_payments_are_found_by_reference_and_in_pages(desk):
    """By reference, by receipt, by call; newest first, page by page, each payment once."""
    paid = await desk.charged()
    others = [await desk.created() for _ in range(3)]
    for wanted in ({"reference": paid.reference}, {"receipt": paid.receipt}):
        assert (paid,) == (await desk.door.search(Search("demo", **wanted))).payments
    first = await desk.door.search(Search("demo", call_id=desk.call_id, limit=2))
    rest = await desk.door.search(Search("demo", call_id=desk.call_id, limit=2, before=first.next))
    ids = [each.payment_id for page in (first, rest) for each in page.payments]
    assert [*(each.payment_id for each in reversed(others)), paid.payment_id] == ids
    assert "" == rest.next
    assert "tenant_unknown" == await refusal(desk.door.search(Search("nobody")))


@pytest.mark.parametrize(
    "after_s", [0.01, *(pytest.param(one, marks=pytest.mark.proof) for one in (0.0, 0.03))]
)
async def test_a_kill_at_any_moment_of_a_refund_gives_back_once(zone, desk, after_s):
    """Before, during or after commit and execution: the provider gave back what our books say, once."""
    paid = await desk.charged(amount_minor=3000)
    asking = asyncio.create_task(desk.door.refund(paid.payment_id, ask_key="k", by=BY, amount_minor=1200))
    await asyncio.sleep(after_s)
    zone.kill("broker")
    await asyncio.gather(asking, return_exceptions=True)
    zone.start("broker")
    known = await desk.door.payment(paid.payment_id)
    while known.step is not None:
        await asyncio.sleep(0.1)
        known = await desk.door.payment(paid.payment_id)
    again = await desk.door.refund(paid.payment_id, ask_key="k", by=BY, amount_minor=1200)
    if again.step is not None:
        await desk.why(Why.REFUNDED)
    assert 1200 == (await desk.door.payment(paid.payment_id)).refunded_minor
    assert [1200] == zone.steps_done(paid.payment_id)
