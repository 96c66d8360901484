"""vault.db: the rules of the schema, versions, and one commit for a change and its entry."""

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from audit.outbox import Entry, stamp
from vault.door import Decline, DeclineReason, NextStep, PaymentState, Refused, StepName, StepState
from vault.store import AttemptRow, PaymentRow, StaleError, StepRow, Store

ROW = PaymentRow(
    payment_id="pay_a",
    tenant="demo",
    call_id="call_one",
    leg_id="leg_one",
    agent_id="agent1",
    state=PaymentState.CREATED,
    amount_minor=2**40,
    currency="EUR",
    reference="B-1",
    purpose="booking",
    sca_basis="moto_agent",
    provider="sandbox",
    created_at=stamp(),
    updated_at=stamp(),
)
ATTEMPT = AttemptRow("pay_a", 1, "pay_a:authorise:1", PaymentState.AUTHORISING, stamp())
ENTRY = Entry("payment.intent.expired", stamp(), "system:broker", "pay_a", data={"reason": "idle"})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "vault.db")
    yield store
    await store.close()


async def insert(store: Store, row: PaymentRow) -> None:
    async with store.changing() as change:
        await change.insert(row)


def outbox(path: Path) -> int:
    database = sqlite3.connect(path / "vault.db")
    try:
        return int(database.execute("SELECT count(*) FROM outbox").fetchone()[0])
    finally:
        database.close()


async def test_row_comes_back_as_it_was_stored(store):
    """Every column, enumerations and decline included; amounts beyond 32 bits."""
    decline = Decline(DeclineReason.FUNDS, NextStep.OTHER_CARD, retry_allowed=True)
    row = replace(ROW, state=PaymentState.DECLINED, decline=decline, token="sbx_approved_x", last4="4242")
    await insert(store, row)
    assert row == await store.payment("pay_a")
    assert (row,) == await store.of_call("call_one")
    assert (row,) == await store.in_state(PaymentState.DECLINED, PaymentState.READY)
    assert () == await store.in_state(PaymentState.READY)


async def test_unknown_payment_is_refused(store):
    """No row, no guess."""
    with pytest.raises(Refused) as refused:
        await store.payment("pay_none")
    assert refused.value.code == "payment_unknown"


async def test_change_needs_the_version_before_it(store):
    """Compare and set: whoever read an older row does not overwrite a newer one."""
    await insert(store, ROW)
    newer = replace(ROW, version=2, state=PaymentState.CAPTURING)
    async with store.changing() as change:
        await change.update(newer)
    with pytest.raises(StaleError):
        async with store.changing() as change:
            await change.update(replace(newer, state=PaymentState.CANCELLED))
    assert newer == await store.payment("pay_a")


async def test_change_and_entry_are_one_commit(store, tmp_path):
    """Both or neither: an entry of a change that was not committed is not there."""
    await insert(store, ROW)

    async def expire(version: int) -> None:
        async with store.changing() as change:
            await change.tell(ENTRY)
            await change.update(replace(ROW, version=version, state=PaymentState.EXPIRED))

    with pytest.raises(StaleError):
        await expire(7)
    assert outbox(tmp_path) == 0
    await expire(2)
    assert outbox(tmp_path) == 1


@pytest.mark.parametrize(("refunded", "refunding"), [(1000, 0), (0, 1000), (600, 400)])
async def test_more_than_was_settled_cannot_go_back(store, refunded, refunding):
    """Whatever the code above believes: what is under way counts as gone."""
    settled = replace(ROW, state=PaymentState.SETTLED, amount_minor=5000, settled_minor=1000)
    await insert(store, settled)
    all_of_it = replace(settled, version=2, refunded_minor=refunded, refunding_minor=refunding)
    async with store.changing() as change:
        await change.update(all_of_it)
    with pytest.raises(Refused) as refused:
        async with store.changing() as change:
            await change.update(replace(all_of_it, version=3, refunding_minor=refunding + 1))
    assert "refund_too_large" == refused.value.code


@pytest.mark.parametrize("state", [StepState.UNDER_WAY, StepState.UNKNOWN])
async def test_one_step_is_under_way(store, state):
    """Two refunds at once: the second waits for the first one's end."""
    await insert(store, ROW)
    one = StepRow("pay_a", StepName.REFUND, 1, "pay_a:refund:1", "a", state, 500, "agent:a", stamp())
    other = replace(one, number=2, step_key="pay_a:refund:2", ask_key="b", state=StepState.UNDER_WAY)
    async with store.changing() as change:
        await change.insert_step(one)
    with pytest.raises(Refused) as refused:
        async with store.changing() as change:
            await change.insert_step(other)
    assert "step_under_way" == refused.value.code
    async with store.changing() as change:
        await change.update_step(replace(one, state=StepState.DONE))
        await change.insert_step(other)


