"""The sandbox: what amounts and cards make of a payment, its feed, its pages and its older books."""

import dataclasses
import sqlite3
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault.card import Card
from vault.door import Field, LinkAnswer
from vault.payment import attempt_key
from vault.providers._sandbox_cards import INVALID, Face, face_of
from vault.providers._sandbox_feed import CHARGEBACK_FEE_MINOR, Movement, feed, stamp
from vault.providers._sandbox_host import LATE_RESULT_S, SLOW_ANSWER_S, SandboxHost
from vault.providers._sandbox_links import LinkState
from vault.providers.base import (
    AttemptRequest,
    FeedKind,
    LinkOrder,
    NotSentError,
    Order,
    OutcomeKind,
    StandingState,
    StepKind,
    StepRequest,
    load_provider,
)
from vault.secret_page import SecretPage

ORDER = Order("pay_sandbox", "demo", 1995, "EUR", "moto_agent")
GOOD = Face("approved", "visa", "4242", 12, 2031).token
NAMES = ("sandbox", "sandbox_direct")
DAY = timedelta(days=1)
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How fast an example is made says something about a busy machine, and nothing about the code."""


def card_of(pan: str) -> Card:
    card = Card(SecretPage(sealed=False))
    for digits, text in ((card.pan, pan), (card.expiry, "1231"), (card.cvv, "123")):
        for digit in text:
            assert digits.append(int(digit))
    return card


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def host(tmp_path: Path, clock: Clock) -> AsyncIterator[SandboxHost]:
    host = SandboxHost(tmp_path / "books.db", clock=clock)
    yield host
    await host.close()


async def request(host: SandboxHost, amount_minor: int = 1995, attempt: int = 1, **more) -> AttemptRequest:
    reference = await host.prepare(dataclasses.replace(ORDER, amount_minor=amount_minor))
    key = attempt_key(ORDER.payment_id, attempt)
    return AttemptRequest(reference, key, attempt, GOOD, amount_minor, "EUR", "moto_agent", **more)


# --- cards ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pan", ["4242424242424241", "9999001234567890"])
def test_other_cards_are_refused_on_the_pan(name, pan):
    """A real card never gets past a sandbox; neither does the canary range, unless it is switched on."""
    module = import_module(f"vault.providers.{name}")
    result = module.cell_provider({}).tokenise(card_of(pan))
    assert (None, Field.PAN, "pan_not_allowed") == (result.token, result.problem_field, result.code)


@pytest.mark.parametrize("name", NAMES)
def test_canary_range_is_taken_where_it_is_switched_on(name):
    """`verify` plants cards of its own that nobody else has."""
    cell = import_module(f"vault.providers.{name}").cell_provider({"canary": True})
    assert cell.tokenise(card_of("9999001234567891")).problem_field is None
    assert cell.tokenise(card_of("4242424242424241")).problem_field is Field.PAN


@pytest.mark.parametrize(("config", "shown"), [({}, (0, 0)), ({"keep_card": True}, (12, 2031))])
def test_expiry_leaves_the_cell_only_with_a_card_that_is_kept(config, shown):
    """What nobody asked to keep stays where the PAN is."""
    cell = import_module("vault.providers.sandbox").cell_provider(config)
    face = face_of(cell.tokenise(card_of("4242424242424242")).token)
    assert ("approved", "visa", "4242", *shown) == dataclasses.astuple(face)


@pytest.mark.parametrize("label", ["expired_card", "incorrect_cvc", "processing_error"])
async def test_what_a_caller_can_put_right_passes_on_the_next_attempt(host, label):
    """Declined on the first attempt only; the advice is told again by fetch."""
    token = Face(label, "visa", "0119", 12, 2031).token
    first = await host.authorise(dataclasses.replace(await request(host), token=token))
    assert (OutcomeKind.DECLINED, label) == (first.kind, first.raw_code)
    assert first == await host.fetch(attempt_key(ORDER.payment_id, 1))
    second = await host.authorise(dataclasses.replace(await request(host, attempt=2), token=token))
    assert OutcomeKind.AUTHORISED is second.kind


@CALM
@given(st.text(max_size=60) | st.from_regex(r"sbx(_[a-z0-9]{0,9}){0,8}", fullmatch=True))
def test_any_token_has_a_face(token):
    """Nonsense has the face of a card that is declined."""
    assert face_of(token) == INVALID or token.startswith("sbx_")


@CALM
@given(
    st.sampled_from(["approved", "canary", "lost_card", "authentication_required"]),
    st.sampled_from(["visa", "mastercard", "amex", "canary"]),
    st.from_regex(r"[0-9]{4}", fullmatch=True),
    st.integers(1, 12),
    st.integers(2026, 2099),
)
def test_token_says_what_its_face_says(label, brand, last4, month, year):
    """There and back."""
    face = Face(label, brand, last4, month, year)
    assert face == face_of(face.token)


# --- troubles by amount -----------------------------------------------------------------------------------


async def test_late_result_stays_unknown_for_a_while(host, clock):
    """Amounts ending in 73: not even the provider knows at once, neither the attempt nor where it stands."""
    sent = await request(host, 1973)
    assert OutcomeKind.UNKNOWN is (await host.authorise(sent)).kind
    assert OutcomeKind.UNKNOWN is (await host.fetch(sent.attempt_key)).kind
    assert StandingState.UNDER_WAY is (await host.standing(sent.provider_ref)).state
    clock.now += LATE_RESULT_S
    assert OutcomeKind.AUTHORISED is (await host.fetch(sent.attempt_key)).kind
    assert StandingState.SETTLED is (await host.standing(sent.provider_ref)).state
    assert await host.times_charged(sent.provider_ref) == 1


async def test_late_step_shows_later(host, clock):
    """Amounts ending in 73, once more: done at once, to be seen after five seconds, done once."""
    sent = await request(host, 3000)
    await host.authorise(sent)
    refund = StepRequest(sent.provider_ref, "pay_sandbox:refund:1", 573, "EUR")
    assert StepKind.UNKNOWN is (await host.take_step("refund", refund)).kind
    assert {} == dict((await host.standing(sent.provider_ref)).steps)
    clock.now += LATE_RESULT_S
    assert ["pay_sandbox:refund:1"] == list((await host.standing(sent.provider_ref)).steps)
    assert StepKind.DONE is (await host.take_step("refund", refund)).kind
    assert 573 == (await host.standing(sent.provider_ref)).refunded_minor


async def test_slow_answers_are_right_in_the_end(host):
    """Amounts ending in 71."""
    began = time.monotonic()
    assert OutcomeKind.AUTHORISED is (await host.authorise(await request(host, 1971))).kind
    assert SLOW_ANSWER_S <= time.monotonic() - began < SLOW_ANSWER_S + 2


async def test_troubles_by_amount_belong_to_the_first_attempt(host):
    """A retry of the same amount gets through."""
    assert OutcomeKind.AUTHORISED is (await host.authorise(await request(host, 1974, 2))).kind


async def test_unreachable_host_takes_nothing(host):
    """What says NEVER_SENT says it; everything else raises that nothing was sent."""
    sent = await request(host)
    host.unreachable = True
    step = StepRequest(sent.provider_ref, "pay_sandbox:refund:1", 5, "EUR")
    assert OutcomeKind.NEVER_SENT is (await host.authorise(sent)).kind
    assert StepKind.NEVER_SENT is (await host.take_step("refund", step)).kind
    for asked in (host.prepare(ORDER), host.fetch(sent.attempt_key), host.standing(sent.provider_ref)):
        with pytest.raises(NotSentError):
            await asked
    with pytest.raises(NotSentError):
        _ = [entry async for entry in host.settlements(stamp(START), stamp(START))]


@pytest.mark.parametrize("name", NAMES)
async def test_options_reach_the_host(tmp_path, name):
    """`hold_s` and `unreachable` of `[payment.<name>]`."""
    provider = load_provider(name, tmp_path, {"tenant": "demo", "hold_s": 60, "unreachable": True})
    with pytest.raises(NotSentError):
        await provider.prepare(ORDER)
    await provider.close()
    host = SandboxHost(tmp_path / "other.db", hold_s=60)
    before = time.time()
    outcome = await host.authorise(await request(host, settle_later=True))
    assert 59 <= datetime.fromisoformat(outcome.hold_until).timestamp() - before <= 62
    await host.close()


# --- pages ------------------------------------------------------------------------------------------------


async def opened(host: SandboxHost, **more) -> str:
    order = dataclasses.replace(ORDER, sca_basis="link_3ds", **more)
    wanted = LinkOrder(order, "pay_sandbox:link:1", stamp(START + DAY), "https://shop.example/thanks")
    return (await host.open_link(wanted)).url.removeprefix("/pay/")


async def test_page_is_declined_challenged_and_paid(host):
    """Each answer has a key of its own; the page ends paid, and takes no further answer."""
    token = await opened(host)
    page = await host.link_page(token)
    assert (LinkState.OPEN, 1995, "EUR", 0) == (page.state, page.amount_minor, page.currency, page.answers)
    states = []
    for answer in (LinkAnswer.DECLINE, LinkAnswer.CHALLENGE, LinkAnswer.APPROVE, LinkAnswer.APPROVE):
        page = await host.answer_link(token, answer)
        states.append((page.state, (await host.standing(page.provider_ref)).state))
    assert [
        (LinkState.OPEN, StandingState.DECLINED),
        (LinkState.OPEN, StandingState.NEEDS_ACTION),
        (LinkState.PAID, StandingState.SETTLED),
        (LinkState.PAID, StandingState.SETTLED),
    ] == states
    assert 1 == await host.times_charged(page.provider_ref)


async def test_page_of_a_hold_is_settled_later(host):
    """A pre-authorisation by link is held, not settled."""
    token = await opened(host, settle_later=True)
    page = await host.answer_link(token, LinkAnswer.APPROVE)
    assert StandingState.AUTHORISED is (await host.standing(page.provider_ref)).state


async def test_payment_that_was_charged_by_telephone_shows_its_page_as_paid(host):
    """Two ways to pay, one payment."""
    token = await opened(host)
    await host.authorise(await request(host))
    page = await host.answer_link(token, LinkAnswer.APPROVE)
    assert (LinkState.PAID, 1) == (page.state, await host.times_charged(page.provider_ref))


async def test_strange_page_is_none(host):
    """No such link."""
    assert await host.link_page("nonsense") is None
    assert await host.answer_link("nonsense", LinkAnswer.APPROVE) is None


# --- feed -------------------------------------------------------------------------------------------------

movements = st.lists(
    st.builds(
        Movement,
        st.sampled_from([FeedKind.CHARGE, FeedKind.REFUND]),
        st.just("ref"),
        st.uuids().map(str),
        st.integers(1, 10_000),
        st.sampled_from(["EUR", "JPY", "BHD"]),
        st.integers(0, 14 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds)),
    ),
    max_size=25,
)


@CALM
@given(movements, st.integers(0, 30))
def test_payouts_hold_exactly_what_they_pay(moved, days):
    """Of each payout the entries come to nothing; what is not paid out yet names no payout."""
    now = START + days * DAY
    entries = feed(moved, now, "demo")
    assert len({entry.entry_id for entry in entries}) == len(entries)
    assert entries == sorted(entries, key=lambda entry: (entry.made_at, entry.entry_id))
    assert all(entry.made_at <= stamp(now) for entry in entries)
    assert all(entry.gross_minor - entry.fee_minor == entry.net_minor for entry in entries)

    def by_payout(entry):
        return entry.payout_ref, entry.currency

    for (payout_ref, _currency), of_one in groupby(sorted(entries, key=by_payout), by_payout):
        held = list(of_one)
        payouts = [entry for entry in held if entry.kind is FeedKind.PAYOUT]
        assert len(payouts) == (1 if payout_ref else 0)
        if payout_ref:
            assert 0 == sum(entry.net_minor for entry in held)
            assert payouts[0].net_minor < 0
            assert all(entry.available_on <= payouts[0].available_on for entry in held)


@CALM
@given(movements, st.integers(0, 30), st.integers(0, 30))
def test_feed_only_grows(moved, days, more_days):
    """An entry that was told stays as it was, but for the payout that it gets later."""
    before = {entry.entry_id: entry for entry in feed(moved, START + days * DAY, "demo")}
    after = {entry.entry_id: entry for entry in feed(moved, START + (days + more_days) * DAY, "demo")}
    for entry_id, entry in before.items():
        later = after[entry_id]
        assert entry == dataclasses.replace(later, payout_ref=entry.payout_ref)
        assert entry.payout_ref in {"", later.payout_ref}


@pytest.mark.parametrize(
    ("amount_minor", "kinds"),
    [
        (1995, ["charge"]),
        (1976, ["charge", "chargeback", "fee"]),
        (1977, ["charge", "chargeback", "fee", "chargeback_reversal"]),
    ],
)
async def test_chargebacks_come_by_amount(host, clock, amount_minor, kinds):
    """Endings 76 and 77: lost with a fee, won again."""
    await host.authorise(await request(host, amount_minor))
    clock.now += 3.5 * DAY.total_seconds()
    told = [entry async for entry in host.settlements(stamp(START), stamp(START + 4 * DAY))]
    told = [entry for entry in told if entry.kind is not FeedKind.PAYOUT]
    assert kinds == [entry.kind.value for entry in told]
    assert sum(entry.fee_minor for entry in told[1:]) == (CHARGEBACK_FEE_MINOR if len(kinds) > 1 else 0)


async def test_each_tenant_is_told_its_own_settlements(tmp_path, clock):
    """The books of a node's sandbox are one file; its tenants' money is apart."""
    hosts = {name: SandboxHost(tmp_path / "books.db", name, clock=clock) for name in ("demo", "other")}
    for name, host in hosts.items():
        reference = await host.prepare(dataclasses.replace(ORDER, payment_id=f"pay_{name}", tenant=name))
        key = attempt_key(f"pay_{name}", 1)
        await host.authorise(AttemptRequest(reference, key, 1, GOOD, 1995, "EUR", "moto_agent"))
    for name, host in hosts.items():
        told = [entry async for entry in host.settlements(stamp(START), stamp(START + DAY))]
        assert [f"sbx_ref_pay_{name}"] == [entry.provider_ref for entry in told]
        await host.close()


# --- books ------------------------------------------------------------------------------------------------

OLD_BOOKS = """
CREATE TABLE orders (
    provider_ref TEXT PRIMARY KEY, payment_id TEXT NOT NULL UNIQUE,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL);
