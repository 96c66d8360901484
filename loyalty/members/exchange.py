"""Members by the file: taken in without stopping anybody else, given out as they were taken.

Good lines land in small database transactions with a pause behind each, so that whoever else writes, in this
process or in another one, waits for milliseconds. The same file again changes nothing: a member is known by
his number, his opening points by his id. A line that contradicts what is stored is told and not taken; who
wants the change makes it on record (`Members.change`).
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from loyalty.ledger import Done, Earn, Key
from loyalty.members.csv_form import BadRow, Row, rows, written
from loyalty.members.office import Office
from loyalty.members.person import Member, person_json
from loyalty.members.register import Newcomer, Register

BATCH_ROWS = 10
"""Lines of one database transaction: some 12 ms of work, which a redemption may have to wait for."""
PAUSE_S = 0.002
"""At least this long the file is free between two of them; otherwise for as long as the last one took."""
PAGE_ROWS = 200
"""Members of one read of an export."""

OnBad = Callable[[BadRow], None]


@dataclass(frozen=True)
class Imported:
    """What became of a file's lines; every line counts in exactly one of the first three."""

    enrolled: int = 0
    unchanged: int = 0
    refused: int = 0
    points_booked: int = 0
    """Members whose opening points were booked by this run."""


@dataclass(frozen=True)
class _Landed:
    row: Row
    member: Member
    is_new: bool


async def import_csv(
    office: Office, tenant: str, file: BinaryIO, *, by: str, language: str, on_bad: OnBad
) -> Imported:
    """Takes a file of members in; `on_bad` hears of every line that was not taken, in no certain order.

    LoyaltyError: `no_programme`, `header_wrong`, `file_too_long`; what came before stays taken.
    """
    programme = office.programme(tenant)
    total = Imported()
    for batch in _batches(rows(file, language, programme.number_digits)):
        started = time.monotonic()
        done = await _take(office, tenant, batch, by, on_bad)
        total = _sum(total, done)
        await asyncio.sleep(max(PAUSE_S, time.monotonic() - started))
    await office.write(tenant, lambda register: _note_import(office, register, total, by))
    return total


def _batches(found: Iterator[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    while batch := list(itertools.islice(found, BATCH_ROWS)):
        yield batch


async def _take(
    office: Office, tenant: str, batch: Sequence[Row | BadRow], by: str, on_bad: OnBad
) -> Imported:
    good = [one for one in batch if isinstance(one, Row)]
    landed: list[_Landed | BadRow] = [one for one in batch if isinstance(one, BadRow)]
    if good:
        landed += await office.write(tenant, lambda register: _land(office, register, good, by))
    booked = await asyncio.gather(
        *(_open_points(office, one, by) for one in landed if isinstance(one, _Landed) and one.row.points)
    )
    bad = [one for one in (*landed, *booked) if isinstance(one, BadRow)]
    for one in bad:
        on_bad(one)
    refused = {one.line for one in bad}
    taken = [one for one in landed if isinstance(one, _Landed) and one.row.line not in refused]
    enrolled = sum(one.is_new for one in taken)
    return Imported(enrolled, len(taken) - enrolled, len(refused), sum(one is True for one in booked))


def _land(office: Office, register: Register, batch: Sequence[Row], by: str) -> list[_Landed | BadRow]:
    """Enrols who is not there yet, all in one database transaction; who is there is compared."""
    numbers = [number for row in batch for number in (row.person.number, row.card) if number]
    known, held = register.customers(numbers), register.holders(numbers)
    fresh: dict[str, Row] = {}
    others: list[Row] = []
    bad: list[_Landed | BadRow] = []
    taken = {*known, *held}
    for row in batch:
        number, card = row.person.number, row.card
        if number in known or number in fresh:
            others.append(row)
        elif number in taken:
            bad.append(BadRow(row.line, "number", "is on somebody's card"))
        elif card in taken or card == number:
            bad.append(BadRow(row.line, "card", "is somebody's number already"))
        else:
            fresh[number] = row
            taken |= {number, card} - {""}
    members = register.enrol([Newcomer(row.person, row.card) for row in fresh.values()], office.now())
    for member in members:
        office.note(register, "member.profile.enrolled", member.member_id, by)
    landed = [_Landed(row, member, is_new=True) for row, member in zip(fresh.values(), members, strict=True)]
    known |= {number: one.member.member_id for number, one in zip(fresh, landed, strict=True)}
    held |= {one.row.card: one.member.member_id for one in landed if one.row.card}
    compared = [_compare(register, row, known[row.person.number], held.get(row.card)) for row in others]
    return [*bad, *landed, *compared]


def _compare(register: Register, row: Row, member_id: str, holder: str | None) -> _Landed | BadRow:
    """Who is there already: the line says the same, or it is not taken."""
    stored, told = person_json(register.person(member_id)), person_json(row.person)
    differing = [name for name in told if name in row.told and told[name] != stored[name]]
    if row.card and holder != member_id:
        differing.append("card")
    if differing:
        return BadRow(row.line, ", ".join(differing), "differs from what is stored; change it there")
    return _Landed(row, register.member(member_id), is_new=False)


async def _open_points(office: Office, landed: _Landed, by: str) -> BadRow | bool:
    """Opening points through the ledger, once per member: True when this run booked them."""
    member, row = landed.member, landed.row
    key = Key(member.tenant, member.programme, f"opening.{member.member_id}")
    receipt = f"opening:{member.member_id}"  # as `Loyalty.open_balance` names them: one opening, whoever asks
    now = office.clock()
    expires = row.points_expire or office.programme(member.tenant).expires(now)
    earn = Earn(key, member.account_id, row.points, receipt, expires, now)
    outcome = await office.database.ledger.do(earn, actor=by, bulk=True)
    if isinstance(outcome, Done):
        return not outcome.replayed
    return BadRow(row.line, "points", "differ from the opening points that were booked before")


def _note_import(office: Office, register: Register, total: Imported, by: str) -> None:
    counts = {"enrolled": total.enrolled, "unchanged": total.unchanged, "refused": total.refused}
    office.note(register, "member.file.imported", register.tenant, by, data=counts)


def _sum(one: Imported, other: Imported) -> Imported:
    return Imported(
        one.enrolled + other.enrolled,
        one.unchanged + other.unchanged,
        one.refused + other.refused,
        one.points_booked + other.points_booked,
    )


async def export_csv(office: Office, tenant: str, file: BinaryIO, *, by: str) -> int:
    """Writes every member that is not closed, and returns how many; page by page, nobody waits for it."""
    file.write(written())
    count, after = 0, ""
    while page := await office.read(tenant, lambda register: register.page(after, PAGE_ROWS)):  # noqa: B023
        for member, person, card in page:
            file.write(written({**person_json(person), "card": card}))
            after = member.member_id
        count += len(page)
    counted = {"members": count}
    await office.write(
        tenant, lambda register: office.note(register, "member.file.exported", tenant, by, data=counted)
    )
    return count
