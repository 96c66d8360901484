"""The four SIP transaction machines as printed tables, and every timer as one row of data.

RFC 3261 §17 with the corrections of RFC 6026 (state Accepted, timers L and M) and CANCEL as RFC 3261 §9.1
wants it: a CANCEL waits for a provisional response. `transaction.py` walks these tables; whoever wants to
know what happens reads here. The rule this file owns: what the network can bring in a state has a row.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto


class Kind(StrEnum):
    """The four machines."""

    CLIENT_INVITE = "INVITE client"
    CLIENT_OTHER = "non-INVITE client"
    SERVER_INVITE = "INVITE server"
    SERVER_OTHER = "non-INVITE server"


class State(StrEnum):
    """States of RFC 3261 figures 5 to 8 and RFC 6026, plus two of our own for CANCEL."""

    CALLING = "Calling"
    WITHDRAWN = "Withdrawn"
    """Ours: as Calling, but a CANCEL leaves as soon as the first provisional arrives."""
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    CANCELLING = "Cancelling"
    """Ours: as Proceeding with the CANCEL sent; ends after 64·T1 without a final response (§9.1)."""
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    ACCEPTED = "Accepted"
    TERMINATED = "Terminated"


class Timer(StrEnum):
    """Timers of RFC 3261 table 4 and RFC 6026; X is the unlettered one of RFC 3261 §9.1."""

    A = "A"
    B = "B"
    D = "D"
    E = "E"
    F = "F"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741 - the letter of the RFC
    J = "J"
    K = "K"
    L = "L"
    M = "M"
    X = "X"


class Event(Enum):
    """What a machine can meet besides its timers."""

    REQUEST = auto()
    """The request again: a retransmission."""
    ACK = auto()
    PROVISIONAL = auto()
    SUCCESS = auto()
    REFUSAL = auto()
    """A final response of 300 to 699."""
    SEND_PROVISIONAL = auto()
    SEND_SUCCESS = auto()
    SEND_REFUSAL = auto()
    CANCEL = auto()
    """Our user wants the INVITE withdrawn."""
    BROKEN = auto()
    """The transport reported a failure."""


class Do(Enum):
    """What a machine does on the way to the next state, in the order of the table."""

    REPEAT = auto()
    """Send the last message of ours again."""
    SEND = auto()
    """Send the response that our user handed in and keep it for repeats."""
    ACK = auto()
    """Send the ACK of a refusal: same branch, hop by hop (§17.1.1.3)."""
    CANCEL = auto()
    TELL = auto()
    """Hand the message to our user."""
    TELL_TIMEOUT = auto()
    TELL_BROKEN = auto()


@dataclass(frozen=True, slots=True)
class TimerRule:
    """How long a timer runs, and what a reliable transport makes of it."""

    base: str
    """`t1`, `t2`, `t4` or `patience` (64·T1), fields of `Timers`."""
    repeats: bool = False
    """Runs again after firing, each time twice as long."""
    capped: bool = False
    """The doubling stops at T2."""
    reliable: str = "same"
    """On TCP: `same`, `zero` (at once) or `never`."""


TIMERS: dict[Timer, TimerRule] = {
    Timer.A: TimerRule("t1", repeats=True, reliable="never"),
    Timer.B: TimerRule("patience"),
    Timer.D: TimerRule("patience", reliable="zero"),
    Timer.E: TimerRule("t1", repeats=True, capped=True, reliable="never"),
    Timer.F: TimerRule("patience"),
    Timer.G: TimerRule("t1", repeats=True, capped=True, reliable="never"),
    Timer.H: TimerRule("patience"),
    Timer.I: TimerRule("t4", reliable="zero"),
    Timer.J: TimerRule("patience", reliable="zero"),
    Timer.K: TimerRule("t4", reliable="zero"),
    Timer.L: TimerRule("patience"),
    Timer.M: TimerRule("patience"),
    Timer.X: TimerRule("patience"),
}

RUNNING: dict[Kind, dict[State, tuple[Timer, ...]]] = {
    Kind.CLIENT_INVITE: {
        State.CALLING: (Timer.A, Timer.B),
        State.WITHDRAWN: (Timer.A, Timer.B),
        State.PROCEEDING: (),
        State.CANCELLING: (Timer.X,),
        State.COMPLETED: (Timer.D,),
        State.ACCEPTED: (Timer.M,),
        State.TERMINATED: (),
    },
    Kind.CLIENT_OTHER: {
        State.TRYING: (Timer.E, Timer.F),
        State.PROCEEDING: (Timer.E, Timer.F),
        State.COMPLETED: (Timer.K,),
        State.TERMINATED: (),
    },
    Kind.SERVER_INVITE: {
        State.PROCEEDING: (),
        State.COMPLETED: (Timer.G, Timer.H),
        State.CONFIRMED: (Timer.I,),
        State.ACCEPTED: (Timer.L,),
        State.TERMINATED: (),
    },
    Kind.SERVER_OTHER: {
        State.TRYING: (),
        State.PROCEEDING: (),
        State.COMPLETED: (Timer.J,),
        State.TERMINATED: (),
    },
}
"""Timers that run in a state: entering it starts the missing ones, leaving it stops the others."""

START: dict[Kind, State] = {
    Kind.CLIENT_INVITE: State.CALLING,
    Kind.CLIENT_OTHER: State.TRYING,
    Kind.SERVER_INVITE: State.PROCEEDING,
    Kind.SERVER_OTHER: State.TRYING,
}

Table = dict[tuple[State, Event | Timer], tuple[State, tuple[Do, ...]]]

_CLIENT_INVITE: Table = {
    (State.CALLING, Timer.A): (State.CALLING, (Do.REPEAT,)),
    (State.CALLING, Timer.B): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.CALLING, Event.PROVISIONAL): (State.PROCEEDING, (Do.TELL,)),
    (State.CALLING, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.CALLING, Event.REFUSAL): (State.COMPLETED, (Do.ACK, Do.TELL)),
    (State.CALLING, Event.CANCEL): (State.WITHDRAWN, ()),
    (State.CALLING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.WITHDRAWN, Timer.A): (State.WITHDRAWN, (Do.REPEAT,)),
    (State.WITHDRAWN, Timer.B): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.WITHDRAWN, Event.PROVISIONAL): (State.CANCELLING, (Do.CANCEL,)),
    (State.WITHDRAWN, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.WITHDRAWN, Event.REFUSAL): (State.COMPLETED, (Do.ACK, Do.TELL)),
    (State.WITHDRAWN, Event.CANCEL): (State.WITHDRAWN, ()),
    (State.WITHDRAWN, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.PROCEEDING, Event.PROVISIONAL): (State.PROCEEDING, (Do.TELL,)),
    (State.PROCEEDING, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.PROCEEDING, Event.REFUSAL): (State.COMPLETED, (Do.ACK, Do.TELL)),
    (State.PROCEEDING, Event.CANCEL): (State.CANCELLING, (Do.CANCEL,)),
    (State.PROCEEDING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.CANCELLING, Timer.X): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.CANCELLING, Event.PROVISIONAL): (State.CANCELLING, ()),
    (State.CANCELLING, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.CANCELLING, Event.REFUSAL): (State.COMPLETED, (Do.ACK, Do.TELL)),
    (State.CANCELLING, Event.CANCEL): (State.CANCELLING, ()),
    (State.CANCELLING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.COMPLETED, Timer.D): (State.TERMINATED, ()),
    (State.COMPLETED, Event.PROVISIONAL): (State.COMPLETED, ()),
    # A 2xx behind a refusal comes from a fork; the user must see it, to ACK and BYE it.
    (State.COMPLETED, Event.SUCCESS): (State.COMPLETED, (Do.TELL,)),
    (State.COMPLETED, Event.REFUSAL): (State.COMPLETED, (Do.ACK,)),
    (State.COMPLETED, Event.CANCEL): (State.COMPLETED, ()),
    (State.COMPLETED, Event.BROKEN): (State.TERMINATED, ()),
    (State.ACCEPTED, Timer.M): (State.TERMINATED, ()),
    (State.ACCEPTED, Event.PROVISIONAL): (State.ACCEPTED, ()),
    (State.ACCEPTED, Event.SUCCESS): (State.ACCEPTED, (Do.TELL,)),
    (State.ACCEPTED, Event.REFUSAL): (State.ACCEPTED, ()),
    (State.ACCEPTED, Event.CANCEL): (State.ACCEPTED, ()),
    (State.ACCEPTED, Event.BROKEN): (State.ACCEPTED, ()),
}

_CLIENT_OTHER: Table = {
    (State.TRYING, Timer.E): (State.TRYING, (Do.REPEAT,)),
    (State.TRYING, Timer.F): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.TRYING, Event.PROVISIONAL): (State.PROCEEDING, (Do.TELL,)),
    (State.TRYING, Event.SUCCESS): (State.COMPLETED, (Do.TELL,)),
    (State.TRYING, Event.REFUSAL): (State.COMPLETED, (Do.TELL,)),
    (State.TRYING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.PROCEEDING, Timer.E): (State.PROCEEDING, (Do.REPEAT,)),
    (State.PROCEEDING, Timer.F): (State.TERMINATED, (Do.TELL_TIMEOUT,)),
    (State.PROCEEDING, Event.PROVISIONAL): (State.PROCEEDING, (Do.TELL,)),
    (State.PROCEEDING, Event.SUCCESS): (State.COMPLETED, (Do.TELL,)),
    (State.PROCEEDING, Event.REFUSAL): (State.COMPLETED, (Do.TELL,)),
    (State.PROCEEDING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.COMPLETED, Timer.K): (State.TERMINATED, ()),
    (State.COMPLETED, Event.PROVISIONAL): (State.COMPLETED, ()),
    (State.COMPLETED, Event.SUCCESS): (State.COMPLETED, ()),
    (State.COMPLETED, Event.REFUSAL): (State.COMPLETED, ()),
    (State.COMPLETED, Event.BROKEN): (State.TERMINATED, ()),
}

_SERVER_INVITE: Table = {
    (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, (Do.REPEAT,)),
    (State.PROCEEDING, Event.ACK): (State.PROCEEDING, ()),
    (State.PROCEEDING, Event.SEND_PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.PROCEEDING, Event.SEND_SUCCESS): (State.ACCEPTED, (Do.SEND,)),
    (State.PROCEEDING, Event.SEND_REFUSAL): (State.COMPLETED, (Do.SEND,)),
    (State.PROCEEDING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.COMPLETED, Event.REQUEST): (State.COMPLETED, (Do.REPEAT,)),
    (State.COMPLETED, Event.ACK): (State.CONFIRMED, ()),
    (State.COMPLETED, Event.BROKEN): (State.TERMINATED, ()),
    (State.COMPLETED, Timer.G): (State.COMPLETED, (Do.REPEAT,)),
    (State.COMPLETED, Timer.H): (State.TERMINATED, ()),
    (State.CONFIRMED, Event.REQUEST): (State.CONFIRMED, ()),
    (State.CONFIRMED, Event.ACK): (State.CONFIRMED, ()),
    (State.CONFIRMED, Event.BROKEN): (State.TERMINATED, ()),
    (State.CONFIRMED, Timer.I): (State.TERMINATED, ()),
    # RFC 6026 absorbs the repeated INVITE here. We answer it: it means that no response of ours arrived, and
    # the next 2xx of the user layer may be four seconds away.
    (State.ACCEPTED, Event.REQUEST): (State.ACCEPTED, (Do.REPEAT,)),
    (State.ACCEPTED, Event.ACK): (State.ACCEPTED, (Do.TELL,)),
    (State.ACCEPTED, Event.SEND_SUCCESS): (State.ACCEPTED, (Do.SEND,)),
    (State.ACCEPTED, Event.BROKEN): (State.ACCEPTED, ()),
    (State.ACCEPTED, Timer.L): (State.TERMINATED, ()),
}

_SERVER_OTHER: Table = {
    (State.TRYING, Event.REQUEST): (State.TRYING, ()),
    (State.TRYING, Event.SEND_PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.TRYING, Event.SEND_SUCCESS): (State.COMPLETED, (Do.SEND,)),
    (State.TRYING, Event.SEND_REFUSAL): (State.COMPLETED, (Do.SEND,)),
    (State.TRYING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, (Do.REPEAT,)),
    (State.PROCEEDING, Event.SEND_PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.PROCEEDING, Event.SEND_SUCCESS): (State.COMPLETED, (Do.SEND,)),
    (State.PROCEEDING, Event.SEND_REFUSAL): (State.COMPLETED, (Do.SEND,)),
    (State.PROCEEDING, Event.BROKEN): (State.TERMINATED, (Do.TELL_BROKEN,)),
    (State.COMPLETED, Event.REQUEST): (State.COMPLETED, (Do.REPEAT,)),
    (State.COMPLETED, Event.BROKEN): (State.TERMINATED, ()),
    (State.COMPLETED, Timer.J): (State.TERMINATED, ()),
}

TABLES: dict[Kind, Table] = {
    Kind.CLIENT_INVITE: _CLIENT_INVITE,
    Kind.CLIENT_OTHER: _CLIENT_OTHER,
    Kind.SERVER_INVITE: _SERVER_INVITE,
    Kind.SERVER_OTHER: _SERVER_OTHER,
}


def printed(kind: Kind) -> str:
    """The table of one machine as text, one row a line; the docs' diagrams are made from the same rows."""
    rows = [
        f"{state:<10} {event.name:<16} -> {after:<10} {', '.join(action.name for action in actions)}".rstrip()
        for (state, event), (after, actions) in TABLES[kind].items()
    ]
    return "\n".join(rows)
