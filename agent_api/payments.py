"""Payments at the desk: one handler per thing an agent may do, and the payment in words he can use.

No rule of money stands here: the vault decides, the desk carries. Only the calls' own agent gets through.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from agent_api.desk import Ask, Asker, Desk
from agent_api.problems import DeskError
from agent_api.schemas import (
    CardCheckBody,
    DeclineAnswer,
    FieldAnswer,
    PaymentAnswer,
    PaymentBody,
    PaymentCodeAnswer,
    PaymentCodeBody,
    RekeyBody,
    TalkBody,
)
from pay_ivr.catalogue import Catalogue, say_key
from pay_ivr.facts import CallView
from vault import Decline, Field, FieldProgress, Payment, PaymentState

IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENCY_KEY_MAX = 64
"""A UUID has 36 characters."""
IDEMPOTENCY_KEPT_S = 3_600.0
"""Longer than any call; a payment needs a live call, so an older key can only be an error."""
IDEMPOTENCY_KEPT_MAX = 10_000
"""Keys remembered at once; the oldest goes first."""


@dataclass
class _Remembered:
    body_sha256: bytes
    kept_until: float
    payment_id: asyncio.Future[str]


class Idempotency:
    """Same asker, same key, same body: the same payment, also while the first request still runs."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str], _Remembered] = OrderedDict()

    async def once(
        self, name: tuple[str, str, str], body: BaseModel, now: float, make: Callable[[], Awaitable[str]]
    ) -> tuple[str, bool]:
        """The payment id that `make` returns, and whether it was made now.

        `name` is (asker, call id, key). A failed `make` is forgotten, so that the same key may try again.
        """
        digest = hashlib.sha256(body.model_dump_json().encode()).digest()
        self._forget(now)
        known = self._kept.get(name)
        if known is not None:
            if known.body_sha256 != digest:
                raise DeskError("idempotency_mismatch")
            return await asyncio.shield(known.payment_id), False
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._kept[name] = _Remembered(digest, now + IDEMPOTENCY_KEPT_S, future)
        try:
            future.set_result(await make())
        except BaseException as error:
            self._kept.pop(name, None)  # a flood of others may have pushed it out already
            future.set_exception(error if isinstance(error, Exception) else DeskError("internal"))
            future.exception()  # read once, so that nobody waiting is no warning
            raise
        return future.result(), True

    def _forget(self, now: float) -> None:
        while self._kept:
            name, oldest = next(iter(self._kept.items()))
            if oldest.kept_until > now and len(self._kept) < IDEMPOTENCY_KEPT_MAX:
                return
            del self._kept[name]


def payment_answer(
    payment: Payment, words: Catalogue, agent_language: str, call_language: str
) -> PaymentAnswer:
    """A payment as JSON carries it: labels in the agent's language, what to say in the caller's."""
    return PaymentAnswer(
        payment_id=payment.payment_id,
        call_id=payment.call_id,
        state=payment.state.value,
        state_text=words.label(agent_language, payment.state),
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        reference=payment.reference,
        purpose=payment.purpose,
        version=payment.version,
        attempt=payment.attempt,
        attempts_left=payment.attempts_left,
        capture_live=payment.capture_live,
        secure=payment.secure,
        talking=payment.talking,
        fields=tuple(_field_answer(field, words, agent_language) for field in payment.fields),
        brand=payment.brand,
        last4=payment.last4,
        decline=_decline_answer(payment.decline, words, agent_language, call_language),
        receipt=payment.receipt,
        created_at=payment.created_at,
        agent_id=payment.agent_id,
        sca_basis=payment.sca_basis,
        settle_later=payment.settle_later,
        paid=payment.paid,
        settled_minor=payment.settled_minor,
        refunded_minor=payment.refunded_minor,
        hold_until=payment.hold_until,
        step=None if payment.step is None else payment.step.value,
        checking=payment.step_unknown or payment.state is PaymentState.UNKNOWN,
        link=None if payment.link is None else payment.link.value,
        link_text=None if payment.link is None else words.label(agent_language, payment.link),
        link_until=payment.link_until,
    )


def _field_answer(field: FieldProgress, words: Catalogue, language: str) -> FieldAnswer:
    problem = field.problem
    return FieldAnswer(
        field=field.field.value,
        state=field.state.value,
        digits=field.digits,
        problem=None if problem is None else problem.value,
        problem_text=None if problem is None else words.label(language, problem),
    )


def _decline_answer(
    decline: Decline | None, words: Catalogue, agent_language: str, call_language: str
) -> DeclineAnswer | None:
    if decline is None:
        return None
    return DeclineAnswer(
        reason=decline.reason.value,
        reason_text=words.label(agent_language, decline.reason),
        say_text=words.text(call_language, say_key(decline.reason)),
        next_step=decline.next_step.value,
        next_step_text=words.label(agent_language, decline.next_step),
        retry_allowed=decline.retry_allowed,
    )


