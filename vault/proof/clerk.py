"""Whoever wants to be paid: one order from the first press to the last refund, whatever dies meanwhile.

A clerk knows nothing but what the door says. He looks at the payment's state and does what comes next; when
the broker dies he looks again. He is impatient: he presses twice, and two of him give back at once.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from vault.door import NewPayment, Payment, PaymentState, Refused, Search, StepName, StepState, VaultError
from vault.proof.machine import TENANT, Gone, Machine, Node
from vault.proof.tokens import token_maker
from vault.step import Ask

T = TypeVar("T")

APPROVED = ("4242424242424242", "5555555555554444", "378282246310005")
DECLINED = (
    "4000000000000002",
    "4000000000009995",
    "4000000000009987",
    "4000000000000069",
    "4000000000000127",
    "4000000000000119",
)
ONLINE = "4000002760003184"
BRANDS = {"3": "amex", "4": "visa", "5": "mastercard"}
PAYMENTS_MAX = 6
"""Payments that a clerk begins for one order: captures expire when the broker dies."""
TRIES_MAX = 8
"""Times that a clerk asks for one money step before he leaves it."""
LOOKS = (1.0, 2.0, 4.0, 10.0, 30.0, 120.0, 300.0)
"""Seconds between two looks at a payment that is under way; the last one repeats."""
BEGIN_WITHIN_S = 900.0
KEYING_S = (4.0, 40.0)
TWICE_SHARE = 0.2
OVER = frozenset(
    {PaymentState.VOIDED, PaymentState.REFUNDED, PaymentState.NEEDS_ACTION, PaymentState.CHECKED}
)
WAITING = frozenset({PaymentState.AUTHORISING, PaymentState.UNKNOWN})


class Kind(StrEnum):
    """What an order is."""

    SALE = "sale"
    HOLD = "hold"
    CHECK = "check"
    KEPT = "kept"
    """By a card on file; follows a sale that kept it."""


@dataclass(frozen=True)
class Act:
    """One money step that the order asks for; `percent` of the whole, None: what is left."""

    name: StepName
    percent: int | None = None
    twice: bool = False
    """Two clerks ask for it at once, each with a key of his own."""


@dataclass(frozen=True)
class Order:
    """What one clerk has to do."""

    number: int
    kind: Kind
    amount_minor: int
    currency: str
    cards: tuple[str, ...]
    """One for each attempt; the last one repeats."""
    acts: tuple[Act, ...] = ()
    customer: str = ""
    keeps_card: bool = False
    off_line: bool = False

    @property
    def reference(self) -> str:
        """As the merchant calls it."""
        return f"R-{self.number}"


def orders(dice: random.Random) -> list[Order]:
    """A few orders of mixed kinds."""
    return [_order(number, dice) for number in range(dice.randrange(2, 6))]


def _order(number: int, dice: random.Random) -> Order:
    kind = dice.choices((Kind.SALE, Kind.HOLD, Kind.CHECK), (5, 4, 1))[0]
    bad = [dice.choice((*DECLINED, ONLINE)) for _ in range(dice.choice((0, 0, 0, 1, 1, 2, 3)))]
    currency = dice.choice(("EUR", "EUR", "JPY"))
    amount_minor = 0 if kind is Kind.CHECK else dice.randrange(500, 200_000)
    acts = _acts(kind, dice)
    keeps = dice.random() < 0.3
    customer = f"c{number}" if keeps else ""
    cards = (*bad, dice.choice(APPROVED))
    return Order(number, kind, amount_minor, currency, cards, acts, customer, keeps, dice.random() < 0.5)


def _acts(kind: Kind, dice: random.Random) -> tuple[Act, ...]:
    refunds = dice.choice(
        (
            (),
            (Act(StepName.REFUND),),
            (Act(StepName.REFUND, 30), Act(StepName.REFUND, 20), Act(StepName.REFUND)),
            (Act(StepName.REFUND, 60, twice=True),),
        )
    )
    if kind is Kind.SALE:
        return refunds
    if kind is Kind.HOLD:
        settled = (Act(StepName.SETTLE, dice.choice((None, 40))), *refunds)
        return dice.choice((settled, settled, (Act(StepName.VOID),), ()))
    return ()


MADE = frozenset({PaymentState.CREATED, PaymentState.READY})
"""A payment whose maker has died is in: with a kept card it has its token from the beginning."""


class Clerk:
    """Works on one order; `done` says how it ended."""

    def __init__(self, order: Order, machine: Machine, dice: random.Random) -> None:
        self.order = order
        self.done = ""
        self.payments = 0
        self._machine = machine
        self._token = token_maker(machine.host, machine.loop.epoch)
        self._dice = dice
        self._acted = 0
        self._tries = 0

    async def work(self) -> None:
        """From the call to the end, whatever it is."""
        await asyncio.sleep(self._dice.uniform(0.0, BEGIN_WITHIN_S))
        payment = await self._order(self.order)
        if payment and payment.paid and self.order.keeps_card:
            await self._pay_again()

    async def _pay_again(self) -> None:
        """The next payment of the same customer, by the card that is kept."""
        order = self.order
        found = await self._through(lambda node: node.cards.of_customer(TENANT, order.customer))
        if not found:
            return
        again = Order(
            order.number + 100, Kind.KEPT, 700, "EUR", (), (), order.customer, off_line=order.off_line
        )
        self._acted = 0
        await self._order(again, found[0].card_id)

    async def _order(self, order: Order, card_id: str = "") -> Payment | None:
        """One order to its end; its last payment."""
        for _ in range(PAYMENTS_MAX):
            payment = await self._create(order, card_id)
            payment = await self._follow(order, payment)
            if payment.state not in {PaymentState.EXPIRED, PaymentState.CANCELLED}:
                self.done = payment.state.value
                return payment
        self.done = "given_up"
        return None

    async def _create(self, order: Order, card_id: str) -> Payment:
        """A new payment; one that was made before the broker died is found by its reference."""
        new = _new_payment(order, card_id)
        while True:
            try:
                payment = await self._machine.ask(lambda node: node.till.create_payment(new))
            except Gone:
                found = await self._through(lambda node: node.till.search(Search(TENANT, order.reference)))
                living = [one for one in found.payments if one.state in MADE]
                if living:
                    return living[0]
            else:
                self.payments += 1
                return payment

    async def _follow(self, order: Order, payment: Payment) -> Payment:
        """Does what comes next until nothing does."""
        looks = 0
        while True:
            payment = await self._look(payment.payment_id)
            try:
                moved = await self._next(order, payment)
            except (Gone, VaultError) as error:
                self._machine.trace(f"{order.reference}: {getattr(error, 'code', 'gone')}")
                moved = None
            if moved is False:
                return await self._look(payment.payment_id)
            looks = 0 if moved else looks + 1
            await asyncio.sleep(LOOKS[min(looks, len(LOOKS) - 1)])

    async def _next(self, order: Order, payment: Payment) -> bool | None:
        """True: something was done; None: wait; False: that is the end."""
        match payment.state:
            case PaymentState.CREATED if order.kind is Kind.KEPT:
                await self._machine.ask(lambda node: node.till.cancel(payment.payment_id, "agent1"))
                return True
            case PaymentState.CREATED:
                return await self._key(payment, order.cards[0])
            case PaymentState.READY:
                return await self._charge(payment)
            case PaymentState.DECLINED:
                return await self._retry(order, payment)
            case PaymentState.AUTHORISED if order.kind is not Kind.HOLD:
                return None
            case PaymentState.AUTHORISED | PaymentState.SETTLED:
                return await self._act(order, payment)
            case state if state in WAITING or state is PaymentState.CAPTURING:
                return None
        return False

    async def _key(self, payment: Payment, pan: str) -> bool:
        await asyncio.sleep(self._dice.uniform(*KEYING_S))
        await self._machine.ask(
            lambda node: node.keyed(payment.payment_id, BRANDS[pan[0]], pan[-4:], lambda: self._token(pan))
        )
        return True

    async def _charge(self, payment: Payment) -> bool:
        """Presses charge, sometimes twice."""
        presses = 1 + (self._dice.random() < TWICE_SHARE)
        press = lambda node: node.till.charge(payment.payment_id)  # noqa: E731 - pressed more than once
        answers = await asyncio.gather(
            *(self._machine.ask(press) for _ in range(presses)), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return True

    async def _retry(self, order: Order, payment: Payment) -> bool:
        decline = payment.decline
        if order.kind is Kind.KEPT or decline is None or not decline.retry_allowed:
            return False
        return await self._key(payment, order.cards[min(payment.attempt, len(order.cards) - 1)])

    async def _act(self, order: Order, payment: Payment) -> bool | None:
        """The next money step of the order."""
        if payment.step is not None:
            return None
        history = await self._through(lambda node: node.till.history(payment.payment_id))
        ours = [step for step in history.steps if step.by == "agent:agent1"]
        done = sum(step.state is StepState.DONE for step in ours)
        if done > self._acted:
            self._acted, self._tries = done, 0
        if done >= len(order.acts) or self._tries >= TRIES_MAX:
            return False
        act = order.acts[done]
        self._tries += 1
        whole = payment.settled_minor or payment.amount_minor
        amount = None if act.percent is None else max(1, whole * act.percent // 100)
        keys = [f"{act.name.value}-{done}-{self._tries}-{who}" for who in range(1 + act.twice)]
        asks = [Ask(act.name, amount, "agent:agent1", key) for key in keys]
        answers = await asyncio.gather(
            *(self._step(payment.payment_id, ask) for ask in asks), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Refused | Gone):
                raise answer
        return True

    async def _step(self, payment_id: str, ask: Ask) -> Payment:
        """Asked with one key until there is an answer: however often, it is one step."""
        return await self._through(lambda node: node.till.take_step(payment_id, ask))

    async def _look(self, payment_id: str) -> Payment:
        return await self._through(lambda node: node.till.payment(payment_id))

    async def _through(self, work: Callable[[Node], Awaitable[T]]) -> T:
        """What may be asked again as often as the broker dies."""
        while True:
            try:
                return await self._machine.ask(work)
            except Gone:
                continue


def _new_payment(order: Order, card_id: str) -> NewPayment:
    off_line = order.kind is Kind.KEPT and order.off_line
    return NewPayment(
        tenant=TENANT,
        call_id="" if off_line else f"call_{order.number}",
        leg_id="" if off_line else f"leg_{order.number}",
        amount_minor=order.amount_minor,
        currency=order.currency,
        reference=order.reference,
        purpose="booking",
        sca_basis="mit" if off_line else "moto_agent",
        agent_id=None if off_line else "agent1",
        settle_later=order.kind is Kind.HOLD,
        check_only=order.kind is Kind.CHECK,
        customer=order.customer,
        mandate="keep_v1" if order.keeps_card else "",
        card_id=card_id,
    )
