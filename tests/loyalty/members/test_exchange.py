"""Files of members: good lines land, bad ones are named, the same file again changes nothing."""

import io

import pytest

from audit.outbox import OUTBOX
from loyalty.answers import Booked
from loyalty.errors import LoyaltyError
from loyalty.members import Members
from loyalty.members.csv_form import BadRow
from loyalty.members.exchange import BATCH_ROWS, Imported
from loyalty.points import Points
from tests.loyalty.members.conftest import House, person

BY = "user:operator"
HEADER = "number,given_name,family_name,postcode,house_number,born,email,phone,card,points\n"


def line(number: int, *, given: str = "Anna", card: str = "", points: str = "") -> str:
    """One member."""
    return f"{number},{given},Gruen,80331,12,1980-12-31,,,{card},{points}\n"


async def take(members: Members, text: str) -> tuple[Imported, list[BadRow]]:
    """The file taken in, with what was not taken, by line."""
    bad: list[BadRow] = []
    file = io.BytesIO(text.encode())
    done = await members.import_csv("sunny", file, by=BY, language="de-DE", on_bad=bad.append)
    return done, sorted(bad, key=lambda one: one.line)


async def test_good_lines_land_and_bad_ones_are_named(members: Members):
    """More lines than one database transaction takes; nothing is lost on the way."""
    lines = [line(1_000_000 + place) for place in range(3 * BATCH_ROWS)]
    lines[7] = line(1_000_007).replace("1980-12-31", "yesterday")
    done, bad = await take(members, HEADER + "".join(lines))
    assert Imported(enrolled=3 * BATCH_ROWS - 1, refused=1) == done
    assert [(9, "born")] == [(one.line, one.column) for one in bad]
    assert (await members.claim_by_number("sunny", str(1_000_000 + 3 * BATCH_ROWS - 1))).known
    assert not (await members.claim_by_number("sunny", "1000007")).known


async def test_the_same_file_again_changes_nothing(members: Members):
    """Same members, same accounts, same points; told as unchanged."""
    text = HEADER + line(1_000_001, points="250", card="900100") + line(1_000_002)
    first, _ = await take(members, text)
    claim = await members.claim_by_number("sunny", "900100")
    member = await members.get("sunny", claim.member_id)
    again, bad = await take(members, text)
    assert (Imported(enrolled=2, points_booked=1), Imported(unchanged=2), []) == (first, again, bad)
    balance = await members.database.ledger.balance("sunny", "miles", member.account_id)
    assert 250 == balance.available
    (movement,) = await members.database.ledger.movements("sunny", "miles", member.account_id, 10)
    assert ("earn", 250) == (movement.kind, movement.points)


async def test_points_that_were_left_by_a_crash_are_booked_by_the_next_run(members: Members):
    """The member was committed, the points were not."""
    await take(members, HEADER + line(1_000_001))
    done, _ = await take(members, HEADER + line(1_000_001, points="250"))
    assert Imported(unchanged=1, points_booked=1) == done


async def test_other_opening_points_are_refused(members: Members):
    """They were booked before; the ledger is the truth."""
    await take(members, HEADER + line(1_000_001, points="250"))
    done, bad = await take(members, HEADER + line(1_000_001, points="300"))
    assert (Imported(refused=1), [(2, "points")]) == (done, [(one.line, one.column) for one in bad])


async def test_opening_points_of_the_file_and_of_the_api_are_one(members: Members):
    """Whoever comes first books them; the other hears the same answer."""
    await take(members, HEADER + line(1_000_001, points="250"))
    claim = await members.claim_by_number("sunny", "1000001")
    api = Points(members, members.database.ledger, members.programmes, members.clock)
    booked = await api.open_balance("sunny", claim.member_id, 250, expires=None, by="key:crm")
    assert isinstance(booked, Booked)
    assert (250, True) == (booked.available, booked.replayed)


