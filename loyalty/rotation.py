"""A new root key for the members and codes of every tenant, while calls go on (`pay-ivr loyalty-key`).

| step | what is so afterwards |
|---|---|
| `make` | a new file: what is written is under it, what is looked for is looked for under both |
| `move` | row by row under the new root, in small database transactions; killed anywhere, it goes on |
| `retire` | no row is under the old root, whose file is overwritten and gone |

A member's own data key stays what it is; what wraps it and what he is found by is made anew. Every act, also
a refused one, is an audit entry, committed before the file that it tells of is made or destroyed: a kill in
between leaves an entry too many, never one too few.
"""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Table, func, select

from audit.outbox import Entry, put, stamp
from loyalty import roles
from loyalty.database import Database
from loyalty.keys import NAME, VERSION_MAX, VERSIONS_MAX, KeyFault, Keys
from loyalty.members import Members
from loyalty.members.rekeying import rekey
from loyalty.redemption.stock import Stock
from loyalty.tables import DATA_KEY, VOUCHER_CODE

BATCH_MEMBERS = 25
"""Members of one database transaction: some 10 ms of work, which a redemption may have to wait for."""
BATCH_CODES = 100
"""Codes of one: the same work."""
PAUSE_S = 0.002
"""At least this long the database is free between two of them; otherwise for as long as the last one took."""
GRACE_S = 1.0
"""Between the new file and the first row under it: every transaction that began without it is over."""
REASON_MAX = 40
"""Characters of a refusal's code in the log."""

T = TypeVar("T")


@dataclass(frozen=True)
class KeyLine:
    """One version of the root, and what is under it."""

    version: int
    newest: bool
    check: str
    """By which two nodes can be compared; empty when this node has not got the file."""
    members: int
    codes: int


@dataclass(frozen=True)
class Moved:
    """What one `move` has done."""

    members: int
    codes: int
    unreadable: tuple[str, ...]
    """Members whose rows do not open; they stay where they are."""


class Rotation:
    """The one place that changes root keys."""

    def __init__(self, database: Database, keys: Keys, members: Members, stock: Stock) -> None:
        self._database = database
        self._keys = keys
        self._members = members
        self._stock = stock

    async def lines(self) -> tuple[KeyLine, ...]:
        """Every version that is valid or has rows, oldest first."""
        ring, used = self._keys.ring(), await self._database.writer.work(_used)
        return tuple(
            KeyLine(
                version,
                version == ring.newest,
                ring.check_value(version) if version in ring.versions else "",
                *used.get(version, (0, 0)),
            )
            for version in sorted({*ring.versions, *used})
        )

    async def make(self, by: str) -> int:
        """The version to move to: a new one, or that of a rotation which is under way.

        LoyaltyError: `key_versions_used`, `key_source_read_only`, `key_unwritable`.
        """
        return await self._recorded(by, self._make(by))

    async def _make(self, by: str) -> int:
        lines = await self.lines()
        newest = self._keys.ring().newest
        under_way = any(one.members or one.codes for one in lines if one.version != newest)
        if under_way or (len(lines) > 1 and not (lines[-1].members or lines[-1].codes)):
            return newest
        if len(lines) >= VERSIONS_MAX or newest >= VERSION_MAX:
            raise KeyFault("key_versions_used", "Too many versions are valid. Retire an old one first.")
        self._keys.check_ours()
        await self._note("key.loyalty.rotated", by, {"version": newest + 1})
        self._keys.make(newest + 1)
        return newest + 1

    async def move(self, tenant: str, by: str) -> Moved:
        """Every row of a tenant under the newest root; what is done already is passed over."""
        members, unreadable = await self._move_members(tenant)
        codes = await self._move_codes(tenant)
        if members or codes:
            data = {"version": self._keys.ring().newest, "members": members, "codes": codes}
            await self._note("key.loyalty.moved", by, data, tenant)
        return Moved(members, codes, unreadable)

    async def _move_members(self, tenant: str) -> tuple[int, tuple[str, ...]]:
        count, unreadable, after = 0, list[str](), ""
        while True:
            started = time.monotonic()
            done = await self._members.write(
                tenant,
                lambda register: rekey(register, after, BATCH_MEMBERS),  # noqa: B023
            )
            if not done:
                return count, tuple(unreadable)
            after = max(done)
            count += sum(done.values())
            unreadable += [member_id for member_id, moved in done.items() if not moved]
            await asyncio.sleep(max(PAUSE_S, time.monotonic() - started))

    async def _move_codes(self, tenant: str) -> int:
        count, after, programme = 0, "", self._members.programme(tenant).programme
        while True:
            started = time.monotonic()
            done = await self._database.write(
                tenant,
                lambda conn: self._stock.rekey(conn, programme, after, BATCH_CODES),  # noqa: B023
            )
            if not done:
                return count
            after = done[-1]
            count += len(done)
            await asyncio.sleep(max(PAUSE_S, time.monotonic() - started))

    async def retire(self, version: int, by: str) -> None:
        """The version is destroyed and valid no more; no older copy of what it wrapped is left in the file.

        LoyaltyError: `key_unknown`, `key_newest`, `key_in_use`, `key_source_read_only`, `key_unwritable`.
        """
        await self._recorded(by, self._retire(version, by))

    async def _retire(self, version: int, by: str) -> None:
        ring = self._keys.ring()
        if version not in ring.versions:
            raise KeyFault("key_unknown", "No such version is valid. List the keys.")
        if version == ring.newest:
            raise KeyFault("key_newest", "This is the newest version. Rotate first.")
        self._keys.check_ours()
        entry = self._entry("key.loyalty.retired", by, {"version": version})

        def work(connection: Connection) -> None:
            roles.begin_writing(connection)
            if rows := sum(_used(connection).get(version, ())):
                raise KeyFault("key_in_use", f"{rows} rows are under this version. Rotate to the end first.")
            put(connection, entry)

        await self._database.writer.work(work)
        self._keys.destroy(version)
        await self._database.scrub()

    async def _recorded(self, by: str, act: Awaitable[T]) -> T:
        try:
            return await act
        except KeyFault as error:
            entry = self._entry("key.loyalty.refused", by, {"reason": error.code[:REASON_MAX]}, "refused")
            await self._put(entry)
            raise

    async def _note(self, name: str, by: str, data: Mapping[str, int | str], tenant: str = "") -> None:
        await self._put(self._entry(name, by, data, tenant=tenant))

    async def _put(self, entry: Entry) -> None:
        def work(connection: Connection) -> None:
            roles.begin_writing(connection)
            put(connection, entry)

        await self._database.writer.work(work)

    def _entry(
        self, name: str, by: str, data: Mapping[str, int | str], outcome: str = "ok", tenant: str = ""
    ) -> Entry:
        return Entry(name, stamp(self._members.clock()), by, NAME, tenant, outcome=outcome, data=data)


def _used(connection: Connection) -> dict[int, tuple[int, int]]:
    """Version → members and codes under it, of all tenants."""
    members, codes = _counted(connection, DATA_KEY), _counted(connection, VOUCHER_CODE)
    return {one: (members.get(one, 0), codes.get(one, 0)) for one in members.keys() | codes.keys()}


def _counted(connection: Connection, table: Table) -> dict[int, int]:
    query = select(table.c.key_version, func.count().label("rows")).group_by(table.c.key_version)
    rows = connection.execute(query.execution_options(all_tenants=True))
    return {row.key_version: row.rows for row in rows}
