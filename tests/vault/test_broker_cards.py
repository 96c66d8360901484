"""Cards on file, account checks, webhooks and a second provider, through the door of a real broker."""

import time
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from tests.support.zone import Desk, ZoneProcesses, desk_at, running_zone
from vault import DeclineReason, Field, Payment, PaymentState, Refused, Why
from vault.providers._sandbox_webhooks import signed
from vault.providers.base import Notice

BY = "agent:agent1"
SECRET = b"whsec_of_this_test_only"
_numbers = count(1)


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneProcesses]:
    with running_zone() as zone:
        folder = zone.data_dir / "keys"
        zone.kill("broker")
        secret = folder / "sandbox.demo.webhook"
        secret.touch(mode=0o600)
        secret.write_bytes(SECRET)
        zone.write_tenant("both", provider="sandbox")
        both = zone.tenants_dir / "both.toml"
        text = both.read_text().replace('provider = "sandbox"', 'providers = ["sandbox_direct", "sandbox"]')
        both.write_text(text + "[payment.sandbox_direct]\nunreachable = true\n")
        zone.start("broker")
        yield zone


@pytest.fixture
async def desk(zone: ZoneProcesses) -> AsyncIterator[Desk]:
    async with desk_at(zone, f"c{next(_numbers)}") as desk:
        yield desk


async def refusal(asked) -> str:
    with pytest.raises(Refused) as refused:
        await asked
    return refused.value.code


async def kept(desk: Desk, customer: str) -> Payment:
    """A payment whose card the customer lets us keep."""
    return await desk.charged(customer=customer, mandate="phone_order_v2")


async def test_a_kept_card_pays_without_a_key(zone, desk):
    """Kept with the approval and a mandate; then ready at once, with nothing to key, and paid once."""
    await kept(desk, "shop-1")
    (card,) = await desk.door.kept_cards("demo", "shop-1")
    assert ("visa", "4242", "phone_order_v2") == (card.brand, card.last4, card.mandate)
    again = await desk.created(customer="shop-1", card_id=card.card_id)
    assert (PaymentState.READY, "4242", False) == (again.state, again.last4, again.capture_live)
    await desk.door.charge(again.payment_id)
    paid = await desk.result()
    assert (True, 1) == (paid.paid, zone.times_charged(paid.payment_id))


@pytest.mark.parametrize("tenant", ["demo", "direct"])
async def test_another_card_is_keyed_in_place_of_the_kept_one(zone, desk, tenant):
    """From then on it is that card's payment: sent by whoever has it, and counted as its own attempt."""
    await desk.charged(customer="shop-9", mandate="phone_order_v2", tenant=tenant)
    (card,) = await desk.door.kept_cards(tenant, "shop-9")
    ready = await desk.created(tenant=tenant, customer="shop-9", card_id=card.card_id)
    await desk.door.rekey(ready.payment_id, Field.PAN)
    await desk.press("5555555555554444#1231123")
    await desk.state(PaymentState.READY)
    await desk.door.charge(ready.payment_id)
    paid = await desk.result()
    assert (True, "4444") == (paid.paid, paid.last4)
    assert zone.counted_by(paid.payment_id).startswith("fp_")


async def test_the_merchant_alone_pays_by_a_kept_card(zone, desk):
    """`mit`: no call, no leg, no agent; only by a card, and only where the tenant allows it."""
    await kept(desk, "shop-2")
    (card,) = await desk.door.kept_cards("demo", "shop-2")
    alone = {"call_id": "", "leg_id": "", "agent_id": None, "sca_basis": "mit", "customer": "shop-2"}
    assert "card_missing" == await refusal(desk.created(**alone))
    ready = await desk.created(**alone, card_id=card.card_id)
    await desk.door.charge(ready.payment_id)
    await desk.eventually(lambda: zone.times_charged(ready.payment_id) == 1)
    (attempt,) = (await desk.door.history(ready.payment_id)).attempts
    assert "mit" == attempt.sca_basis


