"""One caller keying one card: fields, problems and timers, as a machine without sockets and without a clock.

PAN, EXPIRY and CVV are keyed in this order; CONFIRM is a single 1. A field is waiting, open or complete
(`MOVES`), at most one is open. What a press and a silence mean stands in `vault/hands.py`, what a sound entry
is in `vault/card.py`. Facts (`vault/progress.py`) come out of `next_fact`: counts, brand and last 4, never a
digit.

Rules that this file owns: keys are never cut while they keep coming; a field whose length is known ends by
itself, any other by `#` or by the caller's own pause; a refused entry empties its field and no other.
"""

from collections import deque
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum

from vault.brands import CVV_DIGITS_MAX, CVV_DIGITS_MIN, PAN_DIGITS_MAX, Brand, BrandTable
from vault.card import (
    EXPIRY_DIGITS,
    Card,
    SecretDigits,
    brand_of,
    expiry_problem,
    last4,
    pan_problem,
)
from vault.door import Field, FieldProblem, FieldState
from vault.hands import Hands
from vault.keypad import Action
from vault.progress import (
    Cleared,
    Complete,
    Confirmed,
    Expired,
    Fact,
    HelpAsked,
    Keyed,
    NoInput,
    Opened,
    Problem,
    TimeWarning,
)

ORDER = (Field.PAN, Field.EXPIRY, Field.CVV)
"""How a card is keyed; CONFIRM stands apart."""

PROBLEMS_MAX = 10
"""Refused entries of one capture: a person needs two or three, a guesser needs thousands."""

CONFIRM_KEY = 1
CONFIRM_TRIES = 3
"""Keys other than 1 before the answer counts as no."""

PAN_DIGITS_USUAL = 16
"""Most brands allow more lengths on paper than they print: here a sound PAN waits for the shortest pause."""


@dataclass(frozen=True)
class Limits:
    """Seconds; a broker may ask for less than these, never for more."""

    silence_s: float = 15.0
    """Without a key before the caller is asked again; twice as long for slow hands."""
    idle_s: float = 120.0
    """Without a key while a field is open: the caller has left."""
    payment_s: float = 900.0
    """For the whole payment, retries included: how long a PAN may exist at all."""
    warning_s: float = 60.0
    """Before the idle and the payment limit."""

    def __post_init__(self) -> None:
        if not all(0 < getattr(self, one.name) <= one.default for one in fields(self)):
            raise ValueError("a limit is not above zero and at most its default")


class Event(StrEnum):
    """What moves a field."""

    OPEN = "open"
    FILLED = "filled"
    REFUSED = "refused"
    CLOSE = "close"
    WIPE = "wipe"


MOVES: dict[tuple[FieldState, Event], FieldState] = {
    (FieldState.WAITING, Event.OPEN): FieldState.OPEN,
    (FieldState.WAITING, Event.WIPE): FieldState.WAITING,
    (FieldState.OPEN, Event.OPEN): FieldState.OPEN,
    (FieldState.OPEN, Event.FILLED): FieldState.COMPLETE,
    (FieldState.OPEN, Event.REFUSED): FieldState.OPEN,
    (FieldState.OPEN, Event.CLOSE): FieldState.WAITING,
    (FieldState.OPEN, Event.WIPE): FieldState.OPEN,
    (FieldState.COMPLETE, Event.OPEN): FieldState.OPEN,
    (FieldState.COMPLETE, Event.WIPE): FieldState.WAITING,
}
"""The life of one field; a pair that is not here is a fault of ours and raises KeyError."""


class Timer(StrEnum):
    """What time alone can bring about."""

    ENTRY = "entry"
    IDLE_WARNING = "idle_warning"
    IDLE = "idle"
    PAYMENT_WARNING = "payment_warning"
    PAYMENT = "payment"


