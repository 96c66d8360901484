"""A node's own user: what it and a stranger can reach is asked of the kernel."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pay_ivr.proof.other_user import NODE_UID, ZONE, Separation, command, hand_over, separation

PRIVATE = "from vault.posture import make_private as act"
OPEN = "act = lambda: None"
SLEEPER = "{}; act(); print('ready', flush=True); import sys; sys.stdin.readline()"


@pytest.fixture(params=[PRIVATE, OPEN])
def process(request: pytest.FixtureRequest) -> Iterator[tuple[int, bool]]:
    """A process of the node's user, with its memory closed as the zone does it, or as programs come."""
    child = subprocess.Popen(
        command([sys.executable, "-c", SLEEPER.format(request.param)]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdout is not None
    child.stdout.readline()
    yield child.pid, request.param == OPEN
    child.communicate(b"\n", timeout=10)


@pytest.mark.root
def test_memory_and_files_are_asked_for_as_others(process: tuple[int, bool], tmp_path: Path) -> None:
    """A non-dumpable process is closed to its own user, any other is open; a folder of mode 0700 holds."""
    pid, is_open = process
    tmp_path.chmod(0o700)
    (tmp_path / "vault.sock").touch()
    hand_over([tmp_path])
    seen = separation(dict.fromkeys(ZONE, pid), [], tmp_path)
    assert Separation(NODE_UID, len(ZONE), len(ZONE) if is_open else 0, 1, 0) == seen
    assert is_open == bool(seen.problems)
