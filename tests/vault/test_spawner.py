"""The spawner as a process: forks, refuses, reaps, dies."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cell import MASTERCARD, ROOT, WAIT_S, SpawnerEnds, connect, gone, spawner
from tests.support.memory import search
from vault.door import Field
from vault.hatch import hatch
from vault.posture import SPAWNER_ENVIRONMENT
from vault.progress import Complete, Open, PostureTold, Ready
from vault.spawner import CELLS_MAX, MESSAGE_MAX

REAL = ("-m", "vault.spawner", "--provider", "sandbox", "--provider", "sandbox_direct", "--run-dir")


@pytest.fixture
def house(short_dir: Path) -> Iterator[SpawnerEnds]:
    """A spawner with the sandbox, started as the supervisor starts it."""
    with spawner(short_dir, command=REAL) as ends:
        yield ends


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_the_sandbox_gives_a_token(house: SpawnerEnds) -> None:
    """From fork to token with the product's own provider."""
    cell = house.fork("sandbox")
    cell.say(Open(Field.PAN))
    cell.press(MASTERCARD + "1230123")
    ready = cell.until(Ready)
    assert ("mastercard", "4444") == (ready.brand, ready.last4)
    assert ready.token
    cell.hang_up()


def test_the_direct_sandbox_keeps_the_card(house: SpawnerEnds) -> None:
    """Ready without a token."""
    cell = house.fork("sandbox_direct")
    cell.say(Open(Field.PAN))
    cell.press(MASTERCARD + "1230123")
    assert Ready("mastercard", "4444", None) == cell.until(Ready)
    cell.hang_up()


def test_the_posture_is_told_on_request(house: SpawnerEnds) -> None:
    """Measured by a trial cell at start; nothing is weak on this machine."""
    told = house.ask("posture")
    assert [] == told["weak"]
    assert {"achieved"} == set(told["grades"].values())


def test_a_mechanism_left_out_is_told_by_spawner_and_cell(short_dir: Path) -> None:
    """A weaker machine works, and says so everywhere."""
    command = ("-m", "vault.spawner", "--provider", "sandbox", "--without", "secret_memory", "--run-dir")
    with spawner(short_dir, command=command, environment={}) as house:
        weak = ["secret_memory", "heap_overwritten"]
        assert weak == house.ask("posture")["weak"]
        cell = house.fork("sandbox")
        assert tuple(weak) == cell.until(PostureTold).weak
        cell.say(Open(Field.PAN))
        cell.press(MASTERCARD)
        cell.until(Complete)
        cell.hang_up()


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"op": "fork"}, "bad_request"),
        ({"op": "fork", "capture_id": "c", "provider": "sandbox", "tenant": 1}, "bad_request"),
        ({"op": "fork", "capture_id": "c", "provider": "os", "tenant": "t"}, "provider_unknown"),
        (
            {"op": "fork", "capture_id": "c", "provider": "sandbox", "tenant": "t", "config": []},
            "bad_request",
        ),
        ({"op": "fork", "capture_id": "c", "provider": "sandbox", "tenant": "t", "limits": 1}, "bad_limits"),
        (
            {
                "op": "fork",
                "capture_id": "c",
                "provider": "sandbox",
                "tenant": "t",
                "limits": {"idle_s": 1e9},
            },
            "bad_limits",
        ),
        (
            {"op": "fork", "capture_id": "c", "provider": "sandbox", "tenant": "t", "limits": {"x": 1}},
            "bad_limits",
        ),
        ({"op": "kill"}, "cell_unknown"),
        ({"op": "kill", "pid": 1}, "cell_unknown"),
        ({"op": "kill", "pid": [1]}, "cell_unknown"),
        ({"op": "exec"}, "bad_request"),
        ({}, "bad_request"),
    ],
)
def test_what_it_cannot_do_is_refused_with_a_code(
    quiet_house: SpawnerEnds, request_: dict[str, Any], code: str
) -> None:
    """Nothing is forked, and the next request is served."""
    quiet_house.sock.send(json.dumps({"id": 7, **request_}).encode())
    reply = json.loads(quiet_house.sock.recv(MESSAGE_MAX))
    assert (7, False, code, False) == (reply["id"], reply["ok"], reply["code"], reply["retryable"])
    assert reply["sentence"]


