"""Money steps, history, search and kept cards over HTTP, at a real vault with the sandbox behind it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from aiohttp import ClientResponse

from agent_api.limits import NOTICE_BYTES_MAX
from pay_ivr.people import Permission
from tests.agent_api.conftest import WEBHOOK_SECRET, DeskHouse, problem
from tests.support.zone import Desk, ZoneProcesses, desk_at
from vault import Payment, Why
from vault.providers._sandbox_webhooks import signed
from vault.providers.base import Notice

_numbers = count(1)


@pytest.fixture
async def caller(zone: ZoneProcesses, money_house: DeskHouse) -> AsyncIterator[Desk]:
    """A caller at the vault who keys what is asked."""
    async with desk_at(zone, f"m{next(_numbers)}") as each:
        yield each


async def step(
    house: DeskHouse, payment: Payment, name: str, body: Any = None, *, user: str = "agent1", key: str = ""
) -> ClientResponse:
    """A money step of an agent, under a fresh key unless one is given."""
    headers = {"Idempotency-Key": key or f"step-{next(_numbers)}"}
    return await house.post(f"/v1/payments/{payment.payment_id}/{name}", body, user=user, **headers)


async def history(house: DeskHouse, payment: Payment, user: str = "agent1") -> dict[str, Any]:
    """What the desk tells of a payment."""
    answer = await house.get(f"/v1/payments/{payment.payment_id}/history", user=user)
    assert answer.status == 200, await answer.text()
    return dict(await answer.json())


async def allow(house: DeskHouse, holder: str, *permissions: Permission) -> None:
    """The holder has these permissions and no others."""
    await house.store.set_permissions(holder, "demo", frozenset(permissions), 1, "system:operator")


async def test_a_hold_is_settled_in_part_and_refunded(money_house: DeskHouse, caller: Desk) -> None:
    """Held 50, taken 30, given back 10: amounts, steps and what is possible next are told."""
    held = await caller.charged(amount_minor=5000, settle_later=True)
    told = await history(money_house, held)
    assert ("authorised", ["settle", "void"]) == (told["payment"]["state"], told["actions"])
    assert (
        "settle" == (await (await step(money_house, held, "settle", {"amount_minor": 3000})).json())["step"]
    )
    await caller.why(Why.SETTLED)
    assert 200 == (await step(money_house, held, "refund", {"amount_minor": 1000})).status
    await caller.why(Why.REFUNDED)
    told = await history(money_house, held)
    payment = told["payment"]
    assert (3000, 1000, True, ["refund"]) == (
        payment["settled_minor"], payment["refunded_minor"], payment["paid"], told["actions"],
    )  # fmt: skip
    assert [("settle", 3000, "done", "agent:agent1"), ("refund", 1000, "done", "agent:agent1")] == [
        (one["step"], one["amount_minor"], one["state"], one["by"]) for one in told["steps"]
    ]
    assert [("authorised", "moto_agent")] == [(one["state"], one["sca_basis"]) for one in told["attempts"]]


async def test_the_same_key_is_the_same_step(zone, money_house: DeskHouse, caller: Desk) -> None:
    """A button pressed twice, or a request that is repeated, gives back once."""
    paid = await caller.charged(amount_minor=4000)
    for _ in range(3):
        answer = await step(money_house, paid, "refund", {"amount_minor": 500}, key="same")
        assert answer.status == 200, await answer.text()
    await caller.why(Why.REFUNDED)
    assert [500] == zone.steps_done(paid.payment_id)
    other = await step(money_house, paid, "refund", {"amount_minor": 600}, key="same")
    await problem(other, 409, "ask_key_reused")


async def test_a_hold_is_voided(money_house: DeskHouse, caller: Desk) -> None:
    """What is held goes back as a whole; then nothing is possible any more."""
    held = await caller.charged(settle_later=True)
    assert 200 == (await step(money_house, held, "void", {"reason": "mistake"})).status
    await caller.why(Why.VOIDED)
    told = await history(money_house, held)
    assert ("voided", [], "mistake") == (
        told["payment"]["state"],
        told["actions"],
        told["steps"][0]["reason"],
    )
    await problem(await step(money_house, held, "settle"), 409, "not_settleable")


WRONG_STEPS: tuple[tuple[str, Any, int, str], ...] = (
    ("settle", {}, 409, "not_settleable"),
    ("void", {}, 409, "not_voidable"),
    ("refund", {"amount_minor": 1996}, 409, "refund_too_large"),
    ("refund", {"amount_minor": 0}, 422, "body_invalid"),
    ("refund", {"amount_minor": 5, "reason": "because"}, 422, "body_invalid"),
    ("void", {"amount_minor": 5}, 422, "body_invalid"),
)


async def test_a_wrong_step_is_refused_and_changes_nothing(money_house: DeskHouse, caller: Desk) -> None:
    """Each refusal is a problem document with a next step; no step is on record. So is one without a key."""
    paid = await caller.charged()
    for name, body, status, code in WRONG_STEPS:
        await problem(await step(money_house, paid, name, body), status, code)
    answer = await money_house.post(f"/v1/payments/{paid.payment_id}/refund")
    await problem(answer, 400, "idempotency_key_needed")
    assert [] == (await history(money_house, paid))["steps"]


async def test_payments_of_others_need_a_permission(money_house: DeskHouse, caller: Desk) -> None:
    """A colleague may look, but not move money; with `refund` he may, and `settle` is another matter."""
    held = await caller.charged(settle_later=True)
    assert [] == (await history(money_house, held, "agent2"))["actions"]
    for name in ("settle", "void", "refund"):
        await problem(await step(money_house, held, name, user="agent2"), 403, "permission_needed")
    await allow(money_house, "agent:agent2", Permission.REFUND)
    assert ["void"] == (await history(money_house, held, "agent2"))["actions"]
    await problem(await step(money_house, held, "settle", user="agent2"), 403, "permission_needed")
    assert 200 == (await step(money_house, held, "void", user="agent2")).status
    await caller.why(Why.VOIDED)
    assert ["refund"] == (await (await money_house.get("/v1/me", user="agent2")).json())["may"]


async def test_a_stranger_learns_nothing(money_house: DeskHouse, caller: Desk) -> None:
    """Another tenant's agent gets the answer for what never was, whatever he asks."""
    paid = await caller.charged()
    await allow(money_house, "agent:stranger", Permission.REFUND, Permission.SETTLE)
    unknown = "/v1/payments/pay_nothing/history"
    foreign = await money_house.get(f"/v1/payments/{paid.payment_id}/history", user="stranger")
    never = await money_house.get(unknown, user="stranger")
    assert await foreign.json(content_type=None) == await never.json(content_type=None)
    await problem(await step(money_house, paid, "refund", user="stranger"), 404, "payment_unknown")


