"""The Stripe provider against the simulator over TLS; the SDK's own types judge every request."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.stripe_ends import ORDER, VISA, StripeEnds, stripe_ends
from vault.door import Field, Refused, VaultError
from vault.keys import KeyFault, Keys, key_provider
from vault.proof.stripe_faults import Fault
from vault.providers import stripe as stripe_file
from vault.providers._stripe_answers import stamp
from vault.providers._stripe_broker import Stripe
from vault.providers._stripe_config import API_BASE, config_of
from vault.providers._stripe_sdk import stripe as sdk
from vault.providers.base import (
    FeedKind,
    LinkOrder,
    NotSentError,
    Order,
    OutcomeKind,
    StandingState,
    StepKind,
    StepRequest,
    load_provider,
    options_of,
)
from vault.tenant import TenantError, read_tenant

EGRESS_NAMES = (
    "api.stripe.com",
    "api.stripe.com.evil.example",
    "apixstripe.com",
    "files.stripe.com",
    "1.1.1.1",
)
HOLD = replace(ORDER, settle_later=True)


@pytest.fixture
async def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StripeEnds]:
    """Retries follow at once: how long the SDK waits is its own business."""
    monkeypatch.setattr(sdk.HTTPClient, "INITIAL_DELAY", 0.01)
    async with stripe_ends(tmp_path) as ends:
        yield ends


def step(reference: str, name: str, amount_minor: int = 1995, number: int = 1) -> StepRequest:
    return StepRequest(reference, f"pay_one:{name}:{number}", amount_minor, "EUR")


# --- attempts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pan", "kind", "raw_code"),
    [
        (VISA, OutcomeKind.AUTHORISED, ""),
        ("5555555555554444", OutcomeKind.AUTHORISED, ""),
        ("4000000000000002", OutcomeKind.DECLINED, "generic_decline"),
        ("4000000000009995", OutcomeKind.DECLINED, "insufficient_funds"),
        ("4000000000009987", OutcomeKind.DECLINED, "lost_card"),
        ("4000000000000069", OutcomeKind.DECLINED, "expired_card"),
        ("4000000000000127", OutcomeKind.DECLINED, "incorrect_cvc"),
        ("4000000000000119", OutcomeKind.DECLINED, "processing_error"),
        ("4000002760003184", OutcomeKind.REQUIRES_ACTION, "authentication_required"),
    ],
)
async def test_the_card_decides_and_fetch_agrees(ends, pan, kind, raw_code):
    """What the answer said is what is found when the answer is lost."""
    request, outcome = await ends.charge(pan=pan)
    assert (kind, raw_code) == (outcome.kind, outcome.raw_code)
    assert outcome == await ends.broker.fetch(request.provider_ref, request.attempt_key)
    assert ends.charged() == (kind is OutcomeKind.AUTHORISED)


async def test_a_telephone_order_is_marked_as_one(ends):
    """`moto` goes with the confirmation, and only there; its key is the attempt's."""
    await ends.charge()
    confirmed = [one for one in ends.sim.requests if one[1].endswith("/confirm")]
    assert ["pay_one:authorise:1"] == [key for _, _, key in confirmed]
    charge = ends.sim.host.successful_charges()[0]
    assert charge["payment_method_details"]["card"]["moto"] is True


async def test_a_wish_for_authentication_ends_the_intent(ends):
    """Nobody on a telephone can confirm online, so nothing is left that somebody could complete."""
    request, _ = await ends.charge(pan="4000002760003184")
    assert StandingState.NEEDS_ACTION is (await ends.broker.standing(request.provider_ref)).state
    later = await ends.broker.authorise(replace(request, attempt_key="pay_one:authorise:2", attempt=2))
    assert (OutcomeKind.NEVER_SENT, "payment_intent_unexpected_state") == (later.kind, later.raw_code)


