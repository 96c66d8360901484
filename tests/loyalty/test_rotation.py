"""A new root key while calls go on: everybody is found all the time, a kill costs nothing, the old goes."""

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import update

from loyalty import locksmith
from loyalty.drain import LoyaltyRows
from loyalty.errors import LoyaltyError
from loyalty.keys import KeyFault, Keys
from loyalty.members import Claim, Member, Members
from loyalty.members.rekeying import rekey
from loyalty.rotation import Rotation
from loyalty.tables import DATA_KEY
from pay_ivr.__main__ import main
from tests.support.loyalty import House, open_house, somebody

BY = "user:operator"
BORN = date(1980, 12, 31)
DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from sqlalchemy import Update
from loyalty import rotation
from loyalty.rotation import Rotation
from loyalty.tenancy import TenantConn
from tests.support.loyalty import open_house

folder, left, execute = Path(sys.argv[1]), int(sys.argv[2]), TenantConn.execute

def dying(self, statement, parameters=None):
    global left
    left -= isinstance(statement, Update) and statement.table.name == "data_key"
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, statement, parameters)

TenantConn.execute, rotation.BATCH_MEMBERS = dying, 10

async def rotate():
    house = open_house(folder, folder / "loyalty.db")
    members = house.loyalty.members
    keeper = Rotation(house.database, members.keys, members, house.loyalty.stock)
    await keeper.make("user:operator")
    await keeper.move("sunny", "user:operator")

