"""Open digits of one step of a flow: a menu choice, a booking number; never a card's (those go into a cell).

Pure: keys and `now_ms` in, an outcome out. This file owns the grammar of open digits (`#` ends, `*` clears)
and the limit that keeps them short of a PAN, in one collection and over several in a row.
"""

from enum import StrEnum
from typing import Final

OPEN_DIGITS_MAX: Final = 10
"""Two short of the shortest PAN (ISO/IEC 7812-1: 12 digits), so that no card fits through here."""
RUN_GAP_MS: Final = 2_000.0
"""A longer pause ends a run of digits. Cards are keyed from a card in the hand, faster than that; who keys a
code anew has first heard that the last one was wrong."""
TIMEOUT_MS_MIN: Final = 500
TIMEOUT_MS_MAX: Final = 60_000
"""A minute of waiting for a key is a lost caller."""

STAR: Final = 10
HASH: Final = 11


class Outcome(StrEnum):
    """How a collection ended."""

    DONE = "done"
    TOO_FEW = "too_few"
    NO_INPUT = "no_input"
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

    def wait(self, now_ms: float) -> None:
        """The caller may key from now on at the latest: the first timeout starts here, again if need be."""
        if not self._keys:
            self._due_ms = now_ms + self._first_timeout_ms

    def press(self, key: int, now_ms: float) -> Outcome | None:
        """Takes one key; an outcome when the collection is over."""
        self._due_ms = now_ms + self._next_timeout_ms
        if key == HASH:
            return self._judge()
        if key == STAR:
            self.wipe()
            self.wait(now_ms)
        elif key < STAR:
            self._keys.append(key)
            if len(self._keys) >= self._max:
                return Outcome.DONE
        return None

    def tick(self, now_ms: float) -> Outcome | None:
        """An outcome when the caller has let a timeout pass."""
        if self._due_ms is None or now_ms < self._due_ms:
            return None
        return self._judge()

    def _judge(self) -> Outcome:
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
