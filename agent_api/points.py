"""Points over HTTP: what a member has, earns and redeems; for the tenants' systems and for agents.

Every write takes an Idempotency-Key. Sent again with the same key it brings the same answer and books
nothing twice, also after a crash: the key goes into the ledger itself, not into a memory of the desk.
"""

from agent_api.desk import Ask, Desk
from agent_api.member_schemas import (
    AdjustBody,
    BalanceAnswer,
    BookedAnswer,
    DecideBody,
    EarnBody,
    MovementAnswer,
    MovementsAnswer,
    MovementsBody,
    OfferAnswer,
    OffersAnswer,
    PayoutAnswer,
    PayoutBody,
    PayoutsAnswer,
    RedeemBody,
    RedeemedAnswer,
    RedemptionAnswer,
    RedemptionsAnswer,
    ReverseBody,
    ReverseRedemptionBody,
)
from agent_api.members import check_member, loyalty_key, refused, service
from agent_api.money import check_permission
from loyalty.answers import (
    Booked,
    Channel,
    NotBooked,
    NotRedeemed,
    Offer,
    Payout,
    Redeemed,
)
from pay_ivr.people import Permission

REDEMPTIONS_MAX = 50
"""Of one list: nobody reads more."""


async def read_balance(desk: Desk, ask: Ask) -> BalanceAnswer:
    """GET …/balance."""
    member_id = await check_member(desk, ask)
    balance = await service(desk, ask).balance(ask.who.tenant, member_id)
    return BalanceAnswer(
        available=balance.available,
        held=balance.held,
        expiring_points=balance.expiring_points,
        next_expiry=balance.next_expiry.isoformat() if balance.next_expiry else None,
    )


async def read_movements(desk: Desk, ask: Ask) -> MovementsAnswer:
    """POST …/movements: a page of what happened, the newest first."""
    body = ask.body
    assert isinstance(body, MovementsBody)
    member_id = await check_member(desk, ask)
    found = await service(desk, ask).movements(ask.who.tenant, member_id, body.limit, body.before)
    return MovementsAnswer(
        movements=tuple(
            MovementAnswer(
                journal_id=one.journal_id,
                kind=one.kind,
                points=one.points,
                at=one.at,
                on=one.on.isoformat(),
                reason=one.reason,
                reverses=one.reverses,
            )
            for one in found
        )
    )


async def list_rewards(desk: Desk, ask: Ask) -> OffersAnswer:
    """GET /v1/rewards: the catalogue as anybody may see it."""
    offers = await service(desk, ask).rewards(ask.who.tenant, None, ask.who.language)
    return _offers_answer(offers)


async def list_offers(desk: Desk, ask: Ask) -> OffersAnswer:
    """GET …/rewards: the catalogue as this member may see it."""
    member_id = await check_member(desk, ask)
    return _offers_answer(await service(desk, ask).rewards(ask.who.tenant, member_id, ask.who.language))


async def earn(desk: Desk, ask: Ask) -> BookedAnswer:
    """POST …/earn: points for a purchase, once per receipt."""
    body = ask.body
    assert isinstance(body, EarnBody)
    await check_permission(desk, ask.who, Permission.POINTS)
    answer = await service(desk, ask).earn(
        ask.who.tenant,
        ask.part("member_id"),
        body.points,
        body.receipt,
        key=loyalty_key(ask),
        by=ask.who.name,
    )
    return _booked_answer(answer)


async def redeem(desk: Desk, ask: Ask) -> RedeemedAnswer:
    """POST …/redeem: points for a donation or a voucher."""
    body = ask.body
    assert isinstance(body, RedeemBody)
    member_id = await check_member(desk, ask, Permission.POINTS)
    answer = await service(desk, ask).redeem(
        ask.who.tenant,
        member_id,
        body.reward_id,
        key=loyalty_key(ask),
        channel=Channel.API if ask.who.agent is None else Channel.AGENT,
        by=ask.who.name,
    )
    return _redeemed_answer(answer)


async def list_redemptions(desk: Desk, ask: Ask) -> RedemptionsAnswer:
    """GET …/redemptions: the member's last ones, without codes."""
    member_id = await check_member(desk, ask)
    found = await service(desk, ask).redemptions(ask.who.tenant, member_id, REDEMPTIONS_MAX)
    return RedemptionsAnswer(
        redemptions=tuple(
            RedemptionAnswer(
                redemption_id=one.redemption_id,
                reward_id=one.reward_id,
                kind=one.kind.value,
                points=one.points,
                state=one.state.value,
                receipt=one.receipt,
                channel=one.channel.value,
                at=one.at,
            )
            for one in found
        )
    )


