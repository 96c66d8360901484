"""Members over HTTP: who may see and change them, and what never crosses from one tenant to another."""

from dataclasses import replace

from agent_api.members import CODES
from agent_api.problems import PROBLEMS
from loyalty.answers import Refusal
from loyalty.members import CardState
from pay_ivr.people import Permission
from tests.agent_api.conftest import LoyalHouse, problem
from tests.support.members import NUMBER, POSTCODE, TENANT, enrol

ANNA = {
    "given_name": "Anna",
    "family_name": "Muster",
    "postcode": POSTCODE,
    "house_number": "12",
    "born": "1980-12-31",
    "email": "anna@example.com",
    "phone": "+4915112345678",
    "language": "de-DE",
}
ONCE = {"Idempotency-Key": "enrol-1"}


async def test_a_member_is_enrolled_found_and_changed(loyal_house: LoyalHouse) -> None:
    """By an integrator with the permission; the number is made, the changes are kept."""
    key = await loyal_house.key(Permission.MEMBERS)
    made = await loyal_house.post("/v1/members", ANNA, **key, **ONCE)
    assert 201 == made.status, await made.text()
    person = await made.json()
    assert ("Muster", "active", "active") == (
        person["family_name"],
        person["member"]["status"],
        person["member"]["card_state"],
    )
    member_id = person["member"]["member_id"]
    by_number = await loyal_house.post("/v1/members/search", {"number": person["number"]}, **key)
    assert member_id == (await by_number.json())["member"]["member_id"]
    by_birth = await loyal_house.post(
        "/v1/members/search", {"postcode": POSTCODE, "born": "1980-12-31"}, **key
    )
    assert member_id == (await by_birth.json())["member"]["member_id"]
    changed = await loyal_house.post(f"/v1/members/{member_id}/changes", {"postcode": "10115"}, **key)
    assert ("10115", "Anna") == ((await changed.json())["postcode"], (await changed.json())["given_name"])
    read = await loyal_house.get(f"/v1/members/{member_id}", **key)
    assert "10115" == (await read.json())["postcode"]


async def test_a_member_enrolled_twice_under_one_key_is_one(loyal_house: LoyalHouse) -> None:
    """Also after he has moved; another person or another asker's key is not him, and no key is no member."""
    key, other = [await loyal_house.key(Permission.MEMBERS) for _ in range(2)]
    once = {"Idempotency-Key": "crm-1"}
    first = (await (await loyal_house.post("/v1/members", ANNA, **key, **once)).json())["member"]
    path = f"/v1/members/{first['member_id']}/changes"
    moved = await loyal_house.post(path, {"postcode": "10115", "email": "", "reason": "moved"}, **key)
    assert ("10115", "") == ((await moved.json())["postcode"], (await moved.json())["email"])
    again = await loyal_house.post("/v1/members", ANNA, **key, **once)
    assert (201, first) == (again.status, (await again.json())["member"])
    reused = await loyal_house.post("/v1/members", {**ANNA, "given_name": "Berta"}, **key, **once)
    await problem(reused, 409, "key_reused")
    others = await loyal_house.post("/v1/members", ANNA, **other, **once)
    assert first["member_id"] != (await others.json())["member"]["member_id"]
    await problem(await loyal_house.post("/v1/members", ANNA, **key), 400, "idempotency_key_needed")
    (change,) = await loyal_house.loyalty.members.changes(TENANT, first["member_id"])
    assert ("moved", "80331") == (change.reason, change.before["postcode"])


async def test_a_change_that_cannot_be_is_refused(loyal_house: LoyalHouse) -> None:
    """The number is for life: one that is sent is not silently left out; nobody is without a name."""
    member = await enrol(loyal_house.loyalty)
    key = await loyal_house.key(Permission.MEMBERS)
    for body in ({"number": "4711002"}, {"reason": "whim"}, {"family_name": ""}):
        answer = await loyal_house.post(f"/v1/members/{member.member_id}/changes", body, **key)
        assert 422 == answer.status, body
    assert () == await loyal_house.loyalty.members.changes(TENANT, member.member_id)


async def test_nobody_is_found_without_a_word_about_why(loyal_house: LoyalHouse) -> None:
    """An unknown number and birth date are one answer; two who fit are asked for the house number."""
    key = await loyal_house.key(Permission.MEMBERS)
    nobody = {"member": None, "ask_house_number": False}
    for asked in ({"number": "99999999"}, {"postcode": "00000", "born": "1999-01-01"}):
        answer = await loyal_house.post("/v1/members/search", asked, **key)
        assert nobody == await answer.json()
    await enrol(loyal_house.loyalty)
    second = await enrol(loyal_house.loyalty, number="4711002", house_number="7")
    asked = {"postcode": POSTCODE, "born": "1980-12-31"}
    several = await loyal_house.post("/v1/members/search", asked, **key)
    assert {"member": None, "ask_house_number": True} == await several.json()
    one = await loyal_house.post("/v1/members/search", asked | {"house_number": "7"}, **key)
    assert second.member_id == (await one.json())["member"]["member_id"]


CANNOT_BE: tuple[dict[str, object], ...] = (
    {**ANNA, "born": "1980-02-31"},
    {**ANNA, "born": None},
    {name: value for name, value in ANNA.items() if name != "family_name"},
    {**ANNA, "email": "4242424242424242@example.com x"},
    {**ANNA, "number": "12"},
    {**ANNA, "points": 5},
)


