"""The life of a redemption as a table; a pair that is not in it is an error of ours."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from loyalty.answers import RedemptionState
from loyalty.errors import LoyaltyError

NEW = "new"
"""Before its row."""


class Act(StrEnum):
    """What can happen to a redemption."""

    COMPLETE = "complete"
    """A donation, or a voucher of our own stock."""
    RESERVE = "reserve"
    """Points held; a shop has the word."""
    ISSUED = "issued"
    """The shop has given a code."""
    REFUSED = "refused"
    """The shop has said no."""
    NEVER_ISSUED = "never_issued"
    """After its time the shop knows no such order, or gave a code that is another's."""
    REVERSE = "reverse"
    """Somebody takes it back."""


MOVES: Mapping[tuple[str, Act], RedemptionState] = MappingProxyType(
    {
        (NEW, Act.COMPLETE): RedemptionState.DONE,
        (NEW, Act.RESERVE): RedemptionState.RESERVED,
        (RedemptionState.RESERVED, Act.ISSUED): RedemptionState.DONE,
        (RedemptionState.RESERVED, Act.REFUSED): RedemptionState.REFUSED,
        (RedemptionState.RESERVED, Act.NEVER_ISSUED): RedemptionState.RELEASED,
        (RedemptionState.DONE, Act.REVERSE): RedemptionState.RELEASED,
    }
)


def after(state: str, act: Act) -> RedemptionState:
    """The next state; LoyaltyError("redemption_state") for a pair that must not be."""
    try:
        return MOVES[state, act]
    except KeyError:
        raise LoyaltyError("redemption_state", f"A redemption that is {state} cannot {act}.") from None
