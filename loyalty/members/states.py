"""What may be done with a card and with a member: two tables; a pair that is not listed is refused."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from loyalty.errors import LoyaltyError
from loyalty.members.person import CardState, Status


class Act(StrEnum):
    """What is done."""

    LOCK = "lock"
    UNLOCK = "unlock"
    REPLACE = "replace"
    """A card by a new one."""
    CLOSE = "close"
    """A membership for good."""


CARD_MOVES: Mapping[tuple[CardState, Act], CardState] = MappingProxyType(
    {
        (CardState.ACTIVE, Act.LOCK): CardState.LOCKED,
        (CardState.ACTIVE, Act.UNLOCK): CardState.ACTIVE,
        (CardState.ACTIVE, Act.REPLACE): CardState.REPLACED,
        (CardState.LOCKED, Act.LOCK): CardState.LOCKED,
        (CardState.LOCKED, Act.UNLOCK): CardState.ACTIVE,
        (CardState.LOCKED, Act.REPLACE): CardState.REPLACED,
    }
)
MEMBER_MOVES: Mapping[tuple[Status, Act], Status] = MappingProxyType(
    {
        (Status.ACTIVE, Act.LOCK): Status.LOCKED,
        (Status.ACTIVE, Act.UNLOCK): Status.ACTIVE,
        (Status.ACTIVE, Act.CLOSE): Status.CLOSED,
        (Status.LOCKED, Act.LOCK): Status.LOCKED,
        (Status.LOCKED, Act.UNLOCK): Status.ACTIVE,
        (Status.LOCKED, Act.CLOSE): Status.CLOSED,
    }
)


def card_after(state: CardState, act: Act) -> CardState:
    """The card's next state; LoyaltyError("move_refused") when there is none."""
    if (state, act) not in CARD_MOVES:
        raise LoyaltyError("move_refused", "This cannot be done with the card as it stands.")
    return CARD_MOVES[state, act]


def member_after(status: Status, act: Act) -> Status:
    """The member's next status; LoyaltyError("move_refused") when there is none."""
    if (status, act) not in MEMBER_MOVES:
        raise LoyaltyError("move_refused", "This cannot be done with the member as he stands.")
    return MEMBER_MOVES[status, act]
