"""Erasing a member (GDPR article 17): the person goes, the books stay.

What goes, in one database transaction: the data key, overwritten before it is deleted; the sealed person,
cards and changes; every index; the mapping from member to ledger account; what waits to be delivered. The
account keeps its random id and is closed for anything new, so that sums, journals and the audit log stay as
they were proven. Then the PIN goes, which lies in the vault; when the vault cannot be reached, the row in
`erasure` remembers that it is left. Last the database is scrubbed: no copy stays in its write-ahead log.

A backup from before still holds the person. After restoring one, erase again who was erased since: the log
tells the ids (`member.profile.erased`), and the same call does it.
"""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from loyalty.ledger import close_in
from loyalty.members.office import Office, Pins
from loyalty.members.person import Role
from loyalty.members.register import Register, unknown
from loyalty.tables import (
    CARD,
    DATA_KEY,
    DELIVERY,
    ERASURE,
    MEMBER,
    MEMBER_ACCOUNT,
    MEMBER_CHANGE,
)
from vault import VaultError

LEFT, FORGOTTEN = "left", "forgotten"
OVERWRITTEN = bytes(1)


@dataclass(frozen=True)
class Erased:
    """How far it came."""

    member_id: str
    pin_forgotten: bool
    """False: the vault could not be asked; `finish` or the same call again does it."""
    scrubbed: bool
    """False: somebody was reading just then; the next erasure or `Database.scrub` does it."""


async def erase(
    office: Office, tenant: str, member_id: str, *, by: str, pins: Pins | None, whole: bool = False
) -> Erased:
    """Erases a member, closed ones as well; again is no error and finishes what was left.

    `whole`: the database file is written anew, for the quiet hours (`loyalty/scrub.py`).

    LoyaltyError("member_unknown") for an id that never was a member's.
    """
    await office.write(tenant, lambda register: _forget(office, register, member_id, by))
    pin_forgotten = await _forget_pin(office, tenant, member_id, pins)
    return Erased(member_id, pin_forgotten, await office.database.scrub(whole=whole))


async def finish(office: Office, tenant: str, pins: Pins) -> int:
    """Forgets the PINs that erasures have left behind; how many. For a job: quiet when there are none."""
    left = await office.read(tenant, _left)
    return sum([await _forget_pin(office, tenant, member_id, pins) for member_id in left])


def _forget(office: Office, register: Register, member_id: str, by: str) -> None:
    conn, tenant = register.conn, register.tenant
    known = select(ERASURE.c.member_id).where(ERASURE.c.tenant == tenant, ERASURE.c.member_id == member_id)
    erased_before = conn.execute(known).one_or_none() is not None
    there = select(MEMBER.c.member_id).where(MEMBER.c.tenant == tenant, MEMBER.c.member_id == member_id)
    if conn.execute(there).one_or_none() is None:
        if not erased_before:
            raise unknown()
        return
    close_in(conn, register.programme, register.member(member_id, Role.LEGAL).account_id)
    _delete(register, member_id)
    row = {"erased_by": by, "at": office.now(), "pin": LEFT}
    if erased_before:  # he came back with a restored backup
        mine = (ERASURE.c.tenant == tenant, ERASURE.c.member_id == member_id)
        conn.execute(update(ERASURE).where(*mine).values(row))
    else:
        conn.execute(insert(ERASURE).values(tenant=tenant, member_id=member_id, **row))
    office.note(register, "member.profile.erased", member_id, by)


def _delete(register: Register, member_id: str) -> None:
    conn, tenant = register.conn, register.tenant
    key = (DATA_KEY.c.tenant == tenant, DATA_KEY.c.member_id == member_id)
    length = len(conn.execute(select(DATA_KEY.c.wrapped).where(*key)).scalar_one())
    conn.execute(update(DATA_KEY).where(*key).values(wrapped=OVERWRITTEN * length))
    for table in (DELIVERY, MEMBER_CHANGE, CARD, MEMBER_ACCOUNT, DATA_KEY, MEMBER):
        conn.execute(delete(table).where(table.c.tenant == tenant, table.c.member_id == member_id))


async def _forget_pin(office: Office, tenant: str, member_id: str, pins: Pins | None) -> bool:
    if pins is None:
        return False
    try:
        await pins.forget_pin(tenant, member_id)
    except VaultError:  # the row in `erasure` says that it is left
        return False
    mine = (ERASURE.c.tenant == tenant, ERASURE.c.member_id == member_id)
    statement = update(ERASURE).where(*mine).values(pin=FORGOTTEN)
    await office.database.write(tenant, lambda conn: conn.execute(statement))
    return True


def _left(register: Register) -> tuple[str, ...]:
    wanted = (ERASURE.c.tenant == register.tenant, ERASURE.c.pin == LEFT)
    return tuple(register.conn.execute(select(ERASURE.c.member_id).where(*wanted)).scalars())
