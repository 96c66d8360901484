"""The short way of ordinary packets, and the turn of the event loop that carries them.

A lane is one leg's socket. Audio runs on: the first eight bytes of the next packet (type, sequence, time
stamp) are those of the last one plus `NEXT`. A datagram of `ORDINARY_BYTES` that has them, and the peer's
SSRC, is laid into the ear's slot and leaves with its head moved by `shift`, an addition. Any other datagram
stays in `BUFFER` for `leg.py`, which opens the lane again when the stream is ordinary again. A lane ends
before a number of either side begins anew, because an addition must not carry into the next field.

A leg in SECURE is sent comfort noise on our own clock; a lane that hums sends it, one frame for every `hum`
of the carrier.

The same twice: `PythonCarrier`, which says what is done, and `lane.c`, which is used where it was compiled
from this very source; `tests/vault/media/test_lane.py` holds one against the other.
"""

import ctypes
import hashlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from vault.media.ear import EarMemory
from vault.media.g711 import ALAW_TO_ULAW, ULAW_TO_ALAW
from vault.media.rtp import FRAME_BYTES, HEADER_BYTES

DATAGRAM_BYTES_MAX: Final = 2048
"""More than an Ethernet frame; a longer datagram is cut and then refused."""
ORDINARY_BYTES: Final = HEADER_BYTES + FRAME_BYTES
EVENTS_MAX: Final = 256
"""Sockets served between two looks at the clock: about two milliseconds."""
FILES_MAX: Final = 65_536
"""Size of the table of lanes and of handlers; the limit on open files is set to it."""
LOOK_EVERY: Final = 8
"""Packets between two looks at the clock. Each is timed against the one timed before: while delays are
independent that has the same spread as the neighbours of RFC 3550 A.8, and settles within 2.6 seconds."""
NEXT: Final = 1 << 32 | FRAME_BYTES
"""What a head grows by from one packet to the next: one in sequence, 20 ms in time."""
CLOSED: Final = -1
"""As a lane's SSRC: no packet is ordinary."""
NOBODY: Final = -1
"""As a lane's `out_fd` or `row`."""
DONE: Final = -1
NO_LANE: Final = -1
NS_PER_S: Final = 1_000_000_000
UNITS_PER_S: Final = 8000
"""RTP clock of G.711 (RFC 3551 §4.5.14)."""
LAWS: Final[tuple[bytes | None, ...]] = (None, ULAW_TO_ALAW, ALAW_TO_ULAW)
"""By a lane's `law`: how the payload is translated."""
NOISES: Final = ("", "PCMU", "PCMA")
"""By a lane's `hum`: the codec of the noise it sends."""
SOURCE: Final = Path(__file__).with_suffix(".c")
LIBRARY: Final = Path(__file__).with_name("_lane.so")
"""Built by `python -m vault.media.lane_build`."""

BUFFER: Final = bytearray(DATAGRAM_BYTES_MAX)
"""The one receive buffer of the process: single thread, one packet at a time, overwritten by the next."""
_VIEW: Final = memoryview(BUFFER)
_ORDINARY: Final = _VIEW[:ORDINARY_BYTES]
_FRAME: Final = _VIEW[HEADER_BYTES:ORDINARY_BYTES]
_HEAD: Final = struct.Struct("!QI")
"""An RTP header as two numbers: the head, then the SSRC."""
_LOOK: Final = LOOK_EVERY - 1 << 32
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


Noises = tuple[Sequence[bytes], ...]
"""Frames of comfort noise in the order of NOISES, without its first."""


class Lane(ctypes.Structure):
    """What the short way needs of one leg; `leg.py` writes it, the carrier moves `last` to `failures` on."""

    last: int
    """Head of the last packet."""
    end: int
    """Head of the last packet that may go this way."""
    shift: int
    """What is added to a head to make it one of the outgoing stream, modulo 2**64."""
    ssrc: int
    """The peer's, or CLOSED."""
    transit: int
    """RTP clock minus time stamp of the packet timed last."""
    jitter: int
    """RFC 3550 A.8, in sixteenths of a clock unit."""
    run: int
    """Packets since `leg.py` counted last."""
    failures: int
    """Of those, packets the kernel did not take."""
    out_ssrc: int
    out_fd: int
    """Connected socket the audio leaves by, or NOBODY."""
    row: int
    """The ear's, or NOBODY."""
    law: int
    """Place in LAWS."""
    carried: int
    """1 while datagrams of this socket are taken here at all."""
    own: int
    """Head of the last frame of noise that left by this socket."""
    own_end: int
    """Head of the last one that may."""
    own_ssrc: int
    hum: int
    """Place in NOISES; 0 while the lane does not hum."""
    hum_at: int
    """Which frame of the noise left last."""
    hummed: int
    """Frames since `leg.py` counted last."""
    hum_failures: int
    """Of those, frames the kernel did not take."""
    hum_units: int
    """When the last one left."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("last", "end", "shift", "own", "own_end")),
        *((name, ctypes.c_int64) for name in ("ssrc", "transit", "jitter", "hum_units")),
        *((name, ctypes.c_uint32) for name in ("run", "failures", "out_ssrc")),
        *((name, ctypes.c_int32) for name in ("out_fd", "row")),
        *((name, ctypes.c_uint32) for name in ("law", "carried", "hum", "hum_at")),
        *((name, ctypes.c_uint32) for name in ("hummed", "hum_failures", "own_ssrc")),
    )

    def clear(self) -> None:
        """As a socket that nobody knows yet."""
        ctypes.memset(ctypes.byref(self), 0, ctypes.sizeof(self))
        self.ssrc, self.out_fd, self.row = CLOSED, NOBODY, NOBODY

    def open(self, head: int, ssrc: int, shift: int) -> None:
        """The packet with `head` was ordinary, and left with `shift`: the next one may go this way."""
        packets = min(_packets_left(head), _packets_left(head + shift & _MASK))
        if packets > 0:
            self.last, self.end, self.shift, self.ssrc = head, head + packets * NEXT, shift & _MASK, ssrc

    def begin_hum(self, head: int, ssrc: int, noise: int, at: int) -> bool:
        """Our own stream's last frame had `head`: send noise from now on; False when a number ends first."""
        packets = _packets_left(head)
        if packets > 0:
            self.own, self.own_end, self.own_ssrc = head, head + packets * NEXT, ssrc
            self.hum, self.hum_at = noise, at
        return packets > 0


