"""`pay-ivr prompts …`: what callers hear, as a list to read, as files to listen to, checked, and recorded.

Every command works on the files of a node and may run beside it: a running node takes imported recordings
from the next sentence on. Nothing is imported when one file of a folder cannot be used.
"""

import asyncio
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import zip_longest
from pathlib import Path

import numpy as np

from audit import outbox
from audit.outbox import Entry, stamp
from pay_ivr import sound
from pay_ivr.catalogue import Catalogue, CatalogueError, Key
from pay_ivr.languages import languages
from pay_ivr.recordings import HOUSE, Recordings, digest_of
from pay_ivr.script import script
from pay_ivr.sentences import EXAMPLES, VALUES
from pay_ivr.settings import Settings
from pay_ivr.speech import Prompt, Speech, SpeechError
from pay_ivr.store import Store
from pay_ivr.tenants import Tenant, TenantError, load_tenants, sections
from pay_ivr.wav import BYTES_MAX, RecordingError, read_wav, write_wav
from pay_ivr.wording import wordings_of

OPERATOR = "system:operator"
SENTENCES: tuple[Key, ...] = tuple(Key)
SECONDS_MAX = 20.0
"""A sentence that takes longer has lost its caller; our longest takes 14."""
PEAK_DBFS = -3.0
LEVEL_OFF_DB = 1.0
"""How far a prompt may be from the house's level; only peaks that would clip make one quieter."""
FILES_MAX = 5_000
PIECE_TAIL_S = 0.03
"""Silence after a piece that others follow: `LEAD_S` of the next one is the gap between words."""
NAMED = 6
"""Names listed of many."""
HEAR_TIMEOUT_S = 300
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class House:
    """What a command needs to know of the node's files."""

    settings: Settings
    tenants: Mapping[str, Tenant]
    own: Mapping[tuple[str, str], str]
    recordings: Recordings

    @classmethod
    def open(cls, settings: Settings) -> "House":
        """Reads the tenant files; TenantError names the first wrong line."""
        tenants = load_tenants(settings.tenants_dir)
        own = wordings_of(settings.tenants_dir, tenants)
        return cls(settings, tenants, own, Recordings(settings.data_dir))

    def script(self, owner: str, tag: str) -> Mapping[str, str]:
        """What can be recorded for an owner in a language."""
        if owner == HOUSE:
            return script(tag)
        return script(tag, self.own.get((owner, tag), ""), tuple(self._names(owner, tag)))

    def owner(self, tenant: str) -> str:
        """The folder of a tenant's recordings, or of the house's; TenantError: no such tenant."""
        if tenant and tenant not in self.tenants:
            raise TenantError("there is no such tenant; its name is the tenant file's name without .toml")
        return tenant or HOUSE

    def offering(self, tag: str) -> tuple[str, ...]:
        """The tenants whose callers can hear a language."""
        return tuple(
            name
            for name, tenant in self.tenants.items()
            if tag in {*tenant.telephony.languages, *(did.language for did in tenant.telephony.did)}
        )

    def missing(self, owner: str, tag: str) -> tuple[str, ...]:
        """What neither the owner nor the house has recorded."""
        known = {*self.recordings.names(owner, tag), *self.recordings.names(HOUSE, tag)}
        return tuple(name for name in self.script(owner, tag) if name not in known)

    def _names(self, tenant: str, tag: str) -> Iterable[str]:
        """What a tenant calls itself and its rewards; that section is another's, so nothing is checked."""
        yield self.tenants[tenant].name
        loyalty = sections(self.settings.tenants_dir / f"{tenant}.toml").get("loyalty", {})
        yield from (name for name in [loyalty.get("name")] if isinstance(name, str))
        for reward in loyalty.get("reward", []):
            name = reward.get("names", {}).get(tag)
            yield from [name] if isinstance(name, str) else []


def show_script(settings: Settings, tenant: str, tag: str) -> int:
    """One line a recording: its file, a tab, the words to read."""
    house = House.open(settings)
    lines = house.script(house.owner(tenant), tag).items()
    sys.stdout.write("".join(f"{name}.wav\t{words}\n" for name, words in lines))
    return 0


