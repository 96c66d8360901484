"""Loyalty as everybody else sees it: what flows, the web page, the API and the desk may do with points.

Plain calls that end in the ledger's one write path. Every write takes a key of the caller's own: the same
key asked again is the same answer and never a second posting. What a member may hear is a value
(`NotRedeemed`, `NotBooked`); a `LoyaltyError` that is `retryable` means unknown: ask again, same key.
"""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

from loyalty.answers import (
    Booked,
    Channel,
    CodeNotSent,
    CodeSent,
    NotBooked,
    NotRedeemed,
    Offer,
    Payout,
    Redeemed,
    Redemption,
    Refusal,
    RedemptionState,
)
from loyalty.errors import LoyaltyError
from loyalty.programme import Programme

if TYPE_CHECKING:
    from loyalty.ledger import Balance, Ledger, Movement
    from loyalty.members import Member, Members
    from vault import NewPinEntry, PinProblem, PinResult, PinSeal

__all__ = [
    "Booked",
    "Channel",
    "CodeNotSent",
    "CodeSent",
    "Loyalty",
    "LoyaltyError",
    "NotBooked",
    "NotRedeemed",
    "Offer",
    "Payout",
    "Redeemed",
    "Redemption",
    "RedemptionState",
    "Refusal",
]


class Loyalty:
    """The façade. `members` and `ledger` are there for reads and for what has no rule of the programme."""

    members: "Members"
    ledger: "Ledger"

    def tenants(self) -> tuple[str, ...]:
        """Every tenant that has a programme."""

    def programme(self, tenant: str) -> Programme:
        """The tenant's programme; LoyaltyError("no_programme")."""

    async def balance(self, tenant: str, member_id: str) -> "Balance":
        """What the member has now, without points past their date; LoyaltyError("member_unknown")."""

    async def movements(
        self, tenant: str, member_id: str, limit: int, before: str = ""
    ) -> "tuple[Movement, ...]":
        """The last movements, newest first; `before` a journal id for the next page."""

    async def rewards(self, tenant: str, member_id: str | None, language: str) -> tuple[Offer, ...]:
        """The catalogue as this member may see it, in the file's order; None: as anybody may."""

    async def redeem(
        self,
        tenant: str,
        member_id: str,
        reward_id: str,
        *,
        key: str,
        channel: Channel | str,
        call_id: str = "",
        by: str,
    ) -> Redeemed | NotRedeemed:
        """Points for a donation or a voucher; the same key brings the same receipt and code."""

    async def redemption(self, tenant: str, redemption_id: str) -> Redeemed | NotRedeemed:
        """How one redemption stands, with its code; NotRedeemed(unknown) for nobody's."""

    async def redemptions(self, tenant: str, member_id: str, limit: int) -> tuple[Redemption, ...]:
        """The member's last redemptions, newest first, without codes."""

    async def reverse_redemption(
        self, tenant: str, redemption_id: str, *, key: str, reason: str, by: str
    ) -> Booked | NotBooked:
        """The points back to the lots they came from, once; the code stays used."""

    async def earn(
        self, tenant: str, member_id: str, points: int, receipt: str, *, key: str, by: str
    ) -> Booked | NotBooked:
        """Points for a purchase; once per receipt."""

    async def open_balance(
        self, tenant: str, member_id: str, points: int, *, expires: date | None, by: str
    ) -> Booked | NotBooked:
        """What a member brings from an earlier system; once per member."""

    async def reverse(
        self,
        tenant: str,
        journal_id: str,
        *,
        key: str,
        reason: str,
        by: str,
        points: int | None = None,
    ) -> Booked | NotBooked:
        """A posting taken back, in whole or in part (returned goods); linked to it, never deleted."""

    async def adjust(
        self, tenant: str, member_id: str, points: int, *, key: str, reason: str, by: str
    ) -> Booked | NotBooked:
        """Points given (> 0) or taken (< 0) with a reason, up to what one person may move alone."""

    async def lock_card(self, tenant: str, member_id: str, *, by: str, reason: str) -> "Member":
        """No redemption from now on."""

    async def unlock_card(self, tenant: str, member_id: str, *, by: str, reason: str) -> "Member":
        """An agent's act, after stronger identification."""

    async def ask_payout(
        self, tenant: str, member_id: str, points: int, *, key: str, by: str
    ) -> Payout | NotBooked:
        """Keeps the points; released at once when they are few, otherwise by another agent."""

    async def decide_payout(
        self, tenant: str, payout_id: str, *, release: bool, by: str
    ) -> Payout | NotBooked:
        """Releases or refuses a payout, once, and not by who asked for it (he may refuse)."""

    async def payouts(self, tenant: str, *, waiting: bool = True) -> tuple[Payout, ...]:
        """Payouts that wait for a decision, or the last ones that do not."""

    async def send_reset_code(self, tenant: str, member_id: str, *, by: str) -> CodeSent | CodeNotSent:
        """A new reset code of the PIN goes to the member's own address; nobody here sees it."""

    async def pin_seal(self, tenant: str) -> "PinSeal":
        """What a browser needs to seal a PIN."""

    async def check_pin_sealed(
        self, new: "NewPinEntry", key_id: str, challenge: str, sealed: str
    ) -> "PinResult | PinProblem":
        """A PIN sealed in the browser, checked in a cell; opaque bytes here."""
