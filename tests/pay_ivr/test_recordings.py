"""Imported recordings are used whole or not at all, in their order, and seen by a running node."""

import json
from pathlib import Path

import numpy as np
import pytest

from pay_ivr.catalogue import Catalogue, Key
from pay_ivr.pieces import letters
from pay_ivr.recordings import HOUSE, INDEX, SAY, SILENCE, Recordings
from pay_ivr.script import script
from pay_ivr.sound import packets
from pay_ivr.speech import Speech

CATALOGUE = Catalogue()
OWN = Catalogue({("acme", "en-US"): "goodbye = So long.", ("acme", "hu-HU"): "goodbye = Szia."})


class Parrot:
    """A voice whose packets are the text it was asked to say."""

    version = "parrot"

    async def speak(self, tag: str, text: str) -> bytes:
        said = f"{tag}:{text}".encode()
        return said + b"\xff" * (-len(said) % 160)

    async def close(self) -> None:
        """Nothing to end."""


def sound_of(name: str) -> bytes:
    return letters(name).encode()[:160].ljust(160, b"|")


def record(recordings: Recordings, owner: str, tag: str, *names: str) -> None:
    """Puts in recordings whose packets are their names."""
    words = script(tag)
    recordings.store(owner, tag, {name: (words.get(name, name), sound_of(name)) for name in names})


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    return Recordings(tmp_path)


@pytest.fixture
def speech(tmp_path: Path) -> Speech:
    return Speech(OWN, tmp_path, Parrot())


async def heard(speech: Speech, tag: str, key: Key = Key.GOODBYE, tenant_id: str = "acme", **values) -> str:
    prompt = await speech.prompt(tag, key, tenant_id=tenant_id, **values)
    return prompt.ulaw.rstrip(b"\xff|").decode(errors="replace")


async def test_the_tenant_comes_before_the_house_and_words_before_the_houses_recording(
    speech: Speech, recordings: Recordings
):
    """Tenant's recording, tenant's text, house's recording, house's text."""
    house = CATALOGUE.text("en-US", Key.GOODBYE)
    assert f"en-US:{house}" == await heard(speech, "en-US", tenant_id="other")
    assert "en-US:So long." == await heard(speech, "en-US")
    record(recordings, HOUSE, "en-US", "goodbye")
    assert "goodbye" == await heard(speech, "en-US", tenant_id="other")
    assert "en-US:So long." == await heard(speech, "en-US")
    recordings.store("acme", "en-US", {"goodbye": ("So long.", b"acmes".ljust(160, b"|"))})
    assert "acmes" == await heard(speech, "en-US")
    assert "goodbye" == await heard(speech, "en-US", tenant_id="other")


async def test_a_language_without_a_voice_is_spoken_by_recordings_or_its_stand_in(
    speech: Speech, recordings: Recordings
):
    """Hungarian: a whole English sentence until there is a recording, the house's even before own words."""
    assert "en-US:So long." == await heard(speech, "hu-HU")
    record(recordings, HOUSE, "hu-HU", "goodbye")
    assert "goodbye" == await heard(speech, "hu-HU")


async def test_a_sentence_with_values_is_recorded_whole_or_not_at_all(speech: Speech, recordings: Recordings):
    """One missing word, and the voice says all of it."""
    text = CATALOGUE.text("de-DE", Key.BALANCE, points=2100)
    record(recordings, HOUSE, "de-DE", "balance.1", "balance.3", "say.zwei", "say.tausend", "say.ein")
    assert f"de-DE:{text}" == await heard(speech, "de-DE", Key.BALANCE, points=2100)
    record(recordings, HOUSE, "de-DE", "say.hundert")
    prompt = await speech.prompt("de-DE", Key.BALANCE, points=2100)
    names = ("balance.1", "say.zwei", "say.tausend", "say.ein", "say.hundert", "balance.3")
    assert b"".join(map(sound_of, names)) == prompt.ulaw
    assert prompt.recorded


async def test_a_code_is_read_in_groups(speech: Speech, recordings: Recordings):
    """Between two groups there is a pause, as the voice makes one at a comma."""
    digits = ("say.eins", "say.zwei", "say.drei", "say.vier", "say.funf")
    record(recordings, HOUSE, "de-DE", "voucher_code.1", "voucher_code.2", *digits)
    prompt = await speech.prompt("de-DE", Key.VOUCHER_CODE, code="12345")
    assert 2 == prompt.ulaw.count(sound_of("say.drei") + SILENCE)


async def test_a_name_is_recorded_as_it_is(speech: Speech, recordings: Recordings):
    """Free text is one recording; its words elsewhere do not say it."""
    record(recordings, HOUSE, "en-US", "welcome.1", "say.two")
    text = CATALOGUE.text("en-US", Key.WELCOME, tenant="Two")
    assert "welcome1" in await heard(speech, "en-US", Key.WELCOME, tenant="Two")
    recordings.remove(HOUSE, "en-US", ["say.two"])
    record(recordings, HOUSE, "en-US", "say.t", "say.w", "say.o")
    assert f"en-US:{text}" == await heard(speech, "en-US", Key.WELCOME, tenant="Two")


