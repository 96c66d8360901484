"""The endpoint over real sockets: raw bytes in, raw bytes out."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator

import pytest

from pay_ivr.sip import transport
from pay_ivr.sip.digest import Credentials, authorization, choose
from pay_ivr.sip.endpoint import SipEndpoint, SipSettings
from pay_ivr.sip.errors import LocalSipError
from pay_ivr.sip.legstate import EndReason, LegState
from pay_ivr.sip.registrar import Registrar
from pay_ivr.sip.rim import Timers
from pay_ivr.sip.trace import TraceLine
from tests.support.sipnet import SDP, Observed

WAIT_S = 20.0
"""For what takes milliseconds on an idle machine; who waits so long waits for ever."""
FAST = Timers(t1=0.05, t2=0.4, t4=0.5)


class App:
    """A handler that answers at once, or does what a test puts in `decide`."""

    def __init__(self) -> None:
        self.legs = []
        self.observers: list[Observed] = []
        self.trace: list[TraceLine] = []
        self.decide = lambda leg: leg.answer(SDP)

    def on_invite(self, leg) -> Observed:
        self.legs.append(leg)
        self.decide(leg)
        self.observers.append(Observed())
        return self.observers[-1]


class Running:
    """An endpoint and its app."""

    def __init__(self, **settings) -> None:
        self.app = App()
        self.registrar = Registrar("pay-ivr", {"agent1": "sesame"}.get)
        self.sip = SipEndpoint(
            SipSettings(udp_port=0, tcp_port=0, timers=FAST, **settings),
            self.app,
            self.registrar,
            self.app.trace.append,
        )


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running()
    await made.sip.start()
    yield made
    await made.sip.stop()


async def until(true, timeout_s: float = WAIT_S) -> None:
    """Waits for something that the network brings."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - what is waited for comes from outside
            await asyncio.sleep(0.01)


class Phone:
    """A UDP socket that speaks raw SIP."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self._target = ("127.0.0.1", port)

    def say(self, data: bytes) -> None:
        self.socket.sendto(data, self._target)

    async def hear(self, timeout_s: float = WAIT_S) -> str:
        """The next datagram."""
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65_535), timeout_s)
        return data.decode()

    async def silence(self, seconds: float = 0.2) -> bool:
        """True when nothing comes."""
        try:
            await self.hear(seconds)
        except TimeoutError:
            return True
        return False


@pytest.fixture
def phone(running: Running):
    made = Phone(running.sip.udp_port)
    yield made
    made.socket.close()


def raw(
    method: str, port: int, *headers: str, body: bytes = b"", number: int = 1, via: str = "", to: str = ""
) -> bytes:
    """A request of a phone at `port`."""
    lines = [
        f"{method} sip:4930@127.0.0.1 SIP/2.0",
        f"Via: {via or f'SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{method}{number}'}",
        "From: <sip:9@127.0.0.1>;tag=p",
        f"To: <sip:4930@127.0.0.1>{to}",
        "Call-ID: raw@phone",
        f"CSeq: {number} {method}",
        f"Contact: <sip:9@127.0.0.1:{port}>",
        *headers,
        *(["Content-Type: application/sdp"] if body.startswith(b"v=0") else []),
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def tag_in(response: str) -> str:
    found = re.search(r"^To:.*(;tag=\S+)\r$", response, re.MULTILINE)
    assert found is not None
    return found[1]


async def test_response_goes_to_the_via_port_without_rport(running: Running, phone: Phone) -> None:
    """RFC 3261 §18.2.2: the address is the source's, the port is the one of the Via."""
    other = Phone(running.sip.udp_port)
    phone.say(raw("OPTIONS", other.port))
    answer = await other.hear()
    other.socket.close()
    assert ("SIP/2.0 200 OK", True) == (answer.splitlines()[0], "received=127.0.0.1" in answer)


async def test_response_goes_to_the_source_with_rport(running: Running, phone: Phone) -> None:
    """RFC 3581: `rport` is filled in and followed."""
    phone.say(raw("OPTIONS", 9, via="SIP/2.0/UDP 10.1.1.1:9;branch=z9hG4bKx;rport"))
    assert (
        f"Via: SIP/2.0/UDP 10.1.1.1:9;branch=z9hG4bKx;received=127.0.0.1;rport={phone.port}"
        in await phone.hear()
    )


