"""The four machines: what the tables say, what the timers do, and that every walk ends."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.sip.errors import LocalSipError
from pay_ivr.sip.machines import RUNNING, START, TABLES, TIMERS, Event, Kind, State, Timer, printed
from pay_ivr.sip.rim import Counters, Hop, Timers, Transport
from pay_ivr.sip.transaction import Failure, ServerTransaction, TransactionLayer
from pay_ivr.sip.wire import Message, Request, Response, response_to, top_via
from tests.support.sipnet import FakeClock

PEER = Hop(Transport.UDP, "192.0.2.2", 5060)
STREAM = Hop(Transport.TCP, "192.0.2.2", 5060, connection=7)

CLIENT_EVENTS = {Event.PROVISIONAL, Event.SUCCESS, Event.REFUSAL, Event.BROKEN}
SERVER_EVENTS = {Event.REQUEST, Event.BROKEN}


class Wire:
    """A rim that remembers what was sent and when."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sent: list[tuple[float, Message]] = []

    def transmit(self, message: Message, hop: Hop) -> None:
        self.sent.append((self.clock.now() - 1_000.0, message))

    def call_later(self, seconds, callback):
        return self.clock.call_later(seconds, callback)

    def now(self) -> float:
        return self.clock.now()

    def sent_by(self, transport: Transport) -> str:
        return "192.0.2.1:5060"

    def times(self, method: str) -> list[float]:
        """When requests of that method left, in seconds since the start."""
        return [
            round(at, 3)
            for at, message in self.sent
            if isinstance(message, Request) and message.method == method
        ]

    def statuses(self) -> list[int]:
        return [message.status for _, message in self.sent if isinstance(message, Response)]


