"""The way of every request: address, credentials, limits, body, handler, answer, headers, one log line."""

import asyncio
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError

from agent_api.desk import DESK, NETWORK, ORIGIN, Ask, Asker, Desk
from agent_api.limits import BODY_BYTES_MAX
from agent_api.problems import DeskError, from_validation, response
from agent_api.route import Access, Route
from agent_api.schemas import Nothing
from loyalty.errors import LoyaltyError
from pay_ivr.facts import CallError
from pay_ivr.logs import log
from vault import VaultError

BODY_TIMEOUT_S = 10.0
"""A body of 16 kB needs no longer on any line; a slow sender gives its place to others."""

NETWORK_BITS = 64
"""Of an IPv6 address: the least that a subscriber gets (RFC 6177)."""

SERVER = "pay-ivr"
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": API_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer, errors included; the console's page has its own policy (console.py)."""

Raw = Callable[[web.Request], Awaitable[web.StreamResponse]]


def entrance(route: Route) -> Raw:
    """The handler that aiohttp gets for a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        desk = request.app[DESK]
        asker = await _asker(desk, route, request)
        body = await _body(route, request)
        try:
            result = await route.handler(desk, Ask(request, asker, body))
        except DeskError as error:
            await _record(desk, asker, error)
            raise
        if isinstance(result, BaseModel):
            return web.json_response(text=result.model_dump_json(), status=route.status)
        return result

    return handle


@web.middleware
async def problems(request: web.Request, handler: Raw) -> web.StreamResponse:
    """Turns every error into its problem document; writes one log line without paths or values."""
    began = time.monotonic()
    request[ORIGIN] = _origin(request)
    request[NETWORK] = network_of(request[ORIGIN])
    try:
        answer = await handler(request)
    except (DeskError, CallError, VaultError, LoyaltyError, web.HTTPException) as error:
        answer = response(error)
    except Exception as error:  # noqa: BLE001 the last net: a stack trace for us, "internal" for the asker
        log.exception("desk.request.failed", error=type(error).__name__)
        answer = response(error)
    resource = request.match_info.route.resource
    log.info(
        "desk.request.answered",
        method=request.method if request.method in hdrs.METH_ALL else "other",
        route=resource.canonical if resource is not None else "none",
        status=answer.status,
        duration_ms=round((time.monotonic() - began) * 1000),
    )
    return answer


async def set_headers(_request: web.Request, answer: web.StreamResponse) -> None:
    """Signal handler: the security headers, unless the answer has its own."""
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    answer.headers[hdrs.SERVER] = SERVER  # aiohttp has put its version there by now


def _origin(request: web.Request) -> str:
    """The asker's address; behind one of our proxies what that proxy has seen (the last entry)."""
    remote = request.remote or ""
    desk = request.app[DESK]
    if remote not in desk.settings.proxy_ips:
        return remote
    last = request.headers.get(hdrs.X_FORWARDED_FOR, "").rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(last))
    except ValueError:
        return remote


def network_of(address: str) -> str:
    """What all addresses of one subscriber have in common: the IPv4 address, or the first 64 bits of IPv6.

    A host takes a new address of its /64 as often as it likes (RFC 8981), so that counting whole addresses
    would count nothing. An IPv4 address that is written as IPv6 is the same one. What is no address stays.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), NETWORK_BITS), strict=False))


async def _asker(desk: Desk, route: Route, request: web.Request) -> Asker | None:
    """Who asks, if he may; nobody for an open route."""
    if route.access is Access.OPEN:
        if route.changes and not route.raw:
            desk.doorman.check_origin(request)
        return None
    # Wrong credentials are counted by network; those of one that has used up its share are not looked up.
    network = f"network:{request[NETWORK]}"
    _limit(desk, network, desk.requests.wait_s)
    try:
        asker = await desk.doorman.asker(request, desk.now_ms)
    except DeskError:
        _limit(desk, network)
        raise
    _limit(desk, asker.name)
    _check_access(route, asker)
    if asker.agent is not None and route.changes:
        desk.doorman.check_origin(request)
    return asker


def _check_access(route: Route, asker: Asker) -> None:
    if asker.agent is not None and route.access is Access.KEY:
        raise DeskError("not_for_agents")
    if asker.agent is None and route.access is Access.AGENT:
        raise DeskError("not_for_access_keys")


async def _record(desk: Desk, asker: Asker | None, error: DeskError) -> None:
    if error.on_record is not None and asker is not None:
        await desk.store.note_denied(asker.tenant, asker.name, error.on_record, desk.now_ms)


def _limit(desk: Desk, name: str, ask: Callable[[str, float], int | None] | None = None) -> None:
    wait_s = (ask or desk.requests.take)(name, desk.now())
    if wait_s is not None:
        raise DeskError("rate_limited", retry_after_s=wait_s)


async def _body(route: Route, request: web.Request) -> BaseModel:
    """The body in its schema; only `Nothing` may be left out."""
    if not route.changes or route.raw:
        return Nothing()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await request.read()
    except (TimeoutError, web.RequestPayloadError, HttpProcessingError):
        raise DeskError("request_invalid") from None
    if not raw and route.body is Nothing:
        return Nothing()
    if request.content_type != "application/json":
        raise DeskError("json_needed")
    document = parse_json(raw)
    try:
        return route.body.model_validate(document)
    except ValidationError as error:
        raise from_validation(error, frozenset(route.body.model_fields)) from None


def parse_json(raw: bytes) -> Any:
    """One JSON value in UTF-8; DeskError("malformed_json") also for NaN, double names and deep nesting."""
    if len(raw) > BODY_BYTES_MAX:
        raise DeskError("body_too_large")
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise DeskError("malformed_json") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is given twice")
    return members


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")
