"""A telephone we did not write, in a process of its own: pyVoIP, driven by `infra/demo/pyvoip_phone.py`."""

import asyncio
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

from pay_ivr.proof.rtp_port import Datagram

PROGRAM = Path(__file__).resolve().parents[2] / "infra" / "demo" / "pyvoip_phone.py"
WAIT_S = 40.0
SAID_MAX = 40
RECORD = struct.Struct("!Hq")


class ForeignPhone:
    """One pyVoIP process; `number` makes it call, without it it registers and answers."""

    def __init__(self, user: str, packets: Path, number: str = "") -> None:
        self.user = user
        self.packets = packets
        self.events: list[dict[str, Any]] = []
        self.said: list[str] = []
        self._number = number
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def start(self, node_port: int, password: str = "") -> None:
        """The process up and registered, or calling."""
        arguments = ["--node-port", str(node_port), "--user", self.user, "--packets", str(self.packets)]
        arguments += ["--call", self._number] if self._number else []
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *arguments,
            env=os.environ | {"PHONE_PASSWORD": password},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(), name="foreign.phone")
        await self.wait("registered")

    async def wait(self, event: str, count: int = 1) -> None:
        """Returns when the phone has said this `count` times; TimeoutError or ConnectionError otherwise."""
        async with asyncio.timeout(WAIT_S):
            while self.count(event) < count:
                self._news.clear()
                if self._process is None or self._process.returncode is not None:
                    raise ConnectionError("the foreign phone has ended: " + " ".join(self.said[-5:]))
                await self._news.wait()

    def count(self, event: str) -> int:
        """How often the phone has said this."""
        return sum(one["event"] == event for one in self.events)

    async def command(self, line: str) -> None:
        """One line on its stdin."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()

    async def key(self, keys: str) -> None:
        """Presses keys as in-band tones; returns when the last one is over."""
        before = self.count("keyed")
        await self.command(f"key {keys}")
        await self.wait("keyed", before + 1)

    async def stop(self) -> None:
        """Hangs up and ends the process."""
        if self._process is None:
            return
        await self.command("hangup")
        await self.command("quit")
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    def received(self) -> list[Datagram]:
        """Every RTP packet its socket gave, with monotonic seconds."""
        return _records(self.packets)

    def sent(self) -> list[Datagram]:
        """Every payload it sent: 160 bytes of µ-law."""
        return _records(self.packets.with_name(self.packets.name + ".sent"))

    async def _read(self) -> None:
        stream = self._process.stdout if self._process is not None else None
        while stream is not None and (line := await stream.readline()):
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.said = [*self.said, line.decode(errors="replace").strip()][
                    -SAID_MAX:
                ]  # pyVoIP prints too
            self._news.set()
        if self._process is not None:
            await self._process.wait()
        self._news.set()


def _records(path: Path) -> list[Datagram]:
    raw, found, place = path.read_bytes() if path.exists() else b"", [], 0
    while place + RECORD.size <= len(raw):
        length, at_ms = RECORD.unpack_from(raw, place)
        place += RECORD.size
        found.append(Datagram(at_ms / 1000, raw[place : place + length]))
        place += length
    return found
