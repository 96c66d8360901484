"""The simulated machine: one broker process after the other over the same file, the wire and the webhooks.

The broker is the product's own (`vault/broker.py`), put together as in production, without its sockets:
whoever would come through the door asks `Machine.ask`, and the cell that would tell a token is `Node.keyed`.
When the process dies, every task of it is ended, the file is closed without a word, and a new one begins with
what `Broker.recover` makes of the file.
"""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from audit.outbox import stamp
from vault.books.reconciler import Reconciler
from vault.broker import Broker
from vault.cards_on_file import CardsOnFile
from vault.door import PaymentChanged, Refused, VaultError
from vault.keys import Keys
from vault.payment import Move
from vault.proof.dice import split
from vault.proof.embedded_sql import Database
from vault.proof.kill_points import Killed, Points
from vault.proof.line import Line
from vault.proof.stripe_host import StripeHost
from vault.proof.stripe_webhooks import Delivery
from vault.proof.virtual_time import VirtualLoop
from vault.providers._stripe_broker import Stripe
from vault.providers._stripe_config import Config
from vault.providers._stripe_memory import MemoryWire
from vault.router import Router
from vault.store import Store
from vault.tenant import Tenant
from vault.till import Till
from vault.webhooks import Webhooks

T = TypeVar("T")
TENANT, PROVIDER = "shop", "stripe"
KILLS_MAX = 4
KILL_WITHIN = 160
"""Waits between a start and the kill, at most: about as many as one payment has."""
DOWN_S = (0.5, 5.0, 90.0, 600.0)
"""How long a supervisor takes to start a new process, or an operator to notice."""
LONG_DOWN_S = 26 * 3_600.0
"""A day and more: Stripe has forgotten every key by then."""
LONG_DOWN_SHARE = 0.05
SLOW_SHARE = 0.05
SLOW_S_MAX = 70.0
"""Some answers take longer than anybody waits."""
QUICK_S_MAX = 0.4


class Gone(Exception):
    """The process died before it answered."""


