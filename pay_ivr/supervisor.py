"""One node's processes: started in order, watched, restarted, stopped in reverse order.

It owns no state: who dies comes back alone, and everybody who talks to it reconnects. The broker reaches
media and spawner through hatches: pairs of sockets without names, made here and inherited by nobody else, so
that no other process can take its place. As all ends are held here for the next start, nobody may look into
this process. Each process dies with the supervisor (PR_SET_PDEATHSIG in the process itself); orphaned cells
land here (PR_SET_CHILD_SUBREAPER) and are reaped.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pay_ivr.logs import log
from pay_ivr.settings import Settings

WATCH_EVERY_S = 0.1
RESTART_DELAYS_S = (0.0, 0.2, 1.0, 5.0, 15.0)
"""Waits before the 1st, 2nd … restart in a row; a process that lived `STEADY_S` starts over at the first."""
STEADY_S = 30.0
STOP_TIMEOUT_S = 8.0
"""After SIGTERM; what is still there is killed. Longer than the broker's own wait for a provider."""
START_TIMEOUT_S = 45.0
"""Imports, migrations and a cold disk: three seconds on an idle machine, 20 on one with a load of twelve."""
PR_SET_CHILD_SUBREAPER = 36
PR_SET_DUMPABLE = 4
"""Set to 0: no core file, and no process of the same uid may trace us or take a descriptor of ours
(pidfd_getfd(2)). A child loses it with its exec, and the zone's processes set it anew, first of all."""
SPAWNER_ENVIRONMENT = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0",
}
"""Freed blocks are overwritten (reference 04 §4.1); it only works when set before exec."""
KEPT_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "TMPDIR"),
    "PGPASSFILE",  # a file's name; the loyalty database's password is in it
)
"""Nothing else of the operator's environment reaches a process: no token of a shell ends up in one."""


class NodeError(RuntimeError):
    """The node cannot run; the sentence names the process."""

    code = "node"
    retryable = False


@dataclass
class Process:
    """One process of the node and how it has been doing."""

    name: str
    arguments: tuple[str, ...]
    ready: Path
    """The Unix socket (or file) that exists when it serves."""
    environment: dict[str, str] = field(default_factory=dict)
    ends: tuple[tuple[str, str], ...] = ()
    """Option and name of every end of a hatch that it inherits."""
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    due_at: float | None = None


def processes_of(settings: Settings) -> tuple[Process, ...]:
    """The node's processes in starting order: who is needed comes first."""
    run, data = settings.sockets, settings.data_dir
    vault = ("--data-dir", str(data), "--run-dir", str(run))
    owners = ("vault", "app", "loyalty") if has_members(settings.tenants_dir) else ("vault", "app")
    sources = [part for name in owners for part in ("--source", f"{name}={run}/outbox-{name}.sock")]
    providers = [f"--provider={name}" for name in provider_names(settings.tenants_dir)]
    ports = ("--port-first", str(settings.rtp_port_first), "--port-last", str(settings.rtp_port_last))
    keys = ("--info-keys",) if settings.info_ips else ()
    return (
        Process("spawner", ("vault.spawner", "--run-dir", str(run), *providers), run / "spawner.ready",
                SPAWNER_ENVIRONMENT, (("--hatch", "spawner"),)),
        Process("media", ("vault.media", "--run-dir", str(run), "--bind-ip", settings.bind_ip, *ports, *keys),
                run / "media.sock", {"OPENBLAS_NUM_THREADS": "1"}, (("--hatch", "media"),)),
        Process("broker", ("vault.broker", *vault, "--tenants-dir", str(settings.tenants_dir), "--log-level",
                           settings.log_level.lower()), run / "vault.sock",
                ends=(("--media-hatch", "broker-media"), ("--spawner-hatch", "broker-spawner"))),
        Process("app", ("pay_ivr", "app"), run / "node.json", _app_environment(settings)),
        Process("audit", ("audit", *vault, *sources), data / "audit.db"),
    )  # fmt: skip


def provider_names(tenants_dir: Path) -> list[str]:
    """The payment providers that some tenant names, and both sandboxes; a file in disorder names none.

    A cell's memory is a copy of the spawner's, so nothing is loaded there that no tenant uses.
    """
    names: set[Any] = {"sandbox", "sandbox_direct"}
    for document in _documents(tenants_dir):
        payment = document.get("payment", {})
        with contextlib.suppress(TypeError, AttributeError):
            names |= {payment["provider"]} if "provider" in payment else set(payment.get("providers", ()))
    return sorted(name for name in names if isinstance(name, str))


def has_members(tenants_dir: Path) -> bool:
    """True when some tenant has a loyalty programme; without one its database is never opened."""
    return any("loyalty" in document for document in _documents(tenants_dir))


