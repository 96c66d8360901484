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

from pay_ivr.proof.canary import BIN
from pay_ivr.proof.canary_call import AMOUNT_MINOR, CURRENCY, CanaryCall, Exhibit, Pause, new_reference
from pay_ivr.proof.claim import Copies, Window, frames
from pay_ivr.proof.listening import NO_SCORE, Score, attack, of_agent_leg, of_caller
from pay_ivr.proof.plan import TALK_PRESSES
from pay_ivr.proof.receiver import keys_in

KEYED_BEFORE = 8
"""Digits in the cell when the pause begins."""
GAP_MS = 1700
"""More than the gate's hold of 1.5 s."""
VOICE_S = 1.2
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
    """Pieces of the caller's voice came through as they were sent, which equal codecs show."""


class TalkCall(CanaryCall):
    """A call whose capture is paused for a while in the middle of the PAN."""

    async def _capture(self, call_id: str, pause: Pause) -> None:
        desk, pan = self._lane.desk, self._canary.pan
        self._payment_id = await desk.start_payment(call_id, AMOUNT_MINOR, CURRENCY, new_reference())
        await self._think()
        await self._caller.key(pan[:KEYED_BEFORE], self._run.transport)
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

    async def _set_talk(self, *, on: bool) -> None:
        await self._lane.desk.call("POST", f"/v1/payments/{self._payment_id}/talk", {"on": on})


def judge_talk(exhibit: Exhibit) -> TalkVerdict:
    """The receiver and the attacker on the pause of one call."""
    window, presses = exhibit.talk, exhibit.talk_presses
    heard = frames(exhibit.packets, window)
    agent = of_agent_leg(heard, exhibit.agent_codec, presses)
    sent = [n for n, at in enumerate(exhibit.sent_at) if window.start <= at <= window.end]
    caller = of_caller([exhibit.sent[n] for n in sent], [exhibit.sent_at[n] for n in sent], presses)
    before = [frame for frame in heard if frame.at < presses[0][0]] if presses else []
    same_law = exhibit.agent_codec == exhibit.run.caller_codec
    return TalkVerdict(
        attack([agent], after_ms=SEARCH_MS),
        attack([caller]),
        len(keys_in(agent.audio)),
        len(keys_in(caller.audio)),
        same_law and Copies(exhibit.sent).count(before) > 0,
    )


def total(verdicts: Sequence[TalkVerdict]) -> TalkVerdict:
    """All pauses together."""
    return TalkVerdict(
        sum((one.agent_leg for one in verdicts), NO_SCORE),
        sum((one.own_audio for one in verdicts), NO_SCORE),
        sum(one.decoded for one in verdicts),
        sum(one.decoded_own for one in verdicts),
        any(one.voice_heard for one in verdicts),
    )
