"""PIN entries of this node: from the fork of a cell to a result, and everything that can go wrong between.

The order that keeps the promise is that of a payment's capture (`vault/captures.py`): fork a cell, attach its
key pipe, media confirms SECURE, and only then may the cell take keys. Whatever is lost on the way, cell,
spawner, media or this broker, ends the entry as EXPIRED with nothing stored, and the leg stays SECURE until
it is let go. Nothing here can see a key or decides whether a PIN is right (`vault/pin_book.py`).
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from audit.outbox import Entry
from vault.claims import Claims
from vault.door import (
    NewPinEntry,
    PinChanged,
    PinEntry,
    PinField,
    PinProblem,
    PinResult,
    PinWhy,
    Refused,
)
from vault.ids import new_id
from vault.live_pin import LivePin
from vault.pin_book import PinBook
from vault.pin_progress import (
    PinCleared,
    PinFact,
    PinHashed,
    PinHelp,
    PinKeyed,
    PinOpened,
    PinOver,
    PinSilence,
    PinTrouble,
)
from vault.progress import PostureTold
from vault.tenant import Tenant
from vault.wire import Json
from vault.zone import Zone

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.pins")

PINS_MAX = 200
"""PIN entries at once: a cell takes 19 MiB for as long as it hashes, and few callers key at one time."""
OVER_KEPT = 1_000
"""Ended entries that can still be asked for, by somebody who was away when they ended."""
WHY: dict[type[PinFact], PinWhy] = {
    PinOpened: PinWhy.FIELD_OPENED,
    PinKeyed: PinWhy.KEY,
    PinCleared: PinWhy.FIELD_CLEARED,
    PinTrouble: PinWhy.PROBLEM,
    PinSilence: PinWhy.NO_INPUT,
    PinHelp: PinWhy.HELP_ASKED,
}
"""The cell's facts that are told on as they are; the others end the entry."""


