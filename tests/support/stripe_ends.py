"""Both sides of the Stripe provider, wired to a simulator over TLS as broker and cell wire them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.stripe_sim import StripeSim, simulator
from vault.card import Card
from vault.payment import attempt_key
from vault.providers._stripe_broker import Stripe
from vault.providers._stripe_cell import StripeCell
from vault.providers._stripe_config import config_of
from vault.providers.base import AttemptRequest, Order, Outcome, TokenResult
from vault.secret_page import SecretPage

VISA = "4242424242424242"
CLOSING_S = 0.02
"""TLS connections that were broken off end in the loop's next turns."""
ORDER = Order("pay_one", "demo", 1995, "EUR", "moto_agent")


def card_of(pan: str, cvv: str = "123", expiry: str = "1231") -> Card:
    """A card as the cell holds it."""
    card = Card(SecretPage(sealed=False))
    for digits, text in ((card.pan, pan), (card.expiry, expiry), (card.cvv, cvv)):
        for digit in text:
            assert digits.append(int(digit))
    return card


class StripeEnds:
    """One account: `broker` is the provider, a new cell is made for every card."""

    def __init__(self, sim: StripeSim, **options: Any) -> None:
        self.sim = sim
        options = {"api_base": sim.url, "ca_file": str(sim.ca_file), **options}
        self.config = config_of(options)
        self.broker = Stripe(self.config, sim.keys["broker"], sim.keys["cell"], now=sim.now)

    async def tokenise(self, pan: str = VISA, cvv: str = "123") -> TokenResult:
        cell = StripeCell(await self.broker.cell_config())
        cell.take_secret(self.broker.cell_secret())
        return await asyncio.to_thread(cell.tokenise, card_of(pan, cvv))

    async def request(self, order: Order = ORDER, attempt: int = 1, pan: str = VISA) -> AttemptRequest:
        """Prepared and tokenised, not sent."""
        reference = await self.broker.prepare(order)
        token = (await self.tokenise(pan)).token
        key = attempt_key(order.payment_id, attempt)
        made = AttemptRequest(
            reference, key, attempt, token, order.amount_minor, order.currency, order.sca_basis
        )
        return replace(made, settle_later=order.settle_later, keep_card=order.keep_card)

    async def charge(
        self, order: Order = ORDER, attempt: int = 1, pan: str = VISA
    ) -> tuple[AttemptRequest, Outcome]:
        request = await self.request(order, attempt, pan)
        return request, await self.broker.authorise(request)

    def charged(self) -> int:
        """How often a cardholder was debited or held."""
        return len(self.sim.host.successful_charges())


@contextlib.asynccontextmanager
async def stripe_ends(directory: Path, **options: Any) -> AsyncIterator[StripeEnds]:
    """A simulator and both sides; AssertionError at the end when the SDK's types know a request not."""
    async with simulator(directory) as sim:
        ends = StripeEnds(sim, **options)
        try:
            yield ends
        finally:
            await ends.broker.close()
    await asyncio.sleep(CLOSING_S)
