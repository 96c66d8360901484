"""An open database, and a house with members and points, each on both engines."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loyalty.database import Database
from loyalty.ledger import ledger
from loyalty.redemption import in_time
from tests.support.loyalty import House, open_house

PATIENCE_S = 60.0
"""The product gives a caller 5 s; fifty commits at once take longer on a machine that has more to do."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is late because the machine is busy; a test of lateness sets its own limit."""
    monkeypatch.setattr(in_time, "LEDGER_DEADLINE_S", PATIENCE_S)
    monkeypatch.setattr(ledger, "LEDGER_DEADLINE_S", PATIENCE_S)
    monkeypatch.setattr(ledger, "QUEUE_AGE_REFUSE_S", PATIENCE_S)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty loyalty database is, on each engine."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return str(tmp_path / "loyalty.db")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open, empty loyalty database."""
    opened = Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database without rows; migrating it anew would take most of a test's time."""
    path = tmp_path_factory.mktemp("loyalty") / "loyalty.db"
    asyncio.run(Database.open(path).close())
    return path


@pytest.fixture
async def house(short_dir: Path, empty_file: Path) -> AsyncIterator[House]:
    """On SQLite."""
    shutil.copy(empty_file, short_dir / "loyalty.db")
    opened = open_house(short_dir, short_dir / "loyalty.db")
    yield opened
    await opened.database.close()


@pytest.fixture
async def postgres_house(short_dir: Path, postgres_url: str) -> AsyncIterator[House]:
    """On PostgreSQL."""
    opened = open_house(short_dir, postgres_url)
    yield opened
    await opened.database.close()


@pytest.fixture(params=["house", "postgres_house"])
def each_house(request: pytest.FixtureRequest) -> House:
    """On SQLite, then on PostgreSQL."""
    found: House = request.getfixturevalue(request.param)
    return found
