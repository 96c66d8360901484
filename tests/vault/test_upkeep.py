"""The broker's chores go on whatever one of them does."""

import asyncio

import pytest

from vault import upkeep as module
from vault.upkeep import upkeep


async def test_a_chore_that_fails_keeps_nothing_from_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have their turn in the same round, and the failing one in the next."""
    monkeypatch.setattr(module, "UPKEEP_EVERY_S", 0.001)
    done: list[str] = []
    twice = asyncio.Event()

    async def broken() -> None:
        done.append("broken")
        raise RuntimeError

    async def sound() -> None:
        done.append("sound")
        if done.count("sound") == 2:
            twice.set()

    task = asyncio.create_task(upkeep(broken, sound))
    await asyncio.wait_for(twice.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ["broken", "sound", "broken", "sound"] == done[:4]
