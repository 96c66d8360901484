"""The real SDK without a network: the broker's wire behaves in memory as it does over TLS."""

from typing import Any

import pytest

from vault.proof.stripe_faults import Fault
from vault.proof.stripe_host import StripeHost
from vault.providers._stripe_memory import MemoryClient, MemoryWire
from vault.providers._stripe_sdk import stripe
from vault.providers._stripe_wire import READ_TIMEOUT_S
from vault.providers.base import NotSentError

START = 1_790_000_000.0
ORDER: dict[str, Any] = {"amount": 1995, "currency": "eur", "allowed_payment_method_types": ["card"]}
KEY: Any = {"idempotency_key": "k"}
WAITS = {Fault.BODY_STALLED, Fault.STALLED_BEFORE, Fault.STALLED_AFTER}
AT_ONCE = {Fault.FALSE_500, Fault.EMPTY_500, Fault.GARBAGE_200}
LAST_WORD = {Fault.REFUSED: NotSentError, Fault.RATE_429: stripe.RateLimitError} | dict.fromkeys(
    (*AT_ONCE, Fault.GATEWAY_502, Fault.CONFLICT_409), stripe.APIError
)
"""What three faults in a row become; the others are an APIConnectionError."""


class Killed(BaseException):
    """The process dies here."""


class Simulation:
    """A host, a clock of its own and the SDK over both; dies at the point that is named."""

    def __init__(self, seed: int = 1) -> None:
        self.host = StripeHost(seed)
        self.now = START
        self.dies_at = ""
        wire = MemoryWire(self.host, lambda: self.now, self._sleep, self._pause)
        client = stripe.StripeClient(self.host.keys.broker, http_client=wire, max_network_retries=2)
        self.api: Any = client.v1

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds

    async def _pause(self, point: str) -> None:
        if point == self.dies_at:
            raise Killed

    @property
    def intents(self) -> int:
        """How many intents the host has made."""
        return len(self.host.books.every("payment_intent"))


@pytest.mark.parametrize("fault", Fault)
async def test_one_fault_is_survived_and_three_are_told(fault: Fault) -> None:
    """Retries, error classes and waiting times are those of the wire in production; one intent at most."""
    once = Simulation()
    once.host.faults.order(fault)
    if fault in AT_ONCE:
        with pytest.raises(stripe.APIError):
            await once.api.payment_intents.create_async(ORDER, KEY)
    else:
        await once.api.payment_intents.create_async(ORDER, KEY)
    expected = (READ_TIMEOUT_S if fault in WAITS else 0.0) + (0.0 if fault in AT_ONCE else 0.5)
    assert START + expected == once.now
    thrice = Simulation()
    for _ in range(3):
        thrice.host.faults.order(fault)
    with pytest.raises(LAST_WORD.get(fault, stripe.APIConnectionError)) as caught:
        await thrice.api.payment_intents.create_async(ORDER, KEY)
    assert LAST_WORD.get(fault, stripe.APIConnectionError) is caught.type
    assert thrice.intents <= 1


@pytest.mark.parametrize(("point", "made"), [("request", 0), ("answer", 1)])
async def test_a_caller_that_dies_leaves_the_truth_at_the_host(point: str, made: int) -> None:
    """Before the request nothing has happened, after it everything; the same key again gives one intent."""
    run = Simulation()
    run.dies_at = point
    with pytest.raises(Killed):
        await run.api.payment_intents.create_async(ORDER, KEY)
    assert made == run.intents
    run.dies_at = ""
    await run.api.payment_intents.create_async(ORDER, KEY)
    assert 1 == run.intents


async def test_a_seed_repeats_itself_to_the_last_id() -> None:
    """Same seed, same shares: same faults, same ids, same clock."""
    runs = []
    for seed in (5, 5, 6):
        run = Simulation(seed)
        run.host.faults.set_shares({Fault.ANSWER_LOST: 0.3, Fault.CONFLICT_409: 0.2})
        ids = []
        for number in range(20):
            try:
                made = await run.api.payment_intents.create_async(ORDER, {"idempotency_key": f"k{number}"})
                ids.append(made.id)
            except stripe.StripeError as error:
                ids.append(type(error).__name__)
        runs.append((ids, run.now, run.host.faults.drawn))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("fault", "made", "succeeds"),
    [
        (Fault.REQUEST_LOST, 1, True),
        (Fault.ANSWER_LOST, 1, True),
        (Fault.BODY_CUT, 1, False),
        (Fault.REFUSED, 1, True),
        (Fault.RATE_429, 0, False),
    ],
)
def test_the_synchronous_transport_retries_as_the_sdks_own(fault: Fault, made: int, succeeds: bool) -> None:
    """A cut body is not retried, a broken connection is, 429 is not."""
    host = StripeHost(1)
    client = MemoryClient(host, lambda: START)
    api: Any = stripe.StripeClient(host.keys.full, http_client=client, max_network_retries=2).v1
    host.faults.order(fault)
    if succeeds:
        api.payment_intents.create(ORDER)
    else:
        with pytest.raises(stripe.StripeError):
            api.payment_intents.create(ORDER)
    assert made == len(host.books.every("payment_intent"))
