"""The till: what the door may ask for, each under the payment's lock; a refusal changes nothing."""

import re
from dataclasses import fields, replace
from typing import Any

from audit.outbox import stamp
from vault.captures import Captures
from vault.cards_on_file import CardRow, CardsOnFile
from vault.charges import Charges
from vault.door import Field, History, NewPayment, Page, Payment, PaymentState, Refused, Search, Why
from vault.ids import new_id
from vault.limits import Limits
from vault.links import Links
from vault.payment import Move, check_new
from vault.pins import Pins
from vault.register import Register, Slot
from vault.snapshot import attempt_of, step_of
from vault.step import Ask
from vault.steps import Steps
from vault.store import Change, PaymentRow, position_of
from vault.tenant import Tenant

PAYMENTS_PER_CALL_MAX = 50
"""More payments than any call brings; a flow in a loop stops here."""

PAGE_MAX = 30
"""Payments of one page: each takes some 1,300 bytes of a message."""

_STORED = frozenset(each.name for each in fields(PaymentRow))
"""What of a new payment is stored as it came; the caller's number is not."""
_BY = re.compile(r"[A-Za-z0-9_.@\-]{1,64}")
_PARTIES = {"caller": "caller", "flow": "system:flow", "system": "system:broker"}
"""Who may cancel besides an agent, and how the log names him."""


class Till:
    """Creates, captures, charges and cancels the payments of this node."""

    def __init__(
        self,
        register: Register,
        captures: Captures,
        charges: Charges,
        steps: Steps,
        limits: Limits,
        cards: CardsOnFile,
        links: Links,
        tenants: dict[str, Tenant],
        pins: Pins,
    ) -> None:
        self._register = register
        self._captures = captures
        self._charges = charges
        self._steps = steps
        self._limits = limits
        self._cards = cards
        self._links = links
        self._tenants = tenants
        self._pins = pins

    async def create_payment(self, new: NewPayment) -> Payment:
        """A payment in state created."""
        tenant = self._tenants.get(new.tenant)
        check_new(new, tenant.terms if tenant else None)
        assert tenant is not None
        if new.call_id and len(await self._register.store.of_call(new.call_id)) >= PAYMENTS_PER_CALL_MAX:
            raise Refused(
                "payments_used",
                "This call has too many payments. Go on with one of them, or hang up and call again.",
            )
        card = await self._cards.card(new.tenant, new.customer, new.card_id) if new.card_id else None
        now = stamp()
        stored = {name: value for name, value in vars(new).items() if name in _STORED}
        row = PaymentRow(
            payment_id=new_id("pay"),
            state=PaymentState.CREATED,
            provider=tenant.section.provider,
            created_at=now,
            updated_at=now,
            **stored,
        )

        async def created(change: Change, row: PaymentRow) -> None:
            await self._limits.created(change, row, new.caller_number)

        payment = await self._register.create(row, created)
        return payment if card is None else await self._present(payment.payment_id, card)

    async def _present(self, payment_id: str, card: CardRow) -> Payment:
        """Ready with a kept card: nothing is keyed."""
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            entry = slot.entry("payment.card.presented", slot.who(), brand=card.brand, last4=card.last4)
            values: dict[str, Any] = {"brand": card.brand, "last4": card.last4, "provider": card.provider}
            values |= {"customer_ref": card.customer_ref, "token": card.token_ref}
            await self._register.move(slot, Move.COMPLETE, entry, **values)
            return self._register.tell(slot, Why.READY)

    async def payment(self, payment_id: str) -> Payment:
        """The snapshot of now."""
        return (await self._register.slot(payment_id)).snapshot()

    async def payments_of_call(self, call_id: str) -> tuple[Payment, ...]:
        """Every payment of a call, oldest first."""
        return tuple(slot.snapshot() for slot in await self._slots_of_call(call_id))

    async def open_capture(self, payment_id: str) -> Payment:
        """The needed fields open and the leg SECURE; also the retry after a decline."""
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            return await self._captures.open(slot)

    async def rekey(self, payment_id: str, field: Field) -> Payment:
        """One field open again."""
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            return await self._captures.rekey(slot, field)

    async def talk(self, payment_id: str, *, on: bool) -> Payment:
        """The pause of a capture."""
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            return await self._captures.talk(slot, on=on)

    async def ask_confirm(self, payment_id: str) -> Payment:
        """The caller is asked to press 1."""
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            return await self._captures.ask_confirm(slot)

    async def charge(self, payment_id: str) -> Payment:
        """The attempt is on its way."""
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            return await self._charges.charge(slot)

    async def take_step(self, payment_id: str, ask: Ask) -> Payment:
        """The money step is on its way; its result comes as a fact."""
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            return await self._steps.ask(slot, ask)

    async def history(self, payment_id: str) -> History:
        """Everything that was tried with a payment."""
        slot = await self._register.slot(payment_id)
        store = self._register.store
        attempts, steps = await store.attempts(payment_id), await store.steps(payment_id)
        return History(slot.snapshot(), tuple(map(attempt_of, attempts)), tuple(map(step_of, steps)))

    async def search(self, wanted: Search) -> Page:
        """The payments of a tenant that fit, newest first."""
        if wanted.tenant not in self._tenants:
            raise Refused("tenant_unknown", "No such tenant. Check the tenant's name.")
        limit = min(max(wanted.limit, 1), PAGE_MAX)
        rows = await self._register.store.search(replace(wanted, limit=limit + 1))
        shown = tuple(self._register.slot_of(row).snapshot() for row in rows[:limit])
        return Page(shown, position_of(rows[limit - 1]) if len(rows) > limit else "")

    async def cancel(self, payment_id: str, by: str) -> Payment:
        """Cancelled; a declined payment stays declined and only loses its cell."""
        if not _BY.fullmatch(by):
            raise Refused("bad_request", "Say who cancels: an agent's id, caller, flow or system.")
        slot = await self._register.slot(payment_id)
        if slot.row.state is PaymentState.LINKED:
            return await self._links.close(slot, *_party(by))
        async with slot.lock:
            if slot.row.state is PaymentState.DECLINED:
                await self._captures.end(slot)
                return slot.snapshot()
            return await self._cancel(slot, by)

    async def end_call(self, call_id: str) -> None:
        """Nothing is captured on this call any more; a charge under way comes to its result."""
        await self._pins.end_call(call_id)
        for slot in await self._slots_of_call(call_id):
            async with slot.lock:
                if slot.row.state in {PaymentState.CREATED, PaymentState.CAPTURING, PaymentState.READY}:
                    await self._cancel(slot, "system")
                else:
                    await self._captures.leave(slot)

    async def _cancel(self, slot: Slot, by: str) -> Payment:
        return await self._captures.cancel(slot, *_party(by))

    async def _slots_of_call(self, call_id: str) -> list[Slot]:
        rows = await self._register.store.of_call(call_id)
        return [await self._register.slot(row.payment_id) for row in rows]


def _party(by: str) -> tuple[str, str]:
    """Who cancels, as the log names him, and in one word."""
    return (_PARTIES[by], by) if by in _PARTIES else (f"agent:{by}", "agent")
