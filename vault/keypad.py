"""What a press means: the grammar of keys, and the pace at which one caller keys.

Keys are the telephone-event numbers 0-15 (RFC 4733 §3.2): digits, 10 is `*`, 11 is `#`, 12-15 are A-D. `*`
clears the field, a second `*` soon after asks for help, `#` means done, A-D mean nothing. This file owns the
grammar and every time that depends on the caller's hands; what a field does with it: `vault/capture.py`.
"""

from enum import StrEnum

KEY_STAR, KEY_HASH = 10, 11

DOUBLE_STAR_S = 0.7
"""Two `*` within this time are `**`: slow fingers need half a second, a second thought takes longer."""

TAIL_S = 0.7
"""Keys that follow a refused entry more quickly than this are its tail, not the start of a new entry."""

PAUSE_MIN_S, PAUSE_MAX_S = 1.5, 6.0
"""Bounds of the silence that ends an entry which may or may not be complete."""

PAUSE_PER_GAP = 1.5
"""That silence is so many times the longest gap this caller has made between two digits."""

GAP_COUNTED_MAX_S = 4.0
"""A longer gap is a caller who looks for the card, not one who keys slowly."""

SLOW_GAP_S = 2.5
"""Who once needs this long between two digits gets twice the time everywhere."""


class Kind(StrEnum):
    """The four sorts of keys."""

    DIGIT = "digit"
    STAR = "star"
    HASH = "hash"
    LETTER = "letter"


class Action(StrEnum):
    """What a press asks for."""

    DIGIT = "digit"
    CLEAR = "clear"
    HELP = "help"
    DONE = "done"
    NOTHING = "nothing"


GRAMMAR: dict[tuple[Kind, bool], Action] = {
    # (the key, a lone `*` came within DOUBLE_STAR_S) -> what it asks for
    (Kind.DIGIT, False): Action.DIGIT,
    (Kind.DIGIT, True): Action.DIGIT,
    (Kind.STAR, False): Action.CLEAR,
    (Kind.STAR, True): Action.HELP,
    (Kind.HASH, False): Action.DONE,
    (Kind.HASH, True): Action.DONE,
    (Kind.LETTER, False): Action.NOTHING,
    (Kind.LETTER, True): Action.NOTHING,
}


def kind_of(key: int) -> Kind:
    """The sort of a key number; numbers that no keypad has are LETTER: they mean nothing."""
    if 0 <= key <= 9:
        return Kind.DIGIT
    return {KEY_STAR: Kind.STAR, KEY_HASH: Kind.HASH}.get(key, Kind.LETTER)


class Keypad:
    """Reads presses one by one; remembers only when the last lone `*` came."""

    __slots__ = ("_star_at",)

    def __init__(self) -> None:
        self._star_at: float | None = None

    def read(self, key: int, now: float) -> Action:
        """What the press asks for; seconds of `now` on any steady clock."""
        star_fresh = self._star_at is not None and now - self._star_at <= DOUBLE_STAR_S
        action = GRAMMAR[kind_of(key), star_fresh]
        self._star_at = now if action is Action.CLEAR else None
        return action


class Pace:
    """How quickly this caller keys; kept for the whole payment, so that slow hands are slow only once."""

    __slots__ = ("_longest_gap_s", "slow")

    def __init__(self) -> None:
        self._longest_gap_s = 0.0
        self.slow = False
        """True once the caller has needed more time than most."""

    def gap(self, seconds: float) -> None:
        """Learns from the time between two digits of one entry."""
        self.slow = self.slow or seconds >= SLOW_GAP_S
        if seconds <= GAP_COUNTED_MAX_S:
            self._longest_gap_s = max(self._longest_gap_s, seconds)

    def late(self) -> None:
        """Learns that a caller whom we asked twice did key in the end."""
        self.slow = True

    def pause_s(self) -> float:
        """The silence after which an entry that can be complete is complete."""
        return min(max(PAUSE_PER_GAP * self._longest_gap_s, PAUSE_MIN_S), PAUSE_MAX_S)

    def patience(self) -> float:
        """How much longer than others this caller may be silent: 1 or 2."""
        return 2.0 if self.slow else 1.0
