"""The ledger on a real database of each engine: nothing lost, doubled or overdrawn, whoever asks at once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.ledger import Done, Refusal, Rejected, clawback_of, close_in
from loyalty.tenancy import TenantConn
from tests.support.ledger_books import ACTOR, START, TREES, Books

CALLERS = 64


async def test_of_640_requests_for_a_hundred_portions_a_hundred_succeed(books: Books):
    """L1: 64 callers at once, a member with 100 times the price."""
    member = await books.member(1_000)

    async def caller() -> list[object]:
        return [await books.do(books.redeeming(member, 10)) for _ in range(10)]

    outcomes = [one for asked in await asyncio.gather(*(caller() for _ in range(CALLERS))) for one in asked]

    assert 100 == sum(isinstance(one, Done) for one in outcomes)
    assert {Rejected(Refusal.INSUFFICIENT)} == {one for one in outcomes if not isinstance(one, Done)}
    assert 0 == await books.available(member)
    assert [] == await books.faults()


async def test_one_key_from_many_callers_is_one_journal(books: Books):
    """L2: all get the same answer, one of them the first."""
    member = await books.member(100)
    command = books.redeeming(member, 10)

    outcomes = await books.all(*[command] * CALLERS)

    assert 1 == len({replace(one, replayed=True) for one in outcomes})
    assert CALLERS - 1 == sum(one.replayed for one in outcomes)
    assert 90 == await books.available(member)


async def test_one_key_at_two_nodes_is_one_journal(books: Books, ledger_url: str):
    """L2: two writers on one database, the same keys in both at once."""
    other = Database.open(ledger_url)
    elsewhere = Books(other, books.tenant)
    member = await books.member(1_000)
    commands = [books.redeeming(member, 10) for _ in range(50)]
    try:
        here, there = await asyncio.gather(books.all(*commands), elsewhere.all(*reversed(commands)))
    finally:
        await other.close()

    assert [replace(one, replayed=True) for one in here] == [
        replace(one, replayed=True) for one in reversed(there)
    ]
    assert 50 == sum(one.replayed for one in [*here, *there])
    assert 500 == await books.available(member)
    assert [] == await books.faults()


async def test_a_key_with_another_intention_is_refused(books: Books):
    """L3: neither amount nor kind nor programme may differ, and nothing is booked."""
    member = await books.member(100)
    first = books.redeeming(member, 10)
    await books.done(first)

    for other in (
        replace(first, points=11),
        replace(first, contra=TREES),
        replace(first, key=replace(first.key, programme="stars")),
        replace(books.earning(member, 10), key=first.key),
    ):
        assert "key_reused" == await books.refused(other)
    assert 90 == await books.available(member)


async def test_a_retry_with_another_clock_is_the_same_request(books: Books):
    """A hold asked again a minute later has another end; it is the same hold."""
    member = await books.member(100)
    first = books.holding(member, 10)
    done = await books.done(first)

    again = await books.done(replace(first, until=first.until + timedelta(minutes=1)))

    assert replace(done, replayed=True) == again


async def test_what_was_refused_may_be_asked_again_under_its_key(books: Books):
    """A refusal leaves no trace, so that its key is free."""
    member = await books.member(5)
    wish = books.redeeming(member, 10)
    assert "insufficient" == await books.refused(wish)

    await books.earn(member, 5)

    assert 0 == (await books.done(wish)).available
    assert [(3,)] == await books.rows("SELECT COUNT(*) FROM journal WHERE tenant = :tenant")


async def test_a_receipt_earns_once(books: Books):
    """Whatever the key; also when two tills ask at the same moment."""
    member = await books.member()
    ask = [books.earning(member, 10, receipt="till-7") for _ in range(3)]

    outcomes = await books.all(*ask)

    assert [True, False, False] == [isinstance(one, Done) for one in outcomes]
    assert "receipt_used" == await books.refused(books.earning(member, 10, receipt="till-7"))
    assert 10 == await books.available(member)


async def test_commands_are_decided_in_the_order_in_which_they_come(books: Books):
    """An earn asked before a hold counts for it, whatever the order of their keys."""
    member = await books.member()
    first = replace(books.earning(member, 10), key=books.key("z-last"))
    second = replace(books.holding(member, 10), key=books.key("a-first"))

    assert [10, 0] == [one.available for one in await books.all(first, second)]


async def test_a_hold_ends_once(books: Books):
    """L9: of posts and voids that race, one wins; the others hear that it is over."""
    member = await books.member(100)
    hold = await books.hold(member, 60)
    assert (100, 60, 40) == await stands(books, member)

    outcomes = await books.all(
        books.posting(hold), books.voiding(hold), books.posting(hold), books.voiding(hold)
    )

    assert 1 == sum(isinstance(one, Done) for one in outcomes)
    assert "hold_over" == await books.refused(books.posting(hold))
    assert (40, 0, 40) == await stands(books, member)
    assert [] == await books.faults()


async def test_a_hold_whose_time_is_over_can_still_be_posted_once(books: Books):
    """L9: the voucher may be out; only the reaper's void would end it otherwise."""
    member = await books.member(100)
    hold = await books.hold(member, 60)
    books.now += timedelta(hours=1)

    await books.done(books.posting(hold))

    assert "hold_over" == await books.refused(books.voiding(hold))
    assert (40, 0, 40) == await stands(books, member)


