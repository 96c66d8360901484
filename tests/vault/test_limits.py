"""Limits: what is counted, for how long, across a rotation, and what stands on disk."""

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.outbox import stamp
from vault.door import PaymentState
from vault.keys import KeyFiles, Keys, Secret
from vault.limits import MARKS_KEPT_S, Limits
from vault.progress import Ready
from vault.providers.base import AUTHORISED, NEVER_SENT, UNKNOWN, Outcome, OutcomeKind
from vault.store import PaymentRow, Store
from vault.velocity import DAY_S, HOUR_S, WINDOW_MAX_S, Limit, Velocity

NUMBER = "+4930123456"
DECLINED = Outcome(OutcomeKind.DECLINED, "generic_decline")
BARRED = Outcome(OutcomeKind.DECLINED, "lost_card", "do_not_try_again")
NOW = time.time_ns() // 1_000_000
_numbers = count(1)
ROW = PaymentRow(
    payment_id="pay_a",
    tenant="demo",
    call_id="call_one",
    leg_id="leg_one",
    agent_id=None,
    state=PaymentState.READY,
    amount_minor=1995,
    currency="EUR",
    reference="B-1",
    purpose="booking",
    sca_basis="moto_unattended",
    provider="sandbox",
    created_at=stamp(),
    updated_at=stamp(),
)


class House:
    """A store, keys and limits; cards and callers by name."""

    def __init__(self, folder: Path, store: Store, velocity: Velocity | None) -> None:
        self.store = store
        self.path = folder / "vault.db"
        self.keys = Keys(KeyFiles(folder / "keys"))
        tenants: dict[str, Any] = {name: SimpleNamespace(velocity=velocity) for name in ("demo", "other")}
        self.limits = Limits(store, self.keys, tenants)

    async def payment(self, card: str = "a", caller: str = "", tenant: str = "demo") -> PaymentRow:
        """A payment whose card is keyed; the card's first letter is its range."""
        row = replace(ROW, payment_id=f"pay_{next(_numbers)}", tenant=tenant)
        versions = sorted(self.keys.versions()["vault-hmac"], reverse=True)
        prints = tuple(f"fp_{version}_{card}" for version in versions)
        bins = tuple(f"bin_{version}_{card[0]}" for version in versions)
        async with self.store.changing() as change:
            await self.limits.created(change, row, caller)
            await self.limits.keyed(change, row, Ready("visa", "4242", fingerprints=prints, bins=bins))
        return row

    async def attempt(
        self, row: PaymentRow, outcome: Outcome | None = AUTHORISED, at_ms: int = NOW
    ) -> Limit | None:
        """One attempt and, unless None, its outcome."""
        key = f"{row.payment_id}:authorise:{next(_numbers)}"
        limit = await self.limits.admit(row, key, at_ms)
        if limit is None and outcome is not None:
            async with self.store.changing() as change:
                await self.limits.ended(change, row, key, outcome, at_ms)
        return limit

    async def tried(self, outcome: Outcome | None = AUTHORISED, at_ms: int = NOW, **who: str) -> Limit | None:
        """One attempt of a payment of its own."""
        return await self.attempt(await self.payment(**who), outcome, at_ms)

    def entries(self, name: str) -> list[dict[str, Any]]:
        database = sqlite3.connect(self.path)
        try:
            rows = database.execute("SELECT body FROM outbox ORDER BY seq").fetchall()
        finally:
            database.close()
        return [entry for (body,) in rows if (entry := json.loads(body))["name"] == name]


@asynccontextmanager
async def opened(velocity: Velocity | None) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="payivr-") as folder:
        store = await Store.open(Path(folder) / "vault.db")
        try:
            yield House(Path(folder), store, velocity)
        finally:
            await store.close()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with opened(Velocity()) as made:
        yield made


async def test_a_card_is_tried_so_often_a_day(house):
    """The attempt above the limit is not sent; a day after the first there is room again."""
    results = [await house.tried() for _ in range(Velocity().card_attempts_per_day + 1)]
    assert [None] * 6 + [Limit.CARD_ATTEMPTS] == results
    assert await house.tried(card="b") is None
    assert await house.tried(at_ms=NOW + DAY_S * 1000 - 1) is Limit.CARD_ATTEMPTS
    assert await house.tried(at_ms=NOW + DAY_S * 1000) is None


