"""The user agent core: takes each message to the transaction, dialog or leg it belongs to, or refuses it.

RFC 3261 §8.2 (what a UAS checks, in its order), §9.2 (CANCEL), §12.2.2 (requests inside dialogs), §18.2.2
with RFC 3581 (where responses go). Sans-IO. The rule this file owns: default deny; a method, extension or
dialog that we do not know gets its refusal here and never reaches the app, and nobody learns from a
refusal who exists.

This file hands on keys of SIP INFO: it has no logger.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from pay_ivr.sip.dialog import DialogId, checked_target
from pay_ivr.sip.errors import LocalSipError, Malformed
from pay_ivr.sip.incoming import IncomingLeg, check_incoming
from pay_ivr.sip.invite import ALLOW, SDP_TYPE, InviteLeg, LegObserver
from pay_ivr.sip.legstate import LIVE, LegState
from pay_ivr.sip.outgoing import Invitation, OutgoingLeg
from pay_ivr.sip.registrar import Registrar
from pay_ivr.sip.rim import SIP_PORT, Counters, Hop, Rim, Timers, Transport
from pay_ivr.sip.source import SOURCE_BURST, SOURCE_RATE_PER_S, SourceLimits
from pay_ivr.sip.trace import TraceLine, trace_line
from pay_ivr.sip.transaction import TransactionLayer
from pay_ivr.sip.uri import parse_uri
from pay_ivr.sip.wire import Request, Response, cseq, mark_received, response_to, tag_of, top_via

CALLS_MAX = 1_000
"""Incoming legs at a time; the measured core carries 700 calls with 30 MB and a few per cent of a core."""
OUTGOING_PER_CALL_MAX = 4
"""Outgoing legs per permitted call: agents rung at the same time, and calls of our own."""
RETRY_AFTER_S = 10
"""What a refused trunk shall wait: longer than a burst, shorter than its patience with this node."""

_DIALOG_METHODS = frozenset({"INVITE", "BYE", "INFO"})


@dataclass(frozen=True)
class CoreSettings:
    """What the core must know of its surroundings."""

    calls_max: int = CALLS_MAX
    invite_from: frozenset[str] | None = None
    """Source addresses that may call us; all others are told 404, as for a number that does not exist.

    None: everybody.
    """
    info_from: frozenset[str] = frozenset()
    """Source addresses whose INFO keys count; everybody else's are answered, dropped and counted."""
    source_rate_per_s: float = SOURCE_RATE_PER_S
    source_burst: float = SOURCE_BURST
    timers: Timers = field(default_factory=Timers)


