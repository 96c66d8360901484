"""Links at the desk: a payment goes to the payer's own device, by a message to the address that he says.

The address is personal data: it goes from the request into the channel and is kept nowhere. The vault makes
the link first; when the message cannot be sent the payment waits on its link, and sending again gives the
link a fresh token, so that what was sent to a wrong address opens nothing.
"""

from agent_api.desk import Ask, Desk
from agent_api.page_words import PAYER
from agent_api.payments import own_payment, told
from agent_api.schemas import LinkBody, PaymentAnswer
from pay_ivr.channels import Medium, Message, check_address
from pay_ivr.ids import new_id
from pay_ivr.numbers import written
from vault import Payment

THANKS_PATH = "/pay/thanks"
"""Where the provider's page sends the payer afterwards."""


async def send_link(desk: Desk, ask: Ask) -> PaymentAnswer:
    """POST …/link: the message is sent before the answer; again: a fresh link to the same page."""
    body = ask.body
    assert isinstance(body, LinkBody)
    payment = own_payment(desk, ask)
    medium = Medium(body.channel)
    check_address(medium, body.to)  # before anything is made
    desk.channels.check(payment.tenant, medium)
    origin = _origin(desk, ask)
    payment, token = await desk.switchboard.open_link(
        payment.payment_id, by=ask.who.name, return_url=origin + THANKS_PATH
    )
    subject, text = _texts(desk, payment, medium, f"{origin}/pay/{token}")
    await desk.channels.send(payment.tenant, Message(new_id("msg"), medium, body.to, subject, text))
    desk.switchboard.link_sent(payment.payment_id)
    return told(desk, ask, payment)


async def withdraw_link(desk: Desk, ask: Ask) -> PaymentAnswer:
    """DELETE …/link: the payment is cancelled, unless the payer was faster."""
    payment = own_payment(desk, ask)
    desk.switchboard.check_linked(payment.payment_id)
    return told(desk, ask, await desk.switchboard.cancel(payment.payment_id, by="agent"))


def _texts(desk: Desk, payment: Payment, medium: Medium, url: str) -> tuple[str, str]:
    """Subject and text in the caller's language: what is to be paid, to whom, and where; never more."""
    language = desk.switchboard.call(payment.call_id).language
    values = {
        "tenant": desk.tenants[payment.tenant].name,
        "amount": written(language, payment.amount_minor, payment.currency),
        "reference": payment.reference,
        "url": url,
    }
    text = PAYER.word(language, f"{medium.value}_text", **values)
    return PAYER.word(language, "email_subject", **values), text


def _origin(desk: Desk, ask: Ask) -> str:
    """Our address as payers reach it; without a setting the one that the agent uses, which was checked."""
    settings = desk.settings
    return settings.link_origin or settings.public_origin or f"{ask.request.scheme}://{ask.request.host}"
