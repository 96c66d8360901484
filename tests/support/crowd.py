"""Many telephones in one process: calls with media, made and answered by our own SIP endpoint.

One endpoint is all callers, another is the agent who takes every call; each leg has an RTP socket of its own
that sends 20 ms of µ-law and counts what it is given. Retransmissions are the endpoint's own, so that a crowd
may stand in a network that loses datagrams.
"""

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass, field

from pay_ivr.sip import sdp
from pay_ivr.sip.digest import Credentials
from pay_ivr.sip.endpoint import SipEndpoint, SipSettings
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import EndReason
from pay_ivr.sip.registrar import Registrar
from pay_ivr.sip.registration import RegistrationState

FRAME_S = 0.02
FRAME = bytes(range(64, 224))
"""160 samples that no silence and no comfort noise looks like."""
READ_MAX = 2048
PICK_UP_S = 0.1
"""An agent with a headset that answers by itself."""


class Microphones:
    """The 20 ms clock of all legs: one task, so that a hundred legs cost one wake-up."""

    def __init__(self) -> None:
        self.on: set[Line] = set()
        self._task = asyncio.create_task(self._run(), name="crowd.rtp")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            for line in self.on:
                line.send()
            due = max(due + FRAME_S, time.monotonic() - FRAME_S)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Line:
    """One leg's RTP: sends while it is in `microphones.on`, counts what comes."""

    def __init__(self, microphones: Microphones) -> None:
        self.sent = self.received = 0
        self._microphones = microphones
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._take)
        self._peer = ("", 0)

    def start(self, remote: bytes) -> None:
        """Speaks to the address of the peer's SDP."""
        agreed = sdp.accept(sdp.parse_sdp(remote))
        self._peer = (agreed.ip, agreed.port)
        self._microphones.on.add(self)

    def close(self) -> None:
        self._microphones.on.discard(self)
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def send(self) -> None:
        head = struct.pack("!BBHII", 0x80, 0, self.sent & 0xFFFF, 160 * self.sent, self.port)
        self.sent += 1
        with contextlib.suppress(OSError):  # a peer that is gone; its signalling says so
            self._socket.sendto(head + FRAME, self._peer)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(READ_MAX):
                self.received += 1


@dataclass(eq=False)
class Leg:
    """One leg of the crowd; the observer of its SIP leg."""

    line: Line
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int | None = None
    reason: EndReason | None = None

    def on_ringing(self, leg: InviteLeg) -> None:
        """180."""

    def on_answered(self, leg: InviteLeg, answer: bytes) -> None:
        self.line.start(answer)
        self.answered.set()

    def on_confirmed(self, leg: InviteLeg) -> None:
        self.answered.set()

    def on_reinvite(self, leg: InviteLeg, offered: bytes | None) -> bytes:
        return sdp.offer("127.0.0.1", self.line.port, codecs=("PCMU",))

    def on_info_key(self, leg: InviteLeg, key: int) -> None:
        """A leak: no key may come to a phone."""
        raise AssertionError

    def on_ended(self, leg: InviteLeg, reason: EndReason, status: int | None) -> None:
        self.reason, self.status = reason, status
        self.line.close()
        self.ended.set()
        self.answered.set()


class Crowd:
    """One endpoint with all its legs; `agent` of a node when it has registered."""

    def __init__(self, microphones: Microphones, pick_up_s: float = PICK_UP_S) -> None:
        self.legs: list[Leg] = []
        self._microphones = microphones
        self._pick_up_s = pick_up_s
        self.endpoint = SipEndpoint(SipSettings(udp_port=0), self, Registrar("crowd"))

    async def register(self, user: str, password: str, node_port: int) -> None:
        """Registered at the node; TimeoutError otherwise."""
        done = asyncio.Event()

        def changed(state: RegistrationState, _status: int | None) -> None:
            if state is RegistrationState.REGISTERED:
                done.set()

        self.endpoint.register(
            f"sip:{user}@127.0.0.1",
            f"sip:127.0.0.1:{node_port}",
            changed,
            credentials=Credentials(user, password),
        )
        await asyncio.wait_for(done.wait(), 30)

    async def call(self, number: str, caller: str, node_port: int, talk_s: float) -> Leg:
        """One call from dial to hang-up."""
        leg, dialled = self.dial(number, caller, node_port)
        await leg.answered.wait()
        await asyncio.sleep(talk_s)
        if not leg.ended.is_set():
            dialled.hang_up()
            await leg.ended.wait()
        return leg

    def dial(self, number: str, caller: str, node_port: int) -> tuple[Leg, InviteLeg]:
        """A call that has just begun."""
        leg = Leg(Line(self._microphones))
        self.legs.append(leg)
        offer = sdp.offer("127.0.0.1", leg.line.port, codecs=("PCMU",))
        target = f"sip:{number}@127.0.0.1:{node_port}"
        return leg, self.endpoint.invite(target, offer, from_uri=f"sip:{caller}@127.0.0.1", observer=leg)

    def on_invite(self, incoming: InviteLeg) -> Leg:
        """Rings, and answers by itself."""
        leg = Leg(Line(self._microphones))
        self.legs.append(leg)
        incoming.ring()
        self.endpoint.call_later(self._pick_up_s, lambda: self._pick_up(incoming, leg))
        return leg

    def _pick_up(self, incoming: InviteLeg, leg: Leg) -> None:
        offered = incoming.remote_sdp
        if leg.ended.is_set() or offered is None:
            return
        answer, _ = sdp.answer(
            sdp.parse_sdp(offered), "127.0.0.1", leg.line.port, version=1, session_id=1, codecs=("PCMU",)
        )
        leg.line.start(offered)
        incoming.answer(answer)