def import_folder(settings: Settings, tenant: str, tag: str, folder: Path) -> int:
    """Takes in every WAV file of a folder; 1 and a line for each fault when one cannot be used."""
    house = House.open(settings)
    owner = house.owner(tenant)
    wanted = house.script(owner, tag)
    made, faults = _read_folder(folder, wanted)
    faults += [
        f"{name}.wav: the telephone's own ear hears the key {keys} in it; record it again"
        for name, keys in zip(made, keys_in([ulaw for _, ulaw in made.values()]), strict=True)
        if keys
    ]
    if faults or not made:
        return _tell(faults or [f"{folder}: there is no .wav file in it"], "nothing was imported")
    _note(settings, [_imported(tenant, tag, name, ulaw) for name, (_, ulaw) in made.items()])
    house.recordings.store(owner, tag, made)
    missing = house.missing(owner, tag)
    sys.stdout.write(f"prompts: {len(made)} recording(s) of {tag} imported for {tenant or 'every tenant'}\n")
    if missing:
        sys.stdout.write(f"prompts: {_some(missing)} not recorded yet\n")
    return 0


def remove(settings: Settings, tenant: str, tag: str, names: Sequence[str]) -> int:
    """Takes recordings out, all when none is named; 1 when one of them is not there."""
    house = House.open(settings)
    owner = house.owner(tenant)
    known = house.recordings.names(owner, tag)
    gone = list(names) or list(known)
    if unknown := [name for name in gone if name not in known]:
        return _tell([f"{name}: there is no such recording" for name in unknown], "nothing was removed")
    _note(settings, [_entry("prompt.recording.removed", tenant, tag, name) for name in gone])
    house.recordings.remove(owner, tag, gone)
    sys.stdout.write(f"prompts: {len(gone)} recording(s) of {tag} removed\n")
    return 0


def render(settings: Settings, tenant: str, tags: Sequence[str], out: Path) -> int:
    """Every sentence as a WAV file, with `index.html` to listen to them; values are examples."""
    house = House.open(settings)
    house.owner(tenant)
    catalogue = Catalogue(house.own)
    rows = []
    for tag in tags:
        folder = out / tag
        folder.mkdir(parents=True, exist_ok=True)
        for key, prompt in asyncio.run(_speak_all(settings, catalogue, tenant, tag)).items():
            (folder / f"{key}.wav").write_bytes(write_wav(sound.decode_ulaw(prompt.ulaw).tobytes()))
            text = catalogue.said(tag, key, tenant_id=tenant, **example(key)).text
            rows.append((tag, str(key), prompt, text))
        sys.stdout.write(f"prompts: {tag} is in {folder}\n")
    (out / "index.html").write_text(_page(rows), encoding="utf-8")
    sys.stdout.write(f"prompts: open {out / 'index.html'}\n")
    return 0


def check(settings: Settings, tenant: str, tags: Sequence[str]) -> int:
    """1 when a sentence cannot be spoken, is too long, sounds like a key, or a recording is not right."""
    house = House.open(settings)
    owner = house.owner(tenant)
    catalogue = Catalogue(house.own)
    faults = []
    for tag in tags:
        found = [*_text_faults(catalogue, tenant, tag)]
        try:
            spoken = asyncio.run(_speak_all(settings, catalogue, tenant, tag))
        except SpeechError as error:
            spoken, found = {}, [*found, f"not spoken: {error}"]
        found += _sound_faults(spoken)
        found += _recording_faults(house, owner, tag)
        faults += [f"{tag}: {fault}" for fault in found]
        sys.stdout.write(f"prompts: {_summary(house, owner, tag, spoken)}\n")
    return _tell(faults, "not right") if faults else 0


def warnings_of(settings: Settings) -> list[str]:
    """For `pay-ivr check`: languages that a tenant offers and that nobody speaks well yet."""
    house = House.open(settings)
    return [
        f"{tenant}.toml offers {tag}, which no voice speaks and {_some(missing)} not recorded: callers hear "
        f"{language.stand_in} instead (docs/speech.md)"
        for tag, language in languages().items()
        for tenant in house.offering(tag)
        if not language.voice and (missing := house.missing(tenant, tag))
    ]


