"""`pay-ivr member …`: the member administration from the command line, beside a running node or without one.

Nothing has to be stopped. On SQLite the node and a command share one file with one writer at a time: both
take the write lock only for milliseconds (BEGIN IMMEDIATE) and wait for each other up to five seconds.

Each command prints what it did, and ends with 0 only when all of it is right: 1 when lines of a file were not
taken or a part of an erasure is left. Personal data go to the files that were asked for, never to the
terminal.
"""

import asyncio
import os
import pwd
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from audit.outbox import stamp
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.members import Erased, Members, Others, Role
from loyalty.members.csv_form import BadRow
from loyalty.members.dossier import call_ids
from loyalty.programme import programmes_of
from loyalty.redemption.stock import Stock
from pay_ivr.past_calls import calls_about, forget_caller
from pay_ivr.settings import Settings
from pay_ivr.store import Store
from pay_ivr.tenants import Tenant, load_tenants
from vault import Door, VaultError

OK, WRONG, USAGE = 0, 1, 2
DOOR_WAIT_S = 3.0
"""How long a command waits for the broker; a node that runs answers at once."""
_MEMBER_ID = re.compile(r"mem_[a-z]{10,40}")


@dataclass(frozen=True)
class _Desk:
    """What a command works with."""

    settings: Settings
    tenants: dict[str, Tenant]
    members: Members
    by: str

    @asynccontextmanager
    async def door(self) -> AsyncIterator[Door | None]:
        """The vault's door; None when no broker runs."""
        socket = self.settings.sockets / "vault.sock"
        if not socket.exists():
            yield None
            return
        door = Door(socket)
        try:
            await door.connect(DOOR_WAIT_S)
        except VaultError:
            yield None
        else:
            yield door
        finally:
            await door.close()

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store | None]:
        """The app's database; None when there has never been a node here."""
        path = self.settings.data_dir / "app.db"
        if not path.exists():
            yield None
            return
        store = await Store.open(path)
        try:
            yield store
        finally:
            await store.close()

    async def member_id(self, tenant: str, told: str) -> str:
        """The id that was told, or that of the member or card with that number."""
        if _MEMBER_ID.fullmatch(told):
            return told
        claim = await self.members.claim_by_number(tenant, told)
        if not claim.known:
            raise LoyaltyError("member_unknown", "There is no such member.")
        return claim.member_id


@asynccontextmanager
async def _desk(settings: Settings) -> AsyncIterator[_Desk]:
    tenants = load_tenants(settings.tenants_dir)
    programmes = programmes_of(tenants, settings.tenants_dir)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database.open(settings.loyalty)
    database.ledger.zone_of = lambda tenant: ZoneInfo(programmes[tenant].timezone)
    try:
        keys = Keys.open(settings.data_dir, os.environ)
        yield _Desk(settings, tenants, Members(database, keys, programmes), operator())
    finally:
        await database.close()


def import_members(settings: Settings, tenant: str, path: Path) -> int:
    """Takes a file of members in; bad lines are told by number and column."""
    return asyncio.run(_import(settings, tenant, path))


async def _import(settings: Settings, tenant: str, path: Path) -> int:
    def on_bad(row: BadRow) -> None:
        _complain(f"{path.name}:{row.line}: {row.column or 'the line'} {row.why}")

    async with _desk(settings) as desk:
        desk.members.programme(tenant)
        language = desk.tenants[tenant].telephony.languages[0]
        with _opened(path) as file:
            done = await desk.members.import_csv(tenant, file, by=desk.by, language=language, on_bad=on_bad)
    _say(
        f"{done.enrolled} enrolled, {done.unchanged} known already, {done.refused} not taken;"
        f" opening points booked for {done.points_booked}"
    )
    return WRONG if done.refused else OK


def export_members(settings: Settings, tenant: str, path: Path) -> int:
    """Writes every member that is not closed into a new file of ours alone."""
    return asyncio.run(_export(settings, tenant, path))


async def _export(settings: Settings, tenant: str, path: Path) -> int:
    async with _desk(settings) as desk:
        desk.members.programme(tenant)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError:
            raise LoyaltyError("file_exists", "The file cannot be made new. Choose another name.") from None
        with os.fdopen(descriptor, "wb") as file:
            count = await desk.members.export_csv(tenant, file, by=desk.by)
    _say(f"{count} members in {path}")
    return OK


def show_member(settings: Settings, tenant: str, told: str) -> int:
    """Ids, states and points of one member; no personal data."""
    return asyncio.run(_show(settings, tenant, told))


async def _show(settings: Settings, tenant: str, told: str) -> int:
    async with _desk(settings) as desk:
        member = await desk.members.get(tenant, await desk.member_id(tenant, told), role=Role.LEGAL)
        balance = await desk.members.database.ledger.balance(tenant, member.programme, member.account_id)
        async with desk.door() as door:
            standing = None if door is None else await door.pin_standing(tenant, member.member_id)
    for name, value in asdict(member).items():
        _say(f"{name:12} {value}")
    _say(f"{'points':12} {balance.available} available, {balance.held} held, {balance.posted} posted")
    if standing is None:
        _say(f"{'pin':12} not known: the node does not run")
    else:
        state = "set" if standing.set else "not set"
        _say(f"{'pin':12} {state}{', locked' if standing.locked else ''}")
    return OK


