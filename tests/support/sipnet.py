"""SIP cores without sockets: one fake clock, and a network that loses, doubles and reorders by a seed."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from pay_ivr.sip.core import CoreSettings, UserAgent
from pay_ivr.sip.dialog import hop_of
from pay_ivr.sip.digest import Credentials
from pay_ivr.sip.errors import Malformed, SipError
from pay_ivr.sip.info import cut
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import EndReason
from pay_ivr.sip.outgoing import Invitation
from pay_ivr.sip.registrar import Registrar
from pay_ivr.sip.rim import Hop, Transport
from pay_ivr.sip.wire import Message, Request, Response, parse

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
OTHER_SDP = SDP.replace(b"m=audio 4000", b"m=audio 4002")


@dataclass(order=True)
class _Entry:
    at: float
    number: int
    callback: Callable[[], None] = field(compare=False)
    live: bool = field(default=True, compare=False)

    def cancel(self) -> None:
        self.live = False


class FakeClock:
    """Time that moves only when a test says so, always to the next thing that is due."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self._entries: list[_Entry] = []
        self._numbers = count()

    def now(self) -> float:
        return self.time

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Entry:
        entry = _Entry(self.time + seconds, next(self._numbers), callback)
        heapq.heappush(self._entries, entry)
        return entry

    def run(self, seconds: float) -> None:
        """Everything that is due within `seconds`, in order."""
        end = self.time + seconds
        while self._entries and self._entries[0].at <= end:
            entry = heapq.heappop(self._entries)
            if entry.live:
                self.time = entry.at
                entry.callback()
        self.time = end

    @property
    def pending(self) -> int:
        """Callbacks that would still run."""
        return sum(entry.live for entry in self._entries)


@dataclass(frozen=True)
class Weather:
    """What the network does to a datagram."""

    loss: float = 0.0
    doubled: float = 0.0
    delay_s: tuple[float, float] = (0.01, 0.01)
    """Shortest and longest; a wide range reorders."""


class Net:
    """Delivers bytes between addresses, as the weather and an optional filter let them."""

    def __init__(self, weather: Weather | None = None, seed: int = 1) -> None:
        self.clock = FakeClock()
        self.weather = weather or Weather()
        self.random = Random(seed)
        self.nodes: dict[tuple[str, int], Callable[[bytes, Hop], None]] = {}
        self.filter: Callable[[Message, str], bool] | None = None
        """False loses that message."""
        self.sent: list[tuple[float, str, str, bytes]] = []
        self.arrived: list[tuple[str, bytes]] = []

    def send(self, data: bytes, sender: tuple[str, int], receiver: tuple[str, int]) -> None:
        self.sent.append((self.clock.now(), sender[0], receiver[0], data))
        if self.filter is not None and not self.filter(parse(cut(data)[0]), sender[0]):
            return
        if self.random.random() < self.weather.loss:
            return
        copies = 2 if self.random.random() < self.weather.doubled else 1
        for _ in range(copies):
            delay = self.random.uniform(*self.weather.delay_s)
            self.clock.call_later(delay, lambda: self._deliver(data, sender, receiver))

    def _deliver(self, data: bytes, sender: tuple[str, int], receiver: tuple[str, int]) -> None:
        node = self.nodes.get(receiver)
        self.arrived.append((receiver[0], data))
        if node is not None:
            node(data, Hop(Transport.UDP, *sender))

    @property
    def log(self) -> list[tuple[float, str, str, Request | Response]]:
        """Time, sender, receiver, message: everything as sent, lost ones included."""
        return [(at, sender, receiver, parse(cut(data)[0])) for at, sender, receiver, data in self.sent]

    def heard_by(self, receiver: str) -> list[str]:
        """The same of everything that arrived there."""
        return [line_of(parse(cut(data)[0])) for at, data in self.arrived if at == receiver]

    def lines(self, sender: str | None = None) -> list[str]:
        """Method or status and CSeq method of everything sent, in order."""
        return [line_of(message) for _, source, _, message in self.log if sender in {None, source}]


def line_of(message: Message) -> str:
    """`INVITE`, or `200 INVITE` for responses."""
    method = (message.get("CSeq") or "").split()[1]
    return f"{message.status} {method}" if isinstance(message, Response) else method


