"""One suite for every file of vault/providers: what a cell and a broker may rely on."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from vault.card import Card
from vault.door import Field
from vault.payment import attempt_key
from vault.providers.base import (
    AttemptRequest,
    CellProvider,
    Order,
    Outcome,
    OutcomeKind,
    Provider,
    load_provider,
    outcome_as_json,
    outcome_from_json,
    provider_names,
)
from vault.secret_page import SecretPage

NAMES = [name for name in provider_names() if name.startswith("sandbox")]
"""Providers that answer without a network; a provider with a host brings a simulator and its own list."""
OK = "4242424242424242"
NOT_A_TEST_CARD = "4242424242424241"
CANARY = "9999001234567891"
ORDER = Order("pay_contract", "demo", 1995, "EUR", "moto_agent")


def card_of(pan: str, cvv: str = "123") -> Card:
    """A card as the cell holds it."""
    card = Card(SecretPage(sealed=False))
    for digits, text in ((card.pan, pan), (card.expiry, "1231"), (card.cvv, cvv)):
        for digit in text:
            assert digits.append(int(digit))
    return card


class Both:
    """The two sides of one provider, wired as cell and broker wire them."""

    def __init__(self, name: str, data_dir: Path) -> None:
        self.module = import_module(f"vault.providers.{name}")
        self.broker: Provider = load_provider(name, data_dir)
        self.cell: CellProvider = self.module.cell_provider({"tenant": "demo"})

    async def send(self, pan: str, request: AttemptRequest) -> Outcome:
        """One attempt, by whichever side makes it."""
        result = self.cell.tokenise(card_of(pan))
        assert (None, "") == (result.problem_field, result.code)
        if self.broker.abilities.tokenise_first:
            return await self.broker.authorise(dataclasses.replace(request, token=result.token))
        loop = asyncio.get_running_loop()

        def call(body: dict[str, Any]) -> dict[str, Any]:
            return asyncio.run_coroutine_threadsafe(self.broker.wire(body), loop).result(10)

        asked = asyncio.to_thread(self.cell.authorise, card_of(pan), request.as_json(), call)
        return outcome_from_json(await asked)

    async def charge(self, pan: str = OK, *, amount_minor: int = 1995, attempt: int = 1) -> Outcome:
        return await self.send(pan, await self.request(amount_minor, attempt))

    async def request(self, amount_minor: int = 1995, attempt: int = 1) -> AttemptRequest:
        order = dataclasses.replace(ORDER, amount_minor=amount_minor)
        reference = await self.broker.prepare(order)
        key = attempt_key(order.payment_id, attempt)
        return AttemptRequest(reference, key, attempt, None, amount_minor, "EUR", "moto_agent")

    async def fetch(self, attempt: int = 1) -> Outcome:
        reference = await self.broker.prepare(ORDER)
        return await self.broker.fetch(reference, attempt_key(ORDER.payment_id, attempt))

    async def times_charged(self) -> int:
        host = self.broker.host  # type: ignore[attr-defined]
        return int(await host.times_charged(await self.broker.prepare(ORDER)))


@pytest.fixture(params=NAMES)
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Both]:
    both = Both(request.param, tmp_path)
    yield both
    await both.broker.close()


def test_both_sandboxes_are_found_without_a_registry():
    """A file is all it takes; base and helpers are no providers."""
    assert {"sandbox", "sandbox_direct"} <= set(provider_names())
    assert "base" not in provider_names()
    assert not any(name.startswith("_") for name in provider_names())


def test_unknown_provider_is_no_file(tmp_path):
    """A tenant's typing error does not import anything."""
    with pytest.raises(KeyError):
        load_provider("os", tmp_path)


async def test_both_sides_agree_about_themselves(both):
    """Name and kind are the same wherever they are asked for."""
    assert both.broker.name == both.module.__name__.rpartition(".")[2]
    assert both.broker.abilities.tokenise_first is both.cell.tokenise_first
    assert both.broker.abilities.moto is True


