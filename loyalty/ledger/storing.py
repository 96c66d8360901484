"""Writes what a group of commands changed: one statement per table, rows in the order of their keys.

Foreign keys give the order of the tables. `journal`, `entry` and `lot_use` are only ever inserted into; of
the rest, the rows that the group touched get the values that they have in memory, which is right because they
are locked since they were read.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from audit.outbox import Entry, put, stamp
from loyalty.errors import LoyaltyError
from loyalty.ledger.accounts import CLAWBACK, kind_of, member_of
from loyalty.ledger.book import Account, Book, Held, Lot
from loyalty.ledger.bulk import Values, inserting, run, updating
from loyalty.ledger.commands import Adjust, Done, Hold
from loyalty.ledger.orders import Booked
from loyalty.tables import ACCOUNT, ENTRY, HOLD, HOLD_LOT, JOURNAL, LOT, LOT_USE

AUDIT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "earn": "ledger.points.earned",
        "hold": "ledger.points.held",
        "void": "ledger.points.released",
        "post": "ledger.points.redeemed",
        "redeem": "ledger.points.redeemed",
        "reverse": "ledger.points.reversed",
        "expire": "ledger.points.expired",
        "adjust": "ledger.points.adjusted",
        "move": "ledger.points.moved",
    }
)
"""Kind of journal -> its entry in the log."""

FOREIGN_KEY = {"sqlstate": "23503", "sqlite_errorname": "SQLITE_CONSTRAINT_FOREIGNKEY"}
"""How each driver names a row that refers to none."""

_ENCODED = json.JSONEncoder().encode
Books = Mapping[tuple[str, str], Book]


class ConflictError(LoyaltyError):
    """Another node has booked one of these keys, or opened one of these accounts, meanwhile."""

    def __init__(self) -> None:
        super().__init__(
            "ledger_conflict", "Somebody else has booked this just now. Ask again.", retryable=True
        )


def store(connection: Connection, books: Books, booked: Sequence[Booked]) -> None:
    """Everything that `booked` changed in `books`; ConflictError when a key is another's by now."""
    by_key = sorted(booked, key=lambda one: one.order.name)
    accounts = _new(books, "accounts", _opened)
    changes = (
        (_NEW_ACCOUNTS, accounts),
        (_NEW_JOURNALS, [_journal(one) for one in by_key]),
        (_ENTRIES, [row for one in booked for row in _entries(one)]),
        (_NEW_LOTS, _new(books, "lots", _lot)),
        (_NEW_HOLDS, [_new_hold(one) for one in booked if one.change.hold]),
        (_HOLD_LOTS, [row for one in booked for row in _hold_lots(one)]),
        (_LOT_USES, [row for one in booked for row in _lot_uses(one)]),
        (_LOT_REMAINS, _changed(books, "lots", _remains)),
        (_HOLD_ENDED, _changed(books, "holds", _ended)),
        (_ACCOUNT_STANDS, _changed(books, "accounts", _stands)),
    )
    try:
        made = run(connection, changes)
    except IntegrityError as error:
        if not _hangs_on_nothing(error.orig):
            raise
        raise ConflictError from None
    if made[:2] != [len(accounts), len(booked)]:
        raise ConflictError
    put(connection, *map(_entry_of_log, booked))


def _hangs_on_nothing(error: BaseException | None) -> bool:
    """True where the journal or account that a row hangs on is another node's by now."""
    return any(getattr(error, name, None) == code for name, code in FOREIGN_KEY.items())


def answer_of(journal: str, result: str) -> Done:
    """The answer that a journal was booked with."""
    told = json.loads(result)
    return Done(journal, told["hold_id"], told["available"])


_NEW_ACCOUNTS = inserting(ACCOUNT, new_only=True)
_NEW_JOURNALS = inserting(JOURNAL, new_only=True)
_ENTRIES = inserting(ENTRY)
_NEW_LOTS = inserting(LOT)
_NEW_HOLDS = inserting(HOLD)
_HOLD_LOTS = inserting(HOLD_LOT)
_LOT_USES = inserting(LOT_USE)
_LOT_REMAINS = updating(LOT, "remaining")
_HOLD_ENDED = updating(HOLD, "state", "ended_by")
_ACCOUNT_STANDS = updating(ACCOUNT, "posted", "held")


