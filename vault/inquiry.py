"""Inquiries: what a provider holds as true about a payment, and our books brought to it.

Asked for when a webhook points at a payment, when a hold has run out, when a step was refused, and by
reconciliation. What somebody did at the provider without us is taken over; money that is held there and not
wanted here (an orphan) is voided; money that has moved there and is not wanted here is put on record and
alarmed, because giving it back is a decision for a person.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from audit.outbox import stamp
from vault.charges import Charges
from vault.door import PaymentState, StepName, VaultError, Why
from vault.lookups import FETCH_TIMEOUT_S
from vault.payment import UNRESOLVED, Move
from vault.providers.base import Standing
from vault.register import BROKER, Register, Slot
from vault.router import Router
from vault.step import ALARMS, ORPHAN, Ask, Finding, finding, utc
from vault.steps import Steps

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.inquiry")

DOUBT_S = 300.0
"""When an attempt that never ran is looked up again: a request that was under way so long is lost."""
DOUBT_FIRST_S = 3_600.0
"""How far back that goes after a start: longer than a node is down for an upgrade."""
ALARMS_KEPT = 10_000
"""Alarms remembered, so that none is told twice in one run."""


@dataclass
class _Looking:
    """One look under way for everybody who asks."""

    again: bool = True
    """To be looked up once more."""
    answered: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Inquiry:
    """Compares payments with their providers."""

    def __init__(
        self,
        register: Register,
        router: Router,
        charges: Charges,
        steps: Steps,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._register = register
        self._router = router
        self._charges = charges
        self._steps = steps
        self._spawn = spawn
        self._doubts_until = datetime.now(UTC) - timedelta(seconds=DOUBT_FIRST_S)
        self._looking: dict[str, _Looking] = {}
        """Payments being looked up by `look_once`."""
        self._alarmed: dict[tuple[str, Finding], None] = {}
        steps.on_refused = self.look_soon
        self.look_at_link: Callable[[Slot], Coroutine[Any, Any, None]] = _left_alone
        """Looks at a payment that is out on a link; set by `vault/links.py`."""

    def look_soon(self, slot: Slot) -> None:
        """Looks as soon as the lock is free."""

        async def look() -> None:
            await self.look_once(slot)

        self._spawn(look())

    async def look_once(self, slot: Slot) -> bool:
        """As `look`; asked while one is under way, it is done once more after that, however often asked.

        True when the provider has answered, or there is nothing to ask it.
        """
        payment_id = slot.row.payment_id
        if (looking := self._looking.get(payment_id)) is not None:
            looking.again = True
            return await asyncio.shield(looking.answered)
        looking = self._looking[payment_id] = _Looking()
        answered = False
        try:
            while looking.again:
                looking.again = False
                answered = await self.look(slot) is not None or slot.row.provider_ref is None
        finally:
            del self._looking[payment_id]
            looking.answered.set_result(answered)
        return answered

    async def look(self, slot: Slot) -> Finding | None:
        """What the comparison shows, once it has been acted on; None when the provider does not answer."""
        if slot.row.state in UNRESOLVED:
            await self._charges.look(slot)
            return Finding.AGREES
        if slot.row.state is PaymentState.LINKED:
            await self.look_at_link(slot)
            return Finding.AGREES
        if slot.row.step is not None:
            await self._steps.look(slot)
            return Finding.AGREES
        version = slot.row.version
        standing = await self._standing(slot)
        if standing is None:
            return None
        async with slot.lock:
            if slot.row.version != version:
                return Finding.AGREES  # whoever changed it knows more than this answer
            shown = finding(slot.row, standing)
            await self._act(slot, shown, standing)
        return shown

    async def look_at_holds(self) -> None:
        """Holds that have run out are looked up, and marked when the bank has let go; for the upkeep."""
        for row in await self._register.store.holds_ending(stamp()):
            await self.look_once(await self._register.slot(row.payment_id))

    async def look_at_doubts(self) -> None:
        """Attempts that never ran, as the provider said, are looked up once more later; for the upkeep."""
        until = datetime.now(UTC) - timedelta(seconds=DOUBT_S)
        rows = await self._register.store.doubtful(stamp(self._doubts_until), stamp(until))
        self._doubts_until = until
        for row in rows:
            await self.look_once(await self._register.slot(row.payment_id))

    async def _standing(self, slot: Slot) -> Standing | None:
        row = slot.row
        if row.provider_ref is None:
            return None
        try:
            provider = self._router.at(row.tenant, row.provider)
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await provider.standing(row.provider_ref)
        except Exception as error:  # noqa: BLE001 - a question without an answer shows nothing
            log.warning("payment.standing.failed", payment_id=row.payment_id, error=type(error).__name__)
            return None

    async def _act(self, slot: Slot, shown: Finding, standing: Standing) -> None:
        """Brings the books to what was found; the slot's lock is held."""
        if shown is Finding.AGREES:
            return
        if shown in ALARMS:
            await self._alarm(slot, shown)
            return
        log.warning("payment.standing.differed", payment_id=slot.row.payment_id, finding=shown.value)
        match shown:
            case Finding.HELD:
                await self._void_orphan(slot)
            case Finding.SETTLED:
                await self._steps.adopt(slot, StepName.SETTLE, standing.settled_minor)
            case Finding.REFUNDED:
                more = standing.refunded_minor - slot.row.refunded_minor
                await self._steps.adopt(slot, StepName.REFUND, more)
            case Finding.VOIDED:
                await self._let_go(slot)
            case Finding.HOLD_MOVED:
                entry = slot.entry("payment.standing.differed", BROKER, finding=shown.value)
                await self._register.move(slot, (), entry, hold_until=utc(standing.hold_until))

    async def _let_go(self, slot: Slot) -> None:
        """A hold that ended at the provider: by its time, or by somebody's hand."""
        row = slot.row
        if not row.hold_until or row.hold_until > stamp():
            await self._steps.adopt(slot, StepName.VOID, row.amount_minor)
            return
        entry = slot.entry(
            "payment.hold.lapsed", BROKER, amount_minor=row.amount_minor, currency=row.currency
        )
        await self._register.move(slot, Move.LAPSE, entry, hold_until="")
        self._register.tell(slot, Why.HOLD_LAPSED)

    async def _void_orphan(self, slot: Slot) -> None:
        await self._register.note(slot.entry("payment.orphan.noticed", BROKER, finding=Finding.HELD.value))
        ask_key = f"{ORPHAN}-{slot.row.version}"
        try:
            await self._steps.ask(slot, Ask(StepName.VOID, None, BROKER, ask_key, ORPHAN))
        except VaultError as error:
            log.warning("payment.orphan.kept", payment_id=slot.row.payment_id, code=error.code)

    async def _alarm(self, slot: Slot, shown: Finding) -> None:
        """On record and in the log, once per payment and finding of one run."""
        alarm = (slot.row.payment_id, shown)
        if alarm in self._alarmed:
            return
        self._alarmed[alarm] = None
        if len(self._alarmed) > ALARMS_KEPT:
            self._alarmed.pop(next(iter(self._alarmed)))
        log.error("payment.orphan.noticed", payment_id=slot.row.payment_id, finding=shown.value)
        entry = slot.entry("payment.orphan.noticed", BROKER, finding=shown.value)
        await self._register.note(replace(entry, outcome="failed"))


async def _left_alone(_slot: Slot) -> None:
    """Links are looked at by whoever knows them."""
