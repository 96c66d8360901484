"""The two tables of the shield, pair by pair, and what no sequence of turns can do."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.media.shield import MODE_OF, TURNS, Guard, Mode, Source, Turn, source, turn

ILLEGAL = {
    (Guard.OPEN, Turn.PIPE_CLOSED),
    (Guard.OPEN, Turn.TALK_ON),
    (Guard.OPEN, Turn.TALK_OFF),
    (Guard.OPEN, Turn.QUIET),
    (Guard.CAPTURING, Turn.QUIET),
    (Guard.TALKING, Turn.TALK_ON),
    (Guard.TALKING, Turn.QUIET),
    (Guard.STRANDED, Turn.PIPE_CLOSED),
    (Guard.STRANDED, Turn.TALK_ON),
    (Guard.STRANDED, Turn.TALK_OFF),
    (Guard.STRANDED, Turn.QUIET),
    (Guard.LEAVING, Turn.TALK_ON),
    (Guard.LEAVING, Turn.TALK_OFF),
}


@pytest.mark.parametrize("pair", list(product(Guard, Turn)), ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_every_pair_is_in_the_table_or_refused(pair: tuple[Guard, Turn]) -> None:
    """The table has every legal pair and no other."""
    assert (pair in ILLEGAL) == (turn(*pair) is None)
    assert (pair in TURNS) == (pair not in ILLEGAL)


@given(st.lists(st.sampled_from(Turn), max_size=40))
def test_only_detach_and_quiet_lead_back_to_normal(turns: list[Turn]) -> None:
    """From an attach on, NORMAL needs a detach and then quiet, in that order, with no attach between."""
    guard, attached, detached = Guard.OPEN, False, False
    for what in turns:
        after = turn(guard, what)
        if after is None:
            continue
        if what is Turn.ATTACH:
            attached, detached = True, False
        elif what is Turn.DETACH:
            detached = True
        if guard is not Guard.OPEN and after is Guard.OPEN:
            assert detached
            assert what is Turn.QUIET
            attached = False
        assert attached == (MODE_OF[after] is not Mode.NORMAL)
        guard = after


@given(st.lists(st.sampled_from(Turn), max_size=40))
def test_talk_needs_a_capture_and_ends_with_it(turns: list[Turn]) -> None:
    """TALK comes only from CAPTURING; a lost pipe, a detach or an attach ends it in SECURE."""
    guard = Guard.OPEN
    for what in turns:
        after = turn(guard, what) or guard
        if MODE_OF[after] is Mode.TALK and guard is not Guard.TALKING:
            assert (Guard.CAPTURING, Turn.TALK_ON) == (guard, what)
        if guard is Guard.TALKING and after is not guard:
            assert Mode.SECURE is MODE_OF[after]
        guard = after


@given(st.booleans(), st.booleans(), st.sampled_from([None, *Mode]), st.booleans(), st.booleans())
def test_an_agent_gets_the_callers_own_packets_in_normal_only(
    reachable: bool, prompting: bool, mode: Mode | None, sends: bool, held: bool
) -> None:
    """PEER never in TALK or SECURE, whatever else is so; an unreachable leg gets nothing."""
    chosen = source(
        reachable=reachable, prompting=prompting, partner_mode=mode, partner_sends=sends, held=held
    )
    if chosen is Source.PEER:
        assert (True, False, Mode.NORMAL, True, False) == (reachable, prompting, mode, sends, held)
    if chosen is Source.GATE:
        assert Mode.TALK is mode
    if not reachable:
        assert Source.NOTHING is chosen
