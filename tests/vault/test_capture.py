"""One caller keying one card, by an injected clock."""

import dataclasses
import itertools
from datetime import date
from enum import StrEnum

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.cell import AMEX, MASTERCARD, VISA, keys_of
from vault.brands import BrandTable
from vault.capture import MOVES, ORDER, PROBLEMS_MAX, Capture, Event, Limits
from vault.card import Card
from vault.door import Field, FieldProblem, FieldState
from vault.keypad import PAUSE_MAX_S, TAIL_S
from vault.progress import (
    Cleared,
    Complete,
    Confirmed,
    Expired,
    Fact,
    HelpAsked,
    Keyed,
    NoInput,
    Opened,
    Problem,
    TimeWarning,
)

BRANDS = BrandTable.read()
TODAY = date(2026, 11, 22)


class Caller:
    """A capture with a clock of its own and fingers of a given pace."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self.now = 100.0
        self.told: list[Fact] = []
        self.capture = Capture(Card(_Slices()), BRANDS, TODAY, limits, self.now)

    def open(self, field: Field) -> "Caller":
        self.capture.open(field, self.now)
        return self

    def keys(self, text: str, gap_s: float = 0.3) -> "Caller":
        for key in keys_of(text):
            self.wait(gap_s)
            self.capture.press(key, self.now)
        return self

    def wait(self, seconds: float) -> "Caller":
        """Time passes as in the cell's loop: from timer to timer."""
        end = self.now + seconds
        for _ in range(100):
            due = self.capture.next_due()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.capture.tick(self.now)
        else:
            pytest.fail("a timer never ends")
        self.now = end
        return self

    def facts(self) -> list[Fact]:
        """What happened since the last call, without the counts."""
        told = []
        while (fact := self.capture.next_fact()) is not None:
            told.append(fact)
        self.told += told
        return [fact for fact in told if not isinstance(fact, Keyed)]


class _Slices:
    """Plain memory in place of a secret page: thousands of captures live in this process."""

    def take(self, size: int) -> memoryview:
        return memoryview(bytearray(size))


@pytest.fixture
def caller() -> Caller:
    made = Caller().open(Field.PAN)
    made.facts()
    return made


def test_a_card_is_keyed_in_one_go_without_any_hash() -> None:
    """Fields open one after the other; counts, brand and last 4 are all that is told."""
    caller = Caller().open(Field.PAN).keys(MASTERCARD + "1228" + "123", gap_s=0.0)
    assert caller.facts() == [
        Opened(Field.PAN),
        Complete(Field.PAN, 16, "mastercard", "4444"),
        Opened(Field.EXPIRY),
        Complete(Field.EXPIRY, 4),
        Opened(Field.CVV),
        Complete(Field.CVV, 3),
    ]
    assert caller.capture.filled
    assert caller.capture.open_field is None


def test_every_digit_is_counted(caller: Caller) -> None:
    """One count per digit, and the count is of the field."""
    caller.keys("4242").facts()
    assert [Keyed(Field.PAN, n) for n in (1, 2, 3, 4)] == caller.told[1:]


def test_amex_has_fifteen_and_four(caller: Caller) -> None:
    """The brand fixes both lengths."""
    caller.keys(AMEX + "1228" + "1234")
    assert Complete(Field.PAN, 15, "amex", "0005") in caller.facts()
    assert Complete(Field.CVV, 4) in caller.told


def test_hash_ends_a_pan_of_open_length_at_once(caller: Caller) -> None:
    """Visa may have 16, 18 or 19 digits."""
    assert [] == caller.keys(VISA).facts()
    assert Complete(Field.PAN, 16, "visa", "4242") in caller.keys("#", gap_s=0.1).facts()


def test_a_pause_ends_a_pan_of_open_length(caller: Caller) -> None:
    """Without `#` the caller's own silence does it, a second and a half for quick hands."""
    assert [] == caller.keys(VISA, gap_s=0.2).wait(1.4).facts()
    assert Complete(Field.PAN, 16, "visa", "4242") in caller.wait(0.2).facts()


def test_slow_hands_are_not_cut(caller: Caller) -> None:
    """Who needs three seconds between digits waits longer at the end, and is never cut before."""
    assert [] == caller.keys(VISA, gap_s=3.0).wait(4.4).facts()
    assert Complete(Field.PAN, 16, "visa", "4242") in caller.wait(0.2).facts()


