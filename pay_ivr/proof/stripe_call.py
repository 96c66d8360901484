"""One call with a tenant of Stripe's, in which the provider or the broker behaves as the scenario says."""

import asyncio
import secrets
import time
from dataclasses import replace

from pay_ivr.proof.canary import BIN, UNIFORM_OF_PAN, Canary
from pay_ivr.proof.canary_call import (
    AMOUNT_MINOR,
    CURRENCY,
    ENDED_WAIT_S,
    HELD_S,
    STATE_WAIT_S,
    TALK_S,
    CanaryCall,
    Exhibit,
    Lane,
    Pause,
    new_reference,
)
from pay_ivr.proof.claim import Window
from pay_ivr.proof.desk import PAID, POLL_S, DeskRefusal
from pay_ivr.proof.log_reader import time_in_log
from pay_ivr.proof.plan import HUNG_UP_AFTER, PAUSED_AFTER
from pay_ivr.proof.stage import Stage
from pay_ivr.proof.stripe_plan import SECOND_CARD, Scenario, StripeRun, When
from pay_ivr.proof.stripe_provider import StripeProvider

PATIENCE_S = 60.0
"""For an answer that comes after a time-out of our own: the broker waits 25 s and asks again."""
CVV_KEPT_BACK = 1
"""Digits of the CVV that are keyed when the provider has become slow or cannot be reached."""
AWAY = "unreachable"
"""The desk's word for a vault that is not there."""
KEYED_BEFORE_OUTAGE = 8
"""Digits in the cell of a caller who waits longest."""


