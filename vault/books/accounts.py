"""Which fact moves how much from which book account to which: one table, printed in docs/books.md.

Pure. A fact is one thing that happened to money: we recorded it (`settled`, `refunded`), the provider stated
it (everything of `FeedKind`), or a person explained a difference. Each becomes lines, and one line moves an
amount from one account (credit) to another (debit): a pair of postings that cannot fail to sum to zero.

`unmatched` stands between the two sides. What we record goes in on one side, what the provider states comes
out on the other; whatever is left there is a difference that somebody must look at. So a fact's lines depend
on that fact alone, and it does not matter which side spoke first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from vault.currency import MINOR_DIGITS

AMOUNT_MAX_MINOR = 10**15
"""A payout of a year of the largest merchant; 64 bits hold ten thousand of them, so no sum can overflow."""


class BookAccount(StrEnum):
    """The accounts that every tenant has in every currency; a debit counts plus, a credit minus."""

    PSP_RECEIVABLE = "psp_receivable"
    """What the provider owes the tenant, by the provider's own statement."""
    SALES = "sales"
    """What was sold: payments settled."""
    FEES = "fees"
    """What the provider keeps."""
    REFUNDS = "refunds"
    """What was given back to cardholders."""
    CHARGEBACKS = "chargebacks"
    """What cardholders' banks took back, less what was won back."""
    BANK_CLEARING = "bank_clearing"
    """What the provider has paid out; the bank's statement takes it from here."""
    UNMATCHED = "unmatched"
    """What only one side has told so far; zero per payment once both agree."""
    ADJUSTMENTS = "adjustments"
    """Differences that a person has explained and accepted."""


class BookKind(StrEnum):
    """What can happen to money, in the words of the books."""

    SETTLED = "settled"
    REFUNDED = "refunded"
    CHARGE = "charge"
    REFUND = "refund"
    CHARGEBACK = "chargeback"
    CHARGEBACK_REVERSAL = "chargeback_reversal"
    FEE = "fee"
    PAYOUT = "payout"
    ADJUSTMENT = "adjustment"
    EXPLAINED = "explained"


OURS = (BookKind.SETTLED, BookKind.REFUNDED)
"""Facts that we record in the transaction of the payment's own change."""

_A = BookAccount
RULES: Mapping[BookKind, tuple[BookAccount, BookAccount]] = MappingProxyType(
    {
        BookKind.SETTLED: (_A.UNMATCHED, _A.SALES),
        BookKind.REFUNDED: (_A.REFUNDS, _A.UNMATCHED),
        BookKind.CHARGE: (_A.PSP_RECEIVABLE, _A.UNMATCHED),
        BookKind.REFUND: (_A.PSP_RECEIVABLE, _A.UNMATCHED),
        BookKind.CHARGEBACK: (_A.PSP_RECEIVABLE, _A.CHARGEBACKS),
        BookKind.CHARGEBACK_REVERSAL: (_A.PSP_RECEIVABLE, _A.CHARGEBACKS),
        BookKind.FEE: (_A.PSP_RECEIVABLE, _A.FEES),
        BookKind.PAYOUT: (_A.PSP_RECEIVABLE, _A.BANK_CLEARING),
        BookKind.ADJUSTMENT: (_A.PSP_RECEIVABLE, _A.UNMATCHED),
        BookKind.EXPLAINED: (_A.ADJUSTMENTS, _A.UNMATCHED),
    }
)
"""Kind -> (debit, credit) of its gross; a negative gross, as the provider states a refund, swaps them."""
FEE_RULE = (BookAccount.FEES, BookAccount.PSP_RECEIVABLE)
"""The fee inside an entry of any kind, as (debit, credit)."""


class BooksError(Exception):
    """Something that the books cannot take; the sentence names the rule, never the values."""

    code = "books_refused"
    retryable = False


@dataclass(frozen=True)
class Fact:
    """One thing that happened to money. `source` names it for ever: told again, it changes nothing."""

    kind: BookKind
    source: str
    """Our step key, or `<provider>:<entry id>`; unique in the books."""
    tenant: str
    currency: str
    at: str
    """When it happened: UTC, ISO 8601 with milliseconds."""
    gross_minor: int
    """Ours: positive. The provider's: as seen from the tenant's balance there."""
    fee_minor: int = 0
    """What the provider keeps; negative when it gives a fee back."""
    payment_id: str = ""
    provider: str = ""
    provider_ref: str = ""
    step_ref: str = ""
    """The provider's id of this very step, where it gives one; with EXPLAINED the item that is meant."""
    reason: str = ""
    """With EXPLAINED: why, in one word."""


@dataclass(frozen=True)
class Line:
    """`amount_minor` moves: plus on `debit`, minus on `credit`."""

    debit: BookAccount
    credit: BookAccount
    amount_minor: int


def lines_of(fact: Fact) -> tuple[Line, ...]:
    """The lines of one fact; nothing that is zero. `BooksError` for what is no money."""
    _check(fact)
    gross = _line(*RULES[fact.kind], fact.gross_minor)
    fee = _line(*FEE_RULE, fact.fee_minor)
    return tuple(line for line in (gross, fee) if line.amount_minor)


def balances(lines: tuple[Line, ...]) -> dict[BookAccount, int]:
    """What stands on each account after `lines`; the values always sum to zero."""
    found = dict.fromkeys(BookAccount, 0)
    for line in lines:
        found[line.debit] += line.amount_minor
        found[line.credit] -= line.amount_minor
    return found


def table_text() -> str:
    """The table as Markdown, for people and for docs/books.md."""
    rows = [f"| {kind} | {debit} | {credit} |" for kind, (debit, credit) in RULES.items()]
    rows.append("| fee inside any of them | {} | {} |".format(*FEE_RULE))
    return "\n".join(("| fact | debit | credit |", "|---|---|---|", *rows))


def _line(debit: BookAccount, credit: BookAccount, amount_minor: int) -> Line:
    if amount_minor < 0:
        return Line(credit, debit, -amount_minor)
    return Line(debit, credit, amount_minor)


def _check(fact: Fact) -> None:
    if fact.currency not in MINOR_DIGITS:
        raise BooksError("the currency is not in ISO 4217")
    for amount in (fact.gross_minor, fact.fee_minor):
        if type(amount) is not int or abs(amount) > AMOUNT_MAX_MINOR:
            raise BooksError("an amount is no integer of minor units within the limit")
    if fact.kind in OURS and fact.gross_minor <= 0:
        raise BooksError("what we record is above zero")
    if not fact.source or not fact.tenant:
        raise BooksError("a fact has a source and a tenant")
