"""The SIP endpoint the app holds: sockets, core and registrar behind a handful of verbs.

All callbacks come from the event loop that `start` ran in. What an app's callback raises is counted and
logged by its type and place, and never stops the endpoint. Log lines carry ids and counts only.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from pay_ivr.sip.core import CALLS_MAX, CoreSettings, UserAgent, target_hop
from pay_ivr.sip.digest import Credentials
from pay_ivr.sip.errors import LocalSipError
from pay_ivr.sip.invite import InviteLeg, LegObserver
from pay_ivr.sip.legstate import LIVE
from pay_ivr.sip.outgoing import Invitation
from pay_ivr.sip.registrar import Contact, Registrar
from pay_ivr.sip.registration import EXPIRES_S, Registration, RegistrationState
from pay_ivr.sip.rim import Hop, Timers, Transport
from pay_ivr.sip.source import SOURCE_BURST, SOURCE_RATE_PER_S
from pay_ivr.sip.trace import TraceLine, trace_line
from pay_ivr.sip.transport import SipSockets
from pay_ivr.sip.wire import Message, NameAddr

STOP_S = 2.0
"""How long `stop` waits for answers to its BYEs: a few retransmissions on a healthy network."""
STOP_STEP_S = 0.02

log = structlog.get_logger()


@dataclass(frozen=True)
class SipSettings:
    """Where the endpoint listens and how much it takes; a default for every field."""

    bind_ip: str = "127.0.0.1"
    """IPv4 address to listen on; 0.0.0.0 needs `contact_host`."""
    udp_port: int = 5060
    """0 takes any free port; `SipEndpoint.udp_port` tells which."""
    tcp_port: int | None = None
    """None: no TCP listener; calls to TCP targets still go out."""
    realm: str = "pay-ivr"
    contact_host: str | None = None
    """The address peers reach us at, in Via and Contact; the bound address when None."""
    calls_max: int = CALLS_MAX
    """Incoming legs at a time; one more is refused with 503 and Retry-After."""
    invite_from: frozenset[str] | None = None
    """Source addresses that may call us: the trunks. None: everybody, for a network of its own."""
    info_from: frozenset[str] = frozenset()
    """Source addresses whose SIP INFO keys count. Every address here brings the app into PCI scope."""
    source_rate_per_s: float = SOURCE_RATE_PER_S
    """New requests a second from one address; beyond it they are dropped."""
    source_burst: float = SOURCE_BURST
    timers: Timers = field(default_factory=Timers)
    """RFC 3261 base timers; shorter only in tests."""


class SipHandler(Protocol):
    """The app's side of new calls."""

    def on_invite(self, leg: InviteLeg) -> LegObserver:
        """A caller: decide with `leg.answer` or `leg.reject`, now or later. 100 has been sent."""


