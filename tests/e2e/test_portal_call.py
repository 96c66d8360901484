"""Members call: four languages, keys as events and in-band, login, balance, redemption, voucher, an agent.

Everything is real: SIP and RTP on loopback, the node's processes, PINs in cells, the ledger on SQLite. What
the callers hear is compared with the prompts frame by frame, and in the long run read back by a recogniser.
What a caller does stands in tests/support/portal_visit.py, what he hears with in portal_call.py.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
import pytest_asyncio

from loyalty.members import Member
from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.languages import languages
from pay_ivr.payment_voice import Sentence
from pay_ivr.speech import Speech
from tests.support.listening import error_rate, heard, in_words, write_sound
from tests.support.members import LANGUAGES, TENANT, enrol, sunny
from tests.support.node import Node
from tests.support.portal_call import PortalCall, data_of, portal_call, set_pin
from tests.support.portal_visit import (
    AGENT,
    BALANCE,
    CODES,
    PIN,
    POINTS,
    PRICE,
    PROGRAMME,
    add_codes,
    choose_a_coffee,
    hear_a_code,
    log_in,
    offer,
    say_goodbye,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]

AGENTS = 1
NUMBERS = {language: str(4930300001 + at) for at, language in enumerate(LANGUAGES)}
MEMBERS = {language: f"47110{at}1" for at, language in enumerate(LANGUAGES)}
TRANSPORTS = dict(zip(LANGUAGES, ("event", "inband", "inband", "event"), strict=True))
MISHEARD_MAX = 0.3
"""Of one short sentence, by characters; another sentence has 0.7 and more."""
MORE = offer(NUMBERS, agents=("agent1",))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def members(node: Node) -> dict[str, Member]:
    """A member for each language, with points and a PIN; four codes in stock."""
    async with sunny(data_of(node), PROGRAMME) as loyalty:
        made = {
            language: await enrol(loyalty, POINTS, number=number, house_number=number, language=language)
            for language, number in MEMBERS.items()
        }
        await add_codes(loyalty)
    for member in made.values():
        await set_pin(node, TENANT, member, PIN)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speech(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Speech]:
    """The node's voice once more: the same sentence gives the same bytes."""
    voice = Speech(Catalogue(), Path(tmp_path_factory.mktemp("speech")))
    yield voice
    await voice.close()


async def redeem_a_coffee(call: PortalCall, expires: date) -> str:
    """Balance, offer, price, confirmation, farewell; the code that the caller was told."""
    day = {"year": expires.year, "month": expires.month, "day": expires.day}
    await call.key(BALANCE)
    await call.hears(
        Sentence(Key.BALANCE, {"points": POINTS}), Sentence(Key.BALANCE_EXPIRING, {"points": POINTS, **day})
    )
    await choose_a_coffee(call, POINTS)
    await call.key("1")
    code = await hear_a_code(call)
    await say_goodbye(call)
    return code


@pytest.mark.parametrize(
    "spoken",
    [
        pytest.param(("de-DE", "en-US"), id="German and English"),
        pytest.param(("es-ES", "fr-FR"), id="Spanish and French", marks=pytest.mark.proof),
    ],
)
async def test_members_redeem_by_telephone(
    node: Node, members: dict[str, Member], speech: Speech, spoken: tuple[str, str]
) -> None:
    """One keys telephone-events, one in-band tones; each hears every sentence in order and its own code."""
    async with sunny(data_of(node)) as loyalty:
        balance = await loyalty.balance(TENANT, members["de-DE"].member_id)
    expires = balance.next_expiry
    assert expires is not None

    async def play(language: str) -> str:
        caller = f"49151200{1000 + LANGUAGES.index(language)}"
        number, transport = NUMBERS[language], TRANSPORTS[language]
        async with portal_call(node, number, caller, speech, language, transport) as call:
            await log_in(call, MEMBERS[language])
            return await redeem_a_coffee(call, expires)

    before = booked(node)
    codes = await asyncio.gather(*(play(language) for language in spoken))

    assert len(spoken) == len(set(codes) & set(CODES))
    async with sunny(data_of(node)) as loyalty:
        callers = [members[language].member_id for language in spoken]
        left = [(await loyalty.balance(TENANT, one)).available for one in callers]
    assert [POINTS - PRICE] * len(spoken) == left
    assert [count + len(spoken) for count in before] == booked(node)


@pytest.mark.proof
async def test_a_recogniser_understands_what_each_member_hears(
    node: Node, members: dict[str, Member], speech: Speech, tmp_path: Path
) -> None:
    """The balance, out of the sound that reached four ears; that each frame is right is known by then."""

    async def hear(language: str) -> tuple[int, Path]:
        async with sunny(data_of(node)) as loyalty:
            points = (await loyalty.balance(TENANT, members[language].member_id)).available
        caller = f"49151200{3000 + LANGUAGES.index(language)}"
        async with portal_call(
            node, NUMBERS[language], caller, speech, language, TRANSPORTS[language]
        ) as call:
            await log_in(call, MEMBERS[language])
            await call.key(BALANCE)
            said = await call.hears(Sentence(Key.BALANCE, {"points": points}))
        return points, write_sound(tmp_path / f"{language}.wav", said)

    for pair in (LANGUAGES[:2], LANGUAGES[2:]):
        for tag, (points, file) in zip(pair, await asyncio.gather(*map(hear, pair)), strict=True):
            (understood,) = await asyncio.to_thread(heard, tag, [file])
            language, said = languages()[tag], Catalogue().text(tag, Key.BALANCE, points=points)
            assert error_rate(in_words(language, said), in_words(language, understood)) < MISHEARD_MAX


def booked(node: Node) -> list[int]:
    """How many PINs were right, rewards given and points redeemed, as the log has it."""
    rows = node.audit_rows()
    names = ("pin.entry.accepted", "redemption.reward.done", "ledger.points.redeemed")
    return [rows.count(name) for name in names]


async def test_a_member_reaches_an_agent_who_sees_what_the_portal_knows(
    node: Node, members: dict[str, Member], speech: Speech
) -> None:
    """Music while the phone rings, the context in /v1/calls; after the agent's hang-up the menu is back."""
    desk, phone = node.places[0].desk, node.places[0].phone
    assert phone is not None
    async with sunny(data_of(node)) as loyalty:
        balance = await loyalty.balance(TENANT, members["es-ES"].member_id)
    async with portal_call(node, NUMBERS["es-ES"], "4915120002000", speech, "es-ES") as call:
        await log_in(call, MEMBERS["es-ES"])
        await call.key(BALANCE)
        await call.begins(Key.BALANCE, points=balance.available)
        await call.key(AGENT)
        bridged = await desk.bridged_call()
        assert {
            "language": "es-ES",
            "member": members["es-ES"].member_id,
            "topic": "balance",
            "reason": "asked",
            "tried": "balance,agent",
        } == bridged["context"]
        await phone.hang_up()
        await call.begins(Key.MENU_BALANCE, digit=int(BALANCE))
        shown = await desk.call("GET", f"/v1/calls/{bridged['call_id']}")
        assert ("self_service", False) == (shown["call"]["state"], shown["call"]["mine"])
