"""vault.db: payments, their attempts, and the outbox rows that tell of every change in the same transaction.

One process, one connection, every transaction BEGIN IMMEDIATE (`audit.outbox.open_database`). The rules
that must not depend on code being right stand in the schema: one attempt under way per payment, one attempt
per number, one payment that holds a merchant reference. Amounts are BIGINT minor units. No column can hold
a PAN or a CVV.

A merchant reference may be paid once: `unique(tenant, reference)` holds over payments that may still move
money or have moved it and kept it. A cancelled, expired, declined, voided, refunded or referred payment
gives its reference free, so that the caller can try again; a declined one that is captured again takes it
back, or is refused.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    UniqueConstraint,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.outbox import Entry, SchemaError, add, bring_forward, create_tables, open_database
from vault.door import (
    Decline,
    DeclineReason,
    LinkState,
    NextStep,
    PaymentState,
    Refused,
    Search,
    StepName,
    StepState,
    VaultError,
)
from vault.migrations import MIGRATIONS
from vault.payment import HOLDING_REFERENCE, UNRESOLVED

METADATA = MetaData()


def _in(column: Column[Any], states: Sequence[StrEnum]) -> Any:
    return column.in_([state.value for state in states])


_state = Column("state", String(16), nullable=False)
PAYMENTS = Table(
    "payments",
    METADATA,
    Column("payment_id", String(64), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("call_id", String(80), nullable=False, index=True),
    Column("leg_id", String(80), nullable=False),
    Column("agent_id", String(64)),
    _state,
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("reference", String(64), nullable=False),
    Column("purpose", String(48), nullable=False),
    Column("sca_basis", String(32), nullable=False),
    Column("provider", String(48), nullable=False),
    Column("provider_ref", String(128)),
    Column("version", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token", String(256)),
    Column("brand", String(32)),
    Column("last4", String(4)),
    Column("decline_reason", String(32)),
    Column("decline_next_step", String(32)),
    Column("decline_retry_allowed", Boolean),
    Column("receipt", String(16)),
    Column("settle_later", Boolean, nullable=False),
    Column("check_only", Boolean, nullable=False),
    Column("customer", String(64), nullable=False),
    Column("mandate", String(48), nullable=False),
    Column("card_id", String(80), nullable=False),
    Column("customer_ref", String(128), nullable=False),
    Column("charge_ref", String(128), nullable=False),
    Column("settled_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("refunding_minor", BigInteger, nullable=False),
    Column("hold_until", String(32), nullable=False),
    Column("step", String(8)),
    Column("step_unknown", Boolean, nullable=False),
    Column("link", String(8)),
    Column("link_until", String(24), nullable=False),
    Column("created_at", String(24), nullable=False),
    Column("updated_at", String(24), nullable=False),
    CheckConstraint("amount_minor > 0 OR (check_only AND amount_minor = 0)", name="amount_is_positive"),
    CheckConstraint("settled_minor BETWEEN 0 AND amount_minor", name="settled_within_amount"),
    CheckConstraint(
        "refunded_minor >= 0 AND refunding_minor >= 0 AND refunded_minor + refunding_minor <= settled_minor",
        name="refunds_within_settled",
    ),
    UniqueConstraint("provider", "provider_ref"),
    UniqueConstraint("tenant", "receipt"),
    Index("payments_of_a_tenant_by_age", "tenant", "created_at", "payment_id"),
)
Index(
    "one_payment_holds_a_reference",
    PAYMENTS.c.tenant,
    PAYMENTS.c.reference,
    unique=True,
    sqlite_where=_in(_state, HOLDING_REFERENCE),
    postgresql_where=_in(_state, HOLDING_REFERENCE),
)
Index("holds_by_their_end", PAYMENTS.c.hold_until, sqlite_where=PAYMENTS.c.hold_until != "")

ATTEMPT_OPEN = (*UNRESOLVED, PaymentState.LINKED)
"""States of an attempt that may still move money: no other one of its payment is begun."""
_attempt_state = Column("state", String(16), nullable=False)
ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("attempt_id", Integer, primary_key=True),
    Column("payment_id", ForeignKey("payments.payment_id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attempt_key", String(128), nullable=False, unique=True),
    _attempt_state,
    Column("raw_code", String(64), nullable=False),
    Column("advice", String(32), nullable=False),
    Column("provider", String(48), nullable=False),
    Column("provider_ref", String(128), nullable=False, index=True),
    Column("sca_basis", String(32), nullable=False),
    Column("started_at", String(24), nullable=False),
    Column("ended_at", String(24), index=True),
    UniqueConstraint("payment_id", "attempt"),
)
Index(
    "one_attempt_is_under_way",
    ATTEMPTS.c.payment_id,
    unique=True,
    sqlite_where=_in(_attempt_state, ATTEMPT_OPEN),
    postgresql_where=_in(_attempt_state, ATTEMPT_OPEN),
)

NEVER_RAN = ("never_sent", "fenced")
"""Raw codes of attempts that a provider, or the network, says were never executed."""
UNDER_WAY = (StepState.UNDER_WAY, StepState.UNKNOWN)
"""States in which a money step may still happen: no other one of its payment is begun."""
_step_state = Column("state", String(16), nullable=False)
STEPS = Table(
    "steps",
    METADATA,
    Column("step_id", Integer, primary_key=True),
    Column("payment_id", ForeignKey("payments.payment_id"), nullable=False),
    Column("name", String(8), nullable=False),
    Column("number", Integer, nullable=False),
    Column("step_key", String(128), nullable=False, unique=True),
    Column("ask_key", String(64), nullable=False),
    _step_state,
    Column("amount_minor", BigInteger, nullable=False),
    Column("by", String(80), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("raw_code", String(64), nullable=False),
    Column("step_ref", String(128), nullable=False),
    Column("started_at", String(24), nullable=False),
    Column("ended_at", String(24)),
    UniqueConstraint("payment_id", "name", "number"),
    UniqueConstraint("payment_id", "ask_key"),
    CheckConstraint("amount_minor > 0", name="step_moves_money"),
)
Index(
    "one_step_is_under_way",
    STEPS.c.payment_id,
    unique=True,
    sqlite_where=_in(_step_state, UNDER_WAY),
    postgresql_where=_in(_step_state, UNDER_WAY),
)


@dataclass(frozen=True)
class PaymentRow:
    """One payment as it is stored. `token` and `provider_ref` are provider ids and stay in the vault."""

    payment_id: str
    tenant: str
    call_id: str
    leg_id: str
    agent_id: str | None
    state: PaymentState
    amount_minor: int
    currency: str
    reference: str
    purpose: str
    sca_basis: str
    provider: str
    created_at: str
    updated_at: str
    provider_ref: str | None = None
    version: int = 1
    attempt: int = 0
    token: str | None = None
    brand: str | None = None
    last4: str | None = None
    decline: Decline | None = None
    receipt: str | None = None
    settle_later: bool = False
    check_only: bool = False
    customer: str = ""
    mandate: str = ""
    card_id: str = ""
    customer_ref: str = ""
    """The provider's id of the customer, when a kept card pays."""
    charge_ref: str = ""
    """The provider's id of the charge, as its settlement report names it."""
    settled_minor: int = 0
    refunded_minor: int = 0
    refunding_minor: int = 0
    """What a refund under way takes; the schema counts it as refunded already."""
    hold_until: str = ""
    step: StepName | None = None
    """The money step under way."""
    step_unknown: bool = False
    link: LinkState | None = None
    """How far the newest link is (`vault/links.py`)."""
    link_until: str = ""

    @property
    def off_line(self) -> bool:
        """True when the merchant pays by a kept card with nobody on the line."""
        return self.sca_basis == "mit"


