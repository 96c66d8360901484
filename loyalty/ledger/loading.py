"""Reads and locks what a group of commands needs of the books that they are for.

Set-based: one statement per table, however many commands, programmes and tenants there are. Every row is
asked for by tenant, programme and a name that a command of theirs gave: a command finds nothing that is not
of its programme, whatever id it gives.

Holds are locked before accounts, each in the order of tenant, programme and id. An account's lock also keeps
its lots and the reversals of its journals still, because whoever changes those locks the account first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Date, Table, and_, bindparam, func

from loyalty.ledger import next_lots
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
from loyalty.ledger.bulk import Lookup, finding
from loyalty.ledger.commands import Adjust, Command, Earn, Expire, Hold, Move, Post, Redeem, Reverse, Void
from loyalty.ledger.reads import HAS_POINTS, same_journal
from loyalty.tables import ACCOUNT, ENTRY, HOLD, HOLD_LOT, JOURNAL, LOT, LOT_USE

BooksKey = tuple[str, str]
"""Tenant and programme."""


@dataclass
class _Place:
    """One book of the group, and the ids that its commands name."""

    book: Book
    accounts: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    spending: dict[str, int] = field(default_factory=dict)
    """Member accounts that points leave, and how many at most."""
    hungry: set[str] = field(default_factory=set)
    """Those of them that need more lots than a page."""
    holds: set[str] = field(default_factory=set)
    journals: set[str] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)
    lots: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    """Lots that journals to reverse have made and of which something may have ended by its date."""
    expiring: set[str] = field(default_factory=set)
    """The accounts of these lots."""

    @property
    def resting(self) -> set[str]:
        """Member accounts of which only the lots past their date are needed, which nobody can spend."""
        return self.members - self.spending.keys()

    def member(self, account: str) -> str:
        """A member's account and the one of his debt, by the name of either."""
        member = member_of(account)
        self.members.add(member)
        self.accounts |= {member, clawback_of(member)}
        return member

    def spender(self, account: str, points: int) -> None:
        """A member's account that points leave; his debt is not needed for that."""
        self.members.add(account)
        self.spending[account] = self.spending.get(account, 0) + points
        self.accounts.add(account)

    def system(self, *kinds: str) -> None:
        """Accounts of the programme itself."""
        self.accounts |= {system_account(kind) for kind in kinds}

    def name(self, command: Command) -> None:
        """What one command names."""
        match command:
            case Earn():
                self.member(command.account)
                self.system(ISSUED)
                self.receipts.add(command.receipt)
            case Hold():
                self.spender(command.account, command.points)
            case Redeem():
                self.spender(command.account, command.points)
                self.system(command.contra)
            case Post():
                self.holds.add(command.hold_id)
                self.system(command.contra)
            case Void():
                self.holds.add(command.hold_id)
            case Adjust():
                member = self.member(command.account)
                self.system(ADJUSTED)
                if command.points < 0:
                    self.spender(member, -command.points)
            case Expire():
                self.member(command.account)
                self.system(EXPIRED)
            case Move():
                self.spender(self.member(command.source), command.points)
                self.lots |= {command.lot} - {""}
                self.member(command.target)
            case Reverse():
                self.journals.add(command.journal_id)
                self.system(EXPIRED)


def load(connection: Connection, asked: Mapping[BooksKey, tuple[Book, Sequence[Command]]]) -> None:
    """Puts into each book what its commands need, locked until the end of the database transaction."""
    shelf = _Shelf(connection)
    for books, (book, commands) in asked.items():
        wanted = shelf.places[books] = _Place(book)
        for command in commands:
            wanted.name(command)
    _holds(shelf)
    _pasts(shelf)
    for place, (name, kind, posted, held, floor, state) in shelf.rows(_ACCOUNTS, "accounts"):
        place.book.accounts[name] = Account(name, kind, posted, held, floor, state == "open")
    _spendable(shelf)
    _put(shelf.rows(_LOTS_OVER, "resting", today=max(book.today for book, _ in asked.values())))
    _put(shelf.rows(_LOTS, "lots"))
    _reversals(shelf)
    for place, (receipt,) in shelf.rows(_RECEIPTS, "receipts"):
        place.book.receipts.add(receipt)


