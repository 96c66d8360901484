"""Payments at the desk: what an agent may do; every refusal is a problem document and changes nothing."""

import asyncio
from typing import Any

import pytest

from pay_ivr.catalogue import Catalogue, say_key
from tests.agent_api.conftest import BODY, DeskHouse, problem
from vault import Decline, DeclineReason, NextStep, PaymentState


async def test_a_payment_goes_from_created_to_authorised(house: DeskHouse) -> None:
    """The whole way of an agent: create, capture, charge, result with a receipt."""
    payment_id = await house.payment_on_call()
    captured = await (await house.post(f"/v1/payments/{payment_id}/capture")).json()
    house.board.hurry(payment_id)
    ready = await (await house.get(f"/v1/payments/{payment_id}")).json()
    charged = await (await house.post(f"/v1/payments/{payment_id}/charge")).json()
    assert (captured["state"], captured["secure"]) == ("capturing", True)
    assert (ready["state"], ready["brand"], ready["last4"]) == ("ready", "visa", "4242")
    assert (charged["state"], charged["state_text"], charged["receipt"]) == (
        "authorised",
        "Approved",
        "2047 1183",
    )


async def test_fields_tell_counts_and_problems_in_words(house: DeskHouse) -> None:
    """The desk learns how many digits are keyed and what was wrong, in the agent's language."""
    payment_id = await house.payment_on_call()
    await house.post(f"/v1/payments/{payment_id}/capture")
    for _ in range(5):
        house.board.key(payment_id)
    payment = await (await house.get(f"/v1/payments/{payment_id}")).json()
    assert payment["fields"][0] == {
        "field": "pan",
        "state": "open",
        "digits": 5,
        "problem": None,
        "problem_text": None,
    }


async def test_a_decline_tells_the_agent_why_and_what_to_say_in_the_callers_language(
    house: DeskHouse,
) -> None:
    """The reason is in the agent's words, the sentence to say in the caller's, no raw codes."""
    house.board.bank = Decline(DeclineReason.CVV_WRONG, NextStep.REKEY_CVV, retry_allowed=True)
    call = house.board.bridge("demo", "agent2", language="fr-FR")
    payment_id = (await (await house.pay(call.call_id, "agent2")).json())["payment_id"]
    await house.post(f"/v1/payments/{payment_id}/capture", user="agent2")
    house.board.hurry(payment_id)
    declined = await (await house.post(f"/v1/payments/{payment_id}/charge", user="agent2")).json()
    decline = declined["decline"]
    assert (declined["state"], decline["reason"]) == ("declined", "cvv_wrong")
    words = Catalogue()
    assert decline["reason_text"] == words.label("de-DE", DeclineReason.CVV_WRONG)
    assert decline["say_text"] == words.text("fr-FR", say_key(DeclineReason.CVV_WRONG))
    assert decline["next_step"] == "rekey_cvv"


async def test_retry_captures_again_only_after_a_decline(house: DeskHouse) -> None:
    """Retry needs a decline; then only what the decline asks for is open."""
    payment_id = await house.payment_on_call()
    await problem(await house.post(f"/v1/payments/{payment_id}/retry"), 409, "not_declined")
    house.board.bank = Decline(DeclineReason.CVV_WRONG, NextStep.REKEY_CVV, retry_allowed=True)
    await house.post(f"/v1/payments/{payment_id}/capture")
    house.board.hurry(payment_id)
    await house.post(f"/v1/payments/{payment_id}/charge")
    again = await (await house.post(f"/v1/payments/{payment_id}/retry")).json()
    assert [one["state"] for one in again["fields"]] == ["complete", "complete", "open"]


async def test_rekey_talk_and_cancel_reach_the_switchboard(house: DeskHouse) -> None:
    """Each button is one route."""
    payment_id = await house.payment_on_call()
    await house.post(f"/v1/payments/{payment_id}/capture")
    talking = await (await house.post(f"/v1/payments/{payment_id}/talk", {"on": True})).json()
    house.board.finish_field(payment_id)
    rekeyed = await (await house.post(f"/v1/payments/{payment_id}/rekey", {"field": "pan"})).json()
    cancelled = await (await house.post(f"/v1/payments/{payment_id}/cancel")).json()
    assert talking["talking"] is True
    assert rekeyed["fields"][0]["state"] == "open"
    assert cancelled["state"] == "cancelled"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"amount_minor": 0}, 422, "body_invalid"),
        ({"amount_minor": -5}, 422, "body_invalid"),
        ({"amount_minor": 10**15}, 422, "body_invalid"),
        ({"amount_minor": 500_001}, 422, "amount_too_large"),
        ({"amount_minor": 19.95}, 422, "body_invalid"),
        ({"amount_minor": "1995"}, 422, "body_invalid"),
        ({"amount_minor": True}, 422, "body_invalid"),
        ({"amount_minor": None}, 422, "body_invalid"),
        ({"currency": "XXX"}, 422, "currency_not_offered"),
        ({"currency": "eur"}, 422, "body_invalid"),
        ({"purpose": "gambling"}, 422, "purpose_unknown"),
        ({"reference": ""}, 422, "body_invalid"),
        ({"reference": "a" * 41}, 422, "body_invalid"),
        ({"reference": "<script>"}, 422, "body_invalid"),
        ({"reference": "\ud800"}, 422, "body_invalid"),
        ({"surprise": 1}, 422, "body_invalid"),
    ],
)
async def test_a_wrong_payment_is_refused_and_nothing_is_created(
    house: DeskHouse, changes: dict[str, Any], status: int, code: str
) -> None:
    """Each wrong field has its problem document; no payment appears."""
    call = house.board.bridge("demo", "agent1")
    await problem(await house.pay(call.call_id, **changes), status, code)
    assert house.board.payments_of(call.call_id) == ()


