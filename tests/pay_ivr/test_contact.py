"""How calls end when something goes wrong: nobody stays on a silent line, the reason on record is true."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pay_ivr.call import CallState, EndReason
from pay_ivr.catalogue import Key
from pay_ivr.contact import Contact
from pay_ivr.facts import CallChanged, CallError
from pay_ivr.flow import Flow, Keyed, Line
from pay_ivr.payment_voice import Sentence
from pay_ivr.sip.invite import InviteLeg
from pay_ivr.sip.legstate import EndReason as SipEnd
from pay_ivr.speaker import BURST_S
from pay_ivr.tenants import Telephony, Tenant
from tests.support.exchange import ALONE, ASSISTED, HANDED_OVER, House
from tests.support.line import a_payment
from tests.support.sipnet import SDP
from vault import (
    MediaFact,
    PaymentChanged,
    PaymentState,
    PinChanged,
    PinField,
    PinProblem,
    PinPurpose,
    PinResult,
    PinWhy,
    Why,
)

G722_ONLY = SDP.replace(b"RTP/AVP 0 101", b"RTP/AVP 9").replace(b"0 PCMU", b"9 G722")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """The switchboard between a trunk and two phones."""
    made = House(tmp_path)
    yield made
    await made.close()


def busy(leg: InviteLeg) -> None:
    """The agent presses the red button."""
    leg.reject(486)


def answer(leg: InviteLeg) -> None:
    """The agent takes the call."""
    leg.answer(SDP)


async def test_no_agent_is_on_record_as_no_agent(house: House) -> None:
    """The refusal is ours: the caller has not hung up, and hears what the last phone said."""
    for user in ("agent1", "agent2"):
        house.phones_do(user, busy)

    caller = house.call(ASSISTED)
    await house.settle()

    assert [(SipEnd.REFUSED, 486)] == caller.ended
    assert [EndReason.NO_AGENT] == house.reasons


async def test_a_burst_leaves_room_for_another_tenants_calls(tmp_path: Path) -> None:
    """Two places, one of them kept: the second call of a burst is told to come again, and leaves no trace."""
    other = Tenant("acme", "Acme", live=False, telephony=Telephony(calls_min=1))
    house = House(tmp_path, others={"acme": other}, calls_max=2)
    first, second = house.call(ALONE), house.call(ALONE)
    await house.settle()
    assert ([], [(SipEnd.REFUSED, 503)]) == (first.ended, second.ended)
    assert 1 == sum(b"Retry-After: " in data for *_, data in house.net.sent)
    assert 1 == len(house.states)
    await house.close()


async def test_lost_audio_is_told_once_and_so_is_its_return(house: House) -> None:
    """The caller's own silence and a media process that is away; the agent's silence is his own affair."""
    told: list[tuple[str, bool]] = []
    house.board.watch(
        lambda fact: (
            told.append((fact.what, fact.call.audio_lost))
            if isinstance(fact, CallChanged) and "audio" in fact.what
            else None
        )
    )
    house.phones_do("agent1", answer)
    house.call(ASSISTED)
    await house.settle()
    (contact,) = house.board._live.values()
    assert contact.agent is not None
    caller, agent = contact.caller.leg_id, contact.agent.leg_id
    for name, leg_id, values in (
        ("leg.silent", agent, {"seconds": 20}),
        ("leg.silent", caller, {"seconds": 20}),
        ("leg.silent", caller, {"seconds": 40}),
        ("leg.heard", caller, {}),
        ("media.lost", "", {}),
        ("media.back", "", {"restarted": False}),
        ("media.lost", "", {}),
        ("media.back", "", {"restarted": True}),
    ):
        await house.board._media_told(MediaFact(name, leg_id, values))
    assert [("call.audio.lost", True), ("call.audio.returned", False)] * 3 == told


async def test_a_call_that_is_over_leaves_no_leg_behind(house: House) -> None:
    """Also the legs of agents who were rung in vain are forgotten."""
    for user in ("agent1", "agent2"):
        house.phones_do(user, busy)

    house.call(ASSISTED)
    await house.settle()

    assert {} == house.board._by_leg


async def test_a_caller_without_our_codec_takes_the_answered_agent_along(house: House) -> None:
    """The agent's phone is hung up: it would stay in a call with nobody."""
    house.phones_do("agent1", answer)

    caller = house.call(ASSISTED, offer=G722_ONLY)
    await house.settle()

    assert [(SipEnd.REFUSED, 488)] == caller.ended
    assert SipEnd.REMOTE_HANG_UP in [reason for reason, _ in house.phones["agent1"].observers[0].ended]
    assert [EndReason.MEDIA_REFUSED] == house.reasons


