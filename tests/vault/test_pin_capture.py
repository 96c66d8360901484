"""Keying a PIN, as a machine: fields, problems, timers; no digit ever comes out."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cell import keys_of
from vault.door import PinField, PinProblem, PinPurpose
from vault.pin_capture import (
    MOVES,
    ORDER,
    PROBLEMS_MAX,
    Event,
    PinCapture,
    PinDigits,
    PinForm,
    PinLimits,
)
from vault.pin_progress import (
    FACTS,
    PinCleared,
    PinFact,
    PinHelp,
    PinKeyed,
    PinOpened,
    PinOver,
    PinSilence,
    PinTrouble,
)
from vault.pin_rules import birth_forms
from vault.secret_page import SecretPage

PAGE = SecretPage(sealed=False)
DIGITS = PinDigits(PAGE)
SILENCE_S, IDLE_S, ENTRY_S = PinLimits().silence_s, PinLimits().idle_s, PinLimits().entry_s


def capture(
    purpose: PinPurpose = PinPurpose.VERIFY, form: PinForm | None = None, born: str = ""
) -> PinCapture:
    """A started machine with its first fact taken."""
    DIGITS.wipe()
    machine = PinCapture(DIGITS, purpose, form or PinForm(), birth_forms(born), PinLimits(), 0.0)
    machine.start(0.0)
    assert PinOpened(ORDER[purpose][0]) == machine.next_fact()
    return machine


def facts_of(machine: PinCapture) -> list[PinFact]:
    return list(iter(machine.next_fact, None))


def press(machine: PinCapture, keys: str, now: float = 1.0, gap_s: float = 0.3) -> float:
    """Presses with a gap before each; the time after the last."""
    for key in keys_of(keys):
        now += gap_s
        machine.press(key, now)
    return now


def told(machine: PinCapture) -> list[PinFact]:
    """Every fact but the counts."""
    return [fact for fact in facts_of(machine) if not isinstance(fact, PinKeyed)]


def test_a_pin_of_full_length_ends_by_itself() -> None:
    """With six digits nothing more can come."""
    machine = capture()
    press(machine, "471108")
    assert [PinKeyed(PinField.PIN, count) for count in range(1, 7)] == facts_of(machine)
    assert (True, None, None) == (machine.complete, machine.open_field, machine.next_due())
    assert b"471108" == bytes(DIGITS.first.view())


def test_a_shorter_pin_ends_by_hash_or_by_a_pause() -> None:
    """A pause counts only once there are enough digits; three are a silence."""
    machine = capture()
    press(machine, "4711#")
    assert machine.complete
    machine = capture()
    now = press(machine, "471")
    machine.tick(now + 4.0)
    assert not machine.complete
    now = press(machine, "1", now + 4.0)
    due = machine.next_due()
    assert due is not None
    machine.tick(due - 0.01)
    assert not machine.complete
    machine.tick(due)
    assert machine.complete


def test_a_slow_caller_gets_longer_pauses() -> None:
    """Two seconds between digits: the pause before the end grows with them."""
    machine = capture()
    now = press(machine, "4711", gap_s=2.0)
    due = machine.next_due()
    assert due is not None
    assert due - now >= 6.0


def test_again_is_as_long_as_new_was() -> None:
    """Four digits of NEW by `#`: the fourth of AGAIN ends it."""
    machine = capture(PinPurpose.SET)
    press(machine, "4711#4711")
    assert machine.complete
    assert [PinOpened(PinField.AGAIN)] == told(machine)


def test_a_mismatch_asks_for_the_new_pin_once_more() -> None:
    """Both are wiped; the tail of the wrong one is nobody's."""
    machine = capture(PinPurpose.CHANGE)
    now = press(machine, "2704#4711#4712")
    different = PinTrouble(PinField.NEW, PinProblem.MISMATCH)
    assert [PinOpened(PinField.NEW), PinOpened(PinField.AGAIN), different] == told(machine)
    assert (PinField.NEW, 0, 0) == (machine.open_field, len(DIGITS.new), len(DIGITS.again))
    press(machine, "9", now, gap_s=0.1)
    assert [] == facts_of(machine)
    press(machine, "8361#8361", now + 2.0)
    assert machine.complete
    assert (b"2704", b"8361") == (bytes(DIGITS.first.view()), bytes(DIGITS.new.view()))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [("12#", PinProblem.TOO_SHORT), ("1234#", PinProblem.EASY), ("0503#", PinProblem.EASY)],
)
def test_a_new_pin_is_judged_and_an_old_one_is_not(keys: str, problem: PinProblem) -> None:
    """EASY is said of new PINs only: whoever has an easy one from before must get in to change it."""
    machine = capture(PinPurpose.SET, born="1980-03-05")
    press(machine, keys)
    assert [PinTrouble(PinField.NEW, problem)] == told(machine)
    machine = capture(born="1980-03-05")
    press(machine, keys)
    assert machine.complete is (problem is PinProblem.EASY)


