"""How often a reward may be had: the rule, apart from the counting."""

from collections.abc import Iterator
from dataclasses import dataclass

from loyalty.answers import Refusal
from loyalty.programme import Reward


@dataclass(frozen=True)
class Use:
    """How often a reward was had; redemptions whose points came back do not count."""

    today: int
    """By the member, on the tenant's day."""
    by_member: int
    """By the member, ever."""
    by_all: int
    """By everybody, ever."""


def refusal(reward: Reward, use: Use) -> Refusal | None:
    """Why the reward cannot be had once more; None when it can."""
    if reward.total_max and use.by_all >= reward.total_max:
        return Refusal.OUT_OF_STOCK
    if reward.per_day_max and use.today >= reward.per_day_max:
        return Refusal.LIMIT_REACHED
    if reward.per_member_max and use.by_member >= reward.per_member_max:
        return Refusal.LIMIT_REACHED
    return None


def left(reward: Reward, use: Use) -> int | None:
    """How often the member may still have it today; None without a limit."""
    return min((max(0, most - had) for most, had in _bounds(reward, use) if most), default=None)


def _bounds(reward: Reward, use: Use) -> Iterator[tuple[int, int]]:
    yield reward.per_day_max, use.today
    yield reward.per_member_max, use.by_member
    yield reward.total_max, use.by_all