async def test_a_piece_whose_words_have_changed_is_not_used(speech: Speech, recordings: Recordings):
    """Fixed pieces are found by what was read when they were recorded."""
    recordings.store(HOUSE, "en-US", {"welcome.1": ("Hello at", b"x" * 160), "say.two": ("Two", b"y" * 160)})
    assert "en-US:Welcome to Two." == await heard(speech, "en-US", Key.WELCOME, tenant="Two")


async def test_a_damaged_recording_is_not_played(speech: Speech, recordings: Recordings, tmp_path: Path):
    """Its hash is compared when it is read; the voice speaks instead."""
    record(recordings, HOUSE, "fr-FR", "goodbye")
    (file,) = (tmp_path / "recordings" / HOUSE / "fr-FR").glob("*.ulaw")
    file.write_bytes(b"z" * 160)
    assert (await heard(speech, "fr-FR")).startswith("fr-FR:")
    assert b"" == recordings.sound(HOUSE, "fr-FR", "no_such")


@pytest.mark.parametrize(
    "index",
    ["", "[]", "{}", '{"recordings": 7}', '{"recordings": [{"name": "goodbye"}]}', '{"recordings": [[]]}'],
)
async def test_a_broken_index_is_no_recording(
    speech: Speech, recordings: Recordings, tmp_path: Path, index: str
):
    """A node speaks on with its voice."""
    record(recordings, HOUSE, "fr-FR", "goodbye")
    (tmp_path / "recordings" / HOUSE / "fr-FR" / INDEX).write_text(index)
    assert (await heard(speech, "fr-FR")).startswith("fr-FR:")


def test_an_index_cannot_name_a_file_elsewhere(recordings: Recordings, tmp_path: Path):
    """Only names of the folder itself are read."""
    record(recordings, HOUSE, "fr-FR", "goodbye")
    path = tmp_path / "recordings" / HOUSE / "fr-FR" / INDEX
    rows = json.loads(path.read_text())
    rows["recordings"][0]["file"] = "../../../app.db"
    path.write_text(json.dumps(rows))
    assert {} == dict(recordings.names(HOUSE, "fr-FR"))


def test_files_that_are_replaced_are_gone(recordings: Recordings, tmp_path: Path):
    """One file a recording, and the index; no half of anything."""
    record(recordings, HOUSE, "fr-FR", "goodbye", "please_wait")
    recordings.store(HOUSE, "fr-FR", {"goodbye": ("Au revoir.", b"new".ljust(160))})
    folder = tmp_path / "recordings" / HOUSE / "fr-FR"
    assert 3 == len(list(folder.iterdir()))
    recordings.remove(HOUSE, "fr-FR", ["goodbye"])
    assert ["please_wait"] == list(recordings.names(HOUSE, "fr-FR"))
    assert ((HOUSE, "fr-FR"),) == recordings.owners()


def test_memory_for_sounds_is_bounded(recordings: Recordings, monkeypatch: pytest.MonkeyPatch):
    """The oldest go first and are read again when needed."""
    monkeypatch.setattr("pay_ivr.recordings.SOUNDS_MAX", 2)
    names = ("goodbye", "please_wait", "cancelled")
    record(recordings, HOUSE, "fr-FR", *names)
    assert all(recordings.sound(HOUSE, "fr-FR", name) == sound_of(name) for name in (*names, *names))
    assert 2 == len(recordings._sounds)


async def test_slower_works_for_recordings_and_voices(speech: Speech, recordings: Recordings):
    """A quarter longer, under a name of its own, kept like the other."""
    hum = (0.2 * np.sin(np.arange(16_000) / 5)).astype(float)
    recordings.store(HOUSE, "fr-FR", {"goodbye": ("Au revoir.", packets(hum))})
    plain = await speech.prompt("fr-FR", Key.GOODBYE)
    slow = await speech.prompt("fr-FR", Key.GOODBYE, slow=True)
    assert slow.seconds == pytest.approx(1.25 * plain.seconds, abs=0.05)
    assert slow.prompt_id == f"{plain.prompt_id}_slow"
    assert slow is await speech.prompt("fr-FR", Key.GOODBYE, slow=True)
    personal = await speech.prompt("fr-FR", Key.BALANCE, points=3, slow=True)
    assert personal is await speech.prompt("fr-FR", Key.BALANCE, points=3, slow=True)


def test_a_recordings_name_says_how_it_is_used():
    """Sentences, pieces and words of values are told apart by their names."""
    names = script("de-DE")
    assert CATALOGUE.text("de-DE", Key.GOODBYE) == names["goodbye"]
    assert "Ihr Punktestand:" == names["balance.1"]
    assert "fünfundneunzig" == names[f"{SAY}funfundneunzig"]
