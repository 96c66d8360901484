"""One suite for every file of vault/providers: what a cell, a broker and the books may rely on."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.provider_hosts.rig import Rig, Trouble, names, rig_of
from vault.card import Card
from vault.door import Refused
from vault.payment import attempt_key
from vault.providers.base import (
    Abilities,
    AttemptRequest,
    CellProvider,
    FeedEntry,
    FeedKind,
    KeptCard,
    Link,
    LinkOrder,
    Order,
    Outcome,
    OutcomeKind,
    Provider,
    Standing,
    StandingState,
    StepKind,
    StepOutcome,
    StepRequest,
    load_provider,
    options_of,
    outcome_as_json,
    outcome_from_json,
    provider_names,
)
from vault.secret_page import SecretPage

OK = "4242424242424242"
GENERIC = "4000000000000002"
NOT_A_TEST_CARD = "4242424242424241"
CANARY = "9999001234567891"
ORDER = Order("pay_contract", "demo", 1995, "EUR", "moto_agent")
SECRET, OLD_SECRET = b"webhook secret of now", b"webhook secret of before"
DAY_S = 86_400


AMEX = "378282246310005"


def card_of(pan: str) -> Card:
    """A card as the cell holds it."""
    card = Card(SecretPage(sealed=False))
    cvv = "1234" if pan == AMEX else "123"
    for digits, text in ((card.pan, pan), (card.expiry, "1231"), (card.cvv, cvv)):
        for digit in text:
            assert digits.append(int(digit))
    return card


class Both:
    """The two sides of one provider, wired as cell and broker wire them, and one payment."""

    def __init__(self, name: str, rig: Rig) -> None:
        self.name, self.rig = name, rig
        self.broker: Provider = rig.broker
        self.cell: CellProvider = rig.cell({"keep_card": True})
        self.abilities: Abilities = rig.broker.abilities
        self._reference = ""
        self._links: dict[int, LinkOrder] = {}
        """As they were ordered first: the same key comes with the same order."""

    async def send(self, pan: str, request: AttemptRequest) -> Outcome:
        """One attempt, by whichever side makes it."""
        result = await asyncio.to_thread(self.cell.tokenise, card_of(pan))
        assert (None, "") == (result.problem_field, result.code)
        if self.abilities.tokenise_first:
            return await self.broker.authorise(dataclasses.replace(request, token=result.token))
        return await self.send_by_cell(pan, request)

    async def send_by_cell(self, pan: str, request: AttemptRequest) -> Outcome:
        loop = asyncio.get_running_loop()

        def call(body: dict[str, Any]) -> dict[str, Any]:
            return asyncio.run_coroutine_threadsafe(self.broker.wire(body), loop).result(10)

        asked = asyncio.to_thread(self.cell.authorise, card_of(pan), request.as_json(), call)
        return outcome_from_json(await asked)

    async def check(self, pan: str, **more: Any) -> Outcome:
        """An account check, by whichever side makes it."""
        key = attempt_key(ORDER.payment_id, 1)
        request = AttemptRequest("", key, 1, None, 0, "EUR", "moto_agent", **more)
        if not self.abilities.tokenise_first:
            return await self.send_by_cell(pan, request)
        result = await asyncio.to_thread(self.cell.tokenise, card_of(pan))
        return await self.broker.verify_card(dataclasses.replace(request, token=result.token))

    async def charge(
        self, pan: str = OK, *, amount_minor: int = 1995, attempt: int = 1, **more: Any
    ) -> Outcome:
        return await self.send(pan, await self.request(amount_minor, attempt, **more))

    async def request(self, amount_minor: int = 1995, attempt: int = 1, **more: Any) -> AttemptRequest:
        reference = await self.reference(amount_minor, **more)
        key = attempt_key(ORDER.payment_id, attempt)
        return AttemptRequest(reference, key, attempt, None, amount_minor, "EUR", "moto_agent", **more)

    async def reference(self, amount_minor: int = 1995, **more: Any) -> str:
        """Prepared once and kept, as the broker keeps it: a provider may forget keys after a while."""
        order = dataclasses.replace(ORDER, amount_minor=amount_minor, **more)
        self._reference = self._reference or await self.broker.prepare(order)
        return self._reference

    async def fetch(self, attempt: int = 1) -> Outcome:
        return await self.broker.fetch(await self.reference(), attempt_key(ORDER.payment_id, attempt))

    async def times_charged(self) -> int:
        return await self.rig.times_charged(await self.reference())

    async def standing(self) -> Standing:
        return await self.broker.standing(await self.reference())

    async def step(self, step: str, amount_minor: int, number: int = 1, **more: Any) -> StepOutcome:
        key = f"{ORDER.payment_id}:{step}:{number}"
        request = StepRequest(await self.reference(), key, amount_minor, "EUR", **more)
        done: StepOutcome = await getattr(self.broker, step)(request)
        return done

    async def feed(self, since: str = "2020-01-01T00:00:00Z") -> list[FeedEntry]:
        until = datetime.fromtimestamp(self.rig.now() + 1, UTC).isoformat()
        return [entry async for entry in self.broker.settlements(since, until)]

    async def link(self, *, expires_in_s: float = 3_600.0, number: int = 1) -> Link:
        expires_at = datetime.fromtimestamp(self.rig.now() + expires_in_s, UTC).isoformat()
        order = dataclasses.replace(ORDER, sca_basis="link_3ds")
        key = f"{ORDER.payment_id}:link:{number}"
        made = LinkOrder(order, key, expires_at, "https://shop.example/thanks")
        return await self.broker.open_link(self._links.setdefault(number, made))


@pytest.fixture(params=names())
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Both]:
    async with rig_of(request.param, tmp_path) as rig:
        yield Both(request.param, rig)


# --- what a provider is -----------------------------------------------------------------------------------


def test_every_provider_is_held_to_this_suite():
    """A file is all it takes to be a provider; base and helpers are none; each has a rig."""
    assert set(names()) == set(provider_names())
    assert "base" not in provider_names()
    assert not any(name.startswith("_") for name in provider_names())


def test_unknown_provider_is_no_file(tmp_path):
    """A tenant's typing error does not import anything."""
    with pytest.raises(KeyError):
        load_provider("os", tmp_path)
    with pytest.raises(KeyError):
        options_of("os")


