"""One payment finished without an agent: capture, confirmation by key 1, charge, retries.

Both the unattended flow and a call that lost its agent end here. Without the key 1 nothing is charged
(architecture §5.10).
"""

from pay_ivr.catalogue import Key
from pay_ivr.flow import Line
from pay_ivr.payment_voice import Sentence
from vault import Payment, PaymentState, Refused, Why

OVER = frozenset(
    {
        PaymentState.AUTHORISED,
        PaymentState.SETTLED,
        PaymentState.CHECKED,
        PaymentState.UNKNOWN,
        PaymentState.NEEDS_ACTION,
        PaymentState.CANCELLED,
        PaymentState.EXPIRED,
        PaymentState.LINKED,
    }
)
"""Nothing left to do on this call; UNKNOWN is being looked up and the caller is told so."""


async def finish_alone(line: Line, payment: Payment) -> Payment:
    """The payment in its last state of this call; the caller has heard one farewell."""
    payment = await _finished(line, payment)
    declined = payment.state is PaymentState.DECLINED
    await line.say(Sentence(Key.NOT_CHARGED_GOODBYE if declined else Key.GOODBYE))
    return payment


async def _finished(line: Line, payment: Payment) -> Payment:
    if payment.state is PaymentState.READY:
        payment = await line.ask_confirm(payment.payment_id)
    elif payment.state is PaymentState.DECLINED and not await _tries_again(line, payment):
        return payment
    while payment.state not in OVER:
        change = await line.next_change(payment.payment_id)
        payment = change.payment
        if change.why is Why.READY:
            payment = await line.ask_confirm(payment.payment_id)
        elif change.why is Why.CONFIRMED:
            payment = await line.charge(payment.payment_id)
        elif change.why is Why.DECLINED and not await _tries_again(line, payment):
            break
    return payment


async def _tries_again(line: Line, payment: Payment) -> bool:
    if payment.decline is None or not payment.decline.retry_allowed or payment.attempts_left == 0:
        return False
    try:
        await line.start_capture(payment.payment_id)
    except Refused:
        return False  # no cell is free, or the machine may not: for the caller the same as no retry
    return True
