"""Money steps after a payment, its history, and cards on file: by the door, also long after the call.

Who took a payment may settle, void and refund it. Those of others are open to agents and access keys with
the permission alone (`Permission`); a payment of another tenant is as unknown as one that never was.
"""

import hashlib

from agent_api.desk import Ask, Asker, Desk
from agent_api.payments import idempotency_key, payment_answer
from agent_api.problems import DeskError
from agent_api.schemas import (
    AttemptAnswer,
    CardAnswer,
    CardsAnswer,
    CustomerBody,
    DeliveriesAnswer,
    DeliveryAnswer,
    HistoryAnswer,
    KeptCardPaymentBody,
    PageAnswer,
    PaymentAnswer,
    ReceiptBody,
    ReceiptsAnswer,
    RefundBody,
    SearchBody,
    SettleBody,
    StepAnswer,
    VoidBody,
)
from pay_ivr.channels import ChannelError, check_address
from pay_ivr.facts import CallError
from pay_ivr.hooks import Delivery, DeliveryState
from pay_ivr.people import Permission
from pay_ivr.receipts import Wish
from pay_ivr.store import utc_of
from vault import (
    Attempt,
    CardOnFile,
    NewPayment,
    Payment,
    PaymentState,
    Search,
    Step,
    StepName,
)

NEEDED = {
    StepName.SETTLE: Permission.SETTLE,
    StepName.VOID: Permission.REFUND,
    StepName.REFUND: Permission.REFUND,
}
"""What opens the payments of others to a step."""
POSSIBLE = {
    PaymentState.AUTHORISED: (StepName.SETTLE, StepName.VOID),
    PaymentState.SETTLED: (StepName.REFUND,),
}
"""The steps that a state allows; the vault judges again."""


