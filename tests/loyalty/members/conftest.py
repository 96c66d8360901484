"""Members on a real database, for two tenants, with keys of their own."""

import asyncio
import shutil
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


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database without rows: migrating it anew for each test would take most of its time."""
    path = tmp_path_factory.mktemp("loyalty") / "loyalty.db"
    asyncio.run(Database.open(path).close())
    return path


@pytest.fixture
async def house(short_dir: Path, empty_database: Path) -> AsyncIterator[House]:
    """A fresh data directory with an empty database."""
    shutil.copy(empty_database, short_dir / "loyalty.db")
    database = Database.open(short_dir / "loyalty.db")
    yield House(Members(database, Keys.open(short_dir, {}), PROGRAMMES), short_dir)
    await database.close()


@pytest.fixture
def members(house: House) -> Members:
    """The members of both tenants."""
    return house.members
