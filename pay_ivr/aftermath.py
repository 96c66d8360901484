"""What an app that died left behind, put right by the next run before it takes its first call.

| left behind | put right |
|---|---|
| calls without an end | ended (`node_failed`); the vault ends their captures, a charge goes on |
| payments of ended calls | readable again by their agents: the vault is asked for them |
| codes taken | used up when paid, free when nothing can be paid any more, else left to the outcome |
| legs in media | the caller hears of the technical problem, then they end; agents' legs end at once |

A SIP dialog cannot be put right: nobody has its tags, and a request in it is answered 481 (RFC 3261 §12.2.2).
"""

import asyncio
import contextlib
from dataclasses import dataclass, field

from pay_ivr.call import Call, CallState, EndReason
from pay_ivr.codes import PaymentCodes, code_after
from pay_ivr.facts import CallView
from pay_ivr.ids import new_id
from pay_ivr.journal import ENDED, entry_of
from pay_ivr.logs import log
from pay_ivr.store import Store
from vault import Door, MediaClient, MediaFact, Payment, Refused, VaultError

READABLE_MS = 24 * 3_600_000
"""Ended calls of this time come back to the desk: an agent may ask on the next morning."""
SORRY_MAX_S = 60.0
"""The prompt is a few seconds per language; a lost `play.done` must not keep a leg for ever."""
TECHNICAL_PROBLEM = "technical_problem"
"""The prompt that the run before left with media for this moment."""


@dataclass(frozen=True)
class PastCall:
    """A call of an earlier run, with its payments as the vault has them."""

    call: Call
    payments: dict[str, Payment] = field(default_factory=dict)
    code: None = None
    """Its payment code has been settled already."""


async def settle(
    store: Store, door: Door, codes: PaymentCodes, now_ms: int, calls_max: int
) -> tuple[PastCall, ...]:
    """Ends what the run before left open; the calls that ended lately, oldest first, `calls_max` at most.

    `Unreachable` when the broker goes while it is asked: nothing is lost, the next start goes on from there.
    """
    for lost in await store.lost_calls():
        await door.end_call(lost.call_id)
        await store.add_ended_call(lost, now_ms, entry_of(ENDED, lost))
        log.warning("call.contact.lost", call_id=lost.call_id)
    await _settle_codes(door, codes)
    ended = await store.ended_calls(now_ms - READABLE_MS, calls_max)
    return tuple([await _past(door, view) for view in ended])


async def _settle_codes(door: Door, codes: PaymentCodes) -> None:
    for code, payment_id in await codes.taken():
        if payment_id is None:
            await codes.close(code, paid=False)
            continue
        try:
            paid = code_after(await door.payment(payment_id), call_over=True)
        except Refused:
            log.error("payment.code.stuck", payment_id=payment_id)
            continue
        if paid is not None:
            await codes.close(code, paid=paid)


async def _past(door: Door, view: CallView) -> PastCall:
    call = Call(
        call_id=view.call_id,
        tenant=view.tenant,
        tenant_name="",
        flow=view.flow,
        did=view.did,
        caller=view.caller,
        language=view.language,
        started_at=view.started_at,
        agent_id=view.agent_id,
        state=CallState.ENDED,
        end_reason=next((one for one in EndReason if one == view.ended_reason), EndReason.FAILED),
    )
    return PastCall(call, {one.payment_id: one for one in await door.payments_of_call(view.call_id)})


class Orphans:
    """Legs that were in media before this run opened its first one."""

    def __init__(self, media: MediaClient) -> None:
        self._media = media
        self._legs: dict[str, str] = {}
        self._playing: dict[str, asyncio.Future[None]] = {}

    async def find(self) -> None:
        """Looks for them; to be called before the first call can come."""
        self._legs = {str(leg["leg_id"]): str(leg["role"]) for leg in await self._media.legs()}

    async def end(self) -> None:
        """All of them ended, callers told why; returns when the last one is gone."""
        await asyncio.gather(*(self._end(leg_id, role) for leg_id, role in self._legs.items()))

    def media_fact(self, fact: MediaFact) -> None:
        """Hands over `play.done` of a leg that no call has."""
        over = self._playing.pop(str(fact.values.get("play_id")), None)
        if over is not None and not over.done():
            over.set_result(None)

    async def _end(self, leg_id: str, role: str) -> None:
        if role == "caller":
            await self._say_sorry(leg_id)
        with contextlib.suppress(VaultError):  # it has ended by itself meanwhile, or media has
            await self._media.close_leg(leg_id)

    async def _say_sorry(self, leg_id: str) -> None:
        play_id = new_id("play")
        over = self._playing[play_id] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(VaultError, TimeoutError):
            await self._media.play(leg_id, play_id, [TECHNICAL_PROBLEM], barge_in=False)
            async with asyncio.timeout(SORRY_MAX_S):
                await over
        self._playing.pop(play_id, None)