class Pins:
    """Every live PIN entry of this node."""

    def __init__(
        self,
        book: PinBook,
        zone: Zone,
        claims: Claims,
        tenants: dict[str, Tenant],
        note: Callable[[Entry], Coroutine[Any, Any, None]],
        publish: Callable[[PinChanged], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`claims`: those of the payments; `note` stores a log entry."""
        self._book = book
        self._zone = zone
        self._claims = claims
        self._tenants = tenants
        self._note = note
        self._publish = publish
        self._spawn = spawn
        self._live: dict[str, LivePin] = {}
        self._over: OrderedDict[str, PinEntry] = OrderedDict()
        self._seq = 0
        self.weak: tuple[str, ...] | None = None
        """What a cell of this machine lacks; None until the spawner has said it."""

    # --- what the door asks for -----------------------------------------------------------------------------

    async def open(self, new: NewPinEntry) -> PinEntry:
        """SECURE in force, and the first field on its way to be open."""
        if not new.leg_id or not new.call_id:
            raise Refused("bad_request", "A PIN is keyed on a leg of a call.")
        self.check_zone(new.tenant)
        live = LivePin(new_id("pin"), await self._book.ticket(new, now_ms()))
        self._claims.check(live)
        self.check_room()
        self._live[live.entry_id] = live
        try:
            await self._secure(live)
            await self._note(live.ticket.entry("pin.entry.opened", purpose=new.purpose.value))
        except BaseException:
            await self._let_go(live)
            raise
        if live.result is not None:  # hung up meanwhile
            await self._let_go(live)
            raise Refused("pin_over", "The entry ended before it began. The caller has gone.")
        opened = self._tell(live, PinWhy.OPENED)
        live.start()
        return opened

    async def cancel(self, entry_id: str) -> PinEntry:
        """Ended as CANCELLED, unless it has its result or comes to it just now."""
        live = self._live.get(entry_id)
        if live is not None:
            await self._finish(live, PinResult.CANCELLED, "cancelled")
        return self.entry(entry_id)

    def entry(self, entry_id: str) -> PinEntry:
        """The snapshot of now; `Refused("pin_unknown")`."""
        live = self._live.get(entry_id)
        found = live.snapshot() if live is not None else self._over.get(entry_id)
        if found is None:
            raise Refused("pin_unknown", "No such PIN entry. It is over, or was lost with its broker.")
        return found

    async def end_call(self, call_id: str) -> None:
        """No PIN is keyed on this call any more."""
        for live in tuple(self._live.values()):
            if live.call_id == call_id:
                await self._finish(live, PinResult.CANCELLED, "call_ended")

    def check_zone(self, tenant_name: str) -> None:
        """`Refused` when this tenant's PINs may not be keyed on this machine."""
        self._book.section(tenant_name)
        tenant = self._tenants[tenant_name]
        if tenant.live and self.weak is None:
            raise Refused(
                "posture_unknown", "The machine's posture is not known yet. Try again.", retryable=True
            )
        tenant.check_posture(self.weak or ())

    def check_room(self) -> None:
        """`Refused` when there is room for no other entry."""
        if len(self._live) >= PINS_MAX:
            raise Refused("pins_used", "Too many PINs are being keyed. Try again.", retryable=True)

    # --- opening --------------------------------------------------------------------------------------------

    async def _secure(self, live: LivePin) -> None:
        """A cell of its own, and the leg SECURE with its keys going there."""
        form = self._book.section(live.new.tenant).form
        self._claims.take(live)
        forked = await self._zone.fork_pin(live.entry_id, live.new.purpose, form, sealed=False)
        live.meet(forked.pid, forked.report, self._told, self._gone)
        await self._zone.attach(live.leg_id, live.entry_id, forked.key_pipe)
        live.secure = live.result is None

    async def _let_go(self, live: LivePin) -> None:
        """No cell lives for this entry any more, and its leg is on its way to NORMAL."""
        self._live.pop(live.entry_id, None)
        live.stop()
        live.field, live.digits, live.secure = None, 0, False
        held = self._claims.drop(live)
        if held or (live.leg_id and self._claims.holder(live.leg_id) is None):
            await self._zone.detach(live.leg_id)
        if live.pid:
            await self._zone.kill(live.pid)

    # --- what the cell tells
    # ----------------------------------------------------------------------------------

    def _told(self, live: LivePin, fact: PinFact) -> None:
        """Tells one fact on, or ends the entry by it."""
        if live.result is not None:
            return
        why = WHY.get(type(fact))
        if why is not None:
            problem = fact.problem if isinstance(fact, PinTrouble) else None
            self._tell(live, why, getattr(fact, "field", None), problem)
        elif isinstance(fact, PinHashed):
            live.judging = True
            self._spawn(self._judge(live, fact))
        elif isinstance(fact, PinOver):
            self._spawn(self._finish(live, PinResult.EXPIRED, fact.limit))
        elif isinstance(fact, PostureTold):
            self._check_cell(live, fact.weak)

    def _check_cell(self, live: LivePin, weak: tuple[str, ...]) -> None:
        """A cell that turned out weaker than its tenant allows takes no key."""
        try:
            self._tenants[live.new.tenant].check_posture(weak)
        except Refused:
            self._spawn(self._finish(live, PinResult.EXPIRED, "posture_weak"))

    async def _judge(self, live: LivePin, told: PinHashed) -> None:
        """What the hashes come to is stored, then told."""
        result = PinResult.EXPIRED
        try:
            result = await self._book.judge(live.ticket, told, now_ms())
        finally:
            live.judging = False
            await self._finish(live, result, "failed", note=False)

    async def _finish(self, live: LivePin, result: PinResult, reason: str, *, note: bool = True) -> None:
        """The entry is over with this result; only the first one counts."""
        if live.result is not None or live.judging:
            return
        live.result = result
        if live.entry_id not in self._live:
            return
        await self._let_go(live)
        self._over[live.entry_id] = live.snapshot()
        while len(self._over) > OVER_KEPT:
            self._over.popitem(last=False)
        if note:
            purpose = live.new.purpose.value
            await self._note(live.ticket.entry("pin.entry.ended", purpose=purpose, reason=reason))
        self._tell(live, PinWhy.RESULT)

    def _gone(self, live: LivePin) -> None:
        """The report socket ended by itself: after its hashes a cell is done, before them it is lost."""
        if live.result is None and not live.judging:
            log.warning("pin.cell.lost", entry_id=live.entry_id)
            self._spawn(self._finish(live, PinResult.EXPIRED, "cell_lost"))

    # --- when media tells, or is lost
    # -------------------------------------------------------------------------

    def media_told(self, fact: Json) -> None:
        """One fact of the media process: a leg that is gone takes its PIN entry with it."""
        if fact["fact"] != "leg.closed":
            return
        for live in tuple(self._live.values()):
            if live.leg_id == fact.get("leg_id"):
                self._spawn(self._finish(live, PinResult.CANCELLED, "leg_closed"))

    def media_down(self) -> None:
        """The media process is gone, and with it the keys: every entry ends; the flow asks again."""
        for live in tuple(self._live.values()):
            if live.secure:
                self._spawn(self._finish(live, PinResult.EXPIRED, "media_lost"))

    def _tell(
        self,
        live: LivePin,
        why: PinWhy,
        field: PinField | None = None,
        problem: PinProblem | None = None,
    ) -> PinEntry:
        self._seq += 1
        entry = live.snapshot()
        self._publish(PinChanged(self._seq, why, entry, field, problem))
        return entry


def now_ms() -> int:
    """The wall clock: windows are those of the clock."""
    return time.time_ns() // 1_000_000
