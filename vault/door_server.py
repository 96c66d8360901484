"""The broker's side of the door: `vault.sock`, requests in, replies and facts out.

Only our own user or root may connect (mode 0600 and SO_PEERCRED). On connecting a peer is told the run and
the number of the last fact, so that it knows what it missed. A request that cannot be read is refused and
costs nothing else.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from vault.door import PaymentChanged, PinChanged, Refused, Unreachable, VaultError
from vault.message import changed_as_json
from vault.operations import TEXT_MAX, Operation, operations, text, unknown
from vault.pin_message import pin_changed_as_json
from vault.till import Till
from vault.wire import Json, Link, close_all, decode, encode, listen, peer_is_ours

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.door")

CONNECTIONS_MAX = 16
"""The app, its successor during a restart, `verify`, and room for a few more."""
REQUESTS_MAX = 200
"""Requests under way per connection: more than the calls an app handles at one moment."""


class DoorServer:
    """Serves a till to its peers."""

    def __init__(
        self,
        path: Path,
        till: Till,
        last_seq: Callable[[], int],
        also: Mapping[str, Operation] = MappingProxyType({}),
    ) -> None:
        """`also`: operations beside the till's."""
        self._path = path
        self._last_seq = last_seq
        self._pin_seq = 0
        self._run = secrets.token_hex(8)
        self._peers: set[_Peer] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self.operations = {**operations(till), **also}

    def start(self) -> None:
        """Listens; ready for requests as soon as this returns."""
        self._listener = listen(self._path, CONNECTIONS_MAX)
        self._accepting = asyncio.create_task(self._accept(self._listener), name="door")

    async def stop(self) -> None:
        """Takes no request any more; those under way end with their connections."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._path.unlink(missing_ok=True)
        for peer in tuple(self._peers):
            peer.link.close()

    def publish(self, changed: PaymentChanged) -> None:
        """Sends a fact about a payment to everybody."""
        self._publish(changed_as_json(changed))

    def publish_pin(self, changed: PinChanged) -> None:
        """Sends a fact about a PIN entry to everybody; these are numbered for themselves."""
        self._pin_seq = changed.seq
        self._publish(pin_changed_as_json(changed))

    def _publish(self, body: Json) -> None:
        message = encode(body)
        for peer in tuple(self._peers):
            peer.link.send(message)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            if not peer_is_ours(sock) or len(self._peers) >= CONNECTIONS_MAX:
                log.warning("vault.door.refused", peers=len(self._peers))
                sock.close()
                continue
            peer = _Peer(sock, self.operations, self._peers.discard)
            self._peers.add(peer)
            seqs = {"seq": self._last_seq(), "pin_seq": self._pin_seq}
            peer.link.send(encode({"fact": "hello", "run": self._run, **seqs}))


class _Peer:
    """One connection of the door."""

    def __init__(
        self, sock: socket.socket, operations: dict[str, Operation], forget: "Callable[[_Peer], None]"
    ) -> None:
        self._operations = operations
        self._tasks: set[asyncio.Task[None]] = set()
        self.link = Link(sock, self._message, lambda: forget(self))

    def _message(self, message: bytes, descriptors: list[int]) -> None:
        close_all(descriptors)
        body = decode(message)
        if body is None or len(self._tasks) >= REQUESTS_MAX:
            self._refuse(None, Refused("bad_request", "Send one JSON object of at most 60,000 bytes."))
            return
        task = asyncio.create_task(self._answer(body), name="door request")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, body: Json) -> None:
        number = body.get("id")
        if type(number) is not int:
            self._refuse(None, Refused("bad_request", "A request has an integer id."))
            return
        try:
            operation = self._operations.get(text(body, "op"), unknown)
            self.link.send(encode({"id": number, "ok": True, **await operation(body)}))
        except VaultError as error:
            self._refuse(number, error)
        except Exception:
            log.exception("vault.request.failed", op=str(body.get("op"))[:TEXT_MAX])
            self._refuse(
                number, Unreachable("internal", "The broker failed. Ask for the state.", retryable=True)
            )

    def _refuse(self, number: int | None, error: VaultError) -> None:
        body: dict[str, Any] = {"id": number, "ok": False, "code": error.code, "sentence": error.sentence}
        body["retryable"] = error.retryable
        if isinstance(error, Unreachable):
            body["unreachable"] = True
        self.link.send(encode(body))
