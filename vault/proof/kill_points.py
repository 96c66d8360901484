"""Where the simulated process waits for something outside, and may die while it does.

Every wait on the payment path ends in one of three: a statement or commit of the database, a request or an
answer on the wire, a timer. `Points.pass_by` stands at the first two, before and after what happens there;
it lets other tasks run as the seed says, and kills the process at the point that was drawn.

A kill is the end of a process, not of the machine: what SQLite had committed stays, what it had not is gone.
"""

import asyncio
import random
import sys
from collections import Counter
from types import FrameType

TURNS_MAX = 3
"""Turns of the loop that a wait takes at most when nothing outside is slow: the order of ready tasks."""
FRAMES_MAX = 60
"""Frames looked through for the product's own line."""


class Killed(BaseException):
    """The process died at this point; nobody catches it."""


class Points:
    """All waits of one simulated life, counted."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.passed = 0
        """Waits so far."""
        self.kill_at = 0
        """The number of the wait at which the process dies; 0: none."""
        self.dead = False
        """From the kill to the next start: nothing gets through any more."""
        self.died = asyncio.Event()
        self.sites: Counter[str] | None = None
        """Places of the product that waited, when they are to be counted."""
        self.killed_at: list[str] = []

    async def pass_by(self, kind: str) -> None:
        """One wait; `Killed` when the process dies there, or is dead already."""
        if self.dead:
            raise Killed
        self.passed += 1
        if self.sites is not None:
            self.sites[site(kind)] += 1
        if self.passed == self.kill_at:
            self.killed_at.append(site(kind))
            self.dead = True
            self.died.set()
            raise Killed
        for _ in range(self._dice.randrange(TURNS_MAX)):
            await asyncio.sleep(0)
        if self.dead:
            raise Killed

    def revive(self) -> None:
        """A new process."""
        self.dead, self.kill_at = False, 0
        self.died.clear()


def site(kind: str) -> str:
    """The product's own line that waits, such as `charges._send:215 commit`."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - where the caller is
    for _ in range(FRAMES_MAX):
        if frame is None:
            break
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith("vault.") and not name.startswith(("vault.proof", "vault.providers")):
            return f"{name.removeprefix('vault.')}.{frame.f_code.co_name}:{frame.f_lineno} {kind}"
        frame = frame.f_back
    return f"? {kind}"