def _by(name: str) -> tuple[str, str, str]:
    return "tenant", "programme", name


def _same(one: Table, other: Table, name: str) -> ColumnElement[bool]:
    """Rows of two tables that name the same thing."""
    return and_(*(one.c[part] == other.c[part] for part in _by(name)))


_account, _hold, _journal, _entry = ACCOUNT.c, HOLD.c, JOURNAL.c, ENTRY.c
_of_lot = (LOT.c.id, LOT.c.account_id, LOT.c.journal_id, LOT.c.expires, LOT.c.granted, LOT.c.remaining)
_ACCOUNTS = finding(
    ACCOUNT, _by("id"), _account.kind, _account.posted, _account.held, _account.floor, _account.state,
    finish=lambda found: found.order_by(*ACCOUNT.primary_key.columns).with_for_update(of=ACCOUNT),
)  # fmt: skip
_HOLDS = finding(
    HOLD, _by("id"), _hold.account_id, _hold.amount, _hold.state,
    finish=lambda found: found.order_by(*HOLD.primary_key.columns).with_for_update(of=HOLD),
)  # fmt: skip
_HOLD_LOTS = finding(HOLD_LOT, _by("hold_id"), HOLD_LOT.c.lot_id, HOLD_LOT.c.amount)
_LOTS = finding(LOT, _by("id"), *_of_lot)
_LOTS_OF = finding(LOT, _by("account_id"), *_of_lot, finish=lambda found: found.where(HAS_POINTS))
_LOTS_OVER = finding(
    LOT, _by("account_id"), *_of_lot,
    finish=lambda found: found.where(HAS_POINTS, LOT.c.expires <= bindparam("today", type_=Date)),
)  # fmt: skip
_LOTS_MADE = finding(LOT, _by("journal_id"), *_of_lot)
_LOT_USES = finding(LOT_USE, _by("journal_id"), LOT_USE.c.lot_id, LOT_USE.c.amount)
_JOURNALS = finding(JOURNAL, _by("id"), _journal.kind, _journal.points)
_SIDES = finding(
    ENTRY, _by("journal_id"), _entry.account_id,
    finish=lambda found: found.where(_entry.seq < 2).order_by(*ENTRY.primary_key.columns),
)  # fmt: skip
_REVERSED = finding(JOURNAL, _by("reverses"), _journal.points)
_RECEIPTS = finding(JOURNAL, _by("receipt"))
_EXPIRED_OF = finding(
    # an account at a time: its entries are read once, however many lots are asked for
    ENTRY, _by("account_id"), LOT_USE.c.lot_id, func.sum(LOT_USE.c.amount),
    finish=lambda found: found.join(JOURNAL, same_journal(ENTRY) & (_journal.kind == "expire"))
    .join(LOT_USE, _same(ENTRY, LOT_USE, "journal_id"))
    .group_by(ENTRY.c.tenant, ENTRY.c.programme, ENTRY.c.account_id, LOT_USE.c.lot_id),
)  # fmt: skip
_TAKEN_BACK = finding(
    JOURNAL, _by("reverses"), func.sum(-_entry.amount),
    finish=lambda found: found.join(ENTRY, same_journal(ENTRY))
    .where(_entry.account_id == system_account(EXPIRED))
    .group_by(_journal.tenant, _journal.programme, _journal.reverses),
)  # fmt: skip