@pytest.fixture(scope="module")
def quiet_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpawnerEnds]:
    """One spawner for the requests that start nothing."""
    path = tmp_path_factory.mktemp("s")
    with spawner(path, command=REAL) as ends:
        yield ends


@pytest.mark.parametrize("message", [b"{", b"[]", b"\xff", b"[" * 9000, b"x" * (MESSAGE_MAX + 1)])
def test_a_message_that_is_no_request_is_refused(quiet_house: SpawnerEnds, message: bytes) -> None:
    """Without an id in it, the refusal has none."""
    quiet_house.sock.send(message)
    reply = json.loads(quiet_house.sock.recv(MESSAGE_MAX))
    assert (None, "bad_request") == (reply["id"], reply["code"])


def test_nonsense_does_not_end_it(quiet_house: SpawnerEnds) -> None:
    """Five hundred mangled requests, and the posture is still told."""
    dice = random.Random(20261122)
    good = json.dumps(
        {"id": 1, "op": "fork", "capture_id": "c", "provider": "sandboy", "tenant": "t"}
    ).encode()
    for _ in range(500):
        message = bytearray(good)
        for _ in range(dice.randint(1, 5)):
            message[dice.randrange(len(message))] = dice.randrange(256)
        quiet_house.sock.send(message)
        assert not json.loads(quiet_house.sock.recv(MESSAGE_MAX))["ok"]
    assert quiet_house.ask("posture")["ok"]


def test_kill_ends_a_cell_and_tells_how(house: SpawnerEnds) -> None:
    """Gone in less than a second, reaped, and told with its signal."""
    cell = house.fork("sandbox")
    cell.until(PostureTold)
    assert house.ask("kill", pid=cell.pid)["ok"]
    told = house.cell_end()
    assert ("cap_1", cell.pid, -signal.SIGKILL) == (told["capture_id"], told["pid"], told["status"])
    assert gone(cell.pid, reaped=True)
    assert "cell_unknown" == house.ask("kill", pid=cell.pid)["code"]
    cell.hang_up()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_cell_outlives_the_spawner(house: SpawnerEnds, number: signal.Signals) -> None:
    """However it ends, its cells are gone within a second, though media and broker still hold theirs."""
    cells = [house.fork("sandbox") for _ in range(3)]
    for cell in cells:
        cell.until(PostureTold)
    house.process.send_signal(number)
    house.process.wait(WAIT_S)
    assert all(gone(cell.pid) for cell in cells)
    assert (0 if number == signal.SIGTERM else -number) == house.process.returncode
    for cell in cells:
        cell.hang_up()


