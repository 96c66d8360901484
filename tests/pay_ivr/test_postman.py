"""Receipts and webhooks leave the house: a real vault, a real receiver over TLS, crashes in between."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web

from pay_ivr.channels import ChannelError, Channels, Medium, Message
from pay_ivr.happenings import Happening, What
from pay_ivr.hooks import DeliveryState, Hooks, signature
from pay_ivr.ids import now_ms
from pay_ivr.numbers import written
from pay_ivr.postman import Postman, PublicResolver, WebhooksSection, webhooks_of
from pay_ivr.receipts import Receipts, Wish, deserves_one, message_of
from pay_ivr.senders import FolderChannel
from pay_ivr.store import Store
from pay_ivr.teller import Teller
from pay_ivr.tenants import TenantError, load_tenant
from tests.support.zone import WAIT_S, Desk, ZoneProcesses, desk_at, running_zone
from vault import Door, History, Payment, PaymentState, Why
from vault.proof.stripe_tls import server_context

BY = "system:operator"
PAYMENT = Payment(
    "pay_one", "demo", "call_one", "leg_one", "agent1", PaymentState.SETTLED, 1995, "EUR", "B-1", "booking",
    7, brand="visa", last4="4242", receipt="837 229 343",
)  # fmt: skip


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneProcesses]:
    with running_zone() as each:
        yield each


@pytest.fixture
async def caller(zone: ZoneProcesses) -> AsyncIterator[Desk]:
    async with desk_at(zone) as each:
        yield each
        zone.media("close_leg", leg_id=each.leg_id)


@dataclass
class Receiver:
    """A tenant's system: takes webhooks, or answers with `status`."""

    url: str
    ca_file: Path
    status: int = 200
    taken: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.taken.append((request.headers["Pay-IVR-Event"], request.headers["Pay-IVR-Signature"], body))
        return web.Response(status=self.status, headers={"Location": "https://127.0.0.1:1/"})


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    made = Receiver("", tmp_path / "ca.pem")
    context: ssl.SSLContext = server_context(tmp_path, made.ca_file)
    application = web.Application()
    application.router.add_post("/hook", made.take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made.url = f"https://localhost:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


@dataclass
class House:
    """One run of the app, as far as it tells others."""

    hooks: Hooks
    receipts: Receipts
    teller: Teller
    postman: Postman


@asynccontextmanager
async def running(folder: Path, door: Door, terms: WebhooksSection) -> AsyncIterator[House]:
    store = await Store.open(folder / "app.db")
    hooks, receipts = await Hooks.open(store, folder), await Receipts.open(store)
    teller = Teller(store, door, hooks, receipts)
    await teller.open()
    channels = Channels({"demo": {Medium.EMAIL: FolderChannel(folder / "messages")}})
    postman = Postman(hooks, (receipts,), channels, {"demo": terms}, teller.stored)
    tasks = [asyncio.create_task(work) for work in (postman.run(), teller.run(), teller.follow())]
    try:
        yield House(hooks, receipts, teller, postman)
    finally:
        await teller.close()
        await postman.close()
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


async def until(caller: Desk, holds) -> None:
    await caller.eventually(holds)


async def test_what_happens_is_delivered_signed_and_once(
    caller: Desk, receiver: Receiver, tmp_path: Path
) -> None:
    """A hold, its settle, a refund: three events in order, each with a signature that fits."""
    terms = WebhooksSection(private=True, ca_file=str(receiver.ca_file))
    async with running(tmp_path, caller.door, terms) as house:
        _, key = await house.hooks.add_endpoint("demo", receiver.url, now_ms(), BY, private=True)
        held = await caller.charged(amount_minor=5000, settle_later=True)
        await caller.door.settle(held.payment_id, ask_key="s", by="agent:agent1", amount_minor=3000)
        await caller.why(Why.SETTLED)
        await caller.door.refund(held.payment_id, ask_key="r", by="agent:agent1", amount_minor=1000)
        await caller.why(Why.REFUNDED)
        await until(caller, lambda: len(receiver.taken) == 3)
    bodies = [json.loads(body) for _, _, body in receiver.taken]
    assert [("payment.authorised", 5000), ("payment.settled", 3000), ("payment.refunded", 1000)] == [
        (body["type"], body["amount_minor"]) for body in bodies
    ]
    for event_id, signed, body in receiver.taken:
        assert signature(key.encode(), int(signed[2:].split(",")[0]), body) == signed
        assert event_id == json.loads(body)["event_id"]
        assert b"4242424242424242" not in body


async def test_what_happened_while_the_app_was_away_is_delivered(
    caller: Desk, receiver: Receiver, tmp_path: Path
) -> None:
    """The app dies after the endpoint is there; its next run finds the payment, and tells it once."""
    terms = WebhooksSection(private=True, ca_file=str(receiver.ca_file))
    async with running(tmp_path, caller.door, terms) as house:
        await house.hooks.add_endpoint("demo", receiver.url, now_ms(), BY, private=True)
    paid = await caller.charged()
    for _ in range(2):
        async with running(tmp_path, caller.door, terms):
            await until(caller, lambda: len(receiver.taken) == 1)
            await asyncio.sleep(0.2)
    assert [f"{paid.payment_id}.attempt_1.authorised"] == [event_id for event_id, _, _ in receiver.taken]


@pytest.mark.proof
async def test_what_a_dying_broker_told_nobody_is_delivered(
    zone: ZoneProcesses, caller: Desk, receiver: Receiver, tmp_path: Path
) -> None:
    """The next broker finds a refund before anybody listens; the app, which lives on, looks for itself."""
    terms = WebhooksSection(private=True, ca_file=str(receiver.ca_file))
    async with running(tmp_path, caller.door, terms) as house:
        await house.hooks.add_endpoint("demo", receiver.url, now_ms(), BY, private=True)
        paid = await caller.charged(amount_minor=3000)
        await until(caller, lambda: len(receiver.taken) == 1)
        zone.kill("broker")
        zone.refund_at_provider(paid.payment_id, 500)
        zone.leave_webhook(paid.payment_id)
        zone.start("broker")
        deadline = time.monotonic() + WAIT_S
        while zone.inbox(f"evt_{paid.payment_id}") != "looked":  # our loop stands still: nobody listens
            assert time.monotonic() < deadline, zone.broker_log()
            time.sleep(0.02)  # noqa: ASYNC251 - as said
        await until(caller, lambda: len(receiver.taken) == 2)
    assert "payment.refunded" == json.loads(receiver.taken[1][2])["type"]


async def test_what_happens_during_a_look_is_looked_at(tmp_path: Path) -> None:
    """A fact that comes while the payment's history is being fetched is not taken for one that it answers."""
    store = await Store.open(tmp_path / "app.db")
    hooks, receipts = await Hooks.open(store, tmp_path), await Receipts.open(store)
    door = SlowDoor()
    teller = Teller(store, cast("Door", door), hooks, receipts)
    await teller.open()
    running_teller = asyncio.create_task(teller.run())
    teller.look("pay_one")
    await door.asked.acquire()
    teller.look("pay_one")
    door.answer.release()
    async with asyncio.timeout(20):
        await door.asked.acquire()
    door.answer.release()
    await teller.close()
    await running_teller
    await store.close()


class SlowDoor:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.answer = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def history(self, payment_id: str) -> History:
        self.asked.release()
        await self.answer.acquire()
        return History(replace(PAYMENT, payment_id=payment_id), (), ())


@pytest.mark.parametrize(
    ("status", "problem"), [(500, "status_500"), (302, "status_302"), (410, "status_410")]
)
async def test_an_answer_that_is_no_yes_is_tried_again(
    caller: Desk, receiver: Receiver, tmp_path: Path, status: int, problem: str
) -> None:
    """Redirects are not followed; the event waits for its next try with its problem in a word."""
    receiver.status = status
    terms = WebhooksSection(private=True, ca_file=str(receiver.ca_file))
    async with running(tmp_path, caller.door, terms) as house:
        await house.hooks.add_endpoint("demo", receiver.url, now_ms(), BY, private=True)
        await caller.charged()
        await until(caller, lambda: receiver.taken)
        await asyncio.sleep(0.1)
        (waiting,) = await house.hooks.listed("demo", DeliveryState.WAITING)
    assert (problem, 1, 1) == (waiting.problem, waiting.tries, len(receiver.taken))


async def test_a_name_that_leads_home_is_not_called(caller: Desk, receiver: Receiver, tmp_path: Path) -> None:
    """`localhost` passes as a name; looked up it is nobody's business, so nothing is connected to."""
    async with running(tmp_path, caller.door, WebhooksSection()) as house:
        await house.hooks.add_endpoint("demo", receiver.url, now_ms(), BY)
        await caller.charged()
        for _ in range(1_000):
            waiting = await house.hooks.listed("demo", DeliveryState.WAITING)
            if waiting and waiting[0].tries:
                break
            await asyncio.sleep(0.02)
    assert ("unreachable", []) == (waiting[0].problem, receiver.taken)
    with pytest.raises(OSError, match="no address of the internet"):
        await PublicResolver().resolve("localhost", 443)


def test_a_live_tenant_may_not_call_private_addresses(tmp_path: Path) -> None:
    """The file is refused with its line."""
    path = tmp_path / "shop.toml"
    path.write_text('name = "Shop"\nlive = true\n[webhooks]\nprivate = true\n')
    with pytest.raises(TenantError, match=r"shop\.toml:4: webhooks\.private"):
        webhooks_of(load_tenant(path), tmp_path)


async def test_receipts_are_sent_once_whatever_comes_in_between(caller: Desk, tmp_path: Path) -> None:
    """Paid, then refunded in a later run: two messages, each once, with nothing but what it may say."""
    folder = tmp_path / "messages"
    paid = await caller.charged()
    async with running(tmp_path, caller.door, WebhooksSection()) as house:
        wish = Wish(paid.payment_id, "demo", "Demo Travel", Medium.EMAIL, "anna@example.com", "en-US")
        await house.receipts.wish(wish, now_ms())
        await house.teller.tell(paid.payment_id)
        await until(caller, lambda: len(list(folder.glob("*.json"))) == 1)
    await caller.door.refund(paid.payment_id, ask_key="r", by="agent:agent1", amount_minor=500)
    await caller.why(Why.REFUNDED)
    async with running(tmp_path, caller.door, WebhooksSection()) as house:
        await until(caller, lambda: len(list(folder.glob("*.json"))) == 2)
        await house.teller.tell(paid.payment_id)
        await asyncio.sleep(0.1)
        assert ("sent", "sent") == await house.receipts.states(paid.payment_id)
    texts = sorted(json.loads(path.read_text())["text"] for path in folder.glob("*.json"))
    card = f"Receipt: {paid.receipt}\nCard: Visa ending in 4242\n"
    assert [f"Demo Travel\n\nPaid: €19.95\n{card}", f"Demo Travel\n\nRefunded: €5.00\n{card}"] == texts


class Moody:
    """A channel that fails as it is told."""

    def __init__(self, *errors: ChannelError | None) -> None:
        self.errors = list(errors)
        self.keys: list[str] = []

    async def send(self, message: Message) -> None:
        self.keys.append(message.key)
        error = self.errors.pop(0)
        if error is not None:
            raise error


async def test_a_receipt_that_is_refused_for_good_is_given_up(tmp_path: Path) -> None:
    """A passing failure waits for its next try; a refusal ends it."""
    store = await Store.open(tmp_path / "app.db")
    hooks, receipts = await Hooks.open(store, tmp_path), await Receipts.open(store)
    channel = Moody(
        ChannelError("message_unsent", "Later.", retryable=True), ChannelError("message_refused", "Never.")
    )
    postman = Postman(hooks, (receipts,), Channels({"demo": {Medium.SMS: channel}}), {}, asyncio.Event())
    found = Happening("pay_one.attempt_1.authorised", What.AUTHORISED, "2026-01-02T03:04:05.000Z", 1995)
    await receipts.wish(Wish("pay_one", "demo", "Demo", Medium.SMS, "+4915112345678", "de-DE"), now_ms())
    for _ in range(2):
        async with store.engine.begin() as conn:
            await receipts.file(conn, PAYMENT, (found,), now_ms() - 60_000)
        await postman.round()
    (waiting,) = await receipts.due(now_ms() + 60_000)
    assert await receipts.failed(waiting, now_ms(), retryable=False) is False
    assert ("failed",) == await receipts.states("pay_one")
    assert 1 == len(set(channel.keys))
    assert "+4915112345678" not in repr(waiting) + channel.keys[0]
    await receipts.tidy(now_ms() + 91 * 24 * 3_600_000)
    assert ((), ()) == (await receipts.states("pay_one"), await receipts.wished())
    await store.close()


async def test_a_mail_host_that_hangs_holds_up_no_webhook(receiver: Receiver, tmp_path: Path) -> None:
    """One tenant's messages wait for their host; another tenant's system hears at once."""
    store = await Store.open(tmp_path / "app.db")
    hooks, receipts = await Hooks.open(store, tmp_path), await Receipts.open(store)
    terms = WebhooksSection(private=True, ca_file=str(receiver.ca_file))
    channel = Hanging()
    channels, stored = Channels({"demo": {Medium.SMS: channel}}), asyncio.Event()
    postman = Postman(hooks, (receipts,), channels, {"other": terms}, stored)
    found = Happening("pay_one.refund_1.done", What.REFUNDED, "2099-01-02T03:04:05.000Z", 500)
    await receipts.wish(Wish("pay_one", "demo", "Demo", Medium.SMS, "+4915112345678", "de-DE"), now_ms())
    await hooks.add_endpoint("other", receiver.url, now_ms(), BY, private=True)
    working = asyncio.create_task(postman.run())
    async with store.engine.begin() as conn:
        await receipts.file(conn, PAYMENT, (found,), now_ms())
    async with asyncio.timeout(10):
        await channel.asked.wait()
        async with store.engine.begin() as conn:
            await hooks.file(conn, replace(PAYMENT, tenant="other"), (found,), now_ms())
        while not receiver.taken:  # noqa: ASYNC110 - a request that comes from outside has no event
            await asyncio.sleep(0.01)
    channel.answer.set()
    await postman.close()
    await working
    await store.close()


class Hanging:
    """A channel whose host does not answer until it is let."""

    def __init__(self) -> None:
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def send(self, message: Message) -> None:
        self.asked.set()
        await self.answer.wait()


@pytest.mark.parametrize(
    ("amount_minor", "currency", "language", "text"),
    [
        (1995, "EUR", "en-US", "€19.95"),
        (1995, "EUR", "de-DE", "19,95\xa0€"),
        (123456, "USD", "es-ES", "1.234,56\xa0US$"),
        (500, "JPY", "fr-FR", "500\xa0JPY"),
        (1234, "BHD", "en-US", "BHD1.234"),
        (123456, "RSD", "en-US", "RSD1,234.56"),
        (123456, "IQD", "en-US", "IQD123.456"),
    ],
)
def test_amounts_are_written_as_their_readers_do(
    amount_minor: int, currency: str, language: str, text: str
) -> None:
    """With the currency's own number of decimals."""
    assert text == written(language, amount_minor, currency)


def test_an_amount_in_a_receipt_is_in_the_minor_units_of_iso_4217() -> None:
    """Also where coins are gone and other tables count none: 1,234.56 dinars are not 123,456."""
    found = Happening("pay_one.refund_1.done", What.REFUNDED, "2026-01-02T03:04:05.000Z", 123456)
    wish = Wish("pay_one", "demo", "Demo Travel", Medium.EMAIL, "anna@example.com", "en-US")
    assert "RSD1,234.56" in message_of(found, replace(PAYMENT, currency="RSD"), wish).text


def test_a_sale_that_was_only_held_and_given_back_gets_no_receipt() -> None:
    """Nothing was taken."""
    said_yes = Happening("pay_one.attempt_1.authorised", What.AUTHORISED, "2026-01-02T03:04:05.000Z", 1995)
    states = (PaymentState.AUTHORISED, PaymentState.VOIDED, PaymentState.SETTLED, PaymentState.REFUNDED)
    found = [deserves_one(said_yes, (said_yes,), replace(PAYMENT, state=state)) for state in states]
    assert [False, False, True, True] == found


@pytest.mark.parametrize("language", ["en-US", "de-DE", "es-ES", "fr-FR"])
def test_a_receipt_says_what_it_may_and_no_more(language: str) -> None:
    """Tenant, amount, receipt, brand and last 4; no reference, no call, no agent, no address."""
    wish = Wish("pay_one", "demo", "Demo Travel", Medium.EMAIL, "anna@example.com", language)
    found = Happening("pay_one.refund_1.done", What.REFUNDED, "2026-01-02T03:04:05.000Z", 500)
    message = message_of(found, PAYMENT, wish)
    for wanted in ("Demo Travel", "837 229 343", "Visa", "4242"):
        assert wanted in message.text
    for never in ("B-1", "pay_one", "call_one", "agent1", "anna", "{"):
        assert never not in message.text + message.subject
