"""What a leak proof has seen of the calls with a tenant of Stripe's, and of the provider's line."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pay_ivr.proof.scan import Hit
from pay_ivr.proof.stripe_plan import NUMBERS_APART, Scenario, StripeRun, When
from pay_ivr.proof.stripe_provider import BrokerTraffic

TO_PROVIDER = "what the broker sent to the provider"
NOT_SEARCHED = (
    "its memory is not searched: it plays the provider, the one process besides the cells that may see a card"
)


@dataclass(frozen=True)
class Told:
    """One call as it went."""

    run: StripeRun
    searched: tuple[When, ...]
    """Where it was when live memory was searched."""
    came_through: bool
    """It went as its scenario says, to the end."""
    state: str
    """Of its payment at the end."""
    breaches: int


@dataclass
class StripeFindings:
    """All calls with this tenant."""

    planned: tuple[StripeRun, ...] = ()
    told: list[Told] = field(default_factory=list)
    traffic: BrokerTraffic = field(default_factory=lambda: BrokerTraffic((), 0, 0, 0))
    simulator_pid: int = 0

    @property
    def bytes_sent(self) -> int:
        """By the broker to the provider."""
        return sum(map(len, self.traffic.connections))

    def problems(self) -> list[str]:
        """What lets the proof fail, besides card data and breaches: scenarios that did not happen."""
        happened = {one.run.scenario for one in self.told if one.came_through and one.searched}
        missing = dict.fromkeys(run.scenario for run in self.planned if run.scenario not in happened)
        found = [f"Stripe, {scenario}: no call went so" for scenario in missing]
        if self.planned and not (self.traffic.requests and self.traffic.requests_of_cells):
            found.append("Stripe: nothing came from the broker, or nothing from a cell")
        if self.traffic.dropped:
            found.append(f"Stripe: {self.traffic.dropped} requests of the broker could not be searched")
        return found

    def report(self, hits: Iterable[Hit]) -> dict[str, Any]:
        """For the JSON file; `hits` are all places with card data."""
        hits = list(hits)
        traffic = self.traffic
        return {
            "calls": len(self.told),
            "scenarios": {scenario.value: self._scenario(scenario, hits) for scenario in self._scenarios()},
            "broker_to_provider": {
                "connections": len(traffic.connections),
                "requests": traffic.requests,
                "bytes": self.bytes_sent,
                "places_with_card_data": sum(hit.where == TO_PROVIDER for hit in hits),
            },
            "cells_to_provider": {"requests": traffic.requests_of_cells},
            "simulator": {"pid": self.simulator_pid, "memory": NOT_SEARCHED},
        }

    def rows(self, hits: Iterable[Hit]) -> Iterator[tuple[str, str]]:
        """For a person."""
        report = self.report(hits)
        line = report["broker_to_provider"]
        sent = f"{line['requests']} requests of the broker ({line['bytes']} bytes) searched"
        yield "Stripe", f"{report['calls']} calls; {sent}"
        for name, one in report["scenarios"].items():
            searched = ", ".join(one["searched"])
            yield "", f"{name}: {one['came_through']} of {one['calls']}, searched {searched}"
            yield "", f"  {one['breaches']} breaches, {one['places_with_card_data']} places with card data"
        yield "", f"the simulator, pid {self.simulator_pid}: {NOT_SEARCHED}"

    def _scenarios(self) -> Sequence[Scenario]:
        planned = {run.scenario for run in self.planned}
        return [one for one in Scenario if one in planned]

    def _scenario(self, scenario: Scenario, hits: Sequence[Hit]) -> dict[str, Any]:
        runs = [run for run in self.planned if run.scenario is scenario]
        told = [one for one in self.told if one.run.scenario is scenario]
        cards = {run.number + card for run in runs for card in range(NUMBERS_APART)}
        return {
            "calls": len(runs),
            "came_through": sum(one.came_through for one in told),
            "presses": sum(run.presses for run in runs),
            "searched": dict(Counter(when.value for one in told for when in one.searched)),
            "ended": dict(Counter(one.state for one in told)),
            "breaches": sum(one.breaches for one in told),
            "places_with_card_data": sum(hit.canary in cards for hit in hits),
        }
