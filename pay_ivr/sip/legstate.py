"""The states of an INVITE leg as one printed table for both roles, and the reasons for which a leg ends.

What RFC 3261 §13 to §15 and §9 say about one party's side of one call, seen from the call's side: when a
CANCEL, a BYE or a refusal is right, and which of two crossing messages wins. The rule this file owns: a
pair that is not in `LEGS` is our own mistake; what a peer can send in a state always has a row.
"""

from enum import Enum, StrEnum, auto


class LegState(StrEnum):
    """Where one leg stands."""

    ARRIVED = "arrived"
    """UAS: INVITE taken and answered 100, nothing decided."""
    CALLING = "calling"
    """UAC: INVITE sent, nothing heard but perhaps a 100."""
    RINGING = "ringing"
    """Either role: a 18x has been sent or has come."""
    ANSWERED = "answered"
    """UAS: 2xx sent and repeated, the ACK is outstanding."""
    UP = "up"
    WITHDRAWING = "withdrawing"
    """UAC: hung up before the answer; the INVITE's final response is outstanding (§9.1)."""
    OWING = "owing"
    """UAS: hung up between our 2xx and its ACK; the BYE may only follow the ACK (§15)."""
    CLOSING = "closing"
    """BYE sent, its answer is outstanding."""
    ENDED = "ended"


class LegEvent(Enum):
    """What moves a leg."""

    RING = auto()
    """We send a 18x (UAS) or get one (UAC)."""
    ANSWER = auto()
    SUCCESS = auto()
    """A 2xx to our INVITE, first or repeated."""
    ACK = auto()
    NO_ACK = auto()
    """64·T1 after our 2xx (§13.3.1.4)."""
    REJECT = auto()
    REFUSAL = auto()
    """A final response of 300 to 699 to our INVITE that we do not follow up."""
    CANCEL = auto()
    """The caller withdraws."""
    HANG_UP = auto()
    """We hang up, or give up ringing."""
    BYE = auto()
    BYE_DONE = auto()
    """Our BYE was answered, or never will be."""
    LOST = auto()
    """Timer B, a broken transport, or a 408 or 481 inside the dialog (§12.2.1.2)."""


