"""Who may register, for how long, and on which flow a phone is reached; the clock is a number."""

from collections.abc import Callable

import pytest

from pay_ivr.sip.digest import (
    FAILURES_MAX,
    NONCE_LIFETIME_S,
    Algorithm,
    Credentials,
    authorization,
    choose,
    ha1,
)
from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.registrar import CONTACTS_MAX, EXPIRES_MAX_S, Registrar
from pay_ivr.sip.rim import Hop, Transport
from pay_ivr.sip.wire import Request, Response

PHONE = Hop(Transport.UDP, "192.0.2.9", 5062)
STREAM = Hop(Transport.TCP, "192.0.2.9", 40_000, connection=3)


class Desk:
    """A registrar with one user, and a phone that answers its challenges."""

    def __init__(self, **how) -> None:
        self.time = 1_000.0
        self.registrar = Registrar("house", {"agent1": "sesame"}.get, clock=lambda: self.time, **how)
        self.count = 0

    def ask(
        self,
        *headers: tuple[str, str],
        user: str = "agent1",
        aor: str = "",
        flow: Hop = PHONE,
        login: str | None = None,
    ) -> Response:
        """One REGISTER as it is."""
        self.count += 1
        request = Request("REGISTER", "sip:house")
        for name, value in (
            ("Via", f"SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK{self.count}"),
            ("From", f"<sip:{aor or user}@house>;tag=1"),
            ("To", f"<sip:{aor or user}@house>"),
            ("Call-ID", "r1"),
            ("CSeq", f"{self.count} REGISTER"),
            *headers,
        ):
            request.add(name, value)
        if login is not None:
            request.add("Authorization", login)
        return self.registrar.handle(request, flow)

    def login(
        self, user: str = "agent1", password: str = "", nc: int = 1, best: bool = True, flow: Hop = PHONE
    ) -> str:
        """The answer to a fresh challenge, right unless another password is given."""
        offered = self.ask(user=user, flow=flow).get_all("WWW-Authenticate")
        challenge = choose(offered if best else offered[::-1])
        assert challenge is not None
        return authorization(
            challenge, Credentials(user, password or "sesame"), "REGISTER", "sip:house", nc=nc
        )

    def register(self, *headers: tuple[str, str], **how) -> Response:
        """Challenge, answer, result."""
        return self.ask(*headers, login=self.login(), **how)

    def uris(self, user: str = "agent1") -> list[str]:
        return [contact.uri for contact in self.registrar.lookup(user)]


def contact(port: int = 5062, params: str = "") -> tuple[str, str]:
    return ("Contact", f"<sip:agent1@10.0.0.7:{port}>{params}")


@pytest.mark.parametrize("best", [True, False], ids=["SHA-256", "MD5"])
def test_phone_is_registered_and_reached_on_the_flow_it_came_from(best: bool) -> None:
    """The Contact may be a private address; calls go where the REGISTER came from."""
    desk = Desk()
    answer = desk.ask(contact(), login=desk.login(best=best))
    assert (200, ["<sip:agent1@10.0.0.7:5062>;expires=3600"]) == (answer.status, answer.get_all("Contact"))
    assert ([PHONE], True) == (
        [phone.flow for phone in desk.registrar.lookup("agent1")],
        desk.registrar.knows_flow(PHONE),
    )


def test_ha1_values_do_instead_of_passwords() -> None:
    """Who stores no password hands in hashes."""
    desk = Desk()
    desk.registrar = Registrar(
        "house",
        ha1_of=lambda user, algorithm: ha1(algorithm, user, "house", "sesame") if user == "agent1" else None,
        clock=lambda: desk.time,
    )
    assert 200 == desk.register(contact()).status


def test_nobody_registers_where_there_are_no_credentials() -> None:
    """The default is closed."""
    desk = Desk()
    desk.registrar = Registrar("house", clock=lambda: desk.time)
    assert 401 == desk.register(contact()).status


