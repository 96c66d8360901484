"""Logins: passwords, one-time passwords, locks, age and idleness, with a clock that the test moves."""

import statistics
import time

import pytest
from sqlalchemy import text

from agent_api.auth import COOKIE, OPERATOR, Passwords, reset_agent
from pay_ivr.people import SipSecret
from tests.agent_api.conftest import PASSWORD, DeskHouse, problem


async def log_in(house: DeskHouse, user: str, password: str, new_password: str | None = None):
    """One login try."""
    body = {"user": user, "password": password}
    if new_password is not None:
        body["new_password"] = new_password
    return await house.http.post(house.url + "/v1/login", json=body, headers=house.own)


async def test_the_one_time_password_must_be_changed_at_first_use(house: DeskHouse) -> None:
    """Without a new password there is no login; afterwards only the new one fits."""
    one_time = house.one_time["agent1"]
    await problem(await log_in(house, "agent1", one_time), 403, "password_change_needed")
    assert (await log_in(house, "agent1", one_time, PASSWORD)).status == 200
    await problem(await log_in(house, "agent1", one_time), 401, "login_refused")
    assert (await log_in(house, "agent1", PASSWORD)).status == 200


@pytest.mark.parametrize("weak", ["short", "x" * 129, "my-agent1-password", None])
async def test_a_weak_new_password_is_refused(house: DeskHouse, weak: str | None) -> None:
    """Too short, too long, holding the user, or the old one."""
    one_time = house.one_time["agent1"]
    status, code = (422, "body_invalid") if weak == "x" * 129 else (422, "password_weak")
    await problem(await log_in(house, "agent1", one_time, weak or one_time), status, code)
    await problem(await log_in(house, "agent1", one_time), 403, "password_change_needed")


async def test_the_cookie_is_bound_to_host_tls_and_site(house: DeskHouse) -> None:
    """`__Host-`, Secure, HttpOnly, SameSite=Strict, path /; twelve hours at most."""
    answer = await log_in(house, "agent1", house.one_time["agent1"], PASSWORD)
    header = answer.headers["Set-Cookie"]
    assert header.startswith("__Host-pay-ivr=")
    for part in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"):
        assert part in header
    assert "Domain" not in header


async def test_the_database_holds_no_login_id_and_no_password(house: DeskHouse) -> None:
    """A stolen app.db opens nothing."""
    headers = await house.log_in()
    login_id = headers["Cookie"].split("=", 1)[1]
    async with house.store.engine.connect() as conn:
        rows = (await conn.execute(text("SELECT * FROM logins"))).all()
        people = (await conn.execute(text("SELECT * FROM agents"))).all()
    assert login_id not in str(rows)
    assert PASSWORD not in str(people)
    assert "phone-secret" not in str(people)


async def test_a_removed_agent_is_out_at_once(house: DeskHouse) -> None:
    """His open login answers like none, and his right password like a wrong one; others go on."""
    for user in ("agent1", "agent2"):
        await house.log_in(user)
    agent = await house.store.agent("agent1")
    assert agent is not None

    await house.store.remove_agent(agent, int(house.clock.now * 1000), OPERATOR)

    await problem(await house.get("/v1/me"), 401, "login_needed")
    await problem(await log_in(house, "agent1", PASSWORD), 401, "login_refused")
    assert (await house.get("/v1/me", user="agent2")).status == 200


async def test_a_reset_ends_logins_and_asks_for_a_new_password(house: DeskHouse) -> None:
    """The old password opens nothing; the new one is for one time."""
    await house.log_in()
    agent, passwords = await house.store.agent("agent1"), Passwords()
    assert agent is not None

    one_time = await reset_agent(
        house.store,
        passwords,
        agent,
        sip_realm="pay-ivr",
        sip_password="another-secret",
        now_ms=int(house.clock.now * 1000),
    )
    passwords.close()

    await problem(await house.get("/v1/me"), 401, "login_needed")
    await problem(await log_in(house, "agent1", PASSWORD), 401, "login_refused")
    await problem(await log_in(house, "agent1", one_time), 403, "password_change_needed")
    assert (await log_in(house, "agent1", one_time, PASSWORD)).status == 200