class StripeCall(CanaryCall):
    """One run on one lane of the Stripe tenant."""

    def __init__(
        self,
        run: StripeRun,
        lane: Lane,
        provider: StripeProvider,
        cards: tuple[Canary, Canary],
        stage: Stage,
    ) -> None:
        """The second card is keyed after a decline only."""
        port = int(stage.facts["sip_udp_port"])
        super().__init__(run, lane, cards[0], port, seed=secrets.randbelow(2**31))
        self.run = run
        self.cards = cards
        self.reached: list[When] = []
        """Where it has waited for the round."""
        self.came_through = False
        """It went as its scenario says, to the end."""
        self._provider = provider
        self._log = stage.settings.data_dir / "audit.db"
        self._ended_at: float | None = None
        self._pause: Pause
        self._earlier: list[tuple[Window, list[int]]] = []
        """Windows of captures that are over, and the marks of their presses."""

    @property
    def state(self) -> str:
        """Of the payment, as the desk was last told."""
        return str(self._shown("state") or "")

    @property
    def earlier(self) -> list[Exhibit]:
        """One more exhibit for each capture before the last; what foreign sockets received is with that."""
        pressed = self._caller.rtp.pressed
        return [
            replace(self.exhibit, window=window, presses=[pressed[mark] for mark in marks], foreign={})
            for window, marks in self._earlier
        ]

    async def _capture(self, call_id: str, pause: Pause) -> None:
        self._pause = pause
        self._payment_id = await self._lane.desk.start_payment(
            call_id, AMOUNT_MINOR, CURRENCY, new_reference()
        )
        self._secure_from = time.monotonic()
        play = {
            Scenario.APPROVED: self._approved,
            Scenario.DECLINED: self._declined,
            Scenario.CELL_WAITS: self._cell_waits,
            Scenario.BROKER_WAITS: self._broker_waits,
            Scenario.CELL_REFUSED: self._cell_refused,
            Scenario.BROKER_REFUSED: self._broker_refused,
            Scenario.HUNG_UP: self._hung_up,
            Scenario.KILLED_KEYING: self._killed_keying,
            Scenario.KILLED_CHARGING: self._killed_charging,
        }
        await play[self.run.scenario]()
        await asyncio.sleep(HELD_S + TALK_S)
        self.came_through = True

    # --- scenarios -----------------------------------------------------------------------------------

    async def _approved(self) -> None:
        await self._key_some(PAUSED_AFTER)
        await self._stop(When.FIELD)
        await self._key_rest(PAUSED_AFTER)
        await self._ready()
        await self._stop(When.READY)
        await self._pay()
        await self._stop(When.RESULT)

    async def _declined(self) -> None:
        await self._key_some(PAUSED_AFTER)
        await self._stop(When.FIELD)
        await self._key_rest(PAUSED_AFTER)
        await self._ready()
        await self._charge()
        await self._in("declined")
        await self._stop(When.DECLINED)
        self._canary = self.cards[SECOND_CARD]
        await self._retry()
        await self._key_some(PAUSED_AFTER)
        await self._key_rest(PAUSED_AFTER)
        await self._ready()
        await self._stop(When.READY)
        await self._pay()
        await self._stop(When.RESULT)

    async def _cell_waits(self) -> None:
        await self._key_some(PAUSED_AFTER)
        await self._stop(When.FIELD)
        await self._key_rest(PAUSED_AFTER, cvv_kept_back=CVV_KEPT_BACK)
        for fault in ("stalled_before", "stalled_after"):  # the cell tries twice
            await self._provider.fault(fault, path_end="/payment_methods", body_has=f"{self._canary.last4}&")
        await self._key_cvv_end()
        await self._stop(When.WAITING)
        await self._cvv_refused()
        await self._stop(When.REFUSED)
        await self._key_cvv()
        await self._ready()
        await self._pay()
        await self._stop(When.RESULT)

    async def _broker_waits(self) -> None:
        await self._key_some(PAUSED_AFTER)
        await self._stop(When.FIELD)
        await self._key_rest(PAUSED_AFTER)
        await self._ready()
        await self._charge_unanswered()
        await self._stop(When.WAITING)
        await self._in(*PAID)
        await self._stop(When.RESULT)

    async def _cell_refused(self) -> None:
        await self._key_some(PAUSED_AFTER)
        await self._key_rest(PAUSED_AFTER, cvv_kept_back=CVV_KEPT_BACK)
        await self._stop(When.FIELD)
        await self._key_cvv_end()
        await self._cvv_refused()
        await self._stop(When.REFUSED)
        await self._key_cvv()
        await self._ready()
        await self._stop(When.READY)
        await self._pay()
        await self._stop(When.RESULT)

    async def _broker_refused(self) -> None:
        await self._key_some(PAUSED_AFTER)
        await self._key_rest(PAUSED_AFTER)
        await self._ready()
        await self._stop(When.READY)
        await self._charge()
        await self._in("declined")
        await self._stop(When.REFUSED)
        await self._retry()
        await self._key_cvv()
        await self._ready()
        await self._pay()
        await self._stop(When.RESULT)

    async def _hung_up(self) -> None:
        await self._key_some(PAUSED_AFTER)
        await self._stop(When.FIELD)
        more = range(PAUSED_AFTER, HUNG_UP_AFTER)
        await self._press(self._canary.pan[PAUSED_AFTER:HUNG_UP_AFTER], range(len(more)))
        await self._caller.hang_up()
        async with asyncio.timeout(ENDED_WAIT_S):
            await self._lane.phone.ended.wait()
        await self._stop(When.HUNG_UP)

    async def _killed_keying(self) -> None:
        await self._key_some(KEYED_BEFORE_OUTAGE)
        await self._stop(When.FIELD)
        await self._stop(When.FIELD)
        more = range(KEYED_BEFORE_OUTAGE, PAUSED_AFTER)
        await self._press(self._canary.pan[KEYED_BEFORE_OUTAGE:PAUSED_AFTER], range(len(more)))
        await self._stop(When.FIELD)
        await self._in("expired")
        self._ended_at = await time_in_log(self._log, "payment.intent.expired", self._payment_id)
        await self._stop(When.KILLED)

    async def _killed_charging(self) -> None:
        await self._key_some(PAUSED_AFTER)
        await self._stop(When.FIELD)
        await self._stop(When.FIELD)
        await self._key_rest(PAUSED_AFTER)
        await self._ready()
        await self._charge_unanswered()
        await self._stop(When.WAITING)
        await self._in(*PAID)
        await self._stop(When.KILLED)

    # --- steps ---------------------------------------------------------------------------------------

    async def _stop(self, when: When) -> None:
        """Waits for the round at this moment."""
        self.reached.append(when)
        await self._pause(when)

    async def _key_some(self, digits: int) -> None:
        await self._think()
        await self._press(self._canary.pan[:digits], range(len(BIN), digits))

    async def _key_rest(self, keyed: int, cvv_kept_back: int = 0) -> None:
        """The card from that digit on; all but the end of its CVV where that is kept back."""
        pan, cvv = self._canary.pan, self._canary.cvv
        await self._press(pan[keyed:], range(UNIFORM_OF_PAN.stop - keyed))
        await self._settle("pan", pan)
        await self._think()
        await self._press(self._canary.expiry, range(0))
        await self._settle("expiry", self._canary.expiry)
        await self._think()
        now = cvv[: len(cvv) - cvv_kept_back]
        await self._press(now, range(len(now)))
        if not cvv_kept_back:
            await self._settle("cvv", cvv)

    async def _key_cvv_end(self) -> None:
        await self._press(self._canary.cvv[-CVV_KEPT_BACK:], range(CVV_KEPT_BACK))

    async def _key_cvv(self) -> None:
        """All of it, once it is asked for."""
        await self._lane.desk.until(lambda: self._state_of("cvv") == "open", STATE_WAIT_S)
        await self._think()
        await self._press(self._canary.cvv, range(len(self._canary.cvv)))

    async def _cvv_refused(self) -> None:
        """Until the desk is told that the provider did not take the card, and the CVV is asked for again."""
        steps = self._lane.desk.steps
        await self._lane.desk.until(lambda: "field_problem" in steps(self._payment_id), PATIENCE_S)
        self._end_window()
        told = (one for one in self._lane.desk.messages if one.get("why") == "field_problem")
        self._secure_from = next(told)["_at"]

    async def _ready(self) -> None:
        await self._in("ready")
        self._card_presses = len(self._caller.rtp.pressed)
        self.exhibit.last4_shown = self._shown("last4") == self._canary.last4

    async def _charge(self) -> None:
        """Pressed again while the vault is away, as a person does."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await self._lane.desk.call("POST", f"/v1/payments/{self._payment_id}/charge")
                except DeskRefusal as refusal:
                    if refusal.code != AWAY:
                        raise
                    await asyncio.sleep(POLL_S)
                else:
                    return

    async def _charge_unanswered(self) -> None:
        """Charged, and the provider executes it and says nothing."""
        key = f"{self._payment_id}:authorise:1"
        await self._provider.fault("stalled_after", path_end="/confirm", key_end=key)
        drawn = await self._provider.faults_drawn()
        await self._charge()
        async with asyncio.timeout(STATE_WAIT_S):
            while await self._provider.faults_drawn() == drawn:
                await asyncio.sleep(POLL_S)

    async def _pay(self) -> None:
        await self._charge()
        await self._in(*PAID)

    async def _retry(self) -> None:
        """The next capture of the same payment: a window of its own."""
        await asyncio.sleep(HELD_S)
        self._end_window()
        await self._lane.desk.call("POST", f"/v1/payments/{self._payment_id}/retry")
        self._secure_from = time.monotonic()

    def _end_window(self) -> None:
        """The capture so far is over; what is keyed from now on belongs to the next."""
        self._card_presses = len(self._caller.rtp.pressed)
        self._earlier.append((self._window(), self._marks))
        self._marks, self._card_presses = [], 0

    def _window(self) -> Window:
        """As ever; a broker that was killed can tell the desk only afterwards, so its log is asked."""
        return super()._window() if self._ended_at is None else Window(self._secure_from, self._ended_at)

    async def _in(self, *states: str) -> None:
        await self._lane.desk.payment_in(self._payment_id, *states, timeout_s=PATIENCE_S)
