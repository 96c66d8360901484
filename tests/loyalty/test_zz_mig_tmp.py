"""Two tenants on one database: whatever one does, the other sees, gets and loses nothing of it.

Both have the same programme name, the same rewards' ids, and are asked under the same keys and receipts.
"""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from loyalty.answers import NotBooked, NotRedeemed, Refusal
from loyalty.errors import LoyaltyError
from tests.support.loyalty import House, open_house

TENANTS = ("sunny", "rainy")
ANNA, BERT = "agent:anna", "agent:bert"
acts = st.lists(
    st.tuples(
        st.sampled_from(
            ["earn", "adjust", "redeem", "reverse", "payout", "decide", "lock", "stock", "expire"]
        ),
        st.integers(0, 1),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=12,
)
"""What, by which member of the tenant, with which key."""


async def act(house: House, tenant: str, members: list[str], what: str, who: int, number: int) -> None:
    """One use case; refusals are as good as any answer."""
    loyalty, member, key = house.loyalty, members[who], f"k{number}"
    match what:
        case "earn":
            await loyalty.earn(tenant, member, 300, f"r{number}", key=key, by="key:shop")
        case "adjust":
            await loyalty.adjust(tenant, member, 50 - number * 20, key=key, reason="complaint", by=ANNA)
        case "redeem":
            await loyalty.redeem(tenant, member, "coffee", key=key, channel="web", by="caller")
        case "reverse":
            for one in await loyalty.redemptions(tenant, member, 1):
                await loyalty.reverse_redemption(
                    tenant, one.redemption_id, key=key, reason="mistake", by=ANNA
                )
        case "payout":
            await loyalty.ask_payout(tenant, member, 200, key=key, by=ANNA)
        case "decide":
            for one in await loyalty.payouts(tenant):
                await loyalty.decide_payout(tenant, one.payout_id, release=bool(number % 2), by=BERT)
        case "lock":
            await loyalty.lock_card(tenant, member, by=ANNA, reason="lost")
        case "stock":
            await loyalty.add_codes(tenant, "coffee", f"CODE-{number}", by="user:operator")
        case _:
            await loyalty.ledger.expire_due(tenant, "miles", house.clock().date())


async def view(house: House, tenant: str, members: list[str]) -> list[Any]:
    """Everything that the façade shows of a tenant."""
    loyalty = house.loyalty
    seen: list[Any] = [await loyalty.payouts(tenant), await loyalty.payouts(tenant, waiting=False)]
    seen.append(await loyalty.stock_of(tenant))
    for member in members:
        seen.append(await loyalty.members.get(tenant, member))
        seen.append(await loyalty.balance(tenant, member))
        seen.append(await loyalty.movements(tenant, member, 50))
        seen.append(await loyalty.rewards(tenant, member, "en-US"))
        listed = await loyalty.redemptions(tenant, member, 50)
        seen += [await loyalty.redemption(tenant, one.redemption_id) for one in listed]
    now = house.clock()
    seen.append(await loyalty.ledger.roll_forward(tenant, "miles", now.year, now.month))
    seen.append(await loyalty.activity(tenant, now.year, now.month))
    return seen


async def trespass(house: House, tenant: str, other: str, theirs: list[str]) -> None:
    """Ids of the other tenant are nobody's here: members, redemptions, postings, payouts."""
    loyalty = house.loyalty
    redemptions = [one.redemption_id for one in await loyalty.redemptions(other, theirs[0], 5)]
    postings = [one.journal_id for one in await loyalty.movements(other, theirs[0], 3)]
    payouts = [*await loyalty.payouts(other), *await loyalty.payouts(other, waiting=False)]
    for posting in postings:
        back = await loyalty.reverse(tenant, posting, key="x", reason="mistake", by=ANNA)
        assert NotBooked(Refusal.UNKNOWN) == back
    for payout in payouts:
        told = await loyalty.decide_payout(tenant, payout.payout_id, release=True, by=BERT)
        assert NotBooked(Refusal.UNKNOWN) == told
    for member in theirs[:1]:
        reads = (loyalty.balance, loyalty.members.get, loyalty.members.person)
        for read in reads:
            with pytest.raises(LoyaltyError):
                await read(tenant, member)
        for act in (loyalty.lock_card, loyalty.members.lock, loyalty.members.replace_card):
            with pytest.raises(LoyaltyError):
                await act(tenant, member, by=ANNA, reason="lost")
        assert () == await loyalty.members.changes(tenant, member)
        given = await loyalty.adjust(tenant, member, 5, key="x", reason="mistake", by=ANNA)
        assert NotBooked(Refusal.MEMBER_UNKNOWN) == given
        answer = await loyalty.redeem(tenant, member, "coffee", key="x", channel="web", by="caller")
        assert NotRedeemed(Refusal.MEMBER_UNKNOWN) == answer
        booked = await loyalty.earn(tenant, member, 5, "rx", key="x", by="key:shop")
        assert NotBooked(Refusal.MEMBER_UNKNOWN) == booked
        assert () == await loyalty.redemptions(tenant, member, 5)
    for redemption_id in redemptions:
        assert NotRedeemed(Refusal.UNKNOWN) == await loyalty.redemption(tenant, redemption_id)
        back = await loyalty.reverse_redemption(tenant, redemption_id, key="x", reason="mistake", by=ANNA)
        assert NotBooked(Refusal.UNKNOWN) == back


async def live(data_dir: Path, first: list[Any], second: list[Any]) -> None:
    """One tenant lives, then the other, with the same keys; neither moves the other's view."""
    house = open_house(data_dir, data_dir / "loyalty.db")
    try:
        members = {
            tenant: [(await house.member(tenant, 500)).member_id for _ in range(2)] for tenant in TENANTS
        }
        for tenant, other, told in (("sunny", "rainy", first), ("rainy", "sunny", second)):
            before = await view(house, other, members[other])
            for what, who, number in told:
                with contextlib.suppress(LoyaltyError):  # a key of the other member
                    await act(house, tenant, members[tenant], what, who, number)
            assert before == await view(house, other, members[other])
            await trespass(house, other, tenant, members[tenant])
    finally:
        await house.database.close()


# No shrinking: it would take minutes, and the lists are short.
@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(first=acts, second=acts)
def test_no_tenant_sees_or_moves_anything_of_another(empty_file: Path, first: list[Any], second: list[Any]):
    """Balances, movements, offers, redemptions, codes, payouts, stock, figures."""
    with tempfile.TemporaryDirectory(prefix="payivr-") as folder:
        shutil.copy(empty_file, Path(folder) / "loyalty.db")
        asyncio.run(live(Path(folder), first, second))
