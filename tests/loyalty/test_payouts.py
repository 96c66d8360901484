"""Cash for points: asked by one, released by another."""

import asyncio

import pytest

from loyalty.answers import Booked, NotBooked, Payout, Refusal
from loyalty.errors import LoyaltyError
from tests.support.loyalty import House

ANNA, BERT = "agent:anna", "agent:bert"


async def ask(house: House, member, points: int = 2_000, key: str = "p1", by: str = ANNA):
    """So many points, please."""
    return await house.loyalty.ask_payout("sunny", member.member_id, points, key=key, by=by)


async def test_a_large_payout_waits_for_somebody_else(each_house: House):
    """Held, refused to whoever asked, released by another; 100 points are 50 cents."""
    member = await each_house.member(points=5_000)
    asked = await ask(each_house, member)
    assert ("asked", 1_000, "EUR") == (asked.state, asked.amount_minor, asked.currency)
    assert 3_000 == await each_house.available(member)
    assert (asked,) == await each_house.loyalty.payouts("sunny")
    decide = each_house.loyalty.decide_payout
    assert NotBooked(Refusal.SAME_PERSON) == await decide("sunny", asked.payout_id, release=True, by=ANNA)
    released = await decide("sunny", asked.payout_id, release=True, by=BERT)
    assert ("released", BERT) == (released.state, released.decided_by)
    assert released == await decide("sunny", asked.payout_id, release=True, by=BERT)
    late = await decide("sunny", asked.payout_id, release=False, by=BERT)
    assert NotBooked(Refusal.ALREADY_DECIDED) == late
    balance = await each_house.loyalty.balance("sunny", member.member_id)
    assert (3_000, 0) == (balance.posted, balance.held)
    assert (released,) == await each_house.loyalty.payouts("sunny", waiting=False)


async def test_a_refused_payout_frees_the_points(house: House):
    """Whoever asked may take it back himself."""
    member = await house.member(points=5_000)
    asked = await ask(house, member)
    refused = await house.loyalty.decide_payout("sunny", asked.payout_id, release=False, by=ANNA)
    assert "refused" == refused.state
    assert 5_000 == await house.available(member)


async def test_a_small_payout_is_released_at_once(house: House):
    """Up to the tenant's four-eyes limit."""
    member = await house.member()
    answer = await ask(house, member, points=1_000)
    assert ("released", 500, ANNA) == (answer.state, answer.amount_minor, answer.decided_by)
    assert 0 == await house.available(member)


async def test_a_payout_is_not_taken_back_by_one_person(each_house: House):
    """The member would have the money and the points; the posting of a purchase can still be reversed."""
    member = await each_house.member(points=5_000)
    assert "released" == (await ask(each_house, member, points=1_000)).state
    paid, earned = await each_house.loyalty.movements("sunny", member.member_id, 10)
    reverse = each_house.loyalty.reverse
    for points in (None, 10):
        told = {"key": f"r{points}", "reason": "complaint", "by": ANNA, "points": points}
        assert NotBooked(Refusal.NOT_REVERSIBLE) == await reverse("sunny", paid.journal_id, **told)
    assert 4_000 == await each_house.available(member)
    assert isinstance(await reverse("sunny", earned.journal_id, key="e", reason="complaint", by=ANNA), Booked)


@pytest.mark.parametrize("what", ["card", "member", "erased", "closed"])
async def test_whoever_was_locked_meanwhile_is_not_paid(house: House, what: str):
    """Neither is one who is erased; one who has left still gets his money. Refusing is always possible."""
    member = await house.member(points=5_000)
    asked = await ask(house, member)
    members, who = house.loyalty.members, ("sunny", member.member_id)
    refusals = {
        "card": Refusal.CARD_LOCKED,
        "member": Refusal.MEMBER_LOCKED,
        "erased": Refusal.MEMBER_UNKNOWN,
    }
    match what:
        case "card":
            await members.lock_card(*who, by=ANNA, reason="stolen")
        case "member":
            await members.lock(*who, by=ANNA, reason="fraud")
        case "erased":
            await members.erase(*who, ANNA)
        case "closed":
            await members.close_member(*who, by=ANNA)
    answer = await house.loyalty.decide_payout("sunny", asked.payout_id, release=True, by=BERT)
    if what in refusals:
        assert NotBooked(refusals[what]) == answer
        answer = await house.loyalty.decide_payout("sunny", asked.payout_id, release=False, by=BERT)
    assert ("refused" if what in refusals else "released") == answer.state


async def test_one_key_is_one_payout(house: House):
    """Asked twice it is the same; for other points the key is refused."""
    member = await house.member(points=5_000)
    answers = await asyncio.gather(*(ask(house, member) for _ in range(10)))
    assert 1 == len(set(answers))
    with pytest.raises(LoyaltyError) as caught:
        await ask(house, member, points=1_200)
    assert "key_reused" == caught.value.code


async def test_two_deciders_at_once_are_one_decision(house: House):
    """The first decides."""
    member = await house.member(points=5_000)
    asked = await ask(house, member)
    decide = house.loyalty.decide_payout
    answers = await asyncio.gather(
        decide("sunny", asked.payout_id, release=True, by=BERT),
        decide("sunny", asked.payout_id, release=False, by="agent:carl"),
    )
    assert 1 == sum(isinstance(one, Payout) for one in answers)


@pytest.mark.parametrize(
    ("points", "refusal"),
    [
        (5_002, Refusal.INSUFFICIENT),
        (1, Refusal.AMOUNT_WRONG),
        (0, Refusal.AMOUNT_WRONG),
        (-100, Refusal.AMOUNT_WRONG),
    ],
)
async def test_what_cannot_be_paid_is_refused(house: House, points: int, refusal: Refusal):
    """Too much, half a cent, nothing."""
    member = await house.member(points=5_000)
    assert NotBooked(refusal) == await ask(house, member, points)


async def test_locked_or_without_payouts_nothing_is_paid(house: House):
    """A locked card, and a programme that pays nothing out."""
    member = await house.member(points=5_000)
    await house.loyalty.lock_card("sunny", member.member_id, by=ANNA, reason="lost")
    assert NotBooked(Refusal.CARD_LOCKED) == await ask(house, member)
    other = await house.member("rainy", points=5_000)
    answer = await house.loyalty.ask_payout("rainy", other.member_id, 100, key="p", by=ANNA)
    assert NotBooked(Refusal.PAYOUT_OFF) == answer
    assert NotBooked(Refusal.UNKNOWN) == await house.loyalty.decide_payout(
        "rainy", "pyt_none", release=True, by=ANNA
    )
