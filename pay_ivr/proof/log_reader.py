"""When something happened, by the node's own audit log; read only, as an operator may read it."""

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

POLL_S = 0.1
WRITTEN_S = 10.0
"""An entry waits with its owner until the log's writer has taken it."""
CUT_S = 0.001
"""Times in the log are cut to whole milliseconds."""


async def time_in_log(audit_db: Path, name: str, subject: str) -> float:
    """Monotonic seconds of the entry with that name and subject; TimeoutError when it does not come."""
    offset = time.time() - time.monotonic()
    async with asyncio.timeout(WRITTEN_S):
        while (at := await asyncio.to_thread(_written, audit_db, name, subject)) is None:
            await asyncio.sleep(POLL_S)
    return at - CUT_S - offset


def _written(audit_db: Path, name: str, subject: str) -> float | None:
    """Seconds of the epoch; the newest entry if there are several."""
    with closing(sqlite3.connect(f"file:{audit_db}?mode=ro", uri=True, timeout=5)) as log:
        for (leaf,) in log.execute("SELECT leaf FROM entries ORDER BY idx DESC"):
            entry = json.loads(leaf)
            if (entry["name"], entry["subject"]) == (name, subject):
                return datetime.fromisoformat(entry["at"]).timestamp()
    return None
