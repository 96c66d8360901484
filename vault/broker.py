"""The broker process: `python -m vault.broker --data-dir D --run-dir R --tenants-dir T`.

Puts the parts together and runs them: vault.db, the door (`vault.sock`), the outbox (`outbox-vault.sock`),
the lines to the spawner and the media process. It is ready when `vault.sock` accepts. It holds tokens and
ids, never a PAN.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from audit.outbox import EngineRows, Entry, OutboxDoor, stamp
from vault.book_operations import book_operations
from vault.books.reconciler import Reconciler
from vault.books.statement import Feed
from vault.captures import Captures
from vault.card_operations import card_operations
from vault.cards_on_file import CardsOnFile
from vault.charges import Charges
from vault.claims import Claims
from vault.door import PaymentChanged, PinChanged, PinWhy, Refused, VaultError, Why
from vault.door_server import DoorServer
from vault.hatch import inherited
from vault.inquiry import Inquiry
from vault.key_office import KeyOffice
from vault.key_operations import key_operations
from vault.keys import Keys, key_provider
from vault.limits import Limits
from vault.link_operations import link_operations
from vault.links import Links
from vault.logs import LEVELS, set_up
from vault.pin_book import PinBook
from vault.pin_operations import pin_operations
from vault.pin_seals import PinSeals
from vault.pin_store import PinStore
from vault.pins import Pins
from vault.posture import die_with_parent, make_private
from vault.register import BROKER, Register
from vault.router import Router
from vault.steps import Steps
from vault.store import Store
from vault.tenant import Tenant, read_tenants
from vault.till import Till
from vault.upkeep import upkeep
from vault.webhook_operations import webhook_operations
from vault.webhooks import Webhooks
from vault.wire import Json, pass_through
from vault.zone import Zone

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.broker")

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: a supervisor need not try again."""
STOP_GRACE_S = 3.0
"""How long a provider may still answer at the end; the rest is fetched after the next start."""


