"""The one thread that writes: groups, order, who is woken when, what a bad command does to its neighbours."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, create_engine, insert, select

from loyalty import engines
from loyalty import writer as writer_module
from loyalty.errors import LoyaltyError
from loyalty.writer import BULK_MAX, GROUP_MAX, WORKS_MAX, Writer

NUMBERS = Table("numbers", MetaData(), Column("number", Integer, primary_key=True))
POISON = -1


class Book:
    """Writes each command, a number, as a row; keeps what came in which group; can be held up."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, connection: Connection, commands: Sequence[int]) -> list[int]:
        self.free.wait(10)
        self.groups.append(list(commands))
        if POISON in commands:
            raise LookupError
        connection.execute(insert(NUMBERS), [{"number": number} for number in commands])
        return [2 * number for number in commands]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    engine = create_engine(f"sqlite:///{tmp_path / 'numbers.db'}")
    NUMBERS.metadata.create_all(engine)
    engine.dispose()
    return tmp_path / "numbers.db"


@pytest.fixture
def writer(path: Path, book: Book) -> Iterator[Writer[int, int]]:
    engine = engines.writing(engines.url_of(path))
    made = Writer(engine, book)
    yield made
    book.free.set()
    made.close()
    engine.dispose()


def stored(path: Path) -> set[int]:
    """What another connection sees."""
    engine = engines.reading(engines.url_of(path))
    with engine.connect() as connection:
        found = set(connection.execute(select(NUMBERS.c.number)).scalars())
    engine.dispose()
    return found