@pytest.mark.parametrize("missing", ["amount_minor", "currency", "reference", "purpose"])
async def test_each_field_of_a_payment_is_required(house: DeskHouse, missing: str) -> None:
    """There is no default for anything that is about money."""
    call = house.board.bridge("demo", "agent1")
    body = {name: value for name, value in BODY.items() if name != missing}
    answer = await house.post(
        f"/v1/calls/{call.call_id}/payments", body, **{"Idempotency-Key": "missing-field"}
    )
    document = await problem(answer, 422, "body_invalid")
    assert document["fields"] == [{"field": missing, "problem": "missing"}]


@pytest.mark.parametrize(
    "reference", ["4242424242424242", "4242 4242 4242 4242", "INV-7 4242-4242-4242-4242", "1 378282246310005"]
)
async def test_a_pan_typed_into_the_reference_is_refused_and_not_repeated(
    house: DeskHouse, reference: str
) -> None:
    """What an agent types may be a PAN that the caller said: it goes nowhere, not even into the answer."""
    call = house.board.bridge("demo", "agent1")
    document = await problem(await house.pay(call.call_id, reference=reference), 422, "pan_not_allowed")
    assert "4242" not in str(document)
    assert "3782" not in str(document)


async def test_unknown_names_in_a_body_are_not_repeated(house: DeskHouse) -> None:
    """A name that the schema does not know is input as well."""
    call = house.board.bridge("demo", "agent1")
    answer = await house.pay(call.call_id, **{"4242424242424242": 1})
    assert "4242" not in await answer.text()


async def test_a_second_capture_on_one_call_is_refused(house: DeskHouse) -> None:
    """One cell, one capture: the second payment stays created."""
    call = house.board.bridge("demo", "agent1")
    first = (await (await house.pay(call.call_id)).json())["payment_id"]
    second = (await (await house.pay(call.call_id, reference="INV 2043")).json())["payment_id"]
    await house.post(f"/v1/payments/{first}/capture")
    await problem(await house.post(f"/v1/payments/{second}/capture"), 409, "capture_open")
    assert house.board.payment(second).state is PaymentState.CREATED


async def test_a_capture_on_a_dead_call_is_refused(house: DeskHouse) -> None:
    """After the caller has gone nothing is captured."""
    payment_id = await house.payment_on_call()
    house.board.end(house.board.payment(payment_id).call_id)
    before = house.board.payment(payment_id)
    await problem(await house.post(f"/v1/payments/{payment_id}/capture"), 409, "call_ended")
    await problem(await house.pay(before.call_id, reference="INV 9"), 409, "call_ended")
    assert house.board.payment(payment_id) == before


async def test_charge_before_ready_and_charge_twice_are_refused(house: DeskHouse) -> None:
    """Charge is possible once, from ready."""
    payment_id = await house.payment_on_call()
    await problem(await house.post(f"/v1/payments/{payment_id}/charge"), 409, "not_ready")
    await house.post(f"/v1/payments/{payment_id}/capture")
    await problem(await house.post(f"/v1/payments/{payment_id}/charge"), 409, "not_ready")
    house.board.hurry(payment_id)
    assert (await house.post(f"/v1/payments/{payment_id}/charge")).status == 200
    before = house.board.payment(payment_id)
    await problem(await house.post(f"/v1/payments/{payment_id}/charge"), 409, "not_ready")
    assert house.board.payment(payment_id) == before


