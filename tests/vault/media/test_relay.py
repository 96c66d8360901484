"""The relay over real sockets: what passes in NORMAL, what never does, whose packets count."""

import asyncio
import contextlib
import os
import socket
import struct

import pytest

from tests.support.media import HEADER, WAIT_S, Media, Phone, media, press, until
from vault import Refused
from vault.media.g711 import ALAW_TO_ULAW, ULAW_TO_ALAW


def assert_one_stream(headers: list[tuple[int, int, int, int, int]], payload_type: int) -> None:
    """One SSRC, one payload type, plain headers, numbers without a gap."""
    assert {first for first, *_ in headers} == {0x80}
    assert {kind & 0x7F for _, kind, *_ in headers} == {payload_type}
    assert len({ssrc for *_, ssrc in headers}) == 1
    numbers = [sequence for _, _, sequence, _, _ in headers]
    assert [(numbers[0] + at) & 0xFFFF for at in range(len(numbers))] == numbers


async def test_audio_passes_both_ways_in_streams_of_our_own() -> None:
    """NORMAL forwards at once; SSRC, sequence and time stamps are ours."""
    async with media() as rig:
        caller, agent = await rig.call()
        said = [caller.say() for _ in range(5)]
        answered = [agent.say() for _ in range(5)]
        await agent.heard(5)
        await caller.heard(5)
        assert said == agent.payloads()
        assert answered == caller.payloads()
        assert_one_stream(agent.headers(), 0)
        assert caller.ssrc not in {ssrc for *_, ssrc in agent.headers()}
        steps = [
            after[3] - before[3] for before, after in zip(agent.headers(), agent.headers()[1:], strict=False)
        ]
        assert [160] * 4 == [step & 0xFFFFFFFF for step in steps]


@pytest.mark.parametrize(
    ("caller_codec", "agent_codec"), [("PCMA", "PCMU"), ("PCMU", "PCMA"), ("PCMA", "PCMA")]
)
async def test_codecs_are_translated(caller_codec: str, agent_codec: str) -> None:
    """A-law and µ-law parties hear each other, each in its own payload type."""
    tables = {("PCMA", "PCMU"): ALAW_TO_ULAW, ("PCMU", "PCMA"): ULAW_TO_ALAW}
    table = tables.get((caller_codec, agent_codec), bytes(range(256)))
    async with media() as rig:
        caller, agent = await rig.call(caller_codec, agent_codec)
        said = [caller.say() for _ in range(3)]
        await agent.heard(3)
        assert [payload.translate(table) for payload in said] == agent.payloads()
        assert_one_stream(agent.headers(), agent.payload_type)


async def test_only_the_negotiated_audio_reaches_the_agent() -> None:
    """Payload types 0-127 with and without marker: events, CN, RED and the rest stay here, gap-free."""
    async with media() as rig:
        caller, agent = await rig.call()
        for kind in range(256):
            caller.send(caller.packet(os.urandom(8), kind) if kind & 0x7F else caller.packet(b"\x11" * 160))
            if kind % 32 == 31:
                await asyncio.sleep(0.005)
        await agent.heard(2)
        caller.say(b"\x22" * 160)
        await agent.heard(3)
        assert [b"\x11" * 160, b"\x11" * 160, b"\x22" * 160] == agent.payloads()
        assert_one_stream(agent.headers(), 0)
        stats = await rig.client.stats("caller")
        # 254 kinds that are no audio; two of them (101 with and without marker) are telephone-event.
        assert (252, 2) == (stats["not_audio"], stats["events"])


async def test_extensions_csrc_and_padding_are_taken_off() -> None:
    """Header extensions (RFC 6464 levels), CSRCs and padding never reach the agent; the audio does."""
    async with media() as rig:
        caller, agent = await rig.call()
        audio = [bytes([at]) * 160 for at in range(1, 5)]
        extension = struct.pack("!HHI", 0xBEDE, 1, 0x10AA0000)
        caller.send(caller.packet(extension + audio[0], first=0x90))
        caller.send(caller.packet(b"CSRC" * 3 + audio[1], first=0x83))
        caller.send(caller.packet(audio[2] + b"\0\0\0\x04", first=0xA0))
        caller.send(caller.packet(b"CSRC" + extension + audio[3] + b"\x01", first=0xB1))
        await agent.heard(4)
        assert audio == agent.payloads()
        assert_one_stream(agent.headers(), 0)


