"""The surroundings of the media process: what is in it, what it may, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.media import ROOT, media, until

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "vault.media", "--run-dir", sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""


def test_nothing_that_could_keep_or_send_a_key_is_loaded() -> None:
    """No database, web or log package in the modules of the media process."""
    code = "import sys, vault.media.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tops = {name.split(".")[0] for name in loaded.stdout.split()}
    assert not tops & {"sqlalchemy", "aiohttp", "structlog", "pydantic", "stripe", "cryptography"}


async def test_one_thread_no_core_not_dumpable() -> None:
    """One task; RLIMIT_CORE 0; memory belongs to root alone (PR_SET_DUMPABLE 0)."""
    async with media() as rig:
        proc = Path(f"/proc/{rig.process.pid}")
        assert 1 == len(list((proc / "task").iterdir()))
        core = next(line for line in (proc / "limits").read_text().splitlines() if "core file" in line)
        assert ["0", "0"] == core.split()[4:6]
        assert 0 == (proc / "mem").stat().st_uid


async def test_sigterm_ends_it_in_order() -> None:
    """Exit code 0, no socket left behind, SIGINT ignored (a terminal's Ctrl-C is the supervisor's)."""
    async with media() as rig:
        rig.process.send_signal(signal.SIGINT)
        assert await rig.client.legs() == []
        rig.process.terminate()
        await until(lambda: rig.process.poll() is not None)
        assert 0 == rig.process.returncode
        assert [] == list(rig.run_dir.iterdir())


def test_it_dies_with_its_parent(short_dir: Path) -> None:
    """Kill -9 of the supervisor leaves no media process behind."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(short_dir)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for((short_dir / "media.sock").exists)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not alive(child))


def alive(pid: int) -> bool:
    """A process that runs; a zombie nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(done: object) -> None:
    end = time.monotonic() + 10
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    "options",
    [
        ["--port-first", "80"],
        ["--port-first", "30000", "--port-last", "30000"],
        ["--legs-max", "0"],
        ["--orphan-ms", "10"],
    ],
)
def test_senseless_options_are_refused(options: list[str]) -> None:
    """Exit code 2 and a sentence, before anything listens."""
    command = [sys.executable, "-m", "vault.media", "--run-dir", "/nowhere", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    assert "must" in done.stderr
    assert os.linesep in done.stderr