@pytest.mark.parametrize("name", provider_names())
def test_options_have_a_kind_a_manual_and_a_fitting_default(name):
    """`[payment.<name>]` is read by these; the page of settings is made from them."""
    for option in options_of(name).values():
        assert option.manual.endswith(".")
        assert option.default is None or isinstance(option.default, option.kind)


async def test_both_sides_agree_about_themselves(both):
    """Name and kind are the same wherever they are asked for; telephone payments are possible."""
    assert both.name == both.broker.name
    assert both.abilities.tokenise_first is both.cell.tokenise_first
    assert both.abilities.moto is True
    assert 3_600 <= both.abilities.key_window_s < DAY_S


# --- attempts ---------------------------------------------------------------------------------------------


async def test_prepare_gives_the_same_reference_again(both):
    """A restart between prepare and its commit leaves no second payment at the provider."""
    assert await both.broker.prepare(ORDER) == await both.broker.prepare(ORDER)


async def test_token_holds_no_digits_of_the_card_but_the_last_four(both):
    """A token may be stored and told; it is a provider's id, not a disguise."""
    token = both.cell.tokenise(card_of(OK)).token
    assert (token is not None) is both.abilities.tokenise_first
    assert OK[4:12] not in (token or "")
    assert not re.search(r"[0-9]{10}", token or "")


async def test_two_tokens_of_a_card_differ(both):
    """A token says nothing about who else has this card."""
    tokens = {both.cell.tokenise(card_of(OK)).token for _ in range(3)}
    assert len(tokens) == (3 if both.abilities.tokenise_first else 1)


