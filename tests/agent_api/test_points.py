"""Points over HTTP: earned once per receipt, redeemed once per key, taken back, paid out by two people."""

import pytest

from pay_ivr.people import Permission
from tests.agent_api.conftest import LoyalHouse, problem
from tests.support.members import POINTS, TENANT, enrol, stock

MAY = (Permission.MEMBERS, Permission.POINTS)


def once(name: str) -> dict[str, str]:
    """The header of a write."""
    return {"Idempotency-Key": name}


async def test_points_are_earned_once_per_receipt_and_key(loyal_house: LoyalHouse) -> None:
    """F2: the same key is the same answer, another key with the same receipt is refused."""
    member = await enrol(loyal_house.loyalty, points=0)
    key = await loyal_house.key(*MAY)
    path = f"/v1/members/{member.member_id}"
    body = {"points": 700, "receipt": "R-1"}
    first = await loyal_house.post(path + "/earn", body, **key, **once("a"))
    again = await loyal_house.post(path + "/earn", body, **key, **once("a"))
    told, told_again = await first.json(), await again.json()
    assert (700, 700, False) == (told["points"], told["available"], told["replayed"])
    assert (told["journal_id"], True) == (told_again["journal_id"], told_again["replayed"])
    await problem(await loyal_house.post(path + "/earn", body, **key, **once("b")), 409, "receipt_used")
    other = await loyal_house.post(path + "/earn", body | {"points": 800}, **key, **once("a"))
    await problem(other, 409, "key_reused")
    balance = await (await loyal_house.get(path + "/balance", **key)).json()
    assert (700, 0) == (balance["available"], balance["held"])