def test_unknown_user_gets_the_answer_of_a_wrong_password() -> None:
    """Status and headers are the same in kind and number; a scanner learns nothing."""
    desk = Desk()
    answers = [
        desk.ask(contact(), user=user, login=desk.login(user, "guess")) for user in ("agent1", "nobody")
    ]
    shape = [(answer.status, [name for name, _ in answer.headers]) for answer in answers]
    assert shape[0] == shape[1]
    assert (401, []) == (shape[0][0], desk.uris())


def test_guessing_locks_the_source_out_and_time_lets_it_in_again() -> None:
    """After `FAILURES_MAX` wrong answers even the right one is 401; the window ends that."""
    desk = Desk()
    for _ in range(FAILURES_MAX):
        assert 401 == desk.ask(contact(), login=desk.login(password="guess")).status
    assert 401 == desk.register(contact()).status
    desk.time += 301
    assert 200 == desk.register(contact()).status


def test_nonce_is_good_for_several_counts_and_each_count_once() -> None:
    """A phone that refreshes with the next count needs no new challenge; a replay is stale."""
    desk = Desk()
    challenge = choose(desk.ask().get_all("WWW-Authenticate"))
    assert challenge is not None
    logins = [
        authorization(challenge, Credentials("agent1", "sesame"), "REGISTER", "sip:house", nc=nc)
        for nc in (1, 2)
    ]
    assert [200, 200] == [desk.ask(contact(), login=login).status for login in logins]
    replay = desk.ask(contact(), login=logins[0])
    assert (401, True) == (replay.status, "stale=true" in (replay.get("WWW-Authenticate") or ""))
    desk.time += NONCE_LIFETIME_S + 1
    assert 401 == desk.ask(contact(), login=logins[1]).status


def test_user_may_only_register_for_itself() -> None:
    """Right password, somebody else's address: 403."""
    desk = Desk()
    assert (403, []) == (desk.register(contact(), aor="agent2").status, desk.uris("agent2"))


@pytest.mark.parametrize(
    ("headers", "status", "left"),
    [
        ([contact(params=";expires=120")], 200, 120),
        ([contact(), ("Expires", "300")], 200, 300),
        ([contact(params=";expires=120"), ("Expires", "300")], 200, 120),
        ([contact(), ("Expires", "999999")], 200, EXPIRES_MAX_S),
        ([contact(), ("Expires", "tomorrow")], 200, EXPIRES_MAX_S),
        ([contact(params=";expires=59")], 423, None),
    ],
)
def test_lifetimes_are_kept_within_bounds(headers: list, status: int, left: int | None) -> None:
    """Contact parameter before header before default; too short is 423, too long is shortened."""
    desk = Desk()
    answer = desk.register(*headers)
    assert status == answer.status
    assert ("60" if left is None else None) == answer.get("Min-Expires")
    assert ([] if left is None else [1_000.0 + left]) == [
        item.expires_at for item in desk.registrar.lookup("agent1")
    ]


def test_binding_ends_with_its_time() -> None:
    """Nobody is called on a phone that did not come back."""
    desk = Desk()
    desk.register(contact(params=";expires=60"))
    desk.time += 60
    assert ([], False, 0) == (desk.uris(), desk.registrar.knows_flow(PHONE), desk.registrar.size())


def test_expires_zero_and_the_star_remove() -> None:
    """One phone by its Contact, all by the star with Expires 0, and only so."""
    desk = Desk()
    desk.register(contact(1), contact(2), contact(3))
    desk.register(contact(2, ";expires=0"))
    assert ["sip:agent1@10.0.0.7:3", "sip:agent1@10.0.0.7:1"] == desk.uris()
    assert [400, 400] == [
        desk.register(("Contact", "*")).status,
        desk.register(("Contact", "*"), contact(9), ("Expires", "0")).status,
    ]
    assert (200, []) == (desk.register(("Contact", "*"), ("Expires", "0")).status, desk.uris())


