"""A new PIN, by who knows the old one."""

from loyalty.flows._dialogue import Dialogue, ToAgent, Wish
from loyalty.redemption.in_time import in_time
from vault import PinPurpose, PinResult


async def change_pin(dialogue: Dialogue) -> None:
    """The old PIN, the new one twice; the line says how it ended. ToAgent when the access is locked now."""
    person = await in_time(dialogue.loyalty.members.person(dialogue.tenant, dialogue.member_id))
    await dialogue.say()
    result = await dialogue.line.ask_pin(dialogue.member_id, PinPurpose.CHANGE, person.born.isoformat())
    if result is PinResult.LOCKED:
        raise ToAgent(Wish.PIN_LOCKED)
