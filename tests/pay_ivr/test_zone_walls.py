"""A process of the node's own user attacks the zone's inner lines: it reaches, traces and takes nothing."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pay_ivr.proof.other_user import NODE_UID, command, hand_over

ROOT = Path(__file__).parents[2]
SUPERVISOR = """
import json, pathlib, sys
from pay_ivr.settings import Settings
from pay_ivr.supervisor import Process, Supervisor

data, run, tenants = map(pathlib.Path, sys.argv[1:])
supervisor = Supervisor(Settings(data_dir=data, run_dir=run, tenants_dir=tenants), data / "log")
bystander = Process("bystander", ("http.server", "0", "--bind", "127.0.0.1"), tenants)
supervisor.processes = (*supervisor.processes[:3], bystander)
supervisor.start(lambda _name: None)
print(json.dumps(supervisor.pids()), flush=True)
sys.stdin.read()
supervisor.stop()
"""
"""The zone as a node has it, and a process beside it in the app's place."""
ATTACKER = """
import ctypes, json, os, pathlib, socket, sys

libc = ctypes.CDLL(None, use_errno=True)
taken, traced = [], []
for pid in map(int, sys.argv[2:]):
    pidfd = os.pidfd_open(pid)
    taken += [number for number in range(64) if libc.syscall(438, pidfd, number, 0) >= 0]  # pidfd_getfd
    traced += [pid] if libc.ptrace(16, pid, 0, 0) == 0 else []  # PTRACE_ATTACH
answers = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(20)
            sock.connect(str(path))
            for op in ("hello", "attach", "talk", "fork", "kill", "posture"):
                sock.send(json.dumps({"id": 1, "op": op, "leg_id": "x", "capture_id": "c"}).encode())
                while (reply := json.loads(sock.recv(60_000))).get("id") != 1:
                    pass
                answers[f"{path.name} {op}"] = reply["ok"]
print(json.dumps({"taken": taken, "traced": traced, "answers": answers}))
"""


@dataclass(frozen=True)
class Walled:
    """A supervised zone under a user of its own."""

    run_dir: Path
    pids: dict[str, int]

    def attack(self, *names: str) -> dict[str, Any]:
        """What a process of the node's own user gets out of these processes and all sockets."""
        pids = [str(self.pids[name]) for name in names]
        code = [sys.executable, "-c", ATTACKER, str(self.run_dir), *pids]
        told = subprocess.run(command(code), cwd=ROOT, check=True, capture_output=True, timeout=30)
        found: dict[str, Any] = json.loads(told.stdout)
        return found

    def sockets(self, name: str) -> set[str]:
        """Inodes of a process's sockets."""
        links = (str(one.readlink()) for one in Path(f"/proc/{self.pids[name]}/fd").iterdir())
        return {link for link in links if link.startswith("socket:")}


@pytest.fixture(scope="module")
def walled() -> Iterator[Walled]:
    """Started and stopped as root; everything in it runs as the node's user."""
    folder = Path(tempfile.mkdtemp(prefix="payivr-"))
    places = [folder / name for name in ("data", "run", "tenants")]
    for place in places:
        place.mkdir()
    hand_over([folder])
    process = subprocess.Popen(
        command([sys.executable, "-c", SUPERVISOR, *map(str, places)]),
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdout, process.stdin:
            pids = json.loads(process.stdout.readline() or b"{}")
            assert pids, (places[0] / "log").read_text()
            yield Walled(places[1], {**pids, "supervisor": process.pid})
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


@pytest.mark.root
def test_no_socket_takes_the_brokers_commands(walled: Walled) -> None:
    """Whatever can be connected to refuses to attach a key pipe or to fork a cell."""
    told = walled.attack()
    names = {line.split()[0] for line in told["answers"]}
    assert {"media.sock", "outbox-vault.sock", "vault.sock"} >= names > set()
    assert {False} == set(told["answers"].values())


@pytest.mark.root
def test_no_descriptor_can_be_taken_from_who_holds_an_end(walled: Walled) -> None:
    """Neither by pidfd_getfd(2) nor by tracing, from the same user; the bystander shows it could be."""
    told = walled.attack("supervisor", "media", "spawner", "broker")
    assert ([], []) == (told["taken"], told["traced"])
    assert walled.attack("bystander")["taken"]


@pytest.mark.root
def test_only_the_two_that_need_it_inherit_an_end(walled: Walled) -> None:
    """Four ends: the supervisor holds all, media and spawner one each, the broker two, nobody else any."""
    ends = walled.sockets("supervisor")
    assert 4 == len(ends)
    held = {name: len(ends & walled.sockets(name)) for name in walled.pids if name != "supervisor"}
    assert {"media": 1, "spawner": 1, "broker": 2, "bystander": 0} == held


@pytest.mark.root
def test_the_zone_runs_as_the_nodes_user(walled: Walled) -> None:
    """The attacks above came from the very same uid."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in walled.pids.values()]
    uids = {status.split("Uid:")[1].split()[0] for status in statuses}
    assert {str(NODE_UID)} == uids
