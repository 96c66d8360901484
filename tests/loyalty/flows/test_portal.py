"""The portal without telephony, on a real ledger: what is said, what is asked again, what is booked."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import pytest

from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.flows import portal
from loyalty.flows._dialogue import STEPS_MAX, TRIES
from loyalty.flows._login import LOGIN_TRIES
from loyalty.members import CardState, Member, Reason
from loyalty.service import Loyalty
from pay_ivr.call import EndReason
from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.flow import Keyed, flow_names
from tests.support.line import HANG_UP, HELP, SILENCE, ScriptedLine, a_payment
from tests.support.members import (
    CLOSED_AT,
    LANGUAGES,
    NUMBER,
    OPEN_AT,
    POINTS,
    POSTCODE,
    TENANT,
    enrol,
    programme,
    stock,
    sunny,
)
from vault import PaymentState, PinPurpose, PinResult, Unreachable

CALL_MAX_S = 10.0
"""A call takes milliseconds; one that waits for nobody fails."""
BORN_US = "12311980"
AT_MENU = Key.MENU_LANGUAGE
"""In every menu of the member, and in no other question."""
BALANCE, REDEEM, MOVEMENTS, CHANGE_PIN, LOCK_CARD, LANGUAGE, AGENT, SLOWER, REPEAT, GOODBYE = "1234567890"
"""The keys of the test programme's menu; the last three take what is left."""


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database without rows: migrating it anew for each test would take most of its time."""
    path = tmp_path_factory.mktemp("loyalty") / "loyalty.db"
    asyncio.run(Database.open(path).close())
    return path


@pytest.fixture
async def loyalty(short_dir: Path, empty_database: Path) -> AsyncIterator[Loyalty]:
    """A programme with codes for the coffee."""
    shutil.copy(empty_database, short_dir / "loyalty.db")
    async with sunny(short_dir) as made:
        await stock(made)
        yield made


@pytest.fixture
async def member(loyalty: Loyalty) -> Member:
    """Anna with her points."""
    return await enrol(loyalty)


def line_of_a_member(*menu: str | Keyed, pin: PinResult = PinResult.OK, agent: bool = True) -> ScriptedLine:
    """A caller who logs in by number and then keys this in the menu."""
    line = ScriptedLine(agent=agent)
    line.keys(identify_menu="1", ask_number=NUMBER)
    line.pins.append(pin)
    line.script[AT_MENU].extend(menu)
    return line


async def call(
    line: ScriptedLine, loyalty: Loyalty, now: Callable[[], datetime] = lambda: OPEN_AT
) -> ScriptedLine:
    """The whole call; a caller who hangs up cancels the flow."""
    try:
        async with asyncio.timeout(CALL_MAX_S):
            await portal.run(line, loyalty, now)
    except asyncio.CancelledError:
        line.did.append("hung up")
    return line


async def available(loyalty: Loyalty, member: Member) -> int:
    """The member's points now."""
    return (await loyalty.balance(TENANT, member.member_id)).available


# -- the way in


def test_the_portal_is_found_by_its_name() -> None:
    """Parts of flows are no flows."""
    assert "loyalty.portal" in flow_names()
    assert not [name for name in flow_names() if "._" in name]


async def test_a_member_hears_the_balance_and_says_goodbye(loyalty: Loyalty, member: Member) -> None:
    """Welcome, announcement, number, PIN, menu, points and what ends next, goodbye."""
    line = await call(line_of_a_member(BALANCE, GOODBYE), loyalty)
    assert ["portal_welcome", "announcement", "identify_menu", "ask_number"] == line.said[:4]
    assert [(member.member_id, PinPurpose.VERIFY)] == line.pin_entries
    after = line.said[line.said.index("balance") :]
    assert ["balance", "balance_expiring"] == after[:2]
    assert ("loyalty_goodbye", EndReason.FLOW_FINISHED) == (line.said[-1], line.ended)
    (told,) = [one.values for _, one in line.spoken if one.key is Key.BALANCE]
    assert {"points": POINTS} == told


async def test_the_language_is_chosen_by_an_offer_in_that_language(loyalty: Loyalty, member: Member) -> None:
    """Four offers, each in its own language; from the key on everything is in the chosen one."""
    line = line_of_a_member(BALANCE, GOODBYE)
    line.call.languages = LANGUAGES
    line.keys(language_offer="4")
    await call(line, loyalty)
    offers = [(tag, one.values["digit"]) for tag, one in line.spoken if one.key is Key.LANGUAGE_OFFER]
    assert list(zip(LANGUAGES, range(1, 5), strict=True)) == offers
    assert {"fr-FR"} == {tag for tag, one in line.spoken[5:]}


