"""What every part of the member administration stands on: database, keys, programmes, clock."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from audit.outbox import Entry, stamp
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.members.register import Register
from loyalty.programme import Programme
from loyalty.tenancy import TenantConn
from pay_ivr.channels import Medium

T = TypeVar("T")
Clock = Callable[[], datetime]
Media = Callable[[str], Collection[Medium]]
"""What a tenant can send by."""


class Pins(Protocol):
    """What the vault is asked about members' PINs; `vault.Door` is one."""

    async def forget_pin(self, tenant: str, member_id: str) -> None:
        """Nothing is stored of the member's PIN any more."""


def utc() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def no_media(_tenant: str) -> tuple[()]:
    """Nothing: who has no channels files no letters."""
    return ()


class Office:
    """Gives a `Register` its database transactions, and notes in the log what was done with it."""

    def __init__(
        self,
        database: Database,
        keys: Keys,
        programmes: Mapping[str, Programme],
        clock: Clock = utc,
        media: Media = no_media,
    ) -> None:
        self.database = database
        self.keys = keys
        self.programmes = programmes
        self.clock = clock
        self.media = media
        self.filed: Callable[[], None] = lambda: None
        """Called when a message to a member was committed: whoever sends them looks at once."""
        self._proven: set[str] = set()
        """Tenants of whom our keys have opened something: this is the database that they belong to."""

    def programme(self, tenant: str) -> Programme:
        """The tenant's programme; LoyaltyError("no_programme")."""
        programme = self.programmes.get(tenant)
        if programme is None:
            raise LoyaltyError("no_programme", "This tenant has no loyalty programme.")
        return programme

    def register(self, conn: TenantConn) -> Register:
        """The register in a database transaction; LoyaltyError: no_programme, key_other, key_missing."""
        register = Register(conn, self.keys.ring(), self.programme(conn.tenant))
        if conn.tenant not in self._proven and register.proves_keys():
            self._proven.add(conn.tenant)
        return register

    async def read(self, tenant: str, work: Callable[[Register], T]) -> T:
        """What `work` reads of the register."""
        return await self.database.read(tenant, lambda conn: work(self.register(conn)))

    async def write(self, tenant: str, work: Callable[[Register], T]) -> T:
        """What `work` does with the register, committed."""
        return await self.database.write(tenant, lambda conn: work(self.register(conn)))

    def now(self) -> str:
        """The moment, as the database keeps it."""
        return stamp(self.clock())

    def note(
        self,
        register: Register,
        name: str,
        member_id: str,
        by: str,
        *,
        call_id: str = "",
        data: Mapping[str, int | str] | None = None,
    ) -> None:
        """An audit entry in the database transaction of `register`."""
        entry = Entry(name, self.now(), by, member_id, register.tenant, call_id=call_id, data=data or {})
        register.conn.audit(entry)