async def test_points_that_end_first_are_spent_first(books: Books):
    """L10: soonest date, then the older lot; lots without a date last."""
    member = await books.member()
    for points, expires in ((1, None), (2, books.days(20)), (4, books.days(10)), (8, books.days(10))):
        await books.earn(member, points, expires)

    await books.redeem(member, 5)
    assert [(1, 1), (2, 2), (4, 0), (8, 7)] == await books.lots(member)

    await books.redeem(member, 9)
    assert [(1, 1), (2, 0), (4, 0), (8, 0)] == await books.lots(member)


async def test_a_hold_keeps_its_lots_from_ending(books: Books):
    """L10: what is held outlives its date; freed after it, it goes with the next run."""
    member = await books.member(10, books.days(1))
    hold = await books.hold(member, 10)
    books.pass_days(2)
    assert "not_due" == await books.refused(books.expiring(member))

    freed = await books.done(books.voiding(hold))
    assert 0 == freed.available
    assert (10, 0, 0) == await stands(books, member)

    await books.done(books.expiring(member))
    assert (0, 0, 0) == await stands(books, member)
    assert [] == await books.faults()


async def test_a_reversal_returns_points_to_the_lot_they_came_from(books: Books):
    """L10: past its date, they are back in the books, and nobody's to spend."""
    member = await books.member(10, books.days(1))
    spent = await books.redeem(member, 6)
    books.pass_days(1)

    back = await books.done(books.reversing(spent))

    assert 0 == back.available
    assert [(10, 10)] == await books.lots(member)
    assert "insufficient" == await books.refused(books.redeeming(member, 1))
    await books.done(books.expiring(member))
    assert (0, 0, 0) == await stands(books, member)
    assert [] == await books.faults()


async def test_a_posting_is_reversed_in_parts_and_never_beyond(books: Books):
    """What was spent last comes back first, each point once, and both ends of a race add up."""
    member = await books.member()
    await books.earn(member, 4, books.days(10))
    await books.earn(member, 4, books.days(20))
    spent = await books.redeem(member, 6)
    assert [(4, 0), (4, 2)] == await books.lots(member)

    await books.done(books.reversing(spent, 3))
    assert [(4, 1), (4, 4)] == await books.lots(member)

    assert "amount_wrong" == await books.refused(books.reversing(spent, 4))
    outcomes = await books.all(books.reversing(spent), books.reversing(spent))
    assert [True, False] == [isinstance(one, Done) for one in outcomes]
    assert "already_reversed" == await books.refused(books.reversing(spent))
    assert [(4, 4), (4, 4)] == await books.lots(member)
    assert [] == await books.faults()


async def test_a_purchase_given_back_takes_its_own_lot_then_others(books: Books):
    """Own lot, then the member's other lots; nothing falls below zero."""
    member = await books.member()
    bought = await books.earn(member, 10, books.days(10))
    await books.earn(member, 5)
    await books.redeem(member, 7)

    await books.done(books.reversing(bought))

    assert [(10, 0), (5, 0)] == await books.lots(member)
    balance = await books.balance(member)
    assert (0, 0, 2) == (balance.posted, balance.available, balance.owed)
    assert [] == await books.faults()


