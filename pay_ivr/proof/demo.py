"""`pay-ivr demo`: a node of its own, foreign phones, five real calls, and pictures of what happened.

Ends with 0 only when every outcome is the expected one and the leak scan of this run is clean.
"""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pay_ivr.node import say
from pay_ivr.proof.desk import DeskClient, Integrator
from pay_ivr.proof.foreign_phone import ForeignPhone
from pay_ivr.proof.scenarios import (
    Players,
    agent_lost,
    alone_in_spanish,
    events_approved,
    inband_declined,
    member_in_german,
)
from pay_ivr.proof.screen import Screen
from pay_ivr.proof.showcase import write_showcase
from pay_ivr.proof.stage import Stage
from pay_ivr.proof.sweep import sweep

TENANTS = Path("infra/tenants")
SCENARIO_TIMEOUT_S = 120.0


@dataclass
class Scenario:
    """One call of the demo: what it shows, what must come out, and what did."""

    name: str
    title: str
    expected: str
    play: Callable[[Players], Awaitable[str]] = field(repr=False)
    outcome: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """For result.json."""
        values = asdict(self)
        del values["play"]
        return values


SCENARIOS = (
    Scenario("events_approved", "telephone-events, approved", "authorised", events_approved),
    Scenario(
        "inband_declined_retried",
        "in-band tones, declined with reason, other card, approved",
        "declined (funds), authorised",
        inband_declined,
    ),
    Scenario("unattended_spanish", "unattended payment in Spanish", "authorised", alone_in_spanish),
    Scenario("agent_lost", "agent hangs up mid-capture, caller confirms with 1", "authorised", agent_lost),
    Scenario(
        "member_german",
        "a member's balance and voucher in German",
        "1300 points left, voucher heard and sent",
        member_in_german,
    ),
)
SIDE_BY_SIDE = 2
"""The last calls are on the line at the same time: they share nobody, and a viewer's patience is short."""


def run_demo(out: Path) -> int:
    """Runs the demo; 0 when everything was as expected, 1 otherwise."""
    return asyncio.run(_run(out))


async def _run(out: Path) -> int:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    say("pay-ivr demo: starting a node of its own on loopback (the first start renders the prompts)")
    stage = await Stage(out / "node", TENANTS, sip_trace=True, log_level="DEBUG").start("demo")
    try:
        say(f"pay-ivr demo: console {stage.facts['http_url']}  SIP UDP {stage.facts['sip_udp_port']}")
        async with (
            DeskClient(stage.facts["http_url"]) as desk,
            Integrator(stage.facts["http_url"], stage.access_key) as integrator,
        ):
            return await _play(stage, desk, integrator, out)
    finally:
        stage.stop()


async def _play(stage: Stage, desk: DeskClient, integrator: Integrator, out: Path) -> int:
    login = stage.logins["agent1"]
    agent = ForeignPhone(login.agent_id, out / "agent.packets")
    await desk.log_in(login.agent_id, login.password)
    with Screen() as screen:
        players = Players(
            int(stage.facts["sip_udp_port"]), desk, integrator, agent, screen, out, stage.settings
        )
        for scenario in SCENARIOS:
            screen.row(scenario.name, "waiting", scenario.title)
        await agent.start(players.port, login.phone_password)
        screen.note("the agent's phone (pyVoIP, a process of its own) has registered with digest")
        try:
            for scenario in SCENARIOS[:-SIDE_BY_SIDE]:
                await _one(scenario, players)
            await asyncio.gather(*(_one(scenario, players) for scenario in SCENARIOS[-SIDE_BY_SIDE:]))
        finally:
            await agent.stop()
        screen.note("searching what the agent's phone, the console and the node's files and memory hold")
        leak = await asyncio.to_thread(sweep, stage, players)
    result = {
        "ok": all(one.outcome == one.expected for one in SCENARIOS) and leak["findings"] == 0,
        "scenarios": [one.as_json() for one in SCENARIOS],
        "leak": leak,
    }
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    stage.stop()
    write_showcase(out, result, players, stage)
    return _sum_up(result, out)


async def _one(scenario: Scenario, players: Players) -> None:
    players.screen.row(scenario.name, "running", scenario.title)
    started = time.monotonic()
    try:
        async with asyncio.timeout(SCENARIO_TIMEOUT_S):
            scenario.outcome = await scenario.play(players)
    except (TimeoutError, ConnectionError) as error:
        scenario.outcome = f"not finished: {type(error).__name__}"
    scenario.seconds = round(time.monotonic() - started, 1)
    state = "right" if scenario.outcome == scenario.expected else "wrong"
    players.screen.row(scenario.name, state, scenario.title, f"{scenario.outcome} ({scenario.seconds} s)")


def _sum_up(result: dict[str, object], out: Path) -> int:
    leak = result["leak"]
    assert isinstance(leak, dict)
    say(f"leak scan of this run: {leak['findings']} finding(s); memory {leak['memory']}")
    say(f"open first: {out / 'index.html'}   ({'all as expected' if result['ok'] else 'NOT as expected'})")
    return 0 if result["ok"] else 1
