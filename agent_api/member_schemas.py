"""What enters and leaves the desk about members and points: pydantic models, as in `schemas.py`.

Points are whole numbers of the tenant's programme. Personal data leaves only in `PersonAnswer`.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from agent_api.schemas import Answer, Body, looks_like_pan
from loyalty.programme import POINTS_MAX
from vault import PinPurpose, PinResult

MOVEMENTS_MAX = 50
"""On one page; whoever needs all of them asks for the next page, or for the export."""
CENTURY = r"^(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}$"


def _no_pan(text: str) -> str:
    if looks_like_pan(text):
        raise ValueError("looks like a PAN")
    return text


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


Points = Annotated[int, Field(ge=1, le=POINTS_MAX, description="Whole points of the programme.")]
Text = Annotated[str, Field(max_length=120), AfterValidator(_no_pan)]
Number = Annotated[str, Field(pattern=r"^[0-9]{4,10}$", description="Customer or card number.")]
ReasonWord = Literal["lost", "stolen", "damaged", "found", "fraud", "cleared", "asked", "moved", "corrected"]
"""Why something is done with a member or a card; the log tells it."""
PostingReason = Annotated[
    str, Field(pattern=r"^[a-z][a-z_]{0,31}$", description="One word for the log: `returned`, `goodwill`.")
]


Born = Annotated[str, Field(pattern=CENTURY, description="ISO date."), AfterValidator(_day)]
Phone = Annotated[str, Field(max_length=20, description="E.164 with its plus.")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}-[A-Z]{2}$")]


class PersonBody(Body):
    """A new member; what is not known of him is left out."""

    number: Annotated[str, Field(pattern=r"^([0-9]{4,10})?$", description="Empty: one is made.")] = ""
    given_name: Text = ""
    family_name: Text
    postcode: Text = ""
    house_number: Text = ""
    born: Born
    email: Text = ""
    phone: Phone = ""
    language: Language | None = None
    """Left out: the tenant's first."""


class ChangesBody(Body):
    """What is to change of a member's personal data: fields that are left out stay, an empty text is erased.

    The number is for life.
    """

    given_name: Text | None = None
    family_name: Text | None = None
    postcode: Text | None = None
    house_number: Text | None = None
    born: Born | None = None
    email: Text | None = None
    phone: Phone | None = None
    language: Language | None = None
    reason: ReasonWord = "asked"

    def told(self) -> dict[str, object]:
        """The fields that were sent, `born` as a date."""
        sent = self.model_dump(exclude={"reason"}, exclude_none=True)
        return sent | ({"born": date.fromisoformat(self.born)} if self.born is not None else {})


class FindMemberBody(Body):
    """Who is looked for: by number, or by postcode and date of birth (and house number when several fit)."""

    number: Number | None = None
    postcode: Text | None = None
    born: Born | None = None
    house_number: Text = ""


class EarnBody(Body):
    """Points for a purchase, once per receipt."""

    points: Points
    receipt: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,80}$", description="Your receipt's id.")]


class RedeemBody(Body):
    """Which reward."""

    reward_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class ReverseBody(Body):
    """A posting taken back, in whole or in part."""

    reason: PostingReason
    points: Points | None = None
    """Left out: all that has not been taken back yet."""


class ReverseRedemptionBody(Body):
    """A redemption taken back: the points return, a voucher's code stays used."""

    reason: PostingReason


class AdjustBody(Body):
    """Points given or taken by a person, with a reason."""

    points: Annotated[int, Field(ge=-POINTS_MAX, le=POINTS_MAX, description="Below zero: taken.")]
    reason: PostingReason


class PayoutBody(Body):
    """Points for money."""

    points: Points


class DecideBody(Body):
    """The second person's word about a payout."""

    release: bool


class ReasonBody(Body):
    """Why a card or a member is locked or unlocked."""

    reason: ReasonWord


class MovementsBody(Body):
    """Which page of a member's movements."""

    limit: Annotated[int, Field(ge=1, le=MOVEMENTS_MAX)] = 20
    before: Annotated[str, Field(pattern=r"^(jrn_[A-Za-z0-9_-]{1,64})?$")] = ""
    """The last `journal_id` of the page before."""


class PinBody(Body):
    """A PIN is keyed on this call: the caller keys, the agent hears nothing of it."""

    member_id: Annotated[str, Field(pattern=r"^mem_[A-Za-z0-9_-]{1,64}$")]
    purpose: PinPurpose

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, hide_input_in_errors=True
    )  # an enum's word is a text in JSON


class MemberAnswer(Answer):
    """A member as the programme knows him; no personal data."""

    member_id: str
    status: str
    """`active`, `locked` or `closed`."""
    language: str
    card_last4: str
    card_state: str
    """`active`, `locked` or `replaced`."""


class PersonAnswer(Answer):
    """A member with his personal data."""

    member: MemberAnswer
    number: str
    given_name: str
    family_name: str
    postcode: str
    house_number: str
    born: str
    email: str
    phone: str


class FoundAnswer(Answer):
    """Who fits: nobody, one member, or several (`ask_house_number`)."""

    member: MemberAnswer | None
    ask_house_number: bool


class BalanceAnswer(Answer):
    """What a member has now."""

    available: int
    held: int
    """Kept for redemptions and payouts under way."""
    expiring_points: int
    next_expiry: str | None
    """The day from which `expiring_points` are no longer there."""


class MovementAnswer(Answer):
    """One movement of points, as the member sees it."""

    journal_id: str
    kind: str
    points: int
    """Below zero: taken."""
    at: str
    """When it was booked, UTC."""
    on: str
    """The day it is told by, of the tenant's clock."""
    reason: str
    reverses: str
    """The journal that it takes back; empty for none."""


class MovementsAnswer(Answer):
    """The newest first."""

    movements: tuple[MovementAnswer, ...]


class OfferAnswer(Answer):
    """A reward as this member may see it."""

    reward_id: str
    kind: str
    name: str
    points: int
    affordable: bool
    left_today: int | None


class OffersAnswer(Answer):
    """The catalogue in its own order."""

    rewards: tuple[OfferAnswer, ...]


class BookedAnswer(Answer):
    """Points moved; the same for every retry under the same key."""

    journal_id: str
    points: int
    available: int
    replayed: bool


class RedeemedAnswer(Answer):
    """Points became a donation or a voucher; the same for every retry under the same key."""

    redemption_id: str
    kind: str
    points: int
    receipt: str
    code: str | None
    delivery: str | None
    """`email`, `sms` or null: how the code also travels."""


class RedemptionAnswer(Answer):
    """One redemption in a list, without its code."""

    redemption_id: str
    reward_id: str
    kind: str
    points: int
    state: str
    receipt: str
    channel: str
    at: str


class RedemptionsAnswer(Answer):
    """The newest first."""

    redemptions: tuple[RedemptionAnswer, ...]


class PayoutAnswer(Answer):
    """A payout, asked for or decided."""

    payout_id: str
    member_id: str
    points: int
    amount_minor: int
    currency: str
    asked_by: str
    decided_by: str
    state: str
    at: str


class PayoutsAnswer(Answer):
    """Payouts that wait for a second person."""

    payouts: tuple[PayoutAnswer, ...]


class PinStandingAnswer(Answer):
    """What may be known about a member's PIN."""

    set: bool
    locked: bool
    misses: int


class CodeSentAnswer(Answer):
    """A reset code is on its way to the member's own address; nobody here sees it."""

    medium: str


class PinResultAnswer(Answer):
    """How a PIN entry on a call ended."""

    result: PinResult