async def queued(writer: Writer[int, int], *numbers: int, bulk: bool = False) -> list["asyncio.Task[int]"]:
    """Commands that wait in the queue, in this order."""
    tasks = [asyncio.create_task(writer.command(number, bulk=bulk)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def held_up(writer: Writer[int, int], book: Book, first: int = 1000) -> "asyncio.Task[int]":
    """The writer is busy with a first command; what is queued now waits together."""
    book.free.clear()
    (task,) = await queued(writer, first)
    while not writer._busy_since:  # noqa: ASYNC110 - another thread takes it
        await asyncio.sleep(0.001)
    return task


async def test_what_waits_together_is_committed_together(writer: Writer[int, int], book: Book):
    """Up to GROUP_MAX in one transaction, in the order in which they came."""
    first = await held_up(writer, book)
    tasks = await queued(writer, *range(GROUP_MAX + 3))
    book.free.set()
    assert [2 * number for number in range(GROUP_MAX + 3)] == await asyncio.gather(*tasks)
    assert 2000 == await first
    assert [[1000], list(range(GROUP_MAX)), list(range(GROUP_MAX, GROUP_MAX + 3))] == book.groups


async def test_an_answer_is_given_after_the_commit(writer: Writer[int, int], path: Path):
    """Whoever goes on with it finds it stored."""
    assert 10 == await writer.command(5)
    assert {5} == stored(path)


async def test_one_bad_command_fails_alone(writer: Writer[int, int], book: Book, path: Path):
    """Its group runs again one by one, so that its neighbours are booked."""
    first = await held_up(writer, book)
    tasks = await queued(writer, 1, POISON, 2)
    book.free.set()
    answers = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [2000, 2, 4] == [answer for answer in answers if isinstance(answer, int)]
    assert isinstance(answers[2], LookupError)
    assert {1000, 1, 2} == stored(path)


async def test_a_command_that_the_database_refuses_fails_alone(writer: Writer[int, int], path: Path):
    """The same for an error of the database's."""
    tasks = await queued(writer, 7, 7, 8)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [14, 16] == [answer for answer in answers if isinstance(answer, int)]
    assert ["database_conflict"] == [one.code for one in answers if isinstance(one, LoyaltyError)]
    assert {7, 8} == stored(path)


async def test_an_import_lets_calls_go_first(writer: Writer[int, int], book: Book):
    """However much of it waits: a group has all the calls that wait and BULK_MAX commands of the import."""
    first = await held_up(writer, book)
    load = await queued(writer, *range(100, 100 + 3 * BULK_MAX), bulk=True)
    calls = await queued(writer, 1, 2, 3)
    book.free.set()
    await asyncio.gather(first, *load, *calls)
    assert [1, 2, 3, *range(100, 100 + BULK_MAX)] == book.groups[1]
    assert [BULK_MAX, BULK_MAX] == [len(group) for group in book.groups[2:]]


async def test_an_import_is_not_starved(writer: Writer[int, int], book: Book):
    """Fewer calls than a group holds leave it room."""
    first = await held_up(writer, book)
    load = await queued(writer, 100, bulk=True)
    calls = await queued(writer, *range(GROUP_MAX - 1))
    book.free.set()
    await asyncio.gather(first, *load, *calls)
    assert 100 in book.groups[1]


async def test_works_take_turns_with_groups(writer: Writer[int, int], book: Book):
    """No more than WORKS_MAX of them between two groups."""
    first = await held_up(writer, book)
    calls = await queued(writer, *range(GROUP_MAX + 1))
    works = [
        asyncio.create_task(writer.work(lambda _conn: book.groups.append([]))) for _ in range(2 * WORKS_MAX)
    ]
    await asyncio.sleep(0)
    book.free.set()
    await asyncio.gather(first, *calls, *works)
    sizes = [len(group) for group in book.groups]
    assert [1, GROUP_MAX, *[0] * WORKS_MAX, 1, *[0] * WORKS_MAX] == sizes


async def test_what_came_too_late_is_not_begun(writer: Writer[int, int], book: Book, path: Path):
    """A late caller is told; of a command under way it is not known, one that still waited is never done."""
    book.free.clear()
    under_way = asyncio.create_task(writer.command(1, within_s=0.2))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(writer.command(2, within_s=0.05))
    in_time = asyncio.create_task(writer.command(3, within_s=10))
    late = await asyncio.gather(under_way, waiting, return_exceptions=True)
    book.free.set()
    assert 6 == await in_time
    assert [TimeoutError, TimeoutError] == [type(one) for one in late]
    assert {1, 3} == stored(path)


async def test_closing_does_what_is_queued(path: Path, book: Book):
    """And whoever waits gets an answer."""
    engine = engines.writing(engines.url_of(path))
    writer = Writer(engine, book)
    tasks = await queued(writer, 1, 2, 3)
    await asyncio.to_thread(writer.close)
    assert [2, 4, 6] == await asyncio.gather(*tasks)
    engine.dispose()


async def test_a_full_queue_refuses_at_once(
    writer: Writer[int, int], book: Book, monkeypatch: pytest.MonkeyPatch
):
    """A database that stands is told in a moment, not after a long wait."""
    monkeypatch.setattr(writer_module, "QUEUE_MAX", 2)
    first = await held_up(writer, book)
    waiting = await queued(writer, 1, 2)
    with pytest.raises(LoyaltyError) as refused:
        await writer.command(3)
    assert ("database_busy", True) == (refused.value.code, refused.value.retryable)
    book.free.set()
    await asyncio.gather(first, *waiting)


async def test_the_age_of_the_queue_tells_a_database_that_stands(writer: Writer[int, int], book: Book):
    """From the oldest job's arrival, also while it is being done; zero when nothing waits."""
    assert 0.0 == writer.age_s()
    first = await held_up(writer, book)
    before = time.monotonic()
    await asyncio.sleep(0.05)
    assert writer.age_s() >= time.monotonic() - before
    book.free.set()
    await first
    await writer.work(lambda _connection: None)
    assert writer.age_s() < 0.05


async def test_callers_of_several_event_loops_are_each_woken_in_their_own(writer: Writer[int, int]):
    """A command line's loop and the app's may share a writer."""
    answers = await asyncio.gather(
        asyncio.to_thread(lambda: asyncio.run(writer.command(1))), writer.command(2), writer.command(3)
    )
    assert [2, 4, 6] == answers
