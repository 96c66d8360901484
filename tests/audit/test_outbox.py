"""The owner's door: a reader that goes in mid-sentence takes nobody with it."""

import asyncio
import gc
import json
import socket
from pathlib import Path
from typing import Any

from audit.outbox import MESSAGE_MAX, OutboxDoor, RowsAwayError

ROW = {"seq": 1, "key": "k", "body": "{}"}


class SlowRows:
    """An owner with one row, who answers when the test says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def pull(self, limit: int) -> list[dict[str, Any]]:
        self.asked.set()
        await self.may_answer.wait()
        return [ROW][:limit]

    async def ack(self, upto: int) -> int:
        return upto

    async def waiting(self) -> int:
        return 1


class AwayRows(SlowRows):
    """An owner whose database is away for once."""

    async def pull(self, limit: int) -> list[dict[str, Any]]:
        if not self.asked.is_set():
            self.asked.set()
            raise RowsAwayError
        return [ROW][:limit]


async def dialled(path: Path) -> socket.socket:
    """A reader that has just asked for a row."""
    conn = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    conn.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(conn, str(path))
    await loop.sock_sendall(conn, json.dumps({"id": 7, "op": "pull", "limit": 1}).encode())
    return conn


async def test_a_reader_that_is_gone_before_its_answer_leaves_the_door_open(short_dir: Path):
    """Killed between question and answer: nothing is complained of, the next reader gets the row."""
    loop, complaints = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    owner, path = SlowRows(), short_dir / "outbox.sock"
    door = OutboxDoor(owner, path)
    await door.start()
    with await dialled(path):
        await owner.asked.wait()
    owner.may_answer.set()
    with await dialled(path) as second:
        async with asyncio.timeout(20):
            answer = json.loads(await loop.sock_recv(second, MESSAGE_MAX))
    await door.stop()
    gc.collect()  # a task that died unheard complains when it goes
    assert ({"id": 7, "ok": True, "rows": [ROW]}, []) == (answer, complaints)


async def test_a_reader_is_told_when_the_owner_s_database_is_away(short_dir: Path):
    """The same reader gets the row when it asks again."""
    loop, path = asyncio.get_running_loop(), short_dir / "outbox.sock"
    door = OutboxDoor(AwayRows(), path)
    await door.start()
    with await dialled(path) as reader:
        async with asyncio.timeout(20):
            refused = json.loads(await loop.sock_recv(reader, MESSAGE_MAX))
            await loop.sock_sendall(reader, b'{"id": 8, "op": "pull", "limit": 1}')
            told = json.loads(await loop.sock_recv(reader, MESSAGE_MAX))
    await door.stop()
    assert (7, False, "rows_away", True) == tuple(refused[name] for name in ("id", "ok", "code", "retryable"))
    assert {"id": 8, "ok": True, "rows": [ROW]} == told
