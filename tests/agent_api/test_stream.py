"""The live stream: order, resume after a gap, and everything that ends it."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from hypothesis import given
from hypothesis import strategies as st

from agent_api import stream
from agent_api.desk import Asker
from agent_api.stream import CLOSE_LOGIN_ENDED, CLOSE_RESUME_TOO_OLD, RING_MAX, Feed
from tests.agent_api.conftest import DeskHouse, problem

TIMEOUT_S = 15.0


async def connect(house: DeskHouse, query: str = "", user: str = "agent1") -> ClientWebSocketResponse:
    """A console's WebSocket."""
    return await house.http.ws_connect(f"{house.url}/v1/stream{query}", headers=await house.log_in(user))


async def read(socket: ClientWebSocketResponse, count: int) -> list[dict]:
    """The next messages."""
    return [await socket.receive_json(timeout=TIMEOUT_S) for _ in range(count)]


async def close_code(socket: ClientWebSocketResponse) -> int | None:
    """The code with which the desk closes; messages before it are read over."""
    while (await socket.receive(timeout=TIMEOUT_S)).type not in {WSMsgType.CLOSE, WSMsgType.CLOSED}:
        pass
    return socket.close_code


async def test_a_stream_begins_with_a_snapshot_and_goes_on_with_changes(house: DeskHouse) -> None:
    """Calls and payments as they stand, then every change with the next number."""
    call = house.board.bridge("demo", "agent1")
    async with await connect(house) as socket:
        [snapshot] = await read(socket, 1)
        house.board.change(replace(call, speaking=True), "call.speaking.changed")
        await house.pay(call.call_id)
        changed, created = await read(socket, 2)
    assert snapshot["type"] == "snapshot"
    assert [one["call_id"] for one in snapshot["calls"]] == [call.call_id]
    assert (changed["seq"], changed["what"], changed["call"]["speaking"]) == (
        1,
        "call.speaking.changed",
        True,
    )
    assert (created["seq"], created["why"], created["payment"]["state"]) == (2, "created", "created")


async def test_a_whole_payment_arrives_in_order_with_complete_snapshots(house: DeskHouse) -> None:
    """Every number once, every state with its fields, never a digit."""
    payment_id = await house.payment_on_call()
    async with await connect(house) as socket:
        await read(socket, 1)
        await house.post(f"/v1/payments/{payment_id}/capture")
        house.board.hurry(payment_id)
        messages = [await socket.receive_json(timeout=TIMEOUT_S)]
        while messages[-1]["why"] != "ready":
            messages += await read(socket, 1)
    assert [one["seq"] for one in messages] == list(range(1, len(messages) + 1))
    assert sum(one["why"] == "key" for one in messages) == 23
    assert [one["payment"]["fields"][0]["digits"] for one in messages if one["field"] == "pan"][:4] == [
        0,
        1,
        2,
        3,
    ]


async def test_a_console_that_was_away_gets_exactly_what_it_missed(house: DeskHouse) -> None:
    """Resume by the last number: no gap, nothing twice."""
    call = house.board.bridge("demo", "agent1")
    async with await connect(house) as socket:
        [snapshot] = await read(socket, 1)
        house.board.change(call, "one")
        await read(socket, 1)
    house.board.change(call, "two")
    house.board.change(call, "three")
    async with await connect(house, f"?run={snapshot['run']}&last=1") as socket:
        house.board.change(call, "four")
        messages = await read(socket, 3)
    assert [(one["seq"], one["what"]) for one in messages] == [(2, "two"), (3, "three"), (4, "four")]


@pytest.mark.parametrize("query", ["?run=other&last=1", "?run={run}&last=999999", "?last=0"])
async def test_a_resume_that_cannot_be_complete_is_closed_with_4409(house: DeskHouse, query: str) -> None:
    """Another run, a number of the future, or no run at all: start again from a snapshot."""
    async with await connect(house) as socket:
        [snapshot] = await read(socket, 1)
    async with await connect(house, query.format(run=snapshot["run"])) as socket:
        assert await close_code(socket) == CLOSE_RESUME_TOO_OLD


async def test_a_console_that_was_away_too_long_is_closed_with_4409(house: DeskHouse) -> None:
    """What it missed is gone from the ring."""
    call = house.board.bridge("demo", "agent1")
    async with await connect(house) as socket:
        [snapshot] = await read(socket, 1)
    for _ in range(RING_MAX + 1):
        house.board.change(call, "more")
    async with await connect(house, f"?run={snapshot['run']}&last=0") as socket:
        assert await close_code(socket) == CLOSE_RESUME_TOO_OLD
    async with await connect(house) as socket:
        [fresh] = await read(socket, 1)
    assert fresh["seq"] == RING_MAX + 1


