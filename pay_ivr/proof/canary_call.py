"""One call with a canary card, as caller and agent live it, and everything that foreign sockets received."""

import asyncio
import random
import secrets
import string
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from pay_ivr.proof.audio import Samples
from pay_ivr.proof.canary import BIN, UNIFORM_OF_PAN, Canary
from pay_ivr.proof.claim import NO_WINDOW, Window
from pay_ivr.proof.desk import PAID, DeskClient, DeskRefusal
from pay_ivr.proof.plan import HUNG_UP_AFTER, PAUSED_AFTER, RACE_DIGITS, RACE_MS, Moment, Run
from pay_ivr.proof.rtp_port import Datagram
from pay_ivr.proof.sip_phone import SipPhone

AMOUNT_MINOR, CURRENCY = 4200, "EUR"
TALK_S = 0.6
"""Of ordinary talk before and after a capture: the agent must hear the caller there."""
FIELD_TRIES = 4
"""A caller whose packets get lost keys a field again."""
FIELD_WAIT_S = 3.0
HELD_S = 1.0
"""SECURE outlasts the last key by this (docs/pci-scope.md)."""
STATE_WAIT_S = 15.0
ENDED_WAIT_S = 5.0
REFERENCE_LETTERS = 12
Pause = Callable[[str], Awaitable[None]]


@dataclass
class Lane:
    """An agent with telephone and desk, and the number that rings it."""

    number: str
    phone: SipPhone
    desk: DeskClient
    codec: str


@dataclass(repr=False)
class Exhibit:
    """What one call left behind outside the node."""

    run: Run
    agent_codec: str
    window: Window = NO_WINDOW
    """In which the exact claim holds."""
    packets: list[Datagram] = field(default_factory=list)
    """RTP of the agent's telephone."""
    foreign: dict[str, bytes] = field(default_factory=dict)
    """Where → bytes: RTP, RTCP, SIP of the agent's phone; bytes of the desk; SIP of the caller's."""
    sent: list[Samples] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    sent_events: list[Datagram] = field(default_factory=list)
    presses: list[tuple[float, str]] = field(default_factory=list)
    """Of uniformly drawn digits, in the window."""
    talk: Window = NO_WINDOW
    """The pause in which caller and agent could talk, in a call that has one."""
    talk_presses: list[tuple[float, str]] = field(default_factory=list)
    last4_shown: bool = False
    """The desk showed the canary's last 4: the keys really went where they belong."""
    trouble: str = ""
    """Why the call did not come to its moment; empty when it did."""


class CanaryCall:
    """One run on one lane."""

    def __init__(self, run: Run, lane: Lane, canary: Canary, node_port: int, seed: int) -> None:
        self.exhibit = Exhibit(run, lane.codec)
        self._run = run
        self._lane = lane
        self._canary = canary
        self._node_port = node_port
        self._random = random.Random(seed)
        self._caller = SipPhone(
            f"4915{seed % 10**8:08d}",
            codec=run.caller_codec,
            seed=seed,
            impairment=run.impairment,
            offers_events=run.transport != "inband",
        )
        self._payment_id = ""
        self._secure_from = 0.0
        self._marks: list[int] = []
        self._card_presses = 0
        """How many keys had been pressed when the card was complete."""

    async def place(self, pause: Pause) -> Exhibit:
        """The call from ring to hang-up; `pause` is awaited at the run's moment."""
        agent, desk, caller = self._lane.phone, self._lane.desk, self._caller
        agent.rtp.received.clear()
        agent.rtp.received_rtcp.clear()
        agent.evidence.clear()
        desk.evidence.clear()
        desk.messages.clear()
        try:
            await caller.open(self._node_port)
            await caller.call(self._lane.number)
            call = await desk.bridged_call()
            await asyncio.sleep(TALK_S)
            await self._capture(str(call["call_id"]), pause)
        except (TimeoutError, ConnectionError, DeskRefusal) as error:
            self.exhibit.trouble = f"{type(error).__name__} {error}".strip()
        finally:
            await self._end()
            self._collect()
            caller.close()
        return self.exhibit

    async def _capture(self, call_id: str, pause: Pause) -> None:
        run = self._run
        racing = asyncio.create_task(self._race(run.race_ms)) if run.race_ms is not None else None
        if racing is not None:
            await asyncio.sleep(RACE_MS / 1000)
        self._payment_id = await self._lane.desk.start_payment(
            call_id, AMOUNT_MINOR, CURRENCY, new_reference()
        )
        self._secure_from = time.monotonic()
        if racing is not None:
            await racing
            await self._think()
            await self._caller.key("*", run.transport)
        await self._finish(pause)

    async def _finish(self, pause: Pause) -> None:
        """The card, and what comes after it, up to the run's moment and on."""
        run = self._run
        await self._key_card(pause)
        if run.moment is Moment.HUNG_UP:
            await self._caller.hang_up()
            async with asyncio.timeout(ENDED_WAIT_S):
                await self._lane.phone.ended.wait()
            await pause(run.moment)
            return
        await self._lane.desk.payment_in(self._payment_id, "ready", timeout_s=STATE_WAIT_S)
        self._card_presses = len(self._caller.rtp.pressed)
        if run.race_ms is not None:
            await self._caller.key(self._any_digits(), run.transport)
        self.exhibit.last4_shown = self._shown("last4") == self._canary.last4
        await self._reach(Moment.READY, pause)
        await self._lane.desk.call("POST", f"/v1/payments/{self._payment_id}/charge")
        await self._lane.desk.payment_in(self._payment_id, *PAID, timeout_s=STATE_WAIT_S)
        await self._reach(Moment.RESULT, pause)
        await asyncio.sleep(HELD_S + TALK_S)

    async def _reach(self, moment: Moment, pause: Pause) -> None:
        if self._run.moment is moment:
            await pause(moment)

    async def _race(self, offset_ms: int) -> None:
        """Keys around the moment at which the agent's request leaves, `RACE_MS` from now."""
        await asyncio.sleep((RACE_MS + offset_ms) / 1000)
        await self._caller.key(self._any_digits(), self._run.transport)

    def _any_digits(self) -> str:
        return "".join(self._random.choice("0123456789") for _ in range(RACE_DIGITS))

    # --- keys ----------------------------------------------------------------------------------------

    async def _key_card(self, pause: Pause) -> None:
        pan = self._canary.pan
        await self._think()
        if self._run.moment is Moment.HUNG_UP:
            await self._press(pan[:HUNG_UP_AFTER], range(len(BIN), HUNG_UP_AFTER))
            return
        if self._run.moment is Moment.FIELD:
            await self._press(pan[:PAUSED_AFTER], range(len(BIN), PAUSED_AFTER))
            await pause(Moment.FIELD)
            await self._press(pan[PAUSED_AFTER:], range(UNIFORM_OF_PAN.stop - PAUSED_AFTER))
        else:
            await self._press(pan, UNIFORM_OF_PAN)
        await self._settle("pan", pan)
        await self._think()
        await self._press(self._canary.expiry, range(0))
        await self._settle("expiry", self._canary.expiry)
        await self._think()
        await self._press(self._canary.cvv, range(len(self._canary.cvv)))
        await self._settle("cvv", self._canary.cvv)

    async def _press(self, keys: str, uniform: range) -> None:
        """Keys them, and notes which of these presses the attacker is asked about."""
        before = len(self._caller.rtp.pressed)
        await self._caller.key(keys, self._run.transport)
        self._marks += [before + place for place in uniform]

    async def _settle(self, name: str, keys: str) -> None:
        """Waits for the field; keys it again where packets were lost."""
        for _ in range(FIELD_TRIES):
            if await self._complete(name):
                return
            await self._caller.key("#", self._run.transport)
            if await self._complete(name):
                return
            await self._think()
            await self._caller.key("*", self._run.transport)
            await self._think()
            await self._caller.key(keys, self._run.transport)
        raise TimeoutError(f"the {name} was not taken")

    async def _complete(self, name: str) -> bool:
        try:
            await self._lane.desk.until(lambda: self._state_of(name) == "complete", FIELD_WAIT_S)
        except TimeoutError:
            return False
        return True

    def _state_of(self, name: str) -> str:
        payment = self._lane.desk.payment(self._payment_id)
        if payment.get("state") not in {"capturing", None}:
            return "complete"
        return next((one["state"] for one in payment.get("fields", ()) if one["field"] == name), "")

    def _shown(self, name: str) -> object:
        return self._lane.desk.payment(self._payment_id).get(name)

    async def _think(self) -> None:
        await asyncio.sleep(self._random.uniform(0.15, 0.4))

    # --- what is left --------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Hung up on both sides, so that the lane is free."""
        try:
            if self._caller.answered.is_set():
                await self._caller.hang_up()
            if self._lane.phone.answered.is_set():
                async with asyncio.timeout(ENDED_WAIT_S):
                    await self._lane.phone.ended.wait()
        except (TimeoutError, ConnectionError) as error:
            self.exhibit.trouble = self.exhibit.trouble or f"the call did not end: {type(error).__name__}"
        self._lane.phone.answered.clear()

    def _window(self) -> Window:
        """From the confirmation to its end, and a second after the card's last key; or to the hang-up."""
        if not self._secure_from:
            return NO_WINDOW
        if self._run.moment is Moment.HUNG_UP:
            return Window(self._secure_from, float("inf"))
        released = next(
            (
                one["_at"]
                for one in self._lane.desk.messages
                if one["_at"] > self._secure_from and (one.get("payment") or {}).get("secure") is False
            ),
            self._secure_from,
        )
        presses = self._caller.rtp.pressed[: self._card_presses or None]
        held_until = presses[-1][0] + HELD_S if presses and self._card_presses else 0.0
        return Window(self._secure_from, max(released, held_until))

    def _collect(self) -> None:
        exhibit, agent, rtp = self.exhibit, self._lane.phone, self._caller.rtp
        exhibit.window = self._window()
        exhibit.packets = list(agent.rtp.received)
        exhibit.foreign = {
            "RTP of the agent's phone": _joined(agent.rtp.received),
            "RTCP of the agent's phone": _joined(agent.rtp.received_rtcp),
            "SIP of the agent's phone": _joined(agent.evidence),
            "HTTP and stream of the desk": b"\n".join(self._lane.desk.evidence),
            "SIP of the caller's phone": _joined(self._caller.evidence),
        }
        exhibit.sent, exhibit.sent_at = rtp.sent_samples, rtp.sent_at
        exhibit.sent_events = rtp.sent_events
        exhibit.presses = [rtp.pressed[place] for place in self._marks]


def new_reference() -> str:
    """A payment reference of its own; without digits, so that nobody takes it for a card."""
    return "LEAK-" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(REFERENCE_LETTERS))


def _joined(datagrams: Sequence[Datagram]) -> bytes:
    return b"".join(one.data for one in datagrams)