async def test_an_agents_phone_that_answers_without_our_codec_is_hung_up_and_the_next_rings(
    house: House,
) -> None:
    """A leg that is up and mute would keep the caller in the ring-back tone for ever."""
    house.phones_do("agent1", lambda leg: leg.answer(G722_ONLY))
    house.phones_do("agent2", answer)

    house.call(ASSISTED)
    await house.settle()

    assert [CallState.BRIDGED] == house.states
    assert "agent2" == house.board.calls_of("demo")[0].agent_id
    assert SipEnd.REMOTE_HANG_UP in [reason for reason, _ in house.phones["agent1"].observers[0].ended]


async def test_a_bridge_that_fails_ends_the_call_on_both_sides(house: House) -> None:
    """The caller is answered by then: BYE, not a refusal, and the call is off the table."""
    house.phones_do("agent1", answer)
    house.media.broken.add("bridge")

    caller = house.call(ASSISTED)
    await house.settle()

    assert [EndReason.FAILED] == house.reasons
    assert SipEnd.REMOTE_HANG_UP in [reason for reason, _ in caller.ended]
    assert SipEnd.REMOTE_HANG_UP in [reason for reason, _ in house.phones["agent1"].observers[0].ended]


async def test_a_flow_that_breaks_says_so_and_hangs_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a flow stumbles over, the caller hears of it and the line is free again."""

    async def broken(line: object) -> None:
        await line.answer()  # type: ignore[attr-defined]
        raise KeyError

    monkeypatch.setattr("pay_ivr.flow.load_flow", lambda _name: broken)

    caller = house.call(ALONE)
    await house.ended()

    assert "play" in house.media.told
    assert [EndReason.FAILED] == house.reasons
    assert SipEnd.REMOTE_HANG_UP in [reason for reason, _ in caller.ended]


async def test_a_flow_that_forgets_to_hang_up_does_not_keep_the_caller(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the flow is the end of the call."""

    async def forgetful(line: object) -> None:
        await line.answer()  # type: ignore[attr-defined]

    monkeypatch.setattr("pay_ivr.flow.load_flow", lambda _name: forgetful)

    house.call(ALONE)
    await house.settle()

    assert [EndReason.FLOW_FINISHED] == house.reasons


async def test_a_flow_that_takes_over_does_not_live_through_the_past_again(house: House) -> None:
    """What happened while the agent was there is over: an old `ready` would be confirmed a second time."""
    house.phones_do("agent1", answer)
    house.call(ASSISTED)
    await house.settle()
    (contact,) = house.board._live.values()
    for why, state in ((Why.READY, PaymentState.READY), (Why.FIELD_CLEARED, PaymentState.CAPTURING)):
        contact.payment_changed(PaymentChanged(1, why, a_payment(state)))

    payment = contact.open_payment()
    following = asyncio.ensure_future(contact.next_change("pay_a"))
    contact.payment_changed(PaymentChanged(3, Why.READY, a_payment(PaymentState.READY)))

    assert payment is not None
    assert PaymentState.CAPTURING is payment.state
    assert 3 == (await following).seq


async def test_media_that_comes_back_is_not_asked_for_a_leg_that_was_never_opened(house: House) -> None:
    """The order that opens it is still under way."""
    house.media.slow.clear()
    house.call(ASSISTED)
    await house.settle()
    (contact,) = house.board._live.values()

    await contact.media_back()

    assert ["open_leg"] == house.media.told


# -- an answered caller: agents, questions, PINs


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Flow], None]:
    """What the flow of the next call does."""
    return lambda flow: monkeypatch.setattr("pay_ivr.flow.load_flow", lambda _name: flow)


async def test_an_answered_caller_waits_with_music_and_stays_when_nobody_comes(
    house: House, runs: Callable[[Flow], None]
) -> None:
    """Both phones ring in turn; the caller is not refused, the flow goes on and knows."""
    outcomes: list[bool] = []
    moves: list[str] = []
    house.board.watch(lambda fact: moves.append(fact.call.state) if isinstance(fact, CallChanged) else None)

    async def flow(line: Line) -> None:
        await line.answer()
        outcomes.append(await line.connect_agent())
        await asyncio.Event().wait()

    runs(flow)
    for user in ("agent1", "agent2"):
        house.phones_do(user, busy)
    caller = house.call(HANDED_OVER)
    await house.settle()

    assert ([False], [CallState.SELF_SERVICE], []) == (outcomes, house.states, caller.ended)
    assert ["offered", "self_service", "waiting", "self_service", "waiting", "self_service"] == moves
    assert ["music", "stop_play"] == [one for one in house.media.told if one in {"music", "stop_play"}]


