"""SIPp as a program: scenarios of `tests/sip/sipp/`, one process each, ended by its own pid."""

import asyncio
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.sip.sipp.scenarios import xml

END_S = 20.0
"""How long a SIPp may take to end when it is told to, or to open its port."""
LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Outcome:
    """How a scenario ended: 0 means that every call went as written."""

    returncode: int
    errors: str
    """SIPp's own words: which message it did not expect."""

    @property
    def failure(self) -> str:
        """Empty when all went well."""
        return "" if self.returncode == 0 else f"sipp ended with {self.returncode}: {self.errors[-2_000:]}"


class Sipp:
    """One SIPp process. `port` is its SIP port."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, folder: Path) -> None:
        self.port = port
        self._process = process
        self._folder = folder

    async def outcome(self) -> Outcome:
        """Waits for the last call."""
        await self._process.wait()
        return self._outcome()

    async def end(self) -> None:
        """Ends an endless one."""
        if self._process.returncode is None:
            self._process.kill()
            await asyncio.wait_for(self._process.wait(), END_S)
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()

    def _outcome(self) -> Outcome:
        errors = self._folder / "errors.log"
        text = errors.read_text(errors="replace") if errors.exists() else ""
        return Outcome(self._process.returncode or 0, text)


async def start(
    scenario: str,
    target_port: int | None = None,
    *,
    calls: int = 1,
    rate: float = 10,
    together: int = 100,
    tcp: bool = False,
    user: str = "4930",
    options: tuple[str, ...] = (),
    timeout_s: int = 30,
) -> Sipp:
    """Starts a scenario: as a caller of `target_port`, or waiting for calls without one.

    A waiting one is ready when this returns.
    """
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="payivr-sipp-"))
    (folder / "scenario.xml").write_text(xml(scenario))
    arguments = [
        *("-sf", "scenario.xml", "-i", "127.0.0.1", "-p", str(port)),
        *("-m", str(calls), "-r", str(rate), "-l", str(together), "-s", user, "-t", "t1" if tcp else "u1"),
        *("-nostdin", "-trace_err", "-error_file", str(folder / "errors.log")),
        *("-timeout", f"{timeout_s}s", "-timeout_error", "-deadcall_wait", "0", "-skip_rlimit"),
        *options,
    ]
    target = [] if target_port is None else [f"127.0.0.1:{target_port}"]
    process = await asyncio.create_subprocess_exec(
        "sipp",
        *target,
        *arguments,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    phone = Sipp(process, port, folder)
    if target_port is None:
        await _listening(phone, tcp=tcp)
    return phone


async def _listening(phone: Sipp, *, tcp: bool) -> None:
    """Waits until the kernel knows the port."""
    table = Path("/proc/net/tcp" if tcp else "/proc/net/udp")
    wanted = f":{phone.port:04X} "
    async with asyncio.timeout(END_S):
        while wanted not in table.read_text():  # noqa: ASYNC110, ASYNC240 - a file that is made in memory
            await asyncio.sleep(LOOK_EVERY_S)


def free_port() -> int:
    """A port that is free for UDP and TCP now; SIPp must be told its port."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError
