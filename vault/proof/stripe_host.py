"""A deterministic Stripe: requests in, answers out, no socket, no clock, no SDK.

`handle` answers one request; `exchange` does the same with the faults that the seed draws; `begin` and
`finish` are its two halves, so that a carrier can keep a request executing while another one comes with the
same key. Everything random comes from the seed: the same requests at the same times give the same bytes.

What is modelled is what a telephone payment needs, strictly: an unknown parameter, a step that the state
forbids, a refund above what was taken and a key without the permission are refused as Stripe refuses them.
Raw cards are checked and forgotten (`stripe_cards`): no PAN is kept.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vault.proof.stripe_account import EVERYTHING, Account, Keys
from vault.proof.stripe_books import API_VERSION, Books, Thing
from vault.proof.stripe_charges import Charges
from vault.proof.stripe_checkout import Checkout
from vault.proof.stripe_failure import API_ERROR, IDEMPOTENCY, INVALID, Failure
from vault.proof.stripe_faults import CARRIAGE, EARLY, UNREAD, Carriage, Fault, Faults
from vault.proof.stripe_form import decoded
from vault.proof.stripe_intents import Intents
from vault.proof.stripe_ledger import Ledger
from vault.proof.stripe_methods import Methods
from vault.proof.stripe_refunds import Refunds
from vault.proof.stripe_replays import Replays, Reply
from vault.proof.stripe_route import Call, Route
from vault.proof.stripe_setups import Setups
from vault.proof.stripe_webhooks import DeliveryPlan, Webhooks

BODY_MAX = 65_536
"""Bytes of a request; ours have under 2 KiB."""
_ID = "([A-Za-z0-9_]{4,80})"


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came over the wire; header names in lower case."""

    method: str
    target: str
    """Path and query."""
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def key(self) -> str:
        """The idempotency key; only POST has one (Stripe: GET and DELETE are idempotent by themselves)."""
        return self.headers.get("idempotency-key", "") if self.method == "POST" else ""


@dataclass(frozen=True)
class Ticket:
    """A request that has begun to execute; `StripeHost.finish` answers it."""

    route: Route
    call: Call
    key: str
    request_id: str


@dataclass(frozen=True)
class Answer:
    """What the carrier has to do, with which bytes."""

    carriage: Carriage
    reply: Reply
    fault: Fault | None = None


