"""A cell's two ends: its key pipe and its report socket, and how a forked child comes to nothing else.

Shared by the cells of cards (`vault/cell.py`) and of PINs (`vault/pin_cell.py`). A key is one message of one
byte, which the kernel writes into the secret page and which is zeroed as soon as it was taken.
"""

import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from math import ceil

from vault import kernel

SEND_TIMEOUT_S = 5.0
"""A broker that does not read for so long is as good as gone."""

ALARM_GRACE_S = 60
"""After the cell's own limit: then the kernel ends even a cell that hangs."""

EXIT_ENDED = 0
EXIT_EXPIRED = 3
EXIT_BROKER_GONE = 4
EXIT_BAD_COMMAND = 5
EXIT_LEAK_STOPPED = 6
"""A message to the broker held the PAN: the provider's file is wrong, and the message was not sent."""
EXIT_FAULT = 7

_NULL, _KEYS, _REPORT, _FIRST_FREE = "/dev/null", 3, 4, 5
_ABOVE = 16  # where descriptors are parked while 0-4 are put in order


def arrange_signals(life_s: float) -> None:
    """The broker and the kernel end a cell; a terminal's Ctrl-C is for the supervisor."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.alarm(ceil(life_s) + ALARM_GRACE_S)


def arrange_descriptors(key_pipe: int, report: int) -> None:
    """Null device on 0-2, so that no fault of the interpreter can print; the two sockets; nothing else."""
    keys, facts = (fcntl.fcntl(fd, fcntl.F_DUPFD, _ABOVE) for fd in (key_pipe, report))
    null = fcntl.fcntl(os.open(_NULL, os.O_RDWR), fcntl.F_DUPFD, _ABOVE)
    for source, target in ((null, 0), (null, 1), (null, 2), (keys, _KEYS), (facts, _REPORT)):
        os.dup2(source, target, inheritable=False)
    kernel.close_from(_FIRST_FREE)


def report_socket() -> socket.socket:
    """Our end of the report socket."""
    report = _adopt(_REPORT)
    report.settimeout(SEND_TIMEOUT_S)
    return report


def _adopt(fd: int) -> socket.socket:
    """The socket of a descriptor, without asking the kernel what it is: seccomp would not answer."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=fd)


class KeyPipe:
    """Our end of the key pipe, if there is one; `key` is the one byte of secret memory that a key touches."""

    def __init__(self, key: memoryview) -> None:
        self._key = key
        self._pipe: socket.socket | None = None
        self.replace(_KEYS)

    def replace(self, fd: int) -> None:
        """Takes over another pipe; the one before is closed."""
        self.close()
        self._pipe = _adopt(fd)
        self._pipe.setblocking(False)

    def close(self) -> None:
        """No key comes any more, and the media process sees it."""
        if self._pipe is not None:
            self._pipe.close()
        self._pipe = None

    def register(self, poll: "select.poll") -> None:
        """Lets `poll` wait for a key."""
        if self._pipe is not None:
            poll.register(self._pipe, select.POLLIN)

    def read(self, press: Callable[[int, float], None]) -> bool:
        """Hands one waiting key to `press`; False when the pipe has ended, which closes our end too."""
        if self._pipe is None:
            return False
        try:
            size = self._pipe.recv_into(self._key, 1, socket.MSG_TRUNC)
        except BlockingIOError:
            return True
        except OSError:
            size = 0
        if size == 1:
            press(self._key[0], time.monotonic())
        self._key[0] = 0
        if size == 0:
            self.close()
        return size > 0


def command_waits(report: socket.socket, keys: KeyPipe, due: float | None) -> bool | None:
    """True when a command waits, False when only a key does, None when it is `due`.

    A key may need the command before it, so commands come first.
    """
    poll = select.poll()
    poll.register(report, select.POLLIN)
    keys.register(poll)
    timeout_ms = None if due is None else max(0, ceil((due - time.monotonic()) * 1000))
    ready = [fd for fd, _ in poll.poll(timeout_ms)]
    return report.fileno() in ready if ready else None
