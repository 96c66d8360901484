"""Telephones and programs that other people wrote, as callers and as agents of a whole node."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pay_ivr.proof.audio import decode, encode
from pay_ivr.proof.foreign_phone import ForeignPhone
from pay_ivr.proof.rtp_port import payload_of
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import EndReason
from tests.support import sipp
from tests.support.baresip import Baresip
from tests.support.crowd import Crowd, Microphones
from tests.support.node import (
    CALLER_BASE,
    CVV,
    DONE,
    EXPIRY,
    FIELDS,
    VISA,
    WAIT_S,
    Node,
    Place,
    Talk,
    agent_of,
    last_words,
    until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]

AGENTS = 4
PYVOIP, BARESIP, RINGING = 2, 3, 4
WITHOUT_PHONE = (PYVOIP, BARESIP, RINGING)
PCMU, SILENCE_MAX = 0, 64
CALLER = str(CALLER_BASE)
NOBODIES = ("nobody", "root", "1000")
SCAN_S = 30.0
"""The slowest scan waits 2 s for each answer that it cannot use, and 3 s at its end."""


@pytest.fixture
def place(node: Node) -> Place:
    """The agent with a phone of ours."""
    return node.places[0]


async def played(scenario: str, port: int, user: str, **how: bool) -> str:
    """SIPp calls; empty when all went as its scenario says."""
    caller = await sipp.start(scenario, port, user=user, **how)
    try:
        return (await caller.outcome()).failure
    finally:
        await caller.end()


async def no_call(place: Place) -> None:
    """Returns when the desk shows no live call any more."""
    async with asyncio.timeout(WAIT_S):
        while (await place.desk.call("GET", "/v1/calls"))["calls"]:  # noqa: ASYNC110 - a console reloads
            await asyncio.sleep(0.1)


def info_seen(place: Place) -> list[bytes]:
    """INFO requests that the agent's phone was sent."""
    assert place.phone is not None
    return [one.data for one in place.phone.evidence if one.data.startswith(b"INFO")]


# -- SIPp


@pytest.mark.tool("sipp")
@pytest.mark.parametrize("scenario", ["caller", "caller_holds", "caller_late_offer", "caller_sends_info"])
async def test_sipp_calls_the_agent(node: Node, place: Place, scenario: str) -> None:
    """Answered, held and resumed, offered late, INFO keys kept away from the agent; hung up by the caller."""
    assert "" == await played(scenario, node.sip_port, place.number)
    assert place.phone is not None
    await asyncio.wait_for(place.phone.ended.wait(), WAIT_S)
    assert [] == info_seen(place)
    await no_call(place)


@pytest.mark.tool("sipp")
async def test_sipp_calls_over_tcp(node: Node, place: Place) -> None:
    """The caller on a stream, the agent on UDP; hold included."""
    port = int(node.stage.facts["sip_tcp_port"])
    assert "" == await played("caller_holds", port, place.number, tcp=True)
    await no_call(place)


@pytest.mark.tool("sipp")
async def test_agent_hangs_up_first(node: Node, place: Place) -> None:
    """Without a payment the caller's call ends with the agent's."""
    phone = place.phone
    assert phone is not None
    caller = await sipp.start("caller_waits", node.sip_port, user=place.number)
    try:
        await place.desk.bridged_call(WAIT_S)
        await phone.hang_up()
        assert "" == (await caller.outcome()).failure
    finally:
        await caller.end()
    await no_call(place)


@asynccontextmanager
async def ringing_agent(node: Node) -> AsyncIterator[Crowd]:
    """A phone that rings and is not picked up."""
    microphones = Microphones()
    agent = Crowd(microphones, pick_up_s=60)
    await agent.endpoint.start()
    try:
        login = node.stage.logins[agent_of(RINGING)]
        await agent.register(login.agent_id, login.phone_password, node.sip_port)
        yield agent
    finally:
        await agent.endpoint.stop()
        await microphones.stop()


