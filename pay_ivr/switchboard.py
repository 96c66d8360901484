"""The use cases: take a call in, take a payment on it, hang up. The one table of live calls.

Drives contacts, SIP and the vault's door; holds no media byte and no key. What the desk may do stands in
the public methods; each refuses with a code, a next step, and leaves everything as it was.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from itertools import takewhile
from typing import Any, TypeVar

from pay_ivr.aftermath import Orphans, PastCall
from pay_ivr.call import Call, CallState, EndReason, caller_of
from pay_ivr.catalogue import Key
from pay_ivr.codes import PaymentCodes, PreparedPayment, code_after
from pay_ivr.contact import Contact
from pay_ivr.facts import CallChanged, CallError, CallFact, CallView
from pay_ivr.flow import Flows
from pay_ivr.ids import new_id, now_ms, utc_now
from pay_ivr.journal import Journal
from pay_ivr.leg import Leg
from pay_ivr.logs import log
from pay_ivr.payment_voice import Sentence
from pay_ivr.settings import Settings
from pay_ivr.sip.core import RETRY_AFTER_S
from pay_ivr.sip.endpoint import SipEndpoint
from pay_ivr.sip.errors import LocalSipError
from pay_ivr.sip.invite import InviteLeg, LegObserver
from pay_ivr.sip.registrar import Registrar
from pay_ivr.speaker import Shelf
from pay_ivr.tenants import Numbers
from vault import (
    Door,
    Field,
    MediaClient,
    MediaFact,
    NewPayment,
    Payment,
    PaymentChanged,
    PaymentState,
    PinChanged,
    PinPurpose,
    PinResult,
    Unreachable,
    VaultError,
    Why,
)

ENDED_KEPT_MAX = 200
"""Ended calls the desk can still read: enough for the last hour of a busy team, small in memory."""
NOT_FOUND_STATUS = 404
NO_ROOM_STATUS = 503
Result = TypeVar("Result")
Fact = TypeVar("Fact")


class Switchboard:
    """What the desk and the flows may do with live calls. Raises `CallError` or the door's `VaultError`."""

    def __init__(self, settings: Settings, numbers: Numbers, door: Door, media: MediaClient, shelf: Shelf,
                 journal: Journal, codes: PaymentCodes, flows: Flows) -> None:  # fmt: skip
        self._settings = settings
        self._numbers = numbers
        self._door = door
        self._media = media
        self._shelf = shelf
        self._journal = journal
        self._codes = codes
        self._flows = flows
        self._sip: SipEndpoint | None = None
        self._registrar: Registrar | None = None
        self._live: dict[str, Contact] = {}
        self._ended: deque[Contact | PastCall] = deque(maxlen=ENDED_KEPT_MAX)
        self._by_leg: dict[str, Contact] = {}
        self._orphans = Orphans(media)
        self._listeners: list[Callable[[CallFact], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._working: set[asyncio.Future[Any]] = set()

    # The desk.

    def calls_of(self, tenant: str, agent_id: str | None = None) -> tuple[CallView, ...]:
        """Live calls of a tenant, all or one agent's, oldest first."""
        found = [one.call for one in self._live.values() if one.call.tenant == tenant]
        return tuple(_view(call) for call in found if agent_id is None or call.agent_id == agent_id)

    def lost_calls_of(self, tenant: str, agent_id: str) -> tuple[CallView, ...]:
        """The agent's calls that died with an earlier run of the app, until he has had another one."""
        every = (one.call for one in (*self._ended, *self._live.values()))
        own = [call for call in every if (call.tenant, call.agent_id) == (tenant, agent_id)]
        lost = takewhile(lambda call: call.end_reason is EndReason.NODE_FAILED, reversed(own))
        return tuple(_view(call) for call in lost)[::-1]

    def call(self, call_id: str) -> CallView:
        """One call, live or lately ended; CallError("call_unknown") otherwise."""
        return _view(self._contact(call_id).call)

    def payments_of(self, call_id: str) -> tuple[Payment, ...]:
        """The call's payments, oldest first."""
        return tuple(self._contact(call_id).payments.values())

    def payment(self, payment_id: str) -> Payment:
        """The last known snapshot; CallError("payment_unknown") when no call here has it."""
        return self._holder(payment_id).payments[payment_id]

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
        """A payment on a bridged call; nothing is asked of the caller yet. The options are `NewPayment`'s."""
        contact = self._bridged(call_id)
        new = NewPayment(
            tenant=contact.call.tenant,
            call_id=call_id,
            leg_id=contact.caller.leg_id,
            amount_minor=amount_minor,
            currency=currency,
            reference=reference,
            purpose=purpose,
            sca_basis="moto_agent",
            agent_id=agent_id,
            settle_later=settle_later,
            check_only=check_only,
            customer=customer,
            mandate=mandate,
            card_id=card_id,
            caller_number=contact.call.number,
        )
        return self._keep(await self._door.create_payment(new))

    async def start_capture(self, payment_id: str) -> Payment:
        """SECURE, then the caller is asked to key what is needed; also the retry after a decline."""
        self._bridged(self._holder(payment_id).call.call_id)
        return self._keep(await self._door.open_capture(payment_id))

    async def rekey(self, payment_id: str, field: Field) -> Payment:
        """Asks for one field again; the others stay valid."""
        self._bridged(self._holder(payment_id).call.call_id)
        return self._keep(await self._door.rekey(payment_id, field))

    async def talk(self, payment_id: str, on: bool) -> Payment:
        """Pauses the capture so that caller and agent can speak, at most 15 s; or ends the pause."""
        self._bridged(self._holder(payment_id).call.call_id)
        return self._keep(await self._door.talk(payment_id, on))

    async def charge(self, payment_id: str) -> Payment:
        """Charges, only from `ready`, only while the agent is on the call: without one it takes the key 1."""
        self._bridged(self._holder(payment_id).call.call_id)
        return self._keep(await self._door.charge(payment_id))

    async def cancel(self, payment_id: str, by: str) -> Payment:
        """Cancels a payment that is not charged."""
        self._holder(payment_id)
        return self._keep(await self._door.cancel(payment_id, by))

    async def open_link(self, payment_id: str, *, by: str, return_url: str) -> tuple[Payment, str]:
        """A link in the caller's language, and its token, which is told this once; what was keyed is gone."""
        contact = self._bridged(self._holder(payment_id).call.call_id)
        payment, token = await self._door.open_link(
            payment_id, by=by, language=contact.call.language, return_url=return_url
        )
        return self._keep(payment), token

    def link_sent(self, payment_id: str) -> None:
        """The caller hears that the message is on its way."""
        contact = self._holder(payment_id)
        if isinstance(contact, Contact) and contact.call.live:
            contact.speaker.tell((Sentence(Key.LINK_SENT),))

    def check_linked(self, payment_id: str) -> None:
        """CallError("not_linked") when the payment is not out on a link."""
        if self.payment(payment_id).state is not PaymentState.LINKED:
            raise CallError("not_linked", "No link of this payment is open; read the payment again.")

    async def ask_pin(
        self, call_id: str, member_id: str, purpose: PinPurpose, agent_id: str, born: str = ""
    ) -> PinResult:
        """The caller of a bridged call keys a PIN that the agent neither hears nor sees; how it ended.

        Each step is told by `watch` as `PinChanged`. Raises the door's refusals.
        """
        contact = self._bridged(call_id)
        return await self._whole(contact.ask_pin(member_id, purpose, born, by=f"agent:{agent_id}"))

    async def hang_up(self, call_id: str, by: str) -> CallView:
        """Ends a call from the desk."""
        contact = self._contact(call_id)
        if isinstance(contact, PastCall) or not contact.call.live:
            raise CallError("call_ended", "The call has ended; nothing to hang up.")
        log.info("call.desk.hung_up", call_id=call_id, agent_id=by)
        contact.hang_up(EndReason.DESK_HUNG_UP)
        return _view(contact.call)

    def watch(self, listener: Callable[[CallFact], None]) -> Callable[[], None]:
        """Calls `listener` with every fact from now on; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # SIP (SipHandler).

    def attach(self, sip: SipEndpoint, registrar: Registrar) -> None:
        """Ties the endpoint in; agents' phones can be rung from now on."""
        self._sip, self._registrar = sip, registrar

    def take_over(self, past: Sequence[PastCall], orphans: Orphans) -> None:
        """What the run before left: its calls for the desk, its legs until they are gone."""
        self._ended.extend(past)
        self._orphans = orphans

    def on_invite(self, sip: InviteLeg) -> LegObserver:
        """A new call of a trunk: routed by the dialled number, its flow started."""
        route = self._numbers.route(sip.dialled_user)
        if route is None:
            return _Refusal(sip, NOT_FOUND_STATUS)
        live = (contact.call.tenant for contact in self._live.values())
        if not self._numbers.has_room(route.tenant.tenant_id, live, self._settings.calls_max):
            log.warning("call.offer.refused", tenant=route.tenant.tenant_id, reason="kept_for_others")
            return _Refusal(sip, NO_ROOM_STATUS, (("Retry-After", str(RETRY_AFTER_S)),))
        call = Call(
            call_id=new_id("call"),
            tenant=route.tenant.tenant_id,
            tenant_name=route.tenant.name,
            flow=route.did.flow,
            did=route.did.number,
            caller=caller_of(sip.caller_user),
            language=route.did.language,
            started_at=utc_now(),
            languages=route.tenant.telephony.languages,
        )
        contact = Contact(
            call, route.did.agents, self._door, self._media, self._shelf, self._settings.bind_ip, self
        )
        contact.caller.sip = sip
        self._live[call.call_id] = contact
        self._by_leg[contact.caller.leg_id] = contact
        self.changed(contact, "call.offer.received")
        self._spawn(self._run_flow(contact), call.call_id)
        return contact.caller

    # Exchange: what contacts need of us.

    def place_call(self, contact: Contact, user: str, leg: Leg, offer: bytes) -> InviteLeg | None:
        """Rings a registered agent phone; None when the user has no contact or there is no endpoint."""
        if self._sip is None or self._registrar is None:
            return None
        found = self._registrar.lookup(user)
        if not found:
            return None
        self._by_leg[leg.leg_id] = contact
        caller = contact.call.caller
        try:
            return self._sip.invite(
                found[0],
                offer,
                from_uri=f"sip:{caller}@{self._settings.bind_ip}",
                from_display=contact.call.tenant_name,
                ring_timeout_s=self._settings.ring_timeout_s,
                observer=leg,
            )
        except LocalSipError as error:
            log.warning("call.agent.unreached", call_id=contact.call.call_id, code=error.code)
            return None

    def changed(self, contact: Contact, what: str) -> None:
        """Tells the desk and the journal."""
        if what != "call.speaking.changed":
            self._journal.record(what, _view(contact.call))
        self._tell(CallChanged(what, _view(contact.call)))

    def ended(self, contact: Contact, reason: EndReason) -> None:
        """Takes the call off the table; told once, whoever hangs up first."""
        call = contact.call
        if self._live.pop(call.call_id, None) is None:
            return
        call.state, call.end_reason = CallState.ENDED, reason
        contact.speaker.close()
        for leg in (contact.caller, contact.agent):
            if leg is not None:
                leg.close()
        # Also the legs of agents who were rung and did not answer.
        self._by_leg = {leg_id: one for leg_id, one in self._by_leg.items() if one is not contact}
        self._ended.append(contact)
        self.changed(contact, "call.contact.ended")
        self._spawn(self._end_at_vault(call.call_id), "end")
        for task in self._tasks:
            if task.get_name() == call.call_id:
                task.cancel()

    async def take_code(self, contact: Contact, code: str) -> PreparedPayment | None:
        """What an API-issued code stands for, taken by this call."""
        call = contact.call
        prepared = await self._whole(self._codes.take(code, call.caller, now_ms(), tenant=call.tenant))
        contact.code = code if prepared is not None else None
        return prepared

    async def bind_code(self, contact: Contact, payment: Payment) -> None:
        """Notes which payment the call's code became: from now on only its outcome frees the code."""
        if contact.code is not None:
            await self._whole(self._codes.bind(contact.code, payment.payment_id))
            contact.code = None
        self._keep(payment)

    # Facts from media and vault.

    async def follow_vault(self) -> None:
        """Hands every step of a payment and of a PIN entry to its call; runs until cancelled."""
        async with asyncio.TaskGroup() as readers:
            readers.create_task(self._follow(self._door.facts(), self._payment_changed))
            readers.create_task(self._follow(self._door.pin_facts(), self._pin_changed))

    async def _follow(self, facts: AsyncIterator[Fact], take: Callable[[Fact], None]) -> None:
        async for fact in facts:
            try:
                take(fact)
            except Exception as error:  # noqa: BLE001 one call's mistake must not make all others deaf
                log.exception("call.fact.failed", error=type(error).__name__)

    async def follow_media(self) -> None:
        """Hands every media fact to its call; runs until cancelled."""
        async for fact in self._media.facts():
            try:
                await self._media_told(fact)
            except Exception as error:  # noqa: BLE001 one call's mistake must not make all others deaf
                log.exception("call.fact.failed", error=type(error).__name__)

    async def close(self) -> None:
        """Ends every call: the node stops."""
        for contact in list(self._live.values()):
            contact.hang_up(EndReason.NODE_STOPPED)
        for task in list(self._tasks):
            if not task.get_name().startswith(("end", "code")):
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)

    async def _media_told(self, fact: MediaFact) -> None:
        if fact.name == "media.back":
            if fact.values["restarted"]:
                await self._media_back()
            else:
                self._audio(lost=False)
        elif fact.name == "media.lost":
            self._audio(lost=True)
        elif fact.leg_id in self._by_leg:
            self._by_leg[fact.leg_id].media_fact(fact)
        else:
            self._orphans.media_fact(fact)

    def _payment_changed(self, change: PaymentChanged) -> None:
        payment = change.payment
        contact = self._find(payment.call_id)
        if contact is not None:
            known = contact.payments.get(payment.payment_id)
            if known is None or known.version <= payment.version:
                contact.payments[payment.payment_id] = payment
            if isinstance(contact, Contact) and contact.call.live:
                contact.payment_changed(change, news=_is_news(change, known))
        over = contact is None or not contact.call.live
        self._spawn(self._close_code(payment, call_over=over), "code.close")
        self._tell(change)

    def _pin_changed(self, change: PinChanged) -> None:
        contact = self._live.get(change.entry.call_id)
        if contact is not None:
            contact.pin_changed(change)
        self._tell(change)

    def _audio(self, *, lost: bool) -> None:
        for contact in tuple(self._live.values()):
            contact.audio(lost=lost)

    async def _media_back(self) -> None:
        self._shelf.media_restarted()
        await self._shelf.restore()  # before the legs: those on hold are wired to the music that is there
        for contact in list(self._live.values()):
            try:
                await contact.media_back()
            except Unreachable:
                return  # gone again: its next return starts over
            except VaultError:
                contact.hang_up(EndReason.MEDIA_REFUSED)

    async def _end_at_vault(self, call_id: str) -> None:
        """The vault ends captures of the call; what is authorising completes and is told later."""
        try:
            await self._door.end_call(call_id)
        except VaultError as error:
            log.warning("call.vault.unreached", call_id=call_id, code=error.code)
        contact = self._contact(call_id)
        if contact.code is not None:
            await self._codes.close(contact.code, paid=False)
        for payment in contact.payments.values():
            await self._close_code(payment, call_over=True)

    async def _close_code(self, payment: Payment, *, call_over: bool) -> None:
        """A code is used up once its payment went through, free again once it cannot; unknown waits."""
        if payment.agent_id is not None:
            return
        paid = code_after(payment, call_over=call_over)
        if paid is not None:
            await self._codes.close_payment(payment.payment_id, paid=paid)

    # Small parts.

    async def _run_flow(self, contact: Contact) -> None:
        """The call's flow; however it ends, the call ends with it: nobody is left on a silent line."""
        call_id = contact.call.call_id
        try:
            await contact.caller.open()
            await self._flows.load(contact.call.flow)(contact)
        except (VaultError, CallError) as error:
            log.warning("call.flow.failed", call_id=call_id, code=error.code)
            await contact.give_up()
        except Exception as error:  # noqa: BLE001 whatever broke, the caller hears of it and the call ends
            log.exception("call.flow.broken", call_id=call_id, error=type(error).__name__)
            await contact.give_up()
        if contact.call.live:
            contact.hang_up(EndReason.FLOW_FINISHED)

    def _bridged(self, call_id: str) -> Contact:
        contact = self._contact(call_id)
        if isinstance(contact, PastCall) or not contact.call.live:
            raise CallError("call_ended", "The call has ended; take the payment on a new call.")
        if contact.call.state is not CallState.BRIDGED:
            raise CallError("call_not_bridged", "Caller and agent are not connected; wait until they are.")
        return contact

    def _find(self, call_id: str) -> Contact | PastCall | None:
        live = self._live.get(call_id)
        return live or next((one for one in self._ended if one.call.call_id == call_id), None)

    def _contact(self, call_id: str) -> Contact | PastCall:
        contact = self._find(call_id)
        if contact is None:
            raise CallError("call_unknown", "There is no such call; read the list of calls again.")
        return contact

    def _holder(self, payment_id: str) -> Contact | PastCall:
        for contact in (*self._live.values(), *self._ended):
            if payment_id in contact.payments:
                return contact
        raise CallError("payment_unknown", "There is no such payment; read the call's payments again.")

    def _keep(self, payment: Payment) -> Payment:
        held = self._contact(payment.call_id).payments
        if payment.payment_id not in held or held[payment.payment_id].version <= payment.version:
            held[payment.payment_id] = payment
        return payment

    def _tell(self, fact: CallFact) -> None:
        for listener in tuple(self._listeners):
            listener(fact)

    async def _whole(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Work carried to its end even when whoever asked for it is cancelled.

        A statement cancelled half-way by a hang-up would leave its connection, the only one, with an open
        transaction; a PIN that an impatient desk gave up would end without a word to the caller.
        """
        task = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("call.task.failed", task=task.get_name(), error=type(task.exception()).__name__)


class _Refusal:
    """The observer of a call that is refused at once."""

    def __init__(self, sip: InviteLeg, status: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        asyncio.get_running_loop().call_soon(sip.reject, status, None, headers)

    def on_ringing(self, leg: InviteLeg) -> None:
        """Never comes."""

    on_confirmed = on_ringing

    def on_answered(self, leg: InviteLeg, sdp: bytes) -> None:
        """Never comes."""

    def on_reinvite(self, _leg: InviteLeg, sdp: bytes | None) -> bytes:
        """Never comes."""
        return sdp or b""

    def on_info_key(self, leg: InviteLeg, key: int) -> None:
        """Dropped."""

    def on_ended(self, leg: InviteLeg, reason: object, status: int | None) -> None:
        """Nothing to clean up."""


def _is_news(change: PaymentChanged, known: Payment | None) -> bool:
    """False for a state told once more, as after a restart of the broker: the caller has heard it."""
    told_once = change.why in {Why.READY, Why.DECLINED}
    return not told_once or known is None or known.version < change.payment.version


def _view(call: Call) -> CallView:
    return CallView(
        call_id=call.call_id,
        tenant=call.tenant,
        flow=call.flow,
        state=call.state.value,
        agent_id=call.agent_id,
        caller=call.caller,
        did=call.did,
        language=call.language,
        started_at=call.started_at,
        speaking=call.speaking,
        keying_outside_capture=call.keying_outside_capture,
        audio_lost=call.audio_lost,
        ended_reason=call.end_reason.value if call.end_reason is not None else None,
        context=call.context,
    )
