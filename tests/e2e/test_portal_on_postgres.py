"""A whole node on PostgreSQL: a member of the API calls the portal; then the server dies or stands still.

Everything is real, as in test_portal_call.py; the server is one of our own with fsync. While it is away
callers are told so, systems are told to ask again, and every process of the node lives on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from loyalty.members import Member
from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.node import add_access_key
from pay_ivr.payment_voice import Sentence
from pay_ivr.people import Permission
from pay_ivr.proof.ledger_books import faults
from pay_ivr.proof.postgres import PostgresServer, own_server
from pay_ivr.speech import Speech
from tests.support.members import TENANT, sunny
from tests.support.node import WAIT_S, Node, running_node, until
from tests.support.portal_call import data_of, portal_call, set_pin
from tests.support.portal_visit import (
    BALANCE,
    CODES,
    PIN,
    POINTS,
    PRICE,
    PROGRAMME,
    add_codes,
    choose_a_coffee,
    hear_a_code,
    identify,
    log_in,
    offer,
    say_goodbye,
)

pytestmark = [
    pytest.mark.proof,
    pytest.mark.asyncio(loop_scope="module"),
]

PORTAL = "4930300009"
LANGUAGE = "en-US"
CUSTOMER = "4711091"
UPKEEP_S = 60.0
"""The upkeep looks every 20 s."""
MORE = offer({LANGUAGE: PORTAL})
PERSON = {"number": CUSTOMER, "given_name": "Anna", "family_name": "Muster", "born": "1980-12-31"}
GRIEVANCES = ("node.task.failed", "call.flow.broken", "never retrieved", "Traceback")
"""What the node's log says when something did not expect that the database can be away."""


