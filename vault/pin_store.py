"""The PINs of vault.db: hashes, misses, counts by window, reset codes; and the two steps of every try.

A try is *admitted* in one transaction: the limits are looked at, and the miss is counted before anything is
compared, so that a thousand tries at once are a thousand misses and a crash leaves one miss too many, never
one too few. It is *settled* in a second one: a right PIN takes its miss back, with a new hash where one was
keyed. A member without a PIN, or who does not exist, gets a row of misses and the very same statements.

No row holds a PIN, a digit of one, or a caller's number: hashes and marks are keyed (`vault/keys.py`) and
written as letters, and a mark of a PIN value stands beside no member.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hmac import compare_digest
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.outbox import Entry, add
from vault.door import PinStanding, Refused
from vault.pin_hash import HASH_BYTES
from vault.pin_velocity import (
    DAY_S,
    PinKind,
    PinLimit,
    PinRule,
    broken,
    window_end_ms,
    window_of,
)
from vault.store import METADATA, Store

CODE_LIVES_S = 600
"""A reset code arrives within seconds and is keyed within minutes."""
CODE_TRIES = 3
"""Of 10^8 codes; a slip or two is human."""
CODES_PER_DAY = 5
"""Codes for one member: more is somebody else who asks."""
IDLE_ROWS_KEPT_S = 400 * DAY_S
"""How long misses are kept of somebody who has no PIN: as if he were a member who never calls."""

PINS = Table(
    "pins",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("member_id", String(80), primary_key=True),
    Column("hash", String(64)),
    Column("salt", String(32), nullable=False),
    Column("scheme", String(48), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("misses", Integer, nullable=False),
    Column("home", String(48), nullable=False),
    Column("touched_ms", BigInteger, nullable=False, index=True),
    CheckConstraint("misses >= 0", name="misses_are_counted_up"),
    Index("pins_by_scheme", "tenant", "scheme"),
)
"""One row per member who has a PIN or was tried; `hash` is NULL without a PIN.

`home` is the mark of the number from which a PIN was last right, empty for none.
"""

PIN_COUNTS = Table(
    "pin_counts",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("kind", String(8), primary_key=True),
    Column("mark", String(80), primary_key=True),
    Column("window_s", Integer, primary_key=True),
    Column("window", BigInteger, primary_key=True),
    Column("misses", Integer, nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("until_ms", BigInteger, nullable=False, index=True),
)
"""Misses by what they are counted together by, in one window of the clock each."""

PIN_CODES = Table(
    "pin_codes",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("member_id", String(80), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("tries_left", Integer, nullable=False),
    Column("until_ms", BigInteger, nullable=False, index=True),
    CheckConstraint("tries_left >= 0", name="tries_are_counted_down"),
)
"""The reset code of a member, as a keyed hash."""

_ROW = select(PINS).where(PINS.c.tenant == bindparam("tenant"), PINS.c.member_id == bindparam("member_id"))
_OTHER = (
    select(PINS.c.member_id)
    .where(
        PINS.c.tenant == bindparam("tenant"),
        ((PINS.c.scheme > "") & (PINS.c.scheme < bindparam("scheme")))
        | (PINS.c.scheme > bindparam("scheme")),
        PINS.c.hash.is_not(None),
    )
    .limit(1)
)
_missed = upsert(PINS)
_MISS = _missed.on_conflict_do_update(
    index_elements=(PINS.c.tenant, PINS.c.member_id),
    set_={"misses": PINS.c.misses + 1, "touched_ms": _missed.excluded.touched_ms},
).returning(PINS.c.misses)
_COUNTED = select(PIN_COUNTS.c.kind, PIN_COUNTS.c.window_s, PIN_COUNTS.c.misses).where(
    PIN_COUNTS.c.tenant == bindparam("tenant"),
    tuple_(PIN_COUNTS.c.kind, PIN_COUNTS.c.mark, PIN_COUNTS.c.window_s, PIN_COUNTS.c.window).in_(
        bindparam("places", expanding=True)
    ),
)
_counted = upsert(PIN_COUNTS)
_COUNT = _counted.on_conflict_do_update(
    index_elements=PIN_COUNTS.primary_key,
    set_={"misses": PIN_COUNTS.c.misses + _counted.excluded.misses},
)
"""What every try runs, put together once: building a statement costs more than SQLite takes for it."""

AWAY_ONLY = frozenset({PinKind.VALUE, PinKind.TENANT})
"""What does not stop a member at the telephone where his PIN was last right: else whoever rings often enough
keeps everybody out. His own three tries and his telephone's limit hold there as anywhere."""

