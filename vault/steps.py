"""Money steps after the authorisation: committed before the provider is called, looked up when in doubt.

| what comes back | what happens |
|---|---|
| done, refused, never sent | a second commit: the payment's new state, or none |
| anything else | unknown; after 1, 3, 8 and 20 s, then every 5 minutes, the payment's standing is fetched |
| the standing tells | a commit as above |
| it does not, the key is young | the same request is sent again: it holds no card, and its key runs once |
| it does not, the key is old | nothing is sent any more; the step has never run, and can not |

While a step is under way or unknown its payment takes no other one (a unique index says so too), and what a
refund will give back counts as given back. After a restart every step that was under way is unknown.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import structlog

from audit.outbox import stamp
from vault.door import Payment, Refused, StepName, StepState, Why
from vault.lookups import FETCH_TIMEOUT_S, age_s, lookup_times
from vault.providers.base import (
    STEP_NEVER_SENT,
    STEP_UNKNOWN,
    NotSentError,
    StepKind,
    StepOutcome,
    StepRequest,
)
from vault.register import BROKER, Register, Slot
from vault.router import Router
from vault.step import ENDED, FOUND, STEPS_MAX, Ask, amount_of, check_ask, done, found, step_key
from vault.store import UNDER_WAY, Change, PaymentRow, StepRow

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.steps")

STEP_TIMEOUT_S = 30.0
"""Nobody waits on the telephone for a step, and a provider answers in seconds; after this it is looked up."""


class Steps:
    """Every settle, void and refund of this node."""

    def __init__(
        self,
        register: Register,
        router: Router,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._register = register
        self._router = router
        self._spawn = spawn
        self._sending: set[asyncio.Task[None]] = set()
        self.on_refused: Callable[[Slot], None] = lambda _slot: None
        """Told of a refusal: provider and books may hold different things as true."""

    async def ask(self, slot: Slot, ask: Ask) -> Payment:
        """The step committed and on its way; the slot's lock is held. Asked twice it is one step."""
        check_ask(ask)
        known = await self._register.store.steps(slot.row.payment_id)
        same = next((step for step in known if step.ask_key == ask.ask_key), None)
        if same is not None:
            _check_same(same, ask)
            return slot.snapshot()
        step = self._step(slot.row, ask, known)
        reserved = {"refunding_minor": step.amount_minor} if step.name is StepName.REFUND else {}
        entry = slot.entry("payment.step.sent", step.by, **_told(slot.row, step))
        await self._register.move(slot, (), entry, _inserting(step), step=step.name, **reserved)
        payment = self._register.tell(slot, Why.STEP_STARTED)
        sending = self._spawn(self._send(slot, step))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return payment

    async def adopt(self, slot: Slot, name: StepName, amount_minor: int) -> None:
        """Takes over a step that somebody did at the provider; the slot's lock is held."""
        known = await self._register.store.steps(slot.row.payment_id)
        step = _new_step(slot.row, Ask(name, amount_minor, BROKER, "", FOUND), amount_minor, known)
        step = replace(step, state=StepState.DONE, ended_at=step.started_at)
        turn = done(slot.row, name, amount_minor)
        entry = slot.entry(turn.entry, BROKER, amount_minor=amount_minor, currency=slot.row.currency)
        await self._register.move(slot, turn.moves, entry, _inserting(step), **turn.values)
        self._register.tell(slot, turn.why)

    async def look(self, slot: Slot) -> None:
        """Asks once more about the step under way, if there is one whose answer was lost."""
        step = await self._under_way(slot.row.payment_id)
        if step is not None and step.state is StepState.UNKNOWN:
            await self._conclude(slot, step, await self._outcome(slot.row, step))

    async def finish(self, within_s: float) -> None:
        """Waits for the answers under way; what is not there by then is looked up after the next start."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=within_s)

    async def recover(self) -> None:
        """After a start: steps of the run before are unknown."""
        for row in await self._register.store.with_step_under_way():
            slot = await self._register.slot(row.payment_id)
            step = await self._under_way(row.payment_id)
            if step is not None:
                await self._conclude(slot, step, STEP_UNKNOWN)
                self._spawn(self._resolve(slot, step))

    def _step(self, row: PaymentRow, ask: Ask, known: tuple[StepRow, ...]) -> StepRow:
        return _new_step(
            row, ask, amount_of(row, ask, self._router.at(row.tenant, row.provider).abilities), known
        )

    async def _under_way(self, payment_id: str) -> StepRow | None:
        steps = await self._register.store.steps(payment_id)
        return next((step for step in steps if step.state in UNDER_WAY), None)

    async def _send(self, slot: Slot, step: StepRow) -> None:
        """Calls the provider and stores what is known then."""
        outcome = await self._call(slot.row, step)
        await self._conclude(slot, step, outcome)
        if outcome.kind is StepKind.UNKNOWN:
            await self._resolve(slot, step)

    async def _resolve(self, slot: Slot, step: StepRow) -> None:
        """Looks until the outcome is known."""
        for _, pause_s in lookup_times():
            await asyncio.sleep(pause_s)
            outcome = await self._outcome(slot.row, step)
            if outcome.kind is not StepKind.UNKNOWN:
                await self._conclude(slot, step, outcome)
                return

    async def _outcome(self, row: PaymentRow, step: StepRow) -> StepOutcome:
        """What the provider's standing says; when it says nothing, what the same request says, sent again."""
        provider = self._router.at(row.tenant, row.provider)
        may_run = age_s(step.started_at) < provider.abilities.key_window_s
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                standing = await provider.standing(row.provider_ref or "")
        except Exception as error:  # noqa: BLE001 - a question without an answer leaves the outcome unknown
            log.warning("payment.standing.failed", payment_id=row.payment_id, error=type(error).__name__)
            return STEP_UNKNOWN
        known = found(step, standing, may_run=may_run)
        if known is not None:
            return known
        again = await self._call(row, step)
        return STEP_UNKNOWN if again.kind is StepKind.NEVER_SENT else again

    async def _call(self, row: PaymentRow, step: StepRow) -> StepOutcome:
        """The request sent once; anything but a definite answer is UNKNOWN."""
        provider = self._router.at(row.tenant, row.provider)
        call = {
            StepName.SETTLE: provider.settle,
            StepName.VOID: provider.void,
            StepName.REFUND: provider.refund,
        }[step.name]
        request = StepRequest(
            row.provider_ref or "", step.step_key, step.amount_minor, row.currency, step.reason
        )
        try:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                return await call(request)
        except NotSentError:
            return STEP_NEVER_SENT
        except Exception as error:  # noqa: BLE001 - whatever happened after the first byte, the outcome is unknown
            log.warning("payment.step.failed", payment_id=row.payment_id, error=type(error).__name__)
            return STEP_UNKNOWN

    async def _conclude(self, slot: Slot, step: StepRow, outcome: StepOutcome) -> None:
        """Stores what a step came to, once."""
        async with slot.lock:
            now = await self._under_way(slot.row.payment_id)
            if now is None or now.step_key != step.step_key:
                return
            if outcome.kind is StepKind.DONE:
                await self._done(slot, now, outcome)
            elif outcome.kind is not StepKind.UNKNOWN:
                await self._refused(slot, now, outcome)
            elif now.state is StepState.UNDER_WAY:
                await self._lost(slot, now)

    async def _done(self, slot: Slot, step: StepRow, outcome: StepOutcome) -> None:
        turn = done(slot.row, step.name, step.amount_minor)
        money: dict[str, int | str] = {"amount_minor": step.amount_minor, "currency": slot.row.currency}
        entry = slot.entry(turn.entry, BROKER, **money)
        ended = replace(step, state=StepState.DONE, step_ref=outcome.step_ref, ended_at=stamp())
        values = dict(turn.values)
        if step.name is StepName.SETTLE and outcome.step_ref:
            values["charge_ref"] = outcome.step_ref
        await self._register.move(slot, turn.moves, entry, _updating(ended), **values)
        self._register.tell(slot, turn.why)

    async def _refused(self, slot: Slot, step: StepRow, outcome: StepOutcome) -> None:
        entry = slot.entry("payment.step.refused", BROKER, **_told(slot.row, step))
        raw_code = "never_sent" if outcome.kind is StepKind.NEVER_SENT else outcome.raw_code
        ended = replace(step, state=StepState.REFUSED, raw_code=raw_code, ended_at=stamp())
        await self._register.move(slot, (), entry, _updating(ended), **ENDED)
        self._register.tell(slot, Why.STEP_REFUSED)
        self.on_refused(slot)

    async def _lost(self, slot: Slot, step: StepRow) -> None:
        entry = slot.entry("payment.step.lost", BROKER, **_told(slot.row, step))
        lost = replace(step, state=StepState.UNKNOWN)
        await self._register.move(slot, (), entry, _updating(lost), step_unknown=True)
        self._register.tell(slot, Why.STEP_UNKNOWN)