async def test_silence_at_the_choice_means_this_language(loyalty: Loyalty, member: Member) -> None:
    """Nobody has to choose what is right already; a wrong key is told, and the offers come again."""
    line = line_of_a_member(GOODBYE)
    line.call.languages = LANGUAGES
    line.keys(language_offer=["9", SILENCE])
    await call(line, loyalty)
    assert "en-US" == line.call.language
    assert 8 == line.said.count("language_offer")
    assert "loyalty_goodbye" == line.said[-1]


async def test_postcode_and_birth_date_lead_in_by_the_order_of_the_language(
    loyalty: Loyalty, member: Member
) -> None:
    """12311980 is the last day of 1980 in American English, and no date in German."""
    line = ScriptedLine()
    line.keys(identify_menu="2", ask_postcode=POSTCODE, ask_birthdate=["31121980", BORN_US])
    line.pins.append(PinResult.OK)
    line.script[AT_MENU].append(GOODBYE)
    await call(line, loyalty)
    assert [(member.member_id, PinPurpose.VERIFY)] == line.pin_entries
    assert 1 == line.said.count("not_understood")


async def test_two_members_with_the_same_facts_are_told_apart_by_the_house_number(loyalty: Loyalty) -> None:
    """Nobody is listed, and nobody is let in by half."""
    await enrol(loyalty)
    other = await enrol(loyalty, number="4711002", house_number="7 b")
    line = ScriptedLine()
    line.keys(identify_menu="2", ask_postcode=POSTCODE, ask_birthdate=BORN_US, ask_house_number="7")
    line.pins.append(PinResult.OK)
    line.script[AT_MENU].append(GOODBYE)
    await call(line, loyalty)
    assert [(other.member_id, PinPurpose.VERIFY)] == line.pin_entries


async def test_unknown_callers_and_wrong_pins_hear_the_same(loyalty: Loyalty, member: Member) -> None:
    """Sentence by sentence, question by question; the third miss leads to an agent."""
    heard = []
    for number in (NUMBER, "9999999"):
        line = ScriptedLine()
        line.keys(identify_menu=["1"] * LOGIN_TRIES, ask_number=[number] * LOGIN_TRIES)
        line.pins.extend([PinResult.WRONG] * LOGIN_TRIES)
        line.lose_agent(None)
        await call(line, loyalty)
        heard.append((line.said, line.did, line.questions, len(line.pin_entries)))
    assert heard[0] == heard[1]
    assert LOGIN_TRIES == heard[0][3]
    assert LOGIN_TRIES - 1 == heard[0][0].count("login_failed")
    assert "connect_agent" in heard[0][1]


async def test_a_right_pin_for_nobody_is_a_miss(loyalty: Loyalty, member: Member) -> None:
    """Whatever the vault says of a decoy, nobody becomes a member by it."""
    line = ScriptedLine(agent=False)
    line.keys(identify_menu=["1"] * LOGIN_TRIES, ask_number=["9999999"] * LOGIN_TRIES)
    line.pins.extend([PinResult.OK] * LOGIN_TRIES)
    await call(line, loyalty)
    assert "agent_busy_goodbye" == line.said[-1]


async def test_a_locked_access_leads_to_an_agent_who_knows_why(loyalty: Loyalty, member: Member) -> None:
    """No second try; the context says what the caller was at, and no member that is not proven."""
    line = line_of_a_member(pin=PinResult.LOCKED)
    line.lose_agent(None)
    await call(line, loyalty)
    assert 1 == len(line.pin_entries)
    assert {
        "language": "en-US",
        "member": "",
        "topic": "login",
        "reason": "pin_locked",
        "tried": "",
    } == line.context
    assert ["pin_locked", "to_agent", "loyalty_goodbye"] == line.said[-3:]


# -- asking again


@pytest.mark.parametrize("language", LANGUAGES)
async def test_silence_everywhere_ends_with_an_agent_or_a_farewell(
    loyalty: Loyalty, member: Member, language: str
) -> None:
    """At the first question, at the number, at the PIN, in the menu and in each of its branches."""
    branches: list[list[str]] = [[], ["1"], ["2"], *([key] for key in "1234567")]
    for place, keys in enumerate(branches):
        for agent in (True, False):
            line = ScriptedLine(agent=agent) if place < 3 else line_of_a_member(*keys, agent=agent)
            line.call.language = language
            if place < 3:
                line.keyed.extend(keys)
            line.lose_agent(None)
            await call(line, loyalty)
            assert EndReason.FLOW_FINISHED is line.ended
            assert "goodbye" in line.said[-1]
            assert "connect_agent" in line.did or place >= 3
            assert line.said.count("asked_again") <= 2 * TRIES + 2


