"""Legs between two cores on a fake clock: who sends what, when, and what the app is told."""

from dataclasses import replace

import pytest

from pay_ivr.sip.core import CoreSettings
from pay_ivr.sip.dialog import dialog_as_uas, hop_of
from pay_ivr.sip.digest import Credentials, DigestServer, Verdict, ha1_from_passwords
from pay_ivr.sip.errors import LocalSipError, SipError
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import LEGS, LIVE, EndReason, LegEvent, LegState, map_final, printed
from pay_ivr.sip.outgoing import Invitation
from pay_ivr.sip.wire import Message, Request, Response, cseq, response_to, top_via
from tests.support.sipnet import OTHER_SDP, SDP, Net, Node, Observed, Peer, line_of

CALLER, CALLED = "192.0.2.1", "192.0.2.2"


class Pair:
    """A caller, a called side that answers by itself unless told otherwise, and one call between them."""

    def __init__(self, *, answer: bool = True) -> None:
        self.net = Net()
        self.caller = Node(self.net, CALLER)
        self.called = Node(self.net, CALLED)
        if answer:
            self.called.decide = answer_at_once

    def call(self, **how) -> tuple[InviteLeg, Observed]:
        return self.caller.call(f"4930@{CALLED}", **how)

    def up(self) -> tuple[InviteLeg, Observed, InviteLeg, Observed]:
        """Both legs of an answered call: ours going out, its observer, the one that came in, its observer."""
        leg, observer = self.call()
        self.net.clock.run(1)
        assert (LegState.UP, LegState.UP) == (leg.state, self.called.legs[-1].state)
        return leg, observer, self.called.legs[-1], self.called.observers[-1]

    def settle(self) -> None:
        """Waits until every timer is gone; both sides must have empty tables then."""
        self.net.clock.run(300)
        assert (True, True, 0) == (self.caller.empty(), self.called.empty(), self.net.clock.pending)


def ring(leg: InviteLeg) -> None:
    leg.ring()


def answer_at_once(leg: InviteLeg) -> None:
    leg.ring()
    leg.answer(SDP)


def test_basic_call_is_six_messages_and_a_bye() -> None:
    """RFC 3665 §3.1 with the 100 that we always send."""
    pair = Pair()
    leg, observer, theirs, their_observer = pair.up()
    leg.hang_up()
    pair.settle()
    assert ["INVITE", "100 INVITE", "180 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"] == pair.net.lines()
    assert (["ringing", "answered", "ended"], ["confirmed", "ended"]) == (observer.told, their_observer.told)
    assert [(EndReason.LOCAL_HANG_UP, None)] == observer.ended
    assert [(EndReason.REMOTE_HANG_UP, None)] == their_observer.ended
    assert (LegState.ENDED, LegState.ENDED) == (leg.state, theirs.state)


def test_leg_tells_who_called_whom() -> None:
    """The facts that the call logic decides by."""
    pair = Pair()
    leg, _, theirs, _ = pair.up()
    assert ("4930", "alice", "Caller") == (theirs.dialled_user, theirs.caller_user, theirs.remote_display)
    assert (True, False) == (theirs.is_uas, leg.is_uas)
    assert (CALLER, 5060, "UDP") == (theirs.source.ip, theirs.source.port, theirs.source.transport)
    assert (SDP, SDP) == (theirs.remote_sdp, leg.remote_sdp)
    assert leg.call_id_header == theirs.call_id_header


def test_called_side_hangs_up_first() -> None:
    """The BYE goes to the Contact with From and To swapped."""
    pair = Pair()
    _, observer, theirs, their_observer = pair.up()
    theirs.hang_up("done")
    pair.settle()
    bye = next(message for *_, message in pair.net.log if line_of(message) == "BYE")
    assert 'SIP;cause=200;text="done"' == bye.get("Reason")
    assert [(EndReason.REMOTE_HANG_UP, None)] == observer.ended
    assert [(EndReason.LOCAL_HANG_UP, None)] == their_observer.ended


def test_both_hang_up_at_once() -> None:
    """Crossing BYEs are both answered 200 and both sides end once."""
    pair = Pair()
    leg, observer, theirs, their_observer = pair.up()
    leg.hang_up()
    theirs.hang_up()
    pair.settle()
    assert 2 == pair.net.lines().count("200 BYE")
    assert (1, 1) == (len(observer.ended), len(their_observer.ended))


