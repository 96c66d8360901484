"""Calls at the desk: what an agent may see of them, and hanging up."""

from agent_api.desk import Ask, Asker, Desk
from agent_api.payments import payment_answer
from agent_api.problems import DeskError
from agent_api.schemas import CallAnswer, CallDetailAnswer, CallsAnswer
from pay_ivr.facts import CallView


def call_answer(call: CallView, asker: Asker) -> CallAnswer:
    """A call as this asker sees it."""
    return CallAnswer(
        call_id=call.call_id,
        state=call.state,
        flow=call.flow,
        mine=is_mine(call, asker),
        caller=call.caller,
        did=call.did,
        language=call.language,
        started_at=call.started_at,
        speaking=call.speaking,
        keying_outside_capture=call.keying_outside_capture,
        audio_lost=call.audio_lost,
        ended_reason=call.ended_reason,
        context=dict(call.context) if is_mine(call, asker) or asker.key is not None else {},
    )


def is_mine(call: CallView, asker: Asker) -> bool:
    """True when the asker is the agent on this call."""
    return asker.agent is not None and call.agent_id == asker.agent.agent_id and call.tenant == asker.tenant


def seen_call(desk: Desk, call_id: str, asker: Asker) -> CallView:
    """A call of the asker's tenant; a foreign one is as unknown as one that never was."""
    call = desk.switchboard.call(call_id)
    if call.tenant != asker.tenant:
        raise DeskError("call_unknown", on_record="foreign_call")
    return call


def own_call(desk: Desk, call_id: str, asker: Asker) -> CallView:
    """A call on which the asker is the agent; DeskError("call_unknown") otherwise."""
    call = seen_call(desk, call_id, asker)
    if not is_mine(call, asker):
        raise DeskError("call_unknown", on_record="foreign_call")
    return call


async def list_calls(desk: Desk, ask: Ask) -> CallsAnswer:
    """GET /v1/calls."""
    calls = desk.switchboard.calls_of(ask.who.tenant)
    return CallsAnswer(calls=tuple(call_answer(call, ask.who) for call in calls))


async def read_call(desk: Desk, ask: Ask) -> CallDetailAnswer:
    """GET /v1/calls/{call_id}: the payments only for the call's own agent and for access keys."""
    call = seen_call(desk, ask.part("call_id"), ask.who)
    open_to_asker = is_mine(call, ask.who) or ask.who.key is not None
    payments = desk.switchboard.payments_of(call.call_id) if open_to_asker else ()
    return CallDetailAnswer(
        call=call_answer(call, ask.who),
        payments=tuple(
            payment_answer(payment, desk.catalogue, ask.who.language, call.language) for payment in payments
        ),
    )


async def hang_up(desk: Desk, ask: Ask) -> CallAnswer:
    """POST /v1/calls/{call_id}/hang-up."""
    call = own_call(desk, ask.part("call_id"), ask.who)
    return call_answer(await desk.switchboard.hang_up(call.call_id, by=ask.agent.agent_id), ask.who)
