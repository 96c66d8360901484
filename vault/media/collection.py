"""Open digits of one step of a flow: a menu choice, a booking number; never a card's (those go into a cell).

Pure: keys and `now_ms` in, an outcome out. This file owns the grammar of open digits (`#` ends, `*` clears,
`**` asks for help), the limit that keeps them short of a PAN, in one collection and over several in a row,
and what becomes of keys that come before their question: they wait for it, or nothing of them is told.
"""

from enum import StrEnum
from typing import Final

OPEN_DIGITS_MAX: Final = 10
"""Two short of the shortest PAN (ISO/IEC 7812-1: 12 digits), so that no card fits through here."""
RUN_GAP_MS: Final = 2_000.0
"""A longer pause ends a run of digits. Cards are keyed from a card in the hand, faster than that; who keys a
code anew has first heard that the last one was wrong."""
HELP_MS: Final = 700.0
"""Two stars within this time ask for help, as in a capture (`vault/keypad.py`)."""
TIMEOUT_MS_MIN: Final = 500
TIMEOUT_MS_MAX: Final = 60_000
"""A minute of waiting for a key is a lost caller."""

AHEAD_MAX: Final = 2 * OPEN_DIGITS_MAX
"""Keys that wait for their question: a run of digits, and as many signs."""

STAR: Final = 10
HASH: Final = 11


class Outcome(StrEnum):
    """How a collection ended."""

    DONE = "done"
    TOO_FEW = "too_few"
    NO_INPUT = "no_input"
    HELP = "help"
    """`**`: the caller wants to know what to do."""
    TOO_MANY = "too_many"
    """More digits in a run than may leave the zone; nothing of them is told, so nothing is misread."""
    STOPPED = "stopped"
    CAPTURED = "captured"
    """A capture began on the leg; what had been keyed is wiped."""


class Run:
    """Digits keyed without a pause, counted over collections: a PAN must not go out in two halves."""

    __slots__ = ("_count", "_key_ms")

    def __init__(self) -> None:
        self._count = 0
        self._key_ms = float("-inf")

    def takes(self, key: int, now_ms: float) -> bool:
        """Counts one key; False for a digit beyond `OPEN_DIGITS_MAX` of its run."""
        if key >= STAR or now_ms - self._key_ms >= RUN_GAP_MS:
            self._count = 0
        self._key_ms = now_ms
        self._count += key < STAR
        return self._count <= OPEN_DIGITS_MAX

    def spend(self, now_ms: float) -> None:
        """A key of a capture: what is keyed on without a pause is a card's, whatever the mode is by then."""
        self._count = OPEN_DIGITS_MAX
        self._key_ms = now_ms


class Ahead:
    """Keys pressed between two questions of a flow, by callers who know the way; they wait for the second.

    Open from the key that ended one collection until the next one, a capture, or a pause of `RUN_GAP_MS`.
    The limit of a run holds here too: at most `OPEN_DIGITS_MAX` digits and the signs between them.
    """

    __slots__ = ("_keys", "_open_ms", "_spoiled")

    def __init__(self) -> None:
        self._keys = bytearray()
        self._open_ms = float("-inf")
        self._spoiled = False

    def __len__(self) -> int:
        return len(self._keys) + self._spoiled

    def open(self, now_ms: float) -> None:
        """A question has just been answered by a key."""
        self._open_ms = now_ms

    def keep(self, key: int, now_ms: float, *, fits: bool) -> bool:
        """Keeps one key, `fits`: it is not too many in its run; False when no question is to be expected."""
        if now_ms - self._open_ms >= RUN_GAP_MS:
            self.forget()
            return False
        self._open_ms = now_ms
        if fits and len(self._keys) < AHEAD_MAX:
            self._keys.append(key)
        else:
            self._spoiled = True
        return True

    def pour(self, collection: "Collection", now_ms: float) -> Outcome | None:
        """Gives the kept keys to the next question, up to its end; what is left waits for the one after."""
        if now_ms - self._open_ms >= RUN_GAP_MS:
            self.forget()
        while self._keys:
            key = self._keys[0]
            self._keys[0] = 0
            del self._keys[0]
            outcome = collection.press(key, now_ms)
            if outcome is not None:
                return outcome
        if self._spoiled:
            collection.spoil(now_ms)
        self.forget()
        return None

    def forget(self) -> None:
        """Overwrites what was kept; no key is kept from now on."""
        self._keys[:] = bytes(len(self._keys))
        self._keys.clear()
        self._spoiled = False
        self._open_ms = float("-inf")


class Collection:
    """One running collection; `digits` is what the flow may have, after the end."""

    def __init__(
        self,
        collect_id: str,
        *,
        digits_max: int,
        digits_min: int,
        first_timeout_ms: int,
        next_timeout_ms: int,
    ) -> None:
        self.collect_id = collect_id
        self._max = digits_max
        self._min = digits_min
        self._first_timeout_ms = first_timeout_ms
        self._next_timeout_ms = next_timeout_ms
        self._keys = bytearray()
        self._due_ms: float | None = None
        self._star_ms = float("-inf")
        self._spoiled = False

    def wait(self, now_ms: float) -> None:
        """The caller may key from now on at the latest: the first timeout starts here, again if need be."""
        if not self._keys and not self._spoiled:
            self._due_ms = now_ms + self._first_timeout_ms

    def hold(self) -> None:
        """The question is being spoken: nobody is late before its last word; who is keying is timed."""
        if not self._keys and not self._spoiled:
            self._due_ms = None

    def press(self, key: int, now_ms: float) -> Outcome | None:
        """Takes one key; an outcome when the collection is over."""
        self._due_ms = now_ms + (RUN_GAP_MS if self._spoiled else self._next_timeout_ms)
        if key == HASH:
            return self._judge()
        if key == STAR:
            return self._star(now_ms)
        if key < STAR and not self._spoiled:
            self._keys.append(key)
            if len(self._keys) >= self._max:
                return Outcome.DONE
        return None

    def spoil(self, now_ms: float) -> None:
        """A digit too many in its run: all of them are forgotten, and the end waits until the run is over."""
        self.wipe()
        self._spoiled = True
        self._due_ms = now_ms + RUN_GAP_MS

    def tick(self, now_ms: float) -> Outcome | None:
        """An outcome when the caller has let a timeout pass."""
        if self._due_ms is None or now_ms < self._due_ms:
            return None
        return self._judge()

    def _star(self, now_ms: float) -> Outcome | None:
        """Clears; asks for help when it is the second one."""
        self.wipe()
        self._spoiled = False
        self.wait(now_ms)
        if now_ms - self._star_ms <= HELP_MS:
            return Outcome.HELP
        self._star_ms = now_ms
        return None

    def _judge(self) -> Outcome:
        if self._spoiled:
            return Outcome.TOO_MANY
        if len(self._keys) >= self._min:
            return Outcome.DONE
        return Outcome.TOO_FEW if self._keys else Outcome.NO_INPUT

    def digits(self) -> str:
        """What was keyed, `0` to `9`."""
        return "".join(map(str, self._keys))

    def wipe(self) -> None:
        """Overwrites and forgets what was keyed."""
        self._keys[:] = bytes(len(self._keys))
        self._keys.clear()
