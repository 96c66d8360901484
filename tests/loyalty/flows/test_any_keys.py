"""Whatever is keyed on a call, it ends, nobody is let in by guessing, and only a confirmation books."""

import asyncio
import contextlib
import itertools
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.flows import portal
from loyalty.flows._dialogue import CONFIRM
from loyalty.flows._login import LOGIN_TRIES
from loyalty.members import Reason
from pay_ivr.call import EndReason
from pay_ivr.catalogue import Key
from pay_ivr.flow import Keyed
from tests.support.line import HANG_UP, HELP, SILENCE, ScriptedLine
from tests.support.members import LANGUAGES, NUMBER, OPEN_AT, TENANT, enrol, stock, sunny
from vault import PinPurpose, PinResult

SCRIPTS = 200
RICH = 1_000_000

KEYS = st.one_of(
    st.sampled_from("0123456789"),
    st.sampled_from([NUMBER, "9999999", "80331", "12311980", "31121980", "00000000", "12"]),
    st.sampled_from(
        [SILENCE, HELP, Keyed("", "too_many"), Keyed("4", "too_few"), Keyed("", "timeout"), HANG_UP]
    ),
)
PINS = st.lists(st.sampled_from([PinResult.OK, PinResult.OK, *PinResult]), max_size=8)


def test_any_script_of_keys_ends_and_books_only_what_was_confirmed(short_dir: Path) -> None:
    """400 callers key at random: each ends at a farewell or hangs up; points fit the confirmations."""
    numbers = itertools.count()
    confirmed: list[str] = []
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        loyalty = runner.run(stack.enter_async_context(sunny(short_dir)))
        member = runner.run(enrol(loyalty, points=RICH))
        runner.run(stock(loyalty, count=SCRIPTS))

        @settings(
            max_examples=SCRIPTS,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(
            keys=st.lists(KEYS, max_size=12),
            pins=PINS,
            agent=st.booleans(),
            logged_in=st.booleans(),
            redeems=st.booleans(),
            languages=st.sampled_from([(), LANGUAGES]),
        )
        def a_call(
            keys: list[str | Keyed],
            pins: list[PinResult],
            agent: bool,
            logged_in: bool,
            redeems: bool,
            languages: tuple[str, ...],
        ) -> None:
            line = ScriptedLine(agent=agent, call_id=f"call_{next(numbers)}")
            line.call.languages = languages
            line.keyed.extend(keys)
            line.pins.extend(pins)
            line.lose_agent(None)
            if logged_in:
                line.keys(language_offer="2", identify_menu="1", ask_number=NUMBER)
                line.pins.appendleft(PinResult.OK)
            if redeems:  # up to the price; whether it is confirmed is left to chance
                line.keys(menu_language="2", reward_voucher="2")
            runner.run(_call(line))

        async def _call(line: ScriptedLine) -> None:
            hung_up = False
            try:
                await portal.run(line, loyalty, lambda: OPEN_AT)
            except asyncio.CancelledError:
                hung_up = True
            assert hung_up or ("goodbye" in line.said[-1] and line.ended is EndReason.FLOW_FINISHED)
            verified = [purpose for _, purpose in line.pin_entries if purpose is PinPurpose.VERIFY]
            assert len(verified) <= LOGIN_TRIES
            confirmed.extend(key for key in line.answered if key == CONFIRM)
            if Key.CARD_LOCKED.value in line.said:
                await loyalty.unlock_card(TENANT, member.member_id, by="agent:anna", reason=Reason.CLEARED)

        async def _books() -> tuple[int, int, int]:
            balance = await loyalty.balance(TENANT, member.member_id)
            booked = await loyalty.redemptions(TENANT, member.member_id, 200)
            return RICH - balance.available, balance.held, sum(one.points for one in booked)

        try:
            a_call()
            spent, held, booked = runner.run(_books())
            assert (booked, 0) == (spent, held)
            assert 0 < spent <= 500 * len(confirmed)
        finally:
            runner.run(stack.aclose())