async def test_what_was_wrong_is_said_before_the_question_comes_again(
    loyalty: Loyalty, member: Member
) -> None:
    """Too few digits, too many in a run, a key without meaning, help, silence: each has its words."""
    line = ScriptedLine()
    line.keys(
        identify_menu=["7", HELP, "1"], ask_number=[Keyed("47", "too_few"), Keyed("", "too_many"), NUMBER]
    )
    line.pins.append(PinResult.OK)
    line.script[AT_MENU].extend([SILENCE, GOODBYE])
    await call(line, loyalty)
    said = [one for one in line.said if one not in {"portal_welcome", "announcement"}]
    assert [
        "identify_menu", "invalid_choice", "identify_menu", "unattended_grammar", "identify_menu",
        "ask_number", "pin_too_short", "ask_number", "not_understood", "ask_number",
    ] == said[:10]  # fmt: skip
    assert 1 == line.said.count("asked_again")


async def test_who_is_cut_off_while_keying_gets_more_time_for_the_rest_of_the_call(
    loyalty: Loyalty, member: Member
) -> None:
    """Automatic after a half-keyed answer; also by the key for it in every menu."""
    line = line_of_a_member(SLOWER, GOODBYE)
    line.script[Key.ASK_NUMBER].appendleft(Keyed("47", "too_few"))
    await call(line, loyalty)
    assert [8.0, 8.0, 16.0, 16.0, 32.0] == [one.first_s for one in line.questions]
    assert "speak slowly" == line.did[-1]


async def test_repeat_says_the_last_news_again(loyalty: Loyalty, member: Member) -> None:
    """A code or a balance can be written down at the second hearing."""
    line = await call(line_of_a_member(BALANCE, REPEAT, GOODBYE), loyalty)
    assert 2 == line.said.count("balance")


async def test_a_stuck_key_ends_the_call(loyalty: Loyalty, member: Member) -> None:
    """A hundred questions are more than any caller has."""
    line = await call(line_of_a_member(*[BALANCE] * (2 * STEPS_MAX)), loyalty)
    assert STEPS_MAX == len(line.questions)
    assert ("loyalty_goodbye", EndReason.FLOW_FINISHED) == (line.said[-1], line.ended)


async def test_news_is_told_with_the_next_question_so_that_no_key_is_lost(
    loyalty: Loyalty, member: Member
) -> None:
    """The balance and the menu are one question; a confirmation takes no key from before it."""
    line = line_of_a_member(BALANCE, LOCK_CARD, GOODBYE)
    line.keys(confirm_or_back="2")
    await call(line, loyalty)
    assert [Key.BALANCE] == [one.keys[0] for one in line.questions if Key.BALANCE in one.keys]
    assert [False] == [one.ahead for one in line.questions if one.keys == (Key.CONFIRM_OR_BACK,)]


# -- redeeming


async def test_a_voucher_is_booked_spoken_and_told_once_more(loyalty: Loyalty, member: Member) -> None:
    """Offer, price, confirmation, code; the points are gone once."""
    line = line_of_a_member(REDEEM, REPEAT, GOODBYE)
    line.keys(reward_voucher="2", confirm_or_back="1")
    await call(line, loyalty)
    assert POINTS - 200 == await available(loyalty, member)
    codes = [one.values["code"] for _, one in line.spoken if one.key is Key.VOUCHER_CODE]
    assert (2, 1) == (len(codes), len(set(codes)))
    (booked,) = await loyalty.redemptions(TENANT, member.member_id, 5)
    assert ("coffee", "done") == (booked.reward_id, booked.state)


async def test_a_donation_has_a_receipt(loyalty: Loyalty, member: Member) -> None:
    """What it was, what it cost, the number of its receipt."""
    line = line_of_a_member(REDEEM, GOODBYE)
    line.keys(reward_donation="1", confirm_or_back="1")
    line.script[Key.MENU_BACK].append("1")
    await call(line, loyalty)
    (told,) = [one.values for _, one in line.spoken if one.key is Key.REDEEMED_DONATION]
    (booked,) = await loyalty.redemptions(TENANT, member.member_id, 5)
    assert {"reward": "a tree", "points": 500, "receipt": booked.receipt} == told


