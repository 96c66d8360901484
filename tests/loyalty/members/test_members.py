"""Who takes part: enrolled once, found by what a keypad can say, changed on record, locked at once."""

from datetime import date

import pytest
from sqlalchemy import func, select

from audit.outbox import OUTBOX
from loyalty.errors import LoyaltyError
from loyalty.members import Ambiguous, CardState, Members, Person, Role, Status
from loyalty.tables import ACCOUNT, CARD, MEMBER
from tests.loyalty.members.conftest import person

BY = "agent:anna"


async def test_a_member_is_found_by_his_number_and_by_his_card(members: Members):
    """Both numbers lead to the same member; blanks and hyphens do not matter."""
    member = await members.enrol("sunny", person(), by=BY, card_number="900100200")
    assert member.member_id == (await members.claim_by_number("sunny", "4711 001")).member_id
    assert member.member_id == (await members.claim_by_number("sunny", "900-100-200")).member_id
    assert "0200" == member.card_last4