def test_groups_of_four_with_long_pauses_are_not_cut(caller: Caller) -> None:
    """A look at the card between groups ends nothing."""
    for group in ("5555", "5555", "5555"):
        assert [] == caller.keys(group, gap_s=0.2).wait(9.0).facts()
    assert Complete(Field.PAN, 16, "mastercard", "4444") in caller.keys("4444").facts()


def test_a_rare_length_waits_twice_as_long(caller: Caller) -> None:
    """A sound PAN of fourteen digits may be the beginning of one of sixteen."""
    assert [] == caller.keys("36227206271667", gap_s=0.2).wait(2.9).facts()
    assert Complete(Field.PAN, 14, "diners", "1667") in caller.wait(0.2).facts()


def test_sixteen_unsound_digits_are_refused_after_a_doubt(caller: Caller) -> None:
    """The caller believes that it is done."""
    assert [] == caller.keys("4242424242424241", gap_s=0.2).wait(2.9).facts()
    assert [Problem(Field.PAN, FieldProblem.LUHN)] == caller.wait(0.2).facts()


def test_a_refused_entry_leaves_an_empty_open_field(caller: Caller) -> None:
    """The next entry is taken at once."""
    assert [Problem(Field.PAN, FieldProblem.LUHN)] == caller.keys("4242424242424241#").facts()
    assert Field.PAN is caller.capture.open_field
    assert Complete(Field.PAN, 16, "visa", "4242") in caller.keys(VISA + "#").facts()


def test_the_tail_of_a_refused_entry_is_not_the_next_one(caller: Caller) -> None:
    """A doubled key makes seventeen: the last one must not lead the second try."""
    assert [Problem(Field.PAN, FieldProblem.LUHN)] == caller.keys("5555555555554443").facts()
    caller.keys("44", gap_s=TAIL_S - 0.1).wait(TAIL_S)
    assert Complete(Field.PAN, 16, "mastercard", "4444") in caller.keys(MASTERCARD).facts()


def test_star_ends_the_tail(caller: Caller) -> None:
    """Who clears by hand starts anew at once."""
    caller.keys("5555555555554443")
    caller.keys("*", gap_s=0.1).keys(MASTERCARD, gap_s=0.1)
    assert Complete(Field.PAN, 16, "mastercard", "4444") in caller.facts()


def test_star_clears_the_field_and_no_other(caller: Caller) -> None:
    """The PAN stays; only the expiry starts again."""
    caller.keys(MASTERCARD + "99").facts()
    assert [Cleared(Field.EXPIRY)] == caller.keys("*").facts()
    assert Complete(Field.EXPIRY, 4) in caller.keys("1228").facts()


def test_two_stars_ask_for_help(caller: Caller) -> None:
    """The field is clear, the help is asked, the capture goes on."""
    assert [Cleared(Field.PAN), HelpAsked()] == caller.keys("42**").facts()
    assert Complete(Field.PAN, 16, "mastercard", "4444") in caller.keys(MASTERCARD).facts()


def test_letters_mean_nothing(caller: Caller) -> None:
    """A-D and numbers that no keypad has change nothing."""
    for key in (12, 13, 14, 15, 200):
        caller.capture.press(key, caller.now)
    assert [] == caller.facts()
    assert [] == caller.told[1:]


def test_a_late_hash_does_not_hurt_the_next_field(caller: Caller) -> None:
    """Mastercard ends by itself; the `#` that callers press anyway belongs to it."""
    caller.keys(MASTERCARD + "#").facts()
    assert Complete(Field.EXPIRY, 4) in caller.keys("1228").facts()


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("1328", FieldProblem.BAD_MONTH),
        ("1025", FieldProblem.EXPIRED),
        ("1228"[:3] + "#", FieldProblem.TOO_SHORT),
        ("0150", FieldProblem.TOO_FAR),
    ],
)
def test_a_wrong_expiry_is_refused_alone(caller: Caller, entry: str, problem: FieldProblem) -> None:
    """The PAN stays as it is."""
    caller.keys(MASTERCARD).facts()
    assert [Problem(Field.EXPIRY, problem)] == caller.keys(entry).facts()
    assert Complete(Field.EXPIRY, 4) in caller.wait(1.0).keys("1228").facts()


