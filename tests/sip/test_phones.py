"""Phones that other people wrote, each in a process of its own, registered here and called by us."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pay_ivr.sip.endpoint import SipSettings
from pay_ivr.sip.legstate import EndReason
from pay_ivr.sip.registrar import Registrar
from tests.support import sipp
from tests.support.b2bua import Bridge

PHONES = Path(__file__).resolve().parent.parent / "phones"
STEP_S = 15.0
"""A phone that says nothing for so long has failed; pyVoIP rings a second before it answers."""


class Phone:
    """One phone process, read line by line, ended by its pid."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: str, *arguments: str) -> "Phone":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PHONES / program),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return cls(process)

    async def tells(self) -> str:
        """Its next word; empty when it has ended."""
        assert self._process.stdout is not None
        return (await asyncio.wait_for(self._process.stdout.readline(), STEP_S)).decode().strip()

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """A bridge that calls the registered phone of the dialled user."""
    registrar = Registrar("pay-ivr", {"agent1": "sesame", "caller1": "sesame"}.get, allow_legacy=True)
    made = Bridge(SipSettings(udp_port=0, tcp_port=0), registrar=registrar)
    await made.endpoint.start()
    yield made
    await made.endpoint.stop()
    assert (0, 0) == (made.endpoint.counters["legs"], made.endpoint.counters.get("handler_failed", 0))


async def called(bridge: Bridge, scenario: str) -> sipp.Sipp:
    """SIPp calls agent1."""
    return await sipp.start(scenario, bridge.endpoint.udp_port, user="agent1", timeout_s=20)


@pytest.mark.tool("sipp")
async def test_pyvoip_registers_answers_and_is_hung_up(bridge: Bridge) -> None:
    """RFC 2069 digest, an answer after a second of ringing, a BYE of ours."""
    phone = await Phone.start(
        "pyvoip_phone.py", "agent1", "sesame", str(bridge.endpoint.udp_port), str(sipp.free_port())
    )
    try:
        assert "registered" == await phone.tells()
        assert ["127.0.0.1"] == [contact.flow.ip for contact in bridge.registrar.lookup("agent1")]
        caller = await called(bridge, "caller")
        assert "answered" == await phone.tells()
        assert "" == (await caller.outcome()).failure
        await caller.end()
        assert "ended" == await phone.tells()
    finally:
        await phone.end()
    assert [EndReason.REMOTE_HANG_UP, EndReason.LOCAL_HANG_UP] == [reason for _, reason, _ in bridge.ends]


@pytest.mark.tool("sipp")
async def test_pyvoip_as_caller_stays_up_and_its_bye_is_answered(bridge: Bridge) -> None:
    """Its ACK has a tag of its own and the INVITE's branch; the call must not end by itself."""
    agent = await sipp.start("agent", timeout_s=30)
    bridge.target_uri = f"sip:agent@127.0.0.1:{agent.port}"
    arguments = ("caller1", "sesame", str(bridge.endpoint.udp_port), str(sipp.free_port()), "agent1")
    phone = await Phone.start("pyvoip_phone.py", *arguments)
    try:
        assert ["registered", "answered", "still", "ended"] == [await phone.tells() for _ in range(4)]
        assert "" == (await agent.outcome()).failure
    finally:
        await phone.end()
        await agent.end()
    assert ("caller", EndReason.REMOTE_HANG_UP, None) == bridge.ends[0]
    assert 1 == bridge.confirmed


@pytest.mark.tool("sipp")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_baresip_registers_answers_holds_and_hangs_up(bridge: Bridge, transport: str) -> None:
    """SHA-256 or MD5 as it likes, its re-INVITEs answered here, its BYE given on; then it unregisters."""
    port = bridge.endpoint.tcp_port if transport == "tcp" else bridge.endpoint.udp_port
    phone = await Phone.start("baresip_phone.py", "agent1", "sesame", str(port), transport)
    try:
        assert "registered" == await phone.tells()
        caller = await called(bridge, "caller_waits")
        assert ["answered", "held", "resumed", "ended"] == [await phone.tells() for _ in range(4)]
        assert "" == (await caller.outcome()).failure
        await caller.end()
        assert ("unregistered", []) == (await phone.tells(), bridge.registrar.lookup("agent1"))
    finally:
        await phone.end()
    assert {"UDP" if transport == "udp" else "TCP", "UDP"} == {line.transport for line in bridge.trace}
    assert ("agent", EndReason.REMOTE_HANG_UP, None) == bridge.ends[0]


async def test_baresip_with_the_wrong_password_stays_outside(bridge: Bridge) -> None:
    """It is told 401 again and gives up."""
    phone = await Phone.start("baresip_phone.py", "agent1", "guess", str(bridge.endpoint.udp_port), "udp")
    try:
        assert ("refused", []) == (await phone.tells(), bridge.registrar.lookup("agent1"))
    finally:
        await phone.end()
