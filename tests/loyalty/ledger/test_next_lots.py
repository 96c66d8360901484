"""Of a member's lots only those are read that can be spent; what is spent is the same."""

from datetime import date, timedelta

import pytest
from sqlalchemy import Connection

from loyalty.database import Database
from loyalty.ledger import Command
from loyalty.ledger.book import Book, Lot
from loyalty.ledger.loading import load
from loyalty.ledger.next_lots import FIRST, lack
from tests.support.ledger_books import Books

TODAY = date(2026, 3, 10)
NEVER, OVER, LATER = None, date(2026, 3, 10), date(2026, 3, 11)


async def many_lots(books: Books, dated: int, undated: int) -> str:
    """A member with lots of ten points; those that end first were earned last."""
    member = await books.member()
    for number in range(dated, 0, -1):
        await books.earn(member, 10, books.today + timedelta(days=number))
    for _ in range(undated):
        await books.earn(member, 10, None)
    return member


async def read_for(books: Books, command: Command) -> list[Lot]:
    """The lots that a group with this command reads, soonest first."""

    def work(connection: Connection) -> list[Lot]:
        book = Book(books.today)
        load(connection, {(books.tenant, books.programme): (book, [command])})
        return sorted(book.lots.values(), key=lambda lot: lot.order)

    return await books.database.writer.work(work)


@pytest.mark.parametrize(
    ("points", "read"),
    [
        (1, FIRST + FIRST),
        (10 * FIRST, FIRST + FIRST),
        (10 * FIRST + 1, 2 * FIRST + 3 + FIRST + 5),  # a dated lot behind the page would be passed over
    ],
)
async def test_a_redemption_reads_a_page_or_all(ledger_database: Database, points: int, read: int):
    books = Books(ledger_database)
    member = await many_lots(books, 2 * FIRST + 3, FIRST + 5)
    lots = await read_for(books, books.redeeming(member, points))
    assert read == len(lots)
    assert [books.days(number + 1) for number in range(FIRST)] == [lot.expires for lot in lots[:FIRST]]


async def test_one_lot_is_moved_wherever_it_stands(ledger_database: Database):
    """A merge moves lot after lot; the last of many does not need those before it."""
    books = Books(ledger_database)
    member, other = await many_lots(books, FIRST + 4, 0), await books.member()
    everything = await read_for(books, books.redeeming(member, 10 * (FIRST + 4)))
    last = everything[-1]
    done = await books.done(books.moving(member, other, 10, lot=last.id))
    assert 10 * (FIRST + 3) == done.available
    assert last.id not in {lot.id for lot in await read_for(books, books.redeeming(member, 10 * (FIRST + 3)))}


async def test_a_return_reads_what_it_can_take(ledger_database: Database):
    """Its own lot, and a page of the others in case its points are spent."""
    books = Books(ledger_database)
    member = await many_lots(books, 2 * FIRST, 0)
    earned = await books.earn(member, 10, books.days(500))
    lots = await read_for(books, books.reversing(earned))
    assert FIRST + 1 == len(lots)
    assert earned.journal_id == lots[-1].journal


def page(*lots: tuple[int, date | None, int]) -> Book:
    """A book with so many lots of one date and size, then others."""
    book = Book(TODAY)
    for kind, (number, expires, points) in enumerate(lots):
        for place in range(number):
            book.add_lot(Lot(f"lot_{kind}_{place:03}", "acc_a", "jrn_a", expires, points, points))
    return book


@pytest.mark.parametrize(
    ("book", "points", "lacking"),
    [
        (page((FIRST - 1, LATER, 1), (FIRST - 1, NEVER, 1)), 10**9, False),  # nothing is behind either page
        (page((FIRST, LATER, 1)), FIRST, False),
        (page((FIRST, LATER, 1)), FIRST + 1, True),
        (page((FIRST, LATER, 1), (1, NEVER, 100)), FIRST + 1, True),
        (page((3, LATER, 1), (FIRST, NEVER, 1)), FIRST + 3, False),
        (page((3, LATER, 1), (FIRST, NEVER, 1)), FIRST + 4, True),
        (page((FIRST, OVER, 1)), 1, True),
        (page((FIRST - 1, OVER, 1), (1, LATER, 5)), 5, False),
    ],
)
def test_a_page_is_enough_when_nothing_behind_it_can_be_reached(book: Book, points: int, lacking: bool):
    assert lacking == lack(book, "acc_a", points)