async def test_a_caller_with_many_cards_is_stopped(house):
    """Different cards are counted, not attempts; an own card once more is no further one."""
    most = Velocity().caller_cards_per_day
    assert {None} == {await house.tried(card=f"{n}x", caller=NUMBER) for n in range(most)}
    assert await house.tried(card="9z", caller=NUMBER) is Limit.CALLER_CARDS
    assert await house.tried(card="0x", caller=NUMBER) is None
    assert await house.tried(card="9z", caller="+4930999") is None


async def test_a_caller_tries_so_often_an_hour(house):
    """Whatever becomes of the attempts."""
    most = Velocity().caller_attempts_per_hour
    assert {None} == {await house.tried(card=f"{n % 3}x", caller=NUMBER) for n in range(most)}
    assert await house.tried(card="0x", caller=NUMBER) is Limit.CALLER_ATTEMPTS
    assert await house.tried(card="0x", caller=NUMBER, at_ms=NOW + HOUR_S * 1000) is None


async def test_an_enumeration_of_one_range_is_stopped(house):
    """Declines of many cards from many telephones count together by their first digits; approvals do not."""
    velocity = Velocity(bin_declines_per_hour=3)
    async with opened(velocity) as small:
        for number in range(3):
            assert await small.tried(card=f"a{number}") is None
            assert await small.tried(DECLINED, card=f"a{number}", caller=f"+49{number}") is None
        assert await small.tried(card="a9") is Limit.BIN_DECLINES
        assert await small.tried(card="b9") is None


async def test_attempts_under_way_count_as_declines():
    """A hundred at once are a hundred tries; an approval takes itself out again."""
    async with opened(Velocity(tenant_declines_per_hour=2)) as small:
        first = await small.payment(card="a")
        assert await small.limits.admit(first, "k1", NOW) is None
        assert await small.tried(None, card="b") is None
        assert await small.tried(card="c") is Limit.TENANT_DECLINES
        async with small.store.changing() as change:
            await small.limits.ended(change, first, "k1", AUTHORISED, NOW)
        assert await small.tried(card="c") is None


async def test_what_was_never_sent_is_not_counted(house):
    """A provider that is down must not lock the callers out; an unknown outcome counts until it is known."""
    for _ in range(20):
        assert await house.tried(NEVER_SENT) is None
    assert {None} == {await house.tried(UNKNOWN) for _ in range(6)}
    assert await house.tried() is Limit.CARD_ATTEMPTS


async def test_at_the_same_moment_no_attempt_slips_through(house):
    """Look and count are one transaction."""
    rows = [await house.payment() for _ in range(20)]
    results = await asyncio.gather(*(house.attempt(row, None) for row in rows))
    assert Velocity().card_attempts_per_day == results.count(None)


async def test_an_attempt_asked_about_twice_is_counted_once(house):
    """As after a crash between the look and the commit of the attempt."""
    row = await house.payment()
    results = {await house.limits.admit(row, "the_same", NOW) for _ in range(10)}
    assert {None} == results
    assert [None] * 5 + [Limit.CARD_ATTEMPTS] == [await house.tried() for _ in range(6)]


async def test_a_card_that_must_not_be_tried_again_is_barred_for_a_while(house):
    """For this tenant, whoever calls, until the bar has aged; both are on record without its raw code."""
    assert await house.tried(BARRED) is None
    assert await house.tried(caller=NUMBER) is Limit.CARD_BARRED
    assert await house.tried(tenant="other") is None
    last = NOW + Velocity().do_not_try_again_days * DAY_S * 1000
    assert await house.tried(at_ms=last - 1) is Limit.CARD_BARRED
    assert await house.tried(at_ms=last) is None
    assert [{"days": 30}] == [entry["data"] for entry in house.entries("payment.card.barred")]
    told = [entry["data"] for entry in house.entries("payment.attempt.limited")]
    assert [{"reason": "card_barred"}] * 2 == told


async def test_only_that_advice_bars_a_card(house):
    """A plain decline, and an approval whatever its advice."""
    for outcome in (
        DECLINED,
        replace(BARRED, advice="try_again_later"),
        replace(AUTHORISED, advice=BARRED.advice),
    ):
        assert await house.tried(outcome) is None
    assert await house.tried() is None


async def test_a_tenant_without_limits_counts_and_refuses_nothing(house):
    """As every tenant that is not live, unless its file says otherwise."""
    async with opened(None) as free:
        assert {None} == {await free.tried(BARRED, caller=NUMBER) for _ in range(30)}


