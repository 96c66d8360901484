"""The books as CSV (RFC 4180): one line per item, amounts in minor and in major units.

UTF-8, lines end in CRLF, dates are ISO 8601, decimals use a point. Text that came from outside is guarded:
a spreadsheet would run a cell that begins with `=`, `+`, `-`, `@`, a tab or a line break as a formula, so an
apostrophe goes before it. Our own numbers are numbers and stay so.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

from vault.books.report import Item
from vault.currency import MINOR_DIGITS

COLUMNS = (
    "match", "explained", "day", "at", "kind", "tenant", "payment_id", "reference",
    "provider", "provider_ref", "entry_id", "payout_id", "currency",
    "ours_minor", "ours", "gross_minor", "gross", "fee_minor", "fee", "fee_agreed_minor", "fee_agreed",
    "net_minor", "net", "last4", "agent_id",
)  # fmt: skip
_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Shown:
    """What a line says about its payment besides money."""

    reference: str = ""
    last4: str = ""
    agent_id: str = ""


def header() -> str:
    """The first line."""
    return _line(COLUMNS)


def line(item: Item, shown: Shown) -> str:
    """One item as a line; a currency of the provider that is not ours stands in `currency`."""
    stated = item.stated_currency or item.currency
    cells = [item.match.value, item.explained, item.day, item.at, item.kind]
    cells += map(guarded, (item.tenant, item.payment_id, shown.reference, item.provider, item.provider_ref))
    cells += [guarded(item.entry_id), guarded(item.payout_ref), stated]
    cells += [*_money(item.ours_minor, item.currency), *_money(item.gross_minor, stated)]
    for amount in (item.fee_minor, item.fee_agreed_minor, item.net_minor):
        cells += _money(amount, stated)
    return _line([*cells, guarded(shown.last4), guarded(shown.agent_id)])


def guarded(text: str) -> str:
    """The text as a spreadsheet shows it and does not run it."""
    return f"'{text}" if text.startswith(_STARTS) else text


def major(amount_minor: int, currency: str) -> str:
    """The amount in major units: 1995 EUR is 19.95, 500 JPY is 500, 1 BHD is 0.001."""
    digits = MINOR_DIGITS[currency]
    whole, part = divmod(abs(amount_minor), 10**digits)
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{whole}.{part:0{digits}d}" if digits else f"{sign}{whole}"


def _money(amount_minor: int | None, currency: str) -> tuple[str, str]:
    if amount_minor is None:
        return "", ""
    return str(amount_minor), major(amount_minor, currency)


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()
