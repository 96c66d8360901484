"""Calls that wait for each other: a gate opens for all, and a call that is over keeps nobody waiting."""

import asyncio

from pay_ivr.proof.gate import Gates


async def test_calls_take_their_gates_in_order_and_a_lost_one_keeps_nobody_waiting() -> None:
    """Three calls, two gates; the third call ends before the second gate."""
    gates, passed = Gates(3, 2), []

    async def call(number: int, stops: int) -> None:
        for stop in range(stops):
            await gates.wait(number)
            passed.append((stop, number))
        gates.leave(number)

    calls = [asyncio.create_task(call(number, stops)) for number, stops in ((0, 2), (1, 2), (2, 1))]
    for stop, gate in enumerate(gates.gates):
        await gate.all_there()
        assert [one for one in passed if one[0] == stop] == []
        gate.open()
    await asyncio.gather(*calls)
    assert {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)} == set(passed)
