"""baresip as a phone on a node: `tests/phones/baresip_line.py`, driven line by line, ended by its pid."""

import asyncio
import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "phones" / "baresip_line.py"
STEP_S = 20.0
"""A phone that says nothing for so long has failed; seventeen keys take four seconds."""


class Baresip:
    """One phone; `said` keeps every line it told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.said: list[str] = []
        self._process = process

    @classmethod
    async def start(cls, user: str, node_port: int, *number: str, password: str = "") -> "Baresip":
        """Registers and waits for a call, or calls `number`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), user, str(node_port), *number),
            env=os.environ | {"PHONE_PASSWORD": password},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return cls(process)

    async def until(self, word: str) -> None:
        """Returns when the phone has told this; ConnectionError when it has ended before."""
        assert self._process.stdout is not None
        while word not in self.said:
            line = await asyncio.wait_for(self._process.stdout.readline(), STEP_S)
            if not line:
                raise ConnectionError("baresip has ended; it told " + " ".join(self.said))
            self.said.append(line.decode().strip())

    async def key(self, keys: str) -> None:
        """Presses keys as telephone-events; returns when the last one is on its way."""
        self.said = [word for word in self.said if word != "keyed"]
        self._tell(f"key {keys}")
        await self.until("keyed")

    def hang_up(self) -> None:
        """BYE."""
        self._tell("hangup")

    async def end(self) -> None:
        """Ends the process, whatever it does."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