async def test_a_debt_is_paid_by_the_next_points(books: Books):
    """05 §9.15: the debt stands on an account of its own; the member's own never falls below zero."""
    member = await books.member()
    bought = await books.earn(member, 10)
    await books.redeem(member, 10)
    await books.done(books.reversing(bought))
    assert 10 == (await books.balance(member)).owed

    assert 0 == (await books.earn(member, 4)).available
    assert 3 == (await books.earn(member, 9)).available

    balance = await books.balance(member)
    assert (3, 3, 0) == (balance.posted, balance.available, balance.owed)
    assert [3] == [one.points for one in (await books.movements(member))[:1]]
    assert [] == await books.faults()


async def test_a_debt_can_be_let_go(books: Books):
    """A person's decision, never more than is owed."""
    member = await books.member()
    bought = await books.earn(member, 10)
    await books.redeem(member, 10)
    await books.done(books.reversing(bought))
    debt = clawback_of(member)

    assert "amount_wrong" == await books.refused(books.adjusting(debt, 11))
    await books.done(books.adjusting(debt, 10))

    assert 0 == (await books.balance(member)).owed
    assert [] == await books.faults()


async def test_points_that_ended_are_not_owed_when_the_purchase_is_given_back(books: Books):
    """They ended already; the books take them out of what had expired."""
    member = await books.member()
    bought = await books.earn(member, 10, books.days(1))
    await books.earn(member, 5)
    books.pass_days(1)
    await books.done(books.expiring(member))

    await books.done(books.reversing(bought, 4))
    await books.done(books.reversing(bought))

    balance = await books.balance(member)
    assert (5, 0) == (balance.available, balance.owed)
    assert [(0,)] == await books.rows(
        "SELECT posted FROM account WHERE tenant = :tenant AND kind = 'expired'"
    )
    assert [] == await books.faults()


async def test_a_merge_moves_lot_by_lot_and_each_can_be_moved_back(books: Books):
    """05 §9.16: one journal per lot, dates kept; asked again, it goes on where it stood."""
    source, target = await books.member(), await books.member(1)
    await books.earn(source, 4, books.days(10))
    await books.earn(source, 8)
    key = books.key("merge-1")

    moved = await books.ledger.merge(key, source, target, reason="merged", actor=ACTOR)
    again = await books.ledger.merge(key, source, target, reason="merged", actor=ACTOR)

    assert (2, 0) == (len(moved), len(again))
    assert (0, 13) == (await books.available(source), await books.available(target))
    assert (books.days(10), 4) == await next_expiry(books, target)

    await books.done(books.reversing(moved[0]))
    assert (4, 9) == (await books.available(source), await books.available(target))
    assert [] == await books.faults()


async def test_nothing_new_begins_on_a_closed_account(books: Books):
    """What was begun can be ended and reversed."""
    member = await books.member(10)
    hold, spent = await books.hold(member, 3), await books.redeem(member, 2)

    def close(conn: TenantConn) -> None:
        close_in(conn, books.programme, member)

    await books.database.write(books.tenant, close)

    for command in (
        books.earning(member, 1),
        books.redeeming(member, 1),
        books.holding(member, 1),
        books.adjusting(member, 1),
        books.adjusting(member, -1),
        books.moving(member, await books.member(), 1),
    ):
        assert "account_closed" == await books.refused(command)
    await books.done(books.voiding(hold))
    assert 10 == (await books.done(books.reversing(spent))).available


async def test_points_of_two_programmes_and_tenants_never_meet(books: Books):
    """L12: an id of another programme or tenant is unknown, whatever is done with it."""
    member = await books.member(100)
    spent, hold = await books.redeem(member, 10), await books.hold(member, 10)
    for other in (replace(books, programme="stars"), replace(books, tenant="other")):
        own = await other.member(10)
        assert "unknown_account" == await other.refused(other.redeeming(member, 1))
        assert "unknown_account" == await other.refused(other.moving(own, member, 1))
        assert "unknown_hold" == await other.refused(other.posting(hold))
        assert "unknown_journal" == await other.refused(other.reversing(spent))
        with pytest.raises(LoyaltyError, match="no such account"):
            await other.balance(member)
        assert () == await other.movements(member)
    assert (90, 10, 80) == await stands(books, member)


