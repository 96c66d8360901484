"""The lots that an account spends next: a page of them, because a member may have thousands.

Lots with a date come before those without, and each kind is read from its end of the index, so that a page
costs the same however many lots lie behind it. Both kinds have a page of their own: which of them is whole
says `lack`.
"""

from sqlalchemy import column, text

from loyalty.ledger.book import Book
from loyalty.ledger.bulk import Lookup
from loyalty.tables import LOT

FIRST = 32
"""Lots of each kind in a page: more than most members have."""

_KEYS = "tenant", "programme", "account_id"
_COLUMNS = *_KEYS, "id", "account_id", "journal_id", "expires", "granted", "remaining"
_PAGES = tuple(
    f"SELECT {{columns}} FROM lot AS own WHERE {{same}} AND own.remaining > 0 AND own.expires {kind} "  # noqa: S608
    f"ORDER BY {order} LIMIT CAST(:first AS integer)"
    for kind, order in (("IS NOT NULL", "own.expires, own.id"), ("IS NULL", "own.id"))
)


def _page(columns: str) -> str:
    """Both pages of one account that is `given`."""
    same = " AND ".join(f"own.{name} = (given.value ->> {number})" for number, name in enumerate(_KEYS))
    pages = (page.format(columns=columns, same=same) for page in _PAGES)
    return " UNION ALL ".join(f"SELECT * FROM ({page}) AS page" for page in pages)  # noqa: S608 - our names


_SELECTED = "SELECT " + ", ".join(f"lot.{name}" for name in _COLUMNS)
_TYPES = [*(LOT.c[name] for name in _KEYS[:2]), column("owner"), *(LOT.c[name] for name in _COLUMNS[3:])]
FOUND = Lookup(
    {
        "sqlite": text(
            f"{_SELECTED} FROM json_each(:asked) AS given JOIN lot ON lot.tenant = (given.value ->> 0) "
            f"AND lot.programme = (given.value ->> 1) AND lot.id IN ({_page('own.id')})"
        ).columns(*_TYPES),
        "postgresql": text(
            f"{_SELECTED} FROM jsonb_array_elements(CAST(:asked AS jsonb)) AS given "
            f"CROSS JOIN LATERAL ({_page('own.*')}) AS lot"
        ).columns(*_TYPES),
    }
)
"""By account: tenant, programme and account, then id, account, journal, expires, granted and remaining."""


def lack(book: Book, account: str, points: int) -> bool:
    """True when, for that many points, lots may be needed that are not on the account's page.

    The page is in the book, and nothing else of the account. What is past its date is soonest of all: a page
    with something behind it has all of that on it.
    """
    lots = tuple(book.lots_of(account))
    dated = tuple(lot for lot in lots if lot.expires is not None)
    if len(dated) < FIRST and len(lots) - len(dated) < FIRST:
        return False
    reached = dated if len(dated) == FIRST else lots
    return sum(lot.remaining for lot in reached if not lot.is_over(book.today)) < points
