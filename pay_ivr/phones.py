"""Agents' phones over a restart: the registrar's bindings, kept in app.db and put back at the next start.

A phone registers once an hour, so an app that forgot its phones would ring nobody until then. What makes a
kept binding good is that nothing else of the flow has changed: the node listens on the same UDP port, the
phone keeps its address translation open by itself. Phones on a stream are not kept: their connection died
with the app, and they register as soon as they notice (RFC 5626 §4.4).

A registration never waits for a disk: a change is written some milliseconds behind the phone's 200, and a
phone whose 200 was the app's last word is reached again with its next refresh.
"""

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from pay_ivr.ids import now_ms
from pay_ivr.logs import log
from pay_ivr.sip.registrar import EXPIRES_MAX_S, Contact, Registrar
from pay_ivr.sip.rim import Hop, Transport
from pay_ivr.store import Store, agents, phones


class Phones:
    """Follows a registrar; `restore` before the first message, then `run` as a task."""

    def __init__(
        self,
        store: Store,
        registrar: Registrar,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = now_ms,
    ) -> None:
        """`clock` is the registrar's; the disk holds wall time, because that one starts anew."""
        self._store = store
        self._registrar = registrar
        self._clock = clock
        self._wall_ms = wall_ms
        self._waiting: set[str] = set()
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    async def restore(self) -> int:
        """Puts back what an earlier run knew; how many phones that were."""
        query = (
            select(phones)
            .join(agents, agents.c.agent_id == phones.c.agent_id)
            .where(phones.c.expires_at_ms > self._wall_ms())
            .order_by(phones.c.agent_id, phones.c.position)
        )
        async with self._store.engine.connect() as conn:
            rows = (await conn.execute(query)).all()
        kept: dict[str, list[Contact]] = {}
        for row in rows:
            left_s = min((row.expires_at_ms - self._wall_ms()) / 1000, EXPIRES_MAX_S)
            flow = Hop(Transport.UDP, row.ip, row.port)
            contact = Contact(row.uri, flow, self._clock() + left_s, row.instance)
            kept.setdefault(row.agent_id, []).append(contact)
        for user, contacts in kept.items():
            self._registrar.restore(user, contacts)
        self._registrar.on_change = self.note
        return len(rows)

    def note(self, user: str) -> None:
        """The bindings of a user have changed; he stands in the queue once, however often he registers."""
        if user not in self._waiting:
            self._waiting.add(user)
            self._queue.put_nowait(user)

    async def run(self) -> None:
        """Writes until cancelled; what cannot be written is written with the phone's next refresh."""
        while True:
            user = await self._queue.get()
            self._waiting.discard(user)
            try:
                await self._write(user)
            except SQLAlchemyError as error:
                log.error("sip.phones.failed", error=type(error).__name__)
            self._queue.task_done()

    async def flush(self, timeout_s: float = 3.0) -> None:
        """Returns when everything noted so far is written, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            log.error("sip.phones.unwritten", users=len(self._waiting))

    async def _write(self, user: str) -> None:
        now, ahead_ms = self._clock(), self._wall_ms()
        rows = [
            {
                "agent_id": user,
                "position": position,
                "uri": contact.uri,
                "ip": contact.flow.ip,
                "port": contact.flow.port,
                "instance": contact.instance,
                "expires_at_ms": ahead_ms + round((contact.expires_at - now) * 1000),
            }
            for position, contact in enumerate(reversed(self._registrar.lookup(user)))
            if contact.flow.transport is Transport.UDP
        ]
        async with self._store.engine.begin() as conn:
            await conn.execute(delete(phones).where(phones.c.agent_id == user))
            if rows:
                await conn.execute(insert(phones), rows)
