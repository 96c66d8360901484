"""The demo's five calls, each as the people on it would go through it.

Each returns what came out, in words that `demo.py` compares with what must come out.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from pay_ivr.catalogue import Key
from pay_ivr.proof.desk import PAID, DeskClient, Integrator
from pay_ivr.proof.foreign_phone import ForeignPhone
from pay_ivr.proof.member import (
    CODE,
    NUMBER,
    PIN,
    POINTS,
    TENANT,
    Listener,
    enrol,
    programme_of,
    voice_of,
)
from pay_ivr.proof.screen import Screen
from pay_ivr.proof.sip_phone import SipPhone
from pay_ivr.settings import Settings

AGENT_NUMBER, ALONE_NUMBER, PORTAL_NUMBER = "4930100001", "4930100002", "4930100003"
CALLER = "4915112345678"
VISA, MASTERCARD, NO_FUNDS = "4242424242424242", "5555555555554444", "4000000000009995"
"""Published test cards; the sandbox takes no others."""
EXPIRY, CVV = "1230", "123"
FIELDS = ("pan", "expiry", "cvv")
THINK_S = 0.4
"""A person looks at the card before keying on."""
RESULT_HEARD_S = 3.0


@dataclass
class Players:
    """Everybody on the stage, and what they leave for the pictures."""

    port: int
    desk: DeskClient
    integrator: Integrator
    agent: ForeignPhone
    screen: Screen
    out: Path
    settings: Settings
    """The node's own."""
    heard: ForeignPhone | None = None
    """The caller with in-band tones: what it sent is the upper strip of the spectrogram."""
    ladder_call: str = ""
    """SIP Call-ID of the first scenario's caller."""
    cards: list[str] = field(default_factory=list)
    """Every PAN keyed: what the sweep looks for."""


async def events_approved(players: Players) -> str:
    """The caller's phone sends telephone-events; the agent charges."""
    caller = await _caller(players, seed=11)
    players.ladder_call = caller.call_id
    try:
        payment_id = await _agent_starts(players, 1995, "EUR", "R-2026-001")
        await _key_card(players, caller, payment_id, VISA)
        return await _charge(players, payment_id)
    finally:
        await _hang_up(players, caller)


async def inband_declined(players: Players) -> str:
    """A foreign phone sends tones in the audio; the first card has no funds, the second one pays."""
    caller = ForeignPhone(CALLER, players.out / "caller.packets", number=AGENT_NUMBER)
    players.heard = caller
    await caller.start(players.port)
    try:
        await caller.wait("answered")
        payment_id = await _agent_starts(players, 4900, "EUR", "R-2026-002")
        await _key_card(players, caller, payment_id, NO_FUNDS)
        first = await _charge(players, payment_id)
        decline = players.desk.payment(payment_id)["decline"] or {}
        players.screen.note(
            f"the agent reads: {decline.get('reason_text')}; next: {decline.get('next_step_text')}"
        )
        await players.desk.call("POST", f"/v1/payments/{payment_id}/retry")
        await _key_card(players, caller, payment_id, MASTERCARD)
        second = await _charge(players, payment_id)
        return f"{first} ({decline.get('reason')}), {second}"
    finally:
        await caller.stop()
        await _agent_is_free(players)


async def alone_in_spanish(players: Players) -> str:
    """No agent: a code from the API, the card, key 1, the result and a receipt number, all in Spanish."""
    order = {
        "amount_minor": 2500,
        "currency": "EUR",
        "reference": "F-1001",
        "purpose": "invoice",
        "valid_s": 600,
    }
    code = str((await players.integrator.call("POST", "/v1/payment-codes", order))["code"])
    players.screen.note("the tenant's system has issued a payment code; the caller keys it")
    caller = SipPhone(CALLER, seed=13)
    await caller.open(players.port)
    try:
        await caller.call(ALONE_NUMBER)
        call_id = await players.integrator.only_call()
        await asyncio.sleep(2.0)
        await caller.key(code)
        payment_id = await players.integrator.payment_of(call_id)
        await _key_alone(players, caller, payment_id, VISA)
        return await _hear_the_end(players, caller, payment_id)
    finally:
        caller.close()


async def agent_lost(players: Players) -> str:
    """The agent hangs up after the ninth digit; the caller keys on, confirms with 1, and is charged once."""
    caller = await _caller(players, seed=14)
    try:
        payment_id = await _agent_starts(players, 900, "EUR", "R-2026-003")
        players.cards.append(VISA)
        await _until_open(players, payment_id, "pan")
        await caller.key(VISA[:9])
        await players.agent.command("hangup")
        players.screen.note("the agent has hung up after the ninth digit; the caller keys on")
        await asyncio.sleep(1.0)
        await _key_alone(players, caller, payment_id, VISA[9:])
        return await _hear_the_end(players, caller, payment_id)
    finally:
        caller.close()
        await _agent_is_free(players)


