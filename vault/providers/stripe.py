"""Stripe: the card becomes a payment method in the cell, everything else is done with ids by the broker.

| key file (`vault/keys.py`) | what its restricted key may do |
|---|---|
| `stripe.cell` | write Payment Methods |
| `stripe.broker` | write PaymentIntents, SetupIntents, Customers, Checkout Sessions, Refunds; detach |
| | Payment Methods; read Charges, Disputes, Balance, Payouts |
| `stripe.webhook` | no key of the API: the endpoint's signing secret |

Raw cards and MOTO need Stripe's enablement (Stripe docs, "Mail order telephone order (MOTO)"; support,
"Enabling access to raw card data APIs"). The SDK is imported by the two factories and by `preload` only: a
node without a Stripe tenant never loads it. The options stand in `_stripe_config.py`.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vault.providers import _stripe_config
from vault.providers.base import CellProvider, Provider, Secrets

OPTIONS = _stripe_config.OPTIONS
problem_of = _stripe_config.problem_of

UNWANTED_IN_A_CELL = ("aiohttp", "httpx", "anyio", "pycurl", "google.appengine.api")
"""HTTP libraries that the SDK imports when they are there; a cell sends with `requests` alone."""
ROLES = ("broker", "cell")
"""Its secrets in `vault/keys.py`."""
UNRESTRICTED = "sk_live_"
"""What a live key begins with that may do everything: too much for a cell."""


def preload() -> None:
    """For the spawner, before the first fork: the SDK as a cell needs it, and nothing more."""
    absent = [name for name in UNWANTED_IN_A_CELL if name not in sys.modules]
    refused: dict[str, Any] = dict.fromkeys(absent)  # None in its place is how an import is refused
    sys.modules.update(refused)
    try:
        from vault.providers._stripe_cell import rehearse

        rehearse()
    finally:
        for name in absent:
            del sys.modules[name]


def cell_provider(config: dict[str, Any]) -> CellProvider:
    """The cell's side; `config` is what the broker's `cell_config` says."""
    from vault.providers._stripe_cell import StripeCell

    return StripeCell(config)


def provider(data_dir: Path, config: Mapping[str, Any], secrets: Secrets | None = None) -> Provider:
    """The broker's side with the node's secrets; `KeyFault` names a key file that is missing."""
    from vault.keys import KeyFault
    from vault.providers._stripe_broker import Stripe

    del data_dir  # everything of Stripe's is at Stripe
    if secrets is None:
        raise KeyFault("key_missing", "The keys stripe.broker and stripe.cell are missing.")
    tenant = str(config.get("tenant", ""))
    broker, cell = (secrets.secret("stripe", tenant, role).reveal().decode("ascii") for role in ROLES)
    if cell == broker or cell.startswith(UNRESTRICTED):
        raise KeyFault("stripe_key_too_strong", "keys/stripe.cell must be a restricted key of its own.")
    return Stripe(_stripe_config.config_of(config), broker, cell)
