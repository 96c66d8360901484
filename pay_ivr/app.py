"""The app's composition root: builds every object once, wires them, starts, stops in reverse order.

The only place, with `__main__`, that knows everybody. Nothing here decides anything about a call.
"""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from agent_api.application import setup
from agent_api.desk import DeskSettings, Outgoing, TenantDesk
from agent_api.runner import DeskRunner
from audit.outbox import EngineRows, OutboxDoor
from loyalty.database import Database
from loyalty.drain import LoyaltyRows
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.programme import programmes_of
from loyalty.redemption.sources import sources_of
from loyalty.service import Loyalty, Surroundings
from pay_ivr.aftermath import TECHNICAL_PROBLEM, Orphans, settle
from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.channels import Channels, Tray
from pay_ivr.codes import PaymentCodes
from pay_ivr.facts import CallError
from pay_ivr.flow import Flows
from pay_ivr.hooks import Hooks
from pay_ivr.ids import now_ms
from pay_ivr.journal import Journal
from pay_ivr.logs import log, start_logging
from pay_ivr.people import SipSecret
from pay_ivr.phones import Phones
from pay_ivr.postman import Postman, webhooks_of
from pay_ivr.receipts import Receipts
from pay_ivr.senders import channels_of
from pay_ivr.sentences import PORTAL
from pay_ivr.settings import Settings
from pay_ivr.sip.endpoint import SipEndpoint, SipSettings
from pay_ivr.sip.registrar import Registrar
from pay_ivr.sip.trace import TraceLine
from pay_ivr.speaker import HOLD_MUSIC, Shelf
from pay_ivr.speech import Speech
from pay_ivr.store import Store
from pay_ivr.switchboard import ENDED_KEPT_MAX, Switchboard
from pay_ivr.teller import Teller
from pay_ivr.tenants import Numbers, Tenant, load_tenants, sections
from pay_ivr.tones import hold_music
from pay_ivr.wording import wordings_of
from vault import Door, MediaClient, VaultError

SECRETS_EVERY_S = 5.0
"""How soon a new agent's phone can register, and one that was reset or removed rings no more: agents are
administered by commands in other processes."""
TRACE_FILE = "sip-trace.jsonl"
TOLD_AT_STOP = (
    "legs",
    "dialogs",
    "transactions",
    "retransmissions_in",
    "retransmissions_out",
    "handler_failed",
)
"""Sizes of the SIP tables and what the network made us repeat, in the log when the app stops."""


