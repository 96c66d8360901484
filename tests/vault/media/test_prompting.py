"""Prompts and open digits of a real media process, as a flow drives them."""

import asyncio
import os
from collections.abc import Sequence

import numpy as np
import pytest

from tests.support.media import Phone, media, press, until
from tests.support.tones import Manner, frames, keyed
from vault import Refused
from vault.media.g711 import ULAW_TO_ALAW


def prompt(mark: int, count: int) -> bytes:
    """A prompt of `count` frames that can be told from every other."""
    return b"".join(bytes([mark, at]) * 80 for at in range(count))


async def test_a_prompt_replaces_the_partner_on_our_own_clock() -> None:
    """Two prompts in order, 20 ms a frame, none of the agent's audio between; then the agent again."""
    async with media() as rig:
        caller, agent = await rig.call("PCMA")
        first, second = prompt(1, 10), prompt(2, 5)
        await rig.client.load_prompt("first", first)
        await rig.client.load_prompt("second", second)
        await rig.client.play("caller", "play_1", ["first", "second"])
        await agent.talk(0.5)
        assert {"play_id": "play_1", "outcome": "finished"} == (await rig.fact("play.done")).values
        played = b"".join(caller.payloads()[:15])
        assert (first + second).translate(ULAW_TO_ALAW) == played
        span_s = caller.got_at[14] - caller.got_at[0]
        assert 0.2 < span_s < 0.5
        assert caller.payloads()[-1] in {sent.translate(ULAW_TO_ALAW) for sent in agent.sent}


async def test_a_key_stops_a_prompt_and_is_not_lost() -> None:
    """Barge-in: play.done says key, and the key is the first of the collection."""
    async with media() as rig:
        caller, _ = await rig.call()
        await rig.client.load_prompt("menu", prompt(1, 250))
        await rig.client.play("caller", "play_1", ["menu"])
        await rig.client.collect("caller", "col_1", digits_max=3)
        for key in (3, 0, 1):
            await caller.stream([*press(caller, key), None])
        assert "key" == (await rig.fact("play.done")).values["outcome"]
        assert {"collect_id": "col_1", "outcome": "done", "digits": "301"} == (
            await rig.fact("collect.done")
        ).values


async def test_a_prompt_may_refuse_barge_in() -> None:
    """barge_in off: the key counts, the prompt goes on until stopped."""
    async with media() as rig:
        caller, _ = await rig.call()
        await rig.client.load_prompt("law", prompt(1, 20))
        await rig.client.play("caller", "play_1", ["law"], loop=True, barge_in=False)
        await rig.client.collect("caller", "col_1", digits_max=1)
        await caller.stream(press(caller, 1))
        await rig.fact("collect.done")
        assert not rig.of("play.done")
        await rig.client.stop_play("caller")
        assert "stopped" == (await rig.fact("play.done")).values["outcome"]


async def test_in_band_keys_are_open_digits_too() -> None:
    """A caller without telephone-events keys a booking number."""
    rng = np.random.default_rng(5)
    async with media() as rig:
        caller, _ = await rig.call(event_types=())
        await rig.client.collect("caller", "col_1", digits_max=4)
        await caller.stream(frames(keyed((4, 4, 7, 1), Manner(on_ms=80, off_ms=80), rng).sound, alaw=False))
        assert "4471" == (await rig.fact("collect.done")).values["digits"]


async def test_a_card_keyed_at_a_question_gives_away_ten_digits_at_most() -> None:
    """Sixteen digits in a row over two questions: of the second part nothing is told."""
    async with media() as rig:
        caller, _ = await rig.call()
        await rig.client.collect("caller", "col_1", digits_max=8)
        for _ in range(8):
            await caller.stream([*press(caller, 4), None])
        assert "44444444" == (await rig.fact("collect.done")).values["digits"]
        await rig.client.collect("caller", "col_2", digits_max=8, next_timeout_ms=500)
        for _ in range(8):
            await caller.stream([*press(caller, 2), None])
        done = (await rig.fact("collect.done")).values
        assert ("col_2", "too_many", "") == (done["collect_id"], done["outcome"], done["digits"])


async def key_on(caller: Phone, keys: Sequence[int]) -> None:
    """Keys without a pause, a tenth of a second each."""
    for key in keys:
        await caller.stream([*press(caller, key), None])


async def test_two_questions_answered_in_a_breath_are_never_misread() -> None:
    """A postcode and a date: thirteen digits are too many for a run, so the date is asked for again."""
    async with media() as rig:
        caller, _ = await rig.call()
        await rig.client.collect("caller", "col_1", digits_max=5, digits_min=5)
        breath = asyncio.create_task(key_on(caller, (8, 0, 3, 3, 1, 3, 1, 1, 2, 1, 9, 8, 0)))
        assert "80331" == (await rig.fact("collect.done")).values["digits"]
        await rig.client.collect("caller", "col_2", digits_max=8, digits_min=8)
        await breath
        done = (await rig.fact("collect.done")).values
        assert ("too_many", "") == (done["outcome"], done["digits"])
        await rig.client.collect("caller", "col_3", digits_max=8, digits_min=8)
        for key in (3, 1, 1, 2, 1, 9, 8, 0):
            await caller.stream([*press(caller, key), None])
        assert "31121980" == (await rig.fact("collect.done")).values["digits"]


