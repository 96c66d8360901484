"""A real PostgreSQL for tests: one throw-away server per worker, a fresh database per test."""

from collections.abc import Iterator

import pytest

from loyalty import engines, migrations
from pay_ivr.proof.postgres import PostgresServer, own_server

TEMPLATE = "loyalty_template"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server without fsync that holds a template of today's loyalty database."""
    with own_server(durable=False) as server:
        server.sql(f"CREATE DATABASE {TEMPLATE} OWNER payivr TEMPLATE template0")
        migrations.bring_forward(engines.url_of(server.url(TEMPLATE)))
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database with today's tables and no rows; removed after the test."""
    name = postgres_server.new_database(TEMPLATE)
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database without any table."""
    name = postgres_server.new_database()
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")
