"""Ids of journals, in the order in which they were asked for, and the ids named after them.

`jrn_`, twelve letters of time, nine of chance. Later ids sort after earlier ones (on one node exactly, on
two within the difference of their clocks), so that a page of movements is a range of the index. Letters only,
as everywhere (pay_ivr/ids.py): no id holds a run of digits.
"""

import itertools
import os
import random
import threading
import time

from pay_ivr.ids import ALPHABET

TIME_LETTERS = 12
"""22^12 microseconds are 407 years after 1970."""
CHANCE_LETTERS = 9
"""22^9 holds 40 bits of chance, for two nodes that ask within the same microsecond."""
CHANCE_BITS = 40
PREFIX = "jrn_"

_TRIPLES = tuple(map("".join, itertools.product(ALPHABET, repeat=3)))
_lock = threading.Lock()
_last = 0
_dice = random.Random()  # noqa: S311 - tells two nodes apart and hides nothing
"""Seeded by the system, which is not asked again for every id: that would let another thread go first."""
os.register_at_fork(after_in_child=_dice.seed)


def new_journal_id() -> str:
    """An id that sorts after every one that this process has given before."""
    return (
        PREFIX
        + _letters(_next_moment(), TIME_LETTERS)
        + _letters(_dice.getrandbits(CHANCE_BITS), CHANCE_LETTERS)
    )


def named_after(prefix: str, journal: str, number: int = 0) -> str:
    """The id of a lot or hold that a journal makes; the first has no number, the others sort by it."""
    return prefix + journal.removeprefix(PREFIX) + (f"_{number:04}" if number else "")


def _letters(number: int, width: int) -> str:
    """A number in our alphabet, most significant letter first; the width is a multiple of three."""
    letters = ""
    for _ in range(width // 3):
        number, triple = divmod(number, len(_TRIPLES))
        letters = _TRIPLES[triple] + letters
    return letters


def _next_moment() -> int:
    """Microseconds since 1970, never the same twice: clocks are set back, ids are not."""
    global _last  # noqa: PLW0603 - one row of ids for the whole process
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1000)
        return _last
