"""Prompts: a sentence of the catalogue, spoken, ready for media to play.

What is taken, in this order: the tenant's recording, the tenant's own wording by the voice, the house's
recording, the house's wording by the voice. A language without a voice is spoken by the one that stands in
for it, the whole sentence. Fixed sentences are kept on disk, under a name that changes with voice, text and
engine; sentences with values (names, amounts, receipts) only in a bounded part of memory. This file owns that
line.
"""

import asyncio
import hashlib
import os
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pay_ivr.catalogue import FIXED, VALUES, Catalogue, CatalogueError, Key, Said
from pay_ivr.languages import languages
from pay_ivr.recordings import HOUSE, Recordings
from pay_ivr.sound import PACKET_SAMPLES, RATE_HZ, slowly
from pay_ivr.voice import PicoVoice, SpeechError, Voice

__all__ = ["Prompt", "Speech", "SpeechError"]

FOLDER = "prompts"
PERSONAL_MAX = 256
"""Personal prompts kept in memory, about 60 kB each; a call uses fewer than ten, then never again."""
WARM_LANES = 2
"""Sentences made ahead at once: one per worker of the voice, so a caller's own waits for one at most."""
NAME_BYTES = 15
"""Bytes of hash in a prompt's name: no two of a few hundred prompts will ever share one."""


@dataclass(frozen=True)
class Prompt:
    """One spoken sentence."""

    prompt_id: str
    """For `MediaClient.load_prompt`: same sentence, same id, as long as this process lives."""
    ulaw: bytes = field(repr=False)
    """8 kHz µ-law, whole packets of 20 ms."""
    recorded: bool = field(default=False, repr=False, compare=False)
    """From recordings, not by a voice."""

    @property
    def seconds(self) -> float:
        """How long it takes to say."""
        return len(self.ulaw) / RATE_HZ


