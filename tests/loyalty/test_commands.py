"""`pay-ivr member`: one command, one line of answer, files of ours alone, a right exit code."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from loyalty.database import Database
from loyalty.keys import Keys
from loyalty.ledger import Done, Earn, Key, Redeem
from loyalty.members import Members
from loyalty.programme import programmes_of
from pay_ivr.__main__ import main
from pay_ivr.facts import CallView
from pay_ivr.past_calls import FORGOTTEN
from pay_ivr.settings import Settings
from pay_ivr.store import Store
from pay_ivr.tenants import load_tenants
from tests.loyalty.members.conftest import person

SUNNY = """
name = "Sunny"
[telephony]
languages = ["de-DE"]
[loyalty]
programme = "miles"
name = "Sunny Miles"
"""
HEADER = "number,given_name,family_name,postcode,house_number,born,email,phone,card,points\n"
ANNA = "1000001,Anna,Gruenwaldt,80331,12,1980-12-31,anna@example.com,+498912345678,900100,250\n"


@pytest.fixture
def settings(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A fresh data directory and one tenant with a programme."""
    (short_dir / "tenants").mkdir()
    (short_dir / "tenants" / "sunny.toml").write_text(SUNNY, encoding="utf-8")
    (short_dir / "tenants" / "dry.toml").write_text('name = "Dry"\n[telephony]\nlanguages = ["de-DE"]\n')
    monkeypatch.setenv("PAY_IVR_TENANTS_DIR", str(short_dir / "tenants"))
    monkeypatch.setenv("PAY_IVR_DATA_DIR", str(short_dir / "data"))
    return Settings()


def member(*words: object, tenant: str = "sunny") -> int:
    """The command's exit code."""
    return main(["member", *map(str, words), "--tenant", tenant])