async def test_a_balance_tells_what_ends_next(books: Books):
    """Points whose date has come are not announced, swept or not."""
    member = await books.member()
    for points, expires in ((1, books.days(1)), (2, books.days(5)), (4, books.days(5)), (8, None)):
        await books.earn(member, points, expires)
    assert (books.days(1), 1) == await next_expiry(books, member)

    books.pass_days(1)

    assert 14 == await books.available(member)
    assert (books.days(4), 6) == await next_expiry(books, member)


async def test_a_day_ends_at_the_tenants_midnight(books: Books):
    """22:30 UTC in March is 23:30 in Berlin; an hour later the points are over."""
    books.now = datetime(2026, 3, 10, 22, 30, tzinfo=UTC)
    member = await books.member(5, books.days(1))
    assert 5 == await books.available(member)

    books.now += timedelta(hours=1)

    assert 0 == await books.available(member)
    assert "insufficient" == await books.refused(books.redeeming(member, 1))


async def test_movements_come_newest_first_in_pages(books: Books):
    """Holds move nothing and are not shown; their posting is a redemption."""
    member = await books.member(100)
    spent = await books.redeem(member, 10)
    await books.done(books.posting(await books.hold(member, 20)))
    await books.done(books.reversing(spent))

    page = await books.movements(member, 2)
    rest = await books.ledger.movements(books.tenant, books.programme, member, 9, page[-1].journal_id)

    assert [("reverse", 10), ("redeem", -20)] == [(one.kind, one.points) for one in page]
    assert [("redeem", -10), ("earn", 100)] == [(one.kind, one.points) for one in rest]
    assert spent.journal_id == page[0].reverses
    assert books.today == page[0].on


async def test_an_account_is_known_as_of_any_moment(books: Books):
    """By what was booked until then."""
    member = await books.member(100)
    before = books.now
    books.pass_days(1)
    await books.redeem(member, 30)

    stood = [
        await books.ledger.as_of(books.tenant, books.programme, member, at)
        for at in (before - timedelta(days=1), before, books.now)
    ]

    assert [0, 100, 70] == stood


async def test_the_months_roll_forward_leads_from_one_liability_to_the_next(books: Books):
    """L14: opening + earned - redeemed - expired +- adjusted +- reversed = closing = the sum of entries."""
    member, other = await books.member(100, books.days(40)), await books.member(50)
    spent = await books.redeem(member, 30)
    books.pass_days(30)
    await books.earn(other, 20)
    await books.done(books.reversing(spent, 10))
    await books.done(books.adjusting(other, -5))
    await books.done(books.posting(await books.hold(other, 15)))
    await books.done(books.moving(member, other, 1))
    books.pass_days(10)
    await books.done(books.expiring(member))

    march = await books.ledger.roll_forward(books.tenant, books.programme, 2026, 3)
    april = await books.ledger.roll_forward(books.tenant, books.programme, 2026, 4)

    assert (0, 150, 30, 0, 0, 0, 120) == figures(march)
    assert (120, 20, 15, 79, -5, 10, 51) == figures(april)
    assert march.is_even
    assert april.is_even
    assert april.closing == sum(
        [await books.ledger.as_of(books.tenant, books.programme, one, books.now) for one in (member, other)]
    )


async def test_every_booked_command_is_in_the_log_and_no_refused_one(books: Books):
    """In the same transaction, with ids and counts only."""
    member, other = await books.member(100), await books.member()
    await books.done(books.posting(await books.hold(member, 10)))
    await books.done(books.voiding(await books.hold(member, 10)))
    spent = await books.redeem(member, 10)
    await books.done(books.redeeming(member, 10, TREES))
    await books.done(books.reversing(spent))
    await books.done(books.adjusting(member, -1))
    await books.done(books.adjusting(member, 1, books.today))
    await books.done(books.expiring(member))
    await books.done(books.moving(member, other, 1))
    await books.refused(books.redeeming(member, 10_000))

    entries = await books.log()

    names = [entry["name"] for entry in entries]
    assert [
        "ledger.points.earned",
        "ledger.points.held",
        "ledger.points.redeemed",
        "ledger.points.held",
        "ledger.points.released",
        "ledger.points.redeemed",
        "ledger.points.redeemed",
        "ledger.points.reversed",
        "ledger.points.adjusted",
        "ledger.points.adjusted",
        "ledger.points.expired",
        "ledger.points.moved",
    ] == names
    assert [(len(names),)] == await books.rows("SELECT COUNT(*) FROM journal WHERE tenant = :tenant")
    assert {"account": member, "points": 1, "target": other, "reason": "merged"} == entries[-1]["data"]
    assert {ACTOR} == {entry["actor"] for entry in entries}


