"""Offer and answer as phones, gateways and browsers write them."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.sdp import (
    CODECS,
    DIRECTIONS,
    MEDIA_MAX,
    PAYLOADS_MAX,
    SDP_BYTES_MAX,
    SDP_LINE_MAX,
    SDP_LINES_MAX,
    Negotiated,
    accept,
    answer,
    offer,
    parse_sdp,
)

DESK_PHONE = """v=0
o=- 20518 0 IN IP4 203.0.113.1
s=call
c=IN IP4 203.0.113.1
t=0 0
m=audio 54400 RTP/AVP 9 8 0 18 101
a=rtpmap:9 G722/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:18 G729/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=sendrecv
m=video 55400 RTP/AVP 96 97
a=rtpmap:96 H264/90000
"""
WIDEBAND = """v=0
o=- 1 1 IN IP4 203.0.113.1
s=-
t=0 0
m=audio 4000 RTP/AVP 96 0 97 98 99
c=IN IP4 203.0.113.9
a=rtpmap:96 opus/48000/2
a=rtpmap:97 telephone-event/48000
a=rtpmap:98 telephone-event/8000
a=rtpmap:99 Telephone-Event/16000
"""


def crlf(text: str) -> bytes:
    """The text as it stands in a body."""
    return text.replace("\n", "\r\n").encode()


def negotiated(text: str, direction: str = "sendrecv") -> Negotiated:
    """What we agree to when that is offered."""
    return answer(parse_sdp(crlf(text)), "192.0.2.1", 20000, direction=direction)[1]


def refusal(text: str) -> Malformed:
    """The error of reading or answering that text."""
    with pytest.raises(Malformed) as caught:
        negotiated(text)
    return caught.value


def test_our_offer_says_what_we_carry() -> None:
    """Both laws, the sixteen keys, 20 ms, and nothing else."""
    expected = """v=0
o=- 7 3 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 20000 RTP/AVP 0 8 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
"""
    assert crlf(expected) == offer("192.0.2.1", 20000, version=3, session_id=7)


def test_offer_over_ipv6_names_its_family() -> None:
    """IP6 in the origin and the connection."""
    text = offer("2001:db8::1", 20000)
    assert text.count(b"IN IP6 2001:db8::1") == 2
    sdp = parse_sdp(text)
    assert sdp.audio is not None
    assert sdp.audio.ip == "2001:db8::1"


def test_desk_phone_gets_its_first_codec_and_no_video() -> None:
    """The answer has every media line in its place, the refused ones with port 0 (RFC 3264 §6)."""
    body, agreed = answer(parse_sdp(crlf(DESK_PHONE)), "192.0.2.1", 20000, version=2, session_id=9)
    expected = """v=0
