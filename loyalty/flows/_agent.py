"""A person for the caller, who is shown everything that the flow knows; and the truth when there is none."""

from collections.abc import Mapping
from typing import Final

from loyalty.flows._dialogue import Dialogue, Finished, Wish
from pay_ivr.catalogue import Key
from pay_ivr.checkout import finish_alone
from pay_ivr.payment_voice import Sentence
from vault import PaymentState

TRIED_MAX: Final = 8
"""What was tried last; more is no help to the agent."""


async def meet_agent(dialogue: Dialogue, wish: Wish) -> bool:
    """True when the caller has spoken with an agent; he is back when it returns.

    Otherwise he has been told why not, or is told with the next sentence; one who is not logged in has
    nothing to go on with: Finished.
    """
    if not dialogue.line.agents or not dialogue.programme.agents_there(dialogue.now()):
        await _told_off(dialogue, Key.AGENTS_CLOSED, Key.AGENTS_CLOSED_GOODBYE)
        return False
    await dialogue.say(Sentence(Key.TO_AGENT))
    if not await dialogue.line.connect_agent(context_of(dialogue, wish)):
        await _told_off(dialogue, Key.AGENTS_BUSY, Key.AGENT_BUSY_GOODBYE)
        return False
    dialogue.met_agent = True
    await dialogue.line.agent_gone()
    payment = dialogue.line.open_payment()
    if payment is not None and payment.state is not PaymentState.CREATED:
        await finish_alone(dialogue.line, payment)  # its last words are a farewell
        raise Finished
    await dialogue.line.answer()
    return True


def context_of(dialogue: Dialogue, wish: Wish) -> Mapping[str, str]:
    """What the agent sees; ids and words, nothing personal."""
    return {
        "language": dialogue.line.call.language,
        "member": dialogue.member_id,
        "topic": dialogue.topic,
        "reason": wish.value,
        "tried": ",".join(dialogue.tried[-TRIED_MAX:]),
    }


async def _told_off(dialogue: Dialogue, go_on: Key, goodbye: Key) -> None:
    if dialogue.member_id:
        dialogue.tell(Sentence(go_on))
        return
    await dialogue.say(Sentence(goodbye))
    raise Finished
