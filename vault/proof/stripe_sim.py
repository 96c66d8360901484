"""Stripe over real TLS: the sans-IO host behind aiohttp, on loopback, with its own authority.

As a process of its own, `python -m vault.proof.stripe_sim --dir DIR`, it prints one JSON line (url, CA file,
keys) and ends when its input closes; the input lines `shut` and `open` close and open its port. What the
cardholder, the bank and the calendar do is a control call: `POST /_sim/<name>`.

It is the provider, and so the one process besides the cells that may see cards. What came over every
connection that is no cell's is kept as it was read, so that a proof can search it (`heard`).
"""

import argparse
import asyncio
import base64
import contextlib
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from vault.proof.stripe_account import Account
from vault.proof.stripe_failure import Failure
from vault.proof.stripe_faults import Carriage, Fault
from vault.proof.stripe_form import decoded
from vault.proof.stripe_host import Answer, Request, StripeHost
from vault.proof.stripe_replays import Reply
from vault.proof.stripe_tls import server_context
from vault.proof.stripe_webhooks import Delivery, DeliveryPlan

STALL_S_MAX = 60.0
"""A stalled answer ends by itself after this, whatever the caller does."""
POLL_S = 0.02
CLOSING_S = 0.01
"""A broken-off TLS connection is closed in the loop's next turns."""
WEBHOOK_TIMEOUT_S = 10.0
HEARD_BYTES_MAX = 1 << 24
"""Kept of what was read: a proof makes a hundredth of it. What is dropped is counted."""
Oracle = Callable[[str, str, dict[str, Any]], str]
"""Method, path and form of a request -> what is wrong with it; empty for nothing."""


@dataclass
class Hold:
    """One request that is kept executing: `begun` is set when it has begun, `release()` lets it end."""

    path_end: str
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    _go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Lets the request execute and answer."""
        self._go_on.set()

    async def wait(self) -> None:
        """Ends when the request may go on."""
        self.begun.set()
        await self._go_on.wait()


@dataclass
class Heard:
    """What came over connections that are no cell's, as it was read."""

    requests: int = 0
    dropped: int = 0
    """Requests that were not kept any more: above zero, the evidence is not whole."""
    of_cells: int = 0
    """Requests that came with the cell's key; nothing of these is kept."""
    connections: dict[tuple[str, str], bytearray] = field(default_factory=dict)
    """Peer and key -> its requests, one behind the other."""
    _kept: int = 0

    def keep(self, incoming: web.Request, body: bytes, cell_key: str) -> None:
        """One request: its line, its headers, its body."""
        authorization = incoming.headers.get("authorization", "")
        if authorization == f"Bearer {cell_key}":
            self.of_cells += 1
            return
        self.requests += 1
        lines = [f"{incoming.method} {incoming.raw_path}".encode()]
        lines += [name + b": " + value for name, value in incoming.raw_headers]
        said = b"\r\n".join([*lines, b"", body])
        if self._kept + len(said) > HEARD_BYTES_MAX:
            self.dropped += 1
            return
        self._kept += len(said)
        peer = incoming.transport.get_extra_info("peername") if incoming.transport is not None else None
        self.connections.setdefault((str(peer), authorization), bytearray()).extend(said)

    def told(self) -> dict[str, Any]:
        """For a control call: bytes per connection in base64."""
        said = [base64.b64encode(one).decode("ascii") for one in self.connections.values()]
        return {
            "requests": self.requests, "dropped": self.dropped, "of_cells": self.of_cells, "said": said
        }  # fmt: skip


