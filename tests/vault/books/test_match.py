"""The three-way match: every class, every pairing, nothing lost and nothing counted twice."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.books.accounts import BookAccount, BookKind, Fact, balances, lines_of
from vault.books.fees import FeeTerms
from vault.books.journal import EntryRow
from vault.books.match import REVERSED, Known, match, residual
from vault.books.report import Item, Match
from vault.books.statement import StatementRow
from vault.providers.base import FeedKind

NOW = datetime(2026, 3, 10, tzinfo=UTC)
KNOWN = Known(NOW)
DAY = "2026-03-02"


def ours(
    amount_minor: int, kind: BookKind = BookKind.SETTLED, reference: str = "ref_a", **changes: str
) -> EntryRow:
    values = {"source": f"{reference}:{kind}:1", "at": f"{DAY}T10:00:00.000Z", "step_ref": "", **changes}
    entry = EntryRow(kind, tenant="demo", currency="EUR", gross_minor=amount_minor, day=DAY, **values)
    return replace(entry, provider="sandbox", provider_ref=reference, payment_id="pay_a")


def theirs(
    gross_minor: int,
    kind: FeedKind = FeedKind.CHARGE,
    reference: str = "ref_a",
    fee_minor: int = 0,
    **changes,
) -> StatementRow:
    values = {"entry_id": f"{reference}_{kind}", "made_at": f"{DAY}T10:00:05.000Z", "step_ref": "", **changes}
    return StatementRow(
        kind=kind,
        provider_ref=reference,
        gross_minor=gross_minor,
        fee_minor=fee_minor,
        net_minor=gross_minor - fee_minor,
        available_on=DAY,
        provider="sandbox",
        tenant="demo",
        day=DAY,
        **{"currency": "EUR", **values},
    )


def classes(items: tuple[Item, ...]) -> list[str]:
    return sorted(item.match.value for item in items)


def test_both_sides_with_the_same_money_are_matched():
    """One item, named by our fact, with the provider's ids beside it."""
    (item,) = match([ours(1_000)], [theirs(1_000, fee_minor=39)], KNOWN)
    assert (Match.MATCHED, "ref_a:settled:1", "ref_a_charge", 39) == (
        item.match,
        item.item_id,
        item.entry_id,
        item.fee_minor,
    )
    assert not item.unexplained


def test_refund_is_matched_with_its_sign():
    """We record what we give back as an amount, the provider as a loss."""
    sides = [ours(1_000), ours(300, BookKind.REFUNDED)], [theirs(1_000), theirs(-300, FeedKind.REFUND)]
    assert ["matched", "matched"] == classes(match(*sides, KNOWN))


@pytest.mark.parametrize("stated", [theirs(999), theirs(1_000, currency="HUF"), theirs(1_000, restated=True)])
def test_other_money_is_an_amount_that_differs(stated):
    """Amount, currency, or an entry that the provider has stated anew."""
    (item,) = match([ours(1_000)], [stated], KNOWN)
    assert Match.AMOUNT_DIFFERS is item.match
    assert item.differs


def test_what_the_provider_never_stated_is_ours_only():
    """After a day nobody may call it late any more."""
    (item,) = match([ours(1_000)], [], KNOWN)
    assert (Match.OURS_ONLY, True) == (item.match, item.differs)


def test_what_may_still_be_stated_is_late_and_keeps_its_day_open():
    """A sale of the last minute is no alarm, and no reason to close the day."""
    (item,) = match([ours(1_000, at="2026-03-09T12:00:00.000Z")], [], KNOWN)
    assert (Match.LATE, True, False) == (item.match, item.unexplained, item.differs)


def test_two_sides_far_apart_are_late():
    """They agree, so the day may close; finance sees that it took more than a day."""
    (item,) = match([ours(1_000)], [theirs(1_000, made_at="2026-03-04T10:00:00.000Z")], KNOWN)
    assert (Match.LATE, False) == (item.match, item.unexplained)


def test_what_we_never_recorded_is_provider_only():
    """An orphan, at the reference of a payment of ours or at one that nobody knows."""
    stated = [theirs(1_000, reference="ref_x"), theirs(1_000), theirs(1_000, entry_id="twice")]
    items = match([ours(1_000)], stated, KNOWN)
    assert ["matched", "provider_only", "provider_only"] == classes(items)


