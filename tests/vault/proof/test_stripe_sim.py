"""The real SDK over real TLS against the simulator: what Stripe promises, and what goes wrong on the way."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp import web

from tests.support import stripe_contract
from tests.support.stripe_sim import StripeSim, simulator
from vault.proof.stripe_faults import Fault
from vault.proof.stripe_webhooks import DeliveryPlan
from vault.providers._stripe_config import Config
from vault.providers._stripe_wire import Wire
from vault.providers.base import NotSentError

ORDER: dict[str, Any] = {"amount": 1995, "currency": "eur", "allowed_payment_method_types": ["card"]}
CARD: dict[str, Any] = {
    "type": "card",
    "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"},
}
SECRET = "whsec_of_a_test"


@pytest.fixture
async def sim(short_dir: Path) -> AsyncIterator[StripeSim]:
    plan = DeliveryPlan(delay_s_max=0.2, twice_share=0.4)
    async with simulator(short_dir, plan=plan) as made:
        yield made


@pytest.fixture
async def wire(sim: StripeSim, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    """The broker's own transport, with little patience."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0.02)
    made = Wire(Config(api_base=sim.url, ca_file=str(sim.ca_file)))
    made._timeout = aiohttp.ClientTimeout(sock_connect=1.0, sock_read=0.3)
    yield made
    await made.close_async()


@pytest.fixture
def api(sim: StripeSim, wire: Wire) -> Any:
    return api_of(sim, wire, "full")


def api_of(sim: StripeSim, wire: Wire, role: str) -> Any:
    """The SDK's v1 services with one of the account's keys."""
    client = stripe.StripeClient(
        sim.keys[role], http_client=wire, max_network_retries=2, base_addresses={"api": sim.url}
    )
    return client.v1


async def paid(api: Any, key: str) -> Any:
    """A payment that has succeeded."""
    intent = await api.payment_intents.create_async(ORDER, {"idempotency_key": f"{key}:pi"})
    method = await api.payment_methods.create_async(CARD)
    moto = {"card": {"moto": True}}
    confirm = {"payment_method": method.id, "payment_method_options": moto, "expand": ["latest_charge"]}
    return await api.payment_intents.confirm_async(intent.id, confirm, {"idempotency_key": f"{key}:confirm"})


async def test_a_telephone_order_is_charged_once_and_refunded_up_to_its_amount(
    sim: StripeSim, api: Any
) -> None:
    """Create, tokenise, confirm, refund in parts, one refund too many; the SDK's types know each call."""
    with stripe_contract.watched() as seen:
        done = await paid(api, "a")
        assert ("succeeded", True) == (done.status, done.latest_charge.payment_method_details.card.moto)
        for amount in (995, 1000):
            await api.refunds.create_async({"payment_intent": done.id, "amount": amount})
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await api.refunds.create_async({"payment_intent": done.id, "amount": 1})
    assert "charge_already_refunded" == caught.value.code
    assert 6 == len(seen)
    assert 1 == len(sim.host.successful_charges())


async def test_the_same_key_is_replayed_and_other_parameters_are_refused(sim: StripeSim, api: Any) -> None:
    """The SDK raises IdempotencyError for the mismatch."""
    first = await api.payment_intents.create_async(ORDER, {"idempotency_key": "k"})
    again = await api.payment_intents.create_async(ORDER, {"idempotency_key": "k"})
    assert first.id == again.id
    assert "true" == again.last_response.headers["idempotent-replayed"]
    with pytest.raises(stripe.IdempotencyError):
        await api.payment_intents.create_async(ORDER | {"amount": 1}, {"idempotency_key": "k"})
    assert 1 == len(sim.host.books.every("payment_intent"))


async def test_a_key_in_flight_is_a_conflict_until_the_first_is_done(sim: StripeSim, api: Any) -> None:
    """409 as often as the SDK tries; afterwards the first one's answer; one intent."""
    hold = sim.hold("/payment_intents")
    first = asyncio.create_task(api.payment_intents.create_async(ORDER, {"idempotency_key": "k"}))
    await asyncio.wait_for(hold.begun.wait(), 5)
    with pytest.raises(stripe.APIError) as caught:
        await api.payment_intents.create_async(ORDER, {"idempotency_key": "k", "max_network_retries": 0})
    assert 409 == caught.value.http_status
    hold.release()
    again = await api.payment_intents.create_async(ORDER, {"idempotency_key": "k"})
    assert (await first).id == again.id
    assert 1 == len(sim.host.books.every("payment_intent"))