class Bench:
    """One layer on one wire, and what its user was told."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.counters = Counters()
        self.layer = TransactionLayer(self.wire, Timers(), self.counters)
        self.responses: list[int] = []
        self.failures: list[Failure] = []
        self.acks = 0

    def send(self, method: str, hop: Hop = PEER):
        """A client transaction of ours."""
        return self.layer.request(
            request(method), hop, lambda answer: self.responses.append(answer.status), self.failures.append
        )

    def hear(self, status: int, transaction) -> bool:
        """A response of the peer to it."""
        return self.layer.receive_response(response_to(transaction.request, status, to_tag="peer"))

    def serve(self, method: str, hop: Hop = PEER) -> ServerTransaction:
        """A server transaction for a request of the peer."""
        transaction = self.layer.serve(from_peer(method), hop)
        transaction.on_ack = lambda _ack: setattr(self, "acks", self.acks + 1)
        transaction.on_failure = self.failures.append
        return transaction


def request(method: str) -> Request:
    made = Request(method, "sip:b@192.0.2.2")
    for name, value in (
        ("From", "<sip:a@192.0.2.1>;tag=a"),
        ("To", "<sip:b@192.0.2.2>"),
        ("Call-ID", "c1"),
        ("CSeq", f"1 {method}"),
    ):
        made.add(name, value)
    return made


def from_peer(method: str, branch: str = "z9hG4bKpeer") -> Request:
    made = request(method)
    made.prepend("Via", f"SIP/2.0/UDP 192.0.2.2:5060;branch={branch}")
    return made


def rows(kind: Kind) -> set[State]:
    return {state for state in RUNNING[kind] if state is not State.TERMINATED}


@pytest.mark.parametrize("kind", Kind)
def test_every_state_has_a_row_for_every_timer_that_runs_in_it(kind: Kind) -> None:
    """A timer without a row would be a walk that never ends."""
    wanted = {(state, timer) for state, timers in RUNNING[kind].items() for timer in timers}
    assert wanted == {pair for pair in TABLES[kind] if isinstance(pair[1], Timer)}


@pytest.mark.parametrize("kind", Kind)
def test_whatever_the_network_brings_has_a_row(kind: Kind) -> None:
    """A peer can never drive a machine off its table."""
    events = CLIENT_EVENTS if kind in {Kind.CLIENT_INVITE, Kind.CLIENT_OTHER} else SERVER_EVENTS
    events = events | {Event.ACK} if kind is Kind.SERVER_INVITE else events
    assert [] == [
        (state, event) for state in rows(kind) for event in events if (state, event) not in TABLES[kind]
    ]


@pytest.mark.parametrize("kind", Kind)
def test_every_state_is_reached_and_left(kind: Kind) -> None:
    """No dead rows: each state can be entered from the start, and each leads to the end."""
    after = {(state, target) for (state, _), (target, _) in TABLES[kind].items()}
    reached = {START[kind]}
    for _ in rows(kind):
        reached |= {target for state, target in after if state in reached}
    ending = {State.TERMINATED}
    for _ in rows(kind):
        ending |= {state for state, target in after if target in ending}
    assert (rows(kind) | {State.TERMINATED}, rows(kind) | {State.TERMINATED}) == (reached, ending)


def test_every_timer_has_a_rule_and_a_state() -> None:
    """The letters of the RFC, each with its data, each used."""
    used = {timer for states in RUNNING.values() for timers in states.values() for timer in timers}
    assert set(Timer) == set(TIMERS) == used


def test_table_prints_one_row_a_line() -> None:
    """The docs are made from this text."""
    assert "Calling    SUCCESS          -> Accepted   TELL" in printed(Kind.CLIENT_INVITE).splitlines()


def test_unanswered_invite_is_sent_seven_times_and_then_given_up() -> None:
    """Timer A doubles from T1, timer B ends it after 64·T1 (RFC 3261 §17.1.1.2)."""
    bench = Bench()
    bench.send("INVITE")
    bench.wire.clock.run(100)
    assert [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5] == bench.wire.times("INVITE")
    assert ([Failure.TIMEOUT], 0, 0) == (bench.failures, len(bench.layer), bench.wire.clock.pending)


def test_unanswered_bye_is_sent_eleven_times() -> None:
    """Timer E doubles up to T2, timer F ends it (RFC 3261 §17.1.2.2)."""
    bench = Bench()
    bench.send("BYE")
    bench.wire.clock.run(100)
    assert [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5] == bench.wire.times("BYE")
    assert [Failure.TIMEOUT] == bench.failures


def test_nothing_is_repeated_on_a_stream() -> None:
    """TCP repeats by itself; timer B still ends the wait."""
    bench = Bench()
    bench.send("INVITE", STREAM)
    bench.send("BYE", STREAM)
    bench.wire.clock.run(100)
    assert ([0], [0]) == (bench.wire.times("INVITE"), bench.wire.times("BYE"))
    assert [Failure.TIMEOUT, Failure.TIMEOUT] == bench.failures


def test_provisional_stops_repeats_and_timer_b() -> None:
    """Ringing may last longer than 32 s: the ring time-out belongs to the user."""
    bench = Bench()
    transaction = bench.send("INVITE")
    bench.hear(180, transaction)
    bench.wire.clock.run(600)
    assert ([0], [], 1) == (bench.wire.times("INVITE"), bench.failures, len(bench.layer))


def test_refusal_is_acknowledged_each_time_and_told_once() -> None:
    """The ACK of a refusal is the transaction's own, with the branch of the INVITE and the peer's tag."""
    bench = Bench()
    transaction = bench.send("INVITE")
    bench.hear(486, transaction)
    bench.hear(486, transaction)
    acks = [
        message for _, message in bench.wire.sent if isinstance(message, Request) and message.method == "ACK"
    ]
    assert (2, [486]) == (len(acks), bench.responses)
    assert (top_via(transaction.request).branch, "<sip:b@192.0.2.2>;tag=peer") == (
        top_via(acks[0]).branch,
        acks[0].get("To"),
    )
    bench.wire.clock.run(32)
    assert (0, 0) == (len(bench.layer), bench.wire.clock.pending)


def test_late_provisional_after_the_final_is_ignored() -> None:
    """Two workers of a proxy reorder: a 180 behind the 200 is nothing new."""
    bench = Bench()
    transaction = bench.send("INVITE")
    bench.hear(200, transaction)
    bench.hear(180, transaction)
    assert ([200], State.ACCEPTED) == (bench.responses, transaction.state)


def test_every_2xx_reaches_the_user_while_accepted() -> None:
    """RFC 6026: repeats and forks of a 2xx are for the user, who sends the ACKs."""
    bench = Bench()
    transaction = bench.send("INVITE")
    for _ in range(3):
        bench.hear(200, transaction)
    assert ([200, 200, 200], []) == (bench.responses, bench.wire.times("ACK"))
    bench.wire.clock.run(32)
    assert False is bench.hear(200, transaction)


def test_cancel_waits_for_a_provisional() -> None:
    """RFC 3261 §9.1: nothing may be cancelled before the far side is known to have it."""
    bench = Bench()
    transaction = bench.send("INVITE")
    transaction.cancel()
    assert [] == bench.wire.times("CANCEL")
    bench.wire.clock.run(2)
    bench.hear(100, transaction)
    assert [2.0] == bench.wire.times("CANCEL")
    assert [0, 0.5, 1.5] == bench.wire.times("INVITE")


def test_cancel_has_the_branch_and_number_of_its_invite() -> None:
    """Otherwise the far side does not find what to cancel."""
    bench = Bench()
    transaction = bench.send("INVITE")
    bench.hear(180, transaction)
    transaction.cancel()
    cancel = bench.wire.sent[-1][1]
    assert (transaction.request.get("Via"), "1 CANCEL", "<sip:b@192.0.2.2>") == (
        cancel.get("Via"),
        cancel.get("CSeq"),
        cancel.get("To"),
    )


def test_cancelled_invite_without_final_response_is_given_up() -> None:
    """64·T1 after the CANCEL the INVITE counts as cancelled (RFC 3261 §9.1)."""
    bench = Bench()
    transaction = bench.send("INVITE")
    bench.hear(180, transaction)
    transaction.cancel()
    bench.wire.clock.run(33)
    assert ([Failure.TIMEOUT], 0) == (bench.failures, len(bench.layer))


def test_cancel_after_the_final_changes_nothing() -> None:
    """The race is lost; the user answers with ACK and BYE."""
    bench = Bench()
    transaction = bench.send("INVITE")
    bench.hear(200, transaction)
    transaction.cancel()
    bench.wire.clock.run(40)
    transaction.cancel()
    assert [] == bench.wire.times("CANCEL")


def test_broken_path_ends_what_waits_on_it_and_nothing_else() -> None:
    """A closed connection fails its own transactions at once."""
    bench = Bench()
    bench.send("INVITE", STREAM)
    bench.send("BYE", PEER)
    bench.layer.broken(STREAM)
    assert ([Failure.BROKEN], 1) == (bench.failures, len(bench.layer))


def test_repeated_invite_gets_the_last_response_again() -> None:
    """A second INVITE is never a second call."""
    bench = Bench()
    transaction = bench.serve("INVITE")
    transaction.respond(response_to(transaction.request, 100))
    transaction.respond(response_to(transaction.request, 180))
    assert True is bench.layer.receive_request(from_peer("INVITE"))
    assert ([100, 180, 180], 1) == (bench.wire.statuses(), bench.counters["retransmissions_in"])


def test_refusal_is_repeated_until_the_ack() -> None:
    """Timer G doubles up to T2; the ACK stops it, timer I swallows further ACKs."""
    bench = Bench()
    transaction = bench.serve("INVITE")
    transaction.respond(response_to(transaction.request, 486, to_tag="x"))
    bench.wire.clock.run(4)
    assert [486] * 4 == bench.wire.statuses()
    assert True is bench.layer.receive_request(from_peer("ACK"))
    bench.wire.clock.run(4)
    assert (State.CONFIRMED, [486] * 4, 0) == (transaction.state, bench.wire.statuses(), bench.acks)
    bench.wire.clock.run(2)
    assert 0 == len(bench.layer)


def test_unacknowledged_refusal_is_given_up() -> None:
    """Timer H after 64·T1: eleven repeats and the end."""
    bench = Bench()
    transaction = bench.serve("INVITE")
    transaction.respond(response_to(transaction.request, 486, to_tag="x"))
    bench.wire.clock.run(40)
    assert (11, 0) == (len(bench.wire.statuses()), len(bench.layer))


def test_ack_with_the_branch_of_the_invite_is_taken_while_accepted() -> None:
    """Some phones send the ACK of a 2xx with the INVITE's branch and a tag of their own."""
    bench = Bench()
    transaction = bench.serve("INVITE")
    transaction.respond(response_to(transaction.request, 200, to_tag="ours"))
    ack = from_peer("ACK")
    ack.set("To", "<sip:b@192.0.2.2>;tag=invented")
    assert (True, 1) == (bench.layer.receive_request(ack), bench.acks)