class SipEndpoint:
    """One SIP address of ours."""

    def __init__(
        self,
        settings: SipSettings,
        handler: SipHandler,
        registrar: Registrar,
        on_trace: Callable[[TraceLine], None] | None = None,
    ) -> None:
        """LocalSipError("contact_host") when the address peers shall use is not known."""
        if settings.bind_ip == "0.0.0.0" and settings.contact_host is None:  # noqa: S104 - refused here
            raise LocalSipError("contact_host", "Listening on every address needs a contact host.")
        self._settings = settings
        self._registrar = registrar
        self._on_trace = on_trace
        self._open = False
        self._core = UserAgent(self, _core_settings(settings), handler.on_invite, registrar, on_trace)
        self._sockets = SipSockets(
            settings.bind_ip, settings.udp_port, settings.tcp_port, self, self._core.counters
        )
        # The sockets hand messages, and keys with them, straight to the core: this file has a logger.
        self.receive = self._core.receive
        self.refuse = self._core.refuse
        self.broken = self._core.broken
        self.closed = self._core.closed

    @property
    def udp_port(self) -> int:
        """The real port after `start`."""
        return self._sockets.udp_port

    @property
    def tcp_port(self) -> int | None:
        """The real port after `start`; None without a listener."""
        return self._sockets.tcp_port

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts since the start, and the size of every table now (`legs`, `dialogs`, `transactions` …)."""
        return {**self._core.counters, **self._core.sizes(), **self._sockets.sizes()}

    async def start(self) -> None:
        """Listens. OSError when a port is taken."""
        await self._sockets.open()
        self._open = True
        log.info("sip.endpoint.started", udp_port=self.udp_port, tcp_port=self.tcp_port)

    async def stop(self) -> None:
        """Hangs up every leg, waits at most `STOP_S` for the answers, closes the sockets."""
        if not self._open:
            return
        self.drain()
        for leg in self._core.legs():
            if leg.state in LIVE:
                leg.hang_up()
        waited = 0.0
        while self._core.legs() and waited < STOP_S:
            await asyncio.sleep(STOP_STEP_S)
            waited += STOP_STEP_S
        self._open = False
        await self._sockets.close()
        log.info("sip.endpoint.stopped", legs_left=len(self._core.legs()))

    def drain(self) -> None:
        """From now on new calls and OPTIONS get 503 with Retry-After; calls that are up go on."""
        self._core.draining = True

    def invite(
        self,
        target: str | Contact,
        offer: bytes,
        *,
        from_uri: str,
        observer: LegObserver,
        from_display: str = "",
        to_uri: str | None = None,
        credentials: Credentials | None = None,
        ring_timeout_s: float = 45.0,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> InviteLeg:
        """Calls a SIP URI, or a registered phone on its flow.

        A phone is never looked up by its URI: another one could have registered under the same.
        LocalSipError: "target" leads nowhere; "legs_full" and "transactions_full" are retryable.
        """
        phone = target if isinstance(target, Contact) else None
        target_uri = target if isinstance(target, str) else target.uri
        invitation = Invitation(
            target_uri=target_uri,
            hop=target_hop(target_uri) if phone is None else phone.flow,
            offer=offer,
            from_value=str(NameAddr(from_display, from_uri, {"tag": secrets.token_hex(8)})),
            to_value=f"<{to_uri or target_uri}>",
            call_id=secrets.token_hex(16),
            pinned=phone is not None,
            credentials=credentials,
            ring_timeout_s=ring_timeout_s,
            headers=headers,
        )
        return self._core.invite(invitation, observer)

    def register(
        self,
        aor_uri: str,
        registrar_uri: str,
        on_change: Callable[[RegistrationState, int | None], None],
        *,
        credentials: Credentials | None = None,
        expires_s: int = EXPIRES_S,
    ) -> Registration:
        """Registers us at somebody's PBX and keeps it so until `remove`.

        LocalSipError("target") for a registrar that leads nowhere.
        """
        made = Registration(self._core, aor_uri, registrar_uri, credentials, on_change, expires_s)
        made.start()
        return made

    # -- Rim, for the core

    def transmit(self, message: Message, hop: Hop) -> None:
        """Sends, unless we are closed already."""
        if not self._open:
            return
        if self._on_trace is not None:
            self._on_trace(trace_line(message, "out", hop, self.now()))
        self._sockets.send(message, hop)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """A timer of the loop, guarded like everything that may call the app."""
        return asyncio.get_running_loop().call_later(seconds, self._guarded, callback)

    def now(self) -> float:
        """The loop's clock."""
        return asyncio.get_running_loop().time()

    def sent_by(self, transport: Transport) -> str:
        """Our `host:port`; without a TCP listener the UDP port stands for both."""
        port = self.udp_port if transport is Transport.UDP else self.tcp_port or self.udp_port
        return f"{self._settings.contact_host or self._settings.bind_ip}:{port}"

    def _guarded(self, callback: Callable[[], None]) -> None:
        if not self._open:
            return
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - one call's mistake is not the endpoint's end
            self.failed(error)

    # -- Sink, beside the four that go straight to the core

    def failed(self, error: Exception) -> None:
        """Logs a mistake of ours or the app's by type and place; its text and locals stay out of the log."""
        self._core.counters["handler_failed"] += 1
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = "" if place is None else f"{place.tb_frame.f_globals['__name__']}:{place.tb_lineno}"
        log.error("sip.handler.failed", error=type(error).__name__, where=where)


def _core_settings(settings: SipSettings) -> CoreSettings:
    return CoreSettings(
        calls_max=settings.calls_max,
        invite_from=settings.invite_from,
        info_from=settings.info_from,
        source_rate_per_s=settings.source_rate_per_s,
        source_burst=settings.source_burst,
        timers=settings.timers,
    )
