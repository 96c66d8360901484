"""The ledger's arithmetic: what a command changes in a book, or why it does not.

Pure: a function per command, no clock, no database, and nothing in the book is changed here, so that what is
refused has no trace. Points are whole numbers.

Spending takes the lots that end soonest first and never one past its date. What comes back goes to the lots
it came from, even past their date; the next expiry run takes it then. A purchase given back takes its own lot
first, then what of it has expired already, then the member's other lots; what is left the member owes. Debts
are paid by the next points that come.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

from loyalty.ledger.accounts import ADJUSTED, CLAWBACK, CLAWBACK_FLOOR, EXPIRED, ISSUED, member_of
from loyalty.ledger.book import Account, Book, Change, Held, Lot, Part, Past, Posting
from loyalty.ledger.commands import (
    Adjust,
    Command,
    Earn,
    Expire,
    Hold,
    Move,
    Post,
    Redeem,
    Refusal,
    Rejected,
    Reverse,
    Void,
)
from loyalty.ledger.ids import named_after

REVERSIBLE = frozenset({"earn", "redeem", "post", "adjust", "move"})
"""Kinds of journals that moved points by somebody's will. For the rest a person adjusts, with a reason."""


def decide(book: Book, command: Command, journal: str) -> Change | Rejected:
    """What `command` does under the journal id `journal`, or the refusal; `book` stays as it is."""
    return _RULES[type(command)](book, command, journal)


class _Draft:
    """A change in the making: what it takes from lots and puts on accounts."""

    def __init__(self, book: Book, journal: str) -> None:
        self.book = book
        self.journal = journal
        self.postings: list[Posting] = []
        self.drawn: dict[str, int] = {}
        self.uses: dict[str, int] = {}
        self.expired: dict[str, int] = {}
        self.lots: list[Lot] = []

    def post(self, account: str, amount: int) -> None:
        """Puts points on an account (below zero: takes them)."""
        if amount:
            self.postings.append(Posting(account, amount))

    def pay(self, source: str, target: str, points: int) -> None:
        """From one account to another."""
        self.post(source, -points)
        self.post(target, points)

    def grant(self, account: str, points: int, expires: date | None) -> None:
        """A new lot, named after the journal."""
        name = named_after("lot_", self.journal, len(self.lots))
        self.lots.append(Lot(name, account, self.journal, expires, points, points))

    def take(self, lots: Iterable[Lot], points: int) -> tuple[Part, ...]:
        """Draws up to `points` from lots, in their order."""
        taken = []
        for lot in lots:
            part = min(points, lot.remaining - self.drawn.get(lot.id, 0))
            if part > 0:
                self.draw(Part(lot.id, part))
                taken.append(Part(lot.id, part))
                points -= part
            if not points:
                break
        return tuple(taken)

    def draw(self, part: Part) -> None:
        """Takes from a lot, below zero gives back; whose it is afterwards is for `use` or a hold to say."""
        self.drawn[part.lot] = self.drawn.get(part.lot, 0) + part.points

    def use(self, parts: Iterable[Part]) -> None:
        """This journal has taken these parts for good."""
        for part in parts:
            self.uses[part.lot] = self.uses.get(part.lot, 0) + part.points

    def give_back(self, parts: Iterable[Part]) -> None:
        """Parts return to the lots that they came from."""
        for part in parts:
            self.draw(Part(part.lot, -part.points))

    def settle(self, member: str) -> None:
        """Pays the member's debt with what this change brings, as far as it is not past its date."""
        debt = self.book.debt(member)
        came = {lot.id: lot for lot in self.lots}
        came |= {name: self.book.lots[name] for name, points in self.drawn.items() if points < 0}
        for lot in sorted(came.values(), key=lambda lot: lot.order):
            brought = lot.granted if lot.journal == self.journal else -self.drawn[lot.id]
            paid = min(debt, brought) if not lot.is_over(self.book.today) else 0
            if paid > 0:
                self.draw(Part(lot.id, paid))
                self.use((Part(lot.id, paid),))
                self.pay(member, self.book.clawback(member).id, paid)
                debt -= paid

    def change(self, kind: str, points: int, member: str, **more: Any) -> Change:
        """The change that was drafted."""
        return Change(
            kind,
            points,
            member,
            postings=tuple(self.postings),
            drawn=_parts(self.drawn),
            uses=_parts(self.uses),
            expired=_parts(self.expired),
            lots=tuple(self.lots),
            **more,
        )


