"""What a leg may hear of its partner: two tables, and no other way past them.

The first table says how a caller's leg moves between NORMAL, TALK and SECURE; only the broker's key pipe
moves it there, and only `detach` leads back. The second says what an agent or a caller is sent in each
situation. This file owns the rule that not one caller sample reaches the agent while a pipe is, or was and
may again be, attached.
"""

from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    """What the shield does with the caller's audio."""

    NORMAL = "NORMAL"
    TALK = "TALK"
    SECURE = "SECURE"


class Guard(StrEnum):
    """Why a leg is in its mode."""

    OPEN = "open"
    """No capture."""
    CAPTURING = "capturing"
    """A key pipe is attached."""
    TALKING = "talking"
    """The capture is paused, the TALK gate is on."""
    STRANDED = "stranded"
    """The pipe broke, or this process started anew: secure until the broker speaks."""
    LEAVING = "leaving"
    """Detached: waits for the pipe's end and for quiet."""


class Turn(StrEnum):
    """What can happen to a guarded leg."""

    ATTACH = "attach"
    PIPE_CLOSED = "pipe_closed"
    TALK_ON = "talk_on"
    TALK_OFF = "talk_off"
    DETACH = "detach"
    QUIET = "quiet"
    """The pipe has been closed, and no key has been down, for `HOLD_MS`."""


HOLD_MS: Final = 1000.0
"""SECURE outlasts the pipe and the last key by this: a caller keys on for a moment after the last digit
counts."""
TALK_MS_MAX: Final = 15_000.0
"""A pause for one question and its answer; TALK is best effort, so it ends by this process's own clock."""

TURNS: Final[dict[tuple[Guard, Turn], Guard]] = {
    (Guard.OPEN, Turn.ATTACH): Guard.CAPTURING,
    (Guard.OPEN, Turn.DETACH): Guard.OPEN,
    (Guard.CAPTURING, Turn.ATTACH): Guard.CAPTURING,
    (Guard.CAPTURING, Turn.PIPE_CLOSED): Guard.STRANDED,
    (Guard.CAPTURING, Turn.TALK_ON): Guard.TALKING,
    (Guard.CAPTURING, Turn.TALK_OFF): Guard.CAPTURING,
    (Guard.CAPTURING, Turn.DETACH): Guard.LEAVING,
    (Guard.TALKING, Turn.ATTACH): Guard.CAPTURING,
    (Guard.TALKING, Turn.PIPE_CLOSED): Guard.STRANDED,
    (Guard.TALKING, Turn.TALK_OFF): Guard.CAPTURING,
    (Guard.TALKING, Turn.DETACH): Guard.LEAVING,
    (Guard.STRANDED, Turn.ATTACH): Guard.CAPTURING,
    (Guard.STRANDED, Turn.DETACH): Guard.LEAVING,
    (Guard.LEAVING, Turn.ATTACH): Guard.CAPTURING,
    (Guard.LEAVING, Turn.PIPE_CLOSED): Guard.LEAVING,
    (Guard.LEAVING, Turn.DETACH): Guard.LEAVING,
    (Guard.LEAVING, Turn.QUIET): Guard.OPEN,
}
"""Every legal move; any other pair is refused and changes nothing."""

MODE_OF: Final = {
    Guard.OPEN: Mode.NORMAL,
    Guard.CAPTURING: Mode.SECURE,
    Guard.TALKING: Mode.TALK,
    Guard.STRANDED: Mode.SECURE,
    Guard.LEAVING: Mode.SECURE,
}


def turn(guard: Guard, what: Turn) -> Guard | None:
    """The guard after `what`, or None when the pair is illegal."""
    return TURNS.get((guard, what))


class Source(StrEnum):
    """What one leg is sent."""

    NOTHING = "nothing"
    PEER = "peer"
    """The partner's packets, at once."""
    NOISE = "noise"
    """Comfort noise on our own clock."""
    GATE = "gate"
    """The partner's audio through the TALK gate, on our own clock."""
    PROMPT = "prompt"
    """A prompt or the key beep, on our own clock."""
    MUSIC = "music"
    """Hold music, on our own clock."""


OWN_CLOCK: Final = frozenset({Source.NOISE, Source.GATE, Source.PROMPT, Source.MUSIC})

TO_AGENT: Final = {Mode.NORMAL: Source.PEER, Mode.TALK: Source.GATE, Mode.SECURE: Source.NOISE}
"""What the agent is sent of a caller in each mode."""


def source(
    *,
    reachable: bool,
    prompting: bool,
    partner_mode: Mode | None,
    partner_sends: bool,
    held: bool,
) -> Source:
    """What a leg is sent now.

    `reachable`: its remote is known and wants audio. `partner_mode`: of the bridged caller when this is the
    agent's leg, NORMAL for a caller's leg with an agent, None without a partner. `partner_sends`: the
    partner's direction lets audio come from it. `held`: the partner does not want audio from us, and there is
    hold music.
    """
    if not reachable:
        return Source.NOTHING
    if prompting:
        return Source.PROMPT
    if partner_mode is None:
        return Source.NOTHING
    if partner_mode is not Mode.NORMAL:
        return TO_AGENT[partner_mode]
    if held:
        return Source.MUSIC
    return Source.PEER if partner_sends else Source.NOTHING
