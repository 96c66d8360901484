"""Dialogs from raw messages: raw text in, the same raw text out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.sip.dialog import Dialog, DialogId, dialog_as_uac, dialog_as_uas, hop_of
from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.rim import Hop, Transport
from pay_ivr.sip.wire import Request, Response, cseq, response_to

TAGS = st.text("abcXYZ0189-.!%*_+`'~", min_size=1, max_size=40)


def invite(tag: str = "far", *headers: tuple[str, str]) -> Request:
    return Request(
        "INVITE",
        "sip:4930@192.0.2.2",
        [
            ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
            ("From", f'"A, B" <sip:a@192.0.2.1>;tag={tag}'),
            ("To", "sip:4930@192.0.2.2"),
            ("Call-ID", "c"),
            ("CSeq", "7 INVITE"),
            *headers,
        ],
    )


def answered(request: Request, *headers: tuple[str, str]) -> Response:
    response = response_to(request, 200, to_tag="near")
    for name, value in headers:
        response.add(name, value)
    return response


@given(tag=TAGS)
def test_both_ends_know_each_other_by_the_same_raw_tags(tag: str) -> None:
    """Any legal tag goes through unchanged: a rewritten one would be another dialog."""
    request = invite(tag)
    uas = dialog_as_uas(request, "near", "sip:x@192.0.2.1")
    uac = dialog_as_uac(request, answered(request))
    assert (DialogId("c", "near", tag), DialogId("c", tag, "near")) == (uas.id, uac.id)
    bye, back = uas.request("BYE"), uac.request("BYE")
    assert (bye.get("To"), bye.get("From")) == (back.get("From"), back.get("To"))


def test_peer_without_tags_is_an_rfc_2543_peer() -> None:
    """Its tag is empty on both ends."""
    request = invite()
    request.set("From", "<sip:a@192.0.2.1>")
    assert "" == dialog_as_uas(request, "near", "sip:x@192.0.2.1").id.remote_tag


def test_route_set_keeps_its_order_for_the_uas_and_turns_for_the_uac() -> None:
    """RFC 3261 §12.1.1 and §12.1.2; it stays when the target changes."""
    request = invite("far", ("Record-Route", "<sip:p1;lr>, <sip:p2;lr>"), ("Record-Route", "<sip:p3;lr>"))
    uas = dialog_as_uas(request, "near", "sip:x@192.0.2.1")
    uac = dialog_as_uac(request, answered(request))
    uas.refresh_target("<sip:new@192.0.2.5>")
    assert ("<sip:p1;lr>", "<sip:p2;lr>", "<sip:p3;lr>") == uas.routes
    assert ("<sip:p3;lr>", "<sip:p2;lr>", "<sip:p1;lr>") == uac.routes
    assert ("sip:new@192.0.2.5", Hop(Transport.UDP, "p1", 5060)) == (uas.target, uas.next_hop())


def test_target_is_the_contact_or_where_the_message_came_from() -> None:
    """A Contact that leads nowhere for us is as good as none."""
    for contact in ("<sips:a@192.0.2.9>", "<mailto:a@b>", "<sip:a@[2001:db8::1]>", "<sip:broken"):
        made = invite("far") if contact == "<sip:broken" else invite("far", ("Contact", contact))
        assert "sip:x@192.0.2.1" == dialog_as_uas(made, "near", "sip:x@192.0.2.1").target
    assert (
        "sip:a@192.0.2.9:5070"
        == dialog_as_uas(invite("far", ("Contact", "<sip:a@192.0.2.9:5070>")), "n", "").target
    )


def test_cseq_counts_up_for_us_and_never_back_for_the_peer() -> None:
    """ACK carries the number of its INVITE; equal numbers pass, lower ones do not."""
    dialog = dialog_as_uac(invite(), answered(invite()))
    numbers = [cseq(dialog.request("BYE")).number, cseq(dialog.request("INVITE")).number]
    assert ([8, 9], 9) == (numbers, cseq(dialog.numbered("ACK", 9)).number)
    assert [True, True, True, False] == [dialog.accepts(from_peer(dialog, number)) for number in (5, 5, 9, 8)]


def from_peer(dialog: Dialog, number: int) -> Request:
    return Request("INFO", "sip:x", [("CSeq", f"{number} INFO")])


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        ("sip:a@192.0.2.1", Hop(Transport.UDP, "192.0.2.1", 5060)),
        ("sip:a@192.0.2.1:5070;transport=tcp", Hop(Transport.TCP, "192.0.2.1", 5070)),
        ("sip:a@host_name.example;transport=UDP", Hop(Transport.UDP, "host_name.example", 5060)),
    ],
)
def test_hop_of_a_uri(uri: str, hop: Hop) -> None:
    """Address, port and transport of what we speak."""
    assert hop == hop_of(uri)


@pytest.mark.parametrize("uri", ["sips:a@b", "tel:+49", "sip:a@[::1]", "sip:a@b;transport=tls", "nothing"])
def test_uri_that_we_do_not_speak_has_no_hop(uri: str) -> None:
    """416 for the peer that wants it."""
    with pytest.raises(Malformed) as refused:
        hop_of(uri)
    assert 416 == refused.value.status
