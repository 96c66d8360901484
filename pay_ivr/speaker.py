"""What a caller hears, in order: one queue per call, newest step first to be heard.

A step of a payment may come as a burst (problem, field opened again): what arrives within `BURST_S` is joined
and said once. A later step stops what is still being said, unless it belongs to it (the amount, then the
field); a key drops it (barge-in is media's part).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from pay_ivr.ids import new_id
from pay_ivr.logs import log
from pay_ivr.payment_voice import Sentence
from pay_ivr.speech import Speech
from pay_ivr.voice import SpeechError
from vault import MediaClient, MediaFact, VaultError

BURST_S = 0.06
"""Steps closer than this belong together: the cell reports a problem and opens the field within one loop."""
HOLD_MUSIC = "hold_music"
"""The name under which `Shelf.keep` has it."""
SPEECH_MAX_S = 60.0
"""No prompt of ours is longer; a lost `play.done` must not hold a flow for ever."""


async def _nothing() -> None:
    """Nothing to be done before the first word."""


class Shelf:
    """The prompts that media holds in memory: fixed ones stay, personal ones go when they have been said."""

    def __init__(self, media: MediaClient, speech: Speech) -> None:
        self._media = media
        self._speech = speech
        self._fixed: set[str] = set()
        self._kept: dict[str, bytes] = {}
        self._out: Counter[str] = Counter()
        """Personal prompts by how many sayings still need them."""

    async def take(
        self, language: str, sentence: Sentence, *, tenant_id: str = "", slow: bool = False
    ) -> str:
        """The id under which media plays the sentence; loads it when it is not there."""
        prompt = await self._speech.prompt(
            language, sentence.key, tenant_id=tenant_id, slow=slow, **sentence.values
        )
        if prompt.prompt_id not in self._fixed:
            await self._media.load_prompt(prompt.prompt_id, prompt.ulaw)
            if sentence.values:
                self._out[prompt.prompt_id] += 1
            else:
                self._fixed.add(prompt.prompt_id)
        return prompt.prompt_id

    async def keep(self, name: str, ulaw: bytes) -> None:
        """Loads a sound under a name of its own (hold music), again after every restart of media."""
        self._kept[name] = ulaw
        await self._media.load_prompt(name, ulaw)

    async def restore(self) -> None:
        """The kept sounds loaded again; media needs them most when nobody steers it any more."""
        with contextlib.suppress(VaultError):  # gone again: its next return comes here again
            for name, ulaw in self._kept.items():
                await self._media.load_prompt(name, ulaw)

    async def put_back(self, prompt_id: str) -> None:
        """Takes a personal prompt out of media's memory."""
        if prompt_id not in self._out:
            return
        self._out[prompt_id] -= 1
        if self._out[prompt_id] <= 0:
            del self._out[prompt_id]
            with contextlib.suppress(VaultError):
                await self._media.unload_prompt(prompt_id)

    def media_restarted(self) -> None:
        """Media's memory is empty again; `restore` brings the kept sounds back."""
        self._fixed.clear()
        self._out.clear()


