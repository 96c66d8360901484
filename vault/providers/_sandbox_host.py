"""The sandbox's host: decides like a bank, keeps its own books, and fails in all the ways a network can.

The last two digits of the amount choose what goes wrong, on the first attempt of a payment, and the first
time a settle, void or refund is sent:

| amount ends in | what happens |
|---|---|
| 71 | executed at once, answered after 3 s |
| 72 | executed, the answer is lost; `fetch` or `standing` finds it |
| 73 | executed, the answer is lost; `fetch` or `standing` finds it after 5 s |
| 74 | lost before it is executed; `fetch` says so, `standing` does not know the step |
| 75 | never sent: the connection was refused |
| 76, 77 | authorised, and charged back later: lost, won (`_sandbox_feed.py`) |
"""

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from vault.door import LinkAnswer
from vault.providers import _sandbox_books as books_of
from vault.providers import _sandbox_links as links_of
from vault.providers._sandbox_books import Account, Execution
from vault.providers._sandbox_cards import APPROVED, CANARY, Face, face_of
from vault.providers._sandbox_feed import Movement, feed
from vault.providers._sandbox_links import LinkPage, LinkState
from vault.providers.base import (
    NEVER_SENT,
    STEP_NEVER_SENT,
    STEP_UNKNOWN,
    UNKNOWN,
    AttemptRequest,
    FeedEntry,
    FeedKind,
    Link,
    LinkOrder,
    Notice,
    NotSentError,
    Order,
    Outcome,
    OutcomeKind,
    Standing,
    StandingState,
    StepOutcome,
    StepRequest,
)

SLOW_ANSWER_S = 3.0
"""Amounts ending in 71: long enough to see `authorising` and to kill something meanwhile."""
LATE_RESULT_S = 5.0
"""Amounts ending in 73: later than the second fetch of the broker."""
SLOW, ANSWER_LOST, RESULT_LATE, REQUEST_LOST, REFUSED = 71, 72, 73, 74, 75
PASSES_LATER = frozenset({"expired_card", "incorrect_cvc", "processing_error"})
"""Declined on the first attempt only: what a caller can put right by keying again."""
HOLD_S = 7 * 86_400
"""How long an authorisation holds: what card schemes give a payment that its customer began."""

_LABELS = {LinkAnswer.APPROVE: APPROVED, LinkAnswer.DECLINE: "generic_decline"}
Result = TypeVar("Result")


