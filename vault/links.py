"""Links: a payment that the payer makes on a page, from the provider's page to the money in the books.

| what happens | what is stored and told |
|---|---|
| a link is asked for | the link; then the provider is called. Without an answer nobody knows the page |
| the provider has made the page | payment `linked`, an attempt with basis `link_3ds`, no capture any more |
| somebody looks at the page | told, once per link |
| a webhook, a press on our page, or time | the standing is fetched: paid, declined there, or nothing yet |
| cancelled, or its time is over | `closing`; then the page is closed, and the standing after that counts |

Money is booked by the same commit as a keyed card's. A link that is `closing` is asked about until the
provider has answered, also after a restart; a payer who was faster than the cancel has paid.
"""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from audit.outbox import stamp
from vault.captures import Captures
from vault.charges import Charges
from vault.door import LinkAnswer, LinkPage, LinkState, Payment, PaymentState, Refused, Why
from vault.link import (
    BASIS,
    LOOK_MADE_S,
    LOOK_OPENED_S,
    PAYABLE,
    SENDS_MAX,
    Ending,
    LinkRow,
    Reading,
    check_open,
    digest_of,
    link_order,
    new_link,
    new_token,
    outcome_of,
    page_of,
    reading,
)
from vault.link_book import LinkBook, replacing
from vault.lookups import FETCH_TIMEOUT_S
from vault.payment import Move
from vault.providers.base import Link, Provider, ServesPages, Standing, StandingState
from vault.register import BROKER, Register, Slot
from vault.router import Router
from vault.store import AttemptRow, Change, PaymentRow
from vault.tenant import Tenant
from vault.verdict import order_of, verdict

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.links")

OPEN_TIMEOUT_S = 10.0
"""Nothing is charged by making a page; an agent waits for it with the caller on the line."""
SWEEP_S = 5.0
"""How late the end of a link may be noticed: a payer on the page hardly sees the difference."""
LOOKS_AT_ONCE = 8
"""Questions under way at the providers: a node with a hundred open links must not be a flood."""

_LANGUAGE = re.compile(r"[a-z]{2}-[A-Z]{2}")
_RETURN_URL = re.compile(r"https?://[A-Za-z0-9.\-:\[\]]{1,255}/[A-Za-z0-9/._\-]{0,100}")


