"""One live contact on real legs: does what a flow's `Line` promises, and passes leg news on.

It owns the order of things on one call (answer, ring, bridge, speak, ask); the rules across calls and for
the desk stand in `pay_ivr/switchboard.py`.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

from pay_ivr.call import Call, CallEvent, CallState, EndReason
from pay_ivr.catalogue import Key
from pay_ivr.codes import PreparedPayment
from pay_ivr.facts import CallError
from pay_ivr.flow import FIRST_S, NEXT_S, Keyed
from pay_ivr.ids import new_id
from pay_ivr.leg import Leg, Role
from pay_ivr.payment_voice import Sentence, follows, sentences_for
from pay_ivr.pin_voice import pin_follows, pin_sentences, result_sentences
from pay_ivr.sip.errors import SipError
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import EndReason as SipEnd
from pay_ivr.sip.legstate import map_final
from pay_ivr.speaker import Shelf, Speaker
from vault import (
    Door,
    MediaClient,
    MediaFact,
    NewPayment,
    NewPinEntry,
    Payment,
    PaymentChanged,
    PaymentState,
    PinChanged,
    PinPurpose,
    PinResult,
    PinWhy,
    Refused,
    VaultError,
    Why,
)

ANSWER_TIMEOUT_S = 120.0
"""A question with its prompt is over by then, whatever media says."""
PIN_TIMEOUT_S = 600.0
"""Longer than any PIN entry the vault lets go on; whatever becomes of its facts, no flow waits for ever."""
SECURE_END_S = 5.0
"""SECURE outlasts a capture by a second after the last key; open digits can be asked for only then."""
SECURE_POLL_S = 0.05
AGENTS_WAIT_S = 120.0
"""A caller who was answered hears music no longer than this before the last phone is rung."""
CHANGES_KEPT = 200
"""Steps of one payment that wait for a flow; a flow that is this far behind is not reading them at all."""
NO_AGENT_STATUS = 480
NO_CODEC_STATUS = 488
FINAL = frozenset(
    {
        PaymentState.AUTHORISED,
        PaymentState.CANCELLED,
        PaymentState.EXPIRED,
        PaymentState.LINKED,
        PaymentState.NEEDS_ACTION,
        PaymentState.UNKNOWN,
        PaymentState.SETTLED,
        PaymentState.VOIDED,
        PaymentState.REFUNDED,
        PaymentState.CHECKED,
    }
)
"""A payment in one of these needs nothing more from the caller."""


class Exchange(Protocol):
    """What a contact needs from the house around it."""

    def place_call(self, contact: "Contact", user: str, leg: Leg, offer: bytes) -> InviteLeg | None:
        """Rings a registered agent phone; None when the user has no contact."""

    def changed(self, contact: "Contact", what: str) -> None:
        """Tells the desk and the journal that the call changed."""

    def ended(self, contact: "Contact", reason: EndReason) -> None:
        """Takes the call off the table; told once."""

    async def take_code(self, contact: "Contact", code: str) -> PreparedPayment | None:
        """What an API-issued code stands for, taken by this call."""

    async def bind_code(self, contact: "Contact", payment: Payment) -> None:
        """Notes which payment the call's code became."""