async def test_the_same_key_executes_once(ends):
    """Sent again and again, at once and with another card: one charge, one answer."""
    request = await ends.request()
    other = replace(request, token=(await ends.tokenise("4000000000000002")).token)
    first = await ends.broker.authorise(request)
    again = await asyncio.gather(*(ends.broker.authorise(one) for one in (request, other, request)))
    assert {OutcomeKind.AUTHORISED} == {one.kind for one in (first, *again)}
    assert 1 == ends.charged()


async def test_a_declined_attempt_can_be_followed_by_another(ends):
    """The same intent, a new key; fetch still tells the two apart."""
    first, declined = await ends.charge(pan="4000000000009995")
    second, authorised = await ends.charge(attempt=2)
    assert first.provider_ref == second.provider_ref
    assert (OutcomeKind.DECLINED, OutcomeKind.AUTHORISED) == (declined.kind, authorised.kind)
    fetched = [await ends.broker.fetch(one.provider_ref, one.attempt_key) for one in (first, second)]
    assert [declined, authorised] == fetched


async def test_prepare_gives_the_same_reference_again(ends):
    """A restart between prepare and its commit leaves no second intent."""
    assert await ends.broker.prepare(ORDER) == await ends.broker.prepare(ORDER)


async def test_a_foreign_token_is_declined(ends):
    """A token that is none of the account's moves no money."""
    request = replace(await ends.request(), token="pm_of_somebody_else")
    assert OutcomeKind.DECLINED is (await ends.broker.authorise(request)).kind
    assert 0 == ends.charged()


# --- answers that are lost ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.FALSE_500, Fault.GARBAGE_200])
async def test_an_executed_attempt_without_an_answer_is_found(ends, fault):
    """Unknown at first; the charge says whose it is."""
    request = await ends.request()
    ends.sim.host.faults.order(fault, path_end="/confirm")
    assert OutcomeKind.UNKNOWN is (await ends.broker.authorise(request)).kind
    fetched = await ends.broker.fetch(request.provider_ref, request.attempt_key)
    assert (OutcomeKind.AUTHORISED, True) == (fetched.kind, fetched.settled)
    fenced = await ends.broker.fence(request.provider_ref, request.attempt_key)
    assert (OutcomeKind.AUTHORISED, 1) == (fenced.kind, ends.charged())


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.BODY_CUT])
async def test_a_cut_answer_is_asked_for_again_under_the_same_key(ends, fault):
    """The retry gets the stored answer; the SDK's own client would raise an aiohttp error here."""
    request = await ends.request()
    ends.sim.host.faults.order(fault, path_end="/confirm")
    assert OutcomeKind.AUTHORISED is (await ends.broker.authorise(request)).kind
    confirmed = [key for _, path, key in ends.sim.requests if path.endswith("/confirm")]
    assert (2, 1, 1) == (len(confirmed), len(set(confirmed)), ends.charged())


@pytest.mark.parametrize("fault", [Fault.RATE_429, Fault.GATEWAY_502, Fault.CONFLICT_409])
async def test_what_stands_before_the_execution_is_tried_again(ends, fault):
    """Also 429, which the SDK gives up on."""
    request = await ends.request()
    ends.sim.host.faults.order(fault, path_end="/confirm")
    assert OutcomeKind.AUTHORISED is (await ends.broker.authorise(request)).kind
    assert 1 == ends.charged()


async def test_a_rate_limit_that_stays_is_never_sent(ends):
    """Three times 429 and nothing else: certainly not executed."""
    request = await ends.request()
    for _ in range(3):
        ends.sim.host.faults.order(Fault.RATE_429, path_end="/confirm")
    assert OutcomeKind.NEVER_SENT is (await ends.broker.authorise(request)).kind
    assert 0 == ends.charged()


