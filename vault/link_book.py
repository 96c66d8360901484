"""The links in vault.db: one open per payment, by the schema too; every change belongs to its payment's."""

from collections.abc import Coroutine
from dataclasses import fields
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    Row,
    String,
    Table,
    UniqueConstraint,
    insert,
    select,
    update,
)

from vault.door import LinkState, Refused
from vault.link import LinkRow
from vault.store import METADATA, Change, PaymentRow, Store

OPEN = (LinkState.MAKING, LinkState.MADE, LinkState.OPENED, LinkState.DECLINED, LinkState.CLOSING)
"""States in which a link may be paid, or is on its way there."""
_state = Column("state", String(8), nullable=False)
LINKS = Table(
    "links",
    METADATA,
    Column("link_id", Integer, primary_key=True),
    Column("payment_id", ForeignKey("payments.payment_id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("link_key", String(128), nullable=False, unique=True),
    _state,
    Column("provider", String(48), nullable=False),
    Column("language", String(8), nullable=False),
    Column("expires_at", String(24), nullable=False),
    Column("created_at", String(24), nullable=False),
    Column("link_ref", String(128), nullable=False),
    Column("url", String(2_000), nullable=False),
    Column("token_sha256", String(64), nullable=False, index=True),
    Column("sent", Integer, nullable=False),
    Column("ending", String(12), nullable=False),
    Column("ended_by", String(8), nullable=False),
    Column("ended_at", String(24), nullable=False),
    UniqueConstraint("payment_id", "number"),
)
_open = _state.in_([state.value for state in OPEN])
Index("one_link_is_open", LINKS.c.payment_id, unique=True, sqlite_where=_open, postgresql_where=_open)


class Also(Protocol):
    """What is stored in the transaction of a payment's change."""

    def __call__(self, change: Change, row: PaymentRow, /) -> Coroutine[Any, Any, None]:
        """Does it."""


class LinkBook:
    """Reads and stores links."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, link: LinkRow) -> None:
        """A link that is about to be asked for."""
        async with self._store.changing() as change:
            await change.conn.execute(insert(LINKS).values(**_values(link)))

    async def replace(self, link: LinkRow) -> None:
        """The link as it is now, when its payment does not change."""
        async with self._store.changing() as change:
            await _replace(change, link)

    async def abandon(self) -> None:
        """After a start: links of the run before that nobody was told of."""
        async with self._store.changing() as change:
            making = LINKS.c.state == LinkState.MAKING.value
            await change.conn.execute(update(LINKS).where(making).values(state=LinkState.FAILED.value))

    async def of_payment(self, payment_id: str) -> tuple[LinkRow, ...]:
        """Every link of a payment, oldest first."""
        wanted = select(LINKS).where(LINKS.c.payment_id == payment_id).order_by(LINKS.c.number)
        async with self._store.engine.connect() as conn:
            return tuple(map(_link, (await conn.execute(wanted)).all()))

    async def newest(self, payment_id: str) -> LinkRow:
        """The payment's last link; `Refused("link_unknown")` without one."""
        links = await self.of_payment(payment_id)
        if not links:
            raise unknown()
        return links[-1]

    async def of_digest(self, digest: str) -> LinkRow:
        """The link that a token opens; `Refused("link_unknown")`."""
        async with self._store.engine.connect() as conn:
            found = (await conn.execute(select(LINKS).where(LINKS.c.token_sha256 == digest))).first()
        if found is None:
            raise unknown()
        return _link(found)


def replacing(link: LinkRow) -> Also:
    """Stores the link with its payment's change."""

    async def also(change: Change, _row: PaymentRow) -> None:
        await _replace(change, link)

    return also


def unknown() -> Refused:
    """For a token that never was, and for one that was replaced."""
    return Refused("link_unknown", "There is no such link. Ask for a new one.")


async def _replace(change: Change, link: LinkRow) -> None:
    same = LINKS.c.link_key == link.link_key
    await change.conn.execute(update(LINKS).where(same).values(**_values(link)))


def _values(link: LinkRow) -> dict[str, Any]:
    return {each.name: getattr(link, each.name) for each in fields(link)}


def _link(found: Row[Any]) -> LinkRow:
    values = dict(found._mapping)  # noqa: SLF001 - the documented way to a row's columns
    del values["link_id"]
    return LinkRow(**{**values, "state": LinkState(values["state"])})
