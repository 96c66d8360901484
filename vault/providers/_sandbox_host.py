"""The sandbox's host: decides like a bank, keeps its own books, and fails in all the ways a network can.

The books are a file of their own with their own commits, as a provider's are. One attempt key is executed
once: the answer is stored in the transaction of the execution and given again. Every execution is a row of
its own, so that a double one cannot hide behind a key (`times_charged`).

The last two digits of the amount choose what goes wrong, on the first attempt of a payment only:

| amount ends in | what happens |
|---|---|
| 71 | executed at once, answered after 3 s |
| 72 | executed, the answer is lost; `fetch` finds it |
| 73 | executed, the answer is lost; `fetch` finds it after 5 s |
| 74 | lost before it is executed; `fetch` says so |
| 75 | never sent: the connection was refused |
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from vault.providers._sandbox_cards import APPROVED, CANARY
from vault.providers.base import NEVER_SENT, UNKNOWN, AttemptRequest, Order, Outcome, OutcomeKind

SLOW_ANSWER_S = 3.0
"""Amounts ending in 71: long enough to see `authorising` and to kill something meanwhile."""
LATE_RESULT_S = 5.0
"""Amounts ending in 73: later than the second fetch of the broker."""
SLOW, ANSWER_LOST, RESULT_LATE, REQUEST_LOST, REFUSED = 71, 72, 73, 74, 75
PASSES_LATER = frozenset({"expired_card", "incorrect_cvc", "processing_error"})
"""Declined on the first attempt only: what a caller can put right by keying again."""
FENCED = "fenced"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    provider_ref TEXT PRIMARY KEY, payment_id TEXT NOT NULL UNIQUE,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    attempt_key TEXT PRIMARY KEY, provider_ref TEXT NOT NULL, kind TEXT NOT NULL, raw_code TEXT NOT NULL,
    visible_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS executions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, provider_ref TEXT NOT NULL, attempt_key TEXT NOT NULL,
    kind TEXT NOT NULL);
"""
Result = TypeVar("Result")


class SandboxHost:
    """The provider's side of the sandbox; its books are one SQLite file used by one thread."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-books")
        self._books = self._thread.submit(_open, path).result()

    async def close(self) -> None:
        """Closes the books."""
        await self._on_books(self._books.close)
        self._thread.shutdown()

    async def prepare(self, order: Order) -> str:
        """The reference of the payment; the same payment id gives the same one."""
        return await self._on_books(lambda: _order(self._books, order))

    async def authorise(self, request: AttemptRequest, label: str) -> Outcome:
        """One attempt with the card behind `label`, with the troubles that the amount asks for."""
        trouble = request.amount_minor % 100 if request.attempt == 1 else 0
        if trouble == REFUSED:
            return NEVER_SENT
        if trouble == REQUEST_LOST:
            return UNKNOWN
        visible_at = time.time() + (LATE_RESULT_S if trouble == RESULT_LATE else 0.0)
        outcome = decided(label, request.attempt)
        outcome = await self._on_books(lambda: _execute(self._books, request, outcome, visible_at))
        if trouble == SLOW:
            await asyncio.sleep(SLOW_ANSWER_S)
        return UNKNOWN if trouble in {ANSWER_LOST, RESULT_LATE} else outcome

    async def fetch(self, attempt_key: str) -> Outcome:
        """What the books say about an attempt; NEVER_SENT when they have none."""
        return await self._on_books(lambda: _answer(self._books, attempt_key)) or NEVER_SENT

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        """Writes a refusal under the key, unless there is an answer already, which is then given."""
        return await self._on_books(lambda: _fence(self._books, provider_ref, attempt_key))

    async def times_charged(self, provider_ref: str) -> int:
        """How often money moved for a payment: 0 or 1, or the design is broken."""
        return await self._on_books(lambda: _times_charged(self._books, provider_ref))

    async def _on_books(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def decided(label: str, attempt: int) -> Outcome:
    """What the bank says to a card on try number `attempt`."""
    if label in {APPROVED, CANARY} or (label in PASSES_LATER and attempt > 1):
        return Outcome(OutcomeKind.AUTHORISED)
    if label == "authentication_required":
        return Outcome(OutcomeKind.REQUIRES_ACTION, label)
    advice = "try_again_later" if label == "processing_error" else ""
    return Outcome(OutcomeKind.DECLINED, label, advice)


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    books = sqlite3.connect(path, isolation_level=None)
    books.execute("PRAGMA journal_mode=WAL")
    books.execute("PRAGMA synchronous=FULL")
    books.executescript(_SCHEMA)
    return books


def _order(books: sqlite3.Connection, order: Order) -> str:
    provider_ref = f"sbx_ref_{order.payment_id}"
    values = (provider_ref, order.payment_id, order.amount_minor, order.currency)
    books.execute("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?)", values)
    return provider_ref


def _execute(
    books: sqlite3.Connection, request: AttemptRequest, outcome: Outcome, visible_at: float
) -> Outcome:
    with _Transaction(books):
        if (known := _stored(books, request.attempt_key)) is not None:
            return known
        reference, key, kind = request.provider_ref, request.attempt_key, outcome.kind.value
        books.execute("INSERT INTO executions VALUES (NULL, ?, ?, ?)", (reference, key, kind))
        answer = (key, reference, kind, outcome.raw_code, visible_at)
        books.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", answer)
    return outcome


def _stored(books: sqlite3.Connection, attempt_key: str) -> Outcome | None:
    wanted = "SELECT kind, raw_code FROM answers WHERE attempt_key = ?"
    found = books.execute(wanted, (attempt_key,)).fetchone()
    return None if found is None else Outcome(OutcomeKind(found[0]), found[1])


def _answer(books: sqlite3.Connection, attempt_key: str) -> Outcome | None:
    wanted = "SELECT visible_at FROM answers WHERE attempt_key = ?"
    found = books.execute(wanted, (attempt_key,)).fetchone()
    if found is not None and found[0] > time.time():
        return UNKNOWN
    return _stored(books, attempt_key)


def _fence(books: sqlite3.Connection, provider_ref: str, attempt_key: str) -> Outcome:
    with _Transaction(books):
        if (known := _stored(books, attempt_key)) is not None:
            return known
        answer = (attempt_key, provider_ref, OutcomeKind.NEVER_SENT.value, FENCED, time.time())
        books.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", answer)
    return Outcome(OutcomeKind.NEVER_SENT, FENCED)


def _times_charged(books: sqlite3.Connection, provider_ref: str) -> int:
    wanted = "SELECT count(*) FROM executions WHERE provider_ref = ? AND kind = 'authorised'"
    return int(books.execute(wanted, (provider_ref,)).fetchone()[0])


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK."""

    def __init__(self, books: sqlite3.Connection) -> None:
        self._books = books

    def __enter__(self) -> None:
        self._books.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._books.execute("COMMIT" if kind is None else "ROLLBACK")
