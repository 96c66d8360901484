"""Who takes part: enrolled once, found by what a keypad can say, changed on record, locked at once."""

import asyncio
import json
import re
from collections import Counter
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from audit.outbox import OUTBOX
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys, Ring, Secret
from loyalty.members import Ambiguous, CardState, Claim, Member, Members, PersonError, Reason, Role, Status
from loyalty.tables import ACCOUNT, CARD, DATA_KEY, MEMBER, MEMBER_ACCOUNT
from tests.loyalty.members.conftest import PROGRAMMES, House, person

BY = "agent:anna"
HOUSES = ("", "12", "12 a", "99")
"""The person's own among them."""
DECOY = re.compile(r"mem_[a-hjkmnp-tv-z]{18}")


async def enrolled(members: Members, **told: object) -> Member:
    """One more member of sunny."""
    return await members.enrol("sunny", person(**told), by=BY)


async def entries(members: Members, tenant: str = "sunny") -> list[dict[str, object]]:
    """The outbox, oldest first."""
    rows = await members.database.read(
        tenant, lambda conn: conn.execute(select(OUTBOX.c.body).order_by(OUTBOX.c.seq)).scalars().all()
    )
    return [json.loads(body) for body in rows]


# Enrolling


async def test_a_member_has_account_card_and_person(members: Members):
    """All of them are there when the enrolment answers."""
    member = await enrolled(members)
    assert ("miles", Status.ACTIVE, CardState.ACTIVE) == (member.programme, member.status, member.card_state)
    assert person() == await members.person("sunny", member.member_id)
    assert member == await members.get("sunny", member.member_id)


async def test_a_number_is_made_where_none_is_told(members: Members):
    """As long as the programme allows; it finds the member."""
    member = await enrolled(members, number="")
    number = (await members.person("sunny", member.member_id)).number
    assert re.fullmatch(r"[1-9][0-9]{9}", number)
    assert Claim(member.member_id, known=True) == await members.claim_by_number("sunny", number)


async def test_a_number_belongs_to_one_member_and_to_no_card(members: Members):
    """Neither twice as a customer's number nor as one on a card."""
    await members.enrol("sunny", person(), by=BY, card_number="900100200")
    for number in ("4711001", "900100200"):
        with pytest.raises(LoyaltyError) as refused:
            await enrolled(members, number=number)
        assert "number_taken" == refused.value.code
    with pytest.raises(LoyaltyError):
        await members.enrol("sunny", person(number="4711002"), by=BY, card_number="4711001")
    with pytest.raises(LoyaltyError):
        await members.enrol("sunny", person(number="4711003"), by=BY, card_number="4711003")


async def test_nothing_half_stays_of_a_refused_enrolment(members: Members):
    """No account without a member."""
    await enrolled(members)
    with pytest.raises(LoyaltyError):
        await enrolled(members)

    def counts(conn):
        of_tenant = [
            select(func.count()).select_from(table).where(table.c.tenant == "sunny")
            for table in (MEMBER, MEMBER_ACCOUNT, CARD, DATA_KEY)
        ]
        accounts = select(func.count()).where(ACCOUNT.c.tenant == "sunny", ACCOUNT.c.kind == "member")
        return [conn.execute(query).scalar_one() for query in (*of_tenant, accounts)]

    assert [1, 1, 1, 1, 1] == await members.database.read("sunny", counts)


async def test_the_same_key_enrols_one_member(members: Members):
    """A retry answers the member of the first time; somebody else under the key is refused."""
    first = await members.enrol("sunny", person(number=""), by=BY, key="crm-1")
    again = await members.enrol("sunny", person(number=""), by=BY, key="crm-1")
    assert first == again
    with pytest.raises(LoyaltyError) as refused:
        await members.enrol("sunny", person(number="", given_name="Berta"), by=BY, key="crm-1")
    assert "key_reused" == refused.value.code
    assert 1 == len(await entries(members))


