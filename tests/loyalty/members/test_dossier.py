"""What a person gets on asking: all that is stored of him, as JSON and as text, for nobody else's eyes."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from loyalty.errors import LoyaltyError
from loyalty.members import Members, Others
from loyalty.members.dossier import NOBODY, call_ids, dossier, text_of
from loyalty.tables import ENTRY, METADATA
from loyalty.tenancy import TenantConn
from tests.loyalty.members.conftest import House, person
from tests.support.member_life import OPERATOR, lived

PARTS = {
    "account_id", "calls", "cards", "changes", "deliveries", "enrolled_at", "exported_at", "member_id",
    "payouts", "pin", "points", "profile", "programme", "redemptions", "status", "tenant", "updated_at",
}  # fmt: skip
TOLD = {
    "account": "id posted held", "card": "card_id state changed_at reason",
    "delivery": "delivery_id redemption_id medium state", "entry": "journal_id amount",
    "journal": "id kind reason call_id at effective_on reverses receipt",
    "lot": "id journal_id expires granted remaining",
    "member": "member_id language status created_at updated_at",
    "member_account": "member_id account_id", "member_change": "change_id changed_by reason at",
    "payout": "payout_id points amount_minor currency state at decided_at",
    "redemption": "redemption_id reward_id kind points state receipt channel call_id at",
}  # fmt: skip
"""Columns of rows about a member that stand in his dossier as they are."""
OPENED = {
    "card": "sealed last4", "delivery": "sealed_to_and_text", "member": "sealed", "member_change": "sealed",
    "voucher_code": "sealed redemption_id",
}  # fmt: skip
"""Columns that are told by what they hold, or through the thing that they belong to."""
OURS = {
    # The house's own order: keys of retries, hashes, indexes, counters. Of the person they say nothing more.
    "account": "kind state floor member_account", "card": "member_id number_index",
    "data_key": "member_id wrapped key_version", "delivery": "member_id tries next_at",
    "entry": "seq account_id",
    "journal": "idem request_hash reversed_before points result", "lot": "account_id",
    "lot_use": "journal_id lot_id amount", "member": "number_index birth_index house_index version",
    "member_change": "member_id", "payout": "idem member_id account_id hold_id",
    "redemption": "idem request_hash member_id account_id source hold_id journal_id code_id",
    "voucher_code": "code_id reward_id code_index state added_at issued_at key_version",
    # Points under way are told by the redemption or payout that holds them, and by the balance.
    "hold": "id journal_id account_id amount state until ended_by", "hold_lot": "hold_id lot_id amount",
}  # fmt: skip
OTHERS = {"journal": "actor", "payout": "asked_by decided_by"}
"""People who work here: data of theirs, not of the member."""
OVER = {"erasure": "member_id erased_by at pin"}
"""Written when there is nobody left to be told."""


def of_table(*lists: dict[str, str]) -> dict[str, set[str]]:
    """Table → columns of all these lists; `tenant` and `programme` are told at the head."""
    found: dict[str, set[str]] = {}
    for listed in lists:
        for table, columns in listed.items():
            found.setdefault(table, {"tenant", "programme"}).update(columns.split())
    return found


def test_every_column_is_told_or_has_a_reason():
    """A new column has to be put into one of the lists."""
    listed = of_table(TOLD, OPENED, OURS, OTHERS, OVER)
    assert set(listed) == {table.name for table in METADATA.sorted_tables}
    for table in METADATA.sorted_tables:
        names = {column.name for column in table.columns}
        assert names | {"tenant", "programme"} == listed[table.name], table.name


async def test_what_the_rows_hold_stands_in_the_dossier(members: Members):
    """Read from the tables themselves: every value of the columns that are told."""
    member = await lived(members, person())
    body = await dossier(members, "sunny", member.member_id, Others(codes={"red_a": "BOOK-77"}))
    told = set(values(body))
    ids = {"member_id": member.member_id, "account_id": member.account_id, "id": member.account_id}

    def rows(conn: TenantConn) -> list[tuple[str, str, str]]:
        of_account = (ENTRY.c.tenant == "sunny", ENTRY.c.account_id == member.account_id)
        journals = select(ENTRY.c.journal_id).where(*of_account)
        found = []
        for name, columns in TOLD.items():
            table = METADATA.tables[name]
            by = next((one for one in ids if one in table.c), "")
            own = table.c.id.in_(journals) if name == "journal" else table.c[by] == ids[by]
            for row in conn.execute(select(table).where(table.c.tenant == "sunny", own)).mappings():
                found += [(name, column, str(row[column] or "")) for column in columns.split()]
        return found

    kept = await members.database.read("sunny", rows)
    assert {"account", "card", "delivery", "entry", "journal", "lot", "member"} < {name for name, *_ in kept}
    assert [] == [one for one in kept if one[2] and one[2] not in told]
    assert ["BOOK-77"] == [redemption["code"] for redemption in body["redemptions"]]
    assert [(700, 200, "till-1")] == [
        (lot["granted"], lot["remaining"], lot["receipt"]) for lot in body["points"]["lots"]
    ]


def values(part: object) -> list[str]:
    """Everything that a dossier says, as text."""
    if isinstance(part, dict):
        return [value for one in part.values() for value in values(one)]
    if isinstance(part, list):
        return [value for one in part for value in values(one)]
    return [] if part in {None, ""} else [str(part)]


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
