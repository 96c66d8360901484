"""Payment codes: eight digits on an invoice that let a caller open a prepared payment without an agent.

A code moves open → taken → used, and back to open when the payment failed or the caller gave up. It is no
secret of its own: whoever guesses one may pay somebody else's bill. So guessing is made slow (tries per
caller and per tenant) and thin (few codes open among a hundred million), and one code is never two payments
at a time.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import outbox
from audit.outbox import Entry
from pay_ivr.call import ANONYMOUS
from pay_ivr.facts import CallError
from pay_ivr.ids import new_id
from pay_ivr.store import Store, code_tries, payment_codes, utc_of
from vault import Payment, PaymentState

DIGITS = 8
"""Short enough to key, long enough that OPEN_MAX codes are one in ten thousand."""
OPEN_MAX = 10_000
"""Open codes of one tenant: with 10^8 values a guess hits once in 10,000 tries."""
TRIES_MAX = 5
"""Wrong codes of one caller's number in TRIES_WINDOW_MS."""
TRIES_WINDOW_MS = 3_600_000
"""An hour, counted from the first wrong code."""
ANONYMOUS_TRIES_MAX = 60
"""Callers without a number share one count per tenant: more than a number's, or one joker locks out all."""
TENANT_TRIES_MAX = 500
"""Wrong codes of all callers of one tenant in TRIES_WINDOW_MS, because numbers can be forged. With OPEN_MAX
codes open a guess then hits once in twenty hours, and the callers of a whole bill run may still mistype."""
DRAWS_MAX = 20
"""Draws for a free code; with OPEN_MAX taken values the chance to need even three is 10^-8."""
TAKEN_MS_MAX = 20 * 60_000
"""A taken code without a payment is open again after this: longer than the longest capture (900 s)."""


@dataclass(frozen=True)
class PreparedPayment:
    """What a code stands for."""

    code: str
    tenant: str
    amount_minor: int
    currency: str
    reference: str
    purpose: str


class PaymentCodes:
    """Issues codes to integrators and takes them from callers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def issue(
        self,
        tenant: str,
        amount_minor: int,
        currency: str,
        reference: str,
        purpose: str,
        valid_s: int,
        *,
        now_ms: int,
        by: str,
    ) -> str:
        """A fresh code that can be taken for `valid_s` seconds; `by` is the actor on record (`key:…`).

        CallError("codes_exceeded") when too many are open. Amount, currency and purpose are judged by the
        vault when the payment is created.
        """
        async with self._store.engine.begin() as conn:
            await _forget_old(conn, now_ms)
            if await _open_count(conn, tenant) >= OPEN_MAX:
                raise CallError(
                    "codes_exceeded", "Too many payment codes are open; let old ones run out first."
                )
            code, order_id = await _free_code(conn), new_id("ord")
            await conn.execute(
                insert(payment_codes).values(
                    code=code,
                    order_id=order_id,
                    tenant=tenant,
                    amount_minor=amount_minor,
                    currency=currency,
                    reference=reference,
                    purpose=purpose,
                    state="open",
                    expires_at_ms=now_ms + valid_s * 1000,
                )
            )
            money: dict[str, int | str] = {"amount_minor": amount_minor, "currency": currency}
            await outbox.add(
                conn, Entry("payment.code.issued", utc_of(now_ms), by, order_id, tenant, data=money)
            )
        return code

    async def take(self, code: str, caller: str, now_ms: int, *, tenant: str) -> PreparedPayment | None:
        """The prepared payment, now held for this caller; None when the code is unknown, run out or in use.

        CallError("tries_exceeded") when this caller's number has guessed too often, or all callers of the
        tenant together. A right code does not reset the count: otherwise one own code would buy endless
        guesses.
        """
        async with self._store.engine.begin() as conn:
            await _forget_tries(conn, now_ms)
            if await _guessed_too_often(conn, tenant, caller):
                raise CallError("tries_exceeded", "Too many wrong payment codes; call again in an hour.")
            row = (await conn.execute(_takeable(code, tenant, now_ms))).one_or_none()
            if row is None:
                await _count_try(conn, tenant, caller, now_ms)
                return None
            await conn.execute(
                update(payment_codes)
                .where(payment_codes.c.code == code)
                .values(state="taken", taken_at_ms=now_ms, payment_id=None)
            )
            await outbox.add(
                conn, Entry("payment.code.taken", utc_of(now_ms), "caller", row.order_id, tenant)
            )
        return PreparedPayment(
            row.code, row.tenant, row.amount_minor, row.currency, row.reference, row.purpose
        )

    async def bind(self, code: str, payment_id: str) -> None:
        """Names the payment that the code became: from here on only its outcome frees the code again."""
        async with self._store.engine.begin() as conn:
            await conn.execute(
                update(payment_codes)
                .where(payment_codes.c.code == code, payment_codes.c.state == "taken")
                .values(payment_id=payment_id)
            )

    async def close(self, code: str, *, paid: bool) -> None:
        """The call's last word on a taken code: used up when paid, open again when not."""
        await self._close(payment_codes.c.code == code, paid=paid)

    async def close_payment(self, payment_id: str, *, paid: bool) -> None:
        """As `close`, by the payment: also for an unknown outcome that is found out after the call."""
        await self._close(payment_codes.c.payment_id == payment_id, paid=paid)

    async def taken(self) -> tuple[tuple[str, str | None], ...]:
        """Codes that are neither open nor used, each with its payment; at a start those of an earlier run."""
        query = select(payment_codes.c.code, payment_codes.c.payment_id).where(
            payment_codes.c.state == "taken"
        )
        async with self._store.engine.connect() as conn:
            return tuple((row.code, row.payment_id) for row in (await conn.execute(query)).all())

    async def _close(self, which: ColumnElement[bool], *, paid: bool) -> None:
        after = {"state": "used"} if paid else {"state": "open", "payment_id": None}
        async with self._store.engine.begin() as conn:
            await conn.execute(
                update(payment_codes).where(which, payment_codes.c.state == "taken").values(after)
            )


