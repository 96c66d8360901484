"""Our own stock of voucher codes: sealed, each issued once, duplicates refused by line.

A code is worth money until somebody uses it, so it lies sealed under the tenant's own key and is known by a
keyed hash. A file is taken in whole or not at all: whoever imports it can correct the lines that were named
and give the whole file again.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Row, and_, bindparam, func, insert, select, update

from audit.outbox import Entry
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys, Purpose, Ring
from loyalty.members.sealing import blind_index, blind_indexes, opened, sealed
from loyalty.tables import REDEMPTION, VOUCHER_CODE
from loyalty.tenancy import TenantConn
from pay_ivr.ids import new_id

CODE = re.compile(r"[A-Z0-9](?:[A-Z0-9\-]{0,30}[A-Z0-9])?")
"""What can be spoken sign by sign and keyed in a shop: capitals, digits, hyphens between them."""
CODES_MAX = 100_000
"""Of one file: all of them are one database transaction of a few seconds."""
WRONG_MAX = 20
"""Wrong lines that are named; whoever has more has taken the wrong file."""
CHUNK = 500
"""Codes of one statement: SQLite takes 32,766 parameters."""
FREE, ISSUED = "free", "issued"

T = TypeVar("T")


@dataclass(frozen=True)
class WrongLine:
    """A line of a stock file that cannot be taken; what stands there is not quoted."""

    number: int
    problem: str
    """`malformed`, `twice` (in the file) or `known` (in the programme's stock, issued or not)."""


@dataclass(frozen=True)
class Import:
    """What became of a file."""

    added: int
    wrong: tuple[WrongLine, ...]
    """When there is one, nothing was added."""


class Stock:
    """The codes of all tenants, in their callers' database transactions."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def add(
        self,
        conn: TenantConn,
        programme: str,
        reward_id: str,
        lines: Sequence[tuple[int, str]],
        at: str,
        by: str,
    ) -> Import:
        """Takes numbered lines, all or none."""
        ring = self._keys.ring()
        wrong = _misshapen(lines) or _repeated(lines) or _known(ring, conn, programme, lines)
        if wrong:
            return Import(0, tuple(wrong[:WRONG_MAX]))
        rows = [_row(ring, conn, programme, reward_id, code, at) for _, code in lines]
        for chunk in _chunks(rows):
            conn.execute(insert(VOUCHER_CODE), chunk)
        if rows:
            data: dict[str, int | str] = {"reward": f"rew_{reward_id}", "count": len(rows)}
            conn.audit(Entry("voucher.stock.added", at, by, f"rew_{reward_id}", conn.tenant, data=data))
        return Import(len(rows), ())

    def issue(
        self, conn: TenantConn, programme: str, reward_id: str, redemption_id: str, at: str
    ) -> tuple[str, str] | None:
        """Id and text of the next free code, issued to this redemption; None when there is none.

        The caller's database transaction has the reward to itself, so nobody else sees the same code free.
        """
        table = VOUCHER_CODE.c
        mine = (table.tenant == conn.tenant, table.programme == programme)
        free = select(table.code_id, table.sealed, table.key_version).where(
            *mine, table.reward_id == reward_id, table.state == FREE
        )
        row = conn.execute(free.order_by(table.code_id).limit(1)).one_or_none()
        if row is None:
            return None
        taken = update(VOUCHER_CODE).where(*mine, table.code_id == row.code_id, table.state == FREE)
        values = {"state": ISSUED, "redemption_id": redemption_id, "issued_at": at}
        if conn.execute(taken.values(**values)).rowcount != 1:
            raise LoyaltyError("code_taken", "A code was issued twice at once.", retryable=True)
        return row.code_id, _opened(self._keys.ring(), conn, programme, row)

    def keep(
        self, conn: TenantConn, programme: str, reward_id: str, redemption_id: str, code: str, at: str
    ) -> str | None:
        """The id of a code that somebody else has issued to this redemption; None when we know the code."""
        ring = self._keys.ring()
        if _known(ring, conn, programme, [(1, code)]):
            return None
        row = _row(ring, conn, programme, reward_id, code, at)
        row |= {"state": ISSUED, "redemption_id": redemption_id, "issued_at": at}
        conn.execute(insert(VOUCHER_CODE).values(**row))
        return str(row["code_id"])

    def code(self, conn: TenantConn, programme: str, code_id: str) -> str:
        """The text of a code."""
        table = VOUCHER_CODE.c
        mine = (table.tenant == conn.tenant, table.programme == programme, table.code_id == code_id)
        query = select(table.code_id, table.sealed, table.key_version).where(*mine)
        return _opened(self._keys.ring(), conn, programme, conn.execute(query).one())

    def of_member(self, conn: TenantConn, programme: str, member_id: str) -> dict[str, str]:
        """Redemption id → code, for everything that was issued to a member."""
        table, redemption = VOUCHER_CODE.c, REDEMPTION.c
        same = and_(redemption.tenant == table.tenant, redemption.redemption_id == table.redemption_id)
        query = select(table.code_id, table.sealed, table.key_version, table.redemption_id)
        mine = (table.tenant == conn.tenant, table.programme == programme, redemption.member_id == member_id)
        rows = conn.execute(query.join(REDEMPTION, same).where(*mine))
        ring = self._keys.ring()
        return {row.redemption_id: _opened(ring, conn, programme, row) for row in rows}

    def count(self, conn: TenantConn, programme: str) -> dict[str, int]:
        """Reward → how many codes are free."""
        table = VOUCHER_CODE.c
        mine = (table.tenant == conn.tenant, table.programme == programme, table.state == FREE)
        query = select(table.reward_id, func.count().label("free")).where(*mine).group_by(table.reward_id)
        return {row.reward_id: row.free for row in conn.execute(query)}

    def rekey(self, conn: TenantConn, programme: str, after: str, count: int) -> tuple[str, ...]:
        """The next codes under an older root key, issued or not, sealed and indexed anew; their ids."""
        table, ring = VOUCHER_CODE.c, self._keys.ring()
        mine = (table.tenant == conn.tenant, table.programme == programme)
        query = select(table.code_id, table.sealed, table.key_version).where(
            *mine, table.key_version < ring.newest, table.code_id > after
        )
        rows = conn.execute(query.order_by(table.code_id).limit(count)).all()
        again = [
            {"its": row.code_id}
            | _kept(ring, conn, programme, row.code_id, _opened(ring, conn, programme, row))
            for row in rows
        ]
        if again:
            values: dict[str, Any] = {name: bindparam(name) for name in again[0] if name != "its"}
            its = table.code_id == bindparam("its")
            conn.execute(update(VOUCHER_CODE).where(*mine, its).values(values), again)
        return tuple(row.code_id for row in rows)


def _row(ring: Ring, conn: TenantConn, programme: str, reward_id: str, code: str, at: str) -> dict[str, Any]:
    """A new row, under a new id."""
    code_id = new_id("code")
    return {
        "tenant": conn.tenant,
        "programme": programme,
        "code_id": code_id,
        "reward_id": reward_id,
        "added_at": at,
        **_kept(ring, conn, programme, code_id, code),
    }


def _known(ring: Ring, conn: TenantConn, programme: str, lines: Sequence[tuple[int, str]]) -> list[WrongLine]:
    """Lines with a code that the programme has had, under whichever version of the root."""
    table = VOUCHER_CODE.c
    mine = (table.tenant == conn.tenant, table.programme == programme)
    known: list[WrongLine] = []
    for chunk in _chunks(lines):
        indexes = {
            index: number
            for number, code in chunk
            for index in blind_indexes(ring, conn.tenant, *_facts(programme, code))
        }
        found = conn.execute(select(table.code_index).where(*mine, table.code_index.in_(indexes)))
        known += [WrongLine(number, "known") for number in sorted(map(indexes.__getitem__, found.scalars()))]
    return known


def _kept(ring: Ring, conn: TenantConn, programme: str, code_id: str, code: str) -> dict[str, Any]:
    """How a code lies in its row, under the newest root key."""
    key = ring.derived(Purpose.STOCK, conn.tenant)
    return {
        "sealed": sealed(key, _place(conn, programme, code_id), code.encode()),
        "code_index": blind_index(ring, conn.tenant, *_facts(programme, code)),
        "key_version": ring.newest,
    }


def _opened(ring: Ring, conn: TenantConn, programme: str, row: Row[Any]) -> str:
    key = ring.derived(Purpose.STOCK, conn.tenant, row.key_version)
    return opened(key, _place(conn, programme, row.code_id), row.sealed).decode()


def _facts(programme: str, code: str) -> tuple[str, ...]:
    """Hyphens and case make no other code: a shop's till does not tell them apart either."""
    return ("voucher", programme, code.replace("-", ""))


def numbered(text: str) -> list[tuple[int, str]]:
    """The lines of a stock file with their numbers, blanks and empty lines dropped, capitals made.

    LoyaltyError("stock_too_long") for more than CODES_MAX.
    """
    lines = [(number, plain_code(line)) for number, line in enumerate(text.splitlines(), start=1)]
    found = [(number, line) for number, line in lines if line]
    if len(found) > CODES_MAX:
        raise LoyaltyError("stock_too_long", f"More than {CODES_MAX} codes; split the file.")
    return found


def plain_code(text: str) -> str:
    """A code as it is kept: in capitals, without blanks around it.

    Letters of no code stay as they are, and wrong: the capitals of `ß` are two.
    """
    text = text.strip()
    return text.upper() if text.isascii() else text


def checked_code(text: str) -> str:
    """A code as it is kept; LoyaltyError("code_malformed") for what is none."""
    code = plain_code(text)
    if not CODE.fullmatch(code):
        raise LoyaltyError("code_malformed", "A code is capitals, digits, and hyphens between them.")
    return code


def _misshapen(lines: Iterable[tuple[int, str]]) -> list[WrongLine]:
    return [WrongLine(number, "malformed") for number, code in lines if not CODE.fullmatch(code)]


def _repeated(lines: Iterable[tuple[int, str]]) -> list[WrongLine]:
    seen: set[tuple[str, ...]] = set()
    wrong = []
    for number, code in lines:
        facts = _facts("", code)
        if facts in seen:
            wrong.append(WrongLine(number, "twice"))
        seen.add(facts)
    return wrong


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _place(conn: TenantConn, programme: str, code_id: str) -> tuple[str, ...]:
    return (conn.tenant, programme, code_id, "voucher_code")
