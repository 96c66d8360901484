"""app.db: agents, their logins and phones, access keys, payment codes, calls, and the outbox of the app.

One file, one writer (architecture §1). Every change that the audit log must know adds its outbox row in the
same transaction, so that neither can exist without the other. Times are UTC milliseconds since 1970.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit import outbox
from audit.outbox import Entry, stamp
from pay_ivr.call import CallState, EndReason
from pay_ivr.facts import CallError, CallView
from pay_ivr.people import LOGIN_AGE_MS_MAX, AccessKey, Agent, Login, NewAgent, Permission, SipSecret, Try

TRIES_MAX = 10
"""Wrong passwords before a user is locked: PCI DSS 8.3.4 allows ten."""
LOCK_MS = 30 * 60_000
"""How long a user stays locked: PCI DSS 8.3.4 asks for 30 minutes."""
LOGINS_PER_AGENT_MAX = 10
"""The oldest login of an agent goes when one more comes."""
SEEN_STEP_MS = 30_000
"""`seen_at` is written at most this often: a commit to disk for every request would be waste."""
ENDED_CALLS_KEPT_MS = 90 * 24 * 3_600_000
"""Callers' numbers are personal data: kept for the complaints of a quarter, not longer."""
metadata = MetaData()
MIGRATIONS: tuple[outbox.Migration, ...] = ()
"""From older releases (`audit/schema.py`); tables that a file lacks need none."""

