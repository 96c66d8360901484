"""The caller's voice in a pause: known again in either law, and missed when the gate held it back."""

import struct

import pytest

from pay_ivr.proof.audio import FRAME, Voice, decode, encode
from pay_ivr.proof.canary_call import Exhibit
from pay_ivr.proof.claim import Window, frames
from pay_ivr.proof.plan import talk_round
from pay_ivr.proof.rtp_port import Datagram
from pay_ivr.proof.talking import VOICE_S, stood_still, voice_heard

FRAMES = int(VOICE_S * 50)
DELAY_S = 0.06


def _exhibit(caller_codec: str, agent_codec: str, passed: range) -> Exhibit:
    """A pause in which these of the caller's frames come to the agent, the others as silence."""
    exhibit = Exhibit(talk_round(0)[0], agent_codec)
    voice = Voice(7)
    for number in range(FRAMES):
        said, at = voice.frame(), number * 0.02
        exhibit.sent.append(said)
        exhibit.sent_at.append(at)
        line = decode(encode(said, caller_codec), caller_codec) if number in passed else said * 0
        head = struct.pack("!BBHII", 0x80, 0, number, number * FRAME, 1)
        exhibit.packets.append(Datagram(at + DELAY_S, head + encode(line, agent_codec)))
    exhibit.talk = Window(0.0, VOICE_S + 1)
    exhibit.talk_presses = [(VOICE_S, "5")]
    return exhibit


@pytest.mark.parametrize("caller_codec", ["PCMU", "PCMA"])
@pytest.mark.parametrize("agent_codec", ["PCMU", "PCMA"])
def test_a_voice_is_known_again_in_either_law(caller_codec: str, agent_codec: str) -> None:
    """Also when the gate held for 1.5 s at the begin of the pause."""
    exhibit = _exhibit(caller_codec, agent_codec, range(75, FRAMES))
    assert voice_heard(exhibit, frames(exhibit.packets, exhibit.talk))


def test_a_voice_that_is_held_back_is_missed() -> None:
    """All of it, or all but its beginning."""
    for passed in (range(0), range(80)):
        exhibit = _exhibit("PCMU", "PCMU", passed)
        assert not voice_heard(exhibit, frames(exhibit.packets, exhibit.talk))


@pytest.mark.parametrize("of_caller", [True, False])
def test_a_machine_that_stood_still_is_seen(of_caller: bool) -> None:
    """In what the caller sent and in what the relay sent; not where each frame has its 20 ms."""
    exhibit = _exhibit("PCMU", "PCMU", range(FRAMES))
    assert not stood_still(exhibit)
    lost = slice(60, 65)
    del (exhibit.sent_at if of_caller else exhibit.packets)[lost]
    assert stood_still(exhibit)
