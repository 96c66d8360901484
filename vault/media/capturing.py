"""The broker's hand on a leg: attach a cell's key pipe, pause for talk, detach; and where every key goes.

A leg is SECURE because a pipe is attached; this file owns that a key goes into the pipe, into an open
collection, or nowhere, and that none is kept from one side of a mode switch to the other.
"""

import socket
from math import inf
from typing import Final

from vault.door import Refused
from vault.media.collection import Outcome
from vault.media.gate import DELAY_FRAMES
from vault.media.leg import Role
from vault.media.noise import key_beep
from vault.media.party import Party
from vault.media.player import Playing
from vault.media.prompting import Prompting
from vault.media.relay import Relay
from vault.media.reorder import REORDER_MS
from vault.media.rtp import FRAME_MS
from vault.media.shield import HOLD_MS, MODE_OF, TALK_MS_MAX, Guard, Turn, turn

KEYING_TOLD_MS: Final = 1000.0
"""At most one alarm a second and leg: it lights a lamp, it does not count presses."""
GUARDED_PORT_MS: Final = 30_000.0
"""So long a port on which a capture was cut off opens SECURE: whoever keyed there may still be keying, and
must not be heard by a leg that the app has put in the old one's place. The broker lets an innocent one go."""
TAIL_MS: Final = 700.0
"""A pause that ends the keys that were under way when a capture began, as `TAIL_S` in `vault/keypad.py` ends
those that follow a refused field."""
TALK_SETTLE_MS: Final = REORDER_MS + FRAME_MS + DELAY_FRAMES * FRAME_MS
"""What was heard before a pause began has left the reorder buffer and the gate's delay line by then."""