def test_orphan_that_was_given_back_explains_itself():
    """Charge and refund of an unknown reference that sum to zero need nobody's attention."""
    items = match([], [theirs(1_000), theirs(-1_000, FeedKind.REFUND)], KNOWN)
    assert [(Match.PROVIDER_ONLY, REVERSED, False)] * 2 == [
        (item.match, item.explained, item.differs) for item in items
    ]
    half = match([], [theirs(1_000), theirs(-999, FeedKind.REFUND)], KNOWN)
    assert all(item.differs for item in half)


def test_hold_that_is_stated_whole_and_taken_back_in_part_explains_itself():
    """Settled 600 of 1,000: some providers state 1,000 and minus 400, others 600."""
    stated = [theirs(1_000), theirs(-400, FeedKind.REFUND)]
    items = match([ours(600)], stated, KNOWN)
    assert [("amount_differs", REVERSED), ("provider_only", REVERSED)] == [
        (item.match.value, item.explained) for item in items
    ]
    assert any(item.differs for item in match([ours(601)], stated, KNOWN))
    restated = [theirs(1_000, restated=True), theirs(-400, FeedKind.REFUND)]
    assert all(item.differs for item in match([ours(600)], restated, KNOWN))


def test_fee_other_than_agreed_differs():
    """Half a unit of rounding is allowed, the rest is a difference."""
    known = replace(KNOWN, fees={"sandbox": {"EUR": FeeTerms(140, 25)}})
    fees = {
        39: Match.MATCHED,
        40: Match.MATCHED,
        38: Match.MATCHED,
        41: Match.FEE_DIFFERS,
        0: Match.FEE_DIFFERS,
    }
    for fee_minor, expected in fees.items():
        (item,) = match([ours(1_000)], [theirs(1_000, fee_minor=fee_minor)], known)
        assert expected is item.match


def test_steps_with_different_ids_are_never_paired():
    """Same money, but the provider says that it is another refund."""
    mine = ours(300, BookKind.REFUNDED, step_ref="re_1")
    stated = theirs(-300, FeedKind.REFUND, step_ref="re_2")
    assert ["ours_only", "provider_only"] == classes(match([mine], [stated], KNOWN))


def test_refunds_are_paired_by_id_then_by_money():
    """Three partial refunds in any order, one of them with another amount."""
    mine = [
        ours(100, BookKind.REFUNDED, source="refund:1", step_ref="re_1"),
        ours(100, BookKind.REFUNDED, source="refund:2"),
        ours(250, BookKind.REFUNDED, source="refund:3"),
    ]
    stated = [
        theirs(-200, FeedKind.REFUND, entry_id="c"),
        theirs(-100, FeedKind.REFUND, entry_id="b", step_ref="re_9"),
        theirs(-100, FeedKind.REFUND, entry_id="a", step_ref="re_1"),
    ]
    found = {item.item_id: (item.entry_id, item.match.value) for item in match(mine, stated, KNOWN)}
    assert {
        "refund:1": ("a", "matched"),
        "refund:2": ("b", "matched"),
        "refund:3": ("c", "amount_differs"),
    } == found


def test_chargeback_of_a_payment_of_ours_is_matched():
    """It needs no fact of ours; one above what was settled does."""
    stated = [theirs(1_000), theirs(-1_000, FeedKind.CHARGEBACK), theirs(0, FeedKind.FEE, fee_minor=1_500)]
    assert ["matched"] * 3 == classes(match([ours(1_000)], stated, KNOWN))
    again = theirs(-1, FeedKind.CHARGEBACK, entry_id="more")
    assert 2 == classes(match([ours(1_000)], [*stated, again], KNOWN)).count("amount_differs")
    won = theirs(1, FeedKind.CHARGEBACK_REVERSAL)
    assert ["matched"] * 5 == classes(match([ours(1_000)], [*stated, again, won], KNOWN))


def test_chargeback_of_nobody_and_adjustment_are_provider_only():
    """A person must say what they are."""
    stated = [theirs(-1_000, FeedKind.CHARGEBACK), theirs(-7, FeedKind.ADJUSTMENT, reference="")]
    assert ["provider_only"] * 2 == classes(match([], stated, KNOWN))