agents = Table(
    "agents",
    metadata,
    Column("agent_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False, index=True),
    Column("language", String(8), nullable=False),
    Column("password_hash", String(255), nullable=False),
    Column("must_change", Boolean, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("locked_until_ms", BigInteger, nullable=False, default=0),
    Column("sip_realm", String(64), nullable=False),
    Column("sip_ha1_md5", String(32), nullable=False),
    Column("sip_ha1_sha256", String(64), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
# The registrar's memory of the run before; `pay_ivr/phones.py` writes and reads it.
phones = Table(
    "phones",
    metadata,
    Column("agent_id", String(64), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("uri", String, nullable=False),
    Column("ip", String(45), nullable=False),
    Column("port", Integer, nullable=False),
    Column("instance", String),
    Column("expires_at_ms", BigInteger, nullable=False),
)
logins = Table(
    "logins",
    metadata,
    Column("login_sha256", LargeBinary(32), primary_key=True),
    Column("agent_id", String(64), nullable=False, index=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
)
access_keys = Table(
    "access_keys",
    metadata,
    Column("prefix", String(16), primary_key=True),
    Column("secret_sha256", LargeBinary(32), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("label", String(64), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
)
# What an agent (`agent:…`) or an access key (`key:…`) may do beyond his own payments.
permissions = Table(
    "permissions",
    metadata,
    Column("holder", String(80), primary_key=True),
    Column("permission", String(16), primary_key=True),
)
payment_codes = Table(
    "payment_codes",
    metadata,
    Column("code", String(8), primary_key=True),
    Column("order_id", String(64), nullable=False, unique=True),
    Column("tenant", String(64), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("reference", String(64), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("state", String(8), nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("taken_at_ms", BigInteger),
    Column("payment_id", String(64)),
    Index("payment_codes_tenant_state", "tenant", "state"),
)
code_tries = Table(
    "code_tries",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("caller", String(64), primary_key=True),
    Column("tries", Integer, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)


def _of_call() -> tuple[Column[Any], ...]:
    """What is kept of a call, live or ended."""
    return (
        Column("call_id", String(64), primary_key=True),
        Column("tenant", String(64), nullable=False),
        Column("flow", String(64), nullable=False),
        Column("agent_id", String(64)),
        Column("caller", String(64), nullable=False),
        Column("did", String(32), nullable=False),
        Column("language", String(8), nullable=False),
        Column("started_at", String(32), nullable=False),
    )


# A row here without a call in memory is a call that died with an earlier run of the app.
live_calls = Table("live_calls", metadata, *_of_call())
ended_calls = Table(
    "ended_calls",
    metadata,
    *_of_call(),
    Column("ended_at_ms", BigInteger, nullable=False, index=True),
    Column("ended_reason", String(32), nullable=False),
)


class Store:
    """The app's own database; every method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    @classmethod
    async def open(cls, path: Path) -> Self:
        """The database at `path`, made when it is not there; `CallError` when a newer release wrote it."""
        try:
            outbox.bring_forward(path, MIGRATIONS)
        except outbox.SchemaError as error:
            raise CallError(error.code, error.sentence) from None
        engine = outbox.open_database(path)
        await outbox.create_tables(engine, metadata)
        return cls(engine)

    async def close(self) -> None:
        """All connections closed."""
        await self.engine.dispose()

    # Agents

    async def add_agent(self, new: NewAgent, now_ms: int, by: str) -> None:
        """One more agent; `by` is the actor on record. sqlalchemy's IntegrityError when the user exists."""
        agent = new.agent
        async with self.engine.begin() as conn:
            await conn.execute(
                insert(agents).values(
                    agent_id=agent.agent_id,
                    tenant=agent.tenant,
                    language=agent.language,
                    tries=0,
                    locked_until_ms=0,
                    created_at_ms=now_ms,
                    **_secrets_of(new),
                )
            )
            await _note(conn, "agent.user.added", agent, now_ms, actor=by)

    async def agent(self, agent_id: str) -> Agent | None:
        """One agent, or None."""
        async with self.engine.connect() as conn:
            row = (await conn.execute(select(agents).where(agents.c.agent_id == agent_id))).one_or_none()
        return None if row is None else Agent(row.agent_id, row.tenant, row.language)

    async def agents_count(self) -> int:
        """How many agents there are; 0 on a fresh node."""
        async with self.engine.connect() as conn:
            return len((await conn.execute(select(agents.c.agent_id))).all())

    async def sip_secrets(self) -> Mapping[str, SipSecret]:
        """Digest material of all agents' phones, by SIP user, for the registrar."""
        async with self.engine.connect() as conn:
            rows = (await conn.execute(select(agents))).all()
        return {row.agent_id: SipSecret(row.sip_realm, row.sip_ha1_md5, row.sip_ha1_sha256) for row in rows}

    async def reset_agent(self, new: NewAgent, now_ms: int, by: str) -> None:
        """Other passwords for console and phone; tries forgotten, every login and registration ended."""
        async with self.engine.begin() as conn:
            await conn.execute(
                update(agents)
                .where(agents.c.agent_id == new.agent.agent_id)
                .values(tries=0, locked_until_ms=0, **_secrets_of(new))
            )
            await _forget_ways_in(conn, new.agent)
            await _note(conn, "agent.password.reset", new.agent, now_ms, actor=by)

    async def remove_agent(self, agent: Agent, now_ms: int, by: str) -> None:
        """The agent is gone with his logins and the secret of his phone; what he did stays on record."""
        async with self.engine.begin() as conn:
            await _forget_ways_in(conn, agent)
            own = permissions.c.holder == f"agent:{agent.agent_id}"
            await conn.execute(delete(permissions).where(own))
            await conn.execute(delete(agents).where(agents.c.agent_id == agent.agent_id))
            await _note(conn, "agent.user.removed", agent, now_ms, actor=by)

    # Permissions

    async def permissions(self, holder: str) -> frozenset[Permission]:
        """What `agent:…` or `key:…` was given."""
        async with self.engine.connect() as conn:
            rows = (await conn.execute(select(permissions).where(permissions.c.holder == holder))).all()
        return frozenset(Permission(row.permission) for row in rows)

    async def set_permissions(
        self, holder: str, tenant: str, wanted: frozenset[Permission], now_ms: int, by: str
    ) -> None:
        """The holder has these permissions and no others; what changed is on record."""
        before = await self.permissions(holder)
        async with self.engine.begin() as conn:
            for one in sorted(before - wanted):
                same = (permissions.c.holder == holder, permissions.c.permission == one.value)
                await conn.execute(delete(permissions).where(*same))
                await outbox.add(
                    conn, _permission_entry("agent.permission.revoked", one, holder, tenant, now_ms, by)
                )
            for one in sorted(wanted - before):
                await conn.execute(insert(permissions).values(holder=holder, permission=one.value))
                await outbox.add(
                    conn, _permission_entry("agent.permission.granted", one, holder, tenant, now_ms, by)
                )

    # Logins

    async def claim_try(self, agent_id: str, now_ms: int) -> Try | None:
        """A login try, counted before the password is looked at, so that parallel guesses count as well.

        None for an unknown user. The try number TRIES_MAX locks; a right password unlocks again (`accept`).
        """
        async with self.engine.begin() as conn:
            row = (await conn.execute(select(agents).where(agents.c.agent_id == agent_id))).one_or_none()
            if row is None:
                return None
            locked = row.locked_until_ms > now_ms
            if not locked:
                await self._count_try(conn, row, now_ms)
        agent = Agent(row.agent_id, row.tenant, row.language)
        return Try(agent, row.password_hash, row.must_change, locked)

    async def _count_try(self, conn: AsyncConnection, row: Any, now_ms: int) -> None:
        tries = 1 if row.locked_until_ms else row.tries + 1
        locked_until_ms = now_ms + LOCK_MS if tries >= TRIES_MAX else 0
        await conn.execute(
            update(agents)
            .where(agents.c.agent_id == row.agent_id)
            .values(tries=tries, locked_until_ms=locked_until_ms)
        )
        if locked_until_ms:
            agent = Agent(row.agent_id, row.tenant, row.language)
            await _note(conn, "agent.login.locked", agent, now_ms, outcome="refused")

    async def refuse_login(self, agent: Agent, reason: str, now_ms: int, origin: str) -> None:
        """A refused login, on record; reason `wrong_password` or `locked`."""
        async with self.engine.begin() as conn:
            await _note(
                conn, "agent.login.failed", agent, now_ms, outcome="refused", origin=origin, reason=reason
            )

    async def accept_login(
        self,
        claimed: Try,
        login_sha256: bytes,
        now_ms: int,
        origin: str,
        new_password_hash: str | None = None,
    ) -> bool:
        """A right password: tries forgotten, login stored, the password replaced when a new one is given.

        False, and nothing changed, when the hash that was proven is no longer the agent's: a reset, a removal
        or another change of the password has come while it was being proven.
        """
        agent = claimed.agent
        changes: dict[str, object] = {"tries": 0, "locked_until_ms": 0}
        if new_password_hash is not None:
            changes |= {"password_hash": new_password_hash, "must_change": False}
        proven = (agents.c.agent_id == agent.agent_id, agents.c.password_hash == claimed.password_hash)
        async with self.engine.begin() as conn:
            if (await conn.execute(update(agents).where(*proven).values(changes))).rowcount != 1:
                return False
            if new_password_hash is not None:
                await conn.execute(delete(logins).where(logins.c.agent_id == agent.agent_id))
                await _note(conn, "agent.password.changed", agent, now_ms, origin=origin)
            await self._make_room(conn, agent.agent_id, now_ms)
            await conn.execute(
                insert(logins).values(
                    login_sha256=login_sha256,
                    agent_id=agent.agent_id,
                    created_at_ms=now_ms,
                    seen_at_ms=now_ms,
                )
            )
            await _note(conn, "agent.login.succeeded", agent, now_ms, origin=origin)
        return True

    async def _make_room(self, conn: AsyncConnection, agent_id: str, now_ms: int) -> None:
        """Old logins of everybody go; of this agent the oldest as well when there are too many."""
        await conn.execute(delete(logins).where(logins.c.created_at_ms < now_ms - LOGIN_AGE_MS_MAX))
        newest = (
            select(logins.c.login_sha256)
            .where(logins.c.agent_id == agent_id)
            .order_by(logins.c.created_at_ms.desc())
            .limit(LOGINS_PER_AGENT_MAX - 1)
        )
        await conn.execute(
            delete(logins).where(logins.c.agent_id == agent_id, logins.c.login_sha256.not_in(newest))
        )

    async def login(self, login_sha256: bytes) -> Login | None:
        """A stored login, whatever its age; the desk judges it."""
        query = (
            select(logins, agents.c.tenant, agents.c.language)
            .join(agents, agents.c.agent_id == logins.c.agent_id)
            .where(logins.c.login_sha256 == login_sha256)
        )
        async with self.engine.connect() as conn:
            row = (await conn.execute(query)).one_or_none()
        if row is None:
            return None
        return Login(Agent(row.agent_id, row.tenant, row.language), row.created_at_ms, row.seen_at_ms)

    async def touch_login(self, login_sha256: bytes, now_ms: int) -> None:
        """The agent is there; written at most every SEEN_STEP_MS."""
        async with self.engine.begin() as conn:
            await conn.execute(
                update(logins)
                .where(logins.c.login_sha256 == login_sha256, logins.c.seen_at_ms < now_ms - SEEN_STEP_MS)
                .values(seen_at_ms=now_ms)
            )

    async def end_login(self, login_sha256: bytes, agent: Agent, now_ms: int) -> None:
        """The login is gone and cannot come back."""
        async with self.engine.begin() as conn:
            await conn.execute(delete(logins).where(logins.c.login_sha256 == login_sha256))
            await _note(conn, "agent.login.ended", agent, now_ms)

    async def note_denied(self, tenant: str, actor: str, reason: str, now_ms: int) -> None:
        """Somebody asked for what is not his: on record (PCI DSS 10.2.1.4)."""
        entry = Entry(
            "agent.access.denied",
            utc_of(now_ms),
            actor,
            actor,
            tenant,
            outcome="refused",
            data={"reason": reason},
        )
        async with self.engine.begin() as conn:
            await outbox.add(conn, entry)

    # Access keys

    async def add_access_key(self, key: AccessKey, secret_sha256: bytes, now_ms: int, by: str) -> None:
        """One more access key."""
        async with self.engine.begin() as conn:
            await conn.execute(
                insert(access_keys).values(
                    prefix=key.prefix,
                    secret_sha256=secret_sha256,
                    tenant=key.tenant,
                    label=key.label,
                    created_at_ms=now_ms,
                )
            )
            await outbox.add(conn, Entry("key.access.issued", utc_of(now_ms), by, key.prefix, key.tenant))

    async def access_key(self, prefix: str) -> tuple[AccessKey, bytes] | None:
        """A key that is not revoked, with the SHA-256 of its secret."""
        query = select(access_keys).where(
            access_keys.c.prefix == prefix, access_keys.c.revoked_at_ms.is_(None)
        )
        async with self.engine.connect() as conn:
            row = (await conn.execute(query)).one_or_none()
        return None if row is None else (AccessKey(row.prefix, row.tenant, row.label), row.secret_sha256)

    async def revoke_access_key(self, key: AccessKey, now_ms: int, by: str) -> None:
        """The key no longer opens anything."""
        async with self.engine.begin() as conn:
            await conn.execute(
                update(access_keys).where(access_keys.c.prefix == key.prefix).values(revoked_at_ms=now_ms)
            )
            await outbox.add(conn, Entry("key.access.revoked", utc_of(now_ms), by, key.prefix, key.tenant))

    # Calls

    async def put_live_call(self, call: CallView, entry: Entry) -> None:
        """A live call as it is now, with its entry for the log; an earlier row of it is replaced."""
        async with self.engine.begin() as conn:
            await conn.execute(delete(live_calls).where(live_calls.c.call_id == call.call_id))
            await conn.execute(insert(live_calls).values(_call_values(call)))
            await outbox.add(conn, entry)

    async def lost_calls(self) -> tuple[CallView, ...]:
        """At the start of the app: calls that died with the run before, as ended by that; oldest first."""
        async with self.engine.connect() as conn:
            rows = (await conn.execute(select(live_calls).order_by(live_calls.c.started_at))).all()
        return tuple(_ended_view(row, EndReason.NODE_FAILED) for row in rows)

    async def add_ended_call(self, call: CallView, now_ms: int, entry: Entry | None = None) -> None:
        """A call that is over, with its entry for the log; calls past their time are forgotten."""
        reason = call.ended_reason or "unknown"
        async with self.engine.begin() as conn:
            await conn.execute(
                delete(ended_calls).where(ended_calls.c.ended_at_ms < now_ms - ENDED_CALLS_KEPT_MS)
            )
            await conn.execute(delete(live_calls).where(live_calls.c.call_id == call.call_id))
            await conn.execute(
                insert(ended_calls).values(**_call_values(call), ended_at_ms=now_ms, ended_reason=reason)
            )
            if entry is not None:
                await outbox.add(conn, entry)

    async def ended_calls(self, since_ms: int, count_max: int) -> tuple[CallView, ...]:
        """The last calls that ended since then, oldest first."""
        newest = (
            select(ended_calls)
            .where(ended_calls.c.ended_at_ms >= since_ms)
            .order_by(ended_calls.c.ended_at_ms.desc())
            .limit(count_max)
        )
        async with self.engine.connect() as conn:
            rows = (await conn.execute(newest)).all()
        return tuple(_ended_view(row, row.ended_reason) for row in reversed(rows))


def _permission_entry(
    name: str, permission: Permission, holder: str, tenant: str, now_ms: int, by: str
) -> Entry:
    data = {"permission": permission.value}
    return Entry(name, utc_of(now_ms), by, holder, tenant, data=data)


def _secrets_of(new: NewAgent) -> dict[str, Any]:
    return {
        "password_hash": new.password_hash,
        "must_change": new.must_change,
        "sip_realm": new.sip.realm,
        "sip_ha1_md5": new.sip.ha1_md5,
        "sip_ha1_sha256": new.sip.ha1_sha256,
    }


async def _forget_ways_in(conn: AsyncConnection, agent: Agent) -> None:
    """Logins and registered phones: both were let in by passwords that are not good any more."""
    for table in (logins, phones):
        await conn.execute(delete(table).where(table.c.agent_id == agent.agent_id))


def _call_values(call: CallView) -> dict[str, Any]:
    return {column.name: getattr(call, column.name) for column in live_calls.c}


def _ended_view(row: Any, reason: str) -> CallView:
    values = {column.name: getattr(row, column.name) for column in live_calls.c}
    return CallView(**values, state=CallState.ENDED.value, ended_reason=reason)


async def _note(
    conn: AsyncConnection,
    name: str,
    agent: Agent,
    now_ms: int,
    *,
    actor: str | None = None,
    outcome: str = "ok",
    origin: str = "",
    **data: str | int,
) -> None:
    """An outbox row about an agent in the transaction of `conn`; names as `audit/entries.py` lists them."""
    entry = Entry(
        name,
        utc_of(now_ms),
        actor or f"agent:{agent.agent_id}",
        agent.agent_id,
        agent.tenant,
        outcome=outcome,
        origin=origin,
        data=data,
    )
    await outbox.add(conn, entry)


def utc_of(now_ms: int) -> str:
    """Milliseconds since 1970 as the log writes time: UTC, ISO 8601, Z."""
    return stamp(datetime.fromtimestamp(now_ms / 1000, UTC))
