"""What became of a payment, made from its history: the same list and ids every time."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.happenings import What, happenings
from vault import Attempt, DeclineReason, History, Payment, PaymentState, Step, StepName, StepState

PAYMENT = Payment(
    "pay_one", "demo", "call_one", "leg_one", "agent1", PaymentState.SETTLED, 5000, "EUR", "B-1", "booking",
    7, created_at="2026-01-02T03:00:00.000Z", updated_at="2026-01-09T03:00:00.000Z",
)  # fmt: skip


def attempt(number: int, state: PaymentState, decline: DeclineReason | None = None) -> Attempt:
    at = f"2026-01-02T03:0{number}:00.000Z"
    return Attempt(number, state, decline, "moto_agent", at, at)


def step(name: StepName, number: int, state: StepState, amount_minor: int = 1000) -> Step:
    at = f"2026-01-03T0{number}:00:00.000Z"
    return Step(name, number, amount_minor, state, "agent:agent1", "requested", at, at)


def test_a_long_life_is_told_in_order() -> None:
    """Declined, approved, settled in part, refunded twice, one refund refused."""
    history = History(
        PAYMENT,
        (attempt(1, PaymentState.DECLINED, DeclineReason.FUNDS), attempt(2, PaymentState.AUTHORISED)),
        (
            step(StepName.SETTLE, 1, StepState.DONE, 3000),
            step(StepName.REFUND, 2, StepState.DONE),
            step(StepName.REFUND, 3, StepState.REFUSED),
            step(StepName.REFUND, 4, StepState.UNDER_WAY),
        ),
    )
    assert [
        ("pay_one.attempt_1.declined", What.DECLINED, 5000),
        ("pay_one.attempt_2.authorised", What.AUTHORISED, 5000),
        ("pay_one.settle_1.done", What.SETTLED, 3000),
        ("pay_one.refund_2.done", What.REFUNDED, 1000),
        ("pay_one.refund_3.refused", What.STEP_REFUSED, 1000),
    ] == [(one.event_id, one.what, one.amount_minor) for one in happenings(history)]


def test_a_hold_that_lapsed_is_not_voided_by_anybody() -> None:
    """Voided without a step of ours: the hold has ended by itself."""
    voided = replace(PAYMENT, state=PaymentState.VOIDED)
    lapsed = happenings(History(voided, (attempt(1, PaymentState.AUTHORISED),), ()))
    by_us = happenings(History(voided, (), (step(StepName.VOID, 1, StepState.DONE),)))
    assert [What.AUTHORISED, What.LAPSED] == [one.what for one in lapsed]
    assert voided.updated_at == lapsed[-1].at  # an endpoint that came after the approval hears of it
    assert [What.VOIDED] == [one.what for one in by_us]


def test_a_payment_that_came_to_nothing_is_told() -> None:
    """Cancelled and expired payments have no attempt; one that is being made has nothing to tell."""
    for state, wanted in (
        (PaymentState.CANCELLED, [What.CANCELLED]),
        (PaymentState.EXPIRED, [What.EXPIRED]),
        (PaymentState.CAPTURING, []),
    ):
        found = happenings(History(replace(PAYMENT, state=state), (), ()))
        assert wanted == [one.what for one in found]


STEPS = st.lists(st.tuples(st.sampled_from(StepName), st.sampled_from(StepState)), max_size=9)


@given(STEPS, st.lists(st.sampled_from(PaymentState), max_size=3), st.sampled_from(PaymentState))
def test_a_longer_history_keeps_every_id(steps, attempts, state) -> None:
    """What was told once is told again under the same id, whatever else has happened; no id comes twice."""
    tried = tuple(attempt(number, one) for number, one in enumerate(attempts, 1))
    taken = tuple(step(name, number, how) for number, (name, how) in enumerate(steps, 1))
    payment = replace(PAYMENT, state=state)
    for cut in range(len(taken) + 1):
        ids = [one.event_id for one in happenings(History(payment, tried, taken[:cut]))]
        more = [one.event_id for one in happenings(History(payment, tried, taken))]
        assert len(set(ids)) == len(ids)
        assert set(ids) - set(more) <= {"pay_one.lapsed"}
