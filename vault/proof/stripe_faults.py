"""What goes wrong on the way to Stripe and back: one draw per request, the same for the same seed.

The points of failure are those measured with the real SDK: before the request is read, between execution
and answer, within the answer, and answers that are wrong. The host decides; who carries the bytes (the TLS
shell, or the SDK's in-memory transport) does what `Carriage` says.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """One thing that goes wrong with one request."""

    REFUSED = "refused"
    """No connection: certainly never sent."""
    REQUEST_LOST = "request_lost"
    """Connection closed before the request was executed."""
    ANSWER_LOST = "answer_lost"
    """Executed; the connection is closed instead of an answer."""
    BODY_CUT = "body_cut"
    """Executed; the answer ends in the middle of its body."""
    BODY_STALLED = "body_stalled"
    """Executed; the answer stops in the middle of its body, the connection stays."""
    STALLED_BEFORE = "stalled_before"
    """Not executed, and no answer until the caller gives up."""
    STALLED_AFTER = "stalled_after"
    """Executed, and no answer until the caller gives up."""
    FALSE_500 = "false_500"
    """Executed, answered 500; the 500 is stored under the key."""
    EMPTY_500 = "empty_500"
    """Not executed, answered 500; the 500 is stored under the key."""
    GATEWAY_502 = "gateway_502"
    """Not executed: an HTML page from something in front of Stripe; nothing is stored."""
    CONFLICT_409 = "conflict_409"
    """Not executed: another request is said to use the key; nothing is stored."""
    RATE_429 = "rate_429"
    """Not executed: the rate limiter, which runs before the idempotency layer; nothing is stored."""
    GARBAGE_200 = "garbage_200"
    """Executed; the answer is a 200 that is no JSON."""


class Carriage(StrEnum):
    """What the carrier does with the reply."""

    DELIVER = "deliver"
    REFUSE = "refuse"
    CLOSE = "close"
    STALL = "stall"
    CUT_BODY = "cut_body"
    STALL_BODY = "stall_body"


CARRIAGE = {
    Fault.REFUSED: Carriage.REFUSE,
    Fault.REQUEST_LOST: Carriage.CLOSE,
    Fault.ANSWER_LOST: Carriage.CLOSE,
    Fault.BODY_CUT: Carriage.CUT_BODY,
    Fault.BODY_STALLED: Carriage.STALL_BODY,
    Fault.STALLED_BEFORE: Carriage.STALL,
    Fault.STALLED_AFTER: Carriage.STALL,
}
"""Faults of the way; all others are answers, and delivered."""
UNREAD = frozenset({Fault.REFUSED, Fault.REQUEST_LOST, Fault.STALLED_BEFORE})
"""The host never sees the request."""
EARLY = frozenset({Fault.GATEWAY_502, Fault.CONFLICT_409, Fault.RATE_429})
"""Answered before the idempotency layer."""


@dataclass(frozen=True)
class _Ordered:
    fault: Fault
    method: str
    path_end: str
    key_end: str
    body_has: str


class Faults:
    """Draws one fault or none for each request, by shares, after those that a test has ordered."""

    def __init__(self, seed: int, shares: Mapping[Fault, float] | None = None) -> None:
        self._seed = seed
        self._shares = dict(shares or {})
        self._ordered: list[_Ordered] = []
        self._count = 0
        self.drawn: list[Fault] = []
        """Every fault that happened, in order."""

    def order(
        self, fault: Fault, *, method: str = "", path_end: str = "", key_end: str = "", body_has: str = ""
    ) -> None:
        """The next request of that method, path end, key end and piece of body gets this fault, once."""
        self._ordered.append(_Ordered(fault, method, path_end, key_end, body_has))

    def set_shares(self, shares: Mapping[Fault, float]) -> None:
        """Shares from now on; what is left to 1 goes well."""
        self._shares = dict(shares)

    def share(self, fault: Fault) -> float:
        """How often that fault is drawn."""
        return self._shares.get(fault, 0.0)

    def draw(self, method: str, path: str, key: str, body: bytes = b"") -> Fault | None:
        """What goes wrong with this request."""
        self._count += 1
        fault = self._taken(method, path, key, body) or self._drawn()
        if fault is not None:
            self.drawn.append(fault)
        return fault

    def _taken(self, method: str, path: str, key: str, body: bytes) -> Fault | None:
        for one in self._ordered:
            fits = one.method in {"", method} and path.endswith(one.path_end) and key.endswith(one.key_end)
            if fits and one.body_has.encode() in body:
                self._ordered.remove(one)
                return one.fault
        return None

    def _drawn(self) -> Fault | None:
        """By seed and the request's number alone: other draws cannot shift it."""
        left = random.Random(f"stripe faults {self._seed} {self._count}").random()  # noqa: S311  a simulation, replayed by its seed
        for fault, share in self._shares.items():
            if left < share:
                return fault
            left -= share
        return None