async def test_one_number_enrolled_by_many_at_once_is_one_member(members: Members):
    """All but one are refused."""
    done = await asyncio.gather(*(enrolled(members) for _ in range(10)), return_exceptions=True)
    assert 1 == sum(isinstance(one, Member) for one in done)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "12345"),
        ("number", "12345678901"),
        ("number", "12a456"),
        ("family_name", "  "),
        ("family_name", "a" * 121),
        ("given_name", "Anna\nMaria"),
        ("born", date(1899, 12, 31)),
        ("email", "anna at example"),
        ("phone", "0891234567"),
        ("language", "german"),
    ],
)
async def test_wrong_personal_data_are_named_by_field_alone(members: Members, field: str, value: object):
    """The sentence names the field, never what was told."""
    with pytest.raises(PersonError) as refused:
        await enrolled(members, **{field: value})
    assert field == refused.value.field
    assert len(str(value)) < 5 or str(value) not in str(refused.value)


async def test_a_tenant_without_a_programme_has_no_members(members: Members):
    """Refused by name."""
    with pytest.raises(LoyaltyError) as refused:
        await members.enrol("snowy", person(), by=BY)
    assert "no_programme" == refused.value.code


async def test_a_second_node_with_a_key_of_its_own_is_refused(house: House):
    """Before it enrols anybody whom the first cannot read; nobody is just not found."""
    await enrolled(house.members)
    other = Members(house.members.database, Keys(Ring({1: Secret(bytes(32))})), PROGRAMMES)
    for asked in (other.claim_by_number("sunny", "4711001"), other.enrol("sunny", person(number=""), by=BY)):
        with pytest.raises(LoyaltyError) as refused:
            await asked
        assert "key_other" == refused.value.code
    assert not (await other.claim_by_number("rainy", "4711001")).known  # nobody there yet


# Claims


async def test_a_member_is_found_by_his_number_and_by_his_card(members: Members):
    """Both numbers lead to the same member; blanks and hyphens do not matter."""
    member = await members.enrol("sunny", person(), by=BY, card_number="900100200")
    for keyed in ("4711 001", "900-100-200"):
        assert Claim(member.member_id, known=True) == await members.claim_by_number("sunny", keyed)
    assert "0200" == member.card_last4


async def test_nobodys_number_gets_a_stable_decoy(members: Members):
    """The same keys, the same id; other keys, another; shaped like a real one."""
    member = await enrolled(members)
    claims = [await members.claim_by_number("sunny", number) for number in ("999999", "999999", "999998")]
    assert not any(claim.known for claim in claims)
    assert claims[0] == claims[1] != claims[2]
    assert all(DECOY.fullmatch(claim.member_id) for claim in claims)
    assert DECOY.fullmatch(member.member_id)


async def test_postcode_and_birth_find_one_member(members: Members):
    """However the postcode is written."""
    member = await enrolled(members, postcode="sw1a 1aa")
    claim = await members.claim_by_birth("sunny", "SW1A1AA", date(1980, 12, 31))
    assert Claim(member.member_id, known=True) == claim


async def test_several_members_are_told_apart_by_the_house_number(members: Members):
    """Ambiguous first; then the digits of the house number decide."""
    first = await enrolled(members)
    second = await enrolled(members, number="4711002", house_number="14")
    born = date(1980, 12, 31)
    assert Ambiguous() == await members.claim_by_birth("sunny", "80331", born)
    for member, house in ((first, "12"), (second, "14")):
        claim = await members.claim_by_birth("sunny", "80331", born, house)
        assert Claim(member.member_id, known=True) == claim


async def test_what_still_fits_several_or_nobody_gets_a_decoy(members: Members):
    """Twins in one house, or a house where nobody lives: the same neutral answer."""
    await enrolled(members)
    await enrolled(members, number="4711002", given_name="Berta")
    born = date(1980, 12, 31)
    twins = await members.claim_by_birth("sunny", "80331", born, "12")
    nobody = await members.claim_by_birth("sunny", "80331", born, "99")
    stranger = await members.claim_by_birth("sunny", "80331", date(1981, 1, 1))
    assert [False] * 3 == [claim.known for claim in (twins, nobody, stranger)]
    assert 3 == len({claim.member_id for claim in (twins, nobody, stranger)})


