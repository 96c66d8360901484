"""What the door does for webhooks: raw bytes in, exactly as they were received."""

import base64
import binascii

from vault.door import Refused
from vault.operations import Operation, text
from vault.webhooks import HEADER_MAX, HEADERS_MAX, RAW_MAX, Webhooks
from vault.wire import Json


def webhook_operations(webhooks: Webhooks) -> dict[str, Operation]:
    """The one operation by its name."""

    async def webhook(body: Json) -> Json:
        names = text(body, "tenant"), text(body, "provider")
        return {"new": await webhooks.take(*names, _headers(body), _raw(body))}

    return {"webhook": webhook}


def _headers(body: Json) -> dict[str, str]:
    headers = body.get("headers")
    if not isinstance(headers, dict) or len(headers) > HEADERS_MAX:
        raise Refused("bad_request", "The request lacks the headers of the webhook.")
    for value in headers.values():
        if not isinstance(value, str) or len(value) > HEADER_MAX:
            raise Refused("bad_request", "A header of the webhook is none.")
    return headers


def _raw(body: Json) -> bytes:
    raw = body.get("raw")
    try:
        found = base64.b64decode(raw, validate=True) if isinstance(raw, str) else b""
    except (binascii.Error, ValueError):
        found = b""
    if not 0 < len(found) <= RAW_MAX:
        raise Refused("bad_request", "The body of the webhook is not base64, empty or too long.")
    return found
