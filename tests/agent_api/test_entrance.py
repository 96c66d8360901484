"""The way in: bodies, credentials, origins, limits and headers, on a real socket."""

import asyncio
import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_api.desk import DeskSettings
from agent_api.entrance import network_of, parse_json
from agent_api.labels import FOLDER as LABELS
from agent_api.limits import BODY_BYTES_MAX
from agent_api.problems import DeskError
from agent_api.route import Access
from agent_api.routes import ROUTES
from pay_ivr.store import Store
from tests.agent_api.conftest import BODY, DeskHouse, problem, run_desk

FILLED = {
    "{call_id}": "call_x",
    "{payment_id}": "pay_x",
    "{delivery_id}": "dlv_x",
    "{card_id}": "card_x",
    "{member_id}": "mem_x",
    "{redemption_id}": "red_x",
    "{journal_id}": "jrn_x",
    "{payout_id}": "po_x",
    "{language}": "en-US",
}


def filled(path: str) -> str:
    """A route's path with ids that nobody has."""
    for part, value in FILLED.items():
        path = path.replace(part, value)
    return path


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 415, "json_needed"),
        (b"{", 400, "malformed_json"),
        (b"\xff\xfe", 400, "malformed_json"),
        (b'{"amount_minor": NaN}', 400, "malformed_json"),
        (b'{"amount_minor": 1, "amount_minor": 2}', 400, "malformed_json"),
        (b'{"amount_minor": ' + b"9" * 5000 + b"}", 400, "malformed_json"),
        (b"[" * 8000, 400, "malformed_json"),
        (b"[]", 422, "body_invalid"),
        (b"null", 422, "body_invalid"),
        (b"{" + b" " * BODY_BYTES_MAX + b"}", 413, "body_too_large"),
    ],
)
async def test_a_malformed_body_is_refused(house: DeskHouse, raw: bytes, status: int, code: str) -> None:
    """Whatever is no JSON object of ours has its problem document, and no payment appears."""
    call = house.board.bridge("demo", "agent1")
    headers = {**await house.log_in(), "Idempotency-Key": "raw"}
    if raw:
        headers["Content-Type"] = "application/json"
    answer = await house.http.post(
        f"{house.url}/v1/calls/{call.call_id}/payments", data=raw or b"x", headers=headers
    )
    await problem(answer, status, code)
    assert house.board.payments_of(call.call_id) == ()


async def test_a_body_that_is_no_json_by_its_type_is_refused(house: DeskHouse) -> None:
    """A form cannot steer the desk: browsers send forms across sites without asking first."""
    headers = {**await house.log_in(), "Content-Type": "text/plain"}
    answer = await house.http.post(f"{house.url}/v1/payments/pay_x/charge", data=b"{}", headers=headers)
    await problem(answer, 415, "json_needed")


async def test_every_route_refuses_an_asker_without_credentials(house: DeskHouse) -> None:
    """Nothing is open by default: only health, the login itself, and where providers ring."""
    closed = [route for route in ROUTES if route.access is not Access.OPEN]
    for route in closed:
        url = house.url + filled(route.path)
        answer = await house.http.request(route.method, url, json={}, headers=house.own)
        await problem(answer, 401, "login_needed")
    assert {route.path for route in ROUTES} - {route.path for route in closed} == {
        "/healthz",
        "/v1/login",
        "/hooks/{provider}/{tenant}",
    }


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Cookie": "__Host-pay-ivr=wrong"}, "login_needed"),
        ({"Cookie": "__Host-pay-ivr="}, "login_needed"),
        ({"Cookie": 'other="x"'}, "login_needed"),
        ({"Authorization": "Bearer pik_00000000_" + "x" * 43}, "access_key_refused"),
        ({"Authorization": "Bearer nonsense"}, "access_key_refused"),
        ({"Authorization": "Basic YWdlbnQxOng="}, "access_key_refused"),
        ({"Authorization": ""}, "access_key_refused"),
    ],
)
async def test_wrong_credentials_are_refused(house: DeskHouse, headers: dict[str, str], code: str) -> None:
    """A wrong credential is an error, never a fall-back to another one."""
    await problem(await house.http.get(house.url + "/v1/calls", headers=headers), 401, code)


async def test_a_revoked_access_key_opens_nothing(house: DeskHouse) -> None:
    """From the moment of its revocation."""
    headers = await house.key()
    found = await house.store.access_key(headers["Authorization"].split("_")[1])
    assert found is not None
    assert (await house.http.get(house.url + "/v1/calls", headers=headers)).status == 200
    await house.store.revoke_access_key(found[0], 0, "system:operator")
    await problem(await house.http.get(house.url + "/v1/calls", headers=headers), 401, "access_key_refused")


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ],
)
async def test_another_site_cannot_use_the_cookie(house: DeskHouse, foreign: dict[str, str]) -> None:
    """CSRF: a request from elsewhere, or from nowhere, changes nothing; neither does a stream open."""
    payment_id = await house.payment_on_call()
    cookie = {"Cookie": (await house.log_in())["Cookie"]}
    url = f"{house.url}/v1/payments/{payment_id}/capture"
    before = house.board.payment(payment_id)
    await problem(await house.http.post(url, json={}, headers={**cookie, **foreign}), 403, "origin_foreign")
    stream = await house.http.get(house.url + "/v1/stream", headers={**cookie, **foreign})
    await problem(stream, 403, "origin_foreign")
    assert house.board.payment(payment_id) == before


