"""Stripe's objects read as outcomes: the table of `_stripe_answers`, row by row, and for anything at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.providers._stripe_answers import (
    SETTLING_S,
    Mark,
    epoch,
    fence_mark,
    fetched,
    outcome_of_error,
    outcome_of_intent,
    outcome_of_setup,
    stamp,
    standing_of,
)
from vault.providers._stripe_feed import KINDS, entry_of
from vault.providers.base import FeedKind, OutcomeKind, StandingState

KEY = "pay_one:authorise:2"
NOW = 1_800_000_000.0
STATUSES = (
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "succeeded",
    "canceled",
)


def intent(status: str, *, marked: bool = True, age_s: float = 60.0, **members: Any) -> dict[str, Any]:
    marks = {Mark.ATTEMPT: KEY, Mark.TOKEN: "pm_two", Mark.AT: str(int(NOW - age_s))} if marked else {}
    return {"id": "pi_one", "status": status, "metadata": {Mark.PAYMENT: "pay_one", **marks}, **members}


def charge(status: str, attempt: str = KEY, **members: Any) -> dict[str, Any]:
    return {"id": "ch_one", "status": status, "metadata": {Mark.ATTEMPT: attempt}, **members}


@pytest.mark.parametrize(
    ("found", "charges", "kind", "raw_code"),
    [
        (intent("succeeded"), [charge("succeeded", captured=True)], OutcomeKind.AUTHORISED, ""),
        (intent("canceled", marked=False), [charge("succeeded")], OutcomeKind.AUTHORISED, ""),
        (intent("requires_payment_method"), [charge("pending")], OutcomeKind.UNKNOWN, ""),
        (
            intent("requires_payment_method"),
            [charge("failed", outcome={"reason": "lost_card"})],
            OutcomeKind.DECLINED,
            "lost_card",
        ),
        (intent("succeeded"), [charge("succeeded", "pay_one:authorise:1")], OutcomeKind.AUTHORISED, ""),
        (intent("succeeded", marked=False), [], OutcomeKind.NEVER_SENT, ""),
        (intent("requires_action"), [], OutcomeKind.REQUIRES_ACTION, "authentication_required"),
        (
            intent("canceled", cancellation_reason="abandoned"),
            [],
            OutcomeKind.REQUIRES_ACTION,
            "authentication_required",
        ),
        (
            intent(
                "requires_payment_method",
                last_payment_error={"code": "invalid_cvc", "payment_method": {"id": "pm_two"}},
            ),
            [],
            OutcomeKind.DECLINED,
            "invalid_cvc",
        ),
        (
            intent(
                "requires_payment_method",
                last_payment_error={"code": "expired_card", "payment_method": {"id": "pm_one"}},
            ),
            [],
            OutcomeKind.NEVER_SENT,
            "",
        ),
        (intent("requires_payment_method"), [], OutcomeKind.NEVER_SENT, ""),
        (intent("requires_payment_method", age_s=SETTLING_S - 1), [], OutcomeKind.UNKNOWN, ""),
        (intent("requires_payment_method", marked=False), [], OutcomeKind.NEVER_SENT, ""),
        (intent("processing"), [], OutcomeKind.UNKNOWN, ""),
    ],
)
def test_what_is_found_says_what_became_of_the_attempt(found, charges, kind, raw_code):
    """The table in the module's head."""
    outcome = fetched(found, charges, KEY, NOW)
    assert (kind, raw_code) == (outcome.kind, outcome.raw_code)


def test_a_fence_says_never_unless_there_is_a_charge():
    """A key older than the window was free again: the charge is the truth then."""
    fenced = intent("requires_payment_method")
    fenced["metadata"][fence_mark(KEY)] = "yes"
    assert "fenced" == fetched(fenced, [], KEY, NOW).raw_code
    assert OutcomeKind.AUTHORISED is fetched(fenced, [charge("succeeded")], KEY, NOW).kind


def test_a_kept_cards_error_from_an_attempt_before_is_not_this_ones():
    """Its token says nothing, so it is not in the mark."""
    found = intent("requires_payment_method", last_payment_error={"payment_method": {"id": "pm_kept"}})
    found["metadata"][Mark.TOKEN] = ""
    assert OutcomeKind.NEVER_SENT is fetched(found, [], KEY, NOW).kind


_WORDS = st.sampled_from(["succeeded", "failed", "pending", "canceled", "", *STATUSES]) | st.none()
_ERRORS = st.none() | st.fixed_dictionaries(
    {}, optional={"code": st.text(max_size=5), "payment_method": st.none() | st.just({"id": "pm_two"})}
)


