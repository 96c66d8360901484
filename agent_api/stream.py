"""The live stream: every change of an agent's calls and payments, in order, over a WebSocket.

Each agent has one feed: a ring of numbered messages that all of his consoles read at their own pace. A
console that comes back names the run and the last number it has seen and gets the rest; when that is gone
from the ring it is closed with 4409 and starts again from a snapshot. A slow console costs no memory: it only
falls out of the ring. The sequence is complete: a number that a console misses is lost, never skipped.
"""

import asyncio
import contextlib
import json
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from agent_api.calls import call_answer
from agent_api.desk import Ask, Asker, Desk
from agent_api.limits import QUERY_BYTES_MAX, STREAMS_PER_AGENT_MAX
from agent_api.payments import payment_answer
from agent_api.problems import DeskError
from pay_ivr.facts import CallChanged, CallError, CallFact, CallView
from pay_ivr.logs import log
from vault import PaymentChanged

RING_MAX = 256
"""Messages kept per agent: a capture makes about sixty, so a console may be away for several."""
FOLLOWED_MAX = 20
"""Past payments an agent hears of; more are on no screen."""
CLOSE_RESUME_TOO_OLD = 4409
"""What was missed is gone: connect again without `last` and take the snapshot."""
CLOSE_LOGIN_ENDED = 4401
"""The login has run out or was ended: log in again."""
HEARTBEAT_S = 20.0
"""Ping interval; proxies cut silent connections after 60 s."""
LOGIN_CHECK_S = 30.0
"""How often an open stream asks whether its login still holds."""
FEED_KEPT_S = 900.0
"""A feed without consoles is forgotten after this; a resume would be refused anyhow by then."""
SEND_TIMEOUT_S = 10.0
"""A console that takes nothing for this long is gone."""
INCOMING_BYTES_MAX = 1024
"""The stream only tells; whatever a console sends is refused."""


