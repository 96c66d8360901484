"""One contact: its identity, its legs and where it stands.

The table below is the whole life of a call; a pair that is not in it is an error of ours, never of a peer.
This file owns the states; who drives them is `pay_ivr/switchboard.py`, what is said is the flow's business.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pay_ivr.facts import CallError


class CallState(StrEnum):
    """Where a call stands."""

    OFFERED = "offered"
    """The caller's INVITE is here; nothing is answered yet."""
    RINGING = "ringing"
    """An agent's phone rings."""
    SELF_SERVICE = "self_service"
    """Answered; the caller talks to the flow, no agent."""
    WAITING = "waiting"
    """Answered; the caller hears music while an agent's phone rings."""
    BRIDGED = "bridged"
    """Caller and agent are connected."""
    AGENT_LOST = "agent_lost"
    """The agent is gone; the flow finishes what is open, or asks what else it may do."""
    ENDED = "ended"


class CallEvent(StrEnum):
    """What can happen to a call."""

    AGENT_RINGS = "agent_rings"
    AGENT_REFUSES = "agent_refuses"
    ANSWER = "answer"
    BRIDGE = "bridge"
    AGENT_GONE = "agent_gone"
    END = "end"


TABLE: dict[CallState, dict[CallEvent, CallState]] = {
    CallState.OFFERED: {
        CallEvent.AGENT_RINGS: CallState.RINGING,
        CallEvent.ANSWER: CallState.SELF_SERVICE,
        CallEvent.END: CallState.ENDED,
    },
    CallState.RINGING: {
        CallEvent.AGENT_RINGS: CallState.RINGING,
        CallEvent.AGENT_REFUSES: CallState.OFFERED,
        CallEvent.BRIDGE: CallState.BRIDGED,
        CallEvent.END: CallState.ENDED,
    },
    CallState.SELF_SERVICE: {
        CallEvent.AGENT_RINGS: CallState.WAITING,
        CallEvent.END: CallState.ENDED,
    },
    CallState.WAITING: {
        CallEvent.AGENT_RINGS: CallState.WAITING,
        CallEvent.AGENT_REFUSES: CallState.SELF_SERVICE,
        CallEvent.BRIDGE: CallState.BRIDGED,
        CallEvent.END: CallState.ENDED,
    },
    CallState.BRIDGED: {
        CallEvent.AGENT_GONE: CallState.AGENT_LOST,
        CallEvent.END: CallState.ENDED,
    },
    CallState.AGENT_LOST: {
        CallEvent.ANSWER: CallState.SELF_SERVICE,
        CallEvent.END: CallState.ENDED,
    },
    CallState.ENDED: {},
}
"""State × event → next state."""


class EndReason(StrEnum):
    """Why a call ended; every ended call has exactly one."""

    CALLER_HUNG_UP = "caller_hung_up"
    CALLER_CANCELLED = "caller_cancelled"
    AGENT_HUNG_UP = "agent_hung_up"
    DESK_HUNG_UP = "desk_hung_up"
    FLOW_FINISHED = "flow_finished"
    NO_AGENT = "no_agent"
    REFUSED = "refused"
    MEDIA_REFUSED = "media_refused"
    FAILED = "failed"
    NODE_STOPPED = "node_stopped"
    NODE_FAILED = "node_failed"
    """The app died under the call; the next run says so."""


ANONYMOUS = "anonymous"
"""The caller who gives no number, or none that we can pass on."""
_CALLER = re.compile(r"\+?[0-9A-Za-z._*-]{1,40}")
"""Fits a column, a console and the user part of a SIP URI without an escape (RFC 3261 §25.1)."""


def caller_of(user: str) -> str:
    """The user part of a From as a call keeps it, shows it and passes it on to the agent's phone."""
    return user if _CALLER.fullmatch(user) else ANONYMOUS


@dataclass
class Call:
    """A contact's identity and state; the small table that everything else stands beside."""

    call_id: str
    tenant: str
    tenant_name: str
    """As spoken and shown."""
    flow: str
    did: str
    caller: str
    language: str
    """What the caller hears; a flow may change it (`Line.speak_language`)."""
    started_at: str
    """UTC, ISO 8601 with milliseconds."""
    languages: tuple[str, ...] = ()
    """What the tenant's callers may choose from."""
    agent_id: str | None = None
    state: CallState = CallState.OFFERED
    speaking: bool = False
    keying_outside_capture: bool = False
    audio_lost: bool = False
    end_reason: EndReason | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    """What a flow tells the agent it connects: `language`, `member`, `topic`, `tried`; ids and words only."""

    def apply(self, event: CallEvent) -> CallState:
        """The state after `event`; CallError("call_state") when the table has no such move."""
        following = TABLE[self.state].get(event)
        if following is None:
            raise CallError("call_state", "The call is not in a state for that; read the call again.")
        self.state = following
        return following

    @property
    def number(self) -> str:
        """The caller's number; empty when it is withheld."""
        return "" if self.caller == ANONYMOUS else self.caller

    @property
    def live(self) -> bool:
        """True until the call has ended."""
        return self.state is not CallState.ENDED


def table_as_markdown() -> str:
    """The table as it stands in the docs; a test keeps the two equal."""
    rows = ["| state | event | next |", "|---|---|---|"]
    rows += [
        f"| {state} | {event} | {following} |"
        for state, moves in TABLE.items()
        for event, following in moves.items()
    ]
    return "\n".join(rows)