async def test_a_rate_limit_after_a_lost_answer_is_unclear(ends):
    """The first try may have run, so the last answer proves nothing."""
    request = await ends.request()
    for fault in (Fault.ANSWER_LOST, Fault.RATE_429, Fault.RATE_429):
        ends.sim.host.faults.order(fault, path_end="/confirm")
    assert OutcomeKind.UNKNOWN is (await ends.broker.authorise(request)).kind
    assert 1 == ends.charged()


async def test_a_refused_connection_is_never_sent(ends):
    """Whatever is asked, nothing left us."""
    request = await ends.request()
    async with ends.sim.refusing():
        assert OutcomeKind.NEVER_SENT is (await ends.broker.authorise(request)).kind
        with pytest.raises(NotSentError):
            await ends.broker.prepare(replace(ORDER, payment_id="pay_two"))
        assert StepKind.NEVER_SENT is (await ends.broker.void(step(request.provider_ref, "void"))).kind
    assert OutcomeKind.AUTHORISED is (await ends.broker.authorise(request)).kind


async def test_a_question_that_cannot_be_sent_says_nothing_about_the_attempt(ends, monkeypatch):
    """Refused connections after the confirmation was sent must not read as "never sent"."""
    request, _ = await ends.charge()
    asked = request.provider_ref, request.attempt_key
    other = replace(request, token=(await ends.tokenise()).token)
    listed = ends.broker._api.charges.list_async

    async def refused(*given):
        async with ends.sim.refusing():
            return await listed(*given)

    monkeypatch.setattr(ends.broker._api.charges, "list_async", refused)
    assert OutcomeKind.UNKNOWN is (await ends.broker.authorise(other)).kind
    async with ends.sim.refusing():
        outcomes = await ends.broker.fetch(*asked), await ends.broker.fence(*asked)
    assert [OutcomeKind.UNKNOWN] * 2 == [one.kind for one in outcomes]
    assert 1 == ends.charged()


async def test_a_refused_connection_after_a_lost_answer_is_unclear(ends):
    """The try that was cut may have run; that nobody listens afterwards changes nothing."""
    request = await ends.request()
    await ends.broker.standing(request.provider_ref)
    hold = ends.sim.hold("/confirm")
    sending = asyncio.create_task(ends.broker.authorise(request))
    await hold.begun.wait()
    await ends.sim.close()
    outcome = await sending
    await ends.sim.open()
    assert OutcomeKind.UNKNOWN is outcome.kind


async def test_an_untouched_intent_is_unknown_until_the_confirmation_cannot_be_on_its_way(ends):
    """A read may overtake a confirmation; after 20 s it is certain, and the fence makes it final."""
    request = await ends.request()
    for _ in range(3):
        ends.sim.host.faults.order(Fault.REQUEST_LOST, path_end="/confirm")
    assert OutcomeKind.UNKNOWN is (await ends.broker.authorise(request)).kind
    asked = request.provider_ref, request.attempt_key
    assert OutcomeKind.UNKNOWN is (await ends.broker.fetch(*asked)).kind
    ends.sim.skip(21)
    assert OutcomeKind.NEVER_SENT is (await ends.broker.fetch(*asked)).kind
    fenced = await ends.broker.fence(*asked)
    assert (OutcomeKind.NEVER_SENT, "fenced") == (fenced.kind, fenced.raw_code)
    assert fenced == await ends.broker.fence(*asked)
    late = await ends.broker.authorise(request)
    assert (OutcomeKind.NEVER_SENT, "fenced", 0) == (late.kind, late.raw_code, ends.charged())


async def test_after_a_fence_the_next_attempt_uses_the_same_intent(ends):
    """The fence ends one attempt, not the payment."""
    request = await ends.request()
    await ends.broker.fence(request.provider_ref, request.attempt_key)
    second, outcome = await ends.charge(attempt=2)
    assert (OutcomeKind.AUTHORISED, request.provider_ref) == (outcome.kind, second.provider_ref)


