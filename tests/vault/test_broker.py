"""The broker with a real spawner, real cells and real media: what a desk can do and what it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from itertools import count

import pytest

from tests.support.zone import CVV, EXPIRY, VISA, Desk, ZoneProcesses, desk_at, running_zone
from vault import (
    DeclineReason,
    Field,
    FieldProblem,
    FieldState,
    NextStep,
    Payment,
    PaymentState,
    Refused,
    Why,
)
from vault.captures import SWEEP_S
from vault.payment import ATTEMPTS_MAX

CANARY = "9999001234567891"
_numbers = count(1)


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneProcesses]:
    with running_zone() as zone:
        yield zone


@pytest.fixture
async def desk(zone: ZoneProcesses) -> AsyncIterator[Desk]:
    async with desk_at(zone, f"n{next(_numbers)}") as desk:
        yield desk


def states(payment: Payment) -> dict[Field, FieldState]:
    return {each.field: each.state for each in payment.fields}


async def refusal(asked) -> str:
    """The code of the refusal; its sentence says what to do."""
    with pytest.raises(Refused) as refused:
        await asked
    assert refused.value.sentence.endswith((".", "?"))
    return refused.value.code


# --- the main job -------------------------------------------------------------------------------------------


async def test_caller_keys_and_agent_charges(zone, desk):
    """From created to authorised: SECURE before the first key, money moved once, a receipt to read out."""
    created = await desk.created()
    assert (PaymentState.CREATED, 1, False) == (created.state, created.version, created.capture_live)
    opened = await desk.door.open_capture(created.payment_id)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    assert (PaymentState.CAPTURING, True, True) == (opened.state, opened.secure, opened.capture_live)
    assert FieldState.OPEN is states(opened)[Field.PAN]
    await desk.press(f"{VISA}#{EXPIRY}{CVV}")
    ready = await desk.state(PaymentState.READY)
    assert ("visa", "4242", False) == (ready.brand, ready.last4, ready.secure)
    charging = await desk.door.charge(created.payment_id)
    assert (PaymentState.AUTHORISING, 1) == (charging.state, charging.attempt)
    paid = await desk.result()
    assert paid.receipt is not None
    assert paid.receipt.isdigit()
    assert (1, False) == (zone.times_charged(paid.payment_id), paid.capture_live)
    assert paid == await desk.door.payment(paid.payment_id)
    assert (paid,) == await desk.door.payments_of_call(desk.call_id)


async def test_facts_are_told_in_order_without_a_digit(desk):
    """One fact per step, numbered without gaps; counts, brand and last 4 are all that anybody learns."""
    await desk.ready()
    fresh = [changed for changed in desk.all_told if changed.why is not Why.KEY]
    assert [
        Why.CREATED,
        Why.CAPTURE_OPENED,
        Why.FIELD_OPENED,
        Why.FIELD_COMPLETE,
        Why.FIELD_OPENED,
        Why.FIELD_COMPLETE,
        Why.FIELD_OPENED,
        Why.FIELD_COMPLETE,
        Why.READY,
    ] == [changed.why for changed in fresh]
    numbers = [changed.seq for changed in desk.all_told]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    keys = [changed.payment.fields for changed in desk.all_told if changed.why is Why.KEY]
    assert len(VISA + EXPIRY + CVV) == len(keys)
    text = json.dumps([asdict(changed) for changed in desk.all_told])
    assert VISA[:6] not in text
    assert EXPIRY not in text


async def test_leg_returns_to_normal_after_the_capture(zone, desk):
    """SECURE lasts until the pipe is closed and the caller quiet, then the agent hears the caller again."""
    await desk.ready()
    await desk.eventually(lambda: zone.mode_of(desk.leg_id) == "NORMAL")


async def test_wrong_digit_is_keyed_again(desk):
    """A PAN that fails Luhn empties its field; the capture goes on."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    await desk.press("4242424242424241#")
    told = await desk.why(Why.FIELD_PROBLEM)
    assert (Field.PAN, FieldProblem.LUHN) == (told.field, told.problem)
    assert told.payment.last4 is None
    await desk.press(f"{VISA}#{EXPIRY}{CVV}")
    assert "4242" == (await desk.state(PaymentState.READY)).last4


async def test_amex_has_fifteen_digits_and_four_of_cvv(desk):
    """Lengths come from the brand."""
    payment = await desk.ready("378282246310005", "1234")
    assert ("amex", "0005") == (payment.brand, payment.last4)


