"""What the member has: points, the next that end, the last movements."""

from datetime import date
from typing import Final

from loyalty.flows._dialogue import Dialogue
from loyalty.ledger import Movement
from loyalty.redemption.in_time import in_time
from pay_ivr.catalogue import Key
from pay_ivr.payment_voice import Sentence

MOVEMENTS_MAX: Final = 5
"""As many as somebody can listen to; the web page has them all."""

_KEYS: Final = {
    "earn": Key.MOVEMENT_EARNED,
    "redeem": Key.MOVEMENT_REDEEMED,
    "post": Key.MOVEMENT_REDEEMED,
    "expire": Key.MOVEMENT_EXPIRED,
    "reverse": Key.MOVEMENT_REVERSED,
}
"""A movement's kind → its sentence; `movement_other` for the rest."""


async def tell_balance(dialogue: Dialogue) -> None:
    """The available points, and how many of them end next."""
    balance = await in_time(dialogue.loyalty.balance(dialogue.tenant, dialogue.member_id))
    sentences = [Sentence(Key.BALANCE, {"points": balance.available})]
    if balance.next_expiry is not None and balance.expiring_points:
        values = {"points": balance.expiring_points, **_day(balance.next_expiry)}
        sentences.append(Sentence(Key.BALANCE_EXPIRING, values))
    dialogue.inform(*sentences)


async def tell_movements(dialogue: Dialogue) -> None:
    """The last movements, newest first."""
    movements = await in_time(dialogue.loyalty.movements(dialogue.tenant, dialogue.member_id, MOVEMENTS_MAX))
    if not movements:
        dialogue.tell(Sentence(Key.NO_MOVEMENTS))
        return
    dialogue.inform(*map(_sentence, movements))


def _sentence(movement: Movement) -> Sentence:
    key = _KEYS.get(movement.kind, Key.MOVEMENT_OTHER)
    return Sentence(key, {"points": abs(movement.points), **_day(movement.on)})


def _day(day: date) -> dict[str, int]:
    return {"year": day.year, "month": day.month, "day": day.day}
