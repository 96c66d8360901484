"""Captures: from the fork of a cell to its end, and everything that can go wrong between.

The order that keeps the promise: fork a cell, attach its key pipe, media confirms SECURE, commit, and only
then may the cell take keys. A lost cell leaves the leg SECURE until a new one is attached or the payment
has expired. Whoever calls a method here holds the payment's lock, where it says so; nothing here can see a
key.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from vault.cells import Cells
from vault.claims import Claims
from vault.door import Field, FieldProblem, Payment, PaymentState, Refused, VaultError, Why
from vault.limits import Limits
from vault.live import LiveCapture
from vault.payment import Move, after, check_capture, field_to_rekey
from vault.progress import (
    Authorise,
    Confirmed,
    Expired,
    Fact,
    HelpAsked,
    Opened,
    OutcomeTold,
    Pause,
    PostureTold,
    Problem,
    ProviderCall,
    ProviderReply,
    Ready,
    Resume,
    TimeWarning,
    TokeniseFailed,
    WipeSad,
)
from vault.providers.base import UNKNOWN, AttemptRequest, Outcome, OutcomeKind, outcome_from_json
from vault.register import BROKER, Register, Slot
from vault.router import Router
from vault.routing import CELL_GONE
from vault.snapshot import WHY_OF_FACT
from vault.store import Change, PaymentRow
from vault.tenant import Tenant
from vault.wire import Json, close_all
from vault.zone import Zone, key_pipe

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.captures")

RESTART_S = 10.0
"""How long a caller can be asked to wait when a cell is lost; a supervisor restarts a spawner in one."""
MEDIA_BACK_S = 30.0
"""How long a capture waits for the media process; after that time media says "technical problem" itself."""
RETRY_S = 0.25
"""Pause between two tries to replace what was lost."""
SWEEP_S = 2.0
"""How often media is asked for legs that are SECURE without a capture, as after a restart of either side."""
TALK_S = 15
"""What media allows; told to the console for its countdown."""
REFUSALS_MAX = 3
"""Tries to tokenise that may fail without a field to blame, before the capture is given up."""


class Captures:
    """Every live capture of this node."""

    def __init__(
        self,
        register: Register,
        zone: Zone,
        tenants: dict[str, Tenant],
        router: Router,
        limits: Limits,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        claims: Claims | None = None,
    ) -> None:
        """`claims`: shared with whatever else is keyed on this node's legs."""
        self._register = register
        self._zone = zone
        self._tenants = tenants
        self._router = router
        self._limits = limits
        self._spawn = spawn
        self._cells = Cells(
            zone,
            tenants,
            router,
            limits,
            self._told,
            lambda slot, capture: spawn(self._gone(slot, capture)),
            claims or Claims(),
        )
        self.tie: Callable[[Slot], Coroutine[Any, Any, None]] = _tied
        """Chooses the payment's provider before its cell is forked; set by `vault/charges.py`."""
        self.weak: tuple[str, ...] | None = None
        """What a cell of this machine lacks; None until the spawner has said it."""

    # --- what the door asks for; the slot's lock is held ----------------------------------------------------

    async def open(self, slot: Slot) -> Payment:
        """The first fields or, after a decline, the fields that the retry needs, open and SECURE."""
        check_capture(slot.row.state, slot.row.attempt)
        self._check_zone(slot)
        self._check_call_is_free(slot)
        retry = self._field_of_retry(slot)
        if retry is not None and slot.capture is not None:
            return await self._reopen(slot, slot.capture, retry, Move.CAPTURE)
        await self.end(slot)
        return await self._open_new(slot, Move.CAPTURE, Why.CAPTURE_OPENED)

    async def rekey(self, slot: Slot, field: Field) -> Payment:
        """One field empty and open again; with a new cell from the PAN on, if none lives any more."""
        if field is Field.CONFIRM:
            raise Refused("not_rekeyable", "Only PAN, expiry and CVV can be keyed again.")
        if slot.row.state is PaymentState.DECLINED:
            check_capture(slot.row.state, slot.row.attempt)
        elif slot.row.state not in {PaymentState.CAPTURING, PaymentState.READY}:
            raise Refused("not_rekeyable", "There is no field to key again now. Look at the payment's state.")
        self._check_zone(slot)
        self._check_call_is_free(slot)
        if slot.capture is None:
            return await self._open_new(slot, Move.REKEY, Why.CAPTURE_RESTARTED)
        if not slot.capture.alive:
            raise Refused(
                "capture_restarting", "The capture is being restarted. Wait a moment.", retryable=True
            )
        return await self._reopen(slot, slot.capture, field, Move.REKEY)

    async def talk(self, slot: Slot, *, on: bool, by: str = "agent") -> Payment:
        """The pause of a capture, in which caller and agent hear each other and keys are ignored."""
        capture = slot.capture
        if capture is None or not capture.attached or not capture.alive:
            raise Refused("not_capturing", "There is no capture to pause. Caller and agent can talk already.")
        if capture.talking == on:
            return slot.snapshot()
        if on:
            await self._register.note(slot.entry("capture.talk.started", slot.who(), asked_by=by))
        await self._zone.talk(capture.leg_id, on=on)
        if not on:  # media may have told it already
            return self._talk_ended(slot, capture) if capture.talking else slot.snapshot()
        capture.talking = True
        capture.command(Pause())
        return self._register.tell(slot, Why.TALK_STARTED, seconds_left=TALK_S)

    async def ask_confirm(self, slot: Slot) -> Payment:
        """The CONFIRM field open: the caller presses 1 in place of a lost agent."""
        if slot.row.state is not PaymentState.READY:
            raise Refused("not_ready", "There is nothing to confirm before all fields are complete.")
        self._check_zone(slot)
        self._check_call_is_free(slot)
        if slot.capture is not None and slot.capture.confirming:
            return slot.snapshot()
        if slot.capture is not None and not slot.capture.alive:
            raise Refused(
                "capture_restarting", "The capture is being restarted. Wait a moment.", retryable=True
            )
        capture, media_end, cell_end = await self._cells.with_pipe(slot)
        capture.confirming = True
        try:
            await self._cells.secure(slot, capture, media_end)
        except BaseException:
            capture.confirming = False
            close_all(() if cell_end is None else (cell_end,))
            if cell_end is None:
                await self.end(slot)
            raise
        self._cells.open_field(capture, Field.CONFIRM, cell_end)
        return slot.snapshot()

    async def end(self, slot: Slot) -> None:
        """No cell lives for this payment any more, and its leg is on its way to NORMAL."""
        await self._cells.end(slot)

    async def cancel(self, slot: Slot, actor: str, by: str) -> Payment:
        """Cancelled, on record, and told; its cell is gone. `Refused` when the payment's state forbids it."""
        after(slot.row.state, Move.CANCEL)
        await self._register.move(slot, Move.CANCEL, slot.entry("payment.intent.cancelled", actor, by=by))
        await self.end(slot)
        return self._register.tell(slot, Why.CANCELLED)

    async def keep_for_retry(self, slot: Slot) -> None:
        """The cell forgets the CVV and keeps PAN and expiry for the next attempt, if the call goes on."""
        if slot.capture is None:
            return
        if slot.capture.last_attempt:
            await self.end(slot)
        else:
            slot.capture.command(WipeSad())

    async def leave(self, slot: Slot) -> None:
        """Nobody can key any more: no cell lives on, but one whose attempt is under way until its result."""
        if slot.capture is not None and slot.row.state is PaymentState.AUTHORISING:
            slot.capture.last_attempt = True
        else:
            await self.end(slot)

    def confirming(self, slot: Slot) -> bool:
        """True while the caller is asked to press 1 and has not yet."""
        return slot.capture is not None and slot.capture.confirming

    async def authorise(self, slot: Slot, request: AttemptRequest) -> Outcome:
        """One attempt sent by the cell itself (`tokenise_first` False); the lock is not held."""
        capture = slot.capture
        if capture is None or not capture.alive:
            return Outcome(OutcomeKind.NEVER_SENT, CELL_GONE)
        capture.outcome = asyncio.get_running_loop().create_future()
        capture.command(Authorise(request.as_json()))
        return await capture.outcome

    # --- opening --------------------------------------------------------------------------------------------

    def _check_zone(self, slot: Slot) -> None:
        """`Refused` when this tenant may not run on this machine."""
        tenant = self._tenants.get(slot.row.tenant)
        if tenant is None:
            raise Refused("tenant_unknown", "The tenant is not configured any more. Restore its file.")
        if tenant.live and self.weak is None:
            raise Refused(
                "posture_unknown", "The machine's posture is not known yet. Try again.", retryable=True
            )
        tenant.check_posture(self.weak or ())

    def _check_call_is_free(self, slot: Slot) -> None:
        """`Refused` when another payment is being keyed on this call, or when there is no cell left."""
        self._cells.claims.check(slot)
        if slot.capture is None and self._cells.full:
            raise Refused("captures_used", "All captures of this node are in use. Try again.", retryable=True)

    def _field_of_retry(self, slot: Slot) -> Field | None:
        """The one field that a retry needs, when the cell that knows the others still lives."""
        decline = slot.row.decline
        if decline is None or slot.capture is None or not slot.capture.alive:
            return None
        return field_to_rekey(decline.next_step)

    async def _open_new(self, slot: Slot, move: Move, why: Why) -> Payment:
        await self.tie(slot)
        capture, media_end, _ = await self._cells.with_pipe(slot)
        try:
            await self._begin(slot, capture, media_end, Field.PAN, move)
        except BaseException:
            await self.end(slot)
            raise
        payment = self._register.tell(slot, why, Field.PAN)
        self._cells.open_field(capture, Field.PAN, None)
        return payment

    async def _reopen(self, slot: Slot, capture: LiveCapture, field: Field, move: Move) -> Payment:
        """The field open in the cell that lives; that it is open is told when the cell says so."""
        was_attached, before = capture.attached, capture.keying
        media_end, cell_end = key_pipe()
        try:
            await self._begin(slot, capture, media_end, field, move)
        except BaseException:
            os.close(cell_end)
            capture.keying = before
            if not was_attached:
                await self._cells.release(slot, capture)
            raise
        capture.confirming = False
        capture.end_talk()
        told = slot.snapshot()
        if move is Move.CAPTURE:
            told = self._register.tell(slot, Why.CAPTURE_OPENED, field)
        self._cells.open_field(capture, field, cell_end)
        return told

    async def _begin(
        self, slot: Slot, capture: LiveCapture, media_end: int, field: Field, move: Move
    ) -> None:
        """SECURE in force, then the payment is `capturing`, both or an exception."""
        await self._cells.secure(slot, capture, media_end)
        capture.keying = capture.keying.opening(field)
        name = "capture.field.rekeyed" if move is Move.REKEY else "capture.cell.opened"
        entry = slot.entry(name, slot.who(), field=field.value)
        forgotten: dict[str, Any] = {"brand": None, "last4": None} if field is Field.PAN else {}
        # What is keyed now is another card than the kept one that may have been presented before.
        await self._register.move(slot, move, entry, token=None, decline=None, card_id="", **forgotten)

    # --- what the cell tells
    # ----------------------------------------------------------------------------------

    def _told(self, slot: Slot, capture: LiveCapture, fact: Fact) -> None:
        """Folds one fact in; what changes the payment waits for the lock, in order."""
        if isinstance(fact, OutcomeTold):
            capture.settle(outcome_from_json(dict(fact.outcome)))
            return
        if slot.capture is not capture:
            return
        capture.keying = capture.keying.told(fact)
        field = getattr(fact, "field", None)
        if isinstance(fact, Opened) and field is capture.awaited:
            capture.awaited = None
        why = WHY_OF_FACT.get(type(fact))
        if why is not None:
            problem = fact.problem if isinstance(fact, Problem) else None
            seconds_left = fact.seconds_left if isinstance(fact, TimeWarning) else None
            self._register.tell(slot, why, field, problem, seconds_left)
        if (work := self._work_of(slot, capture, fact)) is not None:
            self._spawn(work)

    def _work_of(self, slot: Slot, capture: LiveCapture, fact: Fact) -> Coroutine[Any, Any, None] | None:
        match fact:
            case Ready():
                return self._locked(slot, capture, lambda: self._ready(slot, capture, fact))
            case TokeniseFailed(_, None):
                return self._locked(slot, capture, lambda: self._refused(slot, capture))
            case Confirmed() | Problem(Field.CONFIRM):
                return self._locked(slot, capture, lambda: self._answered(slot, capture, fact))
            case Expired(limit):
                return self._locked(slot, capture, lambda: self._expire(slot, limit))
            case HelpAsked():
                return self._locked(slot, capture, lambda: self._help(slot))
            case PostureTold(weak=weak):
                return self._locked(slot, capture, lambda: self._check_cell(slot, weak))
            case ProviderCall(call_id, body):
                return self._carry(slot, capture, call_id, dict(body))
        return None

    async def _locked(
        self, slot: Slot, capture: LiveCapture, act: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Does `act` under the lock, unless the cell it is about has been replaced meanwhile."""
        async with slot.lock:
            if slot.capture is capture:
                await act()

    async def _ready(self, slot: Slot, capture: LiveCapture, fact: Ready) -> None:
        """All fields are complete; the token is stored, the leg goes back to NORMAL."""
        if slot.row.state is not PaymentState.CAPTURING or capture.awaited is not None:
            return
        entry = slot.entry("payment.card.tokenised", brand=fact.brand, last4=fact.last4)

        async def keyed(change: Change, row: PaymentRow) -> None:
            await self._limits.keyed(change, row, fact)

        card: dict[str, Any] = {"token": fact.token, "brand": fact.brand, "last4": fact.last4}
        await self._register.move(slot, Move.COMPLETE, entry, keyed, **card)
        await self._cells.release(slot, capture)
        self._register.tell(slot, Why.READY)

    async def _refused(self, slot: Slot, capture: LiveCapture) -> None:
        """The provider gave no token and blamed no field: the CVV, wiped by its answer, is asked for anew."""
        if slot.row.state is not PaymentState.CAPTURING:
            return
        capture.refusals += 1
        if capture.refusals >= REFUSALS_MAX:
            await self._expire(slot, "provider_refused")
            return
        media_end, cell_end = key_pipe()
        try:
            await self._cells.secure(slot, capture, media_end)
        except VaultError:
            os.close(cell_end)
            await self._expire(slot, "media_lost")
            return
        self._cells.open_field(capture, Field.CVV, cell_end)
        problem = FieldProblem.REFUSED_BY_PROVIDER
        self._register.tell(slot, Why.FIELD_PROBLEM, Field.CVV, problem)

    async def _answered(self, slot: Slot, capture: LiveCapture, fact: Fact) -> None:
        """The caller said yes with a 1, or no: CONFIRM is over."""
        if not capture.confirming:
            return
        capture.confirming = False
        if isinstance(fact, Confirmed):
            amount: dict[str, int | str] = {
                "amount_minor": slot.row.amount_minor,
                "currency": slot.row.currency,
            }
            await self._register.note(slot.entry("capture.amount.confirmed", "caller", **amount))
        await self._cells.release(slot, capture)
        if isinstance(fact, Confirmed):
            self._register.tell(slot, Why.CONFIRMED, Field.CONFIRM)

    async def _expire(self, slot: Slot, reason: str) -> None:
        """The capture is over; so is the payment, unless it has a token or a result already."""
        state = slot.row.state
        useless = state is PaymentState.READY and slot.row.token is None
        if state is PaymentState.CAPTURING or useless:
            entry = slot.entry("payment.intent.expired", reason=reason)
            await self._register.move(slot, Move.EXPIRE, entry)
            await self.end(slot)
            self._register.tell(slot, Why.EXPIRED)
            return
        unanswered = self.confirming(slot)
        await self.end(slot)
        if unanswered:
            self._register.tell(slot, Why.FIELD_PROBLEM, Field.CONFIRM, FieldProblem.NO_INPUT)

    async def _help(self, slot: Slot) -> None:
        """The caller asked for help with `**`: the pause begins, if the capture still can."""
        try:
            await self.talk(slot, on=True, by="caller")
        except VaultError as error:
            log.warning("capture.talk.refused", payment_id=slot.row.payment_id, code=error.code)

    async def _check_cell(self, slot: Slot, weak: tuple[str, ...]) -> None:
        """A cell that turned out weaker than its tenant allows takes no key."""
        try:
            self._tenants[slot.row.tenant].check_posture(weak)
        except Refused:
            await self._expire(slot, "posture_weak")

    async def _carry(self, slot: Slot, capture: LiveCapture, call_id: int, body: Json) -> None:
        """One call of the provider inside the cell to its host; no answer is an answer, too: none."""
        try:
            reply = await self._router.at(slot.row.tenant, slot.row.provider).wire(body)
        except Exception:  # noqa: BLE001 - whatever a provider's host does, the outcome is unknown
            log.warning("capture.provider.failed", payment_id=slot.row.payment_id)
            reply = {"kind": "unknown"}
        capture.command(ProviderReply(call_id, reply))

    # --- when a cell is lost
    # ------------------------------------------------------------------------------------

    async def _gone(self, slot: Slot, capture: LiveCapture) -> None:
        """The report socket ended by itself: replace the cell within `RESTART_S`, or expire the payment."""
        capture.settle(UNKNOWN)
        async with slot.lock:
            if slot.capture is not capture:
                return
            log.warning("capture.cell.lost", payment_id=slot.row.payment_id, state=slot.row.state.value)
            if not self._wants_cell(slot):
                await self.end(slot)
                return
        await self._keep_trying(slot, capture, lambda: self._restart(slot, capture), RESTART_S, "cell_lost")

    def _wants_cell(self, slot: Slot) -> bool:
        """True when the payment cannot go on without a cell."""
        state = slot.row.state
        useless = state is PaymentState.READY and slot.row.token is None
        return state is PaymentState.CAPTURING or useless or self.confirming(slot)

    async def _keep_trying(
        self,
        slot: Slot,
        capture: LiveCapture,
        act: Callable[[], Coroutine[Any, Any, None]],
        within_s: float,
        reason: str,
    ) -> None:
        """Repeats `act` until it works, the capture is over, or the time is up and the payment expires."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            async with slot.lock:
                if slot.capture is not capture:
                    return
                try:
                    await act()
                except VaultError:
                    if loop.time() > deadline:
                        await self._expire(slot, reason)
                        return
                else:
                    return
            await asyncio.sleep(RETRY_S)

    async def _restart(self, slot: Slot, lost: LiveCapture) -> None:
        """A new cell in place of the lost one, from the PAN on; the leg was SECURE all the time."""
        await self._zone.kill(lost.pid)
        capture, media_end = await self._cells.fork(slot, lost.capture_id)
        capture.confirming = lost.confirming and slot.row.token is not None
        field = Field.CONFIRM if capture.confirming else Field.PAN
        try:
            await self._cells.secure(slot, capture, media_end)
            await self._record_restart(slot, field)
        except BaseException:
            capture.stop()
            await self._zone.kill(capture.pid)
            raise
        slot.capture = capture
        self._cells.open_field(capture, field, None)
        self._register.tell(slot, Why.CAPTURE_RESTARTED, field)

    async def _record_restart(self, slot: Slot, field: Field) -> None:
        entry = slot.entry("capture.cell.restarted", reason="cell_lost")
        if field is Field.CONFIRM:
            await self._register.note(entry)
        else:
            await self._register.move(slot, Move.REKEY, entry, token=None, brand=None, last4=None)

    # --- when media is lost
    # -------------------------------------------------------------------------------------

    def media_told(self, fact: Json) -> None:
        """One fact of the media process."""
        leg_id = str(fact.get("leg_id", ""))
        if fact["fact"] == "leg.closed":
            self._leg_closed(leg_id)
        slot = self._cells.claims.holder(leg_id)
        if not isinstance(slot, Slot) or slot.capture is None:
            return
        if fact["fact"] == "talk.ended" and slot.capture.talking:
            self._talk_ended(slot, slot.capture)

    def media_down(self) -> None:
        """The media process is gone: every capture waits for it; nothing the caller says reaches anybody."""
        for slot in self._cells.slots():
            capture = slot.capture
            if capture is None or not capture.attached:
                continue
            capture.attached = False
            if capture.talking:
                self._talk_ended(slot, capture)
            capture.command(Pause())
            again = partial(self._attach_again, slot, capture)
            self._spawn(self._keep_trying(slot, capture, again, MEDIA_BACK_S, "media_lost"))

    async def sweep(self) -> None:
        """For ever: legs that are SECURE although no capture holds them go back to NORMAL."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.detach_strays()
            except VaultError:
                continue

    async def detach_strays(self) -> None:
        """Once; a leg is asked for again just before, so that a capture begun meanwhile is left alone."""
        if not self._zone.media_up:
            return
        for leg in await self._zone.guarded_legs():
            if leg.mode != "NORMAL" and self._cells.claims.holder(leg.leg_id) is None:
                await self._zone.detach(leg.leg_id)

    async def _attach_again(self, slot: Slot, capture: LiveCapture) -> None:
        """A new key pipe after media came back; the open field starts anew, the complete ones stay."""
        field = capture.keying.open_field()
        if field is None:
            return
        media_end, cell_end = key_pipe()
        try:
            await self._cells.secure(slot, capture, media_end)
            await self._register.note(slot.entry("capture.cell.restarted", reason="media_lost"))
        except BaseException:
            os.close(cell_end)
            raise
        capture.command(Resume())
        self._cells.open_field(capture, field, cell_end)
        # Told in one breath with the order to open: the caller hears why before what to key.
        self._register.tell(slot, Why.CAPTURE_RESTARTED, field)

    def _leg_closed(self, leg_id: str) -> None:
        """The caller's leg is gone, and with it every cell that waited for its keys."""
        for slot in self._cells.slots():
            capture = slot.capture
            if capture is not None and capture.leg_id == leg_id:
                self._spawn(self._locked(slot, capture, partial(self._end_with_leg, slot, capture)))

    async def _end_with_leg(self, slot: Slot, capture: LiveCapture) -> None:
        """The same end as `end_call` makes, whoever is first; but what has its token stays ready."""
        self._cells.claims.drop(slot)
        capture.attached = False
        if self._wants_cell(slot):
            await self.cancel(slot, BROKER, "system")
        else:
            await self.leave(slot)

    def _talk_ended(self, slot: Slot, capture: LiveCapture) -> Payment:
        capture.end_talk()
        return self._register.tell(slot, Why.TALK_ENDED)


async def _tied(_slot: Slot) -> None:
    """Nothing to choose."""