def _earn(book: Book, command: Earn, journal: str) -> Change | Rejected:
    member = _open_member(book, command.account)
    if isinstance(member, Rejected):
        return member
    if command.receipt in book.receipts:
        return Rejected(Refusal.RECEIPT_USED)
    draft = _Draft(book, journal)
    issued = book.system(ISSUED).id
    draft.pay(issued, member.id, command.points)
    draft.grant(member.id, command.points, command.expires)
    draft.settle(member.id)
    return draft.change("earn", command.points, member.id, other=issued, receipt=command.receipt)


def _hold(book: Book, command: Hold, journal: str) -> Change | Rejected:
    draft = _Draft(book, journal)
    parts = _spent(draft, command.account, command.points)
    if isinstance(parts, Rejected):
        return parts
    hold = Held(named_after("hold_", journal), command.account, command.points, parts)
    return draft.change("hold", command.points, command.account, hold=hold)


def _post(book: Book, command: Post, journal: str) -> Change | Rejected:
    hold = _open_hold(book, command.hold_id)
    if isinstance(hold, Rejected):
        return hold
    draft = _Draft(book, journal)
    contra = book.system(command.contra).id
    draft.pay(hold.account, contra, hold.points)
    draft.use(hold.parts)
    return draft.change("post", hold.points, hold.account, other=contra, ends=hold.id)


def _void(book: Book, command: Void, journal: str) -> Change | Rejected:
    hold = _open_hold(book, command.hold_id)
    if isinstance(hold, Rejected):
        return hold
    draft = _Draft(book, journal)
    draft.give_back(hold.parts)
    draft.settle(hold.account)
    return draft.change("void", hold.points, hold.account, ends=hold.id)


def _redeem(book: Book, command: Redeem, journal: str) -> Change | Rejected:
    draft = _Draft(book, journal)
    parts = _spent(draft, command.account, command.points)
    if isinstance(parts, Rejected):
        return parts
    contra = book.system(command.contra).id
    draft.pay(command.account, contra, command.points)
    draft.use(parts)
    return draft.change("redeem", command.points, command.account, other=contra)


def _adjust(book: Book, command: Adjust, journal: str) -> Change | Rejected:
    account = book.accounts.get(command.account)
    if account is not None and account.kind == CLAWBACK:
        return _forgive(book, command, journal)
    if command.points > 0:
        return _given(book, command, journal)
    points, adjusted = -command.points, book.system(ADJUSTED).id
    draft = _Draft(book, journal)
    parts = _spent(draft, command.account, points)
    if isinstance(parts, Rejected):
        return parts
    draft.pay(command.account, adjusted, points)
    draft.use(parts)
    return draft.change("adjust", points, command.account, other=adjusted)


def _given(book: Book, command: Adjust, journal: str) -> Change | Rejected:
    member = _open_member(book, command.account)
    if isinstance(member, Rejected):
        return member
    draft = _Draft(book, journal)
    adjusted = book.system(ADJUSTED).id
    draft.pay(adjusted, member.id, command.points)
    draft.grant(member.id, command.points, command.expires)
    draft.settle(member.id)
    return draft.change("adjust", command.points, member.id, other=adjusted)


def _forgive(book: Book, command: Adjust, journal: str) -> Change | Rejected:
    """A debt, or a part of it, that the programme lets go; it can only become less."""
    member = member_of(command.account)
    if not 0 < command.points <= book.debt(member):
        return Rejected(Refusal.AMOUNT_WRONG)
    draft = _Draft(book, journal)
    adjusted = book.system(ADJUSTED).id
    draft.pay(adjusted, command.account, command.points)
    return draft.change("adjust", command.points, member, other=adjusted)


def _expire(book: Book, command: Expire, journal: str) -> Change | Rejected:
    account = book.accounts.get(command.account)
    if account is None or not account.is_member:
        return Rejected(Refusal.UNKNOWN_ACCOUNT)
    due = [lot for lot in book.lots_of(account.id) if lot.is_over(command.on)]
    points = sum(lot.remaining for lot in due)
    if command.on > book.today or not points:
        return Rejected(Refusal.NOT_DUE)
    draft = _Draft(book, journal)
    parts = draft.take(due, points)
    draft.use(parts)
    draft.expired = {part.lot: part.points for part in parts}
    expired = book.system(EXPIRED).id
    draft.pay(account.id, expired, points)
    return draft.change("expire", points, account.id, other=expired)


def _move(book: Book, command: Move, journal: str) -> Change | Rejected:
    target = _open_member(book, command.target)
    if isinstance(target, Rejected):
        return target
    if command.source == command.target:
        return Rejected(Refusal.AMOUNT_WRONG)
    draft = _Draft(book, journal)
    parts = _spent(draft, command.source, command.points, command.lot)
    if isinstance(parts, Rejected):
        return parts
    draft.pay(command.source, target.id, command.points)
    draft.use(parts)
    for part in parts:
        draft.grant(target.id, part.points, book.lots[part.lot].expires)
    draft.settle(target.id)
    return draft.change("move", command.points, command.source, other=target.id)


