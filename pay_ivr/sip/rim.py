"""What the pure SIP layers know of the outside: where a message goes, what time it is, who counts.

Nothing here opens a socket. `transport.py` implements `Rim` over asyncio; the tests implement it over a
fake clock and a lossy pipe. The rule this file owns: no layer below the endpoint does input, output or
waiting in any other way.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pay_ivr.sip.wire import Message

SIP_PORT = 5060
"""Default port of UDP and TCP (RFC 3261 §19.1.2)."""


class Transport(StrEnum):
    """Transports of a Via or a `transport=` parameter. TLS and WSS take their places here when they come."""

    UDP = "UDP"
    TCP = "TCP"


@dataclass(frozen=True, slots=True)
class Hop:
    """One end of one path: where a message came from, or where it shall go."""

    transport: Transport
    ip: str
    """IPv4 address; for messages to send a host name is allowed, the transport resolves it."""
    port: int
    connection: int = 0
    """Number of the stream connection to prefer while it lives; 0 when there is none."""

    @property
    def reliable(self) -> bool:
        """True where the transport repeats by itself, so that we must not (RFC 3261 §17)."""
        return self.transport is not Transport.UDP

    def same_path(self, other: "Hop") -> bool:
        """True when both mean the same connection, or the same address where one has no connection."""
        if self.connection and other.connection:
            return self.connection == other.connection
        return (self.transport, self.ip, self.port) == (other.transport, other.ip, other.port)


class TimerHandle(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None:
        """The callback never runs after this."""


class Rim(Protocol):
    """The outside, as the pure layers see it."""

    def transmit(self, message: Message, hop: Hop) -> None:
        """Sends; never raises for the network's faults, those come back as a failed hop later."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        """Runs `callback` once, never before this call has returned."""

    def now(self) -> float:
        """Monotonic seconds."""

    def sent_by(self, transport: Transport) -> str:
        """Our own `host:port` for Via and Contact of that transport."""


@dataclass(frozen=True, slots=True)
class Timers:
    """Base values of RFC 3261 §17.1.1.1 in seconds; every lettered timer derives from these three."""

    t1: float = 0.5
    """Round-trip estimate: first retransmission."""
    t2: float = 4.0
    """Longest retransmission interval of non-INVITE requests and of INVITE responses."""
    t4: float = 5.0
    """How long a message may stay in the network."""

    @property
    def patience(self) -> float:
        """64·T1: after this an unanswered message has failed."""
        return 64 * self.t1


Counters = Counter[str]
"""Counts by name (`stray`, `retransmissions_out` …); names are fixed words, never data of a message."""
