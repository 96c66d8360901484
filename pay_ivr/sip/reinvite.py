"""Re-INVITEs of ours: one at a time, and the back-off when both sides offer at once (RFC 3261 §14.1).

The rule this file owns: an offer of ours is decided exactly once, by an answer, by a refusal, or by the
end of its leg.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pay_ivr.sip.dialog import Dialog
from pay_ivr.sip.digest import Credentials
from pay_ivr.sip.errors import Malformed, SipError
from pay_ivr.sip.login import Login
from pay_ivr.sip.rim import Hop, TimerHandle
from pay_ivr.sip.transaction import ClientTransaction, Failure, TransactionLayer
from pay_ivr.sip.wire import Request, Response, cseq

GLARE_TRIES_MAX = 5
"""Repeats after a 491; two sides with disjoint back-off ranges collide once, a broken peer for ever."""
GLARE_STEP_S = 0.01
"""Unit of the back-off (§14.1)."""
OWNER_STEPS = (210, 400)
"""The side that made the Call-ID waits 2.1 to 4 s."""
OTHER_STEPS = (0, 200)
"""The other side waits 0 to 2 s."""

Done = Callable[[bytes | None, int], None]


class NegotiatingLeg(Protocol):
    """What a re-INVITE needs of its leg."""

    @property
    def dialog(self) -> Dialog:
        """The confirmed dialog."""

    def hop(self) -> Hop:
        """Where requests inside the dialog go."""

    def contact(self) -> str:
        """Our Contact."""

    def took_answer(self, sdp: bytes) -> None:
        """The far side's answer, before `on_done` tells the app."""

    def lost(self) -> None:
        """The dialog is gone (408, 481)."""


@dataclass(slots=True)
class _Offer:
    sdp: bytes
    on_done: Done | None
    tries: int = 0

    def done(self, sdp: bytes | None, status: int) -> None:
        if self.on_done is not None:
            self.on_done(sdp, status)


class Renegotiation:
    """The offers of one leg: at most one on the wire and one waiting."""

    def __init__(
        self,
        leg: NegotiatingLeg,
        layer: TransactionLayer,
        credentials: Credentials | None,
        *,
        owns_call_id: bool,
    ) -> None:
        """`owns_call_id` is true for the UAC of the call and decides the back-off range."""
        self._leg = leg
        self._layer = layer
        self._credentials = credentials
        self._login = Login(credentials)
        self._steps = OWNER_STEPS if owns_call_id else OTHER_STEPS
        self._current: _Offer | None = None
        self._waiting: _Offer | None = None
        self._transaction: ClientTransaction | None = None
        self._timer: TimerHandle | None = None
        self._ack: tuple[int, Request, Hop] | None = None

    @property
    def pending(self) -> bool:
        """True while an INVITE of ours is on the wire; during the back-off the far side may go first."""
        return self._transaction is not None

    def offer(self, sdp: bytes, on_done: Done | None) -> None:
        """Sends the offer, or keeps it as the next one."""
        if self._current is None:
            self._current = _Offer(sdp, on_done)
            self._begin()
            return
        replaced, self._waiting = self._waiting, _Offer(sdp, on_done)
        if replaced is not None:
            replaced.done(None, 491)

    def stop(self) -> None:
        """The leg is ending: open offers are decided with 487, once the leg is through with its own steps."""
        offers, self._current, self._waiting = (self._current, self._waiting), None, None
        transaction, self._transaction = self._transaction, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if transaction is not None:
            transaction.cancel()
        for offer in offers:
            if offer is not None:
                self._layer.rim.call_later(0, partial(offer.done, None, 487))

    def _begin(self) -> None:
        self._login = Login(self._credentials)
        self._send()

    def _send(self, login: tuple[tuple[str, str], ...] = ()) -> None:
        offer = self._current
        if offer is None:
            return
        self._clear()
        request = self._leg.dialog.request("INVITE")
        request.add("Contact", self._leg.contact())
        request.add("Content-Type", "application/sdp")
        for name, value in login:
            request.add(name, value)
        request.body = offer.sdp
        # The far side must decide at once; a re-INVITE that hangs in Proceeding is as good as lost.
        self._timer = self._layer.rim.call_later(self._layer.timers.patience, self._on_timeout)
        try:
            hop = self._leg.hop()
            self._transaction = self._layer.request(request, hop, self._on_response, self._on_failure)
        except SipError:
            self._decide(None, 500)

    def _on_response(self, response: Response) -> None:
        if response.status < 200:
            return
        if response.status < 300:
            self._on_success(response)
        elif self._transaction is None:
            return
        elif response.status == 491 and self._current is not None and self._current.tries < GLARE_TRIES_MAX:
            self._back_off(self._current)
        elif response.status in {408, 481}:
            self._leg.lost()
        elif (answers := self._login.answers(self._transaction.request, response)) is not None:
            self._send(answers)
        else:
            self._decide(None, response.status)

    def _on_success(self, response: Response) -> None:
        """ACK, and the answer; a repeated 2xx gets the same ACK again (§13.2.2.4)."""
        number = cseq(response).number
        if self._ack is not None and self._ack[0] == number:
            self._layer.counters["retransmissions_in"] += 1
            self._layer.rim.transmit(self._ack[1], self._ack[2])
            return
        try:
            contacts = response.get_all("Contact")
            self._leg.dialog.refresh_target(contacts[0] if contacts else None)
        except Malformed:
            self._layer.counters["bad"] += 1
        ack, hop = self._leg.dialog.numbered("ACK", number), self._leg.hop()
        self._layer.stamp(ack, hop)
        self._ack = (number, ack, hop)
        self._layer.rim.transmit(ack, hop)
        if self._transaction is None:
            return
        if response.body:
            self._leg.took_answer(response.body)
        self._decide(response.body or None, response.status)

    def _on_failure(self, failure: Failure) -> None:
        if self._transaction is None:
            return
        if failure is Failure.TIMEOUT:
            self._leg.lost()
        else:
            self._decide(None, 503)

    def _on_timeout(self) -> None:
        self._timer = None
        if self._transaction is not None:
            self._leg.lost()

    def _back_off(self, offer: _Offer) -> None:
        self._clear()
        offer.tries += 1
        low, high = self._steps
        seconds = GLARE_STEP_S * (low + secrets.randbelow(high - low + 1))
        self._timer = self._layer.rim.call_later(seconds, self._send_again)

    def _send_again(self) -> None:
        self._timer = None
        self._begin()

    def _decide(self, sdp: bytes | None, status: int) -> None:
        """Tells the offer's owner and goes on with the one that waits."""
        self._clear()
        decided, self._current, self._waiting = self._current, self._waiting, None
        if self._current is not None:
            self._begin()
        if decided is not None:
            decided.done(sdp, status)

    def _clear(self) -> None:
        self._transaction = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
