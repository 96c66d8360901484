"""What the loyalty façade answers: frozen values, refusals included.

A refusal is no error: a caller hears it, a page shows it, and nothing was booked. An address or a voucher
code is in no repr.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from loyalty.errors import LoyaltyError
from loyalty.ledger import commands
from loyalty.programme import RewardKind
from pay_ivr.channels import Medium

KEY_MAX = 80
"""Characters of a caller's idempotency key; what we put before it still fits the ledger's 100."""


class Channel(StrEnum):
    """Where a wish came from."""

    PHONE = "phone"
    WEB = "web"
    API = "api"
    AGENT = "agent"


class Refusal(StrEnum):
    """Why nothing was done; the same words everywhere, each with a sentence for the caller."""

    INSUFFICIENT = "insufficient"
    """Fewer points are available."""
    CARD_LOCKED = "card_locked"
    """No card of the member is active."""
    MEMBER_LOCKED = "member_locked"
    """The whole member is locked or closed."""
    MEMBER_UNKNOWN = "member_unknown"
    LIMIT_REACHED = "limit_reached"
    """The member, or all members together, have had it often enough."""
    OUT_OF_STOCK = "out_of_stock"
    LATER = "later"
    """The provider has not answered. The points are kept; the voucher follows, or the points come back."""
    REWARD_UNKNOWN = "reward_unknown"
    """There is no such reward, or not any more."""
    PROVIDER_REFUSED = "provider_refused"
    """The voucher's provider said no; the points are free again."""
    RECEIPT_USED = "receipt_used"
    """Points were earned with this receipt before."""
    UNKNOWN = "unknown"
    """There is no such posting, redemption or payout of this tenant."""
    ALREADY_REVERSED = "already_reversed"
    NOT_REVERSIBLE = "not_reversible"
    """A posting that no person takes back: a hold, an expiry, a reversal, a payout."""
    ALREADY_DECIDED = "already_decided"
    SAME_PERSON = "same_person"
    """Whoever asked for a payout does not release it."""
    NEEDS_SECOND = "needs_second"
    """More points than one person may move alone."""
    PAYOUT_OFF = "payout_off"
    """The programme pays nothing out."""
    AMOUNT_WRONG = "amount_wrong"
    """No such number of points: not positive, too large, or no whole minor unit."""
    NO_ADDRESS = "no_address"
    """The member has no address that the tenant can send to."""
    NOT_SENT = "not_sent"
    """The channel did not take the message."""


class RedemptionState(StrEnum):
    """Where a redemption stands."""

    RESERVED = "reserved"
    """The points are kept; the provider has the word."""
    DONE = "done"
    REFUSED = "refused"
    """The provider said no; the points are free again."""
    RELEASED = "released"
    """The points came back: nothing was issued in time, or the redemption was reversed."""


@dataclass(frozen=True)
class Offer:
    """A reward as one member may see it."""

    reward_id: str
    kind: RewardKind
    name: str
    """In the language asked for."""
    points: int
    affordable: bool
    """The member has the points; true when asked for nobody in particular."""
    left_today: int | None
    """How often the member may still have it today, by every limit; 0 also without stock; None: no limit."""


@dataclass(frozen=True)
class Redeemed:
    """Points became a donation or a voucher; the same for every retry under the same key."""

    redemption_id: str
    kind: RewardKind
    points: int
    receipt: str
    """Nine digits, unique within the programme; spoken and written."""
    code: str | None = field(repr=False)
    """The voucher; None for a donation."""
    delivery: Medium | None
    """How the code was also sent, or is being sent."""


@dataclass(frozen=True)
class NotRedeemed:
    """Nothing is booked; with `later` the points are kept."""

    code: Refusal
    redemption_id: str = ""
    """Of `later`: what to ask about."""


@dataclass(frozen=True)
class Redemption:
    """One redemption as it stands, for lists; without its code."""

    redemption_id: str
    member_id: str
    reward_id: str
    kind: RewardKind
    points: int
    state: RedemptionState
    receipt: str
    channel: Channel
    at: str


@dataclass(frozen=True)
class Booked:
    """Points moved; the same for every retry under the same key."""

    journal_id: str
    points: int
    """Of this posting, never negative."""
    available: int
    """Of the member, afterwards."""
    replayed: bool
    """True when this key was booked before."""


@dataclass(frozen=True)
class NotBooked:
    """Nothing is booked."""

    code: Refusal


@dataclass(frozen=True)
class Payout:
    """Points for money, asked for and decided."""

    payout_id: str
    member_id: str
    points: int
    amount_minor: int
    currency: str
    asked_by: str
    decided_by: str
    """Empty while it waits."""
    state: str
    """`asked`, `released` or `refused`."""
    at: str


@dataclass(frozen=True)
class CodeSent:
    """A reset code is on its way."""

    medium: Medium


@dataclass(frozen=True)
class CodeNotSent:
    """No reset code is on its way; an earlier one is good no more."""

    code: Refusal


_OF_LEDGER = {
    commands.Refusal.INSUFFICIENT: Refusal.INSUFFICIENT,
    commands.Refusal.UNKNOWN_ACCOUNT: Refusal.MEMBER_UNKNOWN,
    commands.Refusal.UNKNOWN_HOLD: Refusal.UNKNOWN,
    commands.Refusal.UNKNOWN_JOURNAL: Refusal.UNKNOWN,
    commands.Refusal.HOLD_OVER: Refusal.ALREADY_DECIDED,
    commands.Refusal.ALREADY_REVERSED: Refusal.ALREADY_REVERSED,
    commands.Refusal.NOT_REVERSIBLE: Refusal.NOT_REVERSIBLE,
    commands.Refusal.RECEIPT_USED: Refusal.RECEIPT_USED,
    commands.Refusal.AMOUNT_WRONG: Refusal.AMOUNT_WRONG,
    commands.Refusal.ACCOUNT_CLOSED: Refusal.MEMBER_LOCKED,
}


def refusal_of(rejected: commands.Rejected) -> Refusal:
    """The ledger's refusal in the façade's words; LoyaltyError("key_reused") for another wish's key."""
    if rejected.code is commands.Refusal.KEY_REUSED:
        raise LoyaltyError("key_reused", "This key was used for something else.")
    return _OF_LEDGER[rejected.code]


def answer_of(outcome: commands.Outcome, points: int) -> Booked | NotBooked:
    """The ledger's outcome of a command about so many points."""
    if isinstance(outcome, commands.Rejected):
        return NotBooked(refusal_of(outcome))
    return Booked(outcome.journal_id, abs(points), outcome.available, outcome.replayed)