LEGS: dict[tuple[LegState, LegEvent], LegState] = {
    (LegState.ARRIVED, LegEvent.RING): LegState.RINGING,
    (LegState.ARRIVED, LegEvent.ANSWER): LegState.ANSWERED,
    (LegState.ARRIVED, LegEvent.REJECT): LegState.ENDED,
    (LegState.ARRIVED, LegEvent.CANCEL): LegState.ENDED,
    (LegState.ARRIVED, LegEvent.BYE): LegState.ENDED,
    (LegState.ARRIVED, LegEvent.LOST): LegState.ENDED,
    (LegState.CALLING, LegEvent.RING): LegState.RINGING,
    (LegState.CALLING, LegEvent.SUCCESS): LegState.UP,
    (LegState.CALLING, LegEvent.REFUSAL): LegState.ENDED,
    (LegState.CALLING, LegEvent.HANG_UP): LegState.WITHDRAWING,
    (LegState.CALLING, LegEvent.LOST): LegState.ENDED,
    (LegState.RINGING, LegEvent.RING): LegState.RINGING,
    (LegState.RINGING, LegEvent.ANSWER): LegState.ANSWERED,
    (LegState.RINGING, LegEvent.REJECT): LegState.ENDED,
    (LegState.RINGING, LegEvent.CANCEL): LegState.ENDED,
    (LegState.RINGING, LegEvent.BYE): LegState.ENDED,
    (LegState.RINGING, LegEvent.SUCCESS): LegState.UP,
    (LegState.RINGING, LegEvent.REFUSAL): LegState.ENDED,
    (LegState.RINGING, LegEvent.HANG_UP): LegState.WITHDRAWING,
    (LegState.RINGING, LegEvent.LOST): LegState.ENDED,
    (LegState.ANSWERED, LegEvent.ACK): LegState.UP,
    (LegState.ANSWERED, LegEvent.NO_ACK): LegState.CLOSING,
    (LegState.ANSWERED, LegEvent.CANCEL): LegState.ANSWERED,
    (LegState.ANSWERED, LegEvent.HANG_UP): LegState.OWING,
    (LegState.ANSWERED, LegEvent.BYE): LegState.ENDED,
    (LegState.UP, LegEvent.ACK): LegState.UP,
    (LegState.UP, LegEvent.NO_ACK): LegState.CLOSING,
    (LegState.UP, LegEvent.SUCCESS): LegState.UP,
    (LegState.UP, LegEvent.CANCEL): LegState.UP,
    (LegState.UP, LegEvent.HANG_UP): LegState.CLOSING,
    (LegState.UP, LegEvent.BYE): LegState.ENDED,
    (LegState.UP, LegEvent.LOST): LegState.CLOSING,
    (LegState.WITHDRAWING, LegEvent.RING): LegState.WITHDRAWING,
    (LegState.WITHDRAWING, LegEvent.SUCCESS): LegState.CLOSING,
    (LegState.WITHDRAWING, LegEvent.REFUSAL): LegState.ENDED,
    (LegState.WITHDRAWING, LegEvent.LOST): LegState.ENDED,
    (LegState.OWING, LegEvent.ACK): LegState.CLOSING,
    (LegState.OWING, LegEvent.NO_ACK): LegState.CLOSING,
    (LegState.OWING, LegEvent.CANCEL): LegState.OWING,
    (LegState.OWING, LegEvent.BYE): LegState.ENDED,
    (LegState.CLOSING, LegEvent.ACK): LegState.CLOSING,
    (LegState.CLOSING, LegEvent.SUCCESS): LegState.CLOSING,
    (LegState.CLOSING, LegEvent.CANCEL): LegState.CLOSING,
    (LegState.CLOSING, LegEvent.BYE): LegState.CLOSING,
    (LegState.CLOSING, LegEvent.BYE_DONE): LegState.ENDED,
    (LegState.ENDED, LegEvent.ACK): LegState.ENDED,
    (LegState.ENDED, LegEvent.SUCCESS): LegState.ENDED,
    (LegState.ENDED, LegEvent.CANCEL): LegState.ENDED,
    (LegState.ENDED, LegEvent.BYE_DONE): LegState.ENDED,
}

LIVE = frozenset({LegState.ARRIVED, LegState.CALLING, LegState.RINGING, LegState.ANSWERED, LegState.UP})
"""States in which the leg still belongs to its call; behind them only the protocol's tail is left."""


class EndReason(StrEnum):
    """Why a leg ended; every leg ends with exactly one."""

    LOCAL_HANG_UP = "local_hang_up"
    REMOTE_HANG_UP = "remote_hang_up"
    """BYE from the far side."""
    CANCELLED = "cancelled"
    """The caller withdrew before our answer."""
    REJECTED = "rejected"
    """We refused the caller."""
    REFUSED = "refused"
    """The far side refused our INVITE; `status` says how."""
    RING_TIMEOUT = "ring_timeout"
    NO_RESPONSE = "no_response"
    """Nothing came for 64·T1."""
    TRANSPORT_LOST = "transport_lost"
    ACK_MISSING = "ack_missing"
    BAD_ANSWER = "bad_answer"
    """A 2xx or an ACK that had to carry SDP and did not, or one we cannot route by."""
    DIALOG_LOST = "dialog_lost"
    """The far side no longer knows the dialog."""


_PASSED_ON = frozenset({404, 410, 480, 484, 486, 488, 600, 603, 604, 606})
"""Final statuses that say something about the person called; all others are about our own leg to them."""
_MAPPED = {500: 500, 502: 500, 503: 500, 504: 500, 513: 500, 402: 480, 415: 488, 420: 500, 421: 500}


def map_final(status: int | None) -> int:
    """The status for the caller when the other leg ended with `status`.

    A 503 would take this whole node out of a trunk's rotation, so it never passes (RFC 3261 §16.7 step 6);
    401 and 407 would ask the caller for our password, 3xx would send the caller round us, 408 is ours to wait
    for.
    """
    if status is None:
        return 480
    return status if status in _PASSED_ON else _MAPPED.get(status, 480)


def printed() -> str:
    """The table as text, one row a line."""
    return "\n".join(f"{state:<11} {event.name:<8} -> {after}" for (state, event), after in LEGS.items())