def _reverse(book: Book, command: Reverse, journal: str) -> Change | Rejected:
    past = book.pasts.get(command.journal_id)
    if past is None:
        return Rejected(Refusal.UNKNOWN_JOURNAL)
    if past.kind not in REVERSIBLE:
        return Rejected(Refusal.NOT_REVERSIBLE)
    left = past.points - past.reversed
    points = left if command.points is None else command.points
    if not left:
        return Rejected(Refusal.ALREADY_REVERSED)
    if points > left:
        return Rejected(Refusal.AMOUNT_WRONG)
    draft = _Draft(book, journal)
    if not _taken_back(draft, past, points):
        return Rejected(Refusal.INSUFFICIENT)
    draft.post(past.source, points)
    source = book.accounts[past.source]
    if source.is_member:
        parts = _slice(past.uses, past.reversed, points)
        draft.give_back(parts)
        draft.use(Part(part.lot, -part.points) for part in parts)
        draft.settle(source.id)
    member = source.id if source.is_member else member_of(past.target)
    return draft.change("reverse", points, member, reverses=past.id, reversed_before=past.reversed)


def _taken_back(draft: _Draft, past: Past, points: int) -> bool:
    """Takes `points` from where a journal had put them; False when that would be too deep a debt."""
    book, target = draft.book, draft.book.accounts[past.target]
    if not target.is_member:
        draft.post(target.id, -points)
        return target.floor is None or target.posted - points >= target.floor
    made = book.made_by(past.id)
    parts = draft.take(made, points)
    left = points - _sum(parts)
    for lot in made:
        draft.expired[lot.id] = -min(left, lot.expired)
        left += draft.expired[lot.id]
    others = draft.take(_spendable(book, target.id), left)
    left -= _sum(others)
    draft.use((*parts, *others))
    draft.post(target.id, -_sum((*parts, *others)))
    draft.post(book.system(EXPIRED).id, sum(draft.expired.values()))
    debt = book.clawback(target.id)
    draft.post(debt.id, -left)
    return not left or debt.posted - left >= CLAWBACK_FLOOR


_RULES: Mapping[type[Any], Callable[[Book, Any, str], Change | Rejected]] = MappingProxyType(
    {
        Earn: _earn,
        Hold: _hold,
        Post: _post,
        Void: _void,
        Redeem: _redeem,
        Adjust: _adjust,
        Expire: _expire,
        Move: _move,
        Reverse: _reverse,
    }
)


def _open_member(book: Book, name: str) -> Account | Rejected:
    account = book.accounts.get(name)
    if account is None or not account.is_member:
        return Rejected(Refusal.UNKNOWN_ACCOUNT)
    return account if account.is_open else Rejected(Refusal.ACCOUNT_CLOSED)


def _open_hold(book: Book, name: str) -> Held | Rejected:
    hold = book.holds.get(name)
    if hold is None:
        return Rejected(Refusal.UNKNOWN_HOLD)
    return hold if hold.state == "open" else Rejected(Refusal.HOLD_OVER)


def _spendable(book: Book, member: str, only: str = "") -> Iterable[Lot]:
    """The member's lots that are worth something today, soonest date first."""
    return (lot for lot in book.lots_of(member) if not lot.is_over(book.today) and only in {"", lot.id})


def _spent(draft: _Draft, name: str, points: int, only: str = "") -> tuple[Part, ...] | Rejected:
    """Exactly `points` drawn from the lots of an open member account."""
    member = _open_member(draft.book, name)
    if isinstance(member, Rejected):
        return member
    parts = draft.take(_spendable(draft.book, member.id, only), points)
    return parts if _sum(parts) == points else Rejected(Refusal.INSUFFICIENT)


def _slice(uses: tuple[Part, ...], offset: int, points: int) -> tuple[Part, ...]:
    """The next `points` of what was taken, after `offset` that have come back already."""
    found = []
    for part in uses:
        skipped = min(offset, part.points)
        offset -= skipped
        back = min(points, part.points - skipped)
        points -= back
        found.append(Part(part.lot, back))
    return tuple(part for part in found if part.points)


def _sum(parts: Iterable[Part]) -> int:
    return sum(part.points for part in parts)


def _parts(points: Mapping[str, int]) -> tuple[Part, ...]:
    return tuple(Part(lot, amount) for lot, amount in points.items() if amount)
