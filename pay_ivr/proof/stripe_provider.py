"""The provider in the leak proof: our Stripe simulator, over TLS on loopback, in a process of its own.

It plays Stripe's host, so it is the one process besides the cells that is allowed to see the canaries. It is
no process of the node and is not searched. What the broker sent to it is searched: the simulator keeps it.
"""

import asyncio
import base64
import json
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

START_S = 30.0
STOP_S = 10.0
CONTROL_S = 10.0
ROLES = ("broker", "cell")
"""Whose keys the node has."""


@dataclass(frozen=True, repr=False)
class BrokerTraffic:
    """What the simulator has heard over connections that are no cell's."""

    connections: tuple[bytes, ...]
    requests: int
    requests_of_cells: int
    """How many came with the cells' key: nothing else of them is known here."""
    dropped: int
    """Not kept: above zero, this is not all."""


class StripeProvider:
    """One account with its host; `async with` starts and ends the process."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.ca_file = ""
        self.pid = 0
        self.keys: dict[str, str] = {}
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(mode=0o755)
        command = (sys.executable, "-m", "vault.proof.stripe_sim", "--canary", "--dir", str(self._folder))
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        self.pid = self._process.pid
        told = await self._line(START_S)
        self.url, self.ca_file, self.keys = told["url"], told["ca_file"], told["keys"]
        tls = ssl.create_default_context(cafile=self.ca_file)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
            timeout=aiohttp.ClientTimeout(total=CONTROL_S),
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._http is not None:
            await self._http.close()
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def secrets(self) -> dict[str, str]:
        """Name of a key file → what is in it, for the node."""
        return {f"stripe.{role}": self.keys[role] for role in ROLES}

    async def shut(self) -> None:
        """From now on whoever connects is refused."""
        await self._order("shut")

    async def open(self) -> None:
        """Listens again."""
        await self._order("open")

    async def fault(self, name: str, **where: str) -> None:
        """The next request that fits goes wrong so (`vault/proof/stripe_faults.py`)."""
        await self._control("fault", fault=name, **where)

    async def faults_drawn(self) -> int:
        """How many requests have gone wrong as ordered."""
        return len(await self._control("drawn"))

    async def traffic(self) -> BrokerTraffic:
        """What the broker has sent so far, as it was read behind TLS."""
        heard = await self._control("heard")
        said = tuple(map(base64.b64decode, heard["said"]))
        return BrokerTraffic(said, heard["requests"], heard["of_cells"], heard["dropped"])

    async def say_as_broker(self, form: str) -> int:
        """One request to make a customer with the broker's key and this body; its status."""
        return (await self._post("/v1/customers", self.keys["broker"], form.encode()))[0]

    async def _control(self, name: str, **given: str) -> Any:
        body = json.dumps(given).encode()
        return (await self._post(f"/_sim/{name}", self.keys["full"], body, "application/json"))[1]["result"]

    async def _post(
        self, path: str, key: str, body: bytes, kind: str = "application/x-www-form-urlencoded"
    ) -> tuple[int, Any]:
        if self._http is None:
            raise ConnectionError("the provider is not open")
        headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
        async with self._http.post(self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def _order(self, word: str) -> None:
        """One word to the simulator's input, which works while its port is shut."""
        if self._process is None or self._process.stdin is None:
            raise ConnectionError("the provider is not open")
        self._process.stdin.write(f"{word}\n".encode())
        await self._line(CONTROL_S)

    async def _line(self, timeout_s: float) -> Any:
        """The next line that the simulator says; ConnectionError when it has ended."""
        if self._process is None or self._process.stdout is None:
            raise ConnectionError("the provider is not open")
        async with asyncio.timeout(timeout_s):
            line = await self._process.stdout.readline()
        if not line:
            raise ConnectionError("the provider has ended")
        return json.loads(line)
