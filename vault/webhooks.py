"""Webhooks: a signed hint is stored once, and the payment it points at is looked up; never the truth itself.

Raw bytes come through the door as they were received, because the signature is over the bytes. A webhook may
come twice, late, out of order, or not at all: the payment's state is fetched from the provider, so that
nothing of that matters. Until the provider has answered it waits in the inbox. A reference that no payment of
the tenant has is not ours to touch: the account may be the merchant's web shop's as well; the books'
reconciliation shows what has no owner.
"""

import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import Column, Index, Integer, String, Table, UniqueConstraint, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from audit.outbox import Entry, add, stamp
from vault.door import Refused
from vault.inquiry import Inquiry
from vault.keys import KeyFault, Keys
from vault.providers.base import Notice
from vault.register import BROKER, Register
from vault.router import Router
from vault.store import METADATA, Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.webhooks")

RAW_MAX = 40_000
"""Bytes of a webhook: in base64, with its headers, it fits a message of the door."""
HEADERS_MAX = 40
HEADER_MAX = 2_000
"""Characters; the longest that matters is a signature, twice during a rotation of its secret."""
PER_SECOND = 50.0
"""Webhooks of one tenant's provider: ten times the payments that a node takes in its busiest second."""
BURST = 500.0
"""What a provider may deliver at once when the node was away; the rest is refused, and delivered again."""
REFUSED_EVERY_S = 60.0
"""Refusals go on record once a minute with their number: a flood must not fill the log."""
SILENT_MAX = 3
"""Lookups without an answer after which a provider is left alone until the next round: each takes seconds."""
KEPT_DAYS = 30
"""How long an event is known again: providers deliver for three days, people resend for thirty."""
ID_MAX = 128
"""Characters of an event's id and of a reference; Stripe's have some thirty."""


class Inbox(StrEnum):
    """What became of a webhook."""

    TAKEN = "taken"
    LOOKED = "looked"
    """The payment has been looked up."""
    UNCLAIMED = "unclaimed"
    """No payment of the tenant has the reference."""


