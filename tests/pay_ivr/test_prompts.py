"""`pay-ivr prompts`: a studio's files are taken in or refused by name; what callers hear is checked."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pay_ivr import prompts, sound
from pay_ivr.__main__ import main
from pay_ivr.catalogue import Key
from pay_ivr.prompts import House
from pay_ivr.recordings import HOUSE, INDEX, Recordings, digest_of
from pay_ivr.settings import load_settings
from pay_ivr.speech import Prompt
from pay_ivr.wav import read_wav, write_wav

TENANT = """name = "Acme"
[telephony]
languages = ["en-US"]
[[telephony.did]]
number = "4930100009"
flow = "unattended_payment"
language = "en-US"
[loyalty]
name = "Acme Miles"
[[loyalty.reward]]
names = { "hu-HU" = "Mozijegy" }
"""


def hum(seconds: float = 1.0, hertz: float = 190.0, rate_hz: int = 16_000) -> bytes:
    """A voice-like sound that is no key."""
    time_s = np.arange(int(rate_hz * seconds)) / rate_hz
    wave = sum(np.sin(2 * np.pi * hertz * part * time_s) / part for part in (1, 2, 3, 5))
    return write_wav((wave * 6000).astype("<i2").tobytes(), rate_hz)


def key_five(rate_hz: int = 8_000) -> bytes:
    time_s = np.arange(rate_hz // 2) / rate_hz
    both = np.sin(2 * np.pi * 770 * time_s) + np.sin(2 * np.pi * 1336 * time_s)
    return write_wav((both * 6000).astype("<i2").tobytes(), rate_hz)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A node's folders, and a folder of recordings in `studio`."""
    for name in ("tenants", "studio"):
        (tmp_path / name).mkdir()
    (tmp_path / "tenants" / "acme.toml").write_text(TENANT, encoding="utf-8")
    monkeypatch.setenv("PAY_IVR_TENANTS_DIR", str(tmp_path / "tenants"))
    monkeypatch.setenv("PAY_IVR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PAY_IVR_RUN_DIR", "/tmp/payivr-run")
    monkeypatch.setattr(prompts, "SENTENCES", (Key.GOODBYE, Key.CONFIRM_OR_BACK, Key.BALANCE))
    return tmp_path


def studio(node: Path, **files: bytes) -> list[str]:
    for name, body in files.items():
        (node / "studio" / f"{name.replace('__', '.')}.wav").write_bytes(body)
    return [str(node / "studio")]


def logged(node: Path) -> list[str]:
    with sqlite3.connect(node / "data" / "app.db") as database:
        return [body for (body,) in database.execute("SELECT body FROM outbox ORDER BY seq")]


def test_recordings_are_imported_converted_and_logged(node: Path, capsys: pytest.CaptureFixture[str]):
    """Any good format; each is in the log with the hash of what callers will hear."""
    folder = studio(node, goodbye=hum(), balance__1=hum(0.5, rate_hz=44_100), say__mozijegy=hum(0.5))
    assert 0 == main(["prompts", "import", "--tenant", "acme", "--language", "hu-HU", *folder])
    assert "3 recording(s) of hu-HU imported for acme" in capsys.readouterr().out
    recordings = Recordings(node / "data")
    ulaw = recordings.sound("acme", "hu-HU", "goodbye")
    assert len(ulaw) / sound.RATE_HZ == pytest.approx(1.2, abs=0.03)
    bodies = logged(node)
    assert 3 == len(bodies)
    assert all('"prompt.recording.imported"' in body and '"acme"' in body for body in bodies)
    assert any(f"sha_{digest_of(ulaw)}" in body and '"hu-HU:goodbye"' in body for body in bodies)


def test_one_bad_file_keeps_all_out(node: Path, capsys: pytest.CaptureFixture[str]):
    """Every fault is told at once, by file; nothing is stored or logged."""
    folder = studio(
        node,
        goodbye=hum(),
        please_wait=key_five(),
        farewell=hum(),
        connecting=b"ID3",
        balance__1=write_wav(b"\0" * 3200),
        balance__2=hum(21.0),
    )
    assert 1 == main(["prompts", "import", "--language", "hu-HU", *folder])
    said = capsys.readouterr().out
    assert "please_wait.wav: the telephone's own ear hears the key 5 in it" in said
    assert "farewell.wav: No recording is called so" in said
    assert "connecting.wav: It is no WAV file" in said
    assert "balance.1.wav: There is no sound in it" in said
    assert "balance.2.wav: It speaks for more than 20 seconds" in said
    assert "goodbye.wav" not in said
    assert not (node / "data").exists()


def test_a_folder_without_recordings_is_told(node: Path, capsys: pytest.CaptureFixture[str]):
    """A path that is mistyped is no success."""
    assert 1 == main(["prompts", "import", "--language", "hu-HU", str(node / "nowhere")])
    assert "there is no .wav file in it" in capsys.readouterr().out


def test_an_unknown_tenant_is_refused(node: Path, capsys: pytest.CaptureFixture[str]):
    """Recordings of a tenant that is mistyped would never be heard."""
    studio(node)
    assert 2 == main(["prompts", "check", "--tenant", "acne"])
    assert "there is no such tenant" in capsys.readouterr().err


