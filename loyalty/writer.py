"""The one thread that writes the loyalty database: a queue in, futures out (decision 0014).

Two kinds of jobs. *Commands* of the ledger go in groups, up to `GROUP_MAX` in one database transaction; the
group is whatever waits when the last one has been committed, nobody waits for company. *Works* are functions
that get a database transaction of their own. Callers are woken only after the commit.

A group shares its fate with the database: when it raises, its commands run again one by one, so that one bad
command cannot sink its neighbours. That is safe because a command carries its idempotency key. A work that
raises is rolled back and told to its caller, never repeated.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError

from loyalty.errors import LoyaltyError

GROUP_MAX = 64
"""Commands of one database transaction: twice as many gained nothing more and doubled the wait."""
BULK_MAX = 8
"""Of them, commands of an import: what calls wait for in the worst case is one group with these in it."""
WORKS_MAX = 4
"""Works between two groups: each has a commit of its own, and callers of the ledger wait behind them."""
QUEUE_MAX = 10_000
"""Jobs that wait; more means that the database stands, and a quick refusal is better than a long line."""

C = TypeVar("C")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    """Something to be done, and who waits for it."""

    what: Any
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[Any]"
    since: float = field(default_factory=time.monotonic)


_Settled = tuple[_Job, Any, BaseException | None]


class Writer(Generic[C, R]):
    """Runs commands in groups and works one at a time, all in one thread."""

    def __init__(
        self,
        engine: Engine,
        book: Callable[[Connection, Sequence[C]], Sequence[R]],
        enter: Callable[[Connection], None] = lambda _connection: None,
    ) -> None:
        """`book` answers a group of commands in a transaction that `enter` has prepared."""
        self._engine = engine
        self._book = book
        self._enter = enter
        self._commands: deque[_Job] = deque()
        self._bulk: deque[_Job] = deque()
        self._works: deque[_Job] = deque()
        self._waiting = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._busy_since: float | None = None

    async def command(self, command: C, *, bulk: bool = False, within_s: float | None = None) -> R:
        """The answer to one command, committed. `bulk`: an import's, which lets those of calls go first.

        TimeoutError: none after `within_s`; what has not been begun by then is not begun any more.
        """
        answer: R = await self._enqueue(self._bulk if bulk else self._commands, command, within_s)
        return answer

    async def work(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, in a database transaction of its own that is committed by then."""
        result: T = await self._enqueue(self._works, work)
        return result

    def age_s(self) -> float:
        """For how long the longest waiting job has waited: what a watchdog looks at."""
        with self._waiting:
            oldest = [jobs[0].since for jobs in (self._commands, self._works) if jobs]
            oldest += [self._busy_since] if self._busy_since is not None else []
        return time.monotonic() - min(oldest) if oldest else 0.0

    def close(self) -> None:
        """Does what is queued, then ends the thread; called once, from any thread but its own."""
        with self._waiting:
            self._closing = True
            self._waiting.notify()
        if self._thread is not None:
            self._thread.join()

    async def _enqueue(self, queue: deque[_Job], what: object, within_s: float | None = None) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(what, loop, loop.create_future())
        with self._waiting:
            if self._closing:
                raise LoyaltyError("database_closed", "The node is stopping.", retryable=True)
            if len(self._commands) + len(self._bulk) + len(self._works) >= QUEUE_MAX:
                raise LoyaltyError("database_busy", "Too much is waiting to be written.", retryable=True)
            queue.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="loyalty-writer", daemon=True)
                self._thread.start()
            self._waiting.notify()
        if within_s is None:
            return await job.answer
        late = loop.call_later(within_s, _be_late, job.answer)  # all that asyncio.timeout is needed for here
        try:
            return await job.answer
        finally:
            late.cancel()

    def _run(self) -> None:
        while jobs := self._next():
            group, works = jobs
            if group:
                _wake(self._run_group(group))
            for job in works:
                _wake([self._run_work(job)])
            self._busy_since = None

    def _next(self) -> tuple[list[_Job], list[_Job]] | None:
        """What to do now, at least one job; None when all is done and the node is stopping."""
        with self._waiting:
            while True:
                group = _taken(self._commands, GROUP_MAX)
                group += _taken(self._bulk, min(BULK_MAX, GROUP_MAX - len(group)))
                works = _taken(self._works, WORKS_MAX)
                if group or works:
                    self._busy_since = min(job.since for job in (*group, *works))
                    return group, works
                if self._closing:
                    return None
                self._waiting.wait()

    def _run_group(self, group: list[_Job], *, again: bool = True) -> list[_Settled]:
        try:
            return self._commit_group(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, its caller gets it
            if again and _may_pass(error):
                return self._run_group(group, again=False)
            if len(group) == 1 or _is_away(error):
                return [(job, None, told(error)) for job in group]
        return [settled for job in group for settled in self._run_group([job])]

    def _commit_group(self, group: list[_Job]) -> list[_Settled]:
        with self._engine.begin() as connection:
            self._enter(connection)
            answers = self._book(connection, [job.what for job in group])
        return [(job, answer, None) for job, answer in zip(group, answers, strict=True)]

    def _run_work(self, job: _Job) -> _Settled:
        try:
            with self._engine.begin() as connection:
                result = job.what(connection)
        except Exception as error:  # noqa: BLE001 - its caller gets it
            return job, None, told(error)
        return job, result, None


def _taken(queue: deque[_Job], most: int) -> list[_Job]:
    """The next jobs, without those whose callers have gone: what nobody waits for is not begun."""
    taken: list[_Job] = []
    while queue and len(taken) < most:
        job = queue.popleft()
        if not job.answer.done():
            taken.append(job)
    return taken


def _be_late(answer: "asyncio.Future[Any]") -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _may_pass(error: Exception) -> bool:
    """True where the same group may go well at once: on a new connection, or beside another node's commit."""
    return _is_away(error) or (isinstance(error, LoyaltyError) and error.retryable)


def _is_away(error: Exception) -> bool:
    """True for a lost connection, a locked file, a server that stops: the same may go well a little later."""
    return isinstance(error, (OperationalError, InterfaceError))


def told(error: Exception) -> Exception:
    """The error as whoever asked sees it: nothing of the database's own text, which may quote rows."""
    if not isinstance(error, SQLAlchemyError):
        return error
    if _is_away(error):
        return LoyaltyError("database_away", "The database does not answer.", retryable=True)
    if isinstance(error, IntegrityError):
        return LoyaltyError("database_conflict", "A row of that name is there already, or one is missing.")
    return LoyaltyError("database_refused", f"The database refused it: {type(error).__name__}.")


def _wake(settled: Sequence[_Settled]) -> None:
    """One call into each event loop that has somebody waiting."""
    for loop in {job.loop for job, _, _ in settled}:
        own = [one for one in settled if one[0].loop is loop]
        with contextlib.suppress(RuntimeError):  # the loop has ended; nobody waits
            loop.call_soon_threadsafe(_settle, own)


def _settle(settled: Sequence[_Settled]) -> None:
    for job, result, error in settled:
        if job.answer.done():  # its caller has gone; what is booked stays booked
            continue
        if error is None:
            job.answer.set_result(result)
        else:
            job.answer.set_exception(error)
