"""A shop's own vouchers: held, issued, posted; and what becomes of orders that nobody answered."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from audit.outbox import OUTBOX
from loyalty.answers import NotRedeemed, Redeemed, RedemptionState, Refusal
from loyalty.errors import LoyaltyError
from loyalty.programme import programmes_of
from loyalty.redemption import redemptions
from loyalty.redemption.sources import NotIssued, Order, SourceLate, Voucher, sources_of
from loyalty.tables import REDEMPTION
from pay_ivr.channels import Medium
from pay_ivr.tenants import load_tenants
from tests.support import loyalty as support
from tests.support.loyalty import House, open_house, write_tenants
from tests.support.voucher_shop import Shop, voucher_shop

AGENT = "agent:anna"
ORDER = Order("red_one", "sauna")


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A shop that is open."""
    with voucher_shop() as opened:
        yield opened


@pytest.fixture
async def spa(short_dir: Path, empty_file: Path, shop: Shop) -> AsyncIterator[House]:
    """A house whose sauna vouchers come from the shop."""
    shutil.copy(empty_file, short_dir / "loyalty.db")
    sources = {("sunny", "spa"): shop.source(short_dir)}
    opened = open_house(short_dir, short_dir / "loyalty.db", sources)
    yield opened
    await opened.database.close()


async def redeem(house: House, member, key: str = "k1"):
    """A sauna for 300 points."""
    return await house.loyalty.redeem("sunny", member.member_id, "sauna", key=key, channel="web", by="caller")


async def state(house: House, member) -> tuple[RedemptionState, int, int]:
    """Of the member's last redemption, and his points: available, held."""
    (last, *_) = await house.loyalty.redemptions("sunny", member.member_id, 1)
    balance = await house.loyalty.balance("sunny", member.member_id)
    return last.state, balance.available, balance.held


async def test_a_shops_code_is_posted_and_asked_for_once(spa: House, shop: Shop):
    """One order; again under its key the same code without another order."""
    member = await spa.member()
    first = await redeem(spa, member)
    assert isinstance(first, Redeemed)
    assert ("SPA-00001", 300) == (first.code, first.points)
    assert first == await redeem(spa, member)
    assert [("PUT", first.redemption_id)] == shop.asked
    assert (RedemptionState.DONE, 700, 0) == await state(spa, member)


async def test_a_shop_that_refuses_frees_the_points(spa: House, shop: Shop):
    """And the member may try anew under another key."""
    shop.faults = ["refuse"]
    member = await spa.member()
    answer = await redeem(spa, member)
    assert Refusal.PROVIDER_REFUSED is answer.code
    assert (RedemptionState.REFUSED, 1_000, 0) == await state(spa, member)
    assert answer == await redeem(spa, member)
    assert isinstance(await redeem(spa, member, "k2"), Redeemed)


@pytest.mark.parametrize("fault", ["busy", "issue_then_busy", "hang_up", "issue_then_hang_up", "nonsense"])
async def test_an_answer_that_says_nothing_keeps_the_points_and_a_retry_gets_the_code(
    spa: House, shop: Shop, fault: str
):
    """`later`, points held; the same key asks the shop again under the same order."""
    shop.faults = [fault]
    member = await spa.member()
    answer = await redeem(spa, member)
    assert Refusal.LATER is answer.code
    assert (RedemptionState.RESERVED, 700, 300) == await state(spa, member)
    again = await redeem(spa, member)
    assert "SPA-00001" == again.code
    assert {answer.redemption_id} == shop.issued.keys()
    assert (RedemptionState.DONE, 700, 0) == await state(spa, member)


async def test_an_issued_voucher_that_nobody_heard_of_is_found_and_posted(spa: House, shop: Shop):
    """The reaper asks the shop by the order's key; it is never voided (L8)."""
    shop.faults = ["issue_then_hang_up"]
    member = await spa.member()
    answer = await redeem(spa, member)
    await spa.loyalty.upkeep.round()
    assert RedemptionState.RESERVED is (await state(spa, member))[0]  # its time is not over
    spa.clock.turn(minutes=11)
    await spa.loyalty.upkeep.round()
    assert (RedemptionState.DONE, 700, 0) == await state(spa, member)
    told = await spa.loyalty.redemption("sunny", answer.redemption_id)
    assert "SPA-00001" == told.code
    (letter,) = await spa.loyalty.deliveries.due(int(spa.clock().timestamp() * 1000))
    assert "SPA-00001" in letter.message.text


