"""The CSV: money with the currency's digits, dates as they are, nothing that a spreadsheet would run."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.books.export import COLUMNS, Shown, guarded, header, line, major
from vault.books.report import Item, Match

ITEM = Item(
    "pay_a:settle:1",
    Match.MATCHED,
    "charge",
    "demo",
    "2026-03-02",
    "2026-03-02T10:00:00.000Z",
    "EUR",
    payment_id="pay_a",
    provider="sandbox",
    provider_ref="ref_a",
    entry_id="txn_a",
    payout_ref="po_a",
    ours_minor=10_000,
    gross_minor=10_000,
    stated_currency="EUR",
    fee_minor=165,
    net_minor=9_835,
)


def cells(text: str) -> dict[str, str]:
    return next(csv.DictReader(io.StringIO(header() + text, newline="")))


@pytest.mark.parametrize(
    ("amount_minor", "currency", "expected"),
    [
        (500, "JPY", "500"),
        (-500, "JPY", "-500"),
        (1995, "HUF", "19.95"),
        (5, "EUR", "0.05"),
        (-5, "EUR", "-0.05"),
        (1, "BHD", "0.001"),
        (12_345, "BHD", "12.345"),
        (0, "EUR", "0.00"),
    ],
)
def test_major_units_have_the_digits_of_the_currency(amount_minor, currency, expected):
    """None for the yen, two for the forint, three for the dinar; the sign is never lost."""
    assert expected == major(amount_minor, currency)


def test_line_says_what_finance_asks_for():
    """Ids, amounts twice, fee and net, who took the payment and with which card."""
    found = cells(line(ITEM, Shown("B-1", "4242", "agent1")))
    assert {
        "match": "matched",
        "day": "2026-03-02",
        "payment_id": "pay_a",
        "provider_ref": "ref_a",
        "payout_id": "po_a",
        "currency": "EUR",
        "gross_minor": "10000",
        "gross": "100.00",
        "fee": "1.65",
        "net": "98.35",
        "last4": "4242",
        "agent_id": "agent1",
        "reference": "B-1",
    }.items() <= found.items()
    assert list(COLUMNS) == list(found)


def test_what_is_not_known_is_empty():
    """No zero for an amount that nobody has stated."""
    ours = Item(**{**vars(ITEM), "gross_minor": None, "fee_minor": None, "net_minor": None, "entry_id": ""})
    found = cells(line(ours, Shown()))
    assert ("", "", "", "100.00") == tuple(found[name] for name in ("gross", "fee", "net", "ours"))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1"])
def test_text_that_a_spreadsheet_would_run_is_guarded(text):
    """An apostrophe makes it text; the reference is what a merchant's own system sent."""
    assert f"'{text}" == cells(line(ITEM, Shown(reference=text)))["reference"]


@given(st.text())
def test_any_reference_comes_back_from_the_csv(text):
    """Quotes, separators and line ends inside; one line per item, ended by CRLF."""
    told = line(ITEM, Shown(reference=text))
    assert told.endswith("\r\n")
    assert guarded(text) == cells(told)["reference"]
