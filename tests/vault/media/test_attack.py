"""Media against an app that is no longer ours: whatever it asks for, a capture gives nothing away."""

import asyncio
import random
from typing import Any

import pytest

from tests.support.media import Broker, Media, Phone, media, press, until
from vault import MediaClient, Refused, Remote

STEPS = 40
FRAME_S = 0.02


class Attacker:
    """An app that tries every request it has, in any order, on a call under capture."""

    def __init__(self, rig: Media, caller: Phone, agents: dict[str, Phone], seed: int) -> None:
        self._client: MediaClient = rig.client
        self._caller = caller
        self._agents = agents
        self._random = random.Random(seed)
        self._legs = ["caller"]
        self.refused = 0

    async def step(self) -> None:
        """One request of its choice; a refusal is counted."""
        act = self._random.choice((
            self._bridge, self._unbridge, self._move_caller, self._move_agent, self._play, self._stop_play,
            self._collect, self._stop_collect, self._reopen_agent, self._reopen_caller, self._inject,
        ))  # fmt: skip
        try:
            await act()
        except Refused:
            self.refused += 1

    @property
    def _leg(self) -> str:
        return self._legs[-1]

    @property
    def _agent(self) -> str:
        return self._random.choice(tuple(self._agents))

    async def _bridge(self) -> None:
        await self._client.bridge(self._leg, self._agent)

    async def _unbridge(self) -> None:
        await self._client.unbridge(self._random.choice((self._leg, self._agent)))

    async def _move_caller(self) -> None:
        changes: dict[str, Any] = self._random.choice((
            {}, {"codec": "PCMA", "payload_type": 8}, {"event_types": ()}, {"payload_type": 101},
            {"event_types": ((0, 8000), (101, 8000))}, {"direction": "recvonly"}, {"direction": "sendonly"},
        ))  # fmt: skip
        await self._client.set_remote(self._leg, self._caller.remote(**changes))

    async def _move_agent(self) -> None:
        other: Remote = self._agents[self._agent].remote(
            direction=self._random.choice(("sendrecv", "recvonly"))
        )
        await self._client.set_remote(self._agent, other)

    async def _play(self) -> None:
        await self._client.play(self._random.choice((self._leg, self._agent)), "play_1", ("tone",))

    async def _stop_play(self) -> None:
        await self._client.stop_play(self._random.choice((self._leg, self._agent)))

    async def _collect(self) -> None:
        await self._client.collect(self._leg, "col_1", digits_max=10)

    async def _stop_collect(self) -> None:
        await self._client.stop_collect(self._leg)

    async def _reopen_agent(self) -> None:
        name = self._agent
        phone = self._agents[name]
        await self._client.close_leg(name)
        phone.target = ("127.0.0.1", await self._client.open_leg(name, "agent"))
        await self._client.set_remote(name, phone.remote())
        await self._client.bridge(self._leg, name)

    async def _reopen_caller(self) -> None:
        """A leg of its own in the old one's place, on the port to which the caller goes on sending."""
        await self._client.close_leg(self._leg)
        self._legs.append(f"caller{len(self._legs)}")
        await self._client.open_leg(self._leg, "caller", port=self._caller.target[1])
        await self._client.set_remote(self._leg, self._caller.remote())
        await self._client.bridge(self._leg, self._agent)

    async def _inject(self) -> None:
        self._client.info_key(self._leg, self._random.randrange(10))


async def _under_attack(rig: Media, seed: int) -> tuple[Attacker, Phone, dict[str, Phone], Broker]:
    broker = await rig.broker()
    caller, agent = await rig.call()
    agents = {"agent": agent, "second": await rig.leg("second", "agent")}
    await rig.client.load_prompt("tone", b"\x7f" * 1600)
    return Attacker(rig, caller, agents, seed), caller, agents, broker


@pytest.mark.parametrize("seed", range(2))
async def test_no_order_of_requests_brings_a_caller_sample_past_secure(seed: int) -> None:
    """While nobody but the app has asked for an end, no agent hears a frame and no collection a key."""
    async with media() as rig:
        attacker, caller, agents, broker = await _under_attack(rig, seed)
        await broker.attach("caller")
        for phone in (caller, *agents.values()):
            phone.forget()
        for _ in range(STEPS):
            await attacker.step()
            await caller.stream([None, *press(caller, 7, 1)])
            caller.say()
        await asyncio.sleep(0.1)
        heard = {payload for phone in agents.values() for payload in phone.payloads()}
        assert not caller.sent & heard
        assert "" == "".join(str(fact.values["digits"]) for fact in rig.of("collect.done"))
        assert attacker.refused > 0


async def test_a_leg_in_the_place_of_a_captured_one_is_secure_until_the_broker_lets_it_go() -> None:
    """Closing the leg and opening another on its port is no way out of SECURE; the broker's detach is."""
    async with media() as rig:
        broker = await rig.broker()
        caller, agent = await rig.call()
        await broker.attach("caller")
        await rig.client.close_leg("caller")
        await rig.client.open_leg("other", "caller", port=caller.target[1])
        await rig.client.set_remote("other", caller.remote())
        await rig.client.bridge("other", "agent")
        agent.forget()
        await caller.talk(0.2)
        assert not caller.sent & set(agent.payloads())
        with pytest.raises(Refused, match="open digits wait"):
            await rig.client.collect("other", "col_1", digits_max=10)
        await broker.call("detach", leg_id="other")
        await until(lambda: any(fact.values["mode"] == "NORMAL" for fact in rig.of("leg.mode")[-1:]))
        said = caller.say()
        await until(lambda: said in agent.payloads())


async def test_the_rest_of_a_card_is_no_open_digits() -> None:
    """A capture that the app has ended in the middle of a PAN: what is keyed on goes nowhere."""
    async with media() as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        pipe = await broker.attach("caller")
        await caller.stream(slot for key in (4, 2, 4, 2) for slot in [*press(caller, key, 1), None, None])
        pipe.close()
        await broker.call("detach", leg_id="caller")
        await until(lambda: [one.values["mode"] for one in rig.of("leg.mode")][-1:] == ["NORMAL"])
        await rig.client.collect("caller", "col_1", digits_max=10, first_timeout_ms=1500)
        await caller.stream(slot for key in (4, 2, 4, 2) for slot in [*press(caller, key, 1), None, None])
        done = await rig.fact("collect.done")
        assert ("too_many", "") == (done.values["outcome"], done.values["digits"])


async def test_a_payload_type_is_not_audio_and_telephone_event_at_once() -> None:
    """Declared as both, the caller's events would be passed on as audio: refused, and nothing changes."""
    async with media() as rig:
        caller, agent = await rig.call()
        with pytest.raises(Refused, match="not both"):
            await rig.client.set_remote("caller", caller.remote(payload_type=101))
        said = caller.say()
        await agent.heard(1)
        assert said in agent.payloads()
