"""The negative control: what most integrations do, on the same line with the same kills.

A sale is one call with the card's token. When it fails in any way but a decline, or the process dies, it is
sent again under a new key. If this never charges a card twice, the simulation proves nothing.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from vault.proof.line import Line
from vault.proof.stripe_host import StripeHost
from vault.proof.tokens import token_maker
from vault.proof.virtual_time import VirtualLoop
from vault.providers._stripe_memory import MemoryWire
from vault.providers._stripe_sdk import stripe

VISA = "4242424242424242"
TRIES_MAX = 6
KILL_SHARE = 0.05
"""Of the waits on the wire, those at which the process dies."""


class _Died(Exception):
    """The process died and was started again: what it knew of the call is gone."""


async def naive_sales(
    host: StripeHost, line: Line, loop: VirtualLoop, dice: random.Random, count: int
) -> int:
    """How many of `count` customers were charged more than once."""

    async def pause(_kind: str) -> None:
        await asyncio.sleep(dice.uniform(0.0, 0.4))
        if not line.is_calm and dice.random() < KILL_SHARE:
            raise _Died

    wire = MemoryWire(line, loop.epoch, asyncio.sleep, pause)
    client = stripe.StripeClient(host.keys.full, http_client=wire, max_network_retries=0)
    tokenise = token_maker(host, loop.epoch)
    sales = (_sale(client.v1, tokenise, f"naive_{number}", dice) for number in range(count))
    await asyncio.gather(*sales)
    charged: dict[str, int] = {}
    for charge in host.successful_charges():
        name = charge["metadata"].get("naive", "")
        charged[name] = charged.get(name, 0) + 1
    return sum(times > 1 for times in charged.values())


async def _sale(api: Any, tokenise: Callable[[str], str], name: str, dice: random.Random) -> None:
    for _ in range(TRIES_MAX):
        params = {
            "amount": 1995,
            "currency": "eur",
            "payment_method": tokenise(VISA),
            "allowed_payment_method_types": ["card"],
            "confirm": True,
            "metadata": {"naive": name},
        }
        key = f"{name}:{dice.getrandbits(64):x}"
        try:
            await api.payment_intents.create_async(params, {"idempotency_key": key})
        except stripe.CardError:
            return
        except Exception:  # noqa: BLE001 - "it failed, so try again"
            await asyncio.sleep(dice.uniform(0.5, 5.0))
        else:
            return
