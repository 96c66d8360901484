"""Cards on file: kept only with a mandate, listed while they are good, forgotten here and at the provider."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from audit.outbox import stamp
from vault.cards_on_file import CARDS_PER_CUSTOMER_MAX, CardsOnFile
from vault.door import PaymentState, Refused
from vault.providers.base import KeptCard, Provider
from vault.router import Router
from vault.store import PaymentRow, Store

CARD = KeptCard("cus_one", "pm_one", "visa", "4242", 12, 2031)
ROW = PaymentRow(
    payment_id="pay_a",
    tenant="demo",
    call_id="call_one",
    leg_id="leg_one",
    agent_id="agent1",
    state=PaymentState.SETTLED,
    amount_minor=1995,
    currency="EUR",
    reference="B-1",
    purpose="booking",
    sca_basis="moto_agent",
    provider="sandbox",
    created_at=stamp(),
    updated_at=stamp(),
    customer="C-17",
    mandate="instalments-en-3",
)


class Forgetting:
    """A provider's side of forgetting: told what, and down on demand."""

    def __init__(self) -> None:
        self.down = False
        self.told: list[tuple[str, str]] = []

    async def forget_card(self, customer_ref: str, token_ref: str) -> None:
        if self.down:
            raise ConnectionError
        self.told.append((customer_ref, token_ref))


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Any]:
    store = await Store.open(tmp_path / "vault.db")
    provider = Forgetting()
    router = Router({}, {(ROW.tenant, "sandbox"): cast("Provider", provider)})
    yield SimpleNamespace(
        cards=CardsOnFile(store, router), provider=provider, store=store, path=tmp_path / "vault.db"
    )
    await store.close()


async def kept(file: Any, card: KeptCard = CARD, **changes: Any) -> str | None:
    async with file.store.changing() as change:
        card_id: str | None = await file.cards.keep(change, replace(ROW, **changes), card)
    return card_id


def entries(file: Any) -> list[str]:
    with closing(sqlite3.connect(file.path)) as database:
        return [body.split('"')[3] for (body,) in database.execute("SELECT body FROM outbox ORDER BY seq")]


async def test_a_card_is_kept_and_listed_without_the_providers_ids(file):
    """Brand, last 4, expiry and mandate are all that leaves; the ids come only to pay with."""
    card_id = await kept(file)
    (listed,) = await file.cards.of_customer("demo", "C-17")
    assert (card_id, "visa", "4242", "instalments-en-3", ROW.created_at) == (
        listed.card_id,
        listed.brand,
        listed.last4,
        listed.mandate,
        listed.consented_at,
    )
    assert not {"cus_one", "pm_one", "sandbox"} & set(map(str, asdict(listed).values()))
    assert "pm_one" == (await file.cards.card("demo", "C-17", card_id)).token_ref
    assert "cus_one" == await file.cards.customer_ref("demo", "C-17", "sandbox")
    assert "" == await file.cards.customer_ref("demo", "C-17", "stripe")
    assert ["payment.card.kept"] == entries(file)


@pytest.mark.parametrize("missing", [{"mandate": ""}, {"customer": ""}])
async def test_without_a_mandate_nothing_is_kept(file, missing):
    """Nor without a name to keep it under; the schema would refuse, too."""
    assert await kept(file, **missing) is None
    assert () == await file.cards.of_customer("demo", "C-17")
    await kept(file)
    with closing(sqlite3.connect(file.path)) as database, pytest.raises(sqlite3.IntegrityError):
        database.execute("UPDATE cards_on_file SET mandate = ''")


async def test_the_same_card_kept_twice_is_one_card_with_the_new_mandate(file):
    """Its id stays, so that what a merchant noted stays right."""
    first = await kept(file)
    assert first == await kept(file, mandate="instalments-en-4")
    (listed,) = await file.cards.of_customer("demo", "C-17")
    assert "instalments-en-4" == listed.mandate


