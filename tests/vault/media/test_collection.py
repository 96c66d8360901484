"""Open digits: the grammar, the timeouts, and that nothing stays behind."""

from hypothesis import given
from hypothesis import strategies as st

from vault.media.collection import HASH, OPEN_DIGITS_MAX, RUN_GAP_MS, STAR, Collection, Outcome, Run


def collection(digits_max: int = 4, digits_min: int = 2) -> Collection:
    made = Collection(
        "col_1", digits_max=digits_max, digits_min=digits_min, first_timeout_ms=8000, next_timeout_ms=4000
    )
    made.wait(0)
    return made


def test_the_last_digit_ends_it() -> None:
    """As many digits as asked for."""
    made = collection()
    assert [None, None, None, Outcome.DONE] == [
        made.press(key, at * 100) for at, key in enumerate((4, 2, 0, 1))
    ]
    assert "4201" == made.digits()


def test_hash_ends_it_and_star_clears_it() -> None:
    """`#` is done when there are enough digits; `*` begins again."""
    made = collection()
    assert [None, None, None, None, Outcome.TOO_FEW] == [made.press(key, 0) for key in (4, 2, STAR, 7, HASH)]
    assert "7" == made.digits()
    assert Outcome.NO_INPUT is collection().press(HASH, 0)


def test_letters_count_for_nothing() -> None:
    """A-D are no digits, but they show that somebody keys."""
    made = collection()
    assert [None] * 4 == [made.press(key, 7000) for key in (12, 13, 14, 15)]
    assert "" == made.digits()
    assert made.tick(10_999) is None
    assert Outcome.NO_INPUT is made.tick(11_000)


def test_each_key_renews_the_shorter_timeout() -> None:
    """8 s for the first key, 4 s for each further one; never cut while keys keep coming."""
    made = collection(10)
    assert made.tick(7999) is None
    for at in range(5):
        assert made.press(1, 7999 + at * 3900) is None
        assert made.tick(7999 + at * 3900 + 3999) is None
    assert Outcome.DONE is made.tick(7999 + 4 * 3900 + 4000)


def test_the_clock_waits_for_the_prompt_but_not_once_keys_came() -> None:
    """`wait` renews the first timeout only while nothing was keyed."""
    made = collection()
    made.wait(5000)
    assert made.tick(12_999) is None
    made.press(1, 12_999)
    made.wait(13_000)
    assert Outcome.TOO_FEW is made.tick(16_999)


@given(st.lists(st.integers(0, 15), max_size=60), st.integers(1, OPEN_DIGITS_MAX))
def test_never_more_digits_than_allowed_and_wiped_at_the_end(keys: list[int], digits_max: int) -> None:
    """Whatever is keyed, at most `digits_max` digits are kept, and none after `wipe`."""
    made = collection(digits_max, 1)
    for key in keys:
        if made.press(key, 0) is not None:
            break
    assert len(made.digits()) <= digits_max
    buffer = made._keys
    made.wipe()
    assert b"" == bytes(buffer)
    assert "" == made.digits()


def test_a_run_of_digits_ends_at_ten() -> None:
    """The eleventh digit in a row goes nowhere, however many collections have shared the ten before."""
    run = Run()
    assert [True] * 10 + [False] * 6 == [run.takes(4, 300.0 * at) for at in range(16)]


def test_a_pause_or_a_sign_begins_a_new_run() -> None:
    """Who has waited, cleared or closed an entry may key ten digits again."""
    for key, at_ms in ((4, 3000.0 + RUN_GAP_MS), (STAR, 3000.0), (HASH, 3000.0)):
        run = Run()
        taken = [run.takes(4, 300.0 * at) for at in range(11)]
        assert taken[-1] is False
        assert run.takes(key, at_ms)
        assert run.takes(4, at_ms + 1)