def call_of(desk: Desk, payment: Payment, asker: Asker) -> CallView:
    """The call of a payment that this asker may see or steer; DeskError("payment_unknown") otherwise.

    An agent: he is on the call. An access key: the tenant's own, for reading only (routes.py).
    """
    call = desk.switchboard.call(payment.call_id)
    of_agent = asker.agent is not None and call.agent_id == asker.agent.agent_id
    if payment.tenant == asker.tenant == call.tenant and (of_agent or asker.key is not None):
        return call
    raise DeskError("payment_unknown", on_record="foreign_payment")


def own_payment(desk: Desk, ask: Ask) -> Payment:
    """The payment that the path names; DeskError("payment_unknown") when it is not the asker's."""
    payment = desk.switchboard.payment(ask.part("payment_id"))
    call_of(desk, payment, ask.who)
    return payment


def told(desk: Desk, ask: Ask, payment: Payment) -> PaymentAnswer:
    """The payment as its agent is told it."""
    language = desk.switchboard.call(payment.call_id).language
    return payment_answer(payment, desk.catalogue, ask.who.language, language)


async def create_payment(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST /v1/calls/{call_id}/payments: same Idempotency-Key and body, same payment."""
    body = ask.body
    assert isinstance(body, PaymentBody)
    options = {
        "settle_later": body.settle_later,
        "customer": body.customer or "",
        "mandate": body.mandate or "",
        "card_id": body.card_id or "",
    }
    return await _create(desk, ask, body, body.amount_minor, options)


async def create_check(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST /v1/calls/{call_id}/card-checks: the bank is asked about the card, no money moves."""
    body = ask.body
    assert isinstance(body, CardCheckBody)
    options = {"check_only": True, "customer": body.customer or "", "mandate": body.mandate or ""}
    return await _create(desk, ask, body, 0, options)


async def _create(
    desk: Desk, ask: Ask, body: PaymentBody | CardCheckBody, amount_minor: int, options: Mapping[str, Any]
) -> PaymentAnswer:
    agent = ask.agent
    call = desk.switchboard.call(ask.part("call_id"))
    if call.tenant != agent.tenant or call.agent_id != agent.agent_id:
        raise DeskError("call_unknown", on_record="foreign_call")

    async def make() -> str:
        payment = await desk.switchboard.create_payment(
            call.call_id,
            amount_minor=amount_minor,
            currency=body.currency,
            reference=body.reference,
            purpose=body.purpose,
            agent_id=agent.agent_id,
            **options,
        )
        return payment.payment_id

    name = (ask.who.name, call.call_id, idempotency_key(ask))
    payment_id, _ = await desk.idempotency.once(name, body, desk.now(), make)
    return told(desk, ask, desk.switchboard.payment(payment_id))


def idempotency_key(ask: Ask) -> str:
    """The asker's key of this request; DeskError("idempotency_key_needed") without one."""
    key = ask.request.headers.get(IDEMPOTENCY_HEADER, "")
    if not 0 < len(key) <= IDEMPOTENCY_KEY_MAX or not key.isascii() or not key.isprintable():
        raise DeskError("idempotency_key_needed")
    return key


async def read_payment(desk: Desk, ask: Ask) -> PaymentAnswer:
    """GET /v1/payments/{payment_id}."""
    return told(desk, ask, own_payment(desk, ask))


async def start_capture(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/capture: SECURE, then the caller is asked to key."""
    return told(desk, ask, await desk.switchboard.start_capture(own_payment(desk, ask).payment_id))


async def retry(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/retry: a capture of what the decline asks for; DeskError("not_declined") without a decline."""
    payment = own_payment(desk, ask)
    if payment.state is not PaymentState.DECLINED:
        raise DeskError("not_declined")
    return told(desk, ask, await desk.switchboard.start_capture(payment.payment_id))


async def rekey(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/rekey: one field again."""
    assert isinstance(ask.body, RekeyBody)
    payment = own_payment(desk, ask)
    return told(desk, ask, await desk.switchboard.rekey(payment.payment_id, Field(ask.body.field)))


async def talk(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/talk: pause for at most 15 s, or go on."""
    assert isinstance(ask.body, TalkBody)
    payment = own_payment(desk, ask)
    return told(desk, ask, await desk.switchboard.talk(payment.payment_id, ask.body.on))


async def charge(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/charge: only from `ready`."""
    return told(desk, ask, await desk.switchboard.charge(own_payment(desk, ask).payment_id))


async def cancel(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/cancel: nothing is charged."""
    payment = own_payment(desk, ask)
    return told(desk, ask, await desk.switchboard.cancel(payment.payment_id, by="agent"))


async def issue_code(desk: Desk, ask: Ask) -> PaymentCodeAnswer:
    """POST /v1/payment-codes: for integrators."""
    body = ask.body
    assert isinstance(body, PaymentCodeBody)
    code = await desk.codes.issue(
        ask.who.tenant,
        body.amount_minor,
        body.currency,
        body.reference,
        body.purpose,
        body.valid_s,
        now_ms=desk.now_ms,
        by=ask.who.name,
    )
    expires = datetime.fromtimestamp(desk.now() + body.valid_s, UTC).isoformat(timespec="seconds")
    return PaymentCodeAnswer(code=code, expires_at=expires.replace("+00:00", "Z"))