class UserAgent:
    """All legs, dialogs and transactions of one endpoint, without a socket."""

    def __init__(
        self,
        rim: Rim,
        settings: CoreSettings,
        on_invite: Callable[[InviteLeg], LegObserver],
        registrar: Registrar,
        on_trace: Callable[[TraceLine], None] | None = None,
    ) -> None:
        """`on_invite` is asked for each new caller; 100 has been sent then."""
        self.counters: Counters = Counter()
        self.layer = TransactionLayer(rim, settings.timers, self.counters)
        self.draining = False
        self._rim = rim
        self._settings = settings
        self._on_invite = on_invite
        self._registrar = registrar
        self._on_trace = on_trace
        self._sources = SourceLimits(settings.source_rate_per_s, settings.source_burst)
        self._dialogs: dict[DialogId, InviteLeg] = {}
        self._incoming: dict[tuple[str, ...], IncomingLeg] = {}
        self._outgoing: set[OutgoingLeg] = set()
        self._salt = secrets.token_bytes(16)

    # -- what the endpoint asks

    def invite(self, invitation: Invitation, observer: LegObserver) -> InviteLeg:
        """Calls somebody.

        LocalSipError: "legs_full" and "transactions_full" are retryable; "invitation" when an address cannot
        be read, "line_break" when a value would break the message.
        """
        if len(self._outgoing) >= OUTGOING_PER_CALL_MAX * self._settings.calls_max:
            raise LocalSipError("legs_full", "There are too many outgoing legs.", retryable=True)
        if self.layer.full:
            raise LocalSipError("transactions_full", "There are too many transactions.", retryable=True)
        try:
            leg = OutgoingLeg(self, invitation)
        except Malformed:
            raise LocalSipError("invitation", "An address of the call cannot be read.") from None
        leg.start()
        self._outgoing.add(leg)
        leg.attach(observer)
        return leg

    def legs(self) -> list[InviteLeg]:
        """Every leg that still has a tail."""
        return [*self._incoming.values(), *self._outgoing]

    def sizes(self) -> Mapping[str, int]:
        """Entries of every table."""
        return {
            "legs": len(self._incoming) + len(self._outgoing),
            "dialogs": len(self._dialogs),
            "transactions": len(self.layer),
            "sources": len(self._sources),
            "bindings": self._registrar.size(),
        }

    # -- what the transport brings

    def receive(self, message: Request | Response, source: Hop, key: int | None = None) -> None:
        """One parsed message; `key` is what `info.cut` took out of it."""
        self.counters["received"] += 1
        if self._on_trace is not None:
            self._on_trace(trace_line(message, "in", source, self._rim.now()))
        try:
            if isinstance(message, Response):
                self._on_response(message)
            else:
                self._on_request(message, source, key)
        except Malformed as malformed:
            malformed.request = message if isinstance(message, Request) else None
            self.refuse(malformed, source)

    def refuse(self, malformed: Malformed, source: Hop) -> None:
        """Answers what could not be read, if it can be answered and its source does not flood us."""
        self.counters["bad"] += 1
        request = malformed.request
        if request is None or request.method == "ACK":
            return
        if not self._sources.allow(source.ip, self._rim.now()):
            self.counters["rate_dropped"] += 1
            return
        mark_received(request, source.ip, source.port)
        response = response_to(request, malformed.status, to_tag=self._tag(request))
        if malformed.status == 415:
            response.add("Accept", SDP_TYPE)
        self._rim.transmit(response, self._way_back(request, source))

    def broken(self, hop: Hop) -> None:
        """The transport could not send to `hop`, or its connection is gone."""
        self.layer.broken(hop)

    def closed(self, connection: int) -> None:
        """A stream connection is gone: registrations on it end (RFC 5626 §5.3)."""
        self._registrar.connection_closed(connection)

    # -- LegHome

    def contact(self, transport: Transport) -> str:
        """Our own address as a Contact."""
        suffix = "" if transport is Transport.UDP else f";transport={transport.lower()}"
        return f"<sip:ivr@{self._rim.sent_by(transport)}{suffix}>"

    def bind(self, dialog: DialogId, leg: InviteLeg) -> None:
        """Requests inside `dialog` go to `leg`."""
        self._dialogs[dialog] = leg

    def unbind(self, dialog: DialogId) -> None:
        """Requests inside `dialog` are answered 481."""
        self._dialogs.pop(dialog, None)

    def leg_ended(self, leg: InviteLeg) -> None:
        """Out of the tables."""
        if isinstance(leg, OutgoingLeg):
            self._outgoing.discard(leg)
        elif isinstance(leg, IncomingLeg) and self._incoming.get(leg.merge_key) is leg:
            del self._incoming[leg.merge_key]

    # -- responses

    def _on_response(self, response: Response) -> None:
        """To its transaction, or dropped: nobody here waits for any other response (§18.1.2)."""
        if not self.layer.receive_response(response):
            self.counters["stray"] += 1

    # -- requests

    def _on_request(self, request: Request, source: Hop, key: int | None) -> None:
        mark_received(request, source.ip, source.port)
        if self.layer.receive_request(request):
            return
        if request.method == "ACK":
            self._on_ack(request)
        elif request.method == "CANCEL":
            self._on_cancel(request, source)
        elif not self._refused_early(request, source):
            self._dispatch(request, source, key)

    def _dispatch(self, request: Request, source: Hop, key: int | None) -> None:
        to_tag = tag_of(request.get("To") or "")
        if to_tag is not None:
            self._inside(request, source, to_tag, key)
        elif request.method == "INVITE":
            self._on_new_invite(request, source)
        elif request.method == "OPTIONS":
            self._on_options(request, source)
        elif request.method == "REGISTER":
            answer = self._registrar.handle(request, source)
            self._answer(request, source, answer)
        elif request.method in _DIALOG_METHODS:
            self._respond(request, source, 481)
        else:
            self._deny(request, source)

    def _on_ack(self, ack: Request) -> None:
        """The ACK of a 2xx has a branch of its own: found by its dialog (§13.3.1.4)."""
        leg = self._dialogs.get(self._dialog_of(ack, tag_of(ack.get("To") or "") or ""))
        if leg is None:
            self.counters["stray"] += 1
        else:
            leg.on_ack(ack, cseq(ack).number)

    def _on_cancel(self, cancel: Request, source: Hop) -> None:
        """200 when the INVITE is known, whatever state it is in (§9.2), and 481 otherwise.

        With the To tag that the INVITE was or will be answered with: a CANCEL that crosses our 2xx must not
        leave a caller with two tags for one dialog.
        """
        invite = self.layer.cancelled_by(cancel)
        if invite is None:
            self._respond(cancel, source, 481)
            return
        leg = self._incoming.get(_merge_key(invite.request))
        tag = invite.answered_tag if leg is None else leg.local_tag
        self._answer(cancel, source, response_to(cancel, 200, to_tag=tag or self._tag(cancel)))
        if leg is not None:
            leg.on_cancel()

    def _refused_early(self, request: Request, source: Hop) -> bool:
        """True when a check that needs no state has refused or dropped the request (§8.2.1 to §8.2.2.3)."""
        stranger = tag_of(request.get("To") or "") is None
        if stranger and not self._sources.allow(source.ip, self._rim.now()):
            self.counters["rate_dropped"] += 1
            return True
        if self.layer.full:
            self.counters["overload"] += 1
            self._answer(request, source, self._overloaded(request))
            return True
        if request.get("Max-Forwards") == "0":
            self._respond(request, source, 483)
            return True
        required = [*request.get_all("Require"), *request.get_all("Proxy-Require")]
        if required:
            response = response_to(request, 420, to_tag=self._tag(request))
            response.add("Unsupported", ", ".join(required))
            self._answer(request, source, response)
            return True
        return False

    def _inside(self, request: Request, source: Hop, to_tag: str, key: int | None) -> None:
        """A request that claims a dialog (§12.2.2)."""
        leg = self._dialogs.get(self._dialog_of(request, to_tag))
        if leg is None:
            self._respond(request, source, 481)
        elif not leg.accepts(request):
            self._respond(request, source, 500)
        elif request.method == "OPTIONS":
            self._on_options(request, source)
        elif request.method in _DIALOG_METHODS:
            transaction = self.layer.serve(request, self._way_back(request, source))
            leg.receive(request, transaction, self._permitted(request, source, key))
        else:
            self._deny(request, source)

    def _permitted(self, request: Request, source: Hop, key: int | None) -> int | None:
        """The key of an INFO when its sender may send keys; counted either way."""
        if request.method != "INFO":
            return None
        if key is None or source.ip not in self._settings.info_from:
            self.counters["info_dropped"] += 1
            return None
        self.counters["info_keys"] += 1
        return key

    def _on_new_invite(self, request: Request, source: Hop) -> None:
        key = _merge_key(request)
        merged = self._incoming.get(key)
        callers = self._settings.invite_from
        if callers is not None and source.ip not in callers:
            self.counters["denied"] += 1
            self._respond(request, source, 404)
        elif merged is not None and merged.pending:
            self._respond(request, source, 482)
        elif self.draining or len(self._incoming) >= self._settings.calls_max:
            self.counters["overload"] += 1
            self._answer(request, source, self._overloaded(request))
        else:
            check_incoming(request)
            self._open_incoming(request, source, key)

    def _open_incoming(self, request: Request, source: Hop, key: tuple[str, ...]) -> None:
        """100, the leg, and the app's decision, now or later."""
        transaction = self.layer.serve(request, self._way_back(request, source))
        try:
            leg = IncomingLeg(self, request, transaction, source, secrets.token_hex(8))
        except Malformed as malformed:
            self.counters["bad"] += 1
            refusal = response_to(request, malformed.status, to_tag=self._tag(request))
            transaction.respond(refusal)
            return
        transaction.respond(response_to(request, 100))
        leg.merge_key = key
        self._incoming[key] = leg
        if self._registrar.knows_flow(source):
            leg.pin(source)
        self._decide(leg)

    def _decide(self, leg: IncomingLeg) -> None:
        """Asks the app. If it fails, the caller gets 500 and the failure goes on to the endpoint's guard."""
        try:
            leg.attach(self._on_invite(leg))
        except Exception:
            if leg.state in {LegState.ARRIVED, LegState.RINGING}:
                leg.reject(500)
            elif leg.state in LIVE:
                leg.hang_up()
            raise

    def _on_options(self, request: Request, source: Hop) -> None:
        """200 while we take calls, 503 while draining, so that probes move away first (§11.2)."""
        if self.draining:
            self._answer(request, source, self._overloaded(request))
            return
        response = response_to(request, 200, to_tag=self._tag(request))
        response.add("Allow", ALLOW)
        response.add("Accept", SDP_TYPE)
        self._answer(request, source, response)

    def _deny(self, request: Request, source: Hop) -> None:
        """403 for REFER, which is a way to make us call at somebody's cost; 405 for everything else."""
        self.counters["denied"] += 1
        if request.method == "REFER":
            self._respond(request, source, 403)
            return
        response = response_to(request, 405, to_tag=self._tag(request))
        response.add("Allow", ALLOW)
        self._answer(request, source, response)

    # -- answers

    def _overloaded(self, request: Request) -> Response:
        response = response_to(request, 503, to_tag=self._tag(request))
        response.add("Retry-After", str(RETRY_AFTER_S))
        return response

    def _respond(self, request: Request, source: Hop, status: int) -> None:
        self._answer(request, source, response_to(request, status, to_tag=self._tag(request)))

    def _answer(self, request: Request, source: Hop, response: Response) -> None:
        """A refusal keeps no state and is not repeated (§8.2.7): the peer asks again if it was lost.

        So whoever may do nothing here cannot fill our tables, nor have us repeat answers to a forged address.
        """
        way_back = self._way_back(request, source)
        if response.status >= 300:
            self._rim.transmit(response, way_back)
        else:
            self.layer.serve(request, way_back).respond(response)

    def _way_back(self, request: Request, source: Hop) -> Hop:
        """Where responses go (§18.2.2, RFC 3581 §4): the same connection; on UDP always the source address.

        The port is the source's when asked for by `rport`, or when the Via is our own: some phones send a BYE
        with the Via of our INVITE in it, and following that would be talking to ourselves.
        """
        via = top_via(request)
        ours = f"{via.host}:{via.port or SIP_PORT}" == self._rim.sent_by(source.transport)
        if source.reliable or via.wants_rport or ours:
            return source
        return Hop(source.transport, source.ip, via.port or SIP_PORT)

    def _tag(self, request: Request) -> str:
        """A To tag for answers without a dialog: the same for every repeat of the request (§8.2.7)."""
        text = f"{request.get('Call-ID')}\n{request.get('From')}\n{request.get('CSeq')}"
        return blake2b(text.encode("utf-8", "surrogateescape"), key=self._salt, digest_size=8).hexdigest()

    def _dialog_of(self, request: Request, to_tag: str) -> DialogId:
        """The dialog as we see it: our tag is the To tag."""
        return DialogId(request.get("Call-ID") or "", to_tag, tag_of(request.get("From") or "") or "")


def _merge_key(request: Request) -> tuple[str, ...]:
    """What copies of one request have in common that came by different ways (§8.2.2.2)."""
    return (request.get("Call-ID") or "", tag_of(request.get("From") or "") or "", str(cseq(request).number))


def target_hop(target_uri: str) -> Hop:
    """Where to send an INVITE to this URI; LocalSipError("target") when it leads nowhere."""
    if not parse_uri(target_uri).host:
        raise LocalSipError("target", "The call's target leads nowhere.")
    return checked_target(target_uri)
