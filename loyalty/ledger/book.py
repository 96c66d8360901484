"""One programme's part of the books in memory, and the change that one command makes in it.

Pure. A group loads what its commands need into a `Book`, the arithmetic decides over it, `apply` carries a
decided change out, and the group stores what was touched. `apply` refuses whatever would break a rule of
the books; the arithmetic never asks for it, so a `BrokenError` is a mistake of ours, and
its command is not booked.

What holds for each member account: `posted - held` is the sum of what remains in its lots. What holds for
each lot: `granted - remaining` is what journals took from it and open holds keep of it.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from loyalty.errors import LoyaltyError
from loyalty.ledger.accounts import (
    CLAWBACK,
    CLAWBACK_FLOOR,
    MEMBER,
    SYSTEM,
    clawback_of,
    kind_of,
    member_of,
    system_account,
)

POSTED_MAX = 2**63 - 1
"""What a BIGINT holds: a group with more than that would fail whole, and be tried again one by one."""


class BrokenError(LoyaltyError):
    """A change that the books cannot take."""

    def __init__(self, sentence: str) -> None:
        super().__init__("books_broken", sentence)


@dataclass(slots=True)
class Account:
    """One account's row; held points are still in `posted`."""

    id: str
    kind: str
    posted: int = 0
    held: int = 0
    floor: int | None = None
    is_open: bool = True

    @property
    def is_member(self) -> bool:
        """True for an account of points that have lots."""
        return self.kind == MEMBER


@dataclass(slots=True)
class Lot:
    """Points that came together and end together."""

    id: str
    account: str
    journal: str
    """What made it."""
    expires: date | None
    granted: int
    remaining: int
    expired: int = 0
    """How much of it ended by its date and was not given back by a reversal."""

    @property
    def order(self) -> tuple[date, str]:
        """Where it stands among the lots of its account: soonest date first, then the older one."""
        return self.expires or date.max, self.id

    def is_over(self, today: date) -> bool:
        """True from its date on."""
        return self.expires is not None and self.expires <= today


class Part(NamedTuple):
    """Points of one lot."""

    lot: str
    points: int


class Posting(NamedTuple):
    """One side of a journal."""

    account: str
    amount: int


@dataclass(slots=True)
class Held:
    """A hold and the lots that it keeps."""

    id: str
    account: str
    points: int
    parts: tuple[Part, ...]
    state: str = "open"
    """open | posted | void."""
    ended_by: str = ""
    """The journal that ended it."""


@dataclass(slots=True)
class Past:
    """A booked journal, as far as reversing it needs."""

    id: str
    kind: str
    points: int
    source: str
    """The account that its first posting took from."""
    target: str
    """The account that its second posting gave to."""
    uses: tuple[Part, ...] = ()
    """What it took from the lots of `source`, in the order in which it comes back."""
    reversed: int = 0
    """What earlier reversals took back of it."""


class Change(NamedTuple):
    """What one command does to the books."""

    kind: str
    points: int
    member: str
    """The account whose available points the answer tells."""
    other: str = ""
    """The account on the other side, for the log."""
    postings: tuple[Posting, ...] = ()
    drawn: tuple[Part, ...] = ()
    """What `remaining` of lots loses; below zero it gains."""
    uses: tuple[Part, ...] = ()
    """What this journal takes from lots for good; below zero it gives back."""
    expired: tuple[Part, ...] = ()
    """What ended by its date; below zero a reversal took it out of `expired` again."""
    lots: tuple[Lot, ...] = ()
    hold: Held | None = None
    ends: str = ""
    """The hold that this change posts or voids."""
    reverses: str = ""
    reversed_before: int = 0
    receipt: str = ""

    @property
    def hold_id(self) -> str:
        """The hold that it makes or ends."""
        return self.hold.id if self.hold else self.ends


