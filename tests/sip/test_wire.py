"""Messages, their typed views, and what is echoed raw."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sipmessage import Message as OracleMessage

from pay_ivr.sip import wire
from pay_ivr.sip.errors import LocalSipError, Malformed
from pay_ivr.sip.grammar import TOKEN, params, quoted, split_list, unquoted
from pay_ivr.sip.names import COMPACT, canonical
from pay_ivr.sip.wire import (
    CSeq,
    NameAddr,
    Request,
    Response,
    Via,
    cseq,
    mark_received,
    name_addr,
    parse,
    response_to,
    tag_of,
    top_via,
    via,
)

ROWS = {
    "Via": "SIP/2.0/UDP 192.0.2.10:5062;rport;branch=z9hG4bK1",
    "Max-Forwards": "70",
    "From": '"Alice" <sip:alice@example.com>;tag=a1',
    "To": "<sip:service@pay.example>",
    "Call-ID": "c1@192.0.2.10",
    "CSeq": "1 INVITE",
}


def invite(body: bytes = b"", **changed: str) -> bytes:
    """An INVITE as bytes, with headers changed or added."""
    rows = {**ROWS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in rows.items())
    return f"INVITE sip:service@pay.example SIP/2.0\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body


def refusal(data: bytes) -> Malformed:
    """The error that `parse` raises."""
    with pytest.raises(Malformed) as caught:
        parse(data)
    return caught.value


# -- Raw echo: every row of the table that made us write a codec of our own


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("From", "<sip:alice@example.com>;tag=ab+cd!e*f'"),
        ("Via", "SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK+a*b!c"),
        ("Contact", '<sip:a@192.0.2.1>;+sip.instance="<urn:uuid:0-1>"'),
        ("Via", "SIP/2.0/UDP 192.0.2.10;received=[2001:db8::2];branch=z9hG4bK1"),
        ("Via", "SIP/2.0/UDP 192.0.2.10;received=2001:db8::2;branch=z9hG4bK1"),
        ("Via", "SIP/2.0/UDP sbc_1.example.com;branch=z9hG4bK1"),
        ("To", "<sip:*21#@pay.example>"),
        ("Via", "SIP / 2.0 / UDP  192.0.2.10 : 5062 ;branch=z9hG4bK1"),
        ("To", "<sip:bob@pay.example?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>"),
        ("From", '"J\udcfcrgen" <sip:alice@example.com>;tag=a1'),
        ("From", "<sip:alice@example.com>;TAG=x"),
    ],
)
def test_legal_value_is_echoed_exactly(header: str, value: str) -> None:
    """What other codecs rewrite or refuse comes back byte for byte in the request and in its answer."""
    request = parse(invite(**{header: value}))
    assert isinstance(request, Request)
    line = f"{header}: {value}\r\n".encode("utf-8", "surrogateescape")
    assert line in request.to_bytes()
    assert header == "Contact" or line in response_to(request, 486).to_bytes()


def test_folded_header_is_one_value() -> None:
    """A continuation line is joined with one blank; the value then travels unfolded."""
    request = parse(invite(From="<sip:alice@example.com>\r\n\t ;tag=a1"))
    assert request.get("From") == "<sip:alice@example.com> ;tag=a1"
    assert tag_of(request.get("From") or "") == "a1"


def test_parameter_name_is_found_in_any_case() -> None:
    """`;TAG=x` is a tag and its value keeps its case."""
    assert tag_of("<sip:alice@example.com>;TAG=xY") == "xY"


def test_keep_alive_in_front_is_skipped() -> None:
    """Line ends before a request do not hide it (RFC 3261 §7.5)."""
    assert isinstance(parse(b"\r\n\r\n" + invite()), Request)


def test_bytes_behind_the_length_are_dropped() -> None:
    """On datagrams Content-Length wins over the datagram's end (RFC 3261 §18.3)."""
    assert parse(invite(b"abcdef", Content_Length="3")).body == b"abc"


def test_length_counts_bytes() -> None:
    """Two letters of four bytes give a Content-Length of four."""
    request = Request("MESSAGE", "sip:a@b", body="äö".encode())
    assert b"Content-Length: 4\r\n\r\n" in request.to_bytes()


def test_length_of_a_sender_is_replaced_by_ours() -> None:
    """Exactly one Content-Length leaves us, whatever was set."""
    request = Request("BYE", "sip:a@b", [("l", "99"), ("Content-Length", "7")])
    assert request.to_bytes().count(b"Content-Length") == 1