async def test_the_agent_sees_what_the_flow_knows_and_leaves_the_caller_to_it(
    house: House, runs: Callable[[Flow], None]
) -> None:
    """Bridged with the context; after the agent's hang-up the same flow goes on, and can hand over again."""
    context = {"language": "fr-FR", "member": "mem_a", "topic": "redeem", "tried": "balance"}
    states: list[str] = []

    async def flow(line: Line) -> None:
        await line.answer()
        line.speak_language("fr-FR")
        for _ in range(2):
            assert await line.connect_agent(context)
            await line.agent_gone()
            states.append(line.call.state)
            await line.answer()
        await asyncio.Event().wait()

    runs(flow)
    house.phones_do("agent1", answer)
    house.call(HANDED_OVER)
    for _ in range(2):
        await house.settle()
        (view,) = house.board.calls_of("demo")
        assert ("bridged", "fr-FR", "agent1", context) == (
            view.state,
            view.language,
            view.agent_id,
            dict(view.context),
        )
        house.phones["agent1"].legs[-1].hang_up()
        await house.settle()

    assert [CallState.AGENT_LOST] * 2 == states
    (view,) = house.board.calls_of("demo")
    assert ("self_service", None) == (view.state, view.agent_id)


async def test_a_question_waits_for_the_end_of_a_capture(house: House, runs: Callable[[Flow], None]) -> None:
    """SECURE outlasts a PIN by a second: the flow need not know."""
    keyed: list[Keyed] = []

    async def flow(line: Line) -> None:
        await line.answer()
        keyed.append(await line.ask_digits(Sentence(Key.ASK_CODE), digits=4))
        line.hang_up(EndReason.FLOW_FINISHED)

    runs(flow)
    house.media.secure_for = 3
    house.call(ALONE)
    await house.ended()

    assert [Keyed("4711", "done")] == keyed
    assert 4 == house.media.told.count("collect")


async def test_a_pin_is_asked_for_step_by_step_and_its_result_is_told(
    house: House, runs: Callable[[Flow], None]
) -> None:
    """Old PIN, new one, too easy, again; the flow gets the outcome when it has been spoken."""
    results: list[PinResult] = []
    said: list[str] = []

    async def flow(line: Line) -> None:
        assert isinstance(line, Contact)
        say = line.speaker.say

        async def noted(*sentences: Sentence, **more: Any) -> str:
            said.extend(one.key.value for one in sentences)
            return await say(*sentences, **more)

        line.speaker.say = noted  # type: ignore[method-assign]
        await line.answer()
        results.append(await line.ask_pin("mem_a", PinPurpose.CHANGE, "1980-12-31"))
        line.hang_up(EndReason.FLOW_FINISHED)

    runs(flow)
    house.call(ALONE)
    while not house.vault.entries:
        await house.settle()
    (entry,) = house.vault.entries
    for why, field, problem, result in (
        (PinWhy.OPENED, None, None, None),
        (PinWhy.FIELD_OPENED, PinField.PIN, None, None),
        (PinWhy.HELP_ASKED, PinField.PIN, None, None),
        (PinWhy.FIELD_OPENED, PinField.NEW, None, None),
        (PinWhy.PROBLEM, PinField.NEW, PinProblem.EASY, None),
        (PinWhy.NO_INPUT, PinField.NEW, None, None),
        (PinWhy.RESULT, None, None, PinResult.OK),
    ):
        now = replace(entry, field=field, result=result)
        house.board._pin_changed(PinChanged(0, why, now, field, problem))
        await asyncio.sleep(2 * BURST_S)
        await house.settle()
    await house.ended()

    assert [PinResult.OK] == results
    assert [
        "ask_pin_old", "unattended_grammar", "ask_pin_old", "ask_pin_new", "pin_easy", "ask_pin_new",
        "pin_no_input", "ask_pin_new", "pin_changed",
    ] == said  # fmt: skip


async def test_an_agent_has_a_pin_keyed_only_on_a_bridged_call(house: House) -> None:
    """The agent gets the outcome, never a key; the vault knows who asked."""
    house.phones_do("agent1", answer)
    house.call(ASSISTED)
    await house.settle()
    (view,) = house.board.calls_of("demo")
    asked = asyncio.create_task(house.board.ask_pin(view.call_id, "mem_a", PinPurpose.VERIFY, "agent1"))
    await house.settle()
    (entry,) = house.vault.entries
    house.board._pin_changed(PinChanged(0, PinWhy.RESULT, replace(entry, result=PinResult.WRONG)))
    assert PinResult.WRONG is await asked
    await house.board.hang_up(view.call_id, "agent1")
    with pytest.raises(CallError):
        await house.board.ask_pin(view.call_id, "mem_a", PinPurpose.VERIFY, "agent1")
