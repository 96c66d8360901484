"""A command on its way into the books, and what became of it."""

from datetime import date
from typing import NamedTuple

from loyalty.ledger.book import Change
from loyalty.ledger.commands import Command, Done


class Order(NamedTuple):
    """A command on its way into the books."""

    command: Command
    journal: str
    """The id under which it will be booked."""
    digest: str
    actor: str
    call_id: str
    reason: str
    at: str
    """When it was asked: UTC, ISO 8601 with milliseconds."""
    today: date
    """The same by the tenant's clock."""
    effective_on: date
    """The day that the member is told."""

    @property
    def name(self) -> tuple[str, str]:
        """Tenant and key, under which it is unique."""
        return self.command.key.tenant, self.command.key.idem

    @property
    def books(self) -> tuple[str, str]:
        """Tenant and programme, whose books it is for."""
        return self.command.key.tenant, self.command.key.programme


class Booked(NamedTuple):
    """An order that was decided and not refused."""

    order: Order
    change: Change
    answer: Done
