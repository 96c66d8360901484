"""Our own stock of codes: taken in whole or not at all, sealed, never twice."""

import pytest
from sqlalchemy import select

from loyalty.errors import LoyaltyError
from loyalty.redemption.stock import CODES_MAX, WrongLine, numbered
from loyalty.tables import VOUCHER_CODE
from tests.support.loyalty import House

BY = "user:operator"


async def add(house: House, text: str, tenant: str = "sunny"):
    """Codes for the coffee."""
    return await house.loyalty.add_codes(tenant, "coffee", text, by=BY)


async def test_a_file_is_taken_with_blanks_and_in_capitals(house: House):
    """Lines are trimmed; empty ones do not count."""
    done = await add(house, "\n  cafe-1 \n\ncafe-2\r\n")
    assert (2, ()) == (done.added, done.wrong)
    assert {"coffee": 2} == await house.loyalty.stock_of("sunny")


async def test_wrong_lines_are_named_and_nothing_is_taken(house: House):
    """By number and kind, never by what stands there."""
    await add(house, "CAFE-1")
    done = await add(house, "CAFE-2\nA B\ncaß2\n")
    assert (0, (WrongLine(2, "malformed"), WrongLine(3, "malformed"))) == (done.added, done.wrong)
    done = await add(house, "CAFE-2\n\ncafe2\n")
    assert (WrongLine(3, "twice"),) == done.wrong
    done = await add(house, "CAFE-3\nCAFE-1\n")
    assert (WrongLine(2, "known"),) == done.wrong
    assert {"coffee": 1} == await house.loyalty.stock_of("sunny")


async def test_an_issued_code_is_known_for_ever(house: House):
    """It cannot be taken in again."""
    await add(house, "CAFE-1")
    member = await house.member()
    await house.loyalty.redeem("sunny", member.member_id, "coffee", key="k", channel="web", by="caller")
    assert (WrongLine(1, "known"),) == (await add(house, "CAFE-1")).wrong


async def test_the_same_code_in_two_tenants_is_two_codes(house: House):
    """Each has a shop of its own."""
    await add(house, "CAFE-1")
    assert 1 == (await add(house, "CAFE-1", "rainy")).added


async def test_codes_lie_sealed(house: House):
    """Neither the code nor its hash without the key is in a row."""
    await add(house, "CAFE-4711")
    query = select(VOUCHER_CODE).where(VOUCHER_CODE.c.tenant == "sunny")
    (row,) = await house.database.read("sunny", lambda conn: conn.execute(query).all())
    assert b"4711" not in row.sealed
    assert "4711" not in repr(tuple(row))


async def test_only_vouchers_of_our_stock_take_codes(house: House):
    """A donation and a shop's own voucher have none."""
    for reward in ("tree", "sauna", "nothing"):
        with pytest.raises(LoyaltyError):
            await house.loyalty.add_codes("sunny", reward, "A", by=BY)


def test_a_file_that_is_too_long_is_refused():
    """Before anything is sealed."""
    with pytest.raises(LoyaltyError):
        numbered("A\n" * (CODES_MAX + 1))