@pytest.fixture
def anna(settings: Settings, short_dir: Path, capsys: pytest.CaptureFixture[str]) -> Settings:
    """The settings of a node with one member."""
    (short_dir / "anna.csv").write_text(HEADER + ANNA)
    assert 0 == member("import", short_dir / "anna.csv")
    capsys.readouterr()
    return settings


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What `show` prints of Anna."""
    assert 0 == member("show", "1000001")
    return dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())


def test_an_import_tells_what_it_did_and_names_bad_lines(
    settings: Settings, short_dir: Path, capsys: pytest.CaptureFixture[str]
):
    """Line and column, never the content; 1 when something was not taken."""
    file = short_dir / "members.csv"
    file.write_text(HEADER + ANNA + ANNA.replace("1000001", "1000002").replace("1980-12-31", "31.12.80"))
    assert 1 == member("import", file)
    said = capsys.readouterr()
    assert "1 enrolled, 0 known already, 1 not taken; opening points booked for 1\n" == said.out
    assert "members.csv:3: born needs the form 1980-12-31\n" == said.err


def test_show_tells_no_personal_data(anna: Settings, capsys: pytest.CaptureFixture[str]):
    """Ids, states and points; found by number, card and id alike."""
    told = shown(capsys)
    assert ("active", "active", "0100") == (told["status"], told["card_state"], told["card_last4"])
    assert "250 available, 0 held, 250 posted" == told["points"]
    for way in ("900100", told["member_id"]):
        assert 0 == member("show", way)
        said = capsys.readouterr().out
        assert told["account_id"] in said
        assert not [word for word in ("Anna", "Gruen", "80331", "example", "8912345678") if word in said]


def test_an_export_is_for_our_eyes_and_replaces_nothing(
    anna: Settings, short_dir: Path, capsys: pytest.CaptureFixture[str]
):
    """Mode 0600; a second one under the same name is refused."""
    file = short_dir / "out.csv"
    assert 0 == member("export", file)
    assert 0o600 == file.stat().st_mode & 0o777
    assert "1000001" in file.read_text()
    assert 1 == member("export", file)
    assert "Choose another name" in capsys.readouterr().err


async def _a_call(settings: Settings, call_id: str, caller: str) -> None:
    store = await Store.open(settings.data_dir / "app.db")
    call = CallView(
        call_id, "sunny", "loyalty.portal", "ended", None, caller, "4930", "de-DE",
        "2026-03-01T12:00:00.000Z", ended_reason="caller_hung_up",
    )  # fmt: skip
    await store.add_ended_call(call, int(time.time() * 1000))
    await store.close()


async def _another_phone(settings: Settings, member_id: str) -> None:
    database = Database.open(settings.loyalty)
    programmes = programmes_of(load_tenants(settings.tenants_dir), settings.tenants_dir)
    members = Members(database, Keys.open(settings.data_dir, {}), programmes)
    await members.change("sunny", member_id, {"phone": "+498987654321"}, by="agent:anna")
    await database.close()


def test_a_person_gets_all_that_is_stored(
    anna: Settings, short_dir: Path, capsys: pytest.CaptureFixture[str]
):
    """Profile, cards, movements and calls, as JSON and as text, both 0600."""
    asyncio.run(_a_call(anna, "call_mine", "+498912345678"))
    asyncio.run(_a_call(anna, "call_other", "+4930999"))
    member_id = shown(capsys)["member_id"]
    assert 0 == member("gdpr-export", "1000001", "--out", short_dir / "gdpr")
    files = [short_dir / "gdpr" / f"{member_id}.{kind}" for kind in ("json", "txt")]
    assert [0o600, 0o600] == [path.stat().st_mode & 0o777 for path in files]
    body = json.loads(files[0].read_text("utf-8"))
    assert ("Gruenwaldt", "de-DE") == (body["profile"]["family_name"], body["profile"]["language"])
    assert ["900100"] == [card["number"] for card in body["cards"]]
    assert [("earn", 250)] == [(one["kind"], one["points"]) for one in body["points"]["movements"]]
    assert ["call_mine"] == [one["call_id"] for one in body["calls"]]
    text = files[1].read_text("utf-8")
    for told in ("Gruenwaldt", "900100", "anna@example.com", "2026-03-01", "250"):
        assert told in text


def test_an_erased_person_is_gone_from_both_databases(anna: Settings, capsys: pytest.CaptureFixture[str]):
    """Also his numbers on his calls, old ones too; without a broker the command says that the PIN is left."""
    asyncio.run(_a_call(anna, "call_before", "00498912345678"))
    asyncio.run(_a_call(anna, "call_mine", "+498987654321"))
    asyncio.run(_a_call(anna, "call_other", "+4930999"))
    asyncio.run(_another_phone(anna, shown(capsys)["member_id"]))
    assert 2 == member("erase", "1000001")
    assert 1 == member("erase", "1000001", "--yes")
    said = capsys.readouterr()
    assert "is erased; his number is gone from 2 calls" in said.out
    assert "the PIN is left" in said.err
    with closing(sqlite3.connect(anna.data_dir / "app.db")) as database:
        callers = database.execute("SELECT call_id, caller FROM ended_calls ORDER BY 1").fetchall()
    assert [("call_before", FORGOTTEN), ("call_mine", FORGOTTEN), ("call_other", "+4930999")] == callers
    assert 1 == member("show", "1000001")


def test_closed_members_are_erased_when_their_time_is_over(
    anna: Settings, capsys: pytest.CaptureFixture[str]
):
    """Closed today: not before yesterday, but before tomorrow."""
    member_id = shown(capsys)["member_id"]
    assert 0 == member("close", "1000001")
    assert 1 == member("show", "1000001")
    assert 0 == member("show", member_id)
    assert 0 == member("erase", "--closed-before", "2020-01-01", "--yes")
    assert 1 == member("erase", "--closed-before", "2999-01-01", "--yes")
    assert 1 == member("show", member_id)
    out = capsys.readouterr().out
    assert "0 erased\n" in out
    assert "1 erased\n" in out


@pytest.mark.parametrize("words", [("export", "x.csv"), ("show", "1"), ("import", __file__)])
def test_a_tenant_without_a_programme_is_told_so(
    settings: Settings, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    """One line, code 1."""
    assert 1 == member(*words, tenant="dry")
    assert 1 == len(capsys.readouterr().err.splitlines())


def _counts(path: Path) -> list[int]:
    """How many members, and how many of each thing that a member has exactly one of."""
    one_each = ("member", "data_key", "member_account", "card", "account WHERE kind = 'member'")
    with closing(sqlite3.connect(path)) as database:
        return [database.execute(f"SELECT count(*) FROM {what}").fetchone()[0] for what in one_each]  # noqa: S608


@pytest.mark.proof
def test_a_killed_import_leaves_nothing_half_and_is_finished_by_the_next(
    anna: Settings, short_dir: Path, capsys: pytest.CaptureFixture[str]
):
    """SIGKILL in mid-file: every member is whole; the same file again brings the rest and all points."""
    file = short_dir / "many.csv"
    lines = [f"{2_000_000 + place},,Gelb,,,1970-01-01,,,,{place + 1}\n" for place in range(160)]
    file.write_text(HEADER + "".join(lines))
    program = [sys.executable, "-m", "pay_ivr", "member", "import", str(file), "--tenant", "sunny"]
    running = subprocess.Popen(program)
    database = anna.data_dir / "loyalty.db"
    for _ in range(3_000):
        if _counts(database)[0] > 30:
            break
        time.sleep(0.01)
    running.kill()
    running.wait(timeout=10)
    counts = _counts(database)
    assert 1 == len(set(counts))
    assert 30 < counts[0] < 161
    assert 0 == member("import", file)
    assert [161] * 5 == _counts(database)
    assert f"{161 - counts[0]} enrolled, {counts[0] - 1} known already" in capsys.readouterr().out
    with closing(sqlite3.connect(database)) as books:
        points = books.execute("SELECT sum(posted) FROM account WHERE kind = 'member'").fetchone()[0]
    assert 250 + sum(range(1, 161)) == points


async def test_an_import_beside_a_running_node_keeps_nobody_waiting(settings: Settings, short_dir: Path):
    """Another process takes 80 members in; redemptions of this one go on meanwhile (L21 in small)."""
    settings.data_dir.mkdir()
    file = short_dir / "many.csv"
    file.write_text(
        HEADER
        + "".join(
            f"{2_000_000 + place},Otto,Gelb,80331,{place},1970-01-01,,,,{place + 1}\n" for place in range(80)
        )
    )
    tenants = load_tenants(settings.tenants_dir)
    database = Database.open(settings.loyalty)
    members = Members(
        database, Keys.open(settings.data_dir, {}), programmes_of(tenants, settings.tenants_dir)
    )
    one = await members.enrol("sunny", person(), by="agent:anna")
    ledger = database.ledger
    earn = Earn(Key("sunny", "miles", "e"), one.account_id, 100_000, "till-1", None, members.clock())
    assert isinstance(await ledger.do(earn, actor="key:shop"), Done)
    program = [sys.executable, "-m", "pay_ivr", "member", "import", str(file), "--tenant", "sunny"]
    running = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    waited: list[float] = []
    while running.returncode is None and len(waited) < 3_000:
        started = time.monotonic()
        key = Key("sunny", "miles", f"r-{len(waited)}")
        done = await ledger.do(Redeem(key, one.account_id, 1, "redeemed_voucher"), actor="caller")
        assert isinstance(done, Done)
        waited.append(time.monotonic() - started)
        await asyncio.sleep(0.005)
    out, err = await running.communicate()
    assert (b"80 enrolled, 0 known already, 0 not taken; opening points booked for 80\n", b"") == (out, err)
    assert 100_000 - len(waited) == (await ledger.balance("sunny", "miles", one.account_id)).available
    print(f"redemptions beside an import: {len(waited)}, longest {max(waited) * 1000:.0f} ms")
    assert max(waited) < 2.0  # a shared machine; docs/members.md has the figures of a quiet one
    await database.close()
