"""The writer's way to an owner's outbox: it ends at once when it is told to, whatever it waits for."""

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from audit.log import Log
from audit.outbox import MESSAGE_MAX, listen
from audit.writer import Source

WAIT_S = 20.0
"""For what takes milliseconds on an idle machine; who waits so long waits for ever."""
TURNS = 8
"""More turns of the event loop than there are between an answer on the wire and the task that reads it."""
EMPTY = json.dumps({"id": 1, "ok": True, "rows": []}).encode()


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    log = await Log.open(tmp_path / "audit.db", "node_a")
    yield log
    await log.close()


async def connected(
    path: Path, listener: socket.socket, log: Log
) -> tuple[asyncio.Task[None], socket.socket]:
    """A source that waits for the answer to its first question, and the owner's end."""
    loop = asyncio.get_running_loop()
    following = asyncio.create_task(Source("vault", path, log).follow())
    owner, _ = await loop.sock_accept(listener)
    owner.setblocking(False)
    await loop.sock_recv(owner, MESSAGE_MAX)
    return following, owner


@pytest.mark.parametrize("turns", range(TURNS))
async def test_cancel_at_the_moment_of_an_answer_is_not_swallowed(log: Log, turns: int):
    """asyncio.wait_for of Python 3.11 returns such an answer and forgets the cancel: SIGTERM goes unheard."""
    path = Path(tempfile.mkdtemp(prefix="payivr-")) / "outbox.sock"
    with listen(path) as listener:
        following, owner = await connected(path, listener, log)
        with owner:
            owner.send(EMPTY)
            for _ in range(turns):
                await asyncio.sleep(0)
            following.cancel()
            await asyncio.wait({following}, timeout=WAIT_S)
            ended = following.done()
            following.cancel()
    path.unlink()
    path.parent.rmdir()
    assert ended
