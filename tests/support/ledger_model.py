"""What the ledger should answer, worked out the slow way: lists of points, one command at a time.

Written from docs/ledger.md and the reference, not from the arithmetic: it knows no postings, no drafts and no
groups. Journal and hold ids are the ledger's; `told` ties them to what the model did.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

from loyalty.ledger import (
    Adjust,
    Command,
    Done,
    Earn,
    Expire,
    Hold,
    Move,
    Post,
    Redeem,
    Refusal,
    Reverse,
    Void,
)

DEBT_MAX = 1_000_000


@dataclass(eq=False)
class Points:
    """A lot."""

    ends: date | None
    left: int
    ended: int = 0

    def over(self, today: date) -> bool:
        return self.ends is not None and self.ends <= today


@dataclass
class Member:
    lots: list[Points] = field(default_factory=list)
    debt: int = 0

    def order(self, lot: Points) -> tuple[date, int]:
        """Soonest end first, then the older one."""
        return lot.ends or date.max, self.lots.index(lot)

    def in_order(self) -> list[Points]:
        return sorted(self.lots, key=self.order)

    def valid(self, today: date) -> list[Points]:
        return [lot for lot in self.in_order() if lot.left and not lot.over(today)]

    def worth(self, today: date) -> int:
        return sum(lot.left for lot in self.valid(today))


@dataclass
class Deed:
    """Something booked that may be reversed, or a hold that may be ended."""

    points: int
    giver: str = ""
    taken: list[tuple[Points, int]] = field(default_factory=list)
    taker: str = ""
    made: list[Points] = field(default_factory=list)
    back: int = 0
    can_be_reversed: bool = False
    is_open: bool = False
    book: str = ""
    """What the programme counts it under; `taken_away` is what people took."""
    until: datetime | None = None


class Model:
    """A programme."""

    def __init__(self, today: date) -> None:
        self.today = today
        self.members: dict[str, Member] = {}
        self.receipts: set[str] = set()
        self.keys: dict[str, tuple[Command, Done]] = {}
        self.journals: dict[str, Deed] = {}
        self.holds: dict[str, Deed] = {}
        self.totals = dict.fromkeys(("issued", "spent", "ended", "given", "taken_away"), 0)

    def add(self, name: str) -> None:
        self.members[name] = Member()

    def reversible(self, *, whole: bool) -> dict[str, Deed]:
        """Journals of which something can still be reversed; `whole`, or without any, all journals."""
        some = {
            name: deed
            for name, deed in self.journals.items()
            if deed.can_be_reversed and deed.back < deed.points
        }
        return self.journals if whole or not some else some

    def has_due(self, name: str) -> bool:
        return any(lot.left and lot.over(self.today) for lot in self.members[name].lots)

    def sweep(self, names: list[str]) -> None:
        """The nightly run over those who have something to lose."""
        for lot in (lot for name in names for lot in self.members[name].lots if lot.over(self.today)):
            self.count("ended", lot.left)
            lot.ended, lot.left = lot.ended + lot.left, 0

    def holds_over(self, now: datetime) -> list[Deed]:
        return [hold for hold in self.holds.values() if hold.is_open and hold.until and hold.until <= now]

    def free(self, hold: Deed) -> None:
        hold.is_open = False
        self.refill(hold.giver, hold.taken)

    def held(self, name: str) -> int:
        return sum(hold.points for hold in self.holds.values() if hold.is_open and hold.giver == name)

    def next_end(self, name: str) -> tuple[date | None, int]:
        days = [lot.ends for lot in self.members[name].valid(self.today) if lot.ends]
        first = min(days, default=None)
        lots = self.members[name].valid(self.today)
        return first, sum(lot.left for lot in lots if first and lot.ends == first)

    def do(self, command: Command) -> tuple[int, Deed] | Refusal:
        """What the member has afterwards, and the deed; or why not."""
        match command:
            case Earn():
                return self.earn(command)
            case Redeem() | Hold():
                return self.spend(command)
            case Post() | Void():
                return self.end(command)
            case Adjust():
                return self.adjust(command)
            case Expire():
                return self.expire(command)
            case Move():
                return self.move(command)
            case Reverse():
                return self.reverse(command)

    def told(self, command: Command, deed: Deed, done: Done) -> None:
        """The ledger's own names of what the model did."""
        self.keys[command.key.idem] = command, done
        self.journals[done.journal_id] = deed
        if isinstance(command, Hold):
            self.holds[done.hold_id] = deed

    def count(self, book: str, points: int) -> None:
        if book:
            self.totals[book] += points

    def earn(self, command: Earn) -> tuple[int, Deed] | Refusal:
        if command.account not in self.members:
            return Refusal.UNKNOWN_ACCOUNT
        if command.receipt in self.receipts:
            return Refusal.RECEIPT_USED
        self.receipts.add(command.receipt)
        self.count("issued", command.points)
        lot = self.new_lot(command.account, command.expires, command.points)
        deed = Deed(command.points, taker=command.account, made=[lot], can_be_reversed=True, book="issued")
        return self.worth(command.account), deed

    def spend(self, command: Redeem | Hold) -> tuple[int, Deed] | Refusal:
        taken = self.draw(command.account, command.points)
        if isinstance(taken, Refusal):
            return taken
        deed = Deed(command.points, giver=command.account, taken=taken)
        if isinstance(command, Redeem):
            self.count("spent", command.points)
            deed.can_be_reversed, deed.book = True, "spent"
        else:
            deed.is_open, deed.until = True, command.until
        return self.worth(command.account), deed

    def end(self, command: Post | Void) -> tuple[int, Deed] | Refusal:
        hold = self.holds.get(command.hold_id)
        if hold is None:
            return Refusal.UNKNOWN_HOLD
        if not hold.is_open:
            return Refusal.HOLD_OVER
        hold.is_open = False
        if isinstance(command, Post):
            self.count("spent", hold.points)
            deed = Deed(hold.points, giver=hold.giver, taken=hold.taken, can_be_reversed=True, book="spent")
            return self.worth(hold.giver), deed
        self.refill(hold.giver, hold.taken)
        return self.worth(hold.giver), Deed(hold.points)

    def adjust(self, command: Adjust) -> tuple[int, Deed] | Refusal:
        if command.points < 0:
            taken = self.draw(command.account, -command.points)
            if isinstance(taken, Refusal):
                return taken
            self.count("taken_away", -command.points)
            deed = Deed(-command.points, command.account, taken, can_be_reversed=True, book="taken_away")
            return self.worth(command.account), deed
        if command.account not in self.members:
            return Refusal.UNKNOWN_ACCOUNT
        self.count("given", command.points)
        lot = self.new_lot(command.account, command.expires, command.points)
        deed = Deed(command.points, taker=command.account, made=[lot], can_be_reversed=True, book="given")
        return self.worth(command.account), deed

    def expire(self, command: Expire) -> tuple[int, Deed] | Refusal:
        if command.account not in self.members:
            return Refusal.UNKNOWN_ACCOUNT
        due = [lot for lot in self.members[command.account].lots if lot.left and lot.over(command.on)]
        if not due or command.on > self.today:
            return Refusal.NOT_DUE
        points = sum(lot.left for lot in due)
        for lot in due:
            lot.ended, lot.left = lot.ended + lot.left, 0
        self.count("ended", points)
        return self.worth(command.account), Deed(points)

    def move(self, command: Move) -> tuple[int, Deed] | Refusal:
        if command.target not in self.members:
            return Refusal.UNKNOWN_ACCOUNT
        if command.source == command.target:
            return Refusal.AMOUNT_WRONG
        taken = self.draw(command.source, command.points)
        if isinstance(taken, Refusal):
            return taken
        made = [self.new_lot(command.target, lot.ends, points, pay=False) for lot, points in taken]
        self.pay(command.target, [(lot, lot.left) for lot in made])
        deed = Deed(command.points, command.source, taken, command.target, made, can_be_reversed=True)
        return self.worth(command.source), deed

    def reverse(self, command: Reverse) -> tuple[int, Deed] | Refusal:
        deed = self.journals.get(command.journal_id)
        if deed is None:
            return Refusal.UNKNOWN_JOURNAL
        if not deed.can_be_reversed:
            return Refusal.NOT_REVERSIBLE
        left = deed.points - deed.back
        if not left:
            return Refusal.ALREADY_REVERSED
        points = command.points or left
        if points > left:
            return Refusal.AMOUNT_WRONG
        if deed.taker and not self.take_back(deed, points):
            return Refusal.INSUFFICIENT
        if deed.giver:
            self.refill(deed.giver, self.next_back(deed, points))
        deed.back += points
        self.count(deed.book, -points)
        return self.worth(deed.giver or deed.taker), Deed(points)

    def next_back(self, deed: Deed, points: int) -> list[tuple[Points, int]]:
        """What was taken last comes back first, after what came back before."""
        one_by_one = [lot for lot, taken in reversed(deed.taken) for _ in range(taken)]
        lots = one_by_one[deed.back : deed.back + points]
        return [(lot, lots.count(lot)) for lot in dict.fromkeys(lots)]

    def take_back(self, deed: Deed, points: int) -> bool:
        member = self.members[deed.taker]
        sources = [(lot, lot.left) for lot in deed.made] + [(lot, -lot.ended) for lot in deed.made]
        sources += [(lot, lot.left) for lot in member.valid(self.today) if lot not in deed.made]
        plan, left = [], points
        for lot, there in sources:
            part = min(left, abs(there))
            plan.append((lot, part, there < 0))
            left -= part
        if member.debt + left > DEBT_MAX:
            return False
        for lot, part, had_ended in plan:
            if had_ended:
                lot.ended -= part
                self.count("ended", -part)
            else:
                lot.left -= part
        member.debt += left
        return True

    def draw(self, name: str, points: int) -> list[tuple[Points, int]] | Refusal:
        if name not in self.members:
            return Refusal.UNKNOWN_ACCOUNT
        member = self.members[name]
        if member.worth(self.today) < points:
            return Refusal.INSUFFICIENT
        taken = []
        for lot in member.valid(self.today):
            part = min(points, lot.left)
            if part:
                lot.left, points = lot.left - part, points - part
                taken.append((lot, part))
        return taken

    def new_lot(self, name: str, ends: date | None, points: int, *, pay: bool = True) -> Points:
        lot = Points(ends, points)
        self.members[name].lots.append(lot)
        if pay:
            self.pay(name, [(lot, points)])
        return lot

    def refill(self, name: str, parts: list[tuple[Points, int]]) -> None:
        for lot, points in parts:
            lot.left += points
        self.pay(name, parts)

    def pay(self, name: str, came: list[tuple[Points, int]]) -> None:
        """A debt is paid by what comes, as far as it is still worth something."""
        member = self.members[name]
        for lot, points in sorted(came, key=lambda one: member.order(one[0])):
            if not lot.over(self.today):
                part = min(points, member.debt)
                lot.left, member.debt = lot.left - part, member.debt - part

    def worth(self, name: str) -> int:
        return self.members[name].worth(self.today)
