"""The rig of `vault/providers/stripe.py`: both sides speak through the SDK to the host in memory."""

import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.provider_hosts.rig import Trouble
from vault.proof.stripe_failure import Failure
from vault.proof.stripe_faults import Fault
from vault.proof.stripe_host import StripeHost
from vault.providers._stripe_broker import Stripe
from vault.providers._stripe_cell import StripeCell
from vault.providers._stripe_config import Config
from vault.providers._stripe_memory import Answer, MemoryClient, MemoryWire
from vault.providers._stripe_wire import RETRIES
from vault.providers.base import CellProvider, Link, Provider

VISA = "4242424242424242"
AMOUNT_MINOR = 2_718
FAULTS = {
    Trouble.NEVER_SENT: Fault.REFUSED,
    Trouble.REQUEST_LOST: Fault.REQUEST_LOST,
    Trouble.ANSWER_LOST: Fault.ANSWER_LOST,
}
MOVES_MONEY = ("/confirm", "/capture", "/cancel", "/v1/refunds")


class _TroubledHost:
    """The host; what is arranged befalls every try of the next request that moves money."""

    def __init__(self, host: StripeHost) -> None:
        self.host = host
        self.pending: Fault | None = None

    def carry(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
        if self.pending is not None and method.upper() == "POST" and target.endswith(MOVES_MONEY):
            for _ in range(RETRIES + 1):
                self.host.faults.order(self.pending, path_end=target)
            self.pending = None
        return self.host.carry(method, target, headers, body, now)


class StripeRig:
    """One account with its clock."""

    def __init__(self) -> None:
        self._host = _TroubledHost(StripeHost(seed=7))
        self._account = self._host.host
        self._ahead_s = 0.0
        self.opened: list[Stripe] = []
        self.broker: Provider = self._open()

    def _open(self) -> Stripe:
        async def nap(seconds: float) -> None:
            self._ahead_s += seconds

        async def pause(_point: str) -> None:
            pass

        wire = MemoryWire(self._host, self.now, nap, pause)
        keys = self._account.keys
        self.opened.append(Stripe(Config(), keys.broker, keys.cell, now=self.now, wire=wire))
        return self.opened[-1]

    def cell(self, config: Mapping[str, Any]) -> CellProvider:
        cell = StripeCell(dict(config), MemoryClient(self._host, self.now))
        cell.take_secret(self.broker.cell_secret())
        return cell

    async def restarted(self) -> Provider:
        return self._open()

    def arrange(self, trouble: Trouble) -> int:
        self._host.pending = FAULTS[trouble]
        return AMOUNT_MINOR

    async def times_charged(self, provider_ref: str) -> int:
        charges = self._account.successful_charges()
        return sum(provider_ref == one["payment_intent"] for one in charges)

    async def advance(self, seconds: float) -> None:
        self._ahead_s += seconds
        self._account.tick(self.now())
        self._account.ledger.pay_out("eur", self.now())

    def now(self) -> float:
        return time.time() + self._ahead_s

    async def webhook(self, provider_ref: str, secret: bytes, now_s: float) -> tuple[dict[str, str], bytes]:
        events = (
            one
            for one in self._account.books.every("event")
            if provider_ref in {one["data"]["object"]["id"], one["data"]["object"].get("payment_intent")}
        )
        raw = json.dumps(next(events)).encode()
        signed = b"%d.%s" % (int(now_s), raw)
        seal = hmac.new(secret, signed, hashlib.sha256).hexdigest()
        return {"Stripe-Signature": f"t={int(now_s)},v1={seal}"}, raw

    async def pay_link(self, link: Link) -> None:
        with contextlib.suppress(Failure):
            self._account.checkout.pay(link.link_ref, VISA, self.now(), authenticates=True)


@contextlib.asynccontextmanager
async def rig(data_dir: Path) -> AsyncIterator[StripeRig]:
    """The account in memory; `data_dir` is not needed."""
    del data_dir
    made = StripeRig()
    try:
        yield made
    finally:
        for provider in made.opened:
            await provider.close()
