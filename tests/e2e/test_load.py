"""200 bridged calls with media through a whole node, in a kernel that loses datagrams."""

import json
from typing import Any

import pytest

from tests.support.netns import run_in_bad_network

pytestmark = [
    pytest.mark.root,
    pytest.mark.tool("iptables", "unshare", "ip"),
]

SAMPLE, CALLS = 50, 200
RUN_MAX_S = 180
"""20 s of calls, 33 s until the last transaction has gone, start and stop; twice that on a busy machine."""


async def loaded(loss: float, calls: int = CALLS) -> dict[str, Any]:
    """What became of so many calls, in a network of their own."""
    said = await run_in_bad_network("tests.support.loaded_node", loss, str(calls), timeout_s=RUN_MAX_S)
    result: dict[str, Any] = json.loads(said)
    print(f"loss {loss:.0%}:", result)
    return result


def assert_every_call_was_a_call(result: dict[str, Any], calls: int = CALLS) -> None:
    """Each was answered, heard on both sides and hung up by its caller; no table holds anything."""
    assert (calls, calls, calls) == (result["answered"], result["agent_calls"], result["agent_heard"])
    assert ["local_hang_up"] == result["reasons"]
    assert 0 == result["exit"]
    tables = result["tables"]
    sizes = ("media_legs", "legs", "dialogs", "transactions", "handler_failed")
    assert dict.fromkeys(sizes, 0) == {name: tables[name] for name in sizes}


@pytest.mark.proof
async def test_every_call_succeeds_while_a_tenth_of_all_datagrams_is_lost() -> None:
    """Retransmissions do it; afterwards SIP tables and media are empty."""
    result = await loaded(0.1, SAMPLE)
    assert_every_call_was_a_call(result, SAMPLE)
    assert result["tables"]["retransmissions_out"] > 0


@pytest.mark.proof
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.2])
async def test_two_hundred_calls_succeed_whatever_is_lost(loss: float) -> None:
    """Four times as many, and at the two ends of the scale."""
    assert_every_call_was_a_call(await loaded(loss))