class Speaker:
    """Speaks to one leg; `say` waits until it is said, `tell` does not."""

    def __init__(
        self, media: MediaClient, shelf: Shelf, leg_id: str, language: str, tenant_id: str = ""
    ) -> None:
        self.language = language
        self.slow = False
        """The caller asked for slower speech; holds for the rest of the call."""
        self._tenant_id = tenant_id
        self._media = media
        self._shelf = shelf
        self._leg_id = leg_id
        self._playing: dict[str, asyncio.Future[str]] = {}
        self._burst: list[Sentence] = []
        self._saying: list[Sentence] = []
        self._teller: asyncio.Task[None] | None = None
        self._collecting = False
        self._waiting = False
        """The caller hears music whenever nothing is said."""

    async def say(
        self,
        *sentences: Sentence,
        barge_in: bool = True,
        first: Callable[[], Awaitable[None]] = _nothing,
        unless: Callable[[], bool] = lambda: False,
    ) -> str:
        """How it ended: finished | stopped | key | silent (nothing could be said).

        `first`: done when all is ready to be said, just before the first word. `unless`, asked after it: true
        when nothing need be said any more.
        """
        taken: list[str] = []
        play_id = new_id("play")
        try:
            await self._take(sentences, taken)
            await first()
            if unless():
                return "key"
            if not taken:
                return "silent"
            over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._playing[play_id] = over
            await self._media.play(self._leg_id, play_id, taken, barge_in=barge_in)
            async with asyncio.timeout(SPEECH_MAX_S):
                return await over
        except (VaultError, SpeechError, TimeoutError):
            return "silent"
        finally:
            self._playing.pop(play_id, None)
            for prompt_id in taken:
                await self._shelf.put_back(prompt_id)

    async def _take(self, sentences: Sequence[Sentence], taken: list[str]) -> None:
        """Adds what media is to play; a sentence without words or voice is left out, the others stay."""
        found = await asyncio.gather(*map(self._take_one, sentences), return_exceptions=True)
        taken += [one for one in found if isinstance(one, str)]
        for error in found:
            if isinstance(error, SpeechError):
                log.warning("speech.sentence.missing", code=error.code)
            elif isinstance(error, BaseException):
                raise error

    async def _take_one(self, sentence: Sentence) -> str:
        language = sentence.language or self.language
        return await self._shelf.take(language, sentence, tenant_id=self._tenant_id, slow=self.slow)

    def tell(self, sentences: Sequence[Sentence], *, after: bool = False) -> None:
        """Says it soon, instead of what is being said; sentences of one burst are said once each.

        `after`: it goes with what is being said, so that is finished first, however late this comes.
        """
        if not sentences:
            return
        telling = self._teller is not None and not self._teller.done()
        if telling and after:
            sentences = [sentence for sentence in sentences if sentence not in self._saying]
        elif not self._collecting:
            self._burst.clear()
        self._burst += [sentence for sentence in sentences if sentence not in self._burst]
        if not (telling and (after or self._collecting)):
            self._replace_teller()

    def hush(self) -> None:
        """Drops what is not said yet; the caller is keying."""
        self._burst.clear()

    async def told(self) -> None:
        """Returns when the last `tell` is over."""
        while self._teller is not None and not self._teller.done():
            await asyncio.wait([self._teller])

    async def music(self) -> None:
        """Music for a caller who waits, until `quiet`; nothing when it is not loaded yet."""
        await self.told()
        self._waiting = True
        await self.resume()

    async def resume(self) -> None:
        """The music of a caller who waits, again: a sentence is over, or media is back with its legs."""
        if self._waiting:
            with contextlib.suppress(VaultError):  # media is gone: its return comes here again
                await self._media.play(self._leg_id, new_id("play"), (HOLD_MUSIC,), loop=True, barge_in=False)

    async def quiet(self) -> None:
        """Ends what is being played."""
        self._waiting = False
        with contextlib.suppress(VaultError):  # the leg or media is gone, and the sound with it
            await self._media.stop_play(self._leg_id)

    def media_fact(self, fact: MediaFact) -> None:
        """Hands over `play.done`; others are not ours."""
        if fact.name == "play.done":
            over = self._playing.pop(str(fact.values.get("play_id")), None)
            if over is not None and not over.done():
                over.set_result(str(fact.values.get("outcome")))

    def media_restarted(self) -> None:
        """Everything loaded is gone, everything playing is over."""
        for over in self._playing.values():
            if not over.done():
                over.set_result("stopped")
        self._playing.clear()

    def close(self) -> None:
        """Ends what is being said; the leg is going."""
        if self._teller is not None:
            self._teller.cancel()
        self.media_restarted()

    def _replace_teller(self) -> None:
        if self._teller is not None:
            self._teller.cancel()
        self._collecting, self._saying = True, []
        self._teller = asyncio.create_task(self._tell(), name="speaker.tell")

    async def _tell(self) -> None:
        await asyncio.sleep(BURST_S)
        self._collecting = False
        while self._burst:
            self._saying, self._burst = self._burst, []
            await self.say(*self._saying)
        self._saying = []
        await self.resume()
