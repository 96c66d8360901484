"""Thin asyncio client of the broker's door: frozen types in, frozen types out."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from vault.books.report import (
    CsvPage,
    Reconciliation,
    item_from_json,
    reconciliation_from_json,
)
from vault.books.report import Item as BookItem
from vault.door import (
    CardOnFile,
    Field,
    History,
    KeyLine,
    LinkAnswer,
    LinkPage,
    NewPayment,
    NewPinEntry,
    Page,
    Payment,
    PaymentChanged,
    PaymentState,
    PinChanged,
    PinEntry,
    PinProblem,
    PinResult,
    PinSeal,
    PinStanding,
    PinWhy,
    Refused,
    Search,
    StepName,
    Unreachable,
    VaultError,
    Why,
)
from vault.fact_reader import FactReader
from vault.message import changed_from_json, history_from_json, page_from_json, payment_from_json
from vault.pin_message import (
    pin_answer_from_json,
    pin_changed_from_json,
    pin_entry_from_json,
    pin_standing_from_json,
)
from vault.wire import Line, dial

REDIAL_WAIT_S = 3.0
"""How long a call waits for a restarting broker before it says `Unreachable`; nothing was sent until then."""
KNOWN_MAX = 5_000
"""Unfinished payments remembered for the catch-up after a reconnect: twice the calls of a large node."""

_FINAL = frozenset(
    {
        PaymentState.AUTHORISED,
        PaymentState.NEEDS_ACTION,
        PaymentState.CANCELLED,
        PaymentState.EXPIRED,
        PaymentState.SETTLED,
        PaymentState.VOIDED,
        PaymentState.REFUNDED,
        PaymentState.CHECKED,
    }
)
_WHY_OF_STATE = {
    PaymentState.CREATED: Why.CREATED,
    PaymentState.CAPTURING: Why.CAPTURE_RESTARTED,
    PaymentState.READY: Why.READY,
    PaymentState.AUTHORISING: Why.CHARGING,
    PaymentState.AUTHORISED: Why.AUTHORISED,
    PaymentState.DECLINED: Why.DECLINED,
    PaymentState.UNKNOWN: Why.UNKNOWN,
    PaymentState.NEEDS_ACTION: Why.NEEDS_ACTION,
    PaymentState.CANCELLED: Why.CANCELLED,
    PaymentState.EXPIRED: Why.EXPIRED,
    PaymentState.SETTLED: Why.AUTHORISED,
    PaymentState.VOIDED: Why.VOIDED,
    PaymentState.REFUNDED: Why.REFUNDED,
    PaymentState.CHECKED: Why.CHECKED,
    PaymentState.LINKED: Why.LINK_MADE,
}
"""What a snapshot tells after facts were missed."""


class Door:
    """The app's way to the broker, one Unix SEQPACKET connection; reconnects by itself.

    Every call may raise `Refused` (nothing changed) or `Unreachable` (fetch the truth with `payment`).
    """

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self._line: Line | None = None
        self._run = ""
        self._seq = 0
        self._pin_seq = 0
        self._known: dict[str, Payment] = {}
        self._known_pins: dict[str, PinEntry] = {}
        """PIN entries that go on, as last told."""
        self._readers: WeakSet[FactReader[PaymentChanged]] = WeakSet()
        self._pin_readers: WeakSet[FactReader[PinChanged]] = WeakSet()
        self._catching_up: asyncio.Task[None] | None = None
        self.on_missed: Callable[[], None] = _nothing
        """Called when facts may have been missed, also about payments that had come to an end before."""

    async def connect(self, timeout_s: float = 10.0) -> None:
        """Connected when it returns; `Unreachable` after `timeout_s`, but the door goes on dialling."""
        if self._line is None:
            self._line = Line(
                partial(dial, self.socket_path), on_fact=self._fact, on_up=_nothing, on_down=_nothing
            )
            self._line.start()
        if not await self._line.wait_up(timeout_s):
            raise Unreachable("unreachable", "The broker does not answer. Is it running?", retryable=True)

    async def close(self) -> None:
        """Ends the connection and every reader of facts."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)
        if self._line is not None:
            await self._line.stop()
            self._line = None
        for reader in tuple(self._readers):
            reader.end()
        for pin_reader in tuple(self._pin_readers):
            pin_reader.end()

    async def create_payment(self, new: NewPayment) -> Payment:
        """A payment in state created."""
        return await self._ask_payment("create_payment", {"new": vars(new)})

    async def payment(self, payment_id: str) -> Payment:
        """The snapshot of now; `Refused("payment_unknown")`."""
        return await self._ask_payment("payment", {"payment_id": payment_id})

    async def payments_of_call(self, call_id: str) -> tuple[Payment, ...]:
        """Every payment of a call, oldest first."""
        reply = await self._ask("payments_of_call", {"call_id": call_id})
        return tuple(self._noted(payment_from_json(body)) for body in reply["payments"])

    async def open_capture(self, payment_id: str) -> Payment:
        """SECURE confirmed by media and the needed fields open; also the retry after a decline."""
        return await self._ask_payment("open_capture", {"payment_id": payment_id})

    async def rekey(self, payment_id: str, field: Field) -> Payment:
        """The field empty and open again, SECURE confirmed; the other fields stay."""
        return await self._ask_payment("rekey", {"payment_id": payment_id, "field": field.value})

    async def talk(self, payment_id: str, on: bool) -> Payment:
        """The TALK gate on (at most 15 s, keys ignored) or off."""
        return await self._ask_payment("talk", {"payment_id": payment_id, "on": on})

    async def ask_confirm(self, payment_id: str) -> Payment:
        """The CONFIRM field open: the caller presses 1 in place of a lost agent."""
        return await self._ask_payment("ask_confirm", {"payment_id": payment_id})

    async def charge(self, payment_id: str) -> Payment:
        """The attempt is committed and on its way; its result comes as a fact. Twice is once."""
        return await self._ask_payment("charge", {"payment_id": payment_id})

    async def cancel(self, payment_id: str, by: str) -> Payment:
        """Cancelled, the cell wiped; a declined payment stays declined. `by`: agent, caller or flow.

        An open link is closed at the provider first: the payment is still `linked` while that is not sure,
        and paid when the payer was faster.
        """
        return await self._ask_payment("cancel", {"payment_id": payment_id, "by": by})

    async def settle(
        self, payment_id: str, *, ask_key: str, by: str, amount_minor: int | None = None
    ) -> Payment:
        """What is held is on its way to be taken, all or a part; the result comes as a fact.

        `ask_key`: fresh for every press of a button, the same for a repetition: twice is once. `by`: as the
        log names people, `agent:anna` or `key:shop`.
        """
        return await self._take_step(payment_id, StepName.SETTLE, amount_minor, ask_key, by, "requested")

    async def void(self, payment_id: str, *, ask_key: str, by: str, reason: str = "requested") -> Payment:
        """What is held is on its way back; as `settle`."""
        return await self._take_step(payment_id, StepName.VOID, None, ask_key, by, reason)

    async def refund(
        self,
        payment_id: str,
        *,
        ask_key: str,
        by: str,
        amount_minor: int | None = None,
        reason: str = "requested",
    ) -> Payment:
        """Settled money is on its way back, all that is left or a part; as `settle`.

        `reason`: requested, duplicate, mistake or fraud.
        """
        return await self._take_step(payment_id, StepName.REFUND, amount_minor, ask_key, by, reason)

    async def open_link(
        self, payment_id: str, *, by: str, language: str, return_url: str
    ) -> tuple[Payment, str]:
        """The payment with a link open, and the link's token, told this once; asked again, a fresh token.

        The page is `<our public address>/pay/<token>`; an older token of the payment opens nothing any more.
        What was being keyed is gone. `return_url`: where the provider's page sends the payer afterwards.
        """
        values = {"payment_id": payment_id, "by": by, "language": language, "return_url": return_url}
        reply = await self._ask("open_link", values)
        return self._noted(payment_from_json(reply["payment"])), reply["token"]

    async def link_page(self, token: str, *, opened: bool) -> LinkPage:
        """What a link's page shows; `opened` notes that somebody looks. `Refused("link_unknown")`."""
        return page_from_json((await self._ask("link_page", {"token": token, "opened": opened}))["page"])

    async def answer_link(self, token: str, answer: LinkAnswer) -> LinkPage:
        """What somebody pressed on a page that the node serves, and the page after it."""
        values = {"token": token, "answer": answer.value}
        return page_from_json((await self._ask("answer_link", values))["page"])

    async def history(self, payment_id: str) -> History:
        """Everything that was tried with a payment, oldest first."""
        return history_from_json((await self._ask("history", {"payment_id": payment_id}))["history"])

    async def search(self, wanted: Search) -> Page:
        """The payments of a tenant that fit, newest first, at most 30 a page."""
        reply = await self._ask("search", {"search": asdict(wanted)})
        return Page(tuple(payment_from_json(body) for body in reply["payments"]), reply["next"])

    async def kept_cards(self, tenant: str, customer: str) -> tuple[CardOnFile, ...]:
        """The customer's cards on file that can pay; one pays by `NewPayment.card_id`."""
        reply = await self._ask("kept_cards", {"tenant": tenant, "customer": customer})
        return tuple(CardOnFile(**body) for body in reply["cards"])

    async def forget_card(self, tenant: str, customer: str, card_id: str, by: str) -> CardOnFile:
        """The card is gone here at once, and at the provider as soon as it answers. `by`: `agent:anna`."""
        values = {"tenant": tenant, "customer": customer, "card_id": card_id, "by": by}
        return CardOnFile(**(await self._ask("forget_card", values))["card"])

    async def webhook(self, tenant: str, provider: str, headers: Mapping[str, str], raw: bytes) -> bool:
        """True when the webhook is new: it is stored, and the payment that it points at is being looked up.

        `raw` exactly as received, at most 40,000 bytes. `Refused`: webhook_unknown, webhook_invalid,
        webhooks_busy (retryable).
        """
        values = {"tenant": tenant, "provider": provider, "headers": dict(headers)}
        reply = await self._ask("webhook", {**values, "raw": base64.b64encode(raw).decode()})
        return bool(reply["new"])

    async def vault_keys(self) -> tuple[KeyLine, ...]:
        """Every valid version of every key: names, ages, check values."""
        return tuple(KeyLine(**body) for body in (await self._ask("vault_keys", {}))["keys"])

    async def rotate_key(self, name: str, by: str) -> int:
        """The number of the new version; calls go on, older versions stay valid. `by`: `user:NAME`."""
        return int((await self._ask("rotate_key", {"name": name, "by": by}))["version"])

    async def retire_key(self, name: str, version: int, by: str) -> int:
        """That version is wiped and valid no more; `Refused` for the newest and for one still needed."""
        return int((await self._ask("retire_key", {"name": name, "version": version, "by": by}))["version"])

    async def end_call(self, call_id: str) -> None:
        """No capture lives on this call any more; a charge under way still comes to its result."""
        await self._ask("end_call", {"call_id": call_id})

    async def book_tenants(self) -> tuple[str, ...]:
        """Every tenant that has books, sorted."""
        return tuple((await self._ask("book_tenants", {}))["tenants"])

    async def reconcile(self, tenant: str, since: str = "", until: str = "") -> Reconciliation:
        """Our books against the provider's statement; ask again with the same words while not `done`.

        `since`, `until`: days, ISO 8601; empty for the first day that is not closed, and for today.
        """
        span = {"tenant": tenant, "since": since, "until": until}
        return reconciliation_from_json((await self._ask("reconcile", span))["found"])

    async def books_csv(self, tenant: str, since: str = "", until: str = "", after: str = "") -> CsvPage:
        """Some lines of the books as CSV; `after` is that of the page before."""
        span = {"tenant": tenant, "since": since, "until": until, "after": after}
        reply = await self._ask("books_csv", span)
        return CsvPage(reply["text"], reply["after"])

    async def explain_item(self, tenant: str, item_id: str, reason: str, by: str) -> BookItem:
        """A person accepts a difference, with one lower-case word; the item as it is then."""
        values = {"tenant": tenant, "item_id": item_id, "reason": reason, "by": by}
        return item_from_json((await self._ask("explain_item", values))["item"])

    def facts(self) -> AsyncIterator[PaymentChanged]:
        """Every fact from now on; after a reconnect, one per payment that changed meanwhile."""
        reader: FactReader[PaymentChanged] = FactReader()
        self._readers.add(reader)
        return reader

    async def open_pin(self, new: NewPinEntry) -> PinEntry:
        """SECURE in force and the first field open; what comes of it is told by `pin_facts`.

        `Refused`: capture_open (something is keyed on this call), pin_needs_agent (SET without `by`),
        pin_is_set (SET, but the member has one), tenant_unknown, pins_used (retryable).
        """
        return await self._ask_pin("open_pin", {"new": vars(new)})

    async def cancel_pin(self, entry_id: str, by: str) -> PinEntry:
        """Ended as CANCELLED unless it had a result already; its cell is gone. `by`: `agent:anna`."""
        return await self._ask_pin("cancel_pin", {"entry_id": entry_id, "by": by})

    async def pin_entry(self, entry_id: str) -> PinEntry:
        """The snapshot of now; `Refused("pin_unknown")` when it is long over, or lost with its broker."""
        return await self._ask_pin("pin_entry", {"entry_id": entry_id})

    async def pin_standing(self, tenant: str, member_id: str) -> PinStanding:
        """Whether the member has a PIN, and whether it is locked."""
        return pin_standing_from_json((await self._ask_member("pin_standing", tenant, member_id))["standing"])

    async def unlock_pin(self, tenant: str, member_id: str, by: str) -> PinStanding:
        """The member may try again; on record. `by`: `agent:anna`, `user:NAME`, `key:shop`."""
        reply = await self._ask_member("unlock_pin", tenant, member_id, by=by)
        return pin_standing_from_json(reply["standing"])

    async def issue_reset_code(self, tenant: str, member_id: str, by: str) -> str:
        """Eight digits, told this once, to be sent to the member: good for one RESET within 10 minutes.

        An older code of the member is good no more. `Refused("pin_codes_used")` after too many in a day.
        """
        return str((await self._ask_member("issue_reset_code", tenant, member_id, by=by))["code"])

    async def forget_pin(self, tenant: str, member_id: str) -> None:
        """Nothing is stored of the member's PIN any more; quiet when nothing was."""
        await self._ask_member("forget_pin", tenant, member_id)

    async def pin_seal(self, tenant: str) -> PinSeal:
        """What a browser needs to seal one PIN."""
        return PinSeal(**(await self._ask("pin_seal", {"tenant": tenant}))["seal"])

    async def check_sealed_pin(
        self, new: NewPinEntry, key_id: str, challenge: str, sealed: str
    ) -> PinResult | PinProblem:
        """What a sealed PIN came to; a problem costs no try. `key_id`, `challenge`: of its `PinSeal`.

        `sealed`: base64 of RSA-OAEP-SHA-256 over the challenge's 16 bytes and, per field of the purpose in
        its order, one byte of length and that many ASCII digits. `Refused`: pin_challenge (used, run out, or
        of another tenant), pin_seal_broken (it opens with no key, or is not of this form).
        """
        values = {"new": vars(new), "key_id": key_id, "challenge": challenge, "sealed": sealed}
        return pin_answer_from_json(await self._ask("check_sealed_pin", values))

    def pin_facts(self) -> AsyncIterator[PinChanged]:
        """Every fact about PIN entries from now on; one that a broker lost on its way ends as EXPIRED."""
        reader: FactReader[PinChanged] = FactReader()
        self._pin_readers.add(reader)
        return reader

    async def _take_step(
        self, payment_id: str, step: StepName, amount_minor: int | None, ask_key: str, by: str, reason: str
    ) -> Payment:
        values = {"payment_id": payment_id, "step": step.value, "amount_minor": amount_minor}
        return await self._ask_payment(
            "take_step", {**values, "ask_key": ask_key, "by": by, "reason": reason}
        )

    async def _ask_payment(self, op: str, values: dict[str, Any]) -> Payment:
        return self._noted(payment_from_json((await self._ask(op, values))["payment"]))

    async def _ask_pin(self, op: str, values: dict[str, Any]) -> PinEntry:
        return pin_entry_from_json((await self._ask(op, values))["entry"])

    async def _ask_member(self, op: str, tenant: str, member_id: str, **more: str) -> dict[str, Any]:
        return await self._ask(op, {"tenant": tenant, "member_id": member_id, **more})

    async def _ask(self, op: str, values: dict[str, Any]) -> dict[str, Any]:
        if self._line is None or not await self._line.wait_up(REDIAL_WAIT_S):
            raise Unreachable("unreachable", "The broker does not answer. Try again.", retryable=True)
        reply, _ = await self._line.ask(op, values)
        return reply

    def _noted(self, payment: Payment) -> Payment:
        known = self._known.get(payment.payment_id)
        if known is None or known.version <= payment.version:
            self._known.pop(payment.payment_id, None)
            if payment.state not in _FINAL:
                self._known[payment.payment_id] = payment
        while len(self._known) > KNOWN_MAX:
            self._known.pop(next(iter(self._known)))
        return payment

    def _fact(self, body: dict[str, Any]) -> None:
        if body["fact"] == "hello":
            missed = (body["run"], body["seq"]) != (self._run, self._seq)
            missed |= body["pin_seq"] != self._pin_seq
            self._run, self._seq, self._pin_seq = body["run"], body["seq"], body["pin_seq"]
            if missed:
                self.on_missed()
            if missed and (self._known or self._known_pins):
                self._catch_up()
            return
        if body["fact"] == "pin":
            self._pin_fact(pin_changed_from_json(body))
            return
        changed = changed_from_json(body)
        if changed.seq != self._seq + 1:
            self.on_missed()
            self._catch_up()
        self._seq = changed.seq
        self._noted(changed.payment)
        self._tell(changed)

    def _pin_fact(self, changed: PinChanged) -> None:
        if changed.seq != self._pin_seq + 1:
            self._catch_up()
        self._pin_seq = changed.seq
        self._tell_pin(changed)

    def _tell(self, changed: PaymentChanged) -> None:
        for reader in tuple(self._readers):
            reader.put(changed)

    def _tell_pin(self, changed: PinChanged) -> None:
        entry = changed.entry
        self._known_pins.pop(entry.entry_id, None)
        if entry.result is None:
            self._known_pins[entry.entry_id] = entry
        while len(self._known_pins) > KNOWN_MAX:
            self._known_pins.pop(next(iter(self._known_pins)))
        for reader in tuple(self._pin_readers):
            reader.put(changed)

    def _catch_up(self) -> None:
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._fetch_known())

    async def _fetch_known(self) -> None:
        await self._fetch_known_payments()
        await self._fetch_known_pins()

    async def _fetch_known_pins(self) -> None:
        for before in tuple(self._known_pins.values()):
            try:
                entry = await self.pin_entry(before.entry_id)
            except Refused:  # lost with the broker that held it, and its leg is let go
                entry = replace(before, field=None, digits=0, secure=False, result=PinResult.EXPIRED)
            except VaultError:
                continue
            if entry.entry_id in self._known_pins and entry.result is not None:
                self._tell_pin(PinChanged(self._pin_seq, PinWhy.RESULT, entry))

    async def _fetch_known_payments(self) -> None:
        for before in tuple(self._known.values()):
            try:
                payment = await self.payment(before.payment_id)
            except VaultError:
                continue
            if payment != before:
                self._tell(PaymentChanged(self._seq, _WHY_OF_STATE[payment.state], payment))


def _nothing() -> None:
    """Nobody needs to know."""