async def test_a_card_on_file_is_counted_by_its_id(house):
    """No PAN is keyed when a kept card pays."""
    rows = [replace(ROW, payment_id=f"pay_kept{n}", card_id="card_x") for n in range(7)]
    assert [None] * 6 + [Limit.CARD_ATTEMPTS] == [await house.attempt(row) for row in rows]


async def test_a_card_keyed_anew_replaces_the_first_one(house):
    """Only the card that is charged is counted."""
    row = await house.payment(card="a")
    async with house.store.changing() as change:
        await house.limits.keyed(
            change, row, Ready("visa", "0002", fingerprints=("fp_1_b",), bins=("bin_1_b",))
        )
    assert await house.attempt(row, BARRED) is None
    assert await house.tried(card="b") is Limit.CARD_BARRED
    assert await house.tried(card="a") is None


async def test_rotation_forgets_nobody(house):
    """Cards and callers counted under the old version are found under the new one, while both are valid."""
    for number in range(3):
        await house.tried(BARRED if number == 2 else AUTHORISED, card=f"{number}x", caller=NUMBER)
    house.keys.place.store("vault-hmac", 2, Secret(b"n" * 32))
    house.keys.load()
    assert await house.tried(card="2x") is Limit.CARD_BARRED
    assert {None} == {await house.tried(card="0x", caller=NUMBER) for _ in range(5)}
    assert await house.tried(card="0x") is Limit.CARD_ATTEMPTS
    assert {1, 2} == (await house.limits.key_versions_in_use()).keys()


async def test_sweep_removes_what_no_rule_looks_at(house):
    """Marks, uses and bars by their own ages; then no version of the key is in use."""
    assert await house.tried(BARRED, caller=NUMBER) is None
    assert 0 == await house.limits.sweep(NOW + 1)
    late = NOW + max(WINDOW_MAX_S, MARKS_KEPT_S, 30 * DAY_S) * 1000
    assert 4 + 1 <= await house.limits.sweep(late)
    await house.limits.sweep(2 * NOW)
    assert {} == await house.limits.key_versions_in_use()


async def test_no_number_stands_on_disk(house):
    """A caller is a keyed hash, another one for another tenant; a withheld number is nobody's."""
    await house.tried(caller=NUMBER)
    await house.tried(caller=NUMBER, tenant="other")
    await house.tried(caller="")
    files = b"".join(path.read_bytes() for path in house.path.parent.glob("vault.db*"))
    assert NUMBER[1:].encode() not in files
    database = sqlite3.connect(house.path)
    callers = database.execute("SELECT mark FROM payment_marks WHERE kind = 'caller'").fetchall()
    database.close()
    assert 2 == len(set(callers)) == len(callers)


def model(events: list[tuple[int, int, int, bool]], velocity: Velocity) -> Iterator[bool]:
    """Says for (minute, caller, card, approved) whether it is admitted, by looking at all that were."""
    past: list[tuple[int, int, int, bool]] = []
    for minute, caller, card, approved in events:
        day = [one for one in past if one[0] > minute - 24 * 60]
        hour = [one for one in past if one[0] > minute - 60]
        other_cards = {one[2] for one in day if one[1] == caller} - {card}
        fits = (
            sum(one[2] == card for one in day) < velocity.card_attempts_per_day
            and sum(one[1] == caller for one in hour) < velocity.caller_attempts_per_hour
            and len(other_cards) < velocity.caller_cards_per_day
            and sum(not one[3] for one in hour) < velocity.tenant_declines_per_hour
        )
        if fits:
            past.append((minute, caller, card, approved))
        yield fits


_steps = st.tuples(st.integers(0, 400), st.integers(0, 2), st.integers(0, 3), st.booleans())


@settings(max_examples=10, deadline=None)
@given(st.lists(_steps, max_size=15))
def test_any_sequence_is_judged_as_by_hand(steps):
    """Against a list that is counted anew for every attempt."""
    velocity = Velocity(
        card_attempts_per_day=3,
        caller_attempts_per_hour=2,
        caller_cards_per_day=2,
        tenant_declines_per_hour=4,
    )
    minute, events = 0, []
    for pause, caller, card, approved in steps:
        minute += pause
        events.append((minute, caller, card, approved))

    async def admitted() -> list[bool]:
        async with opened(velocity) as house:
            return [
                await house.tried(
                    AUTHORISED if approved else DECLINED,
                    NOW + minute * 60_000,
                    card=f"{card}x",
                    caller=f"+{caller}",
                )
                is None
                for minute, caller, card, approved in events
            ]

    assert list(model(events, velocity)) == asyncio.run(admitted())