@dataclass(frozen=True)
class AttemptRow:
    """One try at a payment, as it is stored."""

    payment_id: str
    attempt: int
    attempt_key: str
    state: PaymentState
    started_at: str
    raw_code: str = ""
    advice: str = ""
    ended_at: str | None = None
    provider: str = ""
    provider_ref: str = ""
    sca_basis: str = ""


@dataclass(frozen=True)
class StepRow:
    """One money step, as it is stored."""

    payment_id: str
    name: StepName
    number: int
    step_key: str
    """The provider's idempotency key: derived, so that a restart can never choose another."""
    ask_key: str
    """The asker's own key of one press of the button: asked twice is one step."""
    state: StepState
    amount_minor: int
    by: str
    started_at: str
    reason: str = ""
    raw_code: str = ""
    step_ref: str = ""
    """The provider's id of the step, as its settlement report names it."""
    ended_at: str | None = None


class StaleError(Exception):
    """The row has changed since it was read: somebody broke the rule of one lock per payment."""

    code = "stale"
    retryable = True


class Store:
    """Reads payments, and changes them in transactions that carry their outbox rows."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    @classmethod
    async def open(cls, path: Path) -> "Store":
        """The store of one file, brought forward from an older release, its missing tables made.

        `VaultError("schema_refused")` for a file of a newer release, or one that cannot be brought forward.
        """
        try:
            bring_forward(path, MIGRATIONS)
        except SchemaError as error:
            raise VaultError(error.code, error.sentence) from None
        engine = open_database(path)
        await create_tables(engine, METADATA)
        return cls(engine)

    async def close(self) -> None:
        """Gives back the connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def changing(self) -> AsyncIterator["Change"]:
        """One transaction: committed when the block ends well, gone without a trace when it does not."""
        try:
            async with self.engine.begin() as conn:
                yield Change(conn)
        except IntegrityError as error:
            raise _refused(error) from None

    async def payment(self, payment_id: str) -> PaymentRow:
        """One payment; `Refused("payment_unknown")`."""
        async with self.engine.connect() as conn:
            found = (await conn.execute(select(PAYMENTS).where(PAYMENTS.c.payment_id == payment_id))).first()
        if found is None:
            raise Refused("payment_unknown", "No such payment. Look at the call's payments.")
        return _payment_row(found)

    async def of_call(self, call_id: str) -> tuple[PaymentRow, ...]:
        """Every payment of a call, oldest first."""
        wanted = select(PAYMENTS).where(PAYMENTS.c.call_id == call_id)
        return await self._payments(wanted.order_by(PAYMENTS.c.created_at, PAYMENTS.c.payment_id))

    async def key_versions(self, *tables: Table) -> dict[int, int]:
        """Version of a key -> how many rows of these tables need it; 0 is no version."""
        found: dict[int, int] = {}
        async with self.engine.connect() as conn:
            for table in tables:
                wanted = select(table.c.key_version, func.count()).group_by(table.c.key_version)
                for version, rows in (await conn.execute(wanted)).all():
                    found[version] = found.get(version, 0) + rows
        found.pop(0, None)
        return found

    async def in_state(self, *states: PaymentState) -> tuple[PaymentRow, ...]:
        """Every payment in one of the states, oldest first."""
        return await self._payments(
            select(PAYMENTS).where(_in(_state, states)).order_by(PAYMENTS.c.created_at)
        )

    async def of_provider_ref(self, provider: str, provider_ref: str) -> PaymentRow | None:
        """The payment that a provider knows by this reference, now or in an earlier attempt."""
        column = ATTEMPTS.c
        tried = select(column.payment_id).where(
            column.provider == provider, column.provider_ref == provider_ref
        )
        now = (PAYMENTS.c.provider == provider) & (PAYMENTS.c.provider_ref == provider_ref)
        found = await self._payments(select(PAYMENTS).where(now | PAYMENTS.c.payment_id.in_(tried)))
        return found[0] if found else None

    async def search(self, wanted: Search) -> tuple[PaymentRow, ...]:
        """The payments of a tenant that fit, newest first, at most `limit`."""
        column = PAYMENTS.c
        query = select(PAYMENTS).where(column.tenant == wanted.tenant)
        for each in ("reference", "call_id", "receipt", "customer"):
            if text := getattr(wanted, each):
                query = query.where(column[each] == text)
        if wanted.state is not None:
            query = query.where(column.state == wanted.state.value)
        if wanted.before:
            made, _, payment_id = wanted.before.partition("/")
            query = query.where(tuple_(column.created_at, column.payment_id) < tuple_(made, payment_id))
        newest = (column.created_at.desc(), column.payment_id.desc())
        return await self._payments(query.order_by(*newest).limit(wanted.limit))

    async def holds_ending(self, before: str) -> tuple[PaymentRow, ...]:
        """Authorised payments whose hold has run out by then, UTC ISO 8601."""
        column = PAYMENTS.c
        ended = (column.hold_until != "") & (column.hold_until <= before)
        return await self._payments(
            select(PAYMENTS).where(column.state == PaymentState.AUTHORISED.value, ended)
        )

    async def sales_unsettled(self) -> tuple[PaymentRow, ...]:
        """Sales that are only authorised, with no step under way."""
        column = PAYMENTS.c
        held = (column.state == PaymentState.AUTHORISED.value) & column.settle_later.is_(False)
        return await self._payments(select(PAYMENTS).where(held, column.step.is_(None)))

    async def waiting_since(self, before: str, off_line_before: str) -> tuple[PaymentRow, ...]:
        """Payments that nobody has keyed or charged since then; `mit` ones have a moment of their own."""
        column = PAYMENTS.c
        off_line = (column.sca_basis == "mit") & (column.updated_at <= off_line_before)
        waiting = _in(column.state, (PaymentState.CREATED, PaymentState.READY))
        return await self._payments(select(PAYMENTS).where(waiting, off_line | (column.updated_at <= before)))

    async def doubtful(self, after: str, until: str) -> tuple[PaymentRow, ...]:
        """Payments with an attempt that ended in that time as one that never ran."""
        column = ATTEMPTS.c
        in_time = (column.ended_at > after) & (column.ended_at <= until)
        ended = select(column.payment_id).where(in_time, column.raw_code.in_(NEVER_RAN))
        return await self._payments(select(PAYMENTS).where(PAYMENTS.c.payment_id.in_(ended)))

    async def with_step_under_way(self) -> tuple[PaymentRow, ...]:
        """Every payment with a money step that has no end yet, oldest first."""
        return await self._payments(
            select(PAYMENTS).where(PAYMENTS.c.step.is_not(None)).order_by(PAYMENTS.c.created_at)
        )

    async def steps(self, payment_id: str) -> tuple[StepRow, ...]:
        """The money steps of one payment, oldest first."""
        wanted = select(STEPS).where(STEPS.c.payment_id == payment_id).order_by(STEPS.c.step_id)
        async with self.engine.connect() as conn:
            return tuple(map(_step_row, (await conn.execute(wanted)).all()))

    async def receipt_is_free(self, tenant: str, receipt: str) -> bool:
        """True when no payment of the tenant has that receipt number."""
        same = (PAYMENTS.c.tenant == tenant) & (PAYMENTS.c.receipt == receipt)
        async with self.engine.connect() as conn:
            return (await conn.execute(select(PAYMENTS.c.payment_id).where(same))).first() is None

    async def providers_unresolved(self) -> set[tuple[str, str]]:
        """Tenant and provider of every attempt and step that may have to be looked up."""
        open_ends = _in(_state, ATTEMPT_OPEN) | PAYMENTS.c.step.is_not(None)
        wanted = select(PAYMENTS.c.tenant, PAYMENTS.c.provider).where(open_ends).distinct()
        async with self.engine.connect() as conn:
            return {(row.tenant, row.provider) for row in await conn.execute(wanted)}

    async def attempts(self, payment_id: str) -> tuple[AttemptRow, ...]:
        """The tries at one payment, first to last."""
        wanted = select(ATTEMPTS).where(ATTEMPTS.c.payment_id == payment_id).order_by(ATTEMPTS.c.attempt)
        async with self.engine.connect() as conn:
            return tuple(map(_attempt_row, (await conn.execute(wanted)).all()))

    async def _payments(self, wanted: Any) -> tuple[PaymentRow, ...]:
        async with self.engine.connect() as conn:
            return tuple(map(_payment_row, (await conn.execute(wanted)).all()))


