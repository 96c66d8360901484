"""How much one source address may ask of us: a bucket of new requests per address, and few enough buckets.

Scanners and broken phones are the same to this file. Only requests outside dialogs and unreadable messages
are counted against a source: a trunk's BYE always gets through.
"""

from collections import OrderedDict

SOURCE_RATE_PER_S = 200.0
"""New requests a second from one address: twice the call attempts of a full trunk."""
SOURCE_BURST = 400.0
"""New requests at once; a PBX that restarts registers all its phones together."""
SOURCES_MAX = 10_000
"""Addresses remembered; the one unheard for longest is forgotten, which only makes it a stranger again."""


class SourceLimits:
    """Token buckets by address."""

    def __init__(self, rate_per_s: float = SOURCE_RATE_PER_S, burst: float = SOURCE_BURST) -> None:
        """`burst` tokens at first, `rate_per_s` new ones each second."""
        self._rate = rate_per_s
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, ip: str, now: float) -> bool:
        """True and one token less, or False when the address has none left."""
        tokens, since = self._buckets.pop(ip, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1
        self._buckets[ip] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > SOURCES_MAX:
            self._buckets.popitem(last=False)
        return allowed