# --- declines and retries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pan", "reason", "step", "open_field", "again"),
    [
        ("4000000000000127", DeclineReason.CVV_WRONG, NextStep.REKEY_CVV, Field.CVV, CVV),
        ("4000000000000119", DeclineReason.TEMPORARY, NextStep.REKEY_CVV, Field.CVV, CVV),
        ("4000000000000069", DeclineReason.EXPIRY_WRONG, NextStep.REKEY_EXPIRY, Field.EXPIRY, EXPIRY + CVV),
    ],
)
async def test_retry_asks_only_for_what_is_needed(zone, desk, pan, reason, step, open_field, again):
    """After a decline the same cell keeps PAN and expiry; the CVV is always asked for again."""
    declined = await desk.charged(pan=pan)
    assert declined.decline is not None
    assert (reason, step, True) == (
        declined.decline.reason,
        declined.decline.next_step,
        declined.decline.retry_allowed,
    )
    assert declined.capture_live
    cells = zone.cells()
    opened = await desk.door.open_capture(declined.payment_id)
    assert cells == zone.cells()
    assert (FieldState.OPEN, FieldState.COMPLETE) == (states(opened)[open_field], states(opened)[Field.PAN])
    assert opened.decline is None
    await desk.press(again)
    await desk.state(PaymentState.READY)
    await desk.door.charge(declined.payment_id)
    paid = await desk.result()
    assert (2, 1, 1) == (paid.attempt, paid.attempts_left, zone.times_charged(paid.payment_id))


@pytest.mark.parametrize(
    ("pan", "reason"),
    [
        ("4000000000009995", DeclineReason.FUNDS),
        ("4000000000000002", DeclineReason.GENERIC),
        ("4000000000009987", DeclineReason.GENERIC),
        ("4000000000009979", DeclineReason.GENERIC),
    ],
)
async def test_other_declines_want_another_card(desk, pan, reason):
    """Lost and stolen are told as generic; a retry begins with the PAN of another card."""
    declined = await desk.charged(pan=pan)
    assert declined.decline is not None
    assert (reason, NextStep.OTHER_CARD) == (declined.decline.reason, declined.decline.next_step)
    opened = await desk.door.open_capture(declined.payment_id)
    assert (None, None) == (opened.brand, opened.last4)
    assert FieldState.OPEN is states(opened)[Field.PAN]
    assert FieldState.WAITING is states(opened)[Field.EXPIRY]
    await desk.press(f"5555555555554444#{EXPIRY}{CVV}")
    assert "mastercard" == (await desk.state(PaymentState.READY)).brand


async def test_third_decline_ends_the_payment(zone, desk):
    """Three attempts, then another way to pay; no cell stays for it."""
    payment = await desk.charged(pan="4000000000000002")
    for attempt in range(2, ATTEMPTS_MAX + 1):
        await desk.door.open_capture(payment.payment_id)
        await desk.press(f"4000000000000002#{EXPIRY}{CVV}")
        await desk.state(PaymentState.READY)
        await desk.door.charge(payment.payment_id)
        payment = await desk.state(PaymentState.DECLINED)
        assert attempt == payment.attempt
    assert payment.decline is not None
    assert (NextStep.NOTHING, False) == (payment.decline.next_step, payment.decline.retry_allowed)
    assert (False, 0) == (payment.capture_live, zone.times_charged(payment.payment_id))
    assert "attempts_used" == await refusal(desk.door.open_capture(payment.payment_id))
    assert "attempts_used" == await refusal(desk.door.rekey(payment.payment_id, Field.CVV))


async def test_bank_that_wants_online_confirmation_ends_in_needs_action(desk):
    """On a telephone nobody can confirm online: the payment needs another channel."""
    assert PaymentState.NEEDS_ACTION is (await desk.charged(pan="4000002760003184")).state


