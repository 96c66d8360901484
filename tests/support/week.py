"""A merchant's week: real payments at a provider, our books beside it, and a clock to turn.

The broker's own part, the commit of a payment's change with its entry in the books, is `Register.move`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from audit.outbox import stamp
from vault.books.fees import NO_FEES, Fees
from vault.books.ours import book_move
from vault.books.reconciler import Reconciler
from vault.books.statement import Feed
from vault.door import PaymentState, StepName, StepState
from vault.providers import sandbox
from vault.providers.base import (
    AttemptRequest,
    FeedEntry,
    Order,
    OutcomeKind,
    Provider,
    StepKind,
    StepRequest,
)
from vault.store import AttemptRow, PaymentRow, StepRow, Store

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
"""A Monday."""
APPROVED = "sbx_approved_visa_4242_12_2031_{}"


class Tampered:
    """A provider's statement as it tells it, changed here and there by a test."""

    def __init__(self, provider: Provider) -> None:
        self.honest = provider
        self.abilities = provider.abilities
        self.dropped: set[str] = set()
        """Entries that are not told."""
        self.changed: dict[str, dict[str, object]] = {}
        """Entry -> what is told otherwise."""
        self.added: list[FeedEntry] = []

    async def settlements(self, since: str, until: str) -> AsyncIterator[FeedEntry]:
        """The provider's entries with the changes."""
        async for entry in self.honest.settlements(since, until):
            if entry.entry_id not in self.dropped:
                yield FeedEntry(**{**vars(entry), **self.changed.get(entry.entry_id, {})})
        for entry in self.added:
            yield entry


class Week:
    """The merchant, the provider and the clock."""

    def __init__(self, store: Store, provider: Provider, start: datetime = START) -> None:
        self.store = store
        self.provider = provider
        self.feed = Tampered(provider)
        self.start = start
        self.now = start
        self.rows: dict[str, PaymentRow] = {}

    async def play(self) -> None:
        """Monday to Sunday: sales, a hold settled in part, partial refunds, two chargebacks, payouts."""
        await self.sale("one", 10_000)
        await self.sale("lost", 5_076)
        await self.sale("won", 7_077)
        await self.sale("held", 20_000, later=True)
        self.to(1)
        await self.sale("two", 3_500)
        await self.refund("one", 2_500)
        await self.settle("held", 15_000)
        await self.sale("yen", 500, "JPY")
        self.to(2)
        await self.refund("one", 2_500, 2)
        await self.refund("two", 3_500)
        await self.sale("three", 12_345)
        self.to(9)

    def reconciler(self, fees: Fees = NO_FEES) -> Reconciler:
        """A reconciler of the tenant `demo` that reads this week's clock."""
        feeds = [Feed("demo", self.provider.name, self.feed)]
        return Reconciler(self.store, feeds, {"demo": fees}, now=lambda: self.now)

    def seconds(self) -> float:
        """The clock, as the provider reads it."""
        return self.now.timestamp()

    def to(self, day: int, hour: int = 9) -> None:
        """Turns the clock to an hour of a day; 0 is the day of the start."""
        self.now = (self.start + timedelta(days=day)).replace(hour=hour)

    async def token(self) -> str:
        """A token of a card that every bank approves of."""
        return APPROVED.format("a" * 24)

    async def sale(
        self,
        name: str,
        amount_minor: int,
        currency: str = "EUR",
        *,
        later: bool = False,
        believed: PaymentState | None = None,
    ) -> None:
        """A payment settled at once, or (`later`) held; or one that we believe to be something else."""
        payment_id = f"pay_{name}"
        order = Order(payment_id, "demo", amount_minor, currency, "moto_agent", settle_later=later)
        reference = await self.provider.prepare(order)
        key = f"{payment_id}:authorise:1"
        token = await self.token()
        request = AttemptRequest(
            reference, key, 1, token, amount_minor, currency, "moto_agent", settle_later=later
        )
        outcome = await self.provider.authorise(request)
        assert (OutcomeKind.AUTHORISED, not later) == (outcome.kind, outcome.settled)
        row = PaymentRow(
            payment_id=payment_id,
            tenant="demo",
            call_id="call_week",
            leg_id="leg_week",
            agent_id="agent1",
            state=believed or PaymentState.AUTHORISED,
            amount_minor=amount_minor,
            currency=currency,
            reference=f"B-{name}",
            purpose="booking",
            sca_basis="moto_agent",
            provider=self.provider.name,
            provider_ref=reference,
            charge_ref="" if believed else outcome.step_ref,
            last4="4242",
            created_at=stamp(self.now),
            updated_at=stamp(self.now),
        )
        self.rows[name] = row
        async with self.store.changing() as change:
            await change.insert(row)
            at = stamp(self.now)
            tried = AttemptRow(
                payment_id, 1, key, row.state, at, provider=row.provider, provider_ref=reference
            )
            await change.insert_attempt(tried)
        if not believed and not later:
            await self.move(name, PaymentState.SETTLED, settled_minor=amount_minor)

    async def settle(self, name: str, amount_minor: int) -> None:
        """A hold is settled, in part or whole."""
        step_ref = await self._step(name, StepName.SETTLE, 1, amount_minor)
        await self.move(name, PaymentState.SETTLED, settled_minor=amount_minor, charge_ref=step_ref)

    async def refund(self, name: str, amount_minor: int, number: int = 1, *, booked: bool = True) -> None:
        """A part of a payment is given back."""
        await self._step(name, StepName.REFUND, number, amount_minor)
        if booked:
            refunded = self.rows[name].refunded_minor + amount_minor
            await self.move(name, PaymentState.SETTLED, refunded_minor=refunded)

    async def _step(self, name: str, step: StepName, number: int, amount_minor: int) -> str:
        row, act = (
            self.rows[name],
            {StepName.SETTLE: self.provider.settle, StepName.REFUND: self.provider.refund},
        )
        key = f"{row.payment_id}:{step}:{number}"
        request = StepRequest(row.provider_ref or "", key, amount_minor, row.currency)
        outcome = await act[step](request)
        assert outcome.kind is StepKind.DONE
        done = StepRow(
            payment_id=row.payment_id,
            name=step,
            number=number,
            step_key=key,
            ask_key=key.replace(":", "-"),
            state=StepState.DONE,
            amount_minor=amount_minor,
            by="agent:agent1",
            reason="requested",
            step_ref=outcome.step_ref,
            started_at=stamp(self.now),
            ended_at=stamp(self.now),
        )
        async with self.store.changing() as change:
            await change.insert_step(done)
        return outcome.step_ref

    async def move(self, name: str, state: PaymentState, **values: object) -> None:
        """The commit of a payment's change with its entry in the books, as `Register.move` makes it."""
        before = self.rows[name]
        changes = {"state": state, "version": before.version + 1, "updated_at": stamp(self.now), **values}
        after = PaymentRow(**{**vars(before), **changes})
        async with self.store.changing() as change:
            await change.update(after)
            await book_move(change, before, after)
        self.rows[name] = after


@asynccontextmanager
async def a_week(folder: Path, start: datetime = START) -> AsyncIterator[Week]:
    """A node's vault.db and the sandbox, with the clock at `start`."""
    provider = sandbox.provider(folder, {"tenant": "demo"})
    assert isinstance(provider, sandbox.Sandbox)
    week = Week(await Store.open(folder / "vault.db"), provider, start)
    provider.host.clock = week.seconds
    try:
        yield week
    finally:
        await provider.close()
        await week.store.close()
