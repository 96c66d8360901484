"""Members at the desk: who they are, their cards, their PINs.

An agent may act for the member whom the flow named on a live call of his; everything else, and every access
key, needs a permission by name. A member of another tenant is as unknown as one that never was.
"""

import hashlib
from datetime import date

from agent_api.calls import own_call
from agent_api.desk import Ask, Desk
from agent_api.member_schemas import (
    ChangesBody,
    CodeSentAnswer,
    FindMemberBody,
    FoundAnswer,
    MemberAnswer,
    PersonAnswer,
    PersonBody,
    PinBody,
    PinResultAnswer,
    PinStandingAnswer,
    ReasonBody,
)
from agent_api.money import check_permission
from agent_api.payments import idempotency_key
from agent_api.problems import DeskError
from loyalty.answers import CodeNotSent, Refusal
from loyalty.members import Ambiguous, Member, Person
from loyalty.service import Loyalty
from pay_ivr.people import Permission
from vault import PinPurpose

MEMBER_OF_CALL = "member"
"""Where a flow writes whom it has logged in (`Call.context`)."""

CODES: dict[Refusal, str] = {
    Refusal.INSUFFICIENT: "points_insufficient",
    Refusal.CARD_LOCKED: "member_card_locked",
    Refusal.MEMBER_LOCKED: "member_locked",
    Refusal.MEMBER_UNKNOWN: "member_unknown",
    Refusal.LIMIT_REACHED: "reward_limit_reached",
    Refusal.OUT_OF_STOCK: "reward_out_of_stock",
    Refusal.LATER: "redemption_later",
    Refusal.REWARD_UNKNOWN: "reward_unknown",
    Refusal.PROVIDER_REFUSED: "voucher_refused",
    Refusal.RECEIPT_USED: "receipt_used",
    Refusal.UNKNOWN: "posting_unknown",
    Refusal.ALREADY_REVERSED: "already_reversed",
    Refusal.NOT_REVERSIBLE: "posting_not_reversible",
    Refusal.ALREADY_DECIDED: "payout_decided",
    Refusal.SAME_PERSON: "payout_same_person",
    Refusal.NEEDS_SECOND: "needs_second_person",
    Refusal.PAYOUT_OFF: "payout_off",
    Refusal.AMOUNT_WRONG: "points_wrong",
    Refusal.NO_ADDRESS: "member_address_missing",
    Refusal.NOT_SENT: "reset_code_unsent",
}
"""A refusal's row in `problems.py`."""


def refused(code: Refusal) -> DeskError:
    """The problem of a refusal; nothing was booked."""
    return DeskError(CODES[code])


def service(desk: Desk, ask: Ask) -> Loyalty:
    """The loyalty service; DeskError("loyalty_off") when the asker's tenant has no programme."""
    if desk.loyalty is None or ask.who.tenant not in desk.loyalty.tenants():
        raise DeskError("loyalty_off")
    return desk.loyalty


def loyalty_key(ask: Ask) -> str:
    """The key under which this write is remembered: one asker's keys are none of another's."""
    return hashlib.sha256(f"{ask.who.name}\0{idempotency_key(ask)}".encode()).hexdigest()[:40]


async def check_member(desk: Desk, ask: Ask, needed: Permission = Permission.MEMBERS) -> str:
    """The member of the path, when the asker may act for him; DeskError("permission_needed") otherwise."""
    service(desk, ask)
    member_id = ask.part("member_id")
    if not _on_own_call(desk, ask, member_id):
        await check_permission(desk, ask.who, needed)
    return member_id


def _on_own_call(desk: Desk, ask: Ask, member_id: str) -> bool:
    """True when the asker has this member on the line: a flow has logged him in on this very call."""
    if ask.who.agent is None:
        return False
    calls = desk.switchboard.calls_of(ask.who.tenant, ask.who.agent.agent_id)
    return any(call.context.get(MEMBER_OF_CALL) == member_id for call in calls)


async def enrol(desk: Desk, ask: Ask) -> PersonAnswer:
    """POST /v1/members: a new member with an account and a card; the same one under the same key."""
    body = ask.body
    assert isinstance(body, PersonBody)
    loyalty, tenant = service(desk, ask), ask.who.tenant
    await check_permission(desk, ask.who, Permission.MEMBERS)
    person = Person(
        number=body.number,
        given_name=body.given_name,
        family_name=body.family_name,
        postcode=body.postcode,
        house_number=body.house_number,
        born=date.fromisoformat(body.born),
        email=body.email,
        phone=body.phone,
        language=body.language or desk.tenants[tenant].languages[0],
    )
    member = await loyalty.members.enrol(tenant, person, by=ask.who.name, key=loyalty_key(ask))
    return await _person_answer(loyalty, ask, member)


async def find(desk: Desk, ask: Ask) -> FoundAnswer:
    """POST /v1/members/search: by number, or by postcode and date of birth; at most one is told."""
    body = ask.body
    assert isinstance(body, FindMemberBody)
    loyalty = service(desk, ask)
    await check_permission(desk, ask.who, Permission.MEMBERS)
    members, tenant = loyalty.members, ask.who.tenant
    if body.number is not None:
        claim = await members.claim_by_number(tenant, body.number)
    elif body.postcode is not None and body.born is not None:
        born = date.fromisoformat(body.born)
        found = await members.claim_by_birth(tenant, body.postcode, born, body.house_number)
        if isinstance(found, Ambiguous):
            return FoundAnswer(member=None, ask_house_number=True)
        claim = found
    else:
        raise DeskError("member_search_empty")
    if not claim.known:
        return FoundAnswer(member=None, ask_house_number=False)
    return FoundAnswer(
        member=member_answer(await members.get(tenant, claim.member_id)), ask_house_number=False
    )