def _documents(tenants_dir: Path) -> Iterator[dict[str, Any]]:
    """Every tenant file that can be read; of the others their owners say what is wrong with them."""
    for path in tenants_dir.glob("*.toml"):
        with contextlib.suppress(OSError, ValueError):
            yield tomllib.loads(path.read_text(encoding="utf-8"))


def _hatches() -> dict[str, socket.socket]:
    """Both ends of the two hatches by name; a knock waits in them while a process is being restarted."""
    ends: dict[str, socket.socket] = {}
    for name in ("media", "spawner"):
        ends[name], ends[f"broker-{name}"] = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return ends


def _app_environment(settings: Settings) -> dict[str, str]:
    values = settings.model_dump(mode="json", exclude_none=True)
    return {f"PAY_IVR_{name.upper()}": str(value) for name, value in values.items()}


class Supervisor:
    """Keeps a node's processes alive until `stop`."""

    def __init__(self, settings: Settings, log_file: Path | None = None) -> None:
        self.processes = processes_of(settings)
        self._settings = settings
        self._hatches: dict[str, socket.socket] = {}
        self._log_file = log_file
        self._stopping = False

    def start(self, say: Callable[[str], None]) -> None:
        """Every process up and serving; raises NodeError with the name of the one that is not."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        self._hatches = _hatches()
        for folder in (self._settings.data_dir, self._settings.sockets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for process in self.processes:
            if process.ready.parent == self._settings.sockets:
                process.ready.unlink(missing_ok=True)  # a socket of an earlier run; a database stays
        for process in self.processes:
            self._launch(process)
            self._await_ready(process)
            say(process.name)

    def watch(self) -> None:
        """One look at every process: reaps, and restarts what is due. Call it every `WATCH_EVERY_S`."""
        self._reap_orphans()
        now = time.monotonic()
        for process in self.processes:
            if process.due_at is None and process.child is not None and process.child.poll() is not None:
                self._note_death(process, now)
            if process.due_at is not None and now >= process.due_at and not self._stopping:
                self._launch(process)

    def run(self) -> None:
        """Watches until SIGTERM or SIGINT, then stops."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_stopping", True))
        while not self._stopping:
            self.watch()
            time.sleep(WATCH_EVERY_S)
        self.stop()

    def stop(self) -> None:
        """SIGTERM in reverse order of starting; SIGKILL for what stays."""
        self._stopping = True
        for process in reversed(self.processes):
            child = process.child
            if child is None or child.poll() is not None:
                continue
            child.terminate()
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.warning("node.process.killed", process=process.name)
                child.kill()
                child.wait()
        for end in self._hatches.values():
            end.close()

    def pids(self) -> dict[str, int]:
        """Process name → pid of what is running now."""
        return {
            one.name: one.child.pid
            for one in self.processes
            if one.child is not None and one.child.poll() is None
        }

    def _launch(self, process: Process) -> None:
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        ends = {option: self._hatches[name].fileno() for option, name in process.ends}
        hatches = [part for option, number in ends.items() for part in (option, str(number))]
        stderr = self._log_file.open("ab") if self._log_file is not None else None
        try:
            process.child = subprocess.Popen(
                [sys.executable, "-m", *process.arguments, *hatches],
                env=environment | process.environment,
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=tuple(ends.values()),
            )
        finally:
            if stderr is not None:
                stderr.close()
        process.started_at, process.due_at = time.monotonic(), None
        (self._settings.sockets / "pids.json").write_text(json.dumps(self.pids()), encoding="utf-8")

    def _await_ready(self, process: Process) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while not process.ready.exists():
            if process.child is None or process.child.poll() is not None or time.monotonic() > until:
                self.stop()
                raise NodeError(f"the {process.name} process did not start; its log says why")
            time.sleep(0.02)

    def _note_death(self, process: Process, now: float) -> None:
        if now - process.started_at > STEADY_S:
            process.restarts = 0
        delay = RESTART_DELAYS_S[min(process.restarts, len(RESTART_DELAYS_S) - 1)]
        process.restarts += 1
        process.due_at = now + delay
        code = process.child.returncode if process.child is not None else None
        log.warning("node.process.died", process=process.name, code=code, restart_in_ms=int(delay * 1000))

    def _reap_orphans(self) -> None:
        """Cells whose spawner died are ours now; children that Popen watches are left to it."""
        watched = {one.child.pid for one in self.processes if one.child is not None}
        for pid in _zombies():
            if pid not in watched:
                os.waitpid(pid, os.WNOHANG)


def _zombies() -> list[int]:
    """Our dead children, not reaped yet (proc(5), state Z)."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    try:
        pids = [int(pid) for pid in children.read_text(encoding="ascii").split()]
        return [
            pid
            for pid in pids
            if Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
        ]
    except OSError:
        return []