o=- 9 2 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 20000 RTP/AVP 8 101
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
m=video 0 RTP/AVP 96 97
"""
    assert crlf(expected) == body
    assert Negotiated("203.0.113.1", 54400, "PCMA", 8, ((101, 8000),), "sendrecv") == agreed


def test_events_of_every_clock_rate_are_known_and_answered() -> None:
    """Phones that offer Opus send events at 48 kHz on a G.711 call; all types must be recognised as keys."""
    body, agreed = answer(parse_sdp(crlf(WIDEBAND)), "192.0.2.1", 20000)
    assert agreed.event_types == ((97, 48000), (98, 8000), (99, 16000))
    assert (agreed.codec, agreed.ip) == ("PCMU", "203.0.113.9")
    assert b"m=audio 20000 RTP/AVP 0 97 98 99\r\n" in body
    assert b"a=rtpmap:99 telephone-event/16000\r\n" in body


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("sendrecv", "sendrecv"),
        ("sendonly", "recvonly"),
        ("recvonly", "sendonly"),
        ("inactive", "inactive"),
        ("", "sendrecv"),
    ],
)
def test_direction_is_seen_from_our_side(line: str, ours: str) -> None:
    """Hold by direction: what the peer sends we receive (RFC 3264 §6.1)."""
    text = DESK_PHONE.replace("a=sendrecv\n", f"a={line}\n" if line else "")
    assert ours == negotiated(text).direction
    assert f"a={ours}\r\n".encode() in answer(parse_sdp(crlf(text)), "192.0.2.1", 20000)[0]


def test_direction_of_the_whole_description_holds_unless_the_line_says_otherwise() -> None:
    """Attributes before the first m= are the default (RFC 8866 §6.7)."""
    head = DESK_PHONE.replace("t=0 0\n", "t=0 0\na=inactive\n")
    assert negotiated(head).direction == "sendrecv"
    assert negotiated(head.replace("a=sendrecv\n", "")).direction == "inactive"


@pytest.mark.parametrize(("address", "family"), [(str(IPv4Address(0)), "IP4"), ("::", "IP6")])
def test_hold_by_address_stops_our_sending(address: str, family: str) -> None:
    """RFC 2543 hold: nothing is sent, the peer's music may still come (RFC 3264 §8.4)."""
    text = DESK_PHONE.replace("c=IN IP4 203.0.113.1", f"c=IN {family} {address}")
    assert negotiated(text).direction == "recvonly"
    assert negotiated(text.replace("a=sendrecv", "a=recvonly")).direction == "inactive"


@pytest.mark.parametrize("wish", DIRECTIONS)
@pytest.mark.parametrize("theirs", DIRECTIONS)
def test_we_never_do_more_than_both_want(wish: str, theirs: str) -> None:
    """Sending needs our wish and the peer's ear, receiving its voice and our ear."""
    ours = negotiated(DESK_PHONE.replace("a=sendrecv", f"a={theirs}"), wish).direction
    assert (ours in {"sendrecv", "sendonly"}) == (
        wish in {"sendrecv", "sendonly"} and theirs in {"sendrecv", "recvonly"}
    )
    assert (ours in {"sendrecv", "recvonly"}) == (
        wish in {"sendrecv", "recvonly"} and theirs in {"sendrecv", "sendonly"}
    )


@pytest.mark.parametrize("wish", DIRECTIONS)
@pytest.mark.parametrize("codecs", [CODECS, ("PCMA", "PCMU"), ("PCMA",)])
def test_two_ends_agree(wish: str, codecs: tuple[str, ...]) -> None:
    """Our offer, our answer, our acceptance: both ends know the same codec and fit together."""
    body, there = answer(
        parse_sdp(offer("192.0.2.1", 20000, codecs=codecs, direction=wish)), "192.0.2.2", 30000
    )
    here = accept(parse_sdp(body), codecs=codecs, direction=wish)
    assert (here.codec, here.payload_type, here.event_types) == (
        there.codec,
        there.payload_type,
        there.event_types,
    )
    assert here.codec == codecs[0]
    assert (here.ip, here.port, there.ip, there.port) == ("192.0.2.2", 30000, "192.0.2.1", 20000)
    mirrored = {"sendonly": "recvonly", "recvonly": "sendonly"}
    assert (here.direction, there.direction) == (wish, mirrored.get(wish, wish))


def test_change_is_told_from_repetition() -> None:
    """A refreshing re-INVITE changes nothing; hold, a new port or codec does."""
    first = negotiated(DESK_PHONE)
    assert first.changed
    for text, changed in (
        (DESK_PHONE.replace("20518 0", "20518 1"), False),
        (DESK_PHONE.replace("a=sendrecv", "a=sendonly"), True),
        (DESK_PHONE.replace("54400", "54402"), True),
        (DESK_PHONE.replace("9 8 0", "9 0 8"), True),
    ):
        assert changed == answer(parse_sdp(crlf(text)), "192.0.2.1", 20000, before=first)[1].changed


