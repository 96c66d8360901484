"""A whole node for tests: `pay-ivr serve` with its five processes, and desks with phones around it.

One tenant with a number for every agent, so that calls run side by side and nobody takes another's call.
Everything is real: SIP and RTP on loopback, HTTP and WebSocket, SQLite, cells; no port is fixed.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pay_ivr.proof.desk import DeskClient
from pay_ivr.proof.sip_phone import SipPhone
from pay_ivr.proof.stage import Stage

TENANT = "demo"
NUMBER_BASE = 4930200000
"""Agent n answers the number NUMBER_BASE + n."""
CALLER_BASE = 491511000000
WAIT_S = 15.0
"""A step of a call that takes longer has failed; on an idle machine the longest takes 1 s."""
KEY_MS = 60
"""A quick thumb: on for so long, off for so long."""

VISA, MASTERCARD, AMEX = "4242424242424242", "5555555555554444", "378282246310005"
NO_FUNDS, CVV_WRONG, EXPIRED_CARD = "4000000000009995", "4000000000000127", "4000000000000069"
TEMPORARY = "4000000000000119"
EXPIRY, CVV, AMEX_CVV = "1230", "123", "1234"
FIELDS = ("pan", "expiry", "cvv")
DONE = "#"
"""After a Visa PAN: it might be longer than sixteen digits."""

TENANT_HEAD = """
name = "Demo Travel"
[telephony]
languages = ["en-US", "de-DE", "es-ES", "fr-FR"]
[links]
[messages]
folder = true
[payment]
provider = "sandbox"
currencies = ["EUR", "USD", "JPY"]
amount_max_minor = 500000
purposes = ["booking", "invoice", "deposit"]
unattended = true
"""
DID = """
[[telephony.did]]
number = "{number}"
flow = "agent_assisted"
agents = ["{agent}"]
"""


async def until(true: Callable[[], bool], timeout_s: float = WAIT_S, every_s: float = 0.05) -> None:
    """Returns as soon as something from outside has made it true; TimeoutError otherwise."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - what is waited for comes from outside
            await asyncio.sleep(every_s)


def agent_of(number: int) -> str:
    """The user of agent `number`, counted from 1."""
    return f"agent{number}"


def tenant_text(agents: int) -> str:
    """The tenant's file: one agent-assisted number for each agent."""
    numbers = (DID.format(number=NUMBER_BASE + one, agent=agent_of(one)) for one in range(1, agents + 1))
    return TENANT_HEAD + "".join(numbers)


class Place:
    """One agent at work: the console's connection, the registered phone, and the number that rings it.

    `phone` is None where a test brings a phone that we did not write.
    """

    def __init__(self, number: int, desk: DeskClient, phone: SipPhone | None, sip_port: int) -> None:
        self.number = str(NUMBER_BASE + number)
        self.desk = desk
        self.phone = phone
        self._sip_port = sip_port
        self._calls = 0
        self._index = number

    @asynccontextmanager
    async def call(self, codec: str = "PCMU", **phone: Any) -> AsyncIterator["Talk"]:
        """A caller connected to this agent; both have hung up afterwards."""
        self._calls += 1
        caller = SipPhone(
            str(CALLER_BASE + 1000 * self._index + self._calls),
            codec=codec,
            seed=1000 * self._index + self._calls,
            **phone,
        )
        await caller.open(self._sip_port)
        try:
            await caller.call(self.number)
            try:
                yield Talk(self, caller, (await self.desk.bridged_call(WAIT_S))["call_id"])
            finally:
                await caller.hang_up()
                if self.phone is not None:
                    await asyncio.wait_for(self.phone.ended.wait(), WAIT_S)
        finally:
            caller.close()


class Talk:
    """One bridged call, with what caller and agent do on it."""

    def __init__(self, place: Place, caller: SipPhone | None, call_id: str) -> None:
        """`caller` is None when the caller's phone is none of ours."""
        self.place = place
        self._caller = caller
        self.desk = place.desk
        self.call_id = call_id
        self.payment_id = ""

    @property
    def caller(self) -> SipPhone:
        """Our caller's phone."""
        assert self._caller is not None
        return self._caller

    # What the agent does.

    async def start(self, amount_minor: int = 1995, currency: str = "EUR", reference: str = "") -> None:
        """A payment is created and its capture started."""
        reference = reference or f"R-{self.call_id[-8:]}"
        self.payment_id = await self.desk.start_payment(self.call_id, amount_minor, currency, reference)

    async def press(self, button: str, **body: Any) -> dict[str, Any]:
        """A button of the payment: charge, retry, rekey, talk, cancel; its answer."""
        return await self.desk.call("POST", f"/v1/payments/{self.payment_id}/{button}", body)

    async def charge(self) -> dict[str, Any]:
        """The payment with its result."""
        await self.until("ready")
        await self.press("charge")
        return await self.until("settled", "declined", "unknown", "needs_action")

    # What the caller does.

    async def key(self, keys: str) -> None:
        """Presses keys, as telephone-events."""
        await self.caller.key(keys, on_ms=KEY_MS, gap_ms=KEY_MS)

    async def key_card(self, pan: str = VISA + DONE, expiry: str = EXPIRY, cvv: str = CVV) -> None:
        """The whole card, each field when it is open."""
        for field, keys in zip(FIELDS, (pan, expiry, cvv), strict=True):
            await self.until_open(field)
            await self.key(keys)

    # What both see.

    @property
    def payment(self) -> dict[str, Any]:
        """The newest snapshot that the stream brought."""
        return self.desk.payment(self.payment_id)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Every message of the stream about this payment."""
        return [
            one
            for one in self.desk.messages
            if one["type"] == "payment" and one["payment"]["payment_id"] == self.payment_id
        ]

    async def until(self, *states: str) -> dict[str, Any]:
        """The payment as soon as it is in one of these states."""
        return await self.desk.payment_in(self.payment_id, *states, timeout_s=WAIT_S)

    async def until_open(self, field: str) -> None:
        """Returns when the caller may key this field."""
        await self.desk.until(lambda: self.open_field == field, WAIT_S)

    async def step(self, why: str, count: int = 1, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The stream's message of that step, the `count`-th of its kind."""
        await self.desk.until(lambda: len(self._steps_of(why)) >= count, timeout_s)
        return self._steps_of(why)[count - 1]

    @property
    def open_field(self) -> str:
        """The field that takes keys now; empty without one."""
        fields = self.payment.get("fields", ())
        return next((one["field"] for one in fields if one["state"] == "open"), "")

    @property
    def opened(self) -> list[str]:
        """The fields the caller has been asked for, in order."""
        return [str(one["field"]) for one in self.steps if one["why"] == "field_opened"]

    @property
    def problems(self) -> list[str]:
        """What was wrong with entries, in order."""
        return [str(one["problem"]) for one in self.steps if one["why"] == "field_problem"]

    def _steps_of(self, why: str) -> list[dict[str, Any]]:
        return [one for one in self.steps if one["why"] == why]


