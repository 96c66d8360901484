"""Outgoing webhooks: who wants to hear of payments, what still has to be delivered, and how it is signed.

At least once, in order per payment: the oldest event of a payment that is not delivered is tried until it is
delivered or dead, then comes the next. A dead one stays on a list and can be delivered again. An event's id
is the same every time, so that a receiver knows what it has seen.
"""

import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as insert_once
from sqlalchemy.ext.asyncio import AsyncConnection

from audit import outbox
from audit.outbox import Entry
from pay_ivr.facts import CallError
from pay_ivr.happenings import Happening
from pay_ivr.ids import new_id
from pay_ivr.store import Store, utc_of
from vault import Payment

ENDPOINTS_MAX = 10
"""Of one tenant: more systems than anybody connects; each event is stored once for each of them."""
URL_MAX = 500
KEY_BYTES = 32
SIGNATURE_HEADER = "Pay-IVR-Signature"
EVENT_HEADER = "Pay-IVR-Event"
WAITS_S = (5, 15, 45, 135, 405, 1_215, 3_645, 10_800, 21_600, 21_600, 21_600)
"""Before each new try: seconds first, for a receiver that restarts; a day in all, for one that is mended."""
KEPT_MS = 30 * 24 * 3_600_000
"""How long delivered and dead events stay readable."""
LISTED_MAX = 100
"""Deliveries of one answer."""
DUE_MAX = 50
"""Deliveries taken up at once."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 that stands for an IPv4 address (RFC 6052): behind it may be anything."""

