"""HTTP to Stripe for the broker: the SDK's aiohttp client, exact about what can have been executed.

| what happens | the SDK's own client | here |
|---|---|---|
| refused, unknown host, TLS, connect time-out | retried, APIConnectionError | retried, `NotSentError` |
| the same after a try that may have run | APIConnectionError | the same: unclear |
| cut, reset or stalled before the answer | retried, APIConnectionError | the same: unclear |
| answer cut or stalled in its body | one try, an aiohttp error | retried, APIConnectionError |
| 409; 5xx without `stripe-should-retry: false` | retried | the same |
| 429: stands before the idempotency layer | one try, RateLimitError | retried |
| 429 after a try that may have run | RateLimitError | APIConnectionError: unclear |

All tries of one call carry one idempotency key, so that a repeated one is answered, not executed. A pooled
connection that dies is *not* a connection that was never made.
"""

import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp

from vault.providers._stripe_config import Config
from vault.providers._stripe_sdk import stripe
from vault.providers.base import NotSentError

CONNECT_TIMEOUT_S = 5.0
"""TCP and TLS: a host that has not answered by then is better tried again."""
READ_TIMEOUT_S = 25.0
"""Between two pieces of an answer: an issuer may take 20 s, and two such waits end in the broker's minute."""
RETRIES = 2
CONNECTIONS_MAX = 50
"""Beyond Stripe's own limit of parallel requests more would only wait there."""
TOO_MANY = 429

_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""With TLS and certificate errors as its sub-classes. Everything else may have been executed."""


@dataclass
class _Tries:
    """What is known about all tries of one call."""

    maybe_executed: bool = False


_tries: ContextVar[_Tries] = ContextVar("stripe_tries")


class Wire(stripe.AIOHTTPClient):
    """One per tenant; its connections are its own and are kept alive."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=CONNECT_TIMEOUT_S,
                sock_connect=CONNECT_TIMEOUT_S,
                sock_read=READ_TIMEOUT_S,
            ),
            proxy=config.egress_proxy or None,
        )
        self._own_session: aiohttp.ClientSession | None = None
        self._tls = self._trusting(config)

    def _trusting(self, config: Config) -> ssl.SSLContext:
        """Whose certificates are believed; read at start, so that a wrong file shows then."""
        return ssl.create_default_context(cafile=config.ca_file or stripe.ca_bundle_path)

    @property
    def _session(self) -> aiohttp.ClientSession:
        """Made with the first request, because it belongs to the running loop; keeps no cookies."""
        if self._own_session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls, limit=CONNECTIONS_MAX)
            jar = aiohttp.DummyCookieJar()
            self._own_session = aiohttp.ClientSession(connector=connector, cookie_jar=jar)
        return self._own_session

    async def request_with_retries_async(self, *args: Any, **named: Any) -> tuple[bytes, int, Any]:
        """The last answer; `NotSentError` when no try can have reached Stripe."""
        tries = _Tries()
        before = _tries.set(tries)
        try:
            content, status, headers = await super().request_with_retries_async(*args, **named)
        except stripe.APIConnectionError:
            if not tries.maybe_executed:
                raise NotSentError from None
            raise
        finally:
            _tries.reset(before)
        if status == TOO_MANY and tries.maybe_executed:
            sentence = "Stripe is busy, and an earlier try may have run."
            raise stripe.APIConnectionError(sentence)  # type: ignore[no-untyped-call]
        return content, status, headers

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Any]:
        """One try with its whole body; whatever fails is an APIConnectionError that may be retried."""
        try:
            content, status, found = await self.request_stream_async(method, url, headers, post_data)
            body = await content.read()
        except stripe.APIConnectionError as error:
            self._note(error.__cause__)
            raise
        except Exception as error:  # noqa: BLE001 - the SDK catches nothing of what reading a body may raise
            self._note(error)
            self._handle_request_error(error)
        if status != TOO_MANY:
            _tries.get().maybe_executed = True
        return body, status, found

    def _should_retry(self, response: Any, *args: Any) -> bool:
        """As the SDK, and 429."""
        busy = response is not None and response[1] == TOO_MANY
        if not busy:
            return bool(super()._should_retry(response, *args))
        _, num_retries, max_network_retries = args
        return int(num_retries) < int(max_network_retries or 0)

    @staticmethod
    def _note(cause: BaseException | None) -> None:
        if not isinstance(cause, _NEVER_CONNECTED):
            _tries.get().maybe_executed = True

    async def close_async(self) -> None:
        """Closes the connections, if there are any."""
        if self._own_session is not None:
            await self._own_session.close()
            self._own_session = None
