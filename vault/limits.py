"""Limits on attempts: who is counted, for how long, and which cards are not to be tried again.

`vault/velocity.py` has the rules, this file the tables. Cards, ranges and callers' numbers stand here as
keyed hashes only (`vault/keys.py`), which differ by tenant: nobody is followed from one merchant to the next.
A row is swept as soon as no rule looks at it any more, and with the last row that refers to it a version of
the hash key may be retired.

An attempt is counted when it is admitted, in one transaction with the look at the rules, so that a thousand
at once are counted like a thousand one after the other; its outcome corrects the count in the transaction
that stores it. A crash in between leaves one try too many in the count, never one too few.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from hmac import digest

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    Select,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.outbox import Entry, add, stamp
from vault.fingerprint import DIGEST_BYTES, keys_message, letters
from vault.keys import Keys, Purpose
from vault.progress import Ready
from vault.providers.base import Outcome, OutcomeKind
from vault.store import METADATA, Change, PaymentRow, Store
from vault.tenant import Tenant
from vault.velocity import DAY_S, WINDOW_MAX_S, Counted, Kind, Limit, Rule, broken

DO_NOT_TRY_AGAIN = "do_not_try_again"
"""The advice of an issuer that will never approve this card (Visa category 1, Mastercard MAC 03 and 21)."""
MARKS_KEPT_S = 7 * DAY_S
"""How long a payment may wait between keying and its last attempt; after that only the tenant is counted."""
NUMBER_MAX = 40
"""Characters of a caller's number that are hashed; E.164 has 15 digits."""

