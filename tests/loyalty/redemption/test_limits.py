"""Limits as a rule of their own, and as many callers at once meet them."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from loyalty.answers import Redeemed, Refusal
from loyalty.programme import Reward
from loyalty.redemption.limits import Use, left, refusal
from tests.support.loyalty import House

most = st.integers(0, 6)
rewards = st.builds(
    lambda day, member, total: Reward(
        id="r",
        kind="donation",
        points=1,
        charity="c",
        per_day_max=day,
        per_member_max=member,
        total_max=total,
        names={"en-US": "r"},
    ),
    most,
    most,
    most,
)
wishes = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40)
"""Who, on which day."""


@given(rewards, wishes)
def test_nobody_ever_gets_more_than_a_limit(reward: Reward, asked: list[tuple[int, int]]):
    """By day, by member and in all; and what is refused is at a limit."""
    had: list[tuple[int, int]] = []
    for who, day in sorted(asked, key=lambda one: one[1]):
        use = Use(had.count((who, day)), sum(one[0] == who for one in had), len(had))
        why = refusal(reward, use)
        assert (why is None) == (left(reward, use) != 0)
        if why is None:
            had.append((who, day))
        else:
            at = (use.today, use.by_member, use.by_all)
            limits = (reward.per_day_max, reward.per_member_max, reward.total_max)
            assert any(limit and limit <= count for limit, count in zip(limits, at, strict=True))
    for who, day in had:
        assert had.count((who, day)) <= (reward.per_day_max or len(had))
        assert sum(one[0] == who for one in had) <= (reward.per_member_max or len(had))
    assert len(had) <= (reward.total_max or len(had))


async def test_limits_hold_when_everybody_asks_at_once(each_house: House):
    """Two for each member, three in all: of five members asking four times each."""
    members = [await each_house.member() for _ in range(5)]
    answers = await asyncio.gather(
        *(
            each_house.loyalty.redeem(
                "sunny", one.member_id, "bike", key=f"k{one.member_id}.{number}", channel="web", by="caller"
            )
            for number in range(4)
            for one in members
        )
    )
    assert 3 == sum(isinstance(one, Redeemed) for one in answers)
    refused = {one.code for one in answers if not isinstance(one, Redeemed)}
    assert refused <= {Refusal.OUT_OF_STOCK, Refusal.LIMIT_REACHED}