class Capture:
    """The keypad entry of one payment. `now` is seconds on any steady clock, never going back."""

    def __init__(self, card: Card, brands: BrandTable, today: date, limits: Limits, now: float) -> None:
        self.card = card
        self.ended = False
        """True after `Expired`: everything is wiped and nothing is taken any more."""
        self.paused = False
        self._brands = brands
        self._today = today
        self._limits = limits
        self._states = dict.fromkeys(Field, FieldState.WAITING)
        self._open: Field | None = None
        self._facts: deque[Fact] = deque()
        self._hands = Hands(limits.silence_s, limits.idle_s, limits.warning_s, now)
        self._problems = 0
        self._confirm_tries = 0
        self._payment_end = now + limits.payment_s
        self._payment_warned = limits.warning_s >= limits.payment_s

    # --- what is asked of it --------------------------------------------------------------------------

    @property
    def open_field(self) -> Field | None:
        """The one field that takes keys now."""
        return self._open

    @property
    def filled(self) -> bool:
        """True when PAN, expiry and CVV are all sound: the card can be used."""
        return all(self._states[one] is FieldState.COMPLETE for one in ORDER)

    @property
    def brand(self) -> Brand | None:
        """The brand of a complete PAN."""
        complete = self._states[Field.PAN] is FieldState.COMPLETE
        return brand_of(self.card.pan, self._brands) if complete else None

    def next_fact(self) -> Fact | None:
        """The oldest fact not yet taken, or None."""
        return self._facts.popleft() if self._facts else None

    # --- commands -------------------------------------------------------------------------------------

    def open(self, field: Field, now: float) -> None:
        """Empties the field and takes keys for it; any other open field is closed."""
        if self.ended:
            return
        if self._open not in {None, field}:
            self.close(now)
        self._move(field, Event.OPEN)
        self._open = field
        self._wipe(field)
        self._confirm_tries = 0
        self._hands.restart(now)
        self._facts.append(Opened(field))

    def close(self, now: float) -> None:
        """Wipes and closes the open field; nothing happens without one."""
        if self._open is not None:
            self._move(self._open, Event.CLOSE)
            self._wipe(self._open)
            self._open = None
            self._hands.restart(now)

    def pause(self) -> None:
        """Ignores keys and silence from now on; only the payment's own limit runs on."""
        self.paused = True

    def resume(self, now: float) -> None:
        """Goes on where the pause began; every timer of the caller's silence starts anew."""
        if self.paused:
            self.paused = False
            self._hands.restart(now)

    def wipe_cvv(self) -> None:
        """Wipes the CVV (PCI DSS 3.3.1); a complete one has to be keyed again."""
        self._move(Field.CVV, Event.WIPE)
        self.card.cvv.wipe()

    def refuse(self, field: Field, now: float) -> None:
        """The provider does not take this field: it is open again, the others stay as they are."""
        self._facts.append(Problem(field, FieldProblem.REFUSED_BY_PROVIDER))
        self.open(field, now)
        self._count_problem()

    # --- keys -----------------------------------------------------------------------------------------

    def press(self, key: int, now: float) -> None:
        """Takes one key 0-15; a key that no open field waits for is gone."""
        if self._open is None or self.paused:
            return
        action = self._hands.press(key, now)
        if action is None:
            return
        if action is Action.HELP:
            self._facts.append(HelpAsked())
        elif self._open is Field.CONFIRM:
            self._press_confirm(action, key, now)
        elif action is Action.DIGIT:
            self._press_digit(key, now)
        elif action is Action.CLEAR:
            self._wipe(self._open)
            self._facts.append(Cleared(self._open))
        elif len(self._digits(self._open)) > 0:  # `#` on an empty field belongs to the field before
            self._judge(self._open, now)

    def _press_digit(self, key: int, now: float) -> None:
        field = self._open
        assert field is not None
        digits = self._digits(field)
        digits.append(key)
        self._facts.append(Keyed(field, len(digits)))
        if len(digits) >= self._digits_max(field):
            self._judge(field, now, at_once=True)

    def _press_confirm(self, action: Action, key: int, now: float) -> None:
        if action is Action.DIGIT and key == CONFIRM_KEY:
            self._leave_confirm(now, Confirmed())
        elif action is Action.DIGIT:
            self._confirm_tries += 1
            if self._confirm_tries == CONFIRM_TRIES:
                self._leave_confirm(now, Problem(Field.CONFIRM, FieldProblem.CONFIRM_REFUSED))

    def _leave_confirm(self, now: float, fact: Fact) -> None:
        self.close(now)
        self._facts.append(fact)

    # --- entries --------------------------------------------------------------------------------------

    def _judge(self, field: Field, now: float, *, at_once: bool = False) -> None:
        """The entry is over: complete, or refused and empty. `at_once`: the caller may not know yet."""
        problem = self._problem(field)
        if problem is None:
            self._complete(field, now)
            return
        self._move(field, Event.REFUSED)
        self._wipe(field)
        self._hands.refuse(now, at_once=at_once)
        self._facts.append(Problem(field, problem))
        self._count_problem()

    def _problem(self, field: Field) -> FieldProblem | None:
        if len(self._digits(field)) == 0:
            return FieldProblem.NO_INPUT
        if field is Field.PAN:
            return pan_problem(self.card.pan, self._brands)
        if field is Field.EXPIRY:
            return expiry_problem(self.card.expiry, self._today)
        digits_min = self.brand.cvv_digits if self.brand else CVV_DIGITS_MIN
        return FieldProblem.TOO_SHORT if len(self.card.cvv) < digits_min else None

    def _complete(self, field: Field, now: float) -> None:
        self._move(field, Event.FILLED)
        self._open = None
        self._hands.restart(now)
        digits = len(self._digits(field))
        if field is Field.PAN:
            self._drop_unfit_cvv()
            brand = self.brand
            assert brand is not None
            self._facts.append(Complete(field, digits, brand.name, last4(self.card.pan)))
        else:
            self._facts.append(Complete(field, digits))
        self._advance(now)

    def _drop_unfit_cvv(self) -> None:
        """Another brand may print another length; a CVV of the wrong length belongs to the card before."""
        brand = self.brand
        if brand and len(self.card.cvv) != brand.cvv_digits:
            self.wipe_cvv()

    def _advance(self, now: float) -> None:
        """Opens the next field that is not complete, so that a caller who keys on loses nothing."""
        waiting = (one for one in ORDER if self._states[one] is FieldState.WAITING)
        following = next(waiting, None)
        if following is not None:
            self.open(following, now)

    def _count_problem(self) -> None:
        self._problems += 1
        if self._problems >= PROBLEMS_MAX:
            self._expire("tries")

    def _digits(self, field: Field) -> SecretDigits:
        return {Field.PAN: self.card.pan, Field.EXPIRY: self.card.expiry, Field.CVV: self.card.cvv}[field]

    def _digits_max(self, field: Field) -> int:
        if field is Field.EXPIRY:
            return EXPIRY_DIGITS
        if field is Field.CVV:
            return self.brand.cvv_digits if self.brand else CVV_DIGITS_MAX
        brand = brand_of(self.card.pan, self._brands)
        return brand.lengths[-1] if brand else PAN_DIGITS_MAX

    def _move(self, field: Field, event: Event) -> None:
        self._states[field] = MOVES[self._states[field], event]

    def _wipe(self, field: Field) -> None:
        if field is not Field.CONFIRM:
            self._digits(field).wipe()

    # --- time -----------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When `tick` has something to do; None after the end."""
        return None if self.ended else min(self._timers().values())

    def tick(self, now: float) -> None:
        """Does everything that is due, in order; early and repeated calls change nothing."""
        while not self.ended:
            timers = self._timers()
            timer = min(timers, key=timers.__getitem__)
            if timers[timer] > now:
                return
            self._fire(timer, now)

    def _timers(self) -> dict[Timer, float]:
        timers = {Timer.PAYMENT: self._payment_end}
        if not self._payment_warned:
            timers[Timer.PAYMENT_WARNING] = self._payment_end - self._limits.warning_s
        if self._open is None or self.paused:
            return timers
        hands = self._hands
        timers |= {Timer.ENTRY: self._entry_due(), Timer.IDLE_WARNING: hands.warning_due()}
        return timers | {Timer.IDLE: hands.idle_due()}

    def _fire(self, timer: Timer, now: float) -> None:
        if timer is Timer.ENTRY:
            self._silent(now)
        elif timer is Timer.IDLE_WARNING:
            self._hands.warned()
            self._facts.append(TimeWarning(round(self._limits.warning_s)))
        elif timer is Timer.PAYMENT_WARNING:
            self._payment_warned = True
            self._facts.append(TimeWarning(round(self._limits.warning_s)))
        else:
            self._expire(timer.value)

    def _entry_due(self) -> float:
        """When the caller's silence means something: that the entry is over, or that help is needed."""
        if self._may_be_over():
            certain = len(self.card.pan) == PAN_DIGITS_USUAL and self._problem(Field.PAN) is None
            return self._hands.pause_due(certain=certain)
        return self._hands.silence_due()

    def _may_be_over(self) -> bool:
        """True when the open field is a PAN that is sound so far, or has the length that people expect."""
        if self._open is not Field.PAN:
            return False
        return len(self.card.pan) == PAN_DIGITS_USUAL or self._problem(Field.PAN) is None

    def _silent(self, now: float) -> None:
        field = self._open
        assert field is not None
        if self._may_be_over():
            self._judge(field, now)
            return
        if self._hands.ask(now):
            self._facts.append(NoInput(field))
        elif field is Field.CONFIRM:
            self._leave_confirm(now, Problem(field, FieldProblem.NO_INPUT))
        else:
            self._judge(field, now)

    def _expire(self, limit: str) -> None:
        self.card.wipe()
        self._states = dict.fromkeys(Field, FieldState.WAITING)
        self._open = None
        self.ended = True
        self._facts.append(Expired(limit))
