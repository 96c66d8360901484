"""All that is stored of one member, for himself (GDPR articles 15 and 20): as JSON and as readable text.

One reading database transaction sees profile, cards, changes, redemptions, deliveries and payouts at one
moment; the ledger's movements follow page by page. What others keep, calls, the PIN's standing and voucher
codes, is handed in by whoever can ask them. A PIN itself is nowhere to be had. A voucher's code is told
whole: the member has had it, and it is his.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Table, and_, select

from loyalty.errors import LoyaltyError
from loyalty.ledger import clawback_of
from loyalty.members.office import Office
from loyalty.members.person import Member, Role, person_json
from loyalty.members.register import Register
from loyalty.tables import DELIVERY, ENTRY, JOURNAL, LOT, MEMBER, PAYOUT, REDEMPTION

MOVEMENTS_PAGE = 200
"""Movements of one read."""


@dataclass(frozen=True)
class Others:
    """What is known elsewhere."""

    calls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """Call id -> what is kept of that call."""
    codes: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Redemption id -> the code that was issued for it."""
    pin: Mapping[str, Any] | None = None
    """The PIN's standing; None: the vault could not be asked."""


NOBODY = Others()
"""Nothing was asked elsewhere."""


async def gdpr_export(
    office: Office, tenant: str, member_id: str, folder: Path, *, by: str, others: Others
) -> tuple[Path, Path]:
    """Writes `<member_id>.json` and `<member_id>.txt`, readable by our own user alone, and returns both.

    Closed members as well. LoyaltyError("member_unknown").
    """
    body = await dossier(office, tenant, member_id, others)
    written = await asyncio.to_thread(_written, folder, member_id, body)
    await office.write(
        tenant, lambda register: office.note(register, "member.profile.exported", member_id, by)
    )
    return written


async def dossier(office: Office, tenant: str, member_id: str, others: Others) -> dict[str, Any]:
    """The whole as plain JSON values."""
    member, body = await office.read(tenant, lambda register: _stored(register, member_id))
    balance = await office.database.ledger.balance(tenant, member.programme, member.account_id)
    for redemption in body["redemptions"]:
        redemption["code"] = others.codes.get(redemption["redemption_id"])
    body["points"] = {
        "balance": asdict(balance),
        "lots": body.pop("lots"),
        "movements": await _movements(office, member, member.account_id),
        "debts": await _movements(office, member, clawback_of(member.account_id)),
    }
    booked = [{"call_id": call_id} for call_id in body.pop("call_ids") if call_id not in others.calls]
    body["calls"] = [*booked, *map(dict, others.calls.values())]
    body["pin"] = others.pin
    body["exported_at"] = office.now()
    return json.loads(json.dumps(body, default=str))  # type: ignore[no-any-return]


async def call_ids(office: Office, tenant: str, member_id: str) -> tuple[str, ...]:
    """The calls in which something was booked or redeemed."""
    found = await office.read(tenant, lambda register: _stored(register, member_id))
    return tuple(found[1]["call_ids"])


def _stored(register: Register, member_id: str) -> tuple[Member, dict[str, Any]]:
    member = register.member(member_id, Role.LEGAL)
    mine = {"member_id": member_id}
    redemptions = _rows(register, REDEMPTION, "at", **mine)
    (row,) = _rows(register, MEMBER, "member_id", **mine)
    calls = [row["call_id"] for row in redemptions] + _calls_of_account(register, member.account_id)
    return member, {
        "tenant": member.tenant,
        "programme": member.programme,
        "member_id": member_id,
        "account_id": member.account_id,
        "status": member.status.value,
        "enrolled_at": row["created_at"],
        "updated_at": row["updated_at"],
        "profile": person_json(register.person(member_id, Role.LEGAL)),
        "cards": register.cards(member_id),
        "changes": [asdict(change) for change in register.changes(member_id)],
        "redemptions": [_picked(row, _OF_REDEMPTION) for row in redemptions],
        "deliveries": _deliveries(register, member_id),
        "payouts": [_picked(row, _OF_PAYOUT) for row in _rows(register, PAYOUT, "at", **mine)],
        "lots": _lots(register, member.account_id),
        "call_ids": sorted({call for call in calls if call}),
    }


_OF_REDEMPTION = (
    "redemption_id",
    "reward_id",
    "kind",
    "points",
    "state",
    "receipt",
    "channel",
    "call_id",
    "at",
)
_OF_PAYOUT = ("payout_id", "points", "amount_minor", "currency", "state", "at", "decided_at")


