"""Calls at every step of a payment, one process of the node killed under all of them, and what became of it.

A node of its own (`pay_ivr.proof.stage`), a real caller, a real agent phone and a console per call. What is
measured comes from outside the killed process: the packets that the agent's phone was sent, the sandbox's own
books, the log, the console's stream, and what the caller's phone was played.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp

from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.node import node_facts
from pay_ivr.proof.audio import encode
from pay_ivr.proof.desk import DeskClient, DeskRefusal, Json
from pay_ivr.proof.rtp_port import payload_of
from pay_ivr.proof.sip_phone import SipPhone
from pay_ivr.proof.stage import Stage
from pay_ivr.speech import Speech

LANGUAGE = "en-US"
VISA, VISA_WRONG_CVV = "4242424242424242", "4000000000000127"
EXPIRY, CVV = "1231", "123"
ANY_AMOUNT, SLOW_AMOUNT = 1995, 1971
"""Minor units; the sandbox executes amounts ending in 71 at once and answers them after 3 s."""
KEY_MS, GAP_MS = 60, 50
BACK_S = 45.0
"""Within this everything is back, also on a busy machine; the table says how long it really took."""
NEWS_S = 1.5
"""How long the console is watched for more, and the caller for a prompt: it begins within a second."""
NEWS = (Key.CAPTURE_RESTARTED, Key.EXPIRED, Key.UNKNOWN_OUTCOME, Key.TECHNICAL_PROBLEM)
"""Prompts that tell a caller that something went wrong on our side."""
POLL_S = 0.1
AUDIO_LOST = "call.audio.lost"
CLOCK_STEP_S = 0.005
"""The log's times are cut to whole milliseconds; so much later a sample counts as sent after SECURE."""
PROMPT_FRAMES_MIN = 10
"""Frames of 20 ms that must have come out of a prompt's own samples, for it to count as heard."""


class Victim(StrEnum):
    """Which process is killed."""

    MEDIA = "media"
    BROKER = "broker"
    SPAWNER = "spawner"
    CELL = "cell"
    AUDIT = "audit"
    APP = "app"


class Step(StrEnum):
    """Where the payment is when it happens."""

    BRIDGED = "bridged"
    MID_PAN = "mid-PAN"
    BETWEEN = "between fields"
    READY = "ready"
    AUTHORISING = "authorising"
    RESULT = "after the result"
    DECLINED = "declined, before the retry"


@dataclass(frozen=True)
class Seen:
    """What was seen of one cell of the table; the last four are judged, not compared."""

    hears: tuple[str, ...]
    """Prompts of `NEWS` that the caller's phone was played after the kill."""
    sees: tuple[str, ...]
    """What the console was told of the payment before anybody went on."""
    state: str
    """Of the payment then; empty without one."""
    goes_on: tuple[str, ...]
    """What agent and caller had to do until a payment was paid."""
    charges: tuple[int, ...] = ()
    """Per payment of the call: how often money moved, by the provider's own books."""
    executions_max: int = 0
    """Executions of the same attempt, at most."""
    agrees: bool = True
    """Every payment is settled in the vault exactly when the books have moved money."""
    leaked: int = 0
    """Caller packets that the agent's phone was sent while the log says SECURE."""
    passed: int = 0
    """Caller packets it was sent otherwise: shows that the count before can count."""
    back_s: float = 0.0
    """From the kill to the first news of the payment; without news to the first step that worked."""


class Console(DeskClient):
    """A console that comes back after the app was away."""

    async def come_back(self, timeout_s: float = BACK_S) -> Json:
        """The snapshot of the new stream, as soon as there is one."""
        self.messages.clear()
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self._stream is None or self._stream.done():
                if self._stream is not None:
                    await asyncio.gather(self._stream, return_exceptions=True)
                self._stream = asyncio.create_task(self._listen(), name="desk.stream")
            if self.messages:
                return self.messages[0]
            await asyncio.sleep(POLL_S)
        raise TimeoutError("the stream did not come back")