async def test_keys_pressed_between_two_questions_belong_to_the_second() -> None:
    """A menu's digit and a customer number in a breath, the second question 0.3 s late: nothing is lost."""
    async with media() as rig:
        caller, _ = await rig.call()
        await rig.client.collect("caller", "col_1", digits_max=1)
        breath = asyncio.create_task(key_on(caller, (1, 4, 7, 1, 1, 0, 0, 1, 11)))
        assert "1" == (await rig.fact("collect.done")).values["digits"]
        await asyncio.sleep(0.3)
        await rig.client.collect("caller", "col_2", digits_max=10, digits_min=6)
        await breath
        assert "4711001" == (await rig.fact("collect.done")).values["digits"]


async def test_a_confirmation_takes_no_key_from_before_it() -> None:
    """`ahead` off: what came between the questions is dropped; a bouncing key confirms nothing."""
    async with media() as rig:
        caller, _ = await rig.call()
        await rig.client.collect("caller", "col_1", digits_max=1)
        for _ in range(2):
            await caller.stream([*press(caller, 1), None])
        await rig.fact("collect.done")
        await rig.client.collect("caller", "col_2", digits_max=1, first_timeout_ms=500, ahead=False)
        assert "no_input" == (await rig.fact("collect.done")).values["outcome"]


async def test_timeouts_end_a_collection() -> None:
    """Nothing keyed: no_input after the prompt and the first timeout; too little: too_few."""
    async with media() as rig:
        caller, _ = await rig.call()
        await rig.client.load_prompt("ask", prompt(1, 30))
        await rig.client.play("caller", "play_1", ["ask"])
        await rig.client.collect("caller", "col_1", digits_max=4, first_timeout_ms=500)
        await rig.fact("play.done")
        assert not rig.of("collect.done")
        assert "no_input" == (await rig.fact("collect.done")).values["outcome"]
        await rig.client.collect("caller", "col_2", digits_max=4, digits_min=2, next_timeout_ms=500)
        await caller.stream(press(caller, 1))
        assert "too_few" == (await rig.fact("collect.done")).values["outcome"]


async def test_a_question_that_is_longer_than_its_timeout_is_spoken_to_its_end() -> None:
    """The order to collect comes first, so that no key is lost; its clock still waits for the last word."""
    async with media() as rig:
        await rig.call()
        await rig.client.load_prompt("menu", prompt(1, 60))
        await rig.client.collect("caller", "col_1", digits_max=1, first_timeout_ms=500)
        await rig.client.play("caller", "play_1", ["menu"])
        assert "finished" == (await rig.fact("play.done")).values["outcome"]
        assert not rig.of("collect.done")
        assert "no_input" == (await rig.fact("collect.done")).values["outcome"]


async def test_a_newer_prompt_or_collection_ends_the_older() -> None:
    """One of each per leg; the older one is told as stopped, without digits."""
    async with media() as rig:
        caller, _ = await rig.call()
        await rig.client.load_prompt("a", prompt(1, 100))
        for at in (1, 2):
            await rig.client.play("caller", f"play_{at}", ["a"])
            await rig.client.collect("caller", f"col_{at}", digits_max=5)
            if at == 1:
                await caller.stream(press(caller, 9))
        done = (await rig.fact("collect.done")).values
        assert ("col_1", "stopped", "") == (done["collect_id"], done["outcome"], done["digits"])
        await rig.client.stop_collect("caller")
        assert "col_2" == (await rig.fact("collect.done")).values["collect_id"]


async def test_refusals_have_codes() -> None:
    """Unknown legs and prompts, more digits than allowed, keys of an agent."""
    async with media() as rig:
        await rig.call()
        client = rig.client
        cases = [
            ("leg_unknown", client.play("nobody", "p", ["x"])),
            ("prompt_unknown", client.play("caller", "p", ["x"])),
            ("bad_message", client.play("caller", "p", [])),
            ("bad_message", client.collect("caller", "c", digits_max=11)),
            ("bad_message", client.collect("caller", "c", digits_max=4, digits_min=5)),
            ("leg_role", client.collect("agent", "c", digits_max=4)),
            ("leg_role", client.bridge("agent", "caller")),
            ("bad_message", client.load_prompt("x", b"")),
        ]
        for code, call in cases:
            with pytest.raises(Refused) as refusal:
                await call
            assert code == refusal.value.code


async def test_callers_of_a_lost_app_hear_so_and_are_let_go() -> None:
    """Without the app for the given time: technical_problem to the caller, then both legs end."""
    async with media("--orphan-ms", "1000") as rig:
        broker = await rig.broker()
        caller, _ = await rig.call()
        sorry = prompt(7, 10)
        await rig.client.load_prompt("technical_problem", sorry)
        await rig.client.close()
        await until(lambda: sum(fact["fact"] == "leg.closed" for fact in broker.facts) == 2, 8)
        assert sorry == b"".join(caller.payloads()[-10:])


async def test_an_app_that_comes_back_in_time_keeps_its_legs() -> None:
    """A restart of the app is no end of the calls."""
    async with media("--orphan-ms", "2000") as rig:
        caller, agent = await rig.call()
        assert rig.client._sock is not None
        rig.client._sock.shutdown(2)
        await rig.fact("media.lost")
        assert {"restarted": False} == (await rig.fact("media.back")).values
        await asyncio.sleep(2.2)
        assert {"caller", "agent"} == {leg["leg_id"] for leg in await rig.client.legs()}
        said = caller.say(os.urandom(160))
        await until(lambda: said in agent.payloads())