class StripeHost:
    """One Stripe account and its API."""

    def __init__(
        self,
        seed: int,
        account: Account | None = None,
        shares: Mapping[Fault, float] | None = None,
        plan: DeliveryPlan | None = None,
    ) -> None:
        self.account = account or Account()
        self.books = Books(seed)
        letters = self.books.secret
        self.keys = Keys(
            f"rk_test_{letters('cell')}", f"rk_test_{letters('broker')}", f"sk_test_{letters('full')}"
        )
        self.faults = Faults(seed, shares)
        self.webhooks = Webhooks(self.books, self.account.webhook_secrets, seed, plan)
        self._replays = Replays(seed, self.account.key_life_s)
        self._requests = 0
        self._build()

    def _build(self) -> None:
        account, books = self.account, self.books
        self.methods = Methods(books, account)
        self.ledger = Ledger(books, account)
        self.charges = Charges(books, account, self.methods, self.ledger)
        self.refunds = Refunds(books, account, self.ledger)
        self.intents = Intents(books, account, self.methods, self.charges)
        self.setups = Setups(books, account, self.methods)
        self.checkout = Checkout(books, account, self.methods, self.intents)
        parts = (self.methods, self.ledger, self.charges, self.refunds, self.intents, self.setups)
        self.routes = [route for part in (*parts, self.checkout, self.webhooks) for route in part.routes()]
        self._patterns = [(re.compile(one.path.replace("{id}", _ID)), one) for one in self.routes]

    def tick(self, now: float) -> None:
        """Lets time pass: late bookings, lapsed holds, pages that expire."""
        self.charges.tick(now)
        self.intents.tick(now)
        self.checkout.tick(now)

    def handle(self, request: Request, now: float) -> Reply:
        """The answer to one request, without any fault."""
        begun = self.begin(request, now)
        return begun if isinstance(begun, Reply) else self.finish(begun, now)

    def exchange(self, request: Request, now: float) -> Answer:
        """The answer with the fault that is drawn for this request, if any."""
        fault = self.draw(request)
        answer = self.before(fault)
        if answer is not None:
            return answer
        begun = self.begin(request, now)
        reply = begun if isinstance(begun, Reply) else self.finish(begun, now, fault)
        return self.after(reply, fault)

    def carry(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float) -> Answer:
        """`exchange` for a carrier that knows no type of this module."""
        return self.exchange(_request(method, target, headers, body), now)

    def answered(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float
    ) -> Answer:
        """`carry` on a line without faults."""
        return Answer(Carriage.DELIVER, self.reply(method, target, headers, body, now))

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
        """`handle` for a carrier that knows no type of this module."""
        return self.handle(_request(method, target, headers, body), now)

    def draw(self, request: Request) -> Fault | None:
        """What goes wrong with this request; each call is one draw."""
        return self.faults.draw(request.method, request.path, request.key, request.body)

    def before(self, fault: Fault | None) -> Answer | None:
        """The end of a request that never reaches the idempotency layer; None when it goes on."""
        if fault is None or fault not in UNREAD | EARLY:
            return None
        return Answer(CARRIAGE.get(fault, Carriage.DELIVER), self._early(fault), fault)

    def after(self, reply: Reply, fault: Fault | None) -> Answer:
        """How the reply of an executed request travels."""
        if fault is Fault.GARBAGE_200:
            reply = Reply(200, reply.headers, b"\x00garbage: no JSON at all")
        return Answer(
            Carriage.DELIVER if fault is None else CARRIAGE.get(fault, Carriage.DELIVER), reply, fault
        )

    def begin(self, request: Request, now: float) -> Reply | Ticket:
        """Checks permission, parameters and idempotency key; a Ticket when there is something to do."""
        self._requests += 1
        request_id = f"req_{self.books.secret('request', str(self._requests))}"
        self.tick(now)
        try:
            route, thing_id = self._route(request)
            self._permit(request, route)
            params = route.checked(decoded(_fields(request)))
            stored = self._replays.begin(request.key, _fingerprint(request), now) if request.key else None
        except Failure as failure:
            return _refusal(failure, request_id)
        return stored or Ticket(route, Call(thing_id, params, now), request.key, request_id)

    def finish(self, ticket: Ticket, now: float, fault: Fault | None = None) -> Reply:
        """Executes and answers; with a key, what is answered here is what it will always answer."""
        self.books.request = {"id": ticket.request_id, "idempotency_key": ticket.key or None}
        reply, stored = self._executed(ticket, now) if fault is not Fault.EMPTY_500 else (_broken(), True)
        self.books.request = {"id": None, "idempotency_key": None}
        if fault is Fault.FALSE_500:
            reply, stored = _broken(), True
        reply = Reply(reply.status, reply.headers | _headers(ticket), reply.body)
        if ticket.key:
            self._replays.store(ticket.key, reply) if stored else self._replays.drop(ticket.key)
        return reply

    def successful_charges(self) -> list[Thing]:
        """Every charge by which a card was debited or held, oldest first: what a cardholder would see."""
        return [one for one in reversed(self.books.every("charge")) if one["status"] == "succeeded"]

    def _executed(self, ticket: Ticket, now: float) -> tuple[Reply, bool]:
        try:
            call = Call(ticket.call.thing_id, ticket.call.params, now)
            thing = ticket.route.run(call)
            paths = call.params.get("expand", [])
            return _json(200, self.books.expanded(thing, paths) if paths else thing), True
        except Failure as failure:
            return _refusal(failure, ticket.request_id), failure.stored

    def _route(self, request: Request) -> tuple[Route, str]:
        if len(request.body) > BODY_MAX:
            raise Failure(413, INVALID, "The request is too large.")
        for pattern, route in self._patterns:
            found = pattern.fullmatch(request.path) if route.method == request.method else None
            if found is not None:
                return route, found.group(1) if found.groups() else ""
        raise Failure(404, INVALID, "Unrecognized request URL.", code="url_invalid")

    def _permit(self, request: Request, route: Route) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        permissions = self.keys.permissions().get(given)
        if permissions is None:
            raise Failure(401, INVALID, "Invalid API Key provided.")
        wanted = {f"{route.permission}:write"} | (
            {f"{route.permission}:read"} if route.access == "read" else set()
        )
        if permissions != EVERYTHING and not permissions & wanted:
            sentence = "The provided key does not have the required permissions for this endpoint."
            raise Failure(403, INVALID, sentence, code="secret_key_required")

    @staticmethod
    def _early(fault: Fault) -> Reply:
        """Answers of whatever stands before Stripe's idempotency layer."""
        if fault is Fault.RATE_429:
            return _refusal(Failure(429, INVALID, "Too many requests.", code="rate_limit"), "")
        if fault is Fault.CONFLICT_409:
            sentence = "There is currently another in-progress request using this Idempotency-Key."
            return _refusal(Failure(409, IDEMPOTENCY, sentence, code="idempotency_key_in_use"), "")
        return Reply(502, {"content-type": "text/html"}, b"<html><body>502 Bad Gateway</body></html>")


def _request(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
    return Request(method.upper(), target, {name.lower(): value for name, value in headers.items()}, body)


def _fields(request: Request) -> str:
    """The form as text: the query of GET and DELETE, the body of POST."""
    if request.method != "POST":
        return urlsplit(request.target).query
    if (
        not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        and request.body
    ):
        raise Failure(400, INVALID, "The body is no form.")
    try:
        return request.body.decode("ascii")
    except UnicodeDecodeError:
        raise Failure(400, INVALID, "The body is no form.") from None


def _fingerprint(request: Request) -> bytes:
    """Path and fields in a fixed order, so that only their content counts."""
    return b"\x00".join([request.path.encode(), *sorted(request.body.split(b"&"))])


def _headers(ticket: Ticket) -> dict[str, str]:
    named = {"request-id": ticket.request_id, "stripe-version": API_VERSION}
    return named | (
        {"idempotency-key": ticket.key, "original-request": ticket.request_id} if ticket.key else {}
    )


def _json(status: int, body: Any) -> Reply:
    return Reply(status, {"content-type": "application/json"}, json.dumps(body).encode())


def _refusal(failure: Failure, request_id: str) -> Reply:
    reply = _json(failure.status, {"error": failure.error})
    return Reply(reply.status, reply.headers | ({"request-id": request_id} if request_id else {}), reply.body)


def _broken() -> Reply:
    """A 500 that a retry with the same key would only repeat; Stripe says so in the header."""
    reply = _json(500, {"error": {"type": API_ERROR, "message": "An unknown error occurred."}})
    return Reply(reply.status, reply.headers | {"stripe-should-retry": "false"}, reply.body)
