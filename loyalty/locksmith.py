"""`pay-ivr loyalty-key …`: the members' root key, listed, rotated and retired, beside a running node.

Like `pay-ivr vault-key …` for the vault's keys; ends with 0 only when all of it is done.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loyalty.commands import OK, WRONG, operator
from loyalty.database import Database
from loyalty.keys import NAME, Keys
from loyalty.members import Members
from loyalty.programme import programmes_of
from loyalty.redemption.stock import Stock
from loyalty.rotation import GRACE_S, Rotation
from pay_ivr.settings import Settings
from pay_ivr.tenants import load_tenants


@dataclass(frozen=True)
class _Bench:
    """What a command works with."""

    rotation: Rotation
    tenants: tuple[str, ...]
    """Those with a programme."""
    nodes: bool
    """True where several nodes may share the database, each with a folder of keys of its own."""


@asynccontextmanager
async def _bench(settings: Settings) -> AsyncIterator[_Bench]:
    programmes = programmes_of(load_tenants(settings.tenants_dir), settings.tenants_dir)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database.open(settings.loyalty)
    try:
        keys = Keys.open(settings.data_dir, os.environ)
        rotation = Rotation(database, keys, Members(database, keys, programmes), Stock(keys))
        yield _Bench(rotation, tuple(programmes), database.dialect != "sqlite")
    finally:
        await database.close()


def list_keys(settings: Settings) -> int:
    """Versions, check values, and how many rows are under each."""

    async def work() -> int:
        async with _bench(settings) as bench:
            for one in await bench.rotation.lines():
                mark = "newest" if one.newest else "older"
                rows = f"{one.members} members {one.codes} codes"
                _say(f"{NAME:10} {one.version:3} {mark:6} {one.check or 'missing':8} {rows}")
        return OK

    return asyncio.run(work())


def rotate_key(settings: Settings, *, copied: bool) -> int:
    """A new version and everything under it; after a kill the same call goes on.

    `copied`: the new file is in the folder of every other node.
    """
    return asyncio.run(_rotate(settings, copied=copied))


async def _rotate(settings: Settings, *, copied: bool) -> int:
    async with _bench(settings) as bench:
        version = await bench.rotation.make(operator())
        if bench.nodes and not copied:
            _complain(f"keys/{NAME}.{version} is made. Copy it to every other node, then rotate --copied.")
            return WRONG
        await asyncio.sleep(GRACE_S)
        unreadable: list[str] = []
        for tenant in bench.tenants:
            moved = await bench.rotation.move(tenant, operator())
            _say(f"{tenant}: {moved.members} members and {moved.codes} codes moved")
            unreadable += moved.unreadable
        left = [one for one in await bench.rotation.lines() if one.version < version]
    for member_id in unreadable:
        _complain(
            f"{member_id} does not open with the keys of this node; restore his rows, then rotate again"
        )
    if rows := sum(one.members + one.codes for one in left):
        _complain(f"{rows} rows are still under an older version; also those of a tenant without a programme")
        return WRONG
    _say(f"{NAME}: version {version} is the newest; older ones stay valid until they are retired")
    return OK


def retire_key(settings: Settings, version: int) -> int:
    """An old version that no row needs any more, destroyed."""

    async def work() -> int:
        async with _bench(settings) as bench:
            await bench.rotation.retire(version, operator())
        _say(f"{NAME}: version {version} is wiped")
        return OK

    return asyncio.run(work())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _complain(line: str) -> None:
    sys.stderr.write(line + "\n")