async def test_a_fence_waits_for_a_confirmation_that_is_executing(ends):
    """While it runs nothing is certain; afterwards the fence tells its result."""
    request = await ends.request()
    hold = ends.sim.hold("/confirm")
    sending = asyncio.create_task(ends.broker.authorise(request))
    await hold.begun.wait()
    asked = request.provider_ref, request.attempt_key
    assert OutcomeKind.UNKNOWN is (await ends.broker.fence(*asked)).kind
    hold.release()
    assert OutcomeKind.AUTHORISED is (await sending).kind
    assert OutcomeKind.AUTHORISED is (await ends.broker.fence(*asked)).kind


async def test_a_stored_500_is_fenced_by_closing_the_intent(ends):
    """The key is used up by nothing: only a cancelled intent is certain, and no money is held."""
    request = await ends.request()
    ends.sim.host.faults.order(Fault.EMPTY_500, path_end="/confirm")
    assert OutcomeKind.UNKNOWN is (await ends.broker.authorise(request)).kind
    ends.sim.skip(21)
    fenced = await ends.broker.fence(request.provider_ref, request.attempt_key)
    assert (OutcomeKind.NEVER_SENT, "fenced", 0) == (fenced.kind, fenced.raw_code, ends.charged())
    assert StandingState.VOIDED is (await ends.broker.standing(request.provider_ref)).state


async def test_an_intent_that_is_closed_already_is_fenced(ends):
    """The cancellation ran and its answer was a 500: asked again, Stripe refuses it, and nothing can run."""
    request = await ends.request()
    ends.sim.host.faults.order(Fault.EMPTY_500, path_end="/confirm")
    await ends.broker.authorise(request)
    ends.sim.skip(21)
    ends.sim.host.faults.order(Fault.FALSE_500, path_end="/cancel")
    asked = request.provider_ref, request.attempt_key
    kinds = [(await ends.broker.fence(*asked)).kind for _ in range(2)]
    assert [OutcomeKind.UNKNOWN, OutcomeKind.NEVER_SENT] == kinds
    assert 0 == ends.charged()


@pytest.mark.parametrize("fault", [Fault.FALSE_500, Fault.EMPTY_500])
async def test_a_fence_whose_500_is_stored_is_a_fence(ends, fault):
    """Whether it ran or not, the attempt's key is used up by it."""
    request = await ends.request()
    for _ in range(3):
        ends.sim.host.faults.order(Fault.REQUEST_LOST, path_end="/confirm")
    assert OutcomeKind.UNKNOWN is (await ends.broker.authorise(request)).kind
    ends.sim.skip(21)
    ends.sim.host.faults.order(fault, key_end=request.attempt_key)
    asked = request.provider_ref, request.attempt_key
    fenced = [await ends.broker.fence(*asked) for _ in range(2)]
    assert [OutcomeKind.UNKNOWN, OutcomeKind.NEVER_SENT] == [one.kind for one in fenced]
    await ends.broker.authorise(request)
    assert 0 == ends.charged()


async def test_a_mark_that_fails_sends_nothing(ends):
    """The confirmation is only sent after the intent says whose it is."""
    request = await ends.request()
    for _ in range(3):
        ends.sim.host.faults.order(Fault.ANSWER_LOST, method="POST", path_end=request.provider_ref)
    assert OutcomeKind.NEVER_SENT is (await ends.broker.authorise(request)).kind
    assert not [path for _, path, _ in ends.sim.requests if path.endswith("/confirm")]


# --- steps ------------------------------------------------------------------------------------------------