class Contact:
    """A call with its legs, its voice and its payments; the `Line` of its flow."""

    def __init__(
        self,
        call: Call,
        agents: tuple[str, ...],
        door: Door,
        media: MediaClient,
        shelf: Shelf,
        our_ip: str,
        exchange: Exchange,
    ) -> None:
        self.call = call
        self.agents = agents
        self.caller = Leg(Role.CALLER, media, our_ip, self)
        self.agent: Leg | None = None
        self.payments: dict[str, Payment] = {}
        self.code: str | None = None
        """A payment code taken by this call that has no payment yet."""
        self.speaker = Speaker(media, shelf, self.caller.leg_id, call.language, call.tenant)
        self._door = door
        self._media = media
        self._our_ip = our_ip
        self._exchange = exchange
        self._agent_up: asyncio.Future[bool] | None = None
        self._agent_gone = asyncio.Event()
        self._spoken: PaymentChanged | None = None
        self._refusal = NO_AGENT_STATUS
        self._ending = False
        self._answers: dict[str, asyncio.Future[Mapping[str, object]]] = {}
        self._changes: defaultdict[str, deque[PaymentChanged]] = defaultdict(
            lambda: deque(maxlen=CHANGES_KEPT)
        )
        self._change_came = asyncio.Event()
        self._pins: defaultdict[str, asyncio.Future[PinResult]] = defaultdict(
            lambda: asyncio.get_running_loop().create_future()
        )
        """Results of PIN entries on this call, told or to be told."""
        self._pin_spoken: PinChanged | None = None

    # Line: what a flow may do.

    async def connect_agent(self, context: Mapping[str, str] | None = None) -> bool:
        """Rings the number's agents in order, bridges the first; False when none answered."""
        self.call.context = dict(context or {})
        if self.call.state is CallState.SELF_SERVICE:
            return await self._hand_over()
        self._sip_of_caller().ring()
        for user in self.agents:
            if await self._ring(user):
                await self._bridge()
                return True
        self._refuse_caller(self._refusal, EndReason.NO_AGENT)
        return False

    async def answer(self) -> None:
        """Answers the caller without an agent, or goes on without the one who has gone."""
        if self.call.state is CallState.AGENT_LOST:
            self.agent, self.call.agent_id = None, None
            self._move(CallEvent.ANSWER, "call.flow.resumed")
            return
        self._answer_caller()
        self._move(CallEvent.ANSWER, "call.caller.answered")
        await self.caller.settled()

    async def agent_gone(self) -> None:
        """Returns when the agent's leg is over."""
        await self._agent_gone.wait()

    async def say(self, *sentences: Sentence) -> None:
        """Speaks after what is being told now; returns when it is over or a key stopped it."""
        await self.speaker.told()
        await self.speaker.say(*sentences)

    def speak_language(self, tag: str) -> None:
        """From the next sentence on, the caller hears this language."""
        self.call.language = self.speaker.language = tag
        self._exchange.changed(self, "call.language.changed")

    def speak_slowly(self) -> None:
        """From the next sentence on, the caller is spoken to a quarter slower."""
        self.speaker.slow = True

    async def ask_digits(
        self,
        *sentences: Sentence,
        digits: int,
        digits_min: int = 1,
        first_s: float = FIRST_S,
        next_s: float = NEXT_S,
        ahead: bool = True,
    ) -> Keyed:
        """Open digits, collected by media while the question is spoken (barge-in)."""
        collect_id = new_id("col")
        answer: asyncio.Future[Mapping[str, object]] = asyncio.get_running_loop().create_future()
        self._answers[collect_id] = answer
        order = partial(
            self._media.collect,
            self.caller.leg_id,
            collect_id,
            digits_max=digits,
            digits_min=digits_min,
            first_timeout_ms=int(first_s * 1000),
            next_timeout_ms=int(next_s * 1000),
            ahead=ahead,
        )
        asking = asyncio.create_task(self._ask(sentences, order, answer), name="contact.question")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                values = await answer
        except TimeoutError:
            asking.cancel()
            return Keyed("", "timeout")
        except BaseException:
            asking.cancel()
            raise
        finally:
            self._answers.pop(collect_id, None)
        if not asking.done():
            await self.speaker.quiet()  # answered before its first word: the words must not come after it
        await asking
        return Keyed(str(values.get("digits", "")), str(values.get("outcome", "no_input")))

    async def _ask(
        self,
        sentences: tuple[Sentence, ...],
        order: Callable[[], Awaitable[None]],
        answer: asyncio.Future[Mapping[str, object]],
    ) -> None:
        """Keys count from the moment at which the question can be heard, and its clock starts at its end."""
        ordered = False

        async def collect() -> None:
            nonlocal ordered
            ordered = True
            try:
                await self._when_open(order)
            except VaultError as error:
                if not answer.done():
                    answer.set_exception(error)

        try:
            await self.speaker.say(*sentences, first=collect, unless=answer.done)
            if not ordered:  # media could take none of its words; the question stands all the same
                await collect()
        except Exception as error:  # noqa: BLE001 whatever it is, the flow is waiting for the answer
            if not answer.done():
                answer.set_exception(error)

    async def ask_pin(
        self, member_id: str, purpose: PinPurpose, born: str = "", *, by: str = ""
    ) -> PinResult:
        """Has a PIN keyed into a cell; what is asked, wrong and the outcome has been spoken when it returns.

        `by`: the agent who wants it; none when a flow does.
        """
        new = NewPinEntry(
            tenant=self.call.tenant,
            member_id=member_id,
            purpose=purpose,
            call_id=self.call.call_id,
            leg_id=self.caller.leg_id,
            caller_number=self.call.number,
            born=born,
            by=by,
        )
        entry_id = (await self._door.open_pin(new)).entry_id
        done = self._pins[entry_id]
        try:
            async with asyncio.timeout(PIN_TIMEOUT_S):
                await asyncio.wait([done])
        except TimeoutError:
            await self._door.cancel_pin(entry_id, "system:app")
            return PinResult.EXPIRED
        finally:
            del self._pins[entry_id]
        result = done.result()
        await self.say(*result_sentences(purpose, result))
        return result

    def open_payment(self) -> Payment | None:
        """The newest payment that still needs something from the caller; `next_change` goes on from here."""
        found = next((one for one in reversed(self.payments.values()) if one.state not in FINAL), None)
        if found is not None:
            self._changes[found.payment_id].clear()  # what the desk has seen to, before the flow took over
        return found

    async def pay(self, prepared: PreparedPayment) -> Payment:
        """Creates the prepared payment without an agent and starts the capture."""
        new = NewPayment(
            tenant=self.call.tenant,
            call_id=self.call.call_id,
            leg_id=self.caller.leg_id,
            amount_minor=prepared.amount_minor,
            currency=prepared.currency,
            reference=prepared.reference,
            purpose=prepared.purpose,
            sca_basis="moto_unattended",
            caller_number=self.call.number,
        )
        payment = await self._door.create_payment(new)
        await self._exchange.bind_code(self, payment)
        return await self.start_capture(payment.payment_id)

    async def next_change(self, payment_id: str) -> PaymentChanged:
        """The next step of a payment, in order."""
        waiting = self._changes[payment_id]
        while not waiting:
            self._change_came.clear()
            await self._change_came.wait()
        return waiting.popleft()

    async def start_capture(self, payment_id: str) -> Payment:
        """SECURE, and the needed fields open."""
        return await self._door.open_capture(payment_id)

    async def ask_confirm(self, payment_id: str) -> Payment:
        """Asks the caller to press 1."""
        return await self._door.ask_confirm(payment_id)

    async def charge(self, payment_id: str) -> Payment:
        """Charges."""
        return await self._door.charge(payment_id)

    async def take_code(self, code: str) -> PreparedPayment | None:
        """What an API-issued code stands for, now taken."""
        return await self._exchange.take_code(self, code)

    def hang_up(self, reason: EndReason) -> None:
        """Ends every leg, then the call. A caller who is not answered yet gets 480 (`InviteLeg.hang_up`)."""
        self._ending = True
        for leg in (self.caller, self.agent):
            if leg is not None and leg.sip is not None and not leg.ended:
                leg.sip.hang_up()
        self._exchange.ended(self, reason)

    async def give_up(self) -> None:
        """Ends a call whose flow cannot go on; a caller who was answered hears of it first."""
        try:
            if self.call.state in {CallState.SELF_SERVICE, CallState.WAITING, CallState.AGENT_LOST}:
                await self.say(Sentence(Key.TECHNICAL_PROBLEM))
        finally:
            if self.call.live:
                self.hang_up(EndReason.FAILED)

    # News from legs (LegListener), media and the vault.

    def leg_ringing(self, leg: Leg) -> None:
        """The agent's phone rings; the caller has heard 180 already."""

    def leg_answered(self, leg: Leg) -> None:
        """The agent answered, or a late-offer caller sent its answer."""
        if leg is self.agent and self._agent_up is not None and not self._agent_up.done():
            self._agent_up.set_result(True)

    def leg_ended(self, leg: Leg, reason: SipEnd, status: int | None) -> None:
        """A party is gone: the caller's going ends the call, the agent's wakes the flow."""
        if self._ending:
            return
        if leg is self.caller:
            cancelled = reason is SipEnd.CANCELLED
            self.hang_up(EndReason.CALLER_CANCELLED if cancelled else EndReason.CALLER_HUNG_UP)
        elif self._agent_up is not None and not self._agent_up.done():
            self._refusal = map_final(status) if status is not None else NO_AGENT_STATUS
            self._agent_up.set_result(False)
        elif leg is self.agent and self.call.state is CallState.BRIDGED:
            self._lose_agent(leg)

    def leg_broken(self, _leg: Leg) -> None:
        """Media refused the leg: nobody would hear anything, so the call ends."""
        if self.call.live:
            self.hang_up(EndReason.MEDIA_REFUSED)

    def media_fact(self, fact: MediaFact) -> None:
        """A fact about one of our legs."""
        self.speaker.media_fact(fact)
        if fact.name == "collect.done":
            answer = self._answers.get(str(fact.values.get("collect_id")))
            if answer is not None and not answer.done():
                answer.set_result(fact.values)
        elif fact.name == "leg.speaking" and fact.leg_id == self.caller.leg_id:
            self.call.speaking = bool(fact.values.get("on"))
            self._exchange.changed(self, "call.speaking.changed")
        elif fact.name == "leg.keying" and not self.call.keying_outside_capture:
            self.call.keying_outside_capture = True
            self._exchange.changed(self, "call.keys.noticed")
        elif fact.name in {"leg.silent", "leg.heard"} and fact.leg_id == self.caller.leg_id:
            self.audio(lost=fact.name == "leg.silent")

    def audio(self, *, lost: bool) -> None:
        """The caller cannot be heard, or can be again; told once each time."""
        if self.call.audio_lost is not lost:
            self.call.audio_lost = lost
            self._exchange.changed(self, "call.audio.lost" if lost else "call.audio.returned")

    def payment_changed(self, change: PaymentChanged, *, news: bool = True) -> None:
        """A step of one of our payments: kept, spoken when it is news, and handed to the flow."""
        payment = change.payment
        self.payments[payment.payment_id] = payment
        if change.why is Why.CAPTURE_OPENED:
            self.call.keying_outside_capture = False
        if change.why is Why.KEY:
            self.speaker.hush()
        if news:
            self._speak(change)
        self._changes[payment.payment_id].append(change)
        self._change_came.set()

    def pin_changed(self, change: PinChanged) -> None:
        """A step of a PIN entry on this call: spoken, and its result handed to the flow."""
        entry = change.entry
        if change.why is PinWhy.KEY:
            self.speaker.hush()
        sentences = pin_sentences(change)
        self.speaker.tell(sentences, after=pin_follows(change, self._pin_spoken))
        self._pin_spoken = change if sentences else self._pin_spoken
        if entry.result is not None and not self._pins[entry.entry_id].done():
            self.speaker.hush()
            self._pins[entry.entry_id].set_result(entry.result)

    async def media_back(self) -> None:
        """Takes the endpoints again after a restart of media; SECURE until the broker releases them."""
        self.speaker.media_restarted()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({"outcome": "no_input"})  # what was keyed is lost: the flow asks again
        # A leg without a port is being opened just now: that order meets the new media by itself, or fails.
        legs = [leg for leg in (self.caller, self.agent) if leg is not None and leg.port and not leg.ended]
        for leg in legs:
            await leg.reopen()
        if self.call.state is CallState.BRIDGED and self.agent is not None:
            await self._media.bridge(self.caller.leg_id, self.agent.leg_id)
        await self.speaker.resume()
        self.audio(lost=False)

    # Steps.

    async def _hand_over(self) -> bool:
        """An answered caller to an agent: music while phones ring; False when none answered in time."""
        music = asyncio.create_task(self.speaker.music(), name="contact.music")
        until = time.monotonic() + AGENTS_WAIT_S
        try:
            for user in self.agents:
                if time.monotonic() >= until:
                    break
                if await self._ring(user):
                    await self._bridge()
                    return True
        finally:
            music.cancel()
            await self.speaker.quiet()
        return False

    async def _when_open(self, collect: Callable[[], Awaitable[None]]) -> None:
        """Gives the order as soon as a capture that is ending has let go of the leg."""
        until = time.monotonic() + SECURE_END_S
        while True:
            try:
                await collect()
            except Refused as refusal:
                if refusal.code != "leg_secure" or time.monotonic() >= until:
                    raise
                await asyncio.sleep(SECURE_POLL_S)
            else:
                return

    async def _ring(self, user: str) -> bool:
        leg = Leg(Role.AGENT, self._media, self._our_ip, self)
        try:
            await leg.open()
        except VaultError:
            return False
        except asyncio.CancelledError:
            leg.close()  # the caller gave up meanwhile; nobody else knows this leg, media has it
            raise
        self.agent, self._agent_up = leg, asyncio.get_running_loop().create_future()
        leg.sip = self._exchange.place_call(self, user, leg, leg.offer())
        if leg.sip is None:
            leg.close()
            return False
        self.call.agent_id = user
        self._move(CallEvent.AGENT_RINGS, "call.agent.rung")
        if await self._agent_up:
            return True
        leg.close()
        self.agent, self.call.agent_id = None, None
        self._move(CallEvent.AGENT_REFUSES, "call.agent.refused")
        return False

    async def _bridge(self) -> None:
        agent = self.agent
        if agent is None:
            raise CallError("call_state", "There is no agent to bridge to.")
        if self.call.state is not CallState.WAITING:
            self._answer_caller()
        self._agent_gone.clear()
        await agent.settled()
        await self.caller.settled()
        await self._media.bridge(self.caller.leg_id, agent.leg_id)
        self._move(CallEvent.BRIDGE, "call.bridge.opened")
        if agent.ended:
            # It hung up while the bridge was being built; the call was not bridged yet, so nobody was told.
            self._lose_agent(agent)

    def _speak(self, change: PaymentChanged) -> None:
        sentences = sentences_for(change, alone=self.call.state is not CallState.BRIDGED)
        self.speaker.tell(sentences, after=follows(change, self._spoken))
        self._spoken = change if sentences else self._spoken

    def _answer_caller(self) -> None:
        sip = self._sip_of_caller()
        try:
            sip.answer(self.caller.offer() if sip.remote_sdp is None else self.caller.answer(sip.remote_sdp))
        except SipError as error:
            self._refuse_caller(getattr(error, "status", NO_CODEC_STATUS), EndReason.MEDIA_REFUSED)
            raise CallError(
                "no_common_codec", "The caller offers no G.711; enable it at the trunk."
            ) from None

    def _refuse_caller(self, status: int, reason: EndReason) -> None:
        """A final response to the caller, and the end of all the rest: an agent may have answered already."""
        self._ending = True  # the refusal is told as the end of the leg; it is not the caller who went
        self._sip_of_caller().reject(status)
        self.hang_up(reason)

    def _sip_of_caller(self) -> InviteLeg:
        if self.caller.sip is None:
            raise CallError("call_ended", "The caller has hung up.")
        return self.caller.sip

    def _lose_agent(self, leg: Leg) -> None:
        leg.close()
        self._move(CallEvent.AGENT_GONE, "call.agent.lost")
        self._agent_gone.set()

    def _move(self, event: CallEvent, what: str) -> None:
        self.call.apply(event)
        self._exchange.changed(self, what)
