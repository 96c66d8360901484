"""Reads and locks what a group of commands needs of one programme's books.

Set-based: one statement per table, however many commands there are. Every statement names tenant and
programme, so that a command finds nothing that is not of its own programme, whatever id it gives.

Holds are locked before accounts, each in the order of their ids, one programme after the other in the order
of their names. An account's lock also keeps its lots and the reversals of its journals still, because whoever
changes those locks the account first.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, func, select

from loyalty.ledger.accounts import (
    ADJUSTED,
    EXPIRED,
    ISSUED,
    SYSTEM,
    clawback_of,
    kind_of,
    member_of,
    system_account,
)
from loyalty.ledger.book import Account, Book, Held, Lot, Part, Past
from loyalty.ledger.commands import Adjust, Command, Earn, Expire, Hold, Move, Post, Redeem, Reverse, Void
from loyalty.ledger.reads import HAS_POINTS
from loyalty.tables import ACCOUNT, ENTRY, HOLD, HOLD_LOT, JOURNAL, LOT, LOT_USE

_Rows = Sequence[Row[Any]]


@dataclass
class _Wanted:
    """Ids that the commands name."""

    accounts: set[str] = field(default_factory=set)
    spending: set[str] = field(default_factory=set)
    """Member accounts of which every lot may be needed; of others only those past their date are."""
    holds: set[str] = field(default_factory=set)
    journals: set[str] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)
    lots: set[str] = field(default_factory=set)

    def member(self, account: str, *, spending: bool) -> None:
        """A member's account and the one of his debt, by the name of either."""
        member = member_of(account)
        self.accounts |= {member, clawback_of(member)}
        self.spending |= {member} if spending else set()

    def system(self, *kinds: str) -> None:
        """Accounts of the programme itself."""
        self.accounts |= {system_account(kind) for kind in kinds}

    def name(self, command: Command) -> None:
        """What one command names."""
        match command:
            case Earn():
                self.member(command.account, spending=False)
                self.system(ISSUED)
                self.receipts.add(command.receipt)
            case Hold():
                self.member(command.account, spending=True)
            case Redeem():
                self.member(command.account, spending=True)
                self.system(command.contra)
            case Post():
                self.holds.add(command.hold_id)
                self.system(command.contra)
            case Void():
                self.holds.add(command.hold_id)
            case Adjust():
                self.member(command.account, spending=command.points < 0)
                self.system(ADJUSTED)
            case Expire():
                self.member(command.account, spending=False)
                self.system(EXPIRED)
            case Move():
                self.member(command.source, spending=True)
                self.member(command.target, spending=False)
            case Reverse():
                self.journals.add(command.journal_id)
                self.system(EXPIRED)


def load(
    connection: Connection, tenant: str, programme: str, book: Book, commands: Iterable[Command]
) -> None:
    """Puts into `book` what these commands need, locked until the end of the database transaction."""
    wanted = _Wanted()
    for command in commands:
        wanted.name(command)
    shelf = _Shelf(connection, tenant, programme)
    _holds(shelf, book, wanted)
    _pasts(shelf, book, wanted)
    for row in shelf.rows(ACCOUNT, ACCOUNT.c.id, wanted.accounts, lock=True):
        is_open = row.state == "open"
        book.accounts[row.id] = Account(row.id, row.kind, row.posted, row.held, row.floor, is_open)
    _lots(shelf, book, wanted)
    _reversals(shelf, book, wanted)
    receipts = shelf.rows(JOURNAL, JOURNAL.c.receipt, wanted.receipts)
    book.receipts |= {row.receipt for row in receipts}


@dataclass(frozen=True)
class _Shelf:
    """The rows of one programme."""

    connection: Connection
    tenant: str
    programme: str

    def own(self, table: Table) -> ColumnElement[bool]:
        """The condition that keeps a statement to this programme."""
        return and_(table.c.tenant == self.tenant, table.c.programme == self.programme)

    def rows(
        self,
        table: Table,
        column: ColumnElement[str],
        names: Collection[str],
        *conditions: ColumnElement[bool],
        lock: bool = False,
    ) -> _Rows:
        """Rows of `table` with one of `names` in `column`; `lock` locks them, in the order of their ids."""
        if not names:
            return ()
        wanted = select(table).where(self.own(table), column.in_(sorted(names)), *conditions)
        if lock:
            wanted = wanted.order_by(table.c.id).with_for_update()
        return self.connection.execute(wanted).all()