async def test_caller_gives_up_while_it_rings(node: Node) -> None:
    """CANCEL: the agent's phone stops ringing."""
    async with ringing_agent(node) as agent, ringing_caller(node) as caller:
        await until(lambda: len(agent.legs) == 1)
        caller.hang_up()
        await until(agent.legs[0].ended.is_set)
        assert EndReason.CANCELLED is agent.legs[0].reason


@asynccontextmanager
async def ringing_caller(node: Node) -> AsyncIterator[InviteLeg]:
    """A caller who waits for the agent."""
    microphones = Microphones()
    crowd = Crowd(microphones)
    await crowd.endpoint.start()
    try:
        yield crowd.dial(node.places[RINGING - 1].number, CALLER, node.sip_port)[1]
    finally:
        await crowd.endpoint.stop()
        await microphones.stop()


@pytest.mark.tool("sipp")
@pytest.mark.parametrize("scenario", ["caller_cancels", "caller_cancels_at_once"])
async def test_caller_gives_up_before_it_rings(node: Node, scenario: str) -> None:
    """CANCEL on the heels of the INVITE: 200, 487, and no media endpoint is left behind."""
    async with ringing_agent(node):
        for _ in range(3):
            assert "" == await played(scenario, node.sip_port, node.places[RINGING - 1].number)
        await no_call(node.places[RINGING - 1])


@pytest.mark.tool("sipp")
async def test_number_that_nobody_has_is_404(node: Node) -> None:
    """And the refusal is acknowledged."""
    assert "" == await played("caller_refused_404", node.sip_port, "4930999999")


@pytest.mark.tool("sipp")
async def test_node_answers_options(node: Node) -> None:
    """200 with Allow, as a trunk asks every minute."""
    assert "" == await played("options", node.sip_port, "4930")


# -- phones


@asynccontextmanager
async def talk_of(place: Place) -> AsyncIterator[Talk]:
    """The agent's call, whoever calls."""
    call = await place.desk.bridged_call(WAIT_S)
    yield Talk(place, None, call["call_id"])


async def key_by(phone: Baresip | ForeignPhone, talk: Talk) -> None:
    """The card, each field when it is open."""
    for field, keys in zip(FIELDS, (VISA + DONE, EXPIRY, CVV), strict=True):
        await talk.until_open(field)
        await asyncio.sleep(0.4)
        await phone.key(keys)


async def test_baresip_keys_a_card(node: Node, place: Place) -> None:
    """Its telephone-events pay; the agent's phone is sent none."""
    caller = await Baresip.start(CALLER, node.sip_port, place.number)
    try:
        await caller.until("answered")
        async with talk_of(place) as talk:
            await talk.start()
            await key_by(caller, talk)
            assert "settled" == (await talk.charge())["state"]
        caller.hang_up()
        await caller.until("ended")
    finally:
        await caller.end()
    await no_call(place)
    assert place.phone is not None
    assert {PCMU} == {payload_of(one.data)[0] for one in place.phone.rtp.received}


async def test_pyvoip_keys_a_card_in_the_audio(node: Node, place: Place, tmp_path: Path) -> None:
    """A phone that plays tones into its microphone: they pay as well."""
    caller = ForeignPhone(CALLER, tmp_path / "caller.packets", number=place.number)
    await caller.start(node.sip_port)
    try:
        await caller.wait("answered")
        async with talk_of(place) as talk:
            await talk.start()
            await key_by(caller, talk)
            assert "settled" == (await talk.charge())["state"]
    finally:
        await caller.stop()
    await no_call(place)


async def test_pyvoip_as_agent_hears_no_key(node: Node, tmp_path: Path) -> None:
    """Registered with its digest, rung, bridged; `get_dtmf` gives nothing while a card is keyed."""
    place = node.places[PYVOIP - 1]
    agent = ForeignPhone(agent_of(PYVOIP), tmp_path / "agent.packets")
    await agent.start(node.sip_port, node.stage.logins[agent_of(PYVOIP)].phone_password)
    try:
        async with place.call() as talk:
            await talk.start()
            await talk.key_card()
            assert "settled" == (await talk.charge())["state"]
        await agent.wait("ended")
        assert [""] == [one["keys_heard"] for one in agent.events if one["event"] == "ended"]
        assert {PCMU} == {payload_of(one.data)[0] for one in agent.received()}
    finally:
        await agent.stop()


