"""What the ledger can be asked to do, and what it answers: values, frozen, checked before they queue.

A command is one intention under one key. The key is unique per tenant for ever: the same key asked again is
the same answer and never a second posting; the same key with another intention is refused (`key_reused`).
What makes an intention is in `request_hash`: who, what and how many points. Moments that a caller computes
from its own clock (`at`, `until`, `expires`) are not part of it, or a retry after midnight would be another
request.

Refusals are values and leave nothing behind, no row and no used key: what was refused for want of points
may be asked again under its key once there are some.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import get_args

from loyalty.errors import LoyaltyError

POINTS_MAX = 10**9
"""Of one command. Nine billion of the largest ones fit into the 64 bits of an account."""
IDEM = re.compile(r"[A-Za-z0-9_.:\-]{1,100}")
"""Keys and receipts: what travels in headers, file names and logs without quoting."""
REASON = re.compile(r"[a-z][a-z_]{0,47}")
"""A word of the tenant's own list, as the audit log takes them; never free text."""
CONTRA = re.compile(r"redeemed_donation:[a-z][a-z0-9_\-]{0,39}|redeemed_voucher|payout")
"""Where redeemed points may go; each is a system account of the programme."""
NAME = re.compile(r"[a-z0-9][a-z0-9_\-]{0,39}")
ACTOR = re.compile(r"(?:agent|user|key):[A-Za-z0-9_.@\-]{1,64}|caller|(?:system|node):[a-z_]{1,32}")
CALL = re.compile(r"call_[A-Za-z0-9_\-]{1,64}|")
"""Tenant, actor and call as the audit log takes them (audit/entries.py): checked here, so that one ill-formed
name cannot fail the group that it would be written with."""


@dataclass(frozen=True)
class Key:
    """Under which name a command is asked; `idem` is unique per tenant."""

    tenant: str
    programme: str
    idem: str


@dataclass(frozen=True)
class Earn:
    """Points for a purchase, as a new lot; once per receipt."""

    key: Key
    account: str
    points: int
    receipt: str
    """The till's own number of the purchase."""
    expires: date | None
    """The first day on which they are worth nothing, by the tenant's clock; None: never."""
    at: datetime
    """When the purchase was made. The books count it when it is booked; the member is told this day."""


@dataclass(frozen=True)
class Hold:
    """Keeps points for a redemption that needs somebody else's answer. Their lots cannot expire meanwhile."""

    key: Key
    account: str
    points: int
    until: datetime
    """When the reaper looks into it."""


@dataclass(frozen=True)
class Post:
    """Ends a hold: the points are spent on `contra`."""

    key: Key
    hold_id: str
    contra: str


@dataclass(frozen=True)
class Void:
    """Ends a hold: the points go back to the lots that they came from."""

    key: Key
    hold_id: str


@dataclass(frozen=True)
class Redeem:
    """Hold and post in one."""

    key: Key
    account: str
    points: int
    contra: str


@dataclass(frozen=True)
class Reverse:
    """Takes a posting back, whole or in part: opposite entries, the same lots, never more than it moved."""

    key: Key
    journal_id: str
    reason: str
    points: int | None = None
    """None: all that is left of it."""


@dataclass(frozen=True)
class Adjust:
    """Points given (> 0, a new lot) or taken (< 0) by a person, with a reason."""

    key: Key
    account: str
    points: int
    reason: str
    expires: date | None = None
    """Of points given."""


@dataclass(frozen=True)
class Expire:
    """Ends the account's lots that are past their date on a day of the tenant's clock."""

    key: Key
    account: str
    on: date


@dataclass(frozen=True)
class Move:
    """Points from one member to another, each lot keeping its date; or onto a debt (`clawback_of`)."""

    key: Key
    source: str
    target: str
    points: int
    reason: str
    lot: str = ""
    """Only from this lot: a merge moves lot by lot, so that each can be moved back."""


Command = Earn | Hold | Post | Void | Redeem | Reverse | Adjust | Expire | Move


