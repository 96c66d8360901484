"""Books a group of commands in one database transaction: read and lock, decide in memory, write.

The order of things is the same on SQLite and PostgreSQL:

1. keys that are booked already: their first answer, or `key_reused`;
2. lock holds, then accounts, each in the order of their ids (READ COMMITTED; SQLite has the whole file);
3. read lots and journals to reverse, which are settled by those locks;
4. decide in the order of arrival, over a `Book` per programme;
5. write with one statement per table: journals in the order of their keys, then what hangs on them.

A journal is written once, with its answer, and never changed: what is refused was never written. Another node
may book the same key between 1 and 5. Then the insert brings fewer rows than it was given, the transaction is
undone (`ConflictError`) and the group asked again, which now finds the key at 1.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from loyalty.ledger.arithmetic import decide
from loyalty.ledger.book import Book
from loyalty.ledger.bulk import finding
from loyalty.ledger.commands import Command, Done, Outcome, Refusal, Rejected
from loyalty.ledger.loading import load
from loyalty.ledger.orders import Booked, Order
from loyalty.ledger.storing import answer_of, store
from loyalty.tables import JOURNAL

_BOOKED = finding(JOURNAL, ("tenant", "idem"), JOURNAL.c.id, JOURNAL.c.request_hash, JOURNAL.c.result)


def book(connection: Connection, orders: Sequence[Order]) -> list[Outcome]:
    """The answers to a group, in its order; all of it is written when the caller commits."""
    answered = _answered(connection, orders)
    fresh = [order for order in orders if order.name not in answered]
    books = _books(connection, fresh)
    booked: list[Booked] = []
    outcomes: list[Outcome] = []
    for order in orders:
        known = answered.get(order.name)
        if known is not None:
            outcomes.append(_again(order, *known))
            continue
        done = _decide(books[order.books], order)
        if isinstance(done, Booked):
            booked.append(done)
            answered[order.name] = order.digest, done.answer
        outcomes.append(done.answer if isinstance(done, Booked) else done)
    if booked:
        store(connection, books, booked)
    return outcomes


def _books(connection: Connection, orders: Sequence[Order]) -> dict[tuple[str, str], Book]:
    """The books that these orders are for, each with what they need of it."""
    asked: dict[tuple[str, str], tuple[Book, list[Command]]] = {}
    for order in orders:
        book, commands = asked.setdefault(order.books, (Book(order.today), []))
        book.today = max(book.today, order.today)
        commands.append(order.command)
    if asked:
        load(connection, asked)
    return {books: book for books, (book, _) in asked.items()}


def _answered(connection: Connection, orders: Sequence[Order]) -> dict[tuple[str, str], tuple[str, Done]]:
    """What is booked under the keys of these orders: the request's hash and the first answer."""
    rows = _BOOKED.rows(connection, list({order.name for order in orders}))
    return {(tenant, idem): (digest, answer_of(name, result)) for tenant, idem, name, digest, result in rows}


def _again(order: Order, digest: str, first: Done) -> Outcome:
    if digest != order.digest:
        return Rejected(Refusal.KEY_REUSED)
    return Done(first.journal_id, first.hold_id, first.available, replayed=True)


def _decide(book: Book, order: Order) -> Booked | Rejected:
    book.today = order.today
    change = decide(book, order.command, order.journal)
    if isinstance(change, Rejected):
        return change
    book.apply(change, order.journal)
    return Booked(order, change, Done(order.journal, change.hold_id, book.available(change.member)))