def example(key: str) -> dict[str, str | int]:
    """Ordinary values of a sentence."""
    return {name: EXAMPLES[name][0] for name in VALUES.get(Key(key), {})}


def keys_in(prompts: Sequence[bytes]) -> list[str]:
    """For each prompt the keys that our own ear hears in it; that ear is the vault's, in its own process."""
    if not prompts:
        return []
    frames = b"".join(_LENGTH.pack(len(ulaw)) + ulaw for ulaw in prompts)
    heard = subprocess.run(
        [sys.executable, "-m", "vault.talk_off"],
        input=frames,
        capture_output=True,
        check=True,
        timeout=HEAR_TIMEOUT_S,
    )
    return heard.stdout.decode().split("\n")[: len(prompts)]


def _read_folder(folder: Path, wanted: Mapping[str, str]) -> tuple[dict[str, tuple[str, bytes]], list[str]]:
    """(name → words and packets, faults)."""
    files = sorted(folder.glob("*.wav"))[:FILES_MAX]
    made, faults = {}, []
    for path in files:
        name = unicodedata.normalize("NFC", path.stem)
        try:
            made[name] = (_words_of(name, wanted), _packets(path, name))
        except RecordingError as error:
            faults.append(f"{path.name}: {error}")
    return made, faults


def _words_of(name: str, wanted: Mapping[str, str]) -> str:
    if name not in wanted:
        raise RecordingError("unknown", "No recording is called so; `pay-ivr prompts script` lists them.")
    return wanted[name]


def _packets(path: Path, name: str) -> bytes:
    if path.stat().st_size > BYTES_MAX:
        raise RecordingError("too_long", f"It is larger than {BYTES_MAX} bytes; keep it under a minute.")
    wav = read_wav(path.read_bytes())
    tail_s = PIECE_TAIL_S if "." in name else sound.TAIL_S
    ulaw = sound.recorded(wav.samples, wav.rate_hz, tail_s)
    if not ulaw:
        raise RecordingError("empty", "There is no sound in it.")
    if len(ulaw) > SECONDS_MAX * sound.RATE_HZ:
        raise RecordingError("too_long", f"It speaks for more than {SECONDS_MAX:.0f} seconds.")
    return ulaw


def _imported(tenant: str, tag: str, name: str, ulaw: bytes) -> Entry:
    milliseconds = len(ulaw) * 1000 // sound.RATE_HZ
    return _entry(
        "prompt.recording.imported",
        tenant,
        tag,
        name,
        recording=f"sha_{digest_of(ulaw)}",
        milliseconds=milliseconds,
    )


def _entry(event: str, tenant: str, tag: str, name: str, **data: str | int) -> Entry:
    return Entry(event, stamp(datetime.now(UTC)), OPERATOR, f"{tag}:{name}", tenant, data=data)


def _note(settings: Settings, entries: Sequence[Entry]) -> None:
    """Into the log before it is in force: a crash between leaves a line too many, never one too few."""

    async def write() -> None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = await Store.open(settings.data_dir / "app.db")
        try:
            async with store.engine.begin() as conn:
                for entry in entries:
                    await outbox.add(conn, entry)
        finally:
            await store.close()

    asyncio.run(write())


async def _speak_all(settings: Settings, catalogue: Catalogue, tenant: str, tag: str) -> dict[str, Prompt]:
    """Every sentence with its example values, as a caller of that tenant hears it."""
    speech = Speech(catalogue, settings.data_dir)
    try:
        spoken = [speech.prompt(tag, key, tenant_id=tenant, slow=False, **example(key)) for key in SENTENCES]
        return dict(zip(map(str, SENTENCES), await asyncio.gather(*spoken), strict=True))
    finally:
        await speech.close()