async def test_a_line_that_contradicts_what_is_stored_is_not_taken(members: Members):
    """The columns are named, the facts are not; what is stored stays."""
    await take(members, HEADER + line(1_000_001))
    _, bad = await take(members, HEADER + line(1_000_001, given="Berta"))
    assert [(2, "given_name")] == [(one.line, one.column) for one in bad]
    assert "Berta" not in bad[0].why
    claim = await members.claim_by_number("sunny", "1000001")
    assert "Anna" == (await members.person("sunny", claim.member_id)).given_name


async def test_columns_that_a_file_lacks_contradict_nothing(members: Members):
    """A short file about members of a long one."""
    await members.enrol("sunny", person(number="1000001"), by=BY)
    done, bad = await take(members, "number,family_name,born\n1000001,Grünwaldt,1980-12-31\n")
    assert (Imported(unchanged=1), []) == (done, bad)


async def test_one_number_twice_in_a_file_is_one_member(members: Members):
    """The second line is compared with the first, in the same database transaction."""
    text = HEADER + line(1_000_001) + line(1_000_001) + line(1_000_001, given="Berta")
    done, bad = await take(members, text)
    assert (Imported(enrolled=1, unchanged=1, refused=1), [4]) == (done, [one.line for one in bad])


async def test_a_number_and_a_card_are_never_the_same(members: Members):
    """Whichever comes first has it: in the file, in the line, in the database."""
    await members.enrol("sunny", person(number="1000000"), by=BY, card_number="900100")
    text = HEADER + "".join(
        [
            line(900_100),
            line(1_000_001, card="900100"),
            line(1_000_002, card="1000000"),
            line(1_000_003, card="1000003"),
            line(1_000_004, card="900200"),
            line(1_000_005, card="900200"),
            line(900_200),
        ]
    )
    done, bad = await take(members, text)
    assert Imported(enrolled=1, refused=6) == done
    assert [(2, "number"), (3, "card"), (4, "card"), (5, "card"), (7, "card"), (8, "number")] == [
        (one.line, one.column) for one in bad
    ]


async def test_an_export_reads_back_on_another_node(members: Members, house: House):
    """Members, numbers and cards are the same there; a closed one has stayed behind."""
    await members.enrol("sunny", person(phone="+498912345678"), by=BY, card_number="900100200")
    closed = await members.enrol("sunny", person(number="4711002"), by=BY)
    await members.close_member("sunny", closed.member_id, by=BY)
    out = io.BytesIO()
    assert 1 == await members.export_csv("sunny", out, by=BY)
    bad: list[BadRow] = []
    done = await members.import_csv(
        "rainy", io.BytesIO(out.getvalue()), by=BY, language="en-US", on_bad=bad.append
    )
    assert (Imported(enrolled=1), []) == (done, bad)
    claim = await members.claim_by_number("rainy", "900100200")
    assert person(phone="+498912345678") == await members.person("rainy", claim.member_id)


async def test_an_export_goes_over_many_pages(members: Members, monkeypatch: pytest.MonkeyPatch):
    """Every member once."""
    monkeypatch.setattr("loyalty.members.exchange.PAGE_ROWS", 7)
    await take(members, HEADER + "".join(line(1_000_000 + place) for place in range(30)))
    out = io.BytesIO()
    assert 30 == await members.export_csv("sunny", out, by=BY)
    numbers = [row.split(",")[0] for row in out.getvalue().decode().splitlines()[1:]]
    assert [str(1_000_000 + place) for place in range(30)] == sorted(numbers)


async def test_a_file_without_header_changes_nothing(members: Members):
    """Refused before its first member."""
    with pytest.raises(LoyaltyError) as refused:
        await take(members, line(1_000_001))
    assert "header_wrong" == refused.value.code
    rows = await members.database.read("sunny", lambda conn: conn.execute(OUTBOX.select()).all())
    assert [] == rows
