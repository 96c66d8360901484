"""The arithmetic alone: no database, no clock, every branch; what is refused leaves the book as it was."""

import copy
from datetime import UTC, date, datetime

import pytest

from loyalty.errors import LoyaltyError
from loyalty.ledger.accounts import CLAWBACK_FLOOR, clawback_of, system_account
from loyalty.ledger.arithmetic import decide
from loyalty.ledger.book import Account, Book, BrokenError, Change, Held, Lot, Part, Past, Posting
from loyalty.ledger.commands import (
    Adjust,
    Command,
    Done,
    Earn,
    Expire,
    Hold,
    Key,
    Move,
    Post,
    Redeem,
    Rejected,
    Reverse,
    Void,
    check,
    request_hash,
)

TODAY = date(2026, 3, 10)
NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
ANNA, BEN = "acc_anna", "acc_ben"
KEY = Key("demo", "miles", "key-1")


def a_book(*lots: Lot) -> Book:
    """Anna and Ben with what stands in the lots."""
    book = Book(TODAY)
    for name in (ANNA, BEN):
        posted = sum(lot.remaining for lot in lots if lot.account == name)
        book.accounts[name] = Account(name, "member", posted, floor=0)
    for lot in lots:
        book.add_lot(lot)
    return book


def lot(name: str, points: int, day: int | None = None, account: str = ANNA, granted: int = 0) -> Lot:
    """A lot that ends on that day of March."""
    expires = None if day is None else date(2026, 3, day)
    return Lot(name, account, f"jrn_of_{name}", expires, granted or points, points)


def booked(book: Book, command: Command, journal: str = "jrn_new") -> Change:
    """The change, carried out."""
    change = decide(book, command, journal)
    assert isinstance(change, Change), change
    book.apply(change, journal)
    return change


def refused(book: Book, command: Command) -> str:
    """The refusal; the book is as it was."""
    before = copy.deepcopy(book)
    refusal = decide(book, command, "jrn_new")
    assert isinstance(refusal, Rejected), refusal
    assert before == book
    return refusal.code.value


def remaining(book: Book) -> dict[str, int]:
    return {name: one.remaining for name, one in book.lots.items()}


def posted(book: Book) -> dict[str, int]:
    return {name: one.posted for name, one in book.accounts.items() if one.posted}


def earn(points: int, receipt: str = "r1", account: str = ANNA) -> Earn:
    return Earn(KEY, account, points, receipt, None, NOW)


def test_points_come_from_issued_into_a_lot_of_their_own():
    """Two postings that sum to zero; the lot is named after the journal."""
    book = a_book()

    change = booked(book, Earn(KEY, ANNA, 7, "r1", date(2027, 1, 1), NOW))

    assert (Posting("acc_issued", -7), Posting(ANNA, 7)) == change.postings
    assert {"lot_new": 7} == remaining(book)
    assert 7 == book.available(ANNA)
    assert "receipt_used" == refused(book, earn(1))


def test_a_member_who_is_none_or_closed_gets_nothing():
    """Only an open member account takes part in anything new."""
    book = a_book(lot("a", 5))
    book.accounts[ANNA].is_open = False
    book.accounts["acc_issued"] = Account("acc_issued", "issued")

    for command in (earn(1), Adjust(KEY, ANNA, 1, "r"), Redeem(KEY, ANNA, 1, "payout")):
        assert "account_closed" == refused(book, command)
    for account in ("acc_nobody", "acc_issued"):
        assert "unknown_account" == refused(book, earn(1, account=account))
        assert "unknown_account" == refused(book, Expire(KEY, account, TODAY))