def test_cancel_after_180() -> None:
    """CANCEL, 200, 487, ACK; the called side hears that the caller gave up."""
    pair = Pair(answer=False)
    pair.called.decide = ring
    leg, observer = pair.call()
    pair.net.clock.run(1)
    leg.hang_up()
    pair.settle()
    assert ["CANCEL", "200 CANCEL", "487 INVITE", "ACK"] == pair.net.lines()[3:]
    assert [(EndReason.LOCAL_HANG_UP, 487)] == observer.ended
    assert [(EndReason.CANCELLED, 487)] == pair.called.observers[0].ended


def test_cancel_before_any_provisional_waits_for_one() -> None:
    """RFC 3261 §9.1: the CANCEL leaves when the first provisional has come, not before."""
    pair = Pair(answer=False)
    pair.net.filter = lambda _message, sender: sender == CALLER or pair.net.clock.now() > 1_002
    leg, observer = pair.call()
    leg.hang_up()
    assert [(EndReason.LOCAL_HANG_UP, 487)] == observer.ended
    pair.net.clock.run(1)
    assert ["INVITE", "INVITE"] == pair.net.lines(CALLER)
    pair.settle()
    assert 1 == pair.net.lines(CALLER).count("CANCEL")
    assert [(EndReason.CANCELLED, 487)] == pair.called.observers[0].ended


def test_cancel_of_a_far_side_that_never_answers_ends_with_timer_b() -> None:
    """No provisional, no CANCEL, and nothing left behind."""
    pair = Pair()
    leg, observer = pair.caller.call("4930@192.0.2.99")
    leg.hang_up()
    pair.settle()
    assert (0, 1) == (pair.net.lines().count("CANCEL"), len(observer.ended))


def test_cancel_crossing_the_200_gives_ack_and_bye() -> None:
    """The caller is told that it hung up; the far side hears a BYE instead of a CANCEL."""
    pair = Pair(answer=False)
    leg, observer = pair.call()
    pair.net.clock.run(1)
    pair.called.legs[0].answer(SDP)
    leg.hang_up()
    pair.settle()
    lines = pair.net.lines(CALLER)
    assert (["INVITE", "CANCEL", "ACK", "BYE"], ["ended"]) == (lines, observer.told)
    assert ["confirmed", "ended"] == pair.called.observers[0].told
    assert "487 INVITE" not in pair.net.lines()


def test_ringing_longer_than_timer_b() -> None:
    """A phone that rings for 40 s is answered as any other."""
    pair = Pair(answer=False)
    pair.called.decide = ring
    leg, observer = pair.call()
    pair.net.clock.run(40)
    pair.called.legs[0].answer(SDP)
    pair.net.clock.run(1)
    assert (LegState.UP, ["ringing", "answered"]) == (leg.state, observer.told)
    leg.hang_up()
    pair.settle()


def test_ring_timeout_cancels() -> None:
    """Our own limit: CANCEL, and status 408 stands for it."""
    pair = Pair(answer=False)
    pair.called.decide = ring
    _, observer = pair.call(ring_timeout_s=20)
    pair.settle()
    assert [(EndReason.RING_TIMEOUT, 408)] == observer.ended
    assert 480 == map_final(observer.ended[0][1])
    assert [(EndReason.CANCELLED, 487)] == pair.called.observers[0].ended


def test_undecided_caller_is_refused_after_three_minutes() -> None:
    """An app that forgets a caller does not keep a transaction for ever; the 180 is repeated meanwhile."""
    pair = Pair(answer=False)
    pair.called.decide = ring
    _, observer = pair.call(ring_timeout_s=1_000)
    pair.settle()
    assert ([(EndReason.REFUSED, 480)], 3) == (observer.ended, pair.net.lines().count("180 INVITE"))
    assert [(EndReason.RING_TIMEOUT, 480)] == pair.called.observers[0].ended


def test_unreachable_agent_is_480_after_timer_b() -> None:
    """Seven INVITEs into nothing, then 408, which callers see as 480."""
    pair = Pair()
    _, observer = pair.caller.call("4930@192.0.2.99")
    started = pair.net.clock.now()
    pair.settle()
    assert (7, [(EndReason.NO_RESPONSE, 408)]) == (pair.net.lines().count("INVITE"), observer.ended)
    assert (480, 31.5) == (map_final(408), pair.net.log[-1][0] - started)