def code_after(payment: Payment, *, call_over: bool) -> bool | None:
    """True: the payment's code is used up. False: it is open again. None: the outcome will tell."""
    if payment.state in _PAID:
        return True
    if payment.state in _UNPAID:
        return False
    return False if call_over and payment.state is PaymentState.DECLINED else None


_PAID = frozenset({PaymentState.AUTHORISED, PaymentState.SETTLED, PaymentState.REFUNDED})
_UNPAID = frozenset(
    {
        PaymentState.CANCELLED,
        PaymentState.EXPIRED,
        PaymentState.NEEDS_ACTION,
        PaymentState.VOIDED,
        PaymentState.CHECKED,
    }
)
"""A charge of unknown outcome may be found voided: the bill is still open, and so is its code."""


def _tries_max(caller: str) -> int:
    return ANONYMOUS_TRIES_MAX if caller == ANONYMOUS else TRIES_MAX


def _takeable(code: str, tenant: str, now_ms: int) -> Any:
    """An open code, or one whose call died before it made a payment."""
    column = payment_codes.c
    stale = (
        (column.state == "taken") & column.payment_id.is_(None) & (column.taken_at_ms < now_ms - TAKEN_MS_MAX)
    )
    return select(payment_codes).where(
        column.code == code,
        column.tenant == tenant,
        column.expires_at_ms > now_ms,
        (column.state == "open") | stale,
    )


async def _forget_old(conn: AsyncConnection, now_ms: int) -> None:
    """Codes that ran out go; a taken one stays until its payment has an end."""
    column = payment_codes.c
    await conn.execute(delete(payment_codes).where(column.expires_at_ms <= now_ms, column.state != "taken"))
    await _forget_tries(conn, now_ms)


async def _open_count(conn: AsyncConnection, tenant: str) -> int:
    column = payment_codes.c
    query = select(func.count()).where(column.tenant == tenant, column.state == "open")
    return int((await conn.execute(query)).scalar_one())


async def _free_code(conn: AsyncConnection) -> str:
    for _ in range(DRAWS_MAX):
        code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"
        query = select(payment_codes.c.code).where(payment_codes.c.code == code)
        if (await conn.execute(query)).one_or_none() is None:
            return code
    raise CallError("codes_exceeded", "No free payment code was found; try again.", retryable=True)


async def _forget_tries(conn: AsyncConnection, now_ms: int) -> None:
    """With this the table never holds more than TENANT_TRIES_MAX callers of a tenant."""
    await conn.execute(delete(code_tries).where(code_tries.c.since_ms <= now_ms - TRIES_WINDOW_MS))


async def _guessed_too_often(conn: AsyncConnection, tenant: str, caller: str) -> bool:
    """True when the caller, or the tenant's callers together, have no try left in this window."""
    mine = case((code_tries.c.caller == caller, code_tries.c.tries), else_=0)
    query = select(func.sum(mine), func.sum(code_tries.c.tries)).where(code_tries.c.tenant == tenant)
    of_caller, of_tenant = (await conn.execute(query)).one()
    return (of_caller or 0) >= _tries_max(caller) or (of_tenant or 0) >= TENANT_TRIES_MAX


async def _count_try(conn: AsyncConnection, tenant: str, caller: str, now_ms: int) -> None:
    mine = (code_tries.c.tenant == tenant, code_tries.c.caller == caller)
    again = update(code_tries).where(*mine).values(tries=code_tries.c.tries + 1)
    if (await conn.execute(again)).rowcount == 0:
        await conn.execute(insert(code_tries).values(tenant=tenant, caller=caller, tries=1, since_ms=now_ms))
