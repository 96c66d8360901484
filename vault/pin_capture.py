"""One caller keying one PIN: fields, problems and timers, as a machine without sockets and without a clock.

The fields of a purpose come one after the other (`MOVES`); when the last one is filled the entry is complete
and whoever runs it hashes and wipes. What a press and a silence mean stands in `vault/hands.py`, which PINs
are too easy in `vault/pin_rules.py`. Facts (`vault/pin_progress.py`) come out of `next_fact`: counts, never a
digit. Nothing here knows whether a PIN is right.
"""

from collections import deque
from dataclasses import dataclass, fields
from enum import StrEnum

from vault.card import SecretDigits
from vault.door import PinField, PinProblem, PinPurpose
from vault.hands import Hands
from vault.keypad import Action
from vault.pin_progress import (
    PinCleared,
    PinFact,
    PinHelp,
    PinKeyed,
    PinOpened,
    PinOver,
    PinSilence,
    PinTrouble,
)
from vault.pin_rules import CODE_DIGITS, PIN_DIGITS_MAX, PIN_DIGITS_MIN, easy
from vault.secret_page import SecretPage

PROBLEMS_MAX = 6
"""Refused entries of one PIN entry: after so many a person who cannot think of a PIN needs another person."""


@dataclass(frozen=True)
class PinLimits:
    """Seconds; a broker may ask for less than these, never for more."""

    silence_s: float = 12.0
    """Without a key before the caller is asked again; twice as long for slow hands."""
    idle_s: float = 60.0
    """Without a key: the caller has left. A PIN is known by heart, so this is half of a card's."""
    entry_s: float = 300.0
    """For the whole entry: five minutes for three fields and some mistakes."""

    def __post_init__(self) -> None:
        if not all(0 < getattr(self, one.name) <= one.default for one in fields(self)):
            raise ValueError("a limit is not above zero and at most its default")


@dataclass(frozen=True)
class PinForm:
    """What a tenant takes as a PIN."""

    digits_min: int = 4
    digits_max: int = 6

    def __post_init__(self) -> None:
        if not PIN_DIGITS_MIN <= self.digits_min <= self.digits_max <= PIN_DIGITS_MAX:
            raise ValueError("a PIN has 4 to 12 digits")


class Event(StrEnum):
    """What moves a PIN entry on."""

    FILLED = "filled"
    REFUSED = "refused"
    """Too short, too easy, or nothing at all."""
    DIFFERENT = "different"
    """AGAIN is not what NEW was."""


ORDER: dict[PinPurpose, tuple[PinField, ...]] = {
    PinPurpose.VERIFY: (PinField.PIN,),
    PinPurpose.SET: (PinField.NEW, PinField.AGAIN),
    PinPurpose.CHANGE: (PinField.PIN, PinField.NEW, PinField.AGAIN),
    PinPurpose.RESET: (PinField.CODE, PinField.NEW, PinField.AGAIN),
}
"""What is keyed for a purpose, and sealed for it."""