@pytest.mark.parametrize(
    ("pan", "kind", "raw_code"),
    [
        (OK, OutcomeKind.AUTHORISED, ""),
        ("5555555555554444", OutcomeKind.AUTHORISED, ""),
        (AMEX, OutcomeKind.AUTHORISED, ""),
        (GENERIC, OutcomeKind.DECLINED, "generic_decline"),
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
    assert outcome == fetched
    assert await both.times_charged() == (kind is OutcomeKind.AUTHORISED)


async def test_same_attempt_key_executes_once(both):
    """Sent five times at once: one execution, and afterwards one answer."""
    request = await both.request()
    outcomes = await asyncio.gather(*(both.send(OK, request) for _ in range(5)))
    kinds = {outcome.kind for outcome in outcomes}
    assert OutcomeKind.AUTHORISED in kinds
    assert kinds <= {OutcomeKind.AUTHORISED, OutcomeKind.UNKNOWN}
    assert OutcomeKind.AUTHORISED is (await both.fetch()).kind
    assert await both.times_charged() == 1


async def test_another_card_under_the_same_key_charges_nothing_more(both):
    """A key belongs to one execution, whatever comes with it."""
    request = await both.request()
    await both.send(OK, request)
    late = await both.send(GENERIC, request)
    assert late.kind in {OutcomeKind.AUTHORISED, OutcomeKind.UNKNOWN}
    assert OutcomeKind.AUTHORISED is (await both.fetch()).kind
    assert await both.times_charged() == 1


async def test_next_attempt_after_a_decline_is_another_execution(both):
    """A declined attempt is final for its key; another card under the next key passes."""
    assert OutcomeKind.DECLINED is (await both.charge(GENERIC)).kind
    assert OutcomeKind.AUTHORISED is (await both.charge(attempt=2)).kind
    assert OutcomeKind.AUTHORISED is (await both.fetch(attempt=2)).kind
    assert await both.times_charged() == 1


async def test_lost_answer_is_found_by_fetch(both):
    """Executed, answer lost: UNKNOWN first, the truth from fetch."""
    assert OutcomeKind.UNKNOWN is (await both.charge(amount_minor=both.rig.arrange(Trouble.ANSWER_LOST))).kind
    assert OutcomeKind.AUTHORISED is (await both.fetch()).kind
    assert await both.times_charged() == 1


async def test_fenced_attempt_can_never_run(both):
    """Lost before execution: after the fence a late arrival moves no money, and the next attempt can."""
    request = await both.request(both.rig.arrange(Trouble.REQUEST_LOST))
    assert OutcomeKind.UNKNOWN is (await both.send(OK, request)).kind
    fenced = await both.broker.fence(request.provider_ref, request.attempt_key)
    assert OutcomeKind.NEVER_SENT is fenced.kind
    late = await both.send(OK, dataclasses.replace(request, amount_minor=1995))
    assert OutcomeKind.AUTHORISED is not late.kind
    assert 0 == await both.rig.times_charged(request.provider_ref)
    assert OutcomeKind.AUTHORISED is (await both.charge(attempt=2)).kind


async def test_fence_that_comes_too_late_tells_the_result(both):
    """What has executed cannot be fenced any more."""
    request = await both.request(both.rig.arrange(Trouble.ANSWER_LOST))
    await both.send(OK, request)
    fenced = await both.broker.fence(request.provider_ref, request.attempt_key)
    assert (OutcomeKind.AUTHORISED, 1) == (fenced.kind, await both.times_charged())


async def test_refused_connection_is_never_sent(both):
    """Nothing left us, so nobody has to be asked."""
    outcome = await both.charge(amount_minor=both.rig.arrange(Trouble.NEVER_SENT))
    assert OutcomeKind.NEVER_SENT is outcome.kind
    assert await both.times_charged() == 0


async def test_attempts_survive_a_restart(both):
    """Another process with the same host knows every attempt."""
    await both.charge(amount_minor=both.rig.arrange(Trouble.ANSWER_LOST))
    other = await both.rig.restarted()
    reference = await both.reference()
    assert OutcomeKind.AUTHORISED is (await other.fetch(reference, attempt_key(ORDER.payment_id, 1))).kind


async def test_the_wrong_side_sends_nothing(both):
    """A cell that is not to send, and a broker that has no card, both say so."""
    request = await both.request()
    if both.abilities.tokenise_first:
        assert "never_sent" == both.cell.authorise(card_of(OK), {}, lambda body: body)["kind"]
        assert "never_sent" == (await both.broker.wire({}))["kind"]
    else:
        assert OutcomeKind.NEVER_SENT is (await both.broker.authorise(request)).kind
        assert OutcomeKind.NEVER_SENT is (await both.broker.verify_card(request)).kind
    assert await both.times_charged() == 0


@pytest.mark.parametrize("token", ["tok_visa", "pm_nonsense", "sbx_nonsense_abc"])
async def test_foreign_token_moves_no_money(both, token):
    """A token that is not the provider's own authorises nothing."""
    request = dataclasses.replace(await both.request(), token=token, off_line=True)
    assert OutcomeKind.AUTHORISED is not (await both.broker.authorise(request)).kind
    assert await both.times_charged() == 0


# --- steps ------------------------------------------------------------------------------------------------


async def test_sale_is_settled_with_its_authorisation(both):
    """The money has moved; nothing is held, and the charge has the provider's own id."""
    outcome = await both.charge()
    standing = await both.standing()
    assert (True, "") == (outcome.settled, outcome.hold_until)
    assert outcome.step_ref
    assert (StandingState.SETTLED, 1995, 1995, 0) == amounts(standing)
    assert {} == dict(standing.steps)


def amounts(standing: Standing) -> tuple[StandingState, int, int, int]:
    return (
        standing.state,
        standing.authorised_minor,
        standing.settled_minor,
        standing.refunded_minor,
    )


async def test_hold_is_settled_once(both):
    """A pre-authorisation says until when it holds; settled in whole, it cannot be settled again."""
    outcome = await both.charge(settle_later=True)
    held = await both.standing()
    assert (False, (StandingState.AUTHORISED, 1995, 0, 0)) == (outcome.settled, amounts(held))
    assert outcome.hold_until == held.hold_until
    left_s = datetime.fromisoformat(held.hold_until).timestamp() - both.rig.now()
    assert DAY_S < left_s < 32 * DAY_S
    done = await both.step("settle", 1995)
    again = await both.step("settle", 1995, 2)
    standing = await both.standing()
    assert (StepKind.DONE, StepKind.REFUSED) == (done.kind, again.kind)
    assert (StandingState.SETTLED, 1995, 1995, 0) == amounts(standing)
    assert {f"{ORDER.payment_id}:settle:1": done.step_ref} == dict(standing.steps)
    assert "" == standing.hold_until


async def test_partial_settle_gives_the_rest_back(both):
    """What was not taken cannot be taken later, and is not refunded either."""
    assert both.abilities.partial_settle
    await both.charge(settle_later=True)
    assert StepKind.DONE is (await both.step("settle", 1200)).kind
    assert StepKind.REFUSED is (await both.step("settle", 795, 2)).kind
    assert StepKind.REFUSED is (await both.step("refund", 1201)).kind
    assert StepKind.DONE is (await both.step("refund", 1200, 2)).kind
    assert (1200, 1200) == amounts(await both.standing())[2:]


@pytest.mark.parametrize("amount_minor", [1996, 0, -5])
async def test_settle_outside_the_authorised_amount_is_refused(both, amount_minor):
    """Never more than was authorised, never nothing; the hold stays."""
    await both.charge(settle_later=True)
    assert StepKind.REFUSED is (await both.step("settle", amount_minor)).kind
    assert (StandingState.AUTHORISED, 1995, 0, 0) == amounts(await both.standing())


async def test_void_gives_the_hold_back(both):
    """Nothing is settled any more, nothing authorised any more."""
    await both.charge(settle_later=True)
    assert StepKind.DONE is (await both.step("void", 1995)).kind
    assert StandingState.VOIDED is (await both.standing()).state
    assert StepKind.REFUSED is (await both.step("settle", 1995)).kind
    assert StepKind.REFUSED is (await both.step("refund", 1995)).kind
    assert OutcomeKind.AUTHORISED is not (await both.charge(attempt=2, settle_later=True)).kind


@pytest.mark.parametrize("settle_later", [False, True])
async def test_void_after_settle_is_refused(both, settle_later):
    """Money that has moved goes back as a refund."""
    await both.charge(settle_later=settle_later)
    if settle_later:
        await both.step("settle", 1995)
    assert StepKind.REFUSED is (await both.step("void", 1995)).kind
    assert (StandingState.SETTLED, 1995, 1995, 0) == amounts(await both.standing())


async def test_refunds_are_capped_by_what_is_left(both):
    """Several in part, each with an id of its own; never more than was settled."""
    await both.charge()
    first, second = await both.step("refund", 900, reason="goodwill"), await both.step("refund", 900, 2)
    over = await both.step("refund", 196, 3)
    rest = await both.step("refund", 195, 4)
    assert (StepKind.DONE, StepKind.DONE) == (first.kind, second.kind)
    assert (StepKind.REFUSED, StepKind.DONE) == (over.kind, rest.kind)
    standing = await both.standing()
    assert (StandingState.SETTLED, 1995, 1995, 1995) == amounts(standing)
    assert 3 == len({first.step_ref, second.step_ref, rest.step_ref})
    keys = [f"{ORDER.payment_id}:refund:{number}" for number in (1, 2, 4)]
    assert dict(zip(keys, (first.step_ref, second.step_ref, rest.step_ref), strict=True)) == dict(
        standing.steps
    )


async def test_refund_of_a_hold_is_refused(both):
    """What has not moved cannot come back."""
    await both.charge(settle_later=True)
    assert StepKind.REFUSED is (await both.step("refund", 1)).kind


@pytest.mark.parametrize("step", ["settle", "void", "refund"])
async def test_step_without_a_charge_is_refused(both, step):
    """Nothing was authorised, so there is nothing to take or to give back."""
    assert StepKind.REFUSED is (await both.step(step, 100)).kind


@pytest.mark.parametrize("step", ["settle", "void", "refund"])
async def test_same_step_key_executes_once(both, step):
    """Sent five times at once and once more: done once, and the same id each time it is told."""
    await both.charge(settle_later=step != "refund")
    told = await asyncio.gather(*(both.step(step, 700) for _ in range(5)))
    told.append(await both.step(step, 700))
    kinds = {outcome.kind for outcome in told}
    assert kinds <= {StepKind.DONE, StepKind.UNKNOWN}
    assert StepKind.DONE is told[-1].kind
    assert 1 == len({outcome.step_ref for outcome in told if outcome.kind is StepKind.DONE})
    standing = await both.standing()
    assert {"settle": 700, "void": 0, "refund": 1995}[step] == standing.settled_minor
    assert (700 if step == "refund" else 0) == standing.refunded_minor


async def test_same_step_key_with_another_amount_executes_nothing(both):
    """A key belongs to one step; a mistake of ours moves no money."""
    await both.charge()
    await both.step("refund", 700)
    assert StepKind.DONE is not (await both.step("refund", 800)).kind
    assert 700 == (await both.standing()).refunded_minor


@pytest.mark.parametrize("trouble", list(Trouble))
@pytest.mark.parametrize("step", ["settle", "void", "refund"])
async def test_lost_step_can_be_sent_again(both, step, trouble):
    """Unknown or never sent: standing tells whether it was done; the same key does it once in all."""
    await both.charge(amount_minor=3000, settle_later=step != "refund")
    amount_minor = both.rig.arrange(trouble)
    lost = await both.step(step, amount_minor)
    expected = StepKind.NEVER_SENT if trouble is Trouble.NEVER_SENT else StepKind.UNKNOWN
    assert expected is lost.kind
    key = f"{ORDER.payment_id}:{step}:1"
    assert (key in (await both.standing()).steps) is (trouble is Trouble.ANSWER_LOST)
    again = await both.step(step, amount_minor)
    standing = await both.standing()
    assert (StepKind.DONE, {key: again.step_ref}) == (again.kind, dict(standing.steps))
    moved = standing.refunded_minor if step == "refund" else standing.settled_minor
    assert (0 if step == "void" else amount_minor) == moved


async def test_standing_tells_every_end(both):
    """Open before the first attempt; then declined; then what needs the bank's page."""
    assert (StandingState.OPEN, 0, 0, 0) == amounts(await both.standing())
    await both.charge(GENERIC)
    assert (StandingState.DECLINED, 0, 0, 0) == amounts(await both.standing())
    await both.charge("4000002760003184", attempt=2)
    state = (await both.standing()).state
    assert state in {StandingState.NEEDS_ACTION, StandingState.VOIDED}


async def test_lapsed_hold_is_given_back(both):
    """After its time a hold is gone, and nothing can be settled."""
    outcome = await both.charge(settle_later=True)
    await both.rig.advance(datetime.fromisoformat(outcome.hold_until).timestamp() - both.rig.now() + 1)
    assert (StandingState.VOIDED, "") == ((await both.standing()).state, (await both.standing()).hold_until)
    assert StepKind.REFUSED is (await both.step("settle", 1995)).kind


# --- account checks and kept cards ------------------------------------------------------------------------


async def test_account_check_moves_no_money(both):
    """A good card is good, a bad one is named, and neither is charged."""
    assert OutcomeKind.AUTHORISED is (await both.check(OK)).kind
    assert (0, StandingState.OPEN) == (await both.times_charged(), (await both.standing()).state)
    assert [] == await both.feed()


async def test_account_check_of_a_bad_card_is_declined(both):
    """With the code that a charge would have had."""
    checked = await both.check("4000000000009987")
    assert (OutcomeKind.DECLINED, "lost_card", 0) == (
        checked.kind,
        checked.raw_code,
        await both.times_charged(),
    )


@pytest.mark.parametrize("checked", [True, False])
async def test_kept_card_pays_later_with_and_without_a_caller(both, checked):
    """Kept at a charge or at an account check; charged by id; forgotten, it pays no more."""
    sent = both.check(OK, keep_card=True) if checked else both.charge(keep_card=True)
    kept = (await sent).kept
    assert isinstance(kept, KeptCard)
    assert ("visa", "4242", 12, 2031) == (kept.brand, kept.last4, kept.expiry_month, kept.expiry_year)
    assert OutcomeKind.AUTHORISED is (await pay_by_id(both, kept, "pay_later")).kind
    assert OutcomeKind.AUTHORISED is (await pay_by_id(both, kept, "pay_on_line", "moto_agent")).kind
    await both.broker.forget_card(kept.customer_ref, kept.token_ref)
    await both.broker.forget_card(kept.customer_ref, kept.token_ref)
    assert OutcomeKind.AUTHORISED is not (await pay_by_id(both, kept, "pay_too_late")).kind


async def pay_by_id(both: Both, kept: KeptCard, payment_id: str, basis: str = "mit") -> Outcome:
    order = dataclasses.replace(ORDER, payment_id=payment_id, sca_basis=basis, customer_ref=kept.customer_ref)
    reference = await both.broker.prepare(order)
    key, off_line = attempt_key(payment_id, 1), basis == "mit"
    request = AttemptRequest(reference, key, 1, kept.token_ref, 1995, "EUR", basis, off_line=off_line)
    return await both.broker.authorise(request)


async def test_second_card_of_a_customer_belongs_to_the_same(both):
    """A customer that the provider knows is not made twice."""
    first = (await both.charge(keep_card=True)).kept
    order = dataclasses.replace(
        ORDER, payment_id="pay_second", keep_card=True, customer_ref=first.customer_ref
    )
    reference = await both.broker.prepare(order)
    key = attempt_key("pay_second", 1)
    request = AttemptRequest(reference, key, 1, None, 1995, "EUR", "moto_agent", keep_card=True)
    second = (await both.send("5555555555554444", request)).kept
    assert first.customer_ref == second.customer_ref
    assert ("mastercard", "4444") == (second.brand, second.last4)
    assert first.token_ref != second.token_ref


async def test_card_is_not_kept_unasked(both):
    """Nobody consented."""
    assert (await both.charge()).kept is None


# --- links ------------------------------------------------------------------------------------------------


async def paid(both: Both, link: Link) -> int:
    """How often the page was paid, by the reference that its standing names."""
    standing = await both.broker.standing(link.link_ref)
    return await both.rig.times_charged(standing.provider_ref) if standing.provider_ref else 0


async def test_paid_link_shows_in_standing(both):
    """One link per key; nothing has moved before it is paid, all of it afterwards, and once."""
    link = await both.link()
    assert link == await both.link()
    assert re.match(r"https://|/pay/", link.url)
    assert (StandingState.OPEN, 0, 0, 0) == amounts(await both.broker.standing(link.link_ref))
    await both.rig.pay_link(link)
    assert (StandingState.SETTLED, 1995, 1995, 0) == amounts(await both.broker.standing(link.link_ref))
    await both.rig.pay_link(link)
    assert 1 == await paid(both, link)


async def test_payment_by_link_is_refunded_where_its_standing_says(both):
    """The page may have been a payment of its own at the provider."""
    link = await both.link()
    await both.rig.pay_link(link)
    reference = (await both.broker.standing(link.link_ref)).provider_ref
    done = await both.broker.refund(StepRequest(reference, "pay_contract:refund:1", 995, "EUR"))
    assert StepKind.DONE is done.kind
    assert (1995, 995) == amounts(await both.broker.standing(link.link_ref))[2:]


async def test_closed_link_cannot_be_paid(both):
    """Closed twice is closed; a second link of the payment still works."""
    link = await both.link()
    await both.broker.close_link(link.link_ref)
    await both.broker.close_link(link.link_ref)
    await both.rig.pay_link(link)
    assert 0 == await paid(both, link)
    second = await both.link(number=2)
    await both.rig.pay_link(second)
    assert 1 == await paid(both, second)


async def test_expired_link_cannot_be_paid(both):
    """Its time is over."""
    link = await both.link()
    await both.rig.advance(3_601)
    await both.rig.pay_link(link)
    assert 0 == await paid(both, link)


# --- settlements ------------------------------------------------------------------------------------------


async def test_feed_tells_charge_and_refund_by_their_ids(both):
    """Each entry names payment and step; the net is the gross without the fee, signs are the merchant's."""
    charged = await both.charge()
    refunded = await both.step("refund", 500)
    reference = await both.reference()
    charge, refund = await both.feed()
    assert (FeedKind.CHARGE, reference, charged.step_ref, 1995) == (
        charge.kind,
        charge.provider_ref,
        charge.step_ref,
        charge.gross_minor,
    )
    assert (FeedKind.REFUND, reference, refunded.step_ref, -500) == (
        refund.kind,
        refund.provider_ref,
        refund.step_ref,
        refund.gross_minor,
    )
    assert charge.fee_minor > 0
    for entry in (charge, refund):
        assert entry.gross_minor - entry.fee_minor == entry.net_minor
        assert ("EUR", "") == (entry.currency, entry.payout_ref)


async def test_feed_tells_a_hold_only_when_it_is_settled(both):
    """Held money is nobody's income."""
    await both.charge(settle_later=True)
    assert [] == await both.feed()
    await both.step("settle", 1200)
    assert [1200] == [entry.gross_minor for entry in await both.feed()]


async def test_windows_of_the_feed_meet_without_gap_or_overlap(both):
    """`since` is inside, `until` is not; the same window gives the same entries."""
    await both.charge()
    await both.step("refund", 500)
    entries = await both.feed()
    assert entries == await both.feed()
    cut = entries[1].made_at
    before = [entry async for entry in both.broker.settlements("2020-01-01T00:00:00Z", cut)]
    after = await both.feed(cut)
    assert sorted(entry.entry_id for entry in entries) == sorted(
        entry.entry_id for entry in [*before, *after]
    )


async def test_payout_holds_what_it_pays(both):
    """Days later the balance is paid out; every entry names its payout, and all of it comes to nothing."""
    await both.charge()
    await both.step("refund", 500)
    await both.rig.advance(10 * DAY_S)
    entries = await both.feed()
    (payout,) = [entry for entry in entries if entry.kind is FeedKind.PAYOUT]
    assert {payout.payout_ref} == {entry.payout_ref for entry in entries}
    assert 0 == sum(entry.net_minor for entry in entries)
    assert payout.net_minor == payout.gross_minor < 0


# --- webhooks ---------------------------------------------------------------------------------------------


async def test_webhook_points_at_its_payment(both):
    """Header names in any case; signed with the secret of before while it is still known."""
    await both.charge()
    reference, now_s = await both.reference(), both.rig.now()
    for secret in (SECRET, OLD_SECRET):
        headers, raw = await both.rig.webhook(reference, secret, now_s)
        for spelling in (str.lower, str.upper, str.title):
            spelled = {spelling(name): value for name, value in headers.items()}
            notice = both.broker.parse_webhook(spelled, raw, (SECRET, OLD_SECRET), now_s)
            assert reference == notice.provider_ref
            assert notice.event_id
            made_at = datetime.fromisoformat(notice.made_at)
            assert abs(made_at - datetime.fromtimestamp(now_s, UTC)) < timedelta(minutes=1)


async def test_webhook_names_its_event_the_same_each_time(both):
    """The inbox recognises a duplicate by it."""
    await both.charge()
    reference, now_s = await both.reference(), both.rig.now()
    first, second = [await both.rig.webhook(reference, SECRET, now_s + late) for late in (0, 30)]
    ids = {both.broker.parse_webhook(*sent, (SECRET,), now_s + 30).event_id for sent in (first, second)}
    assert 1 == len(ids)


@pytest.mark.parametrize("late_s", [0, 299, -30])
async def test_webhook_of_about_now_is_taken(both, late_s):
    """Networks are late, and clocks differ a little."""
    await both.charge()
    now_s = both.rig.now()
    headers, raw = await both.rig.webhook(await both.reference(), SECRET, now_s)
    assert both.broker.parse_webhook(headers, raw, (SECRET,), now_s + late_s).event_id


@pytest.mark.parametrize(
    "forged", ["body", "secret", "no secret", "no header", "nonsense", "empty", "301 s", "future", "long"]
)
async def test_forged_webhook_is_refused(both, forged):
    """One changed byte, another secret, none, no or a nonsense signature, too old, or dated ahead."""
    await both.charge()
    now_s = both.rig.now()
    headers, raw = await both.rig.webhook(await both.reference(), SECRET, now_s)
    secrets: tuple[bytes, ...] = (SECRET,)
    match forged:
        case "body":
            raw = raw.replace(b"e", b"f", 1)
        case "secret":
            secrets = (OLD_SECRET,)
        case "no secret":
            secrets = ()
        case "no header":
            headers = {}
        case "nonsense":
            headers = dict.fromkeys(headers, "t=now,v1=ü")
        case "empty":
            raw = b""
        case "301 s":
            now_s += 301.5
        case "future":
            now_s -= 90
        case "long":
            raw += b" " * 2_000_000
    with pytest.raises(Refused) as refused:
        both.broker.parse_webhook(headers, raw, secrets, now_s)
    assert "webhook_invalid" == refused.value.code


# --- the wire between broker and cell ---------------------------------------------------------------------


def test_outcome_travels_as_json():
    """There and back; anything unreadable is unknown."""
    kept = KeptCard("cus_a", "tok_b", "visa", "4242", 12, 2031)
    for outcome in (
        Outcome(OutcomeKind.DECLINED, "lost_card", "do_not_try_again"),
        Outcome(OutcomeKind.AUTHORISED, "", "", True, "ch_a", "", kept),
        Outcome(OutcomeKind.AUTHORISED, hold_until="2026-01-02T03:04:05.000Z"),
    ):
        assert outcome == outcome_from_json(outcome_as_json(outcome))
    body: Mapping[str, Any]
    for body in ({}, {"kind": "paid"}, {"kind": None}, {"kind": []}, {"kind": "authorised", "kept": [1]}):
        assert OutcomeKind.UNKNOWN is outcome_from_json(dict(body)).kind
