"""Prompts: a sentence of the catalogue, spoken, ready for media to play.

Fixed sentences are kept on disk, under a name that changes with voice, text and engine; sentences with values
(names, amounts, receipts) only in a bounded part of memory. This file owns that line.
"""

import asyncio
import hashlib
import os
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pay_ivr.catalogue import FIXED, VALUES, Catalogue, CatalogueError
from pay_ivr.sound import PACKET_SAMPLES, RATE_HZ
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
        self._folder = data_dir / FOLDER
        self._fixed: dict[str, Prompt] = {}
        self._personal: OrderedDict[str, Prompt] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    async def prompt(self, language: str, key: str, **values: str | int) -> Prompt:
        """The sentence, spoken: from memory, from disk (fixed ones), or by the voice (0.1 s)."""
        text = self._text(language, key, **values)
        if key in VALUES:
            return await self._personal_prompt(language, text)
        return await self._fixed_prompt(language, text)

    async def warm(
        self, languages: Sequence[str], progress: Callable[[int, int], None] | None = None
    ) -> tuple[Prompt, ...]:
        """All fixed prompts of these languages, made ahead; `progress` gets (done, of) after each.

        Also removes the files of earlier voices and texts. A voice error ends it; what was made is kept.
        """
        wanted = [(language, key) for language in languages for key in FIXED]
        ready: dict[tuple[str, str], Prompt] = {}
        ahead = iter(wanted)

        async def lane() -> None:
            for language, key in ahead:
                ready[language, key] = await self.prompt(language, key)
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
        return tuple(ready[pair] for pair in wanted)

    async def close(self) -> None:
        """Ends the voice."""
        await self._voice.close()

    def _text(self, language: str, key: str, **values: str | int) -> str:
        try:
            return self._catalogue.text(language, key, **values)
        except CatalogueError as refusal:
            if refusal.code != "not_speakable":
                raise
            # A value from outside (a name, a reference) has no words: the call goes on without this sentence.
            raise SpeechError(refusal.code, str(refusal), retryable=False) from None

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
        # Keyed with a secret of this process: an id may stand in a log, where nobody shall guess amounts.
        digest = hashlib.blake2b(f"{language}\0{text}".encode(), digest_size=NAME_BYTES, key=self._secret)
        name = f"said_{digest.hexdigest()}"
        if name not in self._personal:
            self._personal[name] = Prompt(name, await self._voice.speak(language, text))
        self._personal.move_to_end(name)
        if len(self._personal) > PERSONAL_MAX:
            self._personal.popitem(last=False)
        return self._personal[name]

    def _fixed_name(self, language: str, text: str) -> str:
        said = f"{self._voice.version}\0{language}\0{text}".encode()
        return f"prompt_{hashlib.blake2b(said, digest_size=NAME_BYTES).hexdigest()}"

    def _sweep(self) -> None:
        """Deletes every file of the folder that is no prompt of today's voice and texts."""
        texts = ((tag, self._catalogue.text(tag, key)) for tag in self._catalogue.tags for key in FIXED)
        current = {f"{self._fixed_name(tag, text)}.ulaw" for tag, text in texts}
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
