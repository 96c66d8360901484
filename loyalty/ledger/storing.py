"""Writes what a group of commands changed: one statement per table, rows in the order of their keys.

Foreign keys give the order of the tables. `journal`, `entry` and `lot_use` are only ever inserted into; of
the rest, the rows that the group touched get the values that they have in memory, which is right because they
are locked since they were read.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Column,
    Connection,
    Date,
    Dialect,
    Integer,
    String,
    Table,
    Text,
    and_,
    bindparam,
    insert,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

from audit.outbox import Entry, put, stamp
from loyalty.errors import LoyaltyError
from loyalty.ledger.accounts import CLAWBACK, kind_of, member_of
from loyalty.ledger.book import Account, Book, Held, Lot
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

Row = dict[str, Any]
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
    _all_new(connection, _NEW_ACCOUNTS, _new(books, "accounts", _opened))
    _all_new(connection, _NEW_JOURNALS, [_journal(one) for one in by_key])
    _ENTRIES.run(connection, [row for one in booked for row in _entries(one)])
    _NEW_LOTS.run(connection, _new(books, "lots", _lot))
    _NEW_HOLDS.run(connection, [_new_hold(one) for one in booked if one.change.hold])
    _HOLD_LOTS.run(connection, [row for one in booked for row in _hold_lots(one)])
    _LOT_USES.run(connection, [row for one in booked for row in _lot_uses(one)])
    _LOT_REMAINS.run(connection, _changed(books, "lots", _remains))
    _HOLD_ENDED.run(connection, _changed(books, "holds", _ended))
    _ACCOUNT_STANDS.run(connection, _changed(books, "accounts", _stands))
    put(connection, *map(_entry_of_log, booked))


def answer_of(journal: str, result: str) -> Done:
    """The answer that a journal was booked with."""
    told = json.loads(result)
    return Done(journal, told["hold_id"], told["available"])


_SQLITE: Dialect = sqlite.dialect(paramstyle="named")
_ARRAYS: Mapping[type[TypeEngine[Any]], str] = MappingProxyType(
    {String: "text", Text: "text", BigInteger: "bigint", Integer: "integer", Date: "date"}
)


class _Statement:
    """One statement for many rows, given to the driver as it is.

    Rows hold what every driver takes: text, numbers, None, dates as ISO 8601. Running each through the type
    processing of SQLAlchemy was a third of a group's CPU, and would change nothing. SQLite's driver repeats
    a statement row by row, in this process; PostgreSQL gets all rows at once, an array for each column,
    because each repetition would be a message of its own.
    """

    def __init__(self, statement: ClauseElement, arrays: str) -> None:
        """`arrays`: the same for PostgreSQL, on the columns of all rows."""
        self._each = str(statement.compile(dialect=_SQLITE))
        self._arrays = arrays

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """How many rows it changed."""
        if not rows:
            return 0
        if connection.dialect.name == "sqlite":
            return connection.exec_driver_sql(self._each, rows).rowcount
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return connection.exec_driver_sql(self._arrays, columns).rowcount


def _given(columns: Mapping[str, Column[Any]]) -> str:
    """Rows made of one array per column: name of the parameter → the column whose values it brings."""
    arrays = (f"%({name})s::{_ARRAYS[type(column.type)]}[]" for name, column in columns.items())
    return f"unnest({', '.join(arrays)}) AS given({', '.join(columns)})"


def _insert(table: Table, *, new_only: bool = False) -> _Statement:
    """`new_only` passes over rows that are there already, without failing the database transaction."""
    columns = {column.name: column for column in table.columns}
    names = ", ".join(columns)
    arrays = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {_given(columns)}"  # noqa: S608 - our names
    if not new_only:
        return _Statement(insert(table), arrays)
    return _Statement(sqlite.insert(table).on_conflict_do_nothing(), f"{arrays} ON CONFLICT DO NOTHING")


def _update(table: Table, *names: str) -> _Statement:
    key, its = table.c, ("tenant", "programme", "id")
    each = update(table).where(and_(*(key[name] == bindparam(f"its_{name}") for name in its)))
    given = {f"its_{name}": key[name] for name in its} | {f"new_{name}": key[name] for name in names}
    values = ", ".join(f"{name} = given.new_{name}" for name in names)
    same = " AND ".join(f"{table.name}.{name} = given.its_{name}" for name in its)
    return _Statement(
        each.values({name: bindparam(f"new_{name}") for name in names}),
        f"UPDATE {table.name} SET {values} FROM {_given(given)} WHERE {same}",  # noqa: S608 - our names
    )


_NEW_ACCOUNTS = _insert(ACCOUNT, new_only=True)
_NEW_JOURNALS = _insert(JOURNAL, new_only=True)
_ENTRIES = _insert(ENTRY)
_NEW_LOTS = _insert(LOT)
_NEW_HOLDS = _insert(HOLD)
_HOLD_LOTS = _insert(HOLD_LOT)
_LOT_USES = _insert(LOT_USE)
_LOT_REMAINS = _update(LOT, "remaining")
_HOLD_ENDED = _update(HOLD, "state", "ended_by")
_ACCOUNT_STANDS = _update(ACCOUNT, "posted", "held")


def _all_new(connection: Connection, statement: _Statement, rows: Sequence[Row]) -> None:
    if statement.run(connection, rows) != len(rows):
        raise ConflictError


def _new(books: Books, kind: str, values: Callable[[Any], Row]) -> list[Row]:
    """Rows of what is not in the database yet: its accounts or lots."""
    rows = []
    for (tenant, programme), book in sorted(books.items()):
        things = getattr(book, kind)
        key = {"tenant": tenant, "programme": programme}
        rows += [{**key, **values(things[name])} for name in sorted(book.new & things.keys())]
    return rows


def _changed(books: Books, kind: str, values: Callable[[Any], Row]) -> list[Row]:
    """New values of what was in the database before and changed."""
    rows = []
    for (tenant, programme), book in sorted(books.items()):
        things = getattr(book, kind)
        key = {"its_tenant": tenant, "its_programme": programme}
        names = sorted((book.touched - book.new) & things.keys())
        rows += [{**key, "its_id": name, **values(things[name])} for name in names]
    return rows


def _opened(account: Account) -> Row:
    member = member_of(account.id) if account.kind == CLAWBACK else None
    stands = {"posted": account.posted, "held": account.held, "floor": account.floor}
    return {"id": account.id, "kind": account.kind, "state": "open", "member_account": member, **stands}


def _stands(account: Account) -> Row:
    return {"new_posted": account.posted, "new_held": account.held}


def _lot(lot: Lot) -> Row:
    made = {"id": lot.id, "account_id": lot.account, "journal_id": lot.journal}
    expires = lot.expires.isoformat() if lot.expires else None
    return {**made, "expires": expires, "granted": lot.granted, "remaining": lot.remaining}


def _remains(lot: Lot) -> Row:
    return {"new_remaining": lot.remaining}


def _ended(hold: Held) -> Row:
    return {"new_state": hold.state, "new_ended_by": hold.ended_by}


def _key(one: Booked) -> Row:
    tenant, programme = one.order.books
    return {"tenant": tenant, "programme": programme}


def _journal(one: Booked) -> Row:
    order, change = one.order, one.change
    return {
        **_key(one),
        "id": order.journal,
        "idem": order.command.key.idem,
        "request_hash": order.digest,
        "kind": change.kind,
        "reason": order.reason,
        "actor": order.actor,
        "call_id": order.call_id,
        "at": order.at,
        "effective_on": order.effective_on.isoformat(),
        "reverses": change.reverses or None,
        "reversed_before": change.reversed_before,
        "receipt": change.receipt or None,
        "points": change.points,
        "result": json.dumps({"hold_id": one.answer.hold_id, "available": one.answer.available}),
    }


def _entries(one: Booked) -> Iterable[Row]:
    for seq, posting in enumerate(one.change.postings):
        at = {**_key(one), "journal_id": one.order.journal, "seq": seq}
        yield {**at, "account_id": posting.account, "amount": posting.amount}


def _lot_uses(one: Booked) -> Iterable[Row]:
    for part in one.change.uses:
        at = {**_key(one), "journal_id": one.order.journal}
        yield {**at, "lot_id": part.lot, "amount": part.points}


def _new_hold(one: Booked) -> Row:
    command, hold = one.order.command, one.change.hold
    assert isinstance(command, Hold)
    assert hold is not None
    made = {**_key(one), "id": hold.id, "journal_id": one.order.journal, "account_id": hold.account}
    until = stamp(command.until)
    return {**made, "amount": hold.points, "state": "open", "until": until, "ended_by": None}


def _hold_lots(one: Booked) -> Iterable[Row]:
    if (hold := one.change.hold) is not None:
        for part in hold.parts:
            yield {**_key(one), "hold_id": hold.id, "lot_id": part.lot, "amount": part.points}


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
