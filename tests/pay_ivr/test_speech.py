"""Prompts are spoken by a real voice in a real process, kept where they may be, and survive its death."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pay_ivr import sound, speech
from pay_ivr import voice as voice_module
from pay_ivr.catalogue import VALUES, Catalogue, CatalogueError, Key
from pay_ivr.languages import languages
from pay_ivr.sentences import EXAMPLES
from pay_ivr.speech import Prompt, Speech
from pay_ivr.voice import TEXT_MAX, PicoVoice, SpeechError
from pay_ivr.voice_worker import FRAME_BYTES_MAX, LENGTH
from vault.media import g711
from vault.media.inband import InbandDetector

CATALOGUE = Catalogue()
LONG_TEXT = "This sentence goes on and on, and then on again. " * 20


@pytest.fixture
async def voice() -> AsyncIterator[PicoVoice]:
    pico = PicoVoice()
    yield pico
    await pico.close()


@pytest.fixture
async def speaker(voice: PicoVoice, tmp_path: Path) -> Speech:
    return Speech(CATALOGUE, tmp_path, voice)


def linear(prompt: Prompt) -> sound.Samples:
    return np.asarray(g711.DECODE_INT16[0][np.frombuffer(prompt.ulaw, np.uint8)] / sound.FULL_SCALE)


def workers_of(voice: PicoVoice) -> tuple[int, ...]:
    """Process ids of the workers that live now."""
    return tuple(worker.pid for worker in voice._workers if worker.pid is not None)


def forks_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def busy_worker(voice: PicoVoice) -> tuple[int, int]:
    """(worker, the fork that is speaking now)."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for worker in workers_of(voice):
            if forks := forks_of(worker):
                return worker, forks[0]
        await asyncio.sleep(0.002)
    raise AssertionError("the voice never began to speak")


async def test_a_sentence_becomes_a_telephone_prompt(speaker: Speech):
    """Whole packets, seconds long, at the house's level, peaks below -3 dBFS."""
    prompt = await speaker.prompt("de-DE", Key.ASK_PAN)
    assert len(prompt.ulaw) % sound.PACKET_SAMPLES == 0
    assert 1.0 < prompt.seconds < 5.0
    assert sound.active_level_dbfs(linear(prompt)) == pytest.approx(sound.LEVEL_DBFS, abs=0.5)
    assert np.max(np.abs(linear(prompt))) < 10 ** (-3 / 20)


async def test_same_text_same_bytes_from_another_process(voice: PicoVoice):
    """Whatever was said before in between: each sentence is spoken by a process that never spoke."""
    text = CATALOGUE.text("es-ES", Key.GRAMMAR)
    first = await voice.speak("es-ES", text)
    await voice.speak("de-DE", CATALOGUE.text("de-DE", Key.GRAMMAR))
    again = await voice.speak("es-ES", text)
    await voice.close()
    assert first == again == await voice.speak("es-ES", text)


async def test_french_is_read_without_hyphens(voice: PicoVoice):
    """Joined by them, Pico runs `quatre-vingts` together until nobody understands it."""
    assert await voice.speak("fr-FR", "quatre vingts") == await voice.speak("fr-FR", "quatre-vingts")


async def test_a_fixed_prompt_is_read_from_disk_after_a_restart(speaker: Speech):
    """The second start needs no voice at all."""
    spoken = await speaker.prompt("en-US", Key.GOODBYE)
    silent = PicoVoice()
    assert spoken == await Speech(CATALOGUE, speaker._folder.parent, silent).prompt("en-US", Key.GOODBYE)
    assert not workers_of(silent)


async def test_half_a_file_is_not_played(speaker: Speech):
    """A file that is no whole number of packets is made again."""
    spoken = await speaker.prompt("en-US", Key.GOODBYE)
    (file,) = speaker._folder.iterdir()
    file.write_bytes(spoken.ulaw[:-7])
    again = Speech(CATALOGUE, speaker._folder.parent, speaker._voice)
    assert spoken == await again.prompt("en-US", Key.GOODBYE)
    assert spoken.ulaw == file.read_bytes()