def test_spending_takes_soonest_dates_first_and_never_one_that_has_come():
    """The eleventh is tomorrow, the tenth is today."""
    book = a_book(lot("a", 4), lot("b", 4, 11), lot("c", 4, 10), lot("d", 4, 12), lot("e", 0, 11, granted=4))

    change = booked(book, Redeem(KEY, ANNA, 6, "redeemed_voucher"))

    assert (Part("b", 4), Part("d", 2)) == change.uses
    assert {"a": 4, "b": 0, "c": 4, "d": 2, "e": 0} == remaining(book)
    assert 6 == book.available(ANNA)
    assert "insufficient" == refused(book, Redeem(KEY, ANNA, 7, "redeemed_voucher"))


def test_a_hold_keeps_lots_and_its_end_uses_them_or_gives_them_back():
    """Nothing is posted until then."""
    book = a_book(lot("a", 4, 11), lot("b", 4))

    held = booked(book, Hold(KEY, ANNA, 6, NOW), "jrn_h1")
    other = booked(book, Hold(KEY, ANNA, 2, NOW), "jrn_h2")
    assert ((), ("hold_h1", "hold_h2")) == (held.postings, (held.hold_id, other.hold_id))
    assert (8, 8) == (book.accounts[ANNA].posted, book.accounts[ANNA].held)
    assert "insufficient" == refused(book, Hold(KEY, ANNA, 1, NOW))

    spent = booked(book, Post(KEY, "hold_h1", "redeemed_donation:trees"), "jrn_p")
    booked(book, Void(KEY, "hold_h2"), "jrn_v")

    assert (Part("a", 4), Part("b", 2)) == spent.uses
    assert {"a": 0, "b": 2} == remaining(book)
    assert {ANNA: 2, "acc_redeemed_donation:trees": 6} == posted(book)
    assert ("posted", "jrn_p") == (book.holds["hold_h1"].state, book.holds["hold_h1"].ended_by)
    for command in (Post(KEY, "hold_h1", "payout"), Void(KEY, "hold_h2")):
        assert "hold_over" == refused(book, command)
    for command in (Post(KEY, "hold_x", "payout"), Void(KEY, "hold_x")):
        assert "unknown_hold" == refused(book, command)


def test_a_person_gives_and_takes():
    """Given points are a lot; taken points come from lots."""
    book = a_book(lot("a", 4))

    booked(book, Adjust(KEY, ANNA, 3, "goodwill", date(2026, 3, 20)), "jrn_1")
    booked(book, Adjust(KEY, ANNA, -5, "error"), "jrn_2")

    assert {"a": 2, "lot_1": 0} == remaining(book)
    assert {ANNA: 2, "acc_adjusted": 2} == posted(book)
    assert "insufficient" == refused(book, Adjust(KEY, ANNA, -3, "error"))


def test_lots_whose_date_has_come_end():
    """On a day that has come; what is held is not touched."""
    book = a_book(lot("a", 4, 9), lot("b", 5, 10), lot("c", 6, 11))

    assert "not_due" == refused(book, Expire(KEY, ANNA, date(2026, 3, 11)))
    assert 9 == booked(book, Expire(KEY, ANNA, TODAY)).points

    assert {"a": 0, "b": 0, "c": 6} == remaining(book)
    assert {ANNA: 6, "acc_expired": 9} == posted(book)
    assert "not_due" == refused(book, Expire(KEY, ANNA, TODAY))


def test_moved_points_keep_their_dates():
    """A lot for each lot; nobody moves to himself, to a stranger, or more than there is."""
    book = a_book(lot("a", 4, 11), lot("b", 4))

    change = booked(book, Move(KEY, ANNA, BEN, 6, "merged"))

    assert [("lot_new", date(2026, 3, 11), 4), ("lot_new_0001", None, 2)] == [
        (one.id, one.expires, one.remaining) for one in change.lots
    ]
    assert {ANNA: 2, BEN: 6} == posted(book)
    assert "insufficient" == refused(book, Move(KEY, ANNA, BEN, 3, "merged"))
    assert "insufficient" == refused(book, Move(KEY, ANNA, BEN, 1, "merged", lot="a"))
    assert "amount_wrong" == refused(book, Move(KEY, ANNA, ANNA, 1, "merged"))
    assert "unknown_account" == refused(book, Move(KEY, ANNA, "acc_x", 1, "merged"))
    assert 2 == booked(book, Move(KEY, ANNA, BEN, 2, "merged", lot="b"), "jrn_2").points