async def test_a_login_on_its_way_does_not_outlive_a_reset(
    house: DeskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old password was right when it was hashed; the reset came before its login was stored."""
    await house.log_in()
    agent, passwords = await house.store.agent("agent1"), Passwords()
    assert agent is not None
    fits = Passwords.fits

    async def slowly(self: Passwords, password_hash: str | None, password: str) -> bool:
        fitted = await fits(self, password_hash, password)
        await reset_agent(
            house.store, passwords, agent, sip_realm="pay-ivr", sip_password="another-secret", now_ms=0
        )
        return fitted

    with monkeypatch.context() as patch:
        patch.setattr(Passwords, "fits", slowly)
        await problem(await log_in(house, "agent1", PASSWORD, "a quite new password"), 401, "login_refused")
    passwords.close()
    for known in (PASSWORD, "a quite new password"):
        await problem(await log_in(house, "agent1", known), 401, "login_refused")


async def test_a_login_ends_after_fifteen_idle_minutes(house: DeskHouse) -> None:
    """Used or not used decides, not when it was made."""
    await house.log_in()
    house.clock.now += 14 * 60
    assert (await house.get("/v1/me")).status == 200
    house.clock.now += 14 * 60
    assert (await house.get("/v1/me")).status == 200
    house.clock.now += 15 * 60 + 1
    await problem(await house.get("/v1/me"), 401, "login_needed")


async def test_a_live_call_keeps_a_login(house: DeskHouse) -> None:
    """An agent who listens for twenty minutes is there."""
    await house.log_in()
    house.board.bridge("demo", "agent1")
    house.clock.now += 20 * 60
    assert (await house.get("/v1/me")).status == 200


async def test_a_login_never_outlives_twelve_hours(house: DeskHouse) -> None:
    """Not even on a live call."""
    await house.log_in()
    house.board.bridge("demo", "agent1")
    house.clock.now += 12 * 3600 + 1
    await problem(await house.get("/v1/me"), 401, "login_needed")


async def test_logging_out_ends_the_login_on_the_server(house: DeskHouse) -> None:
    """The cookie, kept by somebody, opens nothing."""
    answer = await house.post("/v1/logout")
    assert f"{COOKIE}=" in answer.headers["Set-Cookie"]
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    await problem(await house.get("/v1/me"), 401, "login_needed")


async def test_ten_wrong_tries_lock_for_thirty_minutes(house: DeskHouse) -> None:
    """While locked the right password gets the wrong one's answer; then it opens again."""
    await house.log_in()
    for _ in range(10):
        await problem(await log_in(house, "agent1", "wrong"), 401, "login_refused")
    await problem(await log_in(house, "agent1", PASSWORD), 401, "login_refused")
    house.clock.now += 30 * 60 + 1
    assert (await log_in(house, "agent1", PASSWORD)).status == 200


async def test_a_right_password_forgets_the_wrong_ones(house: DeskHouse) -> None:
    """Nine mistakes a day do not add up to a lock."""
    await house.log_in()
    for _ in range(2):
        for _ in range(9):
            await log_in(house, "agent1", "wrong")
        assert (await log_in(house, "agent1", PASSWORD)).status == 200


async def test_unknown_users_cost_the_same_time_and_get_the_same_answer(house: DeskHouse) -> None:
    """Neither words nor time tell who exists; medians of seven within a factor of two."""
    await house.log_in()
    seconds: dict[str, list[float]] = {"agent1": [], "nobody": []}
    answers = set()
    for _ in range(7):
        for user, times in seconds.items():
            began = time.perf_counter()
            answers.add(await (await log_in(house, user, "wrong")).text())
            times.append(time.perf_counter() - began)
    known, unknown = (statistics.median(times) for times in seconds.values())
    assert len(answers) == 1
    assert 0.5 < unknown / known < 2.0


async def test_a_changed_password_ends_every_login(house: DeskHouse) -> None:
    """Whoever sat in with the old password is out."""
    await house.log_in()
    await log_in(house, "agent1", PASSWORD, "another long password")
    await problem(await house.get("/v1/me"), 401, "login_needed")


def test_sip_secrets_are_the_hashes_of_the_digest_rfc() -> None:
    """RFC 7616 §3.9.1: Mufasa's H(A1) in MD5 and SHA-256, as they follow from user, realm and password."""
    secret = SipSecret.of("Mufasa", "http-auth@example.org", "Circle of Life")
    assert secret.ha1_md5 == "3d78807defe7de2157e2b0b6573a855f"
    assert secret.ha1_sha256 == "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"


async def test_logins_leave_their_entries_for_the_audit_log(house: DeskHouse) -> None:
    """Success, failure and lock, each with who and from where (PCI DSS 10.2.1.2, 10.2.1.5)."""
    await house.log_in()
    for _ in range(10):
        await log_in(house, "agent1", "wrong")
    async with house.store.engine.connect() as conn:
        bodies = [row[0] for row in (await conn.execute(text("SELECT body FROM outbox ORDER BY seq"))).all()]
    names = [name for body in bodies for name in (body.split('"')[3],) if name.startswith("agent.login")]
    assert names[0] == "agent.login.succeeded"
    assert names.count("agent.login.failed") == 10
    assert names.count("agent.login.locked") == 1
    assert '"origin":"127.0.0.1"' in bodies[-1]
