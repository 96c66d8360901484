"""`pay-ivr verify leak`: canary cards by every way of keying; nothing of them may be found anywhere.

A node of its own with real processes, six agents with telephones and desks of their own, six calls at once.
What foreign sockets received, logs at DEBUG, databases, temporary files, environments, command lines and live
memory are searched while the calls go on; the exact claim and the attacker judge every call; the negative
controls judge the proof. What it covers, and what not, stands in docs/leak-proof.md.
"""

import asyncio
import contextlib
import datetime as dt
import json
import multiprocessing
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from pay_ivr.proof import controls
from pay_ivr.proof.canary import Canary, make_canary, make_decoys
from pay_ivr.proof.canary_call import AMOUNT_MINOR, CURRENCY, CanaryCall, Exhibit, Lane, new_reference
from pay_ivr.proof.claim import Cycle, Window, frames
from pay_ivr.proof.desk import DeskClient
from pay_ivr.proof.examine import (
    Cards,
    behave,
    examine,
    remember_node,
    search_files,
    search_foreign,
    search_node,
)
from pay_ivr.proof.findings import Findings
from pay_ivr.proof.memory import Before, Place, node_processes, until_gone
from pay_ivr.proof.other_user import separation
from pay_ivr.proof.plan import (
    CODECS,
    DEFAULT_RUNS,
    LANES,
    TALK_PRESSES,
    TONE_TRANSPORTS,
    Moment,
    Run,
    make_plan,
    talk_round,
)
from pay_ivr.proof.sip_phone import SipPhone
from pay_ivr.proof.stage import Stage
from pay_ivr.proof.talking import TalkCall, judge_talk

T = TypeVar("T")
TENANT = "canary"
NUMBER_OF_LANE = "49302000{:02d}"
REFERENCE_S = 6.0
"""A little more than one round of the relay's noise (5.1 s), so that the repetition is seen."""
DECOYS_PER_CANARY = 32
"""So that chance is known far better than it strikes."""
OLD_KEPT = 600
"""Canaries of earlier rounds that are still looked for: more would let ten digits be found by chance."""
REGISTER_EVERY_S = 300.0
"""Phones register for 600 s."""
CELLS_GONE_S = 3.0
MOMENT_WAIT_S = 45.0
"""How long the calls of a round wait for each other and for the search."""
LATE_CONTROLS = 3
"""Recorded calls that the 3 ms control uses: some thirty presses, where chance explains nine."""

TENANT_FILE = """name = "Canary"
live = false

[telephony]
languages = ["en-US"]
{dids}
[payment]
provider = "sandbox"
currencies = ["EUR"]
amount_max_minor = 500000
purposes = ["booking"]
canary = true
"""
DID = """
[[telephony.did]]
number = "{number}"
flow = "agent_assisted"
language = "en-US"
agents = ["{agent}"]
"""