@dataclass
class Site:
    """A node, its database server, a tenant's system, and a member whom that has enrolled."""

    node: Node
    server: PostgresServer
    url: str
    system: aiohttp.ClientSession
    speech: Speech
    member_id: str = ""

    async def ask(self, path: str, body: dict[str, Any] | None = None, key: str = "") -> tuple[int, Any]:
        """Status and answer of the API; a body is posted under a key of the tenant's own."""
        method = "GET" if body is None else "POST"
        headers = {"Idempotency-Key": key} if key else {}
        async with self.system.request(method, path, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def available(self) -> int:
        """The member's points, as the API tells."""
        status, balance = await self.ask(f"/v1/members/{self.member_id}/balance")
        assert 200 == status, balance
        return int(balance["available"])

    async def broken_rules(self) -> list[str]:
        """Of the books; that the log has every journal is told by the log, which has emptied the outbox."""
        found = await asyncio.to_thread(faults, self.url)
        return sorted(found.keys() - {"each journal has its one entry for the log"})

    def says(self, word: str) -> int:
        """How often the node's log has it."""
        return self.node.stage.log_file.read_text(encoding="utf-8").count(word)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that keeps its word through kills."""
    with own_server(durable=True) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The node up, the member enrolled and earning through the API, his PIN set, four codes in stock."""
    url = server.url(server.new_database())
    folder: Path = tmp_path_factory.mktemp("site")
    speech = Speech(Catalogue(), tmp_path_factory.mktemp("speech"))
    async with running_node(folder, 1, more=MORE, loyalty_database=url) as node:
        may = frozenset({Permission.MEMBERS, Permission.POINTS})
        access_key = await add_access_key(node.stage.settings, TENANT, "till", may)
        bearer = {"Authorization": f"Bearer {access_key}"}
        async with aiohttp.ClientSession(node.url, headers=bearer) as system:
            made = Site(node, server, url, system, speech)
            await _enrol(made)
            yield made
    await speech.close()


async def _enrol(site: Site) -> None:
    status, person = await site.ask("/v1/members", PERSON, key="crm-1")
    assert 201 == status, person
    site.member_id = person["member"]["member_id"]
    earned = {"points": POINTS, "receipt": "till-1"}
    status, booked = await site.ask(f"/v1/members/{site.member_id}/earn", earned, key="till-1")
    assert 200 == status, booked
    async with sunny(data_of(site.node), PROGRAMME, url=site.url) as loyalty:
        await add_codes(loyalty)
        member: Member = await loyalty.members.get(TENANT, site.member_id)
    await set_pin(site.node, TENANT, member, PIN)


def caller(site: Site, number: int) -> Any:
    """A call to the portal."""
    return portal_call(site.node, PORTAL, f"49151200{3000 + number}", site.speech, LANGUAGE)


async def redeem_by_telephone(site: Site, number: int) -> str:
    """Login, balance, redemption; the code that was spoken."""
    points = await site.available()
    async with caller(site, number) as call:
        await log_in(call, CUSTOMER)
        await call.key(BALANCE)
        await call.hears(Sentence(Key.BALANCE, {"points": points}))
        await choose_a_coffee(call, points)
        await call.key("1")
        code = await hear_a_code(call)
        await say_goodbye(call)
    assert points - PRICE == await site.available()
    return code


async def test_a_member_of_the_api_redeems_by_telephone(site: Site) -> None:
    """Enrolled and earning by HTTP, spending by telephone; API, books and log agree."""
    assert POINTS == await site.available()
    code = await redeem_by_telephone(site, 1)
    assert code in CODES
    _, listed = await site.ask(f"/v1/members/{site.member_id}/redemptions")
    (redemption,) = listed["redemptions"]
    assert ("coffee", "phone", "done") == (
        redemption["reward_id"],
        redemption["channel"],
        redemption["state"],
    )
    _, told = await site.ask(f"/v1/redemptions/{redemption['redemption_id']}")
    assert code == told["code"]
    await until(lambda: 1 == site.node.audit_rows().count("redemption.reward.done"))
    assert [] == await site.broken_rules()


async def test_the_server_dies_and_comes_back_while_the_node_runs(site: Site) -> None:
    """Callers and systems are told to come later; nothing is doubled; no process of the node is replaced."""
    before, pids = await site.available(), site.node.stage.pids()
    async with caller(site, 2) as call:
        await log_in(call, CUSTOMER)
        await choose_a_coffee(call, before)
        site.server.kill()
        await call.key("1")
        await call.begins(Key.PLEASE_WAIT)
        await call.hears(Sentence(Key.REDEEM_UNKNOWN))
        await call.key(BALANCE)
        await call.hears(Sentence(Key.SERVICE_UNAVAILABLE))
    async with caller(site, 3) as call:
        await identify(call, CUSTOMER)
        await call.hears(Sentence(Key.SERVICE_UNAVAILABLE), Sentence(Key.AGENTS_CLOSED_GOODBYE))
        await asyncio.wait_for(call.phone.ended.wait(), WAIT_S)
    path, coffee = f"/v1/members/{site.member_id}/redeem", {"reward_id": "coffee"}
    for asking in (site.ask(path, coffee, key="web-1"), site.ask(f"/v1/members/{site.member_id}")):
        status, problem = await asking
        assert (503, "database_away", True) == (status, problem["code"], problem["retryable"])
    await until(lambda: site.says("upkeep.job.failed") > 0, UPKEEP_S)

    site.server.start()
    answers = [await site.ask(path, coffee, key="web-1") for _ in range(2)]
    assert [200, 200] == [status for status, _ in answers]
    assert answers[0][1]["code"] == answers[1][1]["code"]
    assert before - PRICE == await site.available()
    code = await redeem_by_telephone(site, 4)
    assert code != answers[0][1]["code"]

    assert pids == site.node.stage.pids()
    assert [] == await site.broken_rules()
    await until(lambda: 3 == site.node.audit_rows().count("redemption.reward.done"))
    assert dict.fromkeys(GRIEVANCES, 0) == {word: site.says(word) for word in GRIEVANCES}


async def test_a_server_that_stands_still_keeps_no_caller_waiting(site: Site) -> None:
    """Five seconds, then a sentence; what nobody knew then is booked once or not at all."""
    before, pids = await site.available(), site.node.stage.pids()
    async with caller(site, 5) as call:
        await log_in(call, CUSTOMER)
        await choose_a_coffee(call, before)
        site.server.freeze()
        try:
            await call.key("1")
            await call.begins(Key.PLEASE_WAIT)
            await call.hears(Sentence(Key.REDEEM_UNKNOWN))
            await call.key(BALANCE)
            await call.hears(Sentence(Key.SERVICE_UNAVAILABLE))
        finally:
            site.server.thaw()
        status, changed = await site.ask(f"/v1/members/{site.member_id}/changes", {"postcode": "10115"})
        assert 200 == status, changed  # writers go one after the other: what was on its way is booked
        after = await site.available()
        await call.key(BALANCE)
        await call.hears(Sentence(Key.BALANCE, {"points": after}))
        await say_goodbye(call)
    _, listed = await site.ask(f"/v1/members/{site.member_id}/redemptions")
    assert POINTS - after == PRICE * len(listed["redemptions"])
    assert after in {before, before - PRICE}
    assert pids == site.node.stage.pids()
    assert [] == await site.broken_rules()
    assert dict.fromkeys(GRIEVANCES, 0) == {word: site.says(word) for word in GRIEVANCES}
