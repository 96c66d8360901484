"""An agent takes the call and, when it is time, a payment on it (requirements V5-V10).

The desk starts captures and charges; this flow rings, bridges, and stays for the case that the agent is lost.
"""

from pay_ivr.call import EndReason
from pay_ivr.checkout import finish_alone
from pay_ivr.flow import Line
from vault import PaymentState


async def run(line: Line) -> None:
    """Rings the agents of the DID, bridges, and finishes an open payment if the agent goes first."""
    if not await line.connect_agent():
        return
    await line.agent_gone()
    payment = line.open_payment()
    if payment is None or payment.state is PaymentState.CREATED:
        line.hang_up(EndReason.AGENT_HUNG_UP)
        return
    await finish_alone(line, payment)
    line.hang_up(EndReason.FLOW_FINISHED)