async def test_a_hold_is_settled_in_part_and_refunded(ends):
    """Amounts add up at every step, and each step is found by its key."""
    request, outcome = await ends.charge(HOLD)
    assert (False, True) == (outcome.settled, outcome.hold_until.endswith("Z"))
    reference = request.provider_ref
    held = await ends.broker.standing(reference)
    assert (StandingState.AUTHORISED, 1995, 0) == (held.state, held.authorised_minor, held.settled_minor)
    assert held.hold_until == outcome.hold_until
    settled = await ends.broker.settle(step(reference, "settle", 1000))
    refunded = await ends.broker.refund(step(reference, "refund", 300))
    too_much = await ends.broker.refund(step(reference, "refund", 701, 2))
    assert [StepKind.DONE, StepKind.DONE, StepKind.REFUSED] == [
        one.kind for one in (settled, refunded, too_much)
    ]
    standing = await ends.broker.standing(reference)
    assert (StandingState.SETTLED, 1000, 300) == (
        standing.state,
        standing.settled_minor,
        standing.refunded_minor,
    )
    assert standing.steps == {
        "pay_one:settle:1": outcome.step_ref,
        "pay_one:refund:1": refunded.step_ref,
    }


async def test_a_hold_is_voided(ends):
    """Nothing is left to settle, and the void is found by its key."""
    request, outcome = await ends.charge(HOLD)
    voided = await ends.broker.void(step(request.provider_ref, "void"))
    assert (StepKind.DONE, outcome.step_ref) == (voided.kind, voided.step_ref)
    standing = await ends.broker.standing(request.provider_ref)
    assert (StandingState.VOIDED, {"pay_one:void:1": outcome.step_ref}) == (standing.state, standing.steps)
    refused = await ends.broker.settle(step(request.provider_ref, "settle"))
    assert (StepKind.REFUSED, "payment_intent_unexpected_state") == (refused.kind, refused.raw_code)


async def test_a_hold_lapses(ends):
    """Nobody settled in time: the provider gave it back, and no step of ours did."""
    request, _ = await ends.charge(HOLD)
    ends.sim.skip(8 * 86_400)
    standing = await ends.broker.standing(request.provider_ref)
    assert (StandingState.VOIDED, {}) == (standing.state, standing.steps)


@pytest.mark.parametrize("name", ["settle", "void", "refund"])
@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.REQUEST_LOST, Fault.RATE_429, Fault.BODY_CUT])
async def test_a_lost_step_is_done_once(ends, name, fault):
    """Its own retries and another call with its key come to one execution."""
    request, _ = await ends.charge(ORDER if name == "refund" else HOLD)
    wanted = step(request.provider_ref, name, 500)
    ends.sim.host.faults.order(fault, key_end=wanted.step_key)
    steps = getattr(ends.broker, name)
    first, again = await steps(wanted), await steps(wanted)
    assert (StepKind.DONE, first) == (first.kind, again)
    standing = await ends.broker.standing(request.provider_ref)
    assert {wanted.step_key: first.step_ref} == standing.steps


@pytest.mark.parametrize(("fault", "given_back"), [(Fault.FALSE_500, 500), (Fault.EMPTY_500, 0)])
async def test_a_step_whose_500_is_stored_is_known_at_the_second_try(ends, fault, given_back):
    """A failure that Stripe repeats has used up the key: the standing says what it did, if anything."""
    request, _ = await ends.charge()
    wanted = step(request.provider_ref, "refund", 500)
    ends.sim.host.faults.order(fault, key_end=wanted.step_key)
    assert StepKind.UNKNOWN is (await ends.broker.refund(wanted)).kind
    standing = await ends.broker.standing(request.provider_ref)
    assert (given_back, bool(given_back)) == (standing.refunded_minor, wanted.step_key in standing.steps)
    again = await ends.broker.refund(wanted)
    assert (StepKind.DONE if given_back else StepKind.REFUSED) is again.kind
    assert standing.steps.get(wanted.step_key, "") == again.step_ref


@pytest.mark.parametrize("path_end", ["/v1/payment_intents", "/v1/customers"])
@pytest.mark.parametrize("fault", [Fault.FALSE_500, Fault.EMPTY_500])
async def test_a_payment_whose_preparation_is_stored_as_a_500_is_prepared_again(ends, fault, path_end):
    """Nothing moves money there: what Stripe repeats for a day is asked for under another key."""
    order = replace(ORDER, keep_card=True)
    ends.sim.host.faults.order(fault, method="POST", path_end=path_end)
    with pytest.raises(sdk.APIError):
        await ends.broker.prepare(order)
    reference = await ends.broker.prepare(order)
    made = [one["id"] for one in ends.sim.host.books.every("payment_intent")]
    assert [reference] == made
    assert reference == await ends.broker.prepare(order)


