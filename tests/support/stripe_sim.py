"""Stripe over real TLS: the sans-IO host of `vault/proof` behind aiohttp, on loopback, with its own CA.

`async with simulator() as sim:` for tests in one process; `python -m tests.support.stripe_sim --dir DIR` for
a process of its own, which prints one JSON line (url, CA file, keys) and ends when its input closes. A
request that the SDK's own types do not know is refused and makes the test fail when the simulator ends.
What the cardholder, the bank and the calendar do is a control call: `POST /_sim/<name>`.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support import stripe_contract
from vault.proof.stripe_account import Account
from vault.proof.stripe_failure import Failure
from vault.proof.stripe_faults import Carriage, Fault
from vault.proof.stripe_form import decoded
from vault.proof.stripe_host import Answer, Request, StripeHost
from vault.proof.stripe_replays import Reply
from vault.proof.stripe_webhooks import Delivery, DeliveryPlan

NAMES = ("api.stripe.com", "localhost")
"""Host names of the certificate: a caller may check the real one while it connects to loopback."""
STALL_S_MAX = 60.0
"""A stalled answer ends by itself after this, whatever the caller does."""
POLL_S = 0.02
CLOSING_S = 0.01
"""A broken-off TLS connection is closed in the loop's next turns."""
WEBHOOK_TIMEOUT_S = 10.0
_DAYS = 2


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


class StripeSim:
    """The running simulator; `host` is the account itself, for whatever a test wants to see or do."""

    def __init__(self, host: StripeHost, directory: Path) -> None:
        self.host = host
        self.ca_file = directory / "stripe-ca.pem"
        self.url = ""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and idempotency key of every request that was read, in order."""
        self.violations: list[str] = []
        """What the SDK's types said against a request; a test that provokes one clears the list."""
        self.deliveries: list[tuple[str, int]] = []
        """Event id and HTTP status (0: no answer) of every webhook that was sent."""
        self._skipped_s = 0.0
        self._holds: list[Hold] = []
        self._tls = _certificates(directory, self.ca_file)
        self._port = 0
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
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self._port}"
        await web.SockSite(self._runner, listener, ssl_context=self._tls).start()
        self._tasks.append(asyncio.create_task(self._deliver(), name="stripe-webhooks"))

    async def close(self) -> None:
        """Closes the listener and every connection: whoever connects now is refused."""
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
        await self.close()
        yield
        await self.open()

    async def _answered(self, incoming: web.Request) -> web.StreamResponse:
        body = await incoming.read()
        headers = {name.lower(): value for name, value in incoming.headers.items()}
        request = Request(incoming.method, incoming.raw_path, headers, body)
        self.requests.append((request.method, request.path, request.key))
        if (refusal := self._contradiction(request)) is not None:
            return web.Response(status=400, body=refusal.body, headers=refusal.headers)
        return await self._carried(await self._exchanged(request), incoming)

    def _contradiction(self, request: Request) -> Reply | None:
        """The 400 for a request that the SDK's types do not know; it is noted, too."""
        text = (
            request.body.decode("ascii", "replace")
            if request.method == "POST"
            else request.target.partition("?")[2]
        )
        try:
            stripe_contract.accept_wire(request.method, request.path, decoded(text))
        except Failure:
            return None  # no form at all: the host says what is wrong with it
        except stripe_contract.ContractBroken as broken:
            self.violations.append(str(broken))
            error = {"type": "invalid_request_error", "code": "parameter_unknown", "message": str(broken)}
            return Reply(400, {"content-type": "application/json"}, json.dumps({"error": error}).encode())
        return None

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
        }


@contextlib.asynccontextmanager
async def simulator(
    directory: Path,
    *,
    seed: int = 1,
    account: Account | None = None,
    shares: Mapping[Fault, float] | None = None,
    plan: DeliveryPlan | None = None,
) -> AsyncIterator[StripeSim]:
    """A listening simulator; ContractBroken at the end when a request contradicted the SDK's types."""
    sim = StripeSim(StripeHost(seed, account, shares, plan), directory)
    await sim.open()
    try:
        yield sim
    finally:
        await sim.close()
    if sim.violations:
        raise stripe_contract.ContractBroken("; ".join(sim.violations))


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


def _certificates(directory: Path, ca_file: Path) -> ssl.SSLContext:
    """A server context with a certificate of a throw-away CA, which is written to `ca_file`."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stripe simulator CA")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    ca_ski = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _unsigned(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(ca_ski, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAMES[0])])
    alternatives = [*map(x509.DNSName, NAMES), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        _unsigned(subject, ca_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_ski), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    server_file = directory / "stripe-server.pem"
    server_file.write_bytes(_private(key) + leaf.public_bytes(serialization.Encoding.PEM))
    server_file.chmod(0o600)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_file)
    return context


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=_DAYS))
        .not_valid_after(now + timedelta(days=_DAYS))
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


async def _run(directory: Path, seed: int, account: Account) -> None:
    """Serves until standard input closes."""
    sim = StripeSim(StripeHost(seed, account), directory)
    await sim.open()
    print(json.dumps({"url": sim.url, "ca_file": str(sim.ca_file), "keys": sim.keys}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await sim.close()


def main() -> None:
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
    asyncio.run(_run(given.dir, given.seed, account))


if __name__ == "__main__":
    main()