async def test_a_foreign_site_cannot_log_in_for_somebody(house: DeskHouse) -> None:
    """Login CSRF would make an agent work under a stranger's name."""
    answer = await house.http.post(
        house.url + "/v1/login",
        json={"user": "agent1", "password": "x"},
        headers={"Origin": "https://evil.example"},
    )
    await problem(answer, 403, "origin_foreign")


async def test_requests_above_the_rate_are_refused_with_a_time(strict_house: DeskHouse) -> None:
    """The bucket empties, says when to come back, and fills again."""
    headers = await strict_house.key()
    url = strict_house.url + "/v1/calls"
    answers = [(await strict_house.http.get(url, headers=headers)).status for _ in range(41)]
    assert answers == [200] * 40 + [429]
    refused = await strict_house.http.get(url, headers=headers)
    document = await problem(refused, 429, "rate_limited")
    assert int(refused.headers["Retry-After"]) >= 1
    assert document["retryable"] is True
    strict_house.clock.now += int(refused.headers["Retry-After"])
    assert (await strict_house.http.get(url, headers=headers)).status == 200


async def test_wrong_credentials_beyond_the_rate_are_not_looked_up(
    strict_house: DeskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One address guesses: after its share the database is not asked, and a right key has to wait too."""
    asked: list[str] = []
    lookup = Store.access_key

    async def counted(self: Store, prefix: str) -> object:
        asked.append(prefix)
        return await lookup(self, prefix)

    monkeypatch.setattr(Store, "access_key", counted)
    right = await strict_house.key()
    wrong = {"Authorization": "Bearer pik_00000000_" + "x" * 43}
    url = strict_house.url + "/v1/calls"
    answers = [(await strict_house.http.get(url, headers=wrong)).status for _ in range(45)]
    assert ([401] * 40 + [429] * 5, 40) == (answers, len(asked))
    refused = await strict_house.http.get(url, headers=right)
    await problem(refused, 429, "rate_limited")
    strict_house.clock.now += int(refused.headers["Retry-After"])
    assert (await strict_house.http.get(url, headers=right)).status == 200


async def test_login_tries_of_one_address_are_slowed(strict_house: DeskHouse) -> None:
    """Argon2 must not be a way to burn our CPU."""
    body = {"user": "nobody", "password": "x"}
    for _ in range(12):
        await strict_house.http.post(strict_house.url + "/v1/login", json=body, headers=strict_house.own)
    answer = await strict_house.http.post(strict_house.url + "/v1/login", json=body, headers=strict_house.own)
    await problem(answer, 429, "rate_limited")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:a:b:c:d", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_addresses_of_one_network_are_counted_together(address: str, network: str) -> None:
    """A whole /64 is one asker, and an IPv4 address is the same one however it is written."""
    assert network == network_of(address)


async def test_a_new_address_of_the_same_network_is_no_new_asker(
    grown: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """As a proxy of ours tells it; the neighbour's network has its own share."""
    proxy = DeskSettings(requests_burst=3, proxy_ips=frozenset({"127.0.0.1"}))
    wrong = {"Authorization": "Bearer pik_00000000_" + "x" * 43}
    async with run_desk(grown, tmp_path, proxy) as house:

        async def status(address: str) -> int:
            headers = {**wrong, "X-Forwarded-For": address}
            return (await house.http.get(house.url + "/v1/calls", headers=headers)).status

        tries = [await status(f"2001:db8::{place}") for place in range(1, 5)]
        assert [401, 401, 401, 429] == tries
        assert 401 == await status("2001:db8:0:1::1")


async def test_unknown_routes_and_methods_are_problem_documents(house: DeskHouse) -> None:
    """The framework's own errors speak our language."""
    await problem(await house.get("/v2/nothing"), 404, "route_unknown")
    refused = await house.http.delete(house.url + "/v1/calls", headers=await house.log_in())
    await problem(refused, 405, "method_not_allowed")
    assert refused.headers["Allow"] == "GET"


async def test_every_answer_carries_the_security_headers(house: DeskHouse) -> None:
    """Errors as well."""
    for path in ("/", "/v1/calls", "/nothing", "/healthz"):
        answer = await house.http.get(house.url + path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Server"] == "pay-ivr"


async def test_a_failure_of_ours_says_nothing_of_itself(
    house: DeskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug's text may hold anything, so the asker sees `internal` only."""

    def broken(*_args: object) -> None:
        raise RuntimeError("4242424242424242")

    monkeypatch.setattr(house.board, "calls_of", broken)
    answer = await house.get("/v1/calls")
    await problem(answer, 500, "internal")
    assert "4242" not in await answer.text()


@pytest.mark.parametrize(
    "raw",
    [
        b"4242424242424242 / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX 4242424242424242: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"4242424242424242" * 600 + b"\r\n\r\n",
        b"POST /v1/login HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nTransfer-Encoding:chunked\r\n\r\n42z\r\n",
    ],
)
async def test_bytes_that_are_no_http_are_not_quoted(
    house: DeskHouse, raw: bytes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the answer nor the log repeats what was sent; the framework alone would do both."""
    host, port = house.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    assert b" 400 " in answer.splitlines()[0]
    assert b'"request_invalid"' in answer
    assert b"aiohttp" not in answer
    assert "42z" not in answer.decode() + caplog.text
    assert "4242" not in answer.decode() + capfd.readouterr().out + caplog.text


async def test_health_says_only_that_it_answers(house: DeskHouse) -> None:
    """No count, no version, no login."""
    assert await (await house.http.get(house.url + "/healthz")).json() == {"status": "ok"}


async def test_foreign_calls_are_unknown_and_own_tenants_calls_are_listed(house: DeskHouse) -> None:
    """An agent sees the calls of his tenant; payments only where he is the agent."""
    mine = house.board.bridge("demo", "agent1")
    colleague = house.board.bridge("demo", "agent2")
    stranger = house.board.bridge("other", "stranger")
    await house.pay(colleague.call_id, "agent2")
    listed = (await (await house.get("/v1/calls")).json())["calls"]
    detail = await (await house.get(f"/v1/calls/{colleague.call_id}")).json()
    assert [(one["call_id"], one["mine"]) for one in listed] == [
        (mine.call_id, True),
        (colleague.call_id, False),
    ]
    assert detail["payments"] == []
    await problem(await house.get(f"/v1/calls/{stranger.call_id}"), 404, "call_unknown")


@pytest.mark.parametrize("path", ["/v1/calls/{}", "/v1/payments/{}"])
async def test_what_is_foreign_reads_like_what_never_was(house: DeskHouse, path: str) -> None:
    """Word for word: otherwise an answer would tell who else calls here."""
    call = house.board.bridge("other", "agent3")
    payment = await house.board.create_payment(
        call.call_id, amount_minor=1, currency="EUR", reference="R", purpose="invoice", agent_id="agent3"
    )
    foreign = call.call_id if "calls" in path else payment.payment_id
    answers = [await (await house.get(path.format(one))).json() for one in (foreign, "x" + foreign[1:])]
    assert answers[0] == answers[1]


async def test_a_call_that_ended_is_never_said_to_be_unpaid(house: DeskHouse) -> None:
    """The agent who hangs up a moment after the caller may have an approved payment on it."""
    payment_id = await house.payment_on_call()
    await house.board.start_capture(payment_id)
    house.board.hurry(payment_id)
    paid = await house.board.charge(payment_id)
    house.board.end(paid.call_id)
    body = await (await house.post(f"/v1/calls/{paid.call_id}/hang-up")).json()
    assert "nothing was charged" not in str(body).lower()
    for labels in sorted(LABELS.glob("*.json")):
        text = json.loads(labels.read_text("utf-8"))["problem_call_ended"].lower()
        assert not re.search("nothing was|nichts wurde|no se ha cobrado nada|rien n.a été", text)


async def test_only_the_calls_agent_hangs_up(house: DeskHouse) -> None:
    """And only once."""
    call = house.board.bridge("demo", "agent1")
    path = f"/v1/calls/{call.call_id}/hang-up"
    await problem(await house.post(path, user="agent2"), 404, "call_unknown")
    ended = await (await house.post(path)).json()
    assert ended["ended_reason"] == "desk_hung_up"
    await problem(await house.post(path), 409, "call_ended")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_break_the_json_reader(raw: bytes) -> None:
    """Any bytes give a value or a DeskError, nothing else escapes."""
    with contextlib.suppress(DeskError):
        parse_json(raw)


async def test_the_way_of_a_denied_request_is_on_record(house: DeskHouse) -> None:
    """Asking for a colleague's payment leaves an entry for the audit log (PCI DSS 10.2.1.4)."""
    call = house.board.bridge("demo", "agent1")
    await house.post(f"/v1/calls/{call.call_id}/payments", BODY, user="agent2", **{"Idempotency-Key": "k"})
    async with house.store.engine.connect() as conn:
        rows = (await conn.exec_driver_sql("SELECT body FROM outbox ORDER BY seq DESC LIMIT 1")).all()
    assert '"agent.access.denied"' in rows[0][0]
    assert '"foreign_call"' in rows[0][0]
