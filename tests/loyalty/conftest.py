"""Every test of the loyalty database runs on both engines."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loyalty.database import Database


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