class Node(Broker):
    """The product's broker with a cell that always understands the caller."""

    def __init__(self, machine: "Machine", store: Store, router: Router, run_dir: Path) -> None:
        self._machine = machine
        tenants = {TENANT: machine.tenant}
        super().__init__(store, run_dir, machine.hatches, tenants, router, machine.keys)

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What the process does now."""
        return self._work

    @property
    def till(self) -> Till:
        """What the door offers."""
        return self._till

    @property
    def webhooks(self) -> Webhooks:
        """Where webhooks come in."""
        return self._webhooks

    @property
    def reconciler(self) -> Reconciler:
        """The books."""
        return self._reconciler

    @property
    def cards(self) -> CardsOnFile:
        """Cards on file."""
        return self._cards

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that dies with the process."""
        return self._spawn(work)

    async def keyed(self, payment_id: str, brand: str, last4: str, tokenise: Callable[[], str]) -> None:
        """What a capture does to its payment from the first prompt to the token (`vault/captures.py`)."""
        slot = await self._register.slot(payment_id)
        async with slot.lock:
            await self._charges.tie(slot)
            entry = slot.entry("capture.cell.opened", slot.who(), field="pan")
            nothing: dict[str, Any] = {"token": None, "decline": None, "brand": None, "last4": None}
            await self._register.move(slot, Move.CAPTURE, entry, **nothing)
        token = tokenise()
        async with slot.lock:
            entry = slot.entry("payment.card.tokenised", brand=brand, last4=last4)
            await self._register.move(slot, Move.COMPLETE, entry, token=token, brand=brand, last4=last4)

    def _publish(self, changed: PaymentChanged) -> None:
        self._machine.told(changed)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._watched(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(lambda _task: work.close())  # it may have died before its first step
        return task

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """As in production, but what would only be logged there is a finding here."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - as `Broker._guarded`
            self._machine.surprises.append(
                f"{type(error).__name__} in {getattr(work, '__qualname__', 'work')}"
            )


class Machine:
    """Everything that outlives a process: the file, the wire, the host's webhooks."""

    def __init__(
        self,
        loop: VirtualLoop,
        host: StripeHost,
        database: Database,
        path: Path,
        keys: Keys,
        tenant: Tenant,
        hatches: tuple[socket.socket, socket.socket],
        dice: random.Random,
        trace: Callable[[str], None],
    ) -> None:
        self.loop, self.host, self.keys, self.tenant = loop, host, keys, tenant
        self.hatches = hatches
        """To a media process and a spawner that are not there."""
        self._database, self._path, self._dice = database, path, dice
        self.trace = trace
        self.points = Points(split(dice))
        self.line = Line(host, loop, split(dice), trace)
        self.line.on_request = self._poke
        self.surprises: list[str] = []
        self.webhooks: Counter[str] = Counter()
        self.kills_left = dice.randrange(KILLS_MAX + 1)
        self._node: Node | None = None
        self._up = asyncio.Event()
        self._poked = asyncio.Event()
        self._asked: set[asyncio.Task[Any]] = set()
        self._works: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Switches the machine on."""
        self._works = [asyncio.create_task(self._live()), asyncio.create_task(self._deliver())]
        for work in self._works:
            work.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Ends everything that still runs."""
        for task in self._works:
            task.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
        self.points.dead = True
        await self._end()

    def calm(self) -> None:
        """Nothing goes wrong any more, on the line or here."""
        self.line.calm()
        self.kills_left = self.points.kill_at = 0

    async def ask(self, work: Callable[[Node], Awaitable[T]]) -> T:
        """What the broker answers, as soon as there is one; `Gone` when it dies meanwhile."""
        await self._up.wait()
        node = self._node
        assert node is not None

        async def asking() -> T:
            return await work(node)

        task = asyncio.create_task(asking())
        self._asked.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._asked.discard(task)
            task.cancel()
        if task.cancelled() or isinstance(task.exception(), Killed):
            raise Gone
        return task.result()

    def holds(self) -> bool:
        """True while the host holds money that has not been taken."""
        return any(one["status"] == "requires_capture" for one in self.host.books.every("payment_intent"))

    def tick(self) -> None:
        """Lets the host notice what time it is; what lapsed is told by webhook."""
        self.host.tick(self.loop.epoch())
        self._poke()

    def moment(self, offset_s: float = 0.0) -> str:
        """The moment, so many seconds from now, as the file writes it."""
        return stamp(datetime.fromtimestamp(self.loop.epoch() + offset_s, UTC))

    async def until_up(self) -> Node:
        """The process of now, when it takes requests."""
        await self._up.wait()
        assert self._node is not None
        return self._node

    def told(self, changed: PaymentChanged) -> None:
        """A fact of the broker's."""
        payment = changed.payment
        self.trace(f"  fact: {payment.reference} {changed.why.value}, {payment.state.value}")

    def _ended(self, work: asyncio.Task[None]) -> None:
        """The machine itself never ends by itself."""
        if not work.cancelled() and (error := work.exception()) is not None:
            self.surprises.append(f"the simulation broke: {error!r}")
            self.trace(self.surprises[-1])

    # --- processes ----------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """One process after the other."""
        while True:
            self._begin()
            node = self._node
            assert node is not None
            recovering = node.begin(node.recover())
            died = asyncio.create_task(self.points.died.wait())
            await asyncio.wait([recovering, died], return_when=asyncio.FIRST_COMPLETED)
            if not self.points.dead:
                self._up.set()
            await died
            self._up.clear()
            await self._end()
            down_s = LONG_DOWN_S if self._dice.random() < LONG_DOWN_SHARE else self._dice.choice(DOWN_S)
            self.trace(f"the process is dead at {self.points.killed_at[-1]}; the next in {down_s:.0f} s")
            await asyncio.sleep(down_s)

    def _begin(self) -> None:
        self.points.revive()
        if self.kills_left:
            self.kills_left -= 1
            self.points.kill_at = self.points.passed + self._dice.randrange(1, KILL_WITHIN)
        self._database.use(self._path, self.points)
        wire = MemoryWire(self.line, self.loop.epoch, asyncio.sleep, self._pause)
        account = self.host.keys
        stripe = Stripe(Config(), account.broker, account.cell, now=self.loop.epoch, wire=wire)
        router = Router({TENANT: (PROVIDER,)}, {(TENANT, PROVIDER): stripe}, clock=self.loop.time)
        self._node = Node(self, Store(self._database.engine), router, self._path.parent)
        self.trace("a process begins")

    async def _end(self) -> None:
        """The process is gone with all it was doing."""
        tasks = [*self._asked, *(self._node.tasks if self._node else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._database.release()
        self._node = None

    async def _pause(self, kind: str) -> None:
        """The time that a request or an answer takes."""
        await self.points.pass_by(kind)
        slow = self._dice.random() < SLOW_SHARE and not self.line.is_calm
        await asyncio.sleep(self._dice.uniform(0.0, SLOW_S_MAX if slow else QUICK_S_MAX))
        await self.points.pass_by(kind)

    # --- webhooks -----------------------------------------------------------------------------------------

    def _poke(self) -> None:
        self._poked.set()

    async def _deliver(self) -> None:
        """Sends what is due, for ever."""
        webhooks = self.host.webhooks
        async with asyncio.TaskGroup() as posting:
            while True:
                for delivery in webhooks.due(self.loop.epoch()):
                    posting.create_task(self._post(delivery))
                next_at = webhooks.next_at()
                wait_s = None if next_at is None else max(0.0, next_at - self.loop.epoch())
                try:
                    async with asyncio.timeout(wait_s):
                        await self._poked.wait()
                except TimeoutError:
                    pass
                self._poked.clear()

    async def _post(self, delivery: Delivery) -> None:
        """One delivery; whatever is not taken comes again."""
        self.webhooks["sent"] += 1
        self.webhooks["repeated"] += delivery.tries > 0
        if not self._up.is_set():
            self.webhooks["nobody"] += 1
            self.host.webhooks.failed(delivery, self.loop.epoch())
            return
        try:
            new = await self.ask(
                lambda node: node.webhooks.take(TENANT, PROVIDER, delivery.headers, delivery.body)
            )
        except (Gone, Refused, VaultError) as error:
            self.webhooks["lost" if isinstance(error, Gone) else "refused"] += 1
            self.host.webhooks.failed(delivery, self.loop.epoch())
        else:
            self.webhooks["new" if new else "known"] += 1