async def test_numbers_of_a_forgotten_feed_mean_nothing_to_the_next(house: DeskHouse) -> None:
    """A laptop that slept longer than its feed lived must not go on in the middle of another's numbers."""
    call = house.board.bridge("demo", "agent1")
    async with await connect(house) as socket:
        [old] = await read(socket, 1)
    async with asyncio.timeout(TIMEOUT_S):
        while house.streams._feeds["agent1"].consoles:  # noqa: ASYNC110 - the desk notices the close by itself
            await asyncio.sleep(0.01)
    house.streams.forget_idle(house.clock.now + stream.FEED_KEPT_S + 1)
    async with await connect(house) as socket:
        await read(socket, 1)
        house.board.change(call, "one")
        await read(socket, 1)
    async with await connect(house, f"?run={old['run']}&last=0") as socket:
        assert await close_code(socket) == CLOSE_RESUME_TOO_OLD


async def test_agents_hear_only_of_their_own_calls(house: DeskHouse) -> None:
    """Neither a colleague's nor another tenant's call shows, not even under the same agent id."""
    async with await connect(house) as socket:
        await read(socket, 1)
        house.board.bridge("demo", "agent2")
        house.board.bridge("other", "agent1")
        mine = house.board.bridge("demo", "agent1")
        [message] = await read(socket, 1)
    assert (message["seq"], message["call"]["call_id"]) == (1, mine.call_id)


async def test_an_agent_hears_that_his_call_has_gone_to_another(house: DeskHouse) -> None:
    """Once, and no longer as his own."""
    call = house.board.bridge("demo", "agent1")
    async with await connect(house) as socket:
        await read(socket, 1)
        house.board.change(call, "first")
        house.board.change(replace(call, agent_id="agent2"), "moved")
        house.board.change(replace(call, agent_id="agent2", speaking=True), "not.for.us")
        house.board.change(call, "back")
        messages = await read(socket, 3)
    assert [(one["what"], one["call"]["mine"]) for one in messages] == [
        ("first", True),
        ("moved", False),
        ("back", True),
    ]


async def test_the_stream_needs_a_login(house: DeskHouse) -> None:
    """An access key has no stream, nobody has none."""
    with pytest.raises(WSServerHandshakeError) as refused:
        await house.http.ws_connect(house.url + "/v1/stream", headers=house.own)
    assert refused.value.status == 401
    with pytest.raises(WSServerHandshakeError) as refused:
        await house.http.ws_connect(house.url + "/v1/stream", headers=await house.key())
    assert refused.value.status == 403


async def test_a_plain_request_is_told_to_upgrade(house: DeskHouse) -> None:
    """A person who opens the address sees a problem document."""
    await problem(await house.get("/v1/stream"), 426, "upgrade_needed")


@pytest.mark.parametrize("query", ["?last=x", "?last=-1", "?last=1&token=1", "?run=" + "a" * 300])
async def test_a_wrong_query_is_refused(house: DeskHouse, query: str) -> None:
    """Only a number and a run id, never a credential."""
    await problem(await house.get("/v1/stream" + query), 400, "query_invalid")


async def test_a_fourth_console_of_one_agent_is_refused(house: DeskHouse) -> None:
    """Three windows; closing one makes room."""
    sockets = [await connect(house) for _ in range(3)]
    with pytest.raises(WSServerHandshakeError) as refused:
        await connect(house)
    assert refused.value.status == 429
    await sockets[0].close()
    for _ in range(50):
        try:
            await (await connect(house)).close()
            break
        except WSServerHandshakeError:
            await asyncio.sleep(0.02)
    else:
        pytest.fail("a closed console kept its place")
    for socket in sockets:
        await socket.close()


async def test_logging_out_closes_the_consoles_of_that_login(house: DeskHouse) -> None:
    """With 4401, so that the page asks for a login."""
    async with await connect(house) as socket:
        await read(socket, 1)
        await house.post("/v1/logout")
        assert await close_code(socket) == CLOSE_LOGIN_ENDED


async def test_a_login_that_runs_out_closes_the_stream(
    house: DeskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten screen does not go on showing callers; a live call keeps it open."""
    monkeypatch.setattr(stream, "LOGIN_CHECK_S", 0.05)
    call = house.board.bridge("demo", "agent1")
    async with await connect(house) as socket:
        house.clock.now += 20 * 60
        await asyncio.sleep(0.3)
        assert not socket.closed
        house.board.end(call.call_id)
        house.clock.now += 16 * 60
        assert await close_code(socket) == CLOSE_LOGIN_ENDED


async def test_a_console_that_talks_is_closed(house: DeskHouse) -> None:
    """The stream only tells."""
    async with await connect(house) as socket:
        await socket.send_str("charge")
        assert await close_code(socket) == 1008


@given(st.integers(0, 3 * RING_MAX), st.integers(-1, 3 * RING_MAX))
def test_a_feed_resumes_completely_or_not_at_all(told: int, seen: int) -> None:
    """For every history and every last number: all that follows, or a refusal."""
    feed = Feed(Asker("demo", "agent:a"))
    feed.last, kept = told, min(told, RING_MAX)
    feed.ring.extend(str(number).encode() for number in range(told - kept + 1, told + 1))
    if feed.holds_after(seen):
        assert [int(message) for message in feed.after(seen)] == list(range(seen + 1, told + 1))
    else:
        assert seen > told or seen < told - kept