@pytest.mark.parametrize(
    ("status", "mapped"),
    [
        (486, 486),
        (603, 603),
        (404, 404),
        (503, 500),
        (408, 480),
        (401, 480),
        (407, 480),
        (302, 480),
        (488, 488),
    ],
)
def test_refusals_are_acknowledged_and_mapped(status: int, mapped: int) -> None:
    """What the agent's phone says about its person passes; what it says about us does not."""
    pair = Pair(answer=False)
    pair.called.decide = lambda leg: leg.reject(status)
    _, observer = pair.call()
    pair.settle()
    assert (["INVITE", "ACK"], [(EndReason.REFUSED, status)]) == (pair.net.lines(CALLER), observer.ended)
    assert (mapped, 1) == (map_final(status), pair.net.lines(CALLED).count(f"{status} INVITE"))


def test_503_and_408_never_reach_a_caller() -> None:
    """Whatever the far side invents; without any status it is 480."""
    mapped = {map_final(status) for status in [*range(300, 700), None]}
    assert set() == mapped & {401, 407, 408, 503} | {status for status in mapped if status < 400}


def test_lost_ack_is_eleven_answers_and_a_bye() -> None:
    """The 200 is repeated for 64·T1, then the dialog is ended with a BYE (RFC 3261 §13.3.1.4)."""
    pair = Pair()
    pair.net.filter = lambda message, _sender: line_of(message) != "ACK"
    pair.call()
    pair.settle()
    answers = [
        at for at, sender, _, message in pair.net.log if sender == CALLED and line_of(message) == "200 INVITE"
    ]
    assert (11, 31.5) == (len(answers), round(answers[-1] - answers[0], 1))
    assert [(EndReason.ACK_MISSING, 408)] == pair.called.observers[0].ended
    assert 1 == pair.net.lines(CALLED).count("BYE")


def test_repeated_200_gets_the_ack_again() -> None:
    """One lost ACK costs one more 200, nothing else."""
    pair = Pair()
    lost = iter([True])
    pair.net.filter = lambda message, _sender: not (line_of(message) == "ACK" and next(lost, False))
    leg, observer = pair.call()
    pair.net.clock.run(5)
    assert (2, 2) == (pair.net.lines().count("200 INVITE"), pair.net.lines().count("ACK"))
    assert ["ringing", "answered"] == observer.told
    leg.hang_up()
    pair.settle()


def test_hang_up_between_200_and_ack_waits_for_the_ack() -> None:
    """RFC 3261 §15: no BYE before the ACK; the app is told at once all the same."""
    pair = Pair(answer=False)
    pair.call()
    pair.net.clock.run(1)
    theirs = pair.called.legs[0]
    theirs.answer(SDP)
    theirs.hang_up()
    assert ["ended"] == pair.called.observers[0].told
    assert "BYE" not in pair.net.lines()
    pair.settle()
    assert ["INVITE", "100 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"] == pair.net.lines()


def test_late_offer_is_ours_and_its_answer_comes_in_the_ack() -> None:
    """An INVITE without SDP: our offer in the 200, the answer in the ACK."""
    pair = Pair()
    peer = Peer(pair.net, "192.0.2.9")
    invite = raw_invite(peer, b"")
    peer.on_message = lambda message: (
        peer.say(ack_of(message, SDP), CALLED) if line_of(message) == "200 INVITE" else None
    )
    peer.say(invite, CALLED)
    pair.net.clock.run(1)
    leg, observer = pair.called.legs[0], pair.called.observers[0]
    assert (["answered", "confirmed"], [SDP], SDP) == (observer.told, observer.answers, leg.remote_sdp)
    assert SDP == next(message.body for message in peer.heard if line_of(message) == "200 INVITE")


def test_late_offer_without_an_answer_is_hung_up() -> None:
    """An ACK that had to carry SDP and does not leaves no media to speak of."""
    pair = Pair()
    peer = Peer(pair.net, "192.0.2.9")
    peer.on_message = lambda message: (
        peer.say(ack_of(message, b""), CALLED) if line_of(message) == "200 INVITE" else None
    )
    peer.say(raw_invite(peer, b""), CALLED)
    pair.net.clock.run(1)
    assert [(EndReason.BAD_ANSWER, 488)] == pair.called.observers[0].ended
    assert "BYE" in peer.said_to()


