"""SECURE over real sockets: not one caller sample, every key, through switches, crashes and restarts."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from tests.support.media import ROOT, Broker, Media, Phone, Pipe, media, press, until
from tests.support.tones import Manner, frames, keyed
from vault import MediaClient, Refused, Unreachable
from vault.media.noise import NOISE_FRAMES

DIGITS = (1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8)
"""Every digit twice in a row: the hardest sequence to count, and no PAN."""
KINDS = ("inband", "events", "hybrid", "both", "leadin")
TRIES_MAX = 200
"""Ten seconds."""
KEY_SLOTS = 10
"""100 ms on, 100 ms off."""

Slot = Sequence[bytes] | None


def tones(phone: Phone, keys: Sequence[int], rng: np.random.Generator) -> list[bytes]:
    """The keys as in-band frames over line noise, so that each frame is a payload of its own."""
    sound = keyed(keys, Manner(on_ms=100, off_ms=100), rng, lead_ms=40).sound
    return frames(sound + rng.normal(0, 12, len(sound)), alaw=phone.codec == "PCMA")


def slots(phone: Phone, kind: str, rng: np.random.Generator) -> list[Slot]:
    """What one kind of caller sends while keying `DIGITS`, 20 ms a slot."""
    if kind in {"inband", "hybrid"}:
        return [[phone.packet(frame)] for frame in tones(phone, DIGITS, rng)]
    made: list[Slot] = []
    for digit in DIGITS:
        audio = tones(phone, (digit,), rng)[2 : 2 + KEY_SLOTS]
        with_tone = {"events": 0, "both": 5, "leadin": 2}[kind]
        quiet = frames(rng.normal(0, 12, 160 * KEY_SLOTS), alaw=phone.codec == "PCMA")
        audio = audio[:with_tone] + quiet[with_tone:]
        events = press(phone, digit, 5)
        made += [[*(events[at] if at < 5 else ()), phone.packet(audio[at])] for at in range(KEY_SLOTS)]
    return made


async def key_through(
    rig: Media, broker: Broker, name: str, kind: str, codec: str, loss: float, pipes: dict[str, list[int]]
) -> tuple[list[bytes], set[bytes]]:
    """One caller keys a whole sequence in SECURE; what the agent got then, and what the caller sent."""
    rng = np.random.default_rng(hash((kind, codec)) & 0xFFFF)
    events = {"event_types": ()} if kind == "inband" else {}
    caller, agent = await rig.call(codec, "PCMU", name, **events)
    pipe = await broker.attach(f"{name}caller", f"cap_{name}")
    agent.forget()
    sending = [
        None if slot is None else [packet for packet in slot if rng.random() >= loss]
        for slot in slots(caller, kind, rng)
    ]
    await asyncio.gather(caller.stream(sending), agent.talk(len(sending) * 0.02))
    await pipe.heard(len(DIGITS) - 1)
    await asyncio.sleep(0.3)
    got = list(agent.got)
    pipes[name] = list(pipe.keys)
    pipe.close()
    return got, {packet[12:] for slot in sending if slot for packet in slot} | caller.sent


@pytest.mark.parametrize("loss", [0.0, 0.05])
async def test_no_caller_sample_reaches_the_agent_and_no_key_is_lost(loss: float) -> None:
    """Five kinds of caller in both laws: nothing on the agents' legs, each key in its own pipe."""
    async with media() as rig:
        broker = await rig.broker()
        cases = [(f"{kind}{codec}", kind, codec) for kind in KINDS for codec in ("PCMU", "PCMA")]
        pipes: dict[str, list[int]] = {}
        results = await asyncio.gather(
            *(key_through(rig, broker, name, kind, codec, loss, pipes) for name, kind, codec in cases)
        )
        for (name, kind, codec), (got, sent) in zip(cases, results, strict=True):
            assert_own_clock(got)
            assert not sent & {packet[12:] for packet in got}, name
            heard = pipes[name]
            if kind in {"inband", "hybrid"} and loss:
                assert abs(len(heard) - 16) <= 1, name
            else:
                assert list(DIGITS) == heard, (name, codec)