def test_a_short_cvv_is_refused(caller: Caller) -> None:
    """Two digits and `#` are too few."""
    caller.keys(MASTERCARD + "1228").facts()
    assert [Problem(Field.CVV, FieldProblem.TOO_SHORT)] == caller.keys("12#").facts()


def test_a_cvv_before_the_pan_takes_three_or_four(caller: Caller) -> None:
    """Without a brand both lengths are possible; the PAN decides afterwards."""
    caller.open(Field.CVV)
    caller.facts()
    assert [Complete(Field.CVV, 3), Opened(Field.PAN)] == caller.keys("123#").facts()
    caller.keys(AMEX + "1228").facts()
    assert Opened(Field.CVV) in caller.told[-6:]
    caller.open(Field.CVV)
    assert Complete(Field.CVV, 4) in caller.keys("1234").facts()
    assert caller.capture.filled


def test_rekeying_one_field_keeps_the_others(caller: Caller) -> None:
    """After a new PAN of the same kind the card is complete again."""
    caller.keys(MASTERCARD + "1228123").facts()
    caller.open(Field.PAN)
    assert not caller.capture.filled
    caller.keys(VISA + "#")
    assert [Opened(Field.PAN), Complete(Field.PAN, 16, "visa", "4242")] == caller.facts()
    assert caller.capture.filled


def test_another_brand_asks_for_its_own_cvv(caller: Caller) -> None:
    """Three digits cannot be an Amex's four."""
    caller.keys(MASTERCARD + "1228123").facts()
    caller.open(Field.PAN).keys(AMEX)
    assert Opened(Field.CVV) == caller.facts()[-1]
    assert Complete(Field.CVV, 4) in caller.keys("1234").facts()


def test_opening_another_field_closes_the_open_one(caller: Caller) -> None:
    """What was keyed so far is gone, and the closed field is asked for again."""
    caller.keys("4242").open(Field.EXPIRY)
    assert [Opened(Field.EXPIRY)] == caller.facts()
    assert [Complete(Field.EXPIRY, 4), Opened(Field.PAN)] == caller.keys("1228").facts()


def test_opening_the_open_field_empties_it(caller: Caller) -> None:
    """The agent's re-key button in the middle of an entry."""
    caller.keys("424").open(Field.PAN)
    assert Complete(Field.PAN, 16, "mastercard", "4444") in caller.keys(MASTERCARD).facts()


def test_a_closed_field_takes_no_key(caller: Caller) -> None:
    """Keys that nobody waits for are gone; closing twice is closing once."""
    caller.keys("42")
    caller.capture.close(caller.now)
    caller.capture.close(caller.now)
    assert [] == caller.keys("4242#*").facts()
    assert 0 == len(caller.capture.card.pan)


def test_wiping_the_cvv_asks_for_it_again(caller: Caller) -> None:
    """After a provider answer PAN and expiry stay, the CVV does not."""
    caller.keys(MASTERCARD + "1228123").facts()
    caller.capture.wipe_cvv()
    assert not caller.capture.filled
    assert 0 == len(caller.capture.card.cvv)
    caller.open(Field.CVV).keys("321")
    assert caller.capture.filled


def test_a_field_that_the_provider_refuses_is_open_again(caller: Caller) -> None:
    """The others stay."""
    caller.keys(MASTERCARD + "1228123").facts()
    caller.capture.refuse(Field.PAN, caller.now)
    assert [Problem(Field.PAN, FieldProblem.REFUSED_BY_PROVIDER), Opened(Field.PAN)] == caller.facts()
    caller.keys(MASTERCARD)
    assert caller.capture.filled


def test_a_pause_ignores_keys_and_silence(caller: Caller) -> None:
    """During TALK nothing counts but the payment's own limit; afterwards the entry goes on."""
    caller.keys("5555")
    caller.capture.pause()
    caller.keys("99*#").wait(300.0)
    assert [] == caller.facts()
    caller.capture.resume(caller.now)
    caller.capture.resume(caller.now)
    assert Complete(Field.PAN, 16, "mastercard", "4444") in caller.keys(MASTERCARD[4:]).facts()


# --- CONFIRM --------------------------------------------------------------------------------------------