def test_2xx_without_sdp_is_hung_up() -> None:
    """Our offer must be answered in the 2xx."""
    pair = Pair(answer=False)
    peer = Peer(pair.net, "192.0.2.9")
    peer.on_message = lambda message: answer_by_hand(peer, message, tag="x", sdp=b"")
    _, observer = pair.caller.call("4930@192.0.2.9")
    pair.net.clock.run(40)
    assert [(EndReason.BAD_ANSWER, 488)] == observer.ended
    assert ["INVITE", "ACK", "BYE"] == peer.said_to()[:3]


def test_forked_2xx_gets_ack_and_bye() -> None:
    """A second phone behind a forking proxy picked up too: it is told that it lost."""
    pair = Pair()
    peer = Peer(pair.net, "192.0.2.9")

    def fork(message: Message) -> None:
        if line_of(message) == "INVITE":
            for tag in ("first", "second", "second"):
                answer_by_hand(peer, message, tag=tag)

    peer.on_message = fork
    leg, observer = pair.caller.call("4930@192.0.2.9")
    pair.net.clock.run(0.2)
    byes = [message for message in peer.heard if line_of(message) == "BYE"]
    acks = [message.get("To") for message in peer.heard if line_of(message) == "ACK"]
    assert (1, "<sip:4930@192.0.2.9>;tag=second") == (len(byes), byes[0].get("To"))
    assert ["first", "second", "second"] == [(to or "").rpartition("=")[2] for to in acks]
    assert (["answered"], LegState.UP) == (observer.told, leg.state)


def test_late_180_after_200_is_ignored() -> None:
    """Reordered by a proxy; the call is up and stays up."""
    pair = Pair()
    peer = Peer(pair.net, "192.0.2.9")

    def both(message: Message) -> None:
        if line_of(message) == "INVITE":
            answer_by_hand(peer, message, tag="x")
            peer.say(response_to(message, 180, to_tag="x"), CALLER)

    peer.on_message = both
    leg, observer = pair.caller.call("4930@192.0.2.9")
    pair.net.clock.run(0.2)
    assert (LegState.UP, ["answered"]) == (leg.state, observer.told)


def test_hold_and_resume_are_answered_here() -> None:
    """A re-INVITE from either side goes to the observer and is answered on the spot."""
    pair = Pair()
    leg, observer, theirs, their_observer = pair.up()
    done = []
    leg.reinvite(OTHER_SDP, lambda sdp, status: done.append((sdp, status)))
    pair.net.clock.run(1)
    theirs.reinvite(OTHER_SDP, lambda sdp, status: done.append((sdp, status)))
    pair.net.clock.run(1)
    assert [(SDP, 200), (SDP, 200)] == done
    assert ([OTHER_SDP], [OTHER_SDP]) == (observer.offers, their_observer.offers)
    assert (1, ["confirmed", "reinvite"]) == (observer.told.count("answered"), their_observer.told)
    leg.hang_up()
    pair.settle()


def test_refused_offer_leaves_the_call_up() -> None:
    """A SipError of the observer is 488; the call goes on as it was."""
    pair = Pair()
    leg, _, _, their_observer = pair.up()
    their_observer.refusal = SipError("media", "No.")
    done = []
    leg.reinvite(OTHER_SDP, lambda sdp, status: done.append((sdp, status)))
    pair.net.clock.run(1)
    assert ([(None, 488)], LegState.UP) == (done, leg.state)


def test_glare_is_491_for_both_and_both_offers_succeed_later() -> None:
    """The Call-ID's owner waits 2.1 to 4 s, the other side 0 to 2 s (RFC 3261 §14.1)."""
    pair = Pair()
    leg, _, theirs, _ = pair.up()
    done = []
    started = pair.net.clock.now()
    leg.reinvite(
        OTHER_SDP, lambda _sdp, status: done.append(("caller", status, pair.net.clock.now() - started))
    )
    theirs.reinvite(
        OTHER_SDP, lambda _sdp, status: done.append(("called", status, pair.net.clock.now() - started))
    )
    pair.net.clock.run(10)
    assert [("called", 200), ("caller", 200)] == [entry[:2] for entry in done]
    assert done[0][2] < 2.1 < done[1][2] < 4.1
    assert 2 == pair.net.lines().count("491 INVITE")
    leg.hang_up()
    pair.settle()