@dataclass
class Feed:
    """One agent's numbered messages and the consoles that read them."""

    asker: Asker
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    """Numbers of another feed mean nothing: of another run of this process, or of one that was forgotten."""
    ring: deque[bytes] = field(default_factory=lambda: deque(maxlen=RING_MAX))
    last: int = 0
    """Number of the newest message; 0 before the first."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    consoles: dict[web.WebSocketResponse, bytes] = field(default_factory=dict)
    """Each open console with the SHA-256 of its login."""
    followed: deque[str] = field(default_factory=lambda: deque(maxlen=FOLLOWED_MAX))
    """Payments of past calls whose history the agent has read lately: he is told what becomes of them."""
    idle_since: float = 0.0

    @property
    def oldest(self) -> int:
        """Number of the oldest message that is still there; `last + 1` when there is none."""
        return self.last - len(self.ring) + 1

    def holds_after(self, seen: int) -> bool:
        """True when everything after number `seen` is still there."""
        return self.oldest - 1 <= seen <= self.last

    def append(self, message: dict[str, Any]) -> None:
        """One more message, with the next number."""
        self.last += 1
        self.ring.append(_encode({"seq": self.last, **message}))
        self.news.set()
        self.news = asyncio.Event()

    def after(self, seen: int) -> list[bytes]:
        """The messages after number `seen`; only when `holds_after` says so."""
        behind = self.last - seen
        return list(self.ring)[len(self.ring) - behind :] if behind else []


class Streams:
    """All feeds. `tell` is the switchboard's listener: it never waits and never raises into a call."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._agent_of_call: dict[str, str] = {}

    def feed(self, asker: Asker) -> Feed:
        """The agent's feed, made at his first console."""
        assert asker.agent is not None
        return self._feeds.setdefault(asker.agent.agent_id, Feed(asker))

    def follow(self, asker: Asker, payment_id: str, now: float) -> None:
        """The agent is told what becomes of this payment, whoever's call it was."""
        feed = self.feed(asker)
        feed.idle_since = now
        if payment_id not in feed.followed:
            feed.followed.append(payment_id)

    def tell(self, desk: Desk, fact: CallFact) -> None:
        """Puts a fact into the feeds of those whom it concerns."""
        try:
            if isinstance(fact, CallChanged):
                self._tell_call(fact)
            elif isinstance(fact, PaymentChanged):
                self._tell_payment(desk, fact)
        except Exception:  # noqa: BLE001 a console that misses a message is bad, a call that dies of it worse
            log.exception("desk.stream.failed")

    def _tell_call(self, fact: CallChanged) -> None:
        """To the call's agent, and once more to the one who has just lost it."""
        call = fact.call
        before = self._agent_of_call.get(call.call_id)
        if call.agent_id is not None and call.ended_reason is None:
            self._agent_of_call[call.call_id] = call.agent_id
        else:
            self._agent_of_call.pop(call.call_id, None)
        for agent_id in {before, call.agent_id} - {None}:
            feed = self._feeds.get(agent_id or "")
            if feed is not None and feed.asker.tenant == call.tenant:
                answer = call_answer(call, feed.asker).model_dump(mode="json")
                feed.append({"type": "call", "what": fact.what, "call": answer})

    def _tell_payment(self, desk: Desk, fact: PaymentChanged) -> None:
        """To the agent who is on the payment's call, and to those who follow the payment."""
        payment = fact.payment
        try:
            call = desk.switchboard.call(payment.call_id)
        except CallError:
            call = None
        on_call = None if call is None else self._feeds.get(call.agent_id or "")
        for feed in self._feeds.values():
            if feed.asker.tenant != payment.tenant:
                continue
            if feed is on_call or payment.payment_id in feed.followed:
                language = feed.asker.language if call is None else call.language
                feed.append(_payment_message(desk, fact, feed.asker.language, language))

    def forget_idle(self, now: float) -> None:
        """Feeds that nobody has read for FEED_KEPT_S go."""
        for agent_id, feed in list(self._feeds.items()):
            if not feed.consoles and now - feed.idle_since > FEED_KEPT_S:
                del self._feeds[agent_id]

    async def end_login(self, asker: Asker) -> None:
        """Closes the consoles of a login that has ended."""
        consoles = tuple(self.feed(asker).consoles.items())
        for socket in (each for each, login_sha256 in consoles if login_sha256 == asker.login_sha256):
            await socket.close(code=CLOSE_LOGIN_ENDED)

    async def close(self) -> None:
        """Closes every console: the node stops; they come back by themselves."""
        for feed in self._feeds.values():
            for socket in tuple(feed.consoles):
                await socket.close(code=WSCloseCode.GOING_AWAY)


def _payment_message(
    desk: Desk, fact: PaymentChanged, agent_language: str, call_language: str
) -> dict[str, Any]:
    answer = payment_answer(fact.payment, desk.catalogue, agent_language, call_language)
    return {
        "type": "payment",
        "why": fact.why.value,
        "field": None if fact.field is None else fact.field.value,
        "problem": None if fact.problem is None else fact.problem.value,
        "seconds_left": fact.seconds_left,
        "payment": answer.model_dump(mode="json"),
    }


async def open_stream(desk: Desk, ask: Ask) -> web.StreamResponse:
    """GET /v1/stream: a WebSocket that starts with a snapshot, or goes on after `last` of the same `run`."""
    desk.doorman.check_origin(ask.request)
    query = _checked_query(ask.request)
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=INCOMING_BYTES_MAX, compress=False)
    if not socket.can_prepare(ask.request).ok:
        raise DeskError("upgrade_needed", headers={"Upgrade": "websocket"})
    desk.streams.forget_idle(desk.now())
    feed = desk.streams.feed(ask.who)
    seen = _resume_point(query, feed.run)
    if len(feed.consoles) >= STREAMS_PER_AGENT_MAX:
        raise DeskError("streams_exceeded", retry_after_s=int(HEARTBEAT_S))
    feed.consoles[socket] = ask.who.login_sha256
    try:
        await socket.prepare(ask.request)
        await _serve(desk, ask.who, feed, socket, seen)
    finally:
        feed.consoles.pop(socket, None)
        feed.idle_since = desk.now()
    return socket


