"""Requests are read as the SDK writes them, and nothing unknown passes."""

import contextlib
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stripe._encode import _api_encode

from vault.proof import stripe_form as form
from vault.proof.stripe_failure import Failure

NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
VALUES = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
TREES = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_what_the_sdk_encodes_is_decoded_to_the_same(params: dict[str, Any]) -> None:
    """The SDK's own encoder and our decoder are inverse, up to the depth that is allowed."""
    encoded = urlencode(list(_api_encode(params)))
    assume(_depth(params) <= form.DEPTH_MAX)
    assert params == form.decoded(encoded)


@given(st.text(max_size=60))
def test_any_text_is_a_form_or_a_refusal(text: str) -> None:
    """No input of a caller raises anything but a Failure."""
    with contextlib.suppress(Failure):
        form.decoded(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a=1&a=2", "parameter_invalid"),
        ("a=1&a[b]=2", "parameter_invalid"),
        ("a[b]=1&a=2", "parameter_invalid"),
        ("a[b][c]=1&a[b]=2", "parameter_invalid"),
        ("a%5D=1", "parameter_unknown"),
        ("=1", "parameter_unknown"),
        ("a[b][c][d][e][f][g][h]=1", "parameter_unknown"),
    ],
)
def test_a_malformed_form_is_refused(text: str, code: str) -> None:
    """Doubled, clashing, nameless and bottomless parameters are 400s."""
    with pytest.raises(Failure) as caught:
        form.decoded(text)
    assert (400, code) == (caught.value.status, caught.value.error["code"])


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (form.whole(1, 9), "0"),
        (form.whole(1, 9), "1.0"),
        (form.whole(1, 9), "١"),
        (form.whole(1, 9), ["1"]),
        (form.flag, "True"),
        (form.text, {"a": "b"}),
        (form.text, "x" * 5001),
        (form.word("a", "b"), "c"),
        (form.each(form.text), "a"),
        (form.metadata, {"k" * 41: "v"}),
        (form.metadata, {"k": "v" * 501}),
        (form.metadata, {str(number): "v" for number in range(51)}),
        (form.span, {"after": "1"}),
        (form.record({"a": form.text}, ("a",)), {}),
        (form.record({"a": form.text}), {"b": "c"}),
    ],
)
def test_a_value_that_does_not_fit_is_refused(shape: form.Shape, value: Any) -> None:
    """Each shape knows its limits and names the parameter."""
    with pytest.raises(Failure) as caught:
        shape("name", value)
    assert caught.value.error["param"].startswith("name")


def test_a_moment_is_a_span_of_one_second() -> None:
    """`created=5` is `created[gte]=5&created[lte]=5`."""
    assert {"gte": 5, "lte": 5} == form.span("created", "5")


def _depth(value: Any) -> int:
    """How many names lead to the deepest leaf."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return max((1 + _depth(one) for one in inner), default=0)


def test_too_many_fields_are_refused() -> None:
    """The work for a broken request is bounded."""
    with pytest.raises(Failure):
        form.decoded("&".join(f"a{number}=1" for number in range(form.FIELDS_MAX + 1)))
