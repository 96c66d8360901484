"""The kernel calls that Python's library does not have, by ctypes, and nothing but the calls.

Sources: memfd_secret(2), prctl(2), landlock(7), seccomp(2), close_range(2), mlock(2), madvise(2). Every
function raises OSError with the kernel's errno; what a refusal means is decided in `vault/posture.py`.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

MACHINE = platform.machine()
"""`x86_64` and `aarch64` have a seccomp list here; elsewhere KeyError, and the posture says so."""

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
PR_SET_MDWE = 65
PR_MDWE_REFUSE_EXEC_GAIN = 1
SECCOMP_MODE_FILTER = 2

PROT_READ_WRITE = 0x3
MAP_SHARED = 0x01
MAP_PRIVATE_ANONYMOUS = 0x22
MADV_DONTDUMP = 16
MADV_WIPEONFORK = 18

_ANY_MACHINE = {
    "memfd_secret": 447,
    "landlock_create": 444,
    "landlock_add": 445,
    "landlock_apply": 446,
    "close_range": 436,
}
"""Calls added since Linux 5.1 have one number on every machine."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _raw(name: str, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_char_p(one) if isinstance(one, bytes) else ctypes.c_long(one or 0) for one in arguments]
    return _checked(_libc.syscall(ctypes.c_long(_ANY_MACHINE[name]), *words))


def prctl(option: int, value: int, address: int = 0) -> int:
    """What the kernel answers to one option; the unused arguments are zero, as newer options insist."""
    return _checked(_libc.prctl(option, value, address, 0, 0))


def map_secret(size: int) -> int:
    """Address of `size` bytes of memfd_secret: out of the kernel's own map, unreadable even for root."""
    fd = _raw("memfd_secret", os.O_CLOEXEC)
    try:
        os.ftruncate(fd, size)
        return _mapped(_libc.mmap(None, size, PROT_READ_WRITE, MAP_SHARED, fd, 0))
    finally:
        os.close(fd)


def map_anonymous(size: int) -> int:
    """Address of `size` ordinary private bytes."""
    return _mapped(_libc.mmap(None, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0))


def _mapped(address: int | None) -> int:
    failed = ctypes.c_void_p(-1).value
    if address is None or address == failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address


def lock(address: int, size: int) -> None:
    """Keeps the range in memory: never in swap."""
    _checked(_libc.mlock(address, size))


def advise(address: int, size: int, advice: int) -> None:
    """Tells the kernel how to treat the range (MADV_...)."""
    _checked(_libc.madvise(address, size, advice))


def close_from(first: int) -> None:
    """Closes every file descriptor from `first` on."""
    _raw("close_range", first, 0xFFFFFFFF, 0)


def fresh_heap_byte() -> int | None:
    """The byte that a new heap block is filled with, or None when its bytes differ (no perturbation)."""
    size = 96
    address = _libc.malloc(size)
    try:
        block = ctypes.string_at(address, size)
    finally:
        _libc.free(address)
    return block[0] if block == block[:1] * size else None


# --- Landlock --------------------------------------------------------------------------------------------

_LANDLOCK_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}
"""ABI -> every file right it knows; from 5 on device ioctl is added."""
_LANDLOCK_FILE_RIGHTS_ALL = 0xFFFF
_LANDLOCK_READ = 0x4 | 0x8  # READ_FILE, READ_DIR
_LANDLOCK_READ_FILE = 0x4
_LANDLOCK_NET_ALL = 0x3  # BIND_TCP, CONNECT_TCP (ABI 4)
_LANDLOCK_CONNECT_TCP = 0x2
_LANDLOCK_SCOPE_ALL = 0x3  # abstract Unix sockets, signals (ABI 6)
_RULE_PATH_BENEATH = 1
_RULE_NET_PORT = 2


def landlock_abi() -> int:
    """The kernel's Landlock version."""
    return _raw("landlock_create", None, 0, 1)


