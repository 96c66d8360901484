"""SIP transactions: four printed tables, one machine that walks them, one layer that finds the right one.

RFC 3261 §17 with the corrections of RFC 6026 (state Accepted, timers L and M) and CANCEL as RFC 3261 §9.1 wants it:
a CANCEL waits for a provisional response. Sans-IO: everything goes through a `Rim`. The rule this file owns: a
transaction that was opened ends, and its entry leaves the table, whatever the network does.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from itertools import count

from pay_ivr.sip.errors import LocalSipError
from pay_ivr.sip.rim import Counters, Hop, Rim, TimerHandle, Timers
from pay_ivr.sip.wire import MAGIC_COOKIE, Request, Response, cseq, tag_of, top_via

TRANSACTIONS_MAX = 20_000
"""Entries of both directions together. At 100 calls a second and 32 s of afterlife a bridged call holds about six."""


class Kind(StrEnum):
    """The four machines."""

    CLIENT_INVITE = "INVITE client"
    CLIENT_OTHER = "non-INVITE client"
    SERVER_INVITE = "INVITE server"
    SERVER_OTHER = "non-INVITE server"


class State(StrEnum):
    """States of RFC 3261 figures 5 to 8 and RFC 6026, plus two of our own for CANCEL."""

    CALLING = "Calling"
    WITHDRAWN = "Withdrawn"
    """Ours: as Calling, but a CANCEL leaves as soon as the first provisional arrives."""
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    CANCELLING = "Cancelling"
    """Ours: as Proceeding with the CANCEL sent; ends after 64·T1 without a final response (§9.1)."""
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    ACCEPTED = "Accepted"
    TERMINATED = "Terminated"


class Timer(StrEnum):
    """Timers of RFC 3261 table 4 and RFC 6026; X is the unlettered one of RFC 3261 §9.1."""

    A = "A"
    B = "B"
    D = "D"
    E = "E"
    F = "F"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741 - the letter of the RFC
    J = "J"
    K = "K"
    L = "L"
    M = "M"
    X = "X"


class Event(Enum):
    """What a machine can meet besides its timers."""

    REQUEST = auto()
    """The request again: a retransmission."""
    ACK = auto()
    PROVISIONAL = auto()
    SUCCESS = auto()
    REFUSAL = auto()
    """A final response of 300 to 699."""
    SEND_PROVISIONAL = auto()
    SEND_SUCCESS = auto()
    SEND_REFUSAL = auto()
    CANCEL = auto()
    """Our user wants the INVITE withdrawn."""
    BROKEN = auto()
    """The transport reported a failure."""


class Do(Enum):
    """What a machine does on the way to the next state, in the order of the table."""

    REPEAT = auto()
    """Send the last message of ours again."""
    SEND = auto()
    """Send the response that our user handed in and keep it for repeats."""
    ACK = auto()
    """Send the ACK of a refusal: same branch, hop by hop (§17.1.1.3)."""
    CANCEL = auto()
    TELL = auto()
    """Hand the message to our user."""
    TELL_TIMEOUT = auto()
    TELL_BROKEN = auto()


@dataclass(frozen=True, slots=True)
class TimerRule:
    """How long a timer runs, and what a reliable transport makes of it."""

    base: str
    """`t1`, `t2`, `t4` or `patience` (64·T1), fields of `Timers`."""
    repeats: bool = False
    """Runs again after firing, each time twice as long."""
    capped: bool = False
    """The doubling stops at T2."""
    reliable: str = "same"
    """On TCP: `same`, `zero` (at once) or `never`."""


TIMERS: dict[Timer, TimerRule] = {
    Timer.A: TimerRule("t1", repeats=True, reliable="never"),
    Timer.B: TimerRule("patience"),
    Timer.D: TimerRule("patience", reliable="zero"),
    Timer.E: TimerRule("t1", repeats=True, capped=True, reliable="never"),
    Timer.F: TimerRule("patience"),
    Timer.G: TimerRule("t1", repeats=True, capped=True, reliable="never"),
    Timer.H: TimerRule("patience"),
    Timer.I: TimerRule("t4", reliable="zero"),
    Timer.J: TimerRule("patience", reliable="zero"),
    Timer.K: TimerRule("t4", reliable="zero"),
    Timer.L: TimerRule("patience"),
    Timer.M: TimerRule("patience"),
    Timer.X: TimerRule("patience"),
}

RUNNING: dict[Kind, dict[State, tuple[Timer, ...]]] = {
    Kind.CLIENT_INVITE: {
        State.CALLING: (Timer.A, Timer.B),
        State.WITHDRAWN: (Timer.A, Timer.B),
        State.PROCEEDING: (),
        State.CANCELLING: (Timer.X,),
        State.COMPLETED: (Timer.D,),
        State.ACCEPTED: (Timer.M,),
        State.TERMINATED: (),
    },
    Kind.CLIENT_OTHER: {
        State.TRYING: (Timer.E, Timer.F),
        State.PROCEEDING: (Timer.E, Timer.F),
        State.COMPLETED: (Timer.K,),
        State.TERMINATED: (),
    },
    Kind.SERVER_INVITE: {
        State.PROCEEDING: (),
        State.COMPLETED: (Timer.G, Timer.H),
        State.CONFIRMED: (Timer.I,),
        State.ACCEPTED: (Timer.L,),
        State.TERMINATED: (),
    },
    Kind.SERVER_OTHER: {
        State.TRYING: (),
        State.PROCEEDING: (),
        State.COMPLETED: (Timer.J,),
        State.TERMINATED: (),
    },
}
"""Timers that run in a state: entering it starts the missing ones, leaving it stops the others."""

START: dict[Kind, State] = {
    Kind.CLIENT_INVITE: State.CALLING,
    Kind.CLIENT_OTHER: State.TRYING,
    Kind.SERVER_INVITE: State.PROCEEDING,
    Kind.SERVER_OTHER: State.TRYING,
}

Table = dict[tuple[State, Event | Timer], tuple[State, tuple[Do, ...]]]

_CLIENT_INVITE: Table = {
    (State.CALLING, Timer.A): (State.CALLING, (Do.REPEAT,)),
    (State.CALLING, Timer.B): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.CALLING, Event.PROVISIONAL): (State.PROCEEDING, (Do.TELL,)),
    (State.CALLING, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.CALLING, Event.REFUSAL): (State.COMPLETED, (Do.ACK, Do.TELL)),
    (State.CALLING, Event.CANCEL): (State.WITHDRAWN, ()),
    (State.CALLING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.WITHDRAWN, Timer.A): (State.WITHDRAWN, (Do.REPEAT,)),
    (State.WITHDRAWN, Timer.B): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.WITHDRAWN, Event.PROVISIONAL): (State.CANCELLING, (Do.CANCEL,)),
    (State.WITHDRAWN, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.WITHDRAWN, Event.REFUSAL): (State.COMPLETED, (Do.ACK, Do.TELL)),
    (State.WITHDRAWN, Event.CANCEL): (State.WITHDRAWN, ()),
    (State.WITHDRAWN, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.PROCEEDING, Event.PROVISIONAL): (State.PROCEEDING, (Do.TELL,)),
    (State.PROCEEDING, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.PROCEEDING, Event.REFUSAL): (State.COMPLETED, (Do.ACK, Do.TELL)),
    (State.PROCEEDING, Event.CANCEL): (State.CANCELLING, (Do.CANCEL,)),
    (State.PROCEEDING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.CANCELLING, Timer.X): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.CANCELLING, Event.PROVISIONAL): (State.CANCELLING, ()),
    (State.CANCELLING, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.CANCELLING, Event.REFUSAL): (State.COMPLETED, (Do.ACK, Do.TELL)),
    (State.CANCELLING, Event.CANCEL): (State.CANCELLING, ()),
    (State.CANCELLING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.COMPLETED, Timer.D): (State.TERMINATED, ()),
    (State.COMPLETED, Event.PROVISIONAL): (State.COMPLETED, ()),
    # A 2xx behind a refusal comes from a fork; the user must see it, to ACK and BYE it.
    (State.COMPLETED, Event.SUCCESS): (State.COMPLETED, (Do.TELL,)),
    (State.COMPLETED, Event.REFUSAL): (State.COMPLETED, (Do.ACK,)),
    (State.COMPLETED, Event.CANCEL): (State.COMPLETED, ()),
    (State.COMPLETED, Event.BROKEN): (State.TERMINATED, ()),
    (State.ACCEPTED, Timer.M): (State.TERMINATED, ()),
    (State.ACCEPTED, Event.PROVISIONAL): (State.ACCEPTED, ()),
    (State.ACCEPTED, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.ACCEPTED, Event.REFUSAL): (State.ACCEPTED, ()),
    (State.ACCEPTED, Event.CANCEL): (State.ACCEPTED, ()),
    (State.ACCEPTED, Event.BROKEN): (State.ACCEPTED, ()),
}

_CLIENT_OTHER: Table = {
    (State.TRYING, Timer.E): (State.TRYING, (Do.REPEAT,)),
    (State.TRYING, Timer.F): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.TRYING, Event.PROVISIONAL): (State.PROCEEDING, (Do.TELL,)),
    (State.TRYING, Event.SUCCESS): (State.COMPLETED, (Do.TELL,)),
    (State.TRYING, Event.REFUSAL): (State.COMPLETED, (Do.TELL,)),
    (State.TRYING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.PROCEEDING, Timer.E): (State.PROCEEDING, (Do.REPEAT,)),
    (State.PROCEEDING, Timer.F): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.PROCEEDING, Event.PROVISIONAL): (State.PROCEEDING, (Do.TELL,)),
    (State.PROCEEDING, Event.SUCCESS): (State.COMPLETED, (Do.TELL,)),
    (State.PROCEEDING, Event.REFUSAL): (State.COMPLETED, (Do.TELL,)),
    (State.PROCEEDING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.COMPLETED, Timer.K): (State.TERMINATED, ()),
    (State.COMPLETED, Event.PROVISIONAL): (State.COMPLETED, ()),
    (State.COMPLETED, Event.SUCCESS): (State.COMPLETED, ()),
    (State.COMPLETED, Event.REFUSAL): (State.COMPLETED, ()),
    (State.COMPLETED, Event.BROKEN): (State.TERMINATED, ()),
}

_SERVER_INVITE: Table = {
    (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, (Do.REPEAT,)),
    (State.PROCEEDING, Event.ACK): (State.PROCEEDING, ()),
    (State.PROCEEDING, Event.SEND_PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.PROCEEDING, Event.SEND_SUCCESS): (State.ACCEPTED, (Do.SEND,)),
    (State.PROCEEDING, Event.SEND_REFUSAL): (State.COMPLETED, (Do.SEND,)),
    (State.PROCEEDING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.COMPLETED, Event.REQUEST): (State.COMPLETED, (Do.REPEAT,)),
    (State.COMPLETED, Event.ACK): (State.CONFIRMED, ()),
    (State.COMPLETED, Event.BROKEN): (State.TERMINATED, ()),
    (State.COMPLETED, Timer.G): (State.COMPLETED, (Do.REPEAT,)),
    (State.COMPLETED, Timer.H): (State.TERMINATED, ()),
    (State.CONFIRMED, Event.REQUEST): (State.CONFIRMED, ()),
    (State.CONFIRMED, Event.ACK): (State.CONFIRMED, ()),
    (State.CONFIRMED, Event.BROKEN): (State.TERMINATED, ()),
    (State.CONFIRMED, Timer.I): (State.TERMINATED, ()),
    # RFC 6026 absorbs the repeated INVITE here. We answer it: it means that no response of ours arrived, and
    # the next 2xx of the user layer may be four seconds away.
    (State.ACCEPTED, Event.REQUEST): (State.ACCEPTED, (Do.REPEAT,)),
    (State.ACCEPTED, Event.ACK): (State.ACCEPTED, (Do.TELL,)),
    (State.ACCEPTED, Event.SEND_SUCCESS): (State.ACCEPTED, (Do.SEND,)),
    (State.ACCEPTED, Event.BROKEN): (State.ACCEPTED, ()),
    (State.ACCEPTED, Timer.L): (State.TERMINATED, ()),
}

_SERVER_OTHER: Table = {
    (State.TRYING, Event.REQUEST): (State.TRYING, ()),
    (State.TRYING, Event.SEND_PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.TRYING, Event.SEND_SUCCESS): (State.COMPLETED, (Do.SEND,)),
    (State.TRYING, Event.SEND_REFUSAL): (State.COMPLETED, (Do.SEND,)),
    (State.TRYING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, (Do.REPEAT,)),
    (State.PROCEEDING, Event.SEND_PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.PROCEEDING, Event.SEND_SUCCESS): (State.COMPLETED, (Do.SEND,)),
    (State.PROCEEDING, Event.SEND_REFUSAL): (State.COMPLETED, (Do.SEND,)),
    (State.PROCEEDING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.COMPLETED, Event.REQUEST): (State.COMPLETED, (Do.REPEAT,)),
    (State.COMPLETED, Event.BROKEN): (State.TERMINATED, ()),
    (State.COMPLETED, Timer.J): (State.TERMINATED, ()),
}

TABLES: dict[Kind, Table] = {
    Kind.CLIENT_INVITE: _CLIENT_INVITE,
    Kind.CLIENT_OTHER: _CLIENT_OTHER,
    Kind.SERVER_INVITE: _SERVER_INVITE,
    Kind.SERVER_OTHER: _SERVER_OTHER,
}


class Failure(StrEnum):
    """Why a transaction ended without a final response."""

    TIMEOUT = "timeout"
    """Counts as 408 (RFC 3261 §8.1.3.1)."""
    BROKEN = "broken"
    """The transport failed; counts as 503."""


class Transaction:
    """One walk through one table: state, running timers, last message of ours."""

    def __init__(self, layer: "TransactionLayer", kind: Kind, key: tuple[str, ...], request: Request, hop: Hop) -> None:
        """`hop` is where our messages of this transaction go."""
        self.kind = kind
        self.key = key
        self.request = request
        self.hop = hop
        self.state = START[kind]
        self._layer = layer
        self._last: Request | Response | None = None
        self._timers: dict[Timer, TimerHandle] = {}
        self._switch_timers()

    def broken(self) -> None:
        """The transport lost our path."""
        self._meet(Event.BROKEN)

    def _meet(self, event: Event | Timer, message: Request | Response | None = None) -> None:
        """Walks one row. A pair that is not in the table is our own mistake, never the peer's."""
        row = TABLES[self.kind].get((self.state, event))
        if row is None:
            raise LocalSipError("transaction_row", "A transaction met an event that its table does not know.")
        before, (self.state, actions) = self.state, row
        if self.state is not before:
            self._switch_timers()
        for action in actions:
            self._act(action, message)
        if self.state is State.TERMINATED and before is not State.TERMINATED:
            self._layer.forget(self)

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

    def _act_in_role(self, action: Do, message: Request | Response | None) -> None:
        raise NotImplementedError


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
        self._send(request)

    def receive(self, response: Response) -> None:
        """One response that belongs here."""
        if response.status < 200:
            self._meet(Event.PROVISIONAL, response)
        else:
            self._meet(Event.SUCCESS if response.status < 300 else Event.REFUSAL, response)

    def cancel(self) -> None:
        """Withdraws an INVITE: CANCEL now, or with the first provisional, or never if a final is here (§9.1)."""
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
        """Puts our Via with a fresh branch on top; asks for `rport` (RFC 3581) where addresses may be translated."""
        rport = "" if hop.reliable else ";rport"
        branch = f"{MAGIC_COOKIE}{self._salt}{next(self._count):x}"
        request.prepend("Via", f"SIP/2.0/{hop.transport} {self.rim.sent_by(hop.transport)};branch={branch}{rport}")

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
        """CANCEL with the branch of its INVITE (§9.1), in a transaction of its own whose outcome decides nothing."""
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


def printed(kind: Kind) -> str:
    """The table of one machine as text, one row a line; the docs' diagrams are made from the same rows."""
    rows = [
        f"{state:<10} {event.name:<16} -> {after:<10} {', '.join(action.name for action in actions)}".rstrip()
        for (state, event), (after, actions) in TABLES[kind].items()
    ]
    return "\n".join(rows)


def _ignore_ack(_ack: Request) -> None:
    """The user layer has no interest in ACKs."""


def _ignore_response(_response: Response) -> None:
    """The outcome of a CANCEL decides nothing: the INVITE's own final response does."""


def _ignore_failure(_failure: Failure) -> None:
    """Nobody waits for this transaction."""
