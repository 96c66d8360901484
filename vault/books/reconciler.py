"""Reads every provider's statement, matches it with our books day by day, and closes the days that agree.

A run never holds a transaction while it waits for a provider, and there is one run at a time. The days of a
tenant close in order and without a gap: one closes when it is over, the statement is stored beyond it, and
no item of it is unexplained. Nightly for every tenant; at any time through the door, where a run that takes
longer than an answer may is asked for again.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.outbox import Entry, stamp
from vault.books import export, journal, statement
from vault.books.accounts import BookAccount, BookKind, Fact
from vault.books.daybook import chunks, items_of
from vault.books.fees import NO_FEES, Fees
from vault.books.journal import ENTRIES
from vault.books.match import residual
from vault.books.report import CsvPage, Day, Item, Match, Reconciliation
from vault.books.statement import Feed, read_feed
from vault.currency import MINOR_DIGITS
from vault.door import Refused
from vault.store import PAYMENTS, Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.books")

DAYS_MAX = 100
"""Days of one run: a quarter and a week. A longer history is asked for in pieces."""
ITEMS_SHOWN = 40
"""Items of one answer of the door: each takes up to 1,100 bytes of a message; the CSV has all."""
ANSWER_WITHIN_S = 6.0
"""How long the door's answer waits for the run; the door's peers give up after ten."""
FEED_TIMEOUT_S = 900.0
"""A quarter's statement at a hundred entries a request; a provider that hangs must not stop the others."""
RUNS_MAX = 50
"""Runs that wait for each other or to be fetched; each takes seconds to minutes."""
RESULT_KEPT_S = 60.0
"""How long the result of a run waits for somebody who asks again every few seconds."""
CSV_BYTES = 30_000
"""Text of one page of the CSV; escaped as JSON it stays within a message."""
NIGHTLY_AT = time(2, 30, tzinfo=UTC)
"""When the books of all tenants are matched: after the providers' midnight, before anybody reads them."""
DAY = timedelta(days=1)


