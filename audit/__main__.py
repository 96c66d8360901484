"""The audit process: `python -m audit --data-dir D --run-dir R --source vault=D/outbox-vault.sock ...`.

The only writer of the log. It starts and stops with an entry of its own; between two starts without a stop
the process was killed. It is ready when `audit.sock` accepts.
"""

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import re
import resource
import secrets
import signal
import sys
from pathlib import Path

from audit.log import SOURCE_SELF, Log
from audit.writer import Bell, Source

PR_SET_PDEATHSIG = 1
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: a supervisor need not try again."""

log = logging.getLogger("audit")


def _source(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not re.fullmatch(r"[a-z][a-z_]{0,31}", name) or name == SOURCE_SELF or not path:
        raise argparse.ArgumentTypeError("say name=socket, with a name in lower-case letters")
    return name, Path(path)


async def run(options: argparse.Namespace) -> None:
    """Writes the log until SIGTERM or SIGINT; an error of the log itself ends it."""
    written = await Log.open(options.data_dir / "audit.db", options.node)
    await written.write_own("log.writer.started", secrets.token_hex(16))
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    sources = [Source(name, path, written) for name, path in options.source]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(source.follow()) for source in sources]
            tasks.append(group.create_task(Bell(options.run_dir / "audit.sock", written).serve()))
            log.info("log.writer.started")
            await stopping.wait()
            for task in tasks:
                task.cancel()
    finally:
        with contextlib.suppress(Exception):  # a full disk ends the process; it cannot be told to the disk
            await written.write_own("log.writer.stopped", secrets.token_hex(16))
        await written.close()
    log.info("log.writer.stopped")


def main(arguments: list[str] | None = None) -> int:
    """The process; 0 after a clean stop."""
    parser = argparse.ArgumentParser(prog="audit", description="Writes the log of one node.")
    parser.add_argument("--data-dir", type=Path, required=True, help="where audit.db is")
    parser.add_argument("--run-dir", type=Path, required=True, help="where audit.sock is")
    parser.add_argument(
        "--source", type=_source, action="append", default=[], help="name=socket of an outbox"
    )
    parser.add_argument("--node", default="local", help="name of this node in every entry")
    options = parser.parse_args(arguments)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        held = os.open(options.data_dir / "audit.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        log.critical("log.writer.refused: the data directory is missing, or another writer has it")
        return EXIT_CONFIG
    asyncio.run(run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
