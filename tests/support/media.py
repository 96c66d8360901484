"""A real media process for tests, and all who talk to it: phones, app, broker, a cell's pipe."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from vault import MediaClient, MediaFact, Remote
from vault.hatch import hatch, knock

ROOT = Path(__file__).parents[2]
HEADER = struct.Struct("!BBHII")
FRAME_S = 0.02
WAIT_S = 20.0
"""For what takes milliseconds on an idle machine; who waits so long waits for ever."""
START_S = 60.0
"""For a process to come up: a second on an idle machine."""
PAIR_TRIES_MAX = 100
"""Ports given by the kernel until one is even and the next one free."""
EVENT_TYPE = 101
AUDIO_TYPES = {"PCMU": 0, "PCMA": 8}


class Phone:
    """One party on the network: sends what it is told, keeps what it gets.

    Its RTCP port is its own as well: reports go there, and not to whoever happens to have that number.
    """

    def __init__(self, codec: str = "PCMU", ip: str = "127.0.0.1") -> None:
        self.codec = codec
        self.payload_type = AUDIO_TYPES[codec]
        self.sock, self.rtcp = port_pair(ip)
        self.ip, self.port = self.sock.getsockname()
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(16)
        self.timestamp = secrets.randbits(32)
        self.sent: set[bytes] = set()
        self.target = ("127.0.0.1", 9)
        self.got: list[bytes] = []
        self.got_at: list[float] = []
        asyncio.get_running_loop().add_reader(self.sock, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                self.got.append(self.sock.recv(2048))
                self.got_at.append(time.monotonic())

    def remote(self, **changes: Any) -> Remote:
        """What this phone's SDP says."""
        facts: dict[str, Any] = {
            "ip": self.ip,
            "port": self.port,
            "codec": self.codec,
            "payload_type": self.payload_type,
            "event_types": ((EVENT_TYPE, 8000),),
        }
        return Remote(**{**facts, **changes})

    def packet(self, payload: bytes, payload_type: int | None = None, *, first: int = 0x80) -> bytes:
        """The next packet in order, 20 ms after the one before."""
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + 160) & 0xFFFFFFFF
        kind = self.payload_type if payload_type is None else payload_type
        return HEADER.pack(first, kind, self.sequence, self.timestamp, self.ssrc) + payload

    def event(self, payload: bytes, timestamp: int) -> bytes:
        """A telephone-event packet of the press that began at `timestamp`."""
        self.sequence = (self.sequence + 1) & 0xFFFF
        return HEADER.pack(0x80, EVENT_TYPE, self.sequence, timestamp, self.ssrc) + payload

    def send(self, packet: bytes, target: tuple[str, int] | None = None) -> None:
        """One datagram."""
        self.sent.add(packet[12:])
        self.sock.sendto(packet, target or self.target)

    def say(self, payload: bytes | None = None) -> bytes:
        """One frame of audio, by default one that nobody else sends; returns the payload."""
        payload = os.urandom(160) if payload is None else payload
        self.send(self.packet(payload))
        return payload

    async def stream(self, items: Iterable[bytes | Sequence[bytes] | None]) -> None:
        """Each item is one 20 ms slot: a payload, whole packets, or nothing."""
        due = time.monotonic()
        for item in items:
            if isinstance(item, bytes):
                self.say(item)
            elif item is not None:
                for packet in item:
                    self.send(packet)
            due += FRAME_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def talk(self, seconds: float) -> None:
        """Random audio for a while."""
        await self.stream(os.urandom(160) for _ in range(round(seconds / FRAME_S)))

    def headers(self, start: int = 0) -> list[tuple[int, int, int, int, int]]:
        """Parsed first twelve bytes of what came."""
        return [HEADER.unpack_from(packet) for packet in self.got[start:]]

    def payloads(self, start: int = 0) -> list[bytes]:
        """Payloads of what came, taking every header for 12 bytes long."""
        return [packet[12:] for packet in self.got[start:]]

    def forget(self) -> None:
        """Start counting anew."""
        self._read()
        for kept in (self.got, self.got_at, self.sent):
            kept.clear()

    async def heard(self, count: int, timeout_s: float = WAIT_S) -> list[bytes]:
        """Everything that came, once it is `count` packets."""
        await until(lambda: len(self.got) >= count, timeout_s)
        return self.got

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()
        self.rtcp.close()