# --- cards on file, checks, pages, the feed -----------------------------------------------------------------


async def test_a_card_is_kept_charged_off_line_and_forgotten(ends):
    """From a payment on the telephone to one without the caller."""
    _, outcome = await ends.charge(replace(ORDER, keep_card=True))
    kept = outcome.kept
    assert kept is not None
    assert ("visa", "4242", 12, 2031) == (kept.brand, kept.last4, kept.expiry_month, kept.expiry_year)
    order = Order("pay_mit", "demo", 500, "EUR", "mit", customer_ref=kept.customer_ref)
    request = replace(await ends.request(order), token=kept.token_ref, off_line=True)
    later = await ends.broker.authorise(request)
    assert (OutcomeKind.AUTHORISED, True) == (later.kind, later.settled)
    await ends.broker.forget_card(kept.customer_ref, kept.token_ref)
    await ends.broker.forget_card(kept.customer_ref, kept.token_ref)
    order = replace(order, payment_id="pay_late")
    request = replace(await ends.request(order), token=kept.token_ref, off_line=True)
    assert OutcomeKind.DECLINED is (await ends.broker.authorise(request)).kind


@pytest.mark.parametrize(
    ("pan", "kind"),
    [
        (VISA, OutcomeKind.AUTHORISED),
        ("4000000000009995", OutcomeKind.DECLINED),
        ("4000002760003184", OutcomeKind.REQUIRES_ACTION),
    ],
)
async def test_a_check_charges_nothing(ends, pan, kind):
    """The issuer is asked; a good card may be kept."""
    request = replace(await ends.request(pan=pan), keep_card=True)
    outcome = await ends.broker.verify_card(request)
    assert (kind, 0) == (outcome.kind, ends.charged())
    assert (outcome.kept is not None) is (kind is OutcomeKind.AUTHORISED)


async def test_a_page_is_opened_paid_and_closed(ends):
    """The page's own reference leads to where the payment stands."""
    order = replace(ORDER, payment_id="pay_page", sca_basis="link_3ds")
    link_order = LinkOrder(
        order, "pay_page:link:1", stamp(ends.sim.now() + 3600), "https://desk.example/paid"
    )
    link = await ends.broker.open_link(link_order)
    assert link == await ends.broker.open_link(link_order)
    assert StandingState.OPEN is (await ends.broker.standing(link.link_ref)).state
    ends.sim.host.checkout.pay(link.link_ref, VISA, ends.sim.now(), authenticates=True)
    paid = await ends.broker.standing(link.link_ref)
    assert (StandingState.SETTLED, 1995) == (paid.state, paid.settled_minor)
    await ends.broker.close_link(link.link_ref)


async def test_a_closed_page_cannot_be_paid(ends):
    """Closed twice is closed."""
    order = replace(ORDER, payment_id="pay_page", sca_basis="link_3ds")
    until = stamp(ends.sim.now() + 3600)
    link = await ends.broker.open_link(LinkOrder(order, "pay_page:link:1", until, "https://desk.example"))
    await ends.broker.close_link(link.link_ref)
    await ends.broker.close_link(link.link_ref)
    assert StandingState.VOIDED is (await ends.broker.standing(link.link_ref)).state