def test_second_offer_waits_and_a_third_replaces_it() -> None:
    """One INVITE at a time; the newest wish wins, the replaced one hears 491."""
    pair = Pair()
    leg, *_ = pair.up()
    done = []
    for name in ("first", "second", "third"):
        leg.reinvite(SDP, lambda _sdp, status, name=name: done.append((name, status)))
    pair.net.clock.run(2)
    assert [("second", 491), ("first", 200), ("third", 200)] == done


def test_reinvite_that_the_far_side_no_longer_knows_ends_the_leg() -> None:
    """481 inside a dialog means that it is gone (RFC 3261 §12.2.1.2)."""
    pair = Pair()
    leg, observer, theirs, _ = pair.up()
    pair.called.core.unbind(theirs.dialog.id)
    leg.reinvite(OTHER_SDP)
    pair.net.clock.run(60)
    assert [(EndReason.DIALOG_LOST, 481)] == observer.ended
    assert True is pair.caller.empty()


def test_reinvite_without_sdp_gets_our_offer() -> None:
    """Third-party call control: offer in the 200, answer in the ACK."""
    pair = Pair()
    peer, leg, observer, answered = up_with_peer(pair)
    peer.on_message = lambda message: (
        peer.say(ack_of(message, OTHER_SDP), CALLED) if line_of(message) == "200 INVITE" else None
    )
    peer.say(inside(answered, "INVITE", 2), CALLED)
    pair.net.clock.run(1)
    assert ([None], [OTHER_SDP], OTHER_SDP) == (observer.offers, observer.answers, leg.remote_sdp)


def test_reinvite_before_the_ack_is_491() -> None:
    """Our own answer is still open."""
    pair = Pair()
    peer = Peer(pair.net, "192.0.2.9")
    peer.say(raw_invite(peer, SDP), CALLED)
    pair.net.clock.run(0.1)
    answered = next(message for message in peer.heard if line_of(message) == "200 INVITE")
    peer.say(inside(answered, "INVITE", 2, SDP), CALLED)
    pair.net.clock.run(0.1)
    assert "491 INVITE" == peer.said_to()[-1]


def test_bye_before_the_answer_ends_the_invite_with_487() -> None:
    """RFC 3261 §15.1.2: pending requests of the dialog are answered too."""
    pair = Pair(answer=False)
    pair.called.decide = ring
    peer = Peer(pair.net, "192.0.2.9")
    peer.say(raw_invite(peer, SDP), CALLED)
    pair.net.clock.run(0.1)
    peer.say(inside(peer.heard[-1], "BYE", 2), CALLED)
    pair.net.clock.run(0.1)
    assert ["487 INVITE", "200 BYE"] == peer.said_to()[-2:]
    assert [(EndReason.REMOTE_HANG_UP, None)] == pair.called.observers[0].ended


def test_info_is_answered_and_never_told_by_default() -> None:
    """Keys of a source that is not on the list are dropped and counted."""
    pair = Pair()
    peer, _, observer, answered = up_with_peer(pair)
    peer.say(info_of(answered, 2), CALLED)
    pair.net.clock.run(1)
    assert ("200 INFO", [], 1) == (
        peer.said_to()[-1],
        observer.keys,
        pair.called.core.counters["info_dropped"],
    )


def test_info_key_is_told_once_to_who_may_hear_it() -> None:
    """From an allowed source a key goes to the observer; its retransmission is not a second key."""
    pair = Pair()
    pair.called = Node(pair.net, CALLED, settings=CoreSettings(info_from=frozenset({"192.0.2.9"})))
    pair.called.decide = answer_at_once
    peer, _, observer, answered = up_with_peer(pair)
    info = info_of(answered, 2)
    peer.say(info, CALLED)
    peer.say(info, CALLED)
    pair.net.clock.run(1)
    assert ([5], ["200 INFO", "200 INFO"]) == (observer.keys, peer.said_to()[-2:])
    assert 1 == pair.called.core.counters["info_keys"]