async def test_pan_outside_the_test_cards_is_refused(desk):
    """Nobody keys a real card into the sandbox; the expiry stays, PAN and CVV are asked for again."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    await desk.press(f"{CANARY}#{EXPIRY}{CVV}")
    told = await desk.until(lambda changed: changed.problem is FieldProblem.REFUSED_BY_PROVIDER)
    assert (Field.PAN, True) == (told.field, told.payment.secure)
    await desk.why(Why.FIELD_OPENED)
    await desk.press(f"{VISA}#{CVV}")
    assert "visa" == (await desk.state(PaymentState.READY)).brand


# --- keying again, talking, confirming ----------------------------------------------------------------------


async def test_field_is_keyed_again_while_capturing(desk):
    """The agent reopens a field; what is complete stays complete."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    await desk.press(f"{VISA}#{EXPIRY}")
    await desk.until(lambda changed: changed.why is Why.FIELD_OPENED and changed.field is Field.CVV)
    rekeyed = await desk.door.rekey(created.payment_id, Field.EXPIRY)
    found = states(rekeyed)
    assert (FieldState.COMPLETE, FieldState.OPEN) == (found[Field.PAN], found[Field.EXPIRY])
    await desk.until(lambda changed: changed.field is Field.EXPIRY and changed.why is Why.FIELD_OPENED)
    await desk.press(EXPIRY + CVV)
    await desk.state(PaymentState.READY)


async def test_field_is_keyed_again_from_ready(zone, desk):
    """Ready goes back to capturing, SECURE again before the field opens, with a new token afterwards."""
    ready = await desk.ready()
    rekeyed = await desk.door.rekey(ready.payment_id, Field.PAN)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    assert (PaymentState.CAPTURING, None) == (rekeyed.state, rekeyed.last4)
    await desk.why(Why.FIELD_OPENED)
    await desk.press(f"5555555555554444#{CVV}")
    assert "4444" == (await desk.state(PaymentState.READY)).last4


