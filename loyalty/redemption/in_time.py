"""A deadline for what a caller on the line waits for in the database."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from loyalty.errors import LoyaltyError
from loyalty.ledger.ledger import LEDGER_DEADLINE_S

T = TypeVar("T")


async def in_time(work: Awaitable[T]) -> T:
    """What `work` brings; LoyaltyError("ledger_late") when it takes longer than an answer of the ledger may.

    The transaction goes on: whether it was committed is unknown, and the same key will tell.
    """
    try:
        async with asyncio.timeout(LEDGER_DEADLINE_S):
            return await work
    except TimeoutError:
        raise LoyaltyError(
            "ledger_late", "It is not known whether this was booked. Ask again, same key.", retryable=True
        ) from None
