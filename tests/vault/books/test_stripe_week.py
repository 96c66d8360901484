"""The same kind of week at Stripe: its SDK against the simulator over TLS, its balance against our books."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.stripe_ends import StripeEnds, stripe_ends
from tests.support.week import Week
from vault.door import PaymentState
from vault.providers._stripe_sdk import stripe as sdk
from vault.store import Store


class StripeWeek(Week):
    """A week whose clock is the simulator's."""

    def __init__(self, store: Store, ends: StripeEnds) -> None:
        super().__init__(store, ends.broker, datetime.fromtimestamp(ends.sim.now(), UTC))
        self.ends = ends

    def to(self, day: int, hour: int = 9) -> None:
        """Turns the simulator's clock with ours; the simulator's is never behind."""
        super().to(day, hour)
        self.ends.sim.skip(max(0.0, self.now.timestamp() - self.ends.sim.now()))
        self.now = datetime.fromtimestamp(self.ends.sim.now(), UTC)

    async def token(self) -> str:
        """A payment method, made by a cell's key."""
        token = (await self.ends.tokenise()).token
        assert token is not None
        return token

    def pay_out(self) -> int:
        """What the provider pays out now."""
        payout = self.ends.sim.host.ledger.pay_out("eur", self.ends.sim.now())
        assert payout is not None
        return int(payout["amount"])


@pytest.fixture
async def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StripeWeek]:
    monkeypatch.setattr(sdk.HTTPClient, "INITIAL_DELAY", 0.01)
    store = await Store.open(tmp_path / "vault.db")
    async with stripe_ends(tmp_path) as ends:
        yield StripeWeek(store, ends)
    await store.close()


async def test_week_at_stripe_matches_and_sums_to_zero(week):
    """Sales, a hold settled in part, partial refunds, a dispute lost and one won, two payouts, an orphan."""
    await week.sale("one", 10_000)
    await week.sale("lost", 5_000)
    await week.sale("won", 7_000)
    await week.sale("held", 20_000, later=True)
    week.to(1)
    await week.refund("one", 2_500)
    await week.settle("held", 15_000)
    refunds, now = week.ends.sim.host.refunds, week.ends.sim.now()
    refunds.dispute(week.rows["lost"].charge_ref, now)
    dispute = refunds.dispute(week.rows["won"].charge_ref, now)
    week.to(4)
    paid_minor = week.pay_out()
    refunds.win(dispute["id"], week.ends.sim.now())
    await week.refund("one", 2_500, 2)
    await week.sale("two", 3_500)
    week.to(9)
    paid_minor += week.pay_out()
    week.to(10)

    run = await week.reconciler().run("demo")

    assert [] == [(item.match.value, item.kind, item.explained) for item in run.items if item.differs]
    assert (0, True) == (run.differences, run.clean)
    assert all(day.closed for day in run.days[:-1])
    euro = run.balances["EUR"]
    assert 0 == sum(euro.values())
    assert (0, 0, paid_minor) == (euro["unmatched"], euro["psp_receivable"], euro["bank_clearing"])
    assert (-40_500, 5_000, 5_000) == (euro["sales"], euro["refunds"], euro["chargebacks"])


async def test_charge_that_only_stripe_knows_is_an_orphan(week):
    """Its reference is one of our attempts, so that a person can find the payment."""
    await week.sale("ghost", 4_000, believed=PaymentState.UNKNOWN)
    week.to(1)
    run = await week.reconciler().run("demo")
    assert [("provider_only", "charge", "pay_ghost", 4_000)] == [
        (item.match.value, item.kind, item.payment_id, item.gross_minor) for item in run.items
    ]