def test_method_in_cseq_must_be_the_request_s() -> None:
    """A CSeq of another method is refused, with the request to be answered."""
    error = refusal(invite(CSeq="1 BYE"))
    assert (error.status, error.code) == (400, "cseq_method")
    assert error.request is not None


def test_message_without_via_is_refused_and_cannot_be_answered() -> None:
    """A missing Via is an error of the peer, never an IndexError of ours."""
    data = b"\r\n".join(line for line in invite().split(b"\r\n") if not line.startswith(b"Via"))
    error = refusal(data)
    assert (400, None) == (error.status, error.request)


@pytest.mark.parametrize("header", ["From", "To", "Call-ID", "CSeq"])
def test_missing_header_is_answered_with_what_is_there(header: str) -> None:
    """400 with the other headers echoed."""
    data = b"\r\n".join(line for line in invite().split(b"\r\n") if not line.startswith(header.encode()))
    error = refusal(data)
    assert error.request is not None
    answer = response_to(error.request, error.status, to_tag="t")
    assert header not in {name for name, _ in answer.headers}
    assert len(answer.headers) == 4


def test_refused_request_carries_no_body() -> None:
    """The part that is answered has lost its body: nobody needs it and it may hold anything."""
    error = refusal(invite(b"secret", CSeq="1 BYE"))
    assert error.request is not None
    assert error.request.body == b""


def test_representation_shows_neither_numbers_nor_bodies() -> None:
    """A message in a traceback or log tells its kind and sizes only."""
    request = parse(invite(b"5"))
    assert f"{request!r}" == "<Request INVITE headers=6 body=1>"
    assert f"{response_to(request, 200)!r}" == "<Response 200 headers=5 body=0>"  # type: ignore[arg-type]


# -- Reading and changing rows


def test_lists_are_split_outside_quotes_and_brackets() -> None:
    """Two rows with lists give their values in order."""
    message = Request("INVITE", "sip:a@b")
    message.add("m", '"a, b" <sip:a@b;x=1,2>, <sip:c@d>')
    message.add("Contact", "<sip:e@f>")
    assert message.get_all("contact") == ['"a, b" <sip:a@b;x=1,2>', "<sip:c@d>", "<sip:e@f>"]


def test_value_with_commas_that_is_no_list_stays_whole() -> None:
    """A Date or a challenge keeps its commas."""
    challenge = 'Digest realm="a", nonce="b"'
    message = Response(401, headers=[("WWW-Authenticate", challenge), ("WWW-Authenticate", challenge)])
    assert message.get_all("www-authenticate") == [challenge, challenge]


def test_empty_list_has_no_values() -> None:
    """`Supported:` with nothing behind it is legal and means nothing (RFC 3261 §20.37)."""
    assert Request("INVITE", "sip:a@b", [("Supported", ""), ("k", "timer")]).get_all("Supported") == ["timer"]


def test_endless_list_is_refused() -> None:
    """More Vias than any path has are an attack on whoever walks them."""
    message = Request("INVITE", "sip:a@b", [("Via", ",".join(["SIP/2.0/UDP a"] * 65))])
    with pytest.raises(Malformed):
        message.get_all("Via")


def test_rows_change_in_place() -> None:
    """`set` keeps the place of the first row, `prepend` goes before all, `remove` takes every form."""
    message = Request("INVITE", "sip:a@b", [("v", "1"), ("t", "2"), ("Via", "3")])
    message.set("Via", "4")
    message.prepend("Record-Route", "<sip:p>")
    message.remove("To")
    assert message.headers == [("Record-Route", "<sip:p>"), ("Via", "4")]
    assert message.get("To") is None


@pytest.mark.parametrize("name", [*COMPACT, "CALL-ID", "cseq", "www-authenticate", "x-my-header"])
def test_name_has_one_canonical_form(name: str) -> None:
    """The canonical form of a canonical form is itself, and short forms are long."""
    assert canonical(canonical(name)) == canonical(name)
    assert len(canonical(name)) > 1


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\nb", "a\rb"])
def test_line_break_in_our_value_is_our_mistake(value: str) -> None:
    """A header that would smuggle a line is never written."""
    with pytest.raises(LocalSipError):
        Request("INVITE", "sip:a@b", [("Subject", value)]).to_bytes()
    with pytest.raises(LocalSipError):
        Request("INVITE", value).to_bytes()
    with pytest.raises(LocalSipError):
        Response(200, value).to_bytes()


# -- Typed views


