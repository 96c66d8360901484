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
        PaymentState.UNKNOWN,
        PaymentState.NEEDS_ACTION,
        PaymentState.CANCELLED,
        PaymentState.EXPIRED,
    }
)
"""Nothing left to do on this call; UNKNOWN is being looked up and the caller is told so."""


async def finish_alone(line: Line, payment: Payment) -> Payment:
    """The payment in its last state of this call."""
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
    if payment.decline is not None and payment.decline.retry_allowed and payment.attempts_left > 0:
        try:
            await line.start_capture(payment.payment_id)
        except Refused:
            pass  # no cell is free, or the machine may not: for the caller the same as no retry
        else:
            return True
    await line.say(Sentence(Key.NOT_CHARGED_GOODBYE))
    return False
