"""The broker's side of the door: `vault.sock`, requests in, replies and facts out.

Only our own user or root may connect (mode 0600 and SO_PEERCRED). On connecting a peer is told the run and
the number of the last fact, so that it knows what it missed. A request that cannot be read is refused and
costs nothing else.
"""

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from vault.door import Field, Payment, PaymentChanged, Refused, Unreachable, VaultError
from vault.message import changed_as_json, new_payment_from_json, payment_as_json
from vault.till import Till
from vault.wire import Json, Link, close_all, decode, encode, listen, peer_is_ours

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.door")

CONNECTIONS_MAX = 16
"""The app, its successor during a restart, `verify`, and room for a few more."""
REQUESTS_MAX = 200
"""Requests under way per connection: more than the calls an app handles at one moment."""
TEXT_MAX = 200
"""Characters of an id in a request; ours have 24."""


class DoorServer:
    """Serves a till to its peers."""

    def __init__(self, path: Path, till: Till, last_seq: Callable[[], int]) -> None:
        self._path = path
        self._last_seq = last_seq
        self._run = secrets.token_hex(8)
        self._peers: set[_Peer] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self.operations = _operations(till)

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
        """Sends a fact to everybody."""
        message = encode(changed_as_json(changed))
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
            peer.link.send(encode({"fact": "hello", "run": self._run, "seq": self._last_seq()}))


Operation = Callable[[Json], Awaitable[Json]]


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
            operation = self._operations.get(_text(body, "op"), _unknown)
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


def _operations(till: Till) -> dict[str, Operation]:
    """Every operation of the door by its name."""

    async def of_call(body: Json) -> Json:
        payments = await till.payments_of_call(_text(body, "call_id"))
        return {"payments": [payment_as_json(each) for each in payments]}

    async def end_call(body: Json) -> Json:
        await till.end_call(_text(body, "call_id"))
        return {}

    return {
        "create_payment": _one(lambda body: till.create_payment(new_payment_from_json(body.get("new")))),
        "payment": _one(lambda body: till.payment(_payment_id(body))),
        "payments_of_call": of_call,
        "open_capture": _one(lambda body: till.open_capture(_payment_id(body))),
        "rekey": _one(lambda body: till.rekey(_payment_id(body), _field(body))),
        "talk": _one(lambda body: till.talk(_payment_id(body), on=_flag(body, "on"))),
        "ask_confirm": _one(lambda body: till.ask_confirm(_payment_id(body))),
        "charge": _one(lambda body: till.charge(_payment_id(body))),
        "cancel": _one(lambda body: till.cancel(_payment_id(body), _text(body, "by"))),
        "end_call": end_call,
    }


def _one(act: Callable[[Json], Awaitable[Payment]]) -> Operation:
    async def operation(body: Json) -> Json:
        return {"payment": payment_as_json(await act(body))}

    return operation


async def _unknown(_body: Json) -> Json:
    raise Refused("unknown_op", "The door does not know this operation.")


def _payment_id(body: Json) -> str:
    return _text(body, "payment_id")


def _text(body: Json, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_MAX or not value.isprintable():
        raise Refused("bad_request", "The request lacks a text that it needs.")
    return value


def _flag(body: Json, key: str) -> bool:
    value = body.get(key)
    if not isinstance(value, bool):
        raise Refused("bad_request", "The request lacks a true or false that it needs.")
    return value


def _field(body: Json) -> Field:
    try:
        return Field(_text(body, "field"))
    except ValueError:
        raise Refused("bad_request", "The field is pan, expiry, cvv or confirm.") from None
