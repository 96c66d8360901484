"""The report socket's codec."""

import json
import typing
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.door import Field
from vault.progress import Command, Complete, Fact, Open, Opened, PostureTold, Ready, TokeniseFailed
from vault.report import (
    REPORT_MAX,
    ReportError,
    decode_command,
    decode_fact,
    encode_command,
    encode_fact,
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(st.text(max_size=8), _JSON, max_size=3)


def _words(union: object) -> st.SearchStrategy[typing.Any]:
    st.register_type_strategy(typing.Mapping, _OBJECTS)  # type: ignore[type-abstract]
    return st.one_of(*(st.from_type(word) for word in typing.get_args(union)))


@given(_words(Fact))
def test_every_fact_comes_back_as_it_went(fact: Fact) -> None:
    """Encode and decode are inverse for all facts."""
    assert fact == decode_fact(encode_fact(fact))


@given(_words(Command))
def test_every_command_comes_back_as_it_went(command: Command) -> None:
    """Encode and decode are inverse for all commands."""
    assert command == decode_command(encode_command(command))


def test_the_wire_is_as_agreed() -> None:
    """Names and shapes on the socket, word for word; None is left out."""
    assert b'{"r":"opened","field":"pan"}' == encode_fact(Opened(Field.PAN))
    assert b'{"r":"complete","field":"cvv","digits":3}' == encode_fact(Complete(Field.CVV, 3))
    told = {"r": "ready", "brand": "visa", "last4": "4242", "token": "tok_x", "expiry_known": True}
    told |= {"fingerprints": ["fp_1_a"], "bins": []}
    assert told == json.loads(encode_fact(Ready("visa", "4242", "tok_x", fingerprints=("fp_1_a",))))
    assert b'{"r":"tokenise_failed","code":"no_token"}' == encode_fact(TokeniseFailed("no_token"))
    assert b'{"c":"open","field":"expiry"}' == encode_command(Open(Field.EXPIRY))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "report_unreadable"),
        (b"\xff", "report_unreadable"),
        (b"[]", "report_unreadable"),
        (b"{}", "report_unreadable"),
        (b'{"r":1}', "report_unreadable"),
        (b"[" * 4000, "report_unreadable"),
        (b'{"c":"opened","field":"pan"}', "report_unreadable"),
        (b'{"r":"open","field":"pan"}', "report_unknown"),
        (b'{"r":"opened"}', "report_misfit"),
        (b'{"r":"opened","field":"pin"}', "report_misfit"),
        (b'{"r":"opened","field":1}', "report_misfit"),
        (b'{"r":"opened","field":"pan","keys":"1"}', "report_misfit"),
        (b'{"r":"key","field":"pan","digits":true}', "report_misfit"),
        (b'{"r":"posture","grades":{},"weak":[1]}', "report_misfit"),
        (b'{"r":"help"}' + b" " * REPORT_MAX, "report_too_long"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_quoted(message: bytes, code: str) -> None:
    """A misfit is a fault of ours; its error names the kind of fault only."""
    with pytest.raises(ReportError) as caught:
        decode_fact(message)
    assert code == caught.value.code
    assert not caught.value.retryable


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_no_message_does_anything_but_fit_or_be_refused(message: bytes) -> None:
    """Whatever comes, there is a command or a `ReportError`."""
    with suppress(ReportError):
        decode_command(message)


def test_a_fact_that_is_too_long_is_not_sent() -> None:
    """The sender learns it, not the receiver."""
    with pytest.raises(ReportError, match="does not fit"):
        encode_fact(PostureTold({"item": "x" * REPORT_MAX}, ()))
