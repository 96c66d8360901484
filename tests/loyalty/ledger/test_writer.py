"""The writer under trouble: a bad neighbour, a late answer, a queue that stands, another node before us."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text

from loyalty.errors import LoyaltyError
from loyalty.ledger import Done, bulk, group, ledger, storing
from loyalty.ledger.storing import ConflictError
from loyalty.tables import ACCOUNT
from tests.support.ledger_books import ACTOR, Books

NEARLY_FULL = 2**63 - 5


@contextmanager
def standing(books: Books) -> Iterator[None]:
    """The writer stands inside a transaction until this is left."""
    go_on = threading.Event()

    def stand(_connection: Connection) -> None:
        assert go_on.wait(30)

    task = asyncio.ensure_future(books.database.writer.work(stand))
    try:
        yield
    finally:
        go_on.set()
        task.add_done_callback(lambda done: done.result())


async def test_one_bad_command_does_not_sink_its_neighbours(books: Books):
    """Of six in one group, the one that 64 bits cannot hold fails alone."""
    members = [await books.member(10) for _ in range(6)]

    def fill(connection: Connection) -> None:
        own = {"tenant": books.tenant, "account": members[3], "much": NEARLY_FULL}
        full = text("UPDATE account SET posted = :much WHERE tenant = :tenant AND id = :account")
        connection.execute(full, own)

    await books.database.writer.work(fill)
    earnings = [books.earning(member, 10) for member in members]
    with standing(books):
        asked = [asyncio.ensure_future(books.do(one)) for one in earnings]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert [True, True, True, False, True, True] == [isinstance(one, Done) for one in outcomes]
    assert "books_broken" == outcomes[3].code
    assert [20] * 5 == [await books.available(one) for one in members if one != members[3]]


async def test_a_late_answer_is_unknown_and_asked_again(books: Books, monkeypatch: pytest.MonkeyPatch):
    """It was not begun, so the same key books it now; if it had been, the same key would tell."""
    member = await books.member(10)
    monkeypatch.setattr(ledger, "LEDGER_DEADLINE_S", 0.05)
    command = books.redeeming(member, 1)
    with standing(books):
        await asyncio.sleep(0.01)
        with pytest.raises(LoyaltyError) as late:
            await books.do(command)
    assert ("ledger_late", True) == (late.value.code, late.value.retryable)
    monkeypatch.undo()

    again = await books.done(command)

    assert (9, False) == (again.available, again.replayed)


async def test_a_queue_that_stands_takes_nobody_more(books: Books, monkeypatch: pytest.MonkeyPatch):
    """First an alarm, once; then new commands are refused at once and surely not booked."""
    alarms: list[str] = []
    monkeypatch.setattr(ledger.log, "error", lambda name, **_: alarms.append(name))
    monkeypatch.setattr(ledger, "QUEUE_AGE_ALARM_S", 0.05)
    member = await books.member(10)
    with standing(books):
        await asyncio.sleep(0.1)
        waiting = [asyncio.ensure_future(books.do(books.redeeming(member, 1))) for _ in range(2)]
        await asyncio.sleep(0)
        monkeypatch.setattr(ledger, "QUEUE_AGE_REFUSE_S", 0.05)
        with pytest.raises(LoyaltyError) as refused:
            await books.do(books.redeeming(member, 1))
    await asyncio.gather(*waiting)

    assert "ledger_stalled" == refused.value.code
    assert ["ledger.queue.stalled"] == alarms
    assert 8 == await books.available(member)


async def test_what_nobody_waits_for_is_not_begun(books: Books):
    """A caller who was cancelled while his command queued has booked nothing."""
    member = await books.member(10)
    with standing(books):
        await asyncio.sleep(0.01)
        gone = asyncio.ensure_future(books.do(books.redeeming(member, 1)))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)

    assert 10 == await books.available(member)


async def test_commands_of_calls_go_before_those_of_an_import(books: Books):
    """L21: whatever waits in bulk, a caller waits for one group at most."""
    member, ended = await books.member(10), []

    async def ask(name: str, *, bulk: bool) -> None:
        await books.ledger.do(books.earning(member, 1), actor=ACTOR, bulk=bulk)
        ended.append(name)

    with standing(books):
        tasks = [asyncio.ensure_future(ask("import", bulk=True)) for _ in range(30)]
        await asyncio.sleep(0.01)
        tasks.append(asyncio.ensure_future(ask("call", bulk=False)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)

    assert ended.index("call") <= 8
    assert 41 == await books.available(member)


async def test_a_key_that_another_node_wins_meanwhile_is_found(books: Books, monkeypatch: pytest.MonkeyPatch):
    """The insert tells it, the group is undone and asked again."""
    member = await books.member(10)
    command = books.redeeming(member, 1)
    first = await books.done(command)
    look, blind = group._answered, [True]

    def answered(*asked):
        return {} if blind and blind.pop() else look(*asked)

    monkeypatch.setattr(group, "_answered", answered)

    again = await books.done(command)

    assert (first.journal_id, True) == (again.journal_id, again.replayed)
    assert 9 == await books.available(member)


async def test_a_conflict_that_stays_is_told_as_unknown(books: Books, monkeypatch: pytest.MonkeyPatch):
    """Never as refused."""
    member = await books.member(10)
    command = books.redeeming(member, 1)
    await books.done(command)
    monkeypatch.setattr(group, "_answered", lambda *_: {})

    with pytest.raises(ConflictError) as conflict:
        await books.done(command)

    assert conflict.value.retryable


async def test_what_the_database_itself_forbids_is_no_conflict(books: Books, monkeypatch: pytest.MonkeyPatch):
    """A rule of the tables is broken: asked again it would be broken again; nothing is booked."""
    member = await books.member(10)
    with monkeypatch.context() as broken:
        broken.setattr(storing, "_stands", lambda account: (account.posted - 10**6, account.held))
        with pytest.raises(LoyaltyError) as fault:
            await books.done(books.redeeming(member, 1))
    assert ("database_conflict", False) == (fault.value.code, fault.value.retryable)
    assert 10 == await books.available(member)


async def test_changes_without_rows_are_none(books: Books):
    """On either engine; no statement is sent."""
    nothing = [(bulk.updating(ACCOUNT, "posted"), []), (bulk.inserting(ACCOUNT), [])]
    assert [0, 0] == await books.database.writer.work(lambda connection: bulk.run(connection, nothing))


async def test_a_second_account_of_the_same_kind_is_not_opened(books: Books):
    """The programme's own accounts open themselves, one of a kind; only members' are asked for."""
    with pytest.raises(LoyaltyError, match="Only a member's"):
        await books.ledger.open_account(books.tenant, books.programme, "issued")
    with pytest.raises(LoyaltyError, match="no such account"):
        await books.balance("acc_nobody")