class Change:
    """What one transaction may do; every method belongs to it."""

    def __init__(self, conn: AsyncConnection) -> None:
        self.conn = conn
        """For the tables of other files that change in the same transaction."""

    async def insert(self, row: PaymentRow) -> None:
        """Stores a new payment."""
        await self.conn.execute(insert(PAYMENTS).values(**_payment_values(row)))

    async def update(self, row: PaymentRow) -> None:
        """Stores `row` over the version before it; `StaleError` when that is not the stored one."""
        same = (PAYMENTS.c.payment_id == row.payment_id) & (PAYMENTS.c.version == row.version - 1)
        if (
            await self.conn.execute(update(PAYMENTS).where(same).values(**_payment_values(row)))
        ).rowcount != 1:
            raise StaleError

    async def insert_attempt(self, row: AttemptRow) -> None:
        """Stores a new try; refused while another one of the payment is under way."""
        await self.conn.execute(insert(ATTEMPTS).values(**_values(row)))

    async def end_attempt(self, row: PaymentRow, raw_code: str, advice: str = "") -> None:
        """Stores what the try number `row.attempt` came to: the state that `row` has now."""
        ours = (ATTEMPTS.c.payment_id == row.payment_id) & (ATTEMPTS.c.attempt == row.attempt)
        values = {"raw_code": raw_code, "advice": advice, "ended_at": row.updated_at}
        await self.conn.execute(update(ATTEMPTS).where(ours).values(state=row.state.value, **values))

    async def insert_step(self, row: StepRow) -> None:
        """Stores a new money step; refused while another one of the payment is under way."""
        await self.conn.execute(insert(STEPS).values(**_values(row)))

    async def update_step(self, row: StepRow) -> None:
        """Stores what is known about a step now."""
        await self.conn.execute(update(STEPS).where(STEPS.c.step_key == row.step_key).values(**_values(row)))

    async def tell(self, entry: Entry) -> None:
        """Puts an entry for the log beside the change."""
        await add(self.conn, entry)