def assert_own_clock(got: list[bytes]) -> None:
    """One SSRC, one payload type, every number and time stamp in its place, no two frames alike."""
    assert {172} == {len(packet) for packet in got}
    assert {0} == {packet[1] & 0x7F for packet in got}
    assert 1 == len({packet[8:12] for packet in got})
    first, stamp = int.from_bytes(got[0][2:4], "big"), int.from_bytes(got[0][4:8], "big")
    for at, packet in enumerate(got):
        assert (first + at) & 0xFFFF == int.from_bytes(packet[2:4], "big")
        assert (stamp + 160 * at) & 0xFFFFFFFF == int.from_bytes(packet[4:8], "big")
    assert min(len(got), NOISE_FRAMES) == len({packet[12:] for packet in got})


@pytest.mark.parametrize("keying", [False, True])
async def test_packet_count_tells_time_and_nothing_else(keying: bool) -> None:
    """In SECURE the agent gets one packet each 20 ms within 1 %, whether the caller keys or is silent."""
    async with media() as rig:
        broker = await rig.broker()
        caller, agent = await rig.call()
        pipe = await broker.attach("caller")
        agent.forget()
        if keying:
            for digit in DIGITS[:8]:
                await caller.stream([*press(caller, digit, 10), *[None] * 5])
        else:
            await asyncio.sleep(2.4)
        agent._read()
        span_s = agent.got_at[-1] - agent.got_at[0]
        assert abs(len(agent.got) - 1 - span_s / 0.02) <= 1 + 0.01 * len(agent.got)
        pipe.close()


async def test_the_agent_is_heard_in_secure_and_each_key_beeps() -> None:
    """Agent to caller passes in every mode; a key puts 60 ms of our beep in its place, in the same stream."""
    async with media() as rig:
        broker = await rig.broker()
        caller, agent = await rig.call()
        await broker.attach("caller")
        said = agent.say()
        await caller.heard(1)
        assert [said] == caller.payloads()
        caller.forget()
        await asyncio.gather(agent.talk(0.4), caller.stream([None] * 5 + press(caller, 3)))
        mine = [payload for payload in caller.payloads() if payload not in agent.sent]
        assert 3 == len(mine)
        assert 1 == len({header[4] for header in caller.headers()})


@pytest.mark.parametrize("kind", ["inband", "events"])
async def test_keys_around_the_switches_never_reach_the_agent(kind: str) -> None:
    """A key -200..+200 ms around either switch: no sample of it once SECURE is confirmed, until quiet."""
    offsets = [at / 1000 for at in range(-200, 201, 50)]
    async with media() as rig:
        broker = await rig.broker()
        await asyncio.gather(
            *(switch_race(rig, broker, f"{at}", offset, kind) for at, offset in enumerate(offsets))
        )


async def switch_race(rig: Media, broker: Broker, name: str, offset_s: float, kind: str) -> None:
    """One call whose caller presses a key `offset_s` from the confirmation, and again from the detach."""
    rng = np.random.default_rng(7)
    caller, agent = await rig.call("PCMU", "PCMU", name)

    async def sound(seconds: float) -> None:
        quiet = round(max(0.0, seconds) / 0.02)
        await caller.stream(frames(rng.normal(0, 12, 160 * quiet)) if quiet else ())
        before = set(caller.sent)
        if kind == "inband":
            await caller.stream(tones(caller, (5,), rng)[2:9])
        else:
            await caller.stream(press(caller, 5))
        pressed.update(caller.sent - before)

    pressed: set[bytes] = set()
    start = time.monotonic() + 0.25
    keyer = asyncio.create_task(sound(0.25 + offset_s))
    await asyncio.sleep(start - time.monotonic())
    pipe = await broker.attach(f"{name}caller", f"cap_{name}")
    agent._read()
    confirmed = len(agent.got)
    await keyer
    await asyncio.sleep(0.3)
    assert not caller.sent & set(agent.payloads(confirmed))
    pressed.clear()
    start = time.monotonic() + 0.25
    keyer = asyncio.create_task(sound(0.25 + offset_s))
    await asyncio.sleep(start - time.monotonic())
    pipe.close()
    assert "SECURE" == (await broker.call("detach", leg_id=f"{name}caller"))["mode"]
    await keyer
    keyed_at = time.monotonic()
    await until(
        lambda: any(fact["mode"] == "NORMAL" and fact["leg_id"] == f"{name}caller" for fact in modes(broker))
    )
    assert time.monotonic() - keyed_at > 0.85
    assert not caller.sent & set(agent.payloads(confirmed))
    said = caller.say()
    await until(lambda: said in agent.payloads())


