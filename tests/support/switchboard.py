"""A switchboard without telephony: the product's contract in memory, for tests of what stands above it.

Calls and payments move as the vault's table says (architecture §4), every refusal changes nothing, every
change is told to the listeners. The test plays the caller with `key`, `finish_field`, `hurry`, and the bank
with `bank`.
"""

from collections.abc import Callable
from dataclasses import replace

from pay_ivr.facts import CallChanged, CallError, CallFact, CallView
from pay_ivr.ids import new_id, utc_now
from vault import (
    Decline,
    Door,
    Field,
    FieldProblem,
    FieldProgress,
    FieldState,
    NextStep,
    Payment,
    PaymentChanged,
    PaymentState,
    Refused,
    Why,
)

CURRENCIES = {"EUR", "USD", "JPY"}
PURPOSES = {"booking", "invoice", "deposit"}
AMOUNT_MINOR_MAX = 500_000
CANCELLABLE = {PaymentState.CREATED, PaymentState.CAPTURING, PaymentState.READY}
HOLDING = CANCELLABLE | {PaymentState.AUTHORISING, PaymentState.UNKNOWN, PaymentState.AUTHORISED}
CARD_FIELDS = (Field.PAN, Field.EXPIRY, Field.CVV)


class MemorySwitchboard:
    """Same methods, same refusals, same facts as `pay_ivr.switchboard.Switchboard`."""

    def __init__(self) -> None:
        self._calls: dict[str, CallView] = {}
        self._payments: dict[str, Payment] = {}
        self._listeners: list[Callable[[CallFact], None]] = []
        self._seq = 0
        self.bank: Decline | PaymentState = PaymentState.AUTHORISED
        """What the next charge ends with; AUTHORISING leaves it open until `answer`."""
        self.options: dict[str, dict[str, object]] = {}
        """What each payment was created with and its snapshot does not tell."""

    # What the desk does

    def calls_of(self, tenant: str, agent_id: str | None = None) -> tuple[CallView, ...]:
        """Live calls of a tenant, all or one agent's."""
        live = (call for call in self._calls.values() if call.ended_reason is None and call.tenant == tenant)
        return tuple(call for call in live if agent_id is None or call.agent_id == agent_id)

    def lost_calls_of(self, tenant: str, agent_id: str) -> tuple[CallView, ...]:
        """Calls that died with an earlier run, as a test made them."""
        own = (call for call in self._calls.values() if (call.tenant, call.agent_id) == (tenant, agent_id))
        return tuple(call for call in own if call.ended_reason == "node_failed")

    def call(self, call_id: str) -> CallView:
        """One call."""
        if call_id not in self._calls:
            raise CallError("call_unknown", "There is no such call; read the list of calls again.")
        return self._calls[call_id]

    def payments_of(self, call_id: str) -> tuple[Payment, ...]:
        """The call's payments."""
        self.call(call_id)
        return tuple(one for one in self._payments.values() if one.call_id == call_id)

    def payment(self, payment_id: str) -> Payment:
        """One payment."""
        if payment_id not in self._payments:
            raise CallError("payment_unknown", "There is no such payment; read the call's payments again.")
        return self._payments[payment_id]

    async def create_payment(
        self,
        call_id: str,
        *,
        amount_minor: int,
        currency: str,
        reference: str,
        purpose: str,
        agent_id: str,
        settle_later: bool = False,
        check_only: bool = False,
        customer: str = "",
        mandate: str = "",
        card_id: str = "",
    ) -> Payment:
        """A payment on a live call."""
        call = self._bridged(call_id)
        if currency not in CURRENCIES:
            raise Refused("currency_not_offered", "This tenant does not take that currency. Choose another.")
        if purpose not in PURPOSES:
            raise Refused("purpose_unknown", "Choose one of the tenant's purposes.")
        if amount_minor > AMOUNT_MINOR_MAX:
            raise Refused("amount_too_large", "The amount is above this tenant's limit. Split it.")
        if any(one.reference == reference for one in self._payments.values() if one.state in HOLDING):
            raise Refused("reference_taken", "This reference is paid or being paid. Look for that payment.")
        payment = Payment(
            payment_id=new_id("pay"),
            tenant=call.tenant,
            call_id=call_id,
            leg_id="leg_caller",
            agent_id=agent_id,
            state=PaymentState.CREATED,
            amount_minor=amount_minor,
            currency=currency,
            reference=reference,
            purpose=purpose,
            version=0,
            created_at=utc_now(),
            settle_later=settle_later,
        )
        self.options[payment.payment_id] = {
            "check_only": check_only,
            "customer": customer,
            "mandate": mandate,
            "card_id": card_id,
        }
        if card_id:
            ready = replace(payment, state=PaymentState.READY, brand="visa", last4="4242")
            return self._step(ready, Why.READY)
        return self._step(payment, Why.CREATED)

    async def start_capture(self, payment_id: str) -> Payment:
        """SECURE, needed fields open."""
        payment = self.payment(payment_id)
        self._bridged(payment.call_id)
        if any(one.capture_live for one in self.payments_of(payment.call_id)):
            raise Refused("capture_open", "A capture is open on this call; finish or cancel it first.")
        if payment.state not in {PaymentState.CREATED, PaymentState.DECLINED}:
            raise Refused("not_capturable", "This payment takes no card any more. Create a new payment.")
        if payment.attempts_left == 0:
            raise Refused("attempts_used", "All attempts are used. Offer another way to pay.")
        fields = tuple(FieldProgress(field, FieldState.WAITING) for field in CARD_FIELDS)
        if payment.decline is not None and payment.decline.next_step is NextStep.REKEY_CVV:
            fields = tuple(
                FieldProgress(field, FieldState.WAITING if field is Field.CVV else FieldState.COMPLETE)
                for field in CARD_FIELDS
            )
        opened = replace(
            payment,
            state=PaymentState.CAPTURING,
            capture_live=True,
            secure=True,
            fields=fields,
            decline=None,
        )
        return self._open_next(self._step(opened, Why.CAPTURE_OPENED))

    async def rekey(self, payment_id: str, field: Field) -> Payment:
        """One field again."""
        payment = self.payment(payment_id)
        if payment.state not in {PaymentState.CAPTURING, PaymentState.READY, PaymentState.DECLINED}:
            raise Refused(
                "not_rekeyable", "There is no field to key again now. Look at the payment's state first."
            )
        waiting = tuple(
            FieldProgress(one.field, FieldState.WAITING)
            if one.field is field or one.state is FieldState.OPEN
            else one
            for one in payment.fields
        )
        changed = replace(
            payment, state=PaymentState.CAPTURING, capture_live=True, secure=True, fields=waiting
        )
        return self._open_next(self._step(changed, Why.FIELD_CLEARED, field))

    async def talk(self, payment_id: str, on: bool) -> Payment:
        """Pause and go on."""
        payment = self.payment(payment_id)
        if not payment.capture_live:
            raise Refused("not_capturing", "No capture is open; you can talk already.")
        why = Why.TALK_STARTED if on else Why.TALK_ENDED
        return self._step(replace(payment, talking=on, secure=not on), why, seconds_left=15 if on else None)

    async def charge(self, payment_id: str) -> Payment:
        """Only from ready."""
        payment = self.payment(payment_id)
        if payment.state is not PaymentState.READY:
            raise Refused("not_ready", "The payment is not ready; wait until all fields are ticked.")
        charging = replace(
            payment,
            state=PaymentState.AUTHORISING,
            attempt=payment.attempt + 1,
            attempts_left=payment.attempts_left - 1,
        )
        charging = self._step(charging, Why.CHARGING)
        return charging if self.bank is PaymentState.AUTHORISING else self.answer(payment_id)

    async def cancel(self, payment_id: str, by: str) -> Payment:
        """Nothing is charged."""
        payment = self.payment(payment_id)
        if payment.state in CANCELLABLE:
            return self._step(_closed(payment, PaymentState.CANCELLED), Why.CANCELLED)
        raise Refused("not_cancellable", "The charge is under way or done. Wait for the result.")

    async def hang_up(self, call_id: str, by: str) -> CallView:
        """Ends the call."""
        if self.call(call_id).ended_reason is not None:
            raise CallError("call_ended", "The call has ended; nothing to hang up.")
        return self.end(call_id, "desk_hung_up")

    def watch(self, listener: Callable[[CallFact], None]) -> Callable[[], None]:
        """Every fact from now on."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # What the test does

    async def follow(self, door: Door) -> None:
        """Tells the facts of a real vault, until cancelled."""
        async for change in door.facts():
            self._tell(change)

    async def follow_pins(self, door: Door) -> None:
        """Tells what a real vault says of PINs, until cancelled."""
        async for change in door.pin_facts():
            self._tell(change)

    def bridge(
        self, tenant: str, agent_id: str, language: str = "en-US", caller: str = "4930555010"
    ) -> CallView:
        """A caller and an agent are connected."""
        call = CallView(
            call_id=new_id("call"),
            tenant=tenant,
            flow="agent_assisted",
            state="bridged",
            agent_id=agent_id,
            caller=caller,
            did="4930100001",
            language=language,
            started_at=utc_now(),
        )
        return self.change(call, "call.bridge.opened")

    def change(self, call: CallView, what: str) -> CallView:
        """The call looks like this now."""
        self._calls[call.call_id] = call
        self._tell(CallChanged(what, call))
        return call

    def end(self, call_id: str, reason: str = "caller_hung_up") -> CallView:
        """The call is over, its captures with it."""
        for payment in self.payments_of(call_id):
            if payment.state in CANCELLABLE:
                self._step(_closed(payment, PaymentState.CANCELLED), Why.CANCELLED)
        return self.change(
            replace(self.call(call_id), state="ended", ended_reason=reason), "call.contact.ended"
        )

    def key(self, payment_id: str) -> Payment:
        """The caller presses one digit."""
        payment = self.payment(payment_id)
        open_field = next(one for one in payment.fields if one.state is FieldState.OPEN)
        grown = replace(open_field, digits=open_field.digits + 1, problem=None)
        return self._step(_with(payment, grown), Why.KEY, grown.field)

    def finish_field(self, payment_id: str, problem: FieldProblem | None = None) -> Payment:
        """The open field is complete, or wrong and open again; the last complete one makes `ready`."""
        payment = self.payment(payment_id)
        field = next(one for one in payment.fields if one.state is FieldState.OPEN)
        if problem is not None:
            wrong = replace(field, digits=0, problem=problem)
            return self._step(_with(payment, wrong), Why.FIELD_PROBLEM, field.field, problem)
        payment = _with(payment, replace(field, state=FieldState.COMPLETE))
        if field.field is Field.PAN:
            payment = replace(payment, brand="visa", last4="4242")
        return self._open_next(self._step(payment, Why.FIELD_COMPLETE, field.field))

    def hurry(self, payment_id: str) -> Payment:
        """The caller keys everything that is asked."""
        lengths = {Field.PAN: 16, Field.EXPIRY: 4, Field.CVV: 3}
        while (payment := self.payment(payment_id)).state is PaymentState.CAPTURING:
            field = next(one for one in payment.fields if one.state is FieldState.OPEN)
            for _ in range(lengths[field.field] - field.digits):
                self.key(payment_id)
            self.finish_field(payment_id)
        return payment

    def answer(self, payment_id: str) -> Payment:
        """The bank answers the open charge as `bank` says."""
        payment = self.payment(payment_id)
        if isinstance(self.bank, Decline):
            declined = replace(payment, state=PaymentState.DECLINED, decline=self.bank)
            return self._step(declined, Why.DECLINED)
        if self.bank is PaymentState.UNKNOWN:
            return self._step(_closed(payment, PaymentState.UNKNOWN), Why.UNKNOWN)
        done = replace(_closed(payment, PaymentState.AUTHORISED), receipt="2047 1183")
        return self._step(done, Why.AUTHORISED)

    def warn(self, payment_id: str, seconds_left: int) -> Payment:
        """The capture's time is nearly over."""
        return self._step(self.payment(payment_id), Why.TIME_WARNING, seconds_left=seconds_left)

    def _bridged(self, call_id: str) -> CallView:
        call = self.call(call_id)
        if call.ended_reason is not None:
            raise CallError("call_ended", "The call has ended; take the payment on a new call.")
        if call.state != "bridged":
            raise CallError("call_not_bridged", "Caller and agent are not connected; wait until they are.")
        return call

    def _open_next(self, payment: Payment) -> Payment:
        waiting = next((one for one in payment.fields if one.state is FieldState.WAITING), None)
        if waiting is None:
            ready = replace(payment, state=PaymentState.READY, capture_live=False, secure=False)
            return self._step(ready, Why.READY)
        opened = replace(waiting, state=FieldState.OPEN)
        return self._step(_with(payment, opened), Why.FIELD_OPENED, opened.field)

    def _step(
        self,
        payment: Payment,
        why: Why,
        field: Field | None = None,
        problem: FieldProblem | None = None,
        seconds_left: int | None = None,
    ) -> Payment:
        self._seq += 1
        stored = replace(payment, version=payment.version + 1)
        self._payments[stored.payment_id] = stored
        self._tell(PaymentChanged(self._seq, why, stored, field, problem, seconds_left))
        return stored

    def _tell(self, fact: CallFact) -> None:
        for listener in tuple(self._listeners):
            listener(fact)


def _with(payment: Payment, changed: FieldProgress) -> Payment:
    return replace(
        payment, fields=tuple(changed if one.field is changed.field else one for one in payment.fields)
    )


def _closed(payment: Payment, state: PaymentState) -> Payment:
    return replace(payment, state=state, capture_live=False, secure=False, talking=False)