async def test_a_personal_prompt_never_touches_the_disk(speaker: Speech):
    """Names, amounts and receipts live in memory only, and their ids say nothing in another process."""
    keys = (Key.WELCOME, Key.CAPTURE_INTRO, Key.RECEIPT, Key.BALANCE, Key.VOUCHER_CODE)
    prompts = [await speaker.prompt("fr-FR", key, **values_of(key)) for key in keys]
    assert not speaker._folder.exists()
    other = Speech(CATALOGUE, speaker._folder.parent, speaker._voice)
    again = await other.prompt("fr-FR", Key.RECEIPT, **values_of(Key.RECEIPT))
    assert again.ulaw in {prompt.ulaw for prompt in prompts}
    assert again.prompt_id not in {prompt.prompt_id for prompt in prompts}


async def test_personal_prompts_are_forgotten_in_order_of_use(
    speaker: Speech, monkeypatch: pytest.MonkeyPatch
):
    """The memory for them is bounded; the one used last stays."""
    monkeypatch.setattr(speech, "PERSONAL_MAX", 2)
    first = await speaker.prompt("en-US", Key.RECEIPT, receipt="1")
    await speaker.prompt("en-US", Key.RECEIPT, receipt="2")
    assert first is await speaker.prompt("en-US", Key.RECEIPT, receipt="1")
    await speaker.prompt("en-US", Key.RECEIPT, receipt="3")
    assert len(speaker._personal) == 2
    assert first is await speaker.prompt("en-US", Key.RECEIPT, receipt="1")


def test_a_prompt_does_not_print_its_sound():
    """Neither text nor audio of a personal prompt is in its repr."""
    assert "Prompt(prompt_id='said_1')" == repr(Prompt("said_1", b"\xff" * 160))


async def test_our_own_mistake_is_not_the_voices(speaker: Speech):
    """A missing value is refused before any process is started."""
    with pytest.raises(CatalogueError):
        await speaker.prompt("en-US", Key.APPROVED)


async def test_a_value_without_words_is_a_speech_error(speaker: Speech):
    """A reference that nobody can say must not end a call: the flow goes on without the sentence."""
    with pytest.raises(SpeechError) as refused:
        await speaker.prompt("en-US", Key.CODE_CONFIRM, amount_minor=1995, currency="EUR", reference="/-/")
    assert ("not_speakable", False) == (refused.value.code, refused.value.retryable)


async def test_a_killed_worker_costs_one_sentence(voice: PicoVoice):
    """Clean error, worth another try; the next sentence is spoken by a new worker."""
    speaking = asyncio.create_task(voice.speak("en-US", LONG_TEXT))
    worker, _ = await busy_worker(voice)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(SpeechError) as lost:
        await speaking
    assert ("voice_lost", True) == (lost.value.code, lost.value.retryable)
    assert "sentence" not in str(lost.value)
    assert await voice.speak("en-US", "Goodbye.")
    assert worker not in workers_of(voice)


async def test_a_crash_of_the_engine_leaves_the_worker_alive(voice: PicoVoice):
    """A segmentation fault in the fork is a sentence that could not be spoken, no more."""
    speaking = asyncio.create_task(voice.speak("en-US", LONG_TEXT))
    worker, fork = await busy_worker(voice)
    os.kill(fork, signal.SIGSEGV)
    with pytest.raises(SpeechError, match="could not speak"):
        await speaking
    assert await voice.speak("en-US", "Goodbye.")
    assert (worker,) == workers_of(voice)


async def test_a_stuck_worker_is_given_up():
    """After the time limit the caller gets an error and the worker is replaced."""
    voice = PicoVoice(workers=1, answer_s=1.5)
    await voice.speak("en-US", "Hello.")
    (worker,) = workers_of(voice)
    os.kill(worker, signal.SIGSTOP)
    with pytest.raises(SpeechError) as late:
        await voice.speak("en-US", "Hello.")
    assert ("voice_late", True) == (late.value.code, late.value.retryable)
    assert await voice.speak("en-US", "Hello.")
    await voice.close()


