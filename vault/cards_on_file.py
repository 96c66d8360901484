"""Cards on file: a provider's tokens with the text that the customer agreed to; no PAN, no CVV.

A card is kept when its payment was approved and the payment names a mandate: the id of the text that was
read out or shown, as the merchant's records have it. Without one nothing is kept (the schema says so, too).
To forget a card is two steps: it is gone for everybody here at once, and the provider is told until it
confirms. Cards past their printed month are not offered; a bank that renewed one behind its token does not
tell, so they stay until they are forgotten.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Integer,
    Row,
    String,
    Table,
    UniqueConstraint,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.outbox import Entry, add, stamp
from vault.door import CardOnFile, Refused
from vault.ids import new_id
from vault.providers.base import KeptCard
from vault.router import Router
from vault.store import METADATA, Change, PaymentRow, Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.cards_on_file")

CARDS_PER_CUSTOMER_MAX = 20
"""More than any purse; a merchant who keeps them under one name by mistake stops here."""
ERASED_AT_ONCE = 50
"""Cards that a provider is told to forget in one round; the rest has its turn in the next."""
SYSTEM = "system:broker"
_BRAND = re.compile(r"[a-z][a-z_]{0,31}")
_LAST4 = re.compile(r"[0-9]{4}")

CARDS = Table(
    "cards_on_file",
    METADATA,
    Column("card_id", String(80), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("customer", String(64), nullable=False),
    Column("provider", String(48), nullable=False),
    Column("customer_ref", String(128), nullable=False),
    Column("token_ref", String(256), nullable=False),
    Column("brand", String(32), nullable=False),
    Column("last4", String(4), nullable=False),
    Column("expiry_month", Integer, nullable=False),
    Column("expiry_year", Integer, nullable=False),
    Column("mandate", String(48), nullable=False),
    Column("payment_id", String(64), nullable=False),
    Column("consented_at", String(24), nullable=False),
    Column("forgotten_at", String(24)),
    Column("erased_at", String(24)),
    CheckConstraint("mandate <> '' AND consented_at <> ''", name="kept_with_a_mandate"),
    CheckConstraint("erased_at IS NULL OR forgotten_at IS NOT NULL", name="erased_after_forgotten"),
    UniqueConstraint("tenant", "customer", "provider", "token_ref"),
)
Index("cards_of_a_customer", CARDS.c.tenant, CARDS.c.customer)


@dataclass(frozen=True)
class CardRow(CardOnFile):
    """The same with the provider's ids, which stay in the vault."""

    provider: str
    customer_ref: str
    token_ref: str

    def public(self) -> CardOnFile:
        """What may leave."""
        return CardOnFile(**{each.name: getattr(self, each.name) for each in fields(CardOnFile)})


