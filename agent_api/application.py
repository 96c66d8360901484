"""Puts the desk together: parts in, an aiohttp application out. Where it listens is app.py's."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from agent_api import openapi
from agent_api.auth import Doorman, Passwords
from agent_api.console import add_console
from agent_api.desk import DESK, Desk, DeskSettings, TenantDesk
from agent_api.entrance import entrance, problems, set_headers
from agent_api.limits import BODY_BYTES_MAX, Buckets
from agent_api.payments import Idempotency
from agent_api.routes import ROUTES
from agent_api.stream import Streams
from pay_ivr.catalogue import Catalogue
from pay_ivr.codes import PaymentCodes
from pay_ivr.store import Store

if TYPE_CHECKING:
    from pay_ivr.switchboard import Switchboard


def setup(
    *,
    switchboard: "Switchboard",
    store: Store,
    codes: PaymentCodes,
    catalogue: Catalogue,
    tenants: Mapping[str, TenantDesk],
    settings: DeskSettings | None = None,
    now: Callable[[], float] = time.time,
) -> web.Application:
    """The desk's application: it watches the switchboard while it runs; the store stays the giver's."""
    settings = settings or DeskSettings()
    passwords = Passwords()
    desk = Desk(
        switchboard=switchboard,
        store=store,
        codes=codes,
        catalogue=catalogue,
        tenants=tenants,
        settings=settings,
        doorman=Doorman(
            store,
            passwords,
            settings,
            on_live_call=lambda agent: bool(switchboard.calls_of(agent.tenant, agent.agent_id)),
        ),
        streams=Streams(),
        idempotency=Idempotency(),
        requests=Buckets(settings.requests_per_s, settings.requests_burst),
        logins=Buckets(settings.logins_per_s, settings.logins_burst),
        openapi=openapi.as_bytes(ROUTES),
        now=now,
    )

    async def watching(_app: web.Application) -> AsyncIterator[None]:
        unwatch = switchboard.watch(lambda fact: desk.streams.tell(desk, fact))
        yield
        unwatch()
        passwords.close()

    async def closing(_app: web.Application) -> None:
        await desk.streams.close()

    app = web.Application(middlewares=[problems], client_max_size=BODY_BYTES_MAX)
    app[DESK] = desk
    for route in ROUTES:
        app.router.add_route(route.method, route.path, entrance(route))
    add_console(app)
    app.cleanup_ctx.append(watching)
    app.on_shutdown.append(closing)
    app.on_response_prepare.append(set_headers)
    return app