async def test_agent_never_gets_a_telephone_event_and_the_caller_neither() -> None:
    """Keys of either side end here; the agent's are counted, never heard as keys."""
    async with media() as rig:
        caller, agent = await rig.call()
        await asyncio.gather(caller.stream(press(caller, 4)), agent.stream(press(agent, 7)))
        caller.say()
        agent.say()
        await agent.heard(1)
        await caller.heard(1)
        assert_one_stream(agent.headers(), 0)
        assert_one_stream(caller.headers(), 0)
        assert "caller" == (await rig.fact("leg.keying")).leg_id
        assert 0 == (await rig.client.stats("agent"))["keys"]
        assert not rig.of("leg.keying")


async def test_a_caller_who_keys_in_normal_raises_one_alarm_without_the_key() -> None:
    """leg.keying carries a count, at most once a second."""
    async with media() as rig:
        caller, _ = await rig.call()
        for key in (4, 2, 4):
            await caller.stream([*press(caller, key), None])
        fact = await rig.fact("leg.keying")
        assert {"count": 1} == fact.values
        assert 3 == (await rig.client.stats("caller"))["keys"]
        assert not rig.of("leg.keying")


async def test_lost_and_late_packets_keep_their_places() -> None:
    """What the network loses stays a gap; a late packet comes under its own number."""
    async with media() as rig:
        caller, agent = await rig.call()
        caller.say(b"\x01" * 160)
        late = caller.packet(b"\x02" * 160)
        caller.packet(b"lost")
        caller.say(b"\x04" * 160)
        caller.send(late)
        caller.say(b"\x05" * 160)
        await agent.heard(4)
        order = {
            payload[0]: header[2] for payload, header in zip(agent.payloads(), agent.headers(), strict=True)
        }
        assert [1, 3, 4] == [(order[at] - order[1]) & 0xFFFF for at in (2, 4, 5)]
        stats = await rig.client.stats("caller")
        assert (2, 1) == (stats["lost"], stats["late"])


@pytest.mark.parametrize("size", [80, 240, 320, 640])
async def test_other_packet_times_pass(size: int) -> None:
    """Phones that ignore ptime are heard all the same."""
    async with media() as rig:
        caller, agent = await rig.call()
        said = [caller.say(os.urandom(size)) for _ in range(3)]
        await agent.heard(3)
        assert said == agent.payloads()


async def test_a_restarted_source_goes_on_in_our_stream() -> None:
    """A new SSRC of the caller (transfer behind an SBC) is no new stream for the agent."""
    async with media() as rig:
        caller, agent = await rig.call()
        caller.say()
        caller.ssrc, caller.sequence, caller.timestamp = 99, 5, 12345
        caller.say()
        caller.sequence, caller.timestamp = 40_000, 7
        caller.say()
        await agent.heard(3)
        assert_one_stream(agent.headers(), 0)


async def test_broken_datagrams_are_counted_and_dropped() -> None:
    """Wrong version, cut headers, lying lengths and padding: nothing passes, nothing breaks."""
    async with media() as rig:
        caller, agent = await rig.call()
        header = HEADER.pack(0x80, 0, 1, 1, caller.ssrc)
        bad = [
            b"",
            b"\x80",
            header[:11],
            b"\x40" + header[1:] + bytes(160),
            b"\x8f" + header[1:] + bytes(20),
            b"\x90" + header[1:] + b"\xbe\xde\xff\xff" + bytes(100),
            b"\xa0" + header[1:] + bytes(160),
            b"\xa0" + header[1:] + b"\xff",
            bytes(3000),
        ]
        for datagram in bad:
            caller.send(datagram)
        caller.say()
        await agent.heard(1)
        assert 1 == len(agent.got)
        assert len(bad) == (await rig.client.stats("caller"))["bad"]


async def rtp_bleed(rig: Media, delay_s: float) -> tuple[Phone, Phone, Phone]:
    """A call under attack from another address, before its phones send or `delay_s` later."""
    caller = await rig.leg("caller", "caller")
    agent = await rig.leg("agent", "agent")
    await rig.client.bridge("caller", "agent")
    attacker = rig.phone(ip="127.0.0.9")
    attacker.target = agent.target

    async def attack() -> None:
        await asyncio.sleep(delay_s)
        for _ in range(40):
            attacker.say()
            attacker.send(attacker.packet(bytes(160)), caller.target)
            await asyncio.sleep(0.01)

    async def speak() -> None:
        await asyncio.sleep(0.1 if delay_s == 0 else 0)
        await asyncio.gather(caller.talk(delay_s + 0.5), agent.talk(delay_s + 0.5))

    await asyncio.gather(attack(), speak())
    await asyncio.sleep(0.05)
    return caller, agent, attacker


