"""A desk on a real loopback socket with a real app.db; only telephony is in memory."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, DummyCookieJar, web

from agent_api.application import setup
from agent_api.auth import COOKIE, Passwords, create_access_key, create_agent
from agent_api.desk import DESK, DeskSettings, Outgoing, TenantDesk
from agent_api.runner import DeskRunner
from agent_api.stream import Streams
from loyalty.service import Loyalty
from pay_ivr.catalogue import Catalogue
from pay_ivr.channels import Channels, Medium
from pay_ivr.codes import PaymentCodes
from pay_ivr.hooks import Hooks
from pay_ivr.people import Agent, Permission
from pay_ivr.receipts import Receipts
from pay_ivr.senders import FolderChannel
from pay_ivr.store import Store
from pay_ivr.teller import Teller
from tests.support.members import programme, sunny
from tests.support.switchboard import MemorySwitchboard
from tests.support.zone import ZoneProcesses, running_zone
from vault import Door

WEBHOOK_SECRET = b"whsec_of_this_test_only"
PASSWORD = "correct horse battery"
TENANTS = {
    "demo": TenantDesk(
        "Demo Travel",
        ("en-US", "de-DE", "es-ES", "fr-FR"),
        ("EUR", "USD", "JPY"),
        ("booking", "invoice", "deposit"),
    ),
    "other": TenantDesk("Other", ("en-US",), ("EUR",), ("invoice",)),
}
AGENTS = (
    Agent("agent1", "demo", "en-US"),
    Agent("agent2", "demo", "de-DE"),
    Agent("stranger", "other", "en-US"),
)
BODY = {"amount_minor": 1995, "currency": "EUR", "reference": "INV 2042", "purpose": "invoice"}


@cache
def words() -> Catalogue:
    """The product's catalogue, read once."""
    return Catalogue()


