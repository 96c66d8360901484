"""`pay-ivr verify ledger`: callers on hot and cold members while their processes are killed; then the books.

Workers earn, redeem, hold, post, void, take back, move, let expire and draw vouchers, and are killed with
SIGKILL in mid-transaction again and again; a server of our own is killed too. Afterwards every rule of the
books is asked of the database by SQL, and every answer that a caller was given is looked up. Then the
ledger's rates are measured against the same database's own single commits.
"""

import asyncio
import json
import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.ledger import Earn, Key
from loyalty.members import Person
from pay_ivr.proof.ledger_books import RULES, answers_in, broken_promises, faults
from pay_ivr.proof.ledger_rate import Rates, measure
from pay_ivr.proof.ledger_worker import PROGRAMME, Plan, open_loyalty, run_worker
from pay_ivr.proof.postgres import PostgresError, PostgresServer, own_server

GOOD, WRONG = 0, 1
EMBEDDED = "embedded"
WORKERS = 2
"""Processes: the second one takes the ledger's keys from under the first one's feet."""
LIVES_S = (0.3, 1.5)
"""How long a worker lives, from its first answer, until it is killed."""
START_S = 60.0
"""For a worker to give its first answer on a busy machine."""
COLD = 20
"""Members of a tenant beside the hot one: few enough to meet each other."""
HOT_POINTS, COLD_POINTS = 20_000, 1_000
CODES = 5_000
ACTOR = "key:proof"
_TENANT = """
name = "{name}"
[telephony]
languages = ["en-US"]
[loyalty]
programme = "miles"
name = "{name} Miles"
[[loyalty.reward]]
id = "tree"
kind = "donation"
points = 25
charity = "trees"
names = {{ "en-US" = "a tree" }}
[[loyalty.reward]]
id = "coffee"
kind = "voucher"
points = 10
names = {{ "en-US" = "a coffee" }}
"""


@dataclass
class Findings:
    """What the run saw."""

    database: str
    clients: int
    seconds: float
    kills: int = 0
    server_kills: int = 0
    answers: int = 0
    vouchers: int = 0
    reaped: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    rates: Rates | None = None

    @property
    def sound(self) -> bool:
        """True when nothing is wrong, and there was something to be right about."""
        return not self.faults and self.answers > 0


def run_ledger(*, clients: int, seconds: float, postgres: str, json_file: Path | None) -> int:
    """Its exit code: 0 when nothing is wrong, 1 when something is or the database cannot be used."""
    try:
        with place(postgres) as (url, server):
            findings = verify(url, server, clients=clients, seconds=seconds, say=_say)
    except (PostgresError, LoyaltyError) as error:
        _say(f"verify ledger: {error}")
        return WRONG
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(asdict(findings), indent=1) + "\n", encoding="utf-8")
    return GOOD if findings.sound else WRONG


@contextmanager
def place(postgres: str) -> Iterator[tuple[str, PostgresServer | None]]:
    """Where the ledger is kept: a file, a server of our own (`embedded`), or a server at a URL."""
    if postgres == EMBEDDED:
        with own_server(durable=True) as server:
            yield server.url(server.new_database()), server
    elif postgres:
        yield postgres, None
    else:
        with tempfile.TemporaryDirectory(prefix="payivr-") as folder:
            yield str(Path(folder) / "loyalty.db"), None