class Capturing:
    """Guards of all callers' legs."""

    def __init__(self, relay: Relay, prompting: Prompting) -> None:
        self._relay = relay
        self._prompting = prompting
        self._guarded: dict[Party, None] = {}
        self._cut_off: dict[int, float] = {}
        """Port -> when a guarded leg was closed there."""
        self._beep = key_beep()
        relay.on_key = self.key

    # -- commands of the broker ------------------------------------------------------------------------------

    def attach(self, party: Party, capture_id: str, pipe: socket.socket) -> None:
        """SECURE with keys into `pipe`; from its return on, not one caller sample reaches the agent."""
        if not party.is_caller:
            raise Refused("leg_role", "Keys are captured on a caller's leg only.")
        if party.pipe is not None and party.guard is not Guard.LEAVING and party.capture_id != capture_id:
            raise Refused("leg_captured", "Another capture holds the leg.")
        self._drop_pipe(party)
        party.pipe, party.capture_id = pipe, capture_id
        pipe.setblocking(False)
        self._prompting.end_collection(party, Outcome.CAPTURED)
        self._move(party, Turn.ATTACH)
        self._start_tail(party)
        self._forget_keys(party)
        self._relay.watcher.watch(pipe, lambda _units: self._on_pipe(party, pipe))

    def detach(self, party: Party) -> None:
        """The capture is over: SECURE until the pipe is closed and the caller has been quiet, then NORMAL."""
        if party.guard is Guard.STRANDED and party.pipe is None and party.pipe_closed_ms < 0:
            party.pipe_closed_ms = self._relay.now_ms
        self._move(party, Turn.DETACH)

    def talk(self, party: Party, *, on: bool) -> None:
        """Open or close the TALK gate of a capture; it closes by itself after `TALK_MS_MAX`."""
        self._move(party, Turn.TALK_ON if on else Turn.TALK_OFF)
        if on:  # only now: a refused order must not make the pause under way any longer
            party.talk_from_ms = self._relay.now_ms + TALK_SETTLE_MS
            party.talk_until_ms = self._relay.now_ms + TALK_MS_MAX

    def open_leg(self, leg_id: str, role: Role, port: int | None, *, resume: bool) -> int:
        """A new leg and its RTP port; SECURE when it resumes, or when a capture was cut off on its port."""
        opened = self._relay.open_leg(leg_id, role, port, resume=resume)
        if role is Role.CALLER and self._relay.now_ms - self._cut_off.get(opened, -inf) < GUARDED_PORT_MS:
            self._relay.party(leg_id).guard = Guard.STRANDED
        return opened

    def close(self, party: Party) -> None:
        """The leg is going: its pipe ends, and the broker hears of it."""
        if party.guard is not Guard.OPEN:
            self._cut_off[party.leg.port] = self._relay.now_ms
        self._guarded.pop(party, None)
        self._prompting.stop(party)
        self._prompting.end_collection(party, Outcome.STOPPED)
        self._drop_pipe(party)
        self._relay.facts.broker("leg.closed", party.leg_id, {"capture_id": party.capture_id})
        self._relay.close_leg(party)

    # -- moves -----------------------------------------------------------------------------------------------

    def _move(self, party: Party, what: Turn) -> None:
        """Take one row of the table; Refused when there is none."""
        after = turn(party.guard, what)
        if after is None:
            raise Refused("mode_refused", "The leg's capture does not allow that now.")
        before, party.guard = party.guard, after
        self._gate(party)
        self._relay.rewire(party)
        if after is Guard.OPEN:
            self._forget_keys(party)
            self._guarded.pop(party, None)
            party.pipe_closed_ms = party.last_key_ms = float("-inf")
        else:
            self._guarded[party] = None
        if before is Guard.TALKING and after is not Guard.TALKING:
            self._relay.facts.broker("talk.ended", party.leg_id, {"capture_id": party.capture_id})
        if party.mode is not MODE_OF[before]:
            self._tell_mode(party)

    def _tell_mode(self, party: Party) -> None:
        mode = party.mode.value
        self._relay.facts.app("leg.mode", party.leg_id, {"mode": mode})
        self._relay.facts.broker("leg.mode", party.leg_id, {"mode": mode, "capture_id": party.capture_id})

    def _gate(self, party: Party) -> None:
        """The TALK gate works in TALK, and forgets what it holds at either end."""
        ear = party.ear
        assert ear is not None
        if party.partner is not None:
            party.partner.gated.clear()  # frames wait at the leg that they are for
        if party.guard is Guard.TALKING:
            self._relay.ears.talk(ear, lambda frame: self._gated(party, frame))
        else:
            self._relay.ears.mute(ear)

    def _gated(self, party: Party, frame: bytes | None) -> None:
        """One frame of the gate on its way to the agent's leg, None where it is muted."""
        agent = party.partner
        if agent is not None:
            agent.gated.append(frame if self._relay.now_ms >= party.talk_from_ms else None)

    def _start_tail(self, party: Party) -> None:
        """Keys under way when the capture began are forgotten, and what follows them is half a number.

        A PIN keyed in one breath with the customer number would else be compared without its first digits.
        """
        ear = party.ear
        under_way = len(party.ahead) > 0 or (ear is not None and ear.merge.waiting)
        party.tail_ms = self._relay.now_ms if under_way else float("-inf")

    def _in_tail(self, party: Party, now_ms: float) -> bool:
        if now_ms - party.tail_ms >= TAIL_MS:
            return False
        party.tail_ms = now_ms
        return True

    def _forget_keys(self, party: Party) -> None:
        party.ahead.forget()
        if party.ear is not None:
            party.ear.forget()

    def tick(self, now_ms: float) -> None:
        """Ends of pauses and of holds; to be called every 20 ms."""
        for party in tuple(self._guarded):
            if party.pipe is not None and party.guard is not Guard.TALKING:
                continue  # the hold counts from the end of the pipe, so keys before it need not be timed
            ear = party.ear
            assert ear is not None
            party.last_key_ms = max(party.last_key_ms, ear.last_key_ms(now_ms))
            if party.guard is Guard.TALKING and now_ms >= party.talk_until_ms:
                self._move(party, Turn.TALK_OFF)
            elif party.guard is Guard.LEAVING and party.pipe is None:
                if now_ms - max(party.pipe_closed_ms, party.last_key_ms) >= HOLD_MS:
                    self._move(party, Turn.QUIET)
            elif party.guard is Guard.OPEN:
                self._guarded.pop(party, None)

    # -- the pipe --------------------------------------------------------------------------------------------

    def _on_pipe(self, party: Party, pipe: socket.socket) -> None:
        """The cell never speaks on its key pipe, so anything readable is the end of it."""
        try:
            ended = not pipe.recv(1)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended and party.pipe is pipe:
            self._lose_pipe(party)

    def _lose_pipe(self, party: Party) -> None:
        """The cell's end is closed: SECURE stays; the broker decides what that means."""
        self._drop_pipe(party)
        self._move(party, Turn.PIPE_CLOSED)
        self._relay.facts.broker("pipe.lost", party.leg_id, {"capture_id": party.capture_id})

    def _drop_pipe(self, party: Party) -> None:
        if party.pipe is not None:
            self._relay.watcher.unwatch(party.pipe)
            party.pipe.close()
            party.pipe = None
            party.pipe_closed_ms = self._relay.now_ms

    # -- keys ------------------------------------------------------------------------------------------------

    def key(self, party: Party, key: int, now_ms: float) -> None:
        """One key of a caller: into the pipe, into an open collection, or nowhere."""
        party.leg.counts["keys"] += 1
        if party.guard is Guard.OPEN:
            self._prompting.barge_in(party)
            if not self._prompting.press(party, key, now_ms):
                self._alarm(party, now_ms)
            return
        party.last_key_ms = now_ms
        party.run.spend(now_ms)
        if party.guard is Guard.TALKING and party.ear is not None:
            self._relay.ears.gate.key(party.ear.row)
        if party.guard is Guard.CAPTURING and not self._in_tail(party, now_ms):
            self._prompting.barge_in(party)
            self._deliver(party, key)

    def _deliver(self, party: Party, key: int) -> None:
        """One key, one message of one byte; then the beep."""
        pipe = party.pipe
        if pipe is None:
            return
        try:
            pipe.send(key.to_bytes(1, "big"))
        except BlockingIOError:
            party.leg.counts["keys_refused"] += 1  # the cell does not read: its limits end it
            return
        except OSError:
            self._lose_pipe(party)
            return
        if party.playing is None:
            party.beep = Playing("", (self._beep,))
            self._relay.rewire(party)

    def _alarm(self, party: Party, now_ms: float) -> None:
        """Somebody keys although nobody asked: the lamp that says "start the capture"."""
        party.keying_count += 1
        if now_ms - party.keying_told_ms < KEYING_TOLD_MS:
            return
        party.keying_told_ms = now_ms
        self._relay.facts.app("leg.keying", party.leg_id, {"count": party.keying_count})

    # -- for the broker's eyes -------------------------------------------------------------------------------

    def guarded(self) -> list[dict[str, str]]:
        """Every caller's leg with its mode and capture, for a broker that has just connected."""
        return [
            {"leg_id": party.leg_id, "mode": party.mode.value, "capture_id": party.capture_id}
            for party in self._relay.parties.values()
            if party.is_caller
        ]
