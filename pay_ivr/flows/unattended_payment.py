"""A caller pays alone: a code that the API issued says what, the capture takes the card, key 1 confirms.

Default off for live tenants: whether such a payment is MOTO is the tenant's recorded choice (decision 0016).
"""

from pay_ivr.call import EndReason
from pay_ivr.catalogue import Key
from pay_ivr.checkout import finish_alone
from pay_ivr.codes import DIGITS, PreparedPayment
from pay_ivr.facts import CallError
from pay_ivr.flow import Line
from pay_ivr.payment_voice import Sentence
from vault import Refused

CODE_TRIES_MAX = 3
"""A mistyped code twice is human, more is guessing; the store limits tries per caller number too."""


async def run(line: Line) -> None:
    """Welcome, code, amount and reference, capture, confirmation, result, receipt number."""
    await line.answer()
    prepared = await _ask_code(line)
    if prepared is not None:
        await _take(line, prepared)
    line.hang_up(EndReason.FLOW_FINISHED)


async def _ask_code(line: Line) -> PreparedPayment | None:
    heard_nothing = True
    # One question with the welcome in it: whoever knows the line keys at once, and no key is lost.
    question: tuple[Sentence, ...] = (
        Sentence(Key.UNATTENDED_WELCOME, {"tenant": line.call.tenant_name}),
        Sentence(Key.ASK_CODE),
    )
    for _ in range(CODE_TRIES_MAX):
        keyed = await line.ask_digits(*question, digits=DIGITS)
        question = (Sentence(Key.ASK_CODE),)
        if not keyed.digits:
            continue
        heard_nothing = False
        try:
            prepared = await line.take_code(keyed.digits)
        except CallError:
            break
        if prepared is not None:
            return prepared
        await line.say(Sentence(Key.CODE_UNKNOWN))
    await line.say(Sentence(Key.NO_INPUT_GOODBYE if heard_nothing else Key.TOO_MANY_ATTEMPTS_GOODBYE))
    return None


async def _take(line: Line, prepared: PreparedPayment) -> None:
    amount = {"amount_minor": prepared.amount_minor, "currency": prepared.currency}
    await line.say(Sentence(Key.CODE_CONFIRM, {**amount, "reference": prepared.reference}))
    try:
        await finish_alone(line, await line.pay(prepared))
    except Refused:
        await line.say(Sentence(Key.NOT_CHARGED_GOODBYE))
