"""Points for purchases, returned goods, complaints, and what a member brings along."""

from datetime import date

import pytest

from loyalty.answers import NotBooked, Refusal
from loyalty.errors import LoyaltyError
from tests.support.loyalty import House

ANNA = "agent:anna"


async def earn(house: House, member, points: int, receipt: str, key: str = ""):
    """A purchase."""
    return await house.loyalty.earn(
        member.tenant, member.member_id, points, receipt, key=key or receipt, by="key:shop"
    )


async def test_a_receipt_earns_once(house: House):
    """The same key is a replay, another key with the same receipt is refused."""
    member = await house.member(points=0)
    first = await earn(house, member, 120, "r-1")
    again = await earn(house, member, 120, "r-1")
    assert (120, False, first.journal_id, True) == (
        first.available, first.replayed, again.journal_id, again.replayed,
    )  # fmt: skip
    assert NotBooked(Refusal.RECEIPT_USED) == await earn(house, member, 120, "r-1", key="other")
    assert 120 == await house.available(member)


async def test_points_live_as_long_as_the_programme_says(house: House):
    """Thirty-six months, by the tenant's clock."""
    member = await house.member(points=10)
    balance = await house.loyalty.balance("sunny", member.member_id)
    assert (date(2029, 3, 10), 10) == (balance.next_expiry, balance.expiring_points)


async def test_a_locked_member_earns(house: House):
    """Only spending is stopped."""
    member = await house.member(points=0)
    await house.loyalty.members.lock("sunny", member.member_id, by=ANNA, reason="fraud")
    assert 5 == (await earn(house, member, 5, "r-1")).available


async def test_returned_goods_take_their_points_back(house: House):
    """In part, then the rest; linked to the purchase, and never more than it was."""
    member = await house.member(points=0)
    bought = await earn(house, member, 100, "r-1")

    async def back(key: str, points: int | None):
        return await house.loyalty.reverse(
            "sunny", bought.journal_id, key=key, reason="returned", by=ANNA, points=points
        )

    part, rest = await back("u1", 40), await back("u2", None)
    assert (40, 60, 60, 0) == (part.points, part.available, rest.points, rest.available)
    assert (60, True) == ((again := await back("u2", None)).points, again.replayed)
    assert isinstance(await back("u3", None), NotBooked)
    movements = await house.loyalty.movements("sunny", member.member_id, 10)
    assert [bought.journal_id] * 2 == [one.reverses for one in movements if one.points < 0]


async def test_adjustments_have_a_reason_and_a_limit(house: House):
    """Given and taken up to what one person may move alone."""
    member = await house.member(points=0)

    async def adjust(points: int, key: str):
        return await house.loyalty.adjust(
            "sunny", member.member_id, points, key=key, reason="complaint", by=ANNA
        )

    assert 500 == (await adjust(500, "a1")).available
    assert (200, 300) == ((taken := await adjust(-200, "a2")).points, taken.available)
    assert NotBooked(Refusal.INSUFFICIENT) == await adjust(-400, "a3")
    assert NotBooked(Refusal.NEEDS_SECOND) == await adjust(5_001, "a4")
    assert NotBooked(Refusal.AMOUNT_WRONG) == await adjust(0, "a5")
    for reason in ("", "Because!"):
        with pytest.raises(LoyaltyError) as caught:
            await house.loyalty.adjust("sunny", member.member_id, 5, key="a6", reason=reason, by=ANNA)
        assert "reason_malformed" == caught.value.code


async def test_an_opening_balance_is_booked_once(house: House):
    """With the date that the earlier system had given it."""
    member = await house.member(points=0)
    bring = house.loyalty.open_balance
    first = await bring("sunny", member.member_id, 700, expires=date(2027, 1, 1), by="user:operator")
    again = await bring("sunny", member.member_id, 700, expires=date(2027, 1, 1), by="user:operator")
    assert (700, True) == (first.available, again.replayed)
    assert date(2027, 1, 1) == (await house.loyalty.balance("sunny", member.member_id)).next_expiry


async def test_strangers_and_wrong_keys_are_refused(house: House):
    """Nobody's id is a refusal, a key of the wrong shape a mistake."""
    answer = await house.loyalty.earn("sunny", "mem_nobody", 5, "r", key="k", by="key:shop")
    assert NotBooked(Refusal.MEMBER_UNKNOWN) == answer
    member = await house.member(points=0)
    for key in ("", "a b", "x" * 81):
        with pytest.raises(LoyaltyError) as caught:
            await house.loyalty.earn("sunny", member.member_id, 5, "r", key=key, by="key:shop")
        assert "key_malformed" == caught.value.code
    with pytest.raises(LoyaltyError) as caught:
        house.loyalty.programme("nobody")
    assert "no_programme" == caught.value.code


async def test_points_end_at_the_tenants_midnight(house: House):
    """Three years on, at midnight in Berlin and five hours later in New York."""
    here, there = await house.member(points=10), await house.member("rainy", points=10)
    house.clock.turn(days=1_096 - 1, hours=12)  # 2029-03-09 23:00 UTC, midnight in Berlin
    await house.loyalty.upkeep.round()
    left = [(await house.loyalty.balance(one.tenant, one.member_id)).posted for one in (here, there)]
    assert [0, 10] == left
    house.clock.turn(hours=6)
    await house.loyalty.upkeep.round()
    assert 0 == (await house.loyalty.balance("rainy", there.member_id)).posted
    moved = await house.loyalty.ledger.roll_forward("sunny", "miles", 2029, 3)
    assert (10, 10, 0, True) == (moved.opening, moved.expired, moved.closing, moved.is_even)