def _packets_left(head: int) -> int:
    """How many more packets until the sequence or the time stamp begins anew."""
    return min(0xFFFF - (head >> 32 & 0xFFFF), (0xFFFFFFFF - (head & 0xFFFFFFFF)) // FRAME_BYTES)


class Carrier(Protocol):
    """Reads the sockets of an epoll object; those with a lane itself."""

    length: int
    """With a socket from `next`: bytes of its datagram in BUFFER; NO_LANE when it has no lane."""

    def next(self, due_s: float) -> int:
        """Carry ordinary packets until somebody else can be read; DONE at `due_s` (monotonic) or a signal."""

    def hum(self, units: int) -> int:
        """One frame of noise from every lane in `Lanes.humming`; how many of them did not hum."""


class Lanes:
    """The lanes of a process by file descriptor, in memory that both carriers can read."""

    def __init__(self) -> None:
        self.table = (Lane * FILES_MAX)()
        self.known: list[Lane | None] = [None] * FILES_MAX
        """Lanes that are carried."""
        self.humming: dict[int, Lane] = {}
        """Lanes that send noise; a carrier asks for their number once for every change."""
        self.humming_changed = False

    def lane(self, sock: socket.socket) -> Lane:
        """The lane of a socket, cleared."""
        lane: Lane = self.table[sock.fileno()]
        lane.clear()
        return lane

    def carry(self, number: int) -> None:
        """Take this socket's datagrams from now on."""
        lane: Lane = self.table[number]
        lane.carried = 1
        self.known[number] = lane

    def hum(self, number: int) -> None:
        """Send noise from this socket with every `hum` of the carrier."""
        self.humming[number] = self.table[number]
        self.humming_changed = True

    def hush(self, number: int) -> None:
        """No noise from this socket any more."""
        if self.humming.pop(number, None) is not None:
            self.humming_changed = True

    def forget(self, number: int) -> None:
        """Somebody else reads this socket from now on."""
        lane = self.known[number]
        if lane is not None:
            lane.carried, lane.ssrc = 0, CLOSED
            self.known[number] = None


class PythonCarrier:
    """The carrier that needs nothing but this file."""

    def __init__(self, epoll: select.epoll, lanes: Lanes, memory: EarMemory, noises: Noises) -> None:
        self.length = NO_LANE
        self._poll = epoll.poll
        self._known = lanes.known
        self._humming = lanes.humming
        self._noises: Noises = ((), *noises)
        self._memory = memory
        self._ready: Iterator[tuple[int, int]] = iter(())
        self._units = 0

    def next(self, due_s: float) -> int:
        """The next socket to see to, or DONE."""
        while (number := self._next_ready()) == DONE:
            now = time.monotonic()
            if now >= due_s:
                return DONE
            ready = self._poll(due_s - now, EVENTS_MAX)
            self._ready, self._units = iter(ready), int(time.monotonic() * UNITS_PER_S)
            if not ready:
                return DONE
        return number

    def hum(self, units: int) -> int:
        """One frame of noise from every lane that hums."""
        silent = 0
        for number, lane in self._humming.items():
            if lane.hum:
                self._hum(number, lane, units)
            else:
                silent += 1
        return silent

    def _hum(self, number: int, lane: Lane, units: int) -> None:
        frames = self._noises[lane.hum]
        lane.own += NEXT
        lane.hum_at = at = (lane.hum_at + 1) % len(frames)
        try:
            os.write(number, _HEAD.pack(lane.own, lane.own_ssrc) + frames[at])
        except OSError:
            lane.hum_failures += 1
        lane.hummed += 1
        lane.hum_units = units
        if lane.own == lane.own_end:
            lane.hum = 0

    def _next_ready(self) -> int:
        """The next of those that the last poll found."""
        for number, _ in self._ready:
            lane = self._known[number]
            if lane is None:
                self.length = NO_LANE
                return number
            try:
                self.length = os.readv(number, (BUFFER,))
            except OSError:
                continue  # ECONNREFUSED: the peer's port was closed a moment ago; EAGAIN: nothing there
            if self.length != ORDINARY_BYTES or not self._carry(lane, self._units):
                return number
        return DONE

    def _carry(self, lane: Lane, units: int) -> bool:
        """Whether the datagram was the lane's next ordinary packet, and has been heard and moved on."""
        head, ssrc = _HEAD.unpack_from(BUFFER)
        if head - lane.last != NEXT or ssrc != lane.ssrc:
            return False
        if lane.row >= 0 and not self._memory.lay(lane.row, _FRAME):
            return False
        lane.last = head
        lane.run += 1
        if head == lane.end:
            lane.ssrc = CLOSED
        if not head & _LOOK:
            _look(lane, head, units)
        if lane.out_fd >= 0:
            _HEAD.pack_into(BUFFER, 0, head + lane.shift & _MASK, lane.out_ssrc)
            table = LAWS[lane.law]
            if table is not None:
                _FRAME[:] = _FRAME.tobytes().translate(table)
            try:
                os.write(lane.out_fd, _ORDINARY)
            except OSError:
                lane.failures += 1
        return True


def _look(lane: Lane, head: int, units: int) -> None:
    transit = units - (head & 0xFFFFFFFF)
    step = abs(transit - lane.transit)
    lane.transit = transit
    lane.jitter += step - ((lane.jitter + 8) >> 4)


class NativeCarrier:
    """The same in machine code."""

    def __init__(
        self, library: ctypes.CDLL, epoll: select.epoll, lanes: Lanes, memory: EarMemory, noises: Noises
    ) -> None:
        self.length = NO_LANE
        self._lanes = lanes
        self._numbers = (ctypes.c_uint32 * 0)()
        joined = tuple(b"".join(frames) for frames in noises)
        self._held = (memory, epoll, joined)
        octets, number = ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint32
        library.lanes_open.restype = ctypes.c_void_p
        library.lanes_open.argtypes = (
            *(ctypes.c_int, ctypes.c_void_p, number, octets, number),
            *(octets, octets, number, *(ctypes.c_char_p,) * 4, number),
        )
        library.lanes_next.argtypes = (ctypes.c_void_p, ctypes.c_int64)
        library.lanes_next.restype = ctypes.c_int64
        self._state = library.lanes_open(
            epoll.fileno(),
            ctypes.addressof(lanes.table),
            FILES_MAX,
            _octets(BUFFER),
            DATAGRAM_BYTES_MAX,
            _octets(memory.taken),
            _octets(memory.frames),
            memory.rows_max,
            ULAW_TO_ALAW,
            ALAW_TO_ULAW,
            *joined,
            len(noises[0]),
        )
        if not self._state:
            raise MemoryError
        self._next: Callable[[int, int], int] = library.lanes_next
        library.lanes_hum.argtypes = (ctypes.c_void_p, ctypes.c_void_p, number, ctypes.c_int64)
        library.lanes_hum.restype = number
        self._hum: Callable[[int, object, int, int], int] = library.lanes_hum

    def next(self, due_s: float) -> int:
        """The next socket to see to, or DONE."""
        found = self._next(self._state, int(due_s * NS_PER_S))
        if found < 0:
            return DONE
        self.length = (found >> 32) + NO_LANE
        return found & 0xFFFFFFFF

    def hum(self, units: int) -> int:
        """One frame of noise from every lane that hums."""
        if self._lanes.humming_changed:
            self._lanes.humming_changed = False
            self._numbers = (ctypes.c_uint32 * len(self._lanes.humming))(*self._lanes.humming)
        return self._hum(self._state, self._numbers, len(self._numbers), units)


def _octets(memory: bytearray) -> ctypes.Array[ctypes.c_uint8]:
    return (ctypes.c_uint8 * len(memory)).from_buffer(memory)


def source_name() -> str:
    """What a library built from this source says of itself; empty where the source is not installed."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest() if SOURCE.exists() else ""


def native_library() -> ctypes.CDLL | None:
    """`lane.c` compiled, or None: not built here, or from another source."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.lanes_source.restype = ctypes.c_char_p
        known: bytes = library.lanes_source()
    except (OSError, AttributeError):
        return None
    same = known.decode() == source_name() and library.lanes_lane_bytes() == ctypes.sizeof(Lane)
    return library if same else None


def open_carrier(
    epoll: select.epoll, lanes: Lanes, memory: EarMemory, noises: Noises, *, native: bool = True
) -> Carrier:
    """The compiled carrier where there is one, the Python one otherwise."""
    library = native_library() if native else None
    if library is not None:
        return NativeCarrier(library, epoll, lanes, memory, noises)
    return PythonCarrier(epoll, lanes, memory, noises)