async def test_the_feed_tells_every_change_of_the_balance(ends):
    """Charge, refund, dispute and payout, oldest first, with fees and the payout that holds them."""
    request, outcome = await ends.charge()
    await ends.broker.refund(step(request.provider_ref, "refund", 300))
    _, other = await ends.charge(replace(ORDER, payment_id="pay_two"))
    dispute = ends.sim.host.refunds.dispute(other.step_ref, ends.sim.now())
    ends.sim.host.refunds.win(dispute["id"], ends.sim.now())
    begun = ends.sim.now() - 60
    ends.sim.skip(3 * 86_400)
    payout = ends.sim.host.ledger.pay_out("eur", ends.sim.now())
    until = stamp(ends.sim.now() + 60)
    entries = [one async for one in ends.broker.settlements(stamp(begun), until)]
    kinds = [FeedKind.CHARGE, FeedKind.REFUND, FeedKind.CHARGE]
    kinds += [FeedKind.CHARGEBACK, FeedKind.CHARGEBACK_REVERSAL, FeedKind.PAYOUT]
    assert kinds == [one.kind for one in entries]
    assert 0 == sum(one.net_minor for one in entries)
    assert all(one.net_minor == one.gross_minor - one.fee_minor for one in entries)
    assert {payout["id"]} == {one.payout_ref for one in entries}
    assert (request.provider_ref, outcome.step_ref) == (entries[0].provider_ref, entries[0].step_ref)
    assert {other.step_ref} == {one.step_ref for one in entries[2:5]}


async def test_the_feed_goes_over_many_pages(ends):
    """Two pages of a hundred and more; the bounds hold to the second."""
    account, now = ends.sim.host, ends.sim.now()
    _, outcome = await ends.charge()
    charge = account.books.find("charge", outcome.step_ref)
    for _ in range(130):
        account.ledger.post("charge", charge, 100, now)
    entries = [one async for one in ends.broker.settlements(stamp(now - 60), stamp(now + 60))]
    assert (131, 131) == (len(entries), len({one.entry_id for one in entries}))
    assert [] == [one async for one in ends.broker.settlements(stamp(now - 60), stamp(now - 5))]


# --- the cell's side, and what a tenant may say -------------------------------------------------------------


@pytest.mark.parametrize(
    ("pan", "cvv", "field", "code"),
    [
        ("4242424242424241", "123", Field.PAN, "incorrect_number"),
        (VISA, "12", Field.CVV, "invalid_cvc"),
        ("4111111111111111", "123", None, "test_mode_live_card"),
    ],
)
async def test_a_refused_card_names_the_field(ends, pan, cvv, field, code):
    """Only what Stripe blames on a field is keyed again."""
    result = await ends.tokenise(pan, cvv)
    assert (None, field, code) == (result.token, result.problem_field, result.code)


async def test_the_cells_key_makes_payment_methods_and_nothing_else(ends):
    """With the broker's key a cell is refused, and with the cell's key the broker is."""
    swapped = StripeEnds(ends.sim)
    swapped.broker = Stripe(ends.config, ends.sim.keys["cell"], ends.sim.keys["broker"])
    assert "provider_refused" == (await swapped.tokenise()).code
    request = await ends.request()
    outcome = await swapped.broker.authorise(request)
    await swapped.broker.close()
    assert (OutcomeKind.NEVER_SENT, "secret_key_required") == (outcome.kind, outcome.raw_code)


async def test_an_account_without_moto_says_so(tmp_path):
    """The parameter would be unknown to it."""
    async with stripe_ends(tmp_path, moto=False) as ends:
        await ends.charge()
        assert ends.broker.abilities.moto is False
        charge = ends.sim.host.successful_charges()[0]
        assert charge["payment_method_details"]["card"]["moto"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_base": "http://api.stripe.com"},
        {"api_base": "https://api.stripe.com/v1"},
        {"api_base": "https://user@api.stripe.com"},
        {"api_base": "https://"},
        {"api_base": "https://[::1"},
        {"egress_proxy": "http://proxy.example:3128"},
        {"egress_proxy": "http://127.0.0.1"},
        {"egress_proxy": "socks5://127.0.0.1:1080"},
        {"moto": "yes"},
    ],
)
def test_an_option_that_cannot_work_is_named(wrong):
    """The sentence says which, and quotes nothing."""
    with pytest.raises(VaultError) as told:
        config_of(wrong)
    (name, value), *_ = wrong.items()
    assert name in told.value.sentence
    assert str(value) not in told.value.sentence.replace(API_BASE, "")


