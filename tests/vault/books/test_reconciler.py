"""A simulated week: the books sum to zero, every seeded difference is found and classed, days close."""

import asyncio
import csv
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from tests.support.statement import entry
from tests.support.week import Week, a_week
from vault.books import reconciler as module
from vault.books.fees import FeeTerms
from vault.books.reconciler import Reconciler, seconds_to
from vault.books.report import (
    Match,
    Reconciliation,
    reconciliation_from_json,
)
from vault.door import PaymentState, Refused
from vault.providers.base import FeedKind
from vault.wire import MESSAGE_MAX, encode

AGREED = {"sandbox": {"EUR": FeeTerms(140, 25)}}
"""What the sandbox really keeps."""


@pytest.fixture
async def week(tmp_path: Path) -> AsyncIterator[Week]:
    async with a_week(tmp_path) as made:
        yield made


def found(run: Reconciliation) -> dict[str, int]:
    return {kind: count for kind, count in run.counts.items() if count and kind != Match.MATCHED}


async def test_honest_week_matches_to_the_last_cent(week):
    """Every class but matched is empty, every day is closed, and every currency sums to zero."""
    await week.play()
    run = await week.reconciler(AGREED).run("demo")
    assert ({}, 0, True) == (found(run), run.differences, run.clean)
    assert all(day.closed for day in run.days[:-1])
    assert not run.days[-1].closed
    assert {0} == {sum(of.values()) for of in run.balances.values()}
    euro = run.balances["EUR"]
    assert -(10_000 + 5_076 + 7_077 + 15_000 + 3_500 + 12_345) == euro["sales"]
    assert (8_500, 5_076, 0) == (euro["refunds"], euro["chargebacks"], euro["unmatched"])
    assert 500 == -run.balances["JPY"]["sales"]


async def test_payouts_of_the_week_add_up(week):
    """At least two, and what the provider still owes is what no payout holds."""
    await week.play()
    run = await week.reconciler().run("demo")
    entries = [
        each async for each in week.provider.settlements("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
    ]
    payouts = [each for each in entries if each.kind is FeedKind.PAYOUT and each.currency == "EUR"]
    assert len(payouts) >= 2
    assert -sum(each.net_minor for each in payouts) == run.balances["EUR"]["bank_clearing"]
    open_minor = sum(each.net_minor for each in entries if not each.payout_ref and each.currency == "EUR")
    assert open_minor == run.balances["EUR"]["psp_receivable"]


async def test_run_again_finds_and_writes_nothing_new(week, tmp_path):
    """Overlapping windows and nightly repetitions leave the books as they are."""
    await week.play()
    again = week.reconciler()
    await again.run("demo", "2026-03-01")
    with sqlite3.connect(f"file:{tmp_path / 'vault.db'}?mode=ro", uri=True) as books:
        before = books.execute("SELECT count(*), sum(amount_minor) FROM book_lines").fetchone()
        run = await again.run("demo", "2026-03-01")
        assert before == books.execute("SELECT count(*), sum(amount_minor) FROM book_lines").fetchone()
    books.close()
    assert run.clean


async def tell(week: Week, reference: str, kind: str) -> str:
    """The id of an entry of the sandbox's statement."""
    wanted = f"sbx_ref_pay_{reference}"
    async for each in week.provider.settlements("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"):
        if (each.provider_ref, each.kind.value) == (wanted, kind):
            return each.entry_id
    raise KeyError(reference)


async def drop(week: Week) -> None:
    week.feed.dropped.add(await tell(week, "three", "charge"))


async def less(week: Week) -> None:
    week.feed.changed[await tell(week, "three", "charge")] = {
        "gross_minor": 12_000,
        "net_minor": 12_000 - 198,
    }


async def dearer(week: Week) -> None:
    week.feed.changed[await tell(week, "three", "charge")] = {"fee_minor": 398, "net_minor": 12_345 - 398}


async def foreign(week: Week) -> None:
    stray = entry("stray", 777, made_at="2026-03-04T10:00:00Z")
    week.feed.added.append(stray)


async def adjusted(week: Week) -> None:
    kind = FeedKind.ADJUSTMENT
    week.feed.added.append(entry("adj", -50, kind, made_at="2026-03-04T10:00:00Z", provider_ref=""))


async def delayed(week: Week) -> None:
    week.feed.changed[await tell(week, "three", "charge")] = {"made_at": "2026-03-07T10:00:00Z"}


SEEDED = {
    drop: {"ours_only": 1, "amount_differs": 1},  # its payout does not add up any more
    less: {"amount_differs": 2},
    dearer: {"fee_differs": 1, "amount_differs": 1},
    foreign: {"provider_only": 1},
    adjusted: {"provider_only": 1},
    delayed: {"late": 1},
}


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.__name__)
async def test_seeded_difference_is_found_and_classed(week, seed):
    """Exactly that one, and what follows from it; only a late one needs nobody. Its day stays open."""
    await week.play()
    await seed(week)
    run = await week.reconciler(AGREED).run("demo")
    assert SEEDED[seed] == found(run)
    assert sum(count for kind, count in SEEDED[seed].items() if kind != "late") == run.differences
    open_days = {day.day for day in run.days if not day.closed}
    assert (seed is delayed) == ("2026-03-04" not in open_days)
    assert {0} == {sum(of.values()) for of in run.balances.values()}