class _Shelf:
    """The rows of the programmes that a group is for."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.places: dict[BooksKey, _Place] = {}

    def rows(self, lookup: Lookup, kind: str, **more: object) -> list[tuple["_Place", Any]]:
        """What `lookup` finds of one kind of ids, each with its place."""
        asked = [(*books, name) for books, place in self.places.items() for name in getattr(place, kind)]
        found = lookup.rows(self.connection, asked, **more)
        return [(self.places[tenant, programme], row) for tenant, programme, *row in found]


def _spendable(shelf: _Shelf) -> None:
    """The lots that are spent next, as many as these commands can reach.

    Nothing that the group gives back or brings lets them reach further: it comes on top.
    """
    _put(shelf.rows(next_lots.FOUND, "spending", first=next_lots.FIRST))
    for place in shelf.places.values():
        spending = place.spending.items()
        place.hungry = {
            account for account, points in spending if next_lots.lack(place.book, account, points)
        }
    _put(shelf.rows(_LOTS_OF, "hungry"))


def _holds(shelf: _Shelf) -> None:
    rows = shelf.rows(_HOLDS, "holds")
    parts: dict[str, list[Part]] = {}
    for place, (hold, lot, amount) in shelf.rows(_HOLD_LOTS, "holds"):
        parts.setdefault(hold, []).append(Part(lot, amount))
        place.lots.add(lot)
    for place, (name, account, amount, state) in rows:
        place.member(account)
        place.book.holds[name] = Held(name, account, amount, tuple(parts[name]), state)


def _pasts(shelf: _Shelf) -> None:
    """The journals to reverse and the accounts that they went between, which never change."""
    sides: dict[str, list[str]] = {}
    for _, (journal, account) in shelf.rows(_SIDES, "journals"):
        sides.setdefault(journal, []).append(account)
    for place, (name, kind, points) in shelf.rows(_JOURNALS, "journals"):
        source, target = sides.get(name, ("", ""))
        place.book.pasts[name] = Past(name, kind, points, source, target)
        for account in {source, target} - {""}:
            if SYSTEM.fullmatch(kind_of(account)):
                place.system(kind_of(account))
            else:
                place.spender(place.member(account), points)


def _reversals(shelf: _Shelf) -> None:
    """What a reversal needs beyond the journal itself: its lots, and what came back of it already."""
    for place, (name, points) in shelf.rows(_REVERSED, "journals"):
        place.book.pasts[name].reversed += points
    _put(shelf.rows(_LOTS_MADE, "journals"))
    uses: dict[str, list[Part]] = {}
    for place, (journal, lot, amount) in shelf.rows(_LOT_USES, "journals"):
        uses.setdefault(journal, []).append(Part(lot, amount))
        place.lots.add(lot)
    _put(shelf.rows(_LOTS, "lots"))
    for place in shelf.places.values():
        for past in place.book.pasts.values():
            past.uses = _in_order(place.book, past, uses.get(past.id, ()))
            place.made |= {lot.id for lot in place.book.made_by(past.id) if _may_have_expired(lot)}
        place.expiring = {place.book.lots[name].account for name in place.made}
    taken_back = {name: int(points) for _, (name, points) in shelf.rows(_TAKEN_BACK, "journals")}
    expired = [(name, place, int(points)) for place, (_, name, points) in shelf.rows(_EXPIRED_OF, "expiring")]
    for name, place, points in sorted(expired, key=lambda found: found[0]):
        if name in place.made:
            lot = place.book.lots[name]
            back = min(taken_back.get(lot.journal, 0), points)
            lot.expired = points - back
            taken_back[lot.journal] = taken_back.get(lot.journal, 0) - back


def _may_have_expired(lot: Lot) -> bool:
    return lot.expires is not None and lot.remaining < lot.granted


def _in_order(book: Book, past: Past, uses: Iterable[Part]) -> tuple[Part, ...]:
    """What a journal took from its source's lots, what was taken last first."""
    own = (part for part in uses if book.lots[part.lot].account == past.source)
    return tuple(sorted(own, key=lambda part: book.lots[part.lot].order, reverse=True))


def _put(rows: Iterable[tuple[_Place, Any]]) -> None:
    for place, (_, name, account, journal, expires, granted, remaining) in rows:
        if name not in place.book.lots:
            place.book.add_lot(Lot(name, account, journal, expires, granted, remaining))
