"""The catalogue speaks whole sentences or refuses; it never quotes a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.catalogue import FIXED, NAME_MAX, VALUES, Catalogue, CatalogueError, Key
from vault import NextStep, Why

CATALOGUE = Catalogue()


def test_an_amount_becomes_part_of_the_sentence():
    """The caller hears what will be charged before keying."""
    text = CATALOGUE.text("en-US", Key.CAPTURE_INTRO, amount_minor=1995, currency="EUR")
    assert text.startswith("You are about to pay nineteen euros and ninety-five cents. ")


def test_the_security_code_is_asked_where_it_is_printed():
    """Four digits stand on the front, three on the back."""
    assert "four-digit security code on the front" in CATALOGUE.text("en-US", Key.ASK_CVV, digits=4)
    assert "three-digit security code on the back" in CATALOGUE.text("en-US", Key.ASK_CVV, digits=3)


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "queda un segundo"), (21, "quedan veintiún segundos")], ids=["one", "many"]
)
def test_a_single_second_is_singular(seconds: int, words: str):
    """Plural forms are the language's own."""
    assert f"Atención: {words}." == CATALOGUE.text("es-ES", Key.TIME_WARNING, seconds=seconds)


def test_fixed_prompts_and_prompts_with_values_are_all_keys():
    """Every key is either rendered ahead or needs values."""
    assert set(Key) == set(FIXED) | set(VALUES)
    assert not set(FIXED) & set(VALUES)


@pytest.mark.parametrize(
    ("language", "key", "values", "code"),
    [
        ("xx-XX", Key.GOODBYE, {}, "language_unknown"),
        ("en-US", "no_such_key", {}, "key_unknown"),
        ("en-US", "desk_no_such_label", {}, "key_unknown"),
        ("en-US", Key.GOODBYE, {"tenant": "Demo Travel"}, "values_wrong"),
        ("en-US", Key.WELCOME, {}, "values_wrong"),
        ("en-US", Key.WELCOME, {"tenant": 7}, "values_wrong"),
        ("en-US", Key.TIME_WARNING, {"seconds": True}, "values_wrong"),
        ("en-US", Key.TIME_WARNING, {"seconds": -1}, "not_speakable"),
        ("en-US", Key.WELCOME, {"tenant": " \u2068\u200b "}, "not_speakable"),
        ("en-US", Key.WELCOME, {"tenant": "x" * (NAME_MAX + 1)}, "not_speakable"),
        ("en-US", Key.APPROVED, {"amount_minor": 1, "currency": "XQZ"}, "not_speakable"),
        ("en-US", Key.RECEIPT, {"receipt": "4242424242424242"}, "not_speakable"),
    ],
)
def test_what_cannot_be_said_is_refused_with_a_code(language, key, values, code):
    """Each refusal names its code, is not retryable and holds no value."""
    with pytest.raises(CatalogueError) as refusal:
        CATALOGUE.text(language, key, **values)
    assert code == refusal.value.code
    assert refusal.value.retryable is False
    assert not any(str(value) in str(refusal.value) for value in values.values() if len(str(value)) > 3)
    assert refusal.value.__cause__ is None


def test_labels_are_for_the_doors_words_only():
    """`Why` is not shown by itself, and a next step is."""
    assert CATALOGUE.labels("en-US")["desk_next_other_card"] == CATALOGUE.label("en-US", NextStep.OTHER_CARD)
    with pytest.raises(KeyError):
        CATALOGUE.label("en-US", Why.KEY)
    with pytest.raises(CatalogueError):
        CATALOGUE.labels("xx-XX")


@given(st.text(max_size=NAME_MAX + 5))
def test_a_name_never_brings_markup_or_marks_into_a_sentence(name: str):
    """The default voice obeys markup; whatever a tenant is called, none gets through."""
    try:
        text = CATALOGUE.text("de-DE", Key.WELCOME, tenant=name)
    except CatalogueError as refusal:
        text = refusal.code
    assert text.isprintable()
    assert text == "not_speakable" or not set("<>") & set(text)
