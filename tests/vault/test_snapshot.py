"""Facts of a cell folded into what everybody may see."""

from hypothesis import given
from hypothesis import strategies as st

from audit.outbox import stamp
from vault.door import Field, FieldProblem, FieldProgress, FieldState, PaymentState
from vault.progress import (
    Cleared,
    Complete,
    Confirmed,
    HelpAsked,
    Keyed,
    NoInput,
    Opened,
    Problem,
    Ready,
    TimeWarning,
)
from vault.snapshot import NOTHING_KEYED, Keying, snapshot
from vault.store import PaymentRow

ROW = PaymentRow(
    "pay_a",
    "demo",
    "call_a",
    "leg_a",
    "agent1",
    PaymentState.CAPTURING,
    1995,
    "EUR",
    "B-1",
    "booking",
    "moto_agent",
    "sandbox",
    stamp(),
    stamp(),
    token="sbx_approved_x",
)


def after(*facts) -> Keying:
    keying = NOTHING_KEYED
    for fact in facts:
        keying = keying.told(fact)
    return keying


def field(keying: Keying, wanted: Field) -> FieldProgress:
    return next(each for each in keying.fields if each.field is wanted)


KEYED_PAN = (Opened(Field.PAN), Keyed(Field.PAN, 16), Complete(Field.PAN, 16, "visa", "4242"))


def test_fields_fill_one_after_the_other():
    """Digits are counted, brand and last 4 come with the complete PAN."""
    keying = after(*KEYED_PAN, Opened(Field.EXPIRY), Keyed(Field.EXPIRY, 2))
    assert ("visa", "4242", Field.EXPIRY) == (keying.brand, keying.last4, keying.open_field())
    assert FieldProgress(Field.PAN, FieldState.COMPLETE, 16) == field(keying, Field.PAN)
    assert FieldProgress(Field.EXPIRY, FieldState.OPEN, 2) == field(keying, Field.EXPIRY)
    assert FieldProgress(Field.CVV, FieldState.WAITING) == field(keying, Field.CVV)


def test_problem_stays_until_the_next_key():
    """The console shows why, even after the field is open again."""
    keying = after(*KEYED_PAN, Problem(Field.PAN, FieldProblem.REFUSED_BY_PROVIDER), Opened(Field.PAN))
    assert FieldProblem.REFUSED_BY_PROVIDER is field(keying, Field.PAN).problem
    assert (None, None) == (keying.brand, keying.last4)
    assert field(keying.told(Keyed(Field.PAN, 1)), Field.PAN).problem is None


def test_silence_keeps_the_digits():
    """Asked again, nothing lost; a star empties the field."""
    keying = after(Opened(Field.PAN), Keyed(Field.PAN, 7), NoInput(Field.PAN))
    assert FieldProgress(Field.PAN, FieldState.OPEN, 7, FieldProblem.NO_INPUT) == field(keying, Field.PAN)
    assert FieldProgress(Field.PAN, FieldState.OPEN) == field(keying.told(Cleared(Field.PAN)), Field.PAN)


def test_one_field_is_open_at_a_time():
    """Reopening one closes the other; complete ones stay, a problem of before is forgotten."""
    keying = after(*KEYED_PAN, Opened(Field.EXPIRY), Problem(Field.EXPIRY, FieldProblem.BAD_MONTH))
    keying = keying.opening(Field.CVV).opening(Field.EXPIRY)
    assert FieldProgress(Field.EXPIRY, FieldState.OPEN) == field(keying, Field.EXPIRY)
    assert FieldState.WAITING is field(keying, Field.CVV).state
    assert "4242" == keying.last4


def test_confirm_is_a_field_of_its_own():
    """It appears when it is asked for, and ends complete or refused."""
    asked = after(*KEYED_PAN).opening(Field.CONFIRM)
    assert FieldState.COMPLETE is field(asked.told(Confirmed()), Field.CONFIRM).state
    refused = asked.told(Problem(Field.CONFIRM, FieldProblem.CONFIRM_REFUSED))
    assert FieldState.WAITING is field(refused, Field.CONFIRM).state


def test_facts_about_the_capture_change_no_field():
    """Help and warnings are told, not shown in a field."""
    assert NOTHING_KEYED == after(HelpAsked(), TimeWarning(60))
    assert "4444" == after(Ready("mastercard", "4444", "token")).last4


def test_snapshot_shows_the_cell_while_it_captures():
    """The row's card is of the past while another one is keyed; no snapshot has the token."""
    shown = snapshot(ROW, after(*KEYED_PAN), secure=True)
    assert ("visa", "4242", True, True) == (shown.brand, shown.last4, shown.secure, shown.capture_live)
    assert "sbx_" not in repr(shown)
    bare = snapshot(ROW)
    assert ((), False, False) == (bare.fields, bare.capture_live, bare.secure)


_fields = st.sampled_from(Field)
_facts = st.one_of(
    st.builds(Opened, _fields),
    st.builds(Keyed, _fields, st.integers(1, 19)),
    st.builds(Cleared, _fields),
    st.builds(Problem, _fields, st.sampled_from(FieldProblem)),
    st.builds(NoInput, _fields),
    st.just(Complete(Field.PAN, 16, "visa", "4242")),
    st.just(Complete(Field.CVV, 3)),
    st.just(Confirmed()),
    st.just(HelpAsked()),
)


@given(st.lists(_facts, max_size=30))
def test_any_order_of_facts_keeps_one_line_per_field(facts):
    """Whatever a cell says, each field is there once, and the order of the card's fields stays."""
    names = [each.field for each in after(*facts).fields]
    assert [Field.PAN, Field.EXPIRY, Field.CVV] == names[:3]
    assert len(names) == len(set(names))