async def test_a_forgotten_card_pays_no_more(desk):
    """Gone from the list, and refused by its id."""
    await kept(desk, "shop-3")
    (card,) = await desk.door.kept_cards("demo", "shop-3")
    await desk.door.forget_card("demo", "shop-3", card.card_id, BY)
    assert () == await desk.door.kept_cards("demo", "shop-3")
    assert "card_unknown" == await refusal(desk.created(customer="shop-3", card_id=card.card_id))
    assert "card_unknown" == await refusal(desk.created(customer="shop-1", card_id=card.card_id))


async def test_an_account_check_moves_no_money(zone, desk):
    """The bank says yes to the card; nothing is charged, nothing can be refunded."""
    checked = await desk.charged(amount_minor=0, check_only=True)
    assert (PaymentState.CHECKED, False, 0) == (
        checked.state, checked.paid, zone.times_charged(checked.payment_id),
    )  # fmt: skip
    assert "not_refundable" == await refusal(desk.door.refund(checked.payment_id, ask_key="k", by=BY))
    declined = await desk.charged("4000000000009995", amount_minor=0, check_only=True)
    assert declined.decline is not None
    assert DeclineReason.FUNDS is declined.decline.reason


async def test_a_provider_that_cannot_be_reached_is_left_before_anything_is_keyed(zone, desk):
    """The preferred provider refuses every connection: the caller notices nothing."""
    paid = await desk.charged(tenant="both")
    assert (True, 1) == (paid.paid, paid.attempt)
    assert (1, 0) == tuple(
        zone.times_charged(paid.payment_id, name) for name in ("sandbox", "sandbox_direct")
    )


def webhook(payment: Payment, event: str, ahead_s: float = 0.0, secret: bytes = SECRET):
    now_s = time.time() + ahead_s
    notice = Notice(event, "2026-01-02T03:04:05Z", "charge.changed", f"sbx_ref_{payment.payment_id}")
    return signed(notice, secret, now_s)


async def test_a_webhook_makes_us_look_and_is_known_again(zone, desk):
    """A refund was made at the provider: told once, looked up, in our books once, whatever comes twice."""
    paid = await desk.charged(amount_minor=3000)
    zone.refund_at_provider(paid.payment_id, 500)
    headers, raw = webhook(paid, "evt_one")
    assert await desk.door.webhook("demo", "sandbox", headers, raw) is True
    assert 500 == (await desk.why(Why.REFUNDED)).payment.refunded_minor
    assert await desk.door.webhook("demo", "sandbox", headers, raw) is False
    headers, raw = webhook(paid, "evt_two")
    assert await desk.door.webhook("demo", "sandbox", headers, raw) is True
    assert 500 == (await desk.door.payment(paid.payment_id)).refunded_minor


async def test_webhooks_that_cannot_be_trusted_are_refused_and_on_record(zone, desk):
    """Wrong secret, changed body, too old, from the future, an endpoint that is none."""
    paid = await desk.charged()
    for values in ({"secret": b"other"}, {"ahead_s": -301.0}, {"ahead_s": 120.0}):
        asked = desk.door.webhook("demo", "sandbox", *webhook(paid, "evt_bad", **values))
        assert "webhook_invalid" == await refusal(asked)
    headers, raw = webhook(paid, "evt_bad")
    assert "webhook_invalid" == await refusal(desk.door.webhook("demo", "sandbox", headers, raw + b" "))
    assert "webhook_unknown" == await refusal(desk.door.webhook("direct", "sandbox", headers, raw))
    assert "webhook_unknown" == await refusal(desk.door.webhook("direct", "sandbox_direct", headers, raw))
    assert "payment.notice.refused" in zone.waiting()


async def test_a_webhook_about_a_stranger_touches_nothing(zone, desk):
    """A reference of the merchant's web shop at the same account is not ours to void."""
    paid = await desk.charged()
    notice = Notice("evt_foreign", "2026-01-02T03:04:05Z", "charge.changed", "sbx_ref_of_the_web_shop")
    assert await desk.door.webhook("demo", "sandbox", *signed(notice, SECRET, time.time())) is True
    await desk.eventually(lambda: zone.inbox("evt_foreign") == "unclaimed")
    assert paid == await desk.door.payment(paid.payment_id)