MOVES: dict[tuple[PinPurpose, PinField, Event], PinField | None] = {
    (PinPurpose.VERIFY, PinField.PIN, Event.FILLED): None,
    (PinPurpose.VERIFY, PinField.PIN, Event.REFUSED): PinField.PIN,
    (PinPurpose.SET, PinField.NEW, Event.FILLED): PinField.AGAIN,
    (PinPurpose.SET, PinField.NEW, Event.REFUSED): PinField.NEW,
    (PinPurpose.SET, PinField.AGAIN, Event.FILLED): None,
    (PinPurpose.SET, PinField.AGAIN, Event.REFUSED): PinField.AGAIN,
    (PinPurpose.SET, PinField.AGAIN, Event.DIFFERENT): PinField.NEW,
    (PinPurpose.CHANGE, PinField.PIN, Event.FILLED): PinField.NEW,
    (PinPurpose.CHANGE, PinField.PIN, Event.REFUSED): PinField.PIN,
    (PinPurpose.CHANGE, PinField.NEW, Event.FILLED): PinField.AGAIN,
    (PinPurpose.CHANGE, PinField.NEW, Event.REFUSED): PinField.NEW,
    (PinPurpose.CHANGE, PinField.AGAIN, Event.FILLED): None,
    (PinPurpose.CHANGE, PinField.AGAIN, Event.REFUSED): PinField.AGAIN,
    (PinPurpose.CHANGE, PinField.AGAIN, Event.DIFFERENT): PinField.NEW,
    (PinPurpose.RESET, PinField.CODE, Event.FILLED): PinField.NEW,
    (PinPurpose.RESET, PinField.CODE, Event.REFUSED): PinField.CODE,
    (PinPurpose.RESET, PinField.NEW, Event.FILLED): PinField.AGAIN,
    (PinPurpose.RESET, PinField.NEW, Event.REFUSED): PinField.NEW,
    (PinPurpose.RESET, PinField.AGAIN, Event.FILLED): None,
    (PinPurpose.RESET, PinField.AGAIN, Event.REFUSED): PinField.AGAIN,
    (PinPurpose.RESET, PinField.AGAIN, Event.DIFFERENT): PinField.NEW,
}
"""The field that is open after an event; None: the entry is complete. Any other pair raises KeyError."""


class Timer(StrEnum):
    """What time alone can bring about."""

    SILENCE = "silence"
    IDLE = "idle"
    ENTRY = "entry"


class PinDigits:
    """The digits of one PIN entry; their slices come from one page."""

    __slots__ = ("again", "first", "new")

    def __init__(self, page: SecretPage) -> None:
        self.first = SecretDigits(page.take(PIN_DIGITS_MAX))
        """The PIN that is checked, or the reset code."""
        self.new = SecretDigits(page.take(PIN_DIGITS_MAX))
        self.again = SecretDigits(page.take(PIN_DIGITS_MAX))

    def of(self, field: PinField) -> SecretDigits:
        """The digits of one field."""
        if field in {PinField.PIN, PinField.CODE}:
            return self.first
        return self.new if field is PinField.NEW else self.again

    def wipe(self) -> None:
        """Overwrites all of them."""
        for digits in (self.first, self.new, self.again):
            digits.wipe()


def problem_of(
    field: PinField, digits: PinDigits, form: PinForm, born: tuple[bytes, ...]
) -> PinProblem | None:
    """Why what stands in the field cannot be used, or None; said of a keyed field and of a sealed one."""
    ours = digits.of(field)
    if len(ours) == 0:
        return PinProblem.NO_INPUT
    if field is PinField.AGAIN:
        return None if ours.view() == digits.new.view() else PinProblem.MISMATCH
    if len(ours) < (CODE_DIGITS if field is PinField.CODE else form.digits_min):
        return PinProblem.TOO_SHORT
    return PinProblem.EASY if field is PinField.NEW and easy(ours, born) else None