@given(
    status=_WORDS,
    charges=st.lists(st.tuples(_WORDS, st.booleans()), max_size=3),
    error=_ERRORS,
    marked=st.booleans(),
    age_s=st.integers(0, 40),
)
def test_never_executed_is_never_said_beside_a_charge_or_too_early(status, charges, error, marked, age_s):
    """The one mistake that would charge somebody twice."""
    found = intent(str(status), marked=marked, age_s=age_s, last_payment_error=error)
    made = [charge(str(word), KEY if mine else "pay_one:authorise:1") for word, mine in charges]
    outcome = fetched(found, made, KEY, NOW)
    if outcome.kind is OutcomeKind.NEVER_SENT:
        assert not any(mine for _, mine in charges)
        assert not (
            marked and (age_s < SETTLING_S or status in {"succeeded", "requires_capture", "processing"})
        )


@given(status=_WORDS, error=_ERRORS)
def test_a_confirmation_is_only_authorised_by_the_two_good_states(status, error):
    """Anything that is not known is unknown."""
    outcome = outcome_of_intent({"status": status, "last_payment_error": error, "latest_charge": None})
    assert (outcome.kind is OutcomeKind.AUTHORISED) is (status in {"succeeded", "requires_capture"})


def test_an_error_is_read_by_its_most_exact_code():
    """And advice that we do not know is no advice."""
    told = outcome_of_error({"code": "card_declined", "decline_code": "lost_card", "advice_code": "new_one"})
    assert (OutcomeKind.DECLINED, "lost_card", "") == (told.kind, told.raw_code, told.advice)
    assert OutcomeKind.REQUIRES_ACTION is outcome_of_error({"code": "authentication_required"}).kind
    assert "card_declined" == outcome_of_error({}).raw_code


@pytest.mark.parametrize("status", [*STATUSES, "something_new"])
def test_every_state_of_an_intent_has_a_standing(status):
    """What Stripe may invent later is under way until it is known."""
    standing = standing_of({"status": status, "latest_charge": None}, [])
    assert (0, 0, 0) == (standing.authorised_minor, standing.settled_minor, standing.refunded_minor)
    assert (standing.state is StandingState.UNDER_WAY) is (status in {"processing", "something_new"})


def test_a_failed_refund_gave_nothing_back():
    """Neither in the sum nor among the steps."""
    refunds = [
        {"id": "re_one", "amount": 300, "status": "succeeded", "metadata": {Mark.STEP: "pay_one:refund:1"}},
        {"id": "re_two", "amount": 200, "status": "failed", "metadata": {Mark.STEP: "pay_one:refund:2"}},
        {"id": "re_by_hand", "amount": 50, "status": "pending", "metadata": {}},
    ]
    standing = standing_of(intent("succeeded", latest_charge=charge("succeeded", amount=900)), refunds)
    assert (900, 350, {"pay_one:refund:1": "re_one"}) == (
        standing.authorised_minor,
        standing.refunded_minor,
        standing.steps,
    )


@pytest.mark.parametrize("status", ["processing", "canceled", "requires_payment_method"])
def test_an_unfinished_check_is_unknown(status):
    """No card counts as checked without a yes."""
    assert OutcomeKind.UNKNOWN is outcome_of_setup({"status": status}).kind


@given(st.integers(0, 4 * 10**12))
def test_a_time_there_and_back_lets_nothing_earlier_in(milliseconds):
    """Milliseconds in our stamps, whole seconds at Stripe."""
    assert 0 <= epoch(stamp(milliseconds / 1000)) * 1000 - milliseconds < 1000
    assert "" == stamp(None)


@pytest.mark.parametrize(
    ("category", "amount", "fee", "expected"),
    [
        ("charge", 1000, 40, (FeedKind.CHARGE, 1000, 40, 960)),
        ("refund", -300, 0, (FeedKind.REFUND, -300, 0, -300)),
        ("fee", -250, 0, (FeedKind.FEE, 0, 250, -250)),
        ("network_cost", -3, 0, (FeedKind.FEE, 0, 3, -3)),
        ("payout", -700, 0, (FeedKind.PAYOUT, -700, 0, -700)),
        ("topup", 500, 0, (FeedKind.ADJUSTMENT, 500, 0, 500)),
    ],
)
def test_a_balance_transaction_keeps_its_sum(category, amount, fee, expected):
    """`net = gross - fee`, whatever it is about; what has no name of ours is an adjustment."""
    transaction = {
        "id": "txn_one",
        "reporting_category": category,
        "amount": amount,
        "fee": fee,
        "net": amount - fee,
        "currency": "eur",
        "created": 1_800_000_000,
        "available_on": 1_800_086_400,
        "source": None if category == "fee" else {"id": "src_one", "payment_intent": "pi_one"},
    }
    entry = entry_of(transaction, "po_one")
    assert expected == (entry.kind, entry.gross_minor, entry.fee_minor, entry.net_minor)
    assert ("EUR", "2027-01-16") == (entry.currency, entry.available_on)
    assert set(KINDS.values()) | {FeedKind.ADJUSTMENT} == set(FeedKind)
