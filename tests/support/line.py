"""A line without telephony: a flow runs on it in milliseconds, steps are put in by the test."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from pay_ivr.call import Call, EndReason
from pay_ivr.catalogue import Key
from pay_ivr.codes import PreparedPayment
from pay_ivr.facts import CallError
from pay_ivr.flow import FIRST_S, NEXT_S, Keyed
from pay_ivr.payment_voice import Sentence
from pay_ivr.pin_voice import result_sentences
from vault import (
    Decline,
    DeclineReason,
    NextStep,
    Payment,
    PaymentChanged,
    PaymentState,
    PinPurpose,
    PinResult,
    Refused,
    Why,
)

HANG_UP = "hang up"
"""An answer that is none: the caller hangs up at the question, and the flow is cancelled where it stands."""
SILENCE = Keyed("", "no_input")
HELP = Keyed("", "help")


@dataclass(frozen=True)
class Question:
    """One question as the caller heard it."""

    keys: tuple[Key, ...]
    digits: int
    digits_min: int
    first_s: float
    ahead: bool


class ScriptedLine:
    """Keeps what a flow did, answers with what the test scripted.

    `script`: prompt key → what is keyed there, in order; `keyed`: what is keyed at any question. Text counts
    as keyed in full; after the last answer the caller is silent. Secret digits never come here: `pins` are
    results of PIN entries.
    """

    def __init__(
        self, *, agent: bool = True, languages: tuple[str, ...] = (), call_id: str = "call_a"
    ) -> None:
        self.call = Call(
            call_id, "demo", "Demo Travel", "x", "49301", "49151", "en-US", "2026-01-01T00:00:00.000Z"
        )
        self.agents: tuple[str, ...] = ("agent1",)
        self.said: list[str] = []
        self.spoken: list[tuple[str, Sentence]] = []
        """Language and sentence, in order."""
        self.questions: list[Question] = []
        self.answered: list[str] = []
        """What was keyed at confirmations."""
        self.did: list[str] = []
        self.ended: EndReason | None = None
        self.keyed: deque[Keyed | str] = deque()
        self.script: defaultdict[Key, deque[Keyed | str]] = defaultdict(deque)
        self.pins: deque[PinResult] = deque()
        self.pin_entries: list[tuple[str, PinPurpose]] = []
        self.context: Mapping[str, str] | None = None
        self.codes: dict[str, PreparedPayment | Exception] = {}
        self.steps: deque[PaymentChanged] = deque()
        self.open: Payment | None = None
        self.refuse_capture = False
        self._agent = agent
        self._agent_gone = asyncio.Event()

    def lose_agent(self, payment: Payment | None) -> None:
        self.open = payment
        self._agent_gone.set()

    def step(self, why: Why, state: PaymentState, **values: object) -> None:
        self.steps.append(PaymentChanged(len(self.steps), why, a_payment(state, **values)))

    def keys(self, **script: str | Keyed | list[str | Keyed]) -> None:
        """What is keyed when a sentence is heard: `ask_number="4711001"`."""
        for name, answers in script.items():
            self.script[Key(name)].extend(answers if isinstance(answers, list) else [answers])

    async def connect_agent(self, context: Mapping[str, str] | None = None) -> bool:
        self.did.append("connect_agent")
        self.context = context
        return self._agent

    async def answer(self) -> None:
        self.did.append("answer")

    async def agent_gone(self) -> None:
        await self._agent_gone.wait()

    def speak_language(self, tag: str) -> None:
        self.did.append(f"speak {tag}")
        self.call.language = tag

    def speak_slowly(self) -> None:
        self.did.append("speak slowly")

    async def say(self, *sentences: Sentence) -> None:
        self.said += [sentence.key.value for sentence in sentences]
        self.spoken += [(one.language or self.call.language, one) for one in sentences]

    async def ask_digits(
        self,
        *sentences: Sentence,
        digits: int,
        digits_min: int = 1,
        first_s: float = FIRST_S,
        next_s: float = NEXT_S,
        ahead: bool = True,
    ) -> Keyed:
        await self.say(*sentences)
        keys = tuple(sentence.key for sentence in sentences)
        self.questions.append(Question(keys, digits, digits_min, first_s, ahead))
        answer = self._answer(keys)
        if Key.CONFIRM_OR_BACK in keys:
            self.answered.append(answer[:1] if isinstance(answer, str) else "")
        if answer == HANG_UP:
            raise asyncio.CancelledError
        if isinstance(answer, Keyed):
            return answer
        return Keyed(answer[:digits], "done" if len(answer) >= digits_min else "too_few")

    def _answer(self, keys: tuple[Key, ...]) -> Keyed | str:
        for key in reversed(keys):
            if self.script[key]:
                return self.script[key].popleft()
        return self.keyed.popleft() if self.keyed else SILENCE

    async def ask_pin(self, member_id: str, purpose: PinPurpose, born: str = "") -> PinResult:
        self.pin_entries.append((member_id, purpose))
        result = self.pins.popleft() if self.pins else PinResult.EXPIRED
        await self.say(*result_sentences(purpose, result))
        return result

    def open_payment(self) -> Payment | None:
        return self.open

    async def pay(self, prepared: PreparedPayment) -> Payment:
        self.did.append(f"pay {prepared.amount_minor} {prepared.currency}")
        if self.refuse_capture:
            raise Refused("capture_refused", "No room.")
        return a_payment(PaymentState.CAPTURING)

    async def next_change(self, payment_id: str) -> PaymentChanged:
        return self.steps.popleft()

    async def start_capture(self, payment_id: str) -> Payment:
        self.did.append("capture")
        if self.refuse_capture:
            raise Refused("capture_refused", "No room.")
        return a_payment(PaymentState.CAPTURING)

    async def ask_confirm(self, payment_id: str) -> Payment:
        self.did.append("ask_confirm")
        return a_payment(PaymentState.READY)

    async def charge(self, payment_id: str) -> Payment:
        self.did.append("charge")
        return a_payment(PaymentState.AUTHORISING)

    async def take_code(self, code: str) -> PreparedPayment | None:
        found = self.codes.get(code)
        if isinstance(found, Exception):
            raise found
        return found

    def hang_up(self, reason: EndReason) -> None:
        self.ended = reason


def a_payment(state: PaymentState, **values: object) -> Payment:
    """A payment of 19.95 EUR in a state."""
    head = ("pay_a", "demo", "call_a", "leg_a", None, state, 1995, "EUR", "R-1", "booking", 1)
    return Payment(*head, **values)  # type: ignore[arg-type]


def a_decline(step: NextStep = NextStep.OTHER_CARD, *, retry: bool = True) -> Decline:
    """A decline for want of funds."""
    return Decline(DeclineReason.FUNDS, step, retry)


TOO_OFTEN = CallError("tries_exceeded", "Too many wrong payment codes; call again in an hour.")
