"""Points become donations and vouchers, once, whatever is asked at the same time."""

import asyncio

import pytest

from loyalty.answers import NotBooked, NotRedeemed, Redeemed, RedemptionState, Refusal
from loyalty.errors import LoyaltyError
from loyalty.ledger.accounts import system_account
from pay_ivr.channels import Medium
from tests.support.loyalty import House, somebody

AGENT = "agent:anna"


async def redeem(house: House, member, reward: str, key: str):
    """By telephone."""
    return await house.loyalty.redeem(
        member.tenant, member.member_id, reward, key=key, channel="phone", call_id="call_one", by="caller"
    )


async def stocked(house: House, codes: int, tenant: str = "sunny") -> set[str]:
    """So many codes of the coffee; their texts."""
    found = {f"CAFE-{number:04d}" for number in range(codes)}
    added = await house.loyalty.add_codes(tenant, "coffee", "\n".join(sorted(found)), by="system:operator")
    assert (codes, ()) == (added.added, added.wrong)
    return found


async def test_a_donation_goes_to_its_charity_and_brings_a_receipt(each_house: House):
    """Points leave the member for the charity's account; the receipt is nine digits."""
    member = await each_house.member()
    answer = await redeem(each_house, member, "tree", "call_one.1")
    assert isinstance(answer, Redeemed)
    assert (100, None, Medium.EMAIL) == (answer.points, answer.code, answer.delivery)
    assert 9 == len(answer.receipt)
    assert 900 == await each_house.available(member)
    account = system_account("redeemed_donation:trees")
    at = each_house.clock()
    assert 100 == await each_house.loyalty.ledger.as_of("sunny", "miles", account, at)


async def test_a_voucher_comes_from_the_stock_and_again_under_its_key(each_house: House):
    """The same key brings the same code; another key another one."""
    codes = await stocked(each_house, 2)
    member = await each_house.member()
    first = await redeem(each_house, member, "coffee", "k1")
    again = await redeem(each_house, member, "coffee", "k1")
    second = await redeem(each_house, member, "coffee", "k2")
    assert first == again
    assert codes == {first.code, second.code}
    assert 600 == await each_house.available(member)


async def test_every_code_that_was_issued_to_a_member_is_found_again(house: House):
    """His own alone, by redemption: for the file that he may ask for."""
    await stocked(house, 3)
    member, other = await house.member(), await house.member()
    answers = [await redeem(house, member, "coffee", key) for key in ("k1", "k2")]
    await redeem(house, other, "coffee", "k3")
    found = await house.database.read(
        "sunny", lambda conn: house.loyalty.stock.of_member(conn, "miles", member.member_id)
    )
    assert {answer.redemption_id: answer.code for answer in answers} == found


async def test_a_key_that_meant_something_else_is_refused(house: House):
    """The same key for another reward is a mistake of the asker."""
    member = await house.member()
    await redeem(house, member, "tree", "k1")
    with pytest.raises(LoyaltyError) as caught:
        await redeem(house, member, "bike", "k1")
    assert "key_reused" == caught.value.code


async def test_fifty_callers_cannot_overdraw_a_member_or_a_stock(each_house: House):
    """Fifty at once want a voucher; points are for five, codes for four."""
    codes = await stocked(each_house, 4)
    member = await each_house.member(points=1_000)
    others = [await each_house.member(points=200) for _ in range(5)]
    who = [member] * 45 + others
    answers = await asyncio.gather(
        *(redeem(each_house, one, "coffee", f"k{number}") for number, one in enumerate(who))
    )
    got = [one.code for one in answers if isinstance(one, Redeemed)]
    assert (4, codes) == (len(got), set(got))
    refused = {one.code for one in answers if isinstance(one, NotRedeemed)}
    assert refused <= {Refusal.OUT_OF_STOCK, Refusal.LIMIT_REACHED, Refusal.INSUFFICIENT}
    left = [await each_house.available(one) for one in (member, *others)]
    assert 2_000 - 4 * 200 == sum(left)
    assert min(left) >= 0


async def test_fifty_donations_at_once_leave_nobody_below_zero(each_house: House):
    """Ten are affordable."""
    member = await each_house.member(points=1_000)
    answers = await asyncio.gather(*(redeem(each_house, member, "tree", f"k{n}") for n in range(50)))
    assert 10 == sum(isinstance(one, Redeemed) for one in answers)
    assert {Refusal.INSUFFICIENT} == {one.code for one in answers if isinstance(one, NotRedeemed)}
    assert 0 == await each_house.available(member)


async def test_one_key_of_fifty_callers_is_one_redemption(house: House):
    """Whoever asks under the same key hears the same answer."""
    await stocked(house, 3)
    member = await house.member()
    answers = await asyncio.gather(*(redeem(house, member, "coffee", "same") for _ in range(50)))
    assert 1 == len(set(answers))
    assert 800 == await house.available(member)


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [("card", Refusal.CARD_LOCKED), ("member", Refusal.MEMBER_LOCKED), ("nobody", Refusal.MEMBER_UNKNOWN)],
)
async def test_who_is_locked_redeems_nothing(house: House, spoil: str, refusal: Refusal):
    """Locked card, locked member, nobody: refused, and nothing is booked."""
    member = await house.member()
    members = house.loyalty.members
    if spoil == "card":
        await house.loyalty.lock_card("sunny", member.member_id, by=AGENT, reason="lost")
    if spoil == "member":
        await members.lock("sunny", member.member_id, by=AGENT, reason="fraud")
    asked = "mem_nobody" if spoil == "nobody" else member.member_id
    answer = await house.loyalty.redeem("sunny", asked, "tree", key="k1", channel="web", by="caller")
    assert NotRedeemed(refusal) == answer
    assert 1_000 == await house.available(member)


