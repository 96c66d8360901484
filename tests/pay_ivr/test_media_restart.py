"""Callers with a real media process that is killed: who waited with music hears it again."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pay_ivr.call import CallState
from pay_ivr.flow import Line
from pay_ivr.speaker import HOLD_MUSIC
from pay_ivr.tones import hold_music
from tests.support.exchange import ASSISTED, HANDED_OVER, House
from tests.support.media import FRAME_S, WAIT_S, Media, Phone, media

FRAME = 160
HEARD = 5
"""Frames of music: nothing else sounds like them."""
BACK_S = 20.0
"""A media process is up within a second; a busy machine takes longer."""
SDP = (
    "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
)


def sdp_of(phone: Phone, direction: str = "sendrecv") -> bytes:
    """What a phone offers or answers."""
    return SDP.format(ip=phone.ip, port=phone.port, direction=direction).encode()


async def flow(line: Line) -> None:
    """One number answers and hands over, the other rings the agent at once."""
    if line.call.did == HANDED_OVER:
        await line.answer()
    await line.connect_agent()
    await asyncio.Event().wait()


async def until(house: House, done: Callable[[], bool]) -> None:
    """Real media and a fake network take turns until it is so."""
    async with asyncio.timeout(BACK_S):
        while not done():
            house.net.clock.run(FRAME_S)
            await asyncio.sleep(FRAME_S)


def test_music_is_told_apart_from_itself() -> None:
    """The measure: the frames of the piece are many, and none is silence."""
    frames = frames_of(hold_music())
    assert len(frames) > 900
    assert bytes([0xFF]) * FRAME not in frames


def frames_of(ulaw: bytes) -> set[bytes]:
    """Its packets of 20 ms."""
    return {ulaw[at : at + FRAME] for at in range(0, len(ulaw), FRAME)}


async def test_music_is_back_after_media_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both who hear it: one waits while a phone rings, the other's agent has put the call on hold."""
    monkeypatch.setattr("pay_ivr.flow.load_flow", lambda _name: flow)
    music = frames_of(hold_music())
    async with media(reads=False) as rig:
        house = House(tmp_path, rig.client)
        try:
            await house.shelf.keep(HOLD_MUSIC, hold_music())
            callers = await two_callers(rig, house)

            async def hear_music() -> None:
                for phone in callers:
                    phone.forget()
                await until(
                    house,
                    lambda: all(sum(one in music for one in phone.payloads()) >= HEARD for phone in callers),
                )

            await hear_music()
            rig.process.kill()
            await asyncio.to_thread(rig.process.wait, WAIT_S)
            rig.start()
            await hear_music()
            assert {CallState.BRIDGED, CallState.WAITING} == set(house.states)
        finally:
            await house.close()


async def two_callers(rig: Media, house: House) -> tuple[Phone, Phone]:
    """One on hold with agent1, then one for whom agent1's phone rings and rings."""
    held, waiting, agent = rig.phone(), rig.phone(), rig.phone()
    house.phones_do("agent1", lambda leg: leg.answer(sdp_of(agent, "inactive")))
    house.call(ASSISTED, offer=sdp_of(held))
    await until(house, lambda: CallState.BRIDGED in house.states)
    house.phones_do("agent1", lambda leg: leg.ring())
    house.call(HANDED_OVER, offer=sdp_of(waiting))
    await until(house, lambda: CallState.WAITING in house.states)
    return held, waiting
