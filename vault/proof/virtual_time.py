"""Time that passes only when nobody has anything to do: an event loop without a clock on the wall.

The loop runs what is ready and then jumps to the next timer, so that a day costs what happens in it. The
product reads the clock of the machine in a few places (`datetime.now`, `time.time`) and draws ids from
`secrets`; `simulated` gives its modules names of the same meaning that belong to the simulation, and takes
them away again.
"""

import asyncio
import datetime as dt
import random
import secrets
import selectors
import string
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

START = dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)
"""When every simulation begins: a Monday morning."""
OURS = ("vault", "audit")
"""Packages whose clock and dice are the simulation's."""


class StuckError(Exception):
    """Nothing is ready and no timer runs: the simulation waits for something that cannot come."""


class _Jump(selectors.SelectSelector):
    """Waits for no file: the time that it would have waited has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Nothing is ever ready here; only time goes by."""
        if timeout is None:
            raise StuckError("every task waits and no timer runs")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose seconds cost nothing; tasks run in the order in which they became ready."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jump.now_s

    def epoch(self) -> float:
        """The same as seconds of the epoch."""
        return START.timestamp() + self._jump.now_s


@contextmanager
def simulated(epoch: Callable[[], float], dice: random.Random) -> Iterator[None]:
    """Our modules read this clock and draw from these dice until the block ends."""
    names = {"datetime": _datetime(epoch), "time": _time(epoch), "secrets": _secrets(dice)}
    real = {"datetime": dt.datetime, "time": time, "secrets": secrets}
    places = [
        (module, name) for module in _modules() for name in names if getattr(module, name, None) is real[name]
    ]
    for module, name in places:
        setattr(module, name, names[name])
    try:
        yield
    finally:
        for module, name in places:
            setattr(module, name, real[name])


def _modules() -> list[ModuleType]:
    """Every loaded module of ours but this one."""
    found = [(name, module) for name, module in sys.modules.items() if name != __name__]
    return [module for name, module in found if name.partition(".")[0] in OURS]


def _datetime(epoch: Callable[[], float]) -> type[dt.datetime]:
    class Moment(dt.datetime):
        """The class itself, with another idea of now."""

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.fromtimestamp(epoch(), tz)

    return Moment


def _time(epoch: Callable[[], float]) -> Any:
    nanoseconds = 1_000_000_000
    return SimpleNamespace(time=epoch, monotonic=epoch, time_ns=lambda: int(epoch() * nanoseconds))


def _secrets(dice: random.Random) -> Any:
    def letter(letters: str = string.ascii_lowercase) -> str:
        return dice.choice(letters)

    return SimpleNamespace(
        choice=letter,
        randbits=dice.getrandbits,
        token_bytes=dice.randbytes,
        token_hex=lambda count: dice.randbytes(count).hex(),
    )