async def test_no_sequence_of_house_numbers_tells_a_member_from_nobody(members: Members):
    """Misses add up alike for the one who lives there and for a birth date that fits nobody."""
    await enrolled(members)
    born = {"member": date(1980, 12, 31), "nobody": date(1981, 1, 1)}
    claims = {
        (who, house): await members.claim_by_birth("sunny", "80331", day, house)
        for who, day in born.items()
        for house in HOUSES
    }

    def misses(who: str, houses: list[str]) -> list[int]:
        """The count that each wrong PIN has reached, kept by the claim's id as the vault keeps it."""
        counted: Counter[str] = Counter()
        reached = []
        for house in houses:
            claim = claims[who, house]
            assert isinstance(claim, Claim)
            counted[claim.member_id] += 1
            reached.append(counted[claim.member_id])
        return reached

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(HOUSES), max_size=8))
    def alike(houses: list[str]) -> None:
        assert misses("nobody", houses) == misses("member", houses)

    alike()


async def test_a_claim_runs_the_same_statements_for_a_member_and_for_nobody(house: House):
    """Counted at the connection: text for text the same."""
    members = house.members
    await members.enrol("sunny", person(), by=BY, card_number="900100200")
    await members.claim_by_number("sunny", "4711001")  # the first one also looks whether the keys fit
    ran: list[str] = []
    engine = members.database._reading
    event.listen(engine, "before_cursor_execute", lambda _c, _k, text, *_: ran.append(text))

    async def statements(claiming) -> list[str]:
        ran.clear()
        await claiming
        return list(ran)

    born = date(1980, 12, 31)
    numbers = [
        await statements(members.claim_by_number("sunny", n)) for n in ("4711001", "900100200", "123456")
    ]
    births = [
        await statements(members.claim_by_birth("sunny", "80331", day)) for day in (born, date(1950, 1, 1))
    ]
    houses = [await statements(members.claim_by_birth("sunny", "80331", born, n)) for n in ("12", "99")]
    assert numbers[0] == numbers[1] == numbers[2]
    assert births[0] == births[1]
    assert houses[0] == houses[1]
    assert len(numbers[0]) >= 2


# Cards and locks


async def test_a_locked_card_is_seen_at_once_and_stays_findable(members: Members):
    """Locking twice is quiet and noted once; asking goes on."""
    member = await enrolled(members)
    for _ in range(2):
        member = await members.lock_card(
            "sunny", member.member_id, by="caller", reason=Reason.LOST, call_id="call_abc"
        )
    assert CardState.LOCKED == member.card_state == (await members.get("sunny", member.member_id)).card_state
    assert (await members.claim_by_number("sunny", "4711001")).known
    assert (
        CardState.ACTIVE
        == (await members.unlock_card("sunny", member.member_id, by=BY, reason="found")).card_state
    )
    noted = [(one["name"], one["data"].get("reason"), one["call_id"]) for one in await entries(members)]
    assert [
        ("member.profile.enrolled", None, ""),
        ("card.member.locked", "lost", "call_abc"),
        ("card.member.unlocked", "found", ""),
    ] == noted


async def test_a_replaced_card_opens_nothing_any_more(members: Members):
    """The new one does, the customer number still does, and the old number is nobody else's."""
    member = await members.enrol("sunny", person(), by=BY, card_number="900100200")
    new = await members.replace_card("sunny", member.member_id, by=BY, reason="stolen")
    assert member.card_id != new.member.card_id
    assert CardState.ACTIVE == new.member.card_state
    assert not (await members.claim_by_number("sunny", "900100200")).known
    assert Claim(member.member_id, known=True) == await members.claim_by_number("sunny", new.number)
    with pytest.raises(LoyaltyError):
        await members.enrol("sunny", person(number="4711009"), by=BY, card_number="900100200")
    assert "NewCard" not in repr(new) or new.number not in repr(new)


async def test_a_locked_member_is_found_and_unlocked(members: Members):
    """The lock of the whole member, with its reason on record."""
    member = await enrolled(members)
    locked = await members.lock("sunny", member.member_id, by=BY, reason="fraud")
    assert Status.LOCKED == locked.status
    assert (await members.claim_by_number("sunny", "4711001")).known
    assert Status.ACTIVE == (await members.unlock("sunny", member.member_id, by=BY, reason="cleared")).status


