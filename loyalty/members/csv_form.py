"""Members as lines of CSV (RFC 4180, one record per line): read one by one, written so that they read back.

UTF-8 with or without a byte order mark; comma or semicolon, whichever the header uses; lines end in LF or
CRLF. A record never goes over several lines, so that an unpaired quote spoils its own line and no other.

A spreadsheet would run a cell that begins with `=`, `+`, `-`, `@`, a tab or a line break as a formula: an
apostrophe goes before it, and is taken away again when such a file is read.

What is wrong with a line is told by its number, the name of the column and a sentence of ours: its content
is personal data and stands in no report.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import BinaryIO

from loyalty.errors import LoyaltyError
from loyalty.members.person import FIELDS, Person, PersonError, keyed_digits, normalised
from loyalty.programme import POINTS_MAX

LINE_BYTES_MAX = 4_096
"""Nine fields of 120 characters, each of up to three bytes, and their quotes."""
LINES_MAX = 5_000_000
"""One file; more than any programme has members. Larger ones are split."""
COLUMNS = (*FIELDS, "card", "points", "points_expire")
"""What a header may name, in any order."""
REQUIRED = ("number", "family_name", "born")
WRITTEN = (*FIELDS, "card")
"""What an export has: points stand in the ledger, and are not opened a second time elsewhere by accident."""
DELIMITERS = ",;"

_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_POINTS = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class BadRow:
    """Why a line was not taken."""

    line: int
    """Counted from 1, the header included."""
    column: str
    """Name of the column, or empty: the line as a whole."""
    why: str


@dataclass(frozen=True, repr=False)
class Row:
    """One good line."""

    line: int
    person: Person
    told: frozenset[str]
    """Columns with a meaning in this line: what it does not tell, it does not contradict."""
    card: str
    points: int
    """Opening points; 0: none."""
    points_expire: date | None


@dataclass(frozen=True)
class Header:
    """The first line: which columns, how they are divided."""

    columns: tuple[str, ...]
    delimiter: str


class _Wrong(Exception):
    """A line that is not taken: column and sentence."""


def rows(file: BinaryIO, language: str, digits: tuple[int, int]) -> Iterator[Row | BadRow]:
    """Every line but the header and blank ones, good or bad, in the file's order.

    `language` is for members whose line names none; `digits`: fewest and most of a number. LoyaltyError:
    `header_wrong`, `file_too_long`.
    """
    lines = _lines(file)
    header = header_of(next(lines, (1, b""))[1])
    for number, line in lines:
        if number > LINES_MAX:
            raise LoyaltyError("file_too_long", f"More than {LINES_MAX} lines. Split the file.")
        if line is None:
            yield BadRow(number, "", f"is longer than {LINE_BYTES_MAX} bytes")
        elif line.strip():
            yield row_of(number, line, header, language, digits)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Line number and bytes; None for a line that is too long, of which only a piece is ever in memory."""
    number = 0
    while piece := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(piece) <= LINE_BYTES_MAX:
            yield number, piece
            continue
        while piece and not piece.endswith(b"\n"):
            piece = file.readline(LINE_BYTES_MAX)
        yield number, None


def header_of(line: bytes | None) -> Header:
    """The header; LoyaltyError("header_wrong") says what is wrong with it."""
    try:
        text = (line or b"").decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise _header("is not UTF-8") from None
    delimiter = ";" if text.count(";") > text.count(",") else ","
    try:
        columns = tuple(cell.strip().lower() for cell in _cells(text, delimiter))
    except _Wrong:
        raise _header("is no line of CSV") from None
    for place, column in enumerate(columns, 1):
        if column not in COLUMNS:
            raise _header(f"has something in column {place} that we do not know")
        if column in columns[: place - 1]:
            raise _header(f"names {column} twice")
    for column in REQUIRED:
        if column not in columns:
            raise _header(f"lacks {column}")
    return Header(columns, delimiter)


def _header(sentence: str) -> LoyaltyError:
    return LoyaltyError("header_wrong", f"The first line {sentence}. It may name: {', '.join(COLUMNS)}.")


def row_of(number: int, line: bytes, header: Header, language: str, digits: tuple[int, int]) -> Row | BadRow:
    """One line, checked; what is wrong with it otherwise."""
    try:
        return _row(number, line, header, language, digits)
    except _Wrong as wrong:
        return BadRow(number, *wrong.args)
    except PersonError as error:
        return BadRow(number, error.field, error.why)


def _row(number: int, line: bytes, header: Header, language: str, digits: tuple[int, int]) -> Row:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise _Wrong("", "is not UTF-8") from None
    cells = _cells(text.rstrip("\r\n"), header.delimiter)
    if len(cells) != len(header.columns):
        raise _Wrong("", f"has {len(cells)} columns, the header has {len(header.columns)}")
    told = dict(zip(header.columns, map(_unguarded, cells), strict=True))
    person = _person(told, language, digits)
    card = _card(told.get("card", ""), digits)
    meant = {name for name in header.columns if name in FIELDS}
    return Row(
        line=number,
        person=person,
        told=frozenset(meant if told.get("language") else meant - {"language"}),
        card=card,
        points=_points(told.get("points", "")),
        points_expire=_day("points_expire", told["points_expire"]) if told.get("points_expire") else None,
    )


def _cells(text: str, delimiter: str) -> list[str]:
    try:
        found = list(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error:
        raise _Wrong("", "has a quote that is not closed, or text behind one") from None
    if len(found) > 1:
        raise _Wrong("", "has a line break within")
    return found[0] if found else []


def _person(told: Mapping[str, str], language: str, digits: tuple[int, int]) -> Person:
    facts = {name: told.get(name, "").strip() for name in FIELDS if name != "born"}
    if not facts["number"]:
        raise _Wrong("number", "is missing: without it the same file could not be read twice")
    if not told["born"].strip():
        raise _Wrong("born", "is missing")
    person = Person(**facts, born=_day("born", told["born"]))
    return normalised(replace(person, language=person.language or language), *digits)


def _card(text: str, digits: tuple[int, int]) -> str:
    number = re.sub(r"[ \-]", "", text)
    if number and not (number == keyed_digits(number) and digits[0] <= len(number) <= digits[1]):
        raise _Wrong("card", f"takes {digits[0]} to {digits[1]} digits")
    return number


def _day(column: str, text: str) -> date:
    found = _DAY.fullmatch(text.strip())
    try:
        return date.fromisoformat(found[0] if found else "")
    except ValueError:
        raise _Wrong(column, "needs the form 1980-12-31") from None


def _points(text: str) -> int:
    text = text.strip()
    if not text:
        return 0
    if not _POINTS.fullmatch(text) or int(text) > POINTS_MAX:
        raise _Wrong("points", f"takes a whole number up to {POINTS_MAX}")
    return int(text)


def written(cells: Mapping[str, str] | None = None) -> bytes:
    """A member as a line; without one, the header."""
    out = io.StringIO()
    line = WRITTEN if cells is None else [_guarded(cells[column]) for column in WRITTEN]
    csv.writer(out, lineterminator="\r\n").writerow(line)
    return out.getvalue().encode()


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(_STARTS) or _is_guarded(text) else text


def _unguarded(text: str) -> str:
    return text[1:] if _is_guarded(text) else text


def _is_guarded(text: str) -> bool:
    """True for an apostrophe before what needs one; a name such as 't Hooft keeps its own."""
    return text.startswith("'") and text[1:].startswith((*_STARTS, "'"))
