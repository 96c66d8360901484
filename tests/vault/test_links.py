"""Links: made once, paid once, closed for good; whatever fails, the provider's standing decides."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.shop import Shop, a_row, a_shop
from vault import LinkAnswer, LinkState, Payment, PaymentState, Refused, Why
from vault.books.journal import ENTRIES
from vault.link import SENDS_MAX, Reading, new_token, reading
from vault.providers.base import Standing, StandingState
from vault.register import Slot

BY = "agent:agent1"
BACK = "https://desk.example/pay/thanks"
MINUTES_31 = 31 * 60.0


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with a_shop() as shop:
        yield shop


async def created(shop: Shop, **changes: object) -> Slot:
    """A payment for which nothing has been keyed."""
    row = replace(a_row(len(shop.told)), state=PaymentState.CREATED, **changes)
    await shop.register.create(row)
    return await shop.register.slot(row.payment_id)


async def linked(shop: Shop, slot: Slot | None = None, **changes: object) -> tuple[Slot, str]:
    """A payment out on a link, and the token."""
    slot = slot or await created(shop, **changes)
    return slot, (await shop.links.open(slot.row.payment_id, BY, "de-DE", BACK))[1]


async def close(shop: Shop, slot: Slot) -> Payment:
    return await shop.links.close(slot, BY, "agent")


async def refusal(asked: object) -> str:
    with pytest.raises(Refused) as refused:
        await asked  # type: ignore[misc]
    return refused.value.code


def whys(shop: Shop) -> list[Why]:
    return [fact.why for fact in shop.told]


async def booked(shop: Shop) -> int:
    """Lines in the money books."""
    async with shop.store.engine.connect() as conn:
        return len((await conn.execute(ENTRIES.select())).all())


async def test_a_link_is_opened_and_paid_once(shop):
    """Told live: made, opened, paid; an attempt with 3-D Secure; receipt and books as for a keyed card."""
    slot, token = await linked(shop)
    assert (PaymentState.LINKED, LinkState.MADE) == (slot.row.state, slot.row.link)
    link_ref = (await shop.links._book.newest(slot.row.payment_id)).link_ref
    hinted = await shop.store.of_provider_ref("sandbox", link_ref)
    assert (hinted and hinted.payment_id) == slot.row.payment_id  # by a webhook about the page
    page = await shop.links.page(token, opened=True)
    assert ("demo", 3000, "EUR", "de-DE", "", True) == (
        page.tenant, page.amount_minor, page.currency, page.language, page.url, page.payable,
    )  # fmt: skip
    assert await shop.links.answer(token, LinkAnswer.CHALLENGE) == replace(page, state=LinkState.OPENED)
    paid = await shop.links.answer(token, LinkAnswer.APPROVE)
    assert (LinkState.PAID, False) == (paid.state, paid.payable)
    row = slot.row
    assert (PaymentState.SETTLED, 3000, LinkState.PAID) == (row.state, row.settled_minor, row.link)
    assert row.receipt
    assert [Why.CREATED, Why.LINK_MADE, Why.LINK_OPENED, Why.AUTHORISED] == whys(shop)
    (attempt,) = await shop.store.attempts(row.payment_id)
    assert ("link_3ds", PaymentState.SETTLED) == (attempt.sca_basis, attempt.state)
    assert 0 < await booked(shop)
    assert 1 == await shop.host.times_charged(row.provider_ref or "")
    assert "link_over" == await refusal(shop.links.answer(token, LinkAnswer.APPROVE))


async def test_a_referred_card_goes_on_by_link(shop):
    """The bank wants its customer's confirmation: same payment, second attempt, same reference."""
    slot = await shop.ready("authentication_required")
    async with slot.lock:
        await shop.charges.charge(slot)
    await shop.until(lambda: slot.row.state is PaymentState.NEEDS_ACTION)
    _, token = await linked(shop, slot)
    await shop.links.look(slot)
    assert (PaymentState.LINKED, None, None) == (slot.row.state, slot.row.token, slot.row.last4)
    await shop.links.answer(token, LinkAnswer.APPROVE)
    assert PaymentState.SETTLED is slot.row.state
    bases = [one.sca_basis for one in await shop.store.attempts(slot.row.payment_id)]
    assert ["moto_agent", "link_3ds"] == bases