async def test_a_slow_start_takes_nothing_off_the_time_for_a_sentence(monkeypatch: pytest.MonkeyPatch):
    """A process that needs a second to start still speaks; one that never starts is given up."""
    slow = "import time, runpy; time.sleep(1); runpy.run_module('pay_ivr.voice_worker', run_name='__main__')"
    program = Path(tempfile.mkdtemp(prefix="payivr-")) / "slow"
    program.write_text(f"#!{sys.executable}\n{slow}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    voice = PicoVoice(workers=1, answer_s=0.9)
    assert await voice.speak("en-US", "Hello.")
    await voice.close()
    monkeypatch.setattr(voice_module, "START_S", 0.1)
    with pytest.raises(SpeechError) as late:
        await voice.speak("en-US", "Hello.")
    assert ("voice_late", ()) == (late.value.code, workers_of(voice))


async def test_a_caller_who_hangs_up_leaves_no_half_answer(voice: PicoVoice):
    """A cancelled sentence ends with its worker; the next answer belongs to the next question."""
    expected = await voice.speak("en-US", "Goodbye.")
    speaking = asyncio.create_task(voice.speak("en-US", LONG_TEXT))
    await busy_worker(voice)
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking
    assert expected == await voice.speak("en-US", "Goodbye.")


async def test_a_closed_voice_leaves_no_process(voice: PicoVoice):
    """Worker and fork are gone; nothing is left for init."""
    await asyncio.gather(*(voice.speak("en-US", "Hello.") for _ in range(4)))
    pids = workers_of(voice)
    await voice.close()
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("last_words", [b"", LENGTH.pack(FRAME_BYTES_MAX + 1), LENGTH.pack(9) + b"en-US"])
def test_a_worker_ends_with_its_parent(last_words: bytes):
    """It says that it is ready; a closed pipe, a frame too long or cut then ends it without a word."""
    worker = subprocess.run(
        [sys.executable, "-m", "pay_ivr.voice_worker"],
        input=last_words,
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert (LENGTH.pack(0), b"") == (worker.stdout, worker.stderr)


@pytest.mark.parametrize("text", ["", "x" * (TEXT_MAX + 1), "a\0b"])
async def test_a_text_outside_the_limits_is_refused(voice: PicoVoice, text: str):
    """Nothing reaches a worker that was not meant to be one sentence."""
    with pytest.raises(SpeechError) as refused:
        await voice.speak("en-US", text)
    assert ("text_too_long", False) == (refused.value.code, refused.value.retryable)
    assert not workers_of(voice)


async def test_markup_in_a_name_writes_no_file(voice: PicoVoice, tmp_path: Path):
    """Pico would obey `<genfile>`: the engine never sees an angle bracket."""
    target = tmp_path / "written.wav"
    for opening, closing in (("<", ">"), ("&lt;", "&gt;"), ("\\<", "\\>")):
        await voice.speak(
            "en-US", f'a {opening}genfile file="{target}"{closing}b{opening}/genfile{closing} c'
        )
    assert not target.exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(min_size=1, max_size=120), tag=st.sampled_from(["de-DE", "en-US", "es-ES", "fr-FR", "xx-XX"])
)
async def test_any_text_is_spoken_or_refused(voice: PicoVoice, text: str, tag: str):
    """Control characters, markup, foreign scripts, lone surrogates, unknown voices: no other outcome."""
    try:
        ulaw = await voice.speak(tag, text)
    except SpeechError as refused:
        ulaw = b"" if refused.code in {"voice_silent", "text_too_long"} else b"?"
    assert len(ulaw) % sound.PACKET_SAMPLES == 0


async def test_warming_makes_all_fixed_prompts_and_clears_old_files(
    speaker: Speech, monkeypatch: pytest.MonkeyPatch
):
    """Progress counts up to all; files of earlier texts are gone, those of other languages stay."""
    monkeypatch.setattr(speech, "FIXED", (Key.GOODBYE, Key.PLEASE_WAIT, Key.CANCELLED))
    other = await speaker.prompt("fr-FR", Key.GOODBYE)
    (speaker._folder / "prompt_of_last_year.ulaw").write_bytes(b"\xff" * 160)
    steps: list[tuple[int, int]] = []
    prompts = await speaker.warm(["en-US"], lambda done, of: steps.append((done, of)))
    assert [(1, 3), (2, 3), (3, 3)] == steps
    assert prompts[0] is await speaker.prompt("en-US", Key.GOODBYE)
    assert {f"{prompt.prompt_id}.ulaw" for prompt in (*prompts, other)} == {
        file.name for file in speaker._folder.iterdir()
    }


async def test_warming_ends_with_the_error_of_the_voice(tmp_path: Path):
    """An engine without this language says so; no task of ours is left behind."""

    class Mute(PicoVoice):
        async def speak(self, tag: str, text: str) -> bytes:
            return await super().speak("xx-XX", text)

    voice = Mute()
    with pytest.raises(SpeechError):
        await Speech(CATALOGUE, tmp_path, voice).warm(["en-US"])
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await voice.close()


VOICES = tuple(tag for tag, language in languages().items() if language.voice)
"""Languages that a voice speaks; what stands in for the others is among them."""
EVERYTHING = [(tag, key) for tag in VOICES for key in Key]


def values_of(key: Key, number: int = 0) -> dict[str, str | int]:
    """The example values of a key; `number` takes other ones."""
    return {name: EXAMPLES[name][number % len(EXAMPLES[name])] for name in VALUES.get(key, {})}


async def assert_harmless(speaker: Speech, wanted: list[tuple[str, Key, int]], *, slow: bool = False) -> None:
    """Equally loud, short enough, and without a key for our own detector: prompts echo back from the line."""
    said = [speaker.prompt(tag, key, slow=slow, **values_of(key, number)) for tag, key, number in wanted]
    prompts = await asyncio.gather(*said)
    for prompt in prompts:
        assert sound.active_level_dbfs(linear(prompt)) == pytest.approx(sound.LEVEL_DBFS, abs=0.5)
        assert np.max(np.abs(linear(prompt))) < 10 ** (-3 / 20)
        assert 0.5 < prompt.seconds < (25 if slow else 20)
    assert not keys_heard([prompt.ulaw for prompt in prompts])


async def test_prompts_do_not_sound_like_keys(speaker: Speech):
    """A sample through all languages and sentences; the proof hears every one."""
    await assert_harmless(speaker, [(tag, key, 0) for tag, key in EVERYTHING[::17]])


@pytest.mark.proof
@pytest.mark.parametrize("slow", [False, True], ids=["usual", "slow"])
@pytest.mark.parametrize("tag", VOICES)
async def test_no_prompt_of_any_language_sounds_like_a_key(speaker: Speech, tag: str, slow: bool):
    """Every sentence with eight sets of values, as it is said and more slowly."""
    keys = [key for language, key in EVERYTHING if language == tag]
    wanted = [(tag, key, number) for key in keys for number in (range(8) if key in VALUES else range(1))]
    await assert_harmless(speaker, wanted, slow=slow)


def keys_heard(prompts: list[bytes]) -> list[tuple[int, int]]:
    """(prompt, key) for every key the product's detector takes out of them; all prompts side by side."""
    length = max(map(len, prompts))
    padded = [prompt.ljust(length, b"\xff") for prompt in prompts]
    detector = InbandDetector(len(prompts))
    rows, laws = range(len(prompts)), [False] * len(prompts)
    heard: list[tuple[int, int]] = []
    for at in range(0, length, 160):
        heard += detector.feed(rows, [prompt[at : at + 160] for prompt in padded], laws)
    return heard


def test_the_ear_of_these_tests_hears_a_key():
    """Control: two tones of 100 ms are one key."""
    time_s = np.arange(800) / sound.RATE_HZ
    key_five = 0.2 * (np.sin(2 * np.pi * 770 * time_s) + np.sin(2 * np.pi * 1336 * time_s))
    assert [(0, 5)] == keys_heard([sound.encode_ulaw(np.pad(key_five, (800, 800)))])