class Refusal(StrEnum):
    """Why nothing was booked."""

    INSUFFICIENT = "insufficient"
    UNKNOWN_ACCOUNT = "unknown_account"
    UNKNOWN_HOLD = "unknown_hold"
    UNKNOWN_JOURNAL = "unknown_journal"
    HOLD_OVER = "hold_over"
    ALREADY_REVERSED = "already_reversed"
    NOT_REVERSIBLE = "not_reversible"
    KEY_REUSED = "key_reused"
    RECEIPT_USED = "receipt_used"
    AMOUNT_WRONG = "amount_wrong"
    ACCOUNT_CLOSED = "account_closed"
    NOT_DUE = "not_due"
    """Nothing of the account is past its date, or the day has not come yet."""


@dataclass(frozen=True)
class Done:
    """Booked and committed, now or when it was first asked."""

    journal_id: str
    hold_id: str
    """Of the hold that was made or ended; otherwise empty."""
    available: int
    """What the member can spend after it."""
    replayed: bool = False
    """True when the key had been booked before; everything else is the first answer."""


@dataclass(frozen=True)
class Rejected:
    """Nothing was booked."""

    code: Refusal


Outcome = Done | Rejected

_NAMED: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "account": IDEM,
        "source": IDEM,
        "target": IDEM,
        "hold_id": IDEM,
        "journal_id": IDEM,
        "receipt": IDEM,
        "lot": re.compile(f"{IDEM.pattern}|"),
        "reason": REASON,
        "contra": CONTRA,
    }
)
_CLOCK = frozenset({"key", "at", "until", "expires"})
_INTENTION: Mapping[type[Command], tuple[str, ...]] = MappingProxyType(
    {kind: tuple(one.name for one in fields(kind) if one.name not in _CLOCK) for kind in get_args(Command)}
)
"""What each command is hashed by, in the order of its fields: a field that is added is added at the end."""


@dataclass(frozen=True)
class _Form:
    """What the texts of one kind of command look like: one pattern, because seven a command could be seen."""

    texts: tuple[str, ...]
    """Its fields that are text, in the order in which `shape` has them after those of every command."""
    shape: re.Pattern[str]
    moments: tuple[str, ...]


def _form(kind: type[Command]) -> _Form:
    names = [one.name for one in fields(kind)]
    texts = tuple(name for name in names if name in _NAMED)
    shapes = (NAME, NAME, IDEM, ACTOR, CALL, _REASON_OR_NONE, *(_NAMED[name] for name in texts))
    whole = _BETWEEN.join(f"(?:{shape.pattern})" for shape in shapes)
    moments = tuple(name for name in names if name in {"at", "until"})
    return _Form(texts, re.compile(whole), moments)


_BETWEEN = "\n"
"""In none of the shapes."""
_REASON_OR_NONE = re.compile(f"{REASON.pattern}|")
_FORMS: Mapping[type[Command], _Form] = MappingProxyType({kind: _form(kind) for kind in get_args(Command)})
_ENCODED = json.JSONEncoder(default=date.isoformat).encode


def check(command: Command, actor: str, call_id: str, reason: str) -> Rejected | None:
    """None: it may queue. A value for points outside 1 … POINTS_MAX; LoyaltyError for a mistake of ours."""
    key, form = command.key, _FORMS[type(command)]
    own = [getattr(command, name) for name in form.texts]
    texts = (key.tenant, key.programme, key.idem, actor, call_id, reason, *own)
    if not form.shape.fullmatch(_BETWEEN.join(texts)):
        raise LoyaltyError("command_malformed", "A name, key, reason or account has not its shape.")
    if any(getattr(command, moment).tzinfo is None for moment in form.moments):
        raise LoyaltyError("command_malformed", "A moment names no time zone.")
    points = getattr(command, "points", None)
    return None if points is None or _is_amount(command, points) else Rejected(Refusal.AMOUNT_WRONG)


def request_hash(command: Command) -> str:
    """SHA-256, hexadecimal, of what the command intends; the same for each retry under its key."""
    kind = type(command)
    told = [getattr(command, name) for name in _INTENTION[kind]]
    body = _ENCODED([kind.__name__, command.key.tenant, command.key.programme, *told])
    return hashlib.sha256(body.encode()).hexdigest()


def _is_amount(command: Command, points: object) -> bool:
    if type(points) is not int:
        return False
    return 1 <= (abs(points) if isinstance(command, Adjust) else points) <= POINTS_MAX