async def test_a_card_is_good_to_the_end_of_its_month(file):
    """Listed in December, neither listed nor usable in January; the refusal says what to do."""
    card_id = await kept(file)
    december, january = datetime(2031, 12, 31, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC)
    assert 1 == len(await file.cards.of_customer("demo", "C-17", december))
    assert () == await file.cards.of_customer("demo", "C-17", january)
    with pytest.raises(Refused) as refused:
        await file.cards.card("demo", "C-17", card_id, january)
    assert "card_expired" == refused.value.code


async def test_nobody_elses_card_can_be_used_or_forgotten(file):
    """Another customer's and another tenant's are unknown."""
    card_id = await kept(file)
    for tenant, customer in (("other", "C-17"), ("demo", "C-18")):
        assert () == await file.cards.of_customer(tenant, customer)
        for act in (
            lambda t=tenant, c=customer: file.cards.card(t, c, card_id),
            lambda t=tenant, c=customer: file.cards.forget(t, c, card_id, "agent:eve"),
        ):
            with pytest.raises(Refused) as refused:
                await act()
            assert "card_unknown" == refused.value.code
    assert [] == file.provider.told


async def test_a_forgotten_card_is_forgotten_at_the_provider_too(file):
    """Once; asked again it is unknown."""
    card_id = await kept(file)
    await file.cards.forget("demo", "C-17", card_id, "agent:agent1")
    assert [("cus_one", "pm_one")] == file.provider.told
    with pytest.raises(Refused):
        await file.cards.forget("demo", "C-17", card_id, "agent:agent1")
    assert () == await file.cards.of_customer("demo", "C-17")
    assert 0 == await file.cards.erase_forgotten()
    assert ["payment.card.kept", "card.file.forgotten", "card.file.erased"] == entries(file)


async def test_a_provider_that_is_down_is_told_later(file):
    """The card is gone here at once; the provider hears of it until it has confirmed."""
    card_id = await kept(file)
    file.provider.down = True
    await file.cards.forget("demo", "C-17", card_id, "agent:agent1")
    assert () == await file.cards.of_customer("demo", "C-17")
    assert 0 == await file.cards.erase_forgotten()
    file.provider.down = False
    assert 1 == await file.cards.erase_forgotten()
    assert [("cus_one", "pm_one")] == file.provider.told


async def test_a_token_that_another_customer_still_has_stays_at_the_provider(file):
    """The last one who lets it go tells the provider."""
    first, second = await kept(file), await kept(file, customer="C-18")
    await file.cards.forget("demo", "C-17", first, "agent:agent1")
    assert [] == file.provider.told
    await file.cards.forget("demo", "C-18", second, "agent:agent1")
    assert [("cus_one", "pm_one")] == file.provider.told


async def test_a_card_kept_again_after_it_was_forgotten_is_on_file_again(file):
    """With its old id and the new consent."""
    card_id = await kept(file)
    await file.cards.forget("demo", "C-17", card_id, "agent:agent1")
    assert card_id == await kept(file)
    assert 1 == len(await file.cards.of_customer("demo", "C-17"))


@pytest.mark.parametrize(
    "odd",
    [{"brand": "Visa 4"}, {"last4": "42421"}, {"token_ref": ""}, {"expiry_month": 13}, {"expiry_year": 31}],
)
async def test_what_no_provider_should_say_is_not_kept_and_costs_no_approval(file, odd):
    """The approval around it is committed all the same."""
    assert await kept(file, replace(CARD, **odd)) is None


async def test_a_customer_has_so_many_cards_and_no_more(file):
    """The one above is not kept; the newest consent is listed first."""
    for number in range(CARDS_PER_CUSTOMER_MAX):
        assert await kept(
            file, replace(CARD, token_ref=f"pm_{number}"), created_at=f"2026-01-{number + 1:02}"
        )
    assert await kept(file, replace(CARD, token_ref="pm_more")) is None
    listed = await file.cards.of_customer("demo", "C-17")
    assert (CARDS_PER_CUSTOMER_MAX, "2026-01-20") == (len(listed), listed[0].consented_at)