async def test_restricted_keys_do_their_part_only(sim: StripeSim, wire: Wire) -> None:
    """The cell's key makes payment methods, the broker's everything but; PermissionError otherwise."""
    cell, broker = api_of(sim, wire, "cell"), api_of(sim, wire, "broker")
    method = await cell.payment_methods.create_async(CARD)
    with pytest.raises(stripe.PermissionError):
        await cell.payment_intents.create_async(ORDER)
    with pytest.raises(stripe.PermissionError):
        await broker.payment_methods.create_async(CARD)
    intent = await broker.payment_intents.create_async(ORDER | {"payment_method": method.id, "confirm": True})
    assert "succeeded" == intent.status


async def test_a_decline_is_a_card_error_with_both_codes(api: Any) -> None:
    """What the agent's wording is made of."""
    card = CARD | {"card": CARD["card"] | {"number": "4000000000009995"}}
    method = await api.payment_methods.create_async(card)
    with pytest.raises(stripe.CardError) as caught:
        await api.payment_intents.create_async(ORDER | {"payment_method": method.id, "confirm": True})
    error = caught.value.error
    assert ("card_declined", "insufficient_funds", "try_again_later") == (
        error.code,
        error.decline_code,
        error.advice_code,
    )
    assert "requires_payment_method" == error.payment_intent.status


TRIES = {
    Fault.FALSE_500: (1, stripe.APIError),
    Fault.EMPTY_500: (1, stripe.APIError),
    Fault.GARBAGE_200: (1, stripe.APIError),
}
"""Faults that end the call at the first try; after every other one the second try succeeds."""


@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_on_the_way_never_makes_two_of_one(sim: StripeSim, api: Any, fault: Fault) -> None:
    """One fault, then the SDK's own retry with the same key: one charge, or none where nothing ran."""
    intent = await api.payment_intents.create_async(ORDER)
    method = await api.payment_methods.create_async(CARD)
    sim.host.faults.order(fault, path_end="/confirm")
    call = api.payment_intents.confirm_async(
        intent.id, {"payment_method": method.id}, {"idempotency_key": "attempt"}
    )
    tries, problem = TRIES.get(fault, (2, None))
    if problem is None:
        assert "succeeded" == (await call).status
    else:
        with pytest.raises(problem):
            await call
    confirms = [key for _, path, key in sim.requests if path.endswith("/confirm")]
    assert ["attempt"] * tries == confirms
    assert (0 if fault is Fault.EMPTY_500 else 1) == len(sim.host.successful_charges())


async def test_a_storm_of_faults_charges_every_payment_once_at_most(sim: StripeSim, api: Any) -> None:
    """A few dozen payments, a third of all requests in trouble; what raised is looked up, not repeated."""
    shares = dict.fromkeys((Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.BODY_CUT, Fault.RATE_429), 0.07)
    sim.host.faults.set_shares(shares | {Fault.FALSE_500: 0.04})
    outcomes = await asyncio.gather(*(paid(api, f"p{n}") for n in range(24)), return_exceptions=True)
    sim.host.faults.set_shares({})
    charged = [one["payment_intent"] for one in sim.host.successful_charges()]
    assert len(charged) == len(set(charged))
    assert {one.id for one in outcomes if not isinstance(one, BaseException)} <= set(charged)
    assert len(sim.host.faults.drawn) > 10


async def test_nobody_listening_is_never_sent(sim: StripeSim, api: Any) -> None:
    """Refused on every try; when the simulator is back the same address works."""
    async with sim.refusing():
        with pytest.raises(NotSentError):
            await api.balance.retrieve_async()
    assert "balance" == (await api.balance.retrieve_async()).object


