"""One seed: some orders, one machine, a host that fails, several deaths, and days until all is settled."""

import asyncio
import itertools
import logging
import random
import shutil
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from audit.outbox import create_tables, open_database
from vault.books.report import Reconciliation
from vault.keys import KeyFiles, Keys
from vault.proof.clerk import Clerk, orders
from vault.proof.dice import seeded, split
from vault.proof.embedded_sql import Database
from vault.proof.kill_points import Points
from vault.proof.line import Line, shares
from vault.proof.machine import TENANT, Gone, Machine, Node
from vault.proof.naive import naive_sales
from vault.proof.stripe_account import Account
from vault.proof.stripe_host import StripeHost
from vault.proof.stripe_webhooks import DeliveryPlan
from vault.proof.verdicts import UNRESOLVED_END, Findings, judge, unresolved
from vault.proof.virtual_time import VirtualLoop, simulated
from vault.store import METADATA
from vault.tenant import read_tenant

CALM_AFTER_S = 7_200.0
"""When the line and the machine stop failing: a proof of what comes out needs an end."""
WORKING_S_MAX = 6 * 86_400.0
"""No clerk works longer on an order; one who does waits for something that never comes."""
CHORES_S = (900.0, 2_700.0, 3_600.0, 3_600.0, 3_600.0, 86_400.0)
"""Between the broker's chores, which in production come every five minutes; the last one repeats."""
CERTAIN_WITHIN_S = 3_600.0
"""When the line is calm and the broker runs, everything is known after so long."""
LAPSED_AFTER_S = 8 * 86_400.0
"""After so long every hold has lapsed that nobody wanted."""
LOOKED_AFTER_S = 60.0
"""After the last webhook came."""
DELIVERY_S_MAX = 5_400.0
WEBHOOK_SECRET = "whsec_of_the_simulation"  # noqa: S105 - opens nothing but the simulation
NAIVE_SALES = 3
TENANT_FILE = """[payment]
provider = "stripe"
currencies = ["EUR", "JPY"]
amount_max_minor = 500000
purposes = ["booking"]
merchant_initiated = true
"""


@dataclass
class Life:
    """What one seed came to."""

    seed: int
    findings: Findings = field(default_factory=Findings)
    payments: int = 0
    requests: int = 0
    waits: int = 0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    webhooks: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    killed_at: list[str] = field(default_factory=list)
    sites: list[str] = field(default_factory=list)
    naive_doubles: int = 0


class Workshop:
    """What all lives of one worker share: an engine, an empty file to copy, keys, a tenant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700)
        for name, octets in (("vault-hmac", bytes(32)), ("stripe.webhook", WEBHOOK_SECRET.encode())):
            (keys / name).write_bytes(octets)
            (keys / name).chmod(0o600)
        self.keys = Keys(KeyFiles(keys))
        (self.folder / f"{TENANT}.toml").write_text(TENANT_FILE)
        self.tenant = read_tenant(self.folder / f"{TENANT}.toml")
        self.database = Database()
        self.hatches = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asyncio.run(_make(self.folder / "empty.db"))
        asyncio.run(self._warm_up())
        _be_quiet()

    async def _warm_up(self) -> None:
        """An engine's first connection asks more than later ones: no life may begin with it."""
        self.database.use(self.folder / "empty.db", Points(seeded("warm up")))
        async with self.database.engine.connect():
            pass
        self.database.release()

    def fresh(self) -> Path:
        """An empty vault.db in the place of the last one."""
        file = self.folder / "vault.db"
        for old in self.folder.glob("vault.db*"):
            old.unlink()
        shutil.copyfile(self.folder / "empty.db", file)
        return file

    def close(self) -> None:
        """Lets go of what is open; the folder is the caller's."""
        for hatch in self.hatches:
            hatch.close()

    def live(self, seed: int, trace: Callable[[str], None] | None = None, *, sites: bool = False) -> Life:
        """One seed, from the first order to the verdict."""
        file = self.fresh()
        loop = VirtualLoop()
        asyncio.set_event_loop(loop)
        dice = seeded(f"verify charges {seed}")
        with simulated(loop.epoch, split(dice)):
            try:
                return loop.run_until_complete(_life(self, seed, loop, file, dice, trace, sites=sites))
            finally:
                asyncio.set_event_loop(None)
                loop.close()


