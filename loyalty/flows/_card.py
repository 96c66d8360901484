"""The member's card, locked by the member; only an agent unlocks it."""

from loyalty.flows._dialogue import CALLER, Dialogue
from loyalty.members import CardState, Reason
from loyalty.redemption.in_time import in_time
from pay_ivr.catalogue import Key
from pay_ivr.payment_voice import Sentence


async def lock_card(dialogue: Dialogue) -> None:
    """Locks the card after a confirmation."""
    member = await in_time(dialogue.loyalty.members.get(dialogue.tenant, dialogue.member_id))
    if member.card_state is not CardState.ACTIVE:
        dialogue.tell(Sentence(Key.CARD_ALREADY_LOCKED))
        return
    if not await dialogue.confirm(Sentence(Key.LOCK_CONFIRM)):
        return
    await in_time(
        dialogue.loyalty.lock_card(
            dialogue.tenant,
            dialogue.member_id,
            by=CALLER,
            reason=Reason.ASKED,
            call_id=dialogue.line.call.call_id,
        )
    )
    dialogue.inform(Sentence(Key.CARD_LOCKED))
