"""A 2xx to INVITE and its repeats until the ACK: RFC 3261 §13.3.1.4, over every transport.

The INVITE server transaction is out of this game once it has sent a 2xx; the user layer repeats, because
only the ACK of the far end proves that the answer has arrived.
"""

from collections.abc import Callable

from pay_ivr.sip.machines import State
from pay_ivr.sip.rim import TimerHandle
from pay_ivr.sip.transaction import ServerTransaction, TransactionLayer
from pay_ivr.sip.wire import Response, cseq


class Unacked:
    """One 2xx on its way; `stop` when its ACK has come, `on_missing` is called once when it never comes."""

    def __init__(
        self,
        layer: TransactionLayer,
        transaction: ServerTransaction,
        response: Response,
        on_missing: Callable[[], None],
        *,
        offered: bool,
    ) -> None:
        """Sends the response; `offered` says that it carries our offer, so that the ACK must answer it."""
        self.number = cseq(response).number
        self.offered = offered
        self._layer = layer
        self._transaction = transaction
        self._response = response
        self._on_missing = on_missing
        transaction.respond(response)
        self._end = layer.rim.call_later(layer.timers.patience, self._give_up)
        self._next = self._arm(layer.timers.t1)

    def stop(self) -> None:
        """No more repeats, and `on_missing` is not called any more."""
        self._end.cancel()
        self._next.cancel()

    def _arm(self, seconds: float) -> TimerHandle:
        return self._layer.rim.call_later(seconds, lambda: self._repeat(seconds))

    def _repeat(self, seconds: float) -> None:
        if self._transaction.state is State.ACCEPTED:
            self._layer.counters["retransmissions_out"] += 1
            self._transaction.respond(self._response)
        self._next = self._arm(min(2 * seconds, self._layer.timers.t2))

    def _give_up(self) -> None:
        self.stop()
        self._on_missing()