async def test_a_bare_access_key_moves_no_money(money_house: DeskHouse, caller: Desk) -> None:
    """Reading is open to it; steps are open to one that was given them."""
    paid = await caller.charged()
    key = await money_house.key()
    url = f"{money_house.url}/v1/payments/{paid.payment_id}"
    assert 200 == (await money_house.http.get(url + "/history", headers=key)).status
    headers = {**key, "Idempotency-Key": "key-1"}
    await problem(
        await money_house.http.post(url + "/refund", json={}, headers=headers), 403, "permission_needed"
    )
    prefix = key["Authorization"].split("_")[1]
    await allow(money_house, f"key:{prefix}", Permission.REFUND)
    assert 200 == (await money_house.http.post(url + "/refund", json={}, headers=headers)).status
    await caller.why(Why.REFUNDED)
    assert f"key:{prefix}" == (await history(money_house, paid))["steps"][0]["by"]


async def test_payments_are_found_by_what_people_have_at_hand(money_house: DeskHouse, caller: Desk) -> None:
    """Reference, receipt, customer, call; never another tenant's; never everybody's without a permission."""
    paid = await caller.charged(customer="shop-9")
    for criterion in (
        {"reference": paid.reference},
        {"receipt": paid.receipt},
        {"customer": "shop-9"},
        {"call_id": paid.call_id, "state": "settled"},
    ):
        answer = await money_house.post("/v1/payments/search", criterion)
        assert [paid.payment_id] == [one["payment_id"] for one in (await answer.json())["payments"]], (
            criterion
        )
    elsewhere = await money_house.post("/v1/payments/search", {"reference": paid.reference}, user="stranger")
    assert 409 == elsewhere.status or [] == (await elsewhere.json())["payments"]
    await problem(await money_house.post("/v1/payments/search", {}), 422, "search_too_wide")
    await problem(
        await money_house.post("/v1/payments/search", {"reference": "4242 4242 4242 4242"}),
        422,
        "pan_not_allowed",
    )


