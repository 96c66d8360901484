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
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from pay_ivr.proof import controls
from pay_ivr.proof.canary import DECLINED_YEARS, EXPIRY_YEARS, Canary, make_canary, make_decoys
from pay_ivr.proof.canary_call import AMOUNT_MINOR, CURRENCY, CanaryCall, Exhibit, Lane, new_reference
from pay_ivr.proof.claim import Cycle, Window, frames
from pay_ivr.proof.desk import POLL_S, DeskClient
from pay_ivr.proof.examine import (
    Cards,
    behave,
    examine,
    remember_node,
    search_files,
    search_foreign,
    search_node,
    search_traffic,
)
from pay_ivr.proof.findings import Findings
from pay_ivr.proof.gate import Gate, Gates
from pay_ivr.proof.memory import Before, Place, node_processes, until_gone
from pay_ivr.proof.other_user import separation
from pay_ivr.proof.plan import (
    CODECS,
    DEFAULT_RUNS,
    LANES,
    TALK_PRESSES,
    TONE_TRANSPORTS,
    Run,
    all_runs,
    make_plan,
    talk_round,
)
from pay_ivr.proof.sip_phone import SipPhone
from pay_ivr.proof.stage import Stage
from pay_ivr.proof.stripe_call import StripeCall
from pay_ivr.proof.stripe_findings import TO_PROVIDER, Told
from pay_ivr.proof.stripe_plan import SECOND_CARD, Scenario, StripeRound, Then, stripe_rounds
from pay_ivr.proof.stripe_provider import StripeProvider
from pay_ivr.proof.talking import TalkCall, judge_talk

T = TypeVar("T")
TENANT, STRIPE_TENANT = "canary", "stripe"
NUMBER_OF_LANE = {TENANT: "49302000{:02d}", STRIPE_TENANT: "49303000{:02d}"}
REFERENCE_S = 6.0
"""A little more than one round of the relay's noise (5.1 s), so that the repetition is seen."""
DECOYS_PER_CANARY = 32
"""So that chance is known far better than it strikes."""
OLD_KEPT = 600
"""Canaries of earlier rounds that are still looked for: more would let ten digits be found by chance."""
REGISTER_EVERY_S = 300.0
"""Phones register for 600 s."""
CELLS_GONE_S = 3.0
LATE_CONTROLS = 3
"""Recorded calls that the 3 ms control uses: some thirty presses, where chance explains nine."""

