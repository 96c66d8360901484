"""Opening hours as people write them: `mon-fri 08:00-20:00`, `sat 09:00-14:00`, `sun 22:00-24:00`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SHAPE = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? "
    r"(?P<from_h>[0-2][0-9]):(?P<from_m>[0-5][0-9])-(?P<to_h>[0-2][0-9]):(?P<to_m>[0-5][0-9])"
)
DAY_MINUTES = 24 * 60


class HoursError(ValueError):
    """What was written is no opening; the sentence shows how one looks."""


@dataclass(frozen=True)
class Opening:
    """The same hours on one or several days of the week."""

    days: tuple[int, ...]
    """0 is Monday."""
    first_minute: int
    """Since midnight."""
    end_minute: int
    """Exclusive; 1440 is the end of the day. Hours over midnight are two openings."""


def parse_opening(text: str) -> Opening:
    """One opening; HoursError otherwise. A span of days may pass Sunday: `fri-mon`."""
    match = _SHAPE.fullmatch(text)
    if match is None or match["first"] not in DAYS or (match["last"] or "mon") not in DAYS:
        raise HoursError("write it like mon-fri 08:00-20:00")
    start = int(match["from_h"]) * 60 + int(match["from_m"])
    end = int(match["to_h"]) * 60 + int(match["to_m"])
    if not start < end <= DAY_MINUTES:
        raise HoursError("the end must be later on the same day, at 24:00 at most; use two entries")
    first = DAYS.index(match["first"])
    last = DAYS.index(match["last"] or match["first"])
    days = tuple((first + step) % 7 for step in range((last - first) % 7 + 1))
    return Opening(days, start, end)


def is_open(openings: Sequence[Opening], local: datetime) -> bool:
    """True when a moment of the local clock is inside one of them; always true without any."""
    minute = local.hour * 60 + local.minute
    return not openings or any(
        local.weekday() in one.days and one.first_minute <= minute < one.end_minute for one in openings
    )
