"""Loyalty as everybody else sees it: what flows, the web page, the API and the desk may do with points.

Plain calls that end in the ledger's one write path. Every write takes a key of the caller's own: the same
key asked again is the same answer and never a second posting. What a member may hear is a value
(`NotRedeemed`, `NotBooked`); a `LoyaltyError` that is `retryable` means unknown: ask again, same key.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from audit.outbox import stamp
from loyalty.activity import Activity, activity_of
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
    RedemptionState,
    Refusal,
)
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.ledger import Balance, Movement
from loyalty.members import Member, Members, Reason
from loyalty.payouts import Ask, Payouts
from loyalty.points import Points
from loyalty.programme import Programme
from loyalty.redemption.deliveries import Deliveries
from loyalty.redemption.records import Wish
from loyalty.redemption.redemptions import Redemptions, Tools
from loyalty.redemption.sources import Source
from loyalty.redemption.stock import Import, Stock, numbered
from loyalty.reset import ResetCodes
from loyalty.telling import Telling
from loyalty.upkeep import Upkeep
from pay_ivr.channels import Channels
from pay_ivr.hooks import Hooks
from vault import Door, NewPinEntry, PinProblem, PinResult, PinSeal, VaultError

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
    "Surroundings",
]

MOVEMENTS_MAX = 200
"""Of one page."""


def utc_clock() -> datetime:
    """This moment."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Surroundings:
    """What loyalty stands on; `pay_ivr/app.py` builds it."""

    database: Database
    keys: Keys
    programmes: Mapping[str, Programme]
    door: Door
    channels: Channels
    sources: Mapping[tuple[str, str], Source]
    """Shops that issue vouchers, by tenant and the id in its file."""
    clock: Callable[[], datetime] = utc_clock


