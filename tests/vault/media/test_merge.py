"""The merge rule, line by line, and as a property over random callers."""

import hypothesis.strategies as st
from hypothesis import given

from vault.media.merge import INBAND_WAIT_MS, RULES, SAME_PRESS_MS, WAITING_MAX, KeyMerge


def test_inband_hit_comes_out_after_its_wait() -> None:
    """A caller with tones only: each key 160 ms late."""
    merge = KeyMerge()
    assert ((), (), (5,), ()) == (
        merge.inband(5, 0.0),
        merge.tick(INBAND_WAIT_MS - 1),
        merge.tick(INBAND_WAIT_MS),
        merge.tick(400.0),
    )


def test_event_comes_out_at_once() -> None:
    """A caller with telephone-events: no delay."""
    assert KeyMerge().event(5, 0.0) == (5,)


def test_event_cancels_the_hit_that_waits() -> None:
    """Lead-in: 40 ms of tone, then the event; one key."""
    merge = KeyMerge()
    assert ((), (5,), ()) == (merge.inband(5, 0.0), merge.event(5, 60.0), merge.tick(1000.0))


def test_late_event_of_a_released_hit_is_no_second_key() -> None:
    """The event comes after the hit's wait but within 300 ms of it: the same press."""
    merge = KeyMerge()
    merge.inband(5, 0.0)
    assert ((5,), (), (5,)) == (
        merge.tick(170.0),
        merge.event(5, SAME_PRESS_MS),
        merge.event(5, SAME_PRESS_MS + 120),
    )


def test_event_long_after_a_hit_is_a_key_of_its_own() -> None:
    """Beyond 300 ms it is another press."""
    merge = KeyMerge()
    merge.inband(5, 0.0)
    merge.tick(170.0)
    assert merge.event(5, SAME_PRESS_MS + 1) == (5,)


def test_inband_is_ignored_once_an_event_was_seen() -> None:
    """A caller who sends both: tones count no more."""
    merge = KeyMerge()
    merge.event(5, 0.0)
    assert ((), ()) == (merge.inband(6, 1000.0), merge.tick(2000.0))


def test_hit_of_another_key_keeps_its_place() -> None:
    """A hit that waits goes out before the event of a later key."""
    merge = KeyMerge()
    merge.inband(5, 0.0)
    assert ((5, 6), ()) == (merge.event(6, 100.0), merge.tick(1000.0))


def test_info_and_event_of_one_press_are_one_key() -> None:
    """In either order, within 300 ms."""
    first, second = KeyMerge(), KeyMerge()
    assert ((5,), ()) == (first.event(5, 0.0), first.info(5, 250.0))
    assert ((5,), ()) == (second.info(5, 0.0), second.event(5, 250.0))


def test_equal_keys_in_quick_succession_stay_two_on_two_transports() -> None:
    """Presses 120 ms apart, each by event and by INFO: two keys, not one and not four."""
    merge = KeyMerge()
    steps = [merge.event(1, 0.0), merge.info(1, 50.0), merge.event(1, 120.0), merge.info(1, 170.0)]
    assert [(1,), (), (1,), ()] == steps


def test_info_turns_tones_off_like_an_event() -> None:
    """INFO is a signalled key as well."""
    merge = KeyMerge()
    merge.info(5, 0.0)
    assert (True, ()) == (merge.events_seen, merge.inband(5, 500.0) + merge.tick(900.0))


def test_reset_forgets_keys_but_not_the_phone() -> None:
    """At a mode switch no key crosses, but tones of an event caller stay ignored."""
    merge = KeyMerge()
    merge.inband(5, 0.0)
    merge.reset()
    assert (False, ()) == (merge.events_seen, merge.tick(1000.0))
    merge.event(6, 2000.0)
    merge.reset()
    assert (True, (6,)) == (merge.events_seen, merge.event(6, 2100.0))


def test_hits_that_wait_are_bounded() -> None:
    """More hits in 160 ms than anybody can key push the oldest out."""
    merge = KeyMerge()
    for n in range(WAITING_MAX + 3):
        merge.inband(n % 10, 0.0)
    assert len(merge.tick(1000.0)) == WAITING_MAX


def test_rule_prints_as_a_table() -> None:
    """Every line names transport, situation and result."""
    assert {3} == {len(rule) for rule in RULES}


PRESSES = st.lists(st.tuples(st.integers(0, 15), st.floats(120, 900)), min_size=1, max_size=20)
LAGS = st.lists(st.floats(0, 90), min_size=60, max_size=60)


@given(PRESSES, LAGS, st.sets(st.sampled_from(["event", "info", "inband"]), min_size=1))
def test_each_press_is_one_key_whatever_carries_it(
    presses: list[tuple[int, float]], lags: list[float], carriers: set[str]
) -> None:
    """Any mix of transports, each in order and up to 90 ms late: the keys, once each, in order."""
    feed: list[tuple[float, str, int]] = []
    for name in sorted(carriers):
        at, last = 0.0, 0.0
        for n, (key, gap) in enumerate(presses):
            at += gap
            last = max(last, at + (35 if name == "inband" else lags[n]))
            feed.append((last, name, key))
    merge, heard, now = KeyMerge(), [], 0.0
    for at, name, key in sorted(feed, key=lambda entry: entry[0]):
        while now + 20 < at:
            now += 20
            heard += merge.tick(now)
        heard += getattr(merge, name)(key, at)
    heard += merge.tick(now + 1000)
    assert [key for key, _ in presses] == heard


def test_repr_tells_no_key() -> None:
    """Nothing of a press shows in print."""
    merge = KeyMerge()
    merge.inband(5, 0.0)
    assert repr(merge) == "KeyMerge()"


def test_only_keys_that_can_repeat_are_kept() -> None:
    """Sixteen keys at a person's pace: what the merge remembers is no PAN."""
    merge = KeyMerge()
    for number, key in enumerate((9, 9, 9, 9, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 4)):
        merge.event(key, 160.0 * number)
    assert len(merge._presses) <= SAME_PRESS_MS // 160 + 1