def run_leak(runs: int, json_file: Path | None) -> int:
    """Runs the proof, prints what it sees; 0 when clean, every control caught and memory searched."""
    folder = Path(tempfile.mkdtemp(prefix="payivr-leak-"))
    try:
        findings = asyncio.run(LeakProof(folder, runs or DEFAULT_RUNS).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = findings.report()
    for line in findings.table():
        print(line)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if report["ok"] else 1


def say(line: str) -> None:
    """One line of progress, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class LeakProof:
    """One proof on one node."""

    def __init__(self, folder: Path, runs: int) -> None:
        self._folder = folder
        self._rounds = [*make_plan(runs), talk_round(runs)]
        self._findings = Findings(runs=runs, presses=sum(run.presses for one in self._rounds for run in one))
        self._root = os.geteuid() == 0
        self._lanes: list[Lane] = []
        self._cycles: dict[str, Cycle] = {}
        self._old: list[Canary] = []
        self._keep: list[Exhibit] = []
        """Some recorded calls, for the controls."""
        self._before: dict[int, Before] = {}
        self._registered_at = 0.0
        self._year = dt.datetime.now(tz=dt.UTC).year

    async def run(self) -> Findings:
        """Everything, in order."""
        begun = time.monotonic()
        self._folder.chmod(0o711)  # the node's user may pass, and see nothing
        stage = Stage(
            self._folder / "node",
            self._tenants(),
            other_user=self._root,
            log_level="DEBUG",
            sip_trace=True,
            info_ips="127.0.0.1",
        )
        with _pool() as pool:
            pool.submit(os.getpid)
            try:
                say("leak: starting a node of its own")
                with self._temporary_files():
                    await stage.start(TENANT)
                async with contextlib.AsyncExitStack() as stack:
                    await self._open_lanes(stage, stack)
                    await self._learn(stage)
                    if self._root:
                        self._before = await self._in(pool, remember_node, node_processes(stage.pids())[0])
                    await self._all_rounds(stage, pool)
                    await self._control(stage, pool)
            finally:
                stage.stop()
        self._findings.seconds = time.monotonic() - begun
        return self._findings

    # --- the stage -----------------------------------------------------------------------------------

    def _tenants(self) -> Path:
        dids = "".join(
            DID.format(number=NUMBER_OF_LANE.format(lane), agent=f"canary{lane}") for lane in range(LANES)
        )
        folder = self._folder / "tenants"
        folder.mkdir()
        (folder / f"{TENANT}.toml").write_text(TENANT_FILE.format(dids=dids), encoding="utf-8")
        return folder

    @contextlib.contextmanager
    def _temporary_files(self) -> Iterator[None]:
        """The node's temporary files go to a folder that is searched."""
        folder = self._folder / "node" / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(folder)
        try:
            yield
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before

    async def _open_lanes(self, stage: Stage, stack: contextlib.AsyncExitStack) -> None:
        port = int(stage.facts["sip_udp_port"])
        for number in range(LANES):
            login, codec = stage.logins[f"canary{number}"], CODECS[number % len(CODECS)]
            desk = await stack.enter_async_context(DeskClient(stage.facts["http_url"]))
            await desk.log_in(login.agent_id, login.password)
            phone = SipPhone(login.agent_id, codec=codec, seed=1000 + number)
            await phone.open(port)
            stack.callback(phone.close)
            self._lanes.append(Lane(NUMBER_OF_LANE.format(number), phone, desk, codec))
        await self._register(stage)
        say(f"leak: {LANES} agents are at their desks")

    async def _register(self, stage: Stage) -> None:
        if self._registered_at and time.monotonic() - self._registered_at < REGISTER_EVERY_S:
            return
        self._registered_at = time.monotonic()
        for lane in self._lanes:
            await lane.phone.register(stage.logins[lane.phone.user].phone_password)

    # --- the relay's own frames ----------------------------------------------------------------------

    async def _learn(self, stage: Stage) -> None:
        """One call per codec whose caller never sends a packet: what its agent hears is the relay's own."""
        lanes = [next(lane for lane in self._lanes if lane.codec == codec) for codec in CODECS]
        port = int(stage.facts["sip_udp_port"])
        for lane, cycle in zip(
            lanes, await asyncio.gather(*(self._reference(lane, port) for lane in lanes)), strict=True
        ):
            self._cycles[lane.codec] = cycle
        lengths = ", ".join(f"{len(cycle)} frames {codec}" for codec, cycle in self._cycles.items())
        say(f"leak: learned the relay's own frames from callers that send nothing: {lengths}")

    async def _reference(self, lane: Lane, port: int) -> Cycle:
        caller = SipPhone(f"4916{secrets.randbelow(10**8):08d}", codec=lane.codec, mute=True)
        await caller.open(port)
        try:
            await caller.call(lane.number)
            call = await lane.desk.bridged_call()
            payment = await lane.desk.start_payment(
                str(call["call_id"]), AMOUNT_MINOR, CURRENCY, new_reference()
            )
            start = time.monotonic()
            await asyncio.sleep(REFERENCE_S)
            window = Window(start, time.monotonic())
            await lane.desk.call("POST", f"/v1/payments/{payment}/cancel")
            await caller.hang_up()
            async with asyncio.timeout(5):
                await lane.phone.ended.wait()
            return Cycle(frames(lane.phone.rtp.received, window))
        finally:
            lane.phone.answered.clear()
            caller.close()

    # --- rounds --------------------------------------------------------------------------------------

    async def _all_rounds(self, stage: Stage, pool: Executor) -> None:
        for number, runs in enumerate(self._rounds, start=1):
            await self._register(stage)
            before = time.monotonic()
            await self._round(runs, stage, pool)
            say(
                f"leak: round {number} of {len(self._rounds)}, {len(runs)} calls in"
                f" {time.monotonic() - before:.0f} s: {self._findings.so_far()}"
            )

    async def _round(self, runs: list[Run], stage: Stage, pool: Executor) -> None:
        canaries = [make_canary(run.number, self._year) for run in runs]
        decoys = make_decoys(DECOYS_PER_CANARY * len(canaries), self._year, canaries)
        cards = Cards(tuple(canaries), tuple(self._old[-OLD_KEPT:]), decoys)
        port = int(stage.facts["sip_udp_port"])
        gate = _Gate(len(runs))
        calls = [
            asyncio.create_task(self._call(run, card, port, gate))
            for run, card in zip(runs, canaries, strict=True)
        ]
        await gate.all_there()
        cells = await self._search_node(stage, pool, cards)
        gate.open()
        exhibits = list(await asyncio.gather(*calls))
        self._findings.cells_left += len(await asyncio.to_thread(until_gone, cells, CELLS_GONE_S))
        await self._judge(exhibits, cards, stage, pool)
        self._old += canaries

    async def _call(self, run: Run, canary: Canary, port: int, gate: "_Gate") -> Exhibit:
        kind = TalkCall if run.talks else CanaryCall
        call = kind(run, self._lanes[run.lane], canary, port, seed=secrets.randbelow(2**31))
        try:
            return await call.place(gate.wait)
        finally:
            gate.leave(run.number)

    async def _search_node(self, stage: Stage, pool: Executor, cards: Cards) -> list[int]:
        """Searches live memory at this moment; the cells that lived then."""
        places, cells = node_processes(stage.pids())
        if self._root:
            seen = await self._in(pool, search_node, places, cells, cards, self._before)
            self._before, seen.after = seen.after, {}
            self._findings.seen.append(seen)
            self._findings.separation = await asyncio.to_thread(
                separation, stage.pids(), cells, stage.settings.sockets
            )
        return cells

    async def _judge(self, exhibits: list[Exhibit], cards: Cards, stage: Stage, pool: Executor) -> None:
        for exhibit in exhibits:
            cycle = self._cycles[exhibit.agent_codec]
            self._findings.judge(exhibit, await self._in(pool, examine, exhibit, cycle))
            if len(exhibit.talk_presses) == TALK_PRESSES:
                self._findings.talks.append(await self._in(pool, judge_talk, exhibit))
        self._findings.foreign(exhibits, await self._in(pool, search_foreign, exhibits, cards))
        sizes, hits = await self._in(pool, search_files, [stage.folder, stage.settings.sockets], cards)
        self._findings.files(sizes, hits)
        self._findings.decoys_per_canary = DECOYS_PER_CANARY
        self._keep += [
            one for one in exhibits if _fit_for_control(one) and len(self._keep) < LATE_CONTROLS * LANES
        ]

    @staticmethod
    async def _in(pool: Executor, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, partial(work, *arguments))

    # --- controls ------------------------------------------------------------------------------------

    async def _control(self, stage: Stage, pool: Executor) -> None:
        say("leak: negative controls")
        made = (make_canary(-1000 - number, self._year) for number in range(10))
        tones = [one for one in self._keep if one.run.transport in TONE_TRANSPORTS][:LATE_CONTROLS]
        events = [one for one in self._keep if one.sent_events]
        results = self._findings.controls
        results["SECURE 3 ms late"] = await self._in(pool, controls.secure_too_late, tones, self._cycles)
        results["events not stripped"] = bool(events) and await self._in(
            pool, controls.events_not_stripped, events[0], self._cycles[events[0].agent_codec]
        )
        results["PAN in a log line"] = await self._in(pool, controls.pan_in_log, stage.log_file, next(made))
        results["PAN in a WAL page"] = await self._in(
            pool, controls.pan_in_wal, stage.settings.data_dir, next(made)
        )
        if self._root:
            broker = Place("broker", stage.pids()["broker"])
            results["PAN in broker memory"] = await self._in(pool, controls.pan_in_memory, broker, next(made))
            results["PAN as key objects"] = await self._in(pool, controls.pan_as_objects, next(made))


class _Gate:
    """Holds the calls of a round at their moments until live memory has been searched."""

    def __init__(self, calls: int) -> None:
        self._expected = calls
        self._there: set[int] = set()
        self._left: set[int] = set()
        self._news = asyncio.Event()
        self._opened = asyncio.Event()

    async def wait(self, _moment: Moment) -> None:
        """A call is at its moment."""
        task = asyncio.current_task()
        self._there.add(id(task))
        self._news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOMENT_WAIT_S):
                await self._opened.wait()

    def leave(self, number: int) -> None:
        """A call is over, whether or not it came to its moment."""
        self._left.add(number)
        self._news.set()

    async def all_there(self) -> None:
        """Returns when every call is at its moment or over."""
        until = time.monotonic() + MOMENT_WAIT_S
        while len(self._there) + len(self._left) < self._expected and time.monotonic() < until:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - time.monotonic()):
                    await self._news.wait()

    def open(self) -> None:
        """Everybody goes on."""
        self._opened.set()


def _fit_for_control(exhibit: Exhibit) -> bool:
    whole = not exhibit.trouble and exhibit.run.network == "clean"
    return whole and (exhibit.run.transport in TONE_TRANSPORTS or bool(exhibit.sent_events))


def _pool() -> ProcessPoolExecutor:
    """One examining process; spawned, so that it shares no page with us."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=behave)
