"""`pay-ivr reconcile`: our books against the provider's statement, through the door of a running node.

The broker reads, matches and closes; this file asks, waits and prints. It ends with 0 when nobody needs to
look at anything, with 1 otherwise, so that a schedule can tell.
"""

import asyncio
import getpass
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TextIO

from pay_ivr.settings import Settings
from vault import BookItem, Door, Reconciliation

CLEAN, DIFFERS = 0, 1
RUN_MAX_S = 1_200.0
"""Longer than the broker waits for the slowest statement: then something else is wrong."""

_HEADINGS = ("class", "day", "kind", "payment", "ours", "provider", "currency", "item")


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for; empty texts ask for everything."""

    tenant: str = ""
    since: str = ""
    until: str = ""
    as_json: bool = False
    csv: Path | None = None
    explain: str = ""
    """An item that a person accepts as it is."""
    reason: str = ""


def reconcile(settings: Settings, wanted: Wanted) -> int:
    """Runs the command; 0, or 1 when there is something to look at. Whatever the door raises goes on."""
    with _file(wanted.csv) as csv:
        found = asyncio.run(_reconcile(settings, wanted, csv))
    if wanted.as_json:
        sys.stdout.write(json.dumps({"tenants": [each.as_json() for each in found]}) + "\n")
    else:
        sys.stdout.write("\n".join(map(table_of, found)))
    return CLEAN if all(each.clean for each in found) else DIFFERS


def _file(path: Path | None) -> AbstractContextManager[TextIO | None]:
    """The CSV's file, readable for its owner only; line ends are written as they are."""
    if path is None:
        return nullcontext()
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")


async def _reconcile(settings: Settings, wanted: Wanted, csv: TextIO | None) -> list[Reconciliation]:
    door = Door(settings.sockets / "vault.sock")
    try:
        await door.connect()
        if wanted.explain:
            await door.explain_item(wanted.tenant, wanted.explain, wanted.reason, by=_person())
        tenants = (wanted.tenant,) if wanted.tenant else await door.book_tenants()
        found = [await _run(door, tenant, wanted) for tenant in tenants]
        if csv is not None:
            await _write_csv(door, found, csv)
        return found
    finally:
        await door.close()


async def _run(door: Door, tenant: str, wanted: Wanted) -> Reconciliation:
    """One tenant's run, asked for until it is done; the broker takes its time before it says "not yet"."""
    async with asyncio.timeout(RUN_MAX_S):
        found = await door.reconcile(tenant, wanted.since, wanted.until)
        while not found.done:
            found = await door.reconcile(tenant, wanted.since, wanted.until)
    return found


async def _write_csv(door: Door, found: Sequence[Reconciliation], out: TextIO) -> None:
    """All lines of the days that were reconciled, under one header."""
    for number, each in enumerate(found):
        page = await door.books_csv(each.tenant, each.since, each.until)
        out.write(page.text.split("\r\n", 1)[1] if number else page.text)
        while page.after:
            page = await door.books_csv(each.tenant, each.since, each.until, page.after)
            out.write(page.text)


def table_of(found: Reconciliation) -> str:
    """One tenant's reconciliation for a person: counts, days, balances, and what must be looked at."""
    counts = "  ".join(f"{name} {count}" for name, count in found.counts.items() if count) or "no items"
    still_open = [day.day for day in found.days if not day.closed]
    lines = [f"{found.tenant}  {found.since} to {found.until}  statement: {found.feed}", f"  {counts}"]
    lines.append(f"  days closed {len(found.days) - len(still_open)}, open {len(still_open)}")
    if still_open:
        lines[-1] += f", the first of them {still_open[0]}"
    for currency, balances in found.balances.items():
        digits = found.digits[currency]
        lines += [f"  {currency} {name:<16}{_major(of, digits):>16}" for name, of in balances.items() if of]
    rows = [_row(item, found) for item in found.items]
    lines += _columns([_HEADINGS, *rows]) if rows else []
    if found.left_off:
        lines.append(f"  and {found.left_off} more; --csv writes all")
    lines.append(f"  {found.differences} to look at" if found.differences else "  nothing to look at")
    return "\n".join(lines) + "\n"


def _row(item: BookItem, found: Reconciliation) -> tuple[str, ...]:
    digits = found.digits.get(item.currency, 0)
    stated = found.digits.get(item.stated_currency or item.currency, 0)
    ours = "" if item.ours_minor is None else _major(item.ours_minor, digits)
    theirs = "" if item.gross_minor is None else _major(item.gross_minor, stated)
    word = f"{item.match} ({item.explained})" if item.explained else item.match.value
    return word, item.day, item.kind, item.payment_id, ours, theirs, item.currency, item.item_id


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [f"  {line.rstrip()}" for line in padded]


def _major(amount_minor: int, digits: int) -> str:
    return f"{Decimal(amount_minor).scaleb(-digits):.{digits}f}"


def _person() -> str:
    """Who sits at the terminal, as the log names people."""
    return "user:" + (re.sub(r"[^A-Za-z0-9_.@\-]", "_", getpass.getuser())[:64] or "unknown")
