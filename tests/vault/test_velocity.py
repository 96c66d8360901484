"""Rules of velocity: pure arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from vault.velocity import WINDOW_MAX_S, Limit, Velocity, broken

RULES = Velocity().rules()


def test_every_limit_but_the_bar_is_a_rule():
    """Narrowest first; the bar of an issuer is no count."""
    assert list(Limit)[1:] == [rule.limit for rule in RULES]


def test_no_window_is_longer_than_rows_are_kept():
    """A rule that looks further back than the sweep would count less than it says."""
    assert max(rule.window_s for rule in RULES) <= WINDOW_MAX_S


def test_zero_switches_a_rule_off():
    """And only that one."""
    assert len(RULES) - 1 == len(Velocity(caller_cards_per_day=0).rules())


@given(st.dictionaries(st.sampled_from([rule.limit for rule in RULES]), st.integers(0, 10_000)))
def test_the_first_broken_rule_is_named(counts):
    """None while every count is below its limit; a missing count is none."""
    over = [rule.limit for rule in RULES if counts.get(rule.limit, 0) >= rule.most]
    assert (over[0] if over else None) is broken(RULES, counts)
