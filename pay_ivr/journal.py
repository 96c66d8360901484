"""What happened to calls, written into app.db with its outbox rows, in order, behind the call's back.

A call never waits for a disk: events are queued and written by one task. Money does not depend on these rows
(the broker writes its own in its own transactions), so the queue may lose its last moments when the app is
killed. Each event also keeps the call's row among the live ones; what stands there at the next start has died
with the app, and `pay_ivr/aftermath.py` ends it with the reason `node_failed`.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from audit.outbox import Entry, EntryError, stamp
from pay_ivr.facts import CallView
from pay_ivr.ids import now_ms
from pay_ivr.logs import log
from pay_ivr.store import Store

ENDED = "call.contact.ended"
"""The last event of a call; its row moves from the live ones to the ended ones."""
QUEUE_MAX = 10_000
"""Events not yet written: minutes of a full node on a stuck disk; one more is dropped, and logged."""
BY_CALLER = frozenset({"call.offer.received", "call.keys.noticed"})
"""Events that the caller brings about; the others are the node's."""


class Journal:
    """Writes call events; `run` is its task."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: asyncio.Queue[tuple[Entry, CallView]] = asyncio.Queue(QUEUE_MAX)

    def record(self, event: str, call: CallView) -> None:
        """Notes one event with the call after it, to be written soon."""
        try:
            self._queue.put_nowait((entry_of(event, call), call))
        except (EntryError, asyncio.QueueFull) as error:
            log.error("call.journal.dropped", name=event, error=type(error).__name__)

    async def run(self) -> None:
        """Writes until cancelled; an event that cannot be written is counted in the log and left."""
        while True:
            entry, call = await self._queue.get()
            try:
                if entry.name == ENDED:
                    await self._store.add_ended_call(call, now_ms(), entry)
                else:
                    await self._store.put_live_call(call, entry)
            except SQLAlchemyError as error:
                log.error("call.journal.failed", name=entry.name, error=type(error).__name__)
            self._queue.task_done()

    async def flush(self, timeout_s: float = 3.0) -> None:
        """Returns when everything noted so far is written, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            log.error("call.journal.behind", waiting=self._queue.qsize())


def entry_of(event: str, call: CallView) -> Entry:
    """The entry for the log of one call event; EntryError when the catalogue refuses it."""
    return Entry(
        name=event,
        at=stamp(),
        actor=_actor(event, call),
        subject=call.call_id,
        tenant=call.tenant,
        call_id=call.call_id,
        data=_data(event, call),
    )


def _actor(event: str, call: CallView) -> str:
    if event in BY_CALLER:
        return "caller"
    if event == "call.bridge.opened" and call.agent_id is not None:
        return f"agent:{call.agent_id}"
    return "system:app"


def _data(event: str, call: CallView) -> Mapping[str, int | str]:
    if event == "call.offer.received":
        return {"flow": call.flow.replace(".", "_")}
    if event == ENDED:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(call.started_at)).total_seconds()
        return {"reason": call.ended_reason or "unknown", "seconds": max(0, int(seconds))}
    return {}