class SandboxHost:
    """The provider's side of the sandbox for one tenant; its books are one SQLite file used by one thread."""

    def __init__(
        self,
        path: Path,
        tenant: str = "",
        *,
        hold_s: int = HOLD_S,
        unreachable: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        """Seconds of the epoch; holds, chargebacks and payouts come with it."""
        self.unreachable = unreachable
        """True: every connection is refused."""
        self._tenant = tenant
        """Whose settlements are told; empty: everybody's."""
        self._hold_s = hold_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-books")
        self._books = self._thread.submit(books_of.opened, path).result()

    async def close(self) -> None:
        """Closes the books."""
        await self._on_books(sqlite3.Connection.close)
        self._thread.shutdown()

    # --- attempts -----------------------------------------------------------------------------------------

    async def prepare(self, order: Order) -> str:
        """The reference of the payment; the same payment id gives the same one."""
        self._connect()
        return await self._on_books(books_of.order, order)

    async def authorise(self, request: AttemptRequest, *, checking: bool = False) -> Outcome:
        """One attempt with the card behind the token; `checking`: an account check.

        The troubles that the amount asks for befall the first attempt.
        """
        trouble = request.amount_minor % 100 if request.attempt == 1 and not checking else 0
        if trouble == REFUSED or self.unreachable:
            return NEVER_SENT
        if trouble == REQUEST_LOST:
            return UNKNOWN
        face = await self._face(request.token or "")
        now = self.clock()
        execution = Execution(
            replace(request, token=None),
            decided(face.label, request.attempt),
            face,
            now,
            visible_at=now + (LATE_RESULT_S if trouble == RESULT_LATE else 0.0),
            hold_until=now + self._hold_s if request.settle_later else 0.0,
            counts=not checking,
        )
        outcome = await self._on_books(books_of.execute, execution)
        if trouble == SLOW:
            await asyncio.sleep(SLOW_ANSWER_S)
        return UNKNOWN if trouble in {ANSWER_LOST, RESULT_LATE} else outcome

    async def _face(self, token: str) -> Face:
        if token.startswith(books_of.CARD_ON_FILE):
            return await self._on_books(books_of.kept_face, token)
        return face_of(token)

    async def fetch(self, attempt_key: str) -> Outcome:
        """What the books say about an attempt; NEVER_SENT when they have none."""
        self._connect()
        return await self._on_books(books_of.visible, attempt_key, self.clock()) or NEVER_SENT

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        """Writes a refusal under the key, unless there is an answer already, which is then given."""
        self._connect()
        return await self._on_books(books_of.fence, provider_ref, attempt_key, self.clock())

    async def times_charged(self, provider_ref: str) -> int:
        """How often money moved for a payment: 0 or 1, or the design is broken."""
        return await self._on_books(books_of.times_charged, provider_ref)

    # --- steps --------------------------------------------------------------------------------------------

    async def take_step(self, step: str, request: StepRequest) -> StepOutcome:
        """One settle, void or refund, with the troubles that the amount asks for on the first try."""
        if self.unreachable:
            return STEP_NEVER_SENT
        first = await self._on_books(books_of.first_try, request.step_key)
        trouble = request.amount_minor % 100 if first else 0
        if trouble == REFUSED:
            return STEP_NEVER_SENT
        if trouble == REQUEST_LOST:
            return STEP_UNKNOWN
        now = self.clock()
        visible_at = now + (LATE_RESULT_S if trouble == RESULT_LATE else 0.0)
        outcome = await self._on_books(books_of.take_step, step, request, now, visible_at)
        if trouble == SLOW:
            await asyncio.sleep(SLOW_ANSWER_S)
        return STEP_UNKNOWN if trouble in {ANSWER_LOST, RESULT_LATE} else outcome

    async def standing(self, provider_ref: str) -> Standing:
        """What the books say about a payment, or about the payment of a link, now."""
        self._connect()
        now = self.clock()
        payment = await self._on_books(links_of.payment_of, provider_ref)
        seen = await self._on_books(books_of.account, payment, now)
        held = await self._on_books(books_of.account, payment, math.inf)
        standing = standing_of(seen, now, under_way=seen.charge_ref != held.charge_ref)
        return standing if payment == provider_ref else replace(standing, provider_ref=payment)

    # --- kept cards and links -----------------------------------------------------------------------------

    async def forget(self, customer_ref: str, token_ref: str) -> None:
        """The card is on file no more."""
        self._connect()
        await self._on_books(books_of.forget, customer_ref, token_ref)

    async def open_link(self, wanted: LinkOrder) -> Link:
        """A page that can be paid once."""
        provider_ref = await self.prepare(wanted.order)
        return await self._on_books(links_of.open_link, wanted, provider_ref)

    async def close_link(self, link_ref: str) -> None:
        """Nothing can be pressed any more."""
        self._connect()
        await self._on_books(links_of.close_link, link_ref)

    async def link_page(self, token: str) -> LinkPage | None:
        """What the page of a link shows now; None when there is no such link."""
        return await self._on_books(links_of.page, token, self.clock())

    async def answer_link(self, token: str, answer: LinkAnswer) -> LinkPage | None:
        """What somebody pressed on a page, and the page after it; nothing happens unless it is open."""
        return await self._on_books(_answer_link, token, answer, self.clock(), self._hold_s)

    # --- settlement and events ----------------------------------------------------------------------------

    async def settlements(self, since: str, until: str) -> AsyncIterator[FeedEntry]:
        """The entries of a window, oldest first."""
        self._connect()
        first, end = (datetime.fromisoformat(bound) for bound in (since, until))
        now = datetime.fromtimestamp(self.clock(), UTC)
        for entry in feed(await self._on_books(_movements, self._tenant), now, self._tenant):
            if first <= datetime.fromisoformat(entry.made_at) < end:
                yield entry

    async def events(self, after: int) -> Sequence[tuple[int, Notice]]:
        """Number and notice of every event after number `after`, to be sent as webhooks."""
        return await self._on_books(books_of.events, after)

    def _connect(self) -> None:
        if self.unreachable:
            raise NotSentError

    async def _on_books(self, work: Callable[..., Result], *details: object) -> Result:
        task = partial(work, self._books, *details)
        return await asyncio.get_running_loop().run_in_executor(self._thread, task)


def decided(label: str, attempt: int) -> Outcome:
    """What the bank says to a card on try number `attempt`."""
    if label in {APPROVED, CANARY} or (label in PASSES_LATER and attempt > 1):
        return Outcome(OutcomeKind.AUTHORISED)
    if label == "authentication_required":
        return Outcome(OutcomeKind.REQUIRES_ACTION, label)
    advice = "try_again_later" if label == "processing_error" else ""
    return Outcome(OutcomeKind.DECLINED, label, advice)


def standing_of(seen: Account, now: float, *, under_way: bool) -> Standing:
    """A payment as a provider tells it; amounts are of what can be seen now."""
    lapsed = 0 < seen.hold_until <= now and not seen.is_settled
    if under_way:
        state = StandingState.UNDER_WAY
    elif seen.is_settled:
        state = StandingState.SETTLED
    elif seen.has("void") or lapsed:
        state = StandingState.VOIDED
    else:
        state = _UNSETTLED.get(seen.last_kind, StandingState.OPEN)
    return Standing(
        state,
        seen.authorised,
        seen.settled,
        seen.sum_of("refund"),
        books_of.iso(seen.hold_until) if state is StandingState.AUTHORISED else "",
        MappingProxyType({step_key: step_ref for _, step_key, _, step_ref in seen.done}),
    )


_UNSETTLED = {
    OutcomeKind.AUTHORISED.value: StandingState.AUTHORISED,
    OutcomeKind.DECLINED.value: StandingState.DECLINED,
    OutcomeKind.REQUIRES_ACTION.value: StandingState.NEEDS_ACTION,
}


def _answer_link(
    books: sqlite3.Connection, token: str, answer: LinkAnswer, now: float, hold_s: int
) -> LinkPage | None:
    page = links_of.page(books, token, now)
    if page is None or page.state is not LinkState.OPEN:
        return page
    links_of.press(books, token)
    request = AttemptRequest(
        provider_ref=page.provider_ref,
        attempt_key=f"{page.link_key}:{page.answers + 1}",
        attempt=page.answers + 1,
        token=None,
        amount_minor=page.amount_minor,
        currency=page.currency,
        sca_basis="link_3ds",
        settle_later=page.settle_later,
    )
    face = Face(_LABELS.get(answer, "authentication_required"))
    hold_until = now + hold_s if page.settle_later else 0.0
    outcome = decided(face.label, request.attempt)
    books_of.execute(books, Execution(request, outcome, face, now, now, hold_until))
    return links_of.page(books, token, now)


def _movements(books: sqlite3.Connection, tenant: str) -> list[Movement]:
    """Settled and refunded money of a tenant, in the order of the books."""
    rows = books.execute(
        "SELECT 'charge', e.provider_ref, e.charge_ref, e.amount_minor, o.currency, e.made_at"
        " FROM executions AS e JOIN orders AS o USING (provider_ref)"
        " WHERE e.kind = 'authorised' AND e.settled = 1 AND ? IN ('', o.tenant)"
        " UNION ALL"
        " SELECT CASE s.step WHEN 'settle' THEN 'charge' ELSE s.step END, s.provider_ref, s.step_ref,"
        " s.amount_minor, o.currency, s.made_at FROM steps AS s JOIN orders AS o USING (provider_ref)"
        " WHERE s.kind = 'done' AND s.step IN ('settle', 'refund') AND ? IN ('', o.tenant)",
        (tenant, tenant),
    ).fetchall()
    return [
        Movement(FeedKind(kind), provider_ref, step_ref, amount, currency, datetime.fromtimestamp(at, UTC))
        for kind, provider_ref, step_ref, amount, currency, at in rows
    ]