_NOBODYS = "p" * (2 * HASH_BYTES)
"""What the hash of somebody without a PIN is compared with: never right, as letters of the same number."""


@dataclass(frozen=True)
class Member:
    """Whose PIN it is."""

    tenant: str
    member_id: str


@dataclass(frozen=True, repr=False)
class Stored:
    """A hash as it is stored; `scheme` names pepper and cost (`vault/pins.py`)."""

    hash: str | None
    salt: str
    scheme: str
    key_version: int


@dataclass(frozen=True)
class Mark:
    """What misses are counted together by; a name of ours has version 0."""

    kind: PinKind
    name: str
    key_version: int = 0


@dataclass(frozen=True, repr=False)
class Proof:
    """One try: what the cell told, and under which stored salt; for a code, that is empty."""

    hash: str
    salt: str
    marks: tuple[Mark, ...]


class Held(StrEnum):
    """Why a try is not compared."""

    LOCKED = "locked"
    LIMITED = "limited"
    STALE = "stale"
    """The PIN was changed while it was being keyed."""


@dataclass(frozen=True)
class Admitted:
    """A try whose miss is counted: right or not, and whether it was the last."""

    right: bool
    last: bool
    at_ms: int
    """Its windows are those of this moment, also when the count is taken back."""


class PinStore:
    """The PINs of one vault.db."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- what is stored ---------------------------------------------------------------------------------

    async def stored(self, member: Member) -> Stored | None:
        """The member's hash and how it was made; None when there is no PIN."""
        async with self._store.engine.connect() as conn:
            found = (await conn.execute(_ROW, vars(member))).first()
        if found is None or found.hash is None:
            return None
        return Stored(found.hash, found.salt, found.scheme, found.key_version)

    async def code_version(self, member: Member) -> int | None:
        """The version of the key under which the member's reset code is stored; None when there is none."""
        wanted = select(PIN_CODES.c.key_version).where(_of(PIN_CODES, member))
        async with self._store.engine.connect() as conn:
            return (await conn.execute(wanted)).scalar_one_or_none()

    async def has_other_schemes(self, tenant: str, scheme: str) -> bool:
        """True while a PIN of the tenant waits for its next success to be hashed anew."""
        async with self._store.engine.connect() as conn:
            return (await conn.execute(_OTHER, {"tenant": tenant, "scheme": scheme})).first() is not None

    async def standing(self, member: Member, tries: int) -> PinStanding:
        """Whether there is a PIN, and how it stands."""
        async with self._store.engine.connect() as conn:
            found = (await conn.execute(_ROW, vars(member))).first()
        if found is None:
            return PinStanding(set=False, locked=False, misses=0)
        return PinStanding(found.hash is not None, found.misses >= tries, found.misses)

    # --- a try ------------------------------------------------------------------------------------------

    async def admit(
        self,
        member: Member,
        proof: Proof,
        rules: Sequence[PinRule],
        tries: int,
        limited: Entry,
        now_ms: int | None = None,
    ) -> Admitted | Held:
        """Counts a miss and compares, or says why not. `limited` goes on record when a limit says no."""
        now = _now_ms() if now_ms is None else now_ms
        async with self._store.changing() as change:
            before = (await change.conn.execute(_ROW, vars(member))).first()
            if before is not None and before.misses >= tries:
                return Held.LOCKED
            held = _held_at(before.home if before is not None else "", proof.marks, rules)
            if await _is_limited(change.conn, member.tenant, proof.marks, held, now, limited):
                return Held.LIMITED
            if before is not None and before.hash is not None and before.salt != proof.salt:
                return Held.STALE
            misses = await _count_miss(change.conn, member, now)
            await _count(change.conn, member.tenant, proof.marks, rules, now)
        known = before.hash if before is not None and before.hash is not None else _NOBODYS
        return Admitted(compare_digest(known, proof.hash), misses >= tries, now)

    async def admit_code(
        self,
        member: Member,
        proof: Proof,
        rules: Sequence[PinRule],
        limited: Entry,
        now_ms: int | None = None,
    ) -> Admitted | Held:
        """The same for a reset code: one of its tries is used up before it is compared."""
        now = _now_ms() if now_ms is None else now_ms
        good = _of(PIN_CODES, member) & (PIN_CODES.c.tries_left > 0) & (PIN_CODES.c.until_ms > now)
        used = update(PIN_CODES).where(good).values(tries_left=PIN_CODES.c.tries_left - 1)
        async with self._store.changing() as change:
            if await _is_limited(change.conn, member.tenant, proof.marks, rules, now, limited):
                return Held.LIMITED
            found = (await change.conn.execute(used.returning(PIN_CODES.c.digest))).first()
            await _count(change.conn, member.tenant, proof.marks, rules, now)
        known = found.digest if found is not None else _NOBODYS
        return Admitted(compare_digest(known, proof.hash), last=False, at_ms=now)

    async def accept(
        self,
        member: Member,
        admitted: Admitted,
        proof: Proof,
        rules: Sequence[PinRule],
        entry: Entry,
        fresh: Stored | None,
    ) -> bool:
        """A right PIN takes its miss back, with its new hash; False, and nothing done, when it was changed.

        A right code is used up by it, once: of two entries that were admitted with it the second gets False,
        and so does one whose code was replaced meanwhile.
        """
        async with self._store.changing() as change:
            same = _of(PINS, member)
            if proof.salt:
                same &= PINS.c.salt == proof.salt
            else:
                mine = _of(PIN_CODES, member) & (PIN_CODES.c.digest == proof.hash)
                if (await change.conn.execute(delete(PIN_CODES).where(mine))).rowcount != 1:
                    return False
                await _touch(change.conn, member, admitted.at_ms)
            values: dict[str, Any] = {"misses": 0, "touched_ms": admitted.at_ms, **_hash_values(fresh)}
            numbers = [mark.name for mark in proof.marks if mark.kind is PinKind.CALLER]
            values |= {"home": numbers[0]} if numbers else {}
            if (await change.conn.execute(update(PINS).where(same).values(**values))).rowcount != 1:
                return False
            await _count(change.conn, member.tenant, proof.marks, rules, admitted.at_ms, by=-1)
            await add(change.conn, entry)
        return True

    async def refuse(self, entries: Iterable[Entry]) -> None:
        """A wrong PIN stays counted; this puts it on record."""
        async with self._store.changing() as change:
            for entry in entries:
                await add(change.conn, entry)

    async def set_first(self, member: Member, fresh: Stored, entry: Entry, now_ms: int | None = None) -> bool:
        """The member's first PIN; False, and nothing done, when there is one."""
        now = _now_ms() if now_ms is None else now_ms
        async with self._store.changing() as change:
            await _touch(change.conn, member, now)
            none_yet = _of(PINS, member) & PINS.c.hash.is_(None)
            values = {"misses": 0, "touched_ms": now, **_hash_values(fresh)}
            if (await change.conn.execute(update(PINS).where(none_yet).values(**values))).rowcount != 1:
                return False
            await add(change.conn, entry)
        return True

    # --- what an agent may do -----------------------------------------------------------------------------

    async def unlock(self, member: Member, entry: Entry) -> None:
        """The member may try again."""
        async with self._store.changing() as change:
            await change.conn.execute(update(PINS).where(_of(PINS, member)).values(misses=0))
            await add(change.conn, entry)

    async def put_code(
        self, member: Member, digest: str, key_version: int, entry: Entry, now_ms: int | None = None
    ) -> None:
        """A new reset code in place of any older one; `Refused("pin_codes_used")` after too many today."""
        now = _now_ms() if now_ms is None else now_ms
        mark = (Mark(PinKind.CODES, member.member_id),)
        rules = (PinRule(PinLimit.CODES_DAY, PinKind.CODES, DAY_S, CODES_PER_DAY),)
        values = {"tenant": member.tenant, "member_id": member.member_id, "digest": digest}
        values |= {"key_version": key_version, "tries_left": CODE_TRIES}  # type: ignore[dict-item]
        values |= {"until_ms": now + CODE_LIVES_S * 1000}  # type: ignore[dict-item]
        async with self._store.changing() as change:
            if broken(rules, await _misses(change.conn, member.tenant, mark, rules, now)):
                raise Refused(
                    "pin_codes_used", "Too many codes for this member today. Identify him another way."
                )
            await _count(change.conn, member.tenant, mark, rules, now)
            await change.conn.execute(delete(PIN_CODES).where(_of(PIN_CODES, member)))
            await change.conn.execute(insert(PIN_CODES).values(**values))
            await add(change.conn, entry)

    async def forget(self, member: Member, entry: Entry) -> None:
        """Nothing is stored of the member any more."""
        async with self._store.changing() as change:
            for table in (PINS, PIN_CODES):
                await change.conn.execute(delete(table).where(_of(table, member)))
            await add(change.conn, entry)

    # --- upkeep -----------------------------------------------------------------------------------------

    async def sweep(self, now_ms: int | None = None) -> int:
        """Removes windows and codes that are over, and old misses of those without a PIN; how many rows."""
        now = _now_ms() if now_ms is None else now_ms
        idle = PINS.c.hash.is_(None) & (PINS.c.touched_ms <= now - IDLE_ROWS_KEPT_S * 1000)
        stale = (
            delete(PIN_COUNTS).where(PIN_COUNTS.c.until_ms <= now),
            delete(PIN_CODES).where(PIN_CODES.c.until_ms <= now),
            delete(PINS).where(idle),
        )
        async with self._store.changing() as change:
            return sum([(await change.conn.execute(each)).rowcount for each in stale])

    async def key_versions_in_use(self) -> dict[int, int]:
        """Version of the vault's key -> rows that need it."""
        return await self._store.key_versions(PINS, PIN_COUNTS, PIN_CODES)


