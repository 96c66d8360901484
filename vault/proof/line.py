"""The way to the simulated Stripe: faults, outages, and requests that arrive after their caller gave up."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vault.proof.stripe_faults import Carriage, Fault
from vault.proof.stripe_host import Answer, StripeHost
from vault.proof.stripe_replays import Reply
from vault.proof.virtual_time import VirtualLoop

LATE_S_MAX = 18.0
"""A request whose connection broke arrives at most so much later: longer no proxy holds one."""
LATE_SHARE = 0.25
"""Of the lost requests, those that arrive after all."""
WEATHER = (0.02, 0.12, 0.35)
"""Share of requests with which something goes wrong: a good day, a bad one, the worst."""
OUTAGE_S_MAX = 900.0
OUTAGES_MAX = 2
FIRST_HOURS_S = 3_600.0
"""Outages begin while there are payments."""

_LOST = Answer(Carriage.CLOSE, Reply(0, {}, b""))
_NOBODY = Answer(Carriage.REFUSE, Reply(0, {}, b""))


@dataclass(frozen=True)
class Outage:
    """Nobody answers for a while: no connection, or connections that are broken at once."""

    since: float
    until: float
    carriage: Carriage


def shares(dice: random.Random) -> dict[Fault, float]:
    """Which faults this life has, and how often: no two seeds have the same mixture."""
    whole = dice.choice(WEATHER)
    weights = {fault: dice.random() ** 2 for fault in Fault}
    total = sum(weights.values())
    return {fault: whole * weight / total for fault, weight in weights.items()}


class Line:
    """Carries requests to the host, and counts what went wrong with them."""

    def __init__(
        self, host: StripeHost, loop: VirtualLoop, dice: random.Random, trace: Callable[[str], None]
    ) -> None:
        self._host = host
        self._loop = loop
        self._dice = dice
        self._trace = trace
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.on_request: Callable[[], None] = lambda: None
        """Told after every request: there may be webhooks to deliver."""
        self._outages = [self._outage() for _ in range(dice.randrange(OUTAGES_MAX + 1))]
        self.is_calm = False

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self._host.faults.set_shares({})
        self._outages.clear()
        self.is_calm = True

    def carry(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
        """One request, with what goes wrong with it."""
        self.requests += 1
        outage = next((one for one in self._outages if one.since <= self._loop.time() < one.until), None)
        if outage is not None:
            return self._told(method, target, "outage", Answer(outage.carriage, _NOBODY.reply))
        if not self.is_calm and self._is_late(method):
            delay_s = self._dice.uniform(0.0, LATE_S_MAX)
            self._loop.call_later(delay_s, self._arrive, method, target, headers, body)
            return self._told(method, target, "late_request", _LOST)
        answer = self._host.carry(method, target, headers, body, now)
        self.on_request()
        return self._told(method, target, answer.fault.value if answer.fault else "", answer)

    def _is_late(self, method: str) -> bool:
        share = self._host.faults.share(Fault.REQUEST_LOST)
        return method.upper() == "POST" and self._dice.random() < share * LATE_SHARE

    def _arrive(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Executed after all; whoever asked does not hear the answer."""
        reply = self._host.reply(method, target, headers, body, self._loop.epoch())
        self._trace(f"  arrives late: {method.upper()} {target} -> {reply.status}")
        self.on_request()

    def _told(self, method: str, target: str, fault: str, answer: Answer) -> Answer:
        if fault:
            self.faults[fault] += 1
        status = answer.reply.status if answer.carriage is Carriage.DELIVER else answer.carriage.value
        self._trace(f"  {method.upper()} {target} -> {status}{' ' + fault if fault else ''}")
        return answer

    def _outage(self) -> Outage:
        since = self._dice.uniform(0.0, FIRST_HOURS_S)
        carriage = self._dice.choice((Carriage.REFUSE, Carriage.CLOSE))
        return Outage(since, since + self._dice.uniform(1.0, OUTAGE_S_MAX), carriage)
