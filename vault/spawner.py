"""The process that forks capture cells: `python -m vault.spawner --run-dir R --provider NAME ...`.

Small, single-threaded and free of secrets: a cell starts as its copy, so everything that it holds every cell
holds, and nothing that a cell learns ever comes back. Providers are imported before the first fork, because
a cell cannot open a file. Who comes through the hatch (SEQPACKET, a JSON object per message), and only the
broker does, is told `{"fact": "spawner.here"}` and may ask:

    fork {capture_id, provider, tenant, limits?, config?} -> {pid} and two descriptors:
                                                     media's key-pipe end, the broker's report end
    fork_pin {capture_id, purpose, digits_min, digits_max, sealed, limits?} -> as fork; sealed: one descriptor
    kill {pid} -> {}                                 only a cell of ours
    posture -> {grades, weak}                        as a trial cell found it

and tells `{"fact": "cell.ended", capture_id, pid, status}`: exit code, or the negative signal number.
"""

import argparse
import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Never, TypeVar, cast

from cryptography.exceptions import UnsupportedAlgorithm

from vault.brands import BrandTable
from vault.capture import Limits
from vault.cell import Assignment, ProviderModule, run
from vault.door import PinPurpose, Refused
from vault.hatch import answer, inherited
from vault.pin_capture import PinForm, PinLimits
from vault.pin_cell import PinAssignment, run_pin
from vault.pin_hash import preload
from vault.posture import WEAK_WITHOUT, die_with_parent, make_private, probe, single_threaded
from vault.providers.base import provider_names, rehearse

READY_NAME = "spawner.ready"
"""An empty file in the run directory for as long as cells can be forked."""

MESSAGE_MAX = 60_000
"""Bytes of one message, as on every socket of ours."""

CELLS_MAX = 500
"""More captures than one node carries calls; a cell costs some megabytes."""

CONNECTIONS_MAX = 4
"""One broker, and a new one that comes while the old one dies."""

_Limits = TypeVar("_Limits", Limits, PinLimits)