async def test_talk_needs_an_open_capture_and_a_boolean(house: DeskHouse) -> None:
    """A text that looks true is not true."""
    payment_id = await house.payment_on_call()
    await problem(await house.post(f"/v1/payments/{payment_id}/talk", {"on": True}), 409, "not_capturing")
    await problem(await house.post(f"/v1/payments/{payment_id}/talk", {"on": "true"}), 422, "body_invalid")
    await problem(await house.post(f"/v1/payments/{payment_id}/rekey", {"field": "pin"}), 422, "body_invalid")


@pytest.mark.parametrize("action", ["capture", "retry", "charge", "cancel"])
@pytest.mark.parametrize("user", ["agent2", "stranger"])
async def test_a_foreign_payment_is_unknown_and_stays_as_it_was(
    house: DeskHouse, action: str, user: str
) -> None:
    """A colleague and another tenant get the same answer as for an id that never was; the log hears of it."""
    payment_id = await house.payment_on_call()
    before = house.board.payment(payment_id)
    await problem(await house.post(f"/v1/payments/{payment_id}/{action}", user=user), 404, "payment_unknown")
    await problem(await house.post(f"/v1/payments/pay_never/{action}", user=user), 404, "payment_unknown")
    assert house.board.payment(payment_id) == before


async def test_a_payment_on_a_foreign_call_is_refused(house: DeskHouse) -> None:
    """Only the agent on the call may take a payment."""
    call = house.board.bridge("demo", "agent1")
    await problem(await house.pay(call.call_id, "agent2"), 404, "call_unknown")
    await problem(await house.pay(call.call_id, "stranger"), 404, "call_unknown")
    await problem(await house.pay("call_never"), 404, "call_unknown")
    assert house.board.payments_of(call.call_id) == ()


async def test_the_same_idempotency_key_is_the_same_payment(house: DeskHouse) -> None:
    """Twice the same request makes one payment; another body under the key is refused."""
    call = house.board.bridge("demo", "agent1")
    path, key = f"/v1/calls/{call.call_id}/payments", {"Idempotency-Key": "one"}
    await house.log_in()
    first, second = await asyncio.gather(house.post(path, BODY, **key), house.post(path, BODY, **key))
    other = await house.post(path, {**BODY, "amount_minor": 1}, **key)
    assert (await first.json())["payment_id"] == (await second.json())["payment_id"]
    await problem(other, 409, "idempotency_mismatch")
    assert len(house.board.payments_of(call.call_id)) == 1


async def test_a_refused_payment_frees_its_idempotency_key(house: DeskHouse) -> None:
    """Nothing was created, so the same key may try again."""
    call = house.board.bridge("demo", "agent1")
    path, key = f"/v1/calls/{call.call_id}/payments", {"Idempotency-Key": "again"}
    await problem(await house.post(path, {**BODY, "currency": "CHF"}, **key), 422, "currency_not_offered")
    assert (await house.post(path, BODY, **key)).status == 201


@pytest.mark.parametrize("key", [None, "", "x" * 65])
async def test_a_payment_needs_a_sound_idempotency_key(house: DeskHouse, key: str | None) -> None:
    """Without a key a repeated request could be a second payment."""
    call = house.board.bridge("demo", "agent1")
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await house.post(f"/v1/calls/{call.call_id}/payments", BODY, **headers)
    await problem(answer, 400, "idempotency_key_needed")


async def test_integrators_read_payments_of_their_tenant_only_and_steer_none(house: DeskHouse) -> None:
    """An access key reads; taking money needs a person on the call."""
    payment_id = await house.payment_on_call()
    url, key = f"{house.url}/v1/payments/{payment_id}", await house.key()
    assert (await house.http.get(url, headers=key)).status == 200
    await problem(await house.http.get(url, headers=await house.key("other")), 404, "payment_unknown")
    await problem(await house.http.post(url + "/capture", headers=key), 403, "not_for_access_keys")
    assert house.board.payment(payment_id).state is PaymentState.CREATED


async def test_an_integrator_gets_a_code_that_a_caller_can_take_once(house: DeskHouse) -> None:
    """The code opens exactly this payment, for one caller at a time."""
    answer = await house.http.post(
        f"{house.url}/v1/payment-codes", json={**BODY, "valid_s": 3600}, headers=await house.key()
    )
    code = (await answer.json())["code"]
    now_ms = int(house.clock.now * 1000)
    taken = await house.codes.take(code, "4930555", now_ms, tenant="demo")
    again = await house.codes.take(code, "4930555", now_ms, tenant="demo")
    assert answer.status == 201
    assert taken is not None
    assert (taken.amount_minor, taken.currency, taken.reference) == (1995, "EUR", "INV 2042")
    assert again is None


async def test_codes_are_for_integrators(house: DeskHouse) -> None:
    """An agent takes payments on calls, he issues no codes."""
    await problem(await house.post("/v1/payment-codes", {**BODY, "valid_s": 3600}), 403, "not_for_agents")
