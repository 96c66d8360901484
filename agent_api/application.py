"""Puts the desk together: parts in, an aiohttp application out. Where it listens is app.py's."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from agent_api import openapi
from agent_api.auth import Doorman, Passwords
from agent_api.console import add_console
from agent_api.desk import DESK, Desk, DeskSettings, Outgoing, TenantDesk
from agent_api.entrance import entrance, problems, set_headers
from agent_api.limits import (
    BODY_BYTES_MAX,
    NOTICES_BURST,
    NOTICES_PER_S,
    PAGES_BURST,
    PAGES_PER_S,
    Buckets,
)
from agent_api.member_sessions import MemberSessions
from agent_api.member_web import add_member_page
from agent_api.pages import add_page
from agent_api.payments import Idempotency
from agent_api.routes import ROUTES
from agent_api.stream import Streams
from loyalty.service import Loyalty
from pay_ivr.catalogue import Catalogue
from pay_ivr.channels import Channels
from pay_ivr.codes import PaymentCodes
from pay_ivr.people import Agent
from pay_ivr.store import Store
from vault import Door

if TYPE_CHECKING:
    from pay_ivr.switchboard import Switchboard


def setup(
    *,
    switchboard: "Switchboard",
    door: Door,
    store: Store,
    codes: PaymentCodes,
    catalogue: Catalogue,
    tenants: Mapping[str, TenantDesk],
    outgoing: Outgoing,
    channels: Channels | None = None,
    loyalty: Loyalty | None = None,
    settings: DeskSettings | None = None,
    now: Callable[[], float] = time.time,
) -> web.Application:
    """The desk's application: it watches the switchboard while it runs; the store stays the giver's."""
    settings = settings or DeskSettings()
    passwords = Passwords()
    desk = Desk(
        switchboard=switchboard,
        door=door,
        store=store,
        codes=codes,
        catalogue=catalogue,
        tenants=tenants,
        outgoing=outgoing,
        settings=settings,
        doorman=_doorman(store, passwords, settings, switchboard),
        streams=Streams(),
        idempotency=Idempotency(),
        requests=Buckets(settings.requests_per_s, settings.requests_burst),
        logins=Buckets(settings.logins_per_s, settings.logins_burst),
        notices=Buckets(NOTICES_PER_S, NOTICES_BURST),
        pages=Buckets(PAGES_PER_S, PAGES_BURST),
        channels=channels or Channels({}),
        loyalty=loyalty,
        member_logins=MemberSessions(),
        openapi=openapi.as_bytes(ROUTES),
        now=now,
    )
    app = _routed(desk)
    app.cleanup_ctx.append(lambda _app: _watching(desk, passwords))
    return app


def _doorman(
    store: Store, passwords: Passwords, settings: DeskSettings, switchboard: "Switchboard"
) -> Doorman:
    """It takes a live call for a sign of life of its agent."""

    def on_live_call(agent: Agent) -> bool:
        return bool(switchboard.calls_of(agent.tenant, agent.agent_id))

    return Doorman(store, passwords, settings, on_live_call)


def _routed(desk: Desk) -> web.Application:
    """Every route behind the entrance, the console beside them, streams closed before the sockets."""
    app = web.Application(middlewares=[problems], client_max_size=BODY_BYTES_MAX)
    app[DESK] = desk
    for route in ROUTES:
        app.router.add_route(route.method, route.path, entrance(route))
    add_console(app)
    add_page(app)
    add_member_page(app)

    async def closing(_app: web.Application) -> None:
        await desk.streams.close()
        for task in tuple(desk.tasks):
            task.cancel()
        await asyncio.gather(*desk.tasks, return_exceptions=True)

    app.on_shutdown.append(closing)
    app.on_response_prepare.append(set_headers)
    return app


async def _watching(desk: Desk, passwords: Passwords) -> AsyncIterator[None]:
    unwatch = [
        desk.switchboard.watch(desk.member_logins.told),
        desk.switchboard.watch(lambda fact: desk.streams.tell(desk, fact)),
    ]
    yield
    for end in unwatch:
        end()
    passwords.close()
