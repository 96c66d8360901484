"""Cells of captures as the broker runs them: forked, tied to a leg by a key pipe, told what to open, ended.

What a cell tells, and what becomes of the payment, is the business of `vault/captures.py`. Whoever calls a
method here holds the payment's lock.
"""

import os
from collections.abc import Callable

from vault.claims import Claims
from vault.door import Field, Refused
from vault.ids import new_id
from vault.limits import Limits
from vault.live import LiveCapture
from vault.progress import Fact, Open
from vault.providers.base import UNKNOWN
from vault.register import Slot
from vault.router import Router
from vault.tenant import Tenant
from vault.wire import Json
from vault.zone import Zone, key_pipe

CAPTURES_MAX = 500
"""Cells at once: each has a few MB of its own, and a node relays no more calls than that."""


class Cells:
    """Every living cell of this node, and the legs that they hold."""

    def __init__(
        self,
        zone: Zone,
        tenants: dict[str, Tenant],
        router: Router,
        limits: Limits,
        on_fact: Callable[[Slot, LiveCapture, Fact], None],
        on_gone: Callable[[Slot, LiveCapture], object],
        claims: Claims,
    ) -> None:
        self._zone = zone
        self._tenants = tenants
        self._router = router
        self._limits = limits
        self._on_fact = on_fact
        self._on_gone = on_gone
        self._live: dict[str, Slot] = {}
        """Payments with a cell, by payment id."""
        self.claims = claims

    @property
    def full(self) -> bool:
        """True when there is room for no other cell."""
        return len(self._live) >= CAPTURES_MAX

    def slots(self) -> tuple[Slot, ...]:
        """Every payment with a cell."""
        return tuple(self._live.values())

    async def with_pipe(self, slot: Slot) -> tuple[LiveCapture, int, int | None]:
        """The payment's cell, media's end of a key pipe, and the cell's end unless it has it already."""
        if slot.capture is not None:
            return (slot.capture, *key_pipe())
        capture, media_end = await self.fork(slot, new_id("cap"))
        slot.capture = capture
        self._live[slot.row.payment_id] = slot
        return capture, media_end, None

    async def fork(self, slot: Slot, capture_id: str) -> tuple[LiveCapture, int]:
        """A new cell with its keys, and media's end of its key pipe; not yet the payment's."""
        row = slot.row
        config: Json = {"canary": self._tenants[row.tenant].section.canary, "keep_card": bool(row.mandate)}
        provider = self._router.at(row.tenant, row.provider)
        config |= await provider.cell_config()
        forked = await self._zone.fork(capture_id, row.provider, row.tenant, config)
        capture = LiveCapture(
            capture_id,
            row.leg_id,
            forked.pid,
            forked.report,
            lambda capture, fact: self._on_fact(slot, capture, fact),
            lambda capture: self._on_gone(slot, capture),
        )
        capture.hand_keys(self._limits.cell_keys(row.tenant))
        if secret := provider.cell_secret():
            capture.hand_secret(secret)
        return capture, forked.key_pipe

    async def secure(self, slot: Slot, capture: LiveCapture, media_end: int) -> None:
        """The leg SECURE with its keys going to this cell; `media_end` is used up, whatever happens."""
        try:
            fresh = self.claims.take(slot)
        except Refused:
            os.close(media_end)
            raise
        try:
            await self._zone.attach(capture.leg_id, capture.capture_id, media_end)
        except BaseException:
            if fresh:
                self.claims.drop(slot)
            raise
        capture.attached = True

    def open_field(self, capture: LiveCapture, field: Field, cell_end: int | None) -> None:
        """The field empty and open in the cell, which gets its end of a new key pipe unless it has it."""
        capture.keying = capture.keying.opening(field)
        capture.awaited = field
        capture.command(Open(field), cell_end)

    async def release(self, slot: Slot, capture: LiveCapture) -> None:
        """The leg on its way to NORMAL: media holds SECURE until the pipe is closed and the caller quiet."""
        capture.end_talk()
        capture.attached = False
        if self.claims.drop(slot):
            await self._zone.detach(capture.leg_id)

    async def end(self, slot: Slot) -> None:
        """No cell lives for this payment any more, and its leg is on its way to NORMAL."""
        capture, slot.capture = slot.capture, None
        self._live.pop(slot.row.payment_id, None)
        if capture is None:
            return
        capture.stop()
        capture.settle(UNKNOWN)
        await self.release(slot, capture)
        await self._zone.kill(capture.pid)