async def test_prepare_gives_the_same_reference_again(both):
    """A restart between prepare and its commit leaves no second payment at the provider."""
    assert await both.broker.prepare(ORDER) == await both.broker.prepare(ORDER)


async def test_token_holds_no_digit_of_the_card(both):
    """A token may be stored and told; it is a provider's id, not a disguise."""
    token = both.cell.tokenise(card_of(OK)).token
    assert (token is not None) is both.broker.abilities.tokenise_first
    assert not any(character.isdigit() for character in token or "")


async def test_two_tokens_of_a_card_differ(both):
    """A token says nothing about who else has this card."""
    tokens = {both.cell.tokenise(card_of(OK)).token for _ in range(3)}
    assert len(tokens) == (3 if both.broker.abilities.tokenise_first else 1)


@pytest.mark.parametrize("pan", [NOT_A_TEST_CARD, CANARY])
async def test_other_cards_are_refused_on_the_pan(both, pan):
    """A real card never gets past a sandbox; neither does the canary range, unless it is switched on."""
    result = both.cell.tokenise(card_of(pan))
    assert (None, Field.PAN, "pan_not_allowed") == (result.token, result.problem_field, result.code)


async def test_canary_range_is_taken_where_it_is_switched_on(both):
    """`verify` plants cards of its own that nobody else has."""
    cell = both.module.cell_provider({"canary": True})
    assert cell.tokenise(card_of(CANARY)).problem_field is None
    assert cell.tokenise(card_of(NOT_A_TEST_CARD)).problem_field is Field.PAN


@pytest.mark.parametrize(
    ("pan", "kind", "raw_code"),
    [
        (OK, OutcomeKind.AUTHORISED, ""),
        ("5555555555554444", OutcomeKind.AUTHORISED, ""),
        ("378282246310005", OutcomeKind.AUTHORISED, ""),
        ("4000000000000002", OutcomeKind.DECLINED, "generic_decline"),
        ("4000000000009995", OutcomeKind.DECLINED, "insufficient_funds"),
        ("4000000000009987", OutcomeKind.DECLINED, "lost_card"),
        ("4000000000009979", OutcomeKind.DECLINED, "stolen_card"),
        ("4000000000000069", OutcomeKind.DECLINED, "expired_card"),
        ("4000000000000127", OutcomeKind.DECLINED, "incorrect_cvc"),
        ("4000000000000119", OutcomeKind.DECLINED, "processing_error"),
        ("4000002760003184", OutcomeKind.REQUIRES_ACTION, "authentication_required"),
    ],
)
async def test_card_decides_and_fetch_agrees(both, pan, kind, raw_code):
    """The published test cards do what they are published for; money moves only when it was authorised."""
    outcome = await both.charge(pan)
    fetched = await both.fetch()
    assert (kind, raw_code) == (outcome.kind, outcome.raw_code)
    assert (kind, raw_code) == (fetched.kind, fetched.raw_code)
    assert await both.times_charged() == (kind is OutcomeKind.AUTHORISED)


async def test_same_attempt_key_executes_once(both):
    """Sent ten times at once, with whatever card: one execution, one answer."""
    request = await both.request()
    outcomes = await asyncio.gather(*(both.send(OK, request) for _ in range(10)))
    assert {OutcomeKind.AUTHORISED} == {outcome.kind for outcome in outcomes}
    late = await both.send("4000000000000002", request)
    assert OutcomeKind.AUTHORISED is late.kind
    assert await both.times_charged() == 1


async def test_next_attempt_is_another_execution(both):
    """A declined attempt is final for its key; the next one, with what was put right, passes."""
    assert OutcomeKind.DECLINED is (await both.charge("4000000000000127")).kind
    assert OutcomeKind.AUTHORISED is (await both.charge("4000000000000127", attempt=2)).kind
    assert OutcomeKind.DECLINED is (await both.fetch(attempt=1)).kind


