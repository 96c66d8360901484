"""What is done with nobody on the line."""

from datetime import timedelta

import pytest

from loyalty.ledger import Done, Hold, Key, jobs
from tests.support.loyalty import House

HOLDS, OF_ONE_LOOK = 10, 3


async def test_a_pile_of_holds_past_their_time_is_gone_after_one_round(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many the ledger ends at once: nobody waits for the next round, and the one after that."""
    monkeypatch.setattr(jobs, "DUE_MAX", OF_ONE_LOOK)
    member = await house.member(points=1_000)
    until = house.clock() + timedelta(minutes=1)
    for number in range(HOLDS):
        hold = Hold(Key("sunny", "miles", f"h-{number}"), member.account_id, 10, until)
        assert isinstance(await house.database.ledger.do(hold, actor="key:till"), Done)
    assert 1_000 - 10 * HOLDS == await house.available(member)

    await house.loyalty.upkeep.round()
    assert 1_000 - 10 * HOLDS == await house.available(member)
    house.clock.turn(minutes=2)
    await house.loyalty.upkeep.round()
    assert 1_000 == await house.available(member)
