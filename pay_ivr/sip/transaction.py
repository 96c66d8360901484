"""SIP transactions: one walker for the tables of `machines.py`, one layer that finds the right walk.

RFC 3261 §17, §9 and §18.2. Sans-IO: everything goes through a `Rim`. The rule this file owns: a transaction
that was opened ends, and its entry leaves the table, whatever the network does.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import StrEnum
from itertools import count

from pay_ivr.sip.errors import LocalSipError
from pay_ivr.sip.machines import RUNNING, START, TABLES, TIMERS, Do, Event, Kind, State, Timer, TimerRule
from pay_ivr.sip.rim import Counters, Hop, Rim, TimerHandle, Timers
from pay_ivr.sip.wire import MAGIC_COOKIE, Request, Response, cseq, tag_of, top_via

TRANSACTIONS_MAX = 20_000
"""Entries of both directions together: at 100 calls a second, six transactions each, 32 s of afterlife."""


class Failure(StrEnum):
    """Why a transaction ended without a final response."""

    TIMEOUT = "timeout"
    """Counts as 408 (RFC 3261 §8.1.3.1)."""
    BROKEN = "broken"
    """The transport failed; counts as 503."""


class Transaction(ABC):
    """One walk through one table: state, running timers, last message of ours."""

    def __init__(
        self, layer: "TransactionLayer", kind: Kind, key: tuple[str, ...], request: Request, hop: Hop
    ) -> None:
        """`hop` is where our messages of this transaction go."""
        self.kind = kind
        self.key = key
        self.request = request
        self.hop = hop
        self.state = START[kind]
        self._layer = layer
        self._last: Request | Response | None = None
        self._timers: dict[Timer, TimerHandle] = {}

    def broken(self) -> None:
        """The transport lost our path."""
        self._meet(Event.BROKEN)

    def _meet(self, event: Event | Timer, message: Request | Response | None = None) -> None:
        """Walks one row. A pair that is not in the table is our own mistake, never the peer's.

        Behind the end nothing moves any more: verbs of the user that come too late do nothing.
        """
        if self.state is State.TERMINATED:
            return
        row = TABLES[self.kind].get((self.state, event))
        if row is None:
            raise LocalSipError("transaction_row", "A transaction met an event that its table does not know.")
        before, (self.state, actions) = self.state, row
        if self.state is not before:
            self._switch_timers()
        if self.state is State.TERMINATED:
            self._layer.forget(self)
        for action in actions:
            self._act(action, message)

    def _switch_timers(self) -> None:
        running = RUNNING[self.kind][self.state]
        for timer in [timer for timer in self._timers if timer not in running]:
            self._timers.pop(timer).cancel()
        for timer in running:
            if timer not in self._timers:
                self._start(timer)

    def _start(self, timer: Timer) -> None:
        rule = TIMERS[timer]
        if self.hop.reliable and rule.reliable == "never":
            return
        seconds: float = getattr(self._layer.timers, rule.base)
        if self.hop.reliable and rule.reliable == "zero":
            seconds = 0.0
        self._arm(timer, rule, seconds)

    def _arm(self, timer: Timer, rule: TimerRule, seconds: float) -> None:
        def fire() -> None:
            del self._timers[timer]
            self._meet(timer)
            if rule.repeats and timer in RUNNING[self.kind][self.state]:
                longer = 2 * seconds
                self._arm(timer, rule, min(longer, self._layer.timers.t2) if rule.capped else longer)

        self._timers[timer] = self._layer.rim.call_later(seconds, fire)

    def _send(self, message: Request | Response) -> None:
        self._last = message
        self._layer.rim.transmit(message, self.hop)

    def _act(self, action: Do, message: Request | Response | None) -> None:
        if action is Do.REPEAT:
            if self._last is not None:
                self._layer.counters["retransmissions_out"] += 1
                self._layer.rim.transmit(self._last, self.hop)
        elif action is Do.SEND and message is not None:
            self._send(message)
        else:
            self._act_in_role(action, message)

    @abstractmethod
    def _act_in_role(self, action: Do, message: Request | Response | None) -> None:
        """What this kind of transaction alone does."""


class ClientTransaction(Transaction):
    """A request of ours on its way, INVITE or other."""

    def __init__(
        self,
        layer: "TransactionLayer",
        request: Request,
        hop: Hop,
        on_response: Callable[[Response], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        """Sends `request`, whose top Via is already stamped."""
        self._on_response = on_response
        self._on_failure = on_failure
        kind = Kind.CLIENT_INVITE if request.method == "INVITE" else Kind.CLIENT_OTHER
        super().__init__(layer, kind, (top_via(request).branch or "", request.method), request, hop)
        # Sent first: what cannot be written must not leave timers behind.
        self._send(request)
        self._switch_timers()

    def receive(self, response: Response) -> None:
        """One response that belongs here."""
        if response.status < 200:
            self._meet(Event.PROVISIONAL, response)
        else:
            self._meet(Event.SUCCESS if response.status < 300 else Event.REFUSAL, response)

    def cancel(self) -> None:
        """Withdraws an INVITE: CANCEL now, with the first provisional, or never after a final (§9.1)."""
        self._meet(Event.CANCEL)

    def _act_in_role(self, action: Do, message: Request | Response | None) -> None:
        if action is Do.TELL_TIMEOUT:
            self._on_failure(Failure.TIMEOUT)
        elif action is Do.TELL_BROKEN:
            self._on_failure(Failure.BROKEN)
        elif action is Do.CANCEL:
            self._layer.send_cancel(self)
        elif isinstance(message, Response) and action is Do.ACK:
            self._layer.rim.transmit(hop_by_hop(self.request, "ACK", to=message.get("To")), self.hop)
        elif isinstance(message, Response) and action is Do.TELL:
            self._on_response(message)


class ServerTransaction(Transaction):
    """A request of the peer that we answer, INVITE or other."""

    def __init__(self, layer: "TransactionLayer", key: tuple[str, ...], request: Request, hop: Hop) -> None:
        """`hop` is where responses go (RFC 3261 §18.2.2)."""
        self.on_ack: Callable[[Request], None] = _ignore_ack
        self.on_failure: Callable[[Failure], None] = _ignore_failure
        kind = Kind.SERVER_INVITE if request.method == "INVITE" else Kind.SERVER_OTHER
        super().__init__(layer, kind, key, request, hop)

    def respond(self, response: Response) -> None:
        """Sends a response; a 2xx to INVITE may be sent again while Accepted (RFC 6026 §7.1)."""
        if response.status < 200:
            self._meet(Event.SEND_PROVISIONAL, response)
        else:
            self._meet(Event.SEND_SUCCESS if response.status < 300 else Event.SEND_REFUSAL, response)

    @property
    def answered_tag(self) -> str | None:
        """The To tag of our latest response; None before the first one and in a 100."""
        return None if self._last is None else tag_of(self._last.get("To") or "")

    def receive(self, request: Request) -> None:
        """The same request again, or the ACK of an INVITE."""
        self._meet(Event.ACK if request.method == "ACK" else Event.REQUEST, request)

    def _act_in_role(self, action: Do, message: Request | Response | None) -> None:
        if action is Do.TELL_BROKEN:
            self.on_failure(Failure.BROKEN)
        elif action is Do.TELL and isinstance(message, Request):
            self.on_ack(message)


class TransactionLayer:
    """All transactions of one endpoint: opens them, finds them, counts them."""

    def __init__(self, rim: Rim, timers: Timers, counters: Counters) -> None:
        """Branches carry a random salt and a count, so that no restart repeats one."""
        self.rim = rim
        self.timers = timers
        self.counters = counters
        self._clients: dict[tuple[str, ...], ClientTransaction] = {}
        self._servers: dict[tuple[str, ...], ServerTransaction] = {}
        self._salt = secrets.token_hex(8)
        self._count = count(1)

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    @property
    def full(self) -> bool:
        """True at `TRANSACTIONS_MAX`: answer nothing new with state."""
        return len(self) >= TRANSACTIONS_MAX

    def stamp(self, request: Request, hop: Hop) -> None:
        """Puts our Via with a fresh branch on top; on UDP it asks for `rport` (RFC 3581)."""
        rport = "" if hop.reliable else ";rport"
        branch = f"{MAGIC_COOKIE}{self._salt}{next(self._count):x}"
        request.prepend(
            "Via", f"SIP/2.0/{hop.transport} {self.rim.sent_by(hop.transport)};branch={branch}{rport}"
        )

    def request(
        self,
        request: Request,
        hop: Hop,
        on_response: Callable[[Response], None],
        on_failure: Callable[[Failure], None],
    ) -> ClientTransaction:
        """Stamps and sends a request of ours. LocalSipError("transactions_full") at the limit."""
        if self.full:
            raise LocalSipError("transactions_full", "There are too many transactions.", retryable=True)
        self.stamp(request, hop)
        return self._open(request, hop, on_response, on_failure)

    def _open(
        self,
        request: Request,
        hop: Hop,
        on_response: Callable[[Response], None],
        on_failure: Callable[[Failure], None],
    ) -> ClientTransaction:
        transaction = ClientTransaction(self, request, hop, on_response, on_failure)
        self._clients[transaction.key] = transaction
        return transaction

    def send_cancel(self, invite: ClientTransaction) -> None:
        """CANCEL with the branch of its INVITE (§9.1); the outcome of its transaction decides nothing."""
        self._open(hop_by_hop(invite.request, "CANCEL"), invite.hop, _ignore_response, _ignore_failure)

    def serve(self, request: Request, hop: Hop) -> ServerTransaction:
        """Opens the transaction of a new request; `hop` is where its responses go."""
        transaction = ServerTransaction(self, server_key(request, request.method), request, hop)
        self._servers[transaction.key] = transaction
        return transaction

    def receive_request(self, request: Request) -> bool:
        """True when the request belonged to a transaction we hold: a repeat, or the ACK of an INVITE."""
        method = "INVITE" if request.method == "ACK" else request.method
        transaction = self._servers.get(server_key(request, method))
        if transaction is None:
            return False
        if request.method != "ACK":
            self.counters["retransmissions_in"] += 1
        transaction.receive(request)
        return True

    def receive_response(self, response: Response) -> bool:
        """True when the response answered a request of ours (§17.1.3: branch and CSeq method)."""
        transaction = self._clients.get((top_via(response).branch or "", cseq(response).method))
        if transaction is None:
            return False
        transaction.receive(response)
        return True

    def cancelled_by(self, cancel: Request) -> ServerTransaction | None:
        """The INVITE transaction that a CANCEL means (§9.2: matched as if the method were INVITE)."""
        return self._servers.get(server_key(cancel, "INVITE"))

    def broken(self, hop: Hop) -> None:
        """The transport lost a path: every transaction on it meets that."""
        for transaction in [*self._clients.values(), *self._servers.values()]:
            if transaction.hop.same_path(hop):
                transaction.broken()

    def forget(self, transaction: Transaction) -> None:
        """Called once by each transaction at its end."""
        table = self._clients if isinstance(transaction, ClientTransaction) else self._servers
        if table.get(transaction.key) is transaction:
            del table[transaction.key]


def server_key(request: Request, method: str) -> tuple[str, ...]:
    """What tells server transactions apart (RFC 3261 §17.2.3), with the rule for RFC 2543 branches."""
    via = top_via(request)
    sent_by = f"{via.host}:{via.port}"
    if via.branch is not None and via.branch.startswith(MAGIC_COOKIE):
        return (via.branch, sent_by, method)
    number = str(cseq(request).number)
    return (request.get("Call-ID") or "", tag_of(request.get("From") or "") or "", number, sent_by, method)


def hop_by_hop(request: Request, method: str, *, to: str | None = None) -> Request:
    """ACK (§17.1.1.3, with the To of the refusal) or CANCEL (§9.1) that goes along with an INVITE of ours."""
    copy = Request(method, request.uri)
    copy.add("Via", request.get_all("Via")[0])
    for route in request.get_all("Route"):
        copy.add("Route", route)
    copy.add("Max-Forwards", "70")
    copy.add("From", request.get("From") or "")
    copy.add("To", to or request.get("To") or "")
    copy.add("Call-ID", request.get("Call-ID") or "")
    copy.add("CSeq", f"{cseq(request).number} {method}")
    return copy


def _ignore_ack(_ack: Request) -> None:
    """The user layer has no interest in ACKs."""


def _ignore_response(_response: Response) -> None:
    """The outcome of a CANCEL decides nothing: the INVITE's own final response does."""


def _ignore_failure(_failure: Failure) -> None:
    """Nobody waits for this transaction."""