class Broker:
    """Everything of one broker process, from start to stop."""

    def __init__(
        self,
        store: Store,
        run_dir: Path,
        hatches: tuple[socket.socket, socket.socket],
        tenants: dict[str, Tenant],
        router: Router,
        keys: Keys,
    ) -> None:
        """`hatches`: our ends of those to media and to the spawner."""
        self._store = store
        self._tenants = tenants
        self._router = router
        self._work: set[asyncio.Task[None]] = set()
        self._register = Register(store, self._publish)
        self._zone = Zone(
            *(partial(pass_through, hatch) for hatch in hatches),
            on_media_fact=self._media_told,
            on_media_up=self._media_up,
            on_media_down=self._media_down,
            on_spawner_up=lambda: self._spawn(self._probe()),
        )
        limits = self._limits = Limits(store, keys, tenants)
        self._pin_store = PinStore(store)
        cards = self._cards = CardsOnFile(store, router)
        self._keys = KeyOffice(keys, store, self._key_versions_in_use, router.renew)
        claims = Claims()
        self._captures = Captures(self._register, self._zone, tenants, router, limits, self._spawn, claims)
        book = PinBook(self._pin_store, keys, tenants)
        note = self._register.note
        self._pins = Pins(book, self._zone, claims, tenants, note, self._publish_pin, self._spawn)
        seals = PinSeals(self._pins, book, self._zone, keys, self._keys.make_seal)
        self._steps = Steps(self._register, router, self._spawn)
        self._charges = Charges(
            self._register, self._captures, self._steps, router, limits, cards, self._spawn
        )
        self._inquiry = Inquiry(self._register, router, self._charges, self._steps, self._spawn)
        links = self._links = Links(
            self._register, self._captures, self._charges, router, tenants, self._spawn
        )
        self._inquiry.look_at_link = links.look
        till = Till(
            self._register,
            self._captures,
            self._charges,
            self._steps,
            limits,
            cards,
            links,
            tenants,
            self._pins,
        )
        self._till = till
        self._webhooks = Webhooks(self._register, router, keys, self._inquiry, self._spawn)
        feeds = [Feed(tenant, name, router.at(tenant, name)) for tenant, name in router.places()]
        fees = {name: tenant.fees for name, tenant in tenants.items()}
        self._reconciler = Reconciler(store, feeds, fees)
        also = {
            **key_operations(self._keys),
            **card_operations(cards),
            **link_operations(links),
            **webhook_operations(self._webhooks),
            **book_operations(self._reconciler),
            **pin_operations(self._pins, book, seals),
        }
        self._door = DoorServer(run_dir / "vault.sock", till, lambda: self._register.seq, also)
        self._outbox = OutboxDoor(EngineRows(store.engine), run_dir / "outbox-vault.sock")

    async def start(self) -> None:
        """Recovers what the run before left, then opens the door."""
        await self._outbox.start()
        await self._keys.start()
        await self._note_unusable()
        await self.recover()
        self._zone.start()
        self._spawn(self._captures.sweep())
        self._spawn(self._links.sweep())
        self._spawn(self._reconciler.nightly())
        self._spawn(upkeep(*self.chores()))
        self._door.start()
        log.info("vault.broker.started", tenants=len(self._tenants))

    async def recover(self) -> None:
        """Takes up what the run before left; called before anybody may ask for anything."""
        await self._charges.recover()
        await self._steps.recover()
        await self._links.recover()
        await self._webhooks.recover()

    def chores(self) -> tuple[Callable[[], Awaitable[object]], ...]:
        """What is tidied up and looked at again every few minutes."""
        lookups = (self._inquiry.look_at_holds, self._inquiry.look_at_doubts, self._webhooks.look_again)
        ends = (self._charges.settle_sales, self._charges.expire_unwanted)
        return (self._limits.sweep, self._pin_store.sweep, self._cards.erase_forgotten, *lookups, *ends)

    async def stop(self) -> None:
        """Closes the door, gives work under way `STOP_GRACE_S`, and lets go of everything."""
        await self._door.stop()
        await asyncio.gather(self._charges.finish(STOP_GRACE_S), self._steps.finish(STOP_GRACE_S))
        for task in tuple(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._reconciler.stop()
        await self._zone.stop()
        await self._outbox.stop()
        await self._router.close()
        await self._store.close()
        log.info("vault.broker.stopped")

    def _publish(self, changed: PaymentChanged) -> None:
        level = logging.DEBUG if changed.why is Why.KEY else logging.INFO
        payment_id, state = changed.payment.payment_id, changed.payment.state.value
        log.log(level, "payment.fact.told", why=changed.why.value, payment_id=payment_id, state=state)
        self._door.publish(changed)

    def _publish_pin(self, changed: PinChanged) -> None:
        level = logging.DEBUG if changed.why is PinWhy.KEY else logging.INFO
        log.log(level, "pin.fact.told", why=changed.why.value, entry_id=changed.entry.entry_id)
        self._door.publish_pin(changed)

    async def _key_versions_in_use(self) -> dict[int, int]:
        found = await self._limits.key_versions_in_use()
        for version, rows in (await self._pin_store.key_versions_in_use()).items():
            found[version] = found.get(version, 0) + rows
        return found

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guarded(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    @staticmethod
    async def _guarded(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("vault.work.failed")

    def _media_told(self, fact: Json) -> None:
        self._captures.media_told(fact)
        self._pins.media_told(fact)

    def _media_up(self) -> None:
        self._spawn(self._captures.detach_strays())

    def _media_down(self) -> None:
        self._captures.media_down()
        self._pins.media_down()

    async def _note_unusable(self) -> None:
        """Puts on record which tenant is without which provider, and why; the others go on."""
        for (tenant, provider), error in self._router.unusable.items():
            log.error("provider.tenant.refused", tenant=tenant, provider=provider, reason=error.sentence)
            data = {"provider": provider, "reason": error.code}
            await self._register.note(
                Entry(
                    "provider.tenant.refused", stamp(), BROKER, tenant, tenant, outcome="refused", data=data
                )
            )

    async def _probe(self) -> None:
        """Asks the new spawner how well its cells are walled in, and puts that on record."""
        try:
            weak = await self._zone.posture()
        except VaultError:
            return
        self._captures.weak = self._pins.weak = weak
        words = ",".join(weak)
        await self._register.note(Entry("posture.zone.probed", stamp(), BROKER, "zone", data={"weak": words}))
        for tenant in self._tenants.values():
            try:
                tenant.check_posture(weak)
            except Refused:
                data = {"reason": "posture_weak"}
                entry = Entry("posture.tenant.refused", stamp(), BROKER, tenant.name, tenant.name, data=data)
                await self._register.note(entry)
        log.info("posture.zone.probed", weak=words)


async def serve(options: argparse.Namespace, hatches: tuple[socket.socket, socket.socket]) -> None:
    """Runs the broker until SIGTERM or SIGINT."""
    tenants = read_tenants(options.tenants_dir)
    store = await Store.open(options.data_dir / "vault.db")
    keys = Keys(key_provider(options.data_dir, os.environ))
    router = Router.opened(options.data_dir, tenants, await store.providers_unresolved(), keys)
    broker = Broker(store, options.run_dir, hatches, tenants, router, keys)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await broker.start()
    await stopping.wait()
    await broker.stop()


def _hold(data_dir: Path) -> int:
    """A lock on the data directory: a second broker on the same vault.db would expire what is not its own."""
    descriptor = os.open(data_dir / "vault.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def main(arguments: list[str] | None = None) -> int:
    """A lock on the data directory: a second broker on one vault.db would expire what is not its own."""
    parser = argparse.ArgumentParser(
        prog="vault.broker", description="Payments, tokens and captures of one node."
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="where vault.db is")
    parser.add_argument("--run-dir", type=Path, required=True, help="where the sockets are")
    parser.add_argument("--tenants-dir", type=Path, required=True, help="where the tenants' files are")
    parser.add_argument("--media-hatch", type=int, required=True, help="descriptor of the hatch to media")
    parser.add_argument(
        "--spawner-hatch", type=int, required=True, help="descriptor of the hatch to the spawner"
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    options = parser.parse_args(arguments)
    try:
        hatches = (inherited(options.media_hatch), inherited(options.spawner_hatch))
    except ValueError as error:
        parser.error(str(error))
    die_with_parent(signal.SIGTERM)
    make_private()
    os.umask(0o077)
    set_up(options.log_level, "vault.broker")
    try:
        held = _hold(options.data_dir)
    except OSError:
        log.critical("vault.data.refused", reason="missing, or in use by another broker")
        return EXIT_CONFIG
    try:
        asyncio.run(serve(options, hatches))
    except VaultError as error:  # a tenant's file, a key, a provider that does not start like this
        log.critical("vault.start.refused", reason=error.sentence)
        return EXIT_CONFIG
    finally:
        os.close(held)
    return 0


if __name__ == "__main__":
    sys.exit(main())