def test_dynamic_type_may_name_our_codec() -> None:
    """An rtpmap decides, whatever the number."""
    text = DESK_PHONE.replace("RTP/AVP 9 8 0 18 101", "RTP/AVP 118 101").replace(":9 G722", ":118 pcmu")
    agreed = negotiated(text)
    assert (agreed.codec, agreed.payload_type) == ("PCMU", 118)


def test_static_type_that_claims_the_other_law_is_passed_over() -> None:
    """Payload type 8 that says PCMU would be noise at one of the ends (RFC 3551 §6)."""
    agreed = negotiated(DESK_PHONE.replace("a=rtpmap:8 PCMA", "a=rtpmap:8 PCMU"))
    assert (agreed.codec, agreed.payload_type) == ("PCMU", 0)


@pytest.mark.parametrize(
    "change",
    [
        ("RTP/AVP 9 8 0 18 101", "RTP/AVP 9 18 101"),
        ("PCMA/8000", "PCMA/16000"),
        ("PCMA/8000", "PCMA/8000/2"),
        ("m=audio 54400 RTP/AVP", "m=audio 54400 RTP/SAVP"),
        ("m=audio 54400", "m=audio 0"),
        ("m=audio 54400", "m=image 54400"),
        ("c=IN IP4 203.0.113.1", "c=IN IP4 phone.example.com"),
        ("c=IN IP4 203.0.113.1", "c=IN IP4 224.2.1.1"),
        ("c=IN IP4 203.0.113.1", "c=IN IP4 255.255.255.255"),
        ("m=audio 54400", "m=audio 54400/2"),
    ],
)
def test_audio_we_cannot_carry_is_not_acceptable(change: tuple[str, str]) -> None:
    """488 for other codecs, profiles, media, multicast and names instead of addresses."""
    text = DESK_PHONE.replace("RTP/AVP 9 8 0 18", "RTP/AVP 9 8 18") if "PCMA" in change[0] else DESK_PHONE
    assert refusal(text.replace(*change)).status == 488


def test_encrypted_line_is_refused_beside_a_plain_one() -> None:
    """A phone that offers both gets the plain stream, and the other line with port 0."""
    text = DESK_PHONE.replace("m=audio 54400", "m=audio 6000 RTP/SAVP 0\na=crypto:1 x\nm=audio 54400")
    body, agreed = answer(parse_sdp(crlf(text)), "192.0.2.1", 20000)
    assert agreed.port == 54400
    assert b"m=audio 0 RTP/SAVP 0\r\nm=audio 20000 RTP/AVP" in body


def test_refused_offer_of_ours_is_an_error() -> None:
    """An answer with port 0, or with a codec that we did not offer, agrees on nothing."""
    body, _ = answer(parse_sdp(offer("192.0.2.1", 20000)), "192.0.2.2", 30000)
    for data, codecs in ((body.replace(b"30000", b"0"), CODECS), (body, ("PCMA",))):
        with pytest.raises(Malformed) as caught:
            accept(parse_sdp(data), codecs=codecs)
        assert caught.value.status == 488


