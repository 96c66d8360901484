"""A leg of ours going out: we are UAC of the INVITE (RFC 3261 §13.2, §9.1).

Ringing may last longer than timer B: that timer dies with the first provisional, the ring time-out is
ours. A fork may bring several 2xx: the first wins, every other gets its ACK and a BYE (§13.2.2.4).
"""

from dataclasses import dataclass

from pay_ivr.sip.dialog import MAX_FORWARDS, Dialog, dialog_as_uac
from pay_ivr.sip.digest import Credentials
from pay_ivr.sip.errors import SipError
from pay_ivr.sip.invite import ALLOW, InviteLeg, LegHome, with_sdp
from pay_ivr.sip.legstate import EndReason, LegEvent, LegState
from pay_ivr.sip.login import Login
from pay_ivr.sip.rim import Hop, TimerHandle
from pay_ivr.sip.transaction import ClientTransaction, Failure
from pay_ivr.sip.uri import parse_uri
from pay_ivr.sip.wire import Request, Response, cseq, name_addr, tag_of

FORKS_MAX = 8
"""Further 2xx of one INVITE that get ACK and BYE; more answers than that are no fork but an attack."""

_RINGING = frozenset({LegState.CALLING, LegState.RINGING})


@dataclass(frozen=True)
class Invitation:
    """Whom to call, and as whom; header values are ready for the wire."""

    target_uri: str
    """Request-URI."""
    hop: Hop
    offer: bytes
    from_value: str
    """From with our tag."""
    to_value: str
    call_id: str
    pinned: bool = False
    """The target is a registered contact: every request of ours goes on its flow."""
    credentials: Credentials | None = None
    """For a far side that challenges our INVITE, re-INVITE or BYE."""
    ring_timeout_s: float = 45.0
    headers: tuple[tuple[str, str], ...] = ()


