"""The members' telephone portal: welcome, language, login, menu; at any hour, and an agent when one is there.

What the menu offers, what it costs and when agents are there are the tenant's data (`[loyalty]`). The tree of
questions stands in docs/flows.md.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from loyalty.errors import LoyaltyError
from loyalty.flows._agent import meet_agent
from loyalty.flows._balance import tell_balance, tell_movements
from loyalty.flows._card import lock_card
from loyalty.flows._dialogue import Choice, Dialogue, Finished, ToAgent, Wish, spare_keys
from loyalty.flows._language import choose_language
from loyalty.flows._login import log_in
from loyalty.flows._pin import change_pin
from loyalty.flows._redeem import redeem
from loyalty.programme import Action
from loyalty.service import Loyalty
from pay_ivr.call import EndReason
from pay_ivr.catalogue import Key
from pay_ivr.flow import Line
from pay_ivr.logs import log
from pay_ivr.payment_voice import Sentence
from vault import VaultError

FAREWELLS_MAX: Final = 2
"""How often a caller whom nobody could help is led back to the menu."""


def _utc() -> datetime:
    return datetime.now(UTC)


async def run(line: Line, loyalty: Loyalty, now: Callable[[], datetime] = _utc) -> None:
    """One member's call, from the answer to the farewell."""
    dialogue = Dialogue(line, loyalty, now)
    try:
        await line.answer()
        await _greet(dialogue)
        await _let_in(dialogue)
        await _serve(dialogue)
        await dialogue.say(Sentence(Key.LOYALTY_GOODBYE))
    except Finished:
        pass
    line.hang_up(EndReason.FLOW_FINISHED)


async def _greet(dialogue: Dialogue) -> None:
    dialogue.tell(Sentence(Key.PORTAL_WELCOME, {"tenant": dialogue.line.call.tenant_name}))
    await choose_language(dialogue)
    text = dialogue.programme.announced(dialogue.line.call.language, dialogue.now())
    if text:
        dialogue.tell(Sentence(Key.ANNOUNCEMENT, {"text": text}))


async def _let_in(dialogue: Dialogue) -> None:
    """The member is logged in when it returns; an agent sees to everybody else, or the call ends."""
    try:
        await log_in(dialogue)
    except ToAgent as way_out:
        await meet_agent(dialogue, way_out.wish)
    except (LoyaltyError, VaultError) as error:
        _note(dialogue, error)
        dialogue.tell(Sentence(Key.SERVICE_UNAVAILABLE))
        await meet_agent(dialogue, Wish.UNAVAILABLE)
    else:
        return
    await dialogue.say(Sentence(Key.LOYALTY_GOODBYE))
    raise Finished


async def _serve(dialogue: Dialogue) -> None:
    """The menu, until the caller has had enough."""
    farewells = 0
    while farewells < FAREWELLS_MAX:
        try:
            dialogue.topic = "menu"
            action = await dialogue.choose(_menu(dialogue))
            if action is _Way.GOODBYE:
                return
            await _do(dialogue, Action(action))
        except ToAgent as way_out:
            silent = way_out.wish is Wish.SILENCE
            if silent and dialogue.met_agent:
                return  # the agent has gone, and so has the caller, as it seems
            helped = await meet_agent(dialogue, way_out.wish)
            if silent and not helped:
                return
            farewells += not helped


async def _do(dialogue: Dialogue, action: Action) -> None:
    dialogue.topic = action.value
    dialogue.tried.append(action.value)
    try:
        await _ACTIONS[action](dialogue)
    except (LoyaltyError, VaultError) as error:
        _note(dialogue, error)
        dialogue.tell(Sentence(Key.SERVICE_UNAVAILABLE))


class _Way(StrEnum):
    GOODBYE = "goodbye"


def _menu(dialogue: Dialogue) -> list[Choice[Action | _Way]]:
    choices: list[Choice[Action | _Way]] = [
        Choice(item.key, Sentence(_OFFERED[item.action], {"digit": int(item.key)}), item.action)
        for item in dialogue.programme.menu
    ]
    *_, key = spare_keys([choice.key for choice in choices], 3)
    if key:
        choices.append(Choice(key, Sentence(Key.MENU_GOODBYE, {"digit": int(key)}), _Way.GOODBYE))
    return choices


async def _meet_agent(dialogue: Dialogue) -> None:
    dialogue.topic = next((one for one in reversed(dialogue.tried) if one != Action.AGENT.value), "menu")
    await meet_agent(dialogue, Wish.ASKED)


def _note(dialogue: Dialogue, error: LoyaltyError | VaultError) -> None:
    log.warning(
        "loyalty.flow.refused", call_id=dialogue.line.call.call_id, topic=dialogue.topic, code=error.code
    )


_ACTIONS: Final[Mapping[Action, Callable[[Dialogue], Awaitable[None]]]] = {
    Action.BALANCE: tell_balance,
    Action.REDEEM: redeem,
    Action.MOVEMENTS: tell_movements,
    Action.CHANGE_PIN: change_pin,
    Action.LOCK_CARD: lock_card,
    Action.LANGUAGE: choose_language,
    Action.AGENT: _meet_agent,
}
_OFFERED: Final[Mapping[Action, Key]] = {action: Key(f"menu_{action.value}") for action in Action}
