"""A decline of our own takes as long as one of the provider's, and never absurdly long."""

from hypothesis import given
from hypothesis import strategies as st

from vault.providers.base import Outcome, OutcomeKind
from vault.router import Router
from vault.tempo import KEPT, LONGEST_S, SHORTEST_S, SPREAD, Tempo

DRAWS = 200


@given(st.lists(st.floats(0, 60), max_size=100))
def test_every_wait_is_between_the_bounds(times: list[float]) -> None:
    """Whatever was measured, also nothing at all."""
    tempo = Tempo()
    for took_s in times:
        tempo.heard("alpha", took_s)
    assert all(SHORTEST_S <= tempo.drawn("alpha") <= LONGEST_S for _ in range(10))


def test_waits_follow_the_recent_answers_of_that_provider() -> None:
    """Old ones are forgotten, others' do not count, and no two waits are alike."""
    tempo = Tempo()
    for took_s in [2.9] * KEPT + [0.8, 1.2] * (KEPT // 2):
        tempo.heard("alpha", took_s)
    tempo.heard("beta", 2.5)
    drawn = [tempo.drawn("alpha") for _ in range(DRAWS)]
    assert all(0.8 * (1 - SPREAD) <= wait_s <= 1.2 * (1 + SPREAD) for wait_s in drawn)
    assert min(drawn) < 1 < max(drawn)
    assert DRAWS == len(set(drawn))


async def test_the_router_measures_definite_answers_alone() -> None:
    """A clock that we turn: an answer after 1.5 s is one, a lost one after 2.9 s is none."""
    now = [100.0]
    router = Router({}, {}, clock=lambda: now[0])

    async def answered(kind: OutcomeKind, took_s: float) -> Outcome:
        now[0] += took_s
        return Outcome(kind)

    for kind, took_s in (
        (OutcomeKind.DECLINED, 1.5),
        (OutcomeKind.UNKNOWN, 2.9),
        (OutcomeKind.AUTHORISED, 1.5),
    ):
        await router.outcome("demo", "alpha", answered(kind, took_s), 5)
    waits = [router.answer_time_s("alpha") for _ in range(DRAWS)]
    assert all(1.5 * (1 - SPREAD) <= wait_s <= 1.5 * (1 + SPREAD) for wait_s in waits)
