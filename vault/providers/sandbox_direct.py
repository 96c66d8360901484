"""The sandbox as a provider that knows no tokens: the card itself goes with every attempt, sent by its cell.

Adyen's raw-card payments and Braintree's sale work like this. PAN and CVV stay in the cell until
`authorise`; the cell tells the host which test card it is, never its digits. A card that was kept once is
charged by id, by the broker. Everything else is the sandbox's.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.providers._sandbox_cards import INVALID, SandboxCards, refused
from vault.providers._sandbox_side import KEY_WINDOW_S, OPTIONS, SandboxSide, host_options
from vault.providers.base import (
    NEVER_SENT,
    Abilities,
    AttemptRequest,
    CellProvider,
    Outcome,
    Provider,
    Secrets,
    TokenResult,
    outcome_as_json,
)

if TYPE_CHECKING:
    from vault.card import Card

__all__ = ["OPTIONS", "DirectCell", "SandboxDirect", "cell_provider", "provider"]


class DirectCell:
    """The cell's side: checks the card when it is keyed, sends it when it is charged."""

    tokenise_first = False

    def __init__(self, config: dict[str, Any]) -> None:
        self._cards = SandboxCards(config)

    def take_secret(self, secret: bytes) -> None:
        """Nothing: a sandbox has none."""
        del secret

    def tokenise(self, card: "Card") -> TokenResult:
        """No token; `pan_not_allowed` for a card that is no test card."""
        return refused() if self._cards.face(card) is None else TokenResult(None)

    def authorise(
        self, card: "Card", request: dict[str, Any], call: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """One attempt, an account check when the amount is 0; the host's answer as it is."""
        face = self._cards.face(card, keeps=request.get("keep_card") is True)
        return call({**request, "token": (face or INVALID).token})


class SandboxDirect(SandboxSide):
    """The broker's side: only a cell can authorise a card that is keyed."""

    name = "sandbox_direct"
    abilities = Abilities(
        tokenise_first=False,
        moto=True,
        settle_later=True,
        partial_settle=True,
        keeps_cards=True,
        links=True,
        settlement_feed=True,
        key_window_s=KEY_WINDOW_S,
    )

    async def authorise(self, request: AttemptRequest) -> Outcome:
        """One attempt with a kept card, whoever is on the line; without a card nothing can be sent."""
        return await self.host.authorise(request) if request.token else NEVER_SENT

    async def verify_card(self, request: AttemptRequest) -> Outcome:
        """An account check of a kept card; one that is keyed is checked by its cell, with the amount 0."""
        return await self.host.authorise(request, checking=True) if request.token else NEVER_SENT

    async def wire(self, body: dict[str, Any]) -> dict[str, Any]:
        """The call of a cell: one attempt or account check."""
        request = AttemptRequest(**body)
        return outcome_as_json(await self.host.authorise(request, checking=request.amount_minor == 0))


def cell_provider(config: dict[str, Any]) -> CellProvider:
    """The cell's side; `canary` true takes the canary range too."""
    return DirectCell(config)


def provider(data_dir: Path, config: Mapping[str, Any], secrets: Secrets | None = None) -> Provider:
    """The broker's side with its books in `data_dir`; it needs no secrets."""
    del secrets
    from vault.providers._sandbox_host import SandboxHost

    return SandboxDirect(SandboxHost(data_dir / "sandbox_direct.db", **host_options(config)))