class App:
    """The running app of one node; `start`, then `stop`."""

    def __init__(self, settings: Settings, on_failure: Callable[[], None] = lambda: None) -> None:
        """`on_failure` is called when a task has died without which the app only looks alive."""
        self.settings = settings
        self._on_failure = on_failure
        self._stack = AsyncExitStack()
        self._secrets: Mapping[str, SipSecret] = {}

    async def start(self) -> None:
        """Everything up and serving; `node.json` in the socket directory then tells the real ports."""
        settings, run = self.settings, self.settings.sockets
        tenants = load_tenants(settings.tenants_dir)
        store = await Store.open(settings.data_dir / "app.db")
        self._on_stop(store.close)
        outbox = OutboxDoor(EngineRows(store.engine), run / "outbox-app.sock")
        await outbox.start()
        self._on_stop(outbox.stop)
        door = Door(run / "vault.sock")
        media = MediaClient(run / "media.sock", run / "media-keys.sock")
        await door.connect()
        self._on_stop(door.close)
        await media.connect()
        self._on_stop(media.close)
        channels = channels_of(tenants, settings.tenants_dir, settings.data_dir)
        loyalty = await self._open_loyalty(tenants, door, channels)
        catalogue = Catalogue(wordings_of(settings.tenants_dir, tenants))
        speech = Speech(catalogue, settings.data_dir)
        self._on_stop(speech.close)
        shelf = Shelf(media, speech)
        journal = Journal(store)
        codes = PaymentCodes(store)
        board = Switchboard(settings, Numbers(tenants), door, media, shelf, journal, codes, _flows(loyalty))
        await self._settle(store, door, media, codes, board)
        self._task(journal.run(), "journal")
        self._on_stop(journal.flush)
        self._task(self._warm(speech, shelf, tenants), "speech.warm", vital=False)
        sip = await self._start_sip(store, board)
        self._task(board.follow_vault(), "facts.vault")
        self._task(board.follow_media(), "facts.media")
        self._on_stop(board.close)
        outgoing = await self._start_outgoing(store, door, tenants, channels, loyalty)
        http_port = await self._start_desk(
            store, door, board, codes, catalogue, tenants, outgoing, channels, loyalty
        )
        self._tell(sip, http_port)
        self._on_stop(lambda: self._sum_up(sip, media))

    async def _open_loyalty(
        self, tenants: Mapping[str, Tenant], door: Door, channels: Channels
    ) -> Loyalty | None:
        """Members and points, and the door through which the log fetches what happened to them.

        None, and nothing opened, when no tenant has a programme.
        """
        settings = self.settings
        programmes = programmes_of(tenants, settings.tenants_dir)
        if not programmes:
            return None
        database = await asyncio.to_thread(Database.open, settings.loyalty)
        self._on_stop(database.close)
        outbox = OutboxDoor(LoyaltyRows(database.writer), settings.sockets / "outbox-loyalty.sock")
        await outbox.start()
        self._on_stop(outbox.stop)
        keys = Keys.open(settings.data_dir, os.environ)
        sources = sources_of(programmes, settings.data_dir)
        loyalty = Loyalty(Surroundings(database, keys, programmes, door, channels, sources))
        self._task(loyalty.upkeep.run(), "loyalty.upkeep")
        return loyalty

    async def _settle(
        self, store: Store, door: Door, media: MediaClient, codes: PaymentCodes, board: Switchboard
    ) -> None:
        """Everything that an earlier run left open, before this one takes its first call."""
        past = await settle(store, door, codes, now_ms(), ENDED_KEPT_MAX)
        orphans = Orphans(media)
        await orphans.find()
        board.take_over(past, orphans)
        self._task(orphans.end(), "orphans", vital=False)

    async def _start_outgoing(
        self,
        store: Store,
        door: Door,
        tenants: Mapping[str, Tenant],
        channels: Channels,
        loyalty: Loyalty | None,
    ) -> Outgoing:
        """Receipts and webhooks: what is stored is sent, what happened meanwhile is found."""
        settings = self.settings
        hooks, receipts = await Hooks.open(store, settings.data_dir), await Receipts.open(store)
        teller = Teller(store, door, hooks, receipts)
        await teller.open()
        trays: list[Tray] = [receipts]
        if loyalty is not None:
            loyalty.on_filed(teller.stored.set)
            trays.append(loyalty.deliveries)
            self._task(loyalty.telling(hooks, teller.stored.set).run(), "outgoing.points")
        webhooks = {name: webhooks_of(tenant, settings.tenants_dir) for name, tenant in tenants.items()}
        postman = Postman(hooks, trays, channels, webhooks, teller.stored)
        self._task(postman.run(), "outgoing.postman")
        self._on_stop(postman.close)
        self._task(teller.run(), "outgoing.teller")
        self._on_stop(teller.close)
        self._task(teller.follow(), "outgoing.facts")
        return Outgoing(hooks, receipts, teller)

    async def stop(self) -> None:
        """Down in reverse order of `start`."""
        (self.settings.sockets / "node.json").unlink(missing_ok=True)
        await self._stack.aclose()

    async def _start_sip(self, store: Store, board: Switchboard) -> SipEndpoint:
        settings = self.settings
        self._secrets = await store.sip_secrets()
        registrar = Registrar(settings.sip_realm, ha1_of=self._ha1_of, allow_legacy=True)
        await self._keep_phones(store, registrar)
        sip = SipEndpoint(
            SipSettings(
                bind_ip=settings.bind_ip,
                udp_port=settings.sip_udp_port,
                tcp_port=settings.sip_tcp_port if settings.sip_tcp_port >= 0 else None,
                realm=settings.sip_realm,
                calls_max=settings.calls_max,
                invite_from=settings.trunks,
                info_from=settings.info_from,
            ),
            board,
            registrar,
            on_trace=_Trace(settings.data_dir / TRACE_FILE) if settings.sip_trace else None,
        )
        board.attach(sip, registrar)
        await sip.start()
        self._on_stop(sip.stop)
        return sip

    async def _keep_phones(self, store: Store, registrar: Registrar) -> None:
        """Phones of the run before are back; those of agents who are reset or removed go at once."""
        phones = Phones(store, registrar)
        log.info("sip.phones.restored", phones=await phones.restore())
        self._task(phones.run(), "sip.phones")
        self._on_stop(phones.flush)
        self._task(self._follow_secrets(store, registrar), "sip.secrets")

    def _ha1_of(self, user: str, algorithm: str) -> str | None:
        secret = self._secrets.get(user)
        if secret is None:
            return None
        return secret.ha1_md5 if algorithm.upper() == "MD5" else secret.ha1_sha256

    async def _follow_secrets(self, store: Store, registrar: Registrar) -> None:
        while True:
            await asyncio.sleep(SECRETS_EVERY_S)
            before, self._secrets = self._secrets, await store.sip_secrets()
            for user in before:
                if before[user] != self._secrets.get(user):
                    registrar.forget(user)

    async def _warm(self, speech: Speech, shelf: Shelf, tenants: Mapping[str, Tenant]) -> None:
        """What media must be able to play without us, then every fixed prompt of every language in use.

        Runs beside the first calls: a prompt that is asked for before its turn is rendered at once.
        """
        languages = sorted({did.language for tenant in tenants.values() for did in tenant.telephony.did})
        await shelf.keep(HOLD_MUSIC, hold_music())
        sorry = [await speech.prompt(language, Key.TECHNICAL_PROBLEM) for language in languages]
        if sorry:  # a node of web pages alone has no number and nothing to say
            await shelf.keep(TECHNICAL_PROBLEM, b"".join(prompt.ulaw for prompt in sorry))
        await speech.warm(languages, keys=frozenset(Key) - PORTAL)
        log.info("speech.prompts.rendered", languages=len(languages))
        if portals := _portal_languages(tenants):
            await speech.warm(portals, keys=PORTAL)
            log.info("speech.portal.rendered", languages=len(portals))

    async def _start_desk(
        self,
        store: Store,
        door: Door,
        board: Switchboard,
        codes: PaymentCodes,
        catalogue: Catalogue,
        tenants: Mapping[str, Tenant],
        outgoing: Outgoing,
        channels: Channels,
        loyalty: Loyalty | None,
    ) -> int:
        desks = {tenant.tenant_id: _desk_of(tenant, self.settings.tenants_dir) for tenant in tenants.values()}
        application = setup(
            switchboard=board,
            door=door,
            store=store,
            codes=codes,
            catalogue=catalogue,
            tenants=desks,
            outgoing=outgoing,
            channels=channels,
            loyalty=loyalty,
            settings=DeskSettings(
                public_origin=self.settings.console_origin,
                link_origin=self.settings.link_origin,
                proxy_ips=self.settings.proxies,
            ),
        )
        runner = DeskRunner(application)
        await runner.setup()
        self._on_stop(runner.cleanup)
        site = web.TCPSite(runner, self.settings.http_ip, self.settings.http_port)
        await site.start()
        return int(runner.addresses[0][1])

    def _tell(self, sip: SipEndpoint, http_port: int) -> None:
        """One file, written whole: where this node can be reached. Its existence says `ready`."""
        facts = {
            "http_url": f"http://{self.settings.http_ip}:{http_port}/",
            "sip_udp_port": sip.udp_port,
            "sip_tcp_port": sip.tcp_port,
            "pid": os.getpid(),
        }
        path = self.settings.sockets / "node.json"
        path.with_suffix(".new").write_text(json.dumps(facts), encoding="utf-8")
        path.with_suffix(".new").rename(path)
        log.info("node.app.started", sip_udp_port=sip.udp_port, http_port=http_port)

    async def _sum_up(self, sip: SipEndpoint, media: MediaClient) -> None:
        """First thing of a stop: how full the tables are. Without live calls every size is zero."""
        counters = sip.counters
        sizes = {name: counters.get(name, 0) for name in TOLD_AT_STOP}
        try:
            log.info("node.app.stopping", media_legs=len(await media.legs()), **sizes)
        except VaultError:
            log.info("node.app.stopping", **sizes)

    def _task(self, work: Coroutine[Any, Any, None], name: str, *, vital: bool = True) -> None:
        task = asyncio.create_task(work, name=name)

        def note_end(ended: asyncio.Task[None]) -> None:
            error = None if ended.cancelled() else ended.exception()
            if error is not None:
                log.error("node.task.failed", task=name, error=type(error).__name__)
                if vital:
                    self._on_failure()

        task.add_done_callback(note_end)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._on_stop(end)

    def _on_stop(self, work: Callable[[], Awaitable[None]]) -> None:
        self._stack.push_async_callback(work)


