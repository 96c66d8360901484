"""The legs of this process, who is bridged to whom, and our own 20 ms clock.

`rewire` is the one place that says what a leg is sent: it asks the table in `shield.py` and sets or takes
away the partner's way through. This file owns that no other code calls `Leg.lead_to`.
"""

import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from vault.door import Refused, Remote
from vault.media.ear import Ears
from vault.media.g711 import ALAW_TO_ULAW, ULAW_TO_ALAW
from vault.media.leg import Leg, Role, Watcher
from vault.media.noise import comfort_noise
from vault.media.party import Party
from vault.media.player import HOLD_MUSIC, Playing, Prompts
from vault.media.ports import open_sockets
from vault.media.shield import OWN_CLOCK, Guard, Mode, Source, source

PORT_TRIES_MAX: Final = 64
"""Random ports tried before the range is walked through: nearly always the first is free."""

TRANSLATE: Final[Mapping[tuple[str, str], bytes | None]] = {
    ("PCMU", "PCMU"): None,
    ("PCMA", "PCMA"): None,
    ("PCMU", "PCMA"): ULAW_TO_ALAW,
    ("PCMA", "PCMU"): ALAW_TO_ULAW,
}

Values = dict[str, object]


class Facts(Protocol):
    """Where facts go."""

    def app(self, name: str, leg_id: str, values: Values) -> None:
        """One fact for the app."""

    def broker(self, name: str, leg_id: str, values: Values) -> None:
        """One fact for the broker."""