async def test_a_reason_outside_the_list_is_refused(members: Members):
    """Nothing anybody typed can reach the log."""
    member = await enrolled(members)
    with pytest.raises(LoyaltyError) as refused:
        await members.lock("sunny", member.member_id, by=BY, reason="he was rude")
    assert "reason_unknown" == refused.value.code


# Changes


async def test_a_change_keeps_before_and_after_and_moves_the_indexes(members: Members):
    """Found by the new facts only; the log tells the fields, not the facts."""
    member = await enrolled(members)
    await members.change(
        "sunny", member.member_id, {"postcode": "10115", "language": "en-US"}, by=BY, reason="moved"
    )
    born = date(1980, 12, 31)
    assert not (await members.claim_by_birth("sunny", "80331", born)).known
    assert (await members.claim_by_birth("sunny", "10115", born)).known
    assert "en-US" == (await members.get("sunny", member.member_id)).language
    (change,) = await members.changes("sunny", member.member_id)
    assert {"postcode": "80331", "language": "de-DE"} == change.before
    assert {"postcode": "10115", "language": "en-US"} == change.after
    last = (await entries(members))[-1]
    told = {"fields": "postcode,language", "reason": "moved", "messages": 0}
    assert ("member.profile.changed", told) == (last["name"], last["data"])


async def test_a_change_that_changes_nothing_is_not_noted(members: Members):
    """The same facts again leave no trace."""
    member = await enrolled(members)
    await members.change("sunny", member.member_id, {"postcode": "80331 "}, by=BY)
    assert () == await members.changes("sunny", member.member_id)
    assert 1 == len(await entries(members))


@pytest.mark.parametrize("changes", [{"number": "123456"}, {"colour": "red"}, {"born": "1980-12-31"}])
async def test_what_cannot_be_changed_is_refused(members: Members, changes: dict[str, object]):
    """The number is for life; an unknown field and a wrong type change nothing."""
    member = await enrolled(members)
    with pytest.raises(PersonError):
        await members.change("sunny", member.member_id, changes, by=BY)
    assert person() == await members.person("sunny", member.member_id)


# Restriction


async def test_a_closed_member_is_found_by_no_search(members: Members):
    """Neither by number, card nor birth; for the law alone he is still there."""
    member = await members.enrol("sunny", person(), by=BY, card_number="900100200")
    await members.close_member("sunny", member.member_id, by=BY)
    assert not (await members.claim_by_number("sunny", "4711001")).known
    assert not (await members.claim_by_number("sunny", "900100200")).known
    assert not (await members.claim_by_birth("sunny", "80331", date(1980, 12, 31))).known
    for asked in (members.get, members.person):
        with pytest.raises(LoyaltyError) as refused:
            await asked("sunny", member.member_id)
        assert "member_unknown" == refused.value.code
    assert person() == await members.person("sunny", member.member_id, role=Role.LEGAL)
    with pytest.raises(LoyaltyError):
        await members.change("sunny", member.member_id, {"email": ""}, by=BY)
    with pytest.raises(LoyaltyError):
        await members.unlock_card("sunny", member.member_id, by=BY, reason="found")


async def test_personal_data_are_in_no_repr_and_no_log_entry(members: Members):
    """Person, change and new card print nothing; the outbox holds ids and words."""
    member = await enrolled(members)
    await members.change("sunny", member.member_id, {"email": "b@example.org"}, by=BY)
    printed = repr(person()) + repr(await members.changes("sunny", member.member_id)) + repr(member)
    printed += json.dumps(await entries(members))
    for told in ("Anna", "Gr", "80331", "4711001", "example", "4989"):
        assert told not in printed


async def test_a_sealed_thing_of_somebody_else_opens_for_its_member_alone(members: Members):
    """What a delivery keeps under a member's key."""
    one, other = await enrolled(members), await enrolled(members, number="4711002")
    octets = await members.database.write(
        "sunny", lambda conn: members.seal(conn, one.member_id, "dlv_a", b"hello")
    )
    read = members.database.read
    assert b"hello" == await read("sunny", lambda conn: members.open(conn, one.member_id, "dlv_a", octets))
    for member_id, name in ((other.member_id, "dlv_a"), (one.member_id, "dlv_b")):
        with pytest.raises(LoyaltyError):
            await read("sunny", lambda conn: members.open(conn, member_id, name, octets))  # noqa: B023
