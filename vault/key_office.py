"""The office that changes keys while calls go on: list, rotate, retire, each on record.

| act | `vault-hmac` | `pin-seal` | a provider's secret |
|---|---|---|---|
| rotate | a new random version; older ones go on recognising | a new key | the operator's `keys/NAME.next` |
| retire | only when no row refers to that version any more | pages loaded before it ask again | as he likes |

The newest version of a name cannot be retired. A table remembers which versions this node has seen, so that
a key that somebody put there, took away or brought back by hand is on record too (PCI DSS 10.2.1.5). Who asks
is told names, versions and check values, never a byte.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy import CheckConstraint, Column, Integer, String, Table, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.outbox import Entry, add, stamp
from vault.door import KeyLine, Refused, VaultError
from vault.fingerprint import VERSIONS_MAX
from vault.keys import HMAC_BYTES, HMAC_NAME, SEAL_NAME, VERSION_MAX, Keys, Secret
from vault.pin_seal import make_key
from vault.store import METADATA, Store

BROKER = "system:broker"
REASON_MAX = 40
"""Characters of a refusal's code in the log."""

_HELD, _RETIRED, _LOST = "held", "retired", "lost"
VERSIONS = Table(
    "key_versions",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("state", String(8), nullable=False),
    Column("since", String(24), nullable=False),
    CheckConstraint("state IN ('held', 'retired', 'lost')", name="state_is_known"),
)


class KeyOffice:
    """The one place that changes keys; one act at a time."""

    def __init__(
        self,
        keys: Keys,
        store: Store,
        in_use: Callable[[], Awaitable[Mapping[int, int]]],
        on_changed: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        """`in_use`: version of `vault-hmac` -> rows that refer to it.

        `on_changed` is told the name of a provider whose secret has another newest version.
        """
        self._keys = keys
        self._store = store
        self._in_use = in_use
        self._on_changed = on_changed
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Puts on record what has changed without this office since the last start."""
        held = {(name, version) for name, some in self._keys.versions().items() for version in some}
        async with self._store.changing() as change:
            known = await _known(change.conn)
            believed = {key for key, (state, _since) in known.items() if state == _HELD}
            for name, version in sorted(held - believed):
                made = name == HMAC_NAME and not known
                await _record(change.conn, name, version, _HELD)
                await add(change.conn, _entry("key.vault.made" if made else "key.vault.found", name, version))
            for name, version in sorted(believed - held):
                await _record(change.conn, name, version, _LOST)
                await add(change.conn, _entry("key.vault.lost", name, version, outcome="failed"))

    async def list(self) -> tuple[KeyLine, ...]:
        """Every version that is valid now, by name, oldest first."""
        uses = await self._in_use()
        async with self._store.engine.connect() as conn:
            known = await _known(conn)
        return tuple(
            KeyLine(
                name=name,
                version=version,
                newest=version == versions[-1],
                since=known.get((name, version), ("", ""))[1],
                check=self._keys.check_value(name, version),
                uses=uses.get(version, 0) if name == HMAC_NAME else 0,
            )
            for name, versions in sorted(self._keys.versions().items())
            for version in versions
        )

    async def rotate(self, name: str, by: str) -> int:
        """The new version's number; calls go on, and older versions stay valid until they are retired.

        `by`: the actor of the entry. `Refused` or `KeyFault` say why not, and are on record as well.
        """
        async with self._lock:
            return await self._recorded(name, by, self._rotate(name, by))

    async def make_seal(self) -> None:
        """The first key for sealed PINs, on record; nothing happens when there is one."""
        async with self._lock:
            if SEAL_NAME not in self._keys.versions():
                self._keys.place.store(SEAL_NAME, 1, Secret(await asyncio.to_thread(make_key)))
                await self._commit("key.vault.made", SEAL_NAME, 1, _HELD, BROKER)
                self._keys.load()

    async def retire(self, name: str, version: int, by: str) -> int:
        """That version is wiped and valid no more; returns its number. Errors as for `rotate`."""
        async with self._lock:
            return await self._recorded(name, by, self._retire(name, version, by))

    async def _recorded(self, name: str, by: str, act: Awaitable[int]) -> int:
        try:
            return await act
        except VaultError as error:
            known = name if name in self._keys.versions() else "unknown"
            data = {"reason": error.code[:REASON_MAX]}
            entry = Entry("key.vault.refused", stamp(), by, known, outcome="refused", data=data)
            async with self._store.changing() as change:
                await add(change.conn, entry)
            raise

    async def _rotate(self, name: str, by: str) -> int:
        self._keys.load()  # what lies there is sound before anything is added
        versions = self._keys.versions().get(name, ())
        if len(versions) >= VERSIONS_MAX:
            raise Refused("key_versions_used", "Too many versions are valid. Retire an old one first.")
        version = versions[-1] + 1 if versions else 1
        if version > VERSION_MAX:
            raise Refused("key_versions_used", "The versions of this key are used up. Give it another name.")
        if name == HMAC_NAME:
            self._keys.place.store(name, version, Secret(secrets.token_bytes(HMAC_BYTES)))
        elif name == SEAL_NAME:
            self._keys.place.store(name, version, Secret(await asyncio.to_thread(make_key)))
        else:
            self._keys.place.take_next(name, version)
        await self._commit("key.vault.rotated", name, version, _HELD, by)
        self._keys.load()
        if name not in {HMAC_NAME, SEAL_NAME} and self._on_changed is not None:
            await self._on_changed(name.partition(".")[0])
        return version

    async def _retire(self, name: str, version: int, by: str) -> int:
        versions = self._keys.versions().get(name, ())
        if version not in versions:
            raise Refused("key_unknown", "No such version is valid. List the keys.")
        if version == versions[-1]:
            raise Refused("key_newest", "This is the newest version. Rotate first.")
        if name == HMAC_NAME and (rows := (await self._in_use()).get(version, 0)):
            raise Refused(
                "key_in_use", f"{rows} rows still refer to this version. They age; try again later."
            )
        await self._commit("key.vault.retired", name, version, _RETIRED, by)
        self._keys.place.remove(name, version)
        self._keys.load()
        return version

    async def _commit(self, entry: str, name: str, version: int, state: str, by: str) -> None:
        async with self._store.changing() as change:
            await _record(change.conn, name, version, state)
            await add(change.conn, _entry(entry, name, version, by))


async def _known(conn: AsyncConnection) -> dict[tuple[str, int], tuple[str, str]]:
    """(name, version) -> its state and since when."""
    return {
        (row.name, row.version): (row.state, row.since)
        for row in (await conn.execute(select(VERSIONS))).all()
    }


async def _record(conn: AsyncConnection, name: str, version: int, state: str) -> None:
    same = (VERSIONS.c.name == name) & (VERSIONS.c.version == version)
    await conn.execute(delete(VERSIONS).where(same))
    await conn.execute(insert(VERSIONS).values(name=name, version=version, state=state, since=stamp()))


def _entry(entry: str, name: str, version: int, by: str = BROKER, outcome: str = "ok") -> Entry:
    return Entry(entry, stamp(), by, name, outcome=outcome, data={"version": version})