@pytest.mark.parametrize("delay_s", [0, 1.0, pytest.param(6.0, marks=pytest.mark.proof)])
async def test_a_foreign_address_neither_gets_nor_gives_audio(delay_s: float) -> None:
    """RTP bleed: an attacker before the first packet, at 1 s, at 6 s gets nothing and injects nothing."""
    async with media() as rig:
        caller, agent, attacker = await rtp_bleed(rig, delay_s)
        assert [] == attacker.got
        assert not attacker.sent & set(agent.payloads() + caller.payloads())
        assert set(agent.payloads()) <= caller.sent
        assert len(agent.got) > (delay_s + 0.3) / 0.02


async def test_a_phone_behind_nat_is_found_at_its_signalling_address() -> None:
    """The SDP names a private address; the first packet from the SIP source's IP becomes the peer."""
    async with media() as rig:
        caller = await rig.leg("caller", "caller", ip="192.0.2.1", port=4000, source_ip="127.0.0.1")
        agent = await rig.leg("agent", "agent")
        await rig.client.bridge("caller", "agent")
        agent.say()
        caller.say()
        fact = await rig.fact("leg.latched")
        while fact.leg_id != "caller":
            fact = await rig.fact("leg.latched")
        assert {"from_sdp": False} == fact.values
        answered = agent.say()
        await until(lambda: answered in caller.payloads())


async def test_a_new_port_of_a_reinvite_is_followed_within_one_packet() -> None:
    """set_remote opens the latch for the new address alone, and the old one is shut out."""
    async with media() as rig:
        caller, agent = await rig.call()
        moved = rig.phone()
        moved.target = caller.target
        await rig.client.set_remote("caller", moved.remote())
        first = agent.say()
        await moved.heard(1)
        assert [first] == moved.payloads()
        stale, fresh = b"\x66" * 160, b"\x77" * 160
        moved.say(fresh)
        await agent.heard(1)
        caller.say(stale)
        moved.say(fresh)
        await agent.heard(2)
        assert [fresh, fresh] == agent.payloads()
        assert [] == caller.got


async def test_the_same_remote_again_keeps_the_latch() -> None:
    """A re-INVITE that changes nothing does not open the door for anybody."""
    async with media() as rig:
        caller, agent = await rig.call()
        await rig.client.set_remote("caller", caller.remote())
        other = rig.phone()
        other.target = caller.target
        other.say(b"\x66" * 160)
        said = caller.say()
        await agent.heard(1)
        await asyncio.sleep(0.02)
        assert [said] == agent.payloads()


async def test_a_closed_phone_port_stops_nothing() -> None:
    """ECONNREFUSED on a dead peer is ignored; the peer is heard again when it is back."""
    async with media() as rig:
        caller, agent = await rig.call()
        port = agent.port
        agent.close()
        rig.phones.remove(agent)
        for _ in range(5):
            caller.say()
            await asyncio.sleep(0.01)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.bind(("127.0.0.1", port))
            back.settimeout(WAIT_S)
            caller.say()
            caller.say()
            assert 172 == len(back.recv(2048))


async def test_legs_that_are_not_bridged_hear_nothing() -> None:
    """Audio without a bridge is dropped; after unbridge it is dropped again."""
    async with media() as rig:
        caller, agent = await rig.call()
        await rig.client.unbridge("agent")
        caller.say()
        agent.say()
        await asyncio.sleep(0.05)
        assert [] == caller.got + agent.got
        await rig.client.bridge("caller", "agent")
        said = caller.say()
        await agent.heard(1)
        assert [said] == agent.payloads()


async def test_a_held_leg_gets_no_audio_and_its_partner_gets_music() -> None:
    """The agent's phone puts the call on hold: the caller hears hold music, in a stream without a gap."""
    async with media() as rig:
        caller, agent = await rig.call()
        agent.say()
        await caller.heard(1)
        tune = bytes(range(160)) + bytes(reversed(range(160)))
        await rig.client.load_prompt("hold_music", tune)
        await rig.client.set_remote("agent", agent.remote(direction="inactive"))
        caller.say()
        await caller.heard(8)
        assert [] == agent.got
        played = caller.payloads()[1:]
        assert {tune[:160], tune[160:]} == set(played)
        await rig.client.set_remote("agent", agent.remote(direction="sendrecv"))
        said = agent.say()
        await until(lambda: said in caller.payloads())
        assert_one_stream(caller.headers(), 0)