class Node:
    """A running node with `agents` desks; made by `running_node`."""

    def __init__(self, stage: Stage, places: list[Place]) -> None:
        self.stage = stage
        self.places = places

    @property
    def sip_port(self) -> int:
        """UDP."""
        return int(self.stage.facts["sip_udp_port"])

    @property
    def url(self) -> str:
        """The desk's address."""
        return str(self.stage.facts["http_url"])

    def audit_rows(self) -> list[str]:
        """Names of all entries that the owners have written, fetched into the log or not yet.

        One that is being fetched stands in both for a moment; owners are read first, so that none is missed.
        """
        data = self.stage.folder / "data"
        waiting: dict[str, str] = {}
        for owner in ("vault.db", "app.db", "loyalty.db"):
            if (data / owner).exists():
                waiting |= _pairs(
                    data / owner, "SELECT key, json_extract(body, '$.name') FROM outbox ORDER BY seq"
                )
        written = _pairs(data / "audit.db", "SELECT key, name FROM entries ORDER BY idx")
        return list((written | waiting).values())

    def phones_stored(self) -> list[str]:
        """Users of the registered phones that a restart of the app would put back."""
        return _column(self.stage.folder / "data" / "app.db", "SELECT agent_id FROM phones ORDER BY agent_id")

    def payments_stored(self) -> list[tuple[Any, ...]]:
        """Every row of the vault's payments and attempts."""
        with _read_only(self.stage.folder / "data" / "vault.db") as books:
            rows = books.execute("SELECT * FROM payments ORDER BY payment_id").fetchall()
            return rows + books.execute("SELECT * FROM attempts ORDER BY attempt_id").fetchall()


def last_words(stage: Stage) -> dict[str, int]:
    """How full the tables of a stopped node were: the app's own line in the log."""
    for line in reversed(stage.log_file.read_text(encoding="utf-8").splitlines()):
        if '"node.app.stopping"' in line:
            return {name: value for name, value in json.loads(line).items() if isinstance(value, int)}
    raise LookupError("the app has not said how it ended")


@asynccontextmanager
async def running_node(
    folder: Path, agents: int, without_phone: Collection[int] = (), more: str = "", **settings: Any
) -> AsyncIterator[Node]:
    """A node with that many agents at their desks, phones registered; all of it gone afterwards.

    `without_phone`: numbers of agents whose phones the test brings. `more`: sections of the tenant's file.
    """
    tenants = folder / "tenants"
    tenants.mkdir(parents=True)
    (tenants / f"{TENANT}.toml").write_text(tenant_text(agents) + more, encoding="utf-8")
    stage = Stage(folder / "node", tenants, **settings)
    await stage.start(TENANT)
    places: list[Place] = []
    try:
        for number in range(1, agents + 1):
            place = await _take_place(stage, number, phone=number not in without_phone)
            places.append(place)
        yield Node(stage, places)
    finally:
        for place in places:
            await place.desk.__aexit__()
            if place.phone is not None:
                place.phone.close()
        code = await asyncio.to_thread(stage.stop)
    assert 0 == code


async def _take_place(stage: Stage, number: int, *, phone: bool) -> Place:
    login = stage.logins[agent_of(number)]
    desk = DeskClient(stage.facts["http_url"])
    await desk.__aenter__()
    await desk.log_in(login.agent_id, login.password)
    port = int(stage.facts["sip_udp_port"])
    registered = SipPhone(login.agent_id, seed=number) if phone else None
    if registered is not None:
        await registered.open(port)
        await registered.register(login.phone_password)
    return Place(number, desk, registered, port)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)


def _pairs(path: Path, query: str) -> dict[str, str]:
    books = _read_only(path)
    try:
        return {str(key): str(value) for key, value in books.execute(query)}
    finally:
        books.close()


def _column(path: Path, query: str) -> list[str]:
    books = _read_only(path)
    try:
        return [str(row[0]) for row in books.execute(query)]
    finally:
        books.close()


async def settled(node: Node) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Audit entries and stored payments once nothing has been added for a moment."""
    seen = (node.audit_rows(), node.payments_stored())
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        await asyncio.sleep(0.5)
        now = (node.audit_rows(), node.payments_stored())
        if sorted(now[0]) == sorted(seen[0]) and now[1] == seen[1]:
            return now
        seen = now
    raise TimeoutError("the books do not come to rest")
