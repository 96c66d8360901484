"""The payment's table, its rules for a new one, and the meaning of declines."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vault.currency import MINOR_DIGITS
from vault.door import (
    DeclineReason,
    Field,
    NewPayment,
    NextStep,
    PaymentState,
    Refused,
)
from vault.payment import (
    AMOUNT_MAX_MINOR,
    ATTEMPTS_MAX,
    DECLINES,
    HOLDING_REFERENCE,
    RECEIPT_DIGITS,
    REFERENCE_MAX,
    TABLE,
    UNRESOLVED,
    Move,
    Terms,
    after,
    attempt_key,
    check_capture,
    check_new,
    decline_of,
    field_to_rekey,
    move_of,
    receipt_number,
    table_text,
)
from vault.providers.base import Outcome, OutcomeKind

TERMS = Terms(("EUR", "JPY"), 500_000, ("booking", "invoice"), "moto_agent", unattended=True)
NEW = NewPayment(
    tenant="demo",
    call_id="call_one",
    leg_id="leg_caller",
    amount_minor=1995,
    currency="EUR",
    reference="B-100200",
    purpose="booking",
    sca_basis="moto_agent",
    agent_id="agent1",
)


def test_every_pair_of_the_table_leads_to_its_state():
    """The table is the only way from state to state."""
    for (state, move), target in TABLE.items():
        assert target is after(state, move)


def test_every_other_pair_is_refused_with_a_next_step():
    """Illegal moves say what to do and are not retryable."""
    for state, move in product(PaymentState, Move):
        if (state, move) in TABLE:
            continue
        with pytest.raises(Refused) as refused:
            after(state, move)
        assert refused.value.code
        assert refused.value.sentence.endswith(".")
        assert refused.value.retryable is False


def test_refusals_of_the_desk_have_codes_of_their_own():
    """What an agent can press too early or too late is named."""
    codes = {}
    for move in (Move.CAPTURE, Move.REKEY, Move.CHARGE, Move.CANCEL, Move.SETTLE):
        with pytest.raises(Refused) as refused:
            after(PaymentState.VOIDED, move)
        codes[move] = refused.value.code
    assert codes == {
        Move.CAPTURE: "not_capturable",
        Move.REKEY: "not_rekeyable",
        Move.CHARGE: "not_ready",
        Move.CANCEL: "not_cancellable",
        Move.SETTLE: "not_settleable",
    }


def test_final_states_have_no_way_out():
    """Cancelled, expired and voided payments stay what they are; a referred one can only go on by link."""
    final = {PaymentState.CANCELLED, PaymentState.EXPIRED, PaymentState.VOIDED}
    assert final.isdisjoint(state for state, _ in TABLE)
    assert [Move.LINK] == [move for state, move in TABLE if state is PaymentState.NEEDS_ACTION]


def test_charge_starts_from_ready_only():
    """No other state leads to authorising."""
    leading = {state for (state, _), target in TABLE.items() if target is PaymentState.AUTHORISING}
    assert {PaymentState.READY} == leading


def test_printed_table_has_one_line_per_move():
    """The table can be printed, head included."""
    lines = table_text().splitlines()
    assert len(TABLE) + 2 == len(lines)
    assert "| ready | charge | authorising |" in lines


def test_capture_is_refused_when_all_attempts_are_used():
    """After the third decline another way to pay is needed."""
    check_capture(PaymentState.CREATED, 0)
    check_capture(PaymentState.DECLINED, ATTEMPTS_MAX - 1)
    with pytest.raises(Refused) as refused:
        check_capture(PaymentState.DECLINED, ATTEMPTS_MAX)
    assert refused.value.code == "attempts_used"


def test_states_under_way_hold_their_reference():
    """A payment whose outcome is open can never be doubled by a new one with its reference."""
    assert set(UNRESOLVED) < set(HOLDING_REFERENCE)


def test_valid_payment_passes():
    """With an agent, without one, and at the limit."""
    check_new(NEW, TERMS)
    check_new(replace(NEW, agent_id=None, sca_basis="moto_unattended"), TERMS)
    check_new(replace(NEW, amount_minor=500_000, currency="JPY", reference="x" * REFERENCE_MAX), TERMS)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"call_id": "4711"}, "id_malformed"),
        ({"leg_id": "leg caller"}, "id_malformed"),
        ({"agent_id": "agent one"}, "id_malformed"),
        ({"agent_id": "4242424242424242"}, "id_malformed"),
        ({"currency": "XXX"}, "currency_unknown"),
        ({"currency": "eur"}, "currency_unknown"),
        ({"currency": "USD"}, "currency_not_offered"),
        ({"amount_minor": 19.95}, "amount_malformed"),
        ({"amount_minor": True}, "amount_malformed"),
        ({"amount_minor": "1995"}, "amount_malformed"),
        ({"amount_minor": 0}, "amount_zero"),
        ({"amount_minor": -1}, "amount_negative"),
        ({"amount_minor": 500_001}, "amount_too_large"),
        ({"purpose": "gift"}, "purpose_unknown"),
        ({"reference": ""}, "reference_malformed"),
        ({"reference": "   "}, "reference_malformed"),
        ({"reference": "x" * (REFERENCE_MAX + 1)}, "reference_malformed"),
        ({"reference": "B\n1"}, "reference_malformed"),
        ({"reference": "card 4242-4242-4242-4242"}, "reference_forbidden"),
        ({"sca_basis": ""}, "sca_basis_missing"),
        ({"sca_basis": "none"}, "sca_basis_missing"),
        ({"agent_id": None}, "agent_missing"),
    ],
)
def test_bad_payment_is_refused_with_its_code(changes, code):
    """Each fault has a code, and a sentence that says what to do and quotes nothing."""
    with pytest.raises(Refused) as refused:
        check_new(replace(NEW, **changes), TERMS)
    assert code == refused.value.code
    assert refused.value.sentence.endswith(".")
    for value in changes.values():
        assert len(str(value)) < 5 or str(value) not in refused.value.sentence


def test_unknown_tenant_is_refused():
    """Without terms there is no payment."""
    with pytest.raises(Refused) as refused:
        check_new(NEW, None)
    assert refused.value.code == "tenant_unknown"


def test_unattended_payment_is_refused_where_it_is_off():
    """The tenant decides whether a payment may go without an agent."""
    with pytest.raises(Refused) as refused:
        check_new(replace(NEW, sca_basis="moto_unattended"), replace(TERMS, unattended=False))
    assert refused.value.code == "unattended_off"


def test_no_tenant_may_raise_the_limit_of_the_house():
    """The house's own limit is below what a tenant's file could say by mistake."""
    with pytest.raises(Refused) as refused:
        check_new(replace(NEW, amount_minor=AMOUNT_MAX_MINOR + 1), replace(TERMS, amount_max_minor=10**12))
    assert refused.value.code == "amount_too_large"


@pytest.mark.parametrize("raw_code", ["lost_card", "stolen_card", "pickup_card", "fraudulent", "never seen"])
def test_fraud_and_unknown_codes_are_generic(raw_code):
    """An agent never learns that a card is reported stolen."""
    decline = decline_of(raw_code, "", attempt=1)
    assert (DeclineReason.GENERIC, NextStep.OTHER_CARD) == (decline.reason, decline.next_step)


@pytest.mark.parametrize(
    ("raw_code", "reason", "step", "field"),
    [
        ("incorrect_number", DeclineReason.PAN_WRONG, NextStep.REKEY_PAN, Field.PAN),
        ("expired_card", DeclineReason.EXPIRY_WRONG, NextStep.REKEY_EXPIRY, Field.EXPIRY),
        ("incorrect_cvc", DeclineReason.CVV_WRONG, NextStep.REKEY_CVV, Field.CVV),
        ("processing_error", DeclineReason.TEMPORARY, NextStep.REKEY_CVV, Field.CVV),
        ("insufficient_funds", DeclineReason.FUNDS, NextStep.OTHER_CARD, None),
        ("authentication_required", DeclineReason.ONLINE_CONFIRMATION, NextStep.OTHER_CARD, None),
    ],
)
def test_decline_names_the_field_that_a_retry_needs(raw_code, reason, step, field):
    """Field errors open that field, temporary ones the CVV, the rest needs another card."""
    decline = decline_of(raw_code, "", attempt=1)
    assert (reason, step, True) == (decline.reason, decline.next_step, decline.retry_allowed)
    assert field is field_to_rekey(decline.next_step)


def test_advice_never_to_try_again_means_another_card():
    """The issuer's word beats the code."""
    assert NextStep.OTHER_CARD is decline_of("incorrect_cvc", "do_not_try_again", attempt=1).next_step


