"""What the desk is made of: its parts, its settings, and one request with the one who asks."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import BaseModel

from agent_api.limits import LOGINS_BURST, LOGINS_PER_S, REQUESTS_BURST, REQUESTS_PER_S, Buckets
from agent_api.member_sessions import MemberSessions
from agent_api.problems import DeskError
from loyalty.service import Loyalty
from pay_ivr.catalogue import Catalogue
from pay_ivr.channels import Channels
from pay_ivr.codes import PaymentCodes
from pay_ivr.hooks import Hooks
from pay_ivr.people import AccessKey, Agent
from pay_ivr.receipts import Receipts
from pay_ivr.store import Store
from pay_ivr.teller import Teller
from vault import Door

if TYPE_CHECKING:
    from agent_api.auth import Doorman
    from agent_api.payments import Idempotency
    from agent_api.stream import Streams
    from pay_ivr.switchboard import Switchboard


@dataclass(frozen=True)
class TenantDesk:
    """What a tenant's agents may choose from; a wrong choice is refused by the vault, not here."""

    name: str
    """As shown in the console."""
    languages: tuple[str, ...]
    currencies: tuple[str, ...]
    purposes: tuple[str, ...]
    links: bool = False
    """Payments can be sent as a link."""


@dataclass(frozen=True)
class DeskSettings:
    """How the desk behaves."""

    public_origin: str | None = None
    """`https://desk.example`, when a proxy changes Host; otherwise Origin must name the request's Host."""
    link_origin: str | None = None
    """`https://pay.example`, where payers reach `/pay/`; otherwise the agents' own address."""
    requests_per_s: float = REQUESTS_PER_S
    requests_burst: int = REQUESTS_BURST
    logins_per_s: float = LOGINS_PER_S
    logins_burst: int = LOGINS_BURST
    proxy_ips: frozenset[str] = frozenset()
    """Addresses of our own proxies: from these the last X-Forwarded-For entry is the asker's address."""


@dataclass(frozen=True)
class Outgoing:
    """What leaves the house: receipts to customers, webhooks to the tenants' systems."""

    hooks: Hooks
    receipts: Receipts
    teller: Teller


@dataclass(frozen=True)
class Desk:
    """The parts, wired once at start."""

    switchboard: "Switchboard"
    door: Door
    """For payments whose call may be long over; live ones go by the switchboard."""
    store: Store
    codes: PaymentCodes
    catalogue: Catalogue
    tenants: Mapping[str, TenantDesk]
    outgoing: Outgoing
    settings: DeskSettings
    doorman: "Doorman"
    streams: "Streams"
    idempotency: "Idempotency"
    requests: Buckets
    logins: Buckets
    notices: Buckets
    """Providers' webhooks, by network."""
    pages: Buckets
    """Payers' and members' pages, by network."""
    channels: Channels
    loyalty: Loyalty | None
    """None when no tenant has a programme."""
    member_logins: MemberSessions
    """Logins of members on their web page."""
    openapi: bytes
    """The OpenAPI document, made once."""
    now: Callable[[], float] = field(default=time.time)
    """UTC seconds since 1970."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Work that goes on after its answer; what is left of it ends with the desk."""

    def keep(self, task: asyncio.Task[None]) -> None:
        """Holds on to work that goes on after its answer."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @property
    def now_ms(self) -> int:
        """UTC milliseconds since 1970."""
        return int(self.now() * 1000)


@dataclass(frozen=True)
class Asker:
    """Who asks: an agent with a login, or an integrator with an access key."""

    tenant: str
    name: str
    """Bucket and idempotency name: `agent:…` or `key:…`."""
    agent: Agent | None = None
    login_sha256: bytes = b""
    key: AccessKey | None = None

    @property
    def language(self) -> str:
        """The language for labels and reasons."""
        return self.agent.language if self.agent is not None else "en-US"


@dataclass(frozen=True)
class Ask:
    """One request that has passed the door: who asks, and a body that fits its schema."""

    request: web.Request
    asker: Asker | None
    body: BaseModel

    @property
    def who(self) -> Asker:
        """The asker of a route that is not open."""
        if self.asker is None:
            raise DeskError("login_needed")
        return self.asker

    @property
    def agent(self) -> Agent:
        """The agent of a route for agents."""
        if self.who.agent is None:
            raise DeskError("not_for_access_keys")
        return self.who.agent

    @property
    def origin(self) -> str:
        """The address it comes from, for the log."""
        return self.request[ORIGIN]

    @property
    def network(self) -> str:
        """The network it comes from, by which limits count: `entrance.network_of` its address."""
        return self.request[NETWORK]

    def part(self, name: str) -> str:
        """A piece of the path."""
        return self.request.match_info[name]


Handler = Callable[[Desk, Ask], Awaitable[web.StreamResponse | BaseModel]]
"""Every route's handler: a model is sent as JSON."""

ORIGIN: web.RequestKey[str] = web.RequestKey("origin", str)
NETWORK: web.RequestKey[str] = web.RequestKey("network", str)
DESK: web.AppKey[Desk] = web.AppKey("desk", Desk)
