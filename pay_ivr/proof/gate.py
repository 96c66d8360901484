"""Where the calls of a round wait for each other, and for the search of live memory that sees them all."""

import asyncio
import contextlib
import time

MOMENT_WAIT_S = 90.0
"""How long calls wait for the others and for the search: a provider's slowest answer takes half of it."""


class Gate:
    """Holds the calls of a round at one moment until it is opened."""

    def __init__(self, calls: int) -> None:
        self._expected = calls
        self._gone: set[int] = set()
        """Calls that are there, or over."""
        self._news = asyncio.Event()
        self._opened = asyncio.Event()

    async def wait(self, number: int) -> None:
        """A call is at its moment; returns when the gate is opened."""
        self.leave(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOMENT_WAIT_S):
                await self._opened.wait()

    def leave(self, number: int) -> None:
        """Nobody need wait for this call any more."""
        self._gone.add(number)
        self._news.set()

    async def all_there(self) -> None:
        """Returns when every call is at its moment or over."""
        until = time.monotonic() + MOMENT_WAIT_S
        while len(self._gone) < self._expected and time.monotonic() < until:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - time.monotonic()):
                    await self._news.wait()

    def open(self) -> None:
        """Everybody goes on."""
        self._opened.set()


class Gates:
    """One gate behind the other; each call takes them in order, and may be over before the last."""

    def __init__(self, calls: int, count: int) -> None:
        self.gates = [Gate(calls) for _ in range(count)]
        self._taken: dict[int, int] = {}

    async def wait(self, number: int) -> None:
        """A call is at its next moment; returns when that gate is opened."""
        taken = self._taken.get(number, 0)
        self._taken[number] = taken + 1
        await self.gates[taken].wait(number)

    def leave(self, number: int) -> None:
        """A call is over, whether or not it came to all its moments."""
        for gate in self.gates:
            gate.leave(number)
