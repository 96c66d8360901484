"""Erasing a member: the person is in no file any more, the books are as they were (acceptance test L15)."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.ledger import Done, Earn, Key
from loyalty.members import Member, Members, Role
from loyalty.members.sealing import blind_index
from loyalty.tables import DATA_KEY, ERASURE
from tests.loyalty.members.conftest import PROGRAMMES, House, person
from tests.support.member_life import lived
from tests.support.pins import pin_desk_at
from tests.support.zone import running_zone
from vault import VaultError

BY = "user:operator"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Vault:
    """Stands where the vault's door stands: which PINs it was told to forget."""

    def __init__(self) -> None:
        self.forgotten: list[tuple[str, str]] = []

    async def forget_pin(self, tenant: str, member_id: str) -> None:
        """Remembers that it was asked."""
        self.forgotten.append((tenant, member_id))


async def seeded(members: Members) -> Member:
    """A member with everything that is ever stored of one."""
    return await lived(members, person())


def rows_of(data_dir: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, in an order of its own content; the outbox by its numbers."""
    with closing(sqlite3.connect(data_dir / "loyalty.db")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in names}  # noqa: S608
    return {
        name: sorted(rows, key=lambda row: row if name == "outbox" else repr(row))
        for name, rows in found.items()
    }


def found_in(data_dir: Path, needles: dict[str, bytes]) -> list[tuple[str, str]]:
    """Which needle lies in which file, WAL included, as it is or in hexadecimal."""
    return [
        (name, path.name)
        for path in sorted(data_dir.rglob("*"))
        if path.is_file()
        for name, needle in needles.items()
        if needle in path.read_bytes() or needle.hex().encode() in path.read_bytes()
    ]


async def traces(house: House, member: Member) -> dict[str, bytes]:
    """Everything by which the person could be read or found, as it lies in the files."""
    keys = house.members.keys.ring()
    told = {
        "given_name": b"Anna Maria",
        "family_name": "Grünwaldt".encode(),
        "email": b"example",
        "phone": b"98912345678",
        "number": b"4711001",
        "card": b"900100",
    }
    indexes = {
        f"index {number}": blind_index(keys, "sunny", "number", number).encode()
        for number in ("4711001", "900100200", "900100300")
    }
    indexes |= {
        f"birth {code}": blind_index(keys, "sunny", "birth", code, "1980-12-31").encode()
        for code in ("80331", "10115")
    }

    def sealed(conn):
        mine = (DATA_KEY.c.tenant == "sunny", DATA_KEY.c.member_id == member.member_id)
        return conn.execute(select(DATA_KEY.c.wrapped).where(*mine)).scalar_one()

    wrapped = await house.members.database.read("sunny", sealed)
    return told | indexes | {"wrapped key": wrapped, "half of it": wrapped[20:44]}


async def test_nothing_of_the_person_stays_in_any_file(house: House):
    """Searched byte by byte in database, WAL and every other file; the indexes were there before."""
    member = await seeded(house.members)
    await house.members.enrol("sunny", person(number="555000", given_name="Otto", postcode="01067"), by=BY)
    needles = await traces(house, member)
    before = {name for name, _ in found_in(house.data_dir, needles)}
    assert {"wrapped key", "half of it", "index 4711001", "birth 10115"} <= before
    assert not before & {"given_name", "family_name", "email", "phone", "number", "card"}  # sealed all along

    vault = Vault()
    erased = await house.members.erase("sunny", member.member_id, BY, vault)
    assert (True, True) == (erased.pin_forgotten, erased.scrubbed)
    assert [("sunny", member.member_id)] == vault.forgotten
    assert [] == found_in(house.data_dir, needles)
    assert [] == [
        (table, row)
        for table, rows in rows_of(house.data_dir).items()
        for row in rows
        if table in {"member", "data_key", "member_account", "card", "member_change", "delivery"}
        and member.member_id in row
    ]


async def test_the_books_are_as_they_were(house: House):
    """Journals, entries, lots and the outbox: row for row the same; the account is closed, no more."""
    member = await seeded(house.members)
    before = rows_of(house.data_dir)
    await house.members.erase("sunny", member.member_id, BY)
    after = rows_of(house.data_dir)
    for table in ("journal", "entry", "lot", "lot_use", "hold", "redemption"):
        assert before[table] == after[table]
    assert before["outbox"] == after["outbox"][:-1]
    assert [row for row in before["account"] if member.account_id not in row] == [
        row for row in after["account"] if member.account_id not in row
    ]
    assert 0 == sum(row[5] for row in after["account"])  # posted, over all accounts
    balance = await house.members.database.ledger.balance("sunny", "miles", member.account_id)
    assert 200 == balance.posted


async def test_an_erased_member_is_found_by_nothing(house: House):
    """No search, no id, not even for the law."""
    members = house.members
    member = await seeded(members)
    await members.erase("sunny", member.member_id, BY)
    for number in ("4711001", "900100200", "900100300"):
        assert not (await members.claim_by_number("sunny", number)).known
    assert not (await members.claim_by_birth("sunny", "10115", date(1980, 12, 31))).known
    for asked in (members.get, members.person):
        with pytest.raises(LoyaltyError):
            await asked("sunny", member.member_id, role=Role.LEGAL)
    with pytest.raises(LoyaltyError):
        await members.gdpr_export("sunny", member.member_id, house.data_dir / "out", by=BY)


async def test_nothing_new_is_booked_for_an_erased_member(house: House):
    """The account is closed; its number is free for somebody else."""
    member = await seeded(house.members)
    await house.members.erase("sunny", member.member_id, BY)
    earn = Earn(Key("sunny", "miles", "earn-2"), member.account_id, 5, "till-2", None, NOW)
    outcome = await house.members.database.ledger.do(earn, actor="key:shop")
    assert not isinstance(outcome, Done)
    other = await house.members.enrol("sunny", person(given_name="Berta"), by=BY)
    assert other.member_id != member.member_id


async def test_a_pin_that_could_not_be_forgotten_is_remembered(house: House):
    """Without the vault the erasure is done and says what is left; the job finishes it, once."""
    member = await seeded(house.members)
    erased = await house.members.erase("sunny", member.member_id, BY)
    assert not erased.pin_forgotten
    vault = Vault()
    assert [1, 0] == [await house.members.finish_erasures("sunny", vault) for _ in range(2)]
    assert [("sunny", member.member_id)] == vault.forgotten


async def test_a_vault_that_fails_stops_no_erasure(house: House):
    """The person is gone all the same; the PIN is left and remembered."""

    class Away:
        async def forget_pin(self, tenant: str, member_id: str) -> None:
            raise VaultError("unreachable", "The broker does not answer.", retryable=True)

    member = await seeded(house.members)
    erased = await house.members.erase("sunny", member.member_id, BY, Away())
    assert (False, True) == (erased.pin_forgotten, erased.scrubbed)
    assert 0 == await house.members.finish_erasures("sunny", Away())
    assert 1 == await house.members.finish_erasures("sunny", Vault())


async def test_the_pin_in_a_real_vault_goes_with_the_member(short_dir: Path, empty_database: Path):
    """Set through a real broker and cell; afterwards only the vault's outbox names the member."""
    shutil.copy(empty_database, short_dir / "loyalty.db")
    database = Database.open(short_dir / "loyalty.db")
    members = Members(database, Keys.open(short_dir, {}), {"demo": PROGRAMMES["sunny"]})
    member = await members.enrol("demo", person(), by=BY)
    with running_zone() as zone:
        async with pin_desk_at(zone) as desk:
            await desk.member_with("4711", member.member_id)
            assert (await desk.door.pin_standing("demo", member.member_id)).set
            erased = await members.erase("demo", member.member_id, BY, desk.door)
            assert erased.pin_forgotten
            assert not (await desk.door.pin_standing("demo", member.member_id)).set
        with closing(sqlite3.connect(zone.data_dir / "vault.db")) as vault:
            names = [name for (name,) in vault.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = {name: repr(vault.execute(f"SELECT * FROM {name}").fetchall()) for name in names}  # noqa: S608
        assert {"outbox"} == {name for name, found in rows.items() if member.member_id in found}
    await database.close()


async def test_erasing_again_is_no_error_and_an_unknown_id_is(house: House):
    """A second run finishes what the first has left; nobody's id is told so."""
    member = await seeded(house.members)
    vault = Vault()
    await house.members.erase("sunny", member.member_id, BY)
    again = await house.members.erase("sunny", member.member_id, BY, vault)
    assert again.pin_forgotten
    rows = [row for row in rows_of(house.data_dir)["erasure"] if member.member_id in row]
    assert 1 == len(rows)
    with pytest.raises(LoyaltyError) as refused:
        await house.members.erase("sunny", "mem_nobody", BY, vault)
    assert "member_unknown" == refused.value.code
    with pytest.raises(LoyaltyError):
        await house.members.erase("rainy", member.member_id, BY, vault)


async def test_a_member_from_an_old_backup_is_erased_again(house: House):
    """The backup brings the person back; the same call takes him away, and his PIN is asked for again."""
    member = await seeded(house.members)
    row = {"tenant": "sunny", "member_id": member.member_id, "erased_by": BY, "pin": "forgotten"}
    row["at"] = "2026-03-01T12:00:00.000Z"
    await house.members.database.write("sunny", lambda conn: conn.execute(insert(ERASURE).values(row)))
    await house.members.erase("sunny", member.member_id, BY)
    assert not (await house.members.claim_by_number("sunny", "4711001")).known
    assert 1 == await house.members.finish_erasures("sunny", Vault())


async def test_a_late_request_brings_nobody_back(house: House):
    """The key under which somebody was enrolled enrols nobody once he is closed or erased."""
    members = house.members
    member = await members.enrol("sunny", person(), by=BY, key="crm-1")
    await members.close_member("sunny", member.member_id, by=BY)
    for _ in range(2):
        with pytest.raises(LoyaltyError) as refused:
            await members.enrol("sunny", person(), by=BY, key="crm-1")
        assert "member_unknown" == refused.value.code
        await members.erase("sunny", member.member_id, BY)


async def test_a_closed_member_is_erased_when_his_time_is_over(house: House):
    """Closing keeps him for the legal period; erasing ends it."""
    member = await seeded(house.members)
    await house.members.close_member("sunny", member.member_id, by=BY)
    assert (await house.members.erase("sunny", member.member_id, BY)).scrubbed
    assert [] == [row for row in rows_of(house.data_dir)["member"] if member.member_id in row]


async def test_a_kill_before_the_commit_leaves_the_member_whole(house: House):
    """All of the deletion is one database transaction: an error within it changes nothing."""
    member = await seeded(house.members)
    before = rows_of(house.data_dir)
    house.members.clock = lambda: (_ for _ in ()).throw(RuntimeError("the power is gone"))
    with pytest.raises(RuntimeError):
        await house.members.erase("sunny", member.member_id, BY)
    assert before == rows_of(house.data_dir)


async def test_the_whole_file_can_be_written_anew(house: House):
    """VACUUM in the quiet hours; the database is sound afterwards."""
    member = await seeded(house.members)
    assert (await house.members.erase("sunny", member.member_id, BY, whole=True)).scrubbed
    with closing(sqlite3.connect(house.data_dir / "loyalty.db")) as database:
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