@dataclass
class Scene:
    """One call at one step."""

    step: Step
    number: str
    user: str
    desk: Console
    agent: SipPhone
    caller: SipPhone
    call_id: str = ""
    payment_id: str = ""
    card: str = VISA
    cell: int = 0
    """Pid of the payment's cell; 0 when none lives."""
    killed_at: float = 0.0
    killed_wall: float = 0.0
    mark: int = 0
    """How many stream messages there were at the kill."""
    moves: list[str] = field(default_factory=list)
    """What agent and caller did after the kill."""
    payments: list[str] = field(default_factory=list)
    """Every payment of this call."""
    moved_at: float = 0.0
    """When the payment first moved after the kill, by itself or by a step of agent or caller."""

    def payment(self) -> Json:
        return self.desk.payment(self.payment_id)

    def told(self) -> list[Json]:
        """What the stream told of the payment after the kill, and that nobody hears anything."""
        after = self.desk.messages[self.mark :]
        return [one for one in after if self._is_mine(one)]

    def _is_mine(self, message: Json) -> bool:
        if message["type"] == "call":
            lost: bool = message["what"] == AUDIO_LOST and message["call"]["call_id"] == self.call_id
            return lost
        return bool((message.get("payment") or {}).get("payment_id") == self.payment_id)

    def open_field(self) -> str:
        """The field that the console shows open."""
        fields = self.payment().get("fields", [])
        return next((str(one["field"]) for one in fields if one["state"] == "open"), "")

    async def new_payment(self, amount_minor: int = ANY_AMOUNT) -> None:
        """A payment with its capture open."""
        body = {"amount_minor": amount_minor, "currency": "EUR", "purpose": "booking"}
        body["reference"] = f"K-{secrets.token_hex(4)}"
        made = await self.desk.call("POST", f"/v1/calls/{self.call_id}/payments", body)
        self.payment_id = str(made["payment_id"])
        self.payments.append(self.payment_id)
        await self.act("capture")
        await self.desk.until(lambda: self.open_field() == "pan")

    async def act(self, what: str) -> None:
        """Presses a button of the console."""
        await self.desk.call("POST", f"/v1/payments/{self.payment_id}/{what}")

    async def key_field(self, name: str) -> None:
        """The caller keys one field whole."""
        keys = {"pan": self.card + "#", "expiry": EXPIRY, "cvv": CVV}[name]
        there = next(int(one["digits"]) for one in self.payment()["fields"] if one["field"] == name)
        await self.caller.key(keys[there:], on_ms=KEY_MS, gap_ms=GAP_MS)
        await self.desk.until(lambda: self.open_field() != name)

    async def key_all(self) -> None:
        """The caller keys whatever is asked for, until the payment is ready."""
        while self.payment()["state"] == "capturing":
            await self.desk.until(self.asked)
            if name := self.open_field():
                await self.key_field(name)

    def asked(self) -> bool:
        """True while a field is open, or the capture is over: between two fields none is for a moment."""
        return self.open_field() != "" or self.payment()["state"] != "capturing"


