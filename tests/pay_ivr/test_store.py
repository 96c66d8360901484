"""app.db: what is stored, for how long, and that the audit log hears of it in the same transaction."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from audit.outbox import Entry
from pay_ivr.facts import CallView
from pay_ivr.people import LOGIN_AGE_MS_MAX, AccessKey, Agent, NewAgent, SipSecret, Try
from pay_ivr.store import ENDED_CALLS_KEPT_MS, LOCK_MS, LOGINS_PER_AGENT_MAX, TRIES_MAX, Store, utc_of

ANNA = Agent("anna", "demo", "de-DE")
SECRET = SipSecret.of("anna", "pay-ivr", "phone")
NEW = NewAgent(ANNA, password_hash="hash", must_change=True, sip=SECRET)
PROVEN = Try(ANNA, "hash", must_change=True, locked=False)
CALL = CallView(
    call_id="call_abc",
    tenant="demo",
    flow="agent_assisted",
    state="ended",
    agent_id="anna",
    caller="4930555",
    did="4930100001",
    language="de-DE",
    started_at="2026-01-01T00:00:00.000Z",
    ended_reason="caller_hung_up",
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A fresh app.db with one agent."""
    opened = await Store.open(tmp_path / "app.db")
    await opened.add_agent(NEW, 0, "system:operator")
    yield opened
    await opened.close()


async def names(store: Store) -> list[str]:
    """The names of the outbox rows, oldest first."""
    async with store.engine.connect() as conn:
        rows = (
            await conn.execute(text("SELECT json_extract(body, '$.name') FROM outbox ORDER BY seq"))
        ).all()
    return [row[0] for row in rows]


