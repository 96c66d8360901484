"""In what order a caller hears the steps of a payment: what is joined, cut, or finished first."""

import asyncio
from pathlib import Path

import pytest

from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.payment_voice import Sentence
from pay_ivr.speaker import BURST_S, Shelf, Speaker
from pay_ivr.speech import Speech
from pay_ivr.voice import SpeechError
from vault import MediaFact

WAIT_S = 20.0
"""For what takes milliseconds on an idle machine; who waits so long waits for ever."""
LATE_S = 2 * BURST_S
INTRO = Sentence(Key.CAPTURE_INTRO, {"amount_minor": 1995, "currency": "EUR"})
ASK_PAN, ASK_EXPIRY = Sentence(Key.ASK_PAN), Sentence(Key.ASK_EXPIRY)


class Ear:
    """Where media would play: notes what begins, and ends it when the test says so."""

    def __init__(self) -> None:
        self.played: list[tuple[str, int]] = []
        self.loops = 0

    async def load_prompt(self, prompt_id: str, ulaw: bytes) -> None:
        """Nothing to keep."""

    async def unload_prompt(self, prompt_id: str) -> None:
        """Nothing to drop."""

    async def play(
        self, leg_id: str, play_id: str, prompt_ids: list[str], *, barge_in: bool, loop: bool = False
    ) -> None:
        self.played.append((play_id, len(prompt_ids)))
        self.loops += loop

    async def stop_play(self, leg_id: str) -> None:
        """Nothing plays here by itself."""


class Voice:
    """Speaks at once."""

    version = "test"

    async def speak(self, tag: str, text: str) -> bytes:
        if text.startswith("Our team"):
            raise SpeechError("voice_late", "The voice did not answer in time.", retryable=True)
        return b"\xff" * 160

    async def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def speaker(ear: Ear, tmp_path: Path) -> Speaker:
    return Speaker(ear, Shelf(ear, Speech(Catalogue(), tmp_path, Voice())), "leg_a", "en-US")


async def until_played(ear: Ear, count: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(ear.played) < count:  # noqa: ASYNC110 - what is waited for comes from outside
            await asyncio.sleep(0.01)


async def over(speaker: Speaker, ear: Ear, outcome: str = "finished") -> None:
    speaker.media_fact(MediaFact("play.done", "leg_a", {"play_id": ear.played[-1][0], "outcome": outcome}))
    await asyncio.sleep(0)


async def test_burst_is_said_in_one(speaker: Speaker, ear: Ear) -> None:
    """Steps within the burst are joined, and a sentence that comes twice is said once."""
    speaker.tell([INTRO])
    speaker.tell([ASK_PAN])
    speaker.tell([ASK_PAN])
    await until_played(ear, 1)
    assert 2 == ear.played[0][1]
    speaker.close()


async def test_amount_is_finished_before_a_late_field(speaker: Speaker, ear: Ear) -> None:
    """The cell's word that the field is open comes after the burst: the amount goes on, the field follows."""
    speaker.tell([INTRO])
    await until_played(ear, 1)
    speaker.tell([ASK_PAN], after=True)
    await asyncio.sleep(LATE_S)
    assert 1 == len(ear.played)
    await over(speaker, ear)
    await until_played(ear, 2)
    await over(speaker, ear)
    await asyncio.wait_for(speaker.told(), WAIT_S)


async def test_what_is_being_said_is_not_said_again(speaker: Speaker, ear: Ear) -> None:
    """The problem has asked for the field already when the field's own step comes."""
    speaker.tell([Sentence(Key.PROBLEM_NO_INPUT), ASK_PAN])
    await until_played(ear, 1)
    speaker.tell([ASK_PAN], after=True)
    await over(speaker, ear)
    await asyncio.wait_for(speaker.told(), WAIT_S)
    assert 1 == len(ear.played)


async def test_later_step_replaces_what_is_being_said(speaker: Speaker, ear: Ear) -> None:
    """Another field: the old request is not finished, and what waited behind it is dropped."""
    speaker.tell([INTRO])
    await until_played(ear, 1)
    speaker.tell([ASK_PAN], after=True)
    speaker.tell([ASK_EXPIRY])
    await until_played(ear, 2)
    await over(speaker, ear)
    await asyncio.wait_for(speaker.told(), WAIT_S)
    assert [1, 1] == [sentences for _, sentences in ear.played]


async def test_key_drops_what_is_waiting(speaker: Speaker, ear: Ear) -> None:
    """A caller who keys needs no request; media has stopped the sentence itself."""
    speaker.tell([INTRO])
    await until_played(ear, 1)
    speaker.tell([ASK_PAN], after=True)
    speaker.hush()
    await over(speaker, ear, "key")
    await asyncio.wait_for(speaker.told(), WAIT_S)
    assert 1 == len(ear.played)


async def test_a_sentence_that_cannot_be_spoken_is_left_out_alone(ear: Ear, speaker: Speaker) -> None:
    """The caller hears the others: a menu without one of its items is still a menu."""
    saying = asyncio.create_task(speaker.say(ASK_PAN, Sentence(Key.AGENTS_CLOSED), ASK_EXPIRY))
    await until_played(ear, 1)
    assert 2 == ear.played[0][1]
    speaker.media_restarted()
    assert "stopped" == await saying
    assert "silent" == await speaker.say(Sentence(Key.AGENTS_CLOSED))


async def test_what_has_been_answered_is_not_said_any_more(ear: Ear, speaker: Speaker) -> None:
    """The key came before the first word."""
    assert "key" == await speaker.say(ASK_PAN, unless=lambda: True)
    assert [] == ear.played


async def test_music_goes_on_after_a_sentence_until_quiet(ear: Ear, speaker: Speaker) -> None:
    """A payment may end while the caller waits for an agent: he is told, and does not sit in silence then."""
    await speaker.music()
    speaker.tell([ASK_PAN])
    await until_played(ear, 2)
    await over(speaker, ear)
    await asyncio.wait_for(speaker.told(), WAIT_S)
    assert [1, 1, 1] == [sentences for _, sentences in ear.played]
    assert 2 == ear.loops
    await speaker.quiet()
    await speaker.resume()
    assert 2 == ear.loops