def gdpr_export(settings: Settings, tenant: str, told: str, folder: Path) -> int:
    """All that is stored of one member, as JSON and as text."""
    return asyncio.run(_gdpr_export(settings, tenant, told, folder))


async def _gdpr_export(settings: Settings, tenant: str, told: str, folder: Path) -> int:
    async with _desk(settings) as desk:
        member_id = await desk.member_id(tenant, told)
        others = await _others(desk, tenant, member_id)
        written = await desk.members.gdpr_export(tenant, member_id, folder, by=desk.by, others=others)
    for path in written:
        _say(f"{path}")
    if others.pin is None:
        _complain("The node does not run: whether a PIN is set is not in the files.")
    return OK


async def _others(desk: _Desk, tenant: str, member_id: str) -> Others:
    """What the app, the vault and the stock of codes know of the member."""
    phones = await _phones(desk, tenant, member_id)
    booked = await call_ids(desk.members, tenant, member_id)
    async with desk.store() as store:
        calls = {} if store is None else await calls_about(store, tenant, booked, phones)
    async with desk.door() as door:
        pin = None if door is None else asdict(await door.pin_standing(tenant, member_id))
    programme = desk.members.programme(tenant).programme
    codes = await desk.members.database.read(
        tenant, lambda conn: Stock(desk.members.keys).of_member(conn, programme, member_id)
    )
    return Others(calls, codes, pin)


async def _phones(desk: _Desk, tenant: str, member_id: str) -> set[str]:
    """Every telephone number that the member has ever told; LoyaltyError("member_unknown")."""
    person = await desk.members.person(tenant, member_id, role=Role.LEGAL)
    changes = await desk.members.changes(tenant, member_id)
    return {person.phone, *(change.before.get("phone", "") for change in changes)} - {""}


def close_member(settings: Settings, tenant: str, told: str) -> int:
    """Ends a membership: found by nothing any more, kept sealed until it is erased."""
    return asyncio.run(_close(settings, tenant, told))


async def _close(settings: Settings, tenant: str, told: str) -> int:
    async with _desk(settings) as desk:
        member_id = await desk.member_id(tenant, told)
        await desk.members.close_member(tenant, member_id, by=desk.by)
    _say(f"{member_id} is closed; erase it when the legal period is over")
    return OK


def erase_member(settings: Settings, tenant: str, told: str, *, whole: bool) -> int:
    """The person is gone, the books stay."""
    return asyncio.run(_erase(settings, tenant, told, whole=whole))


async def _erase(settings: Settings, tenant: str, told: str, *, whole: bool) -> int:
    async with _desk(settings) as desk:
        member_id = await desk.member_id(tenant, told)
        return await _erase_one(desk, tenant, member_id, whole=whole)


def erase_closed(settings: Settings, tenant: str, before: date) -> int:
    """Erases everybody whose membership was closed before that day."""
    return asyncio.run(_erase_closed(settings, tenant, before))


async def _erase_closed(settings: Settings, tenant: str, before: date) -> int:
    async with _desk(settings) as desk:
        moment = stamp(datetime(before.year, before.month, before.day, tzinfo=UTC))
        due = await desk.members.closed_before(tenant, moment)
        codes = [await _erase_one(desk, tenant, member_id, whole=False) for member_id in due]
    _say(f"{len(due)} erased")
    return max(codes, default=OK)


async def _erase_one(desk: _Desk, tenant: str, member_id: str, *, whole: bool) -> int:
    forgotten = await _forget_calls(desk, tenant, member_id)
    async with desk.door() as door:
        erased = await desk.members.erase(tenant, member_id, desk.by, door, whole=whole)
    _say(f"{member_id} is erased; his number is gone from {forgotten} calls")
    return _told_what_is_left(erased)


async def _forget_calls(desk: _Desk, tenant: str, member_id: str) -> int:
    """First, while the member's numbers are still known; 0 for one who is erased already."""
    try:
        phones = await _phones(desk, tenant, member_id)
    except LoyaltyError:
        return 0
    booked = await call_ids(desk.members, tenant, member_id)
    async with desk.store() as store:
        return 0 if store is None else await forget_caller(store, tenant, booked, phones)


def _told_what_is_left(erased: Erased) -> int:
    if not erased.pin_forgotten:
        _complain("The node does not run: the PIN is left. The node forgets it when it runs again.")
    if not erased.scrubbed:
        _complain("Somebody was reading: older copies stay in the write-ahead log. Run the command again.")
    return OK if erased.pin_forgotten and erased.scrubbed else WRONG


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError:
        raise LoyaltyError("file_unreadable", "The file cannot be read.") from None


def operator() -> str:
    """Who acts, for the log: the login behind this process."""
    name = pwd.getpwuid(os.getuid()).pw_name
    return f"user:{name}" if re.fullmatch(r"[A-Za-z0-9_.@\-]{1,64}", name) else f"user:{os.getuid()}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _complain(line: str) -> None:
    sys.stderr.write(line + "\n")