def landlock_apply(abi: int, read_paths: Iterable[str], tcp_ports: Iterable[int]) -> None:
    """For ever: no file but reading beneath `read_paths`, no TCP but connecting to `tcp_ports`, no scope."""
    files = _LANDLOCK_FILE_RIGHTS.get(abi, _LANDLOCK_FILE_RIGHTS_ALL)
    net = _LANDLOCK_NET_ALL if abi >= 4 else 0
    scope = _LANDLOCK_SCOPE_ALL if abi >= 6 else 0
    attributes = struct.pack("=QQQ", files, net, scope)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _raw("landlock_create", attributes, len(attributes), 0)
    try:
        for path in read_paths:
            _allow_reading(ruleset, path)
        for port in tcp_ports if net else ():
            _raw("landlock_add", ruleset, _RULE_NET_PORT, struct.pack("=QQ", _LANDLOCK_CONNECT_TCP, port), 0)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        _raw("landlock_apply", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: str) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _LANDLOCK_READ if os.path.isdir(path) else _LANDLOCK_READ_FILE  # noqa: PTH112 - no Path in a cell
        _raw("landlock_add", ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)


# --- seccomp ---------------------------------------------------------------------------------------------

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

CALLS_CLOSED = {
    # what a single-threaded Python process with two open sockets needs to live and to die
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "poll": 7, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
        "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "mremap": 25,
        "madvise": 28, "getpid": 39, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47,
        "getsockname": 51, "getsockopt": 55, "exit": 60, "fcntl": 72, "gettimeofday": 96, "futex": 202,
        "restart_syscall": 219, "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231,
        "ppoll": 271, "getrandom": 318,
    },
    "aarch64": {
        "read": 63, "write": 64, "close": 57, "mmap": 222, "mprotect": 226, "munmap": 215, "brk": 214,
        "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "ioctl": 29, "mremap": 216,
        "madvise": 233, "getpid": 172, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212,
        "getsockname": 204, "getsockopt": 209, "exit": 93, "fcntl": 25, "gettimeofday": 169, "futex": 98,
        "restart_syscall": 128, "clock_gettime": 113, "clock_nanosleep": 115, "exit_group": 94,
        "ppoll": 73, "getrandom": 278,
    },
}  # fmt: skip
"""The system calls of a cell that talks to nobody but its broker, by number."""

CALLS_NETWORK = {
    "x86_64": {
        "connect": 42, "setsockopt": 54, "getpeername": 52, "shutdown": 48, "openat": 257, "fstat": 5,
        "newfstatat": 262, "lseek": 8, "pread64": 17, "statx": 332, "uname": 63, "getuid": 102,
        "readlink": 89, "getdents64": 217,
    },
    "aarch64": {
        "connect": 203, "setsockopt": 208, "getpeername": 205, "shutdown": 210, "openat": 56, "fstat": 80,
        "newfstatat": 79, "lseek": 62, "pread64": 67, "statx": 291, "uname": 160, "getuid": 174,
        "readlinkat": 78, "getdents64": 61,
    },
}  # fmt: skip
"""What a provider's TCP connection adds; which files and ports, Landlock says."""

_SOCKET = {"x86_64": 41, "aarch64": 198}
_AF_INET, _AF_INET6 = 2, 10
_SOCK_STREAM = 1
_SOCK_KIND_MASK = 0xF

_RET_ALLOW = 0x7FFF0000
_RET_ERRNO_EPERM = 0x00050000 | 1
_RET_KILL_PROCESS = 0x80000000
_LOAD, _JUMP_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT, _SECOND_ARGUMENT_AT = 0, 4, 16, 24


def seccomp_program(*, network: bool) -> bytes:
    """The BPF program of a cell: the listed calls pass, all others fail with EPERM, a foreign ABI kills.

    With `network`, socket(2) passes for TCP only: Landlock restricts neither UDP nor Unix sockets.
    """
    allowed = CALLS_CLOSED[MACHINE] | (CALLS_NETWORK[MACHINE] if network else {})
    lines = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[MACHINE]),
        (_RETURN, 0, 0, _RET_KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for number in sorted(allowed.values()):
        lines += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_ALLOW)]
    if network:
        lines += [
            (_JUMP_EQUAL, 0, 7, _SOCKET[MACHINE]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
            (_JUMP_EQUAL, 1, 0, _AF_INET),
            (_JUMP_EQUAL, 0, 4, _AF_INET6),
            (_LOAD, 0, 0, _SECOND_ARGUMENT_AT),
            (_AND, 0, 0, _SOCK_KIND_MASK),
            (_JUMP_EQUAL, 0, 1, _SOCK_STREAM),
            (_RETURN, 0, 0, _RET_ALLOW),
        ]
    lines.append((_RETURN, 0, 0, _RET_ERRNO_EPERM))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def seccomp_apply(program: bytes) -> None:
    """Filters every later system call of this thread and its children by the program."""
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    block = ctypes.create_string_buffer(head, len(head))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(block))