async def read_member(desk: Desk, ask: Ask) -> PersonAnswer:
    """GET /v1/members/{member_id}: with personal data."""
    member_id = await check_member(desk, ask)
    loyalty = service(desk, ask)
    return await _person_answer(loyalty, ask, await loyalty.members.get(ask.who.tenant, member_id))


async def change(desk: Desk, ask: Ask) -> PersonAnswer:
    """POST …/changes: personal data changed, before and after kept sealed."""
    body = ask.body
    assert isinstance(body, ChangesBody)
    member_id = await check_member(desk, ask)
    loyalty = service(desk, ask)
    member = await loyalty.members.change(
        ask.who.tenant, member_id, body.told(), by=ask.who.name, reason=body.reason
    )
    return await _person_answer(loyalty, ask, member)


async def lock_card(desk: Desk, ask: Ask) -> MemberAnswer:
    """POST …/card/lock: nothing can be redeemed from now on."""
    assert isinstance(ask.body, ReasonBody)
    member_id = await check_member(desk, ask)
    work = service(desk, ask).lock_card(ask.who.tenant, member_id, by=ask.who.name, reason=ask.body.reason)
    return member_answer(await work)


async def unlock_card(desk: Desk, ask: Ask) -> MemberAnswer:
    """POST …/card/unlock: only with the permission, also on one's own call (F19: stronger identification)."""
    assert isinstance(ask.body, ReasonBody)
    await check_permission(desk, ask.who, Permission.MEMBERS)
    work = service(desk, ask).unlock_card(
        ask.who.tenant, ask.part("member_id"), by=ask.who.name, reason=ask.body.reason
    )
    return member_answer(await work)


async def lock_member(desk: Desk, ask: Ask) -> MemberAnswer:
    """POST …/lock: the whole member; he can ask and speak with an agent, no more."""
    assert isinstance(ask.body, ReasonBody)
    await check_permission(desk, ask.who, Permission.MEMBERS)
    work = service(desk, ask).members.lock(
        ask.who.tenant, ask.part("member_id"), by=ask.who.name, reason=ask.body.reason
    )
    return member_answer(await work)


async def unlock_member(desk: Desk, ask: Ask) -> MemberAnswer:
    """POST …/unlock: the member may redeem again."""
    assert isinstance(ask.body, ReasonBody)
    await check_permission(desk, ask.who, Permission.MEMBERS)
    work = service(desk, ask).members.unlock(
        ask.who.tenant, ask.part("member_id"), by=ask.who.name, reason=ask.body.reason
    )
    return member_answer(await work)


async def read_pin(desk: Desk, ask: Ask) -> PinStandingAnswer:
    """GET …/pin: whether there is one, whether it is locked."""
    member_id = await check_member(desk, ask)
    standing = await desk.door.pin_standing(ask.who.tenant, member_id)
    return PinStandingAnswer(set=standing.set, locked=standing.locked, misses=standing.misses)


async def unlock_pin(desk: Desk, ask: Ask) -> PinStandingAnswer:
    """POST …/pin/unlock: the misses are forgotten, logins on the web end; only with the permission."""
    await check_permission(desk, ask.who, Permission.MEMBERS)
    service(desk, ask)
    member = await service(desk, ask).members.get(ask.who.tenant, ask.part("member_id"))
    await desk.door.unlock_pin(ask.who.tenant, member.member_id, by=ask.who.name)
    desk.member_logins.close_all(ask.who.tenant, member.member_id)
    standing = await desk.door.pin_standing(ask.who.tenant, member.member_id)
    return PinStandingAnswer(set=standing.set, locked=standing.locked, misses=standing.misses)


async def send_reset_code(desk: Desk, ask: Ask) -> CodeSentAnswer:
    """POST …/pin/reset-code: to the member's own address; nobody here sees it."""
    member_id = await check_member(desk, ask)
    sent = await service(desk, ask).send_reset_code(ask.who.tenant, member_id, by=ask.who.name)
    if isinstance(sent, CodeNotSent):
        raise refused(sent.code)
    return CodeSentAnswer(medium=sent.medium.value)


async def key_pin(desk: Desk, ask: Ask) -> PinResultAnswer:
    """POST /v1/calls/{call_id}/pin: the caller keys a PIN; answered when the entry is over."""
    body = ask.body
    assert isinstance(body, PinBody)
    call = own_call(desk, ask.part("call_id"), ask.who)
    members = service(desk, ask).members
    if body.purpose is PinPurpose.SET:  # nothing but the agent's word says whose PIN it will be
        await check_permission(desk, ask.who, Permission.MEMBERS)
    member = await members.get(ask.who.tenant, body.member_id)
    person = await members.person(ask.who.tenant, member.member_id)
    result = await desk.switchboard.ask_pin(
        call.call_id, member.member_id, body.purpose, ask.agent.agent_id, person.born.isoformat()
    )
    return PinResultAnswer(result=result)


def member_answer(member: Member) -> MemberAnswer:
    """A member without personal data."""
    return MemberAnswer(
        member_id=member.member_id,
        status=member.status.value,
        language=member.language,
        card_last4=member.card_last4,
        card_state=member.card_state.value,
    )


async def _person_answer(loyalty: Loyalty, ask: Ask, member: Member) -> PersonAnswer:
    person = await loyalty.members.person(ask.who.tenant, member.member_id)
    return PersonAnswer(
        member=member_answer(member),
        number=person.number,
        given_name=person.given_name,
        family_name=person.family_name,
        postcode=person.postcode,
        house_number=person.house_number,
        born=person.born.isoformat(),
        email=person.email,
        phone=person.phone,
    )