TENANT_FILE = """name = "Canary"
live = false

[telephony]
languages = ["en-US"]
{dids}
[payment]
provider = "{provider}"
currencies = ["EUR"]
amount_max_minor = 500000
purposes = ["booking"]
{options}
"""
SANDBOX_OPTIONS = "canary = true"
STRIPE_OPTIONS = """[payment.stripe]
api_base = "{url}"
ca_file = "{ca_file}"
"""
BROKER_BACK_S = 45.0
"""A killed broker is there again long before, also on a busy machine."""
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
        self._stripe_rounds = stripe_rounds(runs, runs + len(self._rounds[-1]))
        stripe_runs = tuple(run for one in self._stripe_rounds for run in one.runs)
        every = [*all_runs(self._rounds), *stripe_runs]
        self._findings = Findings(runs=runs, presses=sum(run.presses for run in every))
        self._findings.stripe.planned = stripe_runs
        self._root = os.geteuid() == 0
        self._lanes: list[Lane] = []
        self._stripe_lanes: list[Lane] = []
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
        async with StripeProvider(self._folder / "stripe") as provider:
            self._findings.stripe.simulator_pid = provider.pid
            stage = Stage(
                self._folder / "node",
                self._tenants(provider),
                other_user=self._root,
                log_level="DEBUG",
                sip_trace=True,
                info_ips="127.0.0.1",
            )
            with _pool() as pool:
                pool.submit(os.getpid)
                try:
                    await self._prove(stage, provider, pool)
                finally:
                    stage.stop()
        self._findings.seconds = time.monotonic() - begun
        return self._findings

    async def _prove(self, stage: Stage, provider: StripeProvider, pool: Executor) -> None:
        say("leak: starting a node of its own")
        with self._temporary_files():
            await stage.start(TENANT, provider.secrets)
        async with contextlib.AsyncExitStack() as stack:
            await self._open_lanes(stage, stack)
            await self._learn(stage)
            if self._root:
                self._before = await self._in(pool, remember_node, node_processes(stage.pids())[0])
            await self._all_rounds(stage, pool)
            await self._all_stripe_rounds(stage, provider, pool)
            await self._control(stage, provider, pool)

    # --- the stage -----------------------------------------------------------------------------------

    def _tenants(self, provider: StripeProvider) -> Path:
        folder = self._folder / "tenants"
        folder.mkdir()
        options = STRIPE_OPTIONS.format(url=provider.url, ca_file=provider.ca_file)
        for tenant, name, lines in ((TENANT, "sandbox", SANDBOX_OPTIONS), (STRIPE_TENANT, "stripe", options)):
            dids = "".join(
                DID.format(number=NUMBER_OF_LANE[tenant].format(lane), agent=f"{tenant}{lane}")
                for lane in range(LANES)
            )
            text = TENANT_FILE.format(dids=dids, provider=name, options=lines)
            (folder / f"{tenant}.toml").write_text(text, encoding="utf-8")
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
        for number in range(LANES):
            self._lanes.append(await self._open_lane(stage, stack, TENANT, number))
        for number in range(max(len(one.runs) for one in self._stripe_rounds)):
            self._stripe_lanes.append(await self._open_lane(stage, stack, STRIPE_TENANT, number))
        await self._register(stage)
        say(f"leak: {len(self._lanes) + len(self._stripe_lanes)} agents are at their desks")

    @staticmethod
    async def _open_lane(stage: Stage, stack: contextlib.AsyncExitStack, tenant: str, number: int) -> Lane:
        login, codec = stage.logins[f"{tenant}{number}"], CODECS[number % len(CODECS)]
        desk = await stack.enter_async_context(DeskClient(stage.facts["http_url"]))
        await desk.log_in(login.agent_id, login.password)
        phone = SipPhone(login.agent_id, codec=codec, seed=secrets.randbits(30))
        await phone.open(int(stage.facts["sip_udp_port"]))
        stack.callback(phone.close)
        return Lane(NUMBER_OF_LANE[tenant].format(number), phone, desk, codec)

    async def _register(self, stage: Stage) -> None:
        if self._registered_at and time.monotonic() - self._registered_at < REGISTER_EVERY_S:
            return
        self._registered_at = time.monotonic()
        for lane in (*self._lanes, *self._stripe_lanes):
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
        gate = Gate(len(runs))
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

    async def _call(self, run: Run, canary: Canary, port: int, gate: Gate) -> Exhibit:
        kind = TalkCall if run.talks else CanaryCall
        call = kind(run, self._lanes[run.lane], canary, port, seed=secrets.randbelow(2**31))
        try:
            return await call.place(lambda _moment: gate.wait(run.number))
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
        await self._search_outside(exhibits, cards, stage, pool)
        self._keep += [
            one for one in exhibits if _fit_for_control(one) and len(self._keep) < LATE_CONTROLS * LANES
        ]

    async def _search_outside(
        self, exhibits: list[Exhibit], cards: Cards, stage: Stage, pool: Executor
    ) -> None:
        """What foreign sockets received, and the node's files."""
        self._findings.foreign(exhibits, await self._in(pool, search_foreign, exhibits, cards))
        sizes, hits = await self._in(pool, search_files, [stage.folder, stage.settings.sockets], cards)
        self._findings.files(sizes, hits)
        self._findings.decoys_per_canary = DECOYS_PER_CANARY

    @staticmethod
    async def _in(pool: Executor, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, partial(work, *arguments))

    # --- the tenant of Stripe's ----------------------------------------------------------------------

    async def _all_stripe_rounds(self, stage: Stage, provider: StripeProvider, pool: Executor) -> None:
        for number, one in enumerate(self._stripe_rounds, start=1):
            await self._register(stage)
            before = time.monotonic()
            await self._stripe_round(one, stage, provider, pool)
            say(
                f"leak: Stripe round {number} of {len(self._stripe_rounds)}, {len(one.runs)} calls in"
                f" {time.monotonic() - before:.0f} s: {self._findings.so_far()}"
            )

    async def _stripe_round(
        self, one: StripeRound, stage: Stage, provider: StripeProvider, pool: Executor
    ) -> None:
        calls = self._stripe_calls(one, stage, provider)
        canaries = [card for call in calls for card in call.cards]
        decoys = make_decoys(DECOYS_PER_CANARY * len(canaries), self._year, canaries)
        cards = Cards(tuple(canaries), tuple(self._old[-OLD_KEPT:]), decoys)
        gates = Gates(len(calls), len(one.stops))
        placing = [asyncio.create_task(self._place(call, gates)) for call in calls]
        cells: set[int] = set()
        for gate, stop in zip(gates.gates, one.stops, strict=True):
            await gate.all_there()
            if stop.searched:
                cells.update(await self._search_node(stage, pool, cards))
            await self._happen(stop.then, stage, provider)
            gate.open()
        await asyncio.gather(*placing)
        self._findings.cells_left += len(await asyncio.to_thread(until_gone, list(cells), CELLS_GONE_S))
        await self._judge_stripe(calls, one, pool)
        await self._search_outside([call.exhibit for call in calls], cards, stage, pool)
        await self._search_traffic(provider, cards, pool)
        self._old += canaries

    def _stripe_calls(self, one: StripeRound, stage: Stage, provider: StripeProvider) -> list[StripeCall]:
        calls = []
        for run in one.runs:
            declined = run.scenario is Scenario.DECLINED
            first = make_canary(run.number, self._year, years=DECLINED_YEARS if declined else EXPIRY_YEARS)
            cards = (first, make_canary(run.number + SECOND_CARD, self._year))
            lane = self._stripe_lanes[run.lane]
            calls.append(StripeCall(run, lane, provider, cards, stage))
        return calls

    @staticmethod
    async def _place(call: StripeCall, gates: Gates) -> None:
        try:
            await call.place(lambda _moment: gates.wait(call.run.number))
        finally:
            gates.leave(call.run.number)

    @staticmethod
    async def _happen(then: Then, stage: Stage, provider: StripeProvider) -> None:
        """What the calls meet on their way to the next stop."""
        if then is Then.SHUT:
            await provider.shut()
        elif then is Then.OPEN:
            await provider.open()
        elif then is Then.KILL:
            killed = stage.pids()["broker"]
            os.kill(killed, signal.SIGKILL)
            async with asyncio.timeout(BROKER_BACK_S):
                while stage.pids()["broker"] == killed:
                    await asyncio.sleep(POLL_S)

    async def _judge_stripe(self, calls: list[StripeCall], one: StripeRound, pool: Executor) -> None:
        findings = self._findings
        for call in calls:
            before = len(findings.breaches)
            for exhibit in call.earlier:
                verdict = await self._in(pool, examine, exhibit, self._cycles[exhibit.agent_codec])
                findings.judge_capture(exhibit, verdict)
            cycle = self._cycles[call.exhibit.agent_codec]
            findings.judge(call.exhibit, await self._in(pool, examine, call.exhibit, cycle))
            breaches = len(findings.breaches) - before
            stops = zip(call.reached, one.stops, strict=False)
            searched = tuple(when for when, stop in stops if stop.searched and self._root)
            findings.stripe.told.append(Told(call.run, searched, call.came_through, call.state, breaches))

    async def _search_traffic(self, provider: StripeProvider, cards: Cards, pool: Executor) -> None:
        """What the broker has sent to the provider: ids only."""
        traffic = await provider.traffic()
        self._findings.stripe.traffic = traffic
        self._findings.hits |= await self._in(pool, search_traffic, traffic.connections, TO_PROVIDER, cards)

    # --- controls ------------------------------------------------------------------------------------

    async def _control(self, stage: Stage, provider: StripeProvider, pool: Executor) -> None:
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
        results["PAN in a line of Stripe's wire"] = await self._in(
            pool, controls.pan_in_wire_log, stage.log_file, next(made)
        )
        planted = next(made)
        await provider.say_as_broker(controls.card_form(planted))
        connections = (await provider.traffic()).connections
        results["PAN in what the broker sends"] = await self._in(
            pool, controls.pan_in_traffic, connections, planted
        )
        if self._root:
            broker = Place("broker", stage.pids()["broker"])
            form = next(made)
            results["form of a card in broker memory"] = await self._in(
                pool, controls.form_in_memory, broker, form
            )
            results["PAN in broker memory"] = await self._in(pool, controls.pan_in_memory, broker, next(made))
            results["PAN as key objects"] = await self._in(pool, controls.pan_as_objects, next(made))


def _fit_for_control(exhibit: Exhibit) -> bool:
    whole = not exhibit.trouble and exhibit.run.network == "clean"
    return whole and (exhibit.run.transport in TONE_TRANSPORTS or bool(exhibit.sent_events))


def _pool() -> ProcessPoolExecutor:
    """One examining process; spawned, so that it shares no page with us."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=behave)