@pytest.mark.parametrize(
    "at", ["identify_menu", "ask_number", "menu_language", "reward_voucher", "confirm_or_back"]
)
async def test_hanging_up_before_the_confirmation_books_nothing(
    loyalty: Loyalty, member: Member, at: str
) -> None:
    """At any question up to the last one."""
    line = line_of_a_member(REDEEM, REDEEM)
    line.keys(reward_voucher="2", confirm_or_back="1")
    line.script[Key(at)].appendleft(HANG_UP)
    await call(line, loyalty)
    assert ["hung up"] == line.did[-1:]
    assert POINTS == await available(loyalty, member)
    assert () == await loyalty.redemptions(TENANT, member.member_id, 5)


async def test_going_back_books_nothing(loyalty: Loyalty, member: Member) -> None:
    """From the price, and from the list."""
    line = line_of_a_member(REDEEM, REDEEM, GOODBYE)
    line.keys(reward_voucher=["2", "0"], confirm_or_back="2")
    await call(line, loyalty)
    assert 1 == line.said.count("not_redeemed")
    assert POINTS == await available(loyalty, member)


async def test_what_is_not_affordable_is_not_offered(loyalty: Loyalty) -> None:
    """Somebody with few points hears that there is nothing, and is back in the menu."""
    await enrol(loyalty, points=100)
    line = await call(line_of_a_member(REDEEM, GOODBYE), loyalty)
    assert "nothing_to_redeem" in line.said
    assert "redeem_intro" not in line.said


async def test_a_locked_card_redeems_nothing_and_earns_its_words(loyalty: Loyalty, member: Member) -> None:
    """Locked by the member himself, after a confirmation; a second time there is nothing to lock."""
    line = line_of_a_member(LOCK_CARD, LOCK_CARD, REDEEM, GOODBYE)
    line.keys(confirm_or_back="1")
    await call(line, loyalty)
    assert CardState.LOCKED is (await loyalty.members.get(TENANT, member.member_id)).card_state
    told = [one for one in line.said if one.startswith(("card_", "redeem_"))]
    assert ["card_locked", "card_already_locked", "redeem_card_locked"] == told


async def test_more_offers_than_keys_are_read_out_in_pages(short_dir: Path) -> None:
    """Six at once; `more` goes on, and round again."""
    tree = programme().reward[0]
    rewards = tuple(tree.model_copy(update={"id": f"tree{number}"}) for number in range(8))
    async with sunny(short_dir, programme(reward=rewards)) as loyalty:
        member = await enrol(loyalty)
        line = line_of_a_member(REDEEM, GOODBYE)
        line.keys(menu_back=["7", "7", "7", "2"], confirm_or_back="1")
        await call(line, loyalty)
        assert [6 + 2 + 6 + 2] == [line.said.count("reward_donation")]
        (booked,) = await loyalty.redemptions(TENANT, member.member_id, 5)
        assert "tree7" == booked.reward_id


class Late:
    """A façade whose redemption answers late, `times` times; each try is done all the same."""

    def __init__(self, loyalty: Loyalty, times: int) -> None:
        self._loyalty, self._times = loyalty, times
        self.keys: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._loyalty, name)

    async def redeem(self, *values: str, **more: str) -> object:
        """Books, and then does not say so."""
        self.keys.append(more["key"])
        outcome = await self._loyalty.redeem(*values, **more)  # type: ignore[misc]
        if len(self.keys) <= self._times:
            raise LoyaltyError("ledger_late", "Ask again under the same key.", retryable=True)
        return outcome


@pytest.mark.parametrize(("times", "told"), [(1, "redeemed_voucher"), (9, "redeem_unknown")])
async def test_a_late_ledger_is_asked_by_key_and_nothing_is_booked_twice(
    loyalty: Loyalty, member: Member, times: int, told: str
) -> None:
    """One key for all tries; where no answer comes, the caller is told just that."""
    late = Late(loyalty, times)
    line = line_of_a_member(REDEEM, GOODBYE)
    line.keys(reward_voucher="2", confirm_or_back="1")
    await call(line, late)  # type: ignore[arg-type]
    assert ({"call_a:redeem:1"}, True) == (set(late.keys), told in line.said)
    assert POINTS - 200 == await available(loyalty, member)


# -- PIN, agent, trouble