async def test_baresip_as_agent_hears_no_key(node: Node) -> None:
    """Negotiates telephone-events, is sent none, and hangs up when the payment is done."""
    place = node.places[BARESIP - 1]
    password = node.stage.logins[agent_of(BARESIP)].phone_password
    agent = await Baresip.start(agent_of(BARESIP), node.sip_port, password=password)
    try:
        await agent.until("registered")
        async with place.call() as talk:
            await agent.until("answered")
            await talk.start()
            await talk.key_card()
            assert "settled" == (await talk.charge())["state"]
            agent.hang_up()
            await agent.until("ended")
            await asyncio.wait_for(talk.caller.ended.wait(), WAIT_S)
        assert ["registered", "answered", "ended"] == agent.said
    finally:
        await agent.end()


async def test_a_law_caller_talks_and_pays_with_a_mu_law_agent(place: Place) -> None:
    """Each side has its own codec; what the agent hears is the caller's voice, sample by sample."""
    phone = place.phone
    assert phone is not None
    async with place.call(codec="PCMA") as talk:
        rtp = talk.caller.rtp
        await until(lambda: len(rtp.received) > 50)
        assert ("PCMA", "PCMU") == (rtp.codec, phone.rtp.codec)
        said = {encode(decode(encode(one, "PCMA"), "PCMA"), "PCMU") for one in rtp.sent_samples}
        assert len(said & {one.data[12:] for one in phone.rtp.received}) > 10
        await talk.start()
        await talk.key_card()
        assert "settled" == (await talk.charge())["state"]


# -- a scanner


class Scanner:
    """SIPVicious at the node, as anybody on the internet runs it."""

    def __init__(self, node: Node, folder: Path) -> None:
        self._node = node
        self._folder = folder
        (folder / "words").write_text("\n".join([agent_of(1), agent_of(RINGING), *NOBODIES]) + "\n")

    async def run(self, program: str, *options: str) -> str:
        """What it printed, tables and warnings, when it has given up."""
        port = () if program == "svcrash" else ("-P", str(sipp.free_port()), "127.0.0.1")
        process = await asyncio.create_subprocess_exec(
            *(program, "-p", str(self._node.sip_port), *options, *port),
            cwd=self._folder,
            env=os.environ | {"HOME": str(self._folder)},  # it keeps its finds there
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), SCAN_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return said.decode()


@pytest.mark.tool("svmap")
async def test_a_scanner_learns_no_user_and_no_version(node: Node, place: Place, tmp_path: Path) -> None:
    """It sees that SIP is spoken here and no more; the packets that crash others change nothing."""
    scanner = Scanner(node, tmp_path)
    words = ("-d", str(tmp_path / "words"))
    device, asked, forced, options, calls, password, crash = await asyncio.gather(
        scanner.run("svmap"),
        scanner.run("svwar", *words, "-m", "REGISTER"),
        scanner.run("svwar", *words, "-m", "REGISTER", "--force"),
        scanner.run("svwar", *words, "-m", "OPTIONS"),
        scanner.run("svwar", *words, "-m", "INVITE"),
        scanner.run("svcrack", "-u", agent_of(RINGING), "-r", "1-2"),
        scanner.run("svcrash", "-d", "127.0.0.1"),
    )
    assert f"127.0.0.1:{node.sip_port} | unknown" in device
    assert "authentication request for an unknown extension" in asked
    assert ["found nothing"] * 5 == [said.strip()[-13:] for said in (asked, forced, options, calls, password)]
    assert f"127.0.0.1:{node.sip_port}" in crash
    async with place.call():
        pass  # the agent's phone is still registered, rings and is bridged


async def test_nothing_is_left_of_all_these_calls(node: Node) -> None:
    """The last test of this module stops the node: media holds no leg, SIP no leg and no dialog."""
    await no_call(node.places[0])
    await asyncio.to_thread(node.stage.stop)
    left = last_words(node.stage)
    assert (0, 0, 0, 0) == tuple(left[name] for name in ("media_legs", "legs", "dialogs", "handler_failed"))
