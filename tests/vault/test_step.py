"""What a step may move, what a standing says of it, and what the comparison with a provider shows."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.shop import a_row
from vault.door import PaymentState, Refused, StepName, StepState
from vault.payment import TABLE, after
from vault.providers.base import Abilities, Standing, StandingState, StepKind
from vault.step import ALARMS, Ask, Finding, amount_of, check_ask, done, finding, found, step_key, utc
from vault.store import PaymentRow, StepRow

ABILITIES = Abilities(
    tokenise_first=True,
    moto=True,
    settle_later=True,
    partial_settle=True,
    keeps_cards=True,
    links=True,
    settlement_feed=True,
    key_window_s=60,
)
HELD = replace(a_row(1), state=PaymentState.AUTHORISED, provider_ref="ref")
PAID = replace(HELD, state=PaymentState.SETTLED, settled_minor=3000)
MONEY = st.integers(0, 3000)


def ask(name: StepName, amount_minor: int | None = None) -> Ask:
    return Ask(name, amount_minor, "agent:agent1", "key")


def code(row: PaymentRow, wanted: Ask, abilities: Abilities = ABILITIES) -> str:
    with pytest.raises(Refused) as refused:
        amount_of(row, wanted, abilities)
    return refused.value.code


@pytest.mark.parametrize(
    ("row", "wanted", "expected"),
    [
        (HELD, ask(StepName.SETTLE, 3001), "settle_too_large"),
        (HELD, ask(StepName.SETTLE, 0), "amount_malformed"),
        (HELD, ask(StepName.VOID, 1), "void_is_whole"),
        (HELD, ask(StepName.REFUND), "not_refundable"),
        (PAID, ask(StepName.SETTLE), "not_settleable"),
        (PAID, ask(StepName.VOID), "not_voidable"),
        (PAID, ask(StepName.REFUND, 3001), "refund_too_large"),
        (replace(PAID, refunded_minor=2000), ask(StepName.REFUND, 1001), "refund_too_large"),
        (replace(PAID, step=StepName.REFUND), ask(StepName.REFUND, 1), "step_under_way"),
        (replace(HELD, state=PaymentState.UNKNOWN), ask(StepName.SETTLE), "being_checked"),
    ],
)
def test_a_step_that_may_not_be_is_refused(row, wanted, expected):
    """By state, by amount, by another step; each with a code of its own."""
    assert expected == code(row, wanted)


def test_a_part_is_settled_only_where_the_provider_can():
    """The whole always; a part is an ability."""
    whole_only = replace(ABILITIES, partial_settle=False)
    assert 2000 == amount_of(HELD, ask(StepName.SETTLE, 2000), ABILITIES)
    assert 3000 == amount_of(HELD, ask(StepName.SETTLE), whole_only)
    assert "partial_settle_off" == code(HELD, ask(StepName.SETTLE, 2000), whole_only)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ask_key": ""}, "ask_key_needed"),
        ({"ask_key": "4242 4242"}, "ask_key_needed"),
        ({"by": "anna"}, "bad_request"),
        ({"reason": "because he said so"}, "reason_unknown"),
    ],
)
def test_a_malformed_request_is_refused(changes, expected):
    """No free text comes near the log or the provider."""
    with pytest.raises(Refused) as refused:
        check_ask(replace(ask(StepName.VOID), **changes))
    assert expected == refused.value.code


@given(st.lists(st.integers(1, 3000), max_size=12))
def test_refunds_never_exceed_what_was_settled(amounts):
    """Whatever is asked for, one after the other: the sum stays within, and the state fits."""
    row = PAID
    for amount in amounts:
        try:
            moved = amount_of(row, ask(StepName.REFUND, amount), ABILITIES)
        except Refused:
            continue
        turn = done(row, StepName.REFUND, moved)
        state = row.state
        for move in turn.moves:
            state = after(state, move)
        row = replace(row, state=state, **turn.values)
    assert 0 <= row.refunded_minor <= row.settled_minor
    assert (row.state is PaymentState.REFUNDED) == (row.refunded_minor == row.settled_minor)


@pytest.mark.parametrize("name", list(StepName))
def test_a_step_in_the_standing_is_done(name):
    """The provider knows our key: it is done, whatever else has happened since."""
    step = a_step(name)
    standing = Standing(StandingState.VOIDED, steps={step.step_key: "re_1"})
    for may_run in (True, False):
        known = found(step, standing, may_run=may_run)
        assert known is not None
        assert (StepKind.DONE, "re_1") == (known.kind, known.step_ref)


@given(st.sampled_from(StepName), st.sampled_from(StandingState))
def test_what_the_provider_does_not_know_is_final_only_when_it_cannot_run_any_more(name, state):
    """While the request may still arrive, its absence proves nothing."""
    step = a_step(name)
    known = found(step, Standing(state), may_run=True)
    assert known is None or known.kind in {StepKind.DONE, StepKind.REFUSED}
    assert found(step, Standing(state), may_run=False) is not None


@given(
    st.sampled_from(PaymentState),
    st.builds(Standing, st.sampled_from(StandingState), MONEY, MONEY, MONEY),
    MONEY,
)
def test_money_nobody_wants_is_never_overlooked(state, standing, settled_minor):
    """Held or taken at the provider while our books hold nothing: an orphan, in every state of ours."""
    row = replace(HELD, state=state, settled_minor=settled_minor)
    shown = finding(row, standing)
    unwanted = state not in {
        PaymentState.AUTHORISING, PaymentState.UNKNOWN, PaymentState.AUTHORISED,
        PaymentState.SETTLED, PaymentState.REFUNDED,
    }  # fmt: skip
    if unwanted and standing.state is StandingState.AUTHORISED:
        assert Finding.HELD is shown
    if unwanted and standing.state is StandingState.SETTLED:
        assert (shown is Finding.TAKEN) == (standing.settled_minor > standing.refunded_minor)
    if shown is Finding.HELD:
        assert standing.state is StandingState.AUTHORISED
    if shown is Finding.AGREES and state is PaymentState.SETTLED:
        assert (settled_minor, row.refunded_minor) == (standing.settled_minor, standing.refunded_minor)


@given(st.builds(Standing, st.sampled_from(StandingState), MONEY, MONEY, MONEY))
def test_what_is_taken_over_fits_the_books(standing):
    """A settle or refund found at the provider never breaks a limit of ours; what would is alarmed."""
    held, paid = finding(HELD, standing), finding(PAID, standing)
    if held is Finding.SETTLED:
        assert 0 < standing.settled_minor <= HELD.amount_minor
    if paid is Finding.REFUNDED:
        assert PAID.refunded_minor < standing.refunded_minor <= PAID.settled_minor
    if standing.state is StandingState.SETTLED and standing.settled_minor != PAID.settled_minor:
        assert paid in ALARMS


def test_a_payment_with_something_under_way_is_left_alone():
    """Its own lookups know more than a comparison."""
    for row, state in product((replace(PAID, step=StepName.REFUND), HELD), StandingState):
        busy = replace(row, step=StepName.VOID)
        assert Finding.AGREES is finding(busy, Standing(state, settled_minor=1))


def test_every_end_of_a_step_is_a_legal_move():
    """`done` speaks only words of the table."""
    for name, row in ((StepName.SETTLE, HELD), (StepName.VOID, HELD), (StepName.REFUND, PAID)):
        for move in done(row, name, 3000).moves:
            assert (row.state, move) in TABLE


def test_a_key_is_derived():
    """The same payment, name and number: the same key, after any restart."""
    assert "pay_a:refund:2" == step_key("pay_a", StepName.REFUND, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-29T05:00:00Z", "2026-11-29T05:00:00.000Z"),
        ("2026-11-29T06:00:00.5+01:00", "2026-11-29T05:00:00.500Z"),
        ("2026-11-29T05:00:00", ""),
        ("soon", ""),
        ("", ""),
    ],
)
def test_moments_are_compared_in_one_form(text, expected):
    """UTC with milliseconds; what names no zone is no moment."""
    assert expected == utc(text)


def a_step(name: StepName) -> StepRow:
    key = step_key("pay_b", name, 1)
    return StepRow("pay_b", name, 1, key, "k", StepState.UNKNOWN, 3000, "agent:agent1", "")
