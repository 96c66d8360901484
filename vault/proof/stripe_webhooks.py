"""Webhooks: every event signed for every endpoint, late, twice and out of order as the seed says.

Stripe promises delivery at least once and in no order; each delivery is signed anew when it is sent:
`Stripe-Signature: t=<seconds>,v1=<HMAC-SHA-256 of "t.body">` (Stripe docs, "Verify webhook signatures").
"""

import hmac
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from vault.proof import stripe_form as form
from vault.proof.stripe_books import Books, Thing
from vault.proof.stripe_route import PAGED, Call, Route

RETRY_S = (5.0, 300.0, 1_800.0, 7_200.0, 36_000.0, 86_400.0, 172_800.0)
"""When an endpoint that does not answer 2xx is tried again; Stripe goes on for three days."""


@dataclass(frozen=True)
class DeliveryPlan:
    """How unkind the delivery is; all draws come from the seed."""

    delay_s_max: float = 0.0
    """Each delivery waits a random time up to this: with more than one event, out of order."""
    twice_share: float = 0.0
    """Share of events that are delivered a second time."""
    lost_share: float = 0.0
    """Share of first deliveries that are sent into the void and come with the next retry only."""


@dataclass(frozen=True)
class Delivery:
    """One POST that is due: body and headers as they have to arrive."""

    event_id: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    tries: int = 0


@dataclass(frozen=True, order=True)
class _Waiting:
    due_at: float
    number: int
    url: str
    event_id: str
    tries: int


class Webhooks:
    """Turns events into deliveries; `due` hands out what has to be sent by now."""

    def __init__(
        self, books: Books, secrets: Mapping[str, str], seed: int, plan: DeliveryPlan | None = None
    ) -> None:
        self._books = books
        self.secrets = dict(secrets)
        """Endpoint URL -> signing secret; may be changed at any time, as in Stripe's dashboard."""
        self.plan = plan or DeliveryPlan()
        self._random = random.Random(f"stripe webhooks {seed}")  # noqa: S311  a simulation, replayed by its seed
        self._queue: list[_Waiting] = []
        self._planned = 0
        self._count = 0

    def routes(self) -> list[Route]:
        """Events can be read as well as received."""
        return [
            Route("GET", "/v1/events", "events", _LIST, self._page),
            Route("GET", "/v1/events/{id}", "events", {}, self._event),
        ]

    def tick(self, now: float) -> None:
        """Plans deliveries of events that are new."""
        for event in self._books.after("event", self._planned):
            self._planned += 1
            for url in self.secrets:
                self._plan_event(event["id"], url, now)

    def due(self, now: float) -> list[Delivery]:
        """Everything that has to be sent by now, signed for now."""
        self.tick(now)
        found = []
        while self._queue and self._queue[0].due_at <= now:
            waiting = heappop(self._queue)
            if waiting.url in self.secrets:
                found.append(self._signed(waiting, now))
        return found

    def next_at(self) -> float | None:
        """When the next delivery is due; None without one."""
        return self._queue[0].due_at if self._queue else None

    def failed(self, delivery: Delivery, now: float) -> None:
        """The endpoint did not take it: again later, until the retries are used up."""
        if delivery.tries < len(RETRY_S):
            due_at = now + RETRY_S[delivery.tries]
            self._add(due_at, delivery.url, delivery.event_id, delivery.tries + 1)

    def signed(self, event: Thing, secret: str, now: float) -> tuple[bytes, dict[str, str]]:
        """Body and headers of one event for one secret."""
        body = json.dumps(event).encode()
        digest = hmac.digest(secret.encode(), f"{int(now)}.".encode() + body, "sha256").hex()
        headers = {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": f"t={int(now)},v1={digest}",
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        return body, headers

    def _page(self, call: Call) -> Thing:
        wanted = set(call.params.get("types", [])) | (
            {call.params["type"]} if "type" in call.params else set()
        )
        return self._books.page(
            "event", call.params, "/v1/events", lambda one: not wanted or one["type"] in wanted
        )

    def _event(self, call: Call) -> Thing:
        return self._books.find("event", call.thing_id)

    def _plan_event(self, event_id: str, url: str, now: float) -> None:
        plan = self.plan
        lost = self._random.random() < plan.lost_share
        due_at = now + self._random.uniform(0.0, plan.delay_s_max) + (RETRY_S[0] if lost else 0.0)
        self._add(due_at, url, event_id, int(lost))
        if self._random.random() < plan.twice_share:
            self._add(due_at + self._random.uniform(0.0, plan.delay_s_max), url, event_id, 0)

    def _add(self, due_at: float, url: str, event_id: str, tries: int) -> None:
        self._count += 1
        heappush(self._queue, _Waiting(due_at, self._count, url, event_id, tries))

    def _signed(self, waiting: _Waiting, now: float) -> Delivery:
        event = self._books.find("event", waiting.event_id)
        body, headers = self.signed(event, self.secrets[waiting.url], now)
        return Delivery(waiting.event_id, waiting.url, headers, body, waiting.tries)


_LIST = PAGED | {"type": form.text, "types": form.each(form.text)}