def _of(table: Table, member: Member) -> Any:
    return (table.c.tenant == member.tenant) & (table.c.member_id == member.member_id)


def _hash_values(fresh: Stored | None) -> dict[str, Any]:
    if fresh is None:
        return {}
    values = {"hash": fresh.hash, "salt": fresh.salt, "scheme": fresh.scheme}
    return {**values, "key_version": fresh.key_version}


def _empty_row(member: Member, now_ms: int) -> dict[str, Any]:
    """The row of somebody without a PIN."""
    head = {"tenant": member.tenant, "member_id": member.member_id, "touched_ms": now_ms}
    return {**head, "hash": None, "salt": "", "scheme": "", "key_version": 0, "misses": 0, "home": ""}


def _held_at(home: str, marks: Sequence[Mark], rules: Sequence[PinRule]) -> list[PinRule]:
    """The rules that hold for a caller at this telephone."""
    at_home = any(mark.name == home for mark in marks if mark.kind is PinKind.CALLER)
    return [rule for rule in rules if not (at_home and rule.kind in AWAY_ONLY)]


async def _touch(conn: AsyncConnection, member: Member, now_ms: int) -> None:
    """A row for the member, if there is none."""
    await conn.execute(upsert(PINS).values(**_empty_row(member, now_ms)).on_conflict_do_nothing())