def test_via_is_taken_apart() -> None:
    """Transport, host, port, branch and RFC 3581 parameters."""
    hop = via("SIP/2.0/udp [2001:db8::1]:5070;branch=z9hG4bK1;received=[2001:db8::2];rport=1024")
    assert (hop.transport, hop.host, hop.port, hop.branch) == ("UDP", "[2001:db8::1]", 5070, "z9hG4bK1")
    assert (hop.received, hop.rport, hop.wants_rport) == ("2001:db8::2", 1024, True)


@pytest.mark.parametrize("value", ["", "x", "99999999999999999999", "-1", "0", "²"])
def test_odd_rport_is_no_port(value: str) -> None:
    """Whatever a peer writes, the port we answer to is one or none."""
    assert Via("UDP", "a", params={"rport": value}).rport is None


def test_source_is_written_into_the_top_via_only() -> None:
    """`received` and a wanted `rport` are filled, claims of the sender replaced, other hops left alone."""
    request = parse(
        invite(Via="SIP/2.0/UDP a.example ; received=9.9.9.9;rport;branch=z9hG4bK+1, SIP/2.0/UDP b")
    )
    assert isinstance(request, Request)
    mark_received(request, "192.0.2.7", 4711)
    expected = ["SIP/2.0/UDP a.example;branch=z9hG4bK+1;received=192.0.2.7;rport=4711", "SIP/2.0/UDP b"]
    assert expected == request.get_all("Via")


def test_rport_is_not_given_unasked() -> None:
    """A sender that did not ask is answered at the port in its Via (RFC 3581 §4)."""
    request = parse(invite(Via="SIP/2.0/UDP a.example:5080;branch=z9hG4bK1"))
    assert isinstance(request, Request)
    mark_received(request, "192.0.2.7", 4711)
    assert (top_via(request).rport, top_via(request).received) == (None, "192.0.2.7")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("sip:a@b;tag=1", NameAddr("", "sip:a@b", {"tag": "1"})),
        ("<sip:a@b;lr>;tag=1", NameAddr("", "sip:a@b;lr", {"tag": "1"})),
        ('"A \\"B\\", C" <sip:a@b>', NameAddr('A "B", C', "sip:a@b")),
        ("Alice Smith <sip:a@b>", NameAddr("Alice Smith", "sip:a@b")),
        ("<sip:a@b> ; x = 1 ; y", NameAddr("", "sip:a@b", {"x": "1", "y": None})),
        ("< sip:a@b >", NameAddr("", "sip:a@b")),
        ("*", NameAddr("", "*")),
        (
            "<sips:a@[2001:db8::1]:5061;x=1?h=2>;q=0.5",
            NameAddr("", "sips:a@[2001:db8::1]:5061;x=1?h=2", {"q": "0.5"}),
        ),
    ],
)
def test_address_is_taken_apart(value: str, expected: NameAddr) -> None:
    """Display name, raw URI and header parameters in every form of RFC 3261 §20.10."""
    assert expected == name_addr(value)


@pytest.mark.parametrize(
    "value",
    [
        *("", ";", "nobody", "<>", "sip:a@b,sip:c@d", "sip:a@b?x=1", "<sip:a b>", "<sip:a@b><sip:c@d>"),
        *("<sip:a@b", '"A <sip:a@b>', '"A" "B" <sip:a@b>', "a:b <sip:a@b>", "<sip:a@b> x"),
        *("<sip:a@b>;", "<sip:a@b>;;tag=1", "<sip:a@b>;tag=1;tag=2", "<sip:a@b>;=1", "<sip:a@b>;x="),
        '<sip:a@b>;x="1"2',
    ],
)
def test_broken_address_is_refused(value: str) -> None:
    """What two readers could read differently is read by nobody."""
    with pytest.raises(Malformed):
        name_addr(value)


def test_tag_is_added_once() -> None:
    """A To with a tag keeps it, one without gets ours."""
    request = parse(invite())
    assert isinstance(request, Request)
    assert response_to(request, 180, to_tag="our").get("To") == "<sip:service@pay.example>;tag=our"
    request.set("To", "<sip:service@pay.example>;tag=theirs")
    assert response_to(request, 180, to_tag="our").get("To") == "<sip:service@pay.example>;tag=theirs"


def test_answer_copies_route_and_timestamp_where_they_belong() -> None:
    """Record-Route into what may create a dialog, Timestamp into a 100."""
    request = parse(invite(Record_Route="<sip:p;lr>", Timestamp="54"))
    assert isinstance(request, Request)
    copied = {
        status: {name for name, _ in response_to(request, status).headers} for status in (100, 180, 200, 486)
    }
    assert {100: False, 180: True, 200: True, 486: False} == {
        s: "Record-Route" in rows for s, rows in copied.items()
    }
    assert {100: True, 180: False, 200: False, 486: False} == {
        s: "Timestamp" in rows for s, rows in copied.items()
    }