async def settle(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/settle: what is held is taken, all or a part."""
    body = ask.body
    assert isinstance(body, SettleBody)
    payment, ask_key = await _for_step(desk, ask, StepName.SETTLE)
    work = desk.door.settle(
        payment.payment_id, ask_key=ask_key, by=ask.who.name, amount_minor=body.amount_minor
    )
    return _told(desk, ask, await work)


async def void(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/void: what is held is given back."""
    body = ask.body
    assert isinstance(body, VoidBody)
    payment, ask_key = await _for_step(desk, ask, StepName.VOID)
    work = desk.door.void(payment.payment_id, ask_key=ask_key, by=ask.who.name, reason=body.reason)
    return _told(desk, ask, await work)


async def refund(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/refund: settled money is given back, all that is left or a part."""
    body = ask.body
    assert isinstance(body, RefundBody)
    payment, ask_key = await _for_step(desk, ask, StepName.REFUND)
    work = desk.door.refund(
        payment.payment_id,
        ask_key=ask_key,
        by=ask.who.name,
        amount_minor=body.amount_minor,
        reason=body.reason,
    )
    return _told(desk, ask, await work)


async def read_history(desk: Desk, ask: Ask) -> HistoryAnswer:
    """GET …/history: attempts and steps; an agent who reads it is told what changes from now on."""
    payment = await tenants_payment(desk, ask)
    history = await desk.door.history(payment.payment_id)
    if ask.who.agent is not None:
        desk.streams.follow(ask.who, payment.payment_id, desk.now())
    granted = await desk.store.permissions(ask.who.name)
    possible = () if history.payment.step else POSSIBLE.get(history.payment.state, ())
    return HistoryAnswer(
        payment=_told(desk, ask, history.payment),
        attempts=tuple(_attempt_answer(desk, ask, one) for one in history.attempts),
        steps=tuple(_step_answer(one) for one in history.steps),
        actions=tuple(one.value for one in possible if is_own(payment, ask.who) or NEEDED[one] in granted),
    )


async def search(desk: Desk, ask: Ask) -> PageAnswer:
    """POST /v1/payments/search: payments of the asker's tenant.

    A criterion that names one payment, call or customer is asked of agents without a permission: looking for
    a payment is their work, leafing through everybody's is not (PCI DSS 7.2).
    """
    body = ask.body
    assert isinstance(body, SearchBody)
    narrow = body.reference or body.receipt or body.customer or body.call_id
    if not narrow and ask.who.agent is not None and not await desk.store.permissions(ask.who.name):
        raise DeskError("search_too_wide")
    wanted = Search(
        tenant=ask.who.tenant,
        reference=body.reference or "",
        call_id=body.call_id or "",
        receipt=body.receipt or "",
        customer=body.customer or "",
        state=body.state,
        before=body.before,
        limit=body.limit,
    )
    page = await desk.door.search(wanted)
    return PageAnswer(payments=tuple(_told(desk, ask, one) for one in page.payments), next=page.next)


async def list_cards(desk: Desk, ask: Ask) -> CardsAnswer:
    """POST /v1/cards/search: the kept cards of one customer."""
    assert isinstance(ask.body, CustomerBody)
    cards = await desk.door.kept_cards(ask.who.tenant, ask.body.customer)
    return CardsAnswer(cards=tuple(card_answer(card) for card in cards))


async def forget_card(desk: Desk, ask: Ask) -> CardAnswer:
    """POST /v1/cards/{card_id}/forget: it pays no more; the provider is told."""
    assert isinstance(ask.body, CustomerBody)
    asker = ask.who
    return card_answer(
        await desk.door.forget_card(asker.tenant, ask.body.customer, ask.part("card_id"), asker.name)
    )


async def order_receipt(desk: Desk, ask: Ask) -> ReceiptsAnswer:
    """POST …/receipt: the payment's receipts go to this address, those due by now at once."""
    body = ask.body
    assert isinstance(body, ReceiptBody)
    payment = await tenants_payment(desk, ask)
    if not is_own(payment, ask.who) and not await desk.store.permissions(ask.who.name):
        raise DeskError("permission_needed", on_record="permission")
    if body.medium not in desk.channels.media_of(payment.tenant):
        raise ChannelError("channel_off", "This tenant does not send such messages. Use another channel.")
    check_address(body.medium, body.to)
    name = desk.tenants[payment.tenant].name
    language = body.language or _language_of_call(desk, payment, ask.who)
    wish = Wish(payment.payment_id, payment.tenant, name, body.medium, body.to, language)
    await desk.outgoing.receipts.wish(wish, desk.now_ms)
    await desk.outgoing.teller.tell(payment.payment_id)
    return await read_receipts(desk, ask)


async def read_receipts(desk: Desk, ask: Ask) -> ReceiptsAnswer:
    """GET …/receipts: how far they are."""
    payment = await tenants_payment(desk, ask)
    return ReceiptsAnswer(states=await desk.outgoing.receipts.states(payment.payment_id))


async def list_dead(desk: Desk, ask: Ask) -> DeliveriesAnswer:
    """GET /v1/deliveries: what could not be delivered."""
    dead = await desk.outgoing.hooks.listed(ask.who.tenant, DeliveryState.DEAD)
    return DeliveriesAnswer(deliveries=tuple(_delivery_answer(one) for one in dead))


async def redeliver(desk: Desk, ask: Ask) -> DeliveryAnswer:
    """POST /v1/deliveries/{delivery_id}/redeliver: tried again from the start."""
    found = await desk.outgoing.hooks.redeliver(ask.who.tenant, ask.part("delivery_id"), desk.now_ms)
    desk.outgoing.teller.stored.set()
    return _delivery_answer(found)


async def charge_kept_card(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST /v1/kept-card-payments: for access keys with the permission; nobody is on the line (`mit`)."""
    body = ask.body
    assert isinstance(body, KeptCardPaymentBody)
    await check_permission(desk, ask.who, Permission.CHARGE)

    async def make() -> str:
        payment = await desk.door.create_payment(
            NewPayment(
                tenant=ask.who.tenant,
                call_id="",
                leg_id="",
                amount_minor=body.amount_minor,
                currency=body.currency,
                reference=body.reference,
                purpose=body.purpose,
                sca_basis="mit",
                customer=body.customer,
                card_id=body.card_id,
            )
        )
        return payment.payment_id

    name = (ask.who.name, "", idempotency_key(ask))
    payment_id, _ = await desk.idempotency.once(name, body, desk.now(), make)
    payment = await desk.door.payment(payment_id)
    if payment.state is PaymentState.READY:
        payment = await desk.door.charge(payment_id)
    return _told(desk, ask, payment)


def card_answer(card: CardOnFile) -> CardAnswer:
    """A kept card as the desk shows it."""
    return CardAnswer(
        card_id=card.card_id,
        brand=card.brand,
        last4=card.last4,
        expiry_month=card.expiry_month,
        expiry_year=card.expiry_year,
        mandate=card.mandate,
        consented_at=card.consented_at,
    )


async def tenants_payment(desk: Desk, ask: Ask) -> Payment:
    """The payment that the path names, from the vault; DeskError("payment_unknown") for a foreign one."""
    payment = await desk.door.payment(ask.part("payment_id"))
    if payment.tenant != ask.who.tenant:
        raise DeskError("payment_unknown", on_record="foreign_payment")
    return payment


def is_own(payment: Payment, asker: Asker) -> bool:
    """True when the asker is the agent who took this payment."""
    return asker.agent is not None and payment.agent_id == asker.agent.agent_id


async def check_permission(desk: Desk, asker: Asker, needed: Permission) -> None:
    """DeskError("permission_needed"), on record, when the asker has not this permission."""
    if needed not in await desk.store.permissions(asker.name):
        raise DeskError("permission_needed", on_record="permission")


async def _for_step(desk: Desk, ask: Ask, step: StepName) -> tuple[Payment, str]:
    """The payment, if the asker may take this step on it, and the step's key."""
    ask_key = idempotency_key(ask)
    payment = await tenants_payment(desk, ask)
    if not is_own(payment, ask.who):
        await check_permission(desk, ask.who, NEEDED[step])
    # One asker's keys are none of another's; the vault wants letters and digits.
    return payment, hashlib.sha256(f"{ask.who.name}\0{ask_key}".encode()).hexdigest()


def _told(desk: Desk, ask: Ask, payment: Payment) -> PaymentAnswer:
    """A payment whose call may be long over: then all words are in the asker's language."""
    language = ask.who.language
    return payment_answer(payment, desk.catalogue, language, language)


def _language_of_call(desk: Desk, payment: Payment, asker: Asker) -> str:
    try:
        return desk.switchboard.call(payment.call_id).language
    except CallError:
        return asker.language


def _delivery_answer(delivery: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer(
        delivery_id=delivery.delivery_id,
        endpoint_id=delivery.endpoint_id,
        event_id=delivery.event_id,
        type=delivery.type,
        payment_id=delivery.payment_id,
        state=delivery.state.value,
        tries=delivery.tries,
        problem=delivery.problem,
        made_at=utc_of(delivery.made_at_ms),
    )


def _attempt_answer(desk: Desk, ask: Ask, attempt: Attempt) -> AttemptAnswer:
    words, language = desk.catalogue, ask.who.language
    reason = attempt.decline
    return AttemptAnswer(
        attempt=attempt.attempt,
        state=attempt.state.value,
        state_text=words.label(language, attempt.state),
        decline=None if reason is None else reason.value,
        decline_text=None if reason is None else words.label(language, reason),
        sca_basis=attempt.sca_basis,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
    )


def _step_answer(step: Step) -> StepAnswer:
    return StepAnswer(
        step=step.name.value,
        number=step.number,
        amount_minor=step.amount_minor,
        state=step.state.value,
        by=step.by,
        reason=step.reason,
        started_at=step.started_at,
        ended_at=step.ended_at,
    )