async def _count_miss(conn: AsyncConnection, member: Member, now_ms: int) -> int:
    """One miss more, and how many that are; one statement, whoever the member is."""
    first = {**_empty_row(member, now_ms), "misses": 1}
    return int((await conn.execute(_MISS, first)).scalar_one())


async def _is_limited(
    conn: AsyncConnection,
    tenant: str,
    marks: Sequence[Mark],
    rules: Sequence[PinRule],
    now_ms: int,
    limited: Entry,
) -> bool:
    limit = broken(rules, await _misses(conn, tenant, marks, rules, now_ms))
    if limit is not None:
        await add(conn, _because(limited, limit))
    return limit is not None


async def _misses(
    conn: AsyncConnection, tenant: str, marks: Sequence[Mark], rules: Sequence[PinRule], now_ms: int
) -> dict[tuple[PinKind, int], int]:
    """The misses so far by kind and length of the window, in the windows of this moment."""
    places = [
        (mark.kind.value, mark.name, rule.window_s, window_of(rule.window_s, now_ms))
        for mark in marks
        for rule in rules
        if rule.kind is mark.kind
    ]
    rows = (await conn.execute(_COUNTED, {"tenant": tenant, "places": places})).all()
    found: dict[tuple[PinKind, int], int] = {}
    for kind, window_s, misses in rows:  # a caller is counted under every valid version of the key
        key = PinKind(kind), window_s
        found[key] = found.get(key, 0) + misses
    return found


async def _count(
    conn: AsyncConnection,
    tenant: str,
    marks: Sequence[Mark],
    rules: Sequence[PinRule],
    now_ms: int,
    by: int = 1,
) -> None:
    """One miss more or less, by the newest mark of each kind."""
    newest = {mark.kind: mark for mark in reversed(marks)}
    rows = [
        {
            "tenant": tenant,
            "kind": rule.kind.value,
            "mark": newest[rule.kind].name,
            "window_s": rule.window_s,
            "window": window_of(rule.window_s, now_ms),
            "misses": by,
            "key_version": newest[rule.kind].key_version,
            "until_ms": window_end_ms(rule.window_s, now_ms),
        }
        for rule in rules
        if rule.kind in newest
    ]
    if rows:
        await conn.execute(_COUNT, rows)


def _because(entry: Entry, limit: PinLimit) -> Entry:
    return replace(entry, data={**entry.data, "reason": limit.value})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
