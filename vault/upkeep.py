"""What the broker tidies up for ever: counts that no limit looks at, cards that a provider has to forget."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.upkeep")

UPKEEP_EVERY_S = 300.0
"""Rows live for hours and days; a provider that was down is asked again soon enough."""


async def upkeep(*chores: Callable[[], Awaitable[object]]) -> None:
    """Does every chore now and every `UPKEEP_EVERY_S`; one that fails does not keep the others from it."""
    while True:
        for chore in chores:
            try:
                await chore()
            except Exception:
                log.exception("vault.upkeep.failed")
        await asyncio.sleep(UPKEEP_EVERY_S)