def _rows(register: Register, table: Table, order: str, **equal: str) -> list[dict[str, Any]]:
    wanted = [table.c.tenant == register.tenant, *(table.c[name] == value for name, value in equal.items())]
    rows = register.conn.execute(select(table).where(*wanted).order_by(table.c[order]))
    return [dict(row) for row in rows.mappings()]


def _picked(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _deliveries(register: Register, member_id: str) -> list[dict[str, Any]]:
    return [
        {
            "delivery_id": row["delivery_id"],
            "redemption_id": row["redemption_id"],
            "medium": row["medium"],
            "state": row["state"],
            "message": _message(register, member_id, row["delivery_id"], row["sealed_to_and_text"]),
        }
        for row in _rows(register, DELIVERY, "delivery_id", member_id=member_id)
    ]


def _message(register: Register, member_id: str, delivery_id: str, octets: bytes) -> Any:
    """Address and text while they wait; None once they are sent and overwritten."""
    if not octets:
        return None
    try:
        return json.loads(register.open(member_id, delivery_id, octets))
    except LoyaltyError:  # of another key or form: it is told that there is one, not what it says
        return None


def _lots(register: Register, account_id: str) -> list[dict[str, Any]]:
    """Every lot of points, spent or not: where it came from, how much it was, when it ends."""
    lot, journal = LOT.c, JOURNAL.c
    same = and_(
        lot.tenant == journal.tenant, lot.programme == journal.programme, lot.journal_id == journal.id
    )
    told = (journal.kind, journal.at, journal.effective_on, journal.receipt)
    query = select(
        lot.id.label("lot_id"), lot.journal_id, lot.granted, lot.remaining, lot.expires, *told
    ).join(JOURNAL, same)
    own = (lot.tenant == register.tenant, lot.programme == register.programme, lot.account_id == account_id)
    return [dict(row) for row in register.conn.execute(query.where(*own).order_by(lot.id)).mappings()]


def _calls_of_account(register: Register, account_id: str) -> list[str]:
    same = and_(
        JOURNAL.c.tenant == ENTRY.c.tenant,
        JOURNAL.c.programme == ENTRY.c.programme,
        JOURNAL.c.id == ENTRY.c.journal_id,
    )
    own = (ENTRY.c.tenant == register.tenant, ENTRY.c.programme == register.programme)
    query = select(JOURNAL.c.call_id).join(ENTRY, same).where(*own, ENTRY.c.account_id == account_id)
    return list(register.conn.execute(query.distinct()).scalars())


async def _movements(office: Office, member: Member, account_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before = ""
    while True:
        page = await office.database.ledger.movements(
            member.tenant, member.programme, account_id, MOVEMENTS_PAGE, before
        )
        found += [asdict(one) for one in page]
        if len(page) < MOVEMENTS_PAGE:
            return found
        before = page[-1].journal_id


def text_of(body: Mapping[str, Any]) -> str:
    """The same as text: a heading per part, a line per fact, a blank line between things of a list."""
    lines = [f"What {body['tenant']} stores about you, as of {body['exported_at']}", ""]
    for name, part in body.items():
        if name not in {"tenant", "exported_at"}:
            lines += [*_told(name, part, 0), ""]
    return "\n".join(lines)


def _told(name: str, part: Any, depth: int) -> list[str]:
    label = "  " * depth + name.replace("_", " ")
    if part in (None, "", [], {}):
        return [f"{label}: none"]
    if isinstance(part, Mapping):
        return [f"{label}:", *(line for key, value in part.items() for line in _told(key, value, depth + 1))]
    if isinstance(part, list):
        told = [_told(str(place), value, depth + 1) for place, value in enumerate(part, 1)]
        return [f"{label}: {len(part)}", *(line for one in told for line in one)]
    return [f"{label}: {part}"]


def _written(folder: Path, member_id: str, body: Mapping[str, Any]) -> tuple[Path, Path]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    as_json, as_text = folder / f"{member_id}.json", folder / f"{member_id}.txt"
    _write(as_json, json.dumps(body, ensure_ascii=False, indent=2) + "\n")
    _write(as_text, text_of(body))
    return as_json, as_text


def _write(path: Path, text: str) -> None:
    """A new file, or the one of an earlier export anew; never through a link."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