@pytest.mark.parametrize("state", [PaymentState.CREATED, PaymentState.UNKNOWN, PaymentState.SETTLED])
async def test_reference_is_held_while_money_may_move(store, state):
    """Another payment with the reference is refused, in this tenant only."""
    await insert(store, replace(ROW, state=state))
    with pytest.raises(Refused) as refused:
        await insert(store, replace(ROW, payment_id="pay_b"))
    assert refused.value.code == "reference_taken"
    await insert(store, replace(ROW, payment_id="pay_c", tenant="other"))


@pytest.mark.parametrize("state", [PaymentState.CANCELLED, PaymentState.DECLINED, PaymentState.REFUNDED])
async def test_reference_is_free_again_when_no_money_moved(store, state):
    """A declined payment that wants to go on is refused once another has its reference."""
    await insert(store, replace(ROW, state=state))
    await insert(store, replace(ROW, payment_id="pay_b"))
    with pytest.raises(Refused) as refused:
        async with store.changing() as change:
            await change.update(replace(ROW, version=2, state=PaymentState.CAPTURING))
    assert refused.value.code == "reference_taken"


async def test_one_attempt_is_under_way(store):
    """The database itself refuses a second one, whatever its number."""
    await insert(store, ROW)
    async with store.changing() as change:
        await change.insert_attempt(ATTEMPT)
    second = replace(ATTEMPT, attempt=2, attempt_key="pay_a:authorise:2", state=PaymentState.UNKNOWN)
    with pytest.raises(Refused):
        async with store.changing() as change:
            await change.insert_attempt(second)
    async with store.changing() as change:
        await change.end_attempt(replace(ROW, attempt=1, state=PaymentState.DECLINED), "lost_card")
        await change.insert_attempt(second)
    first, _ = await store.attempts("pay_a")
    assert (PaymentState.DECLINED, "lost_card") == (first.state, first.raw_code)


async def test_attempt_number_is_given_once(store):
    """Two rows of one number would share a key at the provider."""
    await insert(store, ROW)
    done = replace(ATTEMPT, state=PaymentState.DECLINED)
    async with store.changing() as change:
        await change.insert_attempt(done)
    with pytest.raises(Refused):
        async with store.changing() as change:
            await change.insert_attempt(replace(done, attempt_key="other"))


async def test_rules_of_last_resort_say_conflict(store):
    """Receipts and provider references are unique, amounts positive; the sentence quotes nothing."""
    await insert(store, replace(ROW, receipt="123456782", provider_ref="ref"))
    for changes in ({"receipt": "123456782"}, {"provider_ref": "ref"}, {"amount_minor": 0}):
        other = replace(ROW, payment_id="pay_b", reference="B-2", **changes)
        with pytest.raises(Refused) as refused:
            await insert(store, other)
        assert refused.value.code == "conflict"


async def test_receipt_is_looked_up_per_tenant(store):
    """Two tenants may read out the same number."""
    await insert(store, replace(ROW, receipt="123456782"))
    assert not await store.receipt_is_free("demo", "123456782")
    assert await store.receipt_is_free("other", "123456782")


async def test_providers_of_open_attempts_are_named(store):
    """A tenant that changed its provider still has attempts to be fetched from the old one."""
    await insert(store, replace(ROW, state=PaymentState.UNKNOWN, provider="sandbox_direct"))
    assert {("demo", "sandbox_direct")} == await store.providers_unresolved()


async def test_database_is_synced_and_private(store, tmp_path):
    """WAL with FULL sync; the file is for its owner only."""
    async with store.engine.connect() as conn:
        found = {
            name: (await conn.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1} == found
    assert (tmp_path / "vault.db").stat().st_mode & 0o777 == 0o600


async def test_errors_hide_parameters(store):
    """What was to be stored does not stand in the text of a database error."""
    with pytest.raises(IntegrityError) as failed:
        async with store.engine.begin() as conn:
            await conn.exec_driver_sql("INSERT INTO payments (payment_id) VALUES (?)", ("pay_secret",))
    assert "pay_secret" not in str(failed.value)
