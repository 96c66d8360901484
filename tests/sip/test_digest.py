"""Digest authentication: published vectors, and a server that is not talked into anything."""

import random
import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.sip.digest import (
    FAILURE_ENTRIES_MAX,
    FAILURE_WINDOW_S,
    FAILURES_MAX,
    NC_WINDOW,
    NONCE_LIFETIME_S,
    NONCES_MAX,
    SOURCE_FAILURES_MAX,
    USERNAME_MAX,
    Algorithm,
    Answered,
    Challenge,
    Credentials,
    DigestServer,
    Verdict,
    auth_params,
    authorization,
    choose,
    ha1,
    ha1_from_passwords,
    parse_challenge,
    worth_answering,
)
from pay_ivr.sip.errors import LocalSipError, Malformed

NOW = 1_700_000_000.0
BOB = Credentials("bob", "correct horse")
URI = "sip:pay.example"
SOURCE = "192.0.2.1"


def server(*, allow_legacy: bool = False) -> DigestServer:
    """A server that knows bob."""
    lookup = ha1_from_passwords("pay-ivr", {BOB.username: BOB.password}.get)
    return DigestServer("pay-ivr", lookup, secret=b"0123456789abcdef", allow_legacy=allow_legacy)


def challenge_of(
    digest: DigestServer, algorithm: Algorithm = Algorithm.MD5, now: float = NOW, source: str = SOURCE
) -> Challenge:
    """The server's challenge for that hash."""
    challenges = [parse_challenge(value) for value in digest.challenges(now, source)]
    return next(challenge for challenge in challenges if challenge and challenge.algorithm is algorithm)


def verdict(
    digest: DigestServer,
    value: str | None,
    *,
    now: float = NOW,
    source: str = SOURCE,
    method: str = "REGISTER",
) -> Verdict:
    """What the server says."""
    return digest.check(value, method, now, source).verdict


def legacy(challenge: Challenge, credentials: Credentials = BOB) -> str:
    """The answer pyVoIP gives to any challenge: RFC 2069, and a URI of its own."""
    uri = "sip:127.0.0.1;transport=UDP"
    secret = ha1(Algorithm.MD5, credentials.username, challenge.realm, credentials.password)
    response = Answered(Algorithm.MD5, challenge.nonce, "REGISTER", uri).response(secret)
    return (
        f'Digest username="{credentials.username}",realm="{challenge.realm}",nonce="{challenge.nonce}",'
        f'uri="{uri}",response="{response}",algorithm=MD5'
    )


# -- Published vectors


