"""What only Stripe itself can answer: `make stripe-live`, with a key of a test account in the environment.

`STRIPE_TEST_KEY` is a secret or restricted *test* key with raw-card access (Stripe's support enables it);
with `STRIPE_TEST_MOTO=1` the account's MOTO is used. Nothing here is collected by pytest, and without the key
it fails and says so. First the card whose CVV is wrong, kept for a while between token and confirmation: how
long Stripe keeps a CVV for a payment method is documented nowhere.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.support.stripe_ends import VISA, card_of
from vault.payment import attempt_key
from vault.providers._stripe_broker import Stripe
from vault.providers._stripe_cell import StripeCell
from vault.providers._stripe_config import config_of
from vault.providers.base import AttemptRequest, Order, Outcome, OutcomeKind, StepKind, StepRequest

VARIABLE = "STRIPE_TEST_KEY"
DELAYS_S = (0, 30, 120)
"""From the last key to `charge`: at once, a usual agent, one who asks a colleague."""


class Account:
    """Both sides with the same test key: rights are not what is tried here."""

    def __init__(self, key: str, *, moto: bool) -> None:
        self._key = key
        self.broker = Stripe(config_of({"moto": moto}), key, key)

    async def request(self, pan: str, **terms: bool) -> AttemptRequest:
        """A new payment of 19.95, prepared and tokenised."""
        order = Order(f"pay_{secrets.token_hex(8)}", "live", 1995, "EUR", "moto_agent", **terms)
        reference = await self.broker.prepare(order)
        cell = StripeCell(await self.broker.cell_config())
        result = await asyncio.to_thread(cell.tokenise, card_of(pan))
        assert result.token, f"no token: {result.code}"
        key = attempt_key(order.payment_id, 1)
        return AttemptRequest(reference, key, 1, result.token, 1995, "EUR", "moto_agent", **terms)

    async def charge(self, pan: str, delay_s: float = 0, **terms: bool) -> tuple[AttemptRequest, Outcome]:
        request = await self.request(pan, **terms)
        await asyncio.sleep(delay_s)
        return request, await self.broker.authorise(request)


async def delayed_cvv(account: Account) -> None:
    """A wrong CVV is still seen as wrong when the payment method is confirmed later."""
    for delay_s in DELAYS_S:
        _, outcome = await account.charge("4000000000000127", delay_s)
        assert (OutcomeKind.DECLINED, "incorrect_cvc") == (outcome.kind, outcome.raw_code), (delay_s, outcome)


async def sale(account: Account) -> None:
    """A sale is settled, and fetch finds it by the mark that Stripe copied into the charge."""
    request, outcome = await account.charge(VISA)
    assert (OutcomeKind.AUTHORISED, True) == (outcome.kind, outcome.settled), outcome
    assert outcome == await account.broker.fetch(request.provider_ref, request.attempt_key)


async def decline(account: Account) -> None:
    """A declined attempt can be followed by another on the same intent."""
    request, outcome = await account.charge("4000000000009995")
    assert "insufficient_funds" == outcome.raw_code, outcome
    again = replace(await account.request(VISA), provider_ref=request.provider_ref, attempt=2)
    again = replace(again, attempt_key=request.attempt_key[:-1] + "2")
    assert OutcomeKind.AUTHORISED is (await account.broker.authorise(again)).kind
    assert outcome == await account.broker.fetch(request.provider_ref, request.attempt_key)


async def fence(account: Account) -> None:
    """A key that an update has used up cannot confirm any more; the next key can."""
    request = await account.request(VISA)
    fenced = await account.broker.fence(request.provider_ref, request.attempt_key)
    assert (OutcomeKind.NEVER_SENT, "fenced") == (fenced.kind, fenced.raw_code), fenced
    late = await account.broker.authorise(request)
    assert (OutcomeKind.NEVER_SENT, "fenced") == (late.kind, late.raw_code), late
    after = replace(request, attempt=2, attempt_key=request.attempt_key[:-1] + "2")
    assert OutcomeKind.AUTHORISED is (await account.broker.authorise(after)).kind


async def fence_too_late(account: Account) -> None:
    """A fence that comes after the confirmation tells its result."""
    request, _ = await account.charge(VISA)
    fenced = await account.broker.fence(request.provider_ref, request.attempt_key)
    assert OutcomeKind.AUTHORISED is fenced.kind, fenced


async def steps(account: Account) -> None:
    """A hold is settled in part, refunded, and every step is found by its key."""
    request, outcome = await account.charge(VISA, settle_later=True)
    assert outcome.hold_until, outcome
    payment_id = request.attempt_key.partition(":")[0]
    settle = StepRequest(request.provider_ref, f"{payment_id}:settle:1", 1000, "EUR")
    refund = StepRequest(request.provider_ref, f"{payment_id}:refund:1", 300, "EUR")
    assert StepKind.DONE is (await account.broker.settle(settle)).kind
    assert StepKind.DONE is (await account.broker.refund(refund)).kind
    standing = await account.broker.standing(request.provider_ref)
    assert {settle.step_key, refund.step_key} == set(standing.steps), standing
    assert (1000, 300) == (standing.settled_minor, standing.refunded_minor), standing


CHECKS: tuple[Callable[[Account], Awaitable[None]], ...] = (
    delayed_cvv,
    sale,
    decline,
    fence,
    fence_too_late,
    steps,
)


async def main() -> int:
    """0 when Stripe does what the provider relies on; 1 with the check that it does not."""
    key = os.environ.get(VARIABLE, "")
    if not key.startswith(("sk_test_", "rk_test_")):
        sys.stderr.write(f"Set {VARIABLE} to the key of a Stripe test account; live keys are refused.\n")
        return 1
    account, failed = Account(key, moto=os.environ.get("STRIPE_TEST_MOTO") == "1"), 0
    try:
        for check in CHECKS:
            try:
                await check(account)
            except Exception as error:
                failed = 1
                sys.stdout.write(f"failed  {check.__name__}: {type(error).__name__} {error}\n")
            else:
                sys.stdout.write(f"ok      {check.__name__}: {(check.__doc__ or '').strip()}\n")
    finally:
        await account.broker.close()
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