async def test_charge_that_we_never_learnt_of_is_an_orphan_until_it_is_known(week):
    """The provider took money, our payment is unknown; once its outcome is fetched the item is matched."""
    await week.sale("ghost", 4_000, believed=PaymentState.UNKNOWN)
    week.to(1)
    reconciler = week.reconciler()
    before = await reconciler.run("demo")
    assert ("provider_only", "pay_ghost") == (before.items[0].match, before.items[0].payment_id)
    await week.move("ghost", PaymentState.SETTLED, settled_minor=4_000)
    assert (await reconciler.run("demo")).clean


async def test_refund_at_the_providers_own_desk_is_provider_only(week):
    """Somebody gave money back without us."""
    await week.sale("one", 10_000)
    await week.refund("one", 1_000, booked=False)
    week.to(1)
    run = await week.reconciler().run("demo")
    assert [("provider_only", "refund", -1_000)] == [
        (item.match.value, item.kind, item.gross_minor) for item in run.items
    ]


async def test_explained_difference_lets_its_day_close(week, tmp_path):
    """Who explained what is on record; the money moves from unmatched to adjustments."""
    await week.play()
    await foreign(week)
    reconciler = week.reconciler(AGREED)
    (item,) = [item for item in (await reconciler.run("demo")).items if item.differs]
    after = await reconciler.explain("demo", item.item_id, "unknown_customer", "user:finance")
    assert ("unknown_customer", False) == (after.explained, after.differs)
    run = await reconciler.run("demo")
    assert run.clean
    assert all(day.closed for day in run.days[:-1])
    assert (0, -777) == (run.balances["EUR"]["unmatched"], run.balances["EUR"]["adjustments"])
    with pytest.raises(Refused) as refused:
        await reconciler.explain("demo", item.item_id, "again", "user:finance")
    assert refused.value.code == "nothing_to_explain"
    told = [name for name, actor in entries(tmp_path) if actor == "user:finance"]
    assert ["books.item.explained"] == told


def entries(folder: Path) -> list[tuple[str, str]]:
    database = sqlite3.connect(folder / "vault.db")
    try:
        bodies = [json.loads(row[0]) for row in database.execute("SELECT body FROM outbox ORDER BY seq")]
    finally:
        database.close()
    return [(body["name"], body["actor"]) for body in bodies]


async def test_statement_about_a_closed_day_comes_up_in_an_open_one(week):
    """Nothing is missed because its day is closed, and the closed day stays as it was."""
    await week.play()
    reconciler = week.reconciler()
    before = await reconciler.run("demo")
    week.to(10)
    await foreign(week)
    run = await reconciler.run("demo")
    (item,) = [item for item in run.items if item.differs]
    assert (before.days[-1].day, "2026-03-04T10:00:00.000Z") == (item.day, item.at)


async def test_days_close_in_order(week):
    """A later day waits for an earlier one, although it agrees by itself."""
    await week.sale("one", 10_000)
    await drop_named(week, "one")
    week.to(1)
    await week.sale("two", 10_000)
    week.to(5)
    run = await week.reconciler().run("demo")
    assert not any(day.closed for day in run.days)
    week.feed.dropped.clear()
    week.to(6)
    assert [True] * 6 + [False] == [day.closed for day in (await week.reconciler().run("demo")).days]


async def drop_named(week: Week, name: str) -> None:
    week.feed.dropped.add(await tell(week, name, "charge"))


async def test_provider_that_fails_closes_nothing_and_loses_nothing(week):
    """The run goes on with what is stored, says so, and is not clean."""
    await week.play()
    week.provider.host.unreachable = True
    reconciler = week.reconciler()
    run = await reconciler.run("demo")
    assert ("failed", False) == (run.feed, run.clean)
    assert not any(day.closed for day in run.days)
    week.provider.host.unreachable = False
    assert (await reconciler.run("demo")).clean


async def test_provider_without_a_statement_says_so(week):
    """Nothing confirms our side: the operator is told, no day closes."""
    await week.sale("one", 10_000)
    week.feed.abilities = replace(week.feed.abilities, settlement_feed=False)
    week.to(3)
    run = await week.reconciler().run("demo")
    assert ("none", 1, False) == (run.feed, run.counts["ours_only"], run.clean)


