"""Payment methods as a cell makes them: its own key, the SDK's synchronous client, and a line without faults.

What a cell does when its own line fails is proved with real cells (tests/vault/test_stripe_cell.py); losing a
token moves no money.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vault.proof.stripe_host import Answer, StripeHost
from vault.providers._stripe_memory import MemoryClient
from vault.providers._stripe_sdk import stripe


class _FaultlessHost:
    """The host without what the seed draws for the broker's requests."""

    def __init__(self, host: StripeHost) -> None:
        self._host = host

    def carry(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
        """One answer, delivered."""
        return self._host.answered(method, target, headers, body, now)


def token_maker(host: StripeHost, epoch: Callable[[], float]) -> Callable[[str], str]:
    """A function from a published test card to the id of a new payment method."""
    client = MemoryClient(_FaultlessHost(host), epoch)
    api: Any = stripe.StripeClient(host.keys.cell, http_client=client).v1

    def tokenise(pan: str) -> str:
        cvv = "1234" if pan.startswith("3") else "123"
        card = {"number": pan, "exp_month": 12, "exp_year": 2031, "cvc": cvv}
        return str(api.payment_methods.create({"type": "card", "card": card}).id)

    return tokenise
