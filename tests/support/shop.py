"""The money side of a broker without processes: real store, register, router, sandbox, charges and steps.

Between us and the sandbox is a `Wire` that loses requests and answers where a test wants it. A payment begins
ready, with the token that a cell would have told.
"""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from audit.outbox import stamp
from vault import Payment, PaymentChanged, PaymentState, Why
from vault.captures import Captures
from vault.cards_on_file import CardsOnFile
from vault.charges import Charges
from vault.inquiry import Inquiry
from vault.keys import KeyFiles, Keys
from vault.limits import Limits
from vault.links import Links
from vault.providers._sandbox_cards import APPROVED, Face
from vault.providers._sandbox_host import SandboxHost
from vault.providers.base import NotSentError, Provider
from vault.providers.sandbox import Sandbox
from vault.register import Register, Slot
from vault.router import Router
from vault.step import Ask
from vault.steps import Steps
from vault.store import PaymentRow, Store
from vault.tenant import LinksSection, PaymentSection, Tenant
from vault.zone import Zone

WAIT_S = 10.0
KEY_WINDOW_S = 23 * 3_600
NAME = "sandbox"
TENANT = Tenant(
    "demo",
    False,
    PaymentSection(
        provider=NAME,
        currencies=("EUR",),
        amount_max_minor=500_000,
        purposes=("booking",),
        sca_agent="moto_agent",
    ),
    LinksSection(expiry_minutes=30),
)


class Wire:
    """A provider whose line fails as told: `faults` maps a method to what happens to its next calls.

    `lost`: the request never arrives; `cut`: it is executed and the answer lost; `refused`: nothing is sent;
    `dead`: no call arrives until the fault is taken away.
    """

    name = NAME

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.abilities = provider.abilities
        self.faults: dict[str, list[str]] = {}
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._provider, name)
        if not asyncio.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any) -> Any:
            self.calls.append((name, arguments[0] if arguments else None))
            waiting = self.faults.get(name) or [""]
            fault = waiting[0] if waiting[0] == "dead" else waiting.pop(0)
            if fault == "refused":
                raise NotSentError
            if fault in {"lost", "dead"}:
                raise ConnectionError
            answer = await method(*arguments)
            if fault == "cut":
                raise ConnectionError
            return answer

        return call

    def called(self, name: str) -> int:
        """How often a method was called."""
        return sum(called == name for called, _ in self.calls)


class Shop:
    """Everything of one node that moves money; `told` are its facts."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store = store
        self.folder = folder
        self.now_s = 0.0
        """Seconds that the sandbox's clock is ahead."""
        self.host = SandboxHost(folder / "sandbox.db", "demo", clock=lambda: time.time() + self.now_s)
        self.wire = Wire(Sandbox(self.host))
        self.router = Router({"demo": (NAME,)}, {("demo", NAME): self.wire})
        self.told: list[PaymentChanged] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.begin()

    def begin(self) -> None:
        """A new run of the broker over the same files; `recover` is up to the test."""
        keys = Keys(KeyFiles(self.folder / "keys"))
        self.keys = keys
        self.register = Register(self.store, self.told.append)
        limits, cards = Limits(self.store, keys, {}), CardsOnFile(self.store, self.router)
        zone = Zone(
            _nobody,
            _nobody,
            on_media_fact=_nothing,
            on_media_up=_nothing,
            on_media_down=_nothing,
            on_spawner_up=_nothing,
        )
        captures = Captures(self.register, zone, {}, self.router, limits, self.spawn)
        self.steps = Steps(self.register, self.router, self.spawn)
        self.charges = Charges(self.register, captures, self.steps, self.router, limits, cards, self.spawn)
        self.inquiry = Inquiry(self.register, self.router, self.charges, self.steps, self.spawn)
        self.links = Links(
            self.register, captures, self.charges, self.router, {"demo": TENANT}, self.spawn, self.now
        )
        self.inquiry.look_at_link = self.links.look

    def now(self) -> datetime:
        """What the sandbox's clock shows."""
        return datetime.now(UTC) + timedelta(seconds=self.now_s)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def crash(self) -> None:
        """The run ends in the middle of whatever it does."""
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def ready(self, label: str = APPROVED, **changes: Any) -> Slot:
        """A payment whose card is tokenised."""
        row = replace(a_row(len(self.told)), token=Face(label, "visa", "4242", 12, 2031).token, **changes)
        await self.register.create(row)
        return await self.register.slot(row.payment_id)

    async def charged(self, **changes: Any) -> Slot:
        """A payment whose charge has come to its result."""
        slot = await self.ready(**changes)
        async with slot.lock:
            await self.charges.charge(slot)
        await self.until(lambda: slot.row.state is not PaymentState.AUTHORISING)
        return slot

    async def ask(self, slot: Slot, ask: Ask) -> Payment:
        """As the till does."""
        async with slot.lock:
            return await self.steps.ask(slot, ask)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until `holds`; fails when it does not in time."""
        async with asyncio.timeout(WAIT_S):
            while not holds():  # noqa: ASYNC110 - what is waited for is a row, which has no event
                await asyncio.sleep(0.005)

    async def end_of_step(self, slot: Slot) -> Why:
        """Waits until no step is under way; why that is."""
        await self.until(lambda: slot.row.step is None)
        ends = {Why.SETTLED, Why.VOIDED, Why.REFUNDED, Why.STEP_REFUSED}
        return next(fact.why for fact in reversed(self.told) if fact.why in ends)

    async def entries(self) -> list[str]:
        """Names of the log's entries so far."""
        async with self.store.engine.connect() as conn:
            rows = await conn.exec_driver_sql("SELECT body FROM outbox ORDER BY seq")
            return [json.loads(body)["name"] for (body,) in rows]


def _nothing(*_: object) -> None:
    """No cell, no media: the zone is never started."""


async def _nobody() -> None:
    """Nor does anybody answer there."""


def a_row(number: int) -> PaymentRow:
    """A payment that waits for its charge."""
    letters = "".join(chr(97 + int(digit)) for digit in str(number))
    return PaymentRow(
        payment_id=f"pay_{letters}",
        tenant="demo",
        call_id="call_one",
        leg_id="leg_one",
        agent_id="agent1",
        state=PaymentState.READY,
        amount_minor=3000,
        currency="EUR",
        reference=f"B-{number}",
        purpose="booking",
        sca_basis="moto_agent",
        provider=NAME,
        created_at=stamp(),
        updated_at=stamp(),
    )


@asynccontextmanager
async def a_shop() -> AsyncIterator[Shop]:
    """A shop in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="payivr-"))
    shop = Shop(folder, await Store.open(folder / "vault.db"))
    try:
        yield shop
    finally:
        await shop.crash()
        await shop.router.close()
        await shop.store.close()
        shutil.rmtree(folder, ignore_errors=True)