async def test_bye_with_our_own_via_is_answered_to_its_source(running: Running, phone: Phone) -> None:
    """Some phones copy the Via of our INVITE into their BYE; we do not talk to ourselves."""
    via = f"SIP/2.0/UDP 127.0.0.1:{running.sip.udp_port};branch=z9hG4bKours"
    phone.say(raw("BYE", phone.port, via=via, to=";tag=x"))
    assert "SIP/2.0 481" == (await phone.hear())[:11]


async def test_call_and_ack_with_the_branch_of_the_invite(running: Running, phone: Phone) -> None:
    """An ACK with the INVITE's branch, the address of record and a tag of its own keeps the call up."""
    phone.say(raw("INVITE", phone.port, body=SDP))
    assert ["SIP/2.0 100", "SIP/2.0 200"] == [(await phone.hear())[:11] for _ in range(2)]
    phone.say(
        raw("ACK", phone.port, via=f"SIP/2.0/UDP 127.0.0.1:{phone.port};branch=z9hG4bKINVITE1", to=";tag=zz")
    )
    await until(lambda: running.app.observers[0].told)
    assert (LegState.UP, ["confirmed"]) == (running.app.legs[0].state, running.app.observers[0].told)
    assert await phone.silence(0.5)


async def test_second_invite_of_the_same_call_is_not_a_second_call(running: Running, phone: Phone) -> None:
    """A repeat gets the last response; a copy with another branch is merged: 482."""
    running.app.decide = lambda leg: leg.ring()
    phone.say(raw("INVITE", phone.port, body=SDP))
    phone.say(raw("INVITE", phone.port, body=SDP))
    phone.say(
        raw("INVITE", phone.port, body=SDP, via=f"SIP/2.0/UDP 127.0.0.1:{phone.port};branch=z9hG4bKother")
    )
    heard = [(await phone.hear())[8:11] for _ in range(4)]
    assert (["100", "180", "180", "482"], 1) == (heard, len(running.app.legs))


async def test_cancel_in_one_breath_with_its_invite(running: Running, phone: Phone) -> None:
    """Sent before anything of ours was heard: 100, 200, 487, the last two with the same tag (§9.2)."""
    running.app.decide = lambda _leg: None
    via = f"SIP/2.0/UDP 127.0.0.1:{phone.port};branch=z9hG4bKsame"
    phone.say(raw("INVITE", phone.port, body=SDP, via=via))
    phone.say(raw("CANCEL", phone.port, via=via))
    heard = [await phone.hear() for _ in range(3)]
    phone.say(raw("ACK", phone.port, via=via, to=tag_in(heard[2])))
    assert ["100", "200", "487"] == [one[8:11] for one in heard]
    assert tag_in(heard[1]) == tag_in(heard[2])
    assert [(EndReason.CANCELLED, 487)] == running.app.observers[0].ended


