"""Providers' webhooks: raw bytes from the internet to the vault, which alone can tell whether they are true.

The signature is over the bytes, so they are not parsed here. The answer is 200 only when the vault has stored
the webhook, or knows it already; for anything else the provider delivers again.
"""

import asyncio

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from agent_api.desk import Ask, Desk
from agent_api.limits import NOTICE_BYTES_MAX
from agent_api.problems import DeskError
from agent_api.schemas import TakenAnswer

READ_TIMEOUT_S = 10.0
"""Providers send a webhook in one piece; a slow sender gives its place to others."""
HEADERS_MAX = 40
"""The vault takes no more; the signature is one of the first that a provider sets."""
HEADER_CHARS_MAX = 2_000
OURS = frozenset({hdrs.COOKIE.lower(), hdrs.AUTHORIZATION.lower(), hdrs.PROXY_AUTHORIZATION.lower()})
"""Credentials of the desk or of a proxy: nothing that a signature check needs."""


async def take_notice(desk: Desk, ask: Ask) -> TakenAnswer:
    """POST /hooks/{provider}/{tenant}."""
    wait_s = desk.notices.take(ask.network, desk.now())
    if wait_s is not None:
        raise DeskError("rate_limited", retry_after_s=wait_s)
    raw = await _raw(ask.request)
    new = await desk.door.webhook(ask.part("tenant"), ask.part("provider"), _headers(ask.request), raw)
    return TakenAnswer(new=new)


async def _raw(request: web.Request) -> bytes:
    """The body as it was sent; DeskError("webhook_too_large") before more than the limit is in memory."""
    if (request.content_length or 0) > NOTICE_BYTES_MAX:
        raise DeskError("webhook_too_large")
    raw = bytearray()
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            async for piece in request.content.iter_any():
                raw += piece
                if len(raw) > NOTICE_BYTES_MAX:
                    raise DeskError("webhook_too_large")
    except (TimeoutError, web.RequestPayloadError, HttpProcessingError):
        raise DeskError("request_invalid") from None
    return bytes(raw)


def _headers(request: web.Request) -> dict[str, str]:
    named = {
        name: value
        for name, value in request.headers.items()
        if name.lower() not in OURS and len(value) <= HEADER_CHARS_MAX and value.isascii()
    }
    return dict(list(named.items())[:HEADERS_MAX])
