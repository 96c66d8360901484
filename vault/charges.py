"""Charges: an attempt is committed before the provider is called; a lost answer is fetched, not sent again.

| what comes back | what happens |
|---|---|
| a definite answer | a second commit: authorised, declined or needs_action |
| anything else | unknown; the attempt is fetched after 1, 3, 8 and 20 s, then every 5 minutes |
| fetched: nothing known | until 20 s the same attempt is sent again, if it needs no card: its key runs once |
| fetched: never executed | after 20 s it is fenced, so that it can never run; then declined as temporary |

While an attempt is under way there is no other one of its payment (a unique index says so too). After a
restart of the broker every attempt that was under way is unknown.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from audit.outbox import Entry, stamp
from vault.captures import Captures
from vault.cards_on_file import CardsOnFile
from vault.door import PAID, Payment, PaymentState, Refused, StepName, VaultError, Why
from vault.limits import Limits
from vault.lookups import FETCH_TIMEOUT_S, age_s, lookup_times
from vault.payment import (
    ATTEMPTS_MAX,
    UNRESOLVED,
    Move,
    after,
    attempt_key,
    receipt_number,
)
from vault.providers.base import (
    NEVER_SENT,
    UNKNOWN,
    AttemptRequest,
    Outcome,
    OutcomeKind,
    Provider,
)
from vault.register import BROKER, Register, Slot
from vault.router import Router
from vault.step import SALE, Ask
from vault.steps import Steps
from vault.store import NEVER_RAN, AttemptRow, Change, PaymentRow
from vault.verdict import Verdict, ended, limited, moved_on, order_of, verdict

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.charges")

AUTHORISE_TIMEOUT_S = 60.0
"""The slowest issuer answers in 40 s; after this nobody waits on the telephone."""
PREPARE_TIMEOUT_S = 10.0
"""As above; nothing is charged by preparing."""
SALE_TRIES_MAX = 10
"""Settles of one sale that were never sent: with the upkeep's pause an hour of a line that is down."""
UNWANTED_S = 86_400.0
"""No call lasts so long: whoever wanted the payment is gone, and its reference is free again."""
UNWANTED_OFF_LINE_S = 600.0
"""A kept card is charged in the breath that names it; later than this its asker has died in between."""
RECEIPT_TRIES = 20
"""Random receipt numbers tried; with 10^5 receipts of a tenant one is taken with a chance of 1 in 1,000."""