class PinCapture:
    """The keypad entry of one PIN. `now` is seconds on any steady clock, never going back."""

    def __init__(
        self,
        digits: PinDigits,
        purpose: PinPurpose,
        form: PinForm,
        born: tuple[bytes, ...],
        limits: PinLimits,
        now: float,
    ) -> None:
        """`born`: the forms of the owner's birth date (`vault/pin_rules.py`)."""
        self.digits = digits
        self.complete = False
        """True when every field of the purpose is filled: hash and wipe."""
        self.ended = False
        """True after `PinOver`: everything is wiped and nothing is taken any more."""
        self._purpose = purpose
        self._form = form
        self._born = born
        self._hands = Hands(limits.silence_s, limits.idle_s, 0.0, now)
        self._end = now + limits.entry_s
        self._open: PinField | None = None
        self._problems = 0
        self._facts: deque[PinFact] = deque()

    @property
    def open_field(self) -> PinField | None:
        """The one field that takes keys now."""
        return self._open

    def next_fact(self) -> PinFact | None:
        """The oldest fact not yet taken, or None."""
        return self._facts.popleft() if self._facts else None

    def start(self, now: float) -> None:
        """Opens the first field; nothing happens when one is open already."""
        if self._open is None and not self.complete and not self.ended:
            self._to(ORDER[self._purpose][0], now)

    # --- keys -----------------------------------------------------------------------------------------

    def press(self, key: int, now: float) -> None:
        """Takes one key 0-15; a key that no open field waits for is gone."""
        field = self._open
        if field is None or (action := self._hands.press(key, now)) is None:
            return
        digits = self.digits.of(field)
        if action is Action.HELP:
            self._facts.append(PinHelp(field))
        elif action is Action.CLEAR:
            digits.wipe()
            self._facts.append(PinCleared(field))
        elif action is Action.DIGIT:
            digits.append(key)
            self._facts.append(PinKeyed(field, len(digits)))
            if len(digits) >= self._digits_max(field):
                self._judge(field, now, at_once=True)
        elif len(digits) > 0:  # `#` on an empty field belongs to the field before
            self._judge(field, now)

    def _digits_max(self, field: PinField) -> int:
        """How many digits end the field by themselves: AGAIN is as long as NEW was."""
        if field is PinField.AGAIN:
            return len(self.digits.new)
        return CODE_DIGITS if field is PinField.CODE else self._form.digits_max

    # --- entries --------------------------------------------------------------------------------------

    def _judge(self, field: PinField, now: float, *, at_once: bool = False) -> None:
        """The field is over: filled, or refused and empty. `at_once`: the caller may not know yet."""
        problem = problem_of(field, self.digits, self._form, self._born)
        if problem is None:
            self._to(MOVES[self._purpose, field, Event.FILLED], now)
            return
        different = problem is PinProblem.MISMATCH
        after = MOVES[self._purpose, field, Event.DIFFERENT if different else Event.REFUSED]
        assert after is not None
        self.digits.of(field).wipe()
        self.digits.of(after).wipe()
        self._open = after
        self._hands.refuse(now, at_once=at_once)
        self._facts.append(PinTrouble(after, problem))
        self._count_problem()

    def _to(self, field: PinField | None, now: float) -> None:
        self._open = field
        self._hands.restart(now)
        if field is None:
            self.complete = True
            return
        self.digits.of(field).wipe()
        self._facts.append(PinOpened(field))

    def _count_problem(self) -> None:
        self._problems += 1
        if self._problems >= PROBLEMS_MAX:
            self._over("tries")

    def _over(self, limit: str) -> None:
        self.digits.wipe()
        self._open = None
        self.ended = True
        self._facts.append(PinOver(limit))

    # --- time -----------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When `tick` has something to do; None when the entry is complete or over."""
        return None if self.ended or self.complete else min(self._timers().values())

    def tick(self, now: float) -> None:
        """Does everything that is due, in order; early and repeated calls change nothing."""
        while not (self.ended or self.complete):
            timers = self._timers()
            timer = min(timers, key=timers.__getitem__)
            if timers[timer] > now:
                return
            if timer is Timer.SILENCE:
                self._silent(now)
            else:
                self._over(timer.value)

    def _timers(self) -> dict[Timer, float]:
        timers = {Timer.ENTRY: self._end}
        if self._open is None:
            return timers
        due = self._hands.pause_due(certain=False) if self._may_be_over() else self._hands.silence_due()
        return {**timers, Timer.SILENCE: due, Timer.IDLE: self._hands.idle_due()}

    def _may_be_over(self) -> bool:
        """True while a PIN is open that is long enough but not as long as it may be."""
        field = self._open
        if field not in {PinField.PIN, PinField.NEW}:
            return False
        return len(self.digits.of(field)) >= self._form.digits_min

    def _silent(self, now: float) -> None:
        field = self._open
        assert field is not None
        if self._may_be_over():
            self._judge(field, now)
        elif self._hands.ask(now):
            self._facts.append(PinSilence(field))
        else:
            self._judge(field, now)
