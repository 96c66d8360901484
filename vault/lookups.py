"""When a provider is asked again about what it did not answer, for attempts and steps alike."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

LOOK_AFTER_S = (1.0, 3.0, 8.0, 20.0)
"""After a lost answer: soon for the caller on the line, late enough for the slowest provider."""
RECONCILE_EVERY_S = 300.0
"""How often what is still unknown after that is looked up, until somebody knows."""
FETCH_TIMEOUT_S = 10.0
"""A question about an id has no reason to take longer."""


def lookup_times() -> Iterator[tuple[bool, float]]:
    """Whether the slowest provider would have answered by then, and seconds to wait until then; no end."""
    later = itertools.count(LOOK_AFTER_S[-1] + RECONCILE_EVERY_S, RECONCILE_EVERY_S)
    before = 0.0
    for moment in itertools.chain(LOOK_AFTER_S, later):
        yield moment >= LOOK_AFTER_S[-1], moment - before
        before = moment


def age_s(since: str) -> float:
    """Seconds since a stored moment (UTC, ISO 8601), by the clock of the machine."""
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
