"""Prefixed random ids made by their owner: `call_…`, `leg_…`, `play_…`."""

import secrets
from datetime import UTC, datetime

ALPHABET = "abcdefghjkmnpqrstvwxyz"
"""Letters only: an id never holds a run of digits that a card scanner could stumble over."""
LETTERS = 18
"""22^18 is 80 bits: never guessed, never equal in the life of an installation."""


def new_id(prefix: str) -> str:
    """`prefix_` and LETTERS random letters."""
    return prefix + "_" + "".join(secrets.choice(ALPHABET) for _ in range(LETTERS))


def utc_now() -> str:
    """Now in UTC, ISO 8601 with milliseconds: 2026-01-31T12:00:00.000Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now_ms() -> int:
    """Now in UTC milliseconds since 1970."""
    return int(datetime.now(UTC).timestamp() * 1000)
