"""The one place where a payment changes: row, attempt and log entry in one commit, then the fact.

A slot is one payment in memory with its lock; whoever changes it holds the lock. A fact is told only after
its commit, and facts are numbered in the order they are told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from audit.outbox import Entry, stamp
from vault.books.ours import book_move
from vault.door import Field, FieldProblem, Payment, PaymentChanged, Why
from vault.payment import Move, after
from vault.snapshot import snapshot
from vault.store import Change, PaymentRow, Store

if TYPE_CHECKING:
    from vault.live import LiveCapture

BROKER = "system:broker"


@dataclass(eq=False)
class Slot:
    """One payment in memory, as long as somebody works with it."""

    row: PaymentRow
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    capture: "LiveCapture | None" = None
    """The cell that lives for this payment, or the lost one that is being replaced."""

    @property
    def leg_id(self) -> str:
        """The caller's leg."""
        return self.row.leg_id

    @property
    def call_id(self) -> str:
        """The call that the payment belongs to."""
        return self.row.call_id

    def snapshot(self) -> Payment:
        """The payment as everybody may see it."""
        capture = self.capture
        if capture is None:
            return snapshot(self.row)
        return snapshot(self.row, capture.keying, secure=capture.secure, talking=capture.talking)

    def entry(self, name: str, actor: str = BROKER, **data: int | str) -> Entry:
        """A log entry about this payment."""
        row = self.row
        return Entry(name, stamp(), actor, row.payment_id, row.tenant, row.call_id, data=data)

    def who(self) -> str:
        """Who acts in this payment, for the log: the agent, or the caller alone."""
        return f"agent:{self.row.agent_id}" if self.row.agent_id else "caller"


class Register:
    """Slots, changes and facts."""

    def __init__(self, store: Store, publish: Callable[[PaymentChanged], None]) -> None:
        self.store = store
        self.seq = 0
        """Number of the last fact."""
        self._publish = publish
        self._slots: WeakValueDictionary[str, Slot] = WeakValueDictionary()
        self._moved = 0
        """How often a payment has changed."""

    async def slot(self, payment_id: str) -> Slot:
        """The slot of a payment; `Refused("payment_unknown")`.

        A row is read again when any payment has changed meanwhile: it may have been this one, by somebody who
        has let go of its slot since.
        """
        while (known := self._slots.get(payment_id)) is None:
            moved, row = self._moved, await self.store.payment(payment_id)
            if moved == self._moved:
                return self.slot_of(row)
        return known

    def slot_of(self, row: PaymentRow) -> Slot:
        """The slot of a payment read in this very moment, or the one in memory; after any wait ask `slot`."""
        return self._slots.setdefault(row.payment_id, Slot(row))

    async def create(
        self, row: PaymentRow, also: Callable[[Change, PaymentRow], Awaitable[None]] | None = None
    ) -> Payment:
        """Stores a new payment and what `also` does, and tells of it."""
        slot = Slot(row)
        async with self.store.changing() as change:
            await change.insert(row)
            if also is not None:
                await also(change, row)
            data: dict[str, int | str] = {"amount_minor": row.amount_minor, "currency": row.currency}
            data |= {"purpose": row.purpose, "sca_basis": row.sca_basis, "provider": row.provider}
            await change.tell(slot.entry("payment.intent.created", slot.who(), **data))
        slot = self._slots.setdefault(row.payment_id, slot)
        return self.tell(slot, Why.CREATED)

    async def move(
        self,
        slot: Slot,
        moves: Move | Sequence[Move],
        entries: Entry | Sequence[Entry],
        also: Callable[[Change, PaymentRow], Awaitable[None]] | None = None,
        **values: Any,
    ) -> None:
        """Stores the state after `moves` with `values`, the entries, and what `also` does, in one commit.

        Money that moved is in the books by the same commit.
        Without a move only the values change. The lock of the slot is held.
        """
        state = slot.row.state
        for move in (moves,) if isinstance(moves, Move) else moves:
            state = after(state, move)
        row = replace(slot.row, state=state, version=slot.row.version + 1, updated_at=stamp(), **values)
        async with self.store.changing() as change:
            await change.update(row)
            if also is not None:
                await also(change, row)
            await book_move(change, slot.row, row)
            for entry in (entries,) if isinstance(entries, Entry) else entries:
                await change.tell(entry)
        slot.row = row
        self._moved += 1

    async def note(self, entry: Entry) -> None:
        """Stores an entry that changes no payment."""
        async with self.store.changing() as change:
            await change.tell(entry)

    def tell(
        self,
        slot: Slot,
        why: Why,
        field: Field | None = None,
        problem: FieldProblem | None = None,
        seconds_left: int | None = None,
    ) -> Payment:
        """Tells everybody what just happened, with the snapshot of now, and returns that."""
        self.seq += 1
        payment = slot.snapshot()
        self._publish(PaymentChanged(self.seq, why, payment, field, problem, seconds_left))
        return payment
