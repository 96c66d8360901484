"""Redemptions in the database: one row each, from the first reservation to its end.

Every function works in its caller's database transaction. A redemption is known by the caller's key; a row
exists only when something was booked or kept, so a refusal leaves none and its key may be used again.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, update

from loyalty.answers import Channel, Redemption, RedemptionState
from loyalty.errors import LoyaltyError
from loyalty.points import checked_key
from loyalty.programme import Reward, RewardKind
from loyalty.redemption.limits import Use
from loyalty.tables import REDEMPTION
from loyalty.tenancy import TenantConn
from pay_ivr.ids import new_id

RECEIPT_DIGITS = 9
"""Spoken in three groups of three; enough for every redemption of a programme's life."""
COUNTED = (RedemptionState.RESERVED.value, RedemptionState.DONE.value)
"""States that count against a limit."""


@dataclass(frozen=True)
class Wish:
    """Somebody wants a reward."""

    tenant: str
    member_id: str
    reward_id: str
    key: str
    channel: Channel
    call_id: str
    by: str

    def __post_init__(self) -> None:
        checked_key(self.key)

    @property
    def request_hash(self) -> str:
        """The same for each retry."""
        return hashlib.sha256(f"{self.member_id}|{self.reward_id}".encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """A redemption's row."""

    redemption_id: str
    request_hash: str
    member_id: str
    account_id: str
    reward_id: str
    kind: RewardKind
    points: int
    state: RedemptionState
    hold_id: str | None
    journal_id: str | None
    code_id: str | None
    source: str | None
    """The shop that has the order, by its id in the file; None: no shop, or an older release kept none."""
    receipt: str | None
    channel: Channel
    call_id: str
    at: str

    @property
    def public(self) -> Redemption:
        """As it is listed."""
        return Redemption(
            self.redemption_id,
            self.member_id,
            self.reward_id,
            self.kind,
            self.points,
            self.state,
            self.receipt or "",
            self.channel,
            self.at,
        )


def by_key(conn: TenantConn, wish: Wish) -> Record | None:
    """What was made of this key before; LoyaltyError("key_reused") for another wish's."""
    found = _one(conn, REDEMPTION.c.idem == wish.key)
    if found is not None and found.request_hash != wish.request_hash:
        raise LoyaltyError("key_reused", "This key was used for another redemption.")
    return found


def by_id(conn: TenantConn, redemption_id: str) -> Record | None:
    """One redemption of the tenant."""
    return _one(conn, REDEMPTION.c.redemption_id == redemption_id)


def by_journal(conn: TenantConn, journal_id: str) -> Record | None:
    """The redemption that was booked by this journal."""
    return _one(conn, REDEMPTION.c.journal_id == journal_id)


def of_member(conn: TenantConn, member_id: str, limit: int) -> tuple[Record, ...]:
    """The member's last redemptions, newest first."""
    mine = (REDEMPTION.c.tenant == conn.tenant, REDEMPTION.c.member_id == member_id)
    newest = (REDEMPTION.c.at.desc(), REDEMPTION.c.redemption_id)
    query = select(REDEMPTION).where(*mine).order_by(*newest).limit(limit)
    return tuple(map(_record, conn.execute(query).mappings()))


def reserved_before(conn: TenantConn, before: str, limit: int, after: str = "") -> tuple[Record, ...]:
    """Redemptions whose source has had the word since then or longer, by id, those behind `after`."""
    return _reserved(conn, before, limit, REDEMPTION.c.redemption_id > after)


def stranded_before(
    conn: TenantConn, before: str, limit: int, *, sources: Sequence[str], rewards: Sequence[str]
) -> tuple[Record, ...]:
    """Those that nobody can ask about: their shop is none of `sources`.

    Where no shop was kept, their reward is none of `rewards`.
    """
    kept, reward_id = REDEMPTION.c.source, REDEMPTION.c.reward_id
    gone = kept.is_not(None) & kept.not_in(sources)
    return _reserved(conn, before, limit, gone | (kept.is_(None) & reward_id.not_in(rewards)))


def _reserved(conn: TenantConn, before: str, limit: int, wanted: ColumnElement[bool]) -> tuple[Record, ...]:
    waiting = REDEMPTION.c.state == RedemptionState.RESERVED.value
    mine = (REDEMPTION.c.tenant == conn.tenant, waiting, REDEMPTION.c.at < before)
    query = select(REDEMPTION).where(*mine, wanted).order_by(REDEMPTION.c.redemption_id).limit(limit)
    return tuple(map(_record, conn.execute(query).mappings()))


def add(conn: TenantConn, programme: str, wish: Wish, **values: Any) -> Record:
    """A new row; `values` are the columns that the wish does not tell."""
    row = {
        "redemption_id": new_redemption_id(),
        "request_hash": wish.request_hash,
        "member_id": wish.member_id,
        "reward_id": wish.reward_id,
        "channel": wish.channel.value,
        "call_id": wish.call_id,
        "hold_id": None,
        "journal_id": None,
        "code_id": None,
        "source": None,
        "receipt": None,
        **values,
    }
    conn.execute(insert(REDEMPTION).values(tenant=conn.tenant, programme=programme, idem=wish.key, **row))
    return _record(row)


def change(conn: TenantConn, record: Record, **values: Any) -> None:
    """Other values of a row that nobody has changed since it was read."""
    mine = (REDEMPTION.c.tenant == conn.tenant, REDEMPTION.c.redemption_id == record.redemption_id)
    same = update(REDEMPTION).where(*mine, REDEMPTION.c.state == record.state.value)
    if conn.execute(same.values(**values)).rowcount != 1:
        raise LoyaltyError("redemption_moved", "The redemption has just changed.", retryable=True)


def use(conn: TenantConn, reward: Reward, member_id: str, midnight: str) -> Use:
    """How often a reward was had; everybody's is counted only for a reward that is limited for all."""
    counts = (
        REDEMPTION.c.tenant == conn.tenant,
        REDEMPTION.c.reward_id == reward.id,
        REDEMPTION.c.state.in_(COUNTED),
    )
    at = conn.execute(select(REDEMPTION.c.at).where(*counts, REDEMPTION.c.member_id == member_id)).scalars()
    moments = list(at)
    by_all = 0
    if reward.total_max:
        by_all = conn.execute(select(func.count()).select_from(REDEMPTION).where(*counts)).scalar_one()
    return Use(sum(moment >= midnight for moment in moments), len(moments), int(by_all))


def new_redemption_id() -> str:
    """Its source and its message are known by it too."""
    return new_id("red")


def free_receipt(conn: TenantConn, programme: str) -> str:
    """A receipt number that no redemption of the programme has."""
    while True:
        receipt = f"{secrets.randbelow(10**RECEIPT_DIGITS):0{RECEIPT_DIGITS}d}"
        mine = (REDEMPTION.c.tenant == conn.tenant, REDEMPTION.c.programme == programme)
        taken = select(func.count()).select_from(REDEMPTION).where(*mine, REDEMPTION.c.receipt == receipt)
        if not conn.execute(taken).scalar_one():
            return receipt


def _one(conn: TenantConn, which: ColumnElement[bool]) -> Record | None:
    query = select(REDEMPTION).where(REDEMPTION.c.tenant == conn.tenant, which)
    row = conn.execute(query).mappings().one_or_none()
    return None if row is None else _record(row)


def _record(row: Any) -> Record:
    values = {name: row[name] for name in Record.__dataclass_fields__}
    values["kind"] = RewardKind(values["kind"])
    values["state"] = RedemptionState(values["state"])
    values["channel"] = Channel(values["channel"])
    return Record(**values)