class Reconciler:
    """The books of every tenant of this node."""

    def __init__(
        self,
        store: Store,
        feeds: Sequence[Feed],
        fees: Mapping[str, Fees] = MappingProxyType({}),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`fees`: what is agreed, by tenant."""
        self._store = store
        self._feeds: defaultdict[str, list[Feed]] = defaultdict(list)
        for feed in feeds:
            self._feeds[feed.tenant].append(feed)
        self._fees = fees
        self._now = now
        self._lock = asyncio.Lock()
        self._runs: dict[tuple[str, str, str], asyncio.Task[Reconciliation]] = {}
        self._exported: tuple[tuple[str, str], tuple[Item, ...]] | None = None

    def tenants(self) -> tuple[str, ...]:
        """Every tenant with a provider, sorted."""
        return tuple(sorted(self._feeds))

    async def reconcile(self, tenant: str, since: str = "", until: str = "") -> Reconciliation:
        """What a run from day to day finds; `done` False when it takes longer than an answer may.

        Asked again with the same words it is the same run. Empty `since`: the first day that is not closed;
        empty `until`: today. `Refused` for an unknown tenant and for days that are none.
        """
        self._check(tenant, since, until)
        key = (tenant, since, until)
        running = self._runs.get(key) or self._begun(key)
        await asyncio.wait([running], timeout=ANSWER_WITHIN_S)
        if not running.done():
            return Reconciliation(tenant, since, until, done=False)
        self._runs.pop(key, None)
        return running.result()

    def _begun(self, key: tuple[str, str, str]) -> asyncio.Task[Reconciliation]:
        """A new run; what it found and nobody fetched is forgotten, so that nobody is told old news."""
        if len(self._runs) >= RUNS_MAX:
            raise Refused("busy", "Too many runs are waiting. Ask again later.", retryable=True)
        task = self._runs[key] = asyncio.create_task(self.run(*key), name="reconcile")

        def forget() -> None:
            if self._runs.get(key) is task:
                del self._runs[key]

        loop = asyncio.get_running_loop()
        task.add_done_callback(lambda _: loop.call_later(RESULT_KEPT_S, forget))
        return task

    async def stop(self) -> None:
        """Ends the runs under way; what they have stored stays."""
        for task in self._runs.values():
            task.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)

    async def run(self, tenant: str, since: str = "", until: str = "") -> Reconciliation:
        """As `reconcile`, to the end: reads the statement, matches, closes days, tells the log."""
        async with self._lock:
            read = await self._read_all(tenant)
            first, last = await self._span(tenant, since, until)
            found = _Found(tenant)
            for day in _days(first, last):
                items = await self._items(tenant, day)
                found.add(day, items, closed=await self._close(tenant, day, items, read))
            async with self._store.engine.connect() as conn:
                done = found.report(first, last, read, await journal.totals(conn, tenant))
            self._exported = None
            await self._tell(done, found.orphans)
            return done

    async def nightly(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Runs for every tenant each night, for ever; one tenant's failure is not another's."""
        while True:
            await sleep(seconds_to(NIGHTLY_AT, self._now()))
            for tenant in self.tenants():
                try:
                    await self.run(tenant)
                except Exception:
                    log.exception("books.run.failed", tenant=tenant)

    async def explain(self, tenant: str, item_id: str, reason: str, actor: str) -> Item:
        """A person accepts a difference: what it left unmatched goes to adjustments. The item as it is now.

        `reason`: one lower-case word for the log. `actor` as the log names him. `Refused` when the item is
        not known or nobody has to look at it.
        """
        self._check(tenant, "", "")
        async with self._lock:
            item = await self._item(tenant, item_id)
            if not item.differs:
                raise Refused("nothing_to_explain", "This item is matched, explained, or may still come.")
            data = {"reason": reason, "match": item.match.value}
            entry = Entry(
                "books.item.explained", stamp(), actor, _subject(tenant, item.day), tenant, data=data
            )
            async with self._store.changing() as change:
                for fact in await self._explanations(change.conn, item, reason):
                    await journal.book(change, fact)
                await change.tell(entry)
            return await self._item(tenant, item_id)

    async def csv_page(self, tenant: str, since: str = "", until: str = "", after: str = "") -> CsvPage:
        """Lines of the CSV from `after` on, oldest day first, of what is stored; nothing is read anew."""
        self._check(tenant, since, until)
        first, last = await self._span(tenant, since, until)
        day, skip = _place(after) if after else (first, 0)
        text = "" if after else export.header()
        if not after:
            self._exported = None
        while day <= last:
            for item, shown in await self._lines(tenant, day, skip):
                text += export.line(item, shown)
                skip += 1
                if len(text) > CSV_BYTES:
                    return CsvPage(text, f"{day}:{skip}")
            if skip < len(await self._exported_day(tenant, day)):
                return CsvPage(text, f"{day}:{skip}")
            day, skip = journal.day_after(day), 0
        return CsvPage(text)

    def _check(self, tenant: str, since: str, until: str) -> None:
        if tenant not in self._feeds:
            raise Refused("tenant_unknown", "No such tenant. Check the tenant's name.")
        try:
            days = [date.fromisoformat(day) for day in (since, until) if day]
        except ValueError:
            raise Refused("day_malformed", "Write days as YYYY-MM-DD.") from None
        if days != sorted(days) or (len(days) == 2 and days[1] - days[0] >= DAYS_MAX * DAY):
            raise Refused("span_too_long", f"Name at most {DAYS_MAX} days, the first one first.")

    async def _span(self, tenant: str, since: str, until: str) -> tuple[str, str]:
        """First and last day of a run: at most `DAYS_MAX` days, the newest ones."""
        today = self._now().date()
        last = min(date.fromisoformat(until), today) if until else today
        first = date.fromisoformat(since) if since else await self._first_open(tenant, last)
        return max(min(first, last), last - (DAYS_MAX - 1) * DAY).isoformat(), last.isoformat()

    async def _first_open(self, tenant: str, last: date) -> date:
        async with self._store.engine.connect() as conn:
            return date.fromisoformat(await journal.first_open(conn, tenant) or last.isoformat())

    async def _read_all(self, tenant: str) -> str:
        """The worst that reading the tenant's statements came to."""
        read = {await self._read(feed) for feed in self._feeds[tenant]}
        return next(word for word in ("failed", "none", "read") if word in read)

    async def _read(self, feed: Feed) -> str:
        """Reads the statement up to now: `read`, `none` when the provider tells none, or `failed`."""
        if not feed.provider.abilities.settlement_feed:
            return "none"
        try:
            async with asyncio.timeout(FEED_TIMEOUT_S):
                new = await read_feed(self._store, feed, self._now())
        except Exception as error:  # noqa: BLE001 - a provider may fail in any way; the books stay as they are
            log.warning("books.statement.failed", tenant=feed.tenant, error=type(error).__name__)
            return "failed"
        log.info("books.statement.read", tenant=feed.tenant, entries=new)
        return "read"

    async def _items(self, tenant: str, day: str) -> tuple[Item, ...]:
        async with self._store.engine.connect() as conn:
            fees = self._fees.get(tenant, NO_FEES)
            return await items_of(conn, tenant, fees, day, self._now())

    async def _close(self, tenant: str, day: str, items: Sequence[Item], read: str) -> bool:
        """True when the day is closed, now or before."""
        async with self._store.engine.connect() as conn:
            closed = await journal.last_closed(conn, tenant)
            next_day = await journal.first_open(conn, tenant)
            stored = await statement.read_until(conn, tenant)
        if day <= closed:
            return True
        over = all(moment.date().isoformat() > day for moment in (self._now(), *stored.values()))
        if read != "read" or day != next_day or not over or any(item.unexplained for item in items):
            return False
        name, data = "books.day.closed", {"items": len(items)}
        async with self._store.changing() as change:
            await journal.close_day(change.conn, tenant, day, len(items))
            await change.tell(Entry(name, stamp(), "system:broker", _subject(tenant, day), tenant, data=data))
        return True

    async def _tell(self, found: Reconciliation, orphans: Sequence[Item]) -> None:
        for item in orphans:
            log.error("books.orphan.found", tenant=item.tenant, day=item.day, entry=item.entry_id)
        data = {
            "matched": found.counts.get(Match.MATCHED, 0),
            "differences": found.differences,
            "orphans": len(orphans),
        }
        subject = _subject(found.tenant, found.until)
        async with self._store.changing() as change:
            await change.tell(
                Entry("books.run.finished", stamp(), "system:broker", subject, found.tenant, data=data)
            )

    async def _item(self, tenant: str, item_id: str) -> Item:
        mine = (ENTRIES.c.tenant == tenant) & (ENTRIES.c.source == item_id)
        async with self._store.engine.connect() as conn:
            named = await journal.entries_where(conn, mine)
        items = await self._items(tenant, named[0].day) if named else ()
        found = next((item for item in items if item.item_id == item_id), None)
        if found is None:
            raise Refused("item_unknown", "No such item. Take its id from the reconciliation.")
        return found

    async def _explanations(self, conn: AsyncConnection, item: Item, reason: str) -> list[Fact]:
        """Per currency, what takes out of the unmatched account what the item has left there."""
        said = await journal.entries_where(
            conn, ENTRIES.c.tenant == item.tenant, ENTRIES.c.kind == BookKind.EXPLAINED
        )
        before = [word for word in said if word.step_ref in _ids(item)]
        left = residual(item)
        for word in before:
            left[word.currency] = left.get(word.currency, 0) - word.gross_minor
        return [
            Fact(
                BookKind.EXPLAINED,
                f"explained:{len(before)}:{currency}:{item.item_id}",
                item.tenant,
                currency,
                stamp(self._now()),
                amount_minor,
                payment_id=item.payment_id,
                provider=item.provider,
                provider_ref=item.provider_ref,
                step_ref=item.item_id,
                reason=reason,
            )
            for currency, amount_minor in left.items()
        ]

    async def _lines(self, tenant: str, day: str, skip: int) -> list[tuple[Item, export.Shown]]:
        """Some items of a day from number `skip` on, with what their payments show."""
        items = (await self._exported_day(tenant, day))[skip : skip + CSV_BYTES // 100]
        ids = sorted({item.payment_id for item in items if item.payment_id})
        shown: dict[str, export.Shown] = {}
        async with self._store.engine.connect() as conn:
            for some in chunks(ids):
                rows = await conn.execute(select(PAYMENTS).where(PAYMENTS.c.payment_id.in_(some)))
                for row in rows:
                    seen = export.Shown(row.reference, row.last4 or "", row.agent_id or "")
                    shown[row.payment_id] = seen
        return [(item, shown.get(item.payment_id, export.Shown())) for item in items]

    async def _exported_day(self, tenant: str, day: str) -> tuple[Item, ...]:
        """The items of a day, kept while its pages are asked for: a page must not match the day anew."""
        if self._exported is None or self._exported[0] != (tenant, day):
            self._exported = ((tenant, day), await self._items(tenant, day))
        return self._exported[1]


class _Found:
    """What a run has found so far, in the size of an answer."""

    def __init__(self, tenant: str) -> None:
        self.orphans: list[Item] = []
        self._tenant = tenant
        self._counts: Counter[str] = Counter()
        self._differing: list[Item] = []
        self._others: list[Item] = []
        self._days: list[Day] = []
        self._differences = self._left_off = 0

    def add(self, day: str, items: Sequence[Item], *, closed: bool) -> None:
        """One more day."""
        self._counts.update(item.match.value for item in items)
        self._differences += sum(item.differs for item in items)
        self._days.append(Day(day, len(items), sum(item.unexplained for item in items), closed))
        for item in items:
            if item.match is Match.MATCHED:
                continue
            kept = self._differing if item.differs else self._others
            if len(kept) < ITEMS_SHOWN:
                kept.append(item)
            else:
                self._left_off += 1
            if item.differs and item.match is Match.PROVIDER_ONLY and len(self.orphans) < ITEMS_SHOWN:
                self.orphans.append(item)

    def report(
        self, first: str, last: str, read: str, totals: Mapping[str, Mapping[BookAccount, int]]
    ) -> Reconciliation:
        """The answer."""
        listed = [*self._differing, *self._others]
        return Reconciliation(
            self._tenant,
            first,
            last,
            counts={kind.value: self._counts[kind.value] for kind in Match},
            differences=self._differences,
            items=tuple(listed[:ITEMS_SHOWN]),
            left_off=self._left_off + len(listed[ITEMS_SHOWN:]),
            days=tuple(self._days),
            digits={currency: MINOR_DIGITS[currency] for currency in totals},
            balances={currency: {a.value: of[a] for a in BookAccount} for currency, of in totals.items()},
            feed=read,
        )


def seconds_to(at: time, now: datetime) -> float:
    """Seconds until the next `at`; a whole day when it is now."""
    then = datetime.combine(now.astimezone(UTC).date(), at)
    return ((then if then > now else then + DAY) - now).total_seconds()


def _days(first: str, last: str) -> Iterator[str]:
    while first <= last:
        yield first
        first = journal.day_after(first)


def _place(after: str) -> tuple[str, int]:
    """Where a page begins; `Refused` when it is no mark of ours."""
    day, _, skip = after.partition(":")
    try:
        return date.fromisoformat(day).isoformat(), int(skip)
    except ValueError:
        raise Refused("page_unknown", "Name the page by the mark of the one before.") from None


def _ids(item: Item) -> set[str]:
    """The names under which a person may have explained the item."""
    return {item.item_id, f"{item.provider}:{item.entry_id}"}


def _subject(tenant: str, day: str) -> str:
    return f"{tenant}:{day}"
