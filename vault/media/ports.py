"""The two UDP sockets of a leg: opened as a pair, and freed of a peer that signalling has replaced."""

import ctypes
import socket
import struct
from typing import Final

EXPEDITED_FORWARDING: Final = 46 << 2
"""DSCP EF in the TOS byte: telephony audio (RFC 4594 §4.1)."""


def open_sockets(bind_ip: str, port: int) -> tuple[socket.socket, socket.socket]:
    """RTP on `port`, RTCP on the next one, both non-blocking; OSError when either is taken."""
    opened: list[socket.socket] = []
    try:
        for number in (port, port + 1):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            opened.append(sock)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED_FORWARDING)
            sock.bind((bind_ip, number))
    except OSError:
        for sock in opened:
            sock.close()
        raise
    return opened[0], opened[1]


def disconnect(sock: socket.socket) -> None:
    """Let a connected UDP socket hear everybody again; its port stays (connect(2) with AF_UNSPEC)."""
    nobody = struct.pack("=H14x", socket.AF_UNSPEC)
    if ctypes.CDLL(None, use_errno=True).connect(sock.fileno(), nobody, len(nobody)) != 0:
        raise OSError(ctypes.get_errno(), "disconnect")
