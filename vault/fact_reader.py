"""One consumer of the door's facts: what was told and not yet taken, in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

FACTS_MAX = 10_000
"""Facts kept for a slow reader; the oldest go first, because every later snapshot is complete by itself."""

_Fact = TypeVar("_Fact")


class FactReader(AsyncIterator[_Fact], Generic[_Fact]):
    """Yields facts until `end`; whoever tells holds it weakly, so it is forgotten when nobody reads."""

    def __init__(self) -> None:
        self._facts: deque[_Fact] = deque(maxlen=FACTS_MAX)
        self._more = asyncio.Event()
        self._ended = False

    def put(self, fact: _Fact) -> None:
        """Tells one fact."""
        self._facts.append(fact)
        self._more.set()

    def end(self) -> None:
        """What is left is still read; then the iteration stops."""
        self._ended = True
        self._more.set()

    async def __anext__(self) -> _Fact:
        while not self._facts:
            if self._ended:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        return self._facts.popleft()
