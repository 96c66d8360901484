"""Pages for pay-by-link in the sandbox's books: one link can be paid once, until it expires or is closed.

The node serves the page `/pay/<token>`; it takes no PAN, only one of three answers. Each function is one
transaction on the connection it is given.
"""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vault.providers._sandbox_books import transaction
from vault.providers._sandbox_cards import letters
from vault.providers._sandbox_side import PATH
from vault.providers.base import Link, LinkOrder


class LinkState(StrEnum):
    """What a page shows."""

    OPEN = "open"
    PAID = "paid"
    CLOSED = "closed"
    EXPIRED = "expired"


@dataclass(frozen=True)
class LinkPage:
    """One page, as the node shows it."""

    state: LinkState
    provider_ref: str
    amount_minor: int
    currency: str
    settle_later: bool
    expires_at: str
    return_url: str
    answers: int = 0
    """How often something was pressed so far."""
    link_key: str = ""


def open_link(books: sqlite3.Connection, wanted: LinkOrder, provider_ref: str) -> Link:
    """The link of a key; the same key gives the same link."""
    order = wanted.order
    values = (f"sbx_link_{letters()}", wanted.link_key, letters(), provider_ref, order.amount_minor)
    terms = (order.currency, order.settle_later, wanted.expires_at, wanted.return_url)
    with transaction(books):
        books.execute(
            "INSERT OR IGNORE INTO links (link_ref, link_key, token, provider_ref, amount_minor, currency,"
            " settle_later, expires_at, return_url) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values + terms,
        )
        found = books.execute(
            "SELECT link_ref, token, expires_at FROM links WHERE link_key = ?", (wanted.link_key,)
        ).fetchone()
    return Link(found[0], PATH + found[1], found[2])


def close_link(books: sqlite3.Connection, link_ref: str) -> None:
    """Nothing can be pressed any more."""
    books.execute("UPDATE links SET closed = 1 WHERE link_ref = ?", (link_ref,))


def payment_of(books: sqlite3.Connection, reference: str) -> str:
    """The payment of a link; any other reference as it is."""
    wanted = "SELECT provider_ref FROM links WHERE link_ref = ?"
    found = books.execute(wanted, (reference,)).fetchone()
    return str(found[0]) if found else reference


def page(books: sqlite3.Connection, token: str, now: float) -> LinkPage | None:
    """The page behind a token; None when there is none."""
    found = books.execute(
        "SELECT provider_ref, amount_minor, currency, settle_later, expires_at, return_url, answers,"
        " link_key, closed, EXISTS (SELECT 1 FROM executions AS e WHERE e.provider_ref = links.provider_ref"
        " AND e.kind = 'authorised') FROM links WHERE token = ?",
        (token,),
    ).fetchone()
    if found is None:
        return None
    reference, amount_minor, currency, later, expires_at, return_url, answers, key, closed, paid = found
    state = _state(bool(paid), bool(closed), expired=datetime.fromisoformat(expires_at).timestamp() <= now)
    terms = (reference, amount_minor, currency, bool(later), expires_at, return_url)
    return LinkPage(state, *terms, answers, key)


def _state(paid: bool, closed: bool, *, expired: bool) -> LinkState:
    if paid:
        return LinkState.PAID
    if closed:
        return LinkState.CLOSED
    return LinkState.EXPIRED if expired else LinkState.OPEN


def press(books: sqlite3.Connection, token: str) -> None:
    """Counts an answer, so that each has a key of its own."""
    books.execute("UPDATE links SET answers = answers + 1 WHERE token = ?", (token,))
