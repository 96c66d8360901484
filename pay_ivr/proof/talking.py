"""TALK inside the leak proof: a caller keys while the capture is paused so that both may talk.

TALK is best effort and labelled so: the gate takes tones out and lets the voice pass. What is claimed of it
is less than of SECURE: no receiver finds a key on the agent's leg, and the attacker only guesses as long as
nobody speaks over the tones (`tests/vault/media/test_gate.py` has the eighteen conditions). Presses are so
far apart that each meets an open gate; the digits are the canary's, so that all searches look for them too.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pay_ivr.proof.audio import FRAME, Samples, decode
from pay_ivr.proof.canary import BIN
from pay_ivr.proof.canary_call import AMOUNT_MINOR, CURRENCY, CanaryCall, Exhibit, Pause, new_reference
from pay_ivr.proof.claim import Frame, Window, frames
from pay_ivr.proof.listening import NO_SCORE, Score, attack, of_agent_leg, of_caller
from pay_ivr.proof.plan import TALK_PRESSES
from pay_ivr.proof.receiver import keys_in

KEYED_BEFORE = 8
"""Digits in the cell when the pause begins."""
GAP_MS = 1700
"""More than the gate's hold of 1.5 s."""
VOICE_S = 2.4
"""Of voice before the first press: longer than the gate holds after the last key of the field."""
HEARD_AFTER_S = 1.6
"""From here into the pause on, nothing of the field's keys holds the gate shut any more."""
ON_THE_WAY_S = 0.2
"""Jitter buffer, delay line and the agent's own buffer: a frame sent later may come after the first press."""
LOUD_RMS = 150.0
"""A frame of voice, not the floor between syllables, whose steps are those of G.711."""
ALIKE = 0.98
"""Correlation of a frame with itself in the other law; two frames of voice come nowhere near."""
SPOKEN_MIN = 8
HEARD_SHARE = 0.5
"""Of what was spoken must come through; the gate takes one frame of speech in twelve for a key."""
STOOD_STILL_S = 0.1
"""Five frames that nobody sent, in a stream of one each 20 ms: the machine stood still, and what came late is
not played. That says nothing of the gate."""
BEFORE_S = 1.0
"""A key that is decided late, because the machine stood still before the pause, holds the gate inside it."""
SEARCH_MS = 240.0
"""After a press: the gate's delay line and our own clock come to the jitter buffer of SECURE."""


@dataclass(frozen=True)
class TalkVerdict:
    """What was seen of one pause."""

    agent_leg: Score = NO_SCORE
    """The attacker on what the agent heard."""
    own_audio: Score = NO_SCORE
    """The same attacker on what the caller sent: he must be right."""
    decoded: int = 0
    """Keys that the receiver found on the agent's leg."""
    decoded_own: int = 0
    """And in what the caller sent: all of them."""
    voice_heard: bool = False
    """The caller's voice came through before the first press."""
    stood_still: bool = False
    """The machine did, so a voice that did not come through proves nothing."""


class TalkCall(CanaryCall):
    """A call whose capture is paused for a while in the middle of the PAN."""

    async def _capture(self, call_id: str, pause: Pause) -> None:
        desk, pan = self._lane.desk, self._canary.pan
        self._payment_id = await desk.start_payment(call_id, AMOUNT_MINOR, CURRENCY, new_reference())
        await self._think()
        await self._caller.key(pan[:KEYED_BEFORE], self._run.transport)
        await desk.until(lambda: self._digits_shown() == KEYED_BEFORE)
        await self._set_talk(on=True)
        begin, before = time.monotonic(), len(self._caller.rtp.pressed)
        await asyncio.sleep(VOICE_S)
        digits = pan[len(BIN) : len(BIN) + TALK_PRESSES]
        await self._caller.key(digits, self._run.transport, gap_ms=GAP_MS)
        self.exhibit.talk = Window(begin, time.monotonic())
        self.exhibit.talk_presses = self._caller.rtp.pressed[before:]
        await self._set_talk(on=False)
        self._secure_from = time.monotonic()
        await self._caller.key("*", self._run.transport)
        await self._finish(pause)

    def _digits_shown(self) -> int:
        """Keys that have come to the cell; one that comes in the pause would hold the gate shut."""
        fields = self._lane.desk.payment(self._payment_id).get("fields", ())
        return next((int(one["digits"]) for one in fields if one["field"] == "pan"), 0)

    async def _set_talk(self, *, on: bool) -> None:
        await self._lane.desk.call("POST", f"/v1/payments/{self._payment_id}/talk", {"on": on})


def judge_talk(exhibit: Exhibit) -> TalkVerdict:
    """The receiver and the attacker on the pause of one call."""
    window, presses = exhibit.talk, exhibit.talk_presses
    heard = frames(exhibit.packets, window)
    agent = of_agent_leg(heard, exhibit.agent_codec, presses)
    sent = [n for n, at in enumerate(exhibit.sent_at) if window.start <= at <= window.end]
    caller = of_caller([exhibit.sent[n] for n in sent], [exhibit.sent_at[n] for n in sent], presses)
    return TalkVerdict(
        attack([agent], after_ms=SEARCH_MS),
        attack([caller]),
        len(keys_in(agent.audio)),
        len(keys_in(caller.audio)),
        bool(presses) and voice_heard(exhibit, heard),
        bool(presses) and stood_still(exhibit),
    )


def voice_heard(exhibit: Exhibit, heard: Sequence[Frame]) -> bool:
    """True when what the caller said before the first press came to the agent, in whichever law."""
    begin, end = exhibit.talk.start + HEARD_AFTER_S, exhibit.talk_presses[0][0] - ON_THE_WAY_S
    said = zip(exhibit.sent, exhibit.sent_at, strict=True)
    spoken = _loud([frame for frame, at in said if begin <= at <= end])
    came = _loud([decode(frame.payload, exhibit.agent_codec) for frame in heard])
    if len(spoken) < SPOKEN_MIN or not len(came):
        return False
    alike = (spoken @ came.T).max(axis=1) >= ALIKE
    return float(alike.mean()) >= HEARD_SHARE


def stood_still(exhibit: Exhibit) -> bool:
    """True when caller or relay sent nothing for a while, from before the pause to its first press."""
    begin, end = exhibit.talk.start - BEFORE_S, exhibit.talk_presses[0][0]
    for times in (exhibit.sent_at, [packet.at for packet in exhibit.packets]):
        inside = [at for at in times if begin <= at <= end]
        if any(later - at >= STOOD_STILL_S for at, later in pairwise(inside)):
            return True
    return False


def _loud(frames_: Sequence[Samples]) -> NDArray[np.float64]:
    """The frames in which somebody speaks, each as a vector of length one."""
    audio = np.array(frames_, np.float64).reshape(-1, FRAME)
    power = np.sqrt((audio**2).mean(axis=1))
    loud = power >= LOUD_RMS
    return np.asarray(audio[loud] / (power[loud, None] * np.sqrt(FRAME)))


def total(verdicts: Sequence[TalkVerdict]) -> TalkVerdict:
    """All pauses together."""
    return TalkVerdict(
        sum((one.agent_leg for one in verdicts), NO_SCORE),
        sum((one.own_audio for one in verdicts), NO_SCORE),
        sum(one.decoded for one in verdicts),
        sum(one.decoded_own for one in verdicts),
        bool(verdicts) and all(one.voice_heard for one in verdicts),
        any(one.stood_still for one in verdicts),
    )
