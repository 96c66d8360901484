"""One Unix SEQPACKET connection of the vault: JSON messages, descriptors beside them, requests with replies.

One message is one UTF-8 JSON object of at most `MESSAGE_MAX` bytes: requests `{"id", "op", ...}`, replies
`{"id", "ok", ...}`, unsolicited `{"fact", ...}`. Everything here runs in one event loop and calls back in
the order of the wire. This file owns the framing and the reconnecting; what the messages mean is other
files' business.
"""

import asyncio
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vault.door import Refused, Unreachable
from vault.hatch import knock

MESSAGE_MAX = 60_000
"""Bytes of one message; the kernel's default send buffer takes three of them."""
DESCRIPTORS_MAX = 4
"""Descriptors beside one message: a fork brings two."""
QUEUE_MAX = 5_000
"""Messages waiting for a slow peer: some ten seconds of a busy site. Beyond it the connection is cut, and the
peer fetches snapshots when it is back."""
READS_PER_WAKE = 64
"""Messages read before other connections get their turn."""
REDIAL_S = 0.2
"""Pause between two tries to connect; a supervisor restarts a process in about that time."""
ASK_TIMEOUT_S = 10.0
"""How long a reply may take: the slowest honest one is a capture that waits for a restarted spawner."""

LOOK_TURNS = 2
"""Turns of the event loop until an end that the kernel knows of already has been read."""

Json = dict[str, Any]
Dial = Callable[[], Awaitable[socket.socket | None]]
"""One try to connect; None when nobody is there."""