def test_recordings_are_removed_by_name(node: Path, capsys: pytest.CaptureFixture[str]):
    """An unknown name removes nothing; without names all are removed. The log has each."""
    folder = studio(node, goodbye=hum(0.3), please_wait=hum(0.3))
    main(["prompts", "import", "--language", "en-US", *folder])
    assert 1 == main(["prompts", "remove", "--language", "en-US", "goodbye", "farewell"])
    assert 2 == len(Recordings(node / "data").names(HOUSE, "en-US"))
    assert 0 == main(["prompts", "remove", "--language", "en-US"])
    assert not Recordings(node / "data").names(HOUSE, "en-US")
    assert 2 == sum("prompt.recording.removed" in body for body in logged(node))
    assert "2 recording(s) of en-US removed" in capsys.readouterr().out


def test_the_script_lists_what_to_read(node: Path, capsys: pytest.CaptureFixture[str]):
    """Sentences, pieces, words of numbers, and the tenant's own names."""
    assert 0 == main(["prompts", "script", "--language", "hu-HU", "--tenant", "acme"])
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert node.is_dir()
    assert "A pontegyenlege:" == lines["balance.1.wav"]
    assert "kilencvenkilenc" == lines["say.kilencvenkilenc.wav"]
    assert {"Acme", "Acme Miles", "Mozijegy"} <= set(lines.values())


def test_a_good_house_passes(node: Path, capsys: pytest.CaptureFixture[str]):
    """Spoken, level, short enough, no key heard; a language nobody offers may stay unrecorded."""
    assert 0 == main(["prompts", "check", "--language", "en-US"])
    assert "en-US: 3 sentences" in capsys.readouterr().out
    assert [] == list(prompts._recording_faults(House.open(load_settings()), HOUSE, "hu-HU"))
    assert (node / "data" / "prompts").is_dir()


def test_what_is_wrong_with_recordings_is_told(node: Path, capsys: pytest.CaptureFixture[str]):
    """Damaged, out of date, needed no more, missing: each by its name."""
    tenant = TENANT.replace('languages = ["en-US"]', 'languages = ["en-US", "hu-HU"]')
    (node / "tenants" / "acme.toml").write_text(tenant, encoding="utf-8")
    packets = read_packets(hum(0.3))
    recordings = Recordings(node / "data")
    recordings.store("acme", "hu-HU", {"goodbye": ("Other words.", packets), "farewell": ("Szia.", packets)})
    (damaged,) = (node / "data" / "recordings" / "acme" / "hu-HU").glob("farewell*.ulaw")
    damaged.write_bytes(b"")
    assert 1 == main(["prompts", "check", "--tenant", "acme", "--language", "hu-HU"])
    said = capsys.readouterr().out
    assert "goodbye: recorded when its words were others" in said
    assert "farewell: recorded, but no sentence needs it" in said
    assert "farewell: the recording is damaged" in said
    assert "more are not recorded, and no voice speaks it" in said
    assert ["acme.toml offers hu-HU" in line for line in prompts.warnings_of(load_settings())] == [True]


def read_packets(body: bytes) -> bytes:
    wav = read_wav(body)
    return sound.recorded(wav.samples, wav.rate_hz)


@pytest.mark.parametrize(
    ("ulaw", "fault"),
    [
        (sound.packets(np.frombuffer(key_five()[44:], "<i2") / 32768), "sounds like the key 5"),
        (read_packets(hum(2.0)) * 11, "more than 20"),
        (sound.packets(0.9 * np.sin(np.arange(8000) / 4)), "too loud at its peaks"),
        (sound.packets(0.01 * np.sin(np.arange(8000) / 4)), "not at -20"),
    ],
)
def test_a_prompt_that_would_disturb_is_named(ulaw: bytes, fault: str):
    """Keys, length, peaks and level of what was spoken."""
    assert [fault in line for line in prompts._sound_faults({"goodbye": Prompt("x", ulaw)}) if fault in line]


def test_prompts_can_be_listened_to(node: Path, capsys: pytest.CaptureFixture[str]):
    """One file a sentence, as a caller of that tenant hears it, and a page with the words."""
    out = node / "out"
    arguments = ["--language", "en-US", "--tenant", "acme", "--out", str(out)]
    assert 0 == main(["prompts", "render", *arguments])
    page = (out / "index.html").read_text(encoding="utf-8")
    assert 3 == page.count("<audio")
    assert "Your balance: one thousand two hundred thirty-four points." in page
    wav = read_wav((out / "en-US" / "balance.wav").read_bytes())
    assert sound.active_level_dbfs(wav.samples) == pytest.approx(sound.LEVEL_DBFS, abs=0.5)
    assert str(out / "index.html") in capsys.readouterr().out


def test_every_language_is_complete_with_its_script(node: Path):
    """With every recording of the script nothing is missing; the house's count for a tenant."""
    house = House.open(load_settings())
    words = house.script(HOUSE, "hu-HU")
    assert len(house.missing(HOUSE, "hu-HU")) == len(words)
    house.recordings.store(HOUSE, "hu-HU", {name: (text, b"\xff" * 160) for name, text in words.items()})
    assert () == house.missing(HOUSE, "hu-HU")
    assert {"say.acme", "say.acmemiles", "say.mozijegy"} == set(house.missing("acme", "hu-HU"))
    assert (node / "data" / "recordings" / HOUSE / "hu-HU" / INDEX).is_file()