def test_one_confirms() -> None:
    """The single key 1, and the field is closed."""
    caller = Caller().open(Field.CONFIRM).keys("1")
    assert [Opened(Field.CONFIRM), Confirmed()] == caller.facts()
    assert caller.capture.open_field is None


def test_three_other_keys_refuse() -> None:
    """Two slips are forgiven; stars and hashes are no answer."""
    caller = Caller().open(Field.CONFIRM).keys("2*#3")
    assert [Opened(Field.CONFIRM)] == [one for one in caller.facts() if not isinstance(one, Cleared)]
    assert [Problem(Field.CONFIRM, FieldProblem.CONFIRM_REFUSED)] == caller.keys("4").facts()
    assert [] == caller.keys("1").facts()


def test_a_silent_caller_confirms_nothing() -> None:
    """Asked again once, then the answer is no."""
    caller = Caller().open(Field.CONFIRM)
    caller.facts()
    assert [NoInput(Field.CONFIRM)] == caller.wait(16).facts()
    assert [Problem(Field.CONFIRM, FieldProblem.NO_INPUT)] == caller.wait(16).facts()


def test_confirm_leaves_the_card_as_it_is(caller: Caller) -> None:
    """The complete card stays complete."""
    caller.keys(MASTERCARD + "1228123").open(Field.CONFIRM).keys("1")
    assert caller.capture.filled


# --- time -----------------------------------------------------------------------------------------------


def test_a_silent_caller_is_asked_twice_and_then_left(caller: Caller) -> None:
    """15 s, 30 s, a warning at 60 s, the end at 120 s; everything is wiped."""
    assert [NoInput(Field.PAN)] == caller.wait(15.1).facts()
    assert [Problem(Field.PAN, FieldProblem.NO_INPUT)] == caller.wait(15.0).facts()
    assert [TimeWarning(60)] == caller.wait(30.0).facts()
    assert [Expired("idle")] == caller.wait(60.0).facts()
    assert caller.capture.ended
    assert caller.capture.next_due() is None
    caller.open(Field.PAN).keys("4").capture.tick(caller.now)
    assert [] == caller.facts()


def test_a_half_keyed_entry_is_asked_for_and_then_judged(caller: Caller) -> None:
    """The first silence leaves the digits, the second one gives them up."""
    caller.keys("4242")
    assert [NoInput(Field.PAN)] == caller.wait(15.1).facts()
    assert 4 == len(caller.capture.card.pan)
    assert [Problem(Field.PAN, FieldProblem.TOO_SHORT)] == caller.wait(15.0).facts()


def test_who_was_late_once_gets_twice_the_time(caller: Caller) -> None:
    """The pace of the PAN is remembered for the expiry."""
    caller.wait(16).keys(MASTERCARD).facts()
    assert [] == caller.wait(29.0).facts()
    assert [NoInput(Field.EXPIRY)] == caller.wait(2.0).facts()


def test_any_key_moves_the_idle_limit(caller: Caller) -> None:
    """Warned, keyed on, warned again."""
    caller.wait(61).keys("4")
    assert 1 == caller.facts().count(TimeWarning(60))
    caller.wait(58)
    assert 0 == caller.facts().count(TimeWarning(60))
    caller.wait(3)
    assert 1 == caller.facts().count(TimeWarning(60))


def test_a_complete_card_does_not_idle_but_expires(caller: Caller) -> None:
    """The agent may talk for minutes; the payment's limit stays."""
    caller.keys(MASTERCARD + "1228123").facts()
    assert [] == caller.wait(800).facts()
    assert [TimeWarning(60), Expired("payment")] == caller.wait(100).facts()
    assert not caller.capture.filled
    assert [0, 0, 0] == [len(caller.capture._digits(one)) for one in ORDER]


def test_short_limits_need_no_warning() -> None:
    """A warning that would come before the start is left out."""
    caller = Caller(Limits(silence_s=0.1, idle_s=1.0, payment_s=5.0)).open(Field.PAN)
    caller.facts()
    told = caller.wait(2.0).facts()
    assert [NoInput(Field.PAN), Problem(Field.PAN, FieldProblem.NO_INPUT), Expired("idle")] == told


def test_too_many_refused_entries_end_the_capture(caller: Caller) -> None:
    """A guesser is stopped, a person is not."""
    for _ in range(PROBLEMS_MAX - 1):
        caller.keys("1#")
    assert not caller.capture.ended
    caller.keys("1#")
    assert Expired("tries") == caller.facts()[-1]