def test_what_was_spent_comes_back_in_parts_from_its_last_lot_on():
    """Each part follows the one before."""
    book = a_book(lot("a", 0, 11, granted=4), lot("b", 2, granted=4))
    book.accounts["acc_payout"] = Account("acc_payout", "payout", 6)
    uses = (Part("b", 2), Part("a", 4))
    book.pasts["jrn_r"] = Past("jrn_r", "redeem", 6, ANNA, "acc_payout", uses)

    first = booked(book, Reverse(KEY, "jrn_r", "returned", 3), "jrn_1")
    assert {"a": 1, "b": 4} == remaining(book)
    assert (Part("b", -2), Part("a", -1)) == first.uses
    assert "amount_wrong" == refused(book, Reverse(KEY, "jrn_r", "returned", 4))

    second = booked(book, Reverse(KEY, "jrn_r", "returned"), "jrn_2")
    assert (3, 3, "jrn_r") == (second.points, second.reversed_before, second.reverses)
    assert {"a": 4, "b": 4} == remaining(book)
    assert {ANNA: 8} == posted(book)
    assert "already_reversed" == refused(book, Reverse(KEY, "jrn_r", "returned"))
    assert "unknown_journal" == refused(book, Reverse(KEY, "jrn_x", "returned"))
    book.pasts["jrn_v"] = Past("jrn_v", "void", 6, "", "")
    assert "not_reversible" == refused(book, Reverse(KEY, "jrn_v", "returned"))


def test_a_purchase_given_back_costs_its_lot_what_ended_others_and_then_a_debt():
    """In this order; a held part is not touched."""
    book = a_book(lot("a", 1, 9, granted=10), lot("b", 2, 20), lot("c", 1, 9))
    book.lots["a"].expired = 3
    book.accounts["acc_issued"] = Account("acc_issued", "issued", -13)
    book.accounts["acc_expired"] = Account("acc_expired", "expired", 3)
    book.pasts["jrn_of_a"] = Past("jrn_of_a", "earn", 10, "acc_issued", ANNA)

    change = booked(book, Reverse(KEY, "jrn_of_a", "returned"))

    assert (Part("a", 1), Part("b", 2)) == change.uses
    assert (Part("a", -3),) == change.expired
    assert {"a": 0, "b": 0, "c": 1} == remaining(book)
    assert {ANNA: 1, "acc_issued": -3, clawback_of(ANNA): -4} == posted(book)
    assert 4 == book.debt(ANNA)
    assert 0 == book.available(ANNA)


def test_a_purchase_given_back_takes_no_point_of_its_lot_twice():
    """Its own lot is among the member's lots too."""
    book = a_book(lot("a", 2, 20, granted=5), lot("b", 9, 21))
    book.accounts["acc_issued"] = Account("acc_issued", "issued", -11)
    book.pasts["jrn_of_a"] = Past("jrn_of_a", "earn", 5, "acc_issued", ANNA)

    change = booked(book, Reverse(KEY, "jrn_of_a", "returned"))

    assert (Part("a", 2), Part("b", 3)) == change.uses
    assert {ANNA: 6, "acc_issued": -6} == posted(book)


def test_nobody_owes_more_than_the_floor():
    """Then a person decides."""
    book = a_book()
    debt = clawback_of(ANNA)
    book.accounts[debt] = Account(debt, "clawback", CLAWBACK_FLOOR + 5, floor=CLAWBACK_FLOOR)
    book.accounts["acc_issued"] = Account("acc_issued", "issued")
    book.pasts["jrn_e"] = Past("jrn_e", "earn", 10, "acc_issued", ANNA)

    assert "insufficient" == refused(book, Reverse(KEY, "jrn_e", "returned"))
    assert 5 == booked(book, Reverse(KEY, "jrn_e", "returned", 5)).points
    assert CLAWBACK_FLOOR == book.accounts[debt].posted


