"""The reaper and the nightly expiry: safe to run twice, at two nodes, and beside callers."""

import asyncio
from datetime import timedelta

import pytest

from loyalty.errors import LoyaltyError
from loyalty.ledger import DueHold, Reaped
from tests.support.ledger_books import Books


async def test_a_hold_whose_time_is_over_is_freed_once(books: Books):
    """Not before its time; a second run finds nothing."""
    member = await books.member(100)
    await books.hold(member, 60)
    assert Reaped(0, 0, 0) == await books.ledger.reap(books.now)
    books.now += timedelta(minutes=15)

    runs = await asyncio.gather(books.ledger.reap(books.now), books.ledger.reap(books.now))

    assert 1 == sum(run.voided for run in runs)
    assert 100 == await books.available(member)
    assert Reaped(0, 0, 0) == await books.ledger.reap(books.now)
    assert [] == await books.faults()


async def test_a_voucher_that_is_out_is_paid_and_never_freed(books: Books):
    """L8: the reaper asks whoever gives the voucher, by the hold."""
    member = await books.member(100)
    out, in_stock = await books.hold(member, 30), await books.hold(member, 20)
    books.now += timedelta(minutes=15)

    async def issued(hold: DueHold) -> bool:
        return hold.hold_id == out.hold_id

    assert Reaped(posted=1, voided=1, left=0) == await books.ledger.reap(books.now, issued)
    assert 70 == await books.available(member)
    assert [(30,)] == await books.rows(
        "SELECT posted FROM account WHERE tenant = :tenant AND kind = 'redeemed_voucher'"
    )
    assert "hold_over" == await books.refused(books.posting(in_stock))


async def test_a_hold_nobody_can_tell_about_waits(books: Books):
    """An answer that may come later is no reason to free points that may be spent; a fault is told."""
    member = await books.member(100)
    await books.hold(member, 30)
    books.now += timedelta(minutes=15)

    async def away(_hold: DueHold) -> bool:
        raise LoyaltyError("provider_away", "No answer.", retryable=True)

    async def broken(_hold: DueHold) -> bool:
        raise LoyaltyError("provider_unknown", "There is no such provider.")

    assert Reaped(0, 0, left=1) == await books.ledger.reap(books.now, away)
    with pytest.raises(LoyaltyError, match="no such provider"):
        await books.ledger.reap(books.now, broken)
    assert 70 == await books.available(member)
    assert Reaped(0, voided=1, left=0) == await books.ledger.reap(books.now)


async def test_expiry_runs_once_per_account_and_day(books: Books):
    """Two runs at once book each account once; the next day takes what came back meanwhile."""
    members = [await books.member(10, books.days(1)) for _ in range(20)]
    kept = await books.member(10, books.days(2))
    hold = await books.hold(members[0], 4)
    books.pass_days(1)

    async def run() -> int:
        return await books.ledger.expire_due(books.tenant, books.programme, books.today)

    assert 20 == sum(await asyncio.gather(run(), run()))
    assert 0 == await run()
    await books.done(books.voiding(hold))
    assert 0 == await run()
    assert 10 == await books.available(kept)

    books.pass_days(1)
    assert 2 == await run()
    assert [] == await books.faults()
    assert [(0,)] == await books.rows(
        """SELECT SUM(posted) FROM account
        WHERE tenant = :tenant AND programme = :programme AND kind = 'member'"""
    )
