"""What a caller hears at each step of a payment."""

import pytest

from pay_ivr.catalogue import VALUES, Catalogue, Key
from pay_ivr.payment_voice import follows, sentences_for
from vault import (
    Decline,
    DeclineReason,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    NextStep,
    Payment,
    PaymentChanged,
    PaymentState,
    Why,
)

CATALOGUE = Catalogue()


def a_change(why: Why, **values: object) -> PaymentChanged:
    of_payment = {
        name: values.pop(name)
        for name in ("brand", "attempt", "decline", "fields", "receipt")
        if name in values
    }
    payment = Payment(
        "pay_a",
        "demo",
        "call_a",
        "leg_a",
        "agent1",
        PaymentState.CAPTURING,
        1995,
        "EUR",
        "R-1",
        "booking",
        1,
        **of_payment,
    )  # type: ignore[arg-type]
    return PaymentChanged(1, why, payment, **values)  # type: ignore[arg-type]


def keys(change: PaymentChanged, *, alone: bool = False) -> list[Key]:
    return [sentence.key for sentence in sentences_for(change, alone=alone)]


def test_the_amount_is_said_before_the_first_key() -> None:
    """V6: the caller hears what will be paid before keying."""
    said = sentences_for(a_change(Why.CAPTURE_OPENED), alone=False)

    assert [Key.CAPTURE_INTRO] == [sentence.key for sentence in said]
    assert {"amount_minor": 1995, "currency": "EUR"} == said[0].values


@pytest.mark.parametrize(
    ("step", "key"), [(NextStep.REKEY_CVV, [Key.RETRY_CVV]), (NextStep.OTHER_CARD, [Key.RETRY_OTHER_CARD])]
)
def test_a_retry_says_what_it_needs_and_not_the_introduction(step: NextStep, key: list[Key]) -> None:
    """After a decline the caller is not walked through everything again."""
    decline = Decline(DeclineReason.TEMPORARY, step, retry_allowed=True)

    assert key == keys(a_change(Why.CAPTURE_OPENED, attempt=1, decline=decline))


def test_an_amex_card_is_asked_for_four_digits() -> None:
    """The code on an American Express card has four digits, on the front."""
    four = sentences_for(a_change(Why.FIELD_OPENED, field=Field.CVV, brand="amex"), alone=False)
    three = sentences_for(a_change(Why.FIELD_OPENED, field=Field.CVV, brand="visa"), alone=False)

    assert ([4], [3]) == ([one.values["digits"] for one in four], [one.values["digits"] for one in three])


@pytest.mark.parametrize("problem", list(FieldProblem))
def test_every_problem_is_explained_and_the_field_asked_again(problem: FieldProblem) -> None:
    """No refusal without a next step."""
    said = keys(a_change(Why.FIELD_PROBLEM, field=Field.EXPIRY, problem=problem))

    assert [Key(f"problem_{problem.value}"), Key.ASK_EXPIRY] == said


@pytest.mark.parametrize("reason", list(DeclineReason))
def test_every_decline_has_its_sentence(reason: DeclineReason) -> None:
    """The caller learns what the agent may say, never more."""
    decline = Decline(reason, NextStep.OTHER_CARD, retry_allowed=True)

    assert [Key(f"declined_{reason.value}")] == keys(a_change(Why.DECLINED, decline=decline))


def test_after_a_talk_pause_the_open_field_is_asked_again() -> None:
    """Nobody has to remember what they were keying."""
    fields = (FieldProgress(Field.PAN, FieldState.COMPLETE), FieldProgress(Field.EXPIRY, FieldState.OPEN))

    assert [Key.TALK_OFF, Key.ASK_EXPIRY] == keys(a_change(Why.TALK_ENDED, fields=fields))


def test_a_receipt_number_is_spoken_only_when_no_agent_can_say_it() -> None:
    """With an agent on the line the agent reads it out."""
    assert [Key.APPROVED] == keys(a_change(Why.AUTHORISED, receipt="AB12"))
    assert [Key.APPROVED, Key.RECEIPT] == keys(a_change(Why.AUTHORISED, receipt="AB12"), alone=True)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("language", ["de-DE", "en-US", "es-ES", "fr-FR"])
@pytest.mark.parametrize("why", list(Why))
def test_every_step_can_be_spoken_in_every_language(why: Why, language: str, alone: bool) -> None:
    """Every sentence has the values its key wants, in all four languages."""
    decline = Decline(DeclineReason.FUNDS, NextStep.OTHER_CARD, retry_allowed=True)
    for field in Field:
        change = a_change(
            why, field=field, problem=FieldProblem.LUHN, decline=decline, receipt="1234567", seconds_left=60
        )
        for sentence in sentences_for(change, alone=alone):
            assert set(VALUES.get(sentence.key, {})) == set(sentence.values)
            assert CATALOGUE.text(language, sentence.key, **sentence.values)


def test_field_goes_with_the_step_that_named_it() -> None:
    """The amount is not cut by the request for the PAN; a request for another field cuts whatever is said."""
    opened = a_change(Why.FIELD_OPENED, field=Field.PAN)
    assert follows(opened, a_change(Why.CAPTURE_OPENED, field=Field.PAN))
    assert follows(opened, a_change(Why.CAPTURE_RESTARTED, field=Field.PAN))
    assert not follows(a_change(Why.FIELD_OPENED, field=Field.CVV), opened)
    assert not follows(a_change(Why.READY), opened)
    assert not follows(opened, None)
