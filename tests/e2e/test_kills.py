"""Kill -9 of every process at every step of a payment: nothing leaks, nothing is charged twice, calls go on.

Here two steps of every victim on one node; the full table of 42 cells is a proof (`make proof`).
"""

from pathlib import Path

import pytest

from tests.e2e.kills_table import EXPECTED, NO_CELL, play, table, table_of_page, without_seconds, wrong
from tests.support.kills import House, Step, Victim

SAMPLED = (Step.MID_PAN, Step.AUTHORISING)
"""Where most can go wrong: a field half keyed, and money under way."""


def test_the_page_shows_the_table_that_the_suite_expects() -> None:
    """`docs/kill-table.md` was written by a run of `tests/e2e/kills_table.py`; only seconds may differ."""
    assert without_seconds(table()) == without_seconds(table_of_page())


def test_every_step_of_every_victim_has_its_cell() -> None:
    """Six processes, seven steps."""
    assert {victim: set(Step) for victim in Victim} == {each: set(cells) for each, cells in EXPECTED.items()}


@pytest.mark.slow
async def test_calls_survive_the_death_of_every_process(tmp_path: Path) -> None:
    """One node, its processes killed one after the other, each under two calls of its own."""
    house = House(tmp_path, SAMPLED)
    try:
        await house.open()
        for victim in Victim:
            for step, seen in (await play(house, victim, SAMPLED)).items():
                assert [] == wrong(victim, step, seen)
        assert [] == await house.log_is_whole()
    finally:
        await house.close()


@pytest.mark.proof
@pytest.mark.parametrize("victim", list(Victim))
async def test_a_killed_process_harms_no_call_at_any_step(victim: Victim, tmp_path: Path) -> None:
    """Seven calls at seven steps, one kill under all of them, on a node of their own."""
    house = House(tmp_path, Step)
    try:
        await house.open()
        found = await play(house, victim, Step)
        assert [] == [fault for step, seen in found.items() for fault in wrong(victim, step, seen)]
        assert [] == await house.log_is_whole()
        if victim is Victim.CELL:
            assert {step for step, scene in house.scenes.items() if scene.cell == 0} == NO_CELL
    finally:
        await house.close()
