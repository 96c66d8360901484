"""Asyncio client of the media process, as the app uses it: no mode command, no key read back.

One Unix SEQPACKET connection that comes back by itself; what the media process tells arrives as `MediaFact`s,
and so does the loss (`media.lost`) and the return (`media.back`) of the connection.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from vault.door import MediaFact, Refused, Remote, Unreachable

MESSAGE_MAX: Final = 60_000
"""Bytes of one message, as in `control.py`."""
CALL_TIMEOUT_S: Final = 3.0
"""The media process answers within a millisecond; three seconds without an answer mean that it hangs."""
RETRY_S: Final = 0.2
"""Between two tries to reach the socket: short against the 30 s after which media ends orphan legs."""
FACTS_MAX: Final = 10_000
"""Facts nobody has read yet; beyond it the oldest go, and the app has been stuck for minutes anyway."""


class MediaClient:
    """The app's way to the media process, one Unix SEQPACKET connection; reconnects by itself.

    Calls raise `Refused` (bad leg, limit reached) or `Unreachable`.
    """

    def __init__(self, socket_path: Path, keys_path: Path) -> None:
        self.socket_path = socket_path
        self.keys_path = keys_path
        self._sock: socket.socket | None = None
        self._keys = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next_id = 1
        self._facts: asyncio.Queue[MediaFact | None] = asyncio.Queue(FACTS_MAX)
        self._task: asyncio.Task[None] | None = None
        self._run_id = ""

    # -- connection ------------------------------------------------------------------------------------------

    async def connect(self, timeout_s: float = 10.0) -> None:
        """Connect, waiting for the media process to come up; Unreachable after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                self._sock = await self._reach()
        except TimeoutError:
            raise Unreachable(
                "media_unreachable", "The media process does not listen.", retryable=True
            ) from None
        self._task = asyncio.create_task(self._stay_connected(self._sock), name="media-client")
        self._run_id = str((await self._call("ping"))["run"])

    async def close(self) -> None:
        """End the connection; `facts` then ends too."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._cut()
        self._keys.close()
        self._put(None)

    async def _reach(self) -> socket.socket:
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                await asyncio.get_running_loop().sock_connect(sock, str(self.socket_path))
            except OSError:
                sock.close()
                await asyncio.sleep(RETRY_S)
            except BaseException:
                sock.close()
                raise
            else:
                return sock

    async def _stay_connected(self, sock: socket.socket) -> None:
        while True:
            await self._read(sock)
            self._cut()
            self._put(MediaFact("media.lost", ""))
            self._sock = sock = await self._reach()
            asyncio.get_running_loop().call_soon(self._announce)

    def _announce(self) -> None:
        """Ask who is there after a reconnection, and tell whether it is the same run."""
        task = asyncio.create_task(self._greet(), name="media-greeting")
        self._greeting = task

    async def _greet(self) -> None:
        try:
            run_id = str((await self._call("ping"))["run"])
        except (Refused, Unreachable):
            return  # lost again: the next return will greet
        self._put(MediaFact("media.back", "", {"restarted": run_id != self._run_id}))
        self._run_id = run_id

    async def _read(self, sock: socket.socket) -> None:
        """Take in messages until the connection ends."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(sock, MESSAGE_MAX)
            except OSError:
                return
            if not data:
                return
            self._take(json.loads(data))

    def _take(self, message: dict[str, Any]) -> None:
        if "fact" in message:
            name, leg_id = message.pop("fact"), message.pop("leg_id", "")
            self._put(MediaFact(name, leg_id, message))
            return
        future = self._pending.pop(message.get("id") or 0, None)
        if future is not None and not future.done():
            future.set_result(message)

    def _put(self, fact: MediaFact | None) -> None:
        if self._facts.full():
            self._facts.get_nowait()
        self._facts.put_nowait(fact)

    def _cut(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(_lost())

    # -- one call --------------------------------------------------------------------------------------------

    async def _call(self, op: str, fds: Sequence[int] = (), **fields: object) -> dict[str, Any]:
        number, self._next_id = self._next_id, self._next_id + 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._send(json.dumps({"id": number, "op": op, **fields}).encode(), fds)
                reply = await future
        except TimeoutError:
            raise Unreachable("media_timeout", "The media process did not answer.", retryable=True) from None
        finally:
            self._pending.pop(number, None)
            if future.done() and not future.cancelled():
                future.exception()
        if reply.get("ok") is True:
            return reply
        raise Refused(reply["code"], reply["sentence"], retryable=reply["retryable"])

    async def _send(self, data: bytes, fds: Sequence[int]) -> None:
        while True:
            if self._sock is None:
                raise _lost()
            try:
                socket.send_fds(self._sock, [data], list(fds))
            except BlockingIOError:
                await asyncio.sleep(0.001)  # its queue is full: it is busy for a moment
            except OSError:
                raise _lost() from None
            else:
                return

    # -- legs ------------------------------------------------------------------------------------------------

    async def open_leg(self, leg_id: str, role: str, *, port: int | None = None, resume: bool = False) -> int:
        """Local RTP port (even; RTCP is the next one); role: caller | agent.

        `resume`: same port as before a restart; a caller's leg then starts SECURE.
        """
        reply = await self._call("open_leg", leg_id=leg_id, role=role, port=port, resume=resume)
        return int(reply["port"])

    async def set_remote(self, leg_id: str, remote: Remote) -> None:
        """What SDP said about the peer, at every offer and answer; a new address is followed at once."""
        await self._call(
            "set_remote",
            leg_id=leg_id,
            ip=remote.ip,
            port=remote.port,
            codec=remote.codec,
            payload_type=remote.payload_type,
            event_types=remote.event_types,
            direction=remote.direction,
            source_ip=remote.source_ip or None,
        )

    async def bridge(self, caller_leg_id: str, agent_leg_id: str) -> None:
        """Let the two hear each other, as far as the shield allows."""
        await self._call("bridge", caller=caller_leg_id, agent=agent_leg_id)

    async def unbridge(self, leg_id: str) -> None:
        """End the leg's bridge; both legs stay open."""
        await self._call("unbridge", leg_id=leg_id)

    async def close_leg(self, leg_id: str) -> None:
        """Give the leg's ports back; a capture on it loses its key pipe."""
        await self._call("close_leg", leg_id=leg_id)

    async def stats(self, leg_id: str) -> dict[str, int]:
        """Counts of one leg: packets, loss, jitter in 1/8 ms, dropped kinds; no key value."""
        return {
            name: int(value) for name, value in (await self._call("stats", leg_id=leg_id))["stats"].items()
        }

    async def legs(self) -> list[dict[str, Any]]:
        """Every leg: leg_id, role, port, mode, latched, partner; for an app that has restarted."""
        legs: list[dict[str, Any]] = []
        while True:
            reply = await self._call("legs", first=len(legs))
            legs += reply["legs"]
            if len(legs) >= reply["count"] or not reply["legs"]:
                return legs

    # -- prompts and open digits -----------------------------------------------------------------------------

    async def load_prompt(self, prompt_id: str, ulaw: bytes) -> None:
        """8 kHz µ-law, handed over in a memfd: personal prompts never touch a disk."""
        number = os.memfd_create("prompt", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            _fill(number, ulaw)
            await self._call("load_prompt", (number,), prompt_id=prompt_id, length=len(ulaw))
        finally:
            os.close(number)

    async def unload_prompt(self, prompt_id: str) -> None:
        """Forget a prompt; a leg that plays it plays on."""
        await self._call("unload_prompt", prompt_id=prompt_id)

    async def play(
        self,
        leg_id: str,
        play_id: str,
        prompt_ids: Sequence[str],
        *,
        loop: bool = False,
        barge_in: bool = True,
    ) -> None:
        """Play prompts in place of the partner's audio; `play.done` tells how it ended."""
        await self._call(
            "play", leg_id=leg_id, play_id=play_id, prompt_ids=list(prompt_ids), loop=loop, barge_in=barge_in
        )

    async def stop_play(self, leg_id: str) -> None:
        """End the leg's prompt."""
        await self._call("stop_play", leg_id=leg_id)

    async def collect(
        self,
        leg_id: str,
        collect_id: str,
        *,
        digits_max: int,
        digits_min: int = 1,
        first_timeout_ms: int = 8000,
        next_timeout_ms: int = 4000,
        ahead: bool = True,
    ) -> None:
        """Open digits for a flow; `collect.done` brings them. Refused while a capture holds the leg.

        `ahead`: keys pressed since the last collection was answered, without a pause, count for this one.
        """
        await self._call(
            "collect",
            leg_id=leg_id,
            collect_id=collect_id,
            digits_max=digits_max,
            digits_min=digits_min,
            first_timeout_ms=first_timeout_ms,
            next_timeout_ms=next_timeout_ms,
            ahead=ahead,
        )

    async def stop_collect(self, leg_id: str) -> None:
        """End the leg's collection; `collect.done` says stopped, without digits."""
        await self._call("stop_collect", leg_id=leg_id)

    # -- keys and facts --------------------------------------------------------------------------------------

    def info_key(self, leg_id: str, key: int) -> None:
        """Hands over one key cut from a SIP INFO body (0-15); only `pay_ivr/sip/info.py` may call it."""
        with contextlib.suppress(OSError):  # never answered: a key lost on the way is pressed again
            self._keys.sendto(leg_id.encode() + b"\0" + key.to_bytes(1, "big"), str(self.keys_path))

    async def facts(self) -> AsyncIterator[MediaFact]:
        """Everything the media process tells, until `close`; one reader."""
        while True:
            fact = await self._facts.get()
            if fact is None:
                return
            yield fact


def _fill(number: int, data: bytes) -> None:
    """Writes all of `data` into a memfd."""
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]


def _lost() -> Unreachable:
    return Unreachable("media_unreachable", "The connection to the media process is lost.", retryable=True)