def _check_same(known: StepRow, ask: Ask) -> None:
    """`Refused` when a key is used for something else than before."""
    if known.name is not ask.name or ask.amount_minor not in {None, known.amount_minor}:
        raise Refused("ask_key_reused", "This key was used for another step. Send a fresh one.")


def _new_step(row: PaymentRow, ask: Ask, amount_minor: int, known: tuple[StepRow, ...]) -> StepRow:
    number = 1 + sum(step.name is ask.name for step in known)
    if number > STEPS_MAX:
        raise Refused("steps_used", "This payment has too many steps. Ask the provider for the rest.")
    key = step_key(row.payment_id, ask.name, number)
    return StepRow(
        payment_id=row.payment_id,
        name=ask.name,
        number=number,
        step_key=key,
        ask_key=ask.ask_key or f"{FOUND}-{ask.name.value}-{number}",
        state=StepState.UNDER_WAY,
        amount_minor=amount_minor,
        by=ask.by,
        reason=ask.reason,
        started_at=stamp(),
    )


def _inserting(step: StepRow) -> Callable[[Change, PaymentRow], Coroutine[Any, Any, None]]:
    async def insert(change: Change, _row: PaymentRow) -> None:
        await change.insert_step(step)

    return insert


def _updating(step: StepRow) -> Callable[[Change, PaymentRow], Coroutine[Any, Any, None]]:
    async def update(change: Change, _row: PaymentRow) -> None:
        await change.update_step(step)

    return update


def _told(row: PaymentRow, step: StepRow) -> dict[str, int | str]:
    """What the log's entries about a step carry."""
    data: dict[str, int | str] = {"step": step.name.value, "number": step.number, "reason": step.reason}
    return data | {"amount_minor": step.amount_minor, "currency": row.currency}