class CardsOnFile:
    """Every kept card of this node."""

    def __init__(self, store: Store, router: Router) -> None:
        self._store = store
        self._router = router

    async def keep(self, change: Change, row: PaymentRow, kept: KeptCard) -> str | None:
        """The id of the card, stored with the approval that brought it; None without a mandate.

        A card that is on file already keeps its id and gets the new mandate. Never raises for what a provider
        said: the approval must be stored whatever becomes of the card.
        """
        if not row.mandate or not row.customer:
            return None
        if not _plausible(kept):
            log.warning("card.file.refused", payment_id=row.payment_id)
            return None
        known = await _same(change.conn, row, kept)
        if known is None and await _count(change.conn, row) >= CARDS_PER_CUSTOMER_MAX:
            log.warning("card.file.full", payment_id=row.payment_id)
            return None
        card_id: str = known or new_id("card")
        values = _values(row, kept)
        if known is None:
            await change.conn.execute(insert(CARDS).values(card_id=card_id, **values))
        else:
            same = CARDS.c.card_id == card_id
            await change.conn.execute(update(CARDS).where(same).values(**values))
        data = {"card": card_id, "brand": kept.brand, "last4": kept.last4}
        entry = Entry(
            "payment.card.kept", stamp(), SYSTEM, row.payment_id, row.tenant, row.call_id, data=data
        )
        await add(change.conn, entry)
        return card_id

    async def of_customer(
        self, tenant: str, customer: str, now: datetime | None = None
    ) -> tuple[CardOnFile, ...]:
        """The customer's cards that can pay, the newest consent first."""
        wanted = select(CARDS).where(
            CARDS.c.tenant == tenant, CARDS.c.customer == customer, CARDS.c.forgotten_at.is_(None), _good(now)
        )
        return tuple(card.public() for card in await self._rows(wanted.order_by(CARDS.c.consented_at.desc())))

    async def card(self, tenant: str, customer: str, card_id: str, now: datetime | None = None) -> CardRow:
        """One card with its provider's ids, to pay with; `Refused` when this customer has no such one."""
        mine = (CARDS.c.card_id == card_id) & (CARDS.c.tenant == tenant) & (CARDS.c.customer == customer)
        found = await self._rows(select(CARDS).where(mine, CARDS.c.forgotten_at.is_(None)))
        if not found:
            raise Refused("card_unknown", "No such card. List the customer's cards.")
        if not await self._rows(select(CARDS).where(mine, _good(now))):
            raise Refused("card_expired", "This card has expired. Ask for another one.")
        return found[0]

    async def customer_ref(self, tenant: str, customer: str, provider: str) -> str:
        """The provider's id of a customer with a card there, so that he is not made twice; or empty."""
        wanted = select(CARDS.c.customer_ref).where(
            CARDS.c.tenant == tenant,
            CARDS.c.customer == customer,
            CARDS.c.provider == provider,
            CARDS.c.forgotten_at.is_(None),
        )
        async with self._store.engine.connect() as conn:
            return str((await conn.execute(wanted.limit(1))).scalar() or "")

    async def forget(self, tenant: str, customer: str, card_id: str, by: str) -> CardOnFile:
        """The card is gone for everybody here; then the provider is told, now or as soon as it answers.

        `by`: the actor of the log entry, such as `agent:NAME`. `Refused("card_unknown")`; asked twice it is.
        """
        mine = (CARDS.c.card_id == card_id) & (CARDS.c.tenant == tenant) & (CARDS.c.customer == customer)
        living = mine & CARDS.c.forgotten_at.is_(None)
        found = await self._rows(select(CARDS).where(living))
        async with self._store.changing() as change:
            gone = await change.conn.execute(update(CARDS).where(living).values(forgotten_at=stamp()))
            if not found or gone.rowcount != 1:
                raise Refused("card_unknown", "No such card. List the customer's cards.")
            data = {"brand": found[0].brand, "last4": found[0].last4}
            await add(change.conn, Entry("card.file.forgotten", stamp(), by, card_id, tenant, data=data))
        await self._erase(found[0])
        return found[0].public()

    async def erase_forgotten(self) -> int:
        """Tells providers to forget what they have not confirmed yet; how many now have."""
        wanted = select(CARDS).where(CARDS.c.forgotten_at.is_not(None), CARDS.c.erased_at.is_(None))
        waiting = await self._rows(wanted.order_by(CARDS.c.forgotten_at).limit(ERASED_AT_ONCE))
        return sum([await self._erase(card) for card in waiting])

    async def _erase(self, card: CardRow) -> bool:
        """True when the provider has forgotten the token, or another customer of it still has it here."""
        try:
            provider = self._router.at(card.tenant, card.provider)
        except Refused:
            return False
        if not await self._shared(card):
            try:
                await provider.forget_card(card.customer_ref, card.token_ref)
            except Exception as error:  # noqa: BLE001 - whatever it was, it is tried again
                log.warning("card.provider.failed", card_id=card.card_id, error=type(error).__name__)
                return False
        async with self._store.changing() as change:
            same = (CARDS.c.card_id == card.card_id) & CARDS.c.forgotten_at.is_not(None)
            await change.conn.execute(update(CARDS).where(same).values(erased_at=stamp()))
            await add(change.conn, Entry("card.file.erased", stamp(), SYSTEM, card.card_id, card.tenant))
        return True

    async def _shared(self, card: CardRow) -> bool:
        at_provider = (CARDS.c.tenant == card.tenant) & (CARDS.c.provider == card.provider)
        same = at_provider & (CARDS.c.token_ref == card.token_ref)
        return bool(await self._rows(select(CARDS).where(same, CARDS.c.forgotten_at.is_(None)).limit(1)))

    async def _rows(self, wanted: Any) -> Sequence[CardRow]:
        async with self._store.engine.connect() as conn:
            return [_row(found) for found in (await conn.execute(wanted)).all()]


async def _same(conn: AsyncConnection, row: PaymentRow, kept: KeptCard) -> str | None:
    """The id of a card of this customer with this token, forgotten or not."""
    wanted = select(CARDS.c.card_id).where(
        CARDS.c.tenant == row.tenant,
        CARDS.c.customer == row.customer,
        CARDS.c.provider == row.provider,
        CARDS.c.token_ref == kept.token_ref,
    )
    found = (await conn.execute(wanted)).scalar()
    return None if found is None else str(found)


async def _count(conn: AsyncConnection, row: PaymentRow) -> int:
    living = (CARDS.c.tenant == row.tenant) & (CARDS.c.customer == row.customer)
    wanted = select(func.count()).select_from(CARDS).where(living, CARDS.c.forgotten_at.is_(None))
    return int((await conn.execute(wanted)).scalar_one())


def _plausible(kept: KeptCard) -> bool:
    """True for what a provider should have said about a card."""
    texts = _BRAND.fullmatch(kept.brand) and _LAST4.fullmatch(kept.last4)
    ids = 0 < len(kept.token_ref) <= 256 and len(kept.customer_ref) <= 128
    return bool(texts and ids and 1 <= kept.expiry_month <= 12 and 2000 <= kept.expiry_year <= 2100)


def _values(row: PaymentRow, kept: KeptCard) -> dict[str, Any]:
    of_card = {each.name: getattr(kept, each.name) for each in fields(kept)}
    of_payment = {
        "tenant": row.tenant,
        "customer": row.customer,
        "provider": row.provider,
        "mandate": row.mandate,
        "payment_id": row.payment_id,
    }
    return {**of_card, **of_payment, "consented_at": row.created_at, "forgotten_at": None, "erased_at": None}


def _good(now: datetime | None) -> Any:
    """Not past the printed month."""
    today = now or datetime.now(UTC)
    year, month = CARDS.c.expiry_year, CARDS.c.expiry_month
    return (year > today.year) | ((year == today.year) & (month >= today.month))


def _row(found: Row[Any]) -> CardRow:
    return CardRow(**{each.name: getattr(found, each.name) for each in fields(CardRow)})
