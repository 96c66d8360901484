"""Which calls the leak proof places: a fixed plan, which fixes the number of attacked presses too."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pay_ivr.proof.canary import BIN, CVV_DIGITS, UNIFORM_OF_PAN
from pay_ivr.proof.rtp_port import Impairment

TRANSPORTS = ("event", "inband", "hybrid", "lead-in", "info", "both")
TONE_TRANSPORTS = frozenset({"inband", "hybrid", "both"})
"""Their callers send tones as long as a press. The first round has them on a clean network: these recordings
serve the controls.
"""
CODECS = ("PCMU", "PCMA")
IMPAIRMENTS = {
    "clean": Impairment(),
    "5 % loss": Impairment(loss=0.05),
    "30 ms jitter": Impairment(jitter_ms=30),
    "10 % duplicates": Impairment(duplicates=0.1),
}
LANES = 6
"""Calls at once: one per transport; each has an agent, a number and a desk of its own."""
DEFAULT_RUNS = 30
"""Five rounds, over 320 presses: with start, searches and controls under five minutes on two cores."""
HUNG_UP_AFTER = 12
"""Digits of the PAN before a caller hangs up: half of what is secret is keyed."""
PAUSED_AFTER = 11
"""Digits of the PAN before a caller waits for the search of live memory."""
TALK_TRANSPORTS = ("inband", "hybrid", "both", "lead-in")
"""One call each with a pause in which the caller keys: those whose keys are heard."""
TALK_PRESSES = 6
"""In each pause: apart by more than the gate's hold, they fit into the fifteen seconds of TALK."""
RACE_MS = 200
"""A race keys up to so long before or after the agent starts the capture."""
RACE_STEP_MS = 10
RACE_DIGITS = 3
"""Keyed around the start of a capture, and again right after its last digit."""


class Moment(StrEnum):
    """What a call has come to when memory is searched."""

    FIELD = "mid-field"
    """Digits are in the cell."""
    READY = "ready"
    RESULT = "after the result"
    HUNG_UP = "after a hang-up mid-field"


@dataclass(frozen=True)
class Run:
    """One call."""

    number: int
    lane: int
    transport: str
    caller_codec: str
    network: str
    """A name of IMPAIRMENTS."""
    race_ms: int | None
    """The caller keys this long after (negative: before) the agent asks for the capture; None: no race."""
    moment: Moment
    talks: bool = False
    """The capture is paused in the middle of the PAN, and the caller keys on."""

    @property
    def impairment(self) -> Impairment:
        """What happens to the caller's packets."""
        return IMPAIRMENTS[self.network]

    @property
    def presses(self) -> int:
        """Presses of digits that were drawn uniformly: what the attacker is asked about."""
        if self.moment is Moment.HUNG_UP:
            return HUNG_UP_AFTER - len(BIN)
        return len(UNIFORM_OF_PAN) + CVV_DIGITS

    @property
    def ends_early(self) -> bool:
        """True when the card is never complete."""
        return self.moment is Moment.HUNG_UP


def make_plan(runs: int) -> list[list[Run]]:
    """Rounds of at most LANES calls; the same for the same number."""
    mixed = list(itertools.product(CODECS, IMPAIRMENTS, (False, True)))
    random.Random(runs).shuffle(mixed)
    offsets = range(-RACE_MS, RACE_MS + 1, RACE_STEP_MS)
    rounds: list[list[Run]] = []
    for number in range(runs):
        turn, lane = divmod(number, LANES)
        if lane == 0:
            rounds.append([])
        codec, network, race = mixed[(number * 7 + turn) % len(mixed)]
        race_ms = offsets[number * 17 % len(offsets)] if race else None
        transport = TRANSPORTS[(lane + turn) % len(TRANSPORTS)]
        if turn == 0 and transport in TONE_TRANSPORTS:
            network = "clean"
        moment = tuple(Moment)[(lane + turn // 2) % len(Moment)]
        rounds[-1].append(Run(number, lane, transport, codec, network, race_ms, moment))
    return rounds


def talk_round(first_number: int) -> list[Run]:
    """Calls with a pause, both codecs on either side; after those of `make_plan`."""
    return [
        Run(first_number + lane, lane, transport, CODECS[lane // 2], "clean", None, Moment.READY, talks=True)
        for lane, transport in enumerate(TALK_TRANSPORTS)
    ]


def all_runs(rounds: list[list[Run]]) -> Iterator[Run]:
    """Every run in order."""
    return itertools.chain.from_iterable(rounds)
