"""The table of the books: every fact becomes lines that sum to zero, on the accounts the table names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.books.accounts import (
    AMOUNT_MAX_MINOR,
    OURS,
    RULES,
    BookAccount,
    BookKind,
    BooksError,
    Fact,
    balances,
    lines_of,
    table_text,
)
from vault.providers.base import FeedKind

PAGE = Path(__file__).parents[3] / "docs" / "books.md"
AT = "2026-03-02T10:00:00.000Z"


def fact(kind: BookKind, gross_minor: int, fee_minor: int = 0, **changes: str) -> Fact:
    values = {"source": "pay_a:settle:1", "tenant": "demo", "currency": "EUR", "at": AT, **changes}
    return Fact(kind, gross_minor=gross_minor, fee_minor=fee_minor, **values)


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    kind = draw(st.sampled_from(BookKind))
    limit = AMOUNT_MAX_MINOR
    gross = draw(st.integers(1, limit) if kind in OURS else st.integers(-limit, limit))
    return fact(kind, gross, draw(st.integers(-limit, limit)), currency=draw(st.sampled_from(["EUR", "JPY"])))


@given(facts())
def test_every_fact_sums_to_zero(drawn):
    """Each by itself, whatever its signs; no line is zero or stands on one account twice."""
    lines = lines_of(drawn)
    assert 0 == sum(balances(lines).values())
    assert all(line.amount_minor > 0 and line.debit is not line.credit for line in lines)


def test_sale_that_is_stated_and_paid_out_leaves_only_sales_fees_and_bank():
    """Both sides meet in unmatched; the provider owes nothing after its payout."""
    lines = (
        *lines_of(fact(BookKind.SETTLED, 10_000)),
        *lines_of(fact(BookKind.CHARGE, 10_000, 165)),
        *lines_of(fact(BookKind.PAYOUT, -9_835)),
    )
    left = {account: amount for account, amount in balances(lines).items() if amount}
    expected = {BookAccount.SALES: -10_000, BookAccount.FEES: 165, BookAccount.BANK_CLEARING: 9_835}
    assert expected == left


def test_refund_and_lost_chargeback_stand_on_their_own_accounts():
    """Neither makes sales smaller; the provider owes that much less."""
    lines = (
        *lines_of(fact(BookKind.REFUNDED, 300)),
        *lines_of(fact(BookKind.REFUND, -300)),
        *lines_of(fact(BookKind.CHARGEBACK, -500)),
        *lines_of(fact(BookKind.FEE, 0, 1_500)),
    )
    left = {account: amount for account, amount in balances(lines).items() if amount}
    assert {
        BookAccount.REFUNDS: 300,
        BookAccount.CHARGEBACKS: 500,
        BookAccount.FEES: 1_500,
        BookAccount.PSP_RECEIVABLE: -2_300,
    } == left


def test_chargeback_won_back_leaves_nothing():
    """The reversal has the other sign, not another account."""
    lost = lines_of(fact(BookKind.CHARGEBACK, -500))
    won = lines_of(fact(BookKind.CHARGEBACK_REVERSAL, 500))
    assert not any(balances((*lost, *won)).values())


def test_every_kind_of_the_statement_has_a_rule():
    """A new kind of entry cannot reach the journal without one."""
    assert {kind.value for kind in FeedKind} <= {kind.value for kind in RULES}
    assert set(BookKind) == set(RULES)


@pytest.mark.parametrize(
    "wrong",
    [
        fact(BookKind.SETTLED, 0),
        fact(BookKind.REFUNDED, -1),
        fact(BookKind.CHARGE, AMOUNT_MAX_MINOR + 1),
        fact(BookKind.CHARGE, 1.5),
        fact(BookKind.CHARGE, True),
        fact(BookKind.CHARGE, 1, currency="XXX"),
        fact(BookKind.CHARGE, 1, source=""),
        fact(BookKind.CHARGE, 1, tenant=""),
    ],
)
def test_what_is_no_money_is_refused(wrong):
    """Zero of ours, floats, currencies that do not exist, facts without a name."""
    with pytest.raises(BooksError):
        lines_of(wrong)


def test_the_page_of_the_books_shows_the_table_and_every_account():
    """docs/books.md says what the code does; `table_text()` is what belongs there."""
    page = PAGE.read_text("utf-8")
    assert table_text() in page
    assert [] == [account.value for account in BookAccount if f"| `{account.value}` |" not in page]
