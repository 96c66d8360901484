"""The calls with a tenant of Stripe's: each has the stops that its round has, and a number of its own."""

from pay_ivr.proof.plan import DEFAULT_RUNS
from pay_ivr.proof.stripe_plan import KEYED_ONCE, NUMBERS_APART, Scenario, StripeRun, Then, stripe_rounds


def _runs(runs: int) -> list[StripeRun]:
    return [run for one in stripe_rounds(runs, 100) for run in one.runs]


def test_a_whole_proof_has_every_scenario_and_a_short_one_a_sample() -> None:
    """The sample has a refused connection, a hang-up and a killed broker."""
    assert set(Scenario) == {run.scenario for run in _runs(DEFAULT_RUNS)}
    sample = {Scenario.KILLED_KEYING, Scenario.CELL_REFUSED, Scenario.HUNG_UP}
    assert sample == {run.scenario for run in _runs(6)}


def test_no_two_cards_have_one_number() -> None:
    """Each call has two: a finding names the card, and so the call."""
    numbers = [run.number + card for run in _runs(DEFAULT_RUNS) for card in range(NUMBERS_APART)]
    assert list(range(100, 100 + len(numbers))) == numbers


def test_the_attacker_is_asked_about_every_press_of_a_random_digit() -> None:
    """Twice where a second card or the CVV is keyed again, fewer where the call is lost."""
    presses = {run.scenario: run.presses for run in _runs(DEFAULT_RUNS)}
    assert (KEYED_ONCE, 2 * KEYED_ONCE, KEYED_ONCE + 3) == (
        presses[Scenario.APPROVED],
        presses[Scenario.DECLINED],
        presses[Scenario.CELL_WAITS],
    )
    assert (6, 5) == (presses[Scenario.HUNG_UP], presses[Scenario.KILLED_KEYING])


def test_a_port_that_is_shut_is_opened_before_the_broker_is_killed() -> None:
    """What the killed broker was asked for can be found out afterwards."""
    for one in stripe_rounds(DEFAULT_RUNS, 0) + stripe_rounds(6, 0):
        happens = [stop.then for stop in one.stops if stop.then is not Then.NOTHING]
        assert happens in ([], [Then.SHUT, Then.OPEN, Then.KILL])