async def count(store: Store, table: str) -> int:
    """Rows of a table."""
    async with store.engine.connect() as conn:
        return int((await conn.exec_driver_sql(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608


async def test_an_agent_is_found_by_his_id_and_exists_once(store: Store) -> None:
    """A second one of the same name is an error and leaves no audit row."""
    assert await store.agent("anna") == ANNA
    assert await store.agent("nobody") is None
    with pytest.raises(IntegrityError) as refused:
        await store.add_agent(NEW, 0, "system:operator")
    assert "phone" not in str(refused.value)
    assert SECRET.ha1_md5 not in str(refused.value)
    assert await names(store) == ["agent.user.added"]


async def test_a_reset_changes_both_passwords_and_ends_every_login(store: Store) -> None:
    """A lock is gone as well; the registrar gets the new hashes, never a password."""
    await store.accept_login(PROVEN, b"l" * 32, 0, "127.0.0.1", "chosen")
    for _ in range(TRIES_MAX):
        await store.claim_try("anna", 1000)
    other = SipSecret.of("anna", "pay-ivr", "another")

    await store.reset_agent(replace(NEW, password_hash="one-time", sip=other), 2000, "system:operator")

    claimed = await store.claim_try("anna", 3000)
    assert claimed is not None
    assert (claimed.password_hash, claimed.must_change, claimed.locked) == ("one-time", True, False)
    assert await store.login(b"l" * 32) is None
    assert await store.sip_secrets() == {"anna": other}
    assert "another" not in repr(other)
    assert (await names(store))[-1] == "agent.password.reset"


async def test_a_login_needs_the_hash_that_was_proven(store: Store) -> None:
    """A reset, a removal or a new password in between wins: no login, no new password, no entry."""
    await store.reset_agent(replace(NEW, password_hash="one-time"), 1000, "system:operator")
    before = await names(store)

    assert not await store.accept_login(PROVEN, b"l" * 32, 2000, "127.0.0.1", "chosen")
    await store.remove_agent(ANNA, 3000, "system:operator")
    assert not await store.accept_login(PROVEN, b"l" * 32, 4000, "127.0.0.1")

    assert await store.login(b"l" * 32) is None
    assert [*before, "agent.user.removed"] == await names(store)


async def test_a_removed_agent_leaves_only_his_record(store: Store) -> None:
    """No try, no login, no phone; others stay. The same name can come back, without the old logins."""
    ben = replace(NEW, agent=replace(ANNA, agent_id="ben"))
    await store.add_agent(ben, 0, "system:operator")
    await store.accept_login(PROVEN, b"a" * 32, 0, "127.0.0.1")
    await store.accept_login(replace(PROVEN, agent=ben.agent), b"b" * 32, 0, "127.0.0.1")

    await store.remove_agent(ANNA, 1000, "system:operator")

    assert await store.claim_try("anna", 2000) is None
    assert set(await store.sip_secrets()) == {"ben"}
    assert await store.login(b"b" * 32) is not None
    assert (await names(store))[-1] == "agent.user.removed"
    await store.add_agent(NEW, 3000, "system:operator")
    assert await store.login(b"a" * 32) is None


async def test_the_tenth_try_locks_and_the_lock_ends(store: Store) -> None:
    """Tries are counted before the password is looked at."""
    tries = [await store.claim_try("anna", 1000) for _ in range(TRIES_MAX + 1)]
    after = await store.claim_try("anna", 1000 + LOCK_MS + 1)
    assert [one.locked for one in tries if one] == [False] * TRIES_MAX + [True]
    assert after is not None
    assert not after.locked
    assert await store.claim_try("nobody", 0) is None
    assert (await names(store)).count("agent.login.locked") == 1


async def test_an_agent_keeps_his_newest_logins(store: Store) -> None:
    """The eleventh login ends the first; old ones of everybody go."""
    for at in range(LOGINS_PER_AGENT_MAX + 2):
        await store.accept_login(PROVEN, bytes([at]) * 32, at, "127.0.0.1")
    assert await store.login(bytes([0]) * 32) is None
    assert await store.login(bytes([2]) * 32) is not None
    await store.accept_login(PROVEN, b"n" * 32, LOGIN_AGE_MS_MAX + 100, "127.0.0.1")
    assert await count(store, "logins") == 1


async def test_an_ended_call_and_its_entry_are_one_transaction(store: Store) -> None:
    """The same call twice: the row is refused, and so is its entry."""
    entry = Entry(
        "call.contact.ended",
        utc_of(0),
        "system:app",
        CALL.call_id,
        data={"reason": "caller_hung_up", "seconds": 3},
    )
    await store.add_ended_call(CALL, 0, entry)
    with pytest.raises(IntegrityError):
        await store.add_ended_call(CALL, 0, entry)
    assert (await names(store)).count("call.contact.ended") == 1


async def test_ended_calls_are_forgotten_after_their_time(store: Store) -> None:
    """Callers' numbers are personal data."""
    await store.add_ended_call(CALL, 0)
    await store.add_ended_call(replace(CALL, call_id="call_new"), ENDED_CALLS_KEPT_MS + 1)
    assert await count(store, "ended_calls") == 1


async def test_a_revoked_access_key_is_gone(store: Store) -> None:
    """Issuing and revoking are on record."""
    key = AccessKey("abcd1234", "demo", "shop")
    await store.add_access_key(key, b"s" * 32, 0, "system:operator")
    assert await store.access_key("abcd1234") == (key, b"s" * 32)
    await store.revoke_access_key(key, 1, "system:operator")
    assert await store.access_key("abcd1234") is None
    assert (await names(store))[-2:] == ["key.access.issued", "key.access.revoked"]


async def test_a_store_keeps_everything_over_a_restart(tmp_path: Path) -> None:
    """Closed and opened again, the agent is there and his login too."""
    first = await Store.open(tmp_path / "app.db")
    await first.add_agent(NEW, 0, "system:operator")
    await first.accept_login(PROVEN, b"l" * 32, 5, "127.0.0.1")
    await first.close()
    second = await Store.open(tmp_path / "app.db")
    login = await second.login(b"l" * 32)
    await second.close()
    assert login is not None
    assert (login.agent, login.created_at_ms) == (ANNA, 5)