class OutgoingLeg(InviteLeg):
    """The called party's leg; `start` sends the INVITE."""

    is_uas = False

    def __init__(self, home: LegHome, invitation: Invitation) -> None:
        """Nothing is sent yet."""
        super().__init__(home, LegState.CALLING, invitation.credentials)
        self._invitation = invitation
        self._transaction: ClientTransaction | None = None
        self._cseq = 0
        self._login = Login(invitation.credentials)
        self._acks: dict[str, tuple[Request, Hop]] = {}
        self._rang = False
        self.source = invitation.hop
        self.call_id_header = invitation.call_id
        self._read_facts(invitation)
        if invitation.pinned:
            self._pinned = invitation.hop
        self._ring_timer: TimerHandle | None = None

    def _read_facts(self, invitation: Invitation) -> None:
        local, remote = name_addr(invitation.from_value), name_addr(invitation.to_value)
        self.local_uri, self.local_display = local.uri, local.display
        self.remote_uri, self.remote_display = remote.uri, remote.display
        self.dialled_user = parse_uri(invitation.target_uri).dialled
        self.caller_user = parse_uri(local.uri).dialled

    def start(self, login: tuple[tuple[str, str], ...] = ()) -> None:
        """Sends the INVITE. LocalSipError("transactions_full") at the limit."""
        self._cseq += 1
        wish = self._invitation
        request = Request("INVITE", wish.target_uri)
        request.add("Max-Forwards", MAX_FORWARDS)
        request.add("From", wish.from_value)
        request.add("To", wish.to_value)
        request.add("Call-ID", wish.call_id)
        request.add("CSeq", f"{self._cseq} INVITE")
        request.add("Contact", self.contact())
        request.add("Allow", ALLOW)
        for name, value in (*wish.headers, *login):
            request.add(name, value)
        self._transaction = self._layer.request(
            with_sdp(request, wish.offer), wish.hop, self._on_response, self._on_failure
        )
        if self._ring_timer is None:
            self._ring_timer = self._layer.rim.call_later(wish.ring_timeout_s, self._on_ring_timeout)

    def hang_up(self, reason: str = "") -> None:
        """CANCEL before the answer, BYE after it. A 200 that crosses the CANCEL gets ACK and BYE."""
        if self.state in _RINGING:
            self._withdraw(EndReason.LOCAL_HANG_UP, 487)
        elif self.state is LegState.UP:
            self._move(LegEvent.HANG_UP)
            self._send_bye(reason)
            self._tell_ended(EndReason.LOCAL_HANG_UP, None)

    def _withdraw(self, reason: EndReason, status: int) -> None:
        self._move(LegEvent.HANG_UP)
        self._stop_ringing()
        if self._transaction is not None:
            self._transaction.cancel()
        self._tell_ended(reason, status)

    def _on_ring_timeout(self) -> None:
        if self.state in _RINGING:
            self._withdraw(EndReason.RING_TIMEOUT, 408)

    def _on_failure(self, failure: Failure) -> None:
        if self.state not in _RINGING and self.state is not LegState.WITHDRAWING:
            return
        self._move(LegEvent.LOST)
        if failure is Failure.TIMEOUT:
            self._over(EndReason.NO_RESPONSE, 408)
        else:
            self._over(EndReason.TRANSPORT_LOST, 503)

    def _on_response(self, response: Response) -> None:
        if response.status < 200:
            self._on_provisional(response)
        elif response.status < 300:
            self._on_success(response)
        elif self.state in _RINGING and self._logged_in(response):
            return
        elif self.state in _RINGING or self.state is LegState.WITHDRAWING:
            self._move(LegEvent.REFUSAL)
            self._over(EndReason.REFUSED, response.status)

    def _logged_in(self, response: Response) -> bool:
        """True when the response was a challenge and the INVITE is on its way again."""
        if self._transaction is None:
            return False
        answers = self._login.answers(self._transaction.request, response)
        if answers is None:
            return False
        self.start(answers)
        return True

    def _on_provisional(self, response: Response) -> None:
        if response.status == 100 or self.state not in _RINGING:
            return
        self._move(LegEvent.RING)
        if not self._rang:
            self._rang = True
            self._tell(lambda observer: observer.on_ringing(self))

    def _on_success(self, response: Response) -> None:
        """ACK in every case, and what the 2xx means: ours, ours again, or another branch of a fork."""
        tag = tag_of(response.get("To") or "") or ""
        known = self._acks.get(tag)
        if known is not None:
            self._layer.counters["retransmissions_in"] += 1
            self._layer.rim.transmit(*known)
        elif self._dialog is None and self.state is not LegState.ENDED:
            self._win(response, tag)
        else:
            self._drop_fork(response, tag)

    def _stop_ringing(self) -> None:
        if self._ring_timer is not None:
            self._ring_timer.cancel()

    def _win(self, response: Response, tag: str) -> None:
        self._stop_ringing()
        try:
            dialog = self._acknowledged(response, tag)
        except SipError:
            self._lose()
            return
        self._enter(dialog)
        before = self._move(LegEvent.SUCCESS)
        if before is LegState.WITHDRAWING:
            self._send_bye("")
            return
        self._came_up()
        self._take_answer(response)

    def _lose(self) -> None:
        """A 2xx that leads nowhere: there is no way to send it an ACK."""
        self._move(LegEvent.LOST)
        self._over(EndReason.BAD_ANSWER, 502)

    def _acknowledged(self, response: Response, tag: str) -> Dialog:
        """The dialog of a 2xx, its ACK sent and kept for repeats. Malformed when it leads nowhere."""
        dialog = dialog_as_uac(Request("INVITE", self._invitation.target_uri, self._headers()), response)
        pinned = self._pinned if not dialog.routes else None
        hop = pinned or dialog.next_hop()
        ack = dialog.numbered("ACK", cseq(response).number)
        self._layer.stamp(ack, hop)
        self._acks[tag] = (ack, hop)
        self._layer.rim.transmit(ack, hop)
        return dialog

    def _headers(self) -> list[tuple[str, str]]:
        """What a dialog takes over from our INVITE."""
        wish = self._invitation
        return [("From", wish.from_value), ("Call-ID", wish.call_id), ("CSeq", f"{self._cseq} INVITE")]

    def _drop_fork(self, response: Response, tag: str) -> None:
        """A second dialog of the same INVITE: ACK and BYE, and nobody hears of it."""
        self._layer.counters["forks"] += 1
        if len(self._acks) > FORKS_MAX:
            return
        try:
            dialog = self._acknowledged(response, tag)
            hop = self._acks[tag][1]
            self._layer.request(dialog.request("BYE"), hop, lambda _response: None, lambda _failure: None)
        except SipError:
            self._layer.counters["bye_unsent"] += 1

    def _over(self, reason: EndReason, status: int) -> None:
        self._stop_ringing()
        self._finish()
        self._tell_ended(reason, status)
