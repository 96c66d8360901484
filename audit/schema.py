"""The version of an owner's database file, and the way of an older file to the present version.

A file carries its version in `PRAGMA user_version`; version n is what migration n leaves. Migrations are
plain SQL, run in one transaction each before the owner's engine opens the file: all of one is done, or
nothing of it. They are never changed once released. Tables that an older file lacks altogether are made by
`create_tables` and need no migration. A file of a newer release is refused, because what wrote it knew more.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

BUSY_S = 5.0
"""How long another process that reads the file, e.g. a backup, may keep it."""


@dataclass(frozen=True)
class Migration:
    """One step from a version to the next."""

    statements: tuple[str, ...]
    in_place: str
    """Finds a row in a file that has this already, written by a build from before files had versions."""


class SchemaError(Exception):
    """A file that this release cannot use; the sentence names it."""

    code = "schema_refused"
    retryable = False

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def bring_forward(path: Path, migrations: Sequence[Migration]) -> None:
    """The file at the version of the last migration; a missing one is made, empty but for its version."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    # Foreign keys are off on this connection: a table can only be rebuilt so (sqlite.org/lang_altertable §7).
    with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as database:
        for number in range(_version(database, path, migrations) + 1, len(migrations) + 1):
            _migrate(database, path, number, migrations[number - 1])


def _version(database: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> int:
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        empty = database.execute("SELECT 1 FROM sqlite_master").fetchone() is None
    except sqlite3.DatabaseError:
        raise SchemaError(f"{path.name} is no database, or is in use. Restore it from a copy.") from None
    if version > len(migrations):
        raise SchemaError(f"{path.name} was written by a newer release. Install that release again.")
    if empty:
        database.execute(f"PRAGMA user_version = {len(migrations)}")
        return len(migrations)
    return int(version)


def _migrate(database: sqlite3.Connection, path: Path, number: int, migration: Migration) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        if database.execute(migration.in_place).fetchone() is None:
            for statement in migration.statements:
                database.execute(statement)
        sound = database.execute("PRAGMA foreign_key_check").fetchone() is None
        database.execute(f"PRAGMA user_version = {number}")
        database.execute("COMMIT" if sound else "ROLLBACK")
    except sqlite3.DatabaseError as error:
        database.execute("ROLLBACK")
        kind = type(error).__name__
        raise SchemaError(f"{path.name} could not be brought forward: {kind}. It is unchanged.") from None
    if not sound:
        raise SchemaError(f"{path.name} has rows that refer to missing ones. Restore it from a copy.")
