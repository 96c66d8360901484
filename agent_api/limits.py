"""How much one user of the desk may ask: token buckets, pure, with `now` as an argument."""

from collections import OrderedDict
from dataclasses import dataclass

BODY_BYTES_MAX = 16 * 1024
"""The largest body of ours is under 1 kB; sixteen leave room and bound the memory of a flood."""
REQUESTS_PER_S = 20.0
"""Steady requests of one login or access key; a busy console sends about one per second."""
REQUESTS_BURST = 40
"""At once, for a console that reloads everything."""
LOGINS_PER_S = 0.2
"""Steady login tries of one address: one in five seconds, so that argon2 cannot be used to burn our CPU."""
LOGINS_BURST = 12
"""A shared address (a call centre behind NAT) starts its shift at once."""
BUCKETS_MAX = 10_000
"""Buckets kept; the one used longest ago goes first, and by then it is full again."""
STREAMS_PER_AGENT_MAX = 3
"""Two screens and one that is being reloaded."""
QUERY_BYTES_MAX = 256
"""Only the stream has a query: a number and a run id."""


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class Buckets:
    """One token bucket per name: `rate` tokens per second, `burst` at most."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, now: float) -> int | None:
        """None when a token was there, otherwise the seconds until the next one (at least 1)."""
        bucket = self._buckets.pop(name, None) or _Bucket(float(self._burst), now)
        gained = max(0.0, now - bucket.filled_at) * self._rate
        bucket.tokens, bucket.filled_at = min(float(self._burst), bucket.tokens + gained), now
        self._buckets[name] = bucket
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
            return None
        return max(1, round((1.0 - bucket.tokens) / self._rate + 0.5))
