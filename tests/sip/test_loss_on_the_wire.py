"""Real sockets in a kernel that loses datagrams: 200 calls at 20 a second through the bridge."""

import asyncio
import json

import pytest

from tests.support.netns import run_in_bad_network

CALLS = 200
LOSSES = (0.0, 0.1, 0.2)


@pytest.mark.proof
@pytest.mark.root
@pytest.mark.tool("sipp", "iptables", "unshare", "ip")
async def test_every_call_succeeds_in_spite_of_loss_and_nothing_is_left() -> None:
    """0, 10 and 20 % of all datagrams lost, on every hop and in both directions, the three side by side."""
    runs = [
        run_in_bad_network("tests.support.lossy_calls", loss, str(CALLS), timeout_s=130) for loss in LOSSES
    ]
    results = [json.loads(text) for text in await asyncio.gather(*runs)]
    print(*results, sep="\n")
    for result in results:
        assert ("", 0) == (result["failure"], result["handler_failed"])
        assert ([2 * CALLS, CALLS], [0] * 6) == (result["ended"], result["left"])
    assert CALLS == results[0]["confirmed"]
    assert results[0]["retransmissions_out"] < results[1]["retransmissions_out"]