def test_query_lists_and_changes_nothing() -> None:
    """A REGISTER without Contact."""
    desk = Desk()
    desk.register(contact())
    desk.time += 100
    assert ["<sip:agent1@10.0.0.7:5062>;expires=3500"] == desk.register().get_all("Contact")


def test_same_phone_with_a_new_address_replaces_its_binding() -> None:
    """`+sip.instance` says that it is the same phone."""
    desk = Desk()
    instance = ';+sip.instance="<urn:uuid:1>"'
    desk.register(contact(1, instance))
    desk.register(contact(2, instance))
    assert ["sip:agent1@10.0.0.7:2"] == desk.uris()


def test_refresh_of_one_contact_is_one_binding() -> None:
    """Case of the host and other parameters do not make a second phone."""
    desk = Desk()
    desk.register(("Contact", "<sip:agent1@Phone.example:5062>"))
    desk.register(("Contact", "<sip:agent1@phone.EXAMPLE:5062;ob>"))
    assert ["sip:agent1@phone.EXAMPLE:5062;ob"] == desk.uris()


def test_one_more_phone_pushes_the_oldest_out() -> None:
    """Phones that crashed leave bindings behind; they must not lock the agent out."""
    desk = Desk()
    for port in range(1, CONTACTS_MAX + 2):
        desk.register(contact(port))
    assert [f"sip:agent1@10.0.0.7:{port}" for port in range(CONTACTS_MAX + 1, 1, -1)] == desk.uris()


def test_closed_connection_takes_its_phones_with_it() -> None:
    """A phone behind a stream is only reached on that stream."""
    desk = Desk()
    desk.register(contact(1))
    desk.register(contact(2, ""), flow=STREAM)
    desk.registrar.connection_closed(STREAM.connection)
    assert ["sip:agent1@10.0.0.7:1"] == desk.uris()


@pytest.mark.parametrize("uri", ["mailto:agent1@house", "sip:agent1@[2001:db8::1]", "sip:a@b;transport=sctp"])
def test_contact_that_we_cannot_call_is_refused_whole(uri: str) -> None:
    """All contacts of a request or none."""
    desk = Desk()
    with pytest.raises(Malformed) as refused:
        desk.register(contact(1), ("Contact", f"<{uri}>"))
    assert (416, []) == (refused.value.status, desk.uris())


def test_legacy_answer_only_where_it_is_allowed() -> None:
    """RFC 2069 without qop, as pyVoIP sends it."""
    statuses = []
    for allowed in (False, True):
        desk = Desk(allow_legacy=allowed, algorithms=[Algorithm.MD5])
        login = legacy(desk.ask)
        statuses.append(desk.ask(contact(), login=login).status)
    assert [401, 200] == statuses


def legacy(ask: Callable[[], Response]) -> str:
    """An answer that knows nothing of qop."""
    value = (ask().get("WWW-Authenticate") or "").replace(', qop="auth"', "")
    challenge = choose([value])
    assert challenge is not None
    return authorization(challenge, Credentials("agent1", "sesame"), "REGISTER", "sip:house")


def test_a_phone_that_names_anothers_address_gets_none_of_its_calls() -> None:
    """Each user's phones keep their own flow, whatever Contact the other has registered."""
    desk = Desk()
    users = {"agent1": "sesame", "agent2": "sesame"}
    desk.registrar = Registrar("house", users.get, clock=lambda: desk.time)
    elsewhere = Hop(Transport.UDP, "10.0.0.66", 5060)
    desk.register(contact())
    desk.ask(contact(), login=desk.login("agent2", flow=elsewhere), user="agent2", flow=elsewhere)
    assert ([PHONE], [elsewhere]) == (
        [phone.flow for phone in desk.registrar.lookup("agent1")],
        [phone.flow for phone in desk.registrar.lookup("agent2")],
    )
