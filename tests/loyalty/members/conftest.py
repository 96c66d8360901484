"""Members on a real database, for two tenants, with keys of their own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from loyalty.database import Database
from loyalty.keys import Keys
from loyalty.members import Members, Person
from loyalty.programme import Programme

PROGRAMMES = {
    "sunny": Programme(programme="miles", name="Sunny Miles"),
    "rainy": Programme(programme="miles", name="Rainy Miles"),
}


def person(**told: object) -> Person:
    """Somebody, with what a test wants to be different."""
    facts: dict[str, object] = {
        "number": "4711001",
        "given_name": "Anna Maria",
        "family_name": "Grünwaldt",
        "postcode": "80331",
        "house_number": "12a",
        "born": date(1980, 12, 31),
        "email": "anna.gruenwaldt@example.com",
        "phone": "+498912345678",
        "language": "de-DE",
    }
    return Person(**(facts | told))  # type: ignore[arg-type]


@dataclass
class House:
    """Where a test's members live."""

    members: Members
    data_dir: Path


@pytest.fixture
async def house(short_dir: Path) -> AsyncIterator[House]:
    """A fresh data directory with an empty database."""
    database = Database.open(short_dir / "loyalty.db")
    yield House(Members(database, Keys.open(short_dir, {}), PROGRAMMES), short_dir)
    await database.close()


@pytest.fixture
def members(house: House) -> Members:
    """The members of both tenants."""
    return house.members