def test_cseq_going_backwards_is_500() -> None:
    """Out of order inside a dialog (RFC 3261 §12.2.2)."""
    pair = Pair()
    peer, _, _, answered = up_with_peer(pair)
    peer.say(inside(answered, "INFO", 7), CALLED)
    peer.say(inside(answered, "INFO", 6), CALLED)
    pair.net.clock.run(1)
    assert ["200 INFO", "500 INFO"] == peer.said_to()[-2:]


@pytest.mark.parametrize("method", ["NOTIFY", "MESSAGE", "SUBSCRIBE", "UPDATE", "PRACK", "JUMP"])
def test_unknown_methods_inside_a_dialog_are_405(method: str) -> None:
    """Default deny, with Allow, and the app never hears of it."""
    pair = Pair()
    peer, leg, observer, answered = up_with_peer(pair)
    told = list(observer.told)
    peer.say(inside(answered, method, 2), CALLED)
    pair.net.clock.run(1)
    assert (f"405 {method}", told, LegState.UP) == (peer.said_to()[-1], observer.told, leg.state)
    assert "INVITE" in (peer.heard[-1].get("Allow") or "")


def test_refer_is_403() -> None:
    """A transfer that somebody else asks for is a call at our cost."""
    pair = Pair()
    peer, *_, answered = up_with_peer(pair)
    peer.say(inside(answered, "REFER", 2), CALLED)
    pair.net.clock.run(1)
    assert "403 REFER" == peer.said_to()[-1]


def test_requests_go_along_the_recorded_route() -> None:
    """Record-Route of the INVITE in order for the UAS, loose routers first (RFC 3261 §12.1.1, §12.2.1.1)."""
    pair = Pair()
    proxy = Peer(pair.net, "192.0.2.77")
    _, leg, _, _ = up_with_peer(pair, headers=[("Record-Route", "<sip:192.0.2.77;lr>, <sip:192.0.2.78;lr>")])
    leg.hang_up()
    pair.net.clock.run(0.2)
    bye = proxy.heard[0]
    assert ("BYE", ["<sip:192.0.2.77;lr>", "<sip:192.0.2.78;lr>"]) == (line_of(bye), bye.get_all("Route"))
    assert "sip:9@192.0.2.9:5060" == bye.uri


def test_strict_router_takes_the_request_uri() -> None:
    """RFC 3261 §12.2.1.1: without `lr` the first route is the Request-URI and the target goes last."""
    invite = Request("INVITE", "sip:x@192.0.2.2")
    for name, value in (
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        ("From", "<sip:a@192.0.2.1>;tag=a+b!c*d'e"),
        ("To", "<sip:x@192.0.2.2>"),
        ("Call-ID", "c"),
        ("CSeq", "1 INVITE"),
        ("Contact", "<sip:a@192.0.2.1:5070>"),
        ("Record-Route", "<sip:192.0.2.77>, <sip:192.0.2.78;lr>"),
    ):
        invite.add(name, value)
    bye = dialog_as_uas(invite, "local", "sip:nobody@192.0.2.1").request("BYE")
    assert ("sip:192.0.2.77", ["<sip:192.0.2.78;lr>", "<sip:a@192.0.2.1:5070>"]) == (
        bye.uri,
        bye.get_all("Route"),
    )
    assert ("<sip:a@192.0.2.1>;tag=a+b!c*d'e", "<sip:x@192.0.2.2>;tag=local") == (
        bye.get("To"),
        bye.get("From"),
    )


def test_407_is_answered_with_the_password() -> None:
    """A PBX that challenges: second INVITE with the next CSeq, same Call-ID and From tag, new branch."""
    pair, guard = guarded_pair("secret")
    leg, observer = pair.call(credentials=Credentials("alice", "secret"))
    pair.net.clock.run(1)
    invites = [message for message in guard.heard if line_of(message) == "INVITE"]
    assert ([1, 2], ["answered"]) == ([cseq(message).number for message in invites], observer.told)
    assert (invites[0].get("From"), True) == (
        invites[1].get("From"),
        top_via(invites[0]).branch != top_via(invites[1]).branch,
    )
    assert (2, LegState.UP) == (leg.dialog.local_cseq, leg.state)


