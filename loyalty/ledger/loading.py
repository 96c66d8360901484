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

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, bindparam, func, select

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
from loyalty.ledger.reads import HAS_POINTS, same_journal
from loyalty.tables import ACCOUNT, ENTRY, HOLD, HOLD_LOT, JOURNAL, LOT, LOT_USE

_Rows = Sequence[Any]
"""Rows of a statement below, each with the columns that it names, in that order."""


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
    for name, kind, posted, held, floor, state in shelf.rows(_ACCOUNTS, wanted.accounts):
        book.accounts[name] = Account(name, kind, posted, held, floor, state == "open")
    _put(book, shelf.rows(_LOTS_OF, wanted.spending))
    _put(book, shelf.rows(_LOTS_OVER, wanted.accounts - wanted.spending, today=book.today))
    _put(book, shelf.rows(_LOTS, wanted.lots))
    _reversals(shelf, book, wanted.journals)
    book.receipts.update(*shelf.rows(_RECEIPTS, wanted.receipts))


def _statement(table: Table, by: str, *columns: ColumnElement[Any]) -> Select[Any]:
    """The rows of one programme with one of `names` in the column `by`."""
    own = and_(table.c.tenant == bindparam("tenant"), table.c.programme == bindparam("programme"))
    return select(*columns).where(own, table.c[by].in_(bindparam("names", expanding=True)))


_account, _hold, _journal, _entry = ACCOUNT.c, HOLD.c, JOURNAL.c, ENTRY.c
_lot = (LOT.c.id, LOT.c.account_id, LOT.c.journal_id, LOT.c.expires, LOT.c.granted, LOT.c.remaining)
_ACCOUNTS = (
    _statement(
        ACCOUNT,
        "id",
        _account.id,
        _account.kind,
        _account.posted,
        _account.held,
        _account.floor,
        _account.state,
    )
    .order_by(_account.id)
    .with_for_update()
)
_HOLDS = (
    _statement(HOLD, "id", _hold.id, _hold.account_id, _hold.amount, _hold.state)
    .order_by(_hold.id)
    .with_for_update()
)
_HOLD_LOTS = _statement(HOLD_LOT, "hold_id", HOLD_LOT.c.hold_id, HOLD_LOT.c.lot_id, HOLD_LOT.c.amount)
_LOTS = _statement(LOT, "id", *_lot)
_LOTS_OF = _statement(LOT, "account_id", *_lot).where(HAS_POINTS)
_LOTS_OVER = _LOTS_OF.where(LOT.c.expires <= bindparam("today"))
_LOTS_MADE = _statement(LOT, "journal_id", *_lot)
_LOT_USES = _statement(LOT_USE, "journal_id", LOT_USE.c.journal_id, LOT_USE.c.lot_id, LOT_USE.c.amount)
_JOURNALS = _statement(JOURNAL, "id", _journal.id, _journal.kind, _journal.points)
_SIDES = (
    _statement(ENTRY, "journal_id", _entry.journal_id, _entry.account_id)
    .where(_entry.seq < 2)
    .order_by(_entry.journal_id, _entry.seq)
)
_REVERSED = _statement(JOURNAL, "reverses", _journal.reverses, _journal.points)
_RECEIPTS = _statement(JOURNAL, "receipt", _journal.receipt)
_EXPIRED_OF = (
    _statement(LOT_USE, "lot_id", LOT_USE.c.lot_id, func.sum(LOT_USE.c.amount))
    .join(JOURNAL, same_journal(LOT_USE))
    .where(_journal.kind == "expire")
    .group_by(LOT_USE.c.lot_id)
)
_TAKEN_BACK = (
    _statement(JOURNAL, "reverses", _journal.reverses, func.sum(-_entry.amount))
    .join(ENTRY, same_journal(ENTRY))
    .where(_entry.account_id == system_account(EXPIRED))
    .group_by(_journal.reverses)
)


@dataclass(frozen=True)
class _Shelf:
    """The rows of one programme."""

    connection: Connection
    tenant: str
    programme: str

    def rows(self, statement: Select[Any], names: Collection[str], **more: Any) -> _Rows:
        """What `statement` finds for these names; nothing is asked without any."""
        if not names:
            return ()
        asked = {"tenant": self.tenant, "programme": self.programme, "names": sorted(names), **more}
        return self.connection.execute(statement, asked).all()


def _holds(shelf: _Shelf, book: Book, wanted: _Wanted) -> None:
    rows = shelf.rows(_HOLDS, wanted.holds)
    parts: dict[str, list[Part]] = {row.id: [] for row in rows}
    for hold, lot, amount in shelf.rows(_HOLD_LOTS, parts.keys()):
        parts[hold].append(Part(lot, amount))
        wanted.lots.add(lot)
    for name, account, amount, state in rows:
        wanted.member(account, spending=False)
        book.holds[name] = Held(name, account, amount, tuple(parts[name]), state)


def _pasts(shelf: _Shelf, book: Book, wanted: _Wanted) -> None:
    """The journals to reverse and the accounts that they went between, which never change."""
    sides: dict[str, list[str]] = {}
    for journal, account in shelf.rows(_SIDES, wanted.journals):
        sides.setdefault(journal, []).append(account)
    for name, kind, points in shelf.rows(_JOURNALS, wanted.journals):
        source, target = sides.get(name, ("", ""))
        book.pasts[name] = Past(name, kind, points, source, target)
        for account in {source, target} - {""}:
            if SYSTEM.fullmatch(kind_of(account)):
                wanted.system(kind_of(account))
            else:
                wanted.member(account, spending=True)


def _reversals(shelf: _Shelf, book: Book, journals: Collection[str]) -> None:
    """What a reversal needs beyond the journal itself: its lots, and what came back of it already."""
    for name, points in shelf.rows(_REVERSED, journals):
        book.pasts[name].reversed += points
    _put(book, shelf.rows(_LOTS_MADE, journals))
    uses = shelf.rows(_LOT_USES, journals)
    _put(book, shelf.rows(_LOTS, {row.lot_id for row in uses}))
    for past in book.pasts.values():
        own = (Part(lot, amount) for journal, lot, amount in uses if journal == past.id)
        of_source = (part for part in own if book.lots[part.lot].account == past.source)
        past.uses = tuple(sorted(of_source, key=lambda part: book.lots[part.lot].order, reverse=True))
    made = {lot.id: lot for past in book.pasts for lot in book.made_by(past)}
    taken_back = dict(map(tuple, shelf.rows(_TAKEN_BACK, journals)))
    for name, points in sorted(shelf.rows(_EXPIRED_OF, made)):
        lot = made[name]
        back = min(int(taken_back.get(lot.journal, 0)), int(points))
        lot.expired = int(points) - back
        taken_back[lot.journal] = taken_back.get(lot.journal, 0) - back


def _put(book: Book, rows: _Rows) -> None:
    for name, account, journal, expires, granted, remaining in rows:
        if name not in book.lots:
            book.add_lot(Lot(name, account, journal, expires, granted, remaining))
