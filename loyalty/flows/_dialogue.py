"""One caller's conversation: what is said, asked, asked again; the only place that knows how to ask again.

A question is asked `TRIES` times; after that the caller is not helped by hearing it once more: `ToAgent`.
What is told is said together with the next question, so that a key pressed during it is that question's
answer and never lost. Only a confirmation is heard before it is asked: a bouncing key must not confirm.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, TypeVar

from loyalty.programme import Programme
from loyalty.service import Loyalty
from pay_ivr.catalogue import Key
from pay_ivr.flow import FIRST_S, NEXT_S, Keyed, Line
from pay_ivr.payment_voice import Sentence

TRIES: Final = 3
"""How often a question is asked: a slip and a second one are human, then a person should help."""
STEPS_MAX: Final = 100
"""Questions of one call: half an hour of a patient caller; a stuck key must not hold a line for a night."""
SLOWER_MAX: Final = 3
"""How often the timers are doubled: then they wait a minute for a key, and media allows no more."""
PREFERRED: Final = "9876543210"
"""Keys for what every menu offers, best first; those that the tenant's own items leave free."""
CALLER: Final = "caller"
"""Who did it, in the audit log; the call says which one."""
CONFIRM, BACK = "1", "2"
"""As the sentence `confirm_or_back` says them."""

Answer = TypeVar("Answer")


class Wish(StrEnum):
    """Why a caller is taken to an agent; a word of the context that the agent sees."""

    ASKED = "asked"
    SILENCE = "silence"
    """No key came, however often it was asked."""
    WRONG_KEYS = "wrong_keys"
    LOGIN_FAILED = "login_failed"
    PIN_LOCKED = "pin_locked"
    UNAVAILABLE = "unavailable"
    """Something of ours does not work at the moment."""


class ToAgent(Exception):
    """The caller needs a person."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish.value)
        self.wish = wish


class Finished(Exception):
    """The conversation is over; the last word has been said."""


@dataclass(frozen=True)
class Pace:
    """How long a question waits for the caller's keys."""

    first_s: float = FIRST_S
    next_s: float = NEXT_S
    slowed: int = 0

    def slower(self) -> "Pace":
        """Twice as long, as often as `SLOWER_MAX`; then it stays."""
        if self.slowed >= SLOWER_MAX:
            return self
        return Pace(min(2 * self.first_s, 60.0), min(2 * self.next_s, 30.0), self.slowed + 1)


@dataclass(frozen=True)
class Choice(Generic[Answer]):
    """One key of a menu."""

    key: str
    sentence: Sentence
    answer: Answer


