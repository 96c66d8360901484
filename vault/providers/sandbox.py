"""The embedded provider of demo and tests: no network, no real card, every outcome on demand.

Tokenises first, as Stripe does. The cards it knows stand in `_sandbox_cards.py`, what amounts make of an
attempt in `_sandbox_host.py`. The cell imports the standard library only. Not for a tenant marked live.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.providers._sandbox_cards import SandboxCards, refused
from vault.providers._sandbox_side import KEY_WINDOW_S, OPTIONS, SandboxSide, host_options
from vault.providers.base import (
    Abilities,
    AttemptRequest,
    CellProvider,
    Outcome,
    Provider,
    Secrets,
    TokenResult,
)

if TYPE_CHECKING:
    from vault.card import Card

__all__ = ["OPTIONS", "Sandbox", "SandboxCell", "cell_provider", "provider"]


class SandboxCell:
    """The cell's side: a test card in, a token out."""

    tokenise_first = True

    def __init__(self, config: dict[str, Any]) -> None:
        self._cards = SandboxCards(config)

    def take_secret(self, secret: bytes) -> None:
        """Nothing: a sandbox has none."""
        del secret

    def tokenise(self, card: "Card") -> TokenResult:
        """A token for a test card, `pan_not_allowed` for any other."""
        face = self._cards.face(card)
        return refused() if face is None else TokenResult(face.token)

    def authorise(
        self, card: "Card", request: dict[str, Any], call: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Never asked of a provider that tokenises first: nothing is sent."""
        del card, request, call
        return {"kind": "never_sent"}


class Sandbox(SandboxSide):
    """The broker's side: ids and amounts only."""

    name = "sandbox"
    abilities = Abilities(
        tokenise_first=True,
        moto=True,
        settle_later=True,
        partial_settle=True,
        keeps_cards=True,
        links=True,
        settlement_feed=True,
        key_window_s=KEY_WINDOW_S,
    )

    async def authorise(self, request: AttemptRequest) -> Outcome:
        """One attempt with a token."""
        return await self.host.authorise(request)

    async def verify_card(self, request: AttemptRequest) -> Outcome:
        """An account check of a token."""
        return await self.host.authorise(request, checking=True)

    async def wire(self, body: dict[str, Any]) -> dict[str, Any]:
        """A cell of this provider calls nobody."""
        del body
        return {"kind": "never_sent"}


def cell_provider(config: dict[str, Any]) -> CellProvider:
    """The cell's side; `canary` true takes the canary range too."""
    return SandboxCell(config)


def provider(data_dir: Path, config: Mapping[str, Any], secrets: Secrets | None = None) -> Provider:
    """The broker's side with its books in `data_dir`; it needs no secrets."""
    del secrets
    from vault.providers._sandbox_host import SandboxHost

    return Sandbox(SandboxHost(data_dir / "sandbox.db", **host_options(config)))
