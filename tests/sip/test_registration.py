"""We at somebody's registrar, which is our own on the other end of a fake network."""

from itertools import pairwise

from pay_ivr.sip.digest import Credentials
from pay_ivr.sip.registrar import Registrar
from pay_ivr.sip.registration import RETRY_MAX_S, Registration, RegistrationState
from pay_ivr.sip.wire import Response, response_to
from tests.support.sipnet import Net, Node, Peer, line_of

WE, PBX = "192.0.2.1", "192.0.2.2"


class Site:
    """One node of ours, one PBX, and everything the app was told."""

    def __init__(self, password: str = "", expires_s: int = 600) -> None:
        self.net = Net()
        self.told: list[tuple[RegistrationState, int | None]] = []
        registrar = Registrar("pbx", {"line1": "sesame"}.get, clock=self.net.clock.now)
        self.pbx = Node(self.net, PBX, registrar=registrar)
        self.we = Node(self.net, WE)
        self.registration = Registration(
            self.we.core,
            f"sip:line1@{PBX}",
            f"sip:{PBX}",
            Credentials("line1", password or "sesame"),
            lambda state, status: self.told.append((state, status)),
            expires_s,
        )

    def asked(self) -> list[float]:
        """When a REGISTER left, in seconds since the start."""
        return [
            round(at - 1_000, 1)
            for at, sender, _, each in self.net.log
            if sender == WE and line_of(each) == "REGISTER"
        ]

    def bound(self) -> list[str]:
        return [contact.uri for contact in self.pbx.registrar.lookup("line1")]


def test_registered_and_refreshed_before_it_expires() -> None:
    """401, 200, and again at 80 % of the granted time; the CSeq counts on, the Call-ID stays."""
    site = Site()
    site.registration.start()
    site.net.clock.run(1_000)
    assert ([(RegistrationState.REGISTERED, 200)], [f"sip:ivr@{WE}:5060"]) == (site.told, site.bound())
    assert [0.0, 0.0, 480.0, 480.1, 960.1, 960.1] == site.asked()
    requests = [each for _, sender, _, each in site.net.log if sender == WE]
    assert [f"{number} REGISTER" for number in range(1, 7)] == [each.get("CSeq") for each in requests]
    assert 1 == len({each.get("Call-ID") for each in requests})


def test_removed_when_we_leave() -> None:
    """Expires 0, answered, and nothing is sent afterwards."""
    site = Site()
    site.registration.start()
    site.net.clock.run(10)
    site.registration.remove()
    site.net.clock.run(100)
    assert ([], (RegistrationState.REMOVED, 200)) == (site.bound(), site.told[-1])
    assert (True, 0) == (site.we.empty(), site.net.clock.pending)


def test_wrong_password_is_not_tried_twice_in_a_row() -> None:
    """401, one answer, 401: failed; the next try comes after a wait."""
    site = Site("guess")
    site.registration.start()
    site.net.clock.run(10)
    assert (2, [(RegistrationState.FAILED, 401)]) == (len(site.asked()), site.told)


def test_too_short_is_asked_again_as_long_as_wanted() -> None:
    """423 with Min-Expires (RFC 3261 §10.2.8)."""
    site = Site(expires_s=30)
    site.registration.start()
    site.net.clock.run(1)
    assert [(RegistrationState.REGISTERED, 200)] == site.told
    assert [1_060] == [round(contact.expires_at) for contact in site.pbx.registrar.lookup("line1")]


def test_registrar_that_is_down_is_asked_more_and_more_rarely_and_found_again() -> None:
    """The waits double up to a limit, with some disorder; then it works as if nothing had been."""
    site = Site()
    site.net.filter = lambda _message, _sender: site.net.clock.now() > 6_000
    site.registration.start()
    site.net.clock.run(5_000)
    first = [at for at, after in zip(site.asked(), [-100.0, *site.asked()], strict=False) if at - after > 5]
    waits = [later - earlier for earlier, later in pairwise(first)]
    assert (True, True) == (waits[0] < 70, max(waits) < RETRY_MAX_S + 40)
    assert [(RegistrationState.FAILED, 408)] == site.told
    site.net.clock.run(1_000)
    assert (RegistrationState.REGISTERED, 200) == site.told[-1]


def test_granted_time_is_kept_within_reason() -> None:
    """A registrar that grants a second does not make us ask every second."""
    net = Net()
    node, registrar = Node(net, WE), Peer(net, PBX)

    def grant(message) -> None:
        answer = response_to(message, 200, to_tag="x")
        answer.add("Contact", f"<sip:ivr@{WE}:5060>;expires=1")
        registrar.say(answer, WE)

    registrar.on_message = lambda message: None if isinstance(message, Response) else grant(message)
    Registration(node.core, f"sip:a@{PBX}", f"sip:{PBX}", None, lambda _state, _status: None).start()
    net.clock.run(100)
    assert 5 == len(registrar.heard)
