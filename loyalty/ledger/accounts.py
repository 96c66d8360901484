"""The accounts of a programme: which there are, and how they are called.

A member's account has a random id, so that it means nothing once the member is erased. A member's debt
(goods given back after their points were spent) stands on an account of its own, named after the member's.
Everything else is the programme's: one account of each kind, named by its kind.
"""

import re

from sqlalchemy import insert, update

from loyalty.errors import LoyaltyError
from loyalty.tables import ACCOUNT
from loyalty.tenancy import TenantConn
from pay_ivr.ids import new_id

MEMBER = "member"
CLAWBACK = "clawback"
ISSUED = "issued"
EXPIRED = "expired"
ADJUSTED = "adjusted"
SYSTEM = re.compile(
    r"issued|redeemed_donation:[a-z][a-z0-9_\-]{0,39}|redeemed_voucher|payout|expired|adjusted|suspense"
)
"""Kinds of which a programme has one account each; they may stand below zero, `issued` always does."""

CLAWBACK_FLOOR = -1_000_000
"""How deep a member may owe: the return of a very large purchase. Beyond it a person decides."""
_PREFIX = "acc_"
_DEBT = "_clawback"


def system_account(kind: str) -> str:
    """The id of the programme's account of that kind."""
    return _PREFIX + kind


def kind_of(system_account: str) -> str:
    """The kind of one of the programme's own accounts."""
    return system_account.removeprefix(_PREFIX)


def clawback_of(account: str) -> str:
    """The id of the account on which a member's debt stands."""
    return account + _DEBT


def member_of(clawback: str) -> str:
    """The member account of a debt."""
    return clawback.removesuffix(_DEBT)


def open_in(conn: TenantConn, programme: str, kind: str = MEMBER) -> str:
    """A new member account's id, opened in the caller's transaction; the programme's open themselves."""
    if kind != MEMBER:
        raise LoyaltyError("account_kind", "Only a member's account is opened; all others are there already.")
    account = new_id("acc")
    row = {"tenant": conn.tenant, "programme": programme, "id": account, "kind": kind, "floor": 0}
    conn.execute(insert(ACCOUNT).values(row))
    return account


def close_in(conn: TenantConn, programme: str, account: str) -> None:
    """From now on nothing new is earned, held, redeemed or moved; what was begun can still be ended."""
    column = ACCOUNT.c
    own = (column.tenant == conn.tenant) & (column.programme == programme) & (column.id == account)
    if conn.execute(update(ACCOUNT).where(own).values(state="closed")).rowcount != 1:
        raise LoyaltyError("account_unknown", "There is no such account.")
