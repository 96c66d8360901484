"""The routes of members and points, as data; part of `ROUTES`."""

from agent_api import members, payments, points
from agent_api.member_schemas import (
    AdjustBody,
    BalanceAnswer,
    BookedAnswer,
    CodeSentAnswer,
    DecideBody,
    EarnBody,
    FindMemberBody,
    FoundAnswer,
    MemberAnswer,
    MovementsAnswer,
    MovementsBody,
    OffersAnswer,
    PayoutAnswer,
    PayoutBody,
    PayoutsAnswer,
    PersonAnswer,
    PersonBody,
    PinBody,
    PinResultAnswer,
    PinStandingAnswer,
    ReasonBody,
    RedeemBody,
    RedeemedAnswer,
    RedemptionsAnswer,
    ReverseBody,
    ReverseRedemptionBody,
)
from agent_api.route import Access, Route

MEMBER = "/v1/members/{member_id}"
REDEMPTION = "/v1/redemptions/{redemption_id}"
ONCE = (payments.IDEMPOTENCY_HEADER,)
BOTH = Access.BOTH

PEOPLE: tuple[Route, ...] = (
    Route(
        "POST", "/v1/members", members.enrol, BOTH, "Enrol a member.", PersonAnswer, PersonBody, status=201
    ),
    Route("POST", "/v1/members/search", members.find, BOTH, "Find one member.", FoundAnswer, FindMemberBody),
    Route("GET", MEMBER, members.read_member, BOTH, "A member with personal data.", PersonAnswer),
    Route(
        "POST", MEMBER + "/changes", members.change, BOTH, "Change personal data.", PersonAnswer, PersonBody
    ),
    Route("POST", MEMBER + "/lock", members.lock_member, BOTH, "Lock the member.", MemberAnswer, ReasonBody),
    Route(
        "POST",
        MEMBER + "/unlock",
        members.unlock_member,
        BOTH,
        "Unlock the member.",
        MemberAnswer,
        ReasonBody,
    ),
    Route("POST", MEMBER + "/card/lock", members.lock_card, BOTH, "Lock the card.", MemberAnswer, ReasonBody),
    Route(
        "POST",
        MEMBER + "/card/unlock",
        members.unlock_card,
        BOTH,
        "Unlock the card, after stronger identification.",
        MemberAnswer,
        ReasonBody,
    ),
    Route("GET", MEMBER + "/pin", members.read_pin, BOTH, "How the PIN stands.", PinStandingAnswer),
    Route("POST", MEMBER + "/pin/unlock", members.unlock_pin, BOTH, "Unlock the PIN.", PinStandingAnswer),
    Route(
        "POST",
        MEMBER + "/pin/reset-code",
        members.send_reset_code,
        BOTH,
        "Send a reset code to the member's own address.",
        CodeSentAnswer,
    ),
    Route(
        "POST",
        "/v1/calls/{call_id}/pin",
        members.key_pin,
        Access.AGENT,
        "The caller keys a PIN; you hear nothing of it. Answered when it is over.",
        PinResultAnswer,
        PinBody,
    ),
)

POINTS: tuple[Route, ...] = (
    Route("GET", MEMBER + "/balance", points.read_balance, BOTH, "Points of a member.", BalanceAnswer),
    Route(
        "POST",
        MEMBER + "/movements",
        points.read_movements,
        BOTH,
        "A page of movements, the newest first.",
        MovementsAnswer,
        MovementsBody,
    ),
    Route("GET", "/v1/rewards", points.list_rewards, BOTH, "The catalogue.", OffersAnswer),
    Route("GET", MEMBER + "/rewards", points.list_offers, BOTH, "The catalogue for a member.", OffersAnswer),
    Route(
        "POST",
        MEMBER + "/earn",
        points.earn,
        BOTH,
        "Points for a purchase.",
        BookedAnswer,
        EarnBody,
        headers=ONCE,
    ),
    Route(
        "POST",
        MEMBER + "/redeem",
        points.redeem,
        BOTH,
        "Points for a donation or a voucher.",
        RedeemedAnswer,
        RedeemBody,
        headers=ONCE,
    ),
    Route(
        "GET", MEMBER + "/redemptions", points.list_redemptions, BOTH, "Past redemptions.", RedemptionsAnswer
    ),
    Route("GET", REDEMPTION, points.read_redemption, Access.KEY, "One redemption.", RedeemedAnswer),
    Route(
        "POST",
        REDEMPTION + "/reverse",
        points.reverse_redemption,
        BOTH,
        "Take a redemption back: the points return.",
        BookedAnswer,
        ReverseRedemptionBody,
        headers=ONCE,
    ),
    Route(
        "POST",
        "/v1/postings/{journal_id}/reverse",
        points.reverse,
        BOTH,
        "Take a posting back, all or a part: returned goods.",
        BookedAnswer,
        ReverseBody,
        headers=ONCE,
    ),
    Route(
        "POST",
        MEMBER + "/adjust",
        points.adjust,
        BOTH,
        "Give or take points with a reason.",
        BookedAnswer,
        AdjustBody,
        headers=ONCE,
    ),
    Route(
        "POST",
        MEMBER + "/payouts",
        points.ask_payout,
        BOTH,
        "Ask for money for points; a second person decides.",
        PayoutAnswer,
        PayoutBody,
        headers=ONCE,
    ),
    Route("GET", "/v1/payouts", points.list_payouts, Access.AGENT, "Payouts that wait.", PayoutsAnswer),
    Route(
        "POST",
        "/v1/payouts/{payout_id}/decide",
        points.decide_payout,
        Access.AGENT,
        "Release or refuse a payout.",
        PayoutAnswer,
        DecideBody,
    ),
)

MEMBER_ROUTES = PEOPLE + POINTS