def test_wrong_password_stops_after_two() -> None:
    """The second challenge without `stale` means that the password is wrong."""
    pair, guard = guarded_pair("secret")
    _, observer = pair.call(credentials=Credentials("alice", "guess"))
    pair.net.clock.run(60)
    assert (2, [(EndReason.REFUSED, 407)]) == (guard.said_to().count("INVITE"), observer.ended)


def test_verbs_in_the_wrong_state_are_refused() -> None:
    """The app's mistakes are errors with a code; `hang_up` is always allowed."""
    pair = Pair()
    leg, observer, theirs, _ = pair.up()
    for verb in (
        leg.ring,
        lambda: leg.answer(SDP),
        lambda: leg.reject(486),
        lambda: theirs.answer(SDP),
        theirs.ring,
    ):
        with pytest.raises(LocalSipError):
            verb()
    leg.hang_up()
    leg.hang_up()
    with pytest.raises(LocalSipError):
        leg.reinvite(SDP)
    pair.settle()
    assert 1 == len(observer.ended)


def test_app_that_fails_in_a_reinvite_is_a_500_and_leaves_nothing() -> None:
    """The caller gets an answer, the failure goes on to the endpoint, no transaction stays."""
    pair = Pair()
    peer, leg, observer, answered = up_with_peer(pair)

    def fail(_leg: InviteLeg, _sdp: bytes | None) -> bytes:
        raise ZeroDivisionError

    observer.on_reinvite = fail
    peer.say(inside(answered, "INVITE", 2, SDP), CALLED)
    with pytest.raises(ZeroDivisionError):
        pair.net.clock.run(0.1)
    pair.net.clock.run(0.1)
    assert ("500 INVITE", LegState.UP) == (peer.said_to()[-1], leg.state)
    leg.hang_up()
    pair.net.clock.run(100)
    assert True is pair.called.empty()


def test_reinvite_with_an_unreadable_contact_is_400() -> None:
    """And its transaction ends."""
    pair = Pair()
    peer, leg, _, answered = up_with_peer(pair)
    broken = inside(answered, "INVITE", 2, SDP)
    broken.set("Contact", "<sip:9@192.0.2.9")
    peer.say(broken, CALLED)
    pair.net.clock.run(0.1)
    assert "400 INVITE" == peer.said_to()[-1]
    leg.hang_up()
    pair.net.clock.run(100)
    assert True is pair.called.empty()


def test_call_that_cannot_be_written_leaves_nothing() -> None:
    """A line break in a value of ours is our own mistake, found before anything is kept."""
    pair = Pair()
    invitation = Invitation(
        target_uri=f"sip:1@{CALLED}",
        hop=hop_of(f"sip:1@{CALLED}"),
        offer=SDP,
        from_value="<sip:a@b>;tag=1",
        to_value="<sip:1@b>",
        call_id="c",
        headers=(("X-Note", "a\r\nb"),),
    )
    with pytest.raises(LocalSipError) as written:
        pair.caller.core.invite(invitation, Observed())
    with pytest.raises(LocalSipError) as read:
        pair.caller.core.invite(replace(invitation, from_value="<sip:a b@c>;tag=1"), Observed())
    assert ("line_break", "invitation") == (written.value.code, read.value.code)
    assert (True, 0) == (pair.caller.empty(), pair.net.clock.pending)


def test_refusal_with_a_line_break_is_our_mistake_and_the_caller_still_waits() -> None:
    """Nothing has been decided by it."""
    pair = Pair(answer=False)
    pair.call()
    pair.net.clock.run(0.1)
    leg = pair.called.legs[0]
    with pytest.raises(LocalSipError):
        leg.reject(486, "Busy\r\nX: y")
    assert LegState.ARRIVED is leg.state
    leg.reject(486)
    pair.settle()


def test_what_a_peer_can_send_has_a_row_in_every_state() -> None:
    """CANCEL and repeated ACKs or 2xx can come at any time after the INVITE."""
    uas = {LegState.ARRIVED, LegState.ANSWERED, LegState.UP, LegState.OWING, LegState.CLOSING}
    assert [] == [state for state in uas - {LegState.ARRIVED} if (state, LegEvent.ACK) not in LEGS]
    assert [] == [
        state for state in uas | {LegState.RINGING, LegState.ENDED} if (state, LegEvent.CANCEL) not in LEGS
    ]
    assert [] == [state for state in uas | {LegState.RINGING} if (state, LegEvent.BYE) not in LEGS]
    assert LIVE | {LegState.WITHDRAWING, LegState.OWING, LegState.CLOSING, LegState.ENDED} == set(LegState)
    assert len(LEGS) == len(printed().splitlines())


