"""Receipts by e-mail or SMS: who wants them, what has to be sent, and their words.

A customer who has given an address gets a receipt of everything that money does to his payment, each once per
address, also of a refund weeks later. Text and address are stored before anything is sent, so that a crash
loses no receipt; both are personal data and forgotten after RECEIPTS_KEPT_MS.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text, delete, select, update
from sqlalchemy.dialects.sqlite import insert as insert_once
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import outbox
from pay_ivr.channels import Medium, Message, Parcel
from pay_ivr.happenings import Happening, What
from pay_ivr.numbers import written
from pay_ivr.store import Store
from vault import Payment, PaymentState

RECEIPTS_KEPT_MS = 90 * 24 * 3_600_000
"""A card payment can be disputed for months, but asked about again within a quarter."""
WAITS_S = (5, 30, 120, 600, 3_600, 14_400)
"""Before each new try: half a working day in all; a receipt that comes later is no use."""
DUE_MAX = 20
BRANDS = {"visa": "Visa", "mastercard": "Mastercard", "amex": "American Express"}

metadata = MetaData()
wishes = Table(
    "receipt_wishes",
    metadata,
    Column("payment_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("tenant_name", String(80), nullable=False),
    Column("medium", String(8), nullable=False),
    Column("address", String(254), nullable=False),
    Column("language", String(8), nullable=False),
    Column("made_at_ms", BigInteger, nullable=False, index=True),
)
receipts = Table(
    "receipts",
    metadata,
    Column("receipt_id", String(128), primary_key=True),
    Column("payment_id", String(64), nullable=False, index=True),
    Column("tenant", String(64), nullable=False),
    Column("medium", String(8), nullable=False),
    Column("address", String(254), nullable=False),
    Column("subject", String(120), nullable=False),
    Column("text", Text, nullable=False),
    Column("state", String(8), nullable=False, index=True),
    Column("tries", Integer, nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("made_at_ms", BigInteger, nullable=False),
)
WAITING, SENT, FAILED = "waiting", "sent", "failed"


@dataclass(frozen=True)
class Words:
    """A language's words of a receipt; amounts are written as its readers write them."""

    subject: str
    paid: str
    refunded: str
    receipt: str
    card: str


WORDS = {
    "en-US": Words(
        "Receipt {receipt} from {tenant}", "Paid: {amount}", "Refunded: {amount}", "Receipt: {receipt}",
        "Card: {brand} ending in {last4}",
    ),
    "de-DE": Words(
        "Beleg {receipt} von {tenant}", "Bezahlt: {amount}", "Erstattet: {amount}", "Beleg: {receipt}",
        "Karte: {brand} mit den Endziffern {last4}",
    ),
    "es-ES": Words(
        "Recibo {receipt} de {tenant}", "Pagado: {amount}", "Devuelto: {amount}", "Recibo: {receipt}",
        "Tarjeta: {brand} terminada en {last4}",
    ),
    "fr-FR": Words(
        "Reçu {receipt} de {tenant}", "Payé : {amount}", "Remboursé : {amount}", "Reçu : {receipt}",
        "Carte : {brand} se terminant par {last4}",
    ),
    "hu-HU": Words(
        "Bizonylat {receipt}, {tenant}", "Kifizetve: {amount}", "Visszatérítve: {amount}",
        "Bizonylat: {receipt}", "Kártya: {brand}, utolsó négy számjegy: {last4}",
    ),
}  # fmt: skip
FALLBACK = "en-US"


@dataclass(frozen=True)
class Wish:
    """Where the receipts of one payment go."""

    payment_id: str
    tenant: str
    tenant_name: str
    medium: Medium
    address: str = field(repr=False)
    language: str
    """Of the receipt's words; `FALLBACK` when `WORDS` has none in it."""


