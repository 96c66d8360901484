"""Simulated attacks on PINs: a sample here, a hundred thousand guesses in `make proof`."""

from pathlib import Path

import pytest

from vault.pin_velocity import DAY_S, HOUR_S, PinKind, PinLimit, PinRule
from vault.proof import pins
from vault.proof.pin_bound import Span, bound, expected_by_one, expected_finds, most_misses
from vault.proof.pin_people import People

SAMPLE = 900
"""Guesses of the sample: 150 of each plan, 450 of the control."""
SEED = 5
"""One in which the control finds what it should: 450 guesses find three on average."""
RULES = (
    PinRule(PinLimit.CALLER_HOUR, PinKind.CALLER, HOUR_S, 10),
    PinRule(PinLimit.VALUE_HOUR, PinKind.VALUE, HOUR_S, 20),
    PinRule(PinLimit.TENANT_HOUR, PinKind.TENANT, HOUR_S, 600),
    PinRule(PinLimit.TENANT_DAY, PinKind.TENANT, DAY_S, 700),
)
HALF_PAST = HOUR_S // 2 * 1000


def test_no_attack_finds_more_than_the_limits_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real book, real store, virtual time; and the control shows that the same attack would."""
    monkeypatch.setattr(pins, "MEMBERS", 500)
    plans, controls = pins.PLANS[:3], pins.CONTROLS[1:]
    found = pins.run(SAMPLE, SEED, tmp_path, plans=plans, controls=controls)
    assert ([], []) == (found["bounds_broken"], found["controls_silent"])
    told = found["plans"]
    assert {SAMPLE // 6} == {plan["guesses"] for plan in told.values()}
    assert told["one_member"]["answers"]["locked"] > 0
    assert (140, 130) == (told["one_number"]["limited"], told["one_pin_many_numbers"]["limited"])


def test_a_span_touches_the_windows_of_the_clock() -> None:
    """One hour from half past touches two hours and one day."""
    span = Span(HALF_PAST, HALF_PAST + HOUR_S * 1000)
    assert (2, 1) == (span.windows(HOUR_S), span.windows(DAY_S))
    assert 700 == most_misses(RULES, PinKind.TENANT, span)
    assert 40 == most_misses(RULES, PinKind.VALUE, span)


def test_the_bound_is_what_the_page_reckons() -> None:
    """The tightest of all limits counts, spent on the most common values first."""
    span = Span(0, HALF_PAST)
    shares = (0.01, 0.005)

    def at_most(guesses: int, callers: int, withheld: bool = False) -> float:
        return expected_finds(RULES, span, guesses, callers, shares, withheld=withheld)

    assert at_most(1_000, 1) == pytest.approx(10 * 0.01 / 0.99)
    assert at_most(1_000, 9_999) == pytest.approx(20 * 0.01 / 0.99 + 20 * 0.005 / 0.995)
    assert at_most(5, 9_999) == pytest.approx(5 * 0.01 / 0.99)
    assert at_most(1_000, 1, withheld=True) == at_most(1_000, 9_999)
    assert expected_by_one(3, 100, shares) == pytest.approx(1.5)


@pytest.mark.parametrize(("expected", "most"), [(0.0, 0), (0.1, 2), (1.0, 5), (10.0, 21), (5_000.0, 5_219)])
def test_a_bound_leaves_chance_its_thousandth(expected: float, most: int) -> None:
    """Of the Poisson distribution; a normal one where the sum underflows."""
    assert most == bound(expected)


def test_people_choose_only_what_is_allowed() -> None:
    """Shares add up to one, the first is the most common, and easy ones have none."""
    people = People()
    shares = [people.share[pin] for pin in people.ranked]
    assert sum(shares) == pytest.approx(1.0)
    assert shares == sorted(shares, reverse=True)
    assert "1234" not in people.share