def test_a_debt_is_paid_by_whatever_brings_points():
    """An earn, a gift, a move, a freed hold, a reversal; not with points whose date has come."""
    debt = clawback_of(ANNA)

    def indebted(points: int, *lots: Lot) -> Book:
        book = a_book(*lots)
        book.accounts[debt] = Account(debt, "clawback", -points, floor=CLAWBACK_FLOOR)
        return book

    book = indebted(5)
    assert (Part("lot_new", 3),) == booked(book, earn(3)).uses
    assert {"acc_issued": -3, debt: -2} == posted(book)
    booked(book, Adjust(KEY, ANNA, 9, "goodwill"), "jrn_2")
    assert (7, 0) == (book.available(ANNA), book.debt(ANNA))

    book = indebted(5, lot("b", 6, 20, BEN))
    booked(book, Move(KEY, BEN, ANNA, 6, "merged"))
    assert {"b": 0, "lot_new": 1} == remaining(book)

    book = indebted(5, lot("a", 0, 20, granted=4), lot("b", 0, 10, granted=4), lot("c", 0, granted=4))
    book.accounts[ANNA].posted = book.accounts[ANNA].held = 12
    parts = (Part("b", 4), Part("a", 4), Part("c", 4))
    book.holds["hold_1"] = Held("hold_1", ANNA, 12, parts)
    freed = booked(book, Void(KEY, "hold_1"))
    assert {"a": 0, "b": 4, "c": 3} == remaining(book)
    assert (Part("a", 4), Part("c", 1)) == freed.uses
    assert 3 == book.available(ANNA)

    book = indebted(5, lot("a", 0, 20, granted=4))
    book.accounts["acc_payout"] = Account("acc_payout", "payout", 4)
    book.pasts["jrn_r"] = Past("jrn_r", "redeem", 4, ANNA, "acc_payout", (Part("a", 4),))
    assert () == booked(book, Reverse(KEY, "jrn_r", "returned")).uses
    assert (0, 1) == (book.available(ANNA), book.debt(ANNA))


def test_a_debt_that_was_let_go_can_be_claimed_again():
    """The reversal of an adjustment, down to the floor."""
    debt = clawback_of(ANNA)
    book = a_book()
    book.accounts[debt] = Account(debt, "clawback", -5, floor=CLAWBACK_FLOOR)
    for points in (6, -1):
        assert "amount_wrong" == refused(book, Adjust(KEY, debt, points, "goodwill"))

    booked(book, Adjust(KEY, debt, 5, "goodwill"), "jrn_1")
    assert {"acc_adjusted": -5} == posted(book)
    book.pasts["jrn_1"] = Past("jrn_1", "adjust", 5, "acc_adjusted", debt)
    change = booked(book, Reverse(KEY, "jrn_1", "error"), "jrn_2")

    assert (ANNA, 5) == (change.member, book.debt(ANNA))
    book.accounts[debt].posted = CLAWBACK_FLOOR
    book.pasts["jrn_2"] = Past("jrn_2", "adjust", 5, "acc_adjusted", debt)
    assert "insufficient" == refused(book, Reverse(KEY, "jrn_2", "error"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (Change("x", 1, ANNA, postings=(Posting(ANNA, 1),)), "sum to zero"),
        (Change("x", 1, ANNA, drawn=(Part("a", 5),)), "less than nothing"),
        (Change("x", 1, ANNA, drawn=(Part("a", -1),)), "more than it was granted"),
        (Change("x", 9, ANNA, postings=(Posting(ANNA, -9), Posting("acc_payout", 9))), "below its floor"),
        (Change("void", 9, ANNA, ends="hold_1"), "below its floor"),
        (Change("x", 1, ANNA, postings=(Posting(ANNA, 2**63), Posting("acc_payout", -(2**63)))), "64 bits"),
    ],
)
def test_a_change_that_breaks_a_rule_is_an_error(change: Change, sentence: str):
    """The arithmetic never asks for one; the book would not take it."""
    book = a_book(lot("a", 4))
    book.holds["hold_1"] = Held("hold_1", ANNA, 9, ())

    with pytest.raises(BrokenError, match=sentence):
        book.apply(change, "jrn_new")


