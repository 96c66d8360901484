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
NOTICE_BYTES_MAX = 40_000
"""A provider's webhook: what fits a message of the vault's door in base64."""
NOTICES_PER_S = 50.0
"""Steady webhooks of one address: what the vault takes of one tenant's provider."""
NOTICES_BURST = 500
"""What a provider may deliver at once when the node was away."""
BUCKETS_MAX = 10_000
"""Buckets kept; the one used longest ago goes first, and by then it is full again."""
PAGES_PER_S = 1.0
"""Steady requests for payers' pages of one address; its tokens of 128 bits cannot be guessed anyhow."""
PAGES_BURST = 30
"""A payer with a slow hand, or a company's whole staff behind one address."""
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
        bucket = self._filled(name, now)
        self._buckets[name] = bucket
        self._buckets.move_to_end(name)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        wait_s = self._missing(bucket)
        if wait_s is None:
            bucket.tokens -= 1.0
        return wait_s

    def wait_s(self, name: str, now: float) -> int | None:
        """As `take`, but the token stays where it is."""
        return self._missing(self._filled(name, now))

    def _filled(self, name: str, now: float) -> _Bucket:
        before = self._buckets.get(name)
        if before is None:
            return _Bucket(float(self._burst), now)
        gained = max(0.0, now - before.filled_at) * self._rate
        return _Bucket(min(float(self._burst), before.tokens + gained), now)

    def _missing(self, bucket: _Bucket) -> int | None:
        if bucket.tokens >= 1.0:
            return None
        return max(1, round((1.0 - bucket.tokens) / self._rate + 0.5))