async def test_a_request_that_the_sdk_does_not_know_fails_the_test(short_dir: Path) -> None:
    """The simulator refuses it, and says so again when it ends."""

    async def misspelt() -> None:
        async with simulator(short_dir) as sim:
            made = Wire(Config(api_base=sim.url, ca_file=str(sim.ca_file)))
            with pytest.raises(stripe.InvalidRequestError):
                await api_of(sim, made, "full").payment_intents.create_async(ORDER | {"mot": True})
            await made.close_async()

    with pytest.raises(stripe_contract.ContractBroken, match="mot: extra_forbidden"):
        await misspelt()


async def test_webhooks_arrive_signed_doubled_and_again_after_a_refusal(sim: StripeSim, api: Any) -> None:
    """The SDK verifies each; a refused delivery comes again, an event may come twice."""
    seen: list[str] = []

    async def hook(request: web.Request) -> web.Response:
        body, header = await request.read(), request.headers["stripe-signature"]
        event = stripe.Webhook.construct_event(body, header, SECRET)
        seen.append(event.id)
        return web.Response(status=200 if len(seen) > 1 else 503)

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    sim.host.webhooks.secrets[f"http://127.0.0.1:{port}/hook"] = SECRET
    for number in range(4):
        await paid(api, f"w{number}")
    for _ in range(1_000):
        if len(seen) >= 14:
            break
        await asyncio.sleep(0.02)
    sim.skip(10.0)  # the refused one's first retry is due
    made = {one["id"] for one in sim.host.books.every("event")}
    for _ in range(1_000):
        if made <= set(seen) and seen.count(seen[0]) > 1:
            break
        await asyncio.sleep(0.02)
    await runner.cleanup()
    assert made <= set(seen)
    assert len(seen) > len(made)


async def test_as_a_process_of_its_own_it_serves_and_obeys(short_dir: Path) -> None:
    """Broker and cell are other processes; control calls steer it, the end of its input ends it."""
    program = [sys.executable, "-m", "tests.support.stripe_sim", "--dir", str(short_dir), "--canary"]
    process = await asyncio.create_subprocess_exec(
        *program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    made = Wire(Config(api_base=told["url"], ca_file=told["ca_file"]))
    key, base = told["keys"]["full"], {"api": told["url"]}
    api = stripe.StripeClient(key, http_client=made, base_addresses=base).v1
    canary = CARD | {"card": CARD["card"] | {"number": "9999001234567891"}}
    method = await api.payment_methods.create_async(canary)
    await api.payment_intents.create_async(ORDER | {"payment_method": method.id, "confirm": True})  # type: ignore[arg-type]
    bearer = {"authorization": f"Bearer {key}"}
    async with made._session.post(f"{told['url']}/_sim/charges", json={}, headers=bearer) as answer:
        assert 1 == len((await answer.json())["result"])
    async with made._session.post(f"{told['url']}/_sim/charges", json={}) as answer:
        assert 401 == answer.status
    async with made._session.post(f"{told['url']}/_sim/heard", json={}, headers=bearer) as answer:
        heard = (await answer.json())["result"]
    said = b"".join(map(base64.b64decode, heard["said"]))
    assert [2, 0, 0] == [heard[name] for name in ("requests", "dropped", "of_cells")]
    assert b"card[number]=9999001234567891" in said
    await made.close_async()
    process.stdin.close()
    assert 0 == await asyncio.wait_for(process.wait(), 10)


async def test_a_shut_port_refuses_and_nothing_of_a_cells_request_is_kept(short_dir: Path) -> None:
    """The same port again afterwards; of a request with the cell's key only the number stays."""
    async with simulator(short_dir) as sim:
        made = Wire(Config(api_base=sim.url, ca_file=str(sim.ca_file)))
        url = sim.url
        await sim.shut()
        with pytest.raises(NotSentError):
            await api_of(sim, made, "cell").payment_methods.create_async(CARD)
        await sim.open()
        await api_of(sim, made, "cell").payment_methods.create_async(CARD)
        assert (url, {"requests": 0, "dropped": 0, "of_cells": 1, "said": []}) == (sim.url, sim.heard.told())
        await made.close_async()