def test_example_of_rfc_2617() -> None:
    """RFC 2617 §3.5, qop=auth with MD5."""
    challenge = parse_challenge(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    assert challenge is not None
    value = authorization(
        challenge, Credentials("Mufasa", "Circle Of Life"), "GET", "/dir/index.html", cnonce="0a4f113b"
    )
    params = auth_params(value) or {}
    assert params["response"] == "6629fae49393a05397450978507c4ef1"
    assert (params["nc"], params["qop"]) == ("00000001", "auth")
    assert params["opaque"] == "5ccc069c403ebaf9f0171e9517f40e41"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_example_of_rfc_7616(algorithm: str, response: str) -> None:
    """RFC 7616 §3.9.1, the same request with both hashes; SIP takes them over in RFC 8760 §2."""
    challenge = parse_challenge(
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    assert challenge is not None
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    value = authorization(
        challenge, Credentials("Mufasa", "Circle of Life"), "GET", "/dir/index.html", cnonce=cnonce
    )
    assert response == (auth_params(value) or {})["response"]


def test_example_of_a_gateway_manual_without_qop() -> None:
    """The REGISTER without qop worked out in AudioCodes' SIP manuals, from its HA1."""
    answered = Answered(Algorithm.MD5, "11432d6bce58ddf02e3b5e1c77c010d2", "REGISTER", "sip:10.2.2.222")
    assert answered.response("a8f17d4b41ab8dab6c95d3c14e34a9e1") == "b9c45d0234a5abf5ddf5c704029b38cf"


def test_challenge_without_qop_is_answered_without_counts() -> None:
    """The form of RFC 2069, which old PBXs still ask for: no nc, no cnonce."""
    challenge = parse_challenge('Digest realm="audiocodes.com", nonce="11432d6b", stale=FALSE')
    assert challenge is not None
    params = auth_params(authorization(challenge, BOB, "REGISTER", URI)) or {}
    secret = ha1(Algorithm.MD5, BOB.username, "audiocodes.com", BOB.password)
    assert params["response"] == Answered(Algorithm.MD5, "11432d6b", "REGISTER", URI).response(secret)
    assert params.keys().isdisjoint({"qop", "nc", "cnonce", "opaque"})


def test_protection_of_the_body_hashes_it() -> None:
    """auth-int is answered when nothing else is offered, and another body gives another response."""
    challenge = parse_challenge('Digest realm="a", nonce="b", qop="auth-int"')
    assert challenge is not None
    answers = {
        (auth_params(authorization(challenge, BOB, "INVITE", URI, body, cnonce="c")) or {})["response"]
        for body in (b"1", b"2")
    }
    assert len(answers) == 2


# -- Answering


def test_first_challenge_we_can_answer_is_taken() -> None:
    """The server's order decides; what we do not speak or cannot read is passed over (RFC 8760 §2.4)."""
    values = [
        'Basic realm="a"',
        'Digest realm="a", nonce="0", algorithm=SHA-512-256',
        'Digest realm="a", nonce="0", qop="other"',
        'Digest realm="a"',
        'Digest realm="a',
        'Digest realm="a", nonce="1", algorithm=sha-256, qop="auth"',
        'Digest realm="a", nonce="2", algorithm=MD5',
    ]
    chosen = choose(values)
    assert chosen is not None
    assert (chosen.nonce, chosen.algorithm) == ("1", Algorithm.SHA256)
    assert choose(values[:5]) is None


def test_second_challenge_means_a_wrong_password_unless_stale() -> None:
    """One answer per nonce: a repeated challenge ends the tries, a stale one does not."""
    first = Challenge("a", "1", Algorithm.MD5, "auth", None, stale=False)
    again = Challenge("a", "2", Algorithm.MD5, "auth", None, stale=False)
    stale = Challenge("a", "2", Algorithm.MD5, "auth", None, stale=True)
    assert worth_answering(first, None)
    assert not worth_answering(again, first)
    assert worth_answering(stale, first)
    assert not worth_answering(stale, stale)


def test_credentials_show_nothing() -> None:
    """Neither user nor password in a representation."""
    assert BOB.password not in f"{BOB!r}{BOB}"
    assert BOB.username not in repr(BOB)


def test_cnonce_is_new_each_time() -> None:
    """Two answers to one challenge differ."""
    challenge = challenge_of(server())
    assert authorization(challenge, BOB, "REGISTER", URI) != authorization(challenge, BOB, "REGISTER", URI)


names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"), max_size=30)


@given(names, names, names, names)
def test_any_name_survives_the_header(username: str, realm: str, nonce: str, opaque: str) -> None:
    """Quotes and commas in names come back as they were."""
    challenge = Challenge(realm, nonce, Algorithm.SHA256, "auth", opaque, stale=False)
    params = auth_params(authorization(challenge, Credentials(username, "x"), "REGISTER", URI)) or {}
    assert (username, realm, nonce, opaque, URI) == tuple(
        params[name] for name in ("username", "realm", "nonce", "opaque", "uri")
    )


# -- Asking


@pytest.mark.parametrize("algorithm", Algorithm)
def test_right_password_is_accepted(algorithm: Algorithm) -> None:
    """Challenge and answer, both hashes, and the user comes back."""
    digest = server()
    value = authorization(challenge_of(digest, algorithm), BOB, "REGISTER", URI)
    checked = digest.check(value, "REGISTER", NOW + 1, SOURCE)
    assert (checked.verdict, checked.username) == (Verdict.ACCEPTED, "bob")


@pytest.mark.parametrize("asked", Algorithm)
def test_only_what_was_asked_for_is_accepted(asked: Algorithm) -> None:
    """A server of one hash lists that one alone, and the other cannot be slipped in."""
    lookup = ha1_from_passwords("pay-ivr", {BOB.username: BOB.password}.get)
    digest = DigestServer("pay-ivr", lookup, algorithms=[asked])
    challenge = challenge_of(digest, asked)
    assert len(digest.challenges(NOW, SOURCE)) == 1
    for algorithm in Algorithm:
        value = authorization(replace(challenge, algorithm=algorithm), BOB, "REGISTER", URI)
        expected = Verdict.ACCEPTED if algorithm is asked else Verdict.WRONG
        assert expected is verdict(digest, value)


def test_challenges_share_a_nonce_and_ask_for_sha_256_first() -> None:
    """A phone that mixes up two challenges still answers one nonce."""
    values = server().challenges(NOW, SOURCE)
    assert [re.findall("algorithm=(.*)", value) for value in values] == [["SHA-256"], ["MD5"]]
    assert len({re.findall('nonce="([^"]+)"', value)[0] for value in values}) == 1
    assert all(value.endswith(", stale=true") for value in server().challenges(NOW, SOURCE, stale=True))


@pytest.mark.parametrize(
    "credentials", [Credentials("bob", "wrong"), Credentials("eve", "correct horse"), Credentials("", "")]
)
def test_wrong_password_and_unknown_user_look_the_same(credentials: Credentials) -> None:
    """The verdict does not tell which of the two was wrong, and names nobody."""
    digest = server()
    value = authorization(challenge_of(digest), credentials, "REGISTER", URI)
    checked = digest.check(value, "REGISTER", NOW, SOURCE)
    assert (checked.verdict, checked.username) == (Verdict.WRONG, "")


def test_answer_is_good_for_its_method_only() -> None:
    """A recorded REGISTER does not place a call."""
    digest = server()
    value = authorization(challenge_of(digest), BOB, "REGISTER", URI)
    assert verdict(digest, value, method="INVITE") is Verdict.WRONG


@pytest.mark.parametrize("value", [None, "Basic dXNlcjpwYXNz", 'Digest realm="elsewhere", username="bob"'])
def test_no_credentials_for_us_are_missing(value: str | None) -> None:
    """Other schemes and realms are neither right nor wrong."""
    assert verdict(server(), value) is Verdict.MISSING


def test_nonce_counts_once_and_may_be_overtaken() -> None:
    """Each count is good once; late ones inside the window pass, below it they are stale."""
    digest = server()
    challenge = challenge_of(digest)

    def use(nc: int) -> Verdict:
        return verdict(digest, authorization(challenge, BOB, "REGISTER", URI, nc=nc))

    counts = [1, 3, 2, 2, 3, 3 + NC_WINDOW, 4, 3, 0]
    accepted, stale = Verdict.ACCEPTED, Verdict.STALE
    assert [use(nc) for nc in counts] == [
        accepted,
        accepted,
        accepted,
        stale,
        stale,
        accepted,
        accepted,
        stale,
        stale,
    ]


@given(st.lists(st.integers(1, 100), max_size=60))
def test_no_count_is_ever_accepted_twice(counts: list[int]) -> None:
    """Whatever the order, a replayed count is stale."""
    digest = server()
    challenge = challenge_of(digest)
    accepted = [
        nc
        for nc in counts
        if verdict(digest, authorization(challenge, BOB, "REGISTER", URI, nc=nc)) is Verdict.ACCEPTED
    ]
    assert len(accepted) == len(set(accepted))


def test_nonce_grows_old() -> None:
    """Young to its last second, stale afterwards and before its time; no failure is counted for it."""
    digest = server()
    value = authorization(challenge_of(digest), BOB, "REGISTER", URI)
    late = NOW + NONCE_LIFETIME_S
    assert [verdict(digest, value, now=late + 0.1) for _ in range(2 * FAILURES_MAX)] == [Verdict.STALE] * 10
    assert verdict(digest, value, now=NOW - 1) is Verdict.STALE
    assert verdict(digest, value, now=late) is Verdict.ACCEPTED


def test_nonce_of_another_server_is_stale() -> None:
    """After a restart with a new secret every phone is asked again, none is locked out."""
    other = DigestServer("pay-ivr", lambda _user, _algorithm: None)
    value = authorization(challenge_of(other), BOB, "REGISTER", URI)
    assert verdict(server(), value) is Verdict.STALE
    assert verdict(server(), value.replace(challenge_of(other).nonce, "short")) is Verdict.STALE


def test_forgotten_nonce_cannot_be_replayed() -> None:
    """When the table is full the oldest nonce is stale, not fresh again, and so are older unused ones."""
    digest = server()
    first = authorization(challenge_of(digest), BOB, "REGISTER", URI)
    unused = authorization(challenge_of(digest), BOB, "REGISTER", URI)
    assert verdict(digest, first) is Verdict.ACCEPTED
    for number in range(NONCES_MAX):
        now = NOW + 1 + number / 1000
        value = authorization(challenge_of(digest, now=now), BOB, "REGISTER", URI)
        assert verdict(digest, value, now=now) is Verdict.ACCEPTED
    assert len(digest._nonces._used) == NONCES_MAX
    assert verdict(digest, first, now=NOW + 6) is Verdict.STALE
    assert verdict(digest, unused, now=NOW + 6) is Verdict.STALE


def test_old_answer_is_accepted_only_when_told_to() -> None:
    """RFC 2069, as pyVoIP sends it: wrong by default, good once per nonce where allowed."""
    strict, lenient = server(), server(allow_legacy=True)
    assert verdict(strict, legacy(challenge_of(strict))) is Verdict.WRONG
    value = legacy(challenge_of(lenient))
    assert [verdict(lenient, value), verdict(lenient, value)] == [Verdict.ACCEPTED, Verdict.STALE]
    wrong = legacy(challenge_of(lenient), Credentials("bob", "wrong"))
    assert verdict(lenient, wrong) is Verdict.WRONG


def test_guessing_locks_a_source_out_of_a_user() -> None:
    """After the last try even the right password is not compared; other sources and later times are free."""
    digest = server()
    wrong = Credentials("bob", "wrong")

    def register(credentials: Credentials, now: float = NOW, source: str = SOURCE) -> Verdict:
        value = authorization(challenge_of(digest, now=now, source=source), credentials, "REGISTER", URI)
        return verdict(digest, value, now=now, source=source)

    assert [register(wrong) for _ in range(FAILURES_MAX)] == [Verdict.WRONG] * FAILURES_MAX
    assert register(BOB) is Verdict.LOCKED
    assert register(BOB, source="192.0.2.2") is Verdict.ACCEPTED
    assert register(BOB, now=NOW + FAILURE_WINDOW_S - 1) is Verdict.LOCKED
    assert register(BOB, now=NOW + FAILURE_WINDOW_S) is Verdict.ACCEPTED


def test_right_password_ends_the_counting() -> None:
    """A mistyped password is forgiven once the right one comes."""
    digest = server()
    for _ in range(3):
        for credentials in [Credentials("bob", "wrong")] * (FAILURES_MAX - 1):
            assert (
                verdict(digest, authorization(challenge_of(digest), credentials, "REGISTER", URI))
                is Verdict.WRONG
            )
        assert verdict(digest, authorization(challenge_of(digest), BOB, "REGISTER", URI)) is Verdict.ACCEPTED


def test_scanner_with_many_names_is_locked_out_altogether() -> None:
    """A source that tries a new name each time is stopped too, and its table stays bounded."""
    digest = server()
    seen = []
    for number in range(SOURCE_FAILURES_MAX + 5):
        value = authorization(challenge_of(digest), Credentials(f"user{number}", "x"), "REGISTER", URI)
        seen.append(verdict(digest, value))
    assert seen == [Verdict.WRONG] * SOURCE_FAILURES_MAX + [Verdict.LOCKED] * 5
    for number in range(FAILURE_ENTRIES_MAX):
        digest._failures.count(f"s{number}", "u", NOW)
    assert len(digest._failures._counts) == FAILURE_ENTRIES_MAX


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('username="bob"', f'username="{"b" * (USERNAME_MAX + 1)}"'),
        ("nc=00000001", "nc=1"),
        ("nc=00000001", "nc=0000000g"),
        ("qop=auth", "qop=auth-int"),
        ("algorithm=MD5", "algorithm=MD4"),
        ('uri="sip:pay.example"', 'uri=""'),
        ("response=", "reply="),
    ],
)
def test_broken_answer_is_wrong_and_counted(old: str, new: str) -> None:
    """Nothing raises, nothing is accepted, and trying costs."""
    digest = server()
    value = authorization(challenge_of(digest), BOB, "REGISTER", URI).replace(old, new)
    assert verdict(digest, value) is Verdict.WRONG
    assert len(digest._failures._counts) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [("username=", "username=bob, username="), ('realm="pay-ivr"', 'realm="pay-ivr')],
)
def test_an_answer_that_cannot_be_read_is_none(old: str, new: str) -> None:
    """It gets a challenge like any other; as it holds no nonce for certain, it counts against nobody."""
    digest = server()
    value = authorization(challenge_of(digest), BOB, "REGISTER", URI).replace(old, new)
    assert verdict(digest, value) is Verdict.MISSING
    assert len(digest._failures._counts) == 0