class Relay:
    """All legs; one thread, times in ms of a monotonic clock."""

    def __init__(self, watcher: Watcher, facts: Facts, bind_ip: str, ports: range, legs_max: int) -> None:
        self.watcher = watcher
        self.facts = facts
        self.prompts = Prompts()
        self.ears = Ears(legs_max)
        self.parties: dict[str, Party] = {}
        self.legs_max = legs_max
        self.on_key: Callable[[Party, int, float], None] = lambda _party, _key, _now_ms: None
        """Set by `keying.py`: takes every key of every caller."""
        self.on_played: Callable[[Party], None] = lambda _party: None
        """Set by `prompting.py`: a prompt list has come to its end."""
        self._bind_ip = bind_ip
        self._ports = ports
        self.noise = comfort_noise()
        self._clocked: dict[Party, None] = {}
        """Legs whose frames are made here, every 20 ms."""
        self._humming: dict[Party, None] = {}
        """Legs whose lane sends noise by itself."""

    @property
    def now_ms(self) -> float:
        """The time of this turn of the loop."""
        return self.ears.now_ms

    # -- legs ------------------------------------------------------------------------------------------------

    def party(self, leg_id: str) -> Party:
        """The leg of that name; Refused when there is none."""
        try:
            return self.parties[leg_id]
        except KeyError:
            raise Refused("leg_unknown", "There is no leg of that name here.") from None

    def open_leg(self, leg_id: str, role: Role, port: int | None, *, resume: bool) -> int:
        """A new leg and its RTP port; a caller's that resumes is SECURE until the broker says otherwise."""
        if leg_id in self.parties:
            raise Refused("leg_exists", "A leg of that name is open.")
        if len(self.parties) >= self.legs_max:
            raise Refused("legs_full", "All legs of this media process are in use.", retryable=True)
        sockets = self._any_sockets() if port is None else self._these_sockets(port)
        leg = Leg(leg_id, role, sockets, self.watcher, self._latched)
        leg.heard_ms = self.now_ms
        party = Party(leg, noise_at=secrets.randbelow(len(self.noise["PCMU"])))
        if role is Role.CALLER:
            party.ear = self.ears.open(lambda key, now_ms: self.on_key(party, key, now_ms))
            leg.hear_with(party.ear)
            party.guard = Guard.STRANDED if resume else Guard.OPEN
        self.parties[leg_id] = party
        return leg.port

    def _any_sockets(self) -> tuple[socket.socket, socket.socket]:
        """A free even port, at random: nobody can guess where a call's media will be."""
        even = range(self._ports.start + self._ports.start % 2, self._ports.stop - 1, 2)
        for port in (*(secrets.choice(even) for _ in range(PORT_TRIES_MAX)), *even):
            try:
                return open_sockets(self._bind_ip, port)
            except OSError:
                continue
        raise Refused("ports_full", "All media ports are in use.", retryable=True)

    def _these_sockets(self, port: int) -> tuple[socket.socket, socket.socket]:
        if port % 2 or port not in self._ports or port + 1 not in self._ports:
            raise Refused("port_invalid", "The port is odd or outside the media range.")
        try:
            return open_sockets(self._bind_ip, port)
        except OSError:
            raise Refused("port_taken", "The port is in use.", retryable=True) from None

    def _latched(self, leg: Leg) -> None:
        latch = leg.latch
        self.facts.app("leg.latched", leg.leg_id, {"from_sdp": latch is not None and latch.peer == latch.sdp})

    def set_remote(self, party: Party, remote: Remote) -> None:
        """Take the answer of SDP: address, codec, payload types, direction."""
        if party.ear is not None and (party.leg.remote is None or party.leg.remote.codec != remote.codec):
            party.ear.use(remote.codec)
        party.leg.set_remote(remote)
        party.leg.heard_ms = self.now_ms
        self.rewire(party)

    def bridge(self, caller: Party, agent: Party) -> None:
        """Let the two hear each other, as far as the shield allows; earlier bridges of both end."""
        if not caller.is_caller or agent.is_caller:
            raise Refused("leg_role", "A bridge joins one caller's leg and one agent's leg.")
        if caller.partner is agent:
            return
        self.unbridge(caller)
        self.unbridge(agent)
        caller.partner, agent.partner = agent, caller
        self.rewire(caller)

    def unbridge(self, party: Party) -> None:
        """End the bridge of a leg, if there is one; both legs stay."""
        other = party.partner
        if other is None:
            return
        party.partner = other.partner = None
        party.gated.clear()
        other.gated.clear()
        party.leg.lead_to(None)
        other.leg.lead_to(None)
        self.rewire(party)
        self.rewire(other)

    def close_leg(self, party: Party) -> None:
        """Give the leg's ports and ear back; its pipe must have been dealt with by `capturing.py`."""
        self.unbridge(party)
        self._hush(party)
        self._clocked.pop(party, None)
        self.watcher.unwatch(party.leg.rtp)
        self.watcher.unwatch(party.leg.rtcp)
        party.leg.close()
        if party.ear is not None:
            self.ears.close(party.ear)
        del self.parties[party.leg_id]

    # -- who hears what --------------------------------------------------------------------------------------

    def rewire(self, party: Party) -> None:
        """Bring a leg and its partner in line with the table; call it after every change of either."""
        self._rewire_one(party)
        if party.partner is not None:
            self._rewire_one(party.partner)

    def _rewire_one(self, party: Party) -> None:
        before = party.source
        party.source = self._source(party)
        stream, partner = party.leg.stream, party.partner
        if partner is not None:
            if party.source is Source.PEER and party.leg.remote and partner.leg.remote:
                stream.translate = TRANSLATE[partner.leg.remote.codec, party.leg.remote.codec]
                partner.leg.lead_to(stream)
            else:
                partner.leg.lead_to(None)
        if party.source is not before:
            stream.restart = True
        if party.source is not Source.NOISE:
            self._hush(party)
        if party.source in OWN_CLOCK and party not in self._humming:
            self._clocked[party] = None
        else:
            self._clocked.pop(party, None)

    def _hush(self, party: Party) -> None:
        """The leg's frames are made here again, or nowhere."""
        if party not in self._humming:
            return
        del self._humming[party]
        party.leg.hush()
        party.noise_at = party.leg.noise_at
        self.watcher.hush(party.leg.rtp)

    def _source(self, party: Party) -> Source:
        partner = party.partner
        partner_mode = None if partner is None else Mode.NORMAL if party.is_caller else partner.mode
        held = partner is not None and partner.leg.remote is not None and not partner.leg.may_send
        return source(
            reachable=party.leg.may_send,
            prompting=party.playing is not None or party.beep is not None,
            partner_mode=partner_mode,
            partner_sends=partner is not None and partner.leg.may_receive,
            held=held and HOLD_MUSIC in self.prompts,
        )

    # -- our own clock ---------------------------------------------------------------------------------------

    def tick(self, units: int) -> None:
        """One frame to every leg on our own clock; to be called every 20 ms."""
        if self._humming and self.watcher.noise(units):
            for party in tuple(self._humming):
                if not party.leg.hums:
                    self._hush(party)
                    self._clocked[party] = None
        for party in tuple(self._clocked):
            if party.source is Source.NOISE and party.leg.remote is not None:
                self._noise_frame(party, party.leg.remote.codec, units)
                continue
            frame = self._next_frame(party)
            if frame is not None:
                party.leg.stream.emit(frame, units)

    def _noise_frame(self, party: Party, codec: str, units: int) -> None:
        """The next frame of noise; after it the lane goes on alone, if it can."""
        noise = self.noise[codec]
        party.noise_at = at = (party.noise_at + 1) % len(noise)
        leg = party.leg
        leg.stream.emit(noise[at], units)
        if leg.hum(at):
            del self._clocked[party]
            self._humming[party] = None
            self.watcher.hum(leg.rtp)

    def _next_frame(self, party: Party) -> bytes | None:
        """The next 20 ms for a leg, in its codec."""
        remote = party.leg.remote
        if remote is None:
            return None
        if party.source is Source.PROMPT:
            frame = self._prompt_frame(party)
            if frame is not None:
                return frame if remote.codec == "PCMU" else frame.translate(ULAW_TO_ALAW)
        if party.source is Source.MUSIC:
            frame = self._music_frame(party)
            return frame if remote.codec == "PCMU" else frame.translate(ULAW_TO_ALAW)
        if party.source is Source.GATE and party.gated:
            gated = party.gated.popleft()
            if gated is not None:
                return self._gated_frame(party, gated)
        return self.noise[remote.codec][party.noise_at] if party.source is Source.GATE else None

    def _prompt_frame(self, party: Party) -> bytes | None:
        """The beep goes before the prompt; at the end of either the leg is wired anew."""
        if party.beep is not None:
            frame = party.beep.next_frame()
            if frame is not None:
                return frame
            party.beep = None
        if party.playing is not None:
            frame = party.playing.next_frame()
            if frame is not None:
                return frame
            self.on_played(party)
        self.rewire(party)
        return None

    def _music_frame(self, party: Party) -> bytes:
        if party.music is None:
            party.music = Playing(HOLD_MUSIC, self.prompts.find((HOLD_MUSIC,)), loop=True)
        return party.music.next_frame() or b""

    @staticmethod
    def _gated_frame(party: Party, frame: bytes) -> bytes:
        """A gated frame in the codec of the agent's leg."""
        partner, remote = party.partner, party.leg.remote
        assert partner is not None
        assert partner.leg.remote is not None
        assert remote is not None
        table = TRANSLATE[partner.leg.remote.codec, remote.codec]
        return frame if table is None else frame.translate(table)
