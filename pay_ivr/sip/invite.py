"""An INVITE leg: one party's side of one call, whoever called whom.

RFC 3261 §12.2, §14 and §15: what happens inside the dialog: re-INVITE answered on the spot, INFO taken and
never given on, BYE. The two ways to get into a dialog are `incoming.py` (UAS) and `outgoing.py` (UAC). The
rule this file owns: the observer is told of the end exactly once, with one reason, and behind that the
protocol's tail is nobody's business but the leg's.

This file hears keys of SIP INFO: it has no logger.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeVar

from pay_ivr.sip.dialog import Dialog, DialogId
from pay_ivr.sip.digest import Credentials
from pay_ivr.sip.errors import LocalSipError, Malformed, SipError
from pay_ivr.sip.legstate import LEGS, LIVE, EndReason, LegEvent, LegState
from pay_ivr.sip.login import Login
from pay_ivr.sip.reinvite import Renegotiation
from pay_ivr.sip.rim import Counters, Hop, Transport
from pay_ivr.sip.transaction import Failure, ServerTransaction, TransactionLayer
from pay_ivr.sip.unacked import Unacked
from pay_ivr.sip.wire import Message, Request, Response, cseq, response_to

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, REGISTER"
"""What we take; every other method is refused by default."""
SDP_TYPE = "application/sdp"


class LegObserver(Protocol):
    """The app's half of a leg. Callbacks come from the event loop and must not block."""

    def on_ringing(self, leg: "InviteLeg") -> None:
        """UAC: the far side rings; told once."""

    def on_answered(self, leg: "InviteLeg", sdp: bytes) -> None:
        """An answer to our offer: UAC in the 2xx, UAS in the ACK of an INVITE without SDP."""

    def on_confirmed(self, leg: "InviteLeg") -> None:
        """UAS: the ACK of our 2xx has come."""

    def on_reinvite(self, leg: "InviteLeg", sdp: bytes | None) -> bytes:
        """The SDP to answer a re-INVITE with, or our offer when it had none; a SipError becomes 488."""

    def on_info_key(self, leg: "InviteLeg", key: int) -> None:
        """One key, 0 to 15, from an INFO of a peer that may send them."""

    def on_ended(self, leg: "InviteLeg", reason: EndReason, status: int | None) -> None:
        """Exactly once. `status` is the far side's final response, or what stands for it (408, 503)."""


class LegHome(Protocol):
    """What a leg needs of the endpoint it lives in."""

    layer: TransactionLayer
    counters: Counters

    def contact(self, transport: Transport) -> str:
        """Our Contact value for that transport."""

    def bind(self, dialog: DialogId, leg: "InviteLeg") -> None:
        """Requests inside `dialog` go to `leg` from now on."""

    def unbind(self, dialog: DialogId) -> None:
        """Requests inside `dialog` are answered 481 from now on."""

    def leg_ended(self, leg: "InviteLeg") -> None:
        """The leg has no tail left."""