async def test_pages_go_on_where_the_last_one_ended(money_house: DeskHouse, caller: Desk) -> None:
    """Newest first, none twice, none left out."""
    made = [(await caller.created()).payment_id for _ in range(5)]
    found: list[str] = []
    body: dict[str, Any] = {"call_id": caller.call_id, "limit": 2}
    for _ in range(4):
        page = await (await money_house.post("/v1/payments/search", body)).json()
        found += [one["payment_id"] for one in page["payments"]]
        body["before"] = page["next"]
        if not page["next"]:
            break
    assert made[::-1] == found


async def test_a_kept_card_is_listed_used_and_forgotten(
    zone: ZoneProcesses, money_house: DeskHouse, caller: Desk
) -> None:
    """The integrator charges it with nobody on the line, once; forgotten it is gone."""
    await caller.charged(customer="shop-7", mandate="phone_order_v2")
    cards = (await (await money_house.post("/v1/cards/search", {"customer": "shop-7"})).json())["cards"]
    assert [("visa", "4242", "phone_order_v2")] == [
        (one["brand"], one["last4"], one["mandate"]) for one in cards
    ]
    key = await money_house.key()
    await allow(money_house, f"key:{key['Authorization'].split('_')[1]}", Permission.CHARGE)
    body = {
        "amount_minor": 700, "currency": "EUR", "reference": "Monthly 1", "purpose": "invoice",
        "customer": "shop-7", "card_id": cards[0]["card_id"],
    }  # fmt: skip
    paid = [
        await (
            await money_house.http.post(
                money_house.url + "/v1/kept-card-payments",
                json=body,
                headers={**key, "Idempotency-Key": "month-1"},
            )
        ).json()
        for _ in range(2)
    ]
    assert paid[0]["payment_id"] == paid[1]["payment_id"]
    await caller.eventually(lambda: zone.times_charged(paid[0]["payment_id"]) == 1)
    path = f"/v1/cards/{cards[0]['card_id']}/forget"
    assert 200 == (await money_house.post(path, {"customer": "shop-7"})).status
    again = await money_house.post("/v1/cards/search", {"customer": "shop-7"})
    assert [] == (await again.json())["cards"]


async def test_a_bare_key_charges_no_card(money_house: DeskHouse) -> None:
    """The permission comes before everything else."""
    body = {
        "amount_minor": 700, "currency": "EUR", "reference": "Monthly 2", "purpose": "invoice",
        "customer": "shop-7", "card_id": "card_a",
    }  # fmt: skip
    headers = {**await money_house.key(), "Idempotency-Key": "month-2"}
    answer = await money_house.http.post(
        money_house.url + "/v1/kept-card-payments", json=body, headers=headers
    )
    await problem(answer, 403, "permission_needed")


async def test_an_agent_hears_of_the_payment_he_looks_at(money_house: DeskHouse, caller: Desk) -> None:
    """After reading its history, what becomes of a past payment comes over the stream."""
    paid = await caller.charged()
    await history(money_house, paid)
    headers = await money_house.log_in()
    async with money_house.http.ws_connect(money_house.url + "/v1/stream", headers=headers) as stream:
        assert "snapshot" == (await stream.receive_json(timeout=20))["type"]
        await step(money_house, paid, "refund", {"amount_minor": 100})
        whys = []
        while "refunded" not in whys:
            whys.append((await stream.receive_json(timeout=20))["why"])
    assert ["step_started", "refunded"] == whys


