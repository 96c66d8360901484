"""The supervisor: starts in order, restarts what died, reaps orphans, stops in reverse order."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pay_ivr.settings import Settings
from pay_ivr.supervisor import NodeError, Process, Supervisor, processes_of, provider_names

SLEEPER = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path(sys.argv[1]).write_text("up")
time.sleep(60)
"""


@pytest.fixture
def sleeper(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    """A process of one file that writes its ready file and sleeps."""
    (short_dir / "sleeper.py").write_text(SLEEPER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(short_dir))
    return Process("sleeper", ("sleeper", str(short_dir / "up")), short_dir / "up")


def supervised(short_dir: Path, *processes: Process) -> Supervisor:
    supervisor = Supervisor(
        Settings(data_dir=short_dir / "data", run_dir=short_dir / "run"), short_dir / "log"
    )
    supervisor.processes = processes
    return supervisor


def until(found: object, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not found() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.02)
    assert found()  # type: ignore[operator]


def test_a_process_that_dies_is_started_again(short_dir: Path, sleeper: Process) -> None:
    """Whoever dies comes back alone, with a new pid."""
    supervisor = supervised(short_dir, sleeper)
    said: list[str] = []
    supervisor.start(said.append)
    try:
        first = supervisor.pids()["sleeper"]
        os.kill(first, signal.SIGKILL)
        until(lambda: (supervisor.watch(), supervisor.pids().get("sleeper", first) != first)[1])

        assert (["sleeper"], 1) == (said, sleeper.restarts)
    finally:
        supervisor.stop()
    assert {} == supervisor.pids()


def test_a_process_that_keeps_dying_is_restarted_more_and_more_slowly(short_dir: Path) -> None:
    """A broken process must not take the machine with it."""
    process = Process("broken", ("no_such_module_of_ours",), short_dir / "never")
    supervisor = supervised(short_dir, process)
    process.started_at = 99.0
    waits = []
    for _ in range(4):
        supervisor._note_death(process, now=100.0)
        waits.append(round((process.due_at or 0) - 100.0, 1))

    assert [0.0, 0.2, 1.0, 5.0] == waits


def test_a_process_that_does_not_come_up_stops_the_others(short_dir: Path, sleeper: Process) -> None:
    """Half a node is none; the sentence names the process."""
    broken = Process("broken", ("no_such_module_of_ours",), short_dir / "never")
    supervisor = supervised(short_dir, sleeper, broken)

    with pytest.raises(NodeError, match="the broken process did not start"):
        supervisor.start(lambda _name: None)

    assert {} == supervisor.pids()


def test_nothing_of_the_operators_environment_reaches_a_process(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token in somebody's shell does not end up in a node."""
    (short_dir / "teller.py").write_text(
        "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(' '.join(sorted(os.environ)))",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(short_dir))
    monkeypatch.setenv("SECRET_TOKEN_OF_A_SHELL", "x")
    teller = Process("teller", ("teller", str(short_dir / "told")), short_dir / "told", {"GIVEN": "1"})
    supervisor = supervised(short_dir, teller)
    supervisor.start(lambda _name: None)
    until(lambda: "GIVEN" in (short_dir / "told").read_text())
    supervisor.stop()

    assert "SECRET_TOKEN_OF_A_SHELL" not in (short_dir / "told").read_text()


def test_a_node_is_five_processes_in_the_order_they_need_each_other() -> None:
    """The broker needs the spawner and media, the app needs the broker, the ear comes last."""
    processes = processes_of(Settings())

    assert ["spawner", "media", "broker", "app", "audit"] == [process.name for process in processes]
    assert "PYTHONMALLOC" in processes[0].environment
    assert all(str(sys.executable) not in argument for process in processes for argument in process.arguments)


def test_the_spawner_loads_the_providers_that_tenants_name(tmp_path: Path) -> None:
    """And both sandboxes; a file that nobody can read names none, and stops nobody."""
    (tmp_path / "one.toml").write_text('[payment]\nprovider = "stripe"\n', encoding="utf-8")
    (tmp_path / "two.toml").write_text('[payment]\nproviders = ["other", "sandbox"]\n', encoding="utf-8")
    (tmp_path / "three.toml").write_text("payment = 3\n", encoding="utf-8")
    (tmp_path / "four.toml").write_text("[payment\n", encoding="utf-8")

    assert ["other", "sandbox", "sandbox_direct", "stripe"] == provider_names(tmp_path)
