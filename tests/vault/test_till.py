"""What the till takes, without processes: limits per call, and payments that nobody wants any more."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.shop import TENANT, Shop, a_shop
from vault import NewPayment, PaymentState, Refused, till
from vault.cards_on_file import CardsOnFile
from vault.limits import Limits
from vault.tenant import Tenant
from vault.till import Till


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with a_shop() as shop:
        yield shop


def till_of(shop: Shop) -> Till:
    """A till without captures and PINs: nothing is keyed here."""
    limits, cards = Limits(shop.store, shop.keys, {}), CardsOnFile(shop.store, shop.router)
    section = TENANT.section.model_copy(update={"merchant_initiated": True})
    tenants = {"demo": Tenant("demo", False, section, TENANT.links)}
    nobody: Any = None
    return Till(shop.register, nobody, shop.charges, shop.steps, limits, cards, shop.links, tenants, nobody)


def new(number: int, call_id: str) -> NewPayment:
    reference = f"T-{number}"
    return NewPayment("demo", call_id, "leg_one", 700, "EUR", reference, "booking", "moto_agent", "agent1")


async def test_a_call_brings_only_so_many_payments(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow in a loop stops; the next call starts at zero."""
    monkeypatch.setattr(till, "PAYMENTS_PER_CALL_MAX", 2)
    counter = till_of(shop)
    for number in range(2):
        assert PaymentState.CREATED is (await counter.create_payment(new(number, "call_one"))).state
    with pytest.raises(Refused) as refused:
        await counter.create_payment(new(2, "call_one"))
    assert "payments_used" == refused.value.code
    await counter.create_payment(new(3, "call_two"))


async def test_payments_without_a_call_are_no_call_s_payments(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept card is charged every month by the merchant alone, for years."""
    monkeypatch.setattr(till, "PAYMENTS_PER_CALL_MAX", 2)
    counter = till_of(shop)
    await shop.charged(customer="shop-1", mandate="phone_order_v2")
    (card,) = await CardsOnFile(shop.store, shop.router).of_customer("demo", "shop-1")
    for number in range(3):
        by_card = replace(new(number, ""), leg_id="", customer="shop-1", card_id=card.card_id)
        payment = await counter.create_payment(replace(by_card, agent_id=None, sca_basis="mit"))
        assert PaymentState.READY is payment.state