async def test_cancel_behind_a_refusal_has_the_tag_of_the_refusal(running: Running, phone: Phone) -> None:
    """The leg is gone, its transaction is not; nothing but the 200 of the CANCEL comes of it."""
    running.app.decide = lambda leg: leg.reject(486)
    via = f"SIP/2.0/UDP 127.0.0.1:{phone.port};branch=z9hG4bKsame"
    phone.say(raw("INVITE", phone.port, body=SDP, via=via))
    refused = [await phone.hear(), await phone.hear()][1]
    phone.say(raw("CANCEL", phone.port, via=via))
    heard = await phone.hear()
    while "1 CANCEL" not in heard:
        heard = await phone.hear()
    assert ("486", "200") == (refused[8:11], heard[8:11])
    assert tag_in(refused) == tag_in(heard)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (raw("OPTIONS", 9, "Max-Forwards: 0"), "483"),
        (raw("INVITE", 9, "Require: 100rel", body=SDP), "420"),
        (raw("INVITE", 9, "Content-Type: application/isup", body=b"xx"), "415"),
        (raw("INVITE", 9, body=SDP).replace(b"sip:4930@127.0.0.1 SIP", b"mailto:a@b SIP"), "416"),
        (raw("INVITE", 9, body=SDP).replace(b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia"), "505"),
        (raw("INVITE", 9, body=SDP).replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"), "400"),
        (raw("INFO", 9), "481"),
        (raw("BYE", 9, to=";tag=none"), "481"),
        (raw("CANCEL", 9), "481"),
        (raw("SUBSCRIBE", 9), "405"),
        (raw("MESSAGE", 9), "405"),
        (raw("NOTIFY", 9), "405"),
        (raw("PUBLISH", 9), "405"),
        (raw("JUMP", 9), "405"),
        (raw("REFER", 9), "403"),
        (raw("INVITE", 9, "Record-Route: <sip:broken", body=SDP), "400"),
    ],
)
async def test_what_we_do_not_serve_is_refused_by_number(
    running: Running, phone: Phone, data: bytes, status: str
) -> None:
    """Default deny; the app hears nothing."""
    phone.say(data.replace(b"127.0.0.1:9;", b"127.0.0.1:9;rport;"))
    assert (status, []) == ((await phone.hear())[8:11], running.app.legs)


@pytest.mark.parametrize(
    "data",
    [b"\r\n\r\n", b"\0\0\0\0", b"\r\n", b"garbage", b"ACK sip:x SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"],
)
async def test_noise_gets_no_answer(running: Running, phone: Phone, data: bytes) -> None:
    """Keep-alives, garbage, ACKs and responses to nothing."""
    phone.say(data)
    assert await phone.silence()


async def test_burst_of_a_scanner_is_cut_off(phone: Phone, running: Running) -> None:
    """One source asks faster than the limit: the rest is dropped unanswered, in-dialog requests are not."""
    limited = Running(source_rate_per_s=5.0, source_burst=20.0)
    await limited.sip.start()
    scanner = Phone(limited.sip.udp_port)
    scanner.say(raw("INVITE", scanner.port, body=SDP))
    answered = [await scanner.hear(), await scanner.hear()][1]
    scanner.say(raw("ACK", scanner.port, to=tag_in(answered)))
    for number in range(2, 202):
        scanner.say(raw("REGISTER", scanner.port, number=number))
    scanner.say(raw("BYE", scanner.port, number=300, to=tag_in(answered)))
    heard = []
    while "BYE" not in (heard[-1:] or [""])[0]:
        heard.append(await scanner.hear())
    statuses = {line[8:11] for line in heard[:-1]}
    dropped = limited.sip.counters["rate_dropped"]
    scanner.socket.close()
    await limited.sip.stop()
    assert ({"401"}, "SIP/2.0 200") == (statuses, heard[-1][:11])
    assert (200, True) == (dropped + len(heard) - 1, len(heard) < 30)


async def test_failing_app_is_a_500_and_the_endpoint_goes_on(running: Running, phone: Phone) -> None:
    """A mistake of the app costs one call, is counted, and shows no text of its own."""

    def fail(_leg) -> None:
        raise ValueError("4930100001")

    running.app.decide = fail
    phone.say(raw("INVITE", phone.port, body=SDP))
    assert ["100", "500"] == [(await phone.hear())[8:11] for _ in range(2)]
    phone.say(raw("OPTIONS", phone.port, number=2))
    heard = [await phone.hear()]
    while "OPTIONS" not in heard[-1]:
        heard.append(await phone.hear())
    assert "SIP/2.0 200" == heard[-1][:11]
    assert 1 == running.sip.counters["handler_failed"]


async def test_trace_shows_start_lines_and_no_bodies(running: Running, phone: Phone) -> None:
    """What the ladder picture is made of."""
    phone.say(raw("OPTIONS", phone.port))
    await phone.hear()
    lines = [(line.direction, line.first_line, line.cseq, line.call_id) for line in running.app.trace]
    assert [
        ("in", "OPTIONS sip:4930@127.0.0.1 SIP/2.0", "1 OPTIONS", "raw@phone"),
        ("out", "SIP/2.0 200 OK", "1 OPTIONS", "raw@phone"),
    ] == lines
    assert {f"127.0.0.1:{phone.port}"} == {line.peer for line in running.app.trace}


async def test_info_body_never_reaches_the_trace_or_a_leg(running: Running, phone: Phone) -> None:
    """The key is cut before a message exists, and dropped for a source that is not on the list."""
    phone.say(raw("INVITE", phone.port, body=SDP))
    answered = [await phone.hear(), await phone.hear()][1]
    phone.say(raw("ACK", phone.port, to=tag_in(answered)))
    body = b"Signal=7\r\nDuration=100\r\n"
    phone.say(
        raw(
            "INFO",
            phone.port,
            "Content-Type: application/dtmf-relay",
            body=body,
            number=2,
            to=tag_in(answered),
        )
    )
    assert "SIP/2.0 200" == (await phone.hear())[:11]
    assert ([], 1) == (running.app.observers[0].keys, running.sip.counters["info_dropped"])
    assert not any("Signal" in repr(line) for line in running.app.trace)


async def test_stop_hangs_up_what_is_up(running: Running) -> None:
    """Both directions; the far side hears a BYE and nothing is left."""
    other = Running()
    await other.sip.start()
    observer = Observed()
    other.sip.invite(
        f"sip:1@127.0.0.1:{running.sip.udp_port}", SDP, from_uri="sip:me@house", observer=observer
    )
    await until(lambda: observer.told and running.app.observers[0].told)
    assert ["answered"] == observer.told
    await other.sip.stop()
    await until(lambda: running.app.observers[0].ended)
    assert [(EndReason.LOCAL_HANG_UP, None)] == observer.ended
    assert [(EndReason.REMOTE_HANG_UP, None)] == running.app.observers[0].ended
    assert (0, 0) == (other.sip.counters["legs"], running.sip.counters["legs"])


async def test_registered_phone_behind_a_stream_is_called_on_it(running: Running) -> None:
    """Its Contact names a port where nobody listens; the call comes on the connection it registered on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.sip.tcp_port)
    port = writer.get_extra_info("sockname")[1]
    writer.write(raw("OPTIONS", 9, via="SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKt"))
    assert b"SIP/2.0 200 OK" in await reader.readuntil(b"\r\n\r\n")
    await register(running, reader, writer)
    contact = running.registrar.lookup("agent1")[0]
    assert (port, "sip:agent1@127.0.0.1:9;transport=tcp") == (contact.flow.port, contact.uri)
    running.sip.invite(contact, SDP, from_uri="sip:me@house", observer=Observed())
    assert b"INVITE sip:agent1@127.0.0.1:9;transport=tcp" in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    await until(lambda: not running.registrar.lookup("agent1"))


async def register(running: Running, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """REGISTER with digest over the stream."""

    def request(number: int, *headers: str) -> bytes:
        made = raw(
            "REGISTER", 9, *headers, number=number, via=f"SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKr{number}"
        )
        made = made.replace(
            b"Contact: <sip:9@127.0.0.1:9>", b"Contact: <sip:agent1@127.0.0.1:9;transport=tcp>"
        )
        return made.replace(b"To: <sip:4930@", b"To: <sip:agent1@")

    writer.write(request(1))
    refusal = (await reader.readuntil(b"\r\n\r\n")).decode()
    challenge = choose(re.findall(r"WWW-Authenticate: (.*)\r", refusal))
    assert challenge is not None
    login = authorization(challenge, Credentials("agent1", "sesame"), "REGISTER", "sip:4930@127.0.0.1")
    writer.write(request(2, f"Authorization: {login}"))
    assert b"SIP/2.0 200 OK" in await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("transport_name", ["udp", "tcp"])
async def test_we_register_at_another_endpoint_and_are_called_there(
    running: Running, transport_name: str
) -> None:
    """The PBX finds us under our number and its call arrives; `remove` ends that."""
    us = Running()
    await us.sip.start()
    told = []
    port = running.sip.tcp_port if transport_name == "tcp" else running.sip.udp_port
    registration = us.sip.register(
        "sip:agent1@127.0.0.1",
        f"sip:127.0.0.1:{port};transport={transport_name}",
        lambda state, status: told.append((state, status)),
        credentials=Credentials("agent1", "sesame"),
    )
    await until(lambda: told)
    contact = running.registrar.lookup("agent1")[0]
    observer = Observed()
    running.sip.invite(contact, SDP, from_uri="sip:pbx@house", observer=observer)
    await until(lambda: observer.told)
    registration.remove()
    await until(lambda: len(told) == 2)
    assert (["answered"], []) == (observer.told, running.registrar.lookup("agent1"))
    assert ["registered", "removed"] == [state for state, _ in told]
    await us.sip.stop()


async def test_stream_in_pieces_and_glued_messages(running: Running) -> None:
    """Segments have nothing to do with messages; a ping gets its pong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.sip.tcp_port)
    both = b"".join(
        raw("OPTIONS", 9, number=number, via=f"SIP/2.0/TCP a;branch=z9hG4bK{number}") for number in (1, 2)
    )
    for start in range(0, len(both), 90):
        writer.write(both[start : start + 90])
        await asyncio.sleep(0.005)
    heard = [await reader.readuntil(b"\r\n\r\n") for _ in range(2)]
    writer.write(b"\r\n\r\n")
    assert (b"\r\n", [True, True]) == (await reader.readexactly(2), [b"200 OK" in each for each in heard])
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", raw("OPTIONS", 9).replace(b"Content-Length: 0\r\n", b"")]
)
async def test_stream_that_lost_its_framing_is_closed(running: Running, data: bytes) -> None:
    """Nothing behind broken framing can be trusted; a request that can be answered is answered first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.sip.tcp_port)
    writer.write(data.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP"))
    rest = await asyncio.wait_for(reader.read(), WAIT_S)
    assert (b"SIP/2.0 400" if b"SIP" in data else b"") == rest[:11]
    writer.close()
    await writer.wait_closed()


async def test_silent_connection_is_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that never says a whole message does not stay."""
    monkeypatch.setattr(transport, "REAP_EVERY_S", 0.05)
    monkeypatch.setattr(transport, "UNFINISHED_S", 0.1)
    made = Running()
    await made.sip.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", made.sip.tcp_port)
    writer.write(b"OPTIONS sip:a SIP/2.0\r\nVia:")
    assert b"" == await asyncio.wait_for(reader.read(), WAIT_S)
    assert 1 == made.sip.counters["streams_reaped"]
    writer.close()
    await made.sip.stop()