async def test_a_voucher_is_given_once_and_taken_back_once(loyal_house: LoyalHouse) -> None:
    """The same key brings the same code; the reversal brings the points back, once."""
    member = await enrol(loyal_house.loyalty)
    await stock(loyal_house.loyalty)
    key = await loyal_house.key(*MAY)
    path = f"/v1/members/{member.member_id}"
    answers = [
        await (await loyal_house.post(path + "/redeem", {"reward_id": "coffee"}, **key, **once("v"))).json()
        for _ in range(3)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert (200, True) == (answers[0]["points"], answers[0]["code"].startswith("CAFE"))
    redemption = f"/v1/redemptions/{answers[0]['redemption_id']}"
    assert answers[0]["code"] == (await (await loyal_house.get(redemption, **key)).json())["code"]
    listed = await (await loyal_house.get(path + "/redemptions", **key)).json()
    assert [answers[0]["receipt"]] == [one["receipt"] for one in listed["redemptions"]]
    assert answers[0]["code"] not in str(listed)
    back = await loyal_house.post(redemption + "/reverse", {"reason": "returned"}, **key, **once("r"))
    assert POINTS == (await back.json())["available"]
    twice = await loyal_house.post(redemption + "/reverse", {"reason": "returned"}, **key, **once("s"))
    await problem(twice, 409, "already_reversed")


async def test_what_cannot_be_redeemed_is_refused_with_a_next_step(loyal_house: LoyalHouse) -> None:
    """Too few points, no stock, no such reward, a locked card: nothing is booked."""
    member = await enrol(loyal_house.loyalty, points=300)
    key = await loyal_house.key(*MAY)
    path = f"/v1/members/{member.member_id}"
    cases = {
        "tree": (409, "points_insufficient"),
        "coffee": (409, "reward_out_of_stock"),
        "boat": (404, "reward_unknown"),
    }
    for number, (reward, expected) in enumerate(cases.items()):
        answer = await loyal_house.post(path + "/redeem", {"reward_id": reward}, **key, **once(f"n{number}"))
        await problem(answer, *expected)
    await loyal_house.post(path + "/card/lock", {"reason": "lost"}, **key)
    await stock(loyal_house.loyalty)
    answer = await loyal_house.post(path + "/redeem", {"reward_id": "coffee"}, **key, **once("l"))
    await problem(answer, 409, "member_card_locked")
    assert 300 == (await (await loyal_house.get(path + "/balance", **key)).json())["available"]


async def test_returned_goods_take_their_points_back(loyal_house: LoyalHouse) -> None:
    """F15: a part of a posting, linked to it; the movements show both."""
    member = await enrol(loyal_house.loyalty, points=0)
    key = await loyal_house.key(*MAY)
    path = f"/v1/members/{member.member_id}"
    body = {"points": 500, "receipt": "R-9"}
    earned = await (await loyal_house.post(path + "/earn", body, **key, **once("e"))).json()
    part = {"reason": "returned", "points": 200}
    journal = f"/v1/postings/{earned['journal_id']}/reverse"
    back = await loyal_house.post(journal, part, **key, **once("b"))
    assert 300 == (await back.json())["available"], await back.text()
    page = await (await loyal_house.post(path + "/movements", {"limit": 10}, **key)).json()
    assert [(-200, earned["journal_id"]), (500, "")] == [
        (one["points"], one["reverses"]) for one in page["movements"]
    ]


async def test_a_payout_takes_two_people(loyal_house: LoyalHouse) -> None:
    """F14: who asks does not release; a key asks, a person with the permission decides."""
    member = await enrol(loyal_house.loyalty, points=2_000)
    store, now_ms = loyal_house.desk.store, int(loyal_house.desk.clock.now * 1000)
    for user in ("agent1", "agent2"):
        may = frozenset({Permission.PAYOUT, Permission.POINTS})
        await store.set_permissions(f"agent:{user}", TENANT, may, now_ms, "system:test")
    first, second = [await loyal_house.desk.log_in(user) for user in ("agent1", "agent2")]
    path = f"/v1/members/{member.member_id}/payouts"
    asked = await (await loyal_house.post(path, {"points": 1_000}, **first, **once("p"))).json()
    assert ("asked", "agent:agent1") == (asked["state"], asked["asked_by"])
    waiting = await (await loyal_house.get("/v1/payouts", **second)).json()
    assert [asked["payout_id"]] == [one["payout_id"] for one in waiting["payouts"]]
    decide = f"/v1/payouts/{asked['payout_id']}/decide"
    await problem(await loyal_house.post(decide, {"release": True}, **first), 409, "payout_same_person")
    done = await (await loyal_house.post(decide, {"release": True}, **second)).json()
    assert ("released", "agent:agent2") == (done["state"], done["decided_by"])
    await problem(await loyal_house.post(decide, {"release": False}, **second), 409, "payout_decided")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("earn", {"points": 0, "receipt": "R"}),
        ("earn", {"points": -5, "receipt": "R"}),
        ("earn", {"points": 10**10, "receipt": "R"}),
        ("earn", {"points": 1.5, "receipt": "R"}),
        ("earn", {"points": 5, "receipt": "R 1"}),
        ("adjust", {"points": 5, "reason": "Good Will"}),
        ("redeem", {"reward_id": "../tree"}),
        ("movements", {"limit": 1000}),
    ],
)
async def test_wrong_points_are_refused_and_nothing_is_booked(
    loyal_house: LoyalHouse, path: str, body: dict[str, object]
) -> None:
    """Limits stand in the schema, so the ledger never sees them."""
    member = await enrol(loyal_house.loyalty, points=0)
    key = await loyal_house.key(*MAY)
    answer = await loyal_house.post(f"/v1/members/{member.member_id}/{path}", body, **key, **once("w"))
    await problem(answer, 422, "body_invalid")
    assert () == await loyal_house.loyalty.movements(TENANT, member.member_id, 5)


async def test_every_write_needs_a_key_of_its_own(loyal_house: LoyalHouse) -> None:
    """Without one nothing is booked; two askers' same key are two keys."""
    member = await enrol(loyal_house.loyalty, points=0)
    path = f"/v1/members/{member.member_id}/earn"
    keys = [await loyal_house.key(*MAY), await loyal_house.key(*MAY)]
    await problem(
        await loyal_house.post(path, {"points": 5, "receipt": "A"}, **keys[0]), 400, "idempotency_key_needed"
    )
    for number, key in enumerate(keys):
        answer = await loyal_house.post(path, {"points": 5, "receipt": f"R{number}"}, **key, **once("k"))
        assert 200 == answer.status, await answer.text()
    assert 10 == (await loyal_house.loyalty.balance(TENANT, member.member_id)).available


async def test_the_catalogue_is_one_for_all_and_one_for_each(loyal_house: LoyalHouse) -> None:
    """Anybody with a key reads it; what a member can afford is told about him."""
    member = await enrol(loyal_house.loyalty, points=300)
    await stock(loyal_house.loyalty)
    key = await loyal_house.key(*MAY)
    everybody = await (await loyal_house.get("/v1/rewards", **key)).json()
    his = await (await loyal_house.get(f"/v1/members/{member.member_id}/rewards", **key)).json()
    assert ["tree", "coffee"] == [one["reward_id"] for one in everybody["rewards"]]
    assert [False, True] == [one["affordable"] for one in his["rewards"]]
