"""The whole PCI zone for tests: a real broker, spawner and media process, and a caller who keys.

Keys go in by `media-keys.sock`, as those cut from SIP INFO do, so that no test here needs RTP. Every process
is ended by its own pid.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from audit.outbox import stamp
from pay_ivr.supervisor import provider_names
from vault import Door, NewPayment, Payment, PaymentChanged, PaymentState, VaultError, Why
from vault.hatch import hatch
from vault.posture import SPAWNER_ENVIRONMENT
from vault.providers._sandbox_host import SandboxHost
from vault.providers.base import StepRequest

ROOT = Path(__file__).parents[2]
WAIT_S = 15.0
KEY_GAP_S = 0.02
"""Between two presses: faster than any thumb, slower than two twins of one press."""
TENANT = """
name = "Demo Travel"
live = {live}
[payment]
provider = "{provider}"
currencies = ["EUR", "USD", "JPY"]
amount_max_minor = 500000
purposes = ["booking", "invoice", "deposit"]
unattended = true
merchant_initiated = true
canary = {canary}
"""
RESULTS = (
    PaymentState.AUTHORISED,
    PaymentState.SETTLED,
    PaymentState.DECLINED,
    PaymentState.NEEDS_ACTION,
    PaymentState.CHECKED,
)
VISA = "4242424242424242"
EXPIRY = "1231"
CVV = "123"


class ZoneProcesses:
    """Three processes of one node in a temporary directory."""

    def __init__(self, root: Path, log_level: str = "warning", without: tuple[str, ...] = ()) -> None:
        self.run_dir = root
        self.data_dir = root / "data"
        self.tenants_dir = root / "tenants"
        self.log_path = root / "broker.log"
        self._log_level = log_level
        self._without = without
        """Protections that the spawner leaves out, as on a weaker machine."""
        for folder in (self.data_dir, self.tenants_dir):
            folder.mkdir()
        self.write_tenant("demo")
        self.write_tenant("direct", provider="sandbox_direct")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._hatches = (hatch(), hatch())
        """Of media and of the spawner: the broker's end, then theirs."""
        self._media: socket.socket | None = None

    def write_tenant(
        self, name: str, *, provider: str = "sandbox", canary: bool = False, live: bool = False
    ) -> None:
        text = TENANT.format(provider=provider, canary=str(canary).lower(), live=str(live).lower())
        (self.tenants_dir / f"{name}.toml").write_text(text)

    # --- processes
    # --------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Starts `spawner`, `media` and `broker`, or those named, and waits for their sockets."""
        for name in names or ("spawner", "media", "broker"):
            getattr(self, f"_start_{name}")()

    def _start_spawner(self) -> None:
        chosen = [part for name in provider_names(self.tenants_dir) for part in ("--provider", name)]
        chosen += [part for item in self._without for part in ("--without", item)]
        environment = {**os.environ, **SPAWNER_ENVIRONMENT}
        command = ["vault.spawner", "--run-dir", str(self.run_dir), *chosen]
        self._run("spawner", command, environment, hatches={"--hatch": self._hatches[1][1]})
        self._wait_for("spawner", "spawner.ready")

    def _start_media(self) -> None:
        ports = ("--bind-ip", "127.0.0.1", "--port-first", "30000", "--port-last", "60998")
        command = ["vault.media", "--run-dir", str(self.run_dir), "--info-keys", *ports]
        self._run("media", command, hatches={"--hatch": self._hatches[0][1]})
        self._wait_for("media", "media.sock")
        if self._media is not None:
            self._media.close()
        self._media = _connected(self.run_dir / "media.sock")

    def _start_broker(self) -> None:
        paths = ("--data-dir", self.data_dir, "--run-dir", self.run_dir, "--tenants-dir", self.tenants_dir)
        arguments = ["vault.broker", *map(str, paths), "--log-level", self._log_level]
        with self.log_path.open("ab") as log:
            media, spawner = (ends[0] for ends in self._hatches)
            hatches = {"--media-hatch": media, "--spawner-hatch": spawner}
            self._run("broker", arguments, stderr=log, hatches=hatches)
        self._wait_for("broker", "vault.sock")

    def start_audit(self) -> None:
        """Starts the log's writer on the broker's outbox."""
        source = f"vault={self.run_dir / 'outbox-vault.sock'}"
        paths = ("--data-dir", str(self.data_dir), "--run-dir", str(self.run_dir))
        self._run("audit", ["audit", *paths, "--source", source])
        self._wait_for("audit", "audit.sock")

    def _run(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str] | None = None,
        stderr: Any = None,
        hatches: dict[str, socket.socket] | None = None,
    ) -> None:
        ends = {option: end.fileno() for option, end in (hatches or {}).items()}
        command = [sys.executable, "-m", *arguments, *(str(part) for pair in ends.items() for part in pair)]
        self.running[name] = subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=stderr, pass_fds=tuple(ends.values())
        )

    def _wait_for(self, process: str, name: str) -> None:
        """Until the socket accepts, or the file is there; a process that ended instead fails the test."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and self.running[process].poll() is None:
            try:
                if name.endswith(".sock"):
                    _connected(self.run_dir / name).close()
                else:
                    (self.run_dir / name).stat()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"{name} does not accept; broker said: {self.broker_log()}")

    def heal(self) -> None:
        """Starts what a test has killed."""
        for name in ("spawner", "media", "broker"):
            if name not in self.running or self.running[name].poll() is not None:
                self.start(name)

    def wait_until_probed(self) -> None:
        """Until the broker has met the spawner, and had the time to meet media, which was up before."""
        deadline = time.monotonic() + WAIT_S
        while not self.waiting_entries("posture.zone.probed"):
            assert time.monotonic() < deadline, self.broker_log()
            time.sleep(0.02)

    def cells(self) -> list[int]:
        """Pids of all living cells: the spawner's children."""
        spawner = self.running["spawner"].pid
        return [int(pid) for pid in Path(f"/proc/{spawner}/task/{spawner}/children").read_text().split()]

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends one process and waits for its end."""
        process = self.running.pop(name)
        process.send_signal(number)
        process.wait(WAIT_S)
        if name == "spawner":
            (self.run_dir / "spawner.ready").unlink(missing_ok=True)

    def stop(self) -> None:
        for name in tuple(self.running):
            self.kill(name)
        for end in (*self._hatches[0], *self._hatches[1]):
            end.close()
        if self._media is not None:
            self._media.close()

    def broker_log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    # --- the app's side of media, and the caller
    # ---------------------------------------------------------------

    def media(self, op: str, **values: Any) -> dict[str, Any]:
        """One request to the media process, as the app; facts in between are dropped."""
        assert self._media is not None
        self._media.settimeout(WAIT_S)
        self._media.send(json.dumps({"id": 1, "op": op, **values}).encode())
        while True:
            reply = json.loads(self._media.recv(60_000))
            if "fact" not in reply:
                return reply

    def open_leg(self, leg_id: str = "leg_one", *, resume: bool = False) -> None:
        assert self.media("open_leg", leg_id=leg_id, role="caller", resume=resume)["ok"] is True

    def mode_of(self, leg_id: str = "leg_one") -> str:
        """What media says about the leg's audio."""
        legs = self.media("legs")["legs"]
        return next(leg["mode"] for leg in legs if leg["leg_id"] == leg_id)

    async def press(self, keys: str, leg_id: str = "leg_one") -> None:
        """The caller keys."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
            caller.connect(str(self.run_dir / "media-keys.sock"))
            for key in keys:
                caller.send(leg_id.encode() + b"\0" + bytes(["0123456789*#".index(key)]))
                await asyncio.sleep(KEY_GAP_S)

    # --- books
    # ------------------------------------------------------------------------------------------------

    def times_charged(self, payment_id: str, provider: str = "sandbox") -> int:
        """How often the sandbox moved money for a payment."""
        wanted = "SELECT count(*) FROM executions WHERE provider_ref = ? AND kind = 'authorised'"
        return int(self._query(f"{provider}.db", wanted, f"sbx_ref_{payment_id}")[0][0])

    def steps_done(self, payment_id: str, step: str = "refund", provider: str = "sandbox") -> list[int]:
        """The amounts of every step that the sandbox has done for a payment."""
        wanted = "SELECT amount_minor FROM steps WHERE provider_ref = ? AND step = ? AND kind = 'done'"
        return [row[0] for row in self._query(f"{provider}.db", wanted, f"sbx_ref_{payment_id}", step)]

    def refund_at_provider(self, payment_id: str, amount_minor: int) -> None:
        """A refund that somebody makes in the sandbox's books, without us."""
        host = SandboxHost(self.data_dir / "sandbox.db", "demo")
        key = f"by-hand-{time.monotonic_ns()}"
        request = StepRequest(f"sbx_ref_{payment_id}", key, amount_minor, "EUR")

        async def refund() -> None:
            await host.take_step("refund", request)
            await host.close()

        with ThreadPoolExecutor(1) as elsewhere:  # a loop of its own: tests call this inside theirs
            elsewhere.submit(asyncio.run, refund()).result()

    def counted_by(self, payment_id: str) -> str:
        """The mark of the card that a payment's first attempt is counted by."""
        wanted = "SELECT mark FROM limit_uses WHERE attempt_key = ? AND kind = 'card'"
        return str(self._query("vault.db", wanted, f"{payment_id}:authorise:1")[0][0])

    def leave_webhook(self, payment_id: str) -> None:
        """A webhook that a broker, dead by now, had stored and not looked at."""
        names = "tenant, provider, kind, state, event_id, provider_ref, made_at, taken_at"
        values = ("demo", "sandbox", "charge.changed", "taken", f"evt_{payment_id}", f"sbx_ref_{payment_id}")
        database = sqlite3.connect(self.data_dir / "vault.db")
        with closing(database), database:
            insert = f"INSERT INTO webhook_inbox ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
            database.execute(insert, (*values, stamp(), stamp()))

    def inbox(self, event_id: str) -> str:
        """What became of a webhook."""
        rows = self._query("vault.db", "SELECT state FROM webhook_inbox WHERE event_id = ?", event_id)
        return str(rows[0][0]) if rows else ""

    def logged(self) -> list[dict[str, Any]]:
        """Every entry of the log, in order."""
        rows = self._query("audit.db", "SELECT leaf FROM entries ORDER BY idx")
        return [json.loads(leaf) for (leaf,) in rows]

    def waiting(self) -> list[str]:
        """Names of the entries that wait in the broker's outbox, oldest first."""
        return [entry["name"] for entry in self.waiting_entries()]

    def waiting_entries(self, name: str = "") -> list[dict[str, Any]]:
        """The entries that wait in the broker's outbox, all or those of one name."""
        rows = self._query("vault.db", "SELECT body FROM outbox ORDER BY seq")
        return [entry for (body,) in rows if name in {"", (entry := json.loads(body))["name"]}]

    def _query(self, name: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(f"file:{self.data_dir / name}?mode=ro", uri=True)
        try:
            return database.execute(text, values).fetchall()
        finally:
            database.close()


class Desk:
    """The app's end of the door for one call, and everything it was told about it."""

    def __init__(self, zone: ZoneProcesses, call: str = "one") -> None:
        self.zone = zone
        self.call_id = f"call_{call}"
        self.leg_id = f"leg_{call}"
        self.door = Door(zone.run_dir / "vault.sock")
        self.told: list[PaymentChanged] = []
        """Not looked at so far."""
        self.all_told: list[PaymentChanged] = []
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.door.connect()
        facts = self.door.facts()

        async def read() -> None:
            async for changed in facts:
                if changed.payment.call_id == self.call_id:
                    self.told.append(changed)
                    self.all_told.append(changed)

        self._reading = asyncio.create_task(read())

    async def close(self) -> None:
        await self.door.close()
        if self._reading is not None:
            await self._reading

    async def until(
        self, wanted: Callable[[PaymentChanged], bool], within_s: float = WAIT_S
    ) -> PaymentChanged:
        """The first fact not looked at before that `wanted` accepts; older ones are forgotten."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            while self.told:
                if wanted(changed := self.told.pop(0)):
                    return changed
            await asyncio.sleep(0.005)
        raise AssertionError(f"not told within {within_s} s; broker said: {self.zone.broker_log()}")

    async def eventually(self, holds: Callable[[], bool], within_s: float = WAIT_S) -> None:
        """Waits until `holds`; the test fails when it does not in time."""
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, self.zone.broker_log()
            await asyncio.sleep(0.02)

    async def why(self, *wanted: Why, within_s: float = WAIT_S) -> PaymentChanged:
        """The first fact from now on with one of these reasons."""
        return await self.until(lambda changed: changed.why in wanted, within_s)

    async def state(self, *wanted: PaymentState, within_s: float = WAIT_S) -> Payment:
        """The first snapshot from now on in one of these states."""
        return (await self.until(lambda changed: changed.payment.state in wanted, within_s)).payment

    async def ready(self, pan: str = VISA, cvv: str = CVV, **changes: Any) -> Payment:
        """A payment whose caller has keyed everything."""
        payment = await self.created(**changes)
        await self.door.open_capture(payment.payment_id)
        await self.press(f"{pan}#{EXPIRY}{cvv}")
        return await self.state(PaymentState.READY)

    async def created(self, **changes: Any) -> Payment:
        """A new payment of this call."""
        return await self.door.create_payment(self.new(**changes))

    def new(self, **changes: Any) -> NewPayment:
        """A valid request; `changes` replace its fields."""
        return new_payment(**{"call_id": self.call_id, "leg_id": self.leg_id, **changes})

    async def press(self, keys: str) -> None:
        """This call's caller keys."""
        await self.zone.press(keys, self.leg_id)

    async def charged(self, pan: str = VISA, **changes: Any) -> Payment:
        """A payment whose charge has come to its result."""
        ready = await self.ready(pan, **changes)
        await self.door.charge(ready.payment_id)
        return await self.result()

    async def result(self, within_s: float = WAIT_S) -> Payment:
        """The first snapshot from now on whose attempt has come to its result."""
        return await self.state(*RESULTS, within_s=within_s)


def new_payment(**changes: Any) -> NewPayment:
    """A valid request; `changes` replace its fields."""
    values: dict[str, Any] = {
        "tenant": "demo",
        "call_id": "call_one",
        "leg_id": "leg_one",
        "amount_minor": 1995,
        "currency": "EUR",
        "reference": f"B-{time.monotonic_ns() % 1_000_000_007}",
        "purpose": "booking",
        "sca_basis": "moto_agent",
        "agent_id": "agent1",
    }
    return NewPayment(**{**values, **changes})


@contextmanager
def running_zone(**options: Any) -> Iterator[ZoneProcesses]:
    """A zone that is up, with the broker's lines to the others connected."""
    root = Path(tempfile.mkdtemp(prefix="payivr-"))
    zone = ZoneProcesses(root, **options)
    try:
        zone.start()
        zone.wait_until_probed()
        yield zone
    finally:
        zone.stop()
        shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def desk_at(zone: ZoneProcesses, call: str = "one") -> AsyncIterator[Desk]:
    """A desk with its caller's leg open; the leg is closed at the end."""
    desk = Desk(zone, call)
    zone.open_leg(desk.leg_id)
    await desk.open()
    try:
        yield desk
        with suppress(VaultError):
            await desk.door.end_call(desk.call_id)
    finally:
        await desk.close()


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock
