"""A telephone's RTP and RTCP ports: sends every 20 ms, and keeps every datagram it is given as evidence.

RFC 3550 headers and RFC 4733 events, written here once more so that the proof shares nothing with the relay.
"""

import asyncio
import random
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from pay_ivr.proof.audio import FRAME, Samples, Voice, encode

EVENT_TYPE = 101
EVENT_UPDATE_MS = 20
END_COPIES = 3
"""RFC 4733 §2.5.1.4."""
EVIDENCE_MAX = 200_000
"""Datagrams kept per port: more than an hour of audio."""
DATAGRAM_MAX = 2048
RECEIVE_BUFFER_BYTES = 1 << 20
"""A busy machine may let us wait for a second; nothing that was sent to us may be lost meanwhile."""
SO_TIMESTAMPNS = 35
"""socket(7): the kernel stamps each datagram when it arrives; Python 3.11 has no name for it."""
_TIMESPEC = struct.Struct("@ll")


@dataclass(frozen=True)
class Datagram:
    """One datagram as it came from the network."""

    at: float
    """Monotonic seconds, by the kernel's stamp: a phone that reads late does not make a packet late."""
    data: bytes


@dataclass
class Impairment:
    """What the network between the phone and the node does to packets that the phone sends."""

    loss: float = 0.0
    duplicates: float = 0.0
    jitter_ms: float = 0.0


@dataclass(frozen=True)
class _Slot:
    """What goes out in one 20 ms slot: voice unless something else is said."""

    key: str
    """The key that goes down in this slot, for the record of presses."""
    samples: Samples | None = None
    event: bytes | None = None
    first: bool = False


def _event_bodies(key: str, duration_ms: int) -> list[bytes]:
    """The event's packets, the last one with the end bit."""
    code = "0123456789*#ABCD".index(key)
    frames = max(2, duration_ms // EVENT_UPDATE_MS)
    bodies = [struct.pack("!BBH", code, 10, number * FRAME) for number in range(1, frames + 1)]
    return [*bodies, struct.pack("!BBH", code, 0x80 | 10, (frames + 1) * FRAME)]


class RtpPort:
    """One leg's two sockets on a loopback address; opened by `open`. `mute`: it never sends anything."""

    def __init__(
        self,
        codec: str,
        seed: int,
        impairment: Impairment | None = None,
        *,
        voice: bool = True,
        mute: bool = False,
    ) -> None:
        self.codec = codec
        self.payload_type = 0 if codec == "PCMU" else 8
        self.received: list[Datagram] = []
        self.received_rtcp: list[Datagram] = []
        self.sent_samples: list[Samples] = []
        self.sent_at: list[float] = []
        """When each of them was about to leave."""
        self.pressed: list[tuple[float, str]] = []
        """When each key went down (monotonic seconds) and which it was."""
        self.sent_events: list[Datagram] = []
        """Telephone-event packets as they were sent."""
        self.port = 0
        self._random = random.Random(seed)
        self._impairment = impairment or Impairment()
        self._voice = Voice(seed) if voice else None
        self._mute = mute
        self._remote: tuple[str, int] | None = None
        self._waiting: deque[_Slot] = deque()
        self._ssrc = self._random.getrandbits(32)
        self._sequence = self._random.getrandbits(15)
        self._timestamp = self._random.getrandbits(31)
        self._clock: asyncio.Task[None] | None = None
        self._sockets: list[socket.socket] = []

    async def open(self, ip: str = "127.0.0.1") -> int:
        """The even local port; RTCP is the next one."""
        for _ in range(50):
            port = 2 * self._random.randrange(15000, 30000)
            try:
                self._sockets = [_bound(ip, port)]
                self._sockets.append(_bound(ip, port + 1))
            except OSError:
                self.close()
                continue
            for sock, kept in zip(self._sockets, (self.received, self.received_rtcp), strict=True):
                asyncio.get_running_loop().add_reader(sock, _take_all, sock, kept)
            self.port = port
            return port
        raise OSError("no free port pair was found")

    def start(self, remote: tuple[str, int]) -> None:
        """Sends to the peer from now on."""
        self._remote = remote
        if self._clock is None and not self._mute:
            self._clock = asyncio.create_task(self._run(), name="phone.rtp")

    def close(self) -> None:
        """Stops the clock and gives the ports back."""
        if self._clock is not None:
            self._clock.cancel()
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets = []

    # What the caller does.

    def queue_audio(self, key: str, samples: Samples) -> None:
        """Plays samples instead of the voice, a multiple of 160."""
        for start in range(0, len(samples), FRAME):
            self._waiting.append(_Slot(key if start == 0 else "", samples=samples[start : start + FRAME]))

    def queue_event(self, key: str, duration_ms: int, *, again: bool = False) -> None:
        """One telephone-event, first packet with the marker, three end packets (RFC 4733 §2.5.1).

        `again`: the press has been counted already (its lead-in).
        """
        for number, body in enumerate(_event_bodies(key, duration_ms)):
            self._waiting.append(_Slot("" if again or number else key, event=body, first=number == 0))

    def queue_both(self, key: str, samples: Samples) -> None:
        """Tone and event at the same time, as some gateways send it."""
        bodies = _event_bodies(key, len(samples) * 1000 // 8000)
        for number, body in enumerate(bodies):
            start = min(number, len(bodies) - 2) * FRAME
            part = samples[start : start + FRAME] if number < len(bodies) - 1 else None
            self._waiting.append(
                _Slot(key if number == 0 else "", samples=part, event=body, first=number == 0)
            )

    def queue_pause(self, duration_ms: int) -> None:
        """Voice for that long, before what is queued next."""
        for _ in range(max(1, duration_ms // 20)):
            self._waiting.append(_Slot(""))

    @property
    def busy(self) -> bool:
        """True while something queued is not sent."""
        return bool(self._waiting)

    # The 20 ms clock.

    async def _run(self) -> None:
        event_started = 0
        due = time.monotonic()
        while True:
            slot = self._waiting.popleft() if self._waiting else _Slot("")
            if slot.key:
                self.pressed.append((time.monotonic(), slot.key))
            if slot.event is not None:
                if slot.first:
                    event_started = self._timestamp
                for _ in range(END_COPIES if slot.event[1] & 0x80 else 1):
                    self._send(slot.event, EVENT_TYPE, event_started, marker=slot.first)
            samples = slot.samples
            if samples is None and slot.event is None:
                samples = self._speak()
            self._note(samples)
            if samples is not None:
                self._send(encode(samples, self.codec), self.payload_type, self._timestamp)
            self._timestamp = (self._timestamp + FRAME) & 0xFFFFFFFF
            due += 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def phase(self) -> float:
        """A random tone phase: no two presses look alike."""
        return self._random.uniform(0.0, 6.28)

    def _speak(self) -> Samples:
        if self._voice is None:
            return np.zeros(FRAME, dtype=np.int16)
        return self._voice.frame()

    def _note(self, samples: Samples | None) -> None:
        self.sent_samples.append(samples if samples is not None else np.zeros(FRAME, dtype=np.int16))
        self.sent_at.append(time.monotonic())

    def _send(self, payload: bytes, payload_type: int, timestamp: int, *, marker: bool = False) -> None:
        header = struct.pack(
            "!BBHII", 0x80, (0x80 if marker else 0) | payload_type, self._sequence, timestamp, self._ssrc
        )
        self._sequence = (self._sequence + 1) & 0xFFFF
        if payload_type == EVENT_TYPE:
            self.sent_events.append(Datagram(time.monotonic(), header + payload))
        if self._remote is None or self._random.random() < self._impairment.loss:
            return
        copies = 2 if self._random.random() < self._impairment.duplicates else 1
        for _ in range(copies):
            self._deliver(header + payload)

    def _deliver(self, packet: bytes) -> None:
        late_s = self._random.random() * self._impairment.jitter_ms / 1000
        if late_s > 0:
            asyncio.get_running_loop().call_later(late_s, self._put, packet)
        else:
            self._put(packet)

    def _put(self, packet: bytes) -> None:
        if not self._sockets or self._remote is None:
            return
        try:
            self._sockets[0].sendto(packet, self._remote)
        except OSError:
            return  # a peer that is gone answers with ICMP; the call's signalling knows better


def _bound(ip: str, port: int) -> socket.socket:
    """A stamping socket on that port; OSError when it is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind((ip, port))
    except OSError:
        sock.close()
        raise
    return sock


def _take_all(sock: socket.socket, kept: list[Datagram]) -> None:
    """Keeps everything that waits, with the kernel's time of arrival."""
    while True:
        try:
            data, ancillary, _flags, _address = sock.recvmsg(DATAGRAM_MAX, socket.CMSG_SPACE(_TIMESPEC.size))
        except OSError:
            return  # nothing waits, or an ICMP answer to what we sent
        if len(kept) < EVIDENCE_MAX:
            kept.append(Datagram(_arrival(ancillary), data))


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> float:
    """Monotonic seconds of the kernel's stamp."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(time.monotonic() - (time.time() - seconds - nanoseconds / 1e9))
    return time.monotonic()


def payload_of(datagram: bytes) -> tuple[int, int, int, bytes]:
    """(payload type, SSRC, timestamp, payload) of an RTP packet without extensions; ValueError otherwise."""
    if len(datagram) < 12 or datagram[0] != 0x80:
        raise ValueError("not a plain RTP packet")
    _flags, second, _sequence, timestamp, ssrc = struct.unpack("!BBHII", datagram[:12])
    return second & 0x7F, ssrc, timestamp, datagram[12:]