async def test_a_decline_on_the_page_leaves_it_open(shop):
    """Told once; the payer may take another card there."""
    slot, token = await linked(shop)
    await shop.links.page(token, opened=True)
    for _ in range(2):
        shown = await shop.links.answer(token, LinkAnswer.DECLINE)
        assert (LinkState.DECLINED, True) == (shown.state, shown.payable)
    assert 1 == whys(shop).count(Why.LINK_DECLINED)
    await shop.links.answer(token, LinkAnswer.APPROVE)
    assert PaymentState.SETTLED is slot.row.state


async def test_a_hold_by_link_waits_to_be_settled(shop):
    """A pre-authorisation paid on the page is held until somebody settles it."""
    slot, token = await linked(shop, settle_later=True)
    await shop.links.answer(token, LinkAnswer.APPROVE)
    assert (PaymentState.AUTHORISED, 0) == (slot.row.state, slot.row.settled_minor)
    assert slot.row.hold_until


async def test_a_cancel_closes_the_page(shop):
    """Cancelled once the provider has closed it; the token opens nothing, the reference is free."""
    slot, token = await linked(shop)
    cancelled = await close(shop, slot)
    assert (PaymentState.CANCELLED, LinkState.CLOSED) == (cancelled.state, cancelled.link)
    assert LinkState.CLOSED is (await shop.links.page(token, opened=True)).state
    assert "link_over" == await refusal(shop.links.answer(token, LinkAnswer.APPROVE))
    assert (Why.LINK_CLOSING, Why.CANCELLED) == tuple(whys(shop)[-2:])
    assert ["payment.link.made", "payment.link.closed", "payment.intent.cancelled"] == (await shop.entries())[
        -3:
    ]


async def test_a_payer_who_was_faster_than_the_cancel_has_paid(shop):
    """The page was paid while nobody looked: closing finds it, and nothing is lost or charged twice."""
    slot, _ = await linked(shop)
    url = (await shop.links._book.newest(slot.row.payment_id)).url
    await shop.host.answer_link(url.rpartition("/")[2], LinkAnswer.APPROVE)
    paid = await close(shop, slot)
    assert (PaymentState.SETTLED, LinkState.PAID) == (paid.state, paid.link)


@pytest.mark.parametrize("method", ["close_link", "standing"])
async def test_a_cancel_waits_for_the_provider(shop, method):
    """Without its answer the payment is neither cancelled nor payable; the sweep asks again."""
    slot, token = await linked(shop)
    shop.wire.faults[method] = ["lost"]
    waiting = await close(shop, slot)
    assert (PaymentState.LINKED, LinkState.CLOSING) == (waiting.state, waiting.link)
    assert not (await shop.links.page(token, opened=True)).payable
    assert "link_closing" == await refusal(linked(shop, slot))
    await shop.links.sweep_once()
    assert PaymentState.CANCELLED is slot.row.state


async def test_a_link_runs_out(shop):
    """After the tenant's time nobody can pay, and the payment is over."""
    slot, token = await linked(shop)
    await shop.links.sweep_once()
    assert PaymentState.LINKED is slot.row.state
    shop.now_s = MINUTES_31
    assert LinkState.EXPIRED is (await shop.links.page(token, opened=True)).state
    assert "link_over" == await refusal(shop.links.answer(token, LinkAnswer.APPROVE))
    await shop.links.sweep_once()
    assert (PaymentState.EXPIRED, LinkState.EXPIRED) == (slot.row.state, slot.row.link)
    assert Why.EXPIRED is whys(shop)[-1]


@pytest.mark.parametrize("fault", ["lost", "cut", "refused"])
async def test_a_page_that_was_not_given_is_no_link(shop, fault):
    """Whatever the provider did, nobody knows an address: the payment is as before, the next try is new."""
    slot = await created(shop)
    shop.wire.faults["open_link"] = [fault]
    assert "provider_unreachable" == await refusal(linked(shop, slot))
    assert (PaymentState.CREATED, 0, None) == (slot.row.state, slot.row.attempt, slot.row.link)
    _, token = await linked(shop, slot)
    await shop.links.answer(token, LinkAnswer.APPROVE)
    assert PaymentState.SETTLED is slot.row.state
    assert 1 == await shop.host.times_charged(slot.row.provider_ref or "")


