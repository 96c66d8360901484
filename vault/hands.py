"""One caller's hands at the keypad: what the presses mean, how they come, and how long a silence may be.

Shared by all that is keyed into a cell: a card (`vault/capture.py`) and a PIN (`vault/pin_capture.py`). This
file owns what a silence means: that an entry is over, that the caller is asked again (twice), or that he has
left. It knows no digit of any entry, only when keys came. `now` is seconds on any steady clock.
"""

from math import inf

from vault.keypad import TAIL_S, Action, Keypad, Pace

SILENCES_ASKED = 2
"""The caller is asked twice; a third silence is left to the idle limit."""

DOUBT_PER_PAUSE = 2.0
"""How many pauses an entry waits that may be over but is unsound or of a rare length."""


class Hands:
    """Reads the keys of one capture and keeps its timers of silence."""

    def __init__(self, silence_s: float, idle_s: float, warning_s: float, now: float) -> None:
        """`silence_s`: until the caller is asked again; `idle_s`: until he has left; warned before."""
        self._silence_s = silence_s
        self._idle_s = idle_s
        self._warning_s = warning_s
        self._keypad = Keypad()
        self._pace = Pace()
        self._silences = 0
        self._entry_at = self._idle_at = now
        self._digit_at: float | None = None
        """The last digit of the entry under way."""
        self._tail_at = -inf
        """The last key of an entry that was refused at its last digit."""
        self._warned = warning_s >= idle_s

    # --- keys -----------------------------------------------------------------------------------------

    def press(self, key: int, now: float) -> Action | None:
        """What the key asks for; None when it means nothing, or is the tail of the entry just refused."""
        action = self._keypad.read(key, now)
        if action is Action.NOTHING or self._is_tail(action, now):
            return None
        self._heard(action, now)
        return action

    def _is_tail(self, action: Action, now: float) -> bool:
        """True for a digit that still belongs to the entry just refused."""
        tail = action is Action.DIGIT and now - self._tail_at < TAIL_S
        self._tail_at = now if tail else -inf
        return tail

    def _heard(self, action: Action, now: float) -> None:
        if action is Action.DIGIT and self._digit_at is not None:
            self._pace.gap(now - self._digit_at)
        if self._silences > 0:
            self._pace.late()
        self._digit_at = now if action is Action.DIGIT else None
        self._silences = 0
        self._entry_at = self._idle_at = now
        self._warn_again()

    # --- entries --------------------------------------------------------------------------------------

    def restart(self, now: float) -> None:
        """Every timer of the caller's silence starts anew."""
        self._entry_at = self._idle_at = now
        self._digit_at = None
        self._tail_at = -inf
        self._silences = 0
        self._warn_again()

    def refuse(self, now: float, *, at_once: bool) -> None:
        """The entry was refused and begins anew. `at_once`: at its last digit, so the caller may key on."""
        self._entry_at, self._digit_at = now, None
        self._tail_at = now if at_once else -inf

    def ask(self, now: float) -> bool:
        """A silence is over: True while the caller is to be asked again, False when he was asked enough."""
        self._silences += 1
        self._entry_at = now
        return self._silences < SILENCES_ASKED

    # --- time -----------------------------------------------------------------------------------------

    def pause_due(self, *, certain: bool) -> float:
        """When an entry that may be over is over; `certain`: it is sound and as long as people expect."""
        return self._entry_at + self._pace.pause_s() * (1.0 if certain else DOUBT_PER_PAUSE)

    def silence_due(self) -> float:
        """When the caller is asked again; never when that was done twice."""
        if self._silences == SILENCES_ASKED:
            return inf
        return self._entry_at + self._silence_s * self._pace.patience()

    def idle_due(self) -> float:
        """When the caller has left."""
        return self._idle_at + self._idle_s

    def warning_due(self) -> float:
        """When to warn of that; never twice, unless a key has moved it."""
        return inf if self._warned else self.idle_due() - self._warning_s

    def warned(self) -> None:
        """The warning was given."""
        self._warned = True

    def _warn_again(self) -> None:
        """A key has moved the idle limit, so its warning is due once more."""
        self._warned = self._warning_s >= self._idle_s