class Dialogue:
    """A caller's conversation with a flow, from the first word to the last."""

    def __init__(self, line: Line, loyalty: Loyalty, now: Callable[[], datetime]) -> None:
        self.line = line
        self.loyalty = loyalty
        self.now = now
        self.programme: Programme = loyalty.programme(line.call.tenant)
        self.pace = Pace()
        self.member_id = ""
        """Empty until a PIN has proven who calls."""
        self.topic = "login"
        """What the caller is at; a word of the context that an agent sees."""
        self.tried: list[str] = []
        """What has been done on this call, in order."""
        self.met_agent = False
        self._waiting: tuple[Sentence, ...] = ()
        self._told: tuple[Sentence, ...] = ()
        self._steps = 0
        self._keys_given = 0

    @property
    def tenant(self) -> str:
        """Whose number was dialled."""
        return self.line.call.tenant

    def next_key(self, what: str) -> str:
        """An idempotency key of this call, new at every wish; take it once, before the first try."""
        self._keys_given += 1
        return f"{self.line.call.call_id}:{what}:{self._keys_given}"

    # -- saying ----------------------------------------------------------------------------------------------

    def tell(self, *sentences: Sentence) -> None:
        """Said at the beginning of the next question, or with the next `say`."""
        self._waiting += sentences

    def inform(self, *sentences: Sentence) -> None:
        """As `tell`, and kept for a caller who wants to hear it again."""
        self._told = sentences
        self.tell(*sentences)

    async def say(self, *sentences: Sentence) -> None:
        """Speaks; returns when it is said, or a key has stopped it."""
        await self.line.say(*self._taken(), *sentences)

    # -- asking ----------------------------------------------------------------------------------------------

    async def ask(
        self,
        question: Sentence,
        *,
        digits: int,
        digits_min: int,
        valid: Callable[[str], Answer | None],
    ) -> Answer:
        """What the keyed digits mean; ToAgent after `TRIES` questions without an answer."""
        return await self._asked(
            (question,),
            valid,
            Key.INVALID_CHOICE if digits == 1 else Key.NOT_UNDERSTOOD,
            digits=digits,
            digits_min=digits_min,
        )

    async def choose(self, choices: Sequence[Choice[Answer]]) -> Answer:
        """The caller's choice; the menu also offers to hear it again and to have more time."""
        taken = {choice.key: choice.answer for choice in choices}
        again, slower = spare_keys(taken, 2)
        question = tuple(choice.sentence for choice in choices) + tuple(
            Sentence(key, {"digit": int(digit)})
            for key, digit in ((Key.MENU_SLOWER, slower), (Key.MENU_REPEAT, again))
            if digit
        )
        while True:
            key = await self._asked(
                question,
                lambda digits: digits if digits in {*taken, again, slower} else None,
                Key.INVALID_CHOICE,
                digits=1,
                digits_min=1,
            )
            if key in taken:
                self._told = ()
                return taken[key]
            if key == slower:
                self.pace = self.pace.slower()
                self.line.speak_slowly()
            else:
                self.tell(*self._told)

    async def confirm(self, *what: Sentence) -> bool:
        """True when the caller has heard what will happen, and has then pressed the key for it."""
        await self.say(*what)
        key = await self._asked(
            (Sentence(Key.CONFIRM_OR_BACK),),
            lambda digits: digits if digits in {CONFIRM, BACK} else None,
            Key.INVALID_CHOICE,
            digits=1,
            digits_min=1,
            ahead=False,
        )
        return key == CONFIRM

    async def key_once(self, question: Sequence[Sentence], *, first_s: float) -> str:
        """One digit, or none: a question that may stay without an answer."""
        keyed = await self._key(question, replace(self.pace, first_s=first_s), digits=1, digits_min=1)
        return keyed.digits

    async def _asked(
        self,
        question: tuple[Sentence, ...],
        valid: Callable[[str], Answer | None],
        wrong: Key,
        *,
        digits: int,
        digits_min: int,
        ahead: bool = True,
    ) -> Answer:
        tries, silent = 0, True
        while tries < TRIES:
            keyed = await self._key(question, self.pace, digits=digits, digits_min=digits_min, ahead=ahead)
            answer = valid(keyed.digits) if keyed.outcome == "done" else None
            if answer is not None:
                return answer
            ahead = True
            silent = silent and keyed.outcome in _SILENT
            tries += keyed.outcome != "help"
            if keyed.outcome == "too_few":
                self.pace = self.pace.slower()  # cut off while keying: this caller needs more time
            self.tell(Sentence(_SAID_AGAIN.get(keyed.outcome, wrong)))
        self._waiting = ()
        raise ToAgent(Wish.SILENCE if silent else Wish.WRONG_KEYS)

    async def _key(
        self, question: Sequence[Sentence], pace: Pace, *, digits: int, digits_min: int, ahead: bool = True
    ) -> Keyed:
        self._steps += 1
        if self._steps > STEPS_MAX:
            await self.say(Sentence(Key.LOYALTY_GOODBYE))
            raise Finished
        return await self.line.ask_digits(
            *self._taken(),
            *question,
            digits=digits,
            digits_min=digits_min,
            first_s=pace.first_s,
            next_s=pace.next_s,
            ahead=ahead,
        )

    def _taken(self) -> tuple[Sentence, ...]:
        waiting, self._waiting = self._waiting, ()
        return waiting


_SILENT: Final = frozenset({"no_input", "timeout", "stopped", "captured"})
"""Outcomes of a question to which no key came."""
_SAID_AGAIN: Final = {
    **dict.fromkeys(_SILENT, Key.ASKED_AGAIN),
    "too_few": Key.PIN_TOO_SHORT,
    "too_many": Key.NOT_UNDERSTOOD,
    "help": Key.UNATTENDED_GRAMMAR,
}
"""Outcome → what is said before the question is asked again; every other answer was a wrong one."""


def spare_keys(taken: Collection[str], count: int) -> list[str]:
    """The best free keys for what every menu offers; empty texts where none is left."""
    free = [key for key in PREFERRED if key not in taken]
    return (free + [""] * count)[:count]
