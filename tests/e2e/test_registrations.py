"""Registered phones on a real node: they survive the app, and end with their agent's password."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pay_ivr.app import SECRETS_EVERY_S
from pay_ivr.node import node_facts, reset_agent_passwords
from pay_ivr.proof.sip_phone import SipPhone
from tests.support.baresip import Baresip
from tests.support.node import NUMBER_BASE, WAIT_S, Node, agent_of, running_node, until
from tests.support.sipp import free_port

pytestmark = pytest.mark.slow

OURS, BARESIP = 1, 2


@asynccontextmanager
async def connected(node: Node, agent: int) -> AsyncIterator[SipPhone]:
    """A caller whom that agent's phone has answered."""
    caller = SipPhone(f"49151{agent}", seed=agent)
    await caller.open(node.sip_port)
    try:
        await caller.call(str(NUMBER_BASE + agent))
        yield caller
        await caller.hang_up()
    finally:
        caller.close()


async def kill_app(node: Node) -> None:
    """SIGKILL; returns when the supervisor's next app takes calls."""
    killed = node.stage.pids()["app"]
    os.kill(killed, signal.SIGKILL)
    await until(lambda: node_facts(node.stage.settings)["pid"] != killed)


def registers(phone: SipPhone) -> int:
    """Answers to a REGISTER that the phone has heard."""
    heard = (one.data for one in phone.evidence)
    return sum(data.startswith(b"SIP/2.0") and b" REGISTER\r\n" in data for data in heard)


@pytest.mark.proof
async def test_phones_ring_after_the_app_was_killed(tmp_path: Path) -> None:
    """Neither registers again: ours never does, baresip not before ten minutes. Twice, for the second run."""
    async with running_node(tmp_path, 2, {BARESIP}, sip_udp_port=free_port()) as node:
        password = node.stage.logins[agent_of(BARESIP)].phone_password
        theirs = await Baresip.start(agent_of(BARESIP), node.sip_port, password=password)
        try:
            await theirs.until("registered")
            ours = node.places[OURS - 1].phone
            assert ours is not None
            await until(lambda: node.phones_stored() == [agent_of(OURS), agent_of(BARESIP)])
            told = registers(ours)
            for _ in range(2):
                await kill_app(node)
                ours.answered.clear()
                async with connected(node, OURS):
                    await asyncio.wait_for(ours.answered.wait(), WAIT_S)
                await asyncio.wait_for(ours.ended.wait(), WAIT_S)
            assert told == registers(ours)
            async with connected(node, BARESIP):
                await theirs.until("answered")
        finally:
            await theirs.end()
        await reset_agent_passwords(node.stage.settings, agent_of(OURS))
        await asyncio.sleep(2 * SECRETS_EVERY_S)  # the app looks once in that time, however busy the machine
        with pytest.raises(ConnectionError, match="answered 4"):
            async with connected(node, OURS):
                pass