def _new(books: Books, kind: str, values: Callable[[Any], Values]) -> list[Values]:
    """Rows of what is not in the database yet: its accounts or lots."""
    rows: list[Values] = []
    for key, book in sorted(books.items()):
        things = getattr(book, kind)
        rows += [(*key, name, *values(things[name])) for name in sorted(book.new & things.keys())]
    return rows


def _changed(books: Books, kind: str, values: Callable[[Any], Values]) -> list[Values]:
    """New values of what was in the database before and changed."""
    rows: list[Values] = []
    for key, book in sorted(books.items()):
        things = getattr(book, kind)
        names = sorted((book.touched - book.new) & things.keys())
        rows += [(*key, name, *values(things[name])) for name in names]
    return rows


# What follows makes rows in the order of the tables' columns; tenant, programme and id come before.


def _opened(account: Account) -> Values:
    member = member_of(account.id) if account.kind == CLAWBACK else None
    return account.kind, "open", account.posted, account.held, account.floor, member


def _stands(account: Account) -> Values:
    return account.posted, account.held


def _lot(lot: Lot) -> Values:
    expires = lot.expires.isoformat() if lot.expires else None
    return lot.account, lot.journal, expires, lot.granted, lot.remaining


def _remains(lot: Lot) -> Values:
    return (lot.remaining,)


def _ended(hold: Held) -> Values:
    return hold.state, hold.ended_by


def _journal(one: Booked) -> Values:
    order, change, answer = one.order, one.change, one.answer
    return (
        *order.books,
        order.journal,
        order.command.key.idem,
        order.digest,
        change.kind,
        order.reason,
        order.actor,
        order.call_id,
        order.at,
        order.effective_on.isoformat(),
        change.reverses or None,
        change.reversed_before,
        change.receipt or None,
        change.points,
        _ENCODED({"hold_id": answer.hold_id, "available": answer.available}),
    )


def _entries(one: Booked) -> Iterable[Values]:
    for seq, posting in enumerate(one.change.postings):
        yield *one.order.books, one.order.journal, seq, posting.account, posting.amount


def _lot_uses(one: Booked) -> Iterable[Values]:
    for part in one.change.uses:
        yield *one.order.books, one.order.journal, part.lot, part.points


def _new_hold(one: Booked) -> Values:
    command, hold, order = one.order.command, one.change.hold, one.order
    assert isinstance(command, Hold)
    assert hold is not None
    until = stamp(command.until)
    return *order.books, hold.id, order.journal, hold.account, hold.points, "open", until, None


def _hold_lots(one: Booked) -> Iterable[Values]:
    if (hold := one.change.hold) is not None:
        for part in hold.parts:
            yield *one.order.books, hold.id, part.lot, part.points


def _entry_of_log(one: Booked) -> Entry:
    order, change = one.order, one.change
    return Entry(
        AUDIT_NAMES[change.kind],
        order.at,
        order.actor,
        order.journal,
        order.books[0],
        order.call_id,
        data={"account": change.member, "points": change.points, **_told(one)},
    )


def _told(one: Booked) -> Mapping[str, str]:
    """What the log's entry of that kind carries beyond account and points (audit/entries.py)."""
    change, command = one.change, one.order.command
    match change.kind:
        case "hold" | "void":
            return {"hold": change.hold_id}
        case "post" | "redeem":
            return {"contra": kind_of(change.other).partition(":")[0]}
        case "reverse":
            return {"journal": change.reverses, "reason": one.order.reason}
        case "move":
            return {"target": change.other, "reason": one.order.reason}
        case "adjust":
            given = isinstance(command, Adjust) and command.points > 0
            return {"direction": "given" if given else "taken", "reason": one.order.reason}
    return {}
