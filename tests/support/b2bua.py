"""A back-to-back user agent without media: connects callers to one agent, with our own SDP on each side."""

from collections.abc import Callable
from dataclasses import dataclass

from pay_ivr.sip.endpoint import SipEndpoint, SipSettings
from pay_ivr.sip.errors import LocalSipError
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import LIVE, EndReason, LegState, map_final
from pay_ivr.sip.registrar import Registrar
from pay_ivr.sip.sdp import answer, offer, parse_sdp
from pay_ivr.sip.trace import TraceLine

MEDIA_PORT = 40_000
"""Nobody listens there: these calls have no media."""
REINVITE_USER = "glare"
"""Callers of this number get a re-INVITE of ours as soon as they are up."""


@dataclass
class Side:
    """One leg of a bridged call and the other one."""

    bridge: "Bridge"
    name: str
    other: InviteLeg | None = None
    version: int = 1

    def on_ringing(self, leg: InviteLeg) -> None:
        """The agent rings: so does the caller."""
        if self.other is not None and self.other.state is LegState.ARRIVED:
            self.other.ring()

    def on_answered(self, leg: InviteLeg, sdp: bytes) -> None:
        """The agent picked up, or a late answer came."""
        if leg.is_uas or self.other is None or self.other.state not in {LegState.ARRIVED, LegState.RINGING}:
            return
        self.other.answer(local_sdp(self.other.remote_sdp, 1))

    def on_confirmed(self, leg: InviteLeg) -> None:
        """The caller's ACK."""
        self.bridge.confirmed += 1
        if leg.dialled_user == REINVITE_USER:
            leg.reinvite(offer("127.0.0.1", MEDIA_PORT, version=2), self.bridge.note_reinvite)

    def on_reinvite(self, leg: InviteLeg, sdp: bytes | None) -> bytes:
        """Hold and resume are answered here; the other side hears nothing of it."""
        self.version += 1
        return local_sdp(sdp, self.version)

    def on_info_key(self, leg: InviteLeg, key: int) -> None:
        """A key of an allowed source."""
        self.bridge.keys.append(key)

    def on_ended(self, leg: InviteLeg, reason: EndReason, status: int | None) -> None:
        """One side is gone: so is the other, with a status that may be passed on."""
        self.bridge.ends.append((self.name, reason, status))
        other = self.other
        if other is None or other.state not in LIVE:
            return
        if other.is_uas and other.state in {LegState.ARRIVED, LegState.RINGING}:
            other.reject(map_final(status))
        else:
            other.hang_up()


class Bridge:
    """The handler of the endpoint: connects each caller to `target_uri`, or to a registered user."""

    def __init__(
        self, settings: SipSettings, target_uri: str = "", registrar: Registrar | None = None
    ) -> None:
        """An empty `target_uri` means: the first phone registered under the dialled user."""
        self.target_uri = target_uri
        self.ring_timeout_s = 45.0
        self.confirmed = 0
        self.keys: list[int] = []
        self.ends: list[tuple[str, EndReason, int | None]] = []
        self.reinvites: list[int] = []
        self.trace: list[TraceLine] = []
        self.registrar = registrar or Registrar(settings.realm)
        self.endpoint = SipEndpoint(settings, self, self.registrar, self.trace.append)

    def on_invite(self, leg: InviteLeg) -> Side:
        """A caller: call the agent first, answer when it answers."""
        caller, agent = Side(self, "caller"), Side(self, "agent", other=leg)
        phones = self.registrar.lookup(leg.dialled_user)
        target = self.target_uri or (phones[0] if phones else "")
        try:
            caller.other = self.endpoint.invite(
                target,
                offer("127.0.0.1", MEDIA_PORT),
                from_uri=f"sip:{leg.caller_user}@127.0.0.1",
                observer=agent,
                ring_timeout_s=self.ring_timeout_s,
            )
        except LocalSipError:
            leg.reject(480)
        return caller

    def note_reinvite(self, _sdp: bytes | None, status: int) -> None:
        """How a re-INVITE of ours ended."""
        self.reinvites.append(status)

    def sent(self, first_line: str) -> int:
        """How often a message with that first line left."""
        return sum(line.direction == "out" and line.first_line.startswith(first_line) for line in self.trace)


class Answering:
    """The handler of an agent of ours: rings, and answers after `delay_s`."""

    def __init__(self, settings: SipSettings, later: Callable[[Callable[[], None]], object]) -> None:
        """`later` decides when the answer is given."""
        self.ends: list[EndReason] = []
        self._later = later
        self.endpoint = SipEndpoint(settings, self, Registrar(settings.realm))

    def on_invite(self, leg: InviteLeg) -> "Answering":
        """Rings at once."""
        leg.ring()
        self._later(lambda: self._answer(leg))
        return self

    def _answer(self, leg: InviteLeg) -> None:
        if leg.state is LegState.RINGING:
            leg.answer(local_sdp(leg.remote_sdp, 1))

    def on_ringing(self, leg: InviteLeg) -> None:
        """Never: this side is called."""

    def on_answered(self, leg: InviteLeg, sdp: bytes) -> None:
        """Never: the other side always offers."""

    def on_confirmed(self, leg: InviteLeg) -> None:
        """Up."""

    def on_reinvite(self, leg: InviteLeg, sdp: bytes | None) -> bytes:
        """Whatever is wanted."""
        return local_sdp(sdp, 2)

    def on_info_key(self, leg: InviteLeg, key: int) -> None:
        """A leak: no key may come here."""
        raise AssertionError

    def on_ended(self, leg: InviteLeg, reason: EndReason, status: int | None) -> None:
        """One more."""
        self.ends.append(reason)


def local_sdp(remote: bytes | None, version: int) -> bytes:
    """Our answer to their offer, or our offer when there was none."""
    if remote is None:
        return offer("127.0.0.1", MEDIA_PORT, version=version)
    return answer(parse_sdp(remote), "127.0.0.1", MEDIA_PORT, version=version)[0]