class Charges:
    """Every attempt of this node."""

    def __init__(
        self,
        register: Register,
        captures: Captures,
        steps: Steps,
        router: Router,
        limits: Limits,
        cards: CardsOnFile,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._register = register
        self._captures = captures
        captures.tie = self.tie
        self._steps = steps
        self._router = router
        self._limits = limits
        self._cards = cards
        self._spawn = spawn
        self._sending: set[asyncio.Task[None]] = set()

    async def charge(self, slot: Slot) -> Payment:
        """The attempt committed and on its way; the slot's lock is held. Pressed twice it is one attempt."""
        if slot.row.state in {*UNRESOLVED, *PAID, PaymentState.CHECKED}:
            return slot.snapshot()
        after(slot.row.state, Move.CHARGE)
        self._router.at(slot.row.tenant, slot.row.provider)
        if slot.row.attempt >= ATTEMPTS_MAX:
            raise Refused("attempts_used", "All attempts are used. Offer another way to pay.")
        if self._captures.confirming(slot):
            raise Refused("not_confirmed", "The caller has been asked to press 1. Wait for the answer.")
        if slot.row.step is not None:
            raise Refused("step_under_way", "Another step of this payment is under way. Wait for its result.")
        reference = slot.row.provider_ref or await self._prepare(slot.row)
        attempt = slot.row.attempt + 1
        request = self._request(slot.row, reference, attempt)
        if await self._limits.admit(slot.row, request.attempt_key) is not None:
            await asyncio.sleep(self._router.answer_time_s(slot.row.provider))
            return await self._limit(slot, request)
        entry = slot.entry(
            "payment.attempt.sent", slot.who(), sca_basis=slot.row.sca_basis, **_sums(slot, attempt)
        )
        await self._register.move(
            slot, Move.CHARGE, entry, _starting(request), attempt=attempt, provider_ref=reference or None
        )
        payment = self._register.tell(slot, Why.CHARGING)
        sending = self._spawn(self._send(slot, request))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return payment

    async def tie(self, slot: Slot) -> None:
        """The payment tied to a provider that can be reached, before anything is keyed; the lock is held.

        Stored with the commit that opens the capture: a capture that is refused has changed nothing.
        """
        row = slot.row
        if row.provider_ref is not None or row.check_only or row.card_id:
            return
        if row.attempt or row.mandate:  # it has been tied before, or a customer of its own is known there
            slot.row = replace(row, provider_ref=await self._prepare(row))
            return
        begun = await self._router.begin(order_of(row))
        slot.row = replace(row, provider=begun.provider, provider_ref=begun.provider_ref)

    async def finish(self, within_s: float) -> None:
        """Waits for the answers under way; what is not there by then is fetched after the next start."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=within_s)

    async def recover(self) -> None:
        """After a start: captures of the run before are over, attempts of the run before are fetched."""
        for row in await self._register.store.in_state(PaymentState.CAPTURING):
            slot = await self._register.slot(row.payment_id)
            entry = slot.entry("payment.intent.expired", reason="broker_restarted")
            await self._register.move(slot, Move.EXPIRE, entry)
            self._register.tell(slot, Why.EXPIRED)
        for row in await self._register.store.in_state(*UNRESOLVED):
            slot = await self._register.slot(row.payment_id)
            await self._conclude(slot, row.attempt, UNKNOWN)
            self._spawn(self._resolve(slot, row.attempt))

    async def _prepare(self, row: PaymentRow) -> str:
        """The provider's reference; no money moves, so a failure is a refusal. An account check has none."""
        if row.check_only:
            return ""
        provider = self._router.at(row.tenant, row.provider)
        if row.mandate and not row.customer_ref:
            customer_ref = await self._cards.customer_ref(row.tenant, row.customer, row.provider)
            row = replace(row, customer_ref=customer_ref)
        try:
            async with asyncio.timeout(PREPARE_TIMEOUT_S):
                return await provider.prepare(order_of(row))
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 - nothing is charged by preparing, so any failure is a refusal
            log.warning("payment.provider.failed", payment_id=row.payment_id, error=type(error).__name__)
            sentence = "The provider does not answer; nothing was charged. Try again."
            raise Refused("provider_unreachable", sentence, retryable=True) from None

    @staticmethod
    def _request(row: PaymentRow, reference: str, attempt: int) -> AttemptRequest:
        return AttemptRequest(
            provider_ref=reference,
            attempt_key=attempt_key(row.payment_id, attempt),
            attempt=attempt,
            token=row.token,
            amount_minor=row.amount_minor,
            currency=row.currency,
            sca_basis=row.sca_basis,
            settle_later=row.settle_later,
            keep_card=bool(row.mandate),
            off_line=row.off_line,
        )

    async def look(self, slot: Slot) -> None:
        """Fetches once more what became of an attempt under way, if its answer was lost."""
        attempt = slot.row.attempt
        if slot.row.state is PaymentState.UNKNOWN:
            await self._conclude_locked(slot, attempt, await self._fetch(slot.row, fencing=False))

    async def _send(self, slot: Slot, request: AttemptRequest) -> None:
        """Calls the provider once and stores what is known then."""
        outcome = await self._outcome(slot, request)
        await self._conclude_locked(slot, request.attempt, outcome)
        if outcome.kind is OutcomeKind.UNKNOWN:
            self._spawn(self._resolve(slot, request.attempt))

    async def _outcome(self, slot: Slot, request: AttemptRequest) -> Outcome:
        """What one call says; anything but a definite answer is UNKNOWN."""
        row = slot.row
        sending = self._sending_of(slot, request)
        return await self._router.outcome(row.tenant, row.provider, sending, AUTHORISE_TIMEOUT_S)

    def _sending_of(self, slot: Slot, request: AttemptRequest) -> Coroutine[Any, Any, Outcome]:
        """Who sends the attempt: the broker with a token, or the cell with the card."""
        provider = self._router.at(slot.row.tenant, slot.row.provider)
        if not provider.abilities.tokenise_first and not slot.row.card_id:
            return self._captures.authorise(slot, request)
        return provider.verify_card(request) if slot.row.check_only else provider.authorise(request)

    async def _resolve(self, slot: Slot, attempt: int) -> None:
        """Fetches until the outcome is known; what the provider does not know is sent again, same key."""
        for late, pause_s in lookup_times():
            await asyncio.sleep(pause_s)
            row = slot.row
            if row.attempt != attempt or row.state not in UNRESOLVED:
                return
            outcome = await self._fetch(row, fencing=late)
            if outcome.kind is OutcomeKind.UNKNOWN and not late:
                outcome = await self._again(row)
            if outcome.kind is not OutcomeKind.UNKNOWN:
                await self._conclude_locked(slot, attempt, outcome)
                return

    async def _again(self, row: PaymentRow) -> Outcome:
        """The same attempt sent again: a token and an old key cannot charge twice; a card is gone."""
        provider = self._router.at(row.tenant, row.provider)
        if row.token is None or row.check_only or not await self._is_young(row, provider):
            return UNKNOWN
        request = self._request(row, row.provider_ref or "", row.attempt)
        try:
            async with asyncio.timeout(AUTHORISE_TIMEOUT_S):
                outcome = await provider.authorise(request)
        except Exception as error:  # noqa: BLE001 - as for the first time
            log.warning("payment.attempt.failed", payment_id=row.payment_id, error=type(error).__name__)
            return UNKNOWN
        return UNKNOWN if outcome.kind is OutcomeKind.NEVER_SENT else outcome

    async def _is_young(self, row: PaymentRow, provider: Provider) -> bool:
        """True while the attempt's key cannot execute a second time."""
        attempts = await self._register.store.attempts(row.payment_id)
        return age_s(attempts[-1].started_at) < provider.abilities.key_window_s

    async def _fetch(self, row: PaymentRow, *, fencing: bool) -> Outcome:
        """What the provider says about the attempt; "never executed" counts only once it is fenced."""
        provider, key = self._router.at(row.tenant, row.provider), attempt_key(row.payment_id, row.attempt)
        reference = row.provider_ref or ""
        if row.check_only:
            return NEVER_SENT  # no money moves in an account check: a lost one is simply done again
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                outcome = await provider.fetch(reference, key)
            if outcome.kind is OutcomeKind.NEVER_SENT and fencing:
                async with asyncio.timeout(FETCH_TIMEOUT_S):
                    return await provider.fence(reference, key)
        except Exception as error:  # noqa: BLE001 - a question without an answer leaves the outcome unknown
            log.warning("payment.fetch.failed", payment_id=row.payment_id, error=type(error).__name__)
            return UNKNOWN
        return UNKNOWN if outcome.kind is OutcomeKind.NEVER_SENT else outcome

    async def _conclude_locked(self, slot: Slot, attempt: int, outcome: Outcome) -> None:
        async with slot.lock:
            await self._conclude(slot, attempt, outcome)

    async def _conclude(self, slot: Slot, attempt: int, outcome: Outcome) -> None:
        """Stores what an attempt came to, once; the slot's lock is held."""
        row = slot.row
        found = verdict(row, outcome)
        if row.state not in UNRESOLVED or row.attempt != attempt:
            return
        if found.move is Move.DOUBT and row.state is PaymentState.UNKNOWN:
            return
        other = await self._following(row, found, outcome) if found.decline else None
        if other is not None:
            found = moved_on(found, other)
        values = dict(found.values or {})
        if found.move is Move.AUTHORISE:
            values["receipt"] = await self.receipt(row.tenant)
        await self._register.move(
            slot, found.moves, _entries(slot, found, attempt), self._ending(found, outcome), **values
        )
        if found.over or other is not None:
            await self._captures.end(slot)
        else:
            await self._captures.keep_for_retry(slot)
        self._register.tell(slot, found.why)
        if slot.row.state is PaymentState.AUTHORISED and not row.settle_later:
            await self.settle_sale(slot)

    async def _limit(self, slot: Slot, request: AttemptRequest) -> Payment:
        """An attempt that our own limits forbid is declined like any other, in its time, and not sent."""
        found = limited(slot.row, request.attempt)
        also = _starting(request, raw_code=found.raw_code)
        entries = _entries(slot, found, request.attempt)
        await self._register.move(slot, found.moves, entries, also, **(found.values or {}))
        if found.over:
            await self._captures.end(slot)
        else:
            await self._captures.keep_for_retry(slot)
        return self._register.tell(slot, found.why)

    async def _following(self, row: PaymentRow, found: Verdict, outcome: Outcome) -> str | None:
        """Another provider for the next attempt, when there must and may be one."""
        if row.card_id or row.check_only or (found.decline and not found.decline.retry_allowed):
            return None
        *before, last = await self._register.store.attempts(row.payment_id)
        try:
            decision = self._router.following(order_of(row), [*before, ended(last, found, outcome)])
        except VaultError:
            return None  # the tenant has changed its providers: it stays where it is
        return decision.provider if decision.moves else None

    async def settle_sale(self, slot: Slot) -> None:
        """A sale that the provider has only authorised is settled by us; again only when nothing was sent."""
        steps = await self._register.store.steps(slot.row.payment_id)
        ours = [step for step in steps if step.reason == SALE]
        if len(ours) >= SALE_TRIES_MAX or not all(step.raw_code in NEVER_RAN for step in ours):
            return
        ask_key = f"{SALE}-{len(ours)}" if ours else SALE
        try:
            await self._steps.ask(slot, Ask(StepName.SETTLE, None, BROKER, ask_key, SALE))
        except VaultError as error:
            log.warning("payment.sale.unsettled", payment_id=slot.row.payment_id, code=error.code)

    async def settle_sales(self) -> None:
        """Sales that are authorised and not settled, as after a death in between; for the upkeep."""
        for row in await self._register.store.sales_unsettled():
            slot = await self._register.slot(row.payment_id)
            async with slot.lock:
                if slot.row.state is PaymentState.AUTHORISED and slot.row.step is None:
                    await self.settle_sale(slot)

    async def expire_unwanted(self) -> None:
        """Payments that nobody charges any more, as after a death in between; for the upkeep."""
        now = datetime.now(UTC)
        moments = (stamp(now - timedelta(seconds=late)) for late in (UNWANTED_S, UNWANTED_OFF_LINE_S))
        for row in await self._register.store.waiting_since(*moments):
            slot = await self._register.slot(row.payment_id)
            async with slot.lock:
                if slot.row.version != row.version:
                    continue
                entry = slot.entry("payment.intent.expired", reason="not_charged")
                await self._register.move(slot, Move.EXPIRE, entry)
                await self._captures.end(slot)
                self._register.tell(slot, Why.EXPIRED)

    def _ending(
        self, found: Verdict, outcome: Outcome
    ) -> Callable[[Change, PaymentRow], Coroutine[Any, Any, None]]:
        """Stores the end of the attempt, corrects the limits' count, keeps the card that was agreed to."""

        async def end(change: Change, row: PaymentRow) -> None:
            await change.end_attempt(row, found.raw_code, outcome.advice)
            await self._limits.ended(change, row, attempt_key(row.payment_id, row.attempt), outcome)
            if outcome.kept is not None and found.move in {Move.AUTHORISE, Move.CHECK}:
                await self._cards.keep(change, row, outcome.kept)

        return end

    async def receipt(self, tenant: str) -> str:
        """A receipt number that no payment of the tenant has; the unique index guards the rest."""
        for _ in range(RECEIPT_TRIES):
            number = receipt_number(secrets.randbits(64))
            if await self._register.store.receipt_is_free(tenant, number):
                return number
        raise RuntimeError("no free receipt number")


def _starting(
    request: AttemptRequest, raw_code: str = ""
) -> Callable[[Change, PaymentRow], Coroutine[Any, Any, None]]:
    """Stores the attempt; with a `raw_code` it is over already."""

    async def insert(change: Change, row: PaymentRow) -> None:
        attempt = AttemptRow(
            row.payment_id,
            request.attempt,
            request.attempt_key,
            row.state,
            started_at=row.updated_at,
            raw_code=raw_code,
            ended_at=row.updated_at if raw_code else None,
            provider=row.provider,
            provider_ref=request.provider_ref,
            sca_basis=row.sca_basis,
        )
        await change.insert_attempt(attempt)

    return insert


def _entries(slot: Slot, found: Verdict, attempt: int) -> list[Entry]:
    """What the log is told about the end of an attempt."""
    data = _sums(slot, attempt)
    if found.decline is not None:
        data |= {"reason": found.decline.reason.value, "next_step": found.decline.next_step.value}
    entries = [slot.entry(found.entry, BROKER, **data)]
    if found.settles:
        entries.append(slot.entry("payment.money.settled", BROKER, **_money(slot.row)))
    return entries


def _sums(slot: Slot, attempt: int) -> dict[str, int | str]:
    return {"attempt": attempt, **_money(slot.row)}


def _money(row: PaymentRow) -> dict[str, int | str]:
    return {"amount_minor": row.amount_minor, "currency": row.currency}