def test_the_spawner_dies_with_its_supervisor(short_dir: Path) -> None:
    """A supervisor that is killed cannot leave it behind."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, *sys.argv[1:]], close_fds=False)\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    ours, theirs = hatch()
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code, *REAL, os.fspath(short_dir), "--hatch", str(theirs.fileno())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **SPAWNER_ENVIRONMENT},
        pass_fds=(theirs.fileno(),),
    )
    assert supervisor.stdout is not None
    with ours, theirs, supervisor.stdout, connect(ours):
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
        supervisor.wait(WAIT_S)
        assert gone(pid)


@pytest.mark.root
def test_thirty_cells_leave_nothing_behind(house: SpawnerEnds) -> None:
    """No descriptor, no zombie, no cell."""
    house.fork("sandbox").hang_up()
    house.cell_end()
    before = descriptors(house.process.pid)
    for _ in range(30):
        cell = house.fork("sandbox")
        cell.hang_up()
        house.cell_end()
        assert gone(cell.pid, reaped=True)
    assert before == descriptors(house.process.pid)


def test_a_cell_that_nobody_took_ends_by_itself(house: SpawnerEnds) -> None:
    """A broker that dies between request and reply leaves no cell waiting."""
    with connect(house.hatch) as dying:
        request = {"id": 1, "op": "fork", "capture_id": "cap_9", "provider": "sandbox", "tenant": "demo"}
        dying.send(json.dumps(request).encode())
    assert "cap_9" == house.cell_end()["capture_id"]


def test_a_broker_that_does_not_read_does_not_stop_the_others(house: SpawnerEnds) -> None:
    """Its connection is cut when its buffer is full."""
    with connect(house.hatch) as deaf:
        deaf.settimeout(WAIT_S)
        with pytest.raises(OSError, match=r"pipe|reset"):  # noqa: PT012 - which send it is depends on buffers
            for _ in range(20_000):
                deaf.send(b'{"id":1,"op":"posture"}')
    assert house.ask("posture")["ok"]


def test_it_leaves_nothing_to_connect_to(house: SpawnerEnds, short_dir: Path) -> None:
    """One empty file says that it serves, and goes with it; there is no socket, not even for its own user."""
    assert house.ask("posture")["ok"]
    assert [("spawner.ready", False, 0)] == [
        (one.name, one.is_socket(), one.stat().st_size) for one in short_dir.iterdir()
    ]
    house.process.terminate()
    house.process.wait(WAIT_S)
    assert [] == list(short_dir.iterdir())


def test_it_does_not_start_with_something_else_for_a_hatch(short_dir: Path) -> None:
    """A file, or a number that nobody handed over: exit code 2 and a sentence."""
    for number in ("0", "77"):
        command = [sys.executable, *REAL, os.fspath(short_dir), "--hatch", number]
        ended = subprocess.run(
            command, check=False, cwd=ROOT, capture_output=True, stdin=subprocess.DEVNULL, timeout=20
        )
        assert (2, True) == (ended.returncode, b"no hatch" in ended.stderr)


def test_a_thread_in_the_spawner_stops_all_forks(short_dir: Path) -> None:
    """A copy of one thread of several may hold locks for ever."""
    environment = {**SPAWNER_ENVIRONMENT, "CELL_TEST_THREAD": "1"}
    with spawner(short_dir, environment=environment) as house:
        reply = house.ask("fork", capture_id="c", provider="good", tenant="t")
        assert ("not_single_threaded", False) == (reply["code"], reply["retryable"])


@pytest.mark.root
def test_the_spawner_never_holds_a_digit(house: SpawnerEnds) -> None:
    """After ten captures its whole memory is searched; a planted PAN would be found."""
    card = "5555555555554444"
    for _ in range(10):
        cell = house.fork("sandbox")
        cell.say(Open(Field.PAN))
        cell.press(card + "1230123")
        cell.until(Ready)
        cell.hang_up()
    assert 0 == search(house.process.pid, card[:12].encode()).hits
    with plant(house.process.pid, card.encode()):
        assert 1 == search(house.process.pid, card.encode()).hits


def plant(pid: int, content: bytes) -> "_Planted":
    return _Planted(pid, content)


class _Planted:
    """Bytes written into the stack area of another process for a while: the search must find them."""

    def __init__(self, pid: int, content: bytes) -> None:
        self.path = Path(f"/proc/{pid}/mem")
        stack = next(
            line
            for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
            if "[stack]" in line
        )
        self.place = int(stack.partition("-")[0], 16) + 64  # the far end, which nobody has reached
        self.content = content
        self.before = b""

    def __enter__(self) -> None:
        self.before = self._exchange(self.content)

    def __exit__(self, *_: object) -> None:
        self._exchange(self.before)

    def _exchange(self, content: bytes) -> bytes:
        with self.path.open("r+b", buffering=0) as memory:
            memory.seek(self.place)
            before = memory.read(len(content))
            memory.seek(self.place)
            memory.write(content)
        return before


def test_spawner_and_cell_hold_no_library_that_keeps_data() -> None:
    """No database, no web, no log framework, no numbers library: what is not loaded keeps no digit."""
    code = (
        "import sys, vault.spawner, vault.providers.sandbox, vault.providers.sandbox_direct\n"
        "print(*sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=20)
    loaded = {name.partition(".")[0] for name in told.stdout.decode().split()}
    assert set() == loaded & {
        "sqlalchemy",
        "aiohttp",
        "structlog",
        "numpy",
        "pydantic",
        "sqlite3",
        "requests",
    }


@pytest.mark.slow
def test_no_more_cells_than_the_limit(house: SpawnerEnds) -> None:
    """One more is refused with a code that says that it may work later."""
    cells = [house.fork("sandbox") for _ in range(CELLS_MAX)]
    reply = house.ask("fork", capture_id="c", provider="sandbox", tenant="t")
    assert ("cells_full", True) == (reply["code"], reply["retryable"])
    cells.pop().hang_up()
    house.cell_end()
    cells.append(house.fork("sandbox"))
    for cell in cells:
        cell.hang_up()