def modes(broker: Broker) -> list[dict[str, str]]:
    """All leg.mode facts so far."""
    return [fact for fact in broker.facts if fact["fact"] == "leg.mode"]


async def test_keys_pressed_before_the_confirmation_are_in_nobodys_pipe() -> None:
    """A hit that still waits for its event is dropped, and what follows it without a pause of 0.7 s."""
    rng = np.random.default_rng(3)
    async with media() as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        await caller.stream(tones(caller, (7,), rng)[2:6])
        pipe = await broker.attach("caller")
        await caller.stream([b"\xff" * 160] * 45)
        assert [] == pipe.keys
        await caller.stream(press(caller, 9))
        assert [9] == await pipe.heard(1)


async def test_a_broken_pipe_stays_secure_until_detach() -> None:
    """pipe.lost is told; only the broker's detach, one second later, leads back to NORMAL."""
    async with media() as rig:
        broker = await rig.broker()
        caller, agent = await rig.call()
        pipe = await broker.attach("caller")
        pipe.close()
        assert "cap_1" == (await broker.fact("pipe.lost"))["capture_id"]
        await asyncio.sleep(1.3)
        agent.forget()
        await caller.talk(0.1)
        assert not caller.sent & set(agent.payloads())
        assert "SECURE" == await broker.mode("caller")
        await broker.call("detach", leg_id="caller")
        await until(lambda: any(fact["mode"] == "NORMAL" for fact in modes(broker)))
        await until(lambda: len(rig.of("leg.mode")) == 2)
        assert ["SECURE", "NORMAL"] == [fact.values["mode"] for fact in rig.of("leg.mode")]


async def test_detach_waits_for_the_pipe_and_for_the_last_key_up() -> None:
    """SECURE outlasts an open pipe, and a key that is still down, by one second each."""
    async with media() as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        pipe = await broker.attach("caller")
        await broker.call("detach", leg_id="caller")
        await asyncio.sleep(1.2)
        assert "SECURE" == await broker.mode("caller")
        pipe.close()
        await caller.stream(press(caller, 1, 40))
        up = time.monotonic()
        assert [] == pipe._keys
        await until(lambda: any(fact["mode"] == "NORMAL" for fact in modes(broker)))
        assert 0.9 < time.monotonic() - up < 1.6


async def test_a_new_pipe_of_the_same_capture_takes_the_place_of_the_old() -> None:
    """Re-key and retry: the cell gets a new pipe; another capture is refused while one holds the leg."""
    async with media() as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        first = await broker.attach("caller")
        second = await broker.attach("caller")
        await caller.stream(press(caller, 6))
        assert [6] == await second.heard(1)
        assert b"" == first.sock.recv(1)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reply = await broker.call("attach", [ours.fileno()], leg_id="caller", capture_id="cap_2")
        assert "leg_captured" == reply["code"]
        ours.close()
        assert b"" == theirs.recv(1)
        theirs.close()


@pytest.mark.parametrize("what", ["stream", "file", "nothing", "agent"])
async def test_only_a_key_pipe_makes_a_leg_secure(what: str) -> None:
    """A stream socket, a file, no descriptor, an agent's leg: refused, NORMAL stays."""
    async with media() as rig:
        broker = await rig.broker()
        await rig.call()
        kind = socket.SOCK_STREAM if what == "stream" else socket.SOCK_SEQPACKET
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        number = os.memfd_create("no pipe")
        fds = {"file": [number], "nothing": []}.get(what, [ours.fileno()])
        leg_id = "agent" if what == "agent" else "caller"
        reply = await broker.call("attach", fds, leg_id=leg_id, capture_id="cap_1")
        assert ("leg_role" if what == "agent" else "bad_message") == reply["code"]
        assert "NORMAL" == await broker.mode("caller")
        os.close(number)
        ours.close()
        assert b"" == theirs.recv(1)
        theirs.close()


async def test_the_app_has_no_way_to_change_a_mode() -> None:
    """attach, detach and talk are unknown on the app's socket; a collection is refused in SECURE."""
    async with media() as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        pipe = await broker.attach("caller")
        for op in ("attach", "detach", "talk", "mode", "secure"):
            with pytest.raises(Refused) as refusal:
                await rig.client._call(op, leg_id="caller", capture_id="cap_1", on=True, mode="NORMAL")
            assert "op_unknown" == refusal.value.code
        with pytest.raises(Refused) as refusal:
            await rig.client.collect("caller", "col_1", digits_max=10)
        assert "leg_secure" == refusal.value.code
        await caller.stream(press(caller, 2))
        assert [2] == await pipe.heard(1)
        assert not rig.of("collect.done")