# -- far sides written out by hand


def raw_invite(peer: Peer, sdp: bytes, headers: list[tuple[str, str]] | None = None) -> Request:
    """An INVITE of a peer to the called side."""
    request = Request("INVITE", f"sip:4930@{CALLED}")
    ip, port = peer.address
    for name, value in (
        ("Via", f"SIP/2.0/UDP {ip}:{port};branch=z9hG4bKraw"),
        ("From", f"<sip:9@{ip}>;tag=raw"),
        ("To", f"<sip:4930@{CALLED}>"),
        ("Call-ID", "raw-call"),
        ("CSeq", "1 INVITE"),
        ("Contact", f"<sip:9@{ip}:{port}>"),
        *(headers or []),
    ):
        request.add(name, value)
    return carrying(request, sdp)


def carrying(message: Request, sdp: bytes) -> Request:
    if sdp:
        message.set("Content-Type", "application/sdp")
    message.body = sdp
    return message


def ack_of(answered: Message, sdp: bytes) -> Request:
    """The ACK of a 2xx."""
    return inside(answered, "ACK", cseq(answered).number, sdp)


def inside(answered: Message, method: str, number: int, sdp: bytes = b"") -> Request:
    """A request of the peer in the dialog that `answered` made."""
    request = Request(method, f"sip:ivr@{CALLED}:5060")
    request.add("Via", f"SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{method}{number}")
    for name in ("From", "To", "Call-ID"):
        request.add(name, answered.get(name) or "")
    request.add("CSeq", f"{number} {method}")
    request.add("Contact", "<sip:9@192.0.2.9:5060>")
    return carrying(request, sdp)


def info_of(answered: Message, number: int) -> Request:
    """An INFO with one key."""
    info = inside(answered, "INFO", number)
    info.set("Content-Type", "application/dtmf-relay")
    info.body = b"Signal=5\r\nDuration=160\r\n"
    return info


def up_with_peer(pair: Pair, headers=None) -> tuple[Peer, InviteLeg, Observed, Message]:
    """A call from a handwritten peer, answered and acknowledged, and the 200 that made its dialog."""
    peer = Peer(pair.net, "192.0.2.9")
    peer.say(raw_invite(peer, SDP, headers), CALLED)
    pair.net.clock.run(0.1)
    answered = next(message for message in peer.heard if line_of(message) == "200 INVITE")
    peer.say(ack_of(answered, b""), CALLED)
    pair.net.clock.run(0.1)
    return peer, pair.called.legs[0], pair.called.observers[0], answered


def answer_by_hand(peer: Peer, message: Message, *, tag: str, sdp: bytes = SDP) -> None:
    """200 to an INVITE or BYE of the caller."""
    if isinstance(message, Request) and message.method in {"INVITE", "BYE"}:
        response = response_to(message, 200, to_tag=tag)
        response.add("Contact", f"<sip:4930@{peer.address[0]}:{peer.address[1]}>")
        if message.method == "INVITE" and sdp:
            response.set("Content-Type", "application/sdp")
            response.body = sdp
        peer.say(response, CALLER)


def guarded_pair(password: str) -> tuple[Pair, Peer]:
    """A called side that wants a password for INVITE."""
    pair = Pair()
    guard = Peer(pair.net, CALLED)
    server = DigestServer("pbx", ha1_from_passwords("pbx", {"alice": password}.get))

    def check(message: Message) -> None:
        if isinstance(message, Response) or message.method != "INVITE":
            return
        now = pair.net.clock.now()
        verdict = server.check(message.get("Proxy-Authorization"), "INVITE", now, CALLER).verdict
        if verdict is Verdict.ACCEPTED:
            answer_by_hand(guard, message, tag="x")
            return
        refusal = response_to(message, 407, to_tag="y")
        for challenge in server.challenges(now, CALLER):
            refusal.add("Proxy-Authenticate", challenge)
        guard.say(refusal, CALLER)

    guard.on_message = check
    return pair, guard
