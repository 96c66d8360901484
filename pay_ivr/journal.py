"""What happened to calls, written into app.db with its outbox rows, in order, behind the call's back.

A call never waits for a disk: events are queued and written by one task. Money does not depend on these rows
(the broker writes its own in its own transactions), so the queue may lose its last moments when the app is
killed; it says so by the missing `call.contact.ended`.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from audit.outbox import Entry, EntryError, add, stamp
from pay_ivr.call import Call
from pay_ivr.facts import CallView
from pay_ivr.ids import now_ms
from pay_ivr.logs import log
from pay_ivr.store import Store

QUEUE_MAX = 10_000
"""Events not yet written: minutes of a full node on a stuck disk; one more is dropped, and logged."""
BY_CALLER = frozenset({"call.offer.received", "call.keys.noticed"})
"""Events that the caller brings about; the others are the node's."""


class Journal:
    """Writes call events; `run` is its task."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: asyncio.Queue[tuple[Entry, CallView | None]] = asyncio.Queue(QUEUE_MAX)

    def record(self, event: str, call: Call, ended: CallView | None = None) -> None:
        """Notes one event, to be written soon; `ended` also stores the ended call."""
        try:
            entry = Entry(
                name=event,
                at=stamp(),
                actor=_actor(event, call),
                subject=call.call_id,
                tenant=call.tenant,
                call_id=call.call_id,
                data=_data(event, call),
            )
            self._queue.put_nowait((entry, ended))
        except (EntryError, asyncio.QueueFull) as error:
            log.error("call.journal.dropped", name=event, error=type(error).__name__)

    async def run(self) -> None:
        """Writes until cancelled; an event that cannot be written is counted in the log and left."""
        while True:
            entry, ended = await self._queue.get()
            try:
                if ended is not None:
                    await self._store.add_ended_call(ended, now_ms())
                async with self._store.engine.begin() as conn:
                    await add(conn, entry)
            except SQLAlchemyError as error:
                log.error("call.journal.failed", name=entry.name, error=type(error).__name__)
            self._queue.task_done()

    async def flush(self, timeout_s: float = 3.0) -> None:
        """Returns when everything noted so far is written, or the time is over."""
        try:
            await asyncio.wait_for(self._queue.join(), timeout_s)
        except TimeoutError:
            log.error("call.journal.behind", waiting=self._queue.qsize())


def _actor(event: str, call: Call) -> str:
    if event in BY_CALLER:
        return "caller"
    if event == "call.bridge.opened" and call.agent_id is not None:
        return f"agent:{call.agent_id}"
    return "system:app"


def _data(event: str, call: Call) -> Mapping[str, int | str]:
    if event == "call.offer.received":
        return {"flow": call.flow.replace(".", "_")}
    if event == "call.contact.ended":
        seconds = (datetime.now(UTC) - datetime.fromisoformat(call.started_at)).total_seconds()
        return {"reason": call.end_reason.value if call.end_reason else "unknown", "seconds": int(seconds)}
    return {}
