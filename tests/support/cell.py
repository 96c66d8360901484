"""Both ends of a capture cell for tests: a real spawner process, real cells, real sockets."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vault.door import Field
from vault.hatch import hatch, knock
from vault.posture import SPAWNER_ENVIRONMENT
from vault.progress import Command, Fact, Open
from vault.report import REPORT_MAX, decode_fact, encode_command

ROOT = Path(__file__).parents[2]
WAIT_S = 20.0
"""For what takes milliseconds on an idle machine; who waits so long waits for ever."""
START_S = 20.0
"""A spawner loads an SDK before it serves."""

VISA = "4242424242424242"
MASTERCARD = "5555555555554444"
AMEX = "378282246310005"

AnyFact = TypeVar("AnyFact")


def keys_of(text: str) -> list[int]:
    """Key numbers of `0-9`, `*` and `#`."""
    return ["0123456789*#".index(one) for one in text]


@dataclass
class CellEnds:
    """What media and the broker hold of one cell."""

    pid: int
    keys: socket.socket
    report: socket.socket
    facts: list[Fact] = field(default_factory=list)

    def say(self, command: Command, fds: Sequence[int] = ()) -> None:
        socket.send_fds(self.report, [encode_command(command)], fds)

    def press(self, text: str, gap_s: float = 0.0) -> None:
        for key in keys_of(text):
            self.keys.send(bytes([key]))
            time.sleep(gap_s)

    def open(self, wanted: Field) -> None:
        """Opens the field with a new key pipe, as the broker does."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.say(Open(wanted), [theirs.fileno()])
        theirs.close()
        self.keys.close()
        self.keys = ours

    def fact(self, timeout_s: float = WAIT_S) -> Fact:
        """The next fact; AssertionError when none comes or the cell is gone."""
        ready, _, _ = select.select([self.report], [], [], timeout_s)
        assert ready, "no fact came"
        message = self.report.recv(REPORT_MAX)
        assert message, "the cell is gone"
        self.facts.append(decode_fact(message))
        return self.facts[-1]

    def until(self, kind: type[AnyFact], timeout_s: float = WAIT_S) -> AnyFact:
        """The next fact of a kind; those before it are kept in `facts`."""
        deadline = time.monotonic() + timeout_s
        while True:
            fact = self.fact(deadline - time.monotonic())
            if isinstance(fact, kind):
                return fact

    def hang_up(self) -> None:
        self.keys.close()
        self.report.close()


class SpawnerEnds:
    """A connection to a running spawner; `hatch` leads to more."""

    def __init__(self, process: "subprocess.Popen[bytes]", hatch: socket.socket) -> None:
        self.process = process
        self.hatch = hatch
        self.sock = connect(hatch)
        self.ended: list[dict[str, Any]] = []
        self._asked = 0

    def ask(self, op: str, **values: Any) -> dict[str, Any]:
        """The reply; its descriptors are under `fds`."""
        self._asked += 1
        self.sock.send(json.dumps({"id": self._asked, "op": op, **values}).encode())
        while True:
            message, fds, _, _ = socket.recv_fds(self.sock, 60_000, 4)
            reply: dict[str, Any] = json.loads(message)
            if "fact" in reply:
                self.ended.append(reply)
            else:
                assert reply["id"] == self._asked
                return reply | {"fds": fds}

    def fork(self, provider: str = "good", **values: Any) -> CellEnds:
        reply = self.ask("fork", capture_id="cap_1", provider=provider, tenant="demo", **values)
        assert reply["ok"], reply
        keys, report = (socket.socket(fileno=fd) for fd in reply["fds"])
        return CellEnds(reply["pid"], keys, report)

    def cell_end(self) -> dict[str, Any]:
        """The next `cell.ended`."""
        while not self.ended:
            self.sock.settimeout(WAIT_S)
            self.ended.append(json.loads(self.sock.recv(60_000)))
        return self.ended.pop(0)


def connect(hatch: socket.socket) -> socket.socket:
    """A blocking connection, once the spawner has taken it."""
    sock = knock(hatch)
    sock.settimeout(START_S)
    assert {"fact": "spawner.here"} == json.loads(sock.recv(60_000))
    sock.setblocking(True)
    return sock


@contextmanager
def spawner(
    run_dir: Path,
    without: Sequence[str] = (),
    command: Sequence[str] = ("tests/support/cell_providers.py",),
    environment: Mapping[str, str] = SPAWNER_ENVIRONMENT,
) -> Iterator[SpawnerEnds]:
    """A spawner process with its providers for tests, ended by its own pid."""
    ours, theirs = hatch()
    number = theirs.fileno()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, *command, os.fspath(run_dir), "--hatch", str(number), *without],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.fspath(ROOT), **environment},
            pass_fds=(number,),
        )
        try:
            ends = SpawnerEnds(process, ours)
            with ends.sock:
                yield ends
        finally:
            process.terminate()
            process.wait(WAIT_S)


def gone(pid: int, timeout_s: float = WAIT_S, *, reaped: bool = False) -> bool:
    """True when the process has ended in time; `reaped`: not even a zombie is left."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z" and not reaped:
            return True
        time.sleep(0.005)
    return False