def test_a_tenants_file_with_such_an_option_is_refused_by_its_line(tmp_path):
    """`pay-ivr check` says it before the node does."""
    file = tmp_path / "shop.toml"
    file.write_text(
        '[payment]\nprovider = "stripe"\ncurrencies = ["EUR"]\namount_max_minor = 1\npurposes = ["booking"]\n'
        '[payment.stripe]\negress_proxy = "http://proxy.example:3128"\n'
    )
    with pytest.raises(TenantError) as refused:
        read_tenant(file)
    place, _, problem = refused.value.sentence.partition(": ")
    assert "shop.toml, line 7, field payment.stripe.egress_proxy" == place
    assert problem.startswith("must be http://ADDRESS:PORT")


def test_the_egress_profile_lets_stripe_through_and_nothing_else():
    """One host, one port; names that only look like it stay inside."""
    folder = Path(__file__).parents[2] / "infra" / "egress"
    hosts = [line for line in (folder / "hosts").read_text().splitlines() if not line.startswith("#")]
    allowed = [name for name in EGRESS_NAMES if any(re.search(pattern, name) for pattern in hosts)]
    assert ["api.stripe.com"] == allowed
    settings = (folder / "tinyproxy.conf").read_text().splitlines()
    for line in ("FilterDefaultDeny Yes", "ConnectPort 443", "Listen 127.0.0.1", "FilterType ere"):
        assert line in settings


def test_defaults_lead_to_stripe():
    """Port and host are what a cell is walled in for."""
    config = config_of({"tenant": "demo"})
    assert (API_BASE, "api.stripe.com", 443) == (config.api_base, config.host, config.egress_port)
    proxied = config_of({"egress_proxy": "http://127.0.0.1:3128"})
    assert 3128 == proxied.egress_port
    assert set(options_of("stripe")) == set(stripe_file.OPTIONS)


async def test_keys_are_read_from_files(tmp_path):
    """The tenant's own before the node's; a missing one is named; the cell's must be weaker."""
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)

    def put(name: str, text: str) -> None:
        (keys / name).write_text(text, encoding="ascii")
        (keys / name).chmod(0o600)

    def held() -> Keys:
        return Keys(key_provider(tmp_path, {}))

    put("stripe.broker", "rk_test_broker\n")
    with pytest.raises(KeyFault) as missing:
        load_provider("stripe", tmp_path, {"tenant": "demo"}, held())
    assert "stripe.demo.cell" in missing.value.sentence
    put("stripe.demo.cell", "sk_live_everything\n")
    with pytest.raises(KeyFault):
        load_provider("stripe", tmp_path, {"tenant": "demo"}, held())
    put("stripe.demo.cell", "rk_test_cell\n")
    made = load_provider("stripe", tmp_path, {"tenant": "demo", "api_base": "https://127.0.0.1:1"}, held())
    assert isinstance(made, Stripe)
    assert b"rk_test_cell" == made.cell_secret()
    assert "rk_test_cell" not in str(await made.cell_config())
    await made.close()


async def test_the_broker_looks_the_host_up_for_its_cells():
    """A cell never asks a resolver; without an address there is no cell."""
    config = await Stripe(config_of({"api_base": "https://localhost"}), "rk_broker", "rk_cell").cell_config()
    assert config["address"] in {"127.0.0.1", "::1"}
    nowhere = Stripe(config_of({"api_base": "https://nowhere.invalid"}), "rk_broker", "rk_cell")
    with pytest.raises(Refused) as refused:
        await nowhere.cell_config()
    assert ("provider_unreachable", True) == (refused.value.code, refused.value.retryable)
