"""What the door does for the books: reconcile, explain a difference, give the CSV page by page."""

import re
from dataclasses import asdict

from vault.books.reconciler import Reconciler
from vault.door import Refused
from vault.operations import TEXT_MAX, Operation, text
from vault.wire import Json

_BY = re.compile(r"(?:agent|user|key):[A-Za-z0-9_.@\-]{1,64}")
_REASON = re.compile(r"[a-z][a-z_]{0,47}")


def book_operations(reconciler: Reconciler) -> dict[str, Operation]:
    """Every operation on the books by its name."""

    async def book_tenants(_body: Json) -> Json:
        return {"tenants": list(reconciler.tenants())}

    async def reconcile(body: Json) -> Json:
        since, until = _maybe(body, "since"), _maybe(body, "until")
        return {"found": (await reconciler.reconcile(text(body, "tenant"), since, until)).as_json()}

    async def books_csv(body: Json) -> Json:
        span = _maybe(body, "since"), _maybe(body, "until"), _maybe(body, "after")
        return asdict(await reconciler.csv_page(text(body, "tenant"), *span))

    async def explain_item(body: Json) -> Json:
        tenant, item_id, reason, by = (text(body, key) for key in ("tenant", "item_id", "reason", "by"))
        if not _REASON.fullmatch(reason) or not _BY.fullmatch(by):
            raise Refused("bad_request", "Give the reason as one lower-case word, and say who gives it.")
        return {"item": asdict(await reconciler.explain(tenant, item_id, reason, by))}

    return {
        "book_tenants": book_tenants,
        "reconcile": reconcile,
        "books_csv": books_csv,
        "explain_item": explain_item,
    }


def _maybe(body: Json, key: str) -> str:
    """A printable text; empty when it is missing."""
    value = body.get(key, "")
    if not isinstance(value, str) or len(value) > TEXT_MAX or not value.isprintable():
        raise Refused("bad_request", "A text of the request is none, or too long.")
    return value