def _refused(error: IntegrityError) -> Exception:
    """Which rule of the schema said no; SQLite names columns, PostgreSQL the constraint."""
    text = str(error.orig)
    if "payments.reference" in text or "one_payment_holds_a_reference" in text:
        return Refused("reference_taken", "This reference is paid or being paid. Look for that payment.")
    if "attempts." in text or "one_attempt_is_under_way" in text:
        return Refused("not_ready", "A charge of this payment is under way. Wait for its result.")
    if "refunds_within_settled" in text:
        return Refused("refund_too_large", "That is more than is left of the payment. Refund less.")
    if "steps." in text or "one_step_is_under_way" in text:
        return Refused("step_under_way", "Another step of this payment is under way. Wait for its result.")
    return Refused("conflict", "The payment contradicts another one. Create a new payment.")


def _values(row: PaymentRow | AttemptRow | StepRow) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row)}


def _payment_values(row: PaymentRow) -> dict[str, Any]:
    values = _values(row)
    decline = values.pop("decline")
    values["decline_reason"] = decline.reason.value if decline else None
    values["decline_next_step"] = decline.next_step.value if decline else None
    values["decline_retry_allowed"] = decline.retry_allowed if decline else None
    return values


def _payment_row(found: Row[Any]) -> PaymentRow:
    values = dict(found._mapping)  # noqa: SLF001 - the documented way to a row's columns
    reason, step = values.pop("decline_reason"), values.pop("decline_next_step")
    retry_allowed = values.pop("decline_retry_allowed")
    decline = Decline(DeclineReason(reason), NextStep(step), retry_allowed) if reason else None
    step = StepName(values["step"]) if values["step"] else None
    link = LinkState(values["link"]) if values["link"] else None
    words = {"state": PaymentState(values["state"]), "decline": decline, "step": step, "link": link}
    return PaymentRow(**{**values, **words})


def _attempt_row(found: Row[Any]) -> AttemptRow:
    values = dict(found._mapping)  # noqa: SLF001 - the documented way to a row's columns
    del values["attempt_id"]
    return AttemptRow(**{**values, "state": PaymentState(values["state"])})


def _step_row(found: Row[Any]) -> StepRow:
    values = dict(found._mapping)  # noqa: SLF001 - the documented way to a row's columns
    del values["step_id"]
    return StepRow(**{**values, "name": StepName(values["name"]), "state": StepState(values["state"])})


def position_of(row: PaymentRow) -> str:
    """Where a payment stands among all, for `Search.before`."""
    return f"{row.created_at}/{row.payment_id}"
