"""URIs of every kind a call can name."""

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.uri import URI_LENGTH_MAX, URI_PARAMS_MAX, Uri, host_and_port, parse_uri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip:alice@example.com", Uri("sip", "alice", "example.com")),
        ("SIPS:alice@example.com:5061", Uri("sips", "alice", "example.com", 5061)),
        ("sip:h;transport=tcp;lr", Uri("sip", "", "h", None, {"transport": "tcp", "lr": None})),
        ("sip:a@[2001:db8::1]:5070;x=1", Uri("sip", "a", "[2001:db8::1]", 5070, {"x": "1"})),
        ("sip:a@sbc_1.example.com", Uri("sip", "a", "sbc_1.example.com")),
        ("sip:a:pw@h", Uri("sip", "a", "h", password="pw")),
        ("sip:b@h?Replaces=1%40a%3B&S=x", Uri("sip", "b", "h", headers={"replaces": "1%40a%3B", "s": "x"})),
        ("sip:*21#@h", Uri("sip", "*21#", "h")),
        ("tel:+49-30-1;phone-context=a.b", Uri("tel", "+49-30-1", "", params={"phone-context": "a.b"})),
        ("urn:service:sos", Uri("urn", "service:sos", "")),
    ],
)
def test_uri_is_taken_apart(text: str, expected: Uri) -> None:
    """Every part lands in its field."""
    assert expected == parse_uri(text)


@pytest.mark.parametrize("text", ["sip:a:pw@h", "tel:+4930123;phone-context=example.com", "urn:service:sos"])
def test_other_forms_are_written_as_they_were_read(text: str) -> None:
    """Passwords and other schemes survive."""
    assert text == str(parse_uri(text))


@pytest.mark.parametrize(
    ("text", "dialled"),
    [
        ("sip:+4930123@pay.example", "+4930123"),
        ("sip:+4930123;phone-context=example.com@pay.example;user=phone", "+4930123"),
        ("sip:%2B4930123@pay.example", "+4930123"),
        ("tel:+4930123", "+4930123"),
        ("sip:pay.example", ""),
    ],
)
def test_dialled_number_is_found(text: str, dialled: str) -> None:
    """What was dialled, without escapes and number parameters."""
    assert dialled == parse_uri(text).dialled


def test_address_loses_its_brackets() -> None:
    """A socket wants IPv6 bare."""
    assert parse_uri("sip:a@[2001:db8::1]").address == "2001:db8::1"


def test_password_is_not_shown() -> None:
    """A URI in a traceback does not tell its password."""
    assert "pw" not in repr(parse_uri("sip:a:pw@h"))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("alice", 416),
        (":a@b", 416),
        ("1sip:a@b", 416),
        ("sip:" + "a" * URI_LENGTH_MAX, 414),
        ("sip:a@h" + ";x" * (URI_PARAMS_MAX + 1), 414),
        ("sip:", 400),
        ("sip:@h", 400),
        ("sip:a@", 400),
        ("sip:a@h:", 400),
        ("sip:a@h:0", 400),
        ("sip:a@h:65536", 400),
        ("sip:a@h:5x", 400),
        ("sip:a@2001:db8::1", 400),
        ("sip:a@[2001:db8::1", 400),
        ("sip:a b@h", 400),
        ("sip:a@h;", 400),
        ("sip:a@h;x=1;X=2", 400),
        ("sip:a@h?", 400),
        ("sip:a@h?x", 400),
        ("sip:a@h?x=1&x=2", 400),
        ("sip:a@b@h", 400),
        ("sip:a\r\nX: 1@h", 400),
        ("sip:a@h;x=<y>", 400),
        ("sip:a@h\N{ARABIC-INDIC DIGIT ONE}", 400),
        ("tel:", 400),
    ],
)
def test_broken_uri_is_refused(text: str, status: int) -> None:
    """With the status its fault deserves."""
    with pytest.raises(Malformed) as caught:
        parse_uri(text)
    assert status == caught.value.status


def test_blanks_at_the_colon_pass() -> None:
    """`host : port` is legal in a Via (RFC 3261 §25.1, COLON)."""
    assert host_and_port(" example.com : 5060 ") == ("example.com", 5060)


users = st.text(string.ascii_letters + string.digits + "-_.!~*'()&=+$,;?/%#", max_size=20)
hosts = st.sampled_from(["example.com", "a_b", "192.0.2.1", "[2001:db8::1]"])
names = st.text(string.ascii_lowercase, min_size=1, max_size=6)
parts = st.text(string.ascii_letters + string.digits + "%-._", max_size=8)


@given(
    st.sampled_from(["sip", "sips"]),
    users,
    hosts,
    st.none() | st.integers(1, 65535),
    st.dictionaries(names, st.none() | parts, max_size=4),
    st.dictionaries(names, parts, max_size=3),
)
def test_uri_survives_a_round(
    scheme: str,
    user: str,
    host: str,
    port: int | None,
    params: dict[str, str | None],
    headers: dict[str, str],
) -> None:
    """Written and read again, every part is the same, and so is the text."""
    uri = Uri(scheme, user, host, port, params, headers)
    assert uri == parse_uri(str(uri))
    assert str(uri) == str(parse_uri(str(uri)))


@given(st.text(max_size=60))
def test_any_text_is_a_uri_or_malformed(text: str) -> None:
    """No other error escapes."""
    with suppress(Malformed):
        assert parse_uri(text).scheme
