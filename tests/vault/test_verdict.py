"""What an attempt's outcome makes of its payment, as one table and a few rules."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.shop import a_row
from vault.door import NextStep, PaymentState
from vault.payment import ATTEMPTS_MAX, Move, after
from vault.providers.base import Outcome, OutcomeKind
from vault.verdict import limited, moved_on, verdict

SALE = replace(a_row(1), state=PaymentState.AUTHORISING, attempt=1)
CHECK = replace(SALE, check_only=True, amount_minor=0)
HOLD = replace(SALE, settle_later=True)


@pytest.mark.parametrize(
    ("row", "outcome", "moves"),
    [
        (SALE, Outcome(OutcomeKind.AUTHORISED, settled=True), (Move.AUTHORISE, Move.SETTLE)),
        (HOLD, Outcome(OutcomeKind.AUTHORISED), (Move.AUTHORISE,)),
        (SALE, Outcome(OutcomeKind.DECLINED, "lost_card"), (Move.DECLINE,)),
        (SALE, Outcome(OutcomeKind.NEVER_SENT), (Move.DECLINE,)),
        (SALE, Outcome(OutcomeKind.REQUIRES_ACTION), (Move.REFER,)),
        (SALE, Outcome(OutcomeKind.UNKNOWN), (Move.DOUBT,)),
        (CHECK, Outcome(OutcomeKind.AUTHORISED), (Move.CHECK,)),
        (CHECK, Outcome(OutcomeKind.UNKNOWN), (Move.DECLINE,)),
    ],
)
def test_each_outcome_has_its_moves(row, outcome, moves):
    """A sale moves twice in one commit; an account check is never in doubt, because it moves no money."""
    assert moves == verdict(row, outcome).moves


@given(
    st.sampled_from([SALE, HOLD, CHECK]),
    st.builds(Outcome, st.sampled_from(OutcomeKind), st.text(max_size=20), settled=st.booleans()),
    st.integers(1, ATTEMPTS_MAX),
)
def test_every_verdict_is_legal_and_settles_at_most_the_amount(row, outcome, attempt):
    """Whatever a provider says, the table allows what we make of it."""
    row = replace(row, attempt=attempt)
    found = verdict(row, outcome)
    state = row.state
    for move in found.moves:
        state = after(state, move)
    values = dict(found.values or {})
    assert values.get("settled_minor", 0) in {0, row.amount_minor}
    assert found.settles == (state is PaymentState.SETTLED)
    if found.decline is not None:
        assert found.decline.retry_allowed == (attempt < ATTEMPTS_MAX)


def test_a_limit_of_ours_sounds_like_any_decline():
    """A caller who tries cards learns nothing: the wording of a stolen card, and no reason."""
    ready = replace(SALE, state=PaymentState.READY, attempt=0)
    ours, banks = limited(ready, 1), verdict(SALE, Outcome(OutcomeKind.DECLINED, "stolen_card"))
    assert ours.decline == banks.decline
    assert PaymentState.DECLINED is after(after(ready.state, ours.moves[0]), ours.moves[1])


def test_a_payment_that_moves_on_takes_nothing_along():
    """No reference, no token, no customer of one provider goes to another; the card is keyed anew."""
    found = moved_on(verdict(SALE, Outcome(OutcomeKind.NEVER_SENT)), "other")
    assert found.decline is not None
    assert NextStep.REKEY_PAN is found.decline.next_step
    values = dict(found.values or {})
    assert ("other", None, None, "") == tuple(
        values[name] for name in ("provider", "provider_ref", "token", "customer_ref")
    )
