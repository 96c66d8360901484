"""`pay-ivr voucher …` and `pay-ivr loyalty …`: stock, points and figures from the command line.

Like `pay-ivr member …` beside a running node or without one (`loyalty/commands.py`).
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path

from loyalty.answers import NotBooked, Redeemed
from loyalty.commands import OK, WRONG, operator
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.members import Members
from loyalty.programme import programmes_of
from loyalty.redemption.sources import sources_of
from loyalty.service import Loyalty, Surroundings
from pay_ivr.senders import channels_of
from pay_ivr.settings import Settings
from pay_ivr.tenants import load_tenants
from vault import Door

FILE_BYTES_MAX = 4_000_000
"""More than the largest stock that is taken at once."""


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Loyalty]:
    tenants = load_tenants(settings.tenants_dir)
    programmes = programmes_of(tenants, settings.tenants_dir)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database.open(settings.loyalty)
    try:
        keys, door = Keys.open(settings.data_dir, os.environ), Door(settings.sockets / "vault.sock")
        channels = channels_of(tenants, settings.tenants_dir, settings.data_dir)
        sources = sources_of(programmes, settings.data_dir)
        yield Loyalty(Surroundings(database, keys, programmes, door, channels, sources))
    finally:
        await database.close()


def import_codes(settings: Settings, tenant: str, reward: str, path: Path) -> int:
    """Takes a file of voucher codes, one a line, whole or not at all; wrong lines are told by number."""
    return asyncio.run(_import_codes(settings, tenant, reward, path))


async def _import_codes(settings: Settings, tenant: str, reward: str, path: Path) -> int:
    text = _text_of(path)
    async with _open(settings) as loyalty:
        done = await loyalty.add_codes(tenant, reward, text, by=operator())
        free = (await loyalty.stock_of(tenant))[reward]
    for line in done.wrong:
        sys.stderr.write(f"{path.name}:{line.number}: {_WRONG[line.problem]}\n")
    if done.wrong:
        sys.stderr.write("Nothing was taken. Correct these lines and give the whole file again.\n")
        return WRONG
    sys.stdout.write(f"{done.added} codes taken; {free} are free for {reward}\n")
    return OK


_WRONG = {
    "malformed": "is no code: capitals, digits, and hyphens between them, 32 at most",
    "twice": "stands in this file twice",
    "known": "is in the stock already, free or issued",
}


def show_stock(settings: Settings, tenant: str) -> int:
    """How many codes of each voucher are free."""

    async def work() -> int:
        async with _open(settings) as loyalty:
            for reward, free in (await loyalty.stock_of(tenant)).items():
                sys.stdout.write(f"{reward:40} {free:8}\n")
        return OK

    return asyncio.run(work())


def earn(settings: Settings, tenant: str, told: str, points: int, receipt: str) -> int:
    """Points for a purchase that a till has not sent; a receipt counts once."""

    async def work() -> int:
        async with _open(settings) as loyalty:
            member_id = await _member_id(loyalty.members, tenant, told)
            answer = await loyalty.earn(
                tenant, member_id, points, receipt, key=_key_of(receipt), by=operator()
            )
        if isinstance(answer, NotBooked):
            sys.stderr.write(f"Nothing is booked: {answer.code.value}\n")
            return WRONG
        again = ", booked before" if answer.replayed else ""
        sys.stdout.write(
            f"{answer.journal_id}: {answer.points} points{again}; {answer.available} available\n"
        )
        return OK

    return asyncio.run(work())


def stranded_orders(settings: Settings, tenant: str) -> int:
    """Orders whose shop the tenant's file names no more; somebody has to end them."""

    async def work() -> int:
        async with _open(settings) as loyalty:
            for order in await loyalty.stranded_orders(tenant):
                sys.stdout.write(
                    f"{order.redemption_id} {order.at} {order.reward_id:40} {order.points:8} points\n"
                )
        return OK

    return asyncio.run(work())


def end_order(settings: Settings, tenant: str, redemption_id: str, reason: str, *, issued: bool) -> int:
    """Ends such an order: with the code that stands on standard input, or as never issued.

    A code is worth money: as an argument it would stand in the list of processes and in the shell's history.
    """
    code = sys.stdin.readline() if issued else None

    async def work() -> int:
        async with _open(settings) as loyalty:
            answer = await loyalty.end_order(tenant, redemption_id, code=code, reason=reason, by=operator())
        if isinstance(answer, Redeemed):
            sys.stdout.write(
                f"{redemption_id}: {answer.points} points are posted, receipt {answer.receipt}\n"
            )
        else:
            sys.stdout.write(f"{redemption_id}: never issued, the points are free again\n")
        return OK

    return asyncio.run(work())


def roll_forward(settings: Settings, tenant: str, month: date) -> int:
    """How the programme's liability moved in a month, and how many members took part.

    1 when the movements do not lead to the closing.
    """

    async def work() -> int:
        async with _open(settings) as loyalty:
            programme = loyalty.programme(tenant).programme
            found = await loyalty.ledger.roll_forward(tenant, programme, month.year, month.month)
            members = await loyalty.activity(tenant, month.year, month.month)
        for name in ("opening", "earned", "redeemed", "expired", "adjusted", "reversed", "closing"):
            sys.stdout.write(f"{name:10} {getattr(found, name):16,}\n")
        for name, count in asdict(members).items():
            sys.stdout.write(f"members {name:10} {count:8,}\n")
        return OK if found.is_even else WRONG

    return asyncio.run(work())


def _key_of(receipt: str) -> str:
    """The same receipt asks under the same key, however long it is."""
    return f"cli.{hashlib.sha256(receipt.encode()).hexdigest()}"


async def _member_id(members: Members, tenant: str, told: str) -> str:
    """The id that was told, or that of the member or card with that number."""
    if told.startswith("mem_"):
        return told
    claim = await members.claim_by_number(tenant, told)
    if not claim.known:
        raise LoyaltyError("member_unknown", "There is no such member.")
    return claim.member_id


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise LoyaltyError("stock_too_long", f"The file is larger than {FILE_BYTES_MAX} bytes.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise LoyaltyError("file_unreadable", "The file cannot be read as UTF-8 text.") from None