async def test_too_many_connections_are_refused(monkeypatch: pytest.MonkeyPatch, running: Running) -> None:
    """The table of streams has a limit as every table."""
    monkeypatch.setattr(transport, "STREAMS_MAX", 1)
    _, first = await asyncio.open_connection("127.0.0.1", running.sip.tcp_port)
    await until(lambda: running.sip.counters["streams"] == 1)
    reader, second = await asyncio.open_connection("127.0.0.1", running.sip.tcp_port)
    assert b"" == await until_closed(reader)
    assert 1 == running.sip.counters["streams_refused"]
    first.close()
    second.close()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """What came before the other side closed, politely or not."""
    try:
        return await asyncio.wait_for(reader.read(), WAIT_S)
    except ConnectionResetError:
        return b""


async def test_refused_connection_fails_the_call_at_once(running: Running) -> None:
    """Nobody listens at the TCP target: 503 stands for it, long before timer B."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    observer = Observed()
    running.sip.invite(
        f"sip:1@127.0.0.1:{port};transport=tcp", SDP, from_uri="sip:me@house", observer=observer
    )
    await until(lambda: observer.ended)
    assert ([(EndReason.TRANSPORT_LOST, 503)], 0) == (observer.ended, running.sip.counters["legs"])


async def test_names_are_resolved(running: Running) -> None:
    """A target by name; one that does not exist fails the call."""
    found, lost = Observed(), Observed()
    running.sip.invite(
        f"sip:1@localhost:{running.sip.udp_port}", SDP, from_uri="sip:me@house", observer=found
    )
    running.sip.invite("sip:1@no-such-name.invalid", SDP, from_uri="sip:me@house", observer=lost)
    await until(lambda: found.told and lost.ended)
    assert (["answered"], EndReason.TRANSPORT_LOST) == (found.told, lost.ended[0][0])


@pytest.mark.parametrize("target", ["tel:+4930", "sips:a@127.0.0.1", "sip:a@[::1]", "sip:a@b;transport=ws"])
async def test_target_that_leads_nowhere_is_our_mistake(running: Running, target: str) -> None:
    """Refused at the call, with a code."""
    with pytest.raises(LocalSipError) as refused:
        running.sip.invite(target, SDP, from_uri="sip:me@house", observer=Observed())
    assert "target" == refused.value.code


def test_every_address_needs_a_contact_host() -> None:
    """0.0.0.0 is no address a peer could answer to."""
    with pytest.raises(LocalSipError):
        SipEndpoint(SipSettings(bind_ip="0.0.0.0"), App(), Registrar("x"))  # noqa: S104 - refused here
