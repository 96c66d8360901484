"""The core against a hostile network: broken copies of good messages, by a seed, in the middle of calls."""

from random import Random

import pytest

from pay_ivr.sip import core, source
from pay_ivr.sip.core import CoreSettings
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import LegState
from pay_ivr.sip.rim import Hop, Transport
from pay_ivr.sip.source import SourceLimits
from pay_ivr.sip.wire import Request
from tests.support.sipnet import SDP, Net, Node, Observed, Peer

CALLER, CALLED = "192.0.2.1", "192.0.2.2"
MUTANTS = 10_000
PIECES = (
    *(b"\r\n", b";", b",", b"<", b'"', b":", b"tag=", b"\xff", b"\0", b"SIP/2.0", b"sips:", b"[::1]"),
    *(b"INVITE", b"BYE", b"ACK", b"CANCEL", b"INFO", b"99999", b"-1", b"200", b"481"),
    *(b"Record-Route: <sip:x;lr>\r\n", b"Contact: *\r\n", b"CSeq: 9 BYE\r\n"),
)


def mutated(data: bytes, random: Random) -> bytes:
    """The message with one to four pieces cut out, doubled or put in."""
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.randint(0, 12))
        piece = random.choice((b"", data[start:end] * 2, random.choice(PIECES), random.choice(PIECES)))
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.parametrize("seed", range(2))
def test_broken_messages_in_the_middle_of_calls_raise_nothing_and_leave_nothing(seed: int) -> None:
    """Mutants of every message of two calls go to both sides, from the right address, while the calls run."""
    net = Net(seed=seed)
    random = Random(seed)
    settings = CoreSettings(source_rate_per_s=1e9, source_burst=1e9)
    caller, called = Node(net, CALLER, settings=settings), Node(net, CALLED, settings=settings)
    called.decide = answer
    leg, observer = caller.call(f"1@{CALLED}")
    net.clock.run(1)
    leg.reinvite(SDP)
    net.clock.run(1)
    called.legs[0].reinvite(SDP)
    net.clock.run(1)
    good = [(sender, data) for _, sender, _, data in net.sent]
    for _ in range(MUTANTS):
        sender, data = random.choice(good)
        node, source_ip = (called, CALLER) if sender == CALLER else (caller, CALLED)
        node.hear(mutated(data, random), Hop(Transport.UDP, source_ip, 5060))
        net.clock.run(0.01)
    for each in (*caller.legs, *called.legs, leg):
        each.hang_up()
    net.clock.run(600)
    assert (True, True, 0) == (caller.empty(), called.empty(), net.clock.pending)
    assert {1} == {len(each.ended) for each in (observer, *caller.observers, *called.observers)}
    assert 0 < called.core.counters["bad"]


def answer(leg: InviteLeg) -> None:
    leg.answer(SDP)


def test_calls_beyond_the_limit_are_503_and_free_a_place_when_they_end() -> None:
    """A limit on incoming legs; the trunk is told when to come back."""
    net = Net()
    caller, called = Node(net, CALLER), Node(net, CALLED, settings=CoreSettings(calls_max=2))
    called.decide = answer
    calls = [caller.call(f"1@{CALLED}") for _ in range(3)]
    net.clock.run(1)
    assert [503] == [observer.ended[0][1] for _, observer in calls if observer.ended]
    refusal = next(message for *_, message in net.log if "503" in message.start_line())
    assert "10" == refusal.get("Retry-After")
    calls[0][0].hang_up()
    net.clock.run(1)
    again, _ = caller.call(f"1@{CALLED}")
    net.clock.run(1)
    assert LegState.UP is again.state


def test_outgoing_legs_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runaway app is stopped before the memory is."""
    monkeypatch.setattr(core, "OUTGOING_PER_CALL_MAX", 1)
    node = Node(Net(), CALLER, settings=CoreSettings(calls_max=1))
    node.call(f"1@{CALLED}")
    with pytest.raises(core.LocalSipError) as refused:
        node.call(f"1@{CALLED}")
    assert ("legs_full", True) == (refused.value.code, refused.value.retryable)


def test_full_transaction_table_is_503_without_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a flood nothing new is kept, and everybody is told."""
    net = Net()
    caller, called = Node(net, CALLER), Node(net, CALLED)
    _, observer = caller.call(f"1@{CALLED}")
    monkeypatch.setattr("pay_ivr.sip.transaction.TRANSACTIONS_MAX", 0)
    net.clock.run(1)
    assert ([503], 0, []) == ([status for _, status in observer.ended], len(called.core.layer), called.legs)
    with pytest.raises(core.LocalSipError):
        caller.call(f"1@{CALLED}")