@pytest.mark.parametrize(
    "change",
    [
        ("v=0", "v=1"),
        ("v=0\n", ""),
        ("o=- 20518 0 IN IP4 203.0.113.1\n", ""),
        ("o=- 20518", "o=- x"),
        ("o=- 20518 0", "o=- 20518 -1"),
        ("s=call", "o=- 1 1 IN IP4 203.0.113.1"),
        ("c=IN IP4 203.0.113.1\n", ""),
        ("c=IN IP4", "c=IN IP6"),
        ("c=IN IP4", "c=ATM IP4"),
        ("c=IN IP4 203.0.113.1", "c=IN IP4"),
        ("m=audio 54400", "m=audio x"),
        ("m=audio 54400", "m=audio 65536"),
        ("m=audio 54400", "m=audio -1"),
        ("m=audio 54400 RTP/AVP 9 8 0 18 101", "m=audio 54400"),
        ("RTP/AVP 9", "RTP/AVP  9"),
        ("RTP/AVP 9", "RTP/AVP 128"),
        ("RTP/AVP 9", "RTP/AVP x"),
        ("a=rtpmap:8 PCMA/8000", "a=rtpmap:8 PCMA"),
        ("a=rtpmap:8 PCMA/8000", "a=rtpmap:PCMA/8000"),
        ("a=ptime:20", "a=sendonly"),
        ("s=call", "s=call\0"),
        ("s=call", "s =call"),
        ("s=call", "scall"),
        ("s=call", "S=call"),
        ("s=call", ""),
        ("s=call", "s=" + "x" * SDP_LINE_MAX),
        ("t=0 0\n", "t=0 0\n" + "a=x\n" * SDP_LINES_MAX),
        ("t=0 0\n", "t=0 0\n" + ("a=" + "x" * 2000 + "\n") * (SDP_BYTES_MAX // 2000 + 1)),
        ("m=video", "m=video 1 RTP/AVP 1\n" * MEDIA_MAX + "m=video"),
        ("RTP/AVP 9", "RTP/AVP " + "9 " * PAYLOADS_MAX + "9"),
    ],
)
def test_broken_description_is_a_bad_request(change: tuple[str, str]) -> None:
    """400: nobody can tell what the peer wants."""
    assert refusal(DESK_PHONE.replace(change[0], change[1], 1)).status == 400


def test_line_feeds_alone_pass() -> None:
    """RFC 8866 §5 asks parsers to accept them, and Latin-1 in free text too."""
    sdp = parse_sdp(DESK_PHONE.encode().replace(b"s=call", b"s=Gespr\xe4ch"))
    assert sdp.audio is not None
    assert (sdp.session_id, sdp.version, len(sdp.media)) == (20518, 0, 2)


def test_blanks_in_the_user_name_of_the_origin_pass() -> None:
    """Against the grammar, but seen; the five fields behind it are what counts."""
    sdp = parse_sdp(crlf(DESK_PHONE.replace("o=- ", "o=My Phone ")))
    assert (sdp.session_id, sdp.version) == (20518, 0)


def test_blanks_at_the_end_of_a_line_pass() -> None:
    """A hold with a trailing blank is a hold, and a media line with one names the same types."""
    text = DESK_PHONE.replace("a=sendrecv", "a=sendonly ").replace("18 101", "18 101 \t")
    assert negotiated(DESK_PHONE.replace("a=sendrecv", "a=sendonly")) == negotiated(text)


def test_odd_packet_time_is_no_reason_to_refuse() -> None:
    """What the peer would like is noted; nonsense is our 20 ms."""
    for text, expected in (("30", 30), ("0", 20), ("5000", 20), ("x", 20)):
        audio = parse_sdp(crlf(DESK_PHONE.replace("ptime:20", f"ptime:{text}"))).audio
        assert audio is not None
        assert expected == audio.ptime_ms


@given(
    st.ip_addresses(v=4).filter(
        lambda ip: not ip.is_multicast and not ip.is_unspecified and str(ip) != "255.255.255.255"
    ),
    st.integers(1, 65535),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.sampled_from(DIRECTIONS),
)
def test_offer_survives_a_round(ip: object, port: int, session_id: int, version: int, direction: str) -> None:
    """What we write is what the reader finds."""
    sdp = parse_sdp(offer(str(ip), port, session_id=session_id, version=version, direction=direction))
    assert (sdp.session_id, sdp.version) == (session_id, version)
    assert sdp.audio is not None
    assert (sdp.audio.ip, sdp.audio.port, sdp.audio.direction) == (str(ip), port, direction)
    assert [(codec.payload_type, codec.name) for codec in sdp.audio.codecs] == [
        (0, "PCMU"),
        (8, "PCMA"),
        (101, "TELEPHONE-EVENT"),
    ]
    assert sdp.audio.codecs[2].fmtp == "0-15"
