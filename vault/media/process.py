"""The media process: one plain epoll loop, one thread, no logger.

Measured, asyncio's datagram transport costs four times this loop. Sockets are level triggered and hand over
one datagram a turn; every 20 ms the keys, the guards and our own clock have their turn. This file owns the
process's surroundings: limits, privacy, memory, its end with its parent.
"""

import contextlib
import gc
import os
import resource
import secrets
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.media.capturing import Capturing
from vault.media.control import AppDesk, BrokerDesk, KeysInbox
from vault.media.lane import (
    BUFFER,
    DATAGRAM_BYTES_MAX,
    DONE,
    FILES_MAX,
    NOISES,
    UNITS_PER_S,
    Lane,
    Lanes,
    open_carrier,
)
from vault.media.prompting import Prompting
from vault.media.relay import Relay
from vault.media.rtp import FRAME_MS
from vault.media.upkeep import ORPHAN_MS, Upkeep

TICKS_BEHIND_MAX: Final = 10
"""After a longer stop than 200 ms we do not make up for the frames that nobody could hear any more."""
NICE: Final = -10
"""A packet is late after 20 ms; whatever else runs on this machine can wait that long. Where the system
forbids it (no CAP_SYS_NICE), the process runs as everybody else."""
COLLECT_THRESHOLDS: Final = (20_000, 50, 50)
"""The hot path makes no cycles; a collection in the middle of a call must stay rare and small."""
LEGS_MAX: Final = 1000
"""500 calls: what one core carries with room to spare (measured 1,300 to 1,750)."""
_NO_PACKET: Final = bytes(DATAGRAM_BYTES_MAX)
"""The last packet of a caller who has hung up would stay in the buffer until somebody else sends one."""


@dataclass(frozen=True)
class MediaSettings:
    """What the command line says."""

    run_dir: Path
    hatch: socket.socket | None = None
    """The broker's way in; None: nobody can begin a capture."""
    info_keys: bool = False
    """True: keys cut from SIP INFO are taken, on `media-keys.sock`."""
    bind_ip: str = "127.0.0.1"
    port_first: int = 20_000
    port_last: int = 29_999
    legs_max: int = LEGS_MAX
    orphan_ms: float = ORPHAN_MS
    native: bool = True
    """False: packets are carried in Python even where the compiled short way is there."""