def verify(
    url: str,
    server: PostgresServer | None,
    *,
    clients: int,
    seconds: float,
    say: Callable[[str], None],
    control: str = "",
    rates: bool = True,
) -> Findings:
    """The whole run on an empty database; `control` spoils the ledger, and must be found out."""
    kind = "PostgreSQL" if "://" in url else "SQLite"
    findings = Findings(kind, clients, seconds)
    folder = Path(tempfile.mkdtemp(prefix="payivr-"))
    try:
        members = asyncio.run(_prepare(url, folder))
        plan = Plan(url, folder, members, -(-clients // WORKERS), control)
        say(f"ledger on {kind}: {clients} callers in {WORKERS} processes for {seconds:g} s")
        _kill_again_and_again(plan, server, seconds, findings)
        _look(plan, findings)
        for line in _told(findings):
            say(line)
        if rates:
            turn_s = max(0.2, seconds / 40)
            findings.rates = asyncio.run(measure(url, clients, turn_s, folder))
            for line in _rates_told(findings.rates):
                say(line)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return findings


async def _prepare(url: str, folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Two tenants with members, points and codes; LoyaltyError when the database is not empty."""
    tenants = folder / "tenants"
    tenants.mkdir()
    for name in ("north", "south"):
        (tenants / f"{name}.toml").write_text(_TENANT.format(name=name.title()), encoding="utf-8")
    database = Database.open(url)
    await database.writer.work(_check_empty)
    loyalty = open_loyalty(folder, database, lambda: datetime.now(UTC))
    members: dict[str, list[tuple[str, str]]] = {}
    for tenant in loyalty.tenants():
        own = [await loyalty.members.enrol(tenant, _somebody(), by=ACTOR) for _ in range(1 + COLD)]
        members[tenant] = [(member.member_id, member.account_id) for member in own]
        for number, (_, account) in enumerate(members[tenant]):
            points = COLD_POINTS if number else HOT_POINTS
            key = Key(tenant, PROGRAMME, f"start-{number}")
            await database.ledger.do(
                Earn(key, account, points, key.idem, None, datetime.now(UTC)), actor=ACTOR
            )
        codes = "\n".join(f"{tenant[0].upper()}-{number:06d}" for number in range(CODES))
        await loyalty.add_codes(tenant, "coffee", codes, by=ACTOR)
    await database.close()
    return members


def _check_empty(connection: Connection) -> None:
    """Somebody's books are neither changed nor judged here."""
    used = text("SELECT tenant FROM account UNION ALL SELECT tenant FROM member LIMIT 1")
    if connection.execute(used).first() is not None:
        raise PostgresError("There are members or accounts in that database. Name an empty one.")


def _somebody() -> Person:
    return Person("", "Ada", "Proof", "10115", "1", date(1980, 1, 2), "", "", "en-US")


def _kill_again_and_again(
    plan: Plan, server: PostgresServer | None, seconds: float, findings: Findings
) -> None:
    """Workers live for a moment each, until the time is over; the last of them stop by themselves."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pay_ivr.proof.ledger_worker"])
    dice = random.Random(seconds)
    slots = [_Slot(context, plan, f"w{number}") for number in range(WORKERS)]
    for slot in slots:
        slot.await_answer()
    until = time.monotonic() + seconds
    server_due = [until - seconds / 3, until - 2 * seconds / 3] if server is not None else []
    while (now := time.monotonic()) < until:
        for slot in slots:
            findings.kills += slot.kill_when_due(now, dice)
        if server is not None and server_due and now >= server_due[-1]:
            server_due.pop()
            server.kill()
            server.start()
            findings.server_kills += 1
        time.sleep(0.02)
    (plan.folder / "stop").touch()
    for slot in slots:
        slot.await_end()


class _Slot:
    """One place for a worker: whoever is killed is followed by the next at once."""

    def __init__(self, context: Any, plan: Plan, name: str) -> None:
        self._context = context
        self._plan = plan
        self._name = name
        self._lives = 0
        self._due: float | None = None
        self._start()

    def _start(self) -> None:
        name = f"{self._name}g{self._lives}"
        self._process = self._context.Process(target=run_worker, args=(self._plan, name, self._lives % 60))
        self._process.start()
        self._answers = self._plan.folder / f"{name}.answers"
        self._due = None
        self._lives += 1

    def await_answer(self) -> None:
        """Until the worker's first caller has his first answer; a machine may be busy."""
        until = time.monotonic() + START_S
        while not self._has_answered() and time.monotonic() < until:
            time.sleep(0.02)

    def _has_answered(self) -> bool:
        return self._answers.exists() and self._answers.stat().st_size > 0

    def kill_when_due(self, now: float, dice: random.Random) -> bool:
        """True when the worker was killed; its time begins with its first answer."""
        if self._due is None and self._has_answered():
            self._due = now + dice.uniform(*LIVES_S)
        if self._due is None or now < self._due:
            return False
        self._process.kill()
        self._process.join()
        self._start()
        return True

    def await_end(self) -> None:
        """Until the last worker has stopped by itself."""
        self._process.join(START_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _look(plan: Plan, findings: Findings) -> None:
    """The books as the kills left them, every answer, and the books again when all holds have ended."""
    answers = answers_in(plan.folder)
    findings.answers = len([one for one in answers if "journal" in one])
    findings.vouchers = len({one["code"] for one in answers if one.get("code")})
    findings.faults = faults(plan.database) | broken_promises(plan.database, answers)
    findings.reaped = asyncio.run(_reap(replace(plan, control="")))
    findings.faults |= {f"{name} (holds ended)": number for name, number in faults(plan.database).items()}


async def _reap(plan: Plan) -> int:
    """Ends every hold that a dead worker left open; how many there were."""
    database = Database.open(plan.database)
    ended = 0
    while (reaped := await database.ledger.reap(datetime.now(UTC) + timedelta(days=366))).voided:
        ended += reaped.voided
    await database.close()
    return ended


def _told(findings: Findings) -> Iterator[str]:
    server = f", {findings.server_kills} of the server" if findings.server_kills else ""
    yield (
        f"  {findings.kills} kills{server}; {findings.answers} answers, {findings.vouchers} vouchers, "
        f"{findings.reaped} holds left open and freed"
    )
    if not findings.answers:
        yield "  WRONG: nobody was answered"
    for name, number in findings.faults.items():
        yield f"  WRONG: {name}: {number}"
    if findings.sound:
        yield f"  {len(RULES) + 1} rules hold before and after; every answer is in the books, once"


def _rates_told(rates: Rates) -> Iterator[str]:
    yield f"  {rates.yardstick}: {rates.per_s:,.0f}/s"
    for one in rates.shapes:
        yield f"  {one.name:24} {one.per_s:>8,.0f}/s  ratio {one.ratio:.2f}  p99 {one.p99_ms:.1f} ms"


def _say(line: str) -> None:
    print(line, flush=True)
