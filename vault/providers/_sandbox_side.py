"""What both sandboxes do for the broker: everything but sending an attempt."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vault.door import LinkAnswer
from vault.providers.base import (
    FeedEntry,
    Link,
    LinkOrder,
    Notice,
    Option,
    Order,
    Outcome,
    Standing,
    StepOutcome,
    StepRequest,
)

if TYPE_CHECKING:
    from vault.providers._sandbox_host import SandboxHost

PATH = "/pay/"
"""Of a link's page, before its token. Spawner and cells load this file, and no database with it."""

KEY_WINDOW_S = 23 * 3_600
"""The sandbox keeps keys for ever; it says what the strictest provider says: nobody shall rely on more."""

OPTIONS = {
    "hold_s": Option(int, "Seconds until a pre-authorisation lapses.", 604_800),
    "unreachable": Option(bool, "Refuses every connection, to see a failover.", False),
}


def host_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `SandboxHost` that a tenant's file gave."""
    return {name: config[name] for name in ("tenant", *OPTIONS) if name in config}


class SandboxSide:
    """The broker's side but for attempts: ids and amounts only."""

    def __init__(self, host: "SandboxHost") -> None:
        self.host = host

    async def prepare(self, order: Order) -> str:
        """The reference of the payment."""
        return await self.host.prepare(order)

    async def fetch(self, provider_ref: str, attempt_key: str) -> Outcome:
        """What became of an attempt."""
        del provider_ref
        return await self.host.fetch(attempt_key)

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        """The attempt can never execute any more, or its result."""
        return await self.host.fence(provider_ref, attempt_key)

    async def settle(self, request: StepRequest) -> StepOutcome:
        """What is held, taken in part or whole."""
        return await self.host.take_step("settle", request)

    async def void(self, request: StepRequest) -> StepOutcome:
        """What is held, given back."""
        return await self.host.take_step("void", request)

    async def refund(self, request: StepRequest) -> StepOutcome:
        """Settled money, given back in part or whole."""
        return await self.host.take_step("refund", request)

    async def standing(self, provider_ref: str) -> Standing:
        """What the books say about a payment now."""
        return await self.host.standing(provider_ref)

    async def forget_card(self, customer_ref: str, token_ref: str) -> None:
        """The card is on file no more."""
        await self.host.forget(customer_ref, token_ref)

    async def open_link(self, order: LinkOrder) -> Link:
        """A page `/pay/<token>` of the node; `host.link_page` and `host.answer_link` are behind it."""
        return await self.host.open_link(order)

    async def close_link(self, link_ref: str) -> None:
        """The page cannot be paid any more."""
        await self.host.close_link(link_ref)

    async def answer_page(self, url: str, answer: LinkAnswer) -> None:
        """What somebody pressed on the page."""
        await self.host.answer_link(url.removeprefix(PATH), answer)

    def settlements(self, since: str, until: str) -> AsyncIterator[FeedEntry]:
        """The entries of a window, oldest first."""
        return self.host.settlements(since, until)

    def parse_webhook(
        self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[bytes], now_s: float
    ) -> Notice:
        """What a webhook points at, when one of `secrets` has signed it lately."""
        from vault.providers._sandbox_webhooks import parsed

        return parsed(headers, raw, secrets, now_s)

    async def cell_config(self) -> dict[str, Any]:
        """Nothing: its cells call nobody but the broker."""
        return {}

    def cell_secret(self) -> bytes:
        """None: there is nobody to prove anything to."""
        return b""

    async def close(self) -> None:
        """Closes the books."""
        await self.host.close()