def port_pair(ip: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A socket on an even port for RTP, and one on the next for RTCP (RFC 3550 §11)."""
    for _ in range(PAIR_TRIES_MAX):
        rtp, rtcp = (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2)
        )
        rtp.bind((ip, 0))
        port = rtp.getsockname()[1]
        if port % 2 == 0:
            with contextlib.suppress(OSError):  # somebody has the next one
                rtcp.bind((ip, port + 1))
                return rtp, rtcp
        rtp.close()
        rtcp.close()
    raise OSError("no pair of ports was free")


def press(phone: Phone, key: int, updates: int = 4, *, ends: int = 3) -> list[list[bytes]]:
    """One key as telephone-events (RFC 4733): 20 ms updates, then the end packet three times."""
    from vault.media.telephone_event import build

    start = (phone.timestamp + 160) & 0xFFFFFFFF
    slots = [[phone.event(build(key, False, 10, 160 * (at + 1)), start)] for at in range(updates)]
    slots[-1] += [phone.event(build(key, True, 10, 160 * updates), start) for _ in range(ends)]
    phone.timestamp = (phone.timestamp + 160 * updates) & 0xFFFFFFFF
    return slots


class Broker:
    """The broker's connection, through the hatch."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.facts: list[dict[str, Any]] = []
        self.pipes: list[Pipe] = []
        self._replies: dict[int, dict[str, Any]] = {}
        self._next = 0
        asyncio.get_running_loop().add_reader(sock, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := self.sock.recv(65_536):
                message = json.loads(data)
                if "fact" in message:
                    self.facts.append(message)
                else:
                    self._replies[message["id"]] = message

    async def call(self, op: str, fds: Sequence[int] = (), **fields: Any) -> dict[str, Any]:
        """One request; the reply, whatever it says."""
        self._next += 1
        number = self._next
        socket.send_fds(self.sock, [json.dumps({"id": number, "op": op, **fields}).encode()], list(fds))
        await until(lambda: number in self._replies)
        return self._replies.pop(number)

    async def attach(self, leg_id: str, capture_id: str = "cap_1") -> "Pipe":
        """A capture on a leg; the cell's end of its key pipe."""
        media_end, cell_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reply = await self.call("attach", [media_end.fileno()], leg_id=leg_id, capture_id=capture_id)
        media_end.close()
        assert reply["ok"], reply
        assert reply["mode"] == "SECURE"
        self.pipes.append(Pipe(cell_end))
        return self.pipes[-1]

    async def mode(self, leg_id: str) -> str:
        """A leg's mode, asked for."""
        legs = (await self.call("hello"))["legs"]
        return str(next(leg["mode"] for leg in legs if leg["leg_id"] == leg_id))

    async def fact(self, name: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The first fact of that name so far or to come, taken out."""
        await until(lambda: any(fact["fact"] == name for fact in self.facts), timeout_s)
        found = next(fact for fact in self.facts if fact["fact"] == name)
        self.facts.remove(found)
        return found

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()


class Pipe:
    """The cell's end of a key pipe."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._keys: list[int] = []

    @property
    def keys(self) -> list[int]:
        """Every key so far; each message must be exactly one byte."""
        with contextlib.suppress(BlockingIOError):
            while True:
                message = self.sock.recv(64)
                assert len(message) == 1
                self._keys.append(message[0])
        return self._keys

    async def heard(self, count: int, timeout_s: float = WAIT_S) -> list[int]:
        """Every key so far, once it is `count` of them."""
        await until(lambda: len(self.keys) >= count, timeout_s)
        return self.keys

    def close(self) -> None:
        self.sock.close()


class Media:
    """A media process with its app client; made by `media()`."""

    def __init__(self, run_dir: Path, *options: str) -> None:
        self.run_dir = run_dir
        self._options = options
        self.hatch, self._far = hatch()
        """What the supervisor holds for the broker, and for the media process."""
        self.facts: list[MediaFact] = []
        self.phones: list[Phone] = []
        self.brokers: list[Broker] = []
        self.start()
        self.client = MediaClient(run_dir / "media.sock", run_dir / "media-keys.sock")

    def start(self) -> None:
        """A media process, also one after another that was killed."""
        number = self._far.fileno()
        command = [sys.executable, "-m", "vault.media", "--run-dir", str(self.run_dir), "--info-keys"]
        command += ["--hatch", str(number), *self._options]
        self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=(number,))

    async def connect(self) -> None:
        await self.client.connect(START_S)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for fact in self.client.facts():
            self.facts.append(fact)

    async def broker(self) -> Broker:
        """A broker's connection."""
        self.brokers.append(Broker(knock(self.hatch)))
        return self.brokers[-1]

    def phone(self, codec: str = "PCMU", ip: str = "127.0.0.1") -> Phone:
        """A phone that is closed with the rig."""
        self.phones.append(Phone(codec, ip))
        return self.phones[-1]

    async def leg(self, leg_id: str, role: str, codec: str = "PCMU", **remote: Any) -> Phone:
        """An open leg and the phone at its other end."""
        phone = self.phone(codec)
        phone.target = ("127.0.0.1", await self.client.open_leg(leg_id, role))
        await self.client.set_remote(leg_id, phone.remote(**remote))
        return phone

    async def call(
        self, caller_codec: str = "PCMU", agent_codec: str = "PCMU", name: str = "", **remote: Any
    ) -> tuple[Phone, Phone]:
        """A bridged call: legs `<name>caller` and `<name>agent`, both latched, nothing left in the phones."""
        caller = await self.leg(f"{name}caller", "caller", caller_codec, **remote)
        agent = await self.leg(f"{name}agent", "agent", agent_codec)
        await self.client.bridge(f"{name}caller", f"{name}agent")
        agent.say()
        caller.say()
        ours = {f"{name}caller", f"{name}agent"}
        await until(lambda: ours <= {fact.leg_id for fact in self.of("leg.latched")})
        for phone in (caller, agent):
            await phone.heard(1)  # what latched the other's leg has come through
            phone.forget()
        return caller, agent

    def of(self, name: str) -> list[MediaFact]:
        """All facts of that name so far."""
        return [fact for fact in self.facts if fact.name == name]

    async def fact(self, name: str, timeout_s: float = WAIT_S) -> MediaFact:
        """The first fact of that name so far or to come, taken out."""
        await until(lambda: bool(self.of(name)), timeout_s)
        found = self.of(name)[0]
        self.facts.remove(found)
        return found

    async def close(self) -> None:
        for phone in self.phones:
            phone.close()
        for broker in self.brokers:
            broker.close()
        await self.client.close()
        if hasattr(self, "_reader"):
            await self._reader
        self.process.terminate()
        self.hatch.close()
        self._far.close()
        assert await asyncio.to_thread(self.process.wait, WAIT_S) in {0, -9}


@contextlib.asynccontextmanager
async def media(*options: str, reads: bool = True) -> AsyncIterator[Media]:
    """A media process, its client connected; ended and checked at the end.

    `reads`: facts are collected in `rig.facts`; without it they are for whom the client is handed to.
    """
    run_dir = Path(tempfile.mkdtemp(prefix="payivr-"))
    rig = Media(run_dir, *options)
    try:
        await (rig.connect() if reads else rig.client.connect(START_S))
        yield rig
    finally:
        await rig.close()
        shutil.rmtree(run_dir, ignore_errors=True)


async def until(done: Any, timeout_s: float = WAIT_S) -> None:
    """Return once `done()` is true; AssertionError after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "waited too long"
        await asyncio.sleep(0.005)