async def test_open_digits_are_wiped_when_a_capture_begins() -> None:
    """A running collection ends as captured, without a digit."""
    async with media() as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        await rig.client.collect("caller", "col_1", digits_max=10)
        for key in (4, 2, 4):
            await caller.stream([*press(caller, key), None])
        await broker.attach("caller")
        fact = await rig.fact("collect.done")
        assert {"collect_id": "col_1", "outcome": "captured", "digits": ""} == fact.values


async def test_info_keys_are_keys() -> None:
    """SIP INFO keys reach the pipe once, also beside a telephone-event of the same press."""
    async with media() as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        pipe = await broker.attach("caller")
        rig.client.info_key("caller", 8)
        await asyncio.sleep(0.4)
        rig.client.info_key("caller", 9)
        await caller.stream(press(caller, 9))
        rig.client.info_key("agent", 1)
        rig.client.info_key("nobody", 1)
        rig.client.info_key("caller", 16)
        await pipe.heard(2)
        await asyncio.sleep(0.05)
        assert [8, 9] == pipe.keys


async def test_talk_lets_the_voice_through_and_takes_no_key() -> None:
    """TALK: voice passes 40 ms late on our own clock, keys go nowhere; talk off is SECURE at once."""
    rng = np.random.default_rng(11)
    async with media() as rig:
        broker = await rig.broker()
        caller, agent = await rig.call()
        pipe = await broker.attach("caller")
        assert "TALK" == (await broker.call("talk", leg_id="caller", on=True))["mode"]
        before = set(caller.sent)
        await caller.stream(frames(rng.normal(0, 400, 160 * 50), alaw=False))
        voice = caller.sent - before
        passed = voice & set(agent.payloads())
        assert len(passed) > 30
        await caller.stream(press(caller, 4))
        assert [] == pipe.keys
        assert "SECURE" == (await broker.call("talk", leg_id="caller", on=False))["mode"]
        assert "cap_1" == (await broker.fact("talk.ended"))["capture_id"]
        agent.forget()
        caller.sent.clear()
        await caller.talk(0.2)
        assert not caller.sent & set(agent.payloads())
        await caller.stream([None] * 30 + press(caller, 5))
        assert [5] == await pipe.heard(1)
        assert_plain(agent)


def assert_plain(phone: Phone) -> None:
    assert 1 == len({header[4] for header in phone.headers()})


async def test_tones_do_not_pass_the_talk_gate() -> None:
    """Sixteen keys as tones in TALK: not one of their frames reaches the agent."""
    rng = np.random.default_rng(12)
    async with media() as rig:
        broker = await rig.broker()
        caller, agent = await rig.call()
        pipe = await broker.attach("caller")
        await broker.call("talk", leg_id="caller", on=True)
        sound = tones(caller, DIGITS, rng)
        await caller.stream(sound)
        await asyncio.sleep(0.2)
        assert not set(sound[8:-12]) & set(agent.payloads())
        assert [] == pipe.keys


@pytest.mark.slow
async def test_talk_ends_by_the_media_clock() -> None:
    """Fifteen seconds, then SECURE again without anybody's help."""
    async with media() as rig:
        broker = await rig.broker()
        await rig.call()
        await broker.attach("caller")
        begun = time.monotonic()
        await broker.call("talk", leg_id="caller", on=True)
        await broker.fact("talk.ended", 20)
        assert 14.9 < time.monotonic() - begun < 16
        assert "SECURE" == await broker.mode("caller")


CONTROLLER = """
import json, socket, sys, time

from vault.hatch import knock

app = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
app.connect(sys.argv[1] + "/media.sock")
broker = knock(socket.socket(fileno=int(sys.argv[2])))
broker.setblocking(True)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
attach = {"id": 1, "op": "attach", "leg_id": "caller", "capture_id": "cap_1"}
socket.send_fds(broker, [json.dumps(attach).encode()], [ours.fileno()])
while "ok" not in (reply := json.loads(broker.recv(65536))):
    pass
print(reply, flush=True)
time.sleep(60)
"""


