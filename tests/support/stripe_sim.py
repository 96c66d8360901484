"""The simulator of `vault/proof` with the SDK's own types as its oracle.

`async with simulator() as sim:` for tests in one process; `python -m tests.support.stripe_sim --dir DIR` for
a process of its own. A request that the types do not know is refused and makes the test fail when the
simulator ends.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.support import stripe_contract
from vault.proof.stripe_account import Account
from vault.proof.stripe_faults import Fault
from vault.proof.stripe_host import StripeHost
from vault.proof.stripe_sim import StripeSim, main
from vault.proof.stripe_webhooks import DeliveryPlan

__all__ = ["StripeSim", "simulator"]


def contradiction(method: str, path: str, form: dict[str, Any]) -> str:
    """What the SDK's types say against a request; empty for nothing."""
    try:
        stripe_contract.accept_wire(method, path, form)
    except stripe_contract.ContractBroken as broken:
        return str(broken)
    return ""


@contextlib.asynccontextmanager
async def simulator(
    directory: Path,
    *,
    seed: int = 1,
    account: Account | None = None,
    shares: Mapping[Fault, float] | None = None,
    plan: DeliveryPlan | None = None,
) -> AsyncIterator[StripeSim]:
    """A listening simulator; ContractBroken at the end when a request contradicted the SDK's types."""
    sim = StripeSim(StripeHost(seed, account, shares, plan), directory, contradiction)
    await sim.open()
    try:
        yield sim
    finally:
        await sim.close()
    if sim.violations:
        raise stripe_contract.ContractBroken("; ".join(sim.violations))


if __name__ == "__main__":
    main(contradiction)