def test_the_provider_s_refusals_count_as_well(caller: Caller) -> None:
    """Card after card against the provider is guessing, too."""
    for _ in range(PROBLEMS_MAX):
        caller.capture.refuse(Field.PAN, caller.now)
    assert Expired("tries") == caller.facts()[-1]


@pytest.mark.parametrize(
    "values", [{"idle_s": 121.0}, {"payment_s": 0.0}, {"silence_s": -1.0}, {"warning_s": 61}]
)
def test_a_limit_can_only_be_tightened(values: dict[str, float]) -> None:
    """A PAN never lives longer than the rule says."""
    with pytest.raises(ValueError, match="limit"):
        Limits(**values)


def test_the_table_of_moves_is_as_agreed() -> None:
    """Only these pairs exist; a field that nobody waits for cannot be filled or refused."""
    missing = {pair for pair in itertools.product(FieldState, Event) if pair not in MOVES}
    assert missing == {
        (FieldState.WAITING, Event.FILLED),
        (FieldState.WAITING, Event.REFUSED),
        (FieldState.WAITING, Event.CLOSE),
        (FieldState.COMPLETE, Event.FILLED),
        (FieldState.COMPLETE, Event.REFUSED),
        (FieldState.COMPLETE, Event.CLOSE),
    }


class AnyCaller(RuleBasedStateMachine):
    """Any keys, commands and pauses in any order."""

    @initialize()
    def start(self) -> None:
        self.caller = Caller()

    @rule(field=st.sampled_from(Field))
    def open(self, field: Field) -> None:
        self.caller.open(field)

    @rule(text=st.text("0123456789*#", max_size=20), gap_s=st.sampled_from([0.0, 0.2, 1.0]))
    def keys(self, text: str, gap_s: float) -> None:
        self.caller.keys(text, gap_s)

    @rule(card=st.sampled_from([VISA + "#", MASTERCARD, AMEX]), rest=st.sampled_from(["", "1228", "1228123"]))
    def card(self, card: str, rest: str) -> None:
        self.caller.keys(card + rest)

    @rule(seconds=st.floats(0, 130))
    def wait(self, seconds: float) -> None:
        self.caller.wait(seconds)

    @rule(word=st.sampled_from(["close", "pause", "resume", "wipe_cvv", "refuse"]))
    def command(self, word: str) -> None:
        capture, now = self.caller.capture, self.caller.now
        if word == "refuse":
            if capture.filled:
                capture.refuse(Field.EXPIRY, now)
        elif word in {"pause", "wipe_cvv"}:
            getattr(capture, word)()
        else:
            getattr(capture, word)(now)

    @invariant()
    def no_fact_holds_more_than_counts_brand_and_last4(self) -> None:
        if hasattr(self, "caller"):
            self.caller.facts()
            for fact in self.caller.told:
                assert all(_harmless(fact, one.name) for one in dataclasses.fields(fact))

    @invariant()
    def only_the_open_field_and_complete_ones_hold_digits(self) -> None:
        if hasattr(self, "caller"):
            capture = self.caller.capture
            for field in ORDER:
                held = len(capture._digits(field)) > 0
                assert (
                    not held or field is capture.open_field or capture._states[field] is FieldState.COMPLETE
                )
            assert (capture.next_due() is None) == capture.ended


def _harmless(fact: Fact, name: str) -> bool:
    value = getattr(fact, name)
    if name == "last4":
        return value is None or (isinstance(fact, Complete) and fact.field is Field.PAN and len(value) == 4)
    if name in {"digits", "seconds_left"}:
        return isinstance(value, int) and value <= (19 if name == "digits" else 60)
    return value is None or isinstance(value, StrEnum) or not any(one.isdigit() for one in str(value))


AnyCaller.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestAnyCaller = AnyCaller.TestCase


def test_a_pause_is_never_longer_than_its_bound(caller: Caller) -> None:
    """However slow the caller, the wait for a sound PAN is bounded."""
    caller.keys(VISA, gap_s=14.0).wait(PAUSE_MAX_S + 0.1)
    assert Complete(Field.PAN, 16, "visa", "4242") in caller.facts()