async def test_lost_answer_is_found_by_fetch(both):
    """Executed, answer lost: UNKNOWN first, the truth from fetch."""
    assert OutcomeKind.UNKNOWN is (await both.charge(amount_minor=1972)).kind
    assert OutcomeKind.AUTHORISED is (await both.fetch()).kind
    assert await both.times_charged() == 1


async def test_late_result_stays_unknown_for_a_while(both):
    """Not even the provider knows at once."""
    assert OutcomeKind.UNKNOWN is (await both.charge(amount_minor=1973)).kind
    assert OutcomeKind.UNKNOWN is (await both.fetch()).kind
    assert await both.times_charged() == 1


async def test_fenced_attempt_can_never_run(both):
    """Lost before execution: never sent so far; after the fence a late arrival is refused too."""
    request = await both.request(1974)
    assert OutcomeKind.UNKNOWN is (await both.send(OK, request)).kind
    assert OutcomeKind.NEVER_SENT is (await both.fetch()).kind
    fenced = await both.broker.fence(request.provider_ref, request.attempt_key)
    assert OutcomeKind.NEVER_SENT is fenced.kind
    late = await both.send(OK, dataclasses.replace(request, amount_minor=1995))
    assert (OutcomeKind.NEVER_SENT, 0) == (late.kind, await both.times_charged())


async def test_fence_that_comes_too_late_tells_the_result(both):
    """What has executed cannot be fenced any more."""
    request = await both.request(1972)
    await both.send(OK, request)
    fenced = await both.broker.fence(request.provider_ref, request.attempt_key)
    assert (OutcomeKind.AUTHORISED, 1) == (fenced.kind, await both.times_charged())


async def test_refused_connection_is_never_sent(both):
    """Nothing left us, so nobody has to be asked."""
    assert OutcomeKind.NEVER_SENT is (await both.charge(amount_minor=1975)).kind
    assert await both.times_charged() == 0


async def test_troubles_by_amount_belong_to_the_first_attempt(both):
    """A retry of the same amount gets through."""
    outcome = await both.charge(amount_minor=1974, attempt=2)
    assert OutcomeKind.AUTHORISED is outcome.kind


async def test_books_survive_a_restart(both, tmp_path):
    """Another process with the same books knows every attempt."""
    await both.charge(amount_minor=1972)
    other = load_provider(both.broker.name, tmp_path)
    reference = await other.prepare(ORDER)
    fetched = await other.fetch(reference, attempt_key(ORDER.payment_id, 1))
    await other.close()
    assert OutcomeKind.AUTHORISED is fetched.kind


async def test_the_wrong_side_sends_nothing(both):
    """A cell that is not to send, and a broker that has no card, both say so."""
    request = await both.request()
    if both.broker.abilities.tokenise_first:
        assert {"kind": "never_sent"} == both.cell.authorise(card_of(OK), {}, lambda body: body)
        assert {"kind": "never_sent"} == await both.broker.wire({})
    else:
        assert OutcomeKind.NEVER_SENT is (await both.broker.authorise(request)).kind
    assert await both.times_charged() == 0


async def test_foreign_token_is_declined(both):
    """A token that is not ours moves no money."""
    if both.broker.abilities.tokenise_first:
        for token in ("", "tok_visa", "sbx_nonsense_abc"):
            request = dataclasses.replace(await both.request(), token=token)
            assert OutcomeKind.DECLINED is (await both.broker.authorise(request)).kind
    assert await both.times_charged() == 0


def test_outcome_travels_as_json():
    """There and back; anything unreadable is unknown."""
    outcome = Outcome(OutcomeKind.DECLINED, "lost_card", "do_not_try_again")
    assert outcome == outcome_from_json(outcome_as_json(outcome))
    for body in ({}, {"kind": "paid"}, {"kind": None}, {"kind": []}):
        assert OutcomeKind.UNKNOWN is outcome_from_json(body).kind
