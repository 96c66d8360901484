"""Webhooks about points: each posting of a member once, in order, to nobody but its own tenant's systems."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from loyalty.telling import PAGE, SWEPT_DAYS, Telling
from pay_ivr.hooks import DeliveryState, Hooks
from pay_ivr.store import Store
from tests.support.loyalty import House


@dataclass
class Listening:
    """A house whose points are followed, and what has been stored for the tenants' systems."""

    house: House
    hooks: Hooks
    woken: list[None]

    def telling(self) -> Telling:
        """As a node that has just started."""
        return self.house.loyalty.telling(self.hooks, lambda: self.woken.append(None))

    async def stored(self, tenant: str = "sunny") -> list[dict[str, object]]:
        """Every body, oldest first."""
        found = await self.hooks.listed(tenant, DeliveryState.WAITING)
        return [json.loads(one.body) for one in reversed(found)]


@pytest.fixture
async def listening(house: House, tmp_path: Path) -> AsyncIterator[Listening]:
    """Both tenants have a system that listens, since before anything happened."""
    store = await Store.open(tmp_path / "app.db")
    hooks = await Hooks.open(store, tmp_path)
    before = int((house.clock() - timedelta(days=1)).timestamp() * 1000)
    for tenant in ("sunny", "rainy"):
        await hooks.add_endpoint(tenant, f"https://{tenant}.example/points", before, "system:test")
    yield Listening(house, hooks, [])
    await store.close()


async def test_every_posting_of_a_member_is_told_once(listening: Listening) -> None:
    """Earned, redeemed, taken back, in this order; a second look adds none."""
    house = listening.house
    member = await house.member(points=500)
    done = await house.loyalty.redeem(
        "sunny", member.member_id, "tree", key="k", channel="api", by="key:shop"
    )
    await house.loyalty.reverse_redemption(
        "sunny", done.redemption_id, key="r", reason="returned", by="key:shop"
    )
    telling = listening.telling()
    await telling.round()
    await telling.round()
    await listening.telling().round()
    told = await listening.stored()
    assert [("points.earned", 500), ("points.redeemed", -100), ("points.reversed", 100)] == [
        (one["type"], one["points"]) for one in told
    ]
    assert {member.member_id} == {one["posting"]["member_id"] for one in told}
    assert 1 == len(listening.woken)


async def test_points_that_pay_a_debt_are_told_as_what_is_left_of_them(listening: Listening) -> None:
    """A receiver that adds up what it is told has what the member has, also after held points came back."""
    house = listening.house
    loyalty, member = house.loyalty, await house.member(points=500)
    who = ("sunny", member.member_id)
    held = await loyalty.ask_payout(*who, 400, key="p", by="agent:anna")
    assert "released" == held.state
    (earned,) = [one for one in await loyalty.movements(*who, 5) if one.kind == "earn"]
    await loyalty.reverse("sunny", earned.journal_id, key="r", reason="returned", by="key:shop")
    await loyalty.earn(*who, 1_000, "R-2", key="e", by="key:shop")
    await listening.telling().round()
    told = await listening.stored()
    assert [500, -400, -100, 600] == [one["points"] for one in told]
    assert 600 == await house.available(member)


async def test_what_comes_later_is_told_later(listening: Listening) -> None:
    """The books are followed, and more than a page at once is no matter."""
    house = listening.house
    telling = listening.telling()
    await telling.round()
    member = await house.member(points=0)
    for number in range(5):
        house.clock.turn(seconds=1)
        await house.loyalty.earn("sunny", member.member_id, 10, f"R{number}", key=f"e{number}", by="key:shop")
        await telling.round()
    assert [f"R{number}" for number in range(5)] == [
        one["posting"]["receipt"] for one in await listening.stored()
    ]


async def test_no_tenant_hears_of_another_s_points(listening: Listening) -> None:
    """The same programme's name, two books."""
    mine, yours = await listening.house.member("sunny"), await listening.house.member("rainy")
    await listening.telling().round()
    for tenant, member in (("sunny", mine), ("rainy", yours)):
        told = await listening.stored(tenant)
        assert {(tenant, member.member_id)} == {(one["tenant"], one["posting"]["member_id"]) for one in told}


async def test_nobody_hears_of_what_was_before_or_long_ago(house: House, tmp_path: Path) -> None:
    """An endpoint begins with its own day; a start looks back some days and no further."""
    member = await house.member()
    house.clock.turn(days=SWEPT_DAYS + 1)
    store = await Store.open(tmp_path / "app.db")
    hooks = await Hooks.open(store, tmp_path)
    listening = Listening(house, hooks, [])
    await hooks.add_endpoint(
        "sunny", "https://sunny.example/", int(house.clock().timestamp() * 1000), "system:test"
    )
    await listening.telling().round()
    assert [] == await listening.stored()
    house.clock.turn(seconds=1)
    await house.loyalty.earn("sunny", member.member_id, 1, "R", key="e", by="key:shop")
    await listening.telling().round()
    assert [1] == [one["points"] for one in await listening.stored()]
    await store.close()


async def test_a_page_never_cuts_a_posting_in_two(listening: Listening, monkeypatch) -> None:
    """Read one journal at a time, everything is told all the same."""
    monkeypatch.setattr("loyalty.telling.PAGE", 1)
    assert PAGE > 1
    await listening.house.member(points=300)
    await listening.house.member(points=200)
    await listening.telling().round()
    assert [300, 200] == [one["points"] for one in await listening.stored()]


async def test_who_was_erased_is_told_of_no_more(listening: Listening) -> None:
    """The posting stays in the books; whose it was is gone."""
    member = await listening.house.member(points=300)
    await listening.house.loyalty.members.erase("sunny", member.member_id, "system:test")
    await listening.telling().round()
    assert [] == await listening.stored()
