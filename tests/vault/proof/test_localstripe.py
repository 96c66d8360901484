"""What the simulator says, a Stripe written by others says too, as far as that one goes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp import web

from tests.support.localstripe import DUMP, KEY, localstripe
from tests.support.stripe_sim import simulator
from vault.providers import _stripe_webhook
from vault.providers._stripe_config import Config
from vault.providers._stripe_wire import Wire
from vault.providers.base import Notice

SECRET = "whsec_of_a_test"
CARD: dict[str, Any] = {
    "type": "card",
    "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"},
}
WEBHOOK_WAIT_S = 8.0
"""localstripe sends after one second."""


@asynccontextmanager
async def api_at(base: str, key: str, ca_file: str = "") -> AsyncIterator[Any]:
    """The SDK's v1 services over the broker's wire."""
    wire = Wire(Config(api_base=base, ca_file=ca_file))
    client = stripe.StripeClient(key, http_client=wire, base_addresses={"api": base})
    try:
        yield client.v1
    finally:
        await wire.close_async()


@pytest.fixture(scope="module")
def theirs_at() -> Iterator[str]:
    """The address of localstripe, which writes nothing to disk meanwhile."""
    before = DUMP.stat().st_mtime_ns if DUMP.exists() else 0
    with localstripe() as base:
        yield base
    assert before == (DUMP.stat().st_mtime_ns if DUMP.exists() else 0)


async def _order(api: Any, **params: Any) -> Any:
    """A telephone order in one call: what localstripe understands of the adapter's two."""
    method = await api.payment_methods.create_async(CARD)
    fixed = {"amount": 1995, "currency": "eur", "confirm": True, "metadata": {"payment_id": "p"}}
    moto = {"payment_method_options": {"card": {"moto": True}}}
    return await api.payment_intents.create_async({**fixed, **moto, "payment_method": method.id} | params)


async def _tokenised(api: Any) -> tuple[Any, ...]:
    """A payment method from a raw card, as the cell makes it."""
    made = await api.payment_methods.create_async(CARD)
    return (
        made.type,
        made.card.brand,
        made.card.last4,
        made.card.exp_month,
        made.card.exp_year,
        made.card.funding,
    )


async def _sold(api: Any) -> tuple[Any, ...]:
    """A sale, and its charge read back."""
    made = await _order(api, **_only_cards(api))
    latest = made.latest_charge  # localstripe gives the object, Stripe its id
    charge = await api.charges.retrieve_async(latest if isinstance(latest, str) else latest.id)
    return made.status, made.metadata.payment_id, charge.amount, charge.captured, charge.status, charge.paid


async def _settled(api: Any) -> tuple[Any, ...]:
    """A pre-authorisation, settled in part."""
    made = await _order(api, capture_method="manual", **_only_cards(api))
    done = await api.payment_intents.capture_async(made.id, {"amount_to_capture": 1500})
    return made.status, done.status, done.currency


async def _voided(api: Any) -> tuple[Any, ...]:
    """A pre-authorisation, voided; settled afterwards it is not."""
    made = await _order(api, capture_method="manual", **_only_cards(api))
    done = await api.payment_intents.cancel_async(made.id)
    again = await api.payment_intents.retrieve_async(made.id)
    return made.status, done.status, again.status


async def _refunded(api: Any) -> tuple[Any, ...]:
    """A part given back, and what the balance says of it."""
    made = await _order(api, **_only_cards(api))
    refund = await api.refunds.create_async(
        {"payment_intent": made.id, "amount": 995, "metadata": {"step": "s"}}
    )
    listed = await api.refunds.list_async({"payment_intent": made.id})
    entry = await api.balance_transactions.retrieve_async(refund.balance_transaction)
    names = ("amount", "type", "reporting_category", "currency")
    return refund.status, refund.amount, [one.amount for one in listed.data], *(entry[one] for one in names)


async def _unfinished(api: Any) -> tuple[Any, ...]:
    """A card that asks for authentication leaves the intent waiting, moto or not."""
    card = CARD | {"card": CARD["card"] | {"number": "4000002760003184"}}
    method = await api.payment_methods.create_async(card)
    params = {"amount": 1995, "currency": "eur", "confirm": True, "payment_method": method.id}
    made = await api.payment_intents.create_async(params | _only_cards(api))
    return made.status, made.next_action.type


def _only_cards(api: Any) -> dict[str, Any]:
    """The parameter that Stripe wants today and localstripe does not know yet."""
    ours = str(api._requestor.base_addresses["api"]).startswith("https")
    return {"allowed_payment_method_types": ["card"]} if ours else {}


@pytest.mark.parametrize("story", [_tokenised, _sold, _settled, _voided, _refunded, _unfinished])
async def test_both_tell_the_same_story(short_dir: Path, theirs_at: str, story: Callable[[Any], Any]) -> None:
    """Same requests, same states, same amounts."""
    async with simulator(short_dir) as sim, api_at(sim.url, sim.keys["full"], str(sim.ca_file)) as ours:
        told = await story(ours)
    async with api_at(theirs_at, KEY) as theirs:
        assert await story(theirs) == told


async def test_a_webhook_signed_by_others_is_read(theirs_at: str) -> None:
    """Our reader takes localstripe's signature, and finds the payment that it is about."""
    seen: asyncio.Queue[Notice] = asyncio.Queue()

    async def hook(request: web.Request) -> web.Response:
        raw = await request.read()
        seen.put_nowait(_stripe_webhook.parsed(request.headers, raw, [SECRET.encode()], time.time()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    given = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/hook", "secret": SECRET}
    async with aiohttp.ClientSession() as session, api_at(theirs_at, KEY) as theirs:
        async with session.post(f"{theirs_at}/_config/webhooks/one", json=given) as answer:
            assert 200 == answer.status
        made = await _order(theirs)
        found: list[str] = []
        async with asyncio.timeout(WEBHOOK_WAIT_S):
            while made.id not in found:  # others may still be on their way
                notice = await seen.get()
                found.append(notice.provider_ref if notice.kind == "payment_intent.succeeded" else "")
    await runner.cleanup()