class House:
    """A node with one DID, one agent and one console per step."""

    def __init__(self, folder: Path, steps: Iterable[Step]) -> None:
        self.steps = tuple(steps)
        tenants = folder / "tenants"
        tenants.mkdir(parents=True)
        users = {step: (f"493010000{place}", f"agent{place}") for place, step in enumerate(self.steps, 1)}
        (tenants / "demo.toml").write_text(_tenant(users.values()), encoding="utf-8")
        self.stage = Stage(folder, tenants)
        ports = dict(zip(("http_port", "sip_udp_port", "sip_tcp_port"), _free_ports(3), strict=True))
        self.stage.settings = self.stage.settings.model_copy(update=ports)
        self.data = self.stage.settings.data_dir
        self.scenes: dict[Step, Scene] = {}
        self._users = users

    async def open(self) -> None:
        """The node up, consoles logged in, agents' phones registered."""
        await self.stage.start("demo")
        for step, (number, user) in self._users.items():
            desk = await Console(self.stage.facts["http_url"]).__aenter__()
            agent, caller = SipPhone(user, seed=secrets.randbits(30)), self._caller()
            self.scenes[step] = Scene(step, number, user, desk, agent, caller)
            await desk.log_in(user, self.stage.logins[user].password)
            await agent.open(self.stage.facts["sip_udp_port"])
            await self.register(self.scenes[step])

    async def register(self, scene: Scene) -> None:
        """The agent's phone registered."""
        await scene.agent.register(self.stage.logins[scene.user].phone_password)

    async def close(self) -> None:
        """Everything given back."""
        for scene in self.scenes.values():
            scene.agent.close()
            scene.caller.close()
            await scene.desk.__aexit__(None, None, None)
        await asyncio.to_thread(self.stage.stop)

    @staticmethod
    def _caller() -> SipPhone:
        return SipPhone("491511234567", seed=secrets.randbits(30))

    async def ring(self, scene: Scene) -> None:
        """A new call, bridged to the scene's agent."""
        scene.caller.close()
        scene.caller = self._caller()
        scene.agent.rtp.received.clear()
        await scene.caller.open(self.stage.facts["sip_udp_port"])
        await scene.caller.call(scene.number)
        scene.call_id = str((await scene.desk.bridged_call())["call_id"])
        scene.payment_id, scene.cell, scene.payments, scene.card = "", 0, [], VISA

    async def stage_all(self, steps: Iterable[Step]) -> list[Scene]:
        """Fresh calls at these steps; an authorising one is charged last, so that its answer is still out."""
        scenes = [self.scenes[step] for step in steps]
        await asyncio.gather(*(self.ring(scene) for scene in scenes))
        for scene in scenes:
            before = self.cells()
            if scene.step is Step.DECLINED:
                scene.card = VISA_WRONG_CVV
            if scene.step is not Step.BRIDGED:
                await scene.new_payment(SLOW_AMOUNT if scene.step is Step.AUTHORISING else ANY_AMOUNT)
            scene.cell = next(iter(self.cells() - before), 0)
        await asyncio.gather(*(self._advance(scene) for scene in scenes if scene.step is not Step.BRIDGED))
        await asyncio.sleep(0.5)
        for scene in scenes:
            if scene.step is Step.AUTHORISING:
                await scene.act("charge")
                await scene.desk.payment_in(scene.payment_id, "authorising")
        return scenes

    @staticmethod
    async def _advance(scene: Scene) -> None:
        """From the open capture to the scene's step."""
        if scene.step is Step.MID_PAN:
            await scene.caller.key(VISA[:8], on_ms=KEY_MS, gap_ms=GAP_MS)
            return
        if scene.step is Step.BETWEEN:
            await scene.key_field("pan")
            await scene.desk.until(lambda: scene.open_field() == "expiry")
            return
        await scene.key_all()
        if scene.step in {Step.RESULT, Step.DECLINED}:
            await scene.act("charge")
            state = "declined" if scene.step is Step.DECLINED else "settled"
            await scene.desk.payment_in(scene.payment_id, state)

    def cells(self) -> set[int]:
        """Pids of all cells: the spawner's children."""
        spawner = self.stage.pids()["spawner"]
        children = Path(f"/proc/{spawner}/task/{spawner}/children").read_text(encoding="ascii")
        return {int(pid) for pid in children.split()}

    # --- the kill -------------------------------------------------------------------------------------------

    def kill(self, victim: Victim, scenes: Iterable[Scene]) -> None:
        """SIGKILL to the process, or to every scene's own cell."""
        scenes, living = tuple(scenes), self.cells()
        for scene in scenes:
            scene.cell = scene.cell if scene.cell in living else 0
        pids = (
            {one.cell for one in scenes} - {0} if victim is Victim.CELL else {self.stage.pids()[victim.value]}
        )
        for scene in scenes:
            scene.killed_at, scene.killed_wall = time.monotonic(), time.time()
            scene.mark, scene.moved_at = len(scene.desk.messages), 0.0
            scene.moves.clear()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    async def going_on(self, scene: Scene) -> None:
        """Agent and caller finish a payment on this call, whatever the console shows now."""
        done = scene.payment_id if scene.step is Step.RESULT else ""
        until = time.monotonic() + 2 * BACK_S
        while time.monotonic() < until:
            state = str(scene.payment().get("state", "")) if scene.payment_id != done else ""
            if state == "settled":
                scene.moved_at = scene.moved_at or time.monotonic()
                return
            try:
                await self._next_move(scene, state)
            except DeskRefusal:
                await asyncio.sleep(POLL_S)  # the desk says what is missing; a person presses again
        raise TimeoutError("the call could not go on")

    async def _next_move(self, scene: Scene, state: str) -> None:
        """One step of the payment that the console shows; noted when it has worked."""
        if state in {"", "cancelled", "expired"}:
            await scene.new_payment()
            self._note(scene, "new payment")
        elif state == "capturing":
            await scene.desk.until(scene.asked)
            if name := scene.open_field():
                await self._key(scene, name)
        elif state == "ready":
            await scene.act("charge")
            self._note(scene, "charge")
            await scene.desk.until(lambda: scene.payment()["state"] != "ready")
        elif state == "declined":
            await scene.act("retry")
            await scene.desk.until(lambda: scene.payment()["state"] == "capturing")
            self._note(scene, "retry")
        else:
            await scene.desk.payment_in(scene.payment_id, "settled", "declined", timeout_s=BACK_S)

    async def _key(self, scene: Scene, name: str) -> None:
        before = len(scene.told())
        pressing = asyncio.create_task(scene.key_field(name))
        await scene.desk.until(lambda: any(one.get("why") == "key" for one in scene.told()[before:]))
        self._note(scene, f"key {name}")
        await pressing

    @staticmethod
    def _note(scene: Scene, move: str) -> None:
        scene.moves.append(move)
        scene.moved_at = scene.moved_at or time.monotonic()

    # --- evidence -------------------------------------------------------------------------------------------

    def charges(self, payment_id: str) -> tuple[int, int]:
        """How often money moved for a payment, and how often one attempt of it was executed at most."""
        query = "SELECT attempt_key, kind FROM executions WHERE provider_ref = ?"
        rows = self.read("sandbox.db", query, f"sbx_ref_{payment_id}")
        keys = [key for key, _kind in rows]
        return sum(kind == "authorised" for _key, kind in rows), max(map(keys.count, keys), default=0)

    async def seen(self, scene: Scene, news: Seen) -> Seen:
        """`news` with the evidence of the whole call."""
        books = [self.charges(payment_id) for payment_id in scene.payments]
        stored = [self.stored_state(payment_id) == "settled" for payment_id in scene.payments]
        leaked, passed = self.crossed(scene, scene.payments)
        return replace(
            news,
            goes_on=tuple(scene.moves),
            charges=tuple(charged for charged, _ in books),
            executions_max=max((most for _, most in books), default=0),
            agrees=stored == [charged == 1 for charged, _ in books],
            leaked=leaked,
            passed=passed,
            back_s=round(scene.moved_at - scene.killed_at, 1),
        )

    async def news(self, scene: Scene, expected: tuple[str, ...]) -> Seen:
        """What console and caller were told by themselves; waits for what is expected, and for more."""
        with contextlib.suppress(TimeoutError):
            await scene.desk.until(lambda: len(scene.told()) >= len(expected), BACK_S)
        await asyncio.sleep(NEWS_S)
        told = scene.told()
        sees = tuple(str(one.get("why") or one["what"]) for one in told)
        news = [one["_at"] for one in told if one["type"] == "payment"]
        scene.moved_at = news[0] if news else 0.0
        state = str(scene.payment().get("state", ""))
        return Seen(await self.heard(scene, NEWS), sees, state, ())

    def stored_state(self, payment_id: str) -> str:
        """The payment's state in the vault's own file."""
        return str(self.read("vault.db", "SELECT state FROM payments WHERE payment_id = ?", payment_id)[0][0])

    def secure_spans(self, payment_id: str) -> list[tuple[float, float]]:
        """Wall-clock spans in which the log says SECURE: from a capture's confirmation to its end."""
        spans: list[tuple[float, float]] = []
        since = 0.0
        for entry in self.entries():
            if entry["subject"] != payment_id:
                continue
            at = datetime.fromisoformat(entry["at"]).timestamp()
            if entry["name"] in {"capture.cell.opened", "capture.field.rekeyed"}:
                since = since or at
            elif since and entry["name"] in _RELEASES:
                spans.append((since, at))
                since = 0.0
        return [*spans, (since, time.time())] if since else spans

    def entries(self) -> list[Json]:
        """The log so far."""
        return [
            json.loads(leaf) for (leaf,) in self.read("audit.db", "SELECT leaf FROM entries ORDER BY idx")
        ]

    def crossed(self, scene: Scene, payment_ids: Iterable[str]) -> tuple[int, int]:
        """Caller packets that the agent's phone was sent: while SECURE, and otherwise."""
        spoken = _payloads_sent(scene.caller)
        offset = time.time() - time.monotonic()
        spans = [span for payment_id in payment_ids for span in self.secure_spans(payment_id)]
        inside = outside = 0
        for datagram in tuple(scene.agent.rtp.received):
            if payload_of(datagram.data)[3] in spoken:
                at = datagram.at + offset
                secure = any(start + CLOCK_STEP_S < at < end for start, end in spans)
                inside, outside = inside + secure, outside + (not secure)
        return inside, outside

    async def log_is_whole(self) -> list[str]:
        """What is wrong with the log once nothing waits any more: empty when no row is lost or twice."""
        await _until(lambda: not any(self._waiting(owner) for owner in ("vault", "app")))
        wrong = [f"{owner}: rows wait" for owner in ("vault", "app") if self._waiting(owner)]
        for owner in ("vault", "app"):
            last = self.read(f"{owner}.db", "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")[0][0]
            rows = self.read("audit.db", "SELECT seq FROM entries WHERE source = ? ORDER BY seq", owner)
            if [seq for (seq,) in rows] != list(range(1, last + 1)):
                wrong.append(f"{owner}: {len(rows)} entries of {last} rows")
        return wrong

    def _waiting(self, owner: str) -> int:
        return int(self.read(f"{owner}.db", "SELECT count(*) FROM outbox")[0][0])

    def read(self, name: str, query: str, *values: object) -> list[Any]:
        """Rows of one of the node's databases, read only."""
        with closing(sqlite3.connect(f"file:{self.data / name}?mode=ro", uri=True, timeout=5)) as base:
            return base.execute(query, values).fetchall()

    async def heard(self, scene: Scene, keys: Iterable[Key]) -> tuple[str, ...]:
        """Which of these prompts the caller's phone was played after the kill."""
        played = [one.data[12:] for one in tuple(scene.caller.rtp.received) if one.at > scene.killed_at]
        speech = Speech(Catalogue(), self.data)
        try:
            prompts = {key: (await speech.prompt(LANGUAGE, key)).ulaw for key in keys}
        finally:
            await speech.close()
        return tuple(key.value for key, ulaw in prompts.items() if _played(ulaw, played))

    # --- the app --------------------------------------------------------------------------------------------

    async def app_is_back(self, before: int) -> None:
        """Returns when another app serves than the one with pid `before`."""
        await _until(lambda: node_facts(self.stage.settings)["pid"] != before)

    async def come_back(self, scene: Scene) -> Json:
        """The console's new snapshot; what the stream tells from here on counts as told after the kill."""
        until = time.monotonic() + BACK_S
        while True:
            try:
                snapshot = await scene.desk.come_back()
            except (aiohttp.ClientError, OSError):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(POLL_S)
            else:
                scene.mark = 0
                return snapshot

    async def settled_state(self, scene: Scene) -> str:
        """The payment's state once nothing is under way any more, as its agent can read it."""
        if not scene.payment_id:
            return ""
        async with asyncio.timeout(BACK_S):
            while True:
                payment = await scene.desk.call("GET", f"/v1/payments/{scene.payment_id}")
                if payment["state"] not in {"authorising", "unknown"}:
                    return str(payment["state"])
                await asyncio.sleep(POLL_S)

    @staticmethod
    def joined(lost: Seen, following: Seen) -> Seen:
        """The evidence of a call that was lost and of the call after it."""
        return replace(
            following,
            charges=lost.charges + following.charges,
            executions_max=max(lost.executions_max, following.executions_max),
            agrees=lost.agrees and following.agrees,
            leaked=lost.leaked + following.leaked,
            passed=min(lost.passed, following.passed),
        )

    @staticmethod
    async def bye(phone: SipPhone) -> int:
        """The final status of a BYE."""
        phone.ended.set()
        return (await phone._ask(phone._request("BYE"))).status


