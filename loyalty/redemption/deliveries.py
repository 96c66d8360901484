"""Messages to members: stored with what they tell of, sealed under the member's key, sent until taken.

The row is written in the database transaction that issues the code, so that neither is without the other;
that of a change of personal data in the transaction of the change (`loyalty/members/change_letter.py`).

Address and text are overwritten as soon as a channel has the message; whoever is erased before gets none.
"""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, select, update

from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.members import WAITING, Letter, Members, Person, file_letter
from loyalty.tables import DELIVERY
from loyalty.tenancy import TenantConn
from pay_ivr.channels import ChannelError, Medium, Message, Parcel
from pay_ivr.logs import log
from pay_ivr.receipts import WAITS_S
from pay_ivr.store import utc_of

LOOK_EVERY_MS = 5_000
"""What another process has filed is found this late; what this one files is looked at at once."""
DUE_MAX = 20
"""Of one tenant and round, so that no tenant's pile keeps another's waiting."""
SENT, FAILED = "sent", "failed"
EMPTIED = b""
"""What is left of a message that needs no sending any more."""


def address_of(person: Person, media: Iterable[Medium]) -> tuple[Medium, str] | None:
    """The first of the media for which the member has an address."""
    addresses = {Medium.EMAIL: person.email, Medium.SMS: person.phone}
    return next(((medium, addresses[medium]) for medium in media if addresses[medium]), None)


class Deliveries:
    """The deliveries of every tenant: filed in somebody's database transaction, sent by the postman."""

    noun = "delivery"
    """In the log."""

    def __init__(self, database: Database, members: Members, programmes: Iterable[str]) -> None:
        self._database = database
        self._members = members
        self._tenants = tuple(programmes)
        self._looked_ms = 0

    def file(
        self,
        conn: TenantConn,
        member_id: str,
        redemption_id: str,
        to: tuple[Medium, str],
        letter: Letter,
        at: str,
    ) -> None:
        """Stores a redemption's message, in the database transaction of `conn`."""
        register = self._members.register(conn)
        file_letter(register, member_id, to, letter, at, redemption_id=redemption_id)

    def medium_of(self, conn: TenantConn, redemption_id: str) -> Medium | None:
        """How a redemption was or is being told; None when it is not."""
        mine = (DELIVERY.c.tenant == conn.tenant, DELIVERY.c.redemption_id == redemption_id)
        found = conn.execute(select(DELIVERY.c.medium).where(*mine)).scalar_one_or_none()
        return None if found is None else Medium(found)

    def woken(self) -> None:
        """Something was filed: look at once."""
        self._looked_ms = 0

    async def due(self, now_ms: int) -> tuple[Parcel, ...]:
        """What is to be sent now; nothing while the database is away."""
        if now_ms - self._looked_ms < LOOK_EVERY_MS:
            return ()
        self._looked_ms = now_ms
        parcels: list[Parcel] = []
        for tenant in self._tenants:
            try:
                parcels += await self._due_of(tenant, now_ms)
            except LoyaltyError as error:
                log.warning("delivery.database.failed", tenant=tenant, code=error.code)
        if parcels:
            self.woken()  # there may be more than one round takes
        return tuple(parcels)

    async def _due_of(self, tenant: str, now_ms: int) -> list[Parcel]:
        """The tenant's parcels; one that cannot be opened or sent to anybody is given up."""
        rows = await self._database.read(tenant, lambda conn: self._rows(conn, utc_of(now_ms)))
        for delivery_id, parcel in rows:
            if parcel is None:
                log.warning("delivery.message.unsendable", tenant=tenant, delivery_id=delivery_id)
                await self._end(tenant, delivery_id, FAILED, tries=0)
        return [parcel for _, parcel in rows if parcel is not None]

    def _rows(self, conn: TenantConn, now: str) -> list[tuple[str, Parcel | None]]:
        table = DELIVERY.c
        query = (
            select(DELIVERY)
            .where(table.tenant == conn.tenant, table.state == WAITING, table.next_at <= now)
            .order_by(table.next_at)
            .limit(DUE_MAX)
        )
        return [(row.delivery_id, self._parcel(conn, row)) for row in conn.execute(query)]

    def _parcel(self, conn: TenantConn, row: Row[Any]) -> Parcel | None:
        """The parcel of a row; None once the member is erased, or when his address is none."""
        try:
            octets = self._members.open(conn, row.member_id, row.delivery_id, row.sealed_to_and_text)
            body = json.loads(octets)
            message = Message(row.delivery_id, Medium(row.medium), body["to"], body["subject"], body["text"])
        except (LoyaltyError, ChannelError):
            return None
        return Parcel(conn.tenant, message, row.tries)

    async def sent(self, parcel: Parcel) -> None:
        """The channel has it; nothing of it is left here."""
        await self._end(parcel.tenant, parcel.message.key, SENT, tries=parcel.tries + 1)

    async def failed(self, parcel: Parcel, now_ms: int, *, retryable: bool) -> bool:
        """True when it will be tried again."""
        tries = parcel.tries + 1
        if not retryable or tries > len(WAITS_S):
            await self._end(parcel.tenant, parcel.message.key, FAILED, tries=tries)
            return False
        later = utc_of(now_ms + WAITS_S[tries - 1] * 1000)
        await self._set(parcel.tenant, parcel.message.key, {"tries": tries, "next_at": later})
        return True

    async def tidy(self, now_ms: int) -> None:
        """Nothing: what is sent is empty, and that it was sent belongs to the redemption."""

    async def states(self, tenant: str, redemption_id: str) -> tuple[str, ...]:
        """How far the messages of a redemption are: `waiting`, `sent` or `failed`."""
        mine = (DELIVERY.c.tenant == tenant, DELIVERY.c.redemption_id == redemption_id)
        query = select(DELIVERY.c.state).where(*mine)
        return await self._database.read(tenant, lambda conn: tuple(conn.execute(query).scalars()))

    async def _end(self, tenant: str, delivery_id: str, state: str, *, tries: int) -> None:
        values = {"state": state, "tries": tries, "sealed_to_and_text": EMPTIED}
        await self._set(tenant, delivery_id, values)

    async def _set(self, tenant: str, delivery_id: str, values: dict[str, Any]) -> None:
        mine = (DELIVERY.c.tenant == tenant, DELIVERY.c.delivery_id == delivery_id)
        try:
            await self._database.write(
                tenant, lambda conn: conn.execute(update(DELIVERY).where(*mine).values(**values)).rowcount
            )
        except LoyaltyError as error:  # it is sent again, under the same key
            log.warning("delivery.database.failed", tenant=tenant, code=error.code)