async def test_help_and_talk_pause_the_capture(zone, desk):
    """The caller's ** opens the TALK gate; keys are ignored until the agent ends the pause."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    await desk.press("4242**")
    await desk.why(Why.HELP_ASKED)
    started = await desk.why(Why.TALK_STARTED)
    assert (True, False, 15) == (started.payment.talking, started.payment.secure, started.seconds_left)
    assert zone.mode_of(desk.leg_id) == "TALK"
    await desk.press("99")
    ended = await desk.door.talk(created.payment_id, on=False)
    assert (False, True) == (ended.talking, ended.secure)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    await desk.why(Why.TALK_ENDED)
    assert ended == await desk.door.talk(created.payment_id, on=False)
    await desk.press("*")
    assert Why.FIELD_CLEARED is (await desk.why(Why.TALK_ENDED, Why.FIELD_CLEARED)).why, "told once"
    await desk.press(f"{VISA}#{EXPIRY}{CVV}")
    await desk.state(PaymentState.READY)


async def test_caller_confirms_in_place_of_a_lost_agent(zone, desk):
    """CONFIRM takes a single 1; until then nothing is charged."""
    ready = await desk.ready()
    asked = await desk.door.ask_confirm(ready.payment_id)
    assert (FieldState.OPEN, True) == (states(asked)[Field.CONFIRM], asked.secure)
    assert "not_confirmed" == await refusal(desk.door.charge(ready.payment_id))
    await desk.press("1")
    confirmed = (await desk.why(Why.CONFIRMED)).payment
    assert (PaymentState.READY, False) == (confirmed.state, confirmed.secure)
    await desk.door.charge(ready.payment_id)
    await desk.result()
    assert zone.times_charged(ready.payment_id) == 1


async def test_three_other_keys_are_a_no(desk):
    """Whoever does not press 1 has not confirmed; the payment stays ready and can be cancelled."""
    ready = await desk.ready()
    await desk.door.ask_confirm(ready.payment_id)
    await desk.press("222")
    told = await desk.why(Why.FIELD_PROBLEM)
    assert (Field.CONFIRM, FieldProblem.CONFIRM_REFUSED) == (told.field, told.problem)
    await desk.door.cancel(ready.payment_id, "flow")
    assert PaymentState.CANCELLED is (await desk.why(Why.CANCELLED)).payment.state


# --- refusals leave everything as it was --------------------------------------------------------------------


async def test_second_capture_on_a_call_is_refused(desk):
    """One capture per call; the second payment stays created and can be captured later."""
    first, second = await desk.created(), await desk.created()
    await desk.door.open_capture(first.payment_id)
    assert "capture_open" == await refusal(desk.door.open_capture(second.payment_id))
    assert second == await desk.door.payment(second.payment_id)
    await desk.door.cancel(first.payment_id, "agent1")
    assert PaymentState.CAPTURING is (await desk.door.open_capture(second.payment_id)).state


@pytest.mark.parametrize("call", ["", "call_elsewhere"])
async def test_two_captures_at_one_moment_do_not_disturb_each_other(zone, desk, call):
    """One leg, two payments opened at once, of one call or of two: one wins, and its caller can key."""
    first, second = await desk.created(), await desk.created(call_id=call or desk.call_id)
    opened = await asyncio.gather(
        *(desk.door.open_capture(each.payment_id) for each in (first, second)), return_exceptions=True
    )
    won = next(each for each in opened if isinstance(each, Payment))
    lost = next(each for each in opened if isinstance(each, Refused))
    assert "capture_open" == lost.code
    await asyncio.sleep(SWEEP_S + 0.2)
    assert zone.mode_of(desk.leg_id) == "SECURE"
    await desk.press(f"{VISA}#{EXPIRY}{CVV}")
    await asyncio.sleep(0.5)
    assert PaymentState.READY is (await desk.door.payment(won.payment_id)).state
    await desk.door.cancel(won.payment_id, "agent1")
    await desk.eventually(lambda: zone.mode_of(desk.leg_id) == "NORMAL")


async def test_capture_on_a_dead_leg_is_refused(zone, desk):
    """Media knows no such leg; the payment stays created and no cell stays behind."""
    cells = len(zone.cells())
    created = await desk.created(leg_id="leg_gone")
    assert "leg_unknown" == await refusal(desk.door.open_capture(created.payment_id))
    assert created == await desk.door.payment(created.payment_id)
    await desk.eventually(lambda: len(zone.cells()) <= cells)


async def test_charge_before_ready_is_refused(desk):
    """Not from created, not while the caller keys."""
    created = await desk.created()
    assert "not_ready" == await refusal(desk.door.charge(created.payment_id))
    await desk.door.open_capture(created.payment_id)
    assert "not_ready" == await refusal(desk.door.charge(created.payment_id))
    assert PaymentState.CAPTURING is (await desk.door.payment(created.payment_id)).state


async def test_charge_pressed_twice_is_one_attempt(zone, desk):
    """Impatient agents, and consoles that ask again, move money once."""
    ready = await desk.ready(amount_minor=1971)
    first = await desk.door.charge(ready.payment_id)
    assert first == await desk.door.charge(ready.payment_id)
    assert "not_cancellable" == await refusal(desk.door.cancel(ready.payment_id, "agent1"))
    assert "not_capturable" == await refusal(desk.door.open_capture(ready.payment_id))
    assert "not_rekeyable" == await refusal(desk.door.rekey(ready.payment_id, Field.PAN))
    paid = await desk.result()
    assert paid == await desk.door.charge(ready.payment_id)
    assert (1, 1) == (paid.attempt, zone.times_charged(paid.payment_id))


async def test_reference_is_paid_once(desk):
    """A booking is refused while its first payment may move money; a cancelled payment frees it."""
    first = await desk.created(reference="B-777")
    assert "reference_taken" == await refusal(desk.created(reference="B-777"))
    await desk.door.cancel(first.payment_id, "agent1")
    await desk.created(reference="B-777")


async def test_payments_that_may_not_exist_are_refused(desk):
    """The rules of a new payment hold at the door."""
    assert "tenant_unknown" == await refusal(desk.created(tenant="nobody"))
    assert "amount_zero" == await refusal(desk.created(amount_minor=0))
    assert "bad_request" == await refusal(desk.created(amount_minor="5"))
    assert "payment_unknown" == await refusal(desk.door.payment("pay_none"))
    assert () == await desk.door.payments_of_call(desk.call_id)


async def test_talk_and_confirm_need_their_state(desk):
    """There is nothing to pause before a capture, and nothing to confirm before ready."""
    created = await desk.created()
    assert "not_capturing" == await refusal(desk.door.talk(created.payment_id, on=True))
    assert "not_ready" == await refusal(desk.door.ask_confirm(created.payment_id))
    assert "not_rekeyable" == await refusal(desk.door.rekey(created.payment_id, Field.CVV))
    await desk.door.open_capture(created.payment_id)
    assert "not_rekeyable" == await refusal(desk.door.rekey(created.payment_id, Field.CONFIRM))


async def test_end_of_call_cancels_what_is_unfinished(zone, desk):
    """Created, capturing and ready payments are cancelled; their cells are gone within a second."""
    cells = len(zone.cells())
    ready = await desk.ready()
    capturing = await desk.created()
    await desk.door.open_capture(capturing.payment_id)
    await desk.door.end_call(desk.call_id)
    states_now = {each.state for each in await desk.door.payments_of_call(desk.call_id)}
    assert {PaymentState.CANCELLED} == states_now
    assert not (await desk.door.payment(ready.payment_id)).capture_live
    await desk.eventually(lambda: len(zone.cells()) == cells, within_s=1.0)
    await desk.eventually(lambda: zone.mode_of(desk.leg_id) == "NORMAL")


async def test_end_of_call_lets_a_charge_come_to_its_result(zone, desk):
    """The caller may hang up while the bank thinks; the result counts."""
    ready = await desk.ready(amount_minor=1971)
    await desk.door.charge(ready.payment_id)
    await desk.door.end_call(desk.call_id)
    assert (await desk.result()).paid
    assert zone.times_charged(ready.payment_id) == 1


@pytest.mark.parametrize("tenant", ["demo", "direct"])
async def test_nothing_is_kept_for_a_retry_when_the_call_is_over(zone, desk, tenant):
    """A decline that comes after the hang-up has nobody to key again: the cell ends with the result."""
    cells = len(zone.cells())
    ready = await desk.ready("4000000000000002", amount_minor=1971, tenant=tenant)
    await desk.door.charge(ready.payment_id)
    await desk.door.end_call(desk.call_id)
    assert not (await desk.state(PaymentState.DECLINED)).capture_live
    await desk.eventually(lambda: len(zone.cells()) == cells, within_s=1.0)


async def test_closed_leg_cancels_the_capture(zone, desk):
    """A caller whose leg is gone cannot key; it is the end of the call, whoever says so first."""
    created = await desk.created()
    await desk.door.open_capture(created.payment_id)
    zone.media("close_leg", leg_id=desk.leg_id)
    assert PaymentState.CANCELLED is (await desk.why(Why.CANCELLED)).payment.state


# --- lost answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["demo", "direct"])
async def test_lost_answer_is_fetched_and_never_sent_again(zone, desk, tenant):
    """The answer is lost after execution: unknown first, then what the provider says, charged once."""
    ready = await desk.ready(amount_minor=1972, tenant=tenant)
    await desk.door.charge(ready.payment_id)
    unknown = await desk.state(PaymentState.UNKNOWN)
    assert "being_checked" == await refusal(desk.door.open_capture(unknown.payment_id))
    paid = await desk.result()
    provider = {"demo": "sandbox", "direct": "sandbox_direct"}[tenant]
    assert (1, 1) == (paid.attempt, zone.times_charged(paid.payment_id, provider))


async def test_late_result_is_waited_for(zone, desk):
    """The provider itself does not know for five seconds; the third fetch finds the result."""
    ready = await desk.ready(amount_minor=1973)
    await desk.door.charge(ready.payment_id)
    await desk.state(PaymentState.UNKNOWN)
    await desk.result()
    assert zone.times_charged(ready.payment_id) == 1


@pytest.mark.slow
async def test_lost_request_is_fenced_before_a_retry(zone, desk):
    """Never executed counts only after 20 s and a fence; then the CVV is asked for again."""
    ready = await desk.ready(amount_minor=1974)
    await desk.door.charge(ready.payment_id)
    await desk.state(PaymentState.UNKNOWN)
    declined = await desk.state(PaymentState.DECLINED, within_s=25.0)
    assert declined.decline is not None
    assert (DeclineReason.TEMPORARY, NextStep.REKEY_CVV) == (
        declined.decline.reason,
        declined.decline.next_step,
    )
    await desk.door.open_capture(declined.payment_id)
    await desk.press(CVV)
    await desk.state(PaymentState.READY)
    await desk.door.charge(declined.payment_id)
    await desk.result()
    assert zone.times_charged(ready.payment_id) == 1


async def test_request_never_sent_is_a_temporary_decline(zone, desk):
    """Nothing left us: no doubt, only another try."""
    ready = await desk.ready(amount_minor=1975)
    await desk.door.charge(ready.payment_id)
    declined = await desk.state(PaymentState.DECLINED, PaymentState.UNKNOWN)
    assert declined.decline is not None
    assert (DeclineReason.TEMPORARY, 0) == (declined.decline.reason, zone.times_charged(ready.payment_id))


async def test_provider_without_tokens_is_charged_by_the_cell(zone, desk):
    """PAN and CVV stay in the cell until the charge; a retry after a decline keys the CVV again."""
    declined = await desk.charged(tenant="direct", pan="4000000000000127")
    assert declined.decline is not None
    await desk.door.open_capture(declined.payment_id)
    await desk.press(CVV)
    await desk.state(PaymentState.READY)
    await desk.door.charge(declined.payment_id)
    paid = await desk.result()
    assert zone.times_charged(paid.payment_id, "sandbox_direct") == 1
