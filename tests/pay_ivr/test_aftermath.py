"""What an app that died left behind: a real app.db, a real broker, a real media process."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from pay_ivr.aftermath import TECHNICAL_PROBLEM, Orphans, settle
from pay_ivr.codes import PaymentCodes
from pay_ivr.facts import CallView
from pay_ivr.ids import now_ms
from pay_ivr.journal import Journal
from pay_ivr.store import Store, live_calls, payment_codes
from tests.support.media import media
from tests.support.zone import Desk, desk_at, running_zone
from vault import Door, PaymentState, Unreachable

CALL = CallView(
    call_id="call_one",
    tenant="demo",
    flow="agent_assisted",
    state="bridged",
    agent_id="agent1",
    caller="491511234567",
    did="4930100001",
    language="en-US",
    started_at="2026-01-31T12:00:00.000Z",
)
READY_S = 10.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An app.db of an app that died."""
    opened = await Store.open(tmp_path / "app.db")
    yield opened
    await opened.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A broker with a caller who can key."""
    with running_zone() as zone:
        async with desk_at(zone) as opened:
            yield opened


async def journalled(store: Store, *calls: CallView) -> None:
    """These calls as the journal of the dead app had written them."""
    journal = Journal(store)
    writing = asyncio.create_task(journal.run())
    for call in calls:
        journal.record("call.bridge.opened", call)
    await journal.flush()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def code_state(store: Store, code: str) -> str:
    """Where a payment code stands."""
    async with store.engine.connect() as conn:
        return str((await conn.execute(select(payment_codes.c.state).filter_by(code=code))).scalar_one())


async def taken_code(store: Store, reference: str, payment_id: str | None) -> str:
    """A code that a call of the dead app had taken, and the payment it had become."""
    codes = PaymentCodes(store)
    code = await codes.issue("demo", 1995, "EUR", reference, "booking", 3600, now_ms=now_ms(), by="key:k")
    assert await codes.take(code, CALL.caller, now_ms(), tenant="demo") is not None
    if payment_id is not None:
        await codes.bind(code, payment_id)
    return code


async def test_a_call_that_died_is_ended_at_the_vault_and_in_the_log(store: Store, desk: Desk) -> None:
    """Its open payment is cancelled, its row moves to the ended calls, its agent can read both."""
    payment = await desk.created()
    await journalled(store, replace(CALL, call_id=payment.call_id))

    [past] = await settle(store, desk.door, PaymentCodes(store), now_ms(), 10)

    async with store.engine.connect() as conn:
        assert [] == (await conn.execute(select(live_calls))).all()
    assert ("ended", "node_failed") == (past.call.state, past.call.end_reason)
    assert PaymentState.CANCELLED is past.payments[payment.payment_id].state
    assert past.call.agent_id == "agent1"


async def test_settling_twice_finds_nothing_to_do(store: Store, desk: Desk) -> None:
    """A start that was interrupted may begin again: the same calls, ended once."""
    await journalled(store, CALL)
    first = await settle(store, desk.door, PaymentCodes(store), now_ms(), 10)

    assert first == await settle(store, desk.door, PaymentCodes(store), now_ms(), 10)


async def test_a_code_whose_payment_went_through_is_used_up(store: Store, desk: Desk) -> None:
    """The app died between the result and the code."""
    payment = await desk.charged()
    code = await taken_code(store, "R-paid", payment.payment_id)

    await settle(store, desk.door, PaymentCodes(store), now_ms(), 10)

    assert "used" == await code_state(store, code)


async def test_a_code_of_a_call_that_died_can_be_taken_again(store: Store, desk: Desk) -> None:
    """Without a payment, or with one that is cancelled with the call."""
    payment = await desk.created()
    await journalled(store, replace(CALL, call_id=payment.call_id))
    cancelled = await taken_code(store, "R-cancelled", payment.payment_id)
    bare = await taken_code(store, "R-bare", None)

    await settle(store, desk.door, PaymentCodes(store), now_ms(), 10)

    assert ["open", "open"] == [await code_state(store, code) for code in (cancelled, bare)]


async def test_a_code_whose_payment_nobody_knows_is_left_alone(store: Store, desk: Desk) -> None:
    """A vault that has lost a payment may have charged it."""
    code = await taken_code(store, "R-gone", "pay_gone")

    await settle(store, desk.door, PaymentCodes(store), now_ms(), 10)

    assert "taken" == await code_state(store, code)


@pytest.mark.parametrize("prompt", [True, False])
async def test_orphan_legs_end_and_their_caller_is_told(prompt: bool) -> None:
    """The prompt that the dead app left in media, when it is there; then both legs are gone."""
    async with media() as rig:
        caller, _agent = await rig.call()
        if prompt:
            await rig.client.load_prompt(TECHNICAL_PROBLEM, b"\x55" * 160 * 10)
        orphans = Orphans(rig.client)
        await orphans.find()
        ending = asyncio.create_task(orphans.end())
        if prompt:
            orphans.media_fact(await rig.fact("play.done"))
        await asyncio.wait_for(ending, READY_S)

        assert [] == await rig.client.legs()
        assert prompt == (b"\x55" * 160 in caller.payloads())


async def test_a_door_that_closes_leaves_the_call_for_the_next_start(store: Store, tmp_path: Path) -> None:
    """Nothing is written down as ended that the vault has not ended."""
    await journalled(store, CALL)
    door = Door(tmp_path / "nobody.sock")

    with pytest.raises(Unreachable):
        await settle(store, door, PaymentCodes(store), now_ms(), 10)

    assert 1 == len(await store.lost_calls())
