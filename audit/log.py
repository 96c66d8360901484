"""audit.db: the log itself. One writer gives every entry its index and fixes its bytes, once and for ever.

Canonical bytes of an entry: one JSON object, keys sorted at every level, no spaces, UTF-8, strings and
integers only; the index and the source's own number (`seq`) are part of it. What was not changed can be
shown byte by byte; a gap in `seq` is a row that an owner committed and the log never got. Rows can be
added, never changed or deleted: triggers refuse it. A row that comes twice (`source`, `key`) is written
once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    DDL,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.entries import Entry, EntryError, entry_from_json, stamp
from audit.outbox import open_database

LEAF_VERSION = 1
"""Of the canonical bytes; a later shape gets another number and the old entries keep theirs."""
SOURCE_SELF = "audit"
"""The source of the log's own entries."""

METADATA = MetaData()
ENTRIES = Table(
    "entries",
    METADATA,
    Column("idx", Integer, primary_key=True, autoincrement=False),
    Column("source", String(32), nullable=False),
    Column("key", String(64), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("name", String(64), nullable=False, index=True),
    Column("leaf", LargeBinary, nullable=False),
    UniqueConstraint("source", "key"),
)
for _verb in ("UPDATE", "DELETE"):
    event.listen(
        ENTRIES,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER no_{_verb.lower()} BEFORE {_verb} ON entries "
            "BEGIN SELECT RAISE(ABORT, 'the log is only added to'); END"
        ).execute_if(dialect="sqlite"),
    )


@dataclass(frozen=True)
class Arrival:
    """One row of an owner's outbox, as it was fetched."""

    seq: int
    key: str
    body: str


def canonical(index: int, node: str, source: str, arrival: Arrival, entry: Entry) -> bytes:
    """The bytes of one entry in the log."""
    leaf = {
        **entry.as_json(),
        "v": LEAF_VERSION,
        "idx": index,
        "node": node,
        "source": source,
        "seq": arrival.seq,
        "key": arrival.key,
    }
    return json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Log:
    """The log of one node, opened by its only writer."""

    def __init__(self, engine: AsyncEngine, node: str) -> None:
        self._engine = engine
        self._node = node

    @classmethod
    async def open(cls, path: Path, node: str) -> "Log":
        """The log in `path`, made if it is missing."""
        engine = open_database(path)
        async with engine.begin() as conn:
            await conn.run_sync(METADATA.create_all)
        return cls(engine, node)

    async def close(self) -> None:
        """Gives back the connection."""
        await self._engine.dispose()

    async def size(self) -> int:
        """How many entries there are; the next one gets this index."""
        async with self._engine.connect() as conn:
            return await _size(conn)

    async def append(self, source: str, arrivals: Sequence[Arrival]) -> int:
        """Writes the rows that are new, in their order, in one commit; returns how many were."""
        async with self._engine.begin() as conn:
            known = await _known(conn, source, [arrival.key for arrival in arrivals])
            fresh = [arrival for arrival in arrivals if arrival.key not in known]
            first = await _size(conn)
            rows = [self._row(first + place, source, arrival) for place, arrival in enumerate(fresh)]
            if rows:
                await conn.execute(insert(ENTRIES), rows)
        return len(rows)

    async def write_own(self, name: str, key: str, **data: int | str) -> None:
        """Writes an entry of the log about itself."""
        async with self._engine.begin() as conn:
            size = await _size(conn)
            entry = Entry(name, stamp(), "system:audit", self._node, data={**data, "size": size})
            arrival = Arrival(0, key, json.dumps(entry.as_json()))
            await conn.execute(insert(ENTRIES), [self._row(size, SOURCE_SELF, arrival)])

    def _row(self, index: int, source: str, arrival: Arrival) -> Mapping[str, Any]:
        entry = _entry(source, arrival)
        return {
            "idx": index,
            "source": source,
            "key": arrival.key,
            "seq": arrival.seq,
            "name": entry.name,
            "leaf": canonical(index, self._node, source, arrival, entry),
        }


def _entry(source: str, arrival: Arrival) -> Entry:
    """The entry of a row; in place of one that the catalogue refuses, an entry that says so."""
    try:
        return entry_from_json(json.loads(arrival.body))
    except (EntryError, ValueError, RecursionError):
        data: dict[str, int | str] = {"source": source, "seq": arrival.seq}
        return Entry("log.entry.refused", stamp(), "system:audit", source, outcome="refused", data=data)


async def _size(conn: AsyncConnection) -> int:
    highest = (await conn.execute(select(func.max(ENTRIES.c.idx)))).scalar_one()
    return 0 if highest is None else int(highest) + 1


async def _known(conn: AsyncConnection, source: str, keys: list[str]) -> set[str]:
    wanted = select(ENTRIES.c.key).where(ENTRIES.c.source == source, ENTRIES.c.key.in_(keys))
    return set((await conn.execute(wanted)).scalars())
