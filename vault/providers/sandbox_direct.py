"""The sandbox as a provider that knows no tokens: the card itself goes with every attempt, sent by its cell.

Adyen's raw-card payments and Braintree's sale work like this. PAN and CVV stay in the cell until
`authorise`; the cell tells the host which test card it is, never its digits. Everything else is the
sandbox's.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.providers._sandbox_cards import SandboxCards, refused
from vault.providers.base import (
    NEVER_SENT,
    Abilities,
    AttemptRequest,
    CellProvider,
    Order,
    Outcome,
    Provider,
    TokenResult,
    outcome_as_json,
)

if TYPE_CHECKING:
    from vault.card import Card
    from vault.providers._sandbox_host import SandboxHost


class DirectCell:
    """The cell's side: checks the card when it is keyed, sends it when it is charged."""

    tokenise_first = False

    def __init__(self, config: dict[str, Any]) -> None:
        self._cards = SandboxCards(config)

    def tokenise(self, card: "Card") -> TokenResult:
        """No token; `pan_not_allowed` for a card that is no test card."""
        return refused() if self._cards.label(card) is None else TokenResult(None)

    def authorise(
        self, card: "Card", request: dict[str, Any], call: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """One attempt; the host's answer as it is."""
        return call({**request, "label": self._cards.label(card) or "invalid_card"})


class SandboxDirect:
    """The broker's side: it can prepare, fetch and fence, but only a cell can authorise."""

    name = "sandbox_direct"
    abilities = Abilities(
        tokenise_first=False,
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
        """Without a card nothing can be sent."""
        del request
        return NEVER_SENT

    async def fetch(self, provider_ref: str, attempt_key: str) -> Outcome:
        """What became of an attempt."""
        del provider_ref
        return await self.host.fetch(attempt_key)

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        """The attempt can never execute any more, or its result."""
        return await self.host.fence(provider_ref, attempt_key)

    async def wire(self, body: dict[str, Any]) -> dict[str, Any]:
        """The call of a cell: one attempt."""
        values = dict(body)
        label = str(values.pop("label", "invalid_card"))
        return outcome_as_json(await self.host.authorise(AttemptRequest(token=None, **values), label))

    async def close(self) -> None:
        """Closes the books."""
        await self.host.close()


def cell_provider(config: dict[str, Any]) -> CellProvider:
    """The cell's side; `canary` true takes the canary range too."""
    return DirectCell(config)


def provider(data_dir: Path, config: Mapping[str, Any]) -> Provider:
    """The broker's side with its books in `data_dir`."""
    del config
    from vault.providers._sandbox_host import SandboxHost

    return SandboxDirect(SandboxHost(data_dir / "sandbox_direct.db"))