asyncio.run(rotate())
"""


def rotation_of(house: House) -> Rotation:
    """What `pay-ivr loyalty-key` works with."""
    members = house.loyalty.members
    return Rotation(house.database, members.keys, members, house.loyalty.stock)


async def enrolled(house: House, count: int) -> dict[str, Member]:
    """Members by their number; each has a postcode of his own, so that his birth date finds him."""
    found = {}
    for place in range(count):
        number = f"{4711000 + place}"
        person = replace(somebody(), number=number, postcode=f"{80000 + place}")
        card = f"{900100000 + place}"
        found[number] = await house.loyalty.members.enrol("sunny", person, by=BY, card_number=card)
    return found


async def lost(house: House, members: dict[str, Member]) -> list[str]:
    """Numbers of members whom some way of finding them does not find."""
    ask, missing = house.loyalty.members, []
    for number, member in members.items():
        place = int(number) - 4711000
        claims = [
            await ask.claim_by_number("sunny", number),
            await ask.claim_by_number("sunny", f"{900100000 + place}"),
            await ask.claim_by_birth("sunny", f"{80000 + place}", BORN),
            await ask.claim_by_birth("sunny", f"{80000 + place}", BORN, "12"),
        ]
        if claims != [Claim(member.member_id, known=True)] * 4:
            missing.append(number)
    return missing


async def under(house: House) -> dict[int, tuple[int, int]]:
    """Version → members and codes under it."""
    return {one.version: (one.members, one.codes) for one in await rotation_of(house).lines()}


async def told(house: House) -> list[tuple[str, str, dict[str, object]]]:
    """Entries about root keys: name, outcome, data."""
    entries = [json.loads(row["body"]) for row in await LoyaltyRows(house.database.writer).pull(200)]
    return [
        (one["name"], one["outcome"], one["data"]) for one in entries if one["name"].startswith("key.loyalty")
    ]


@pytest.mark.proof
async def test_everybody_is_found_at_every_moment_of_a_rotation(each_house: House):
    """On both engines: by number, card and birth date, before, between any two batches, and after."""
    house = each_house
    members = await enrolled(house, 12)
    await house.loyalty.members.lock("sunny", members["4711003"].member_id, by=BY, reason="fraud")
    await house.loyalty.members.close_member("sunny", members["4711004"].member_id, by=BY)
    findable = {number: one for number, one in members.items() if number != "4711004"}
    keeper = rotation_of(house)
    assert 2 == await keeper.make(BY)
    first = await house.loyalty.members.write("sunny", lambda register: rekey(register, "", 10))
    assert (10, {1: (2, 0), 2: (10, 0)}) == (len(first), await under(house))
    assert [] == await lost(house, findable)
    assert 2 == await keeper.make(BY)  # it is under way: no third version
    moved = await keeper.move("sunny", BY)
    assert (2, ()) == (moved.members, moved.unreadable)
    await keeper.retire(1, BY)
    assert {2: (12, 0)} == await under(house)
    assert [] == await lost(house, findable)
    assert not (await house.loyalty.members.claim_by_number("sunny", "4711004")).known
    assert [
        ("key.loyalty.rotated", "ok", {"version": 2}),
        ("key.loyalty.moved", "ok", {"version": 2, "members": 2, "codes": 0}),
        ("key.loyalty.retired", "ok", {"version": 1}),
    ] == await told(house)


@pytest.mark.proof
async def test_a_rotation_that_is_killed_is_finished_by_the_next(house: House, short_dir: Path):
    """SIGKILL between two statements of the second batch: the first stays, the rest follows later."""
    members = await enrolled(house, 14)
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", DYING, str(short_dir), "2"])
    assert -9 == killed.returncode
    assert {1: (4, 0), 2: (10, 0)} == await under(house)
    assert [] == await lost(house, members)
    keeper = rotation_of(house)
    assert 2 == await keeper.make(BY)
    assert 4 == (await keeper.move("sunny", BY)).members
    await keeper.retire(1, BY)
    assert ["LOYALTY.2"] == sorted(path.name for path in (short_dir / "keys").iterdir())
    await house.database.close()
    again = open_house(short_dir, short_dir / "loyalty.db")
    assert [] == await lost(again, members)
    assert "Anna" == (await again.loyalty.members.person("sunny", members["4711012"].member_id)).given_name
    await again.database.close()


async def test_calls_go_on_while_rows_are_moved(house: House):
    """Enrolling, changing, locking, redeeming, looking up, all between the batches; numbers stay taken."""
    members = await enrolled(house, 13)
    await house.loyalty.add_codes("sunny", "coffee", "A-1\nA-2\nA-3\n", by=BY)
    await house.loyalty.earn("sunny", members["4711012"].member_id, 500, "r", key="r", by="key:shop")
    ask, keeper = house.loyalty.members, rotation_of(house)
    await keeper.make(BY)
    moving = asyncio.create_task(keeper.move("sunny", BY))
    newcomer = await ask.enrol("sunny", replace(somebody(), number="5000001"), by=BY)
    for number in ("4711000", "4711012"):  # one who is moved by now, and one who is not
        with pytest.raises(LoyaltyError) as refused:
            await ask.enrol("sunny", replace(somebody(), number=number), by=BY)
        assert "number_taken" == refused.value.code
        await ask.change("sunny", members[number].member_id, {"given_name": "Berta"}, by=BY)
    cup = {"key": "cup", "channel": "web", "by": "caller"}
    first = await house.loyalty.redeem("sunny", members["4711012"].member_id, "coffee", **cup)
    assert [] == await lost(house, members)
    assert 13 == (await moving).members
    again = await house.loyalty.redeem("sunny", members["4711012"].member_id, "coffee", **cup)
    assert first.code == again.code in {"A-1", "A-2", "A-3"}
    await keeper.retire(1, BY)
    assert {2: (14, 3)} == await under(house)
    assert "Berta" == (await ask.person("sunny", members["4711000"].member_id)).given_name
    assert Claim(newcomer.member_id, known=True) == await ask.claim_by_number("sunny", "5000001")
    known = await house.loyalty.add_codes("sunny", "coffee", "A1\nB-1\n", by=BY)
    assert [(1, "known")] == [(one.number, one.problem) for one in known.wrong]


async def test_an_enrolment_that_comes_again_after_a_rotation_is_the_same_member(house: House):
    """While the version is valid under which he was enrolled."""
    ask, person = house.loyalty.members, somebody()
    member = await ask.enrol("sunny", person, by=BY, key="crm-1")
    await rotation_of(house).make(BY)
    await rotation_of(house).move("sunny", BY)
    assert member == await ask.enrol("sunny", person, by=BY, key="crm-1")


async def test_what_is_not_to_be_retired_is_not(house: House):
    """The newest, one in use, one that is none: refused, and on record."""
    await enrolled(house, 1)
    keeper = rotation_of(house)
    refusals = []
    for version in (1, 7):
        with pytest.raises(KeyFault) as refused:
            await keeper.retire(version, BY)
        refusals.append(refused.value.code)
    await keeper.make(BY)
    with pytest.raises(KeyFault) as refused:
        await keeper.retire(1, BY)
    refusals.append(refused.value.code)
    assert ["key_newest", "key_unknown", "key_in_use"] == refusals
    noted = [data["reason"] for name, _, data in await told(house) if name == "key.loyalty.refused"]
    assert refusals == noted
    assert {1: (1, 0), 2: (0, 0)} == await under(house)


async def test_a_row_that_does_not_open_is_named_and_keeps_its_key(house: House):
    """The others are moved; the version under which it is cannot be retired."""
    members = await enrolled(house, 3)
    spoilt = members["4711001"].member_id
    mine = (DATA_KEY.c.tenant == "sunny", DATA_KEY.c.member_id == spoilt)
    await house.database.write(
        "sunny", lambda conn: conn.execute(update(DATA_KEY).where(*mine).values(wrapped=bytes(61)))
    )
    keeper = rotation_of(house)
    await keeper.make(BY)
    assert (spoilt,) == (await keeper.move("sunny", BY)).unreadable
    assert {1: (1, 0), 2: (2, 0)} == await under(house)


async def test_a_node_without_the_new_file_says_so(house: House, short_dir: Path):
    """On another machine with a folder of its own: it names the file that has to be copied."""
    members = await enrolled(house, 1)
    other = short_dir / "other" / "keys"
    other.mkdir(mode=0o700, parents=True)
    shutil.copy(short_dir / "keys" / "LOYALTY.1", other)
    await rotation_of(house).make(BY)
    await rotation_of(house).move("sunny", BY)
    here = house.loyalty.members
    there = Members(house.database, Keys.open(other.parent, {}), here.programmes)
    with pytest.raises(KeyFault, match=r"keys/LOYALTY\.2 is missing here"):
        await there.person("sunny", members["4711000"].member_id)
    shutil.copy(short_dir / "keys" / "LOYALTY.2", other)
    assert (await there.claim_by_number("sunny", "4711000")).known


async def test_a_kill_between_record_and_file_leaves_an_entry_too_many(house: House, monkeypatch):
    """Making and destroying are on record before they are done; the next call does them."""
    await enrolled(house, 1)
    keys, keeper = house.loyalty.members.keys, rotation_of(house)

    async def died(name: str, act) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(keys, name, lambda _version: (_ for _ in ()).throw(SystemExit))
            with pytest.raises(SystemExit):
                await act

    await died("make", keeper.make(BY))
    assert 2 == await keeper.make(BY)
    await keeper.move("sunny", BY)
    await died("destroy", keeper.retire(1, BY))
    assert (2, 1) == keys.ring().versions
    await keeper.retire(1, BY)
    names = [name for name, _, _ in await told(house)]
    assert ["rotated", "rotated", "moved", "retired", "retired"] == [one.rpartition(".")[2] for one in names]
    assert (2,) == keys.ring().versions


def test_the_command_lists_rotates_and_retires(short_dir: Path, empty_file: Path, monkeypatch, capsys):
    """`pay-ivr loyalty-key`: one line of answer each, 0 only when all of it is done."""
    (short_dir / "tenants").mkdir()
    for name, value in {"TENANTS_DIR": "tenants", "DATA_DIR": "data"}.items():
        monkeypatch.setenv(f"PAY_IVR_{name}", str(short_dir / value))
    monkeypatch.setattr(locksmith, "GRACE_S", 0)
    asyncio.run(filled(short_dir, empty_file))
    assert [0, 0, 0, 1] == [
        main(["loyalty-key", *words]) for words in (["list"], ["rotate"], ["retire", "1"], ["retire", "2"])
    ]
    said, complained = capsys.readouterr()
    assert ["1", "newest"] == said.splitlines()[0].split()[1:3]
    assert "3 members 0 codes" in said.splitlines()[0]
    assert "sunny: 3 members and 0 codes moved" in said
    assert "LOYALTY: version 1 is wiped" in said
    assert "newest version" in complained


async def filled(folder: Path, empty_file: Path) -> None:
    """A data directory with three members."""
    (folder / "data").mkdir()
    shutil.copy(empty_file, folder / "data" / "loyalty.db")
    house = open_house(folder / "data", folder / "data" / "loyalty.db")
    await enrolled(house, 3)
    await house.database.close()
    shutil.copytree(folder / "data" / "tenants", folder / "tenants", dirs_exist_ok=True)
