"""What a person gets on asking: all that is stored of him, as JSON and as text, for nobody else's eyes."""

import json
from pathlib import Path

import pytest

from loyalty.errors import LoyaltyError
from loyalty.members import Members, Others
from loyalty.members.dossier import NOBODY, call_ids, dossier, text_of
from tests.loyalty.members.conftest import House, person
from tests.support.member_life import OPERATOR, lived

PARTS = {
    "account_id", "calls", "cards", "changes", "deliveries", "exported_at", "member_id", "payouts", "pin",
    "points", "profile", "programme", "redemptions", "status", "tenant",
}  # fmt: skip


async def test_everything_that_is_stored_is_told(members: Members):
    """Every part of the dossier, with what the member's life has left in it."""
    member = await lived(members, person())
    told = Others(calls={"call_abc": {"call_id": "call_abc", "caller": "+498912345678"}}, pin={"set": True})
    body = await dossier(members, "sunny", member.member_id, told)
    assert set(body) == PARTS
    assert ("10115", "second@example.org") == (body["profile"]["postcode"], body["profile"]["email"])
    assert [("900100200", "replaced"), ("900100300", "active")] == sorted(
        (card["number"], card["state"]) for card in body["cards"]
    )
    assert [{"email": "anna.gruenwaldt@example.com", "postcode": "80331"}] == [
        change["before"] for change in body["changes"]
    ]
    assert [-500, 700] == [movement["points"] for movement in body["points"]["movements"]]
    assert 200 == body["points"]["balance"]["available"]
    assert ["12345678"] == [redemption["receipt"] for redemption in body["redemptions"]]
    assert ["Dear Anna Maria"] == [delivery["message"]["text"] for delivery in body["deliveries"]]
    assert [{"call_id": "call_abc", "caller": "+498912345678"}] == body["calls"]
    assert {"set": True} == body["pin"]


async def test_calls_in_which_something_was_booked_are_known(members: Members):
    """From journals and redemptions; each once."""
    member = await lived(members, person())
    assert ("call_abc",) == await call_ids(members, "sunny", member.member_id)
    body = await dossier(members, "sunny", member.member_id, NOBODY)
    assert [{"call_id": "call_abc"}] == body["calls"]


async def test_movements_go_over_many_pages(members: Members, monkeypatch: pytest.MonkeyPatch):
    """Each once, newest first."""
    monkeypatch.setattr("loyalty.members.dossier.MOVEMENTS_PAGE", 1)
    member = await lived(members, person())
    body = await dossier(members, "sunny", member.member_id, NOBODY)
    assert [-500, 700] == [movement["points"] for movement in body["points"]["movements"]]


async def test_the_text_tells_what_the_json_tells(members: Members):
    """Every value of the one stands in the other."""
    member = await lived(members, person())
    body = await dossier(members, "sunny", member.member_id, NOBODY)
    text = text_of(body)

    def values(part: object) -> list[str]:
        if isinstance(part, dict):
            return [value for one in part.values() for value in values(one)]
        if isinstance(part, list):
            return [value for one in part for value in values(one)]
        return [] if part in {None, ""} else [str(part)]

    assert not [value for value in values(body) if value not in text]


async def test_a_closed_member_gets_his_data_too(house: House):
    """Restriction is no refusal of access; the export is on record."""
    members = house.members
    member = await lived(members, person())
    await members.close_member("sunny", member.member_id, by=OPERATOR)
    out = house.data_dir / "out"
    as_json, as_text = await members.gdpr_export("sunny", member.member_id, out, by=OPERATOR)
    assert "closed" == json.loads(as_json.read_text("utf-8"))["status"]
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (as_json, as_text)}
    assert 0o700 == out.stat().st_mode & 0o777


async def test_a_link_in_the_folder_is_not_followed(house: House, short_dir: Path):
    """The file takes the link's place; what it led to stays as it was."""
    member = await lived(house.members, person())
    out = house.data_dir / "out"
    out.mkdir()
    (short_dir / "victim").write_text("mine")
    (out / f"{member.member_id}.json").symlink_to(short_dir / "victim")
    as_json, _ = await house.members.gdpr_export("sunny", member.member_id, out, by=OPERATOR)
    assert not as_json.is_symlink()
    assert "mine" == (short_dir / "victim").read_text()


async def test_nobody_gets_nothing(members: Members):
    """An unknown id and one of another tenant are told so."""
    member = await lived(members, person())
    for tenant, member_id in (("sunny", "mem_nobody"), ("rainy", member.member_id)):
        with pytest.raises(LoyaltyError) as refused:
            await dossier(members, tenant, member_id, NOBODY)
        assert "member_unknown" == refused.value.code
