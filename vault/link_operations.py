"""What the door does for links."""

import re

from vault.door import LinkAnswer, LinkPage, Refused
from vault.link_book import unknown
from vault.links import Links
from vault.message import page_as_json, payment_as_json
from vault.operations import Operation, text
from vault.wire import Json

_TOKEN = re.compile(r"[A-Za-z0-9_\-]{22}")
_BY = re.compile(r"(?:agent|key):[A-Za-z0-9_.@\-]{1,64}|system:[a-z_]{1,32}")


def link_operations(links: Links) -> dict[str, Operation]:
    """Every operation by its name."""

    async def open_link(body: Json) -> Json:
        by = text(body, "by")
        if not _BY.fullmatch(by):
            raise Refused("bad_request", "Say who asks: agent:id, key:id or system:name.")
        words = text(body, "payment_id"), by, text(body, "language"), text(body, "return_url")
        payment, token = await links.open(*words)
        return {"payment": payment_as_json(payment), "token": token}

    async def link_page(body: Json) -> Json:
        return _shown(await links.page(_token(body), opened=body.get("opened") is True))

    async def answer_link(body: Json) -> Json:
        try:
            answer = LinkAnswer(text(body, "answer"))
        except ValueError:
            raise Refused("bad_request", "The answer is approve, decline or challenge.") from None
        return _shown(await links.answer(_token(body), answer))

    return {"open_link": open_link, "link_page": link_page, "answer_link": answer_link}


def _shown(page: LinkPage) -> Json:
    return {"page": page_as_json(page)}


def _token(body: Json) -> str:
    token = text(body, "token")
    if not _TOKEN.fullmatch(token):
        raise unknown()
    return token