def test_bye_and_invite_with_one_branch_are_two_transactions() -> None:
    """Phones that copy our Via into their BYE must not hit the INVITE."""
    bench = Bench()
    bench.serve("INVITE")
    assert False is bench.layer.receive_request(from_peer("BYE"))


def test_branches_without_cookie_are_told_apart_by_call() -> None:
    """RFC 2543 peers may send the same branch, or none, for everything."""
    bench = Bench()
    bench.layer.serve(from_peer("OPTIONS", branch="1"), PEER)
    other = from_peer("OPTIONS", branch="1")
    other.set("Call-ID", "c2")
    assert (True, False) == (
        bench.layer.receive_request(from_peer("OPTIONS", branch="1")),
        bench.layer.receive_request(other),
    )


def test_full_table_refuses_requests_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on every table."""
    monkeypatch.setattr("pay_ivr.sip.transaction.TRANSACTIONS_MAX", 1)
    bench = Bench()
    bench.send("BYE")
    with pytest.raises(LocalSipError) as refused:
        bench.send("BYE")
    assert ("transactions_full", True) == (refused.value.code, refused.value.retryable)


def test_no_branch_is_used_twice() -> None:
    """Also not after a restart: each layer has a salt of its own."""
    layers = [Bench().layer for _ in range(3)]
    made = [request("OPTIONS") for _ in range(300)]
    for number, each in enumerate(made):
        layers[number % 3].stamp(each, PEER)
    assert 300 == len({top_via(each).branch for each in made})


RESPONSES = st.sampled_from([100, 180, 200, 404, 486, 503, 699])
STEPS = st.lists(
    st.tuples(st.floats(0, 12), st.sampled_from(["hear", "cancel", "break"]), RESPONSES), max_size=12
)


@given(method=st.sampled_from(["INVITE", "BYE", "OPTIONS"]), steps=STEPS, stream=st.booleans())
def test_every_client_walk_ends_with_an_empty_table(method: str, steps: list, stream: bool) -> None:
    """Whatever comes in whatever order: a final, a failure, or a ringing that only the user may end."""
    bench = Bench()
    hop = STREAM if stream else PEER
    transaction = bench.send(method, hop)
    for pause, step, status in steps:
        bench.wire.clock.run(pause)
        if step == "hear":
            bench.hear(status, transaction)
        elif step == "break":
            bench.layer.broken(hop)
        elif method == "INVITE":
            transaction.cancel()
    if method == "INVITE":
        transaction.cancel()
    bench.wire.clock.run(200)
    assert (0, 0) == (len(bench.layer), bench.wire.clock.pending)
    assert [] == [
        (before, after)
        for before, after in pairwise(bench.responses)
        if before >= 200 and not 200 <= after < 300
    ]


SERVER_STEPS = st.lists(
    st.tuples(st.floats(0, 12), st.sampled_from(["again", "ack", "break", "answer"]), RESPONSES), max_size=12
)


@given(method=st.sampled_from(["INVITE", "BYE"]), steps=SERVER_STEPS, stream=st.booleans())
def test_every_server_walk_ends_once_it_is_answered(method: str, steps: list, stream: bool) -> None:
    """Repeats, early ACKs and broken paths in any order; the user answers finally at most once."""
    bench = Bench()
    hop = STREAM if stream else PEER
    transaction = bench.serve(method, hop)
    final = False
    for pause, step, status in [*steps, (0, "answer", 486)]:
        bench.wire.clock.run(pause)
        if step == "again":
            bench.layer.receive_request(from_peer(method))
        elif step == "ack":
            bench.layer.receive_request(from_peer("ACK"))
        elif step == "break":
            bench.layer.broken(hop)
        elif not final:
            final = status >= 200
            transaction.respond(response_to(transaction.request, status, to_tag="x"))
    bench.wire.clock.run(200)
    assert (0, 0) == (len(bench.layer), bench.wire.clock.pending)