async def read_redemption(desk: Desk, ask: Ask) -> RedeemedAnswer:
    """GET /v1/redemptions/{redemption_id}: how it stands, with its code; for access keys."""
    await check_permission(desk, ask.who, Permission.POINTS)
    return _redeemed_answer(await service(desk, ask).redemption(ask.who.tenant, ask.part("redemption_id")))


async def reverse_redemption(desk: Desk, ask: Ask) -> BookedAnswer:
    """POST /v1/redemptions/{redemption_id}/reverse: the points return to their lots, once."""
    assert isinstance(ask.body, ReverseRedemptionBody)
    await check_permission(desk, ask.who, Permission.POINTS)
    answer = await service(desk, ask).reverse_redemption(
        ask.who.tenant,
        ask.part("redemption_id"),
        key=loyalty_key(ask),
        reason=ask.body.reason,
        by=ask.who.name,
    )
    return _booked_answer(answer)


async def reverse(desk: Desk, ask: Ask) -> BookedAnswer:
    """POST /v1/postings/{journal_id}/reverse: returned goods; linked to the posting, never deleted."""
    body = ask.body
    assert isinstance(body, ReverseBody)
    await check_permission(desk, ask.who, Permission.POINTS)
    answer = await service(desk, ask).reverse(
        ask.who.tenant,
        ask.part("journal_id"),
        key=loyalty_key(ask),
        reason=body.reason,
        by=ask.who.name,
        points=body.points,
    )
    return _booked_answer(answer)


async def adjust(desk: Desk, ask: Ask) -> BookedAnswer:
    """POST …/adjust: given or taken by a person, with a reason."""
    body = ask.body
    assert isinstance(body, AdjustBody)
    await check_permission(desk, ask.who, Permission.POINTS)
    answer = await service(desk, ask).adjust(
        ask.who.tenant,
        ask.part("member_id"),
        body.points,
        key=loyalty_key(ask),
        reason=body.reason,
        by=ask.who.name,
    )
    return _booked_answer(answer)


async def ask_payout(desk: Desk, ask: Ask) -> PayoutAnswer:
    """POST …/payouts: the points are kept until a second person has decided."""
    assert isinstance(ask.body, PayoutBody)
    member_id = await check_member(desk, ask, Permission.POINTS)
    answer = await service(desk, ask).ask_payout(
        ask.who.tenant, member_id, ask.body.points, key=loyalty_key(ask), by=ask.who.name
    )
    return _payout_answer(answer)


async def list_payouts(desk: Desk, ask: Ask) -> PayoutsAnswer:
    """GET /v1/payouts: those that wait."""
    await check_permission(desk, ask.who, Permission.PAYOUT)
    waiting = await service(desk, ask).payouts(ask.who.tenant)
    return PayoutsAnswer(payouts=tuple(_payout_answer(one) for one in waiting))


async def decide_payout(desk: Desk, ask: Ask) -> PayoutAnswer:
    """POST /v1/payouts/{payout_id}/decide: by another person than the one who asked."""
    assert isinstance(ask.body, DecideBody)
    await check_permission(desk, ask.who, Permission.PAYOUT)
    answer = await service(desk, ask).decide_payout(
        ask.who.tenant, ask.part("payout_id"), release=ask.body.release, by=ask.who.name
    )
    return _payout_answer(answer)


def _booked_answer(answer: Booked | NotBooked) -> BookedAnswer:
    if isinstance(answer, NotBooked):
        raise refused(answer.code)
    return BookedAnswer(
        journal_id=answer.journal_id,
        points=answer.points,
        available=answer.available,
        replayed=answer.replayed,
    )


def _redeemed_answer(answer: Redeemed | NotRedeemed) -> RedeemedAnswer:
    if isinstance(answer, NotRedeemed):
        raise refused(answer.code)
    return RedeemedAnswer(
        redemption_id=answer.redemption_id,
        kind=answer.kind.value,
        points=answer.points,
        receipt=answer.receipt,
        code=answer.code,
        delivery=answer.delivery.value if answer.delivery else None,
    )


def _payout_answer(answer: Payout | NotBooked) -> PayoutAnswer:
    if isinstance(answer, NotBooked):
        raise refused(answer.code)
    return PayoutAnswer(
        payout_id=answer.payout_id,
        member_id=answer.member_id,
        points=answer.points,
        amount_minor=answer.amount_minor,
        currency=answer.currency,
        asked_by=answer.asked_by,
        decided_by=answer.decided_by,
        state=answer.state,
        at=answer.at,
    )


def _offers_answer(offers: tuple[Offer, ...]) -> OffersAnswer:
    return OffersAnswer(
        rewards=tuple(
            OfferAnswer(
                reward_id=one.reward_id,
                kind=one.kind.value,
                name=one.name,
                points=one.points,
                affordable=one.affordable,
                left_today=one.left_today,
            )
            for one in offers
        )
    )