async def member_in_german(players: Players) -> str:
    """A member logs in by number and PIN, asks for the balance, redeems a voucher, gets it by mail too."""
    member_id = await enrol(players.settings)
    players.screen.note("a member is enrolled, with points and a PIN; he calls the portal")
    phone, voice = SipPhone(CALLER, seed=15), voice_of(players.settings)
    await phone.open(players.port)
    try:
        await phone.call(PORTAL_NUMBER)
        line = Listener(phone, voice)
        await line.asked(Key.PORTAL_WELCOME, "2", tenant="Demo Travel")
        await line.asked(Key.IDENTIFY_MENU, "1")
        await line.asked(Key.ASK_NUMBER, NUMBER + "#")
        players.screen.note("the PIN is keyed into a cell of its own, SECURE")
        await line.asked(Key.ASK_PIN, PIN + "#")
        await line.asked(Key.MENU_BALANCE, "1", digit=1)
        await line.asked(Key.BALANCE, "2", points=POINTS)
        await line.asked(Key.REDEEM_INTRO, "2", points=POINTS)
        await line.asked(Key.CONFIRM_OR_BACK, "1")
        await line.hears(Key.VOUCHER_CODE, code=CODE)
        await phone.hang_up()
    finally:
        phone.close()
        await voice.close()
    async with programme_of(players.settings) as loyalty:
        balance = await loyalty.balance(TENANT, member_id)
    letters = [path.read_text("utf-8") for path in (players.settings.data_dir / "messages").glob("*.json")]
    sent = "sent" if any(CODE in letter for letter in letters) else "not sent"
    return f"{balance.available} points left, voucher heard and {sent}"


async def _caller(players: Players, seed: int) -> SipPhone:
    caller = SipPhone(CALLER, seed=seed)
    await caller.open(players.port)
    await caller.call(AGENT_NUMBER)
    return caller


async def _agent_starts(players: Players, amount_minor: int, currency: str, reference: str) -> str:
    call = await players.desk.bridged_call()
    players.screen.note("caller and agent are connected; they talk")
    await asyncio.sleep(2.0)
    payment_id = await players.desk.start_payment(call["call_id"], amount_minor, currency, reference)
    players.screen.note(
        "SECURE: not one sample of the caller reaches the agent now; the caller hears the amount"
    )
    return payment_id


async def _key_card(players: Players, caller: SipPhone | ForeignPhone, payment_id: str, pan: str) -> None:
    """PAN, expiry and CVV, each when it is asked for."""
    players.cards.append(pan)
    for name, keys in zip(FIELDS, (pan + "#", EXPIRY, CVV), strict=True):
        await _until_open(players, payment_id, name)
        await asyncio.sleep(THINK_S)
        await caller.key(keys)


async def _key_alone(players: Players, caller: SipPhone, payment_id: str, pan: str) -> None:
    """The same without an agent's eyes, then key 1; the caller goes by what is spoken."""
    for name, keys in zip((*FIELDS, "confirm"), (pan + "#", EXPIRY, CVV, "1"), strict=True):
        await players.integrator.until_open(payment_id, name)
        await asyncio.sleep(THINK_S)
        await caller.key(keys)
    players.cards.append(VISA)


async def _hear_the_end(players: Players, caller: SipPhone, payment_id: str) -> str:
    """The result, some seconds of its announcement, and then the caller hangs up, as people do."""
    state = await players.integrator.state_of(
        payment_id, *PAID, "declined", "unknown", "cancelled", "expired"
    )
    await asyncio.sleep(2 * RESULT_HEARD_S)
    await caller.hang_up()
    return _result(state)


def _result(state: str) -> str:
    """What a state says about the charge: paid is paid, however soon the money moves."""
    return PAID[0] if state in PAID else state


async def _until_open(players: Players, payment_id: str, name: str) -> None:
    def is_open() -> bool:
        payment = players.desk.payment(payment_id)
        players.screen.payment(as_the_agent_sees(payment))
        return any(one["field"] == name and one["state"] == "open" for one in payment.get("fields", ()))

    await players.desk.until(is_open)


async def _charge(players: Players, payment_id: str) -> str:
    payment = await players.desk.payment_in(payment_id, "ready")
    players.screen.payment(as_the_agent_sees(payment))
    players.screen.note(f"ready: {payment['brand']} ending in {payment['last4']}; the agent presses charge")
    await players.desk.call("POST", f"/v1/payments/{payment_id}/charge")
    payment = await players.desk.payment_in(payment_id, *PAID, "declined", "unknown")
    players.screen.payment(as_the_agent_sees(payment))
    await asyncio.sleep(RESULT_HEARD_S)
    return _result(str(payment["state"]))


async def _hang_up(players: Players, caller: SipPhone) -> None:
    await caller.hang_up()
    caller.rtp.close()
    await _agent_is_free(players)
    caller.close()


async def _agent_is_free(players: Players) -> None:
    """The agent's phone has seen the end of this call too."""
    answered = players.agent.count("answered")
    if answered:
        await players.agent.wait("ended", answered)


def as_the_agent_sees(payment: dict[str, object]) -> str:
    """One line: dots per digit, ticks, brand and last 4; never a digit of the card."""
    parts = []
    fields = payment.get("fields")
    for one in fields if isinstance(fields, list) else []:
        mark = "✔" if one["state"] == "complete" else ""
        parts.append(f"{one['field']} {'•' * int(one['digits'])}{mark}")
    card = f"   {payment['brand']} …{payment['last4']}" if payment.get("last4") else ""
    return f"{payment.get('state_text', '')}   {'   '.join(parts)}{card}"
