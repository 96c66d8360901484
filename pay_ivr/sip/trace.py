"""One line per message for a ladder picture: who sent what to whom, and never what was in it."""

from dataclasses import dataclass
from typing import Literal

from pay_ivr.sip.rim import Hop
from pay_ivr.sip.wire import Message, cseq


@dataclass(frozen=True, slots=True)
class TraceLine:
    """One message as it crossed our socket: its start line and two headers; bodies are not looked at."""

    at: float
    """Monotonic seconds."""
    direction: Literal["in", "out"]
    transport: str
    peer: str
    """`ip:port` of the other end."""
    first_line: str
    call_id: str
    cseq: str
    """`1 INVITE`: tells a response's method and a retransmission."""


def trace_line(message: Message, direction: Literal["in", "out"], hop: Hop, at: float) -> TraceLine:
    """The line of one message that was parsed or built by us."""
    return TraceLine(
        at=at,
        direction=direction,
        transport=hop.transport,
        peer=f"{hop.ip}:{hop.port}",
        first_line=message.start_line(),
        call_id=message.get("Call-ID") or "",
        cseq=str(cseq(message)),
    )