metadata = MetaData()
endpoints = Table(
    "hook_endpoints",
    metadata,
    Column("endpoint_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False, index=True),
    Column("url", String(URL_MAX), nullable=False),
    Column("since", String(32), nullable=False),
    Column("removed_at_ms", BigInteger),
)
deliveries = Table(
    "hook_deliveries",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("delivery_id", String(64), nullable=False, unique=True),
    Column("endpoint_id", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("payment_id", String(64), nullable=False),  # what the order is kept by: a member's id as well
    Column("event_id", String(128), nullable=False),
    Column("type", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("problem", String(32), nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("made_at_ms", BigInteger, nullable=False),
    UniqueConstraint("endpoint_id", "event_id"),
)
Index("hook_deliveries_waiting", deliveries.c.state, deliveries.c.endpoint_id, deliveries.c.payment_id)


class DeliveryState(StrEnum):
    """How far one delivery is."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Tried for a day in vain."""


@dataclass(frozen=True)
class Endpoint:
    """A URL of the tenant's systems."""

    endpoint_id: str
    tenant: str
    url: str


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one endpoint."""

    delivery_id: str
    endpoint_id: str
    tenant: str
    url: str
    payment_id: str
    event_id: str
    type: str
    body: str
    state: DeliveryState
    tries: int
    problem: str
    """Why the last try failed: a word of `pay_ivr/postman.py`, or `status_503`."""
    made_at_ms: int


@dataclass(frozen=True)
class Event:
    """Something that happened, as it is told: the same `event_id` is stored once per endpoint."""

    event_id: str
    type: str
    at: str
    """UTC, ISO 8601; endpoints that are younger do not hear of it."""
    about: str
    """Events about the same payment, or the same member, are delivered in their order."""
    body: str
    """The JSON that is signed and sent."""


class Hooks:
    """Endpoints and deliveries in app.db; the keys are files of their own."""

    def __init__(self, store: Store, keys_dir: Path) -> None:
        self._engine = store.engine
        self._keys_dir = keys_dir

    @classmethod
    async def open(cls, store: Store, data_dir: Path) -> Self:
        """The tables made where they are missing."""
        await outbox.create_tables(store.engine, metadata)
        return cls(store, data_dir / "keys")

    # Endpoints

    async def add_endpoint(
        self, tenant: str, url: str, now_ms: int, by: str, *, private: bool = False
    ) -> tuple[str, str]:
        """Id and signing key of a new endpoint; it hears of what happens from now on.

        CallError("url_refused", "endpoints_used"). `private`: as the tenant's file says.
        """
        check_url(url, private=private)
        if len(await self.endpoints(tenant)) >= ENDPOINTS_MAX:
            raise CallError("endpoints_used", "This tenant has too many endpoints; remove one first.")
        endpoint_id, key = new_id("hook"), secrets.token_urlsafe(KEY_BYTES)
        self._write_key(endpoint_id, key)
        values = {"endpoint_id": endpoint_id, "tenant": tenant, "url": url, "since": utc_of(now_ms)}
        async with self._engine.begin() as conn:
            await conn.execute(insert(endpoints).values(**values))
            await outbox.add(conn, Entry("hook.endpoint.added", utc_of(now_ms), by, endpoint_id, tenant))
        return endpoint_id, key

    async def remove_endpoint(self, endpoint_id: str, now_ms: int, by: str) -> Endpoint:
        """Nothing goes there any more, its key is gone; CallError("endpoint_unknown")."""
        same = endpoints.c.endpoint_id == endpoint_id, endpoints.c.removed_at_ms.is_(None)
        async with self._engine.begin() as conn:
            row = (await conn.execute(select(endpoints).where(*same))).one_or_none()
            if row is None:
                raise CallError("endpoint_unknown", "There is no such endpoint; list them first.")
            await conn.execute(update(endpoints).where(*same).values(removed_at_ms=now_ms))
            waiting = (
                deliveries.c.endpoint_id == endpoint_id,
                deliveries.c.state == DeliveryState.WAITING,
            )
            await conn.execute(delete(deliveries).where(*waiting))
            entry = Entry("hook.endpoint.removed", utc_of(now_ms), by, endpoint_id, row.tenant)
            await outbox.add(conn, entry)
        self._key_file(endpoint_id).unlink(missing_ok=True)
        return Endpoint(row.endpoint_id, row.tenant, row.url)

    async def endpoints(self, tenant: str | None = None) -> tuple[Endpoint, ...]:
        """Endpoints of one tenant or of all."""
        query = select(endpoints).where(endpoints.c.removed_at_ms.is_(None))
        if tenant is not None:
            query = query.where(endpoints.c.tenant == tenant)
        async with self._engine.connect() as conn:
            rows = (await conn.execute(query.order_by(endpoints.c.since))).all()
        return tuple(Endpoint(row.endpoint_id, row.tenant, row.url) for row in rows)

    def key(self, endpoint_id: str) -> bytes | None:
        """The signing key; None when its file is gone or others may read it."""
        path = self._key_file(endpoint_id)
        try:
            if stat.S_IMODE(path.stat(follow_symlinks=False).st_mode) & 0o077:
                return None
            return path.read_bytes().strip()
        except OSError:
            return None

    def _key_file(self, endpoint_id: str) -> Path:
        return self._keys_dir / f"HOOK-{endpoint_id}"  # capitals: the vault's own keys have none

    def _write_key(self, endpoint_id: str, key: str) -> None:
        self._keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._key_file(endpoint_id), flags, 0o600), "wb") as file:
            file.write(key.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    # Deliveries

    async def file(
        self, conn: AsyncConnection, payment: Payment, found: tuple[Happening, ...], now_ms: int
    ) -> None:
        """What happened, once for every endpoint that is old enough; in the transaction of `conn`."""
        events = [
            Event(one.event_id, one.what.value, one.at, payment.payment_id, body_of(one, payment))
            for one in found
        ]
        await self._file(conn, payment.tenant, events, now_ms)

    async def file_events(self, tenant: str, events: Sequence[Event], now_ms: int) -> int:
        """The same for events that are made elsewhere; how many deliveries are new."""
        async with self._engine.begin() as conn:
            return await self._file(conn, tenant, events, now_ms)

    async def _file(self, conn: AsyncConnection, tenant: str, events: Sequence[Event], now_ms: int) -> int:
        wanted = endpoints.c.tenant == tenant, endpoints.c.removed_at_ms.is_(None)
        rows = (await conn.execute(select(endpoints).where(*wanted))).all()
        stored = 0
        for endpoint in rows:
            for one in events:
                if one.at < endpoint.since:
                    continue
                values = {
                    "delivery_id": new_id("dlv"),
                    "endpoint_id": endpoint.endpoint_id,
                    "tenant": tenant,
                    "payment_id": one.about,
                    "event_id": one.event_id,
                    "type": one.type,
                    "body": one.body,
                    "state": DeliveryState.WAITING,
                    "tries": 0,
                    "problem": "",
                    "next_at_ms": now_ms,
                    "made_at_ms": now_ms,
                }
                done = await conn.execute(insert_once(deliveries).values(**values).on_conflict_do_nothing())
                stored += done.rowcount
        return stored

    async def due(self, now_ms: int) -> tuple[Delivery, ...]:
        """The oldest waiting event of every payment and endpoint, if its time has come."""
        oldest = (
            select(func.min(deliveries.c.seq))
            .where(deliveries.c.state == DeliveryState.WAITING)
            .group_by(deliveries.c.endpoint_id, deliveries.c.payment_id)
        )
        query = (
            _whole()
            .where(deliveries.c.seq.in_(oldest), deliveries.c.next_at_ms <= now_ms)
            .order_by(deliveries.c.next_at_ms)
            .limit(DUE_MAX)
        )
        async with self._engine.connect() as conn:
            return tuple(_delivery(row) for row in (await conn.execute(query)).all())

    async def delivered(self, delivery: Delivery) -> None:
        """The receiver has it."""
        values = {"state": DeliveryState.DELIVERED, "tries": delivery.tries + 1, "problem": ""}
        await self._set(delivery.delivery_id, values)

    async def failed(self, delivery: Delivery, problem: str, now_ms: int) -> DeliveryState:
        """Tried again later, or dead."""
        tries = delivery.tries + 1
        dead = tries > len(WAITS_S)
        state = DeliveryState.DEAD if dead else DeliveryState.WAITING
        next_at_ms = now_ms if dead else now_ms + WAITS_S[tries - 1] * 1000
        values = {"state": state, "tries": tries, "problem": problem, "next_at_ms": next_at_ms}
        await self._set(delivery.delivery_id, values)
        return state

    async def listed(self, tenant: str, state: DeliveryState) -> tuple[Delivery, ...]:
        """The tenant's deliveries in a state, newest first."""
        query = (
            _whole()
            .where(deliveries.c.tenant == tenant, deliveries.c.state == state)
            .order_by(deliveries.c.seq.desc())
            .limit(LISTED_MAX)
        )
        async with self._engine.connect() as conn:
            return tuple(_delivery(row) for row in (await conn.execute(query)).all())

    async def redeliver(self, tenant: str, delivery_id: str, now_ms: int) -> Delivery:
        """Waiting again, with all its tries; CallError("delivery_unknown")."""
        same = (deliveries.c.delivery_id == delivery_id, deliveries.c.tenant == tenant)
        values = {"state": DeliveryState.WAITING, "tries": 0, "next_at_ms": now_ms}
        async with self._engine.begin() as conn:
            await conn.execute(update(deliveries).where(*same).values(**values))
            row = (await conn.execute(_whole().where(*same))).one_or_none()
        if row is None:
            raise CallError("delivery_unknown", "There is no such delivery; list them again.")
        return _delivery(row)

    async def tidy(self, now_ms: int) -> None:
        """What is over and old is forgotten."""
        over = deliveries.c.state != DeliveryState.WAITING, deliveries.c.made_at_ms < now_ms - KEPT_MS
        async with self._engine.begin() as conn:
            await conn.execute(delete(deliveries).where(*over))

    async def _set(self, delivery_id: str, values: dict[str, Any]) -> None:
        async with self._engine.begin() as conn:
            same = deliveries.c.delivery_id == delivery_id
            await conn.execute(update(deliveries).where(same).values(**values))


def _whole() -> Any:
    return select(deliveries, endpoints.c.url).join(
        endpoints, endpoints.c.endpoint_id == deliveries.c.endpoint_id
    )


def _delivery(row: Any) -> Delivery:
    names = ("delivery_id", "endpoint_id", "tenant", "url", "payment_id", "event_id", "type", "body")
    values = {name: getattr(row, name) for name in names}
    rest = {"tries": row.tries, "problem": row.problem, "made_at_ms": row.made_at_ms}
    return Delivery(**values, **rest, state=DeliveryState(row.state))


def body_of(happening: Happening, payment: Payment) -> str:
    """The JSON that is signed and sent; the payment as it was when the event was stored."""
    told = {
        "event_id": happening.event_id,
        "type": happening.what.value,
        "at": happening.at,
        "amount_minor": happening.amount_minor,
        "tenant": payment.tenant,
        "payment": {
            "payment_id": payment.payment_id,
            "call_id": payment.call_id,
            "state": payment.state.value,
            "amount_minor": payment.amount_minor,
            "settled_minor": payment.settled_minor,
            "refunded_minor": payment.refunded_minor,
            "currency": payment.currency,
            "reference": payment.reference,
            "purpose": payment.purpose,
            "receipt": payment.receipt,
            "brand": payment.brand,
            "last4": payment.last4,
            "decline": None if payment.decline is None else payment.decline.reason.value,
            "version": payment.version,
        },
    }
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def signature(key: bytes, at_s: int, body: bytes) -> str:
    """`t=<unix seconds>,v1=<hex>`: HMAC-SHA-256 over seconds, a full stop and the body."""
    digest = hmac.new(key, str(at_s).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def check_url(url: str, *, private: bool) -> None:
    """CallError("url_refused") for what is no plain https URL, or names an address that is not public.

    A host name is judged when it is looked up, for every delivery anew.
    """
    try:
        split = urlsplit(url)
        literal = _address(split.hostname or "")
        (split.hostname or "").encode("idna")  # labels of 1 to 63 characters; UnicodeError is a ValueError
        plain = split.scheme == "https" and bool(split.hostname) and split.port != 0
    except ValueError:
        raise _url_refused() from None
    odd = split.username is not None or split.password is not None or split.fragment
    if not plain or odd or len(url) > URL_MAX or not re.fullmatch(r"[!-~]+", url):
        raise _url_refused()
    if literal is not None and not private and not is_public(literal):
        raise _url_refused()
    if literal is not None and literal != "127.0.0.1" and not is_public(literal):
        raise _url_refused()


def _url_refused() -> CallError:
    return CallError("url_refused", "Give a public https URL without user, password or fragment.")


def _address(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def is_public(address: str) -> bool:
    """True for an address of the internet; one that only wraps another is judged by that, or refused."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif found in NAT64 or found.sixtofour is not None or found.teredo is not None:
            return False
    return found.is_global and not found.is_multicast
