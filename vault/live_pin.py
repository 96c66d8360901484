"""One PIN entry as the broker holds it: its cell, its leg, and what the cell has told so far."""

import socket
from collections.abc import Callable

from vault.door import NewPinEntry, PinEntry, PinField, PinResult
from vault.pin_book import Ticket
from vault.pin_progress import (
    COMMANDS,
    FACTS,
    PinCleared,
    PinFact,
    PinHashed,
    PinKeyed,
    PinOpened,
    PinTrouble,
    PinUnsealed,
    Start,
)
from vault.progress import End
from vault.report import ReportError
from vault.wire import Link, close_all


class LivePin:
    """A PIN entry from the fork of its cell to its result."""

    def __init__(self, entry_id: str, ticket: Ticket) -> None:
        self.entry_id = entry_id
        self.ticket = ticket
        self.pid = 0
        self.field: PinField | None = None
        self.digits = 0
        self.secure = False
        self.judging = False
        """The cell has told its hashes: what they come to is being stored, and nothing can stop it."""
        self.result: PinResult | None = None
        self._link: Link | None = None
        self._on_fact: Callable[[LivePin, PinFact], None] = _nothing
        self._on_gone: Callable[[LivePin], object] = _nothing

    @property
    def new(self) -> NewPinEntry:
        """Whose PIN is keyed, and where."""
        return self.ticket.new

    @property
    def leg_id(self) -> str:
        """The caller's leg."""
        return self.new.leg_id

    @property
    def call_id(self) -> str:
        """The call it belongs to."""
        return self.new.call_id

    def snapshot(self) -> PinEntry:
        """The entry as everybody may see it."""
        new = self.new
        head = (self.entry_id, new.tenant, new.member_id, new.call_id, new.leg_id)
        return PinEntry(*head, new.purpose, self.field, self.digits, self.secure, self.result)

    # --- the cell -------------------------------------------------------------------------------------

    def meet(
        self,
        pid: int,
        report: socket.socket,
        on_fact: "Callable[[LivePin, PinFact], None]",
        on_gone: "Callable[[LivePin], object]",
    ) -> None:
        """Takes over a new cell's report socket and gives the cell its keys."""
        self.pid = pid
        self._on_fact, self._on_gone = on_fact, on_gone
        self._link = Link(report, self._message, lambda: self._on_gone(self))
        self._link.send(self.ticket.keys.message())

    def start(self) -> None:
        """SECURE is in force: the first field opens."""
        self._say(COMMANDS.encode(Start()))

    def hand_seal(self, message: bytes) -> None:
        """Gives the cell a sealed PIN (`vault/pin_seal.py`)."""
        self._say(message)

    def stop(self) -> None:
        """Tells the cell to end and forgets it; neither callback is called any more."""
        self._on_fact = self._on_gone = _nothing
        self._say(COMMANDS.encode(End()))
        if self._link is not None:
            self._link.close()

    def _say(self, message: bytes) -> None:
        if self._link is not None:
            self._link.send(message)

    def _message(self, message: bytes, descriptors: list[int]) -> None:
        close_all(descriptors)
        try:
            fact = FACTS.decode(message)
        except ReportError:
            if self._link is not None:
                self._link.close()  # a cell that talks nonsense is no cell any more
            return
        self._fold(fact)
        self._on_fact(self, fact)

    def _fold(self, fact: PinFact) -> None:
        """What the fact says about the open field."""
        match fact:
            case PinOpened(field) | PinCleared(field):
                self.field, self.digits = field, 0
            case PinTrouble(field):
                self.field, self.digits = field, 0
            case PinKeyed(field, digits):
                self.field, self.digits = field, digits
            case PinHashed() | PinUnsealed():
                self.field, self.digits = None, 0


def _nothing(*_: object) -> None:
    """Nobody needs to know."""
