"""Open digits: the grammar, the timeouts, and that nothing stays behind."""

from hypothesis import given
from hypothesis import strategies as st

from vault.media.collection import (
    AHEAD_MAX,
    HASH,
    OPEN_DIGITS_MAX,
    RUN_GAP_MS,
    STAR,
    Ahead,
    Collection,
    Outcome,
    Run,
)


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


def test_two_stars_ask_for_help_and_a_slow_second_one_only_clears() -> None:
    """As in a capture: within 0.7 s it is one gesture."""
    made = collection()
    assert [None, None, Outcome.HELP] == [
        made.press(key, at) for key, at in ((4, 0), (STAR, 100), (STAR, 700))
    ]
    made = collection()
    assert [None, None] == [made.press(STAR, at) for at in (0, 800)]


def test_a_digit_too_many_spoils_the_answer_until_the_run_is_over() -> None:
    """Nothing of it is told, not even its beginning; `*` begins a new one at once."""
    made = collection(10)
    made.press(1, 0)
    made.spoil(100)
    assert [None, None] == [made.press(2, 200), made.tick(2199)]
    assert ("", Outcome.TOO_MANY) == (made.digits(), made.tick(2200))
    made = collection(2)
    made.spoil(0)
    assert [None, None, Outcome.DONE] == [made.press(key, 10) for key in (STAR, 4, 7)]
    made.spoil(20)
    assert Outcome.TOO_MANY is made.press(HASH, 30)


def test_keys_that_come_before_their_question_wait_for_it() -> None:
    """A customer number keyed in a breath with the menu's digit; what is left waits for the one after."""
    ahead = Ahead()
    ahead.open(0)
    assert all(ahead.keep(key, 100, fits=True) for key in (4, 7, HASH, 1))
    first, second = collection(10), collection(1, 1)
    assert (Outcome.DONE, "47") == (ahead.pour(first, 200), first.digits())
    assert (Outcome.DONE, "1") == (ahead.pour(second, 300), second.digits())
    assert 0 == len(ahead)


def test_keys_ahead_of_nothing_are_nobodys() -> None:
    """Before any question, and after a pause of two seconds, a key is not kept, or kept in vain."""
    ahead, made = Ahead(), collection()
    assert ahead.keep(4, 0, fits=True) is False
    ahead.open(0)
    assert ahead.keep(4, 100, fits=True) is True
    assert (None, "") == (ahead.pour(made, 100 + RUN_GAP_MS), made.digits())


def test_a_digit_too_many_ahead_spoils_the_question_that_it_waits_for() -> None:
    """What fits of the run is not told either: it is half a number."""
    ahead, made = Ahead(), collection(10, 1)
    ahead.open(0)
    assert all(ahead.keep(4, 1, fits=fits) for fits in (True, False))
    assert ahead.pour(made, 2) is None
    assert ("", Outcome.TOO_MANY) == (made.digits(), made.tick(2 + RUN_GAP_MS))


def test_more_keys_ahead_than_are_kept_spoil_the_question_too() -> None:
    """Somebody leans on the keypad: no part of it becomes an answer, and nothing stays behind."""
    ahead, made = Ahead(), collection(10, 1)
    ahead.open(0)
    assert all(ahead.keep(15, 1, fits=True) for _ in range(AHEAD_MAX + 1))
    buffer = ahead._keys
    assert ahead.pour(made, 2) is None
    assert (0, b"", Outcome.TOO_MANY) == (len(ahead), bytes(buffer), made.tick(2 + RUN_GAP_MS))


@given(
    keys=st.lists(st.tuples(st.integers(0, 11), st.integers(20, 2500)), max_size=60), asked=st.integers(1, 5)
)
def test_no_run_tells_more_than_ten_digits_whatever_waits_or_is_asked(
    keys: list[tuple[int, int]], asked: int
) -> None:
    """Questions in a row, keys between them: as `Prompting` drives it, a PAN never goes out."""
    run, ahead, made, now, told = Run(), Ahead(), None, 0.0, 0
    for number, (key, pause) in enumerate(keys):
        now += pause
        told = 0 if pause >= RUN_GAP_MS or key >= STAR else told
        if made is None and number % asked == 0:
            made = collection(10, 1)
            if ahead.pour(made, now) is not None:
                told, made = told + len(made.digits()), None
        fits = run.takes(key, now)
        if made is None:
            ahead.keep(key, now, fits=fits)
        elif not fits:
            made.spoil(now)
        elif made.press(key, now) is not None:
            ahead.open(now)
            told, made = told + (len(made.digits()) if key < STAR else 0), None
        assert told <= OPEN_DIGITS_MAX