class InviteLeg(ABC):
    """One dialog of ours made by an INVITE; `IncomingLeg` and `OutgoingLeg` are its two kinds.

    Verbs are idempotent where a race can make them late: `hang_up` on an ended leg does nothing.
    """

    is_uas: bool
    call_id_header: str
    local_uri: str
    local_display: str
    remote_uri: str
    remote_display: str
    dialled_user: str
    """User of the Request-URI, without escapes: the DID for calls that come in."""
    caller_user: str
    """User of the From."""
    source: Hop
    """Where the far side's messages come from (UAS) or go to (UAC)."""
    remote_sdp: bytes | None
    """The far side's latest offer or answer."""
    state: LegState

    def __init__(self, home: LegHome, state: LegState, credentials: Credentials | None = None) -> None:
        self.state = state
        self._credentials = credentials
        self._bye_login = Login(credentials)
        self.remote_sdp = None
        self._home = home
        self._layer = home.layer
        self._observer: LegObserver | None = None
        self._untold: list[Callable[[LegObserver], None]] = []
        self._dialog: Dialog | None = None
        self._pinned: Hop | None = None
        self._unacked: Unacked | None = None
        self._told_ended = False
        self._renegotiation: Renegotiation | None = None

    # -- what the app may do

    def ring(self) -> None:
        """UAS: 180."""
        raise LocalSipError("leg_role", "Only a leg that came in can do this.")

    def provisional(self, status: int) -> None:  # noqa: ARG002 - incoming legs use it
        """UAS: another 18x, without a body."""
        raise LocalSipError("leg_role", "Only a leg that came in can do this.")

    def answer(self, sdp: bytes) -> None:  # noqa: ARG002 - incoming legs use it
        """UAS: 200 with our answer, or with our offer when the INVITE had none."""
        raise LocalSipError("leg_role", "Only a leg that came in can do this.")

    def reject(
        self,
        status: int,  # noqa: ARG002 - incoming legs use it
        reason: str | None = None,  # noqa: ARG002 - incoming legs use it
        headers: tuple[tuple[str, str], ...] = (),  # noqa: ARG002 - incoming legs use it
    ) -> None:
        """UAS: a final refusal of 300 to 699."""
        raise LocalSipError("leg_role", "Only a leg that came in can do this.")

    def reinvite(self, sdp: bytes, on_done: Callable[[bytes | None, int], None] | None = None) -> None:
        """Offers new media inside the dialog; `on_done(answer, status)` when the far side has decided.

        One at a time: a second offer while one is out replaces the one that waits, whose `on_done` gets 491.
        Glare (491) is repeated after the back-off of RFC 3261 §14.1. LocalSipError("leg_not_up") elsewhere.
        """
        if self.state is not LegState.UP or self._renegotiation is None:
            raise LocalSipError("leg_not_up", "The leg is not up.", retryable=self.state in LIVE)
        self._renegotiation.offer(sdp, on_done)

    @abstractmethod
    def hang_up(self, reason: str = "") -> None:
        """CANCEL, BYE or a refusal, whichever is right now; `reason` is text for the BYE's Reason header."""

    # -- what the endpoint brings

    def attach(self, observer: LegObserver) -> None:
        """Hands the leg to its observer, with everything that happened before."""
        self._observer = observer
        untold, self._untold = self._untold, []
        for tell in untold:
            tell(observer)

    def receive(self, request: Request, transaction: ServerTransaction, key: int | None) -> None:
        """A new request inside the dialog, in CSeq order; `key` is what an allowed INFO carried."""
        if request.method == "BYE":
            self._on_bye(request, transaction)
        elif request.method == "INVITE":
            self._on_reinvite(request, transaction)
        else:
            transaction.respond(self._response(request, 200))
            if key is not None and self.state in LIVE:
                self._tell(lambda observer: observer.on_info_key(self, key))

    def accepts(self, request: Request) -> bool:
        """False when the request's CSeq went backwards."""
        return self._dialog is not None and self._dialog.accepts(request)

    def on_ack(self, ack: Request, number: int) -> None:
        """The ACK of the 2xx with CSeq `number`; a repeated one changes nothing."""
        unacked = self._unacked
        if unacked is None or unacked.number != number:
            return
        unacked.stop()
        self._unacked = None
        before = self._move(LegEvent.ACK)
        if before is LegState.OWING:
            self._send_bye("")
            return
        if unacked.offered and not self._take_answer(ack):
            return
        if before is LegState.ANSWERED:
            self._came_up()
            self._tell(lambda observer: observer.on_confirmed(self))

    # -- the dialog

    def _enter(self, dialog: Dialog) -> None:
        self._dialog = dialog
        self._home.bind(dialog.id, self)

    def _came_up(self) -> None:
        self._renegotiation = Renegotiation(
            self, self._layer, self._credentials, owns_call_id=not self.is_uas
        )

    @property
    def dialog(self) -> Dialog:
        """The dialog; only asked for where one exists."""
        if self._dialog is None:
            raise LocalSipError("leg_without_dialog", "The leg has no dialog yet.")
        return self._dialog

    def hop(self) -> Hop:
        """Where requests of ours go: the flow of a registered phone or stream, else RFC 3261 §12.2.1.1."""
        if self._pinned is not None and not self.dialog.routes:
            return self._pinned
        return self.dialog.next_hop()

    def contact(self) -> str:
        """Our Contact in this dialog."""
        return self._home.contact(self.source.transport)

    def took_answer(self, sdp: bytes) -> None:
        """The far side answered a re-INVITE of ours."""
        self.remote_sdp = sdp

    def lost(self) -> None:
        """The far side has forgotten the dialog or never answers in it: BYE for the books, and the end."""
        if self.state is LegState.UP:
            self._move(LegEvent.LOST)
            self._send_bye("")
            self._tell_ended(EndReason.DIALOG_LOST, 481)

    def _on_bye(self, request: Request, transaction: ServerTransaction) -> None:
        transaction.respond(self._response(request, 200))
        self._move(LegEvent.BYE)
        if self.state is LegState.ENDED:
            self._finish()
            self._tell_ended(EndReason.REMOTE_HANG_UP, None)

    def _send_bye(self, reason: str) -> None:
        """BYE; the leg is over with its answer, or with timer F. Without a way to send it, at once."""
        self._stop_negotiating()
        headers = (("Reason", f'SIP;cause=200;text="{_plain(reason)}"'),) if reason else ()
        self._request_bye(headers)

    def _request_bye(self, headers: tuple[tuple[str, str], ...]) -> None:
        bye = self.dialog.request("BYE")
        for name, value in headers:
            bye.add(name, value)
        try:
            self._layer.request(
                bye, self.hop(), lambda response: self._on_bye_response(bye, response), self._on_bye_failure
            )
        except SipError:
            self._home.counters["bye_unsent"] += 1
            self._bye_done()

    def _on_bye_response(self, bye: Request, response: Response) -> None:
        if response.status < 200:
            return
        answers = self._bye_login.answers(bye, response)
        if answers is None:
            self._bye_done()
        else:
            self._request_bye(answers)

    def _on_bye_failure(self, _failure: Failure) -> None:
        self._bye_done()

    def _bye_done(self) -> None:
        self._move(LegEvent.BYE_DONE)
        self._finish()

    # -- re-INVITE from the far side

    def _on_reinvite(self, request: Request, transaction: ServerTransaction) -> None:
        """Answered here and now (RFC 3261 §14.2); 491 when an offer or a 2xx of ours is still open."""
        if self.state not in {LegState.UP, LegState.ANSWERED}:
            transaction.respond(self._response(request, 481))
        elif self._unacked is not None or (self._renegotiation is not None and self._renegotiation.pending):
            transaction.respond(self._response(request, 491))
        else:
            self._answer_reinvite(request, transaction)

    def _answer_reinvite(self, request: Request, transaction: ServerTransaction) -> None:
        try:
            contacts = request.get_all("Contact")
            offer = sdp_of(request)
            sdp = self._ask(offer)
        except SipError as refused:
            status = refused.status if isinstance(refused, Malformed) else 488
            transaction.respond(self._response(request, status))
            return
        except Exception:
            transaction.respond(self._response(request, 500))
            raise
        self.dialog.refresh_target(contacts[0] if contacts else None)
        self.remote_sdp = offer or self.remote_sdp
        self._send_2xx(request, transaction, sdp, offered=offer is None)

    def _ask(self, offer: bytes | None) -> bytes:
        if self._observer is None:
            raise LocalSipError("leg_unobserved", "Nobody observes the leg.")
        return self._observer.on_reinvite(self, offer)

    def _send_2xx(
        self, request: Request, transaction: ServerTransaction, sdp: bytes, *, offered: bool
    ) -> None:
        response = with_sdp(self._response(request, 200), sdp)
        response.add("Contact", self.contact())
        response.add("Allow", ALLOW)
        number = cseq(request).number
        transaction.on_ack = lambda ack: self.on_ack(ack, number)
        self._unacked = Unacked(self._layer, transaction, response, self._on_no_ack, offered=offered)

    def _on_no_ack(self) -> None:
        self._unacked = None
        self._move(LegEvent.NO_ACK)
        self._send_bye("")
        self._tell_ended(EndReason.ACK_MISSING, 408)

    def _take_answer(self, message: Message) -> bool:
        """The answer in a 2xx or in the ACK to ours; without one the leg ends, it is no use to anybody."""
        try:
            sdp = sdp_of(message)
        except Malformed:
            sdp = None
        if sdp is None:
            self._move(LegEvent.HANG_UP)
            self._send_bye("")
            self._tell_ended(EndReason.BAD_ANSWER, 488)
            return False
        self.remote_sdp = sdp
        self._tell(lambda observer: observer.on_answered(self, sdp))
        return self.state is LegState.UP

    # -- the machine and its observer

    def _move(self, event: LegEvent) -> LegState:
        """Walks one row and returns the state before; a pair without a row is our own mistake."""
        before = self.state
        after = LEGS.get((before, event))
        if after is None:
            raise LocalSipError("leg_row", "A leg met an event that its table does not know.")
        self.state = after
        return before

    def _response(self, request: Request, status: int, reason: str | None = None) -> Response:
        return response_to(request, status, reason)

    def _stop_negotiating(self) -> None:
        if self._unacked is not None:
            self._unacked.stop()
            self._unacked = None
        if self._renegotiation is not None:
            self._renegotiation.stop()

    def _finish(self) -> None:
        """No tail left: out of every table."""
        if self._dialog is not None:
            self._home.unbind(self._dialog.id)
        self._home.leg_ended(self)
        self._stop_negotiating()

    def _tell(self, tell: Callable[[LegObserver], None]) -> None:
        if self._observer is None:
            self._untold.append(tell)
        else:
            tell(self._observer)

    def _tell_ended(self, reason: EndReason, status: int | None) -> None:
        if self._told_ended:
            return
        self._told_ended = True
        self._home.counters[f"ended_{reason}"] += 1
        self._tell(lambda observer: observer.on_ended(self, reason, status))


def sdp_of(message: Message) -> bytes | None:
    """The SDP of a message, None without a body. Malformed 415 for any other body."""
    if not message.body:
        return None
    kind = (message.get("Content-Type") or "").partition(";")[0].strip().lower()
    if kind != SDP_TYPE or message.get("Content-Encoding"):
        raise Malformed("body_type", "The body is not plain SDP.", status=415)
    return message.body


M = TypeVar("M", bound=Message)


def with_sdp(message: M, sdp: bytes) -> M:
    """The message with that SDP as its body."""
    message.set("Content-Type", SDP_TYPE)
    message.body = sdp
    return message


def _plain(text: str) -> str:
    """Letters, digits and blanks only: safe inside a quoted string."""
    return "".join(letter for letter in text if letter.isalnum() or letter == " ")
