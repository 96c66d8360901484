"""What a caller's tones leave in the media process's memory, searched as root: nothing of a key in SECURE."""

import asyncio

import numpy as np
import pytest

from tests.support.media import Media, Phone, media
from tests.support.memory import survivors
from tests.support.tones import Manner, frames, keyed

KEYS = (4, 2, 7, 2, 9, 1, 8, 3)
PIECE = slice(60, 92)
"""4 ms from the middle of a frame: enough to tell the key."""
CUT_FRAMES = 7
"""The pause after the last key, and the end of its tone: the caller hangs up while the key is down."""
LOUD_CODES = 40
"""Different bytes in a frame of tone; noise has a dozen."""
MANNERS = ("in order", "swapped", "lost", "bunched", "ragged")


def delivered(packets: list[bytes], manner: str, rng: np.random.Generator) -> list[list[bytes]]:
    """The packets in 20 ms slots as a network brings them."""
    slots = [[packet] for packet in packets]
    if manner == "swapped":
        for at in range(0, len(slots) - 1, 4):
            slots[at], slots[at + 1] = slots[at + 1], slots[at]
    if manner == "lost":
        return [slot if rng.random() > 0.1 else [] for slot in slots]
    if manner == "bunched":
        return [packets[at : at + 3] if at % 3 == 0 else [] for at in range(len(slots))]
    return slots


def packets_of(phone: Phone, audio: list[bytes], manner: str) -> list[bytes]:
    """RTP packets of 20 ms, or of 30 ms."""
    if manner != "ragged":
        return [phone.packet(frame) for frame in audio]
    whole = b"".join(audio)
    packets = []
    for at in range(0, len(whole) - 240, 240):
        packets.append(phone.packet(whole[at : at + 240]))
        phone.timestamp += 80
    return packets


async def cut_short(rig: Media, manner: str) -> list[bytes]:
    """A caller keys into a capture and is gone in the middle of the last key; what he sent of every key."""
    rng = np.random.default_rng(11)
    caller, _agent = await rig.call(name=manner)
    pipe = await rig.brokers[0].attach(f"{manner}caller", f"cap_{manner}")
    sound = keyed(KEYS, Manner(on_ms=100, off_ms=100), rng, lead_ms=40).sound
    audio = frames(sound + rng.normal(0, 12, len(sound)), alaw=False)[:-CUT_FRAMES]
    await caller.stream(delivered(packets_of(caller, audio, manner), manner, rng))
    await pipe.heard(len(KEYS) - 2)
    return [frame[PIECE] for frame in audio if len(set(frame)) > LOUD_CODES]


@pytest.mark.root
@pytest.mark.proof
async def test_no_tone_of_a_capture_stays_in_memory() -> None:
    """However packets came: when the legs are closed, every buffer that held a key's sound is overwritten."""
    async with media() as rig:
        await rig.broker()
        keyed_by = await asyncio.gather(*(cut_short(rig, manner) for manner in MANNERS))
        loud = [piece for pieces in keyed_by for piece in pieces]
        assert len(loud) > 4 * len(KEYS) * len(MANNERS)
        for manner in MANNERS:
            await rig.client.close_leg(f"{manner}caller")
        await asyncio.sleep(0.1)
        assert [] == await asyncio.to_thread(survivors, rig.process.pid, loud)
