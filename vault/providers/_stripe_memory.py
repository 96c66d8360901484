"""The SDK's transports without a network: requests go to a host in memory, faults come back as from one.

`MemoryWire` is the broker's `Wire` with everything but the bytes: its retries, its time-outs and what it
calls "never sent" are the ones that run in production. `MemoryClient` is a synchronous transport for
whatever else speaks through the SDK. Nobody sleeps: the clock belongs to the simulation, and `pause` is
awaited at every point where a process can die or another task can run.

The host is anything that answers like `vault/proof/stripe_host.py`; it is not imported here, because the
proof drives the providers and never the other way round.
"""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

from vault.providers._stripe_config import Config
from vault.providers._stripe_sdk import stripe
from vault.providers._stripe_wire import READ_TIMEOUT_S, Wire

DELIVER, REFUSE, CLOSE, STALL, CUT_BODY, STALL_BODY = (
    "deliver",
    "refuse",
    "close",
    "stall",
    "cut_body",
    "stall_body",
)
"""What becomes of an answer on its way; the words of the host's `carriage`."""


class Reply(Protocol):
    """One HTTP answer."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> dict[str, str]:
        """Header names in lower case."""

    @property
    def body(self) -> bytes:
        """The whole body."""


class Answer(Protocol):
    """A reply, and how it travels."""

    @property
    def carriage(self) -> str:
        """One of the six words above."""

    @property
    def reply(self) -> Reply:
        """The reply; without meaning when nothing is delivered."""


class Host(Protocol):
    """Whoever answers."""

    def carry(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
        """Executes one request, with the fault that it draws for it."""


class MemoryWire(Wire):
    """The broker's wire to a host in memory.

    `pause("request")` and `pause("answer")` are awaited before and after the host has the request; what
    they raise looks to the host like a caller that died there. `sleep` lets simulated seconds pass.
    """

    def __init__(
        self,
        host: Host,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        pause: Callable[[str], Awaitable[None]],
        config: Config | None = None,
    ) -> None:
        super().__init__(config or Config())
        self._host = host
        self._clock = clock
        self._nap = sleep
        self._pause = pause

    def _trusting(self, config: Config) -> ssl.SSLContext:
        """Nobody: there is no connection."""
        del config
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def request_stream_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[Any, int, Mapping[str, str]]:
        """The body to be read, status and headers; failures are those of a real connection."""
        try:
            return await self._exchanged(method, url, headers, post_data)
        except (OSError, self.aiohttp.ClientError) as error:
            self._handle_request_error(error)

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """The pause between two tries, in simulated time."""
        return self._nap(secs)

    def _add_jitter_time(self, sleep_seconds: float) -> float:
        """No jitter: a simulation repeats itself."""
        return sleep_seconds

    async def _exchanged(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        await self._pause("request")
        answer = self._host.carry(method, _target(url), headers, _bytes(post_data), self._clock())
        await self._pause("answer")
        reply = answer.reply
        match answer.carriage:
            case "refuse":
                raise self._refused(url)
            case "close":
                raise self.aiohttp.ServerDisconnectedError
            case "stall":
                await self._nap(READ_TIMEOUT_S)
                raise self.aiohttp.SocketTimeoutError
        broken = None if answer.carriage == DELIVER else answer.carriage
        return _Body(self, reply.body, broken), reply.status, reply.headers

    def _refused(self, url: str) -> Exception:
        """What aiohttp raises when nobody listens."""
        parts = urlsplit(url)
        key = self.aiohttp.client_reqrep.ConnectionKey(
            parts.hostname or "",
            parts.port,
            is_ssl=True,
            ssl=True,
            proxy=None,
            proxy_auth=None,
            proxy_headers_hash=None,
        )
        refused: Exception = self.aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused"))
        return refused


class _Body:
    """A body that is read in one go, or breaks in its middle."""

    def __init__(self, wire: MemoryWire, body: bytes, broken: str | None) -> None:
        self._wire, self._body, self._broken = wire, body, broken

    async def read(self) -> bytes:
        """The whole body."""
        if self._broken == CUT_BODY:
            raise self._wire.aiohttp.ClientPayloadError("Response payload is not completed")
        if self._broken == STALL_BODY:
            await self._wire.sleep_async(READ_TIMEOUT_S)
            raise self._wire.aiohttp.SocketTimeoutError
        return self._body


class MemoryClient(stripe.HTTPClient):
    """A synchronous transport to a host in memory; tries follow each other at once.

    Which failure is retried is what was measured with the SDK's client for `requests`: everything but an
    answer that is cut in its body.
    """

    name = "memory"
    INITIAL_DELAY = MAX_DELAY = 0

    def __init__(self, host: Host, clock: Callable[[], float]) -> None:
        super().__init__()
        self._host = host
        self._clock = clock

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """Body, status and headers, or an APIConnectionError."""
        answer = self._host.carry(method, _target(url), headers or {}, _bytes(post_data), self._clock())
        if answer.carriage != DELIVER:
            _lost(should_retry=answer.carriage != CUT_BODY)
        return answer.reply.body.decode(), answer.reply.status, answer.reply.headers

    def close(self) -> None:
        """There is nothing to close."""


def _lost(*, should_retry: bool) -> NoReturn:
    error: Any = stripe.APIConnectionError
    raise error("The connection broke.", should_retry=should_retry)


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _bytes(post_data: Any) -> bytes:
    return post_data if isinstance(post_data, bytes) else (post_data or "").encode("ascii")