class Receipts:
    """Wishes and receipts in app.db."""

    noun = "receipt"
    """In the log."""

    def __init__(self, store: Store) -> None:
        self._engine = store.engine

    @classmethod
    async def open(cls, store: Store) -> Self:
        """The tables made where they are missing."""
        await outbox.create_tables(store.engine, metadata)
        return cls(store)

    async def wish(self, wish: Wish, now_ms: int) -> None:
        """From now on the payment's receipts go there; another address replaces the one before."""
        values = {**vars(wish), "medium": wish.medium.value, "made_at_ms": now_ms}
        put = insert_once(wishes).values(**values)
        async with self._engine.begin() as conn:
            await conn.execute(put.on_conflict_do_update(index_elements=["payment_id"], set_=values))

    async def wished(self) -> tuple[str, ...]:
        """Ids of all payments with a wish."""
        async with self._engine.connect() as conn:
            return tuple((await conn.execute(select(wishes.c.payment_id))).scalars().all())

    async def file(
        self, conn: AsyncConnection, payment: Payment, found: tuple[Happening, ...], now_ms: int
    ) -> None:
        """The receipts that are due and not stored yet; in the transaction of `conn`."""
        query = select(wishes).where(wishes.c.payment_id == payment.payment_id)
        row = (await conn.execute(query)).one_or_none()
        if row is None:
            return
        names = ("payment_id", "tenant", "tenant_name", "address", "language")
        wish = Wish(**{name: getattr(row, name) for name in names}, medium=Medium(row.medium))
        for one in found:
            if deserves_one(one, found, payment):
                message = message_of(one, payment, wish)
                values = {
                    "receipt_id": message.key,
                    "payment_id": payment.payment_id,
                    "tenant": payment.tenant,
                    "medium": wish.medium.value,
                    "address": wish.address,
                    "subject": message.subject,
                    "text": message.text,
                    "state": WAITING,
                    "tries": 0,
                    "next_at_ms": now_ms,
                    "made_at_ms": now_ms,
                }
                await conn.execute(insert_once(receipts).values(**values).on_conflict_do_nothing())

    async def due(self, now_ms: int) -> tuple[Parcel, ...]:
        """Receipts whose time has come, oldest first."""
        waiting = receipts.c.state == WAITING, receipts.c.next_at_ms <= now_ms
        query = select(receipts).where(*waiting).order_by(receipts.c.next_at_ms).limit(DUE_MAX)
        async with self._engine.connect() as conn:
            rows = (await conn.execute(query)).all()
        return tuple(
            Parcel(
                row.tenant,
                Message(row.receipt_id, Medium(row.medium), row.address, row.subject, row.text),
                row.tries,
            )
            for row in rows
        )

    async def sent(self, receipt: Parcel) -> None:
        """The channel has taken it."""
        await self._set(receipt, {"state": SENT, "tries": receipt.tries + 1})

    async def failed(self, receipt: Parcel, now_ms: int, *, retryable: bool) -> bool:
        """True when it will be tried again."""
        tries = receipt.tries + 1
        again = retryable and tries <= len(WAITS_S)
        next_at_ms = now_ms + (WAITS_S[tries - 1] * 1000 if again else 0)
        state = WAITING if again else FAILED
        await self._set(receipt, {"state": state, "tries": tries, "next_at_ms": next_at_ms})
        return again

    async def states(self, payment_id: str) -> tuple[str, ...]:
        """How far each receipt of a payment is, in the order in which they became due."""
        same = receipts.c.payment_id == payment_id
        query = select(receipts.c.state).where(same).order_by(receipts.c.made_at_ms, receipts.c.receipt_id)
        async with self._engine.connect() as conn:
            return tuple((await conn.execute(query)).scalars().all())

    async def tidy(self, now_ms: int) -> None:
        """Addresses and texts past their time are forgotten."""
        before = now_ms - RECEIPTS_KEPT_MS
        async with self._engine.begin() as conn:
            for table in (wishes, receipts):
                await conn.execute(delete(table).where(table.c.made_at_ms < before))

    async def _set(self, receipt: Parcel, values: dict[str, Any]) -> None:
        same = receipts.c.receipt_id == receipt.message.key
        async with self._engine.begin() as conn:
            await conn.execute(update(receipts).where(same).values(**values))


def deserves_one(happening: Happening, found: tuple[Happening, ...], payment: Payment) -> bool:
    """True when the customer's money has moved: a sale, a settle, a refund; not a hold.

    A sale that the provider only authorised is settled by a step of ours: that one brings the receipt.
    """
    if happening.what is What.AUTHORISED:
        held = payment.settle_later or payment.state in {PaymentState.AUTHORISED, PaymentState.VOIDED}
        return not held and all(one.what is not What.SETTLED for one in found)
    return happening.what in {What.SETTLED, What.REFUNDED}


def message_of(happening: Happening, payment: Payment, wish: Wish) -> Message:
    """Tenant, amount, receipt number, brand and last 4; never more."""
    words = WORDS.get(wish.language, WORDS[FALLBACK])
    amount = written(wish.language, happening.amount_minor, payment.currency)
    moved = words.refunded if happening.what is What.REFUNDED else words.paid
    receipt = payment.receipt or ""
    lines = [wish.tenant_name, "", moved.format(amount=amount), words.receipt.format(receipt=receipt)]
    if payment.last4:
        brand = BRANDS.get(payment.brand or "", payment.brand or "")
        lines.append(words.card.format(brand=brand, last4=payment.last4))
    whom = hashlib.sha256(wish.address.encode()).hexdigest()[:8]
    subject = words.subject.format(receipt=receipt, tenant=wish.tenant_name)
    key = f"{happening.event_id}.{whom}"
    return Message(key, wish.medium, wish.address, subject, "\n".join(lines) + "\n")