def test_reason_comes_from_the_table() -> None:
    """Known statuses have their words, unknown ones some words."""
    assert (Response(486).reason, Response(499).reason, Response(486, "No").reason) == (
        "Busy Here",
        "Unknown",
        "No",
    )


# -- Properties

tokens = st.text(string.ascii_letters + string.digits + "-.!%*_+`'~", min_size=1, max_size=20)
any_text = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), max_size=40)


@given(any_text)
def test_quoting_is_undone_by_unquoting(text: str) -> None:
    """Any text survives a quoted-string, and the quoted form is one piece of a list."""
    assert unquoted(quoted(text)) == text
    assert split_list(f"{quoted(text)},x") == [quoted(text), "x"]


@given(st.dictionaries(tokens.map(str.lower), st.one_of(st.none(), tokens), max_size=8))
def test_parameters_survive_a_round(given_params: dict[str, str | None]) -> None:
    """Names, values and order are the same after writing and reading."""
    text = wire.params_text(given_params)
    assert given_params == (params(text[1:]) if text else {})


@given(
    tokens, st.sampled_from(["h", "192.0.2.1", "[2001:db8::1]"]), st.none() | st.integers(1, 65535), tokens
)
def test_via_survives_a_round(transport: str, host: str, port: int | None, branch: str) -> None:
    """A Via of ours is read back as it was built."""
    hop = Via(transport.upper(), host, port, branch, {"rport": None, "x": "1"})
    assert hop == via(str(hop))


@given(
    any_text.map(lambda text: text.strip(" \t")),
    tokens,
    st.dictionaries(tokens.map(str.lower), tokens, max_size=4),
)
def test_address_survives_a_round(display: str, user: str, given_params: dict[str, str]) -> None:
    """A From of ours is read back as it was built, whatever the display name holds."""
    address = NameAddr(display, f"sip:{user}@example.com", given_params)
    assert address == name_addr(str(address))


@given(st.integers(0, 2**31 - 1), tokens)
def test_cseq_survives_a_round(number: int, method: str) -> None:
    """Number and method are read back."""
    message = Request(method, "sip:a@b", [("CSeq", str(CSeq(number, method)))])
    assert CSeq(number, method) == cseq(message)


values = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=60)


@given(
    st.lists(st.tuples(tokens.map(lambda name: f"X-{name}"), values), max_size=12), st.binary(max_size=200)
)
def test_message_survives_a_round(rows: list[tuple[str, str]], body: bytes) -> None:
    """Unknown headers with any text and any body come back, blanks at the ends of values aside."""
    message = Request("INVITE", "sip:a@b", [*ROWS.items(), *rows], body)
    again = parse(message.to_bytes())
    expected = [(name, value.strip(" \t")) for name, value in message.headers]
    assert [*expected, ("Content-Length", str(len(body)))] == again.headers
    assert body == again.body


plain = st.text(string.ascii_letters + string.digits + "-.", min_size=1, max_size=20)
"""The oracle rewrites every other character that a token may hold."""


@given(plain, plain, st.integers(0, 2**31 - 1), st.integers(1, 65535))
def test_oracle_reads_the_same(tag: str, branch: str, number: int, port: int) -> None:
    """sipmessage, where it is right, finds the same facts in the same bytes."""
    data = invite(
        Via=f"SIP/2.0/UDP 192.0.2.10:{port};branch={branch}",
        From=f"<sip:alice@example.com>;tag={tag}",
        CSeq=f"{number} INVITE",
    )
    ours, oracle = parse(data), OracleMessage.parse(data)
    assert oracle.via[0].parameters["branch"] == top_via(ours).branch
    assert (oracle.via[0].host, oracle.via[0].port) == (top_via(ours).host, top_via(ours).port)
    assert oracle.from_address.parameters["tag"] == tag_of(ours.get("From") or "")
    assert (oracle.cseq.sequence, oracle.cseq.method) == (cseq(ours).number, cseq(ours).method)
    assert oracle.call_id == ours.get("Call-ID")


def test_token_knows_its_alphabet() -> None:
    """RFC 3261 §25.1: 72 characters, nothing else of ASCII."""
    assert {chr(code) for code in range(128) if TOKEN.fullmatch(chr(code))} == {
        *string.ascii_letters,
        *string.digits,
        *"-.!%*_+`'~",
    }