class Link:
    """One connection: whole messages in, whole messages out, in order, without blocking."""

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[bytes, list[int]], None],
        on_close: Callable[[], object],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_message = on_message
        self._on_close = on_close
        self._queue: deque[tuple[bytes, Sequence[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        self.closed = False
        self._loop.add_reader(sock, self._readable)

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> bool:
        """Sends or queues a message; False when the connection is gone. Descriptors are never queued."""
        if self.closed:
            return False
        if not self._queue and self._sent(message, descriptors):
            return not self.closed
        if descriptors or len(self._queue) >= QUEUE_MAX:
            self.close()
            return False
        self._queue.append((message, ()))
        self._loop.add_writer(self._sock, self._writable)
        return True

    def close(self) -> None:
        """Ends the connection; `on_close` is called once."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._on_close()

    def _sent(self, message: bytes, descriptors: Sequence[int]) -> bool:
        try:
            if descriptors:
                socket.send_fds(self._sock, [message], list(descriptors), socket.MSG_NOSIGNAL)
            else:
                self._sock.send(message, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.close()
        return True

    def _writable(self) -> None:
        while self._queue:
            if not self._sent(*self._queue[0]):
                return
            if self.closed:
                return
            self._queue.popleft()
        self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        for _ in range(READS_PER_WAKE):
            if self.closed:
                return
            try:
                message, descriptors = _receive(self._sock)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                message, descriptors = b"", []
            if not message:
                self.close()
                return
            self._on_message(message, descriptors)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    message, descriptors, _flags, _address = socket.recv_fds(
        sock, MESSAGE_MAX + 1, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
    )
    return message, descriptors


class Asker:
    """Requests with replies over one `Link`; everything without an id goes to `on_fact`."""

    def __init__(
        self, sock: socket.socket, on_fact: Callable[[Json], None], on_close: Callable[[], None]
    ) -> None:
        self._on_fact = on_fact
        self._on_close = on_close
        self._number = 0
        self._waiting: dict[int, asyncio.Future[tuple[Json, list[int]]]] = {}
        self._link = Link(sock, self._message, self._closed)

    @property
    def closed(self) -> bool:
        """True once the connection is gone."""
        return self._link.closed

    def close(self) -> None:
        """Ends the connection; every waiting request ends with `Unreachable`."""
        self._link.close()

    async def ask(
        self, op: str, values: Json | None = None, descriptors: Sequence[int] = ()
    ) -> tuple[Json, list[int]]:
        """The reply to one request with its descriptors; `Refused` when it says no, else `Unreachable`."""
        self._number += 1
        number = self._number
        future: asyncio.Future[tuple[Json, list[int]]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            if not self._link.send(encode({"id": number, "op": op, **(values or {})}), descriptors):
                _let_go(future)
                raise _gone()
            async with asyncio.timeout(ASK_TIMEOUT_S):
                reply, received = await future
        except TimeoutError:
            _let_go(future)
            raise _gone() from None
        except asyncio.CancelledError:
            _let_go(future)
            raise
        finally:
            self._waiting.pop(number, None)
        if reply.get("ok") is not True:
            close_all(received)
            raise refusal(reply)
        return reply, received

    def _message(self, message: bytes, descriptors: list[int]) -> None:
        body = decode(message)
        number = None if body is None else body.get("id")
        future = self._waiting.pop(number, None) if isinstance(number, int) else None
        if future is not None and not future.done() and body is not None:
            future.set_result((body, descriptors))
            return
        close_all(descriptors)
        if body is not None and "fact" in body:
            self._on_fact(body)

    def _closed(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_gone())
        self._waiting.clear()
        self._on_close()


class Line:
    """An `Asker` that dials again whenever the other side is gone."""

    def __init__(
        self,
        dial: Dial,
        *,
        on_fact: Callable[[Json], None],
        on_up: Callable[[], object],
        on_down: Callable[[], None],
    ) -> None:
        self._dial = dial
        self._on_fact = on_fact
        self._on_up = on_up
        self._on_down = on_down
        self._asker: Asker | None = None
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """True while connected."""
        return self._up.is_set()

    def start(self) -> None:
        """Begins dialling in the background."""
        self._task = asyncio.create_task(self._keep(), name="line")

    async def wait_up(self, timeout_s: float) -> bool:
        """True as soon as connected, False after `timeout_s`."""
        for _ in range(LOOK_TURNS):
            await asyncio.sleep(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        return self.up

    async def ask(
        self, op: str, values: Json | None = None, descriptors: Sequence[int] = ()
    ) -> tuple[Json, list[int]]:
        """As `Asker.ask`; `Unreachable` while not connected."""
        if self._asker is None:
            raise _gone()
        return await self._asker.ask(op, values, descriptors)

    async def stop(self) -> None:
        """Stops dialling and closes the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._asker is not None:
            self._asker.close()

    async def _keep(self) -> None:
        while True:
            sock = await self._dial()
            if sock is None:
                await asyncio.sleep(REDIAL_S)
                continue
            gone = asyncio.Event()

            def lost(gone: asyncio.Event = gone) -> None:
                self._asker = None
                self._up.clear()
                gone.set()

            self._asker = Asker(sock, self._on_fact, lost)
            self._up.set()
            self._on_up()
            await gone.wait()
            self._on_down()


async def dial(path: Path) -> socket.socket | None:
    """A connection to whoever listens at `path`; None when nobody does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, str(path))
    except OSError:
        sock.close()
        return None
    return sock


async def pass_through(end: socket.socket) -> socket.socket | None:
    """A connection through a hatch, once the other side has taken it and said so with its first message."""
    sock = None
    try:
        sock = knock(end)
        if await asyncio.get_running_loop().sock_recv(sock, MESSAGE_MAX):
            connected, sock = sock, None
            return connected
    except OSError:
        return None
    finally:
        if sock is not None:
            sock.close()
    return None


def listen(path: Path, backlog: int) -> socket.socket:
    """A listening SEQPACKET socket, mode 0600; a socket file left by a killed process is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    listener.listen(backlog)
    listener.setblocking(False)
    return listener


def peer_is_ours(sock: socket.socket) -> bool:
    """True when the other end runs as root or as our own user (SO_PEERCRED)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return uid in {0, os.geteuid()}


def encode(body: Json) -> bytes:
    """The message of a JSON object."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def decode(message: bytes) -> Json | None:
    """The JSON object of a message; None when it is none or too long."""
    if len(message) > MESSAGE_MAX:
        return None
    try:
        body = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def refusal(reply: Json) -> Refused | Unreachable:
    """The exception that a negative reply stands for."""
    kind = Unreachable if reply.get("unreachable") is True else Refused
    code, sentence = str(reply.get("code", "refused")), str(reply.get("sentence", ""))
    return kind(code, sentence, retryable=reply.get("retryable") is True)


def close_all(descriptors: Sequence[int]) -> None:
    """Closes descriptors that nobody wants."""
    for each in descriptors:
        with suppress(OSError):
            os.close(each)


def _let_go(answer: asyncio.Future[tuple[Json, list[int]]]) -> None:
    """Closes the descriptors of a reply that came as its asker gave up."""
    if answer.done() and not answer.cancelled() and answer.exception() is None:
        close_all(answer.result()[1])


def _gone() -> Unreachable:
    return Unreachable("unreachable", "The other process did not answer. Ask for the state.", retryable=True)
