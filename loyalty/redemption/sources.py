"""Shops that issue voucher codes themselves: one order per redemption, known by its key at both ends.

A source is asked outside every database transaction. Its answer is a code, a refusal, or nothing in time:
then the order may have been filled all the same, and only `find`, under the same key, says what became of
it. The service is plain HTTPS with JSON:

    PUT <url>/<key>  {"reward": "coffee"}   200 or 201 {"code": "…"}; again: the same
                                               4xx: refused, nothing is issued
    GET <url>/<key>                            200 {"code": "…"}; 404: never issued
"""

import asyncio
import http.client
import json
import ssl
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from loyalty.errors import LoyaltyError
from loyalty.programme import Programme, VoucherSource
from loyalty.redemption.stock import CODE, plain_code
from pay_ivr.logs import log

ANSWER_S = 6.0
"""Per network operation: a caller waits in silence; longer, and he is told that the voucher follows."""
PATIENCE_S = 10.0
"""For an order, a place among `AT_ONCE` included; what has not been sent by then is never sent."""
AT_ONCE = 8
"""Orders at one source at a time, in threads of its own: a slow shop keeps nobody else waiting."""
ANSWER_BYTES_MAX = 4_096
"""A code and its braces."""
TOKEN_BYTES_MAX = 4_096
"""A token is a line."""
ISSUED = frozenset({200, 201})
BUSY = frozenset({408, 425, 429, *range(500, 600)})
"""Answers that say nothing about the order: it is looked up later."""


@dataclass(frozen=True)
class Order:
    """What a source is asked for."""

    key: str
    """The redemption's id; the source knows the order by it for ever."""
    reward_id: str


@dataclass(frozen=True)
class Voucher:
    """The source has issued a code."""

    code: str = field(repr=False)


@dataclass(frozen=True)
class NotIssued:
    """The source has issued nothing under this key, and will not."""


class SourceLate(LoyaltyError):
    """What became of an order is not known; `find` will tell."""

    def __init__(self) -> None:
        super().__init__("source_late", "The voucher's source has not answered.", retryable=True)


class Source(Protocol):
    """Somebody who issues codes."""

    async def issue(self, order: Order) -> Voucher | NotIssued:
        """A code for the order, the same one when it is asked again; SourceLate when that is not known."""

    async def find(self, order: Order) -> Voucher | NotIssued:
        """What became of the order, asked when no `issue` of it can be under way; SourceLate."""


class HttpSource:
    """A source behind HTTPS."""

    def __init__(self, section: VoucherSource, token_file: Path) -> None:
        self._section = section
        self._token_file = token_file
        self._threads = ThreadPoolExecutor(AT_ONCE, f"voucher-{section.id}")

    async def issue(self, order: Order) -> Voucher | NotIssued:
        """PUT, in a thread of its own."""
        body = json.dumps({"reward": order.reward_id}).encode()
        return await self._asked("PUT", order, body)

    async def find(self, order: Order) -> Voucher | NotIssued:
        """GET, in a thread of its own."""
        return await self._asked("GET", order, None)

    async def _asked(self, method: str, order: Order, body: bytes | None) -> Voucher | NotIssued:
        try:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(PATIENCE_S):
                status, answer = await loop.run_in_executor(
                    self._threads, self._answer, method, order.key, body
                )
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a token of two lines
            log.warning("voucher.source.failed", source=self._section.id, error=type(error).__name__)
            raise SourceLate from None
        if status in BUSY:
            log.warning("voucher.source.failed", source=self._section.id, status=status)
            raise SourceLate
        if status not in ISSUED:
            return self._refused(method, status)
        return self._voucher(answer)

    def _refused(self, method: str, status: int) -> NotIssued:
        """A 4xx ends an order. Of a look-up only 404 does: any other is about us, not about the order."""
        log.warning("voucher.source.refused", source=self._section.id, status=status)
        if method == "GET" and status != http.HTTPStatus.NOT_FOUND:
            raise SourceLate
        return NotIssued()

    def _voucher(self, answer: bytes) -> Voucher:
        """The code of an answer. One that cannot be read is no refusal: the code may be valid in the shop."""
        try:
            body: Any = json.loads(answer)
            code = plain_code(body["code"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            code = ""
        if not CODE.fullmatch(code):
            log.error("voucher.source.malformed", source=self._section.id)
            raise SourceLate
        return Voucher(code)

    def _answer(self, method: str, key: str, body: bytes | None) -> tuple[int, bytes]:
        url = urlsplit(self._section.url)
        headers = {
            "Authorization": f"Bearer {_token(self._token_file)}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        connection = self._connection(url.scheme, url.hostname or "", url.port)
        try:
            connection.request(method, f"{url.path.rstrip('/')}/{key}", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX)
        finally:
            connection.close()

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=ANSWER_S)
        context = ssl.create_default_context(cafile=self._section.ca_file or None)
        return http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=context)


def _token(path: Path) -> str:
    """The one line of the token's file; OSError when it is missing or others may read it."""
    found = path.stat()
    if stat.S_IMODE(found.st_mode) & 0o077 or found.st_size > TOKEN_BYTES_MAX:
        log.error("voucher.secret.unsafe", file=path.name)
        raise PermissionError
    return path.read_text(encoding="latin-1").strip()


def sources_of(programmes: Mapping[str, Programme], data_dir: Path) -> dict[tuple[str, str], Source]:
    """Every tenant's sources, by tenant and the id in its file; tokens are files of `<data_dir>/keys`."""
    return {
        (tenant, section.id): HttpSource(section, data_dir / "keys" / f"voucher-{tenant}-{section.id}")
        for tenant, programme in programmes.items()
        for section in programme.voucher_source
    }