def _checked_query(request: web.Request) -> Mapping[str, str]:
    """`run` and `last`, or neither; DeskError("query_invalid") for anything else."""
    if len(request.query_string) > QUERY_BYTES_MAX or set(request.query) - {"run", "last"}:
        raise DeskError("query_invalid")
    last = request.query.get("last", "0")
    if not (last.isascii() and last.isdigit() and len(last) <= 15):
        raise DeskError("query_invalid")
    return request.query


def _resume_point(query: Mapping[str, str], run: str) -> int | None:
    """The number after which to go on; None for a fresh start; -1 (in no ring) for another run."""
    if "last" not in query:
        return None
    return int(query["last"]) if query.get("run") == run else -1


async def _serve(
    desk: Desk, asker: Asker, feed: Feed, socket: web.WebSocketResponse, seen: int | None
) -> None:
    """Writer, reader and login check of one console until the first of them ends.

    The login check is told to end, not cancelled: a cancelled database call would leave its lock behind.
    """
    over = asyncio.Event()
    talk = {
        asyncio.create_task(_write(desk, feed, socket, seen), name="stream-write"),
        asyncio.create_task(_read(socket), name="stream-read"),
    }
    check = asyncio.create_task(_watch_login(desk, asker, socket, over), name="stream-login")
    try:
        await asyncio.wait({*talk, check}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        over.set()
        for task in talk:
            task.cancel()
        for result in await asyncio.gather(*talk, check, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, OSError | TimeoutError):
                log.error("desk.stream.failed", error=type(result).__name__)
        with contextlib.suppress(OSError):
            await socket.close()


async def _write(desk: Desk, feed: Feed, socket: web.WebSocketResponse, seen: int | None) -> None:
    if seen is None:
        seen = feed.last
        await _send(socket, _encode(_snapshot(desk, feed, seen)))
    while feed.holds_after(seen):
        news = feed.news
        for message in feed.after(seen):
            seen += 1
            await _send(socket, message)
        if seen == feed.last:
            await news.wait()
    await socket.close(code=CLOSE_RESUME_TOO_OLD)


async def _send(socket: web.WebSocketResponse, message: bytes) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await socket.send_str(message.decode())


async def _read(socket: web.WebSocketResponse) -> None:
    """Returns when the console goes away or says anything: it has nothing to say here."""
    async for message in socket:
        if message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
            await socket.close(code=WSCloseCode.POLICY_VIOLATION)
            return


async def _watch_login(desk: Desk, asker: Asker, socket: web.WebSocketResponse, over: asyncio.Event) -> None:
    while await desk.doorman.keep_stream(asker.login_sha256, desk.now_ms):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOGIN_CHECK_S):
                await over.wait()
            return
    await socket.close(code=CLOSE_LOGIN_ENDED)


def _snapshot(desk: Desk, feed: Feed, seq: int) -> dict[str, Any]:
    """Everything the agent's console shows now; numbers go on from `seq`.

    His live calls; after a restart of the app those that died with it, so that a charge that was under way
    still shows its result.
    """
    asker = feed.asker
    assert asker.agent is not None
    who = asker.tenant, asker.agent.agent_id
    calls = desk.switchboard.calls_of(*who) or desk.switchboard.lost_calls_of(*who)
    return {
        "type": "snapshot",
        "run": feed.run,
        "seq": seq,
        "calls": [call_answer(call, asker).model_dump(mode="json") for call in calls],
        "payments": [answer for call in calls for answer in _payments(desk, asker, call)],
    }


def _payments(desk: Desk, asker: Asker, call: CallView) -> list[dict[str, Any]]:
    return [
        payment_answer(payment, desk.catalogue, asker.language, call.language).model_dump(mode="json")
        for payment in desk.switchboard.payments_of(call.call_id)
    ]


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
