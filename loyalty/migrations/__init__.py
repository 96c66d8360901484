"""The way of an older loyalty database to the present one, and back: alembic, for SQLite and PostgreSQL.

Revisions are numbered files in `versions/`, never changed once released. Nodes may start at the same moment:
on PostgreSQL one waits for the other on a session lock of a connection of its own, on SQLite on the write
lock of the file. All steps of an upgrade are one database transaction on both engines: done whole, or not.

A step that makes a table anew (SQLite cannot change a constraint) drops that table's triggers with it and
must make them again, by `loyalty.guards.triggers` or in the words that SQLite keeps of them; a node looks at
each start whether they are there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Engine, create_engine, inspect, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from loyalty import engines, roles
from loyalty.errors import LoyaltyError

FOLDER = Path(__file__).parent
HEAD = "0004"
"""The revision that this release works with."""
LOCK = 0x70617969
"""Number of the session lock on PostgreSQL ("payi")."""


def bring_forward(url: URL, revision: str = HEAD) -> None:
    """The database at `revision`, if it was older; LoyaltyError when it is a newer release's, or refuses."""
    engine = engines.migrating(url)
    try:
        if _revision(engine) != revision:
            with _alone(url):
                _move(engine, revision)
    except SQLAlchemyError as error:
        raise _refused(error) from None
    finally:
        engine.dispose()


def take_back(url: URL, revision: str) -> None:
    """The database at an older revision; `base` takes the tables away, if nothing was ever booked."""
    engine = engines.migrating(url)
    try:
        with _alone(url):
            _move(engine, revision, back=True)
    except SQLAlchemyError as error:
        raise _refused(error) from None
    finally:
        engine.dispose()


def _revision(engine: Engine) -> str | None:
    """What the database says of itself; None when it is empty."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and not list((FOLDER / "versions").glob(f"{revision}_*.py")):
        raise LoyaltyError(
            "database_newer", "A newer release wrote the database. Install that release again."
        )
    return revision


def _move(engine: Engine, revision: str, *, back: bool = False) -> None:
    from alembic import command  # two seconds of imports that a database of today does not need
    from alembic.config import Config

    with engine.begin() as connection:
        roles.begin_writing(connection)  # a node that still runs books nothing meanwhile
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
        (command.downgrade if back else command.upgrade)(config, revision)
        if (
            connection.dialect.name == "sqlite"
            and connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        ):
            raise LoyaltyError("database_unsound", "Rows refer to missing ones. Restore the database.")


@contextmanager
def _alone(url: URL) -> Iterator[None]:
    """While this block runs no other node migrates. On SQLite the transaction itself is the lock."""
    if url.drivername != engines.POSTGRES:
        yield
        return
    lock = create_engine(url, isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        with lock.connect() as connection:
            connection.execute(text(f"SET lock_timeout = '{engines.MIGRATION_WAIT_S}s'"))
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
            roles.ensure(connection)
            yield
    finally:
        lock.dispose()


def _refused(error: SQLAlchemyError) -> LoyaltyError:
    if isinstance(error, OperationalError):
        sentence = "The loyalty database does not answer, or refuses the login."
        return LoyaltyError("database_away", sentence, retryable=True)
    kind = type(error).__name__
    return LoyaltyError("database_unusable", f"The loyalty database cannot be used: {kind}.")