class Spawner:
    """Listens, forks, reaps. Everything in it is known to every cell."""

    def __init__(
        self,
        run_dir: Path,
        hatch: socket.socket,
        providers: Mapping[str, ProviderModule],
        without: Iterable[str] = (),
    ) -> None:
        self._hashes_pins = _hashes_pins()
        self._providers = providers
        self._without = frozenset(without)
        self._brands = BrandTable.read()
        self._posture = probe(self._without)
        self._cells: dict[int, str] = {}
        """Pid -> capture id of every living cell."""
        self._peers: dict[int, socket.socket] = {}
        self._stopping = False
        self._hatch = hatch
        self._ready = run_dir / READY_NAME

    def serve(self) -> None:
        """Until SIGTERM; every cell is killed and reaped before it returns."""
        woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.collect()
        gc.freeze()  # a cell's collector then never touches, and never copies, what it inherited
        self._ready.touch(mode=0o600)
        while not self._stopping:
            self._turn(woken)
        self._ready.unlink(missing_ok=True)
        for pid in self._cells:
            os.kill(pid, signal.SIGKILL)
        for pid in self._cells:
            os.waitpid(pid, 0)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _turn(self, woken: int) -> None:
        poll = select.poll()
        for fd in (woken, self._hatch.fileno(), *self._peers):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll():
            if fd == woken:
                os.read(woken, 512)
            elif fd == self._hatch.fileno():
                self._accept()
            else:
                self._hear(fd)
        self._reap()

    # --- cells ----------------------------------------------------------------------------------------

    def _reap(self) -> None:
        while self._cells:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            fact = {"fact": "cell.ended", "capture_id": self._cells.pop(pid, ""), "pid": pid, "status": code}
            for peer in tuple(self._peers.values()):
                self._send(peer, fact)

    def _fork(self, request: Mapping[str, Any]) -> tuple[int, list[int]]:
        """Pid of the new cell, media's end of its key pipe, the broker's end of its report socket."""
        assignment = self._assignment(request)
        return self._forked(request, partial(run, assignment))

    def _fork_pin(self, request: Mapping[str, Any]) -> tuple[int, list[int]]:
        """The same for a PIN; nobody can key into the cell of a sealed one."""
        pid, fds = self._forked(request, partial(run_pin, self._pin_assignment(request)))
        if request["sealed"]:
            os.close(fds.pop(0))
        return pid, fds

    def _forked(self, request: Mapping[str, Any], live: Callable[[int, int], Never]) -> tuple[int, list[int]]:
        self._check_room()
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        (media_end, cell_keys), (broker_end, cell_report) = ((a.detach(), b.detach()) for a, b in pairs)
        try:
            pid = os.fork()
        except OSError:
            for fd in (media_end, broker_end, cell_keys, cell_report):
                os.close(fd)
            raise Refused("fork_failed", "The kernel has no room for a cell.", retryable=True) from None
        if pid == 0:
            live(cell_keys, cell_report)
        os.close(cell_keys)
        os.close(cell_report)
        self._cells[pid] = str(request["capture_id"])
        return pid, [media_end, broker_end]

    def _assignment(self, request: Mapping[str, Any]) -> Assignment:
        match request:
            case {"capture_id": str(), "provider": str(name), "tenant": str(tenant)}:
                config = request.get("config", {})
                limits = _limits(Limits, request.get("limits", {}))
            case _:
                raise Refused("bad_request", "A fork needs capture_id, provider and tenant.")
        if not isinstance(config, dict):
            raise Refused("bad_request", "The config of a provider is a JSON object.")
        if name not in self._providers:
            raise Refused("provider_unknown", "The provider was not loaded at start.")
        return Assignment(
            self._providers[name],
            {**config, "tenant": tenant},
            limits,
            self._brands,
            os.getpid(),
            self._without,
        )

    def _pin_assignment(self, request: Mapping[str, Any]) -> PinAssignment:
        if not self._hashes_pins:
            raise Refused(
                "pins_unsupported", "The cryptography library here has no argon2id. Install its wheel."
            )
        limits = _limits(PinLimits, request.get("limits", {}))
        match request:
            case {
                "capture_id": str(),
                "purpose": str(purpose),
                "digits_min": int(digits_min),
                "digits_max": int(digits_max),
                "sealed": bool(),
            }:
                pass
            case _:
                raise Refused("bad_request", "A fork for a PIN needs its purpose, its form and sealed.")
        try:
            form = PinForm(digits_min, digits_max)
            return PinAssignment(PinPurpose(purpose), form, limits, os.getpid(), self._without)
        except ValueError:
            raise Refused("bad_request", "There is no such purpose or form of a PIN.") from None

    def _check_room(self) -> None:
        if len(self._cells) >= CELLS_MAX:
            raise Refused("cells_full", "All cells are taken; one ends soon.", retryable=True)
        if not single_threaded():
            raise Refused("not_single_threaded", "A library has started a thread; restart the spawner.")

    def _kill(self, request: Mapping[str, Any]) -> None:
        pid = request.get("pid")
        if not isinstance(pid, int) or pid not in self._cells:
            raise Refused("cell_unknown", "No cell of ours has this pid.")
        os.kill(pid, signal.SIGKILL)

    # --- peers ----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        peer = answer(self._hatch)
        if peer is None:
            return
        if len(self._peers) >= CONNECTIONS_MAX:
            peer.close()
            return
        self._peers[peer.fileno()] = peer
        self._send(peer, {"fact": "spawner.here"})

    def _drop(self, peer: socket.socket) -> None:
        self._peers.pop(peer.fileno(), None)
        peer.close()

    def _hear(self, fd: int) -> None:
        peer = self._peers.get(fd)
        if peer is None:
            return  # dropped since the poll
        try:
            message = peer.recv(MESSAGE_MAX + 1)
        except BlockingIOError:
            return  # a new peer under an old number
        except OSError:
            message = b""
        if message:
            self._reply(peer, message)
        else:
            self._drop(peer)

    def _reply(self, peer: socket.socket, message: bytes) -> None:
        number: object = None
        fds: list[int] = []
        try:
            request = _request(message)
            number = request.get("id")
            answer, fds = self._answer(request)
            reply = {"id": number, "ok": True, **answer}
        except Refused as refused:
            reply = {"id": number, "ok": False, "code": refused.code, "sentence": refused.sentence}
            reply["retryable"] = refused.retryable
        self._send(peer, reply, fds)
        for fd in fds:
            os.close(fd)

    def _answer(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        match request.get("op"):
            case "fork":
                pid, fds = self._fork(request)
                return {"pid": pid}, fds
            case "fork_pin":
                pid, fds = self._fork_pin(request)
                return {"pid": pid}, fds
            case "kill":
                self._kill(request)
                return {}, []
            case "posture":
                return {"grades": self._posture.as_json(), "weak": list(self._posture.weak)}, []
        raise Refused("bad_request", "The operation is fork, fork_pin, kill or posture.")

    def _send(self, peer: socket.socket, body: Mapping[str, Any], fds: Iterable[int] = ()) -> None:
        """A peer that does not take it is dropped; a cell whose ends it never got ends by itself."""
        try:
            socket.send_fds(peer, [json.dumps(body).encode()], fds)
        except OSError:
            self._drop(peer)


def _request(message: bytes) -> dict[str, Any]:
    try:
        request = json.loads(message)
    except (ValueError, RecursionError):
        request = None
    if len(message) > MESSAGE_MAX or not isinstance(request, dict):
        raise Refused("bad_request", "A request is one JSON object of at most 60,000 bytes.")
    return request


def _limits(kind: type[_Limits], values: object) -> _Limits:
    if isinstance(values, dict) and all(type(value) in {int, float} for value in values.values()):
        try:
            return kind(**values)
        except (TypeError, ValueError):
            pass
    raise Refused("bad_limits", "A limit is unknown, not above zero, or above its default.")


def _hashes_pins() -> bool:
    """True when a cell can hash a PIN; a library without argon2id must not keep cards from being taken."""
    try:
        preload()
    except UnsupportedAlgorithm:
        sys.stderr.write("vault.spawner: no argon2id in this cryptography library; PINs are refused\n")
        return False
    return True


def _load(names: Iterable[str]) -> dict[str, ProviderModule]:
    """The providers' files, each with what its cells will import: a cell can open no file.

    One that cannot be imported is left out, and its captures are refused; the others' go on.
    """
    modules: dict[str, ProviderModule] = {}
    for name in names:
        try:
            rehearse(name)
            modules[name] = cast("ProviderModule", import_module(f"vault.providers.{name}"))
        except Exception as error:  # noqa: BLE001 - a library may fail in any way
            sys.stderr.write(f"vault.spawner: vault/providers/{name} not loaded: {type(error).__name__}\n")
    return modules


def main(arguments: list[str] | None = None) -> None:
    """Serves until SIGTERM or the end of the supervisor."""
    parser = argparse.ArgumentParser(prog="vault.spawner", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run-dir", type=Path, required=True, help=f"where {READY_NAME} is made")
    parser.add_argument("--hatch", type=int, required=True, help="descriptor of the broker's hatch")
    parser.add_argument("--provider", action="append", default=[], help="to load; an unknown one is not")
    parser.add_argument(
        "--without",
        action="append",
        choices=WEAK_WITHOUT,
        default=[],
        help="leave out one protection, as on a machine that lacks it; the posture reports it weak",
    )
    options = parser.parse_args(arguments)
    try:
        hatch = inherited(options.hatch)
    except ValueError as error:
        parser.error(str(error))
    die_with_parent(signal.SIGTERM)
    make_private()
    known = [name for name in options.provider if name in provider_names()]  # the broker names the others
    Spawner(options.run_dir, hatch, _load(known), options.without).serve()


if __name__ == "__main__":
    main()