async def test_csv_has_every_item_page_by_page(week, monkeypatch):
    """The pages joined are one CSV; its sums are those of the books."""
    await week.play()
    reconciler = week.reconciler(AGREED)
    run = await reconciler.run("demo")
    monkeypatch.setattr(module, "CSV_BYTES", 1_000)
    page = await reconciler.csv_page("demo", "2026-03-01")
    text, pages = page.text, 1
    while page.after:
        page = await reconciler.csv_page("demo", "2026-03-01", after=page.after)
        text, pages = text + page.text, pages + 1
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert pages > 2
    assert sum(run.counts.values()) == len(lines)
    euro = [line for line in lines if line["currency"] == "EUR"]
    charges = sum(int(line["gross_minor"]) for line in euro if line["kind"] == "charge")
    assert -run.balances["EUR"]["sales"] == charges
    assert run.balances["EUR"]["fees"] == sum(int(line["fee_minor"]) for line in euro)
    assert run.balances["EUR"]["psp_receivable"] == sum(int(line["net_minor"]) for line in euro)
    one = next(line for line in lines if line["payment_id"] == "pay_one" and line["kind"] == "charge")
    assert ("100.00", "4242", "agent1", "B-one") == (
        one["gross"],
        one["last4"],
        one["agent_id"],
        one["reference"],
    )


async def test_answer_of_the_door_fits_into_a_message(week, monkeypatch):
    """Hundreds of differences and a quarter of days; what is left off is counted, the JSON comes back."""
    monkeypatch.setattr(module, "ANSWER_WITHIN_S", 60.0)
    long = "x" * 100
    week.feed.added += [
        entry(f"{number}{long}", 100, provider_ref=f"{number}{long}", step_ref=long) for number in range(300)
    ]
    week.to(90)
    run = await week.reconciler().reconcile("demo", (week.now - timedelta(days=99)).date().isoformat())
    assert (300, 260, 40) == (run.differences, run.left_off, len(run.items))
    assert len(encode({"id": 1, "ok": True, "report": run.as_json()})) <= MESSAGE_MAX
    assert run == reconciliation_from_json(json.loads(json.dumps(run.as_json())))


async def test_run_that_takes_long_is_asked_for_again(week, monkeypatch):
    """The door's answer does not wait for it; the same question is the same run."""
    monkeypatch.setattr(module, "ANSWER_WITHIN_S", 0.0)
    await week.sale("one", 1_000)
    week.to(1)
    reconciler = week.reconciler()
    first = await reconciler.reconcile("demo")
    assert not first.done
    answers = [first]
    for _ in range(1_000):
        if answers[-1].done:
            break
        await asyncio.sleep(0.02)
        answers.append(await reconciler.reconcile("demo"))
    assert 1 == answers[-1].counts["matched"]


async def test_result_that_nobody_fetched_is_no_answer_to_a_later_question(week, monkeypatch):
    """Who asks again tomorrow with the same words gets tomorrow's run."""
    monkeypatch.setattr(module, "ANSWER_WITHIN_S", 0.0)
    monkeypatch.setattr(module, "RESULT_KEPT_S", 0.0)
    await week.sale("one", 1_000)
    week.to(1)
    reconciler = week.reconciler()
    assert not (await reconciler.reconcile("demo")).done
    for _ in range(1_000):
        if not reconciler._runs:
            break
        await asyncio.sleep(0.02)
    await week.sale("two", 1_000)
    week.to(2)
    monkeypatch.setattr(module, "ANSWER_WITHIN_S", 5.0)
    run = await reconciler.reconcile("demo")
    assert [("2026-03-03", 1), ("2026-03-04", 1)] == [(day.day, day.items) for day in run.days]


async def test_runs_that_wait_are_limited(week, monkeypatch):
    """A peer that asks for every span of days at once is refused, and may try again."""
    monkeypatch.setattr(module, "RUNS_MAX", 0)
    with pytest.raises(Refused) as refused:
        await week.reconciler().reconcile("demo")
    assert ("busy", True) == (refused.value.code, refused.value.retryable)


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (("other",), "tenant_unknown"),
        (("demo", "yesterday"), "day_malformed"),
        (("demo", "2026-03-02", "2026-03-01"), "span_too_long"),
        (("demo", "2026-01-01", "2026-12-31"), "span_too_long"),
    ],
)
async def test_question_that_cannot_be_answered_is_refused(week, question, code):
    """With a code and what to do instead."""
    with pytest.raises(Refused) as refused:
        await week.reconciler().reconcile(*question)
    assert code == refused.value.code


async def test_every_night_every_tenant_is_reconciled(week):
    """Until the next 02:30, and again; one that fails does not end it."""
    await week.sale("one", 1_000)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        if len(slept) == 2:
            raise asyncio.CancelledError
        slept.append(seconds)
        week.now += timedelta(seconds=seconds)

    reconciler: Reconciler = week.reconciler()
    with pytest.raises(asyncio.CancelledError):
        await reconciler.nightly(sleep)
    assert [17.5 * 3600, 24 * 3600] == slept
    run = await reconciler.run("demo")
    assert "2026-03-04" == run.since


def test_next_night_is_never_now():
    """A run that ends at once must not begin again in the same minute."""
    now = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
    assert 86_400 == seconds_to(time(2, 30, tzinfo=UTC), now)
    assert 1 == seconds_to(time(2, 30, tzinfo=UTC), now - timedelta(seconds=1))