class MediaProcess:
    """Everything of one media process; `run` returns when `stop` was called or SIGTERM came."""

    def __init__(self, settings: MediaSettings) -> None:
        self._epoll = select.epoll()
        self._handlers: list[Callable[[int], None]] = [_nobody] * FILES_MAX
        self._unusual: list[Callable[[int, int], None]] = [_unknown] * FILES_MAX
        self._lanes = Lanes()
        self._running = True
        ports = range(settings.port_first, settings.port_last + 1)
        self._relay = Relay(self, self, settings.bind_ip, ports, settings.legs_max)
        self._relay.ears.now_ms = time.monotonic() * 1000
        self._carrier = open_carrier(
            self._epoll,
            self._lanes,
            self._relay.ears.memory,
            tuple(self._relay.noise[codec] for codec in NOISES[1:]),
            native=settings.native,
        )
        self._prompting = Prompting(self._relay)
        self._capturing = Capturing(self._relay, self._prompting)
        self._upkeep = Upkeep(self._relay, self._prompting, self._capturing, settings.orphan_ms)
        self._app = AppDesk(
            settings.run_dir / "media.sock",
            self._relay,
            self._prompting,
            self._capturing,
            self._upkeep,
            secrets.token_hex(8),
        )
        hatch = settings.hatch
        self._broker = BrokerDesk(hatch, self._relay, self._capturing) if hatch is not None else None
        keys = settings.run_dir / "media-keys.sock"
        self._keys = KeysInbox(keys, self._relay) if settings.info_keys else None

    # -- Watcher and Facts, for the relay --------------------------------------------------------------------

    def watch(self, sock: socket.socket, handler: Callable[[int], None]) -> None:
        """Call `handler(units)` whenever `sock` can be read."""
        number = sock.fileno()
        if self._handlers[number] is _nobody:
            self._epoll.register(number, select.EPOLLIN)
        self._lanes.forget(number)
        self._handlers[number] = handler

    def lane(self, sock: socket.socket) -> Lane:
        """The lane of a socket that is about to be watched."""
        return self._lanes.lane(sock)

    def carry(self, sock: socket.socket, unusual: Callable[[int, int], None]) -> None:
        """Read a watched socket itself, and hand over what its lane does not take."""
        self._unusual[sock.fileno()] = unusual
        self._lanes.carry(sock.fileno())

    def hum(self, sock: socket.socket) -> None:
        """Send noise by this socket's lane with every `noise`."""
        self._lanes.hum(sock.fileno())

    def hush(self, sock: socket.socket) -> None:
        """No noise by this socket's lane any more."""
        self._lanes.hush(sock.fileno())

    def noise(self, units: int) -> int:
        """One frame of noise by every lane that hums."""
        return self._carrier.hum(units)

    def unwatch(self, sock: socket.socket) -> None:
        """Forget a socket that is about to be closed."""
        number = sock.fileno()
        if self._handlers[number] is not _nobody:
            self._lanes.forget(number)
            self._handlers[number], self._unusual[number] = _nobody, _unknown
            self._epoll.unregister(number)

    def app(self, name: str, leg_id: str, values: dict[str, object]) -> None:
        """One fact for the app."""
        self._app.tell(name, leg_id, values)

    def broker(self, name: str, leg_id: str, values: dict[str, object]) -> None:
        """One fact for the broker."""
        if self._broker is not None:
            self._broker.tell(name, leg_id, values)

    # -- the loop --------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Leave `run` after this turn."""
        self._running = False

    def run(self) -> None:
        """Carry media until stopped."""
        carrier, ears, monotonic = self._carrier, self._relay.ears, time.monotonic
        frame_s = FRAME_MS / 1000
        due = monotonic() + frame_s
        while self._running:
            number = carrier.next(due)
            now = monotonic()
            ears.now_ms = now * 1000
            if number != DONE and carrier.length >= 0:
                self._unusual[number](carrier.length, int(now * UNITS_PER_S))
            elif number != DONE:
                self._handlers[number](int(now * UNITS_PER_S))
            if now >= due:
                if now - due > TICKS_BEHIND_MAX * frame_s:
                    due = now
                self._tick(now * 1000, int(due * UNITS_PER_S))
                due += frame_s

    def _tick(self, now_ms: float, units: int) -> None:
        """The turn of keys, guards and our own clock; `units` is when this frame was due."""
        BUFFER[:] = _NO_PACKET
        self._relay.ears.tick(now_ms)
        self._capturing.tick(now_ms)
        self._prompting.tick(now_ms)
        self._relay.tick(units)
        self._upkeep.tick(now_ms, time.time(), units)
        self._app.flush()
        if self._broker is not None:
            self._broker.flush()

    def close(self) -> None:
        """Give everything back."""
        for party in tuple(self._relay.parties.values()):
            self._capturing.close(party)
        if self._keys is not None:
            self._keys.close()
        self._app.close()
        if self._broker is not None:
            self._broker.close()
        self._epoll.close()


def _nobody(_units: int) -> None:
    """A socket that was closed earlier in the same turn."""


def _unknown(_length: int, _units: int) -> None:
    """As above, with a datagram."""


def run(settings: MediaSettings) -> None:
    """The whole life of a media process."""
    files = min(FILES_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    process = MediaProcess(settings)
    signal.signal(signal.SIGTERM, lambda _number, _frame: process.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_THRESHOLDS)
    try:
        process.run()
    finally:
        process.close()