async def test_a_provider_that_signs_is_heard(
    zone: ZoneProcesses, money_house: DeskHouse, caller: Desk
) -> None:
    """200 when it is stored, and when it is known; the refund that it points at is in our books."""
    paid = await caller.charged(amount_minor=3000)
    zone.refund_at_provider(paid.payment_id, 500)
    notice = Notice("evt_desk", "2026-01-02T03:04:05Z", "charge.changed", f"sbx_ref_{paid.payment_id}")
    headers, raw = signed(notice, WEBHOOK_SECRET, time.time())
    url = money_house.url + "/hooks/sandbox/demo"
    answers = [await money_house.http.post(url, data=raw, headers=headers) for _ in range(2)]
    assert [(200, True), (200, False)] == [(one.status, (await one.json())["new"]) for one in answers]
    assert 500 == (await caller.why(Why.REFUNDED)).payment.refunded_minor
    await problem(await money_house.http.post(url, data=raw + b" ", headers=headers), 400, "webhook_invalid")
    foreign = await money_house.http.post(
        money_house.url + "/hooks/sandbox/nobody", data=raw, headers=headers
    )
    await problem(foreign, 404, "webhook_unknown")


async def test_a_webhook_that_cannot_be_stored_is_not_taken(house: DeskHouse) -> None:
    """No vault, no 200: the provider delivers again. Too much is refused before it is read."""
    url = house.url + "/hooks/sandbox/demo"
    assert 503 == (await house.http.post(url, data=b"{}")).status
    await problem(await house.http.post(url, data=bytes(NOTICE_BYTES_MAX + 1)), 413, "webhook_too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield bytes(1_000)
            await asyncio.sleep(0)

    await problem(await house.http.post(url, data=pieces()), 413, "webhook_too_large")


async def test_receipts_go_to_the_address_once(money_house: DeskHouse, caller: Desk) -> None:
    """Of what has happened at once; the same wish again makes no second one; a wrong address is refused."""
    paid = await caller.charged()
    path = f"/v1/payments/{paid.payment_id}/receipt"
    wish = {"medium": "email", "to": "anna@example.com", "language": "de-DE"}
    for _ in range(2):
        assert {"states": ["waiting"]} == await (await money_house.post(path, wish)).json()
    (due,) = await money_house.outgoing.receipts.due(2**60)
    assert "Bezahlt: 19,95\xa0€" in due.message.text
    await problem(await money_house.post(path, {**wish, "to": "anna@"}), 422, "address_malformed")
    sms = {"medium": "sms", "to": "+4915112345678"}
    await problem(await money_house.post(path, sms), 409, "channel_off")
    await problem(await money_house.post(path, wish, user="agent2"), 403, "permission_needed")
    await problem(await money_house.post(path, wish, user="stranger"), 404, "payment_unknown")


async def test_dead_webhooks_are_listed_and_delivered_again(money_house: DeskHouse, caller: Desk) -> None:
    """By the tenant's own key alone."""
    hooks = money_house.outgoing.hooks
    await hooks.add_endpoint("demo", "https://shop.example/hook", 1, "system:operator")
    paid = await caller.charged()
    await money_house.outgoing.teller.tell(paid.payment_id)
    (delivery,) = [one for one in await hooks.due(2**60) if one.payment_id == paid.payment_id]
    await hooks.failed(replace(delivery, tries=99), "timeout", 1)
    own, foreign = await money_house.key(), await money_house.key("other")
    url = money_house.url + "/v1/deliveries"
    (dead,) = (await (await money_house.http.get(url, headers=own)).json())["deliveries"]
    assert ("timeout", "dead", "payment.authorised") == (dead["problem"], dead["state"], dead["type"])
    assert [] == (await (await money_house.http.get(url, headers=foreign)).json())["deliveries"]
    again = f"{url}/{dead['delivery_id']}/redeliver"
    await problem(await money_house.http.post(again, headers=foreign), 404, "delivery_unknown")
    assert "waiting" == (await (await money_house.http.post(again, headers=own)).json())["state"]