CREATE TABLE answers (
    attempt_key TEXT PRIMARY KEY, provider_ref TEXT NOT NULL, kind TEXT NOT NULL, raw_code TEXT NOT NULL,
    visible_at REAL NOT NULL);
CREATE TABLE executions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, provider_ref TEXT NOT NULL, attempt_key TEXT NOT NULL,
    kind TEXT NOT NULL);
INSERT INTO orders VALUES ('sbx_ref_pay_old', 'pay_old', 700, 'EUR');
INSERT INTO answers VALUES ('pay_old:authorise:1', 'sbx_ref_pay_old', 'authorised', '', 0);
INSERT INTO executions VALUES (1, 'sbx_ref_pay_old', 'pay_old:authorise:1', 'authorised');
"""


async def test_older_books_are_read_on(tmp_path):
    """A node that is updated finds what it charged before, and can give it back."""
    path = tmp_path / "books.db"
    with sqlite3.connect(path) as books:
        books.executescript(OLD_BOOKS)
    books.close()
    for _ in range(2):
        host = SandboxHost(path)
        assert OutcomeKind.AUTHORISED is (await host.fetch("pay_old:authorise:1")).kind
        standing = await host.standing("sbx_ref_pay_old")
        assert (StandingState.SETTLED, 700) == (standing.state, standing.settled_minor)
        await host.close()
    host = SandboxHost(path)
    refund = StepRequest("sbx_ref_pay_old", "pay_old:refund:1", 700, "EUR")
    assert StepKind.DONE is (await host.take_step("refund", refund)).kind
    await host.close()
