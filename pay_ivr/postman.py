"""Carries what is stored out of the house: webhooks over HTTPS, messages by the tenant's channels.

The URL of a webhook is somebody else's word. So it is https, goes to an address of the internet (looked up
and judged for every delivery, and that very address is connected to), follows no redirect, and what comes
back is not read. Only a tenant that is not live may say otherwise in its file, for tests.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from pydantic import BaseModel, ConfigDict, Field

from pay_ivr.channels import ChannelError, Channels, Parcel, Tray
from pay_ivr.facts import CallError
from pay_ivr.hooks import (
    EVENT_HEADER,
    SIGNATURE_HEADER,
    Delivery,
    DeliveryState,
    Hooks,
    check_url,
    is_public,
    signature,
)
from pay_ivr.ids import now_ms
from pay_ivr.logs import log
from pay_ivr.tenants import Tenant, checked_section, fault_at

SEND_TIMEOUT_S = 10.0
"""A receiver stores the event and answers; what it does with it is its own time."""
AT_ONCE = 8
"""Deliveries, or messages, at the same time: a slow receiver must not hold up all others."""
LOOK_EVERY_S = 1.0
"""How soon a try whose time has come is made."""
CLOSING_S = 3.0
"""How long a stopping node waits for receivers that have not answered yet."""
TIDY_EVERY_S = 3_600.0
TAKEN = range(200, 300)


class WebhooksSection(BaseModel):
    """`[webhooks]` of a tenant's file: only tests need one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    private: bool = False
    """Webhooks may go to addresses that are not of the internet; never for a live tenant."""
    ca_file: str = Field(default="", max_length=500)
    """PEM of the authority that signed the receivers' certificates; empty: the machine's own."""


def webhooks_of(tenant: Tenant, tenants_dir: Path) -> WebhooksSection:
    """The tenant's `[webhooks]`; TenantError names file and line."""
    path = tenants_dir / f"{tenant.tenant_id}.toml"
    section = checked_section(path, "webhooks", WebhooksSection)
    if section.private and tenant.live:
        raise fault_at(path, ("webhooks", "private"), "a live tenant's webhooks go to the internet")
    return section


class PublicResolver(AbstractResolver):
    """Looks names up and gives only addresses of the internet; OSError when there is none."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """What may be connected to."""
        found = [one for one in await self._resolver.resolve(host, port, family) if is_public(one["host"])]
        if not found:
            raise OSError("no address of the internet")
        return found

    async def close(self) -> None:
        """Nothing is held."""
        await self._resolver.close()


class Postman:
    """Sends what is due, again and again until it is taken or given up."""

    def __init__(
        self,
        hooks: Hooks,
        trays: Sequence[Tray],
        channels: Channels,
        webhooks: Mapping[str, WebhooksSection],
        stored: asyncio.Event,
    ) -> None:
        self._hooks = hooks
        self._trays = tuple(trays)
        self._channels = channels
        self._webhooks = webhooks
        self._stored = stored
        self._sessions: dict[str, ClientSession] = {}
        self._tidied_s = float("-inf")
        self._over = False
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Works until `close`; webhooks and messages side by side: neither waits for the other's hosts."""
        try:
            await asyncio.gather(self._repeat(self._hooks_round), self._repeat(self._trays_round))
        finally:
            self._ended.set()

    async def _repeat(self, work: Callable[[], Awaitable[int]]) -> None:
        while not self._over:
            self._stored.clear()
            if not await work():
                await self._wait()

    async def close(self) -> None:
        """Ends `run` between two statements, then every connection; what was under way is sent again."""
        self._over = True
        self._stored.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self._ended.wait()
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def round(self) -> int:
        """Everything that is due, tried once; how much that was."""
        return await self._hooks_round() + await self._trays_round()

    async def _hooks_round(self) -> int:
        return await _at_once(self._deliver(delivery) for delivery in await self._hooks.due(now_ms()))

    async def _trays_round(self) -> int:
        due = [(tray, parcel) for tray in self._trays for parcel in await tray.due(now_ms())]
        sent = await _at_once(self._send(tray, parcel) for tray, parcel in due)
        if time.monotonic() - self._tidied_s > TIDY_EVERY_S:
            self._tidied_s = time.monotonic()
            await self._hooks.tidy(now_ms())
            for tray in self._trays:
                await tray.tidy(now_ms())
        return sent

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._stored.wait()
        except TimeoutError:
            return

    async def _deliver(self, delivery: Delivery) -> None:
        problem = await self._post(delivery)
        who = {"delivery_id": delivery.delivery_id, "tenant": delivery.tenant}
        if not problem:
            await self._hooks.delivered(delivery)
            log.info("hook.delivery.taken", **who)
            return
        state = await self._hooks.failed(delivery, problem, now_ms())
        if state is DeliveryState.DEAD:
            log.error("hook.delivery.dead", problem=problem, **who)
        else:
            log.warning("hook.delivery.failed", problem=problem, tries=delivery.tries + 1, **who)

    async def _post(self, delivery: Delivery) -> str:
        """Sends the event; empty when it was taken, otherwise the problem in one word."""
        key = self._hooks.key(delivery.endpoint_id)
        if not key:
            return "key_missing"
        terms = self._webhooks.get(delivery.tenant, WebhooksSection())
        body = delivery.body.encode()
        headers = {
            "Content-Type": "application/json",
            EVENT_HEADER: delivery.event_id,
            SIGNATURE_HEADER: signature(key, int(time.time()), body),
        }
        try:
            check_url(delivery.url, private=terms.private)
            session = self._session(delivery.tenant, terms)
            async with session.post(
                delivery.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return "" if answer.status in TAKEN else f"status_{answer.status}"
        except CallError:
            return "url_refused"
        except TimeoutError:
            return "timeout"
        except (ClientError, OSError, ssl.SSLError):
            return "unreachable"

    def _session(self, tenant: str, terms: WebhooksSection) -> ClientSession:
        """One per tenant, so that no tenant's trust or connection is another's."""
        if tenant not in self._sessions:
            context = ssl.create_default_context(cafile=terms.ca_file or None)
            resolver = ThreadedResolver() if terms.private else PublicResolver()
            connector = TCPConnector(resolver=resolver, ssl=context, limit=AT_ONCE, use_dns_cache=False)
            self._sessions[tenant] = ClientSession(
                connector=connector,
                timeout=ClientTimeout(total=SEND_TIMEOUT_S),
                cookie_jar=DummyCookieJar(),
                headers={"User-Agent": "pay-ivr"},
            )
        return self._sessions[tenant]

    async def _send(self, tray: Tray, parcel: Parcel) -> None:
        try:
            await self._channels.send(parcel.tenant, parcel.message)
        except ChannelError as error:
            again = await tray.failed(parcel, now_ms(), retryable=error.retryable)
            who = {"tray": tray.noun, "tenant": parcel.tenant}
            log.warning("message.parcel.failed", code=error.code, again=again, **who)
        else:
            await tray.sent(parcel)
            log.info("message.parcel.sent", tray=tray.noun, tenant=parcel.tenant)


async def _at_once(works: Iterable[Coroutine[Any, Any, None]]) -> int:
    """All of them, `AT_ONCE` at a time; how many that were."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(work: Coroutine[Any, Any, None]) -> None:
        async with places:
            await work

    return len(await asyncio.gather(*map(one, works)))