@dataclass
class Book:
    """Everything of one (tenant, programme) that a group of commands may touch."""

    today: date
    """By the tenant's clock."""
    accounts: dict[str, Account] = field(default_factory=dict)
    lots: dict[str, Lot] = field(default_factory=dict)
    holds: dict[str, Held] = field(default_factory=dict)
    pasts: dict[str, Past] = field(default_factory=dict)
    receipts: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    """Ids of accounts, lots and holds that the database does not have yet."""
    touched: set[str] = field(default_factory=set)
    """Ids of accounts, lots and holds that changed."""
    _by_date: dict[str, list[tuple[date, str]]] = field(default_factory=dict)

    def add_lot(self, lot: Lot) -> None:
        """Puts a lot among those of its account."""
        self.lots[lot.id] = lot
        insort(self._by_date.setdefault(lot.account, []), lot.order)

    def lots_of(self, account: str) -> Iterator[Lot]:
        """The account's lots that hold points, in the order in which they are spent."""
        for _, lot_id in self._by_date.get(account, ()):
            if self.lots[lot_id].remaining:
                yield self.lots[lot_id]

    def made_by(self, journal: str) -> tuple[Lot, ...]:
        """The lots that a journal made, in the order in which they are spent."""
        made = (lot for lot in self.lots.values() if lot.journal == journal)
        return tuple(sorted(made, key=lambda lot: lot.order))

    def system(self, kind: str) -> Account:
        """The programme's account of that kind; a new one is only the books' once a posting names it."""
        return self.accounts.get(system_account(kind)) or Account(system_account(kind), kind)

    def clawback(self, member: str) -> Account:
        """The account of a member's debt; a new one as with `system`."""
        account = clawback_of(member)
        return self.accounts.get(account) or Account(account, CLAWBACK, floor=CLAWBACK_FLOOR)

    def debt(self, member: str) -> int:
        """What a member owes."""
        return -self.clawback(member).posted

    def available(self, member: str) -> int:
        """What a member can spend today: lots past their date are nobody's, swept or not."""
        account = self.accounts[member]
        over = sum(lot.remaining for lot in self.lots_of(member) if lot.is_over(self.today))
        return account.posted - account.held - over

    def apply(self, change: Change, journal: str) -> None:
        """Carries a change out; BrokenError for one that must not be, which leaves a book to throw away."""
        if sum(posting.amount for posting in change.postings):
            raise BrokenError("the postings of a journal do not sum to zero")
        for lot in change.lots:
            self.add_lot(lot)
            self.new.add(lot.id)
        for part in change.drawn:
            self._draw(part)
        for part in change.expired:
            self.lots[part.lot].expired += part.points
        for posting in change.postings:
            self._post(posting)
        self._hold(change, journal)
        if change.reverses:
            self.pasts[change.reverses].reversed += change.points
        self.receipts |= {change.receipt} - {""}
        self._check(change)

    def _draw(self, part: Part) -> None:
        lot = self.lots[part.lot]
        lot.remaining -= part.points
        if not 0 <= lot.remaining <= lot.granted:
            raise BrokenError("a lot would hold less than nothing or more than it was granted")
        self.touched.add(lot.id)

    def _post(self, posting: Posting) -> None:
        account = self.accounts.get(posting.account)
        if account is None:
            account = self._unopened(posting.account)
            self.accounts[account.id] = account
            self.new.add(account.id)
        account.posted += posting.amount
        self.touched.add(account.id)

    def _unopened(self, account: str) -> Account:
        kind = kind_of(account)
        return self.system(kind) if SYSTEM.fullmatch(kind) else self.clawback(member_of(account))

    def _hold(self, change: Change, journal: str) -> None:
        if change.hold is not None:
            self.holds[change.hold.id] = change.hold
            self.accounts[change.hold.account].held += change.hold.points
            self.new.add(change.hold.id)
            self.touched.add(change.hold.account)
        if change.ends:
            hold = self.holds[change.ends]
            hold.state = "posted" if change.kind == "post" else "void"
            hold.ended_by = journal
            self.accounts[hold.account].held -= hold.points
            self.touched |= {hold.id, hold.account}

    def _check(self, change: Change) -> None:
        for name in {change.member, *(posting.account for posting in change.postings)}:
            account = self.accounts[name]
            if abs(account.posted) > POSTED_MAX:
                raise BrokenError("an account would hold more than 64 bits can")
            if account.held < 0 or (
                account.floor is not None and account.posted - account.held < account.floor
            ):
                raise BrokenError("an account would stand below its floor")
