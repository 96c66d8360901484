"""What the kernel grants, and what is said when it does not. Everything runs in processes of its own."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cell import ROOT, WAIT_S, gone
from vault import kernel
from vault.posture import SPAWNER_ENVIRONMENT, WEAK_WITHOUT, Grade, Posture

PROBE = "import json, sys; from vault.posture import probe; print(json.dumps(probe(sys.argv[1:]).as_json()))"


def probed(*without: str, environment: dict[str, str] | None = None) -> Posture:
    """The posture that a fresh process finds."""
    told = subprocess.run(
        [sys.executable, "-c", PROBE, *without],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **(SPAWNER_ENVIRONMENT if environment is None else environment)},
        check=True,
        capture_output=True,
        timeout=20,
    )
    return Posture(tuple((item, Grade(grade)) for item, grade in json.loads(told.stdout).items()))


def test_this_kernel_grants_everything() -> None:
    """On a current kernel with the right environment nothing is weak."""
    posture = probed()
    assert () == posture.weak
    assert WEAK_WITHOUT == tuple(item for item, _ in posture.grades)


@pytest.mark.parametrize("item", ["secret_memory", "landlock", "seccomp", "private", "no_exec_gain"])
def test_a_missing_mechanism_makes_the_posture_weak(item: str) -> None:
    """It is named, and the others stay."""
    posture = probed(item)
    assert (item,) == posture.weak
    assert "absent" == posture.as_json()[item]


@pytest.mark.parametrize("lost", ["PYTHONMALLOC", "GLIBC_TUNABLES"])
def test_a_spawner_started_without_its_environment_is_weak(lost: str) -> None:
    """What counts is what the C library does, not what a variable says later."""
    environment = {name: value for name, value in SPAWNER_ENVIRONMENT.items() if name != lost}
    assert ("heap_overwritten",) == probed(environment=environment).weak


@pytest.mark.root
def test_what_the_kernel_refuses_is_refused_and_not_absent() -> None:
    """Locked memory is forbidden to this process, so there is no secret page and none that never swaps."""
    code = "import resource, os; resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)); os.setuid(65534)"
    told = subprocess.run(
        [sys.executable, "-c", f"import json; from vault import posture\n{code}\n{PROBE}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **SPAWNER_ENVIRONMENT},
        check=True,
        capture_output=True,
        timeout=20,
    )
    grades = json.loads(told.stdout)
    assert ("refused", "refused") == (grades["secret_memory"], grades["unswappable"])


def test_both_machines_have_the_same_calls() -> None:
    """x86-64 alone has `poll` and `readlink`; everything else has a number on both."""
    for table, only_x86, only_arm in (
        (kernel.CALLS_CLOSED, {"poll"}, set()),
        (kernel.CALLS_NETWORK, {"readlink"}, {"readlinkat"}),
    ):
        assert only_x86 == table["x86_64"].keys() - table["aarch64"].keys()
        assert only_arm == table["aarch64"].keys() - table["x86_64"].keys()


def test_a_process_dies_with_its_parent() -> None:
    """The kernel sends the signal, however the parent ended; a parent already gone counts, too."""
    child = (
        "import os, sys, time\nfrom vault.posture import die_with_parent\n"
        "pid = os.fork()\n"
        "if pid == 0:\n    die_with_parent(9, os.getppid())\n    print(os.getpid(), flush=True)\n"
        "time.sleep(30)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", child], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait(WAIT_S)
    assert gone(pid)


def test_a_parent_that_is_already_gone_is_noticed() -> None:
    """Between fork and the call the parent may have died: then there is nobody to wait for."""
    code = "from vault.posture import die_with_parent; die_with_parent(15, parent_pid=1)"
    assert -signal.SIGTERM == subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode


@pytest.mark.root
def test_a_private_process_has_no_core_and_no_reader_of_its_uid() -> None:
    """Memory of the process belongs to root in procfs, and a core file may have no byte."""
    code = (
        "import os, time; from vault.posture import make_private\n"
        "os.setuid(65534); make_private(); print(1, flush=True); time.sleep(30)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        limits = Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii")
        owner = Path(f"/proc/{process.pid}/mem").stat().st_uid
        process.kill()
        process.wait(WAIT_S)
    assert 0 == owner
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
