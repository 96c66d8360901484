"""The rig of both sandboxes: their host lives in the provider itself, its clock is moved by hand."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.provider_hosts.rig import Trouble
from vault.door import LinkAnswer
from vault.providers._sandbox_host import ANSWER_LOST, REFUSED, REQUEST_LOST, SandboxHost
from vault.providers._sandbox_webhooks import signed
from vault.providers.base import CellProvider, Link, Provider, load_provider

_ENDINGS = {
    Trouble.NEVER_SENT: REFUSED,
    Trouble.REQUEST_LOST: REQUEST_LOST,
    Trouble.ANSWER_LOST: ANSWER_LOST,
}


class SandboxRig:
    """One sandbox with its clock."""

    def __init__(self, name: str, data_dir: Path) -> None:
        self._name, self._data_dir = name, data_dir
        self._ahead_s = 0.0
        self.opened: list[Provider] = []
        self.broker = self._open()

    @property
    def host(self) -> SandboxHost:
        host: SandboxHost = self.broker.host  # type: ignore[attr-defined]
        return host

    def _open(self) -> Provider:
        made: Any = load_provider(self._name, self._data_dir, {"tenant": "demo"})
        made.host.clock = self.now
        self.opened.append(made)
        return made  # type: ignore[no-any-return]

    def cell(self, config: Mapping[str, Any]) -> CellProvider:
        module = import_module(f"vault.providers.{self._name}")
        return module.cell_provider({**config, "tenant": "demo"})  # type: ignore[no-any-return]

    async def restarted(self) -> Provider:
        return self._open()

    def arrange(self, trouble: Trouble) -> int:
        return 1_900 + _ENDINGS[trouble]

    async def times_charged(self, provider_ref: str) -> int:
        return await self.host.times_charged(provider_ref)

    async def advance(self, seconds: float) -> None:
        self._ahead_s += seconds

    def now(self) -> float:
        return time.time() + self._ahead_s

    async def webhook(self, provider_ref: str, secret: bytes, now_s: float) -> tuple[dict[str, str], bytes]:
        notices = [notice for _, notice in await self.host.events(0) if notice.provider_ref == provider_ref]
        return signed(notices[-1], secret, now_s)

    async def pay_link(self, link: Link) -> None:
        await self.host.answer_link(link.url.rpartition("/")[2], LinkAnswer.APPROVE)


@asynccontextmanager
async def rig_of_sandbox(name: str, data_dir: Path) -> AsyncIterator[SandboxRig]:
    made = SandboxRig(name, data_dir)
    try:
        yield made
    finally:
        for provider in made.opened:
            await provider.close()