class StripeSim:
    """The running simulator; `host` is the account itself, for whatever a test wants to see or do."""

    def __init__(self, host: StripeHost, directory: Path, oracle: Oracle | None = None) -> None:
        """`oracle`: asked about every request; what it says against one is the answer, a 400."""
        self.host = host
        self.ca_file = directory / "stripe-ca.pem"
        self.url = ""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and idempotency key of every request that was read, in order."""
        self.violations: list[str] = []
        """What the oracle said against requests; a test that provokes one clears the list."""
        self.heard = Heard()
        self.deliveries: list[tuple[str, int]] = []
        """Event id and HTTP status (0: no answer) of every webhook that was sent."""
        self._skipped_s = 0.0
        self._holds: list[Hold] = []
        self._oracle = oracle
        self._tls = server_context(directory, self.ca_file)
        self._port: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def keys(self) -> dict[str, str]:
        """API keys by role: `cell`, `broker`, `full`."""
        return asdict(self.host.keys)

    def now(self) -> float:
        """The simulator's time: the real one, plus what was skipped."""
        return time.time() + self._skipped_s

    def skip(self, seconds: float) -> None:
        """Moves the simulator's calendar ahead."""
        self._skipped_s += seconds
        self.host.tick(self.now())

    def hold(self, path_end: str) -> Hold:
        """Keeps the next request whose path ends so from executing, until it is released."""
        hold = Hold(path_end)
        self._holds.append(hold)
        return hold

    async def open(self) -> None:
        """Listens; `url` is set afterwards. The port stays the same when it is closed and opened again."""
        app = web.Application(client_max_size=2**20)
        app.router.add_post("/_sim/{name}", self._controlled)
        app.router.add_route("*", "/{path:.*}", self._answered)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._port = self._port or _kept_port()
        place = self._port.getsockname()
        listener = socket.create_server(place)
        self.url = f"https://127.0.0.1:{place[1]}"
        await web.SockSite(self._runner, listener, ssl_context=self._tls).start()
        self._tasks.append(asyncio.create_task(self._deliver(), name="stripe-webhooks"))

    async def close(self) -> None:
        """Closes everything and gives the port back."""
        await self.shut()
        if self._port is not None:
            self._port.close()
            self._port = None

    async def shut(self) -> None:
        """Closes the listener and every connection: whoever connects now is refused. `open` ends it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._runner is not None:
            await self._break_off(self._runner)
            await self._runner.cleanup()
            self._runner = None

    @staticmethod
    async def _break_off(runner: web.AppRunner) -> None:
        """Ends connections at once: a TLS farewell waits 30 s for a peer that has gone without one."""
        for connection in list(runner.server.connections) if runner.server else []:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(CLOSING_S)

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Connections are refused meanwhile."""
        await self.shut()
        yield
        await self.open()

    async def _answered(self, incoming: web.Request) -> web.StreamResponse:
        body = await incoming.read()
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        self.heard.keep(incoming, body, self.host.keys.cell)
        request = Request(incoming.method, incoming.raw_path, headers, body)
        self.requests.append((request.method, request.path, request.key))
        if (refusal := self._contradiction(request)) is not None:
            return web.Response(status=400, body=refusal.body, headers=refusal.headers)
        return await self._carried(await self._exchanged(request), incoming)

    def _contradiction(self, request: Request) -> Reply | None:
        """The 400 for a request that the oracle does not know; it is noted, too."""
        if self._oracle is None:
            return None
        query = request.target.partition("?")[2]
        text = request.body.decode("ascii", "replace") if request.method == "POST" else query
        try:
            wrong = self._oracle(request.method, request.path, decoded(text))
        except Failure:
            return None  # no form at all: the host says what is wrong with it
        if not wrong:
            return None
        self.violations.append(wrong)
        error = {"type": "invalid_request_error", "code": "parameter_unknown", "message": wrong}
        return Reply(400, {"content-type": "application/json"}, json.dumps({"error": error}).encode())

    async def _exchanged(self, request: Request) -> Answer:
        """The host's answer; the request executes while a hold on it lasts."""
        hold = next((one for one in self._holds if request.path.endswith(one.path_end)), None)
        if hold is None:
            return self.host.exchange(request, self.now())
        self._holds.remove(hold)
        begun = self.host.begin(request, self.now())
        await hold.wait()
        reply = begun if isinstance(begun, Reply) else self.host.finish(begun, self.now())
        return Answer(Carriage.DELIVER, reply)

    @staticmethod
    async def _carried(answer: Answer, incoming: web.Request) -> web.StreamResponse:
        """Delivers the answer, or breaks the connection at the point that the fault names."""
        reply, carriage = answer.reply, answer.carriage
        if carriage is Carriage.DELIVER:
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        if carriage is Carriage.STALL:
            await _until_gone(incoming)
        if carriage in {Carriage.CLOSE, Carriage.REFUSE, Carriage.STALL}:
            return _broken_off(incoming)
        cut = web.StreamResponse(status=reply.status, headers=reply.headers)
        cut.content_length = len(reply.body)
        await cut.prepare(incoming)
        await cut.write(reply.body[: len(reply.body) // 2])
        if carriage is Carriage.STALL_BODY:
            await _until_gone(incoming)
        return _broken_off(incoming, cut)

    async def _deliver(self) -> None:
        """Sends webhooks that are due, for ever."""
        timeout = aiohttp.ClientTimeout(total=WEBHOOK_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                for delivery in self.host.webhooks.due(self.now()):
                    await self._post(session, delivery)
                await asyncio.sleep(POLL_S)

    async def _post(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        try:
            async with session.post(delivery.url, data=delivery.body, headers=delivery.headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        self.deliveries.append((delivery.event_id, status))
        if not 200 <= status < 300:
            self.host.webhooks.failed(delivery, self.now())

    async def _controlled(self, incoming: web.Request) -> web.Response:
        """A control call of a test in another process; needs the account's full key."""
        if incoming.headers.get("authorization") != f"Bearer {self.host.keys.full}":
            return web.json_response({"sentence": "control calls need the full key"}, status=401)
        name, given = incoming.match_info["name"], await incoming.json()
        try:
            return web.json_response({"result": self._controls()[name](**given)})
        except Failure as failure:
            return web.json_response({"error": failure.error}, status=failure.status)

    def _controls(self) -> dict[str, Callable[..., Any]]:
        """Name of a control call -> what it does; arguments are the members of the JSON body."""
        host, now = self.host, self.now()
        return {
            "pay": lambda page, pan, authenticates=True: host.checkout.pay(
                page, pan, now, authenticates=authenticates
            ),
            "visit": host.checkout.visit,
            "authenticate": lambda intent, passed: host.intents.authenticated(intent, now, passed=passed),
            "dispute": lambda charge: host.refunds.dispute(charge, now),
            "win": lambda dispute: host.refunds.win(dispute, now),
            "pay_out": lambda currency: host.ledger.pay_out(currency, now),
            "skip": self.skip,
            "fault": lambda fault, **where: host.faults.order(Fault(fault), **where),
            "shares": lambda **shares: host.faults.set_shares(
                {Fault(one): share for one, share in shares.items()}
            ),
            "plan": lambda **plan: setattr(host.webhooks, "plan", DeliveryPlan(**plan)),
            "endpoint": lambda url, secret: host.webhooks.secrets.update({url: secret}),
            "charges": host.successful_charges,
            "requests": lambda: list(self.requests),
            "violations": lambda: list(self.violations),
            "drawn": lambda: list(host.faults.drawn),
            "heard": self.heard.told,
        }


async def _until_gone(incoming: web.Request) -> None:
    """Until the caller has closed the connection, or STALL_S_MAX."""
    deadline = time.monotonic() + STALL_S_MAX
    while time.monotonic() < deadline:
        if incoming.transport is None or incoming.transport.is_closing():
            return
        await asyncio.sleep(POLL_S)


def _broken_off(incoming: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Closes the connection without another byte."""
    if incoming.transport is not None:
        incoming.transport.abort()
    return response or web.Response()


def _kept_port() -> socket.socket:
    """A port of ours for as long as this is open: bound and not listening, so whoever connects is refused.

    Another socket of ours can listen on it (socket(7), SO_REUSEADDR), and nobody else can take it meanwhile.
    """
    kept = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


async def _serve(directory: Path, seed: int, account: Account, oracle: Oracle | None) -> None:
    """Serves until standard input closes."""
    sim = StripeSim(StripeHost(seed, account), directory, oracle)
    await sim.open()
    told = {"url": sim.url, "ca_file": str(sim.ca_file), "keys": sim.keys}
    while True:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        if not line:
            break
        await {"shut": sim.shut, "open": sim.open}[line.strip()]()
        told = {"done": line.strip()}
    await sim.close()


def main(oracle: Oracle | None = None) -> None:
    """The simulator as a process of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="where CA and certificate are written")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--canary", action="store_true", help="take the canary range too")
    parser.add_argument(
        "--no-moto", action="store_true", help="an account without mail-order/telephone-order"
    )
    given = parser.parse_args()
    account = Account(canary=given.canary, moto=not given.no_moto)
    asyncio.run(_serve(given.dir, given.seed, account, oracle))


if __name__ == "__main__":
    main()