async def test_a_new_pin_is_keyed_into_the_cell(loyalty: Loyalty, member: Member) -> None:
    """The flow sees its outcome, never a digit; what is locked by misses leads to an agent."""
    line = line_of_a_member(CHANGE_PIN, CHANGE_PIN, GOODBYE)
    line.pins.extend([PinResult.OK, PinResult.LOCKED])
    line.lose_agent(None)
    await call(line, loyalty)
    assert [PinPurpose.VERIFY, PinPurpose.CHANGE, PinPurpose.CHANGE] == [one for _, one in line.pin_entries]
    assert ["pin_changed", "pin_locked"] == [one for one in line.said if one in {"pin_changed", "pin_locked"}]
    assert line.context is not None
    assert ("change_pin", "pin_locked") == (line.context["topic"], line.context["reason"])


async def test_an_agent_sees_the_member_and_what_was_tried(loyalty: Loyalty, member: Member) -> None:
    """After the agent the caller is back in the menu: no dead end."""
    line = line_of_a_member(BALANCE, MOVEMENTS, AGENT, BALANCE, GOODBYE)
    line.lose_agent(None)
    await call(line, loyalty)
    assert {
        "language": "en-US",
        "member": member.member_id,
        "topic": "movements",
        "reason": "asked",
        "tried": "balance,movements,agent",
    } == line.context
    assert ["answer", "connect_agent", "answer"] == line.did
    assert 2 == line.said.count("balance")


@pytest.mark.parametrize(
    ("at", "agents", "told"),
    [
        (OPEN_AT, ("agent1",), "agents_busy"),
        (CLOSED_AT, ("agent1",), "agents_closed"),
        (OPEN_AT, (), "agents_closed"),
    ],
)
async def test_without_an_agent_the_caller_hears_why_and_goes_on(
    loyalty: Loyalty, member: Member, at: datetime, agents: tuple[str, ...], told: str
) -> None:
    """Busy, outside the hours, or none at this number; self-service is always open."""
    line = line_of_a_member(AGENT, BALANCE, GOODBYE, agent=False)
    line.agents = agents
    await call(line, loyalty, lambda: at)
    assert told in line.said
    assert ("connect_agent" in line.did) is (told == "agents_busy")
    assert "balance" in line.said


async def test_a_payment_that_the_agent_left_open_is_finished(loyalty: Loyalty, member: Member) -> None:
    """As on every other call: the capture goes on, and its last words are the farewell."""
    line = line_of_a_member(AGENT)
    line.lose_agent(a_payment(PaymentState.DECLINED, attempts_left=0))
    await call(line, loyalty)
    assert "not_charged_goodbye" == line.said[-1]


async def test_what_does_not_work_now_is_told_and_the_call_goes_on(
    loyalty: Loyalty, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database or a vault that is away costs one action, not the call."""

    async def away(*_: object, **__: object) -> None:
        raise LoyaltyError("ledger_late", "Try again.", retryable=True)

    monkeypatch.setattr(loyalty, "balance", away)
    line = await call(line_of_a_member(BALANCE, MOVEMENTS, GOODBYE), loyalty)
    after = line.said[line.said.index("service_unavailable") :]
    assert "movement_earned" in after
    assert "loyalty_goodbye" == after[-1]


async def test_a_login_that_cannot_be_checked_leads_to_an_agent(loyalty: Loyalty, member: Member) -> None:
    """The vault is away: nobody is told that his PIN was wrong."""
    line = line_of_a_member(agent=False)

    async def away(*_: object, **__: object) -> PinResult:
        raise Unreachable("unreachable", "The broker does not answer.", retryable=True)

    line.ask_pin = away  # type: ignore[method-assign]
    await call(line, loyalty)
    assert ["service_unavailable", "to_agent", "agent_busy_goodbye"] == line.said[-3:]


# -- languages


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_dialogue_is_spoken_in_every_language(
    loyalty: Loyalty, member: Member, language: str
) -> None:
    """L20: through every branch of the menu; every sentence has words with the values it is given."""
    line = line_of_a_member(*"1234567", REPEAT, GOODBYE)
    line.call.language = language
    line.keys(reward_donation=["1"], reward_voucher=["1"], menu_back=["1"], confirm_or_back=["1", "1"])
    line.pins.append(PinResult.OK)
    line.lose_agent(None)
    await call(line, loyalty)
    await loyalty.unlock_card(TENANT, member.member_id, by="agent:anna", reason=Reason.CLEARED)
    catalogue = Catalogue()
    texts = [catalogue.text(tag, one.key, **one.values) for tag, one in line.spoken]
    assert all(texts)
    assert "loyalty_goodbye" == line.said[-1]
    assert {"balance", "redeemed_donation", "movement_earned", "pin_changed", "card_locked"} <= set(line.said)
