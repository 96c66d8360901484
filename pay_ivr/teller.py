"""Tells others what became of payments: from the vault's facts to stored receipts and webhooks.

A fact only says where to look. The payment's history is fetched, everything in it that is not stored yet is
stored, in one transaction with the version that was seen. At every start, and whenever facts may have been
missed, the payments of the last days are gone through: nothing is lost that happened while the app was away,
or that a dying broker told nobody.
"""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, Integer, MetaData, String, Table, select
from sqlalchemy.dialects.sqlite import insert as insert_once

from audit import outbox
from audit.outbox import stamp
from pay_ivr.happenings import happenings
from pay_ivr.hooks import Hooks
from pay_ivr.ids import now_ms
from pay_ivr.logs import log
from pay_ivr.receipts import Receipts
from pay_ivr.store import Store
from vault import Door, Payment, Refused, Search, VaultError, Why

RESULTS = frozenset(
    {
        Why.AUTHORISED, Why.DECLINED, Why.UNKNOWN, Why.NEEDS_ACTION, Why.CANCELLED, Why.EXPIRED, Why.CHECKED,
        Why.STEP_REFUSED, Why.SETTLED, Why.VOIDED, Why.REFUNDED, Why.HOLD_LAPSED,
    }
)  # fmt: skip
"""Facts after which there may be something to tell."""
SWEPT_DAYS = 30
"""How old a payment may be to be gone through at a start; card networks give refunds about as long."""
PAGE = 30
RETRY_S = 2.0
"""The broker is back within this, or the one after it."""
CLOSING_S = 4.0
"""A statement and a pause of `run` last no longer."""
PENDING_MAX = 10_000
"""Payments that wait for a broker that is away; the sweep of the next start finds the rest."""

metadata = MetaData()
told = Table(
    "told_payments",
    metadata,
    Column("payment_id", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
)


class Teller:
    """Follows the vault and stores what has to be told."""

    def __init__(self, store: Store, door: Door, hooks: Hooks, receipts: Receipts) -> None:
        self._engine = store.engine
        self._door = door
        self._hooks = hooks
        self._receipts = receipts
        self._pending: dict[str, None] = {}
        self._more = asyncio.Event()
        self._missed = True
        """The last days are to be gone through."""
        self._over = False
        self._ended = asyncio.Event()
        self.stored = asyncio.Event()
        """Set whenever something may have to be sent; the postman clears it."""

    async def open(self) -> None:
        """The table made where it is missing; from now on nothing is missed unnoticed."""
        await outbox.create_tables(self._engine, metadata)
        self._door.on_missed = self._note_missed

    def look(self, payment_id: str) -> None:
        """This payment has to be looked at soon."""
        if len(self._pending) < PENDING_MAX:
            self._pending[payment_id] = None
            self._more.set()

    async def follow(self) -> None:
        """Notes every payment that has come to a result; runs until cancelled."""
        async for change in self._door.facts():
            if change.why in RESULTS:
                self.look(change.payment.payment_id)

    async def run(self) -> None:
        """Goes through the last days, and looks at what was noted; runs until `close`."""
        sweeping: asyncio.Task[None] | None = None
        try:
            while not self._over:
                if self._missed and (sweeping is None or sweeping.done()):
                    sweeping = self._begin_sweep()
                if await self._look_at_noted():
                    await self._more.wait()
                else:
                    await asyncio.sleep(RETRY_S)
        finally:
            await asyncio.gather(*([sweeping] if sweeping else ()), return_exceptions=True)
            self._ended.set()

    def _begin_sweep(self) -> asyncio.Task[None]:
        self._missed = False
        sweeping = asyncio.create_task(self.sweep(), name="teller.sweep")
        sweeping.add_done_callback(lambda _: self._more.set())
        return sweeping

    def _note_missed(self) -> None:
        self._missed = True
        self._more.set()

    async def close(self) -> None:
        """Ends `run` between two statements: one cancelled half-way would keep the database's connection."""
        self._over = True
        self._more.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self._ended.wait()

    async def _look_at_noted(self) -> bool:
        """False when the broker does not answer."""
        self._more.clear()
        for payment_id in tuple(self._pending):
            if self._over:
                break
            del self._pending[payment_id]  # before the look: what happens during it is noted again
            try:
                await self.tell(payment_id)
            except Refused:
                log.warning("payment.teller.unknown", payment_id=payment_id)
            except VaultError:
                self._pending.setdefault(payment_id)
                return False
        return True

    async def tell(self, payment_id: str) -> None:
        """Everything that has happened to a payment is stored, once; `VaultError` when nobody answers."""
        history = await self._door.history(payment_id)
        payment, found, now = history.payment, happenings(history), now_ms()
        seen = {"payment_id": payment_id, "version": payment.version}
        put = insert_once(told).values(**seen)
        async with self._engine.begin() as conn:
            await self._hooks.file(conn, payment, found, now)
            await self._receipts.file(conn, payment, found, now)
            await conn.execute(put.on_conflict_do_update(index_elements=["payment_id"], set_=seen))
        self.stored.set()

    async def sweep(self) -> None:
        """Goes through the payments of the last days once, newest first; those that are known cost little."""
        for payment_id in await self._receipts.wished():
            self.look(payment_id)
        for tenant in sorted({one.tenant for one in await self._hooks.endpoints()}):
            try:
                await self._sweep(tenant)
            except VaultError as error:
                log.warning("payment.teller.unswept", tenant=tenant, code=error.code)

    async def _sweep(self, tenant: str) -> None:
        since = stamp(datetime.now(UTC) - timedelta(days=SWEPT_DAYS))
        before = ""
        while not self._over:
            page = await self._door.search(Search(tenant=tenant, before=before, limit=PAGE))
            for payment in page.payments:
                if payment.created_at >= since and await self._is_news(payment):
                    self.look(payment.payment_id)
            before = page.next
            if not before or page.payments[-1].created_at < since:
                return

    async def _is_news(self, payment: Payment) -> bool:
        query = select(told.c.version).where(told.c.payment_id == payment.payment_id)
        async with self._engine.connect() as conn:
            known = (await conn.execute(query)).scalar_one_or_none()
        return known != payment.version