MARKS = Table(
    "payment_marks",
    METADATA,
    Column("payment_id", String(64), primary_key=True),
    Column("kind", String(8), primary_key=True),
    Column("mark", String(48), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
)
"""What a payment is counted by: its caller and, once keyed, its card, under every valid version."""

USES = Table(
    "limit_uses",
    METADATA,
    Column("use_id", Integer, primary_key=True),
    Column("attempt_key", String(128), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("mark", String(80), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
    UniqueConstraint("attempt_key", "kind"),
)
"""One row per attempt and kind, with the newest mark: what the rules count."""
# Every column that a count looks at: the rows themselves are not read.
Index("limit_uses_by_mark", USES.c.kind, USES.c.mark, USES.c.at_ms, USES.c.state, USES.c.attempt_key)

BARRED = Table(
    "barred_cards",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("mark", String(80), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("raw_code", String(64), nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False, index=True),
)
"""Cards whose issuer said: do not try again."""

_UNDER_WAY, _APPROVED, _DECLINED, _VOID = "under_way", "approved", "declined", "void"
_COUNTED = {
    Counted.ATTEMPTS: (_UNDER_WAY, _APPROVED, _DECLINED),
    Counted.DECLINES: (_UNDER_WAY, _DECLINED),
    Counted.CARDS: (_UNDER_WAY, _APPROVED, _DECLINED),
}
_STATES = {
    OutcomeKind.AUTHORISED: _APPROVED,
    OutcomeKind.DECLINED: _DECLINED,
    OutcomeKind.REQUIRES_ACTION: _DECLINED,
    OutcomeKind.NEVER_SENT: _VOID,
    OutcomeKind.UNKNOWN: _UNDER_WAY,
}
"""A provider that cannot be reached is nobody's attack: what was never sent is not counted."""

Mark = tuple[str, int]
"""A keyed hash and the version of its key; an id of ours has version 0."""


class Limits:
    """Counts the attempts of this node and says which may not be sent."""

    def __init__(self, store: Store, keys: Keys, tenants: Mapping[str, Tenant]) -> None:
        self._store = store
        self._keys = keys
        self._tenants = tenants

    # --- what a payment is counted by -----------------------------------------------------------------------

    async def created(self, change: Change, row: PaymentRow, caller_number: str) -> None:
        """Remembers the caller of a new payment; an empty number is a withheld one."""
        number = caller_number.strip()[:NUMBER_MAX].encode()
        keys = self._keys.derived(Purpose.CALLER, row.tenant) if number else ()
        marks = [(_caller_mark(version, key.reveal(), number), version) for version, key in keys]
        await _remember(change.conn, row.payment_id, Kind.CALLER, marks)

    async def keyed(self, change: Change, row: PaymentRow, ready: Ready) -> None:
        """Remembers the card that was keyed, in place of one keyed before."""
        await _remember(change.conn, row.payment_id, Kind.CARD, map(_with_version, ready.fingerprints))
        await _remember(change.conn, row.payment_id, Kind.BIN, map(_with_version, ready.bins))

    def cell_keys(self, tenant: str) -> bytes:
        """The message by which a new cell gets the keys to know a card and its range again."""
        cards = self._keys.derived(Purpose.FINGERPRINT, tenant)
        ranges = dict(self._keys.derived(Purpose.BIN, tenant))
        return keys_message((version, key.reveal(), ranges[version].reveal()) for version, key in cards)

    # --- attempts ---------------------------------------------------------------------------------------

    async def admit(self, row: PaymentRow, attempt_key: str, now_ms: int | None = None) -> Limit | None:
        """Counts an attempt about to be sent, or says which limit forbids it, on record; asked twice, once.

        Called before the attempt is committed. The reason goes to the log and stays there: whoever is on the
        line is told what every declined card is told.
        """
        now = _now_ms() if now_ms is None else now_ms
        tenant = self._tenants.get(row.tenant)
        rules = tenant.velocity.rules() if tenant and tenant.velocity else ()
        async with self._store.changing() as change:
            marks = await _marks(change.conn, row)
            limit = await _verdict(change.conn, attempt_key, marks, rules, now) if rules else None
            if limit is None:
                await _count(change.conn, attempt_key, marks, now)
            else:
                await add(change.conn, _entry("payment.attempt.limited", row, reason=limit.value))
        return limit

    async def ended(
        self, change: Change, row: PaymentRow, attempt_key: str, outcome: Outcome, now_ms: int | None = None
    ) -> None:
        """Corrects the count by what an attempt came to, in the transaction that stores it."""
        now = _now_ms() if now_ms is None else now_ms
        ours = USES.c.attempt_key == attempt_key
        await change.conn.execute(update(USES).where(ours).values(state=_STATES[outcome.kind]))
        tenant = self._tenants.get(row.tenant)
        days = tenant.velocity.do_not_try_again_days if tenant and tenant.velocity else 0
        if days and outcome.kind is OutcomeKind.DECLINED and outcome.advice == DO_NOT_TRY_AGAIN:
            await self._bar(change.conn, row, attempt_key, outcome.raw_code, now, days)

    @staticmethod
    async def _bar(
        conn: AsyncConnection, row: PaymentRow, attempt_key: str, raw_code: str, now_ms: int, days: int
    ) -> None:
        wanted = select(USES).where(USES.c.attempt_key == attempt_key, USES.c.kind == Kind.CARD.value)
        card = (await conn.execute(wanted)).first()
        if card is None:
            return
        same = (BARRED.c.tenant == row.tenant) & (BARRED.c.mark == card.mark)
        await conn.execute(delete(BARRED).where(same))
        values = {"tenant": row.tenant, "mark": card.mark, "key_version": card.key_version}
        until_ms = now_ms + days * DAY_S * 1000
        await conn.execute(
            insert(BARRED).values(**values, raw_code=raw_code[:64], since_ms=now_ms, until_ms=until_ms)
        )
        await add(conn, _entry("payment.card.barred", row, days=days))

    # --- upkeep -----------------------------------------------------------------------------------------

    async def sweep(self, now_ms: int | None = None) -> int:
        """Removes what no rule looks at any more; how many rows that were."""
        now = _now_ms() if now_ms is None else now_ms
        stale = (
            delete(MARKS).where(MARKS.c.at_ms <= now - MARKS_KEPT_S * 1000),
            delete(USES).where(USES.c.at_ms <= now - WINDOW_MAX_S * 1000),
            delete(BARRED).where(BARRED.c.until_ms <= now),
        )
        async with self._store.changing() as change:
            return sum([(await change.conn.execute(each)).rowcount for each in stale])

    async def key_versions_in_use(self) -> dict[int, int]:
        """Version of the hash key -> rows that need it to be recognised."""
        return await self._store.key_versions(MARKS, USES, BARRED)


async def _remember(conn: AsyncConnection, payment_id: str, kind: Kind, marks: Iterable[Mark]) -> None:
    ours = (MARKS.c.payment_id == payment_id) & (MARKS.c.kind == kind.value)
    await conn.execute(delete(MARKS).where(ours))
    head = {"payment_id": payment_id, "kind": kind.value, "at_ms": _now_ms()}
    rows = [{**head, "mark": mark, "key_version": version} for mark, version in marks]
    if rows:
        await conn.execute(insert(MARKS), rows)


async def _marks(conn: AsyncConnection, row: PaymentRow) -> dict[Kind, list[Mark]]:
    """What an attempt is counted by, newest marks first; a card on file by its id."""
    marks: dict[Kind, list[Mark]] = {Kind.TENANT: [(row.tenant, 0)]}
    if row.card_id:
        marks[Kind.CARD] = [(row.card_id, 0)]
    wanted = select(MARKS).where(MARKS.c.payment_id == row.payment_id).order_by(MARKS.c.key_version.desc())
    for found in (await conn.execute(wanted)).all():
        marks.setdefault(Kind(found.kind), []).append((found.mark, found.key_version))
    return marks


async def _verdict(
    conn: AsyncConnection,
    attempt_key: str,
    marks: Mapping[Kind, Sequence[Mark]],
    rules: Sequence[Rule],
    now_ms: int,
) -> Limit | None:
    """The limit that forbids this attempt, or None; had it been counted before, it does not count itself."""
    own_cards, (tenant,) = _names(marks, Kind.CARD), _names(marks, Kind.TENANT)
    barred = select(func.count()).where(
        BARRED.c.tenant == tenant, BARRED.c.mark.in_(own_cards), BARRED.c.until_ms > now_ms
    )
    others = USES.c.attempt_key != attempt_key
    counting = {Limit.CARD_BARRED: barred} | {
        rule.limit: _counting(rule, _names(marks, rule.kind), own_cards, now_ms).where(others)
        for rule in rules
        if rule.kind in marks
    }
    # One statement: every other one would keep the only connection for longer than all the counting takes.
    columns = [query.scalar_subquery().label(limit.value) for limit, query in counting.items()]
    counts = dict(zip(counting, (await conn.execute(select(*columns))).one(), strict=True))
    return Limit.CARD_BARRED if counts[Limit.CARD_BARRED] else broken(rules, counts)


def _counting(rule: Rule, names: Sequence[str], own_cards: Sequence[str], now_ms: int) -> Select[int]:
    """The query of one rule's count before this attempt."""
    ours = (
        (USES.c.kind == rule.kind.value)
        & USES.c.mark.in_(names)
        & (USES.c.at_ms > now_ms - rule.window_s * 1000)
        & USES.c.state.in_(_COUNTED[rule.counted])
    )
    if rule.counted is not Counted.CARDS:
        return select(func.count()).select_from(USES).where(ours)
    card = USES.alias("card")
    joined = USES.join(card, card.c.attempt_key == USES.c.attempt_key)
    others = (card.c.kind == Kind.CARD.value) & card.c.mark.not_in(own_cards)
    return select(func.count(card.c.mark.distinct())).select_from(joined).where(ours & others)


async def _count(
    conn: AsyncConnection, attempt_key: str, marks: Mapping[Kind, Sequence[Mark]], now_ms: int
) -> None:
    await conn.execute(delete(USES).where(USES.c.attempt_key == attempt_key))
    head = {"attempt_key": attempt_key, "state": _UNDER_WAY, "at_ms": now_ms}
    rows = [
        {**head, "kind": kind.value, "mark": of_kind[0][0], "key_version": of_kind[0][1]}
        for kind, of_kind in marks.items()
    ]
    await conn.execute(insert(USES), rows)


def _names(marks: Mapping[Kind, Sequence[Mark]], kind: Kind) -> list[str]:
    return [name for name, _version in marks.get(kind, ())]


def _with_version(mark: str) -> Mark:
    return mark, int(mark.split("_")[1])


def _caller_mark(version: int, key: bytes, number: bytes) -> str:
    return f"tel_{version}_{letters(digest(key, number, 'sha256')[:DIGEST_BYTES])}"


def _entry(name: str, row: PaymentRow, **data: int | str) -> Entry:
    return Entry(name, stamp(), "system:broker", row.payment_id, row.tenant, row.call_id, data=data)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
