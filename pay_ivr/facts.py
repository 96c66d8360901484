"""Frozen facts about calls, as the switchboard tells them to the desk and the flows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vault import PaymentChanged, PinChanged


@dataclass(frozen=True)
class CallView:
    """One live call as an agent may see it."""

    call_id: str
    tenant: str
    flow: str
    state: str
    """One of `pay_ivr.call.CallState`."""
    agent_id: str | None
    caller: str
    """The caller's number as the trunk gave it, or `anonymous`."""
    did: str
    """The number that was dialled."""
    language: str
    """The tag of a language of the house, e.g. `de-DE`."""
    started_at: str
    """UTC, ISO 8601 with milliseconds."""
    speaking: bool = False
    """Coarse lamp: the caller is speaking (shown in SECURE, when the agent hears nothing)."""
    keying_outside_capture: bool = False
    """Alarm: the caller is keying although no capture is open; start the capture."""
    audio_lost: bool = False
    """Nothing is heard of the caller, or media itself is away; the agent should say so or wait."""
    ended_reason: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    """What the flow knew when it connected the agent: language, member (id), topic, tried; never stored."""


@dataclass(frozen=True)
class CallChanged:
    """One change of a call, with the view after it."""

    what: str
    """A dotted name: call.bridge.opened, call.agent.lost, call.contact.ended …"""
    call: CallView


CallFact = CallChanged | PaymentChanged | PinChanged
"""Everything the desk streams to a console."""


class CallError(Exception):
    """The switchboard refuses: `code` for programs, the sentence says what to do next; nothing changed."""

    def __init__(self, code: str, sentence: str, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retryable = retryable
