"""How long a provider takes to answer, so that a decline of our own takes as long.

A limited attempt is declined without being sent (`vault/limits.py`). Answered at once it would tell whoever
tries cards on an unattended line that the limit, and not the issuer, has spoken; they would wait, or change
what they are counted by. So it is held back for a time drawn from what the provider took lately.
"""

from collections import deque
from random import SystemRandom

KEPT = 64
"""Answers remembered per provider: enough for a spread, few enough to follow the time of day."""
SHORTEST_S = 0.3
"""Nobody's authorisation by telephone takes less; it also hides what the check itself took."""
LONGEST_S = 3.0
"""Longer an agent would ask what is wrong, and the payment's lock is held meanwhile."""
SPREAD = 0.15
"""A drawn time is changed by up to this part of it, so that no two waits are the same."""

_random = SystemRandom()


class Tempo:
    """The recent answer times of every provider, in seconds."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = {}

    def heard(self, provider: str, took_s: float) -> None:
        """A definite answer came after `took_s`."""
        self._recent.setdefault(provider, deque(maxlen=KEPT)).append(took_s)

    def drawn(self, provider: str) -> float:
        """A time that an answer of this provider might take now; any between the bounds before its first."""
        recent = self._recent.get(provider)
        if not recent:
            return _random.uniform(SHORTEST_S, LONGEST_S)
        took_s = _random.choice(recent) * _random.uniform(1 - SPREAD, 1 + SPREAD)
        return min(max(took_s, SHORTEST_S), LONGEST_S)