_RELEASES = frozenset({"payment.card.tokenised", "payment.intent.expired", "payment.intent.cancelled"})


async def _until(done: Callable[[], bool]) -> None:
    """Returns when it is done, or after `BACK_S`; what follows says what is missing."""
    until = time.monotonic() + BACK_S
    while not done() and time.monotonic() < until:  # noqa: ASYNC110 - other processes tell nobody
        await asyncio.sleep(POLL_S)


def _payloads_sent(phone: SipPhone) -> set[bytes]:
    """Every frame that the phone has spoken, as it went out; frames of one value are no evidence."""
    frames = {encode(samples, phone.rtp.codec) for samples in tuple(phone.rtp.sent_samples)}
    return {frame for frame in frames if len(set(frame)) > 8}


def _played(prompt: bytes, played: Iterable[bytes]) -> bool:
    frames = {prompt[at : at + 160] for at in range(0, len(prompt), 160)}
    telling = {frame for frame in frames if len(set(frame)) > 20}
    return len(telling & set(played)) >= PROMPT_FRAMES_MIN


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has now, for a node that must come back on the same ones."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _tenant(users: Iterable[tuple[str, str]]) -> str:
    head = """
name = "Demo Travel"
live = false
[payment]
provider = "sandbox"
currencies = ["EUR"]
amount_max_minor = 500000
purposes = ["booking"]
unattended = true
[telephony]
languages = ["en-US"]
"""
    did = '[[telephony.did]]\nnumber = "{}"\nflow = "agent_assisted"\nlanguage = "en-US"\nagents = ["{}"]\n'
    return head + "".join(did.format(number, user) for number, user in users)