def test_system_accounts_are_named_by_their_kind():
    """So that a posting can open them."""
    book = a_book()

    assert system_account("issued") == book.system("issued").id
    assert {} == {name: one for name, one in book.accounts.items() if one.kind == "issued"}


def test_the_hash_is_of_the_intention():
    """Names and points, never the caller's clock or the key itself."""
    command = earn(5)
    later = Earn(Key("demo", "miles", "key-2"), ANNA, 5, "r1", date(2030, 1, 1), NOW.replace(hour=13))

    assert request_hash(command) == request_hash(later)
    assert 6 == len({
        request_hash(one)
        for one in (
            command,
            earn(6),
            earn(5, "r2"),
            earn(5, account=BEN),
            Hold(KEY, ANNA, 5, NOW),
            Earn(Key("demo", "stars", "key-1"), ANNA, 5, "r1", None, NOW),
        )
    })  # fmt: skip
    assert request_hash(Expire(KEY, ANNA, TODAY)) != request_hash(Expire(KEY, ANNA, date(2026, 3, 11)))


def test_only_whole_points_within_the_limit_queue():
    """A value for wrong points, an error for what our own code got wrong."""
    for points in (0, -1, 10**9 + 1, True, 1.5):
        assert "amount_wrong" == check(earn(points), "caller", "", "").code
    for points in (-(10**9), 10**9):
        assert check(Adjust(KEY, ANNA, points, "goodwill"), "agent:a", "call_1", "") is None
    assert check(Reverse(KEY, "jrn_1", "returned"), "system:loyalty", "", "") is None
    for wrong in ({"actor": "me"}, {"call_id": "1"}, {"reason": "Not a word"}):
        names = {"actor": "caller", "call_id": "", "reason": ""} | wrong
        with pytest.raises(LoyaltyError, match="shape"):
            check(earn(1), **names)
    with pytest.raises(LoyaltyError, match="time zone"):
        check(Hold(KEY, ANNA, 1, NOW.replace(tzinfo=None)), "caller", "", "")


@pytest.mark.parametrize(
    "command",
    [
        Redeem(Key("Demo", "miles", "k"), ANNA, 1, "payout"),
        Redeem(Key("demo", "", "k"), ANNA, 1, "payout"),
        Redeem(Key("demo", "miles", ""), ANNA, 1, "payout"),
        Redeem(Key("demo", "miles", "k\nk"), ANNA, 1, "payout"),
        Redeem(Key("demo", "miles\nk", "caller"), ANNA, 1, "payout"),
        Redeem(KEY, ANNA + "\n", 1, "payout"),
        Redeem(KEY, ANNA, 1, "issued"),
        Redeem(KEY, ANNA, 1, "payout\n"),
        Post(KEY, "hold 1", "payout"),
        Reverse(KEY, "jrn_1\0", "returned"),
        Reverse(KEY, "jrn_1", ""),
        Move(KEY, ANNA, "", 1, "merged"),
        Move(KEY, ANNA, BEN, 1, "merged", lot="\ud800"),
        Move(KEY, ANNA, BEN, 1, "merged", lot="\0"),
    ],
)
def test_every_text_of_a_command_has_its_own_shape(command: Command):
    """None reaches into its neighbour's place, whatever is put between them."""
    with pytest.raises(LoyaltyError, match="shape"):
        check(command, "caller", "", "")


def test_an_answer_tells_whether_it_is_the_first():
    """Callers speak of it the same way."""
    assert not Done("jrn_1", "", 5).replayed