@dataclass
class Observed:
    """Everything an observer was told, in order; answers re-INVITEs with `reply`."""

    told: list[str] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    offers: list[bytes | None] = field(default_factory=list)
    ended: list[tuple[EndReason, int | None]] = field(default_factory=list)
    reply: bytes = SDP
    refusal: SipError | None = None

    def on_ringing(self, leg: InviteLeg) -> None:
        self.told.append("ringing")

    def on_answered(self, leg: InviteLeg, sdp: bytes) -> None:
        self.told.append("answered")
        self.answers.append(sdp)

    def on_confirmed(self, leg: InviteLeg) -> None:
        self.told.append("confirmed")

    def on_reinvite(self, leg: InviteLeg, sdp: bytes | None) -> bytes:
        self.told.append("reinvite")
        self.offers.append(sdp)
        if self.refusal is not None:
            raise self.refusal
        return self.reply

    def on_info_key(self, leg: InviteLeg, key: int) -> None:
        self.keys.append(key)

    def on_ended(self, leg: InviteLeg, reason: EndReason, status: int | None) -> None:
        self.told.append("ended")
        self.ended.append((reason, status))


class Node:
    """One core with an address; by default it leaves callers undecided for the test to decide."""

    def __init__(
        self,
        net: Net,
        ip: str,
        *,
        settings: CoreSettings | None = None,
        registrar: Registrar | None = None,
        port: int = 5060,
    ) -> None:
        self.net = net
        self.address = (ip, port)
        self.legs: list[InviteLeg] = []
        self.observers: list[Observed] = []
        self.decide: Callable[[InviteLeg], None] = lambda _leg: None
        self.registrar = registrar or Registrar("test", clock=net.clock.now)
        self.core = UserAgent(self, settings or CoreSettings(), self._on_invite, self.registrar)
        net.nodes[self.address] = self.hear

    def _on_invite(self, leg: InviteLeg) -> Observed:
        self.legs.append(leg)
        self.observers.append(Observed())
        self.decide(leg)
        return self.observers[-1]

    def hear(self, data: bytes, source: Hop) -> None:
        bare, key = cut(data)
        try:
            message = parse(bare)
        except Malformed as malformed:
            self.core.refuse(malformed, source)
        else:
            self.core.receive(message, source, key)

    def call(
        self,
        to: str,
        *,
        credentials: Credentials | None = None,
        ring_timeout_s: float = 45.0,
        offer: bytes = SDP,
    ) -> tuple[InviteLeg, Observed]:
        """Calls another address; `number@ip` or `number@ip:port`."""
        observer = Observed()
        number = len(self.net.sent)
        invitation = Invitation(
            target_uri=f"sip:{to}",
            hop=hop_of(f"sip:{to}"),
            offer=offer,
            from_value=f'"Caller" <sip:alice@{self.address[0]}>;tag=t{number}',
            to_value=f"<sip:{to}>",
            call_id=f"call-{self.address[0]}-{number}",
            credentials=credentials,
            ring_timeout_s=ring_timeout_s,
        )
        return self.core.invite(invitation, observer), observer

    # -- Rim

    def transmit(self, message: Message, hop: Hop) -> None:
        self.net.send(message.to_bytes(), self.address, (hop.ip, hop.port))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Entry:
        return self.net.clock.call_later(seconds, callback)

    def now(self) -> float:
        return self.net.clock.now()

    def sent_by(self, transport: Transport) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def empty(self) -> bool:
        """True when no table but the sources holds anything."""
        sizes = self.core.sizes()
        return sizes["legs"] == sizes["dialogs"] == sizes["transactions"] == 0


class Peer:
    """A far side written out by hand: it hears raw messages and says what the test tells it to say."""

    def __init__(self, net: Net, ip: str, port: int = 5060) -> None:
        self.net = net
        self.address = (ip, port)
        self.heard: list[Request | Response] = []
        self.on_message: Callable[[Request | Response], None] = lambda _message: None
        net.nodes[self.address] = self._hear

    def _hear(self, data: bytes, source: Hop) -> None:
        message = parse(data)
        self.heard.append(message)
        self.on_message(message)

    def say(self, message: Message, to: str, port: int = 5060) -> None:
        self.net.send(message.to_bytes(), self.address, (to, port))

    def said_to(self) -> list[str]:
        """What it heard, as lines."""
        return [line_of(message) for message in self.heard]
