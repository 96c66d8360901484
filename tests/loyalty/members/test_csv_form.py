"""Lines of CSV: what is good is read, what is bad is named by line and column and never quoted."""

import contextlib
import io
from datetime import date

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loyalty.errors import LoyaltyError
from loyalty.members.csv_form import COLUMNS, LINE_BYTES_MAX, WRITTEN, BadRow, Row, header_of, rows, written
from loyalty.members.person import FIELDS, TEXT_MAX, Person, PersonError, normalised, person_json

HEADER = ",".join(COLUMNS).encode() + b"\n"
GOOD = (
    "4711001,Anna,Grünwaldt,80331,12a,1980-12-31,anna@example.com,+498912345678,de-DE,900100,250,2030-01-01\n"
).encode()
DIGITS = (6, 10)


def read(octets: bytes) -> list[Row | BadRow]:
    """Every line of a file."""
    return list(rows(io.BytesIO(octets), "en-US", DIGITS))


def bad(line: bytes) -> BadRow:
    """What is wrong with one line under the whole header."""
    (found,) = read(HEADER + line)
    assert isinstance(found, BadRow)
    return found


def test_a_good_line_is_a_person_with_card_and_points():
    """Every column where it belongs."""
    (row,) = read(HEADER + GOOD)
    assert isinstance(row, Row)
    assert (2, "900100", 250, date(2030, 1, 1)) == (row.line, row.card, row.points, row.points_expire)
    assert ("Grünwaldt", date(1980, 12, 31)) == (row.person.family_name, row.person.born)


def test_columns_may_come_in_any_order_with_semicolons_and_a_mark():
    """As spreadsheets of half the world write them."""
    (row,) = read(b"\xef\xbb\xbfBorn;Family_name;NUMBER\r\n1980-12-31;Gr\xc3\xbcn;4711001\r\n")
    assert isinstance(row, Row)
    assert ("Grün", "en-US") == (row.person.family_name, row.person.language)
    assert {"born", "family_name", "number"} == row.told


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"\n", "lacks number"),
        (b"", "column 1 that we do not know"),
        (b"number,family_name\n", "lacks born"),
        (b"number,family_name,born,shoe_size\n", "column 4 that we do not know"),
        (b"number,number,family_name,born\n", "names number twice"),
        (b"\xff\xfe\n", "not UTF-8"),
        (b'"number,family_name,born\n', "no line of CSV"),
    ],
)
def test_a_wrong_header_is_refused_before_anything_is_taken(line: bytes, sentence: str):
    """Told by place; a file without its header would take the first member for one."""
    with pytest.raises(LoyaltyError, match=sentence) as refused:
        read(line + GOOD)
    assert "header_wrong" == refused.value.code
    assert "shoe" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        (GOOD.replace(b"4711001", b""), "number"),
        (GOOD.replace(b"4711001", b"47"), "number"),
        (GOOD.replace(b"1980-12-31", b"31.12.1980"), "born"),
        (GOOD.replace(b"1980-12-31", b"1980-02-30"), "born"),
        (GOOD.replace(b"1980-12-31", b""), "born"),
        (GOOD.replace(b"anna@", b"anna"), "email"),
        (GOOD.replace(b"+49", b"0"), "phone"),
        (GOOD.replace(b"900100", b"9-x"), "card"),
        (GOOD.replace(b",250,", b",2.5,"), "points"),
        (GOOD.replace(b",250,", b",-250,"), "points"),
        (GOOD.replace(b",250,", b",1000000001,"), "points"),
        (GOOD.replace(b"2030-01-01", b"soon"), "points_expire"),
        (GOOD.replace(b"de-DE", b"german"), "language"),
        (b"4711001,Anna\n", ""),
        (b'4711001,"Anna\n', ""),
        (b"\xff" + GOOD, ""),
        (b"a" * LINE_BYTES_MAX * 3 + b"\n", ""),
    ],
)
def test_a_bad_line_is_named_by_its_column(line: bytes, column: str):
    """One sentence of ours."""
    found = bad(line)
    assert (2, column) == (found.line, found.column)


def test_a_bad_line_spoils_no_other():
    """Neither an open quote nor a line without an end."""
    found = read(HEADER + b'"open,\n' + GOOD + b"x" * 9_000 + b"\n" + b"\r\n" + GOOD.rstrip())
    assert [BadRow, Row, BadRow, Row] == [type(one) for one in found]
    assert [2, 3, 4, 6] == [one.line for one in found]


def test_the_apostrophe_of_a_spreadsheet_guard_goes_and_that_of_a_name_stays():
    """'+49 was guarded; 't Hooft was born so."""
    line = GOOD.replace(b"+49", b"'+49").replace(b"Anna", b"'t Hooft")
    (row,) = read(HEADER + line)
    assert isinstance(row, Row)
    assert ("+498912345678", "'t Hooft") == (row.person.phone, row.person.given_name)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=TEXT_MAX)
people = st.builds(
    Person,
    number=st.from_regex(r"[1-9][0-9]{5,9}", fullmatch=True),
    given_name=text,
    family_name=text,
    postcode=st.text("0123456789 -ABC", max_size=9),
    house_number=text,
    born=st.dates(date(1900, 1, 1), date(2020, 1, 1)),
    email=st.sampled_from(["", "a@example.com", "=1+1@example.com", "-x@example.com"]),
    phone=st.sampled_from(["", "+498912345678"]),
    language=st.sampled_from(["de-DE", "en-US"]),
)


@settings(max_examples=60, deadline=None)
@given(people)
@example(Person("123456", "'t", "'=x", "", "'", date(1990, 1, 1), "", "", "de-DE"))
def test_what_is_written_reads_back(told: Person):
    """Any person that can be stored; no cell begins as a formula does."""
    try:
        person = normalised(told, *DIGITS)
    except PersonError:
        return
    line = written({**person_json(person), "card": "900100"})
    (row,) = read(written() + line)
    assert isinstance(row, Row)
    assert (person_json(person), "900100") == (person_json(row.person), row.card)
    assert not any(cell.lstrip('"').startswith(("=", "+", "-", "@")) for cell in line.decode().split(","))


CONTENT = st.binary(max_size=400) | st.lists(
    st.sampled_from(
        [*GOOD.strip().split(b","), b'"', b",", b";", b"\n", b"\r", b"'", b"=1", b"\x00", b"\xff"]
    )
).map(b",".join)


@settings(max_examples=60, deadline=None)
@given(CONTENT)
def test_any_octets_are_rows_or_sentences(octets: bytes):
    """Behind a good header: no exception, no content in a report, every line counted once."""
    found = read(HEADER + octets)
    for one in found:
        assert isinstance(one, Row) or one.column in {"", *COLUMNS}
        assert isinstance(one, Row) or one.why.isascii()
    assert sorted({one.line for one in found}) == [one.line for one in found]


@settings(max_examples=60, deadline=None)
@given(CONTENT)
def test_any_octets_are_a_header_or_refused(octets: bytes):
    """One error of ours, nothing else."""
    with contextlib.suppress(LoyaltyError):
        assert set(header_of(octets.split(b"\n")[0]).columns) <= set(COLUMNS)


def test_an_export_has_every_field_and_no_points():
    """Points are opened once, by the file that brings them."""
    assert (*FIELDS, "card") == WRITTEN
    assert "points" not in WRITTEN