async def test_the_page_says_which_command_moves_what(books: Books):
    """The table in docs/ledger.md is what the ledger books."""
    member, other, debtor = await books.member(), await books.member(), await books.member()
    names = {member: "member", other: "another member", debtor: "member", clawback_of(debtor): "clawback"}
    earned = await books.earn(member, 100, books.days(1))
    kept, freed = await books.hold(member, 10), await books.hold(member, 10)
    bought = await books.earn(debtor, 5)
    await books.redeem(debtor, 5)
    await books.done(books.reversing(bought))
    posted = await books.done(books.posting(kept))
    done = {
        "earn": earned,
        "hold": kept,
        "post": posted,
        "void": await books.done(books.voiding(freed)),
        "redeem": await books.done(books.redeeming(member, 10, TREES)),
        "adjust (given)": await books.done(books.adjusting(member, 1)),
        "adjust (taken)": await books.done(books.adjusting(member, -1)),
        "adjust (a debt let go)": await books.done(books.adjusting(clawback_of(debtor), 5)),
        "move": await books.done(books.moving(member, other, 1)),
        "reverse (of a redemption)": await books.done(books.reversing(posted)),
        "reverse (of an earn)": await books.done(books.reversing(earned, 1)),
    }
    books.pass_days(1)
    done["expire"] = await books.done(books.expiring(member))

    sides = {}
    for kind, journal in done.items():
        entries = await books.rows(
            """SELECT account_id, amount FROM entry
            WHERE tenant = :tenant AND journal_id = :journal ORDER BY amount""",
            journal=journal.journal_id,
        )
        told = [names.get(account, account.removeprefix("acc_")) for account, _ in entries]
        sides[kind] = tuple(told) or ("-", "-")

    page = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    written = {row[0].removeprefix("| "): (row[1], row[2]) for row in rows if len(row) == 4}
    assert sides == {kind: written.get(kind) for kind in sides}


async def test_ids_of_strangers_are_refused_by_value(books: Books):
    """Nothing unknown raises; a key, a reason or an actor of the wrong shape does, before it queues."""
    member = await books.member(10)
    nobody = replace(await books.hold(member, 1), hold_id="hold_x", journal_id="jrn_x")

    for code, command in (
        ("unknown_account", books.earning("acc_x", 1)),
        ("unknown_account", books.redeeming("acc_issued", 1)),
        ("unknown_account", books.expiring("acc_x")),
        ("unknown_account", books.adjusting("acc_issued", 1)),
        ("unknown_account", books.adjusting("acc_x", -1)),
        ("unknown_account", books.adjusting(clawback_of(member), 1)),
        ("unknown_hold", books.voiding(nobody)),
        ("unknown_journal", books.reversing(nobody)),
        ("amount_wrong", books.redeeming(member, 0)),
        ("amount_wrong", books.adjusting(member, 0)),
        ("amount_wrong", books.earning(member, 10**9 + 1)),
        ("amount_wrong", books.moving(member, member, 1)),
        ("not_due", books.expiring(member, books.days(1))),
    ):
        assert code == await books.refused(command)
    for command in (
        replace(books.redeeming(member, 1), contra="acc_issued"),
        replace(books.redeeming(member, 1), key=books.key("with space")),
        replace(books.adjusting(member, 1), reason="Free text!"),
        replace(books.adjusting(member, 1), reason=""),
        replace(books.holding(member, 1), until=START.replace(tzinfo=None)),
    ):
        with pytest.raises(LoyaltyError, match=r"shape|time zone"):
            await books.do(command)
    with pytest.raises(LoyaltyError, match="shape"):
        await books.ledger.do(books.redeeming(member, 1), actor="somebody")


async def stands(books: Books, account: str) -> tuple[int, int, int]:
    balance = await books.balance(account)
    return balance.posted, balance.held, balance.available


async def next_expiry(books: Books, account: str) -> tuple[object, int]:
    balance = await books.balance(account)
    return balance.next_expiry, balance.expiring_points


def figures(month: object) -> tuple[int, ...]:
    names = ("opening", "earned", "redeemed", "expired", "adjusted", "reversed", "closing")
    return tuple(getattr(month, name) for name in names)