class Links:
    """Every link of this node."""

    def __init__(
        self,
        register: Register,
        captures: Captures,
        charges: Charges,
        router: Router,
        tenants: dict[str, Tenant],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._register = register
        self._captures = captures
        self._charges = charges
        self._router = router
        self._tenants = tenants
        self._spawn = spawn
        self._clock = clock
        self._book = LinkBook(register.store)
        self._looked: dict[str, float] = {}
        """When each open link was looked at last, by the monotonic clock; a restart looks at all."""
        self._places = asyncio.Semaphore(LOOKS_AT_ONCE)

    # --- what the door asks for -----------------------------------------------------------------------------

    async def open(self, payment_id: str, by: str, language: str, return_url: str) -> tuple[Payment, str]:
        """A link and its token; for a payment that has one open, the same link under a fresh token.

        `Refused`: links_off, not_linkable, provider_unable, provider_unreachable (retryable: nothing was
        sent), links_used, link_closing.
        """
        if not _LANGUAGE.fullmatch(language) or not _RETURN_URL.fullmatch(return_url):
            raise Refused("bad_request", "Name the language and our own address to come back to.")
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            if slot.row.state is PaymentState.LINKED:
                return await self._renew(slot, by)
            return await self._open(slot, by, language, return_url)

    async def close(self, slot: Slot, actor: str, by: str) -> Payment:
        """Closed at the provider, and the payment cancelled unless it has been paid; the lock is not held."""
        async with slot.lock:
            if slot.row.state is PaymentState.LINKED:
                await self._begin_close(slot, Ending.CANCELLED, actor, by)
        await self._finish_close(slot)
        return slot.snapshot()

    async def page(self, token: str, *, opened: bool) -> LinkPage:
        """What the token's page shows; `opened`: somebody looks at it."""
        link = await self._book.of_digest(digest_of(token))
        slot = await self._register.slot(link.payment_id)
        async with slot.lock:
            link = await self._book.of_digest(digest_of(token))
            shown = page_of(slot.row, link, self._clock())
            if opened and shown.state is LinkState.MADE:
                await self._mark(slot, link, LinkState.OPENED, "payment.link.opened", Why.LINK_OPENED)
        return shown

    async def answer(self, token: str, answer: LinkAnswer) -> LinkPage:
        """What somebody pressed on a page that we serve for a sandbox, and the page after it.

        `Refused("link_over")` when it cannot be paid any more, or when it is not ours to answer.
        """
        link = await self._book.of_digest(digest_of(token))
        slot = await self._register.slot(link.payment_id)
        async with slot.lock:
            link = await self._book.of_digest(digest_of(token))
            provider = self._router.at(slot.row.tenant, link.provider)
            payable = page_of(slot.row, link, self._clock()).payable
            if not payable or not link.url.startswith("/") or not isinstance(provider, ServesPages):
                raise Refused("link_over", "This link cannot be paid here any more. Ask for a new one.")
            await provider.answer_page(link.url, answer)
            if answer is LinkAnswer.DECLINE:
                await self._declined(slot, link)
        await self.look(slot)
        return await self.page(token, opened=False)

    # --- what happens by itself -----------------------------------------------------------------------------

    async def look(self, slot: Slot) -> None:
        """Asks the provider once what became of the payment's open link."""
        if slot.row.state is not PaymentState.LINKED:
            return
        if slot.row.link is LinkState.CLOSING:
            await self._finish_close(slot)
            return
        link = await self._book.newest(slot.row.payment_id)
        standing = await self._standing(slot.row, link)
        if standing is not None:
            async with slot.lock:
                await self._conclude(slot, link.link_key, standing, closed=False)

    async def sweep(self) -> None:
        """For ever: links whose time is over are closed, the others are looked at now and then."""
        while True:
            await self.sweep_once()
            await asyncio.sleep(SWEEP_S)

    async def sweep_once(self) -> None:
        """Every open link once, when it is its turn."""
        rows = await self._register.store.in_state(PaymentState.LINKED)
        known = {row.payment_id for row in rows}
        self._looked = {each: at for each, at in self._looked.items() if each in known}
        now_s, now = time.monotonic(), stamp(self._clock())
        due = [row for row in rows if self._is_due(row, now_s, now)]
        self._looked |= {row.payment_id: now_s for row in due}
        slots = [await self._register.slot(row.payment_id) for row in due]
        await asyncio.gather(*(self._visit(slot) for slot in slots))

    async def recover(self) -> None:
        """After a start: links that the run before had asked for and told nobody of are none."""
        await self._book.abandon()

    def _is_due(self, row: PaymentRow, now_s: float, now: str) -> bool:
        if row.link is not LinkState.CLOSING and row.link_until <= now:
            return True
        every_s = LOOK_OPENED_S if row.link in {LinkState.OPENED, LinkState.DECLINED} else LOOK_MADE_S
        return now_s - self._looked.get(row.payment_id, float("-inf")) >= every_s

    async def _visit(self, slot: Slot) -> None:
        async with self._places:
            async with slot.lock:
                row = slot.row
                over = row.link in PAYABLE and row.link_until <= stamp(self._clock())
                if row.state is PaymentState.LINKED and over:
                    await self._begin_close(slot, Ending.EXPIRED, BROKER, "")
            await self.look(slot)

    # --- opening --------------------------------------------------------------------------------------------

    async def _open(self, slot: Slot, by: str, language: str, return_url: str) -> tuple[Payment, str]:
        """The page made and the payment `linked`; the slot's lock is held."""
        tenant = self._tenants.get(slot.row.tenant)
        if tenant is None or tenant.links is None:
            raise Refused("links_off", "This tenant sends no payment links. Choose another way to pay.")
        check_open(slot.row)
        number = 1 + len(await self._book.of_payment(slot.row.payment_id))
        if number > SENDS_MAX:
            raise Refused("links_used", "Too many links of this payment. Choose another way to pay.")
        name, minutes = self._provider_of(slot.row), tenant.links.expiry_minutes
        link = new_link(slot.row, number, name, language, minutes, self._clock())
        await self._book.add(link)
        provider = self._router.at(slot.row.tenant, name)
        page = await self._made(slot, link, provider, return_url)
        token = new_token()
        link = replace(
            link,
            state=LinkState.MADE,
            link_ref=page.link_ref,
            url=page.url,
            token_sha256=digest_of(token),
            sent=1,
        )
        try:
            await self._store_made(slot, link, by, minutes)
        except BaseException:
            await self._fail(link)
            self._spawn(self._let_go(provider, page.link_ref))
            raise
        await self._captures.end(slot)  # before anybody is given the address
        return self._register.tell(slot, Why.LINK_MADE), token

    async def _made(self, slot: Slot, link: LinkRow, provider: Provider, return_url: str) -> Link:
        order = link_order(slot.row, link, return_url)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                return await provider.open_link(order)
        except Refused:
            await self._fail(link)
            raise
        except Exception as error:  # noqa: BLE001 - nobody knows the page's address, so nothing can be paid on it
            log.warning("payment.link.failed", payment_id=link.payment_id, error=type(error).__name__)
            await self._fail(link)
            sentence = "The provider does not answer; nothing was sent. Try again."
            raise Refused("provider_unreachable", sentence, retryable=True) from None

    async def _store_made(self, slot: Slot, link: LinkRow, by: str, minutes: int) -> None:
        row = slot.row
        attempt = row.attempt + 1
        data = {"attempt": attempt, "amount_minor": row.amount_minor, "minutes": minutes}
        entry = slot.entry("payment.link.made", by, currency=row.currency, **data)
        elsewhere = {"provider": link.provider, "provider_ref": None} if link.provider != row.provider else {}
        card = {"token": None, "brand": None, "last4": None, "decline": None}
        shown = {"link": link.state, "link_until": link.expires_at}

        async def also(change: Change, row: PaymentRow) -> None:
            await replacing(link)(change, row)
            await change.insert_attempt(_attempt(row, link))

        await self._register.move(slot, Move.LINK, entry, also, attempt=attempt, **elsewhere, **card, **shown)

    def _provider_of(self, row: PaymentRow) -> str:
        """Where the payment is, once it has been tried there; before that the first that makes pages."""
        if row.attempt == 0 and not row.card_id:
            return self._router.first(replace(order_of(row), sca_basis=BASIS), by_link=True)
        if not self._router.at(row.tenant, row.provider).abilities.links:
            raise Refused("provider_unable", "This payment's provider sends no links. Create a new payment.")
        return row.provider

    async def _renew(self, slot: Slot, by: str) -> tuple[Payment, str]:
        """A fresh token for the open link: the one before opens nothing any more."""
        link = await self._book.newest(slot.row.payment_id)
        if link.state not in PAYABLE or link.expires_at <= stamp(self._clock()):
            raise Refused("link_closing", "The link is being closed. Wait for the payment's result.")
        if link.sent >= SENDS_MAX:
            raise Refused("links_used", "This link has been sent too often. Wait for it, or cancel it.")
        token = new_token()
        link = replace(link, token_sha256=digest_of(token), sent=link.sent + 1)
        entry = slot.entry("payment.link.renewed", by, sent=link.sent)
        await self._register.move(slot, (), entry, replacing(link))
        return slot.snapshot(), token

    async def _fail(self, link: LinkRow) -> None:
        failed = replace(link, state=LinkState.FAILED, token_sha256="", ended_at=stamp(self._clock()))
        await self._book.replace(failed)

    async def _let_go(self, provider: Provider, link_ref: str) -> None:
        """A page that nobody was told of is closed; if that fails, nobody can find it either."""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                await provider.close_link(link_ref)
        except Exception as error:  # noqa: BLE001 - as said
            log.warning("payment.link.left", error=type(error).__name__)

    # --- closing --------------------------------------------------------------------------------------------

    async def _begin_close(self, slot: Slot, ending: Ending, actor: str, by: str) -> None:
        """From this commit on the token opens nothing; the slot's lock is held."""
        link = await self._book.newest(slot.row.payment_id)
        if link.state is LinkState.CLOSING:
            return
        link = replace(link, state=LinkState.CLOSING, ending=ending.value, ended_by=by)
        entry = slot.entry("payment.link.closed", actor, reason=ending.value)
        await self._register.move(slot, (), entry, replacing(link), link=link.state)
        self._register.tell(slot, Why.LINK_CLOSING)

    async def _finish_close(self, slot: Slot) -> None:
        """Closes the page at the provider and concludes from the standing after that, if both answer."""
        row = slot.row
        if row.state is not PaymentState.LINKED or row.link is not LinkState.CLOSING:
            return
        link = await self._book.newest(row.payment_id)
        try:
            provider = self._router.at(row.tenant, link.provider)
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                await provider.close_link(link.link_ref)
        except Exception as error:  # noqa: BLE001 - it is closed again later, until somebody answers
            log.warning("payment.link.unclosed", payment_id=row.payment_id, error=type(error).__name__)
            return
        standing = await self._standing(row, link)
        if standing is not None:
            async with slot.lock:
                await self._conclude(slot, link.link_key, standing, closed=True)

    # --- concluding; the slot's lock is held ----------------------------------------------------------------

    async def _conclude(self, slot: Slot, link_key: str, standing: Standing, *, closed: bool) -> None:
        """Stores what a standing says; `closed`: it was fetched after the page had been closed."""
        link = await self._book.newest(slot.row.payment_id)
        if slot.row.state is not PaymentState.LINKED or link.link_key != link_key:
            return
        match reading(slot.row, standing):
            case Reading.PAID:
                await self._paid(slot, link, standing)
            case Reading.DECLINED if not closed and link.state in PAYABLE:
                await self._declined(slot, link)
            case Reading.DECLINED | Reading.UNPAID if closed:
                await self._over(slot, link)

    async def _paid(self, slot: Slot, link: LinkRow, standing: Standing) -> None:
        row = slot.row
        found = verdict(row, outcome_of(standing))
        values = {**(found.values or {}), "receipt": await self._charges.receipt(row.tenant)}
        values |= {"provider_ref": standing.provider_ref or row.provider_ref or link.link_ref}
        values |= {"link": LinkState.PAID}
        money: dict[str, int | str] = {"amount_minor": row.amount_minor, "currency": row.currency}
        entries = [slot.entry(found.entry, BROKER, attempt=row.attempt, **money)]
        if found.settles:
            entries.append(slot.entry("payment.money.settled", BROKER, **money))
        also = _ending(self._ended(link, LinkState.PAID))
        await self._register.move(slot, found.moves, entries, also, **values)
        self._register.tell(slot, found.why)
        if standing.state is StandingState.SETTLED and standing.settled_minor != row.amount_minor:
            log.error("payment.link.differed", payment_id=row.payment_id)
        if slot.row.state is PaymentState.AUTHORISED and not row.settle_later:
            await self._charges.settle_sale(slot)

    async def _declined(self, slot: Slot, link: LinkRow) -> None:
        if link.state is not LinkState.DECLINED:
            await self._mark(slot, link, LinkState.DECLINED, "payment.link.declined", Why.LINK_DECLINED)

    async def _mark(self, slot: Slot, link: LinkRow, state: LinkState, entry: str, why: Why) -> None:
        link = replace(link, state=state)
        await self._register.move(slot, (), slot.entry(entry, "caller"), replacing(link), link=state)
        self._register.tell(slot, why)

    async def _over(self, slot: Slot, link: LinkRow) -> None:
        """Nobody has paid, and nobody can any more."""
        expired = link.ending == Ending.EXPIRED
        state = LinkState.EXPIRED if expired else LinkState.CLOSED
        if expired:
            entry = slot.entry("payment.intent.expired", reason="link_expired")
        else:
            entry = slot.entry("payment.intent.cancelled", by=link.ended_by)
        move, why = (Move.EXPIRE, Why.EXPIRED) if expired else (Move.CANCEL, Why.CANCELLED)
        await self._register.move(slot, move, entry, _ending(self._ended(link, state)), link=state)
        self._register.tell(slot, why)

    def _ended(self, link: LinkRow, state: LinkState) -> LinkRow:
        """The page's token stays known: who comes back to a paid page is told that it is paid."""
        return replace(link, state=state, ended_at=stamp(self._clock()))

    async def _standing(self, row: PaymentRow, link: LinkRow) -> Standing | None:
        try:
            provider = self._router.at(row.tenant, link.provider)
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await provider.standing(link.link_ref)
        except Exception as error:  # noqa: BLE001 - a question without an answer shows nothing
            log.warning("payment.standing.failed", payment_id=row.payment_id, error=type(error).__name__)
            return None


def _attempt(row: PaymentRow, link: LinkRow) -> AttemptRow:
    """The link as an attempt of its payment: webhooks find the payment by the page's reference."""
    return AttemptRow(
        row.payment_id,
        row.attempt,
        link.link_key,
        row.state,
        started_at=row.updated_at,
        provider=link.provider,
        provider_ref=link.link_ref,
        sca_basis=BASIS,
    )


def _ending(link: LinkRow) -> Callable[[Change, PaymentRow], Coroutine[Any, Any, None]]:
    """Stores the end of the link and of its attempt."""

    async def also(change: Change, row: PaymentRow) -> None:
        await replacing(link)(change, row)
        await change.end_attempt(row, "")

    return also