async def test_a_link_that_is_sent_again_has_one_valid_token(shop):
    """Another address, the same page: what the first address got opens nothing; not without end."""
    slot, first = await linked(shop)
    _, second = await linked(shop, slot)
    assert first != second
    assert "link_unknown" == await refusal(shop.links.page(first, opened=True))
    assert (await shop.links.page(second, opened=False)).payable
    for _ in range(SENDS_MAX - 2):
        await linked(shop, slot)
    assert "links_used" == await refusal(linked(shop, slot))
    assert 1 == shop.wire.called("open_link")


async def test_nothing_is_keyed_or_charged_while_a_link_is_open(shop):
    """Never both: a charge is refused while a link is open, a link while a charge is under way or done."""
    slot, token = await linked(shop, await shop.ready())
    async with slot.lock:
        assert "link_open" == await refusal(shop.charges.charge(slot))
    await shop.links.answer(token, LinkAnswer.APPROVE)
    assert "not_linkable" == await refusal(linked(shop, slot))
    assert "not_linkable" == await refusal(linked(shop, check_only=True, amount_minor=0))
    shop.wire.faults["authorise"] = ["lost"]
    unknown = await shop.charged()
    assert PaymentState.UNKNOWN is unknown.row.state
    assert "not_linkable" == await refusal(linked(shop, unknown))


async def test_a_reference_is_held_by_its_link(shop):
    """While somebody may pay by link, no second payment of the same bill is begun."""
    slot, _ = await linked(shop)
    assert "reference_taken" == await refusal(created(shop, reference=slot.row.reference))
    await close(shop, slot)
    assert PaymentState.CREATED is (await created(shop, reference=slot.row.reference)).row.state


async def test_a_restart_loses_no_link(shop):
    """A run that ends while a page is asked for, open, paid or being closed: the next one finds the truth."""
    asked = await created(shop)
    open_slot, open_token = await linked(shop)
    paid, _ = await linked(shop)
    closing, _ = await linked(shop)
    shop.wire.faults["close_link"] = ["lost"]
    await close(shop, closing)
    row = await shop.links._book.newest(paid.row.payment_id)
    row = replace(row, payment_id=asked.row.payment_id, link_key="key", token_sha256="")
    await shop.links._book.add(replace(row, state=LinkState.MAKING))
    url = (await shop.links._book.newest(paid.row.payment_id)).url
    await shop.host.answer_link(url.rpartition("/")[2], LinkAnswer.APPROVE)
    await shop.crash()
    shop.begin()
    await shop.links.recover()
    await shop.links.sweep_once()
    states = [
        (await shop.store.payment(one.row.payment_id)).state for one in (asked, open_slot, paid, closing)
    ]
    assert ["created", "linked", "settled", "cancelled"] == states
    assert (await shop.links.page(open_token, opened=True)).payable
    assert await shop.links.open(asked.row.payment_id, BY, "en-US", BACK)


async def test_a_hundred_answers_at_once_charge_once(shop):
    """Double clicks and two browsers: one payment, one charge."""
    slot, token = await linked(shop)
    answers = (shop.links.answer(token, LinkAnswer.APPROVE) for _ in range(100))
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert all(isinstance(one, Refused) or one.state is LinkState.PAID for one in results)
    assert 1 == await shop.host.times_charged(slot.row.provider_ref or "")
    assert 1 == whys(shop).count(Why.AUTHORISED)


async def test_a_token_is_kept_as_a_hash(shop):
    """vault.db opens no page: neither token nor, in a repr, the page's address."""
    slot, token = await linked(shop)
    link = await shop.links._book.newest(slot.row.payment_id)
    async with shop.store.engine.connect() as conn:
        dump = str((await conn.exec_driver_sql("SELECT * FROM links")).all())
    assert 22 == len(token) == len(new_token())
    assert token not in dump
    assert link.url not in repr(link)
    assert "link_unknown" == await refusal(shop.links.page(new_token(), opened=True))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("", Reading.UNPAID), ("pi_keyed", Reading.UNPAID), ("pi_of_the_page", Reading.DECLINED)],
)
def test_the_decline_of_the_keyed_card_is_none_of_the_page(reference, expected):
    """Only a payment that the page itself has made says how the page went."""
    row = replace(a_row(1), provider_ref="pi_keyed")
    assert expected is reading(row, Standing(StandingState.DECLINED, provider_ref=reference))