def test_last_attempt_leaves_no_retry():
    """The third decline ends the payment."""
    decline = decline_of("incorrect_cvc", "", attempt=ATTEMPTS_MAX)
    assert (NextStep.NOTHING, False) == (decline.next_step, decline.retry_allowed)


def test_every_known_code_keeps_the_reason_of_its_kind():
    """No code of the table is told as generic: that word is for what must not be told."""
    assert all(reason is not DeclineReason.GENERIC for reason, _ in DECLINES.values())


def test_every_outcome_is_a_legal_move_of_an_attempt_under_way():
    """Whatever a provider answers, the table has a place for it."""
    moves = {kind: move_of(Outcome(kind)) for kind in OutcomeKind}
    assert all((PaymentState.AUTHORISING, move) in TABLE for move in moves.values())
    assert Move.DECLINE is moves[OutcomeKind.NEVER_SENT]
    known = set(moves.values()) - {Move.DOUBT}
    assert all((PaymentState.UNKNOWN, move) in TABLE for move in known)


def test_attempt_key_is_derived_and_never_repeats_within_a_payment():
    """The same try has the same key in every run of the broker."""
    keys = [attempt_key("pay_a", attempt) for attempt in (1, 2, 3, 1)]
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3


def test_receipt_number_has_a_check_digit():
    """One wrong digit of a receipt number is noticed."""
    number = receipt_number(4711)
    assert (RECEIPT_DIGITS, True) == (len(number), number.isdigit())
    swapped = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert swapped != receipt_number(4711)
    assert receipt_number(4711) == receipt_number(4711 + 10 ** (RECEIPT_DIGITS - 1))


