"""An agent at the desk, as a browser would be one: logs in, listens to the stream, presses the buttons."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Self

import aiohttp

WAIT_S = 20.0
POLL_S = 0.1
PAID = ("authorised", "settled")
"""A sale is settled as soon as it is authorised: the desk may be told both at once."""
Json = dict[str, Any]


class DeskRefusal(Exception):
    """The desk answered with a problem document."""

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(f"{status} {problem.get('code')}")
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.problem.get("code"))


class _Http:
    """Requests to one desk; keeps every byte it was sent as evidence."""

    def __init__(self, base_url: str, headers: dict[str, str]) -> None:
        self.evidence: list[bytes] = []
        self._base = base_url.rstrip("/")
        self._headers = headers
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """One request; DeskRefusal for a problem document."""
        response = await self._send(method, path, body if body is not None or method == "GET" else {})
        answer: Json = await response.json(content_type=None)
        return answer

    async def _send(self, method: str, path: str, body: Json | None) -> aiohttp.ClientResponse:
        if self._http is None:
            raise ConnectionError("the desk client is not open")
        headers = dict(self._headers)
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        response = await self._http.request(method, self._base + path, json=body, headers=headers)
        self.evidence.append(await response.read())
        if response.status >= 400:
            raise DeskRefusal(response.status, await response.json(content_type=None))
        return response


class Integrator(_Http):
    """A tenant's own system with an access key: issues payment codes, reads calls."""

    def __init__(self, base_url: str, access_key: str) -> None:
        super().__init__(base_url, {"Authorization": f"Bearer {access_key}"})

    async def only_call(self) -> str:
        """The id of the one live call."""
        calls = (await self.call("GET", "/v1/calls"))["calls"]
        return str(calls[-1]["call_id"])

    async def payment_of(self, call_id: str) -> str:
        """The id of the call's payment as soon as there is one."""
        async with asyncio.timeout(WAIT_S):
            while not (payments := (await self.call("GET", f"/v1/calls/{call_id}"))["payments"]):
                await asyncio.sleep(POLL_S)
        return str(payments[-1]["payment_id"])

    async def until_open(self, payment_id: str, field: str) -> None:
        """Returns when the caller is being asked for this field."""
        async with asyncio.timeout(WAIT_S):
            while not _is_open(await self.call("GET", f"/v1/payments/{payment_id}"), field):
                await asyncio.sleep(POLL_S)

    async def state_of(self, payment_id: str, *states: str) -> str:
        """The payment's state as soon as it is one of these."""
        async with asyncio.timeout(WAIT_S):
            while (state := (await self.call("GET", f"/v1/payments/{payment_id}"))["state"]) not in states:
                await asyncio.sleep(POLL_S)
        return str(state)


def _is_open(payment: Json, field: str) -> bool:
    return any(one["field"] == field and one["state"] == "open" for one in payment["fields"])


class DeskClient(_Http):
    """One agent's HTTP and WebSocket connection."""

    def __init__(self, base_url: str) -> None:
        base = base_url.rstrip("/")
        super().__init__(base, {"Origin": base, "Sec-Fetch-Site": "same-origin"})
        self.messages: list[Json] = []
        self.password = ""
        """Chosen at the first login."""
        self._stream: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def __aexit__(self, *exc: object) -> None:
        if self._stream is not None:
            self._stream.cancel()
            await asyncio.gather(self._stream, return_exceptions=True)
        await super().__aexit__(*exc)

    async def log_in(self, user: str, one_time_password: str) -> None:
        """The first login with its new password; then the stream is open."""
        self.password = secrets.token_urlsafe(16)
        body = {"user": user, "password": one_time_password, "new_password": self.password}
        response = await self._send("POST", "/v1/login", body)
        # A jar would not send a `Secure` cookie over plain HTTP; browsers do so on loopback.
        self._headers["Cookie"] = response.headers["Set-Cookie"].split(";")[0]
        self._stream = asyncio.create_task(self._listen(), name="desk.stream")
        await self.until(lambda: any(one["type"] == "snapshot" for one in self.messages))

    async def until(self, found: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        """Returns when `found()` is true, looking after every stream message; TimeoutError otherwise."""
        until = time.monotonic() + timeout_s
        while not found():
            self._news.clear()
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    def payment(self, payment_id: str) -> Json:
        """The newest snapshot of a payment that the stream has brought."""
        for message in reversed(self.messages):
            payment: Json | None = message.get("payment")
            if payment is not None and payment["payment_id"] == payment_id:
                return payment
        return {}

    def steps(self, payment_id: str) -> list[str]:
        """Every step of a payment that the stream told, in order."""
        return [
            str(one.get("why"))
            for one in self.messages
            if (one.get("payment") or {}).get("payment_id") == payment_id
        ]

    async def payment_in(self, payment_id: str, *states: str, timeout_s: float = WAIT_S) -> Json:
        """The payment as soon as it is in one of these states."""
        await self.until(lambda: self.payment(payment_id).get("state") in states, timeout_s)
        return self.payment(payment_id)

    async def bridged_call(self, timeout_s: float = WAIT_S) -> Json:
        """The agent's call that is bridged now."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            calls = (await self.call("GET", "/v1/calls"))["calls"]
            for one in calls:
                if one["state"] == "bridged" and one["mine"]:
                    return dict(one)
            await asyncio.sleep(0.05)
        raise TimeoutError("no bridged call came up")

    async def start_payment(self, call_id: str, amount_minor: int, currency: str, reference: str) -> str:
        """Creates a payment and starts the capture; the payment's id."""
        body = {
            "amount_minor": amount_minor,
            "currency": currency,
            "reference": reference,
            "purpose": "booking",
        }
        payment = await self.call("POST", f"/v1/calls/{call_id}/payments", body)
        await self.call("POST", f"/v1/payments/{payment['payment_id']}/capture")
        return str(payment["payment_id"])

    async def _listen(self) -> None:
        if self._http is None:
            return
        async with self._http.ws_connect(self._base + "/v1/stream", headers=self._headers) as socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self.evidence.append(message.data.encode())
                    self.messages.append(message.json() | {"_at": time.monotonic()})
                    self._news.set()
