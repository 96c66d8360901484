"""Charges: an attempt is committed before the provider is called; a lost answer is fetched, not sent again.

| what comes back | what happens |
|---|---|
| a definite answer | a second commit: authorised, declined or needs_action |
| anything else | unknown; the attempt is fetched after 1, 3, 8 and 20 s, then every 5 minutes |
| fetched: never executed | after 20 s it is fenced, so that it can never run; then declined as temporary |

While an attempt is under way there is no other one of its payment (a unique index says so too). After a
restart of the broker every attempt that was under way is unknown.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import structlog

from vault.captures import Captures
from vault.door import Payment, PaymentState, Refused, Why
from vault.payment import (
    ATTEMPTS_MAX,
    UNRESOLVED,
    Move,
    after,
    attempt_key,
    decline_of,
    move_of,
    receipt_number,
)
from vault.providers.base import UNKNOWN, AttemptRequest, Order, Outcome, OutcomeKind, Provider
from vault.register import BROKER, Register, Slot
from vault.store import AttemptRow, Change, PaymentRow

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.charges")

FETCH_AFTER_S = (1.0, 3.0, 8.0, 20.0)
"""When a lost attempt is fetched: soon for the caller on the line, late enough for the slowest provider."""
RECONCILE_EVERY_S = 300.0
"""How often an attempt still unknown after that is fetched, until somebody knows."""
AUTHORISE_TIMEOUT_S = 60.0
"""The slowest issuer answers in 40 s; after this nobody waits on the telephone."""
FETCH_TIMEOUT_S = 10.0
"""A question about an id has no reason to take longer."""
PREPARE_TIMEOUT_S = 10.0
"""As above; nothing is charged by preparing."""
RECEIPT_TRIES = 20
"""Random receipt numbers tried; with 10^5 receipts of a tenant one is taken with a chance of 1 in 1,000."""

_TOLD = {
    Move.AUTHORISE: ("payment.attempt.authorised", Why.AUTHORISED),
    Move.DECLINE: ("payment.attempt.declined", Why.DECLINED),
    Move.REFER: ("payment.attempt.referred", Why.NEEDS_ACTION),
    Move.DOUBT: ("payment.attempt.lost", Why.UNKNOWN),
}


class Charges:
    """Every attempt of this node."""

    def __init__(
        self,
        register: Register,
        captures: Captures,
        providers: dict[str, Provider],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._register = register
        self._captures = captures
        self._providers = providers
        self._spawn = spawn
        self._sending: set[asyncio.Task[None]] = set()

    async def charge(self, slot: Slot) -> Payment:
        """The attempt committed and on its way; the slot's lock is held. Pressed twice it is one attempt."""
        if slot.row.state in {*UNRESOLVED, PaymentState.AUTHORISED}:
            return slot.snapshot()
        after(slot.row.state, Move.CHARGE)
        if slot.row.provider not in self._providers:
            raise Refused("tenant_unknown", "The tenant is not configured any more. Restore its file.")
        if slot.row.attempt >= ATTEMPTS_MAX:
            raise Refused("attempts_used", "All attempts are used. Offer another way to pay.")
        if self._captures.confirming(slot):
            raise Refused("not_confirmed", "The caller has been asked to press 1. Wait for the answer.")
        reference = slot.row.provider_ref or await self._prepare(slot.row)
        attempt = slot.row.attempt + 1
        request = self._request(slot.row, reference, attempt)
        entry = slot.entry(
            "payment.attempt.sent", slot.who(), sca_basis=slot.row.sca_basis, **_sums(slot, attempt)
        )
        await self._register.move(
            slot, Move.CHARGE, entry, _starting(request), attempt=attempt, provider_ref=reference
        )
        payment = self._register.tell(slot, Why.CHARGING)
        sending = self._spawn(self._send(slot, request))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return payment

    async def finish(self, within_s: float) -> None:
        """Waits for the answers under way; what is not there by then is fetched after the next start."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=within_s)

    async def recover(self) -> None:
        """After a start: captures of the run before are over, attempts of the run before are fetched."""
        for row in await self._register.store.in_state(PaymentState.CAPTURING):
            slot = self._register.slot_of(row)
            entry = slot.entry("payment.intent.expired", reason="broker_restarted")
            await self._register.move(slot, Move.EXPIRE, entry)
            self._register.tell(slot, Why.EXPIRED)
        for row in await self._register.store.in_state(*UNRESOLVED):
            slot = self._register.slot_of(row)
            await self._conclude(slot, UNKNOWN)
            self._spawn(self._resolve(slot))

    async def _prepare(self, row: PaymentRow) -> str:
        """The provider's reference; no money moves, so a failure is a refusal."""
        order = Order(row.payment_id, row.tenant, row.amount_minor, row.currency, row.sca_basis)
        try:
            return await asyncio.wait_for(self._providers[row.provider].prepare(order), PREPARE_TIMEOUT_S)
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
        )

    async def _send(self, slot: Slot, request: AttemptRequest) -> None:
        """Calls the provider once and stores what is known then."""
        provider = self._providers[slot.row.provider]
        if provider.abilities.tokenise_first:
            sending = provider.authorise(request)
        else:
            sending = self._captures.authorise(slot, request)
        try:
            outcome = await asyncio.wait_for(sending, AUTHORISE_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - whatever happened after the first byte, the outcome is unknown
            log.warning("payment.attempt.failed", payment_id=slot.row.payment_id, error=type(error).__name__)
            outcome = UNKNOWN
        async with slot.lock:
            await self._conclude(slot, outcome)
        if outcome.kind is OutcomeKind.UNKNOWN:
            self._spawn(self._resolve(slot))

    async def _resolve(self, slot: Slot) -> None:
        """Fetches until the outcome is known; `_send` is never called again for this attempt."""
        for waited_s, pause_s in _fetch_times():
            await asyncio.sleep(pause_s)
            outcome = await self._fetch(slot, fencing=waited_s >= FETCH_AFTER_S[-1])
            if outcome.kind is OutcomeKind.UNKNOWN:
                continue
            async with slot.lock:
                await self._conclude(slot, outcome)
            return

    async def _fetch(self, slot: Slot, *, fencing: bool) -> Outcome:
        """What the provider says about the attempt; "never executed" counts only once it is fenced."""
        row = slot.row
        provider, key = self._providers[row.provider], attempt_key(row.payment_id, row.attempt)
        reference = row.provider_ref or ""
        try:
            outcome = await asyncio.wait_for(provider.fetch(reference, key), FETCH_TIMEOUT_S)
            if outcome.kind is OutcomeKind.NEVER_SENT and fencing:
                return await asyncio.wait_for(provider.fence(reference, key), FETCH_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - a question without an answer leaves the outcome unknown
            log.warning("payment.fetch.failed", payment_id=row.payment_id, error=type(error).__name__)
            return UNKNOWN
        return UNKNOWN if outcome.kind is OutcomeKind.NEVER_SENT else outcome

    async def _conclude(self, slot: Slot, outcome: Outcome) -> None:
        """Stores what an attempt came to, once; the slot's lock is held."""
        row, move = slot.row, move_of(outcome)
        if row.state not in UNRESOLVED or (move is Move.DOUBT and row.state is PaymentState.UNKNOWN):
            return
        name, why = _TOLD[move]
        data: dict[str, int | str] = _sums(slot, row.attempt)
        values: dict[str, Any] = {}
        if move is Move.DECLINE:
            raw_code = "never_sent" if outcome.kind is OutcomeKind.NEVER_SENT else outcome.raw_code
            decline = decline_of(raw_code, outcome.advice, row.attempt)
            values = {"decline": decline, "token": None}
            data |= {"reason": decline.reason.value, "next_step": decline.next_step.value}
        if move is Move.AUTHORISE:
            values = {"receipt": await self._receipt(row.tenant)}
        await self._register.move(slot, move, slot.entry(name, BROKER, **data), _ending(outcome), **values)
        if move in {Move.AUTHORISE, Move.REFER} or (slot.row.decline and not slot.row.decline.retry_allowed):
            await self._captures.end(slot)
        else:
            await self._captures.keep_for_retry(slot)
        self._register.tell(slot, why)

    async def _receipt(self, tenant: str) -> str:
        """A receipt number that no payment of the tenant has; the unique index guards the rest."""
        for _ in range(RECEIPT_TRIES):
            number = receipt_number(secrets.randbits(64))
            if await self._register.store.receipt_is_free(tenant, number):
                return number
        raise RuntimeError("no free receipt number")


def _starting(request: AttemptRequest) -> Callable[[Change, PaymentRow], Coroutine[Any, Any, None]]:
    async def insert(change: Change, row: PaymentRow) -> None:
        at = row.updated_at
        await change.insert_attempt(
            AttemptRow(row.payment_id, request.attempt, request.attempt_key, row.state, started_at=at)
        )

    return insert


def _ending(outcome: Outcome) -> Callable[[Change, PaymentRow], Coroutine[Any, Any, None]]:
    async def end(change: Change, row: PaymentRow) -> None:
        await change.end_attempt(row.payment_id, row.attempt, row.state, outcome.raw_code, row.updated_at)

    return end


def _sums(slot: Slot, attempt: int) -> dict[str, int | str]:
    return {"attempt": attempt, "amount_minor": slot.row.amount_minor, "currency": slot.row.currency}


def _fetch_times() -> Iterator[tuple[float, float]]:
    """Pairs of seconds since the answer was lost, and seconds to wait until then."""
    later = itertools.count(FETCH_AFTER_S[-1] + RECONCILE_EVERY_S, RECONCILE_EVERY_S)
    before = 0.0
    for moment in itertools.chain(FETCH_AFTER_S, later):
        yield moment, moment - before
        before = moment
