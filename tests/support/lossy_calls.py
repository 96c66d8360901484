"""Calls through a bridge to an agent of ours, made by SIPp; prints what became of them as JSON.

Run it in a namespace that loses datagrams. The agent is ours because SIPp's gives up when its 180 and its 200
are both lost.
"""

import asyncio
import json
import sys

import structlog

from pay_ivr.sip.endpoint import SipSettings
from tests.support import sipp
from tests.support.b2bua import Answering, Bridge

RATE_PER_S = 20
ANSWER_S = 0.1
DRAIN_S = 70.0
"""Twice 64·T1 and a little: a 2xx without its ACK, and then a BYE that nobody answers."""


async def main(calls: int) -> dict[str, object]:
    """SIPp's verdict, the bridge's counts, and what is left in the tables of both endpoints."""
    loop = asyncio.get_running_loop()
    agent = Answering(SipSettings(udp_port=0), lambda answer: loop.call_later(ANSWER_S, answer))
    await agent.endpoint.start()
    bridge = Bridge(SipSettings(udp_port=0), f"sip:agent@127.0.0.1:{agent.endpoint.udp_port}")
    await bridge.endpoint.start()
    caller = await sipp.start("caller", bridge.endpoint.udp_port, calls=calls, rate=RATE_PER_S, timeout_s=60)
    outcome = await caller.outcome()
    await caller.end()
    waited = 0.0
    while _left(bridge, agent) != [0] * 6 and waited < DRAIN_S:
        await asyncio.sleep(0.5)
        waited += 0.5
    left = _left(bridge, agent)
    counters = dict(bridge.endpoint.counters)
    await bridge.endpoint.stop()
    await agent.endpoint.stop()
    return {
        "failure": outcome.failure,
        "confirmed": bridge.confirmed,
        "ended": [len(bridge.ends), len(agent.ends)],
        "left": left,
        "retransmissions_out": counters.get("retransmissions_out", 0),
        "handler_failed": counters.get("handler_failed", 0),
        "drained_s": waited,
    }


def _left(bridge: Bridge, agent: Answering) -> list[int]:
    sizes = [endpoint.counters for endpoint in (bridge.endpoint, agent.endpoint)]
    return [size[name] for size in sizes for name in ("legs", "dialogs", "transactions")]


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    sys.stdout.write(json.dumps(asyncio.run(main(int(sys.argv[1])))))
