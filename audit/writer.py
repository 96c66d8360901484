"""Fetches the outbox rows of every owner and writes them: at least once there, exactly once here.

Per source: pull, commit, ack. A crash between commit and ack brings the same rows again, and their keys are
known by then; a crash before the commit leaves them with their owner. A source that is down is dialled
again, without end.
"""

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

from audit.log import Arrival, Log
from audit.outbox import MESSAGE_MAX, PULL_ROWS_MAX, listen, peer_is_ours

PULL_BUSY_S = 0.05
"""Pause after rows came: entries reach the log within a tenth of a second."""
PULL_IDLE_S = 0.2
"""Pause after none came: five small reads a second for the owner."""
REDIAL_S = 0.5
"""Pause between tries to reach a source that is down."""
REPLY_TIMEOUT_S = 10.0
"""An owner that is busy committing answers late; one that hangs is dialled anew."""


class SourceDownError(Exception):
    """The owner is gone, or does not speak the outbox's language; its rows are safe where they are."""

    code = "source_down"
    retryable = True


class Source:
    """One owner's outbox and the way to it."""

    def __init__(self, name: str, path: Path, log: Log) -> None:
        self._name = name
        self._path = path
        self._log = log

    async def follow(self) -> None:
        """For ever: fetches what there is; ends only with an error of the log itself."""
        while True:
            with contextlib.suppress(SourceDownError), await self._dial() as conn:
                await self._drain(conn)
            await asyncio.sleep(REDIAL_S)

    async def _dial(self) -> socket.socket:
        conn = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        conn.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(conn, str(self._path))
        except OSError:
            conn.close()
            raise SourceDownError from None
        return conn

    async def _drain(self, conn: socket.socket) -> None:
        while True:
            arrivals = _arrivals(await _asked(conn, {"op": "pull", "limit": PULL_ROWS_MAX}))
            if arrivals:
                await self._log.append(self._name, arrivals)
                await _asked(conn, {"op": "ack", "upto": arrivals[-1].seq})
            await asyncio.sleep(PULL_BUSY_S if arrivals else PULL_IDLE_S)


async def _asked(conn: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(conn, json.dumps({"id": 1, **request}).encode())
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            message = await loop.sock_recv(conn, MESSAGE_MAX + 1)
        reply = json.loads(message)
    except (OSError, ValueError, TimeoutError, RecursionError):
        raise SourceDownError from None
    if not isinstance(reply, dict) or reply.get("ok") is not True:
        raise SourceDownError
    return reply


def _arrivals(reply: dict[str, Any]) -> list[Arrival]:
    try:
        return [Arrival(int(row["seq"]), str(row["key"]), str(row["body"])) for row in reply["rows"]]
    except (KeyError, TypeError, ValueError):
        raise SourceDownError from None


class Bell:
    """`audit.sock`: says that the log is being written, and how long it is."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log

    async def serve(self) -> None:
        """For ever; one peer after the other, each with one question."""
        loop = asyncio.get_running_loop()
        with listen(self._path) as listener:
            while True:
                conn, _ = await loop.sock_accept(listener)
                with conn, contextlib.suppress(OSError, TimeoutError):
                    if peer_is_ours(conn):
                        await self._answer(conn)

    async def _answer(self, conn: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            asked = await loop.sock_recv(conn, MESSAGE_MAX)
        if asked:
            reply = {"id": 1, "ok": True, "size": await self._log.size()}
            await loop.sock_sendall(conn, json.dumps(reply).encode())
