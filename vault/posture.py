"""How well a process of the PCI zone is walled in: what is asked of the kernel, and what the kernel granted.

A refusal never stops a process: it is graded, reported as the cell's first fact and written to the audit log
by the broker, which refuses live tenants on a weak posture unless the risk is accepted on record. This file
owns the list of items; `vault/kernel.py` has the calls.
"""

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vault import kernel
from vault.secret_page import SecretPage

SPAWNER_ENVIRONMENT: Mapping[str, str] = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0",
}
"""Set by the supervisor before it starts the spawner: the C library reads it once. Every freed block is
overwritten; measured, the HTTP libraries then leave no card digit behind, and without it most of them do."""

PERTURBED_BYTE = 165 ^ 0xFF
"""What glibc fills a new block with when its perturb value is 165."""

CELL_UID = 65534
"""`nobody`: a cell of a spawner that runs as root gives up root; a spawner with a uid of its own keeps it."""

FILES_MAX = 16
"""File descriptors of a cell: null device, two of its own, a new pipe, a provider's connections."""


PROBE_MAX = 4096
"""Bytes of a probe's answer, as much as a pipe carries in one piece."""


class Grade(StrEnum):
    """How one item went."""

    ACHIEVED = "achieved"
    REFUSED = "refused"
    """The kernel has it and said no."""
    ABSENT = "absent"
    """The kernel, the machine or the configuration does not have it."""


WEAK_WITHOUT = (
    "secret_memory",
    "unswappable",
    "private",
    "no_core",
    "dies_with_parent",
    "unprivileged",
    "landlock",
    "seccomp",
    "no_exec_gain",
    "heap_overwritten",
)
"""Every item; each one that is not achieved makes the posture weak."""


@dataclass(frozen=True)
class Posture:
    """The grades of one process, each item once, in the order of `WEAK_WITHOUT`."""

    grades: tuple[tuple[str, Grade], ...]

    @property
    def weak(self) -> tuple[str, ...]:
        """The items that a live tenant would need and that are not in force; empty is the good case."""
        held = {item for item, grade in self.grades if grade is Grade.ACHIEVED}
        return tuple(item for item in WEAK_WITHOUT if item not in held)

    def as_json(self) -> dict[str, str]:
        """Item -> grade, for the report socket and the audit log."""
        return {item: grade.value for item, grade in self.grades}


@dataclass(frozen=True)
class Needs:
    """What a provider inside a cell needs besides the report socket; the default is nothing at all."""

    read_paths: tuple[str, ...] = ()
    tcp_ports: tuple[int, ...] = ()


def die_with_parent(signal_number: int, parent_pid: int | None = None) -> None:
    """From now on the kernel sends `signal_number` when the parent's thread that started us ends.

    With `parent_pid` a parent that died before this call is noticed too. A change of uid undoes it.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal_number)
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal_number)


def make_private() -> None:
    """No core file, and no process of the same uid may read our memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def drop_root() -> None:
    """Gives up root for good; nothing happens without it. PermissionError when the kernel keeps us root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(CELL_UID, CELL_UID, CELL_UID)
        os.setresuid(CELL_UID, CELL_UID, CELL_UID)
    if 0 in os.getresuid():
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def heap_is_overwritten() -> bool:
    """True when `SPAWNER_ENVIRONMENT` is in force: Python asks libc for every block, and libc perturbs it."""
    python_uses_libc = os.environ.get("PYTHONMALLOC") == "malloc" and not sys.flags.ignore_environment
    return python_uses_libc and kernel.fresh_heap_byte() == PERTURBED_BYTE


def swap_is_off() -> bool:
    """True when the machine has no swap at all; the heap of a cell is then never on a disk."""
    try:
        return len(Path("/proc/swaps").read_bytes().splitlines()) <= 1
    except OSError:
        return False


def single_threaded() -> bool:
    """True when this process is one task: only such a process may fork cells."""
    return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - called before each fork, by name only


def harden(parent_pid: int, needs: Needs, without: Collection[str] = ()) -> tuple[Posture, SecretPage]:
    """Walls this process in for the rest of its life; says how well, with the one page for its secrets.

    `without` leaves items out, as on a machine that lacks them. The order matters: a change of uid undoes the
    death signal and the privacy; a file that may not grow cannot become the page; Landlock and seccomp forbid
    what the steps before them need.
    """
    grades: dict[str, Grade] = {}

    def step(item: str, act: Callable[[], object]) -> None:
        grades[item] = Grade.ABSENT if item in without else _graded(act)

    heap, swap = heap_is_overwritten(), swap_is_off()
    step("unprivileged", drop_root)
    step("dies_with_parent", lambda: die_with_parent(signal.SIGKILL, parent_pid))
    step("no_core", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    step("private", lambda: kernel.prctl(kernel.PR_SET_DUMPABLE, 0))
    page = SecretPage(sealed="secret_memory" not in without)
    grades["secret_memory"] = Grade.ACHIEVED if page.sealed else _grade_of(page.refusal)
    grades["unswappable"] = Grade.ACHIEVED if page.unswappable and swap else Grade.REFUSED
    grades["heap_overwritten"] = (
        Grade.ACHIEVED if heap and "heap_overwritten" not in without else Grade.ABSENT
    )
    _limit_resources()
    step("no_exec_gain", lambda: kernel.prctl(kernel.PR_SET_MDWE, kernel.PR_MDWE_REFUSE_EXEC_GAIN))
    step("landlock", lambda: kernel.landlock_apply(kernel.landlock_abi(), needs.read_paths, needs.tcp_ports))
    step("seccomp", lambda: kernel.seccomp_apply(kernel.seccomp_program(network=bool(needs.tcp_ports))))
    return Posture(tuple((item, grades[item]) for item in WEAK_WITHOUT)), page


def _graded(act: Callable[[], object]) -> Grade:
    try:
        act()
    except KeyError:
        return Grade.ABSENT  # a machine without numbers in vault/kernel.py
    except OSError as error:
        return _grade_of(error.errno)
    return Grade.ACHIEVED


def _grade_of(number: int | None) -> Grade:
    """ABSENT for the three ways in which a kernel says that it does not know what is meant."""
    return Grade.ABSENT if number in {errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL} else Grade.REFUSED


def _limit_resources() -> None:
    """No child, no file that grows, few descriptors; lowering a limit is never refused."""
    for limit, value in (
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, FILES_MAX),
    ):
        resource.setrlimit(limit, (value, value))


def probe(without: Collection[str] = ()) -> Posture:
    """The posture a cell forked from this process would get: a child tries every step for real and tells.

    Call it from a single-threaded process only. OSError when the child ends without an answer.
    """
    reader, writer = os.pipe()
    parent_pid = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            posture, _page = harden(parent_pid, Needs(), without)
            os.write(writer, json.dumps(posture.as_json()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    answer = os.read(reader, PROBE_MAX)  # one write below PIPE_BUF: all of it, or the end
    os.close(reader)
    os.waitpid(child, 0)
    if not answer:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    grades = json.loads(answer)
    return Posture(tuple((item, Grade(grades[item])) for item in WEAK_WITHOUT))