class _Trace:
    """First lines of SIP messages as JSON lines, for the ladder picture; never a body."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, line: TraceLine) -> None:
        """Writes one line."""
        self._file.write(json.dumps(asdict(line)) + "\n")
        self._file.flush()


def _flows(loyalty: Loyalty | None) -> Flows:
    """Every flow that this node can run."""
    return Flows({} if loyalty is None else {"loyalty": loyalty})


def _desk_of(tenant: Tenant, folder: Path) -> TenantDesk:
    file = sections(folder / f"{tenant.tenant_id}.toml")
    payment = file.get("payment", {})
    return TenantDesk(
        name=tenant.name,
        languages=tenant.telephony.languages,
        currencies=tuple(payment.get("currencies", ())),
        purposes=tuple(payment.get("purposes", ())),
        links="links" in file,
    )


def _portal_languages(tenants: Mapping[str, Tenant]) -> list[str]:
    """The languages in which somebody can call a loyalty programme."""
    return sorted(
        {
            language
            for tenant in tenants.values()
            for did in tenant.telephony.did
            if did.flow.startswith("loyalty.")
            for language in (did.language, *tenant.telephony.languages)
        }
    )


async def _serve(settings: Settings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    app = App(settings, on_failure=stopped.set)  # the supervisor starts us again, whole
    await app.start()
    try:
        await stopped.wait()
    finally:
        await app.stop()


def run_app(settings: Settings) -> None:
    """The app process: runs until SIGTERM, dies with the supervisor."""
    start_logging(settings.log_level)
    try:
        asyncio.run(_serve(settings))
    except (CallError, LoyaltyError) as error:  # a database that this release cannot use
        raise SystemExit(f"pay-ivr: {error.sentence}") from None
