"""A line without telephony: a flow runs on it in milliseconds, steps are put in by the test."""

import asyncio
from collections import deque

from pay_ivr.call import Call, EndReason
from pay_ivr.codes import PreparedPayment
from pay_ivr.facts import CallError
from pay_ivr.flow import Keyed
from pay_ivr.payment_voice import Sentence
from vault import Decline, DeclineReason, NextStep, Payment, PaymentChanged, PaymentState, Refused, Why


class ScriptedLine:
    """Keeps what a flow did, answers with what the test scripted."""

    def __init__(self, *, agent: bool = True) -> None:
        self.call = Call(
            "call_a", "demo", "Demo Travel", "x", "49301", "49151", "en-US", "2026-01-01T00:00:00.000Z"
        )
        self.said: list[str] = []
        self.did: list[str] = []
        self.ended: EndReason | None = None
        self.keyed: deque[Keyed] = deque()
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

    async def connect_agent(self) -> bool:
        self.did.append("connect_agent")
        return self._agent

    async def answer(self) -> None:
        self.did.append("answer")

    async def agent_gone(self) -> None:
        await self._agent_gone.wait()

    async def say(self, *sentences: Sentence) -> None:
        self.said += [sentence.key.value for sentence in sentences]

    async def ask_digits(self, *sentences: Sentence, digits: int) -> Keyed:
        await self.say(*sentences)
        return self.keyed.popleft() if self.keyed else Keyed("", "no_input")

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