def _holds(shelf: _Shelf, book: Book, wanted: _Wanted) -> None:
    rows = shelf.rows(HOLD, HOLD.c.id, wanted.holds, lock=True)
    parts: dict[str, list[Part]] = {row.id: [] for row in rows}
    for row in shelf.rows(HOLD_LOT, HOLD_LOT.c.hold_id, parts.keys()):
        parts[row.hold_id].append(Part(row.lot_id, row.amount))
        wanted.lots.add(row.lot_id)
    for row in rows:
        wanted.member(row.account_id, spending=False)
        book.holds[row.id] = Held(row.id, row.account_id, row.amount, tuple(parts[row.id]), row.state)


def _pasts(shelf: _Shelf, book: Book, wanted: _Wanted) -> None:
    """The journals to reverse and the accounts that they went between, which never change."""
    sides: dict[str, list[str]] = {}
    entries = shelf.rows(ENTRY, ENTRY.c.journal_id, wanted.journals)
    for row in sorted(entries, key=lambda row: row.seq):
        sides.setdefault(row.journal_id, []).append(row.account_id)
    for row in shelf.rows(JOURNAL, JOURNAL.c.id, wanted.journals):
        source, target = (*sides.get(row.id, ()), "", "")[:2]
        book.pasts[row.id] = Past(row.id, row.kind, row.points, source, target)
        for account in {source, target} - {""}:
            if SYSTEM.fullmatch(kind_of(account)):
                wanted.system(kind_of(account))
            else:
                wanted.member(account, spending=True)


def _lots(shelf: _Shelf, book: Book, wanted: _Wanted) -> None:
    others = wanted.accounts - wanted.spending
    over = LOT.c.expires <= book.today
    for rows in (
        shelf.rows(LOT, LOT.c.account_id, wanted.spending, HAS_POINTS),
        shelf.rows(LOT, LOT.c.account_id, others, HAS_POINTS, over),
        shelf.rows(LOT, LOT.c.id, wanted.lots),
    ):
        _put(book, rows)


def _reversals(shelf: _Shelf, book: Book, wanted: _Wanted) -> None:
    """What a reversal needs beyond the journal itself: its lots, and what came back of it already."""
    for row in shelf.rows(JOURNAL, JOURNAL.c.reverses, wanted.journals):
        book.pasts[row.reverses].reversed += row.points
    _put(book, shelf.rows(LOT, LOT.c.journal_id, wanted.journals))
    uses = shelf.rows(LOT_USE, LOT_USE.c.journal_id, wanted.journals)
    _put(book, shelf.rows(LOT, LOT.c.id, {row.lot_id for row in uses}))
    for past in book.pasts.values():
        own = (Part(row.lot_id, row.amount) for row in uses if row.journal_id == past.id)
        of_source = (part for part in own if book.lots[part.lot].account == past.source)
        past.uses = tuple(sorted(of_source, key=lambda part: book.lots[part.lot].order, reverse=True))
        _expired(shelf, book, past)


def _expired(shelf: _Shelf, book: Book, past: Past) -> None:
    """How much of the lots that a journal made has ended by its date and was not taken back since."""
    made = book.made_by(past.id)
    if not made:
        return
    use, journal, entry = LOT_USE.c, JOURNAL.c, ENTRY.c
    of_expiry = (
        select(use.lot_id, func.sum(use.amount).label("points"))
        .join(JOURNAL, and_(shelf.own(JOURNAL), journal.id == use.journal_id))
        .where(shelf.own(LOT_USE), use.lot_id.in_([lot.id for lot in made]), journal.kind == "expire")
        .group_by(use.lot_id)
    )
    ended = {row.lot_id: int(row.points) for row in shelf.connection.execute(of_expiry)}
    taken_back = (
        select(func.coalesce(func.sum(-entry.amount), 0))
        .join(JOURNAL, and_(shelf.own(JOURNAL), journal.id == entry.journal_id))
        .where(shelf.own(ENTRY), journal.reverses == past.id, entry.account_id == system_account(EXPIRED))
    )
    back = int(shelf.connection.execute(taken_back).scalar_one())
    for lot in made:
        lot.expired = max(0, ended.get(lot.id, 0) - back)
        back -= ended.get(lot.id, 0) - lot.expired


def _put(book: Book, rows: _Rows) -> None:
    for row in rows:
        if row.id not in book.lots:
            made = Lot(row.id, row.account_id, row.journal_id, row.expires, row.granted, row.remaining)
            book.add_lot(made)