def test_receipt_check_digit_is_luhn():
    """7992739871 with the check digit 3 is the published Luhn example; ours has eight digits before it."""
    digits = [int(digit) for digit in receipt_number(79927398)]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    assert (sum(digits[-1::-2]) + doubled) % 10 == 0


def test_currencies_have_the_minor_digits_of_iso_4217():
    """Zero for yen, three for dinar, two for most."""
    digits = {code: MINOR_DIGITS[code] for code in ("JPY", "KWD", "EUR", "HUF")}
    assert {"JPY": 0, "KWD": 3, "EUR": 2, "HUF": 2} == digits
    assert all(len(code) == 3 and code.isupper() for code in MINOR_DIGITS)


class PaymentLife(RuleBasedStateMachine):
    """Any order of moves: attempts never overlap, money moves at most once, and only a fetch ends a doubt."""

    def __init__(self) -> None:
        super().__init__()
        self.state = PaymentState.CREATED
        self.attempts = 0
        self.authorised = 0

    @rule(move=st.sampled_from(Move))
    def moves(self, move):
        """Tries one move; refused ones change nothing."""
        if move in {Move.CAPTURE, Move.REKEY} and self.attempts >= ATTEMPTS_MAX:
            return
        try:
            state = after(self.state, move)
        except Refused:
            assert (self.state, move) not in TABLE
            return
        self.attempts += move is Move.CHARGE
        self.authorised += move is Move.AUTHORISE
        if self.state in UNRESOLVED:
            assert move in {Move.AUTHORISE, Move.CHECK, Move.DECLINE, Move.DOUBT, Move.REFER, Move.VOID}
        self.state = state

    @precondition(lambda self: self.state is PaymentState.DECLINED)
    @rule()
    def retries(self):
        """A retry is another attempt of the same payment, at most three in all."""
        try:
            check_capture(self.state, self.attempts)
        except Refused:
            assert self.attempts >= ATTEMPTS_MAX

    @invariant()
    def money_moves_once(self):
        """A payment is authorised at most once, in at most three attempts."""
        assert self.authorised <= 1
        assert self.attempts <= ATTEMPTS_MAX


TestPaymentLife = PaymentLife.TestCase
TestPaymentLife.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