def test_drained_node_refuses_calls_and_keeps_those_it_has() -> None:
    """503 for the new one; the old one goes on to its end."""
    net = Net()
    caller, called = Node(net, CALLER), Node(net, CALLED)
    called.decide = answer
    first, _ = caller.call(f"1@{CALLED}")
    net.clock.run(1)
    called.core.draining = True
    _, second = caller.call(f"1@{CALLED}")
    net.clock.run(1)
    assert (503, LegState.UP) == (second.ended[0][1], first.state)


def test_bucket_refills_and_forgets_the_oldest_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Burst, then rate; the table of sources is bounded."""
    monkeypatch.setattr(source, "SOURCES_MAX", 2)
    limits = SourceLimits(rate_per_s=2, burst=3)
    assert [True, True, True, False] == [limits.allow("a", 0.0) for _ in range(4)]
    assert [True, False] == [limits.allow("a", 0.5) for _ in range(2)]
    limits.allow("b", 1.0)
    limits.allow("c", 1.0)
    assert (2, [True, True]) == (len(limits), [limits.allow("a", 1.0) for _ in range(2)])


def test_observer_that_comes_after_the_end_is_told_it() -> None:
    """An app may refuse inside `on_invite`, before its observer is known."""
    net = Net()
    caller, called = Node(net, CALLER), Node(net, CALLED)
    called.decide = lambda leg: leg.reject(486)
    _, observer = caller.call(f"1@{CALLED}")
    net.clock.run(1)
    assert (486, ["ended"]) == (observer.ended[0][1], called.observers[0].told)
    assert isinstance(observer, Observed)


def test_strangers_fill_no_table_and_are_answered_once(net_of_strangers: tuple[Net, Node, Peer]) -> None:
    """Whoever may not call is told 404 without a transaction: no repeats to an address that may be forged."""
    net, node, stranger = net_of_strangers
    for number in range(50):
        stranger.say(invite(number), CALLED)
    net.clock.run(60)
    assert (["404 INVITE"] * 50, [], True) == (stranger.said_to(), node.legs, node.empty())


def test_refusals_fill_no_table(net_of_strangers: tuple[Net, Node, Peer]) -> None:
    """REGISTER without a login, unknown methods, dialogs that are not ours."""
    net, node, stranger = net_of_strangers
    for number, method in enumerate(("REGISTER", "REFER", "SUBSCRIBE", "BYE")):
        request = invite(number)
        request.method = method
        request.set("CSeq", f"1 {method}")
        stranger.say(request, CALLED)
        net.clock.run(0.1)
        assert node.empty()
    assert ["401 REGISTER", "403 REFER", "405 SUBSCRIBE", "481 BYE"] == stranger.said_to()


def test_trunks_still_call(net_of_strangers: tuple[Net, Node, Peer]) -> None:
    """The list names who may."""
    net, node, _ = net_of_strangers
    trunk = Node(net, CALLER)
    node.decide = answer
    _, observer = trunk.call(f"1@{CALLED}")
    net.clock.run(1)
    assert ["answered"] == observer.told


@pytest.fixture
def net_of_strangers() -> tuple[Net, Node, Peer]:
    """A node that takes calls from CALLER only, and somebody else."""
    net = Net()
    settings = CoreSettings(invite_from=frozenset({CALLER}))
    return net, Node(net, CALLED, settings=settings), Peer(net, "192.0.2.66")


def invite(number: int) -> Request:
    """An INVITE as a scanner sends it."""
    request = Request("INVITE", f"sip:{number}@{CALLED}")
    for name, value in (
        ("Via", f"SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK{number};rport"),
        ("Max-Forwards", "70"),
        ("From", "<sip:100@192.0.2.66>;tag=s"),
        ("To", f"<sip:{number}@{CALLED}>"),
        ("Call-ID", f"scan-{number}"),
        ("CSeq", "1 INVITE"),
        ("Contact", "<sip:100@192.0.2.66>"),
    ):
        request.add(name, value)
    return request
