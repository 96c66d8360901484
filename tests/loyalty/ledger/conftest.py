"""One database per engine for all tests of the ledger; each test has a tenant of its own in it."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from loyalty.database import Database
from tests.support.ledger_books import Books
from tests.support.postgres import TEMPLATE

_tenants = itertools.count(1)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the database is, on each engine."""
    if request.param == "sqlite":
        return str(tmp_path_factory.mktemp("ledger") / "loyalty.db")
    server = request.getfixturevalue("postgres_server")
    return server.url(server.new_database(TEMPLATE))


@pytest.fixture(scope="session")
def ledger_database(ledger_url: str) -> Iterator[Database]:
    opened = Database.open(ledger_url)
    yield opened
    asyncio.run(opened.close())


@pytest.fixture
def books(ledger_database: Database) -> Books:
    """Empty books of a tenant that nobody else has."""
    return Books(ledger_database, tenant=f"tenant{next(_tenants)}")
