"""What the contract suite needs of a provider's host, beside the provider itself.

A provider `vault/providers/<name>.py` is held to the contract by `tests/support/provider_hosts/<name>.py`
with an async context manager `rig(data_dir)` that yields a `Rig`: the host runs as long as it is open.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from vault.providers.base import CellProvider, Link, Provider

FOLDER = Path(__file__).parent


class Trouble(StrEnum):
    """What can befall the next request that moves money, once."""

    NEVER_SENT = "never_sent"
    REQUEST_LOST = "request_lost"
    ANSWER_LOST = "answer_lost"


class Rig(Protocol):
    """A provider with its host."""

    broker: Provider

    def cell(self, config: Mapping[str, Any]) -> CellProvider:
        """The cell's side, working with the same host; `config` as the broker's `fork` sends it."""

    async def restarted(self) -> Provider:
        """Another broker's side on the same host, as after a restart of the broker; `rig` closes it."""

    def arrange(self, trouble: Trouble) -> int:
        """An amount above 1,000 in minor units; the next request that names it meets the trouble."""

    async def times_charged(self, provider_ref: str) -> int:
        """How often the host authorised a payment."""

    async def advance(self, seconds: float) -> None:
        """The host's clock goes ahead: holds lapse, payouts are made."""

    def now(self) -> float:
        """The host's clock, in seconds of the epoch."""

    async def webhook(self, provider_ref: str, secret: bytes, now_s: float) -> tuple[dict[str, str], bytes]:
        """Headers and body of one webhook about a payment that has something to tell, signed at `now_s`."""

    async def pay_link(self, link: Link) -> None:
        """Somebody pays on the page with a good card; on one that is closed nothing happens."""


def names() -> tuple[str, ...]:
    """The providers that have a rig."""
    files = (path.stem for path in FOLDER.glob("*.py"))
    return tuple(sorted(name for name in files if name != "rig" and not name.startswith("_")))


def rig_of(name: str, data_dir: Path) -> AbstractAsyncContextManager[Rig]:
    """The rig of a provider, to be opened with `async with`."""
    made: AbstractAsyncContextManager[Rig]
    made = import_module(f"tests.support.provider_hosts.{name}").rig(data_dir)
    return made