async def test_a_refusal_leaves_its_key_free(house: House):
    """Too few points today; with more tomorrow, the same key redeems."""
    member = await house.member(points=50)
    assert NotRedeemed(Refusal.INSUFFICIENT) == await redeem(house, member, "tree", "k1")
    await house.loyalty.earn("sunny", member.member_id, 50, "r-9", key="e9", by="key:shop")
    assert isinstance(await redeem(house, member, "tree", "k1"), Redeemed)


async def test_limits_of_a_day_begin_anew_at_the_tenants_midnight(house: House):
    """Three coffees a day by the clock of Berlin."""
    await stocked(house, 8)
    member = await house.member(points=2_000)
    answers = [await redeem(house, member, "coffee", f"k{n}") for n in range(4)]
    assert [True, True, True, False] == [isinstance(one, Redeemed) for one in answers]
    assert NotRedeemed(Refusal.LIMIT_REACHED) == answers[3]
    house.clock.turn(hours=12)  # 23:00 UTC, 24:00 in Berlin
    assert isinstance(await redeem(house, member, "coffee", "k9"), Redeemed)


async def test_a_reward_past_its_day_is_no_reward_but_its_answer_stays(house: House):
    """Who redeemed in time hears it again, who comes later does not get it."""
    member = await house.member()
    first = await redeem(house, member, "bike", "k1")
    house.clock.turn(days=400)
    assert first == await redeem(house, member, "bike", "k1")
    assert NotRedeemed(Refusal.REWARD_UNKNOWN) == await redeem(house, member, "bike", "k2")


async def test_offers_tell_what_is_affordable_and_left(house: House):
    """In the file's order, in the language asked for; without a stock nothing is left."""
    member = await house.member(points=150)
    await redeem(house, member, "bike", "k1")
    offers = await house.loyalty.rewards("sunny", member.member_id, "en-US")
    assert [
        ("tree", "a tree", True, None),
        ("coffee", "a coffee", False, 0),
        ("sauna", "a sauna", False, None),
        ("bike", "a bike", True, 1),
    ] == [(one.reward_id, one.name, one.affordable, one.left_today) for one in offers]
    anybody = await house.loyalty.rewards("sunny", None, "de-DE")
    assert [True] * 4 == [one.affordable for one in anybody]


async def test_a_reversed_redemption_gives_the_points_back_once(each_house: House):
    """The points return, the code stays used, the limit forgets it."""
    codes = await stocked(each_house, 2)
    member = await each_house.member()
    done = await redeem(each_house, member, "coffee", "k1")
    loyalty = each_house.loyalty
    back = await loyalty.reverse_redemption(
        "sunny", done.redemption_id, key="u1", reason="goods_faulty", by=AGENT
    )
    assert (200, 1_000, False) == (back.points, back.available, back.replayed)
    again = await loyalty.reverse_redemption(
        "sunny", done.redemption_id, key="u1", reason="goods_faulty", by=AGENT
    )
    assert (back.journal_id, True) == (again.journal_id, again.replayed)
    other = await loyalty.reverse_redemption("sunny", done.redemption_id, key="u2", reason="again", by=AGENT)
    assert NotBooked(Refusal.ALREADY_REVERSED) == other
    assert 1_000 == await each_house.available(member)
    asked = await redeem(each_house, member, "coffee", "k1")
    assert NotRedeemed(Refusal.ALREADY_REVERSED, done.redemption_id) == asked
    assert codes - {done.code} == {(await redeem(each_house, member, "coffee", "k2")).code}
    listed = await loyalty.redemptions("sunny", member.member_id, 10)
    assert {RedemptionState.RELEASED, RedemptionState.DONE} == {one.state for one in listed}


@pytest.mark.parametrize("points", [None, 100])
async def test_a_posting_of_a_redemption_is_reversed_with_its_redemption(house: House, points: int | None):
    """By its journal the same happens as by its id, also when all of its points are named."""
    member = await house.member()
    done = await redeem(house, member, "tree", "k1")
    (journal,) = [
        one for one in await house.loyalty.movements("sunny", member.member_id, 5) if one.points < 0
    ]
    told = {"key": "u1", "reason": "mistake", "by": AGENT, "points": points}
    assert 100 == (await house.loyalty.reverse("sunny", journal.journal_id, **told)).points
    asked = await house.loyalty.redemption("sunny", done.redemption_id)
    assert Refusal.ALREADY_REVERSED is asked.code


async def test_nothing_personal_or_worth_money_is_in_a_repr(house: House):
    """A code is not printed with its answer."""
    codes = await stocked(house, 1)
    member = await house.member()
    answer = await redeem(house, member, "coffee", "k1")
    assert codes == {answer.code}
    assert answer.code not in repr(answer)
    assert somebody().email not in repr(answer)
