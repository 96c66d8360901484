"""The embedded provider of demo and tests: no network, no real card, every outcome on demand.

Tokenises first, as Stripe does. The cards it knows stand in `_sandbox_cards.py`, what amounts make of an
attempt in `_sandbox_host.py`. The cell imports the standard library only. Not for a tenant marked live.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.providers._sandbox_cards import SandboxCards, label_of, refused, token_for
from vault.providers.base import (
    Abilities,
    AttemptRequest,
    CellProvider,
    Order,
    Outcome,
    Provider,
    TokenResult,
)

if TYPE_CHECKING:
    from vault.card import Card
    from vault.providers._sandbox_host import SandboxHost


class SandboxCell:
    """The cell's side: a test card in, a token out."""

    tokenise_first = True

    def __init__(self, config: dict[str, Any]) -> None:
        self._cards = SandboxCards(config)

    def tokenise(self, card: "Card") -> TokenResult:
        """A token for a test card, `pan_not_allowed` for any other."""
        label = self._cards.label(card)
        return refused() if label is None else TokenResult(token_for(label))

    def authorise(
        self, card: "Card", request: dict[str, Any], call: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Never asked of a provider that tokenises first: nothing is sent."""
        del card, request, call
        return {"kind": "never_sent"}


class Sandbox:
    """The broker's side: ids and amounts only."""

    name = "sandbox"
    abilities = Abilities(
        tokenise_first=True,
        moto=True,
        settle_later=False,
        partial_settle=False,
        keeps_cards=False,
        links=False,
        settlement_feed=False,
        key_window_s=82_800,
    )

    def __init__(self, host: "SandboxHost") -> None:
        self.host = host

    async def prepare(self, order: Order) -> str:
        """The reference of the payment."""
        return await self.host.prepare(order)

    async def authorise(self, request: AttemptRequest) -> Outcome:
        """One attempt with a token."""
        return await self.host.authorise(request, label_of(request.token or ""))

    async def fetch(self, provider_ref: str, attempt_key: str) -> Outcome:
        """What became of an attempt."""
        del provider_ref
        return await self.host.fetch(attempt_key)

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        """The attempt can never execute any more, or its result."""
        return await self.host.fence(provider_ref, attempt_key)

    async def wire(self, body: dict[str, Any]) -> dict[str, Any]:
        """A cell of this provider calls nobody."""
        del body
        return {"kind": "never_sent"}

    async def close(self) -> None:
        """Closes the books."""
        await self.host.close()


def cell_provider(config: dict[str, Any]) -> CellProvider:
    """The cell's side; `canary` true takes the canary range too."""
    return SandboxCell(config)


def provider(data_dir: Path, config: Mapping[str, Any]) -> Provider:
    """The broker's side with its books in `data_dir`."""
    del config
    from vault.providers._sandbox_host import SandboxHost

    return Sandbox(SandboxHost(data_dir / "sandbox.db"))