def test_short_secret_is_our_mistake() -> None:
    """Nonces sealed with a guessable secret are no nonces."""
    with pytest.raises(LocalSipError):
        DigestServer("a", lambda _user, _algorithm: None, secret=b"short")


def test_noise_is_never_accepted() -> None:
    """10,000 mutated headers: `Malformed` from the reader, a verdict from the server, nothing else."""
    dice = random.Random(2617)
    digest = server()
    good = authorization(challenge_of(digest), BOB, "REGISTER", URI)
    protected = set(range(good.index("cnonce="), len(good))) | set(
        range(good.index("algorithm="), good.index("qop="))
    )
    places = [at for at in range(len(good)) if at not in protected]
    for number in range(10_000):
        text = list(good)
        for at in dice.sample(places, dice.randint(1, 4)):
            text[at] = dice.choice('",;=<>\\ \0aZ9')
        value = "".join(text)
        with suppress(Malformed):
            auth_params(value)
        if verdict(digest, value, source=f"s{number}") is Verdict.ACCEPTED:
            assert auth_params(value) == auth_params(good)


def test_nobody_locks_an_address_out_from_elsewhere() -> None:
    """A forged source address never sees our nonce; answers with another's are not counted."""
    digest = server()
    elsewhere = authorization(challenge_of(digest, source="192.0.2.66"), BOB, "REGISTER", URI)
    for value in (elsewhere, elsewhere.replace("response=", "reply=")) * SOURCE_FAILURES_MAX:
        assert verdict(digest, value) is Verdict.STALE
    mine = authorization(challenge_of(digest), BOB, "REGISTER", URI)
    assert verdict(digest, mine) is Verdict.ACCEPTED
