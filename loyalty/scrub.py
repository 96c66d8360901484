"""What was deleted is also gone from where the database keeps older copies.

SQLite: pages are overwritten as rows are deleted (`secure_delete`, engines.py); what is left are older
versions of the pages in the write-ahead log, which a TRUNCATE checkpoint empties. PostgreSQL: dead versions
of rows stay in the tables until VACUUM; its write-ahead log and archives have retention times of their own.
"""

import sqlite3
from contextlib import closing

from sqlalchemy import URL, create_engine

LOCK_WAIT_S = 2.0
"""For readers and writers to let go; they need milliseconds."""
PERSONAL = "member, data_key, card, member_account, member_change, delivery"
"""Tables from which an erasure deletes."""


def scrub(url: URL, *, whole: bool = False) -> bool:
    """True when no older copy of a deleted row is left; False when somebody was reading just then.

    `whole`: rewrites the SQLite file from its rows (VACUUM), which needs as much space again and keeps every
    writer waiting: for the quiet hours.
    """
    if url.get_backend_name() == "sqlite":
        return _scrub_file(str(url.database), whole=whole)
    engine = create_engine(url, hide_parameters=True, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"VACUUM {PERSONAL}")
    finally:
        engine.dispose()
    return True


def _scrub_file(path: str, *, whole: bool) -> bool:
    with closing(sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)) as database:
        try:
            if whole:
                database.execute("VACUUM")
            busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:  # locked
            return False
    return not busy
