"""Our side of the books: what a payment's change means in money, written in the transaction of the change.

Derived from the row before and after, so that no way of settling or refunding a payment can pass the books
by: a sale, a settled hold, a refund, or a step that was found at the provider. A fact's key holds the sum
that is reached, which only grows: the same change told again is the same fact.
"""

from sqlalchemy import select

from vault.books.accounts import BookKind, BooksError, Fact
from vault.books.journal import write
from vault.door import StepName, StepState
from vault.store import STEPS, Change, PaymentRow


async def book_move(change: Change, before: PaymentRow, after: PaymentRow) -> None:
    """Writes what moved between the two rows; call it after the change's step is stored.

    `BooksError` when money would un-happen: nothing that was settled or refunded becomes less.
    """
    settled = after.settled_minor - before.settled_minor
    refunded = after.refunded_minor - before.refunded_minor
    if settled < 0 or refunded < 0:
        raise BooksError("what was settled or refunded cannot become less")
    if settled:
        key = f"{after.payment_id}:settled:{after.settled_minor}"
        await write(change.conn, _fact(BookKind.SETTLED, after, settled, key, after.charge_ref))
    if refunded:
        key = f"{after.payment_id}:refunded:{after.refunded_minor}"
        step_ref = await _last_refund(change, after.payment_id)
        await write(change.conn, _fact(BookKind.REFUNDED, after, refunded, key, step_ref))


def _fact(kind: BookKind, row: PaymentRow, amount_minor: int, source: str, step_ref: str) -> Fact:
    return Fact(
        kind,
        source,
        row.tenant,
        row.currency,
        row.updated_at,
        amount_minor,
        payment_id=row.payment_id,
        provider=row.provider,
        provider_ref=row.provider_ref or "",
        step_ref=step_ref,
    )


async def _last_refund(change: Change, payment_id: str) -> str:
    """The provider's id of the refund that was just stored; empty when it gave none."""
    same = (STEPS.c.payment_id == payment_id) & (STEPS.c.name == StepName.REFUND.value)
    wanted = select(STEPS.c.step_ref).where(same, STEPS.c.state == StepState.DONE.value)
    found = await change.conn.execute(wanted.order_by(STEPS.c.number.desc()).limit(1))
    return found.scalar_one_or_none() or ""