def test_payout_is_matched_when_it_adds_up():
    """Its net and the nets of all it holds; a missing or foreign entry breaks it."""
    payout = theirs(-961, FeedKind.PAYOUT, reference="", payout_ref="po_1")
    for rest, expected in ((0, Match.MATCHED), (5, Match.AMOUNT_DIFFERS)):
        known = replace(KNOWN, payouts={"po_1": rest}, payouts_stated=frozenset({"po_1"}))
        (item,) = match([], [payout], known)
        assert expected is item.match


def test_entry_of_a_payout_that_is_not_stated_waits():
    """The third side is missing: no alarm, no closed day."""
    (item,) = match([ours(1_000)], [theirs(1_000, payout_ref="po_1")], KNOWN)
    assert (Match.LATE, True, False) == (item.match, item.unexplained, item.differs)


def explanation(item: Item, amount_minor: int) -> EntryRow:
    return EntryRow(
        BookKind.EXPLAINED,
        "explained",
        "demo",
        "EUR",
        item.at,
        amount_minor,
        step_ref=item.item_id,
        reason="typo",
    )


def test_explained_difference_needs_nobody_any_more():
    """As long as the explanation covers what is left between the two sides."""
    mine, stated = [ours(1_000)], [theirs(900)]
    (item,) = match(mine, stated, KNOWN)
    for amount_minor, differs in ((100, False), (99, True)):
        known = replace(KNOWN, explained={item.item_id: [explanation(item, amount_minor)]})
        (after,) = match(mine, stated, known)
        assert differs == after.differs


def test_explained_difference_that_vanishes_comes_back():
    """The provider's entry arrives after somebody wrote the sale off: now the write-off is wrong."""
    (alone,) = match([ours(1_000)], [], KNOWN)
    known = replace(KNOWN, explained={alone.item_id: [explanation(alone, 1_000)]})
    (before,) = match([ours(1_000)], [], known)
    (after,) = match([ours(1_000)], [theirs(1_000)], known)
    assert (False, True) == (before.differs, after.differs)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[EntryRow], list[StatementRow]]:
    """Facts of both sides about a few references, agreeing or not."""
    mine, stated = [], []
    amounts = st.integers(1, 3)
    for number in range(draw(st.integers(0, 8))):
        reference, step = draw(st.sampled_from("abc")), draw(st.sampled_from(["", "x", "y"]))
        kind = draw(st.sampled_from([BookKind.SETTLED, BookKind.REFUNDED]))
        mine.append(ours(draw(amounts), kind, reference, source=f"ours:{number}", step_ref=step))
    for number in range(draw(st.integers(0, 8))):
        reference, step = draw(st.sampled_from(["a", "b", "c", ""])), draw(st.sampled_from(["", "x", "y"]))
        kind = draw(st.sampled_from(FeedKind))
        gross = draw(amounts) * (1 if kind is FeedKind.CHARGE else -1)
        stated.append(theirs(gross, kind, reference, 1, entry_id=f"{number}", step_ref=step))
    return mine, stated


@given(histories())
def test_every_fact_is_in_one_item_and_what_is_left_is_what_the_items_say(sides):
    """Nothing is lost or counted twice, and the unmatched account is the sum of the items' differences."""
    mine, stated = sides
    items = match(mine, stated, KNOWN)
    assert Counter(fact.source for fact in mine) == Counter(
        item.item_id for item in items if item.ours_minor is not None
    )
    assert Counter(row.entry_id for row in stated) == Counter(
        item.entry_id for item in items if item.entry_id
    )
    facts: list[Fact] = [*mine]
    for row in stated:
        source, kind = row.source, BookKind(row.kind.value)
        facts.append(Fact(kind, source, "demo", "EUR", row.made_at, row.gross_minor, row.fee_minor))
    unmatched = balances(tuple(line for fact in facts for line in lines_of(fact)))[BookAccount.UNMATCHED]
    assert unmatched == sum(sum(residual(item).values()) for item in items)
    assert unmatched == sum(sum(residual(item).values()) for item in items if item.match is not Match.MATCHED)