def _text_faults(catalogue: Catalogue, tenant: str, tag: str) -> Iterable[str]:
    """Every example value of every sentence, each at least once."""
    for key in SENTENCES:
        wanted = VALUES.get(key, {})
        columns = zip_longest(*(EXAMPLES[name] for name in wanted)) if wanted else [()]
        for row in columns:
            values = {
                name: EXAMPLES[name][0] if value is None else value
                for name, value in zip(wanted, row, strict=True)
            }
            try:
                catalogue.said(tag, key, tenant_id=tenant, **values)
            except CatalogueError as error:
                yield str(error)


def _sound_faults(spoken: Mapping[str, Prompt]) -> Iterable[str]:
    for (key, prompt), keys in zip(
        spoken.items(), keys_in([one.ulaw for one in spoken.values()]), strict=True
    ):
        linear = sound.decode_ulaw(prompt.ulaw) / sound.FULL_SCALE
        level = sound.active_level_dbfs(linear)
        if keys:
            yield f"{key} sounds like the key {keys}"
        if prompt.seconds > SECONDS_MAX:
            yield f"{key} takes {prompt.seconds:.1f} s, more than {SECONDS_MAX:.0f}"
        if 20 * np.log10(np.max(np.abs(linear))) > PEAK_DBFS:
            yield f"{key} is too loud at its peaks"
        if not prompt.recorded and abs(level - sound.LEVEL_DBFS) > LEVEL_OFF_DB:
            yield f"{key} is at {level:.1f} dBFS, not at {sound.LEVEL_DBFS:.0f}"


def _recording_faults(house: House, owner: str, tag: str) -> Iterable[str]:
    words = house.script(owner, tag)
    for name, one in house.recordings.names(owner, tag).items():
        if name not in words:
            yield f"{name}: recorded, but no sentence needs it any more"
        elif words[name] != one.words:
            yield f"{name}: recorded when its words were others; read it again"
        if not house.recordings.sound(owner, tag, name):
            yield f"{name}: the recording is damaged; import it again"
    offered = owner in house.offering(tag) if owner != HOUSE else bool(house.offering(tag))
    if not languages()[tag].voice and offered and (missing := house.missing(owner, tag)):
        yield f"{_some(missing)} not recorded, and no voice speaks it"


def _summary(house: House, owner: str, tag: str, spoken: Mapping[str, Prompt]) -> str:
    language = languages()[tag]
    seconds = sum(prompt.seconds for prompt in spoken.values())
    longest = max(spoken, key=lambda key: spoken[key].seconds, default="")
    recorded = sum(prompt.recorded for prompt in spoken.values())
    length = f"longest {longest} {spoken[longest].seconds:.1f} s" if longest else "none spoken"
    voice = f"the voice {language.voice}" if language.voice else f"{language.stand_in}, which stands in"
    known = len(house.recordings.names(owner, tag))
    return (
        f"{tag}: {len(spoken)} sentences, {seconds / 60:.1f} min, {length}; {recorded} from recordings "
        f"({known} files), the others by {voice}"
    )


def _some(names: Sequence[str]) -> str:
    """`ask_pin, balance.1 and 12 more are`."""
    more = len(names) - NAMED
    listed = ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{listed} {'is' if len(names) == 1 else 'are'}"


def _tell(faults: Sequence[str], end: str) -> int:
    sys.stdout.write("".join(f"prompts: {fault}\n" for fault in faults))
    sys.stdout.write(f"prompts: {end}\n")
    return 1


_PAGE_HEAD = """<!doctype html><meta charset="utf-8"><title>Prompts</title>
<style>body{font:1rem sans-serif;margin:2rem}td{padding:.3rem .8rem;vertical-align:top}</style>
<h1>Prompts</h1><table><thead><tr><th>Language<th>Sentence<th>Sound<th>Seconds<th>From<th>Words</thead>
"""


def _page(rows: Sequence[tuple[str, str, Prompt, str]]) -> str:
    lines = [
        f'<tr><td>{tag}<td>{key}<td><audio controls preload="none" src="{tag}/{key}.wav"></audio>'
        f"<td>{prompt.seconds:.1f}<td>{'recording' if prompt.recorded else 'voice'}"
        f'<td lang="{tag}">{escape(text)}\n'
        for tag, key, prompt, text in rows
    ]
    return _PAGE_HEAD + "".join(lines) + "</table>\n"