async def test_an_order_that_was_never_filled_is_released(spa: House, shop: Shop):
    """404 after its time: the points are free again, and its key stays used."""
    shop.faults = ["busy"]
    member = await spa.member()
    await redeem(spa, member)
    spa.clock.turn(minutes=11)
    await spa.loyalty.upkeep.round()
    assert (RedemptionState.RELEASED, 1_000, 0) == await state(spa, member)
    assert Refusal.PROVIDER_REFUSED is (await redeem(spa, member)).code
    assert [] == list(shop.issued)


@pytest.mark.parametrize("fault", ["busy", "forbid"])
async def test_a_shop_that_cannot_say_is_asked_again(spa: House, shop: Shop, fault: str):
    """Neither 503 nor 403 says that nothing was issued: the points stay held until it does."""
    shop.faults = ["issue_then_busy", fault]
    member = await spa.member()
    await redeem(spa, member)
    spa.clock.turn(minutes=11)
    await spa.loyalty.upkeep.round()
    assert RedemptionState.RESERVED is (await state(spa, member))[0]
    await spa.loyalty.upkeep.round()
    assert RedemptionState.DONE is (await state(spa, member))[0]


async def test_orders_that_nobody_can_settle_keep_no_other_waiting(
    spa: House, shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    """Two a round, and the shop says nothing of the first two: the next round asks for the others."""
    monkeypatch.setattr(redemptions, "SETTLE_MAX", 2)
    member = await spa.member(points=1_200)
    shop.faults[:] = ["busy"] * 4 + ["forbid"] * 2
    for number in range(4):
        await redeem(spa, member, f"k{number}")
    spa.clock.turn(minutes=11)
    for _ in range(2):
        await spa.loyalty.upkeep.round()
    assert 4 == len({order for method, order in shop.asked if method == "GET"})
    assert (600, 600) == (await state(spa, member))[1:]
    await spa.loyalty.upkeep.round()
    await spa.loyalty.upkeep.round()
    assert (1_200, 0) == (await state(spa, member))[1:]


@pytest.fixture
async def without_shop(spa: House, shop: Shop, short_dir: Path) -> AsyncIterator[tuple[House, str]]:
    """The same database after the shop has left the tenant's file, and the order that it still has."""
    shop.faults[:] = ["busy"]
    answer = await redeem(spa, await spa.member(number="4711001"))
    assert isinstance(answer, NotRedeemed)
    with pytest.raises(LoyaltyError, match="still be asked"):
        await spa.loyalty.end_order("sunny", answer.redemption_id, code=None, reason="shop_left", by=AGENT)
    opened = open_house(short_dir, short_dir / "loyalty.db", {})
    opened.clock.turn(minutes=11)
    yield opened, answer.redemption_id
    await opened.database.close()


async def test_a_stranded_order_is_told_once_a_day_and_left_alone(
    without_shop: tuple[House, str], capsys: pytest.CaptureFixture[str]
):
    """Nobody can ask: the points stay held, and the operator hears of it, not every twenty seconds."""
    house, order = without_shop
    for _ in range(3):
        await house.loyalty.upkeep.round()
    house.clock.turn(days=1)
    await house.loyalty.upkeep.round()
    told = [line for line in capsys.readouterr().out.splitlines() if "redemption.orders.stranded" in line]
    assert 2 == len(told)
    assert all(order in line for line in told)
    assert [order] == [one.redemption_id for one in await house.loyalty.stranded_orders("sunny")]


@pytest.mark.parametrize(
    ("code", "left", "result"),
    [
        ("spa-77", (RedemptionState.DONE, 700, 0), "posted"),
        (None, (RedemptionState.RELEASED, 1_000, 0), "voided"),
    ],
)
async def test_an_operator_ends_a_stranded_order_once(
    without_shop: tuple[House, str], code: str | None, left: tuple[RedemptionState, int, int], result: str
):
    """With what he has read at the shop; who and why is on record, and the member gets his code."""
    house, order = without_shop
    claim = await house.loyalty.members.claim_by_number("sunny", "4711001")
    member = await house.loyalty.members.get("sunny", claim.member_id)
    ending = {"code": code, "reason": "shop_left", "by": "user:root"}
    answer = await house.loyalty.end_order("sunny", order, **ending)
    assert (code is not None) == isinstance(answer, Redeemed)
    assert left == await state(house, member)
    with pytest.raises(LoyaltyError, match="ended already"):
        await house.loyalty.end_order("sunny", order, **ending)
    assert () == await house.loyalty.stranded_orders("sunny")
    if isinstance(answer, Redeemed):
        assert ("SPA-77", Medium.EMAIL) == (answer.code, answer.delivery)
    bodies = await house.database.read(
        "sunny", lambda conn: conn.execute(select(OUTBOX.c.body).order_by(OUTBOX.c.seq)).scalars().all()
    )
    ended = [entry for entry in map(json.loads, bodies) if "redemption.order.ended" == entry["name"]]
    assert [("user:root", order, {"reason": "shop_left", "result": result})] == [
        (entry["actor"], entry["subject"], entry["data"]) for entry in ended
    ]


@pytest.mark.parametrize("code", ["", "no code!", "CAFE-0001"])
async def test_a_wrong_code_ends_no_order(without_shop: tuple[House, str], code: str):
    """None, no code by its form, or one of our own: nothing is booked."""
    house, order = without_shop
    await house.loyalty.add_codes("sunny", "coffee", "CAFE-0001", by=AGENT)
    with pytest.raises(LoyaltyError, match="code"):
        await house.loyalty.end_order("sunny", order, code=code, reason="shop_left", by="user:root")
    assert [order] == [one.redemption_id for one in await house.loyalty.stranded_orders("sunny")]


TO_BATH = ('source = "spa"', 'source = "bath"')
"""The file sends the sauna to another shop."""
TAKEN_OUT = ('id = "sauna"', 'id = "steam"')
"""The file has no sauna any more, but its shop."""
BATH = """
[[loyalty.voucher_source]]
id = "bath"
url = "http://127.0.0.1:9/bath"
"""


@pytest.fixture
def bath() -> Iterator[Shop]:
    """Another shop."""
    with voucher_shop() as opened:
        yield opened


@pytest.fixture
async def changed(
    request: pytest.FixtureRequest,
    spa: House,
    shop: Shop,
    bath: Shop,
    short_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[House]:
    """Two shops, and a changed file, after the first has issued a code that nobody heard of."""
    shop.faults[:] = ["issue_then_hang_up"]
    assert Refusal.LATER is (await redeem(spa, await spa.member(number="4711001"))).code
    monkeypatch.setattr(support, "SUNNY", support.SUNNY.replace(*request.param) + BATH)
    sources = {("sunny", "spa"): shop.source(short_dir), ("sunny", "bath"): bath.source(short_dir)}
    opened = open_house(short_dir, short_dir / "loyalty.db", sources)
    opened.clock.turn(minutes=11)
    yield opened
    await opened.database.close()


async def the_member(house: House):
    """Who has ordered."""
    claim = await house.loyalty.members.claim_by_number("sunny", "4711001")
    return await house.loyalty.members.get("sunny", claim.member_id)


@pytest.mark.parametrize(
    ("changed", "asked"), [(TO_BATH, ["PUT"]), (TAKEN_OUT, [])], indirect=["changed"], ids=["bath", "none"]
)
async def test_an_order_is_looked_up_at_the_shop_that_has_it(changed: House, bath: Shop, asked: list[str]):
    """Whatever the file says of its reward now; only new orders go where the file sends them."""
    assert () == await changed.loyalty.stranded_orders("sunny")
    await changed.loyalty.upkeep.round()
    member = await the_member(changed)
    assert (RedemptionState.DONE, 700, 0) == await state(changed, member)
    assert [] == bath.asked
    await redeem(changed, member, "k2")
    assert asked == [method for method, _ in bath.asked]


@pytest.mark.parametrize("changed", [TO_BATH], indirect=True, ids=["bath"])
async def test_an_order_of_an_older_release_is_looked_up_where_its_reward_comes_from(
    changed: House, shop: Shop, bath: Shop
):
    """Such an order does not tell its shop: nobody else knows whom to ask."""
    order = update(REDEMPTION).where(REDEMPTION.c.tenant == "sunny").values(source=None)
    await changed.database.write("sunny", lambda conn: conn.execute(order))
    assert () == await changed.loyalty.stranded_orders("sunny")
    await changed.loyalty.upkeep.round()
    assert (["PUT"], ["GET"]) == tuple([method for method, _ in one.asked] for one in (shop, bath))
    assert (RedemptionState.RELEASED, 1_000, 0) == await state(changed, await the_member(changed))


async def test_an_order_whose_shop_has_left_is_not_asked_for_at_the_next_one(
    spa: House, shop: Shop, bath: Shop, short_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    """The new shop would say that it issued nothing, and the member would have code and points."""
    shop.faults[:] = ["issue_then_hang_up"]
    order = (await redeem(spa, await spa.member())).redemption_id
    monkeypatch.setattr(support, "SUNNY", support.SUNNY.replace(*TO_BATH) + BATH)
    house = open_house(short_dir, short_dir / "loyalty.db", {("sunny", "bath"): bath.source(short_dir)})
    house.clock.turn(minutes=11)
    await house.loyalty.upkeep.round()
    assert [order] == [one.redemption_id for one in await house.loyalty.stranded_orders("sunny")]
    await house.database.close()
    assert [] == bath.asked


async def test_a_late_retry_only_looks_up(spa: House, shop: Shop):
    """After half the order's time nothing new is ordered, so that nothing can be on its way at its end."""
    shop.faults = ["busy"]
    member = await spa.member()
    await redeem(spa, member)
    spa.clock.turn(minutes=6)
    assert Refusal.LATER is (await redeem(spa, member)).code
    assert ["PUT", "GET"] == [method for method, _ in shop.asked]
    assert (RedemptionState.RESERVED, 700, 300) == await state(spa, member)


async def test_a_code_that_was_issued_before_is_not_given_twice(spa: House, shop: Shop):
    """A shop that repeats itself gives no voucher: the second member keeps his points."""
    first, second = await spa.member(), await spa.member()
    await redeem(spa, first)
    shop.faults = ["same_code"]
    answer = await redeem(spa, second, "k2")
    assert Refusal.PROVIDER_REFUSED is answer.code
    assert 1_000 == await spa.available(second)


async def test_one_key_of_many_callers_is_one_order(spa: House, shop: Shop):
    """Twenty at once under one key: one voucher, one posting, one answer."""
    member = await spa.member()
    answers = await asyncio.gather(*(redeem(spa, member) for _ in range(20)))
    assert 1 == len(set(answers))
    assert 1 == len(shop.issued)
    assert 700 == await spa.available(member)


async def test_a_lock_stops_what_comes_after_it(spa: House, shop: Shop):
    """A card locked while the shop thinks: the voucher that was ordered before is posted all the same."""
    shop.faults = ["issue_then_busy"]
    member = await spa.member()
    await redeem(spa, member)
    await spa.loyalty.lock_card("sunny", member.member_id, by=AGENT, reason="lost")
    assert "SPA-00001" == (await redeem(spa, member)).code
    assert NotRedeemed(Refusal.CARD_LOCKED) == await redeem(spa, member, "k2")


@pytest.mark.parametrize("leave", ["close", "erase"])
async def test_who_leaves_while_an_order_is_under_way_holds_nothing_up(spa: House, shop: Shop, leave: str):
    """The order is settled all the same; there is nobody to write to."""
    shop.faults = ["issue_then_busy"]
    member = await spa.member()
    answer = await redeem(spa, member)
    members = spa.loyalty.members
    if leave == "close":
        await members.close_member("sunny", member.member_id, by=AGENT)
    else:
        await members.erase("sunny", member.member_id, AGENT)
    spa.clock.turn(minutes=11)
    await spa.loyalty.upkeep.round()
    told = await spa.loyalty.redemption("sunny", answer.redemption_id)
    assert ("SPA-00001", None) == (told.code, told.delivery)


async def test_without_a_token_or_with_an_open_one_nothing_is_sent(short_dir: Path, shop: Shop):
    """A token that others may read is none, nor is one of two lines."""
    source = shop.source(short_dir)
    (short_dir / "voucher-token").chmod(0o644)
    with pytest.raises(SourceLate):
        await source.issue(ORDER)
    (short_dir / "voucher-token").chmod(0o600)
    (short_dir / "voucher-token").write_text("two\nlines\n", encoding="ascii")
    with pytest.raises(SourceLate):
        await source.issue(ORDER)
    assert [] == shop.asked
    source = shop.source(short_dir)
    assert Voucher("SPA-00001") == await source.issue(ORDER)
    assert NotIssued() == await source.find(Order("red_two", "sauna"))


def test_every_source_of_a_file_is_found(tmp_path: Path):
    """By tenant and id."""
    folder = write_tenants(tmp_path / "tenants")
    programmes = programmes_of(load_tenants(folder), folder)
    assert {("sunny", "spa")} == set(sources_of(programmes, tmp_path))