def test_a_code_has_eight_digits() -> None:
    """Fewer are too short, the eighth ends it."""
    machine = capture(PinPurpose.RESET)
    now = press(machine, "9021087#")
    assert [PinTrouble(PinField.CODE, PinProblem.TOO_SHORT)] == told(machine)
    press(machine, "90210876", now + 1)
    assert [PinOpened(PinField.NEW)] == told(machine)


def test_star_clears_two_stars_ask_for_help_and_a_late_hash_hurts_nothing() -> None:
    """The grammar of every keypad entry here."""
    machine = capture(PinPurpose.SET)
    now = press(machine, "47*")
    assert [PinCleared(PinField.NEW)] == told(machine)
    now = press(machine, "**", now + 1, gap_s=0.2)
    assert [PinCleared(PinField.NEW), PinHelp(PinField.NEW)] == told(machine)
    press(machine, "#", now + 1)
    assert [] == facts_of(machine)
    press(machine, "836142#", now + 2)  # the sixth digit ended it: `#` belongs to the field before
    assert [PinOpened(PinField.AGAIN)] == told(machine)


def test_silence_asks_then_judges_then_ends() -> None:
    """Asked again, NO_INPUT, and after the idle limit it is over and wiped."""
    machine = capture()
    machine.press(4, 1.0)
    facts_of(machine)
    machine.tick(1.0 + SILENCE_S)
    assert [PinSilence(PinField.PIN)] == facts_of(machine)
    machine.tick(1.0 + 2 * SILENCE_S)
    assert [PinTrouble(PinField.PIN, PinProblem.TOO_SHORT)] == facts_of(machine)
    machine.tick(1.0 + IDLE_S)
    assert [PinOver("idle")] == facts_of(machine)
    assert (True, None, None) == (machine.ended, machine.next_due(), machine.open_field)


def test_the_entry_has_a_limit_whatever_is_keyed() -> None:
    """A key every ten seconds does not keep a cell for ever."""
    machine = capture()
    now = 0.0
    while not machine.ended:
        now += 10.0
        machine.tick(now)
        machine.press(10, now)
    assert ENTRY_S == now
    assert PinOver("entry") == facts_of(machine)[-1]


def test_too_many_problems_end_it() -> None:
    """A caller who cannot think of a PIN needs somebody."""
    machine = capture(PinPurpose.SET)
    now = 1.0
    for _ in range(PROBLEMS_MAX):
        now = press(machine, "1234#", now + 1)
    assert PinOver("tries") == facts_of(machine)[-1]
    assert not any(DIGITS.of(field) for field in PinField)


def test_every_row_of_the_table_leads_to_a_field_of_its_purpose() -> None:
    """Each field of each purpose can be filled and refused; the last one completes."""
    for purpose, fields in ORDER.items():
        for field, after in zip(fields, (*fields[1:], None), strict=True):
            assert after is MOVES[purpose, field, Event.FILLED]
            assert field is MOVES[purpose, field, Event.REFUSED]
    assert all(field in ORDER[purpose] for purpose, field, _ in MOVES)


@pytest.mark.parametrize(("least", "most"), [(3, 6), (4, 13), (6, 5)])
def test_a_form_that_is_no_pin_is_refused(least: int, most: int) -> None:
    """ISO 9564-1: 4 to 12 digits."""
    with pytest.raises(ValueError, match="digits"):
        PinForm(least, most)


def test_a_limit_can_only_be_lowered() -> None:
    """Nothing keeps a cell longer than its default."""
    with pytest.raises(ValueError, match="limit"):
        PinLimits(entry_s=ENTRY_S + 1)


@given(
    st.sampled_from(PinPurpose),
    st.lists(st.tuples(st.integers(0, 16), st.floats(0.0, 20.0)), max_size=60),
)
def test_any_caller_comes_to_an_end_and_no_digit_comes_out(
    purpose: PinPurpose, presses: Iterable[tuple[int, float]]
) -> None:
    """Whatever is pressed whenever: one field open at most, counts right, and left alone it ends."""
    machine = capture(purpose)
    now = 0.0
    facts: list[PinFact] = []
    for key, gap_s in presses:
        now += gap_s
        machine.tick(now)
        machine.press(key, now)
        facts += facts_of(machine)
    while (due := machine.next_due()) is not None:
        assert due <= ENTRY_S
        machine.tick(due)
        facts += facts_of(machine)
    assert machine.complete is not machine.ended
    assert all(fact == FACTS.decode(FACTS.encode(fact)) for fact in facts)
    if machine.ended:
        assert not any(len(DIGITS.of(field)) for field in PinField)