WEBHOOKS = Table(
    "webhook_inbox",
    METADATA,
    Column("webhook_id", Integer, primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("provider", String(48), nullable=False),
    Column("event_id", String(ID_MAX), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("provider_ref", String(ID_MAX), nullable=False),
    Column("made_at", String(32), nullable=False),
    Column("taken_at", String(24), nullable=False, index=True),
    Column("state", String(12), nullable=False),
    UniqueConstraint("tenant", "provider", "event_id"),
)
Index("webhooks_not_looked_at", WEBHOOKS.c.state, sqlite_where=WEBHOOKS.c.state == Inbox.TAKEN.value)


@dataclass
class _Budget:
    """How many webhooks one tenant's provider may still bring, and how many were refused lately."""

    left: float = BURST
    at_s: float = 0.0
    refused: int = 0
    told_s: float = float("-inf")

    def takes_one(self, now_s: float) -> bool:
        """False when too many have come."""
        self.left = min(BURST, self.left + PER_SECOND * max(0.0, now_s - self.at_s))
        self.at_s = now_s
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


class Webhooks:
    """The inbox of every tenant's providers."""

    def __init__(
        self,
        register: Register,
        router: Router,
        keys: Keys,
        inquiry: Inquiry,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock`: seconds of the epoch; the machine's without one."""
        self._register = register
        self._router = router
        self._keys = keys
        self._inquiry = inquiry
        self._spawn = spawn
        self._clock = clock or time.time
        self._budgets: dict[tuple[str, str], _Budget] = {}

    async def take(self, tenant: str, provider: str, headers: Mapping[str, str], raw: bytes) -> bool:
        """True when the webhook is new and stored; False for one that is known. The lookup follows.

        `Refused`: webhook_unknown (no such endpoint), webhook_invalid (signature, body or date),
        webhooks_busy (retryable).
        """
        try:
            found = self._router.at(tenant, provider)
        except Refused:
            raise Refused("webhook_unknown", "There is no such endpoint. Check the URL.") from None
        budget = self._budgets.setdefault((tenant, provider), _Budget(at_s=self._clock()))
        if not budget.takes_one(self._clock()):
            raise Refused("webhooks_busy", "Too many webhooks at once. Deliver again later.", retryable=True)
        try:
            secrets = [secret.reveal() for secret in self._keys.secrets(provider, tenant, "webhook")]
            notice = _checked(found.parse_webhook(headers, raw, secrets, self._clock()))
        except KeyFault:
            await self._refuse(tenant, provider, budget, "key_missing")
            raise Refused("webhook_unknown", "There is no such endpoint. Check the URL.") from None
        except Refused as refused:
            await self._refuse(tenant, provider, budget, refused.code)
            raise
        webhook_id = await self._store_once(tenant, provider, notice)
        if webhook_id is None:
            return False

        async def look() -> None:
            await self._look(webhook_id, tenant, provider, notice.provider_ref)

        self._spawn(look())
        return True

    async def recover(self) -> None:
        """After a start: webhooks of the run before are looked at, those of long ago forgotten."""
        before = stamp(datetime.now(UTC) - timedelta(days=KEPT_DAYS))
        async with self._db.engine.begin() as conn:
            await conn.execute(delete(WEBHOOKS).where(WEBHOOKS.c.taken_at < before))
        self._spawn(self.look_again())

    async def look_again(self) -> None:
        """Webhooks whose lookup had no answer, or no end, newest first; for the upkeep too."""
        waiting = select(WEBHOOKS).where(WEBHOOKS.c.state == Inbox.TAKEN.value)
        async with self._db.engine.connect() as conn:
            rows = (await conn.execute(waiting.order_by(WEBHOOKS.c.webhook_id.desc()))).all()
        silent: Counter[tuple[str, str]] = Counter()
        for row in rows:
            place = row.tenant, row.provider
            if silent[place] < SILENT_MAX:
                silent[place] += not await self._look(row.webhook_id, *place, row.provider_ref)

    @property
    def _db(self) -> Store:
        return self._register.store

    async def _store_once(self, tenant: str, provider: str, notice: Notice) -> int | None:
        """The row's number; None when the event is known."""
        values = {"tenant": tenant, "provider": provider, "event_id": notice.event_id, "kind": notice.kind}
        values |= {"provider_ref": notice.provider_ref, "made_at": notice.made_at, "taken_at": stamp()}
        try:
            async with self._db.engine.begin() as conn:
                stored = await conn.execute(insert(WEBHOOKS).values(**values, state=Inbox.TAKEN.value))
                return int(stored.inserted_primary_key[0])  # type: ignore[index]
        except IntegrityError:
            return None

    async def _look(self, webhook_id: int, tenant: str, provider: str, provider_ref: str) -> bool:
        """False when the provider does not answer: the webhook waits."""
        row = await self._db.of_provider_ref(provider, provider_ref) if provider_ref else None
        ours = row is not None and row.tenant == tenant
        if row is not None and ours:
            if not await self._inquiry.look_once(await self._register.slot(row.payment_id)):
                return False
        elif provider_ref:
            log.info("payment.notice.unclaimed", tenant=tenant, provider=provider)
        state = Inbox.LOOKED if ours else Inbox.UNCLAIMED
        async with self._db.engine.begin() as conn:
            same = WEBHOOKS.c.webhook_id == webhook_id
            await conn.execute(update(WEBHOOKS).where(same).values(state=state.value))
        return True

    async def _refuse(self, tenant: str, provider: str, budget: _Budget, reason: str) -> None:
        """On record once a minute: who sends webhooks that we cannot trust wants something."""
        budget.refused += 1
        log.warning("payment.notice.refused", tenant=tenant, provider=provider, reason=reason)
        if self._clock() - budget.told_s < REFUSED_EVERY_S:
            return
        data: dict[str, int | str] = {"provider": provider, "reason": reason, "count": budget.refused}
        budget.refused, budget.told_s = 0, self._clock()
        entry = Entry(
            "payment.notice.refused", stamp(), BROKER, provider, tenant, outcome="refused", data=data
        )
        async with self._db.changing() as change:
            await add(change.conn, entry)


def _checked(notice: Notice) -> Notice:
    """The notice, if it fits its row."""
    sizes = (
        (notice.event_id, ID_MAX),
        (notice.kind, 64),
        (notice.provider_ref, ID_MAX),
        (notice.made_at, 32),
    )
    if not notice.event_id or any(len(text) > longest or not text.isprintable() for text, longest in sizes):
        raise Refused("webhook_invalid", "The webhook is not one of this provider. Check the endpoint.")
    return notice
