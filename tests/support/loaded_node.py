"""A whole node under load: calls with media from a crowd of callers to an agent who answers by himself.

`python -m tests.support.loaded_node CALLS` prints what became of them as JSON. Run it in a namespace that
loses datagrams: node, callers and agent are all in it.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import structlog

from pay_ivr.proof.stage import Stage
from tests.support.crowd import Crowd, Leg, Microphones
from tests.support.node import NUMBER_BASE, TENANT, agent_of, last_words, tenant_text

RATE_PER_S = 10
TALK_S = 2.0
LINGER_S = 66.0
"""64·T1 for a 2xx that nobody acknowledges, and once more for its BYE (RFC 3261 §13.3.1.4, §17.1.2.2)."""
QUIET_S = 33.0
"""64·T1: how long a transaction of the last BYE stays (timer J) when all went well."""


async def main(calls: int, folder: Path) -> dict[str, object]:
    """Counts of both sides, and what the node says about its tables when it is stopped."""
    (folder / "tenants").mkdir()
    (folder / "tenants" / f"{TENANT}.toml").write_text(tenant_text(1))
    stage = Stage(folder / "node", folder / "tenants")
    await stage.start(TENANT)
    microphones = Microphones()
    callers, agent = Crowd(microphones), Crowd(microphones)
    try:
        return await _play(stage, callers, agent, calls)
    finally:
        await callers.endpoint.stop()
        await agent.endpoint.stop()
        await microphones.stop()
        await asyncio.to_thread(stage.stop)


async def _play(stage: Stage, callers: Crowd, agent: Crowd, calls: int) -> dict[str, object]:
    port = int(stage.facts["sip_udp_port"])
    await callers.endpoint.start()
    await agent.endpoint.start()
    await agent.register(agent_of(1), stage.logins[agent_of(1)].phone_password, port)
    started = time.monotonic()
    legs = await _call_all(callers, port, calls)
    played_s = time.monotonic() - started
    await _all_ended(agent)
    await asyncio.sleep(QUIET_S)
    code = await asyncio.to_thread(stage.stop)
    return {
        "answered": sum(leg.line.received > 0 and leg.status is None for leg in legs),
        "agent_heard": sum(leg.line.received > 0 for leg in agent.legs),
        "agent_calls": len(agent.legs),
        "reasons": sorted({str(leg.reason) for leg in legs}),
        "heard": _share(legs, agent.legs),
        "played_s": round(played_s, 1),
        "exit": code,
        "tables": last_words(stage),
    }


async def _call_all(callers: Crowd, port: int, calls: int) -> list[Leg]:
    number = str(NUMBER_BASE + 1)
    waiting = []
    for one in range(calls):
        waiting.append(asyncio.create_task(callers.call(number, f"49151{one:07d}", port, TALK_S)))
        await asyncio.sleep(1 / RATE_PER_S)
    return list(await asyncio.gather(*waiting))


async def _all_ended(agent: Crowd) -> None:
    async with asyncio.timeout(LINGER_S):
        for leg in agent.legs:
            await leg.ended.wait()


def _share(callers: list[Leg], agents: list[Leg]) -> float:
    """Packets that arrived at the other end, of those sent."""
    legs = [*callers, *agents]
    return round(sum(leg.line.received for leg in legs) / max(1, sum(leg.line.sent for leg in legs)), 3)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(prefix="payivr-") as name:
        sys.stdout.write(json.dumps(asyncio.run(main(int(sys.argv[1]), Path(name)))))