class Speech:
    """Every prompt of every language; fixed ones live in `data_dir/prompts`.

    Raises SpeechError when a sentence cannot be spoken now, CatalogueError for a key or value that is our
    mistake.
    """

    def __init__(self, catalogue: Catalogue, data_dir: Path, voice: Voice | None = None) -> None:
        self._catalogue = catalogue
        self._voice = voice or PicoVoice()
        self._recordings = Recordings(data_dir)
        self._folder = data_dir / FOLDER
        self._fixed: dict[str, Prompt] = {}
        self._personal: OrderedDict[str, Prompt] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    async def prompt(
        self, language: str, key: str, *, tenant_id: str = "", slow: bool = False, **values: str | int
    ) -> Prompt:
        """The sentence, spoken: from memory, from disk, or by the voice (0.1 s). `slow`: a quarter longer."""
        own = self._said(language, key, tenant_id, values)
        recorded = await self._recorded(language, tenant_id, own, values)
        prompt = recorded or await self._spoken(language, tenant_id, own, values)
        return await self._slowly(prompt, key) if slow else prompt

    async def warm(
        self,
        tags: Sequence[str],
        progress: Callable[[int, int], None] | None = None,
        keys: Collection[Key] | None = None,
    ) -> tuple[Prompt, ...]:
        """Fixed prompts of these languages, all or those of `keys`; `progress` gets (done, of) after each.

        Tenants' own wordings too. Also removes the files of earlier voices and texts. A voice error ends it;
        what was made is kept.
        """
        fixed = [key for key in FIXED if keys is None or key in keys]
        wanted = [(tag, tenant, key) for tag in tags for tenant in self._wordings(tag) for key in fixed]
        ready: dict[tuple[str, str, str], Prompt] = {}
        ahead = iter(wanted)

        async def lane() -> None:
            for tag, tenant, key in ahead:
                ready[tag, tenant, key] = await self.prompt(tag, key, tenant_id=tenant)
                if progress:
                    progress(len(ready), len(wanted))

        lanes = [asyncio.create_task(lane()) for _ in range(WARM_LANES)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for task in lanes:
                task.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        await asyncio.to_thread(self._sweep)
        return tuple(ready[one] for one in wanted)

    async def close(self) -> None:
        """Ends the voice."""
        await self._voice.close()

    def _wordings(self, language: str) -> tuple[str, ...]:
        """The house, as an empty name, and every tenant with a wording of its own."""
        return ("", *self._catalogue.own(language))

    def _said(self, language: str, key: str, tenant_id: str, values: Mapping[str, str | int]) -> Said:
        try:
            return self._catalogue.said(language, key, tenant_id=tenant_id, **values)
        except CatalogueError as refusal:
            if refusal.code != "not_speakable":
                raise
            # A value from outside (a name, a reference) has no words: the call goes on without this sentence.
            raise SpeechError(refusal.code, str(refusal), retryable=False) from None

    async def _recorded(
        self, language: str, tenant_id: str, own: Said, values: Mapping[str, str | int]
    ) -> Prompt | None:
        """The tenant's recording, or the house's where the tenant has no wording that a voice could say."""
        ulaw = await self._joined(tenant_id, language, own) if tenant_id else b""
        if not ulaw and not (own.own and languages()[language].voice):
            house = self._said(language, own.key, "", values) if own.own else own
            ulaw = await self._joined(HOUSE, language, house)
        if not ulaw:
            return None
        if own.key in VALUES:
            name = self._secret_name(f"recorded\0{language}\0{tenant_id}\0{own.text}")
        else:
            name = f"recorded_{hashlib.blake2b(ulaw, digest_size=NAME_BYTES).hexdigest()}"
        return Prompt(name, ulaw, recorded=True)

    async def _joined(self, owner: str, language: str, sentence: Said) -> bytes:
        if not self._recordings.names(owner, language):
            return b""
        return await asyncio.to_thread(self._recordings.said, owner, language, sentence)

    async def _spoken(
        self, language: str, tenant_id: str, own: Said, values: Mapping[str, str | int]
    ) -> Prompt:
        known = languages()[language]
        if not known.voice:
            own = self._said(known.stand_in, own.key, tenant_id, values)
            known = languages()[known.stand_in]
        if own.key in VALUES:
            return await self._personal_prompt(known.voice, own.text)
        return await self._fixed_prompt(known.voice, own.text)

    async def _slowly(self, prompt: Prompt, key: str) -> Prompt:
        name = f"{prompt.prompt_id}_slow"
        if found := self._fixed.get(name) or self._personal.get(name):
            return found
        slow = Prompt(name, await asyncio.to_thread(slowly, prompt.ulaw))
        if key in VALUES:
            return self._keep(slow)
        return self._fixed.setdefault(name, slow)

    async def _fixed_prompt(self, language: str, text: str) -> Prompt:
        name = self._fixed_name(language, text)
        if name not in self._fixed:
            path = self._folder / f"{name}.ulaw"
            ulaw = await asyncio.to_thread(_read, path)
            if not ulaw:
                ulaw = await self._voice.speak(language, text)
                await asyncio.to_thread(_write, path, ulaw)
            self._fixed[name] = Prompt(name, ulaw)
        return self._fixed[name]

    async def _personal_prompt(self, language: str, text: str) -> Prompt:
        name = self._secret_name(f"{language}\0{text}")
        if name not in self._personal:
            return self._keep(Prompt(name, await self._voice.speak(language, text)))
        return self._keep(self._personal[name])

    def _secret_name(self, said: str) -> str:
        # Keyed with a secret of this process: an id may stand in a log, where nobody shall guess amounts.
        digest = hashlib.blake2b(said.encode(), digest_size=NAME_BYTES, key=self._secret)
        return f"said_{digest.hexdigest()}"

    def _keep(self, prompt: Prompt) -> Prompt:
        """The prompt, in a memory that forgets what was not used for longest."""
        self._personal[prompt.prompt_id] = prompt
        self._personal.move_to_end(prompt.prompt_id)
        if len(self._personal) > PERSONAL_MAX:
            self._personal.popitem(last=False)
        return prompt

    def _fixed_name(self, language: str, text: str) -> str:
        said = f"{self._voice.version}\0{language}\0{text}".encode()
        return f"prompt_{hashlib.blake2b(said, digest_size=NAME_BYTES).hexdigest()}"

    def _sweep(self) -> None:
        """Deletes every file of the folder that is no prompt of today's voice and texts."""
        said = self._catalogue.said
        texts = (
            (languages()[tag].voice, said(tag, key, tenant_id=tenant).text)
            for tag in self._catalogue.tags
            for tenant in self._wordings(tag)
            for key in FIXED
        )
        current = {f"{self._fixed_name(voice, text)}.ulaw" for voice, text in texts}
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            if path.name not in current:
                path.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    """The file's bytes; empty when it is missing or no whole number of packets."""
    try:
        ulaw = path.read_bytes()
    except FileNotFoundError:
        return b""
    return ulaw if len(ulaw) % PACKET_SAMPLES == 0 else b""


def _write(path: Path, ulaw: bytes) -> None:
    """All of it or nothing: written beside and moved, so that no reader and no crash sees half a prompt."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as beside:
        beside.write(ulaw)
        beside.flush()
        os.fsync(beside.fileno())
    Path(beside.name).replace(path)
