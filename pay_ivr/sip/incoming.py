"""A leg that came in: we are UAS of the INVITE (RFC 3261 §13.3, §9.2)."""

from pay_ivr.sip.dialog import dialog_as_uas
from pay_ivr.sip.errors import LocalSipError, Malformed
from pay_ivr.sip.invite import ALLOW, InviteLeg, LegHome, sdp_of
from pay_ivr.sip.legstate import EndReason, LegEvent, LegState
from pay_ivr.sip.machines import State
from pay_ivr.sip.rim import Hop, TimerHandle, Transport
from pay_ivr.sip.transaction import Failure, ServerTransaction
from pay_ivr.sip.uri import parse_uri
from pay_ivr.sip.wire import Request, Response, name_addr, response_to

UNANSWERED_S = 180.0
"""A caller may ring this long before we refuse: timer C of the proxies on the way (RFC 3261 §16.6)."""
RING_AGAIN_S = 60.0
"""A 18x is repeated this often, so that proxies see that we are still there (§13.3.1.1)."""


class IncomingLeg(InviteLeg):
    """The caller's leg; decide it with `answer` or `reject`, now or later."""

    is_uas = True

    def __init__(
        self, home: LegHome, invite: Request, transaction: ServerTransaction, source: Hop, local_tag: str
    ) -> None:
        """Reads the INVITE; Malformed (400, 415, 416) when it cannot make a dialog we could keep up."""
        super().__init__(home, LegState.ARRIVED)
        self.remote_sdp = sdp_of(invite)
        self.source = source
        self._invite = invite
        self._transaction = transaction
        self.local_tag = local_tag
        self.merge_key: tuple[str, ...] = ()
        self._read_facts(invite)
        fallback = f"sip:{source.ip}:{source.port};transport={source.transport.lower()}"
        dialog = dialog_as_uas(invite, local_tag, fallback)
        self.call_id_header = dialog.id.call_id
        target = dialog.next_hop()
        if source.transport is Transport.TCP:
            self._pinned = Hop(target.transport, target.ip, target.port, source.connection)
        self._enter(dialog)
        transaction.on_failure = self._on_broken
        self._timers: list[TimerHandle] = [self._layer.rim.call_later(UNANSWERED_S, self._on_unanswered)]

    def _read_facts(self, invite: Request) -> None:
        remote = name_addr(invite.get("From") or "")
        local = name_addr(invite.get("To") or "")
        self.remote_uri, self.remote_display = remote.uri, remote.display
        self.local_uri, self.local_display = local.uri, local.display
        self.dialled_user = parse_uri(invite.uri).dialled
        self.caller_user = parse_uri(remote.uri).dialled

    @property
    def pending(self) -> bool:
        """True while the INVITE's transaction lives: a copy that comes another way is merged (§8.2.2.2)."""
        return self._transaction.state is not State.TERMINATED

    def pin(self, flow: Hop) -> None:
        """Requests of ours go back on the flow they came on: the caller is a registered phone."""
        self._pinned = flow

    def ring(self) -> None:
        """180 Ringing, repeated each minute until the decision."""
        self.provisional(180)

    def provisional(self, status: int) -> None:
        """A 18x without a body. LocalSipError when the leg is already decided."""
        if not 180 <= status < 190 or self.state not in {LegState.ARRIVED, LegState.RINGING}:
            raise LocalSipError("leg_decided", "The leg cannot ring any more.")
        self._move(LegEvent.RING)
        self._respond(status)
        self._timers.append(self._layer.rim.call_later(RING_AGAIN_S, lambda: self._ring_again(status)))

    def answer(self, sdp: bytes) -> None:
        """200 with our SDP, repeated until the ACK. LocalSipError when the leg is already decided."""
        if self.state not in {LegState.ARRIVED, LegState.RINGING}:
            raise LocalSipError("leg_decided", "The leg is already decided.")
        self._move(LegEvent.ANSWER)
        self._stop_timers()
        self._send_2xx(self._invite, self._transaction, sdp, offered=self.remote_sdp is None)

    def reject(
        self, status: int, reason: str | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """A final refusal; the observer is told `rejected`. LocalSipError when the leg is already decided."""
        if status < 300 or self.state not in {LegState.ARRIVED, LegState.RINGING}:
            raise LocalSipError("leg_decided", "The leg cannot be refused any more.")
        if any("\r" in text or "\n" in text for text in (reason or "", *(value for _, value in headers))):
            raise LocalSipError("line_break", "A header or reason holds a line break.")
        self._move(LegEvent.REJECT)
        self._respond(status, reason, headers)
        self._over(EndReason.REJECTED, status)

    def hang_up(self, reason: str = "") -> None:
        """480 before the answer, BYE after it; between 2xx and ACK the BYE waits for the ACK (§15)."""
        if self.state in {LegState.ARRIVED, LegState.RINGING}:
            self._move(LegEvent.REJECT)
            self._respond(480)
            self._over(EndReason.LOCAL_HANG_UP, 480)
        elif self.state in {LegState.ANSWERED, LegState.UP}:
            before = self._move(LegEvent.HANG_UP)
            if before is LegState.UP:
                self._send_bye(reason)
            self._tell_ended(EndReason.LOCAL_HANG_UP, None)

    def on_cancel(self) -> None:
        """The caller withdraws; behind our final response that changes nothing (§9.2)."""
        before = self._move(LegEvent.CANCEL)
        if before in {LegState.ARRIVED, LegState.RINGING}:
            self._respond(487)
            self._over(EndReason.CANCELLED, 487)

    def _on_bye(self, request: Request, transaction: ServerTransaction) -> None:
        """A BYE before our answer ends the INVITE too (§15.1.2)."""
        if self.state in {LegState.ARRIVED, LegState.RINGING}:
            self._respond(487)
            self._stop_timers()
        super()._on_bye(request, transaction)

    def _response(self, request: Request, status: int, reason: str | None = None) -> Response:
        return response_to(request, status, reason, to_tag=self.local_tag)

    def _respond(
        self, status: int, reason: str | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        response = self._response(self._invite, status, reason)
        if status < 200:
            response.add("Contact", self.contact())
            response.add("Allow", ALLOW)
        for name, value in headers:
            response.add(name, value)
        self._transaction.respond(response)

    def _ring_again(self, status: int) -> None:
        if self.state is LegState.RINGING:
            self.provisional(status)

    def _on_unanswered(self) -> None:
        if self.state in {LegState.ARRIVED, LegState.RINGING}:
            self._move(LegEvent.REJECT)
            self._respond(480)
            self._over(EndReason.RING_TIMEOUT, 480)

    def _on_broken(self, _failure: Failure) -> None:
        self._move(LegEvent.LOST)
        self._over(EndReason.TRANSPORT_LOST, 503)

    def _over(self, reason: EndReason, status: int) -> None:
        self._stop_timers()
        self._finish()
        self._tell_ended(reason, status)

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def check_incoming(invite: Request) -> None:
    """Nothing for an INVITE whose addresses we can read; Malformed 416 for a Request-URI we do not serve."""
    if parse_uri(invite.uri).scheme not in {"sip", "tel"}:
        raise Malformed("uri_not_served", "The Request-URI has a scheme we do not serve.", status=416)