async def test_reports_are_our_own_and_nothing_of_the_peers_is_passed() -> None:
    """RTCP ends at each leg: own SSRC and CNAME out, the caller's SR with its CNAME goes nowhere."""
    async with media() as rig:
        caller, agent = await rig.call()
        secret = b"caller@home"
        chunk = struct.pack("!I", caller.ssrc) + bytes((1, len(secret))) + secret + bytes(4)
        chunk = chunk[: len(chunk) // 4 * 4]
        report = struct.pack("!BBHIIIIII", 0x80, 200, 6, caller.ssrc, 1, 2, 3, 4, 5)
        compound = report + struct.pack("!BBH", 0x81, 202, len(chunk) // 4) + chunk
        caller.rtcp.sendto(compound, ("127.0.0.1", caller.target[1] + 1))
        caller.say()
        got: dict[str, bytes] = {}
        loop = asyncio.get_running_loop()
        for name, phone in (("caller", caller), ("agent", agent)):
            got[name] = await asyncio.wait_for(loop.sock_recv(phone.rtcp, 2048), WAIT_S)
        assert secret not in got["agent"] + got["caller"]
        assert {200} == {got["agent"][1]}
        assert caller.ssrc.to_bytes(4, "big") not in got["agent"]
        assert 1 == (await rig.client.stats("caller"))["rtcp"]


async def test_limits_are_refused_with_a_code() -> None:
    """Too many legs, a taken port, an odd port, a name twice: refused, and nothing changed."""
    async with media("--legs-max", "2") as rig:
        port = await rig.client.open_leg("leg_1", "caller")
        for code, arguments in (
            ("leg_exists", {"leg_id": "leg_1", "role": "caller"}),
            ("port_taken", {"leg_id": "leg_2", "role": "agent", "port": port}),
            ("port_invalid", {"leg_id": "leg_2", "role": "agent", "port": 20_001}),
            ("port_invalid", {"leg_id": "leg_2", "role": "agent", "port": 40_000}),
        ):
            with pytest.raises(Refused) as refusal:
                await rig.client.open_leg(**arguments)  # type: ignore[arg-type]
            assert code == refusal.value.code
        await rig.client.open_leg("leg_2", "agent")
        with pytest.raises(Refused) as refusal:
            await rig.client.open_leg("leg_3", "agent")
        assert ("legs_full", True) == (refusal.value.code, refusal.value.retryable)
        await rig.client.close_leg("leg_1")
        assert port == await rig.client.open_leg("leg_1", "caller", port=port)


async def test_ports_are_random_and_even() -> None:
    """Nobody can guess where the next call's media will be."""
    async with media() as rig:
        ports = [await rig.client.open_leg(f"leg_{at}", "caller") for at in range(8)]
        assert [0] * 8 == [port % 2 for port in ports]
        assert sorted(ports) != ports or ports[-1] - ports[0] > 14


def free_ports() -> int:
    """An even port with three free ones behind it, just now."""
    for _ in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1] & ~3
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(first, first + 4):
                held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no four free ports in a row")


async def test_a_full_port_range_is_refused() -> None:
    """Two pairs of ports carry two legs; the third is refused, retryable."""
    first = free_ports()
    async with media("--port-first", str(first), "--port-last", str(first + 3)) as rig:
        for at in range(2):
            await rig.client.open_leg(f"leg_{at}", "caller")
        with pytest.raises(Refused) as refusal:
            await rig.client.open_leg("leg_2", "caller")
        assert ("ports_full", True) == (refusal.value.code, refusal.value.retryable)


async def test_a_speaking_caller_lights_the_lamp() -> None:
    """The lamp goes on with a voice and off again; no fact for tones."""
    async with media() as rig:
        caller, _ = await rig.call()
        await caller.talk(0.8)
        assert {"on": True} == (await rig.fact("leg.speaking")).values
        await caller.stream([b"\xff" * 160] * 50)
        assert {"on": False} == (await rig.fact("leg.speaking")).values
