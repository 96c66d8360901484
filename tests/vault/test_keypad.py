"""The grammar of keys and the caller's pace."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.keypad import (
    DOUBLE_STAR_S,
    GRAMMAR,
    KEY_HASH,
    KEY_STAR,
    PAUSE_MAX_S,
    PAUSE_MIN_S,
    Action,
    Keypad,
    Kind,
    Pace,
    kind_of,
)


def test_the_grammar_knows_every_key_in_every_situation() -> None:
    """The table is total: no press is undecided."""
    assert set(itertools.product(Kind, (False, True))) == set(GRAMMAR)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (0, Kind.DIGIT),
        (9, Kind.DIGIT),
        (10, Kind.STAR),
        (11, Kind.HASH),
        (12, Kind.LETTER),
        (15, Kind.LETTER),
    ],
)
def test_keys_are_of_four_kinds(key: int, kind: Kind) -> None:
    """Numbers as in RFC 4733."""
    assert kind == kind_of(key)


@pytest.mark.parametrize("key", [-1, 16, 255])
def test_a_number_that_no_keypad_has_means_nothing(key: int) -> None:
    """A peer may send any byte."""
    assert Action.NOTHING == Keypad().read(key, 0.0)


@pytest.mark.parametrize(
    ("gap_s", "second"), [(0.1, Action.HELP), (DOUBLE_STAR_S, Action.HELP), (0.71, Action.CLEAR)]
)
def test_two_quick_stars_ask_for_help(gap_s: float, second: Action) -> None:
    """The first clears at once, the second turns it into help if it is quick."""
    keypad = Keypad()
    assert Action.CLEAR == keypad.read(KEY_STAR, 0.0)
    assert second == keypad.read(KEY_STAR, gap_s)


def test_a_third_star_is_a_first_one_again() -> None:
    """Three quick stars are help and a clear, not help twice."""
    keypad = Keypad()
    pressed = [keypad.read(KEY_STAR, at / 10) for at in range(4)]
    assert [Action.CLEAR, Action.HELP, Action.CLEAR, Action.HELP] == pressed


@pytest.mark.parametrize("between", [0, KEY_HASH, 12])
def test_a_key_between_two_stars_parts_them(between: int) -> None:
    """`*5*` is two clears."""
    keypad = Keypad()
    keypad.read(KEY_STAR, 0.0)
    keypad.read(between, 0.1)
    assert Action.CLEAR == keypad.read(KEY_STAR, 0.2)


@given(st.lists(st.floats(0, 60)))
def test_the_pause_grows_with_the_longest_gap_and_stays_in_bounds(gaps: list[float]) -> None:
    """One more gap never makes the pause shorter."""
    pace = Pace()
    last = pace.pause_s()
    for gap in gaps:
        pace.gap(gap)
        assert PAUSE_MIN_S <= last <= pace.pause_s() <= PAUSE_MAX_S
        last = pace.pause_s()


def test_a_search_for_the_card_does_not_make_every_pause_long() -> None:
    """A very long gap tells of slow hands, but is no measure of the next pause."""
    pace = Pace()
    pace.gap(30.0)
    assert PAUSE_MIN_S == pace.pause_s()
    assert 2.0 == pace.patience()


def test_a_late_caller_gets_twice_the_time() -> None:
    """Patience is learned once and kept."""
    pace = Pace()
    assert 1.0 == pace.patience()
    pace.late()
    pace.gap(0.1)
    assert 2.0 == pace.patience()