async def test_secure_outlives_everybody_who_steers() -> None:
    """Kill -9 of app, broker and cell at once: SECURE stays, and a new broker finds it so."""
    async with media() as rig:
        caller, agent = await rig.call()
        number = rig.hatch.fileno()
        command = [sys.executable, "-c", CONTROLLER, str(rig.run_dir), str(number)]
        pipe = subprocess.PIPE
        controller = await asyncio.to_thread(
            subprocess.Popen, command, stdout=pipe, cwd=ROOT, pass_fds=(number,)
        )
        assert controller.stdout is not None
        assert b"SECURE" in await asyncio.to_thread(controller.stdout.readline)
        os.kill(controller.pid, signal.SIGKILL)
        controller.wait()
        controller.stdout.close()
        agent.forget()
        caller.sent.clear()
        await caller.stream(press(caller, 1) + [os.urandom(160) for _ in range(60)])
        assert not caller.sent & set(agent.payloads())
        assert 50 < len(agent.got)
        broker = await rig.broker()
        assert "SECURE" == await broker.mode("caller")


async def test_a_restarted_process_comes_up_secure() -> None:
    """Kill -9 of the media process: legs that resume are SECURE until the broker detaches."""
    async with media() as rig:
        broker = await rig.broker()
        caller, agent = await rig.call()
        pipe = await broker.attach("caller")
        rig.process.kill()
        rig.process.wait()
        await rig.fact("media.lost")
        rig.start()
        assert {"restarted": True} == (await rig.fact("media.back", 10)).values
        port = caller.target[1]
        assert port == await rig.client.open_leg("caller", "caller", port=port, resume=True)
        await rig.client.open_leg("agent", "agent", port=agent.target[1], resume=True)
        await rig.client.set_remote("caller", caller.remote())
        await rig.client.set_remote("agent", agent.remote())
        await rig.client.bridge("caller", "agent")
        agent.forget()
        await asyncio.gather(caller.talk(0.3), agent.talk(0.3))
        assert len(agent.got) > 10
        assert not caller.sent & set(agent.payloads())
        newer = await rig.broker()
        assert "SECURE" == await newer.mode("caller")
        await newer.call("detach", leg_id="caller")
        await until(lambda: any(fact["mode"] == "NORMAL" for fact in modes(newer)))
        said = caller.say()
        await until(lambda: said in agent.payloads())
        pipe.close()


async def test_a_lost_broker_changes_nothing_and_a_newer_one_takes_over() -> None:
    """Keys still reach the pipe while no broker is there; the newest connection is the one that counts."""
    async with media() as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        pipe: Pipe = await broker.attach("caller")
        newer = await rig.broker()
        legs = (await newer.call("hello"))["legs"]
        assert [{"leg_id": "caller", "mode": "SECURE", "capture_id": "cap_1"}] == legs
        await caller.stream(press(caller, 3))
        assert [3] == await pipe.heard(1)


async def test_a_closed_leg_ends_its_pipe_and_tells_the_broker() -> None:
    """Hang-up: the cell sees its pipe end, the broker gets leg.closed."""
    async with media() as rig:
        broker = await rig.broker()
        await rig.call()
        pipe = await broker.attach("caller")
        await rig.client.close_leg("caller")
        assert "cap_1" == (await broker.fact("leg.closed"))["capture_id"]
        assert b"" == pipe.sock.recv(1)


async def test_a_second_app_takes_the_place_of_the_first() -> None:
    """One app connection at a time, and no mode changes with it."""
    async with media() as rig:
        broker = await rig.broker()
        await rig.call()
        await broker.attach("caller")
        second = MediaClient(rig.run_dir / "media.sock", rig.run_dir / "media-keys.sock")
        await second.connect()
        await rig.client.close()  # it would come back, and the two would take turns
        try:
            legs = await at_last(second)
        finally:
            await second.close()
        assert {"caller": "SECURE", "agent": "NORMAL"} == {leg["leg_id"]: leg["mode"] for leg in legs}


async def at_last(client: MediaClient) -> list[dict[str, Any]]:
    """The legs, once the other can no longer take the place back."""
    for _ in range(TRIES_MAX):
        with suppress(Unreachable):
            return await client.legs()
        await asyncio.sleep(0.05)
    return await client.legs()
