"""The same members on PostgreSQL, where row policies and narrower rights stand behind every statement."""

import io
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from loyalty.database import Database
from loyalty.engines import url_of
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.members import Claim, Members
from loyalty.members.csv_form import BadRow
from loyalty.members.exchange import Imported
from loyalty.tables import METADATA
from tests.loyalty.members.conftest import PROGRAMMES, person

BY = "user:operator"


@pytest.fixture
async def members(postgres_url: str, short_dir: Path) -> AsyncIterator[Members]:
    """Both tenants' members in a database of PostgreSQL."""
    database = Database.open(postgres_url)
    yield Members(database, Keys.open(short_dir, {}), PROGRAMMES)
    await database.close()


async def test_a_member_comes_changes_and_goes(members: Members, postgres_url: str, short_dir: Path):
    """Every act that writes; in the end no row of any table knows the member's id but the proofs do."""
    member = await members.enrol("sunny", person(), by=BY, card_number="900100200", key="crm-1")
    assert member == await members.enrol("sunny", person(), by=BY, card_number="900100200", key="crm-1")
    assert Claim(member.member_id, known=True) == await members.claim_by_number("sunny", "900100200")
    assert not (await members.claim_by_number("rainy", "900100200")).known
    await members.change("sunny", member.member_id, {"postcode": "10115"}, by=BY, reason="moved")
    assert (await members.claim_by_birth("sunny", "10115", date(1980, 12, 31))).known
    await members.lock_card("sunny", member.member_id, by="caller", reason="lost")
    await members.replace_card("sunny", member.member_id, by=BY, reason="lost")
    await members.lock("sunny", member.member_id, by=BY, reason="fraud")
    as_json, _ = await members.gdpr_export("sunny", member.member_id, short_dir / "out", by=BY)
    assert "Grünwaldt" in as_json.read_text("utf-8")
    await members.close_member("sunny", member.member_id, by=BY)
    erased = await members.erase("sunny", member.member_id, BY)
    assert erased.scrubbed
    assert {"erasure", "outbox"} == _tables_with(postgres_url, member.member_id)
    with pytest.raises(LoyaltyError):
        await members.get("sunny", member.member_id)


async def test_a_file_lands_once(members: Members):
    """Members and opening points; again, nothing changes."""
    file = b"number,family_name,born,points\n1000001,Gruen,1980-12-31,250\n1000002,Gelb,1980-12-31,\n"
    bad: list[BadRow] = []
    done = [
        await members.import_csv("sunny", io.BytesIO(file), by=BY, language="de-DE", on_bad=bad.append)
        for _ in range(2)
    ]
    assert [Imported(enrolled=2, points_booked=1), Imported(unchanged=2)] == done
    assert [] == bad


def _tables_with(url: str, needle: str) -> set[str]:
    """Tables of which some row says it, asked by the administrator, who sees every row."""
    engine = create_engine(url_of(url).set(username="postgres"))
    try:
        with engine.connect() as connection:
            return {
                name
                for name in (*METADATA.tables, "outbox")
                if connection.execute(
                    text(
                        f"SELECT 1 FROM {name} AS one WHERE one::text LIKE :needle LIMIT 1"  # noqa: S608
                    ).execution_options(all_tenants=True),
                    {"needle": f"%{needle}%"},
                ).first()
            }
    finally:
        engine.dispose()
