"""What the relay knows of one leg beyond its packets: guard, partner, prompt, collection, lamps.

Data only; `relay.py`, `prompting.py`, `capturing.py` and `upkeep.py` each own the rules of their part.
"""

import socket
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from vault.media.collection import Ahead, Collection, Run
from vault.media.ear import Ear
from vault.media.leg import Leg, Role
from vault.media.player import Playing
from vault.media.shield import MODE_OF, Guard, Mode, Source

GATED_FRAMES_MAX: Final = 4
"""Frames of the TALK gate waiting for our clock: 80 ms of jitter; the oldest goes first."""


@dataclass(slots=True, eq=False)
class Party:
    """One leg in the relay."""

    leg: Leg
    ear: Ear | None = None
    """Callers only."""
    partner: "Party | None" = None
    source: Source = Source.NOTHING
    guard: Guard = Guard.OPEN
    capture_id: str = ""
    pipe: socket.socket | None = field(default=None, repr=False)
    pipe_closed_ms: float = float("-inf")
    last_key_ms: float = float("-inf")
    talk_from_ms: float = 0.0
    """Frames heard before this moment are not the pause's: they stay out of the gate."""
    talk_until_ms: float = 0.0
    gated: deque[bytes | None] = field(default_factory=lambda: deque(maxlen=GATED_FRAMES_MAX), repr=False)
    noise_at: int = 0
    playing: Playing | None = None
    beep: Playing | None = None
    music: Playing | None = None
    collection: Collection | None = None
    run: Run = field(default_factory=Run, repr=False)
    ahead: Ahead = field(default_factory=Ahead, repr=False)
    tail_ms: float = float("-inf")
    """The last key of those that kept coming while a capture began: nobody's, until there is a pause."""
    keying_count: int = 0
    keying_told_ms: float = float("-inf")
    speaking: bool = False
    silent_told_s: int = 0
    report_due_ms: float = 0.0
    orphan: bool = False

    @property
    def leg_id(self) -> str:
        """The leg's name in facts."""
        return self.leg.leg_id

    @property
    def is_caller(self) -> bool:
        """Keys are heard here, and the shield stands here."""
        return self.leg.role is Role.CALLER

    @property
    def mode(self) -> Mode:
        """What the shield does with this caller's audio."""
        return MODE_OF[self.guard]
