"""What the caller hears at each step of a PIN entry: pure tables from a step to catalogue keys.

No sentence can tell a member who does not exist from one who does: the steps are the same for both.
"""

from collections.abc import Mapping

from pay_ivr.catalogue import Key
from pay_ivr.payment_voice import Sentence
from vault import PinChanged, PinField, PinProblem, PinPurpose, PinResult, PinWhy

_QUESTION: Mapping[PinField, Key] = {
    PinField.PIN: Key.ASK_PIN,
    PinField.CODE: Key.ASK_PIN_CODE,
    PinField.NEW: Key.ASK_PIN_NEW,
    PinField.AGAIN: Key.ASK_PIN_AGAIN,
}
_PROBLEM: Mapping[PinProblem, Key] = {
    PinProblem.TOO_SHORT: Key.PIN_TOO_SHORT,
    PinProblem.MISMATCH: Key.PIN_MISMATCH,
    PinProblem.EASY: Key.PIN_EASY,
    PinProblem.NO_INPUT: Key.PIN_NO_INPUT,
}
_RESULT: Mapping[PinResult, Key] = {
    PinResult.OK: Key.PIN_CHANGED,
    PinResult.WRONG: Key.PIN_NOT_CHANGED,
    PinResult.CANCELLED: Key.PIN_NOT_CHANGED,
    PinResult.LOCKED: Key.PIN_LOCKED,
    PinResult.EXPIRED: Key.PIN_TIME_UP,
}


def pin_sentences(change: PinChanged) -> tuple[Sentence, ...]:
    """What to say now; empty when the step is silent (opened, a key, the result: see `result_sentences`)."""
    match change.why:
        case PinWhy.FIELD_OPENED:
            return _ask(change)
        case PinWhy.FIELD_CLEARED:
            return (Sentence(Key.FIELD_CLEARED),)
        case PinWhy.PROBLEM if change.problem is not None:
            return (Sentence(_PROBLEM[change.problem]), *_ask(change))
        case PinWhy.NO_INPUT:
            return (Sentence(Key.PIN_NO_INPUT), *_ask(change))
        case PinWhy.HELP_ASKED:
            return (Sentence(Key.UNATTENDED_GRAMMAR), *_ask(change))
    return ()


def result_sentences(purpose: PinPurpose, result: PinResult) -> tuple[Sentence, ...]:
    """What is said when the entry is over; whether a check was right is the flow's to tell."""
    if purpose is PinPurpose.VERIFY and result not in {PinResult.LOCKED, PinResult.EXPIRED}:
        return ()
    return (Sentence(_RESULT[result]),)


def pin_follows(change: PinChanged, spoken: PinChanged | None) -> bool:
    """True when this goes with the step spoken before it: a problem, then the field that is open again."""
    return (
        change.why is PinWhy.FIELD_OPENED
        and spoken is not None
        and spoken.entry.entry_id == change.entry.entry_id
    )


def _ask(change: PinChanged) -> tuple[Sentence, ...]:
    field = change.entry.field or change.field
    if field is None:
        return ()
    if field is PinField.PIN and change.entry.purpose is PinPurpose.CHANGE:
        return (Sentence(Key.ASK_PIN_OLD),)
    return (Sentence(_QUESTION[field]),)
