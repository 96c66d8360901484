"""The hatch: how the broker reaches media and spawner without a name that anybody could connect to.

A hatch is a pair of connected Unix datagram sockets without names. The supervisor makes it, keeps both ends,
and lets each of two processes inherit one (unix(7), SCM_RIGHTS). To knock is to hand an end of a new
connection through it; a knock waits there while the other process is being restarted. Nothing of this is in
the file system, and a process that inherited no end has no way in.
"""

import os
import socket
from array import array
from typing import Final

KNOCK: Final = b"knock"
FDS_MAX: Final = 4
"""Descriptors read with one knock: one is used, more are closed."""
_INT: Final = array("i").itemsize


def hatch() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new hatch; they are alike."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def inherited(number: int) -> socket.socket:
    """The end that came with the start as descriptor `number`; ValueError when that is none.

    No child of ours gets it: a forked cell closes it, and an exec loses it.
    """
    try:
        end = socket.socket(fileno=number)
    except (OSError, ValueError, OverflowError):
        raise ValueError("this descriptor is no hatch") from None
    if (end.family, end.type) != (socket.AF_UNIX, socket.SOCK_DGRAM) or end.getsockname():
        end.detach()
        raise ValueError("this descriptor is no hatch")
    end.set_inheritable(False)
    end.setblocking(False)
    return end


def knock(end: socket.socket) -> socket.socket:
    """Our end of a new SEQPACKET connection, of which the other side of the hatch gets the other end.

    OSError when nobody holds the other side, or when ten knocks wait there (net.unix.max_dgram_qlen).
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [theirs.fileno()]))
            end.sendmsg([KNOCK], [rights], socket.MSG_DONTWAIT)  # send_fds forgets its flags (Python 3.11)
        except OSError:
            ours.close()
            raise
    ours.setblocking(False)
    return ours


def answer(end: socket.socket) -> socket.socket | None:
    """The connection that somebody handed through; None when it was none after all."""
    try:  # recv_fds forgets its flags, too
        _message, parts, _flags, _address = end.recvmsg(
            len(KNOCK), socket.CMSG_LEN(FDS_MAX * _INT), socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        )
    except OSError:
        return None
    fds = array("i")
    for level, kind, data in parts:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % _INT])
    try:
        if len(fds) != 1:
            return None
        peer = socket.socket(fileno=fds[0])
        del fds[:]
    except OSError:  # no socket
        return None
    finally:
        for each in fds:
            os.close(each)
    if (peer.family, peer.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
        peer.close()
        return None
    peer.setblocking(False)
    return peer