class Loyalty:
    """The façade. `members` and `ledger` are there for what has no rule of the programme."""

    def __init__(self, around: Surroundings) -> None:
        database, programmes, clock = around.database, around.programmes, around.clock
        self._database = database
        self._programmes = programmes
        self._door = around.door
        self.ledger = database.ledger
        self.ledger.clock = clock
        self.ledger.zone_of = lambda tenant: ZoneInfo(programmes[tenant].timezone)
        self.members = Members(database, around.keys, programmes, clock, around.channels.media_of)
        self.members.filed = self._filed
        self.stock = Stock(around.keys)
        self.deliveries = Deliveries(database, self.members, programmes)
        self._clock = clock
        self._redemptions = Redemptions(
            Tools(
                database,
                self.members,
                self.ledger,
                self.stock,
                self.deliveries,
                around.channels,
                self._filed,
            ),
            programmes,
            around.sources,
            clock,
        )
        self._wake: Callable[[], None] = lambda: None
        self._points = Points(self.members, self.ledger, programmes, clock)
        self._payouts = Payouts(database, self.members, self.ledger, programmes, clock)
        self._reset = ResetCodes(self.members, around.door, around.channels, programmes)
        self.upkeep = Upkeep(self._redemptions, self.members, around.door, self.ledger, programmes, clock)

    def on_filed(self, wake: Callable[[], None]) -> None:
        """From now on `wake` is called when a message has been stored: whoever sends them looks at once."""
        self._wake = wake

    def telling(self, hooks: Hooks, wake: Callable[[], None]) -> Telling:
        """What tells the tenants' systems of points; `wake` is called when there is something to send."""
        return Telling(self._database, self._programmes, hooks, wake, self._clock)

    def _filed(self) -> None:
        self.deliveries.woken()
        self._wake()

    # Programmes

    def tenants(self) -> tuple[str, ...]:
        """Every tenant that has a programme."""
        return tuple(self._programmes)

    def programme(self, tenant: str) -> Programme:
        """The tenant's programme; LoyaltyError("no_programme")."""
        programme = self._programmes.get(tenant)
        if programme is None:
            raise LoyaltyError("no_programme", "This tenant has no loyalty programme.")
        return programme

    async def activity(self, tenant: str, year: int, month: int) -> Activity:
        """How many members earned and spent points in a month of the tenant's clock."""
        return await activity_of(self._database, tenant, self.programme(tenant), year, month)

    # What a member asks

    async def balance(self, tenant: str, member_id: str) -> Balance:
        """What the member has now, without points past their date; LoyaltyError("member_unknown")."""
        member = await self.members.get(tenant, member_id)
        return await self.ledger.balance(tenant, member.programme, member.account_id)

    async def movements(
        self, tenant: str, member_id: str, limit: int, before: str = ""
    ) -> tuple[Movement, ...]:
        """The last movements, newest first; `before` is the last journal id of the page before."""
        member = await self.members.get(tenant, member_id)
        most = min(limit, MOVEMENTS_MAX)
        return tuple(await self.ledger.movements(tenant, member.programme, member.account_id, most, before))

    async def rewards(self, tenant: str, member_id: str | None, language: str) -> tuple[Offer, ...]:
        """The catalogue as this member may see it, in the file's order; None: as anybody may."""
        self.programme(tenant)
        return await self._redemptions.offers(tenant, member_id, language)

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
        self.programme(tenant)
        wish = Wish(tenant, member_id, reward_id, key, Channel(channel), call_id, by)
        return await self._redemptions.redeem(wish)

    async def redemption(self, tenant: str, redemption_id: str) -> Redeemed | NotRedeemed:
        """How one redemption stands, with its code; NotRedeemed(unknown) for nobody's."""
        self.programme(tenant)
        return await self._redemptions.one(tenant, redemption_id)

    async def redemptions(self, tenant: str, member_id: str, limit: int) -> tuple[Redemption, ...]:
        """The member's last redemptions, newest first, without codes."""
        self.programme(tenant)
        return await self._redemptions.of_member(tenant, member_id, limit)

    async def stranded_orders(self, tenant: str) -> tuple[Redemption, ...]:
        """Orders that only the operator can end: the tenant's file names their shop no more."""
        self.programme(tenant)
        return await self._redemptions.stranded(tenant)

    async def end_order(
        self, tenant: str, redemption_id: str, *, code: str | None, reason: str, by: str
    ) -> Redeemed | NotRedeemed:
        """Ends one of these with the code that the shop has issued; None: it has issued none."""
        self.programme(tenant)
        return await self._redemptions.end(tenant, redemption_id, code=code, reason=reason, by=by)

    async def reverse_redemption(
        self, tenant: str, redemption_id: str, *, key: str, reason: str, by: str
    ) -> Booked | NotBooked:
        """The points back to the lots they came from, once; the code stays used."""
        self.programme(tenant)
        return await self._redemptions.reverse(tenant, redemption_id, key, reason, by)

    # Points

    async def earn(
        self,
        tenant: str,
        member_id: str,
        points: int,
        receipt: str,
        *,
        key: str,
        by: str,
        call_id: str = "",
    ) -> Booked | NotBooked:
        """Points for a purchase; once per receipt."""
        self.programme(tenant)
        return await self._points.earn(tenant, member_id, points, receipt, key=key, by=by, call_id=call_id)

    async def open_balance(
        self, tenant: str, member_id: str, points: int, *, expires: date | None, by: str
    ) -> Booked | NotBooked:
        """What a member brings from an earlier system; once per member."""
        self.programme(tenant)
        return await self._points.open_balance(tenant, member_id, points, expires=expires, by=by)

    async def reverse(
        self,
        tenant: str,
        journal_id: str,
        *,
        key: str,
        reason: str,
        by: str,
        points: int | None = None,
        call_id: str = "",
    ) -> Booked | NotBooked:
        """A posting taken back, in whole or in part (returned goods); linked to it, never deleted.

        That of a payout is not: two people have let the money go.
        """
        self.programme(tenant)
        if await self._payouts.has_booked(tenant, journal_id):
            return NotBooked(Refusal.NOT_REVERSIBLE)
        redemption_id = await self._redemptions.of_journal(tenant, journal_id, points)
        if redemption_id is not None:
            return await self._redemptions.reverse(tenant, redemption_id, key, reason, by)
        return await self._points.reverse(
            tenant, journal_id, key=key, reason=reason, by=by, points=points, call_id=call_id
        )

    async def adjust(
        self,
        tenant: str,
        member_id: str,
        points: int,
        *,
        key: str,
        reason: str,
        by: str,
        call_id: str = "",
    ) -> Booked | NotBooked:
        """Points given (> 0) or taken (< 0) with a reason, up to what one person may move alone."""
        self.programme(tenant)
        return await self._points.adjust(
            tenant, member_id, points, key=key, reason=reason, by=by, call_id=call_id
        )

    # Cards

    async def lock_card(
        self, tenant: str, member_id: str, *, by: str, reason: Reason | str, call_id: str = ""
    ) -> Member:
        """No redemption from now on."""
        return await self.members.lock_card(tenant, member_id, by=by, reason=reason, call_id=call_id)

    async def unlock_card(
        self, tenant: str, member_id: str, *, by: str, reason: Reason | str, call_id: str = ""
    ) -> Member:
        """An agent's act, after stronger identification."""
        return await self.members.unlock_card(tenant, member_id, by=by, reason=reason, call_id=call_id)

    # Payouts

    async def ask_payout(
        self, tenant: str, member_id: str, points: int, *, key: str, by: str, call_id: str = ""
    ) -> Payout | NotBooked:
        """Holds the points; a small payout is released at once, a larger one by somebody else."""
        self.programme(tenant)
        return await self._payouts.ask(tenant, Ask(member_id, points, key, by, call_id))

    async def decide_payout(
        self, tenant: str, payout_id: str, *, release: bool, by: str
    ) -> Payout | NotBooked:
        """Releases or refuses a payout, once; whoever asked may only refuse."""
        self.programme(tenant)
        return await self._payouts.decide(tenant, payout_id, release=release, by=by)

    async def payouts(self, tenant: str, *, waiting: bool = True) -> tuple[Payout, ...]:
        """Payouts that wait for a decision, or the last ones that do not."""
        self.programme(tenant)
        return await self._payouts.list(tenant, waiting=waiting)

    # The stock of codes

    async def add_codes(self, tenant: str, reward_id: str, text: str, *, by: str) -> Import:
        """Takes the codes of a file, one a line, all or none; LoyaltyError("reward_unknown")."""
        programme = self.programme(tenant)
        reward = programme.reward_of(reward_id)
        if reward is None or not reward.from_stock:
            raise LoyaltyError("reward_unknown", "There is no such voucher with codes of our own stock.")
        lines, at = numbered(text), stamp(self._clock())
        return await self._database.write(
            tenant,
            lambda conn: self.stock.add(conn, programme.programme, reward_id, lines, at, by),
        )

    async def stock_of(self, tenant: str) -> dict[str, int]:
        """Reward → free codes, for every voucher of our own stock."""
        programme = self.programme(tenant)
        free = await self._database.read(tenant, lambda conn: self.stock.count(conn, programme.programme))
        return {reward.id: free.get(reward.id, 0) for reward in programme.reward if reward.from_stock}

    # PINs

    async def send_reset_code(self, tenant: str, member_id: str, *, by: str) -> CodeSent | CodeNotSent:
        """A new reset code of the PIN goes to the member's own address; nobody here sees it."""
        self.programme(tenant)
        return await self._reset.send(tenant, member_id, by=by)

    async def pin_seal(self, tenant: str) -> PinSeal:
        """What a browser needs to seal a PIN."""
        self.programme(tenant)
        with _vault_errors():
            return await self._door.pin_seal(tenant)

    async def check_pin_sealed(
        self, new: NewPinEntry, key_id: str, challenge: str, sealed: str
    ) -> PinResult | PinProblem:
        """A PIN sealed in the browser, checked in a cell; opaque text here."""
        self.programme(new.tenant)
        with _vault_errors():
            return await self._door.check_sealed_pin(new, key_id, challenge, sealed)


@contextmanager
def _vault_errors() -> Iterator[None]:
    """The vault's refusals as this package's errors: same code, same sentence."""
    try:
        yield
    except VaultError as error:
        raise LoyaltyError(error.code, error.sentence, retryable=error.retryable) from None
