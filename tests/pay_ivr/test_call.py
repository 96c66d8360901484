"""The table of a call's life."""

import pytest

from pay_ivr.call import (
    ANONYMOUS,
    TABLE,
    Call,
    CallEvent,
    CallState,
    EndReason,
    caller_of,
    table_as_markdown,
)
from pay_ivr.facts import CallError


def a_call(state: CallState = CallState.OFFERED) -> Call:
    call = Call(
        "call_a", "demo", "Demo", "agent_assisted", "4930100001", "491", "en-US", "2026-01-01T00:00:00.000Z"
    )
    call.state = state
    return call


@pytest.mark.parametrize("state", list(CallState))
@pytest.mark.parametrize("event", list(CallEvent))
def test_every_pair_moves_as_the_table_says_or_is_refused_unchanged(
    state: CallState, event: CallEvent
) -> None:
    """A legal pair moves; any other raises and leaves the call as it was."""
    call = a_call(state)

    if event in TABLE[state]:
        assert TABLE[state][event] == call.apply(event)
    else:
        with pytest.raises(CallError) as refused:
            call.apply(event)
        assert ("call_state", state) == (refused.value.code, call.state)


def test_every_state_is_reached_and_only_ended_is_final() -> None:
    """No state is an island and no call can hang for want of a move."""
    reached = {following for moves in TABLE.values() for following in moves.values()} | {CallState.OFFERED}

    assert set(CallState) == reached
    assert [CallState.ENDED] == [state for state, moves in TABLE.items() if not moves]
    assert all(CallEvent.END in moves for state, moves in TABLE.items() if state is not CallState.ENDED)


def test_a_call_is_live_until_it_has_ended() -> None:
    """`live` is what the desk asks before it offers anything."""
    call = a_call()

    assert call.live
    call.apply(CallEvent.END)
    assert not call.live


def test_the_table_prints_every_move() -> None:
    """The docs show what the code does."""
    printed = table_as_markdown()

    assert sum(len(moves) for moves in TABLE.values()) + 2 == len(printed.splitlines())
    assert len(EndReason) == len(set(EndReason))


@pytest.mark.parametrize(
    ("user", "caller"),
    [
        ("+4930555010", "+4930555010"),
        ("alice", "alice"),
        ("", ANONYMOUS),
        ("bob smith", ANONYMOUS),
        ("1>;x=\r\nVia: y", ANONYMOUS),
        ("9" * 41, ANONYMOUS),
    ],
)
def test_a_caller_we_cannot_pass_on_is_anonymous(user: str, caller: str) -> None:
    """Otherwise the agent's phone could not be rung at all, and the number would not fit its column."""
    assert caller == caller_of(user)