async def test_a_person_who_cannot_be_is_refused(loyal_house: LoyalHouse) -> None:
    """Nothing is made of it, and the document quotes nothing."""
    key = await loyal_house.key(Permission.MEMBERS)
    for body in CANNOT_BE:
        answer = await loyal_house.post("/v1/members", body, **key, **ONCE)
        assert 422 == answer.status, body
        assert "4242" not in await answer.text()


async def test_without_the_permission_a_member_is_nobody_s_business(loyal_house: LoyalHouse) -> None:
    """A key and an agent without it are refused; the agent who has the member on the line is not."""
    member = await enrol(loyal_house.loyalty)
    path = f"/v1/members/{member.member_id}"
    await problem(await loyal_house.get(path, **await loyal_house.key()), 403, "permission_needed")
    agent = await loyal_house.desk.log_in("agent1")
    await problem(await loyal_house.get(path, **agent), 403, "permission_needed")
    call = loyal_house.desk.board.bridge(TENANT, "agent1")
    context = {"member": member.member_id, "topic": "redeem"}
    loyal_house.desk.board.change(replace(call, context=context), "call.bridge.opened")
    assert 200 == (await loyal_house.get(path, **agent)).status
    seen = await (await loyal_house.get(f"/v1/calls/{call.call_id}", **agent)).json()
    assert context == seen["call"]["context"]
    other = await loyal_house.desk.log_in("agent2")
    await problem(await loyal_house.get(path, **other), 403, "permission_needed")
    unseen = await (await loyal_house.get(f"/v1/calls/{call.call_id}", **other)).json()
    assert {} == unseen["call"]["context"]


async def test_a_tenant_without_a_programme_has_no_members(loyal_house: LoyalHouse) -> None:
    """Its agents are told so; another tenant's member is not even looked for."""
    member = await enrol(loyal_house.loyalty)
    stranger = await loyal_house.desk.log_in("stranger")
    answer = await loyal_house.get(f"/v1/members/{member.member_id}", **stranger)
    await problem(answer, 409, "loyalty_off")


async def test_a_card_is_locked_by_who_has_the_caller_and_unlocked_by_permission(
    loyal_house: LoyalHouse,
) -> None:
    """F11 and F19: locking is easy, unlocking takes more."""
    member = await enrol(loyal_house.loyalty)
    agent = await loyal_house.desk.log_in("agent1")
    call = loyal_house.desk.board.bridge(TENANT, "agent1")
    context = {"member": member.member_id}
    loyal_house.desk.board.change(replace(call, context=context), "call.bridge.opened")
    path = f"/v1/members/{member.member_id}/card"
    locked = await loyal_house.post(path + "/lock", {"reason": "lost"}, **agent)
    assert "locked" == (await locked.json())["card_state"]
    refused = await loyal_house.post(path + "/unlock", {"reason": "found"}, **agent)
    await problem(refused, 403, "permission_needed")
    assert CardState.LOCKED is (await loyal_house.loyalty.members.get(TENANT, member.member_id)).card_state
    key = await loyal_house.key(Permission.MEMBERS)
    opened = await loyal_house.post(path + "/unlock", {"reason": "found"}, **key)
    assert "active" == (await opened.json())["card_state"]


async def test_a_pin_is_told_by_its_standing_alone(loyal_house: LoyalHouse) -> None:
    """Whether there is one and whether it is locked; a code that cannot be sent is a clear refusal."""
    member = await enrol(loyal_house.loyalty, email="")
    key = await loyal_house.key(Permission.MEMBERS)
    standing = await loyal_house.get(f"/v1/members/{member.member_id}/pin", **key)
    assert {"set": False, "locked": False, "misses": 0} == await standing.json()
    unlocked = await loyal_house.post(f"/v1/members/{member.member_id}/pin/unlock", **key)
    assert not (await unlocked.json())["locked"]
    code = await loyal_house.post(f"/v1/members/{member.member_id}/pin/reset-code", **key)
    await problem(code, 409, "member_address_missing")


async def test_a_first_pin_needs_the_permission(loyal_house: LoyalHouse) -> None:
    """On a call of one's own, too: only the agent's word says whose PIN it will be."""
    member = await enrol(loyal_house.loyalty)
    call = loyal_house.desk.board.bridge(TENANT, "agent1")
    agent = await loyal_house.desk.log_in("agent1")
    body = {"member_id": member.member_id, "purpose": "set"}
    answer = await loyal_house.post(f"/v1/calls/{call.call_id}/pin", body, **agent)
    await problem(answer, 403, "permission_needed")


def test_every_refusal_has_a_row() -> None:
    """No refusal of the façade without a status, a title and a next step."""
    assert set(Refusal) == set(CODES)
    assert set(CODES.values()) <= set(PROBLEMS)


async def test_the_number_of_a_member_is_taken_once(loyal_house: LoyalHouse) -> None:
    """Two members never share one."""
    await enrol(loyal_house.loyalty)
    key = await loyal_house.key(Permission.MEMBERS)
    taken = await loyal_house.post("/v1/members", {**ANNA, "number": NUMBER}, **key, **ONCE)
    await problem(taken, 409, "number_taken")
