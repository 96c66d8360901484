"""Amounts at Stripe: what it would understand as another sum is refused before anything is sent."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.stripe_ends import ORDER, StripeEnds, stripe_ends
from vault.door import Refused
from vault.providers.base import LinkOrder


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[StripeEnds]:
    async with stripe_ends(tmp_path) as ends:
        yield ends


@pytest.mark.parametrize(
    ("currency", "amount_minor", "code"),
    [
        ("ISK", 50_000, "currency_not_offered"),
        ("UGX", 50_000, "currency_not_offered"),
        ("MGA", 100_000, "currency_not_offered"),
        ("BHD", 1_999, "amount_malformed"),
        ("KWD", 5_124, "amount_malformed"),
    ],
)
async def test_an_amount_that_is_other_money_there_is_never_sent(
    ends: StripeEnds, currency: str, amount_minor: int, code: str
) -> None:
    """Neither as an intent nor as a page."""
    order = replace(ORDER, currency=currency, amount_minor=amount_minor)
    link = LinkOrder(order, "pay_one:link:1", "2099-01-01T00:00:00.000Z", "https://desk.example/")
    for asked in (ends.broker.prepare(order), ends.broker.open_link(link)):
        with pytest.raises(Refused) as refused:
            await asked
        assert code == refused.value.code
    books = ends.sim.host.books
    assert [] == [*books.every("payment_intent"), *books.every("checkout.session")]


@pytest.mark.parametrize(("currency", "amount_minor"), [("JPY", 500), ("HUF", 199_500), ("BHD", 1_990)])
async def test_an_amount_that_is_the_same_there_is_sent_as_it_is(
    ends: StripeEnds, currency: str, amount_minor: int
) -> None:
    """Yen have no minor unit, forints two digits, dinars three that end in zero."""
    await ends.broker.prepare(replace(ORDER, currency=currency, amount_minor=amount_minor))
    (intent,) = ends.sim.host.books.every("payment_intent")
    assert (currency.lower(), amount_minor) == (intent["currency"], intent["amount"])