async def _life(
    shop: Workshop,
    seed: int,
    loop: VirtualLoop,
    file: Path,
    dice: random.Random,
    trace: Callable[[str], None] | None,
    *,
    sites: bool,
) -> Life:
    def timed(text: str) -> None:
        if trace is not None:
            trace(f"{loop.time():11.3f} {text}")

    url = "https://shop.test/stripe"
    plan = DeliveryPlan(
        dice.choice((0.0, 20.0, DELIVERY_S_MAX)), dice.choice((0.0, 0.5)), dice.choice((0.0, 0.3))
    )
    account = Account(webhook_secrets={url: WEBHOOK_SECRET})
    host = StripeHost(seed, account, shares(dice), plan)
    machine = Machine(
        loop, host, shop.database, file, shop.keys, shop.tenant, shop.hatches, split(dice), timed
    )
    if sites:
        machine.points.sites = Counter()
    clerks = [Clerk(order, machine, split(dice)) for order in orders(dice)]
    for clerk in clerks:
        timed(f"order {clerk.order}")
    life = Life(seed)
    machine.start()
    doubts = asyncio.create_task(_doubts(machine, file, life.findings))
    try:
        await _work(machine, clerks)
        await doubts
        await _settle(machine)
        report = await machine.ask(lambda node: node.reconciler.run(TENANT))
    finally:
        await machine.stop()
    _conclude(life, machine, clerks, report, file)
    life.naive_doubles = await _naive(seed, loop, dice)
    return life


async def _work(machine: Machine, clerks: list[Clerk]) -> None:
    """The clerks' days, with the broker's chores beside them."""
    calming = machine.loop.call_later(CALM_AFTER_S, machine.calm)
    chores = asyncio.create_task(_chores(machine))
    work = asyncio.gather(*(clerk.work() for clerk in clerks))
    try:
        async with asyncio.timeout(WORKING_S_MAX):
            await work
    except TimeoutError:
        machine.trace("a clerk waits for something that does not come")
    chores.cancel()
    calming.cancel()
    await asyncio.gather(chores, return_exceptions=True)


async def _chores(machine: Machine) -> None:
    """What the broker does every few minutes."""
    for pause_s in itertools.chain(CHORES_S, itertools.repeat(CHORES_S[-1])):
        await asyncio.sleep(pause_s)
        await _chore(machine)


async def _chore(machine: Machine) -> None:
    async def work(node: Node) -> None:
        for chore in node.chores():
            await chore()

    try:
        await machine.ask(work)
    except Gone:
        return


async def _settle(machine: Machine) -> None:
    """Calm days until nothing can come any more: the last webhook, the lapse of the last hold, midnight."""
    await asyncio.sleep(max(0.0, CALM_AFTER_S - machine.loop.time()))
    machine.calm()
    await _chore(machine)
    if machine.holds():
        await asyncio.sleep(LAPSED_AFTER_S)
        machine.tick()
        await _chore(machine)
    await asyncio.sleep(86_400.0)
    machine.tick()
    await asyncio.sleep(LOOKED_AFTER_S)
    while (due_at := machine.host.webhooks.next_at()) is not None:  # noqa: ASYNC110 - time is what passes
        await asyncio.sleep(max(0.0, due_at - machine.loop.epoch()) + LOOKED_AFTER_S)


async def _doubts(machine: Machine, file: Path, findings: Findings) -> None:
    """Puts on record what is not known long after everything went well again."""
    await asyncio.sleep(CALM_AFTER_S)
    await machine.until_up()
    await asyncio.sleep(CERTAIN_WITHIN_S)
    for name in unresolved(file, machine.moment(-CERTAIN_WITHIN_S)):
        findings.add(UNRESOLVED_END, f"{name} is not known an hour after the last fault")


def _conclude(life: Life, machine: Machine, clerks: list[Clerk], report: Reconciliation, file: Path) -> None:
    judge(machine.host, file, report, life.findings)
    for surprise in machine.surprises:
        life.findings.add("surprises", surprise)
    for clerk in clerks:
        life.ends[clerk.done or "waiting"] += 1
        if not clerk.done:
            life.findings.add("unresolved", f"{clerk.order.reference} has no end")
    life.payments = sum(clerk.payments for clerk in clerks)
    life.requests, life.waits = machine.line.requests, machine.points.passed
    life.faults, life.webhooks = machine.line.faults, machine.webhooks
    life.killed_at = machine.points.killed_at
    life.sites = list(machine.points.sites or ())


async def _naive(seed: int, loop: VirtualLoop, dice: random.Random) -> int:
    """The negative control under the same kind of weather."""
    host = StripeHost(seed, Account(), shares(dice))
    line = Line(host, loop, split(dice), lambda _text: None)
    return await naive_sales(host, line, loop, split(dice), NAIVE_SALES)


async def _make(file: Path) -> None:
    """An empty vault.db, as the broker makes one."""
    engine = open_database(file)
    await create_tables(engine, METADATA)
    await engine.dispose()


def _be_quiet() -> None:
    """Thousands of lives log what they are told to survive."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for name in ("sqlalchemy", "asyncio", "stripe"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