class Clock:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class DeskHouse:
    """The running desk and the test's hands in it."""

    url: str
    board: MemorySwitchboard
    store: Store
    codes: PaymentCodes
    clock: Clock
    http: ClientSession
    one_time: dict[str, str]
    streams: Streams
    door: Door
    outgoing: Outgoing
    cookies: dict[str, str] = field(default_factory=dict)
    key_count: int = 0

    @property
    def own(self) -> dict[str, str]:
        """What the console's own requests carry."""
        return {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}

    async def log_in(self, user: str = "agent1") -> dict[str, str]:
        """Headers of a logged-in console of this user; the one-time password is changed on the way."""
        if user not in self.cookies:
            body = {"user": user, "password": self.one_time[user], "new_password": PASSWORD}
            answer = await self.http.post(f"{self.url}/v1/login", json=body, headers=self.own)
            assert answer.status == 200, await answer.text()
            self.cookies[user] = answer.cookies[COOKIE].value
        return {"Cookie": f"{COOKIE}={self.cookies[user]}", **self.own}

    async def key(self, tenant: str = "demo") -> dict[str, str]:
        """Headers of an integrator."""
        key = await create_access_key(
            self.store, tenant=tenant, label="shop", now_ms=int(self.clock.now * 1000)
        )
        return {"Authorization": f"Bearer {key}"}

    async def post(
        self, path: str, body: Any = None, *, user: str = "agent1", **headers: str
    ) -> ClientResponse:
        """A POST of a logged-in agent."""
        return await self.http.post(
            self.url + path, json={} if body is None else body, headers={**await self.log_in(user), **headers}
        )

    async def get(self, path: str, *, user: str = "agent1") -> ClientResponse:
        """A GET of a logged-in agent."""
        return await self.http.get(self.url + path, headers=await self.log_in(user))

    async def pay(self, call_id: str, user: str = "agent1", **changes: Any) -> ClientResponse:
        """A new payment on a call, under a fresh idempotency key."""
        self.key_count += 1
        return await self.post(
            f"/v1/calls/{call_id}/payments",
            {**BODY, **changes},
            user=user,
            **{"Idempotency-Key": f"test-{self.key_count}"},
        )

    async def payment_on_call(self, reference: str = "INV 2042") -> str:
        """The id of a payment of agent1 on a new bridged call."""
        call = self.board.bridge("demo", "agent1")
        answer = await self.pay(call.call_id, reference=reference)
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["payment_id"])


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An app.db with all agents, made once because hashing is slow, and their one-time passwords."""
    path = tmp_path_factory.mktemp("grown") / "app.db"
    return path, asyncio.run(_grow(path))


async def _grow(path: Path) -> dict[str, str]:
    store, passwords = await Store.open(path), Passwords()
    now_ms = int(Clock().now * 1000)
    one_time = {
        agent.agent_id: await create_agent(
            store, passwords, agent, sip_realm="pay-ivr", sip_password="phone-secret", now_ms=now_ms
        )
        for agent in AGENTS
    }
    passwords.close()
    await store.close()
    return one_time


@asynccontextmanager
async def run_desk(
    grown: tuple[Path, dict[str, str]],
    folder: Path,
    settings: DeskSettings | None = None,
    door: Door | None = None,
    loyalty: Loyalty | None = None,
) -> AsyncIterator[DeskHouse]:
    """The house, up and then down; without a door the vault is out of reach."""
    path, one_time = grown
    shutil.copy(path, folder / "app.db")
    store = await Store.open(folder / "app.db")
    clock, board, codes = Clock(), MemorySwitchboard(), PaymentCodes(store)
    door = door or Door(folder / "nobody.sock")
    outgoing = await outgoing_of(store, door, folder)
    application = setup(
        switchboard=board,
        door=door,
        store=store,
        codes=codes,
        catalogue=words(),
        tenants=TENANTS,
        outgoing=outgoing,
        channels=Channels({"demo": {Medium.EMAIL: FolderChannel(folder / "messages")}}),
        loyalty=loyalty,
        settings=settings or DeskSettings(requests_per_s=1000, requests_burst=1000, logins_burst=1000),
        now=clock,
    )
    runner = DeskRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with ClientSession(cookie_jar=DummyCookieJar()) as http:
        yield DeskHouse(
            f"http://{host}:{port}",
            board,
            store,
            codes,
            clock,
            http,
            dict(one_time),
            application[DESK].streams,
            application[DESK].door,
            outgoing,
        )
    await runner.cleanup()
    await store.close()


@pytest.fixture
async def house(grown: tuple[Path, dict[str, str]], tmp_path: Path) -> AsyncIterator[DeskHouse]:
    """A desk with generous limits."""
    async with run_desk(grown, tmp_path) as each:
        yield each


@pytest.fixture
async def loyal_house(
    grown: tuple[Path, dict[str, str]], short_dir: Path, zone: ZoneProcesses
) -> AsyncIterator["LoyalHouse"]:
    """A desk of a tenant with a programme, at a real vault; nobody is a member yet."""
    door = Door(zone.run_dir / "vault.sock")
    await door.connect()
    told = programme(payout_minor_per_100_points=50, reset_by=(Medium.EMAIL,))
    channels = Channels({"demo": {Medium.EMAIL: FolderChannel(short_dir / "messages")}})
    async with (
        sunny(short_dir, told, door=door, channels=channels) as loyalty,
        run_desk(grown, short_dir, door=door, loyalty=loyalty) as each,
    ):
        yield LoyalHouse(each, loyalty, short_dir / "messages")
    await door.close()


@dataclass
class LoyalHouse:
    """A desk with members and points."""

    desk: DeskHouse
    loyalty: Loyalty
    messages: Path
    """Where e-mails to members end up."""

    async def key(self, *may: Permission) -> dict[str, str]:
        """Headers of an integrator who may do this."""
        store, now_ms = self.desk.store, int(self.desk.clock.now * 1000)
        made = await create_access_key(store, tenant="demo", label="shop", now_ms=now_ms)
        holder = f"key:{made.split('_')[1]}"
        await store.set_permissions(holder, "demo", frozenset(may), now_ms, "system:test")
        return {"Authorization": f"Bearer {made}"}

    async def post(self, path: str, body: Any = None, **headers: str) -> ClientResponse:
        """A POST with these headers."""
        return await self.desk.http.post(
            self.desk.url + path, json={} if body is None else body, headers=headers
        )

    async def get(self, path: str, **headers: str) -> ClientResponse:
        """A GET with these headers."""
        return await self.desk.http.get(self.desk.url + path, headers=headers)


async def outgoing_of(store: Store, door: Door, folder: Path) -> Outgoing:
    """What leaves the house; nothing is sent by itself."""
    hooks, receipts = await Hooks.open(store, folder), await Receipts.open(store)
    teller = Teller(store, door, hooks, receipts)
    await teller.open()
    return Outgoing(hooks, receipts, teller)


@pytest.fixture(scope="package")
def zone() -> Iterator[ZoneProcesses]:
    """A real vault: broker, spawner and media process; the sandbox signs its webhooks."""
    with running_zone() as each:
        each.kill("broker")
        secret = each.data_dir / "keys" / "sandbox.demo.webhook"
        secret.touch(mode=0o600)
        secret.write_bytes(WEBHOOK_SECRET)
        each.start("broker")
        yield each


@pytest.fixture
async def money_house(
    grown: tuple[Path, dict[str, str]], tmp_path: Path, zone: ZoneProcesses
) -> AsyncIterator[DeskHouse]:
    """A desk at a real vault; its facts come as the switchboard's would."""
    door = Door(zone.run_dir / "vault.sock")
    await door.connect()
    async with run_desk(grown, tmp_path, door=door) as each:
        facts = asyncio.create_task(each.board.follow(door))
        yield each
        facts.cancel()
        await asyncio.gather(facts, return_exceptions=True)
    await door.close()


@pytest.fixture
async def strict_house(grown: tuple[Path, dict[str, str]], tmp_path: Path) -> AsyncIterator[DeskHouse]:
    """A desk with the product's own limits."""
    async with run_desk(grown, tmp_path, DeskSettings()) as each:
        yield each


async def problem(answer: ClientResponse, status: int, code: str) -> dict[str, Any]:
    """The answer is the problem document of this code, complete, with a next step."""
    text = await answer.text()
    assert answer.status == status, text
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = await answer.json(content_type=None)
    assert document["code"] == code
    assert document["status"] == status
    assert document["type"] == "urn:pay-ivr:problem:" + code
    assert document["title"].endswith(".")
    assert document["next_step"].endswith(".")
    return document
